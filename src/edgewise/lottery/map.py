"""Map: times of dense, tiled and sparse attention by size and density of the graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from edgewise.lottery.named_graphs import NamedGraph
from edgewise.lottery.trials import AttentionWorkload, Trial

__all__ = ["COLUMNS", "Cell", "MapPoint", "crossovers", "map_points"]

# Columns of the map, and the backends that compute them: the first that accepts.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "dense": ("dense",),
    "tiles": ("banded",),
    "sparse": ("native", "gather"),
}
_WORKLOAD = AttentionWorkload(4, 64)
_MOST_EDGES = 1 << 22  # larger random graphs take longer to draw than to measure
_SIZES = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
_QUICK_SIZES = (64, 256, 1024, 2048)


@dataclass(frozen=True)
class MapPoint:
    """A point of the map: size, density, dtype and pass.

    Attributes:
        nodes: Size of the graph.
        density: Share of all pairs that are edges.
        dtype: Of all tensors.
        training: Whether the backward pass is part of it.
    """

    nodes: int
    density: float
    dtype: torch.dtype
    training: bool

    @property
    def kind(self) -> tuple[str, str]:
        """Names of dtype and pass."""
        pass_ = "training" if self.training else "forward"
        return str(self.dtype).removeprefix("torch."), pass_

    def trial(self, column: str) -> Trial:
        """The trial of a column: random edges, a window of as many edges, or a dense mask."""
        degree = max(1, round(self.density * self.nodes))
        if self.density == 1:
            graph = NamedGraph("complete", (self.nodes,))
        elif column == "tiles" or (column == "sparse" and self.nodes * degree > _MOST_EDGES):
            graph = self._window(degree)
        elif column == "dense":  # a mask costs the same whatever it contains
            graph = NamedGraph("random", (self.nodes, max(1, self.nodes // 64)))
        else:
            graph = NamedGraph("random", (self.nodes, degree))
        return Trial(graph, _WORKLOAD, self.dtype, self.training, COLUMNS[column])

    def can_be_measured(self, column: str) -> bool:
        """Whether the trial has the graph of the point, and not another of the same work."""
        edges = self.density * self.nodes**2
        return column != "sparse" or self.density == 1 or edges <= _MOST_EDGES

    def _window(self, degree: int) -> NamedGraph:
        left = degree // 2
        return NamedGraph("window", (self.nodes, left, degree - 1 - left))


@dataclass(frozen=True)
class Cell:
    """Times at a point of the map.

    Attributes:
        point: The point of the map.
        seconds: By column.
        estimated: Columns whose time is estimated from prices.
    """

    point: MapPoint
    seconds: dict[str, float]
    estimated: tuple[str, ...] = ()

    @property
    def winner(self) -> str:
        """The fastest column."""
        return min(self.seconds, key=lambda name: self.seconds[name])

    @property
    def ratio(self) -> float | None:
        """Time of sparse over time of dense: above 1, dense is faster."""
        if not {"sparse", "dense"} <= self.seconds.keys():
            return None
        return self.seconds["sparse"] / self.seconds["dense"]

    def to_dict(self) -> dict[str, Any]:
        """The cell as JSON types."""
        dtype, pass_ = self.point.kind
        return {
            "nodes": self.point.nodes,
            "density": self.point.density,
            "dtype": dtype,
            "pass": pass_,
            "seconds": self.seconds,
            "estimated": list(self.estimated),
            "winner": self.winner,
        }


def map_points(*, quick: bool) -> list[MapPoint]:
    """Points of the map: sizes times densities from one edge a row to all, factors of 4 apart."""
    points: list[MapPoint] = []
    for nodes in _QUICK_SIZES if quick else _SIZES:
        steps = range(int(math.log2(nodes)) // 2 + 1)
        fine = [] if quick else [0.5, 0.125]
        densities = sorted({*(4.0**-step for step in steps), *fine}, reverse=True)
        for density in densities:
            for dtype in (torch.float32, torch.bfloat16):
                points += [MapPoint(nodes, density, dtype, training) for training in (False, True)]
    return points


def crossovers(cells: Iterable[Cell]) -> dict[tuple[str, str], dict[int, float | None]]:
    """Density below which sparse wins, by dtype and pass, then by size.

    None where dense is faster even with the fewest edges, 1 where sparse is always faster.
    """
    rows: dict[tuple[str, str], dict[int, list[Cell]]] = {}
    for cell in cells:
        if cell.ratio is not None:
            rows.setdefault(cell.point.kind, {}).setdefault(cell.point.nodes, []).append(cell)
    return {
        kind: {nodes: _crossing(row) for nodes, row in sorted(sizes.items())}
        for kind, sizes in rows.items()
    }


def _crossing(row: Sequence[Cell]) -> float | None:
    """Density at which the ratio is 1, interpolated between logarithms."""
    before: tuple[float, float] | None = None
    for cell in sorted(row, key=lambda cell: cell.point.density):
        assert cell.ratio is not None
        here = math.log(cell.point.density), math.log(cell.ratio)
        if here[1] > 0:
            if before is None:
                return None
            share = -before[1] / (here[1] - before[1])
            return math.exp(before[0] + share * (here[0] - before[0]))
        before = here
    return 1.0

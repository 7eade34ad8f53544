"""The map: where all pairs, tiles and sparse kernels win, by size and density."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from edgewise.lottery.topologies import Topology
from edgewise.lottery.trials import Attends, Trial

__all__ = ["COLUMNS", "Cell", "Place", "crossovers", "places"]

# What is compared, and the backends that may stand for it: the first that accepts.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "dense": ("dense",),
    "tiles": ("banded",),
    "sparse": ("native", "gather"),
}
_SETTING = Attends(4, 64)
_MOST_EDGES = 1 << 22  # larger random graphs take longer to draw than to measure
_SIZES = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
_QUICK_SIZES = (64, 256, 1024, 2048)


@dataclass(frozen=True)
class Place:
    """A place on the map, and what is measured there.

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
        """Dtype and pass, as words."""
        pass_ = "training" if self.training else "forward"
        return str(self.dtype).removeprefix("torch."), pass_

    def trial(self, column: str) -> Trial:
        """What stands for a column: random edges, a window of as many, or whatever is dense."""
        degree = max(1, round(self.density * self.nodes))
        if self.density == 1:
            topology = Topology("complete", (self.nodes,))
        elif column == "tiles" or (column == "sparse" and self.nodes * degree > _MOST_EDGES):
            topology = self._window(degree)
        elif column == "dense":  # a mask costs the same whatever it says
            topology = Topology("random", (self.nodes, max(1, self.nodes // 64)))
        else:
            topology = Topology("random", (self.nodes, degree))
        return Trial(topology, _SETTING, self.dtype, self.training, COLUMNS[column])

    def can_be_measured(self, column: str) -> bool:
        """Whether the trial is the real thing, not one of the same work to estimate from."""
        edges = self.density * self.nodes**2
        return column != "sparse" or self.density == 1 or edges <= _MOST_EDGES

    def _window(self, degree: int) -> Topology:
        left = degree // 2
        return Topology("window", (self.nodes, left, degree - 1 - left))


@dataclass(frozen=True)
class Cell:
    """Times at one place.

    Attributes:
        place: Where.
        seconds: By column.
        estimated: Columns whose time was not measured but follows from the prices.
    """

    place: Place
    seconds: dict[str, float]
    estimated: tuple[str, ...] = ()

    @property
    def winner(self) -> str:
        """The fastest column."""
        return min(self.seconds, key=lambda name: self.seconds[name])

    @property
    def ratio(self) -> float | None:
        """Time of sparse over time of all pairs: above 1, all pairs win."""
        if not {"sparse", "dense"} <= self.seconds.keys():
            return None
        return self.seconds["sparse"] / self.seconds["dense"]

    def to_dict(self) -> dict[str, Any]:
        """The cell as JSON types."""
        dtype, pass_ = self.place.kind
        return {
            "nodes": self.place.nodes,
            "density": self.place.density,
            "dtype": dtype,
            "pass": pass_,
            "seconds": self.seconds,
            "estimated": list(self.estimated),
            "winner": self.winner,
        }


def places(*, quick: bool) -> list[Place]:
    """The map's places: sizes times densities from one edge a row to all, factors of 4 apart."""
    found: list[Place] = []
    for nodes in _QUICK_SIZES if quick else _SIZES:
        steps = range(int(math.log2(nodes)) // 2 + 1)
        fine = [] if quick else [0.5, 0.125]
        densities = sorted({*(4.0**-step for step in steps), *fine}, reverse=True)
        for density in densities:
            for dtype in (torch.float32, torch.bfloat16):
                found += [Place(nodes, density, dtype, training) for training in (False, True)]
    return found


def crossovers(cells: Iterable[Cell]) -> dict[tuple[str, str], dict[int, float | None]]:
    """Density below which sparse wins, by dtype and pass, then by size.

    None where all pairs win even with the fewest edges, 1 where sparse wins everywhere.
    """
    rows: dict[tuple[str, str], dict[int, list[Cell]]] = {}
    for cell in cells:
        if cell.ratio is not None:
            rows.setdefault(cell.place.kind, {}).setdefault(cell.place.nodes, []).append(cell)
    return {
        kind: {nodes: _crossing(row) for nodes, row in sorted(sizes.items())}
        for kind, sizes in rows.items()
    }


def _crossing(row: Sequence[Cell]) -> float | None:
    """Where the ratio becomes 1, between two densities in proportion to logarithms."""
    before: tuple[float, float] | None = None
    for cell in sorted(row, key=lambda cell: cell.place.density):
        assert cell.ratio is not None
        here = math.log(cell.place.density), math.log(cell.ratio)
        if here[1] > 0:
            if before is None:
                return None
            share = -before[1] / (here[1] - before[1])
            return math.exp(before[0] + share * (here[0] - before[0]))
        before = here
    return 1.0

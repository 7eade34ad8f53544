"""Grid: neighbourhoods in n dimensions, of pixels, voxels or patches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs.base import Graph
from edgewise.graphs.counts import count, counts
from edgewise.graphs.facts import Facts

__all__ = ["Grid"]


@dataclass(frozen=True, repr=False)
class Grid(Graph, parsed=True):
    r"""Each cell reads itself and the cells within ``radius`` along every axis.

    .. math::  (s \to t) \in E \iff |t_a - s_a| \le r_a \text{ for every axis } a

    Cells are numbered in row-major order. Without ``corners`` only moves along one axis at a
    time remain (in two dimensions a plus sign). A ``periodic`` grid wraps around its edges.

    Args:
        shape: Cells along each axis.
        radius: Reach in cells, one number or one for each axis.
        corners: Whether a source may differ along several axes at once.
        periodic: Whether opposite edges touch.

    Raises:
        GraphError: an empty shape, a negative radius, or a wrong number of radii.

    Example:
        >>> from edgewise import draw
        >>> print(draw(Grid((2, 2), corners=False)))
        ###.
        ##.#
        #.##
        .###

    References:
        Hassani et al. Neighborhood Attention Transformer. 2022, arXiv:2204.07143, section 3.1
        (our neighbourhoods shrink at the border; theirs shift).
    """

    shape: tuple[int, ...]
    radius: int | tuple[int, ...] = field(default=1, kw_only=True)
    corners: bool = field(default=True, kw_only=True)
    periodic: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        shape = counts("Grid", "shape", self.shape)
        if not shape:
            raise GraphError(
                "Grid: shape must have at least one axis, got (). Give sizes, like (8, 8)."
            )
        given: Any = self.radius
        if isinstance(given, Iterable) and getattr(given, "ndim", 1):
            radius = counts("Grid", "radius", given)
        else:
            radius = (count("Grid", "radius", given),) * len(shape)
        if len(radius) != len(shape):
            raise GraphError(
                f"Grid: radius must have one number for each of the {len(shape)} axes, got "
                f"{len(radius)}. Give one radius, or one for each axis."
            )
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "radius", radius)

    @property
    def radii(self) -> tuple[int, ...]:
        """Reach along each axis."""
        return self.radius if isinstance(self.radius, tuple) else (self.radius,) * len(self.shape)

    @property
    def num_targets(self) -> int:
        """Cells of the grid."""
        return math.prod(self.shape)

    @property
    def num_sources(self) -> int:
        """Cells of the grid."""
        return self.num_targets

    def coordinates(self, node: Tensor) -> list[Tensor]:
        """Position of a node along each axis."""
        out: list[Tensor] = []
        for size in reversed(self.shape):
            out.append(node % size)
            node = torch.div(node, size, rounding_mode="floor")
        return out[::-1]

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        near = torch.ones((), dtype=torch.bool, device=target.device)
        moved = torch.zeros((), dtype=torch.int64, device=target.device)
        pairs = zip(self.coordinates(target), self.coordinates(source), strict=True)
        for (t, s), size, radius in zip(pairs, self.shape, self.radii, strict=True):
            gap = (t - s).abs()
            gap = torch.minimum(gap, size - gap) if self.periodic else gap
            near = near & (gap <= min(radius, size))
            moved = moved + (gap > 0)
        return near if self.corners else near & (moved <= 1)

    def steps(self) -> list[tuple[int, ...]]:
        """Moves to all neighbours, without repetition, in row-major order."""
        if not self.num_targets:
            return []
        axes = [
            self._axis_steps(size, radius)
            for size, radius in zip(self.shape, self.radii, strict=True)
        ]
        moves = itertools.product(*axes)
        return [m for m in moves if self.corners or sum(step != 0 for step in m) <= 1]

    def _axis_steps(self, size: int, radius: int) -> range:
        if self.periodic and 2 * radius + 1 >= size:
            return range(-((size - 1) // 2), size // 2 + 1)  # each cell once
        reach = min(radius, size - 1)
        return range(-reach, reach + 1)

    def facts(self) -> Facts:
        N = self.num_targets
        if not N:
            return Facts.bounded(0, 0)
        axes = [
            _axis(size, radius, periodic=self.periodic)
            for size, radius in zip(self.shape, self.radii, strict=True)
        ]
        gaps = [axis.gap * math.prod(self.shape[i + 1 :]) for i, axis in enumerate(axes)]
        if self.corners:
            edges = math.prod(axis.edges for axis in axes)
            lowest = math.prod(axis.lowest for axis in axes)
            highest = math.prod(axis.highest for axis in axes)
            band = sum(gaps)
        else:
            edges = N + sum(
                (axis.edges - size) * (N // size)
                for axis, size in zip(axes, self.shape, strict=True)
            )
            lowest = 1 + sum(axis.lowest - 1 for axis in axes)
            highest = 1 + sum(axis.highest - 1 for axis in axes)
            band = max(gaps)
        return Facts.bounded(
            N,
            N,
            min_edges=edges,
            max_edges=edges,
            left=band,
            right=band,
            in_degree=(lowest, highest),
            out_degree=(lowest, highest),
        )

    def reversed(self) -> Graph:
        return self

    def __repr__(self) -> str:
        same = len(set(self.radii)) == 1
        radius = self.radii[0] if same else self.radii
        words = [repr(self.shape)]
        words += [] if radius == 1 else [f"radius={radius!r}"]
        words += [] if self.corners else ["corners=False"]
        words += ["periodic=True"] if self.periodic else []
        return f"Grid({', '.join(words)})"


class _Axis(NamedTuple):
    """Counts of a one-dimensional grid; ``gap`` is the largest distance of a source."""

    edges: int
    lowest: int
    highest: int
    gap: int


def _axis(size: int, radius: int, *, periodic: bool) -> _Axis:
    highest = min(2 * radius + 1, size)
    if periodic:
        return _Axis(size * highest, highest, highest, size - 1 if radius else 0)
    reach = min(radius, size - 1)
    return _Axis(size * (2 * reach + 1) - reach * (reach + 1), reach + 1, highest, reach)

"""Neighbourhoods on an n-dimensional grid: pixels, voxels, patches."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs.base import Graph, count
from edgewise.graphs.facts import Facts

__all__ = ["Grid"]


@dataclass(frozen=True, repr=False)
class Grid(Graph):
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
        shape = tuple(count("Grid", f"shape[{i}]", n) for i, n in enumerate(self.shape))
        if not shape:
            raise GraphError("Grid: shape has no axes. Give at least one size, like (8, 8).")
        given = self.radius
        radii = (given,) * len(shape) if isinstance(given, int) else tuple(given)
        radius = tuple(count("Grid", "radius", r) for r in radii)
        if len(radius) != len(shape):
            raise GraphError(
                f"Grid: radius has {len(radius)} numbers but shape has {len(shape)} "
                f"axes. Give one radius, or one for each axis."
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
            near = near & (gap <= radius)
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
            return range(-((size - 1) // 2), size // 2 + 1)  # once around, no cell twice
        reach = min(radius, size - 1)
        return range(-reach, reach + 1)

    def facts(self) -> Facts:
        N = self.num_targets
        if not N:
            return Facts.bounded(0, 0)
        if self.periodic:
            degree = len(self.steps())
            return Facts.bounded(
                N,
                N,
                min_edges=N * degree,
                max_edges=N * degree,
                in_degree=(degree, degree),
                out_degree=(degree, degree),
            )
        sums = [
            sum(max(0, size - abs(step)) for step in self._axis_steps(size, radius))
            for size, radius in zip(self.shape, self.radii, strict=True)
        ]
        reach = [min(radius, size - 1) for size, radius in zip(self.shape, self.radii, strict=True)]
        strides = [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        if self.corners:
            edges = math.prod(sums)
            lowest = math.prod(r + 1 for r in reach)
            band = sum(r * stride for r, stride in zip(reach, strides, strict=True))
        else:
            edges = N + sum(
                (total - size) * (N // size) for total, size in zip(sums, self.shape, strict=True)
            )
            lowest = 1 + sum(reach)
            band = max(r * stride for r, stride in zip(reach, strides, strict=True))
        highest = len(self.steps())
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

    def __repr__(self) -> str:
        same = len(set(self.radii)) == 1
        radius = self.radii[0] if same else self.radii
        words = [repr(self.shape)]
        words += [] if radius == 1 else [f"radius={radius!r}"]
        words += [] if self.corners else ["corners=False"]
        words += ["periodic=True"] if self.periodic else []
        return f"Grid({', '.join(words)})"

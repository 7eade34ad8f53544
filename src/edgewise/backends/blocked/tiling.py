"""A graph cut into tiles: blocks of targets, and the blocks of sources in which they read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.graphs import Graph
from edgewise.layouts import TileFill, edges, tile_fill
from edgewise.layouts.progression import progression

__all__ = ["Group", "Tiling", "padded"]

_NOTHING, _EVERYTHING = 0, 1  # masks that any tile may have
_TILES_AT_ONCE = 1 << 10  # tiles whose pairs `Graph.contains` is called on together


@dataclass(frozen=True, eq=False)
class Group:
    """Blocks of targets that are computed as if they read in equally many blocks of sources.

    Attributes:
        rows: ``[B]``: blocks of targets.
        columns: ``[B, K]``: blocks of sources for each; where there are fewer, the last again.
        masks: ``[B, K]``: which of the tiling's masks each tile has.
        empty: ``[B, block]``, bool: targets without sources; None where there are none.
        full: Whether every pair is an edge, so that no mask is needed.
    """

    rows: Tensor
    columns: Tensor
    masks: Tensor
    empty: Tensor | None
    full: bool

    def edges(self, masks: Tensor) -> Tensor:
        """``[B, block, K * block]``, bool: which pairs are edges."""
        tiles = masks[self.masks]  # [B, K, block, block]
        return tiles.transpose(1, 2).flatten(2)

    def part(self, start: int, stop: int) -> Group:
        """The group of the blocks of targets from ``start`` to ``stop``."""
        at = slice(start, stop)
        empty = None if self.empty is None else self.empty[at]
        return Group(self.rows[at], self.columns[at], self.masks[at], empty, self.full)


@dataclass(frozen=True, eq=False)
class Tiling:
    """All tiles of a graph that hold an edge, in groups.

    Attributes:
        block: Rows and columns of a tile.
        num_targets: Targets ``T``.
        num_sources: Sources ``S``.
        groups: Of the blocks of targets that read anything.
        masks: ``[M, block, block]``, bool: nothing, everything, and each other tile's edges.
        empty: ``[T]``, bool: targets without sources; None where there are none.
        place: ``[blocks of targets]``: where each stands when the groups follow one another; the
            number after the last for those that read nothing.
    """

    block: int
    num_targets: int
    num_sources: int
    groups: tuple[Group, ...]
    masks: Tensor
    empty: Tensor | None
    place: Tensor

    @classmethod
    def of(cls, graph: Graph, block: int) -> Tiling:
        """The tiles of a graph that holds no edge twice."""
        tiles = tile_fill(graph, block, block)
        masks, mask_of = _masks(graph, tiles)
        height = tiles.grid[0]
        reads = torch.zeros(height * block, dtype=torch.bool)
        reads[: graph.num_targets] = _reads(graph)
        groups = tuple(_groups(tiles, mask_of, ~reads.view(height, block)))
        T = graph.num_targets
        empty = None if bool(reads[:T].all()) else ~reads[:T]
        rows = torch.cat([torch.empty(0, dtype=torch.int64), *(group.rows for group in groups)])
        place = torch.full((height,), rows.shape[0])
        place[rows] = torch.arange(rows.shape[0])
        return cls(block, T, graph.num_sources, groups, masks, empty, place)


def padded(count: Tensor) -> Tensor:
    """The number of tiles with which each block of targets is computed: at most an eighth more.

    Few different numbers make few groups.

    >>> padded(torch.tensor([0, 7, 16, 17, 33, 40])).tolist()
    [0, 7, 16, 18, 36, 40]
    """
    octave = torch.floor(torch.log2(count.clamp(min=1).double())).long()
    step = 2 ** (octave - 3).clamp(min=0)
    return torch.div(count + step - 1, step, rounding_mode="floor") * step


def _reads(graph: Graph) -> Tensor:
    """``[T]``, bool: targets with sources."""
    intervals = progression(graph)
    if intervals is not None:
        return intervals.length > 0
    reads = torch.zeros(graph.num_targets, dtype=torch.bool)
    reads[edges(graph, "cpu").target] = True
    return reads


def _masks(graph: Graph, tiles: TileFill) -> tuple[Tensor, Tensor]:
    """The different masks ``[M, block, block]``, and which of them each tile has: ``[tiles]``."""
    block = tiles.rows
    partial = tiles.edges < block * block
    mask_of = torch.where(partial, partial.cumsum(0) + _EVERYTHING, _EVERYTHING)
    masks = torch.zeros(2 + int(partial.sum()), block, block, dtype=torch.bool)
    masks[_EVERYTHING] = True
    if progression(graph) is not None:  # edges by the billion, and few tiles that they cut
        _fill_by_contains(graph, tiles, partial, masks[2:])
        return masks, mask_of
    listing = edges(graph, "cpu")
    mask = mask_of[tiles.tile_of(listing.target, listing.source)]
    masks[mask, listing.target % block, listing.source % block] = True
    return masks, mask_of


def _fill_by_contains(graph: Graph, tiles: TileFill, chosen: Tensor, masks: Tensor) -> None:
    """Fill the masks of the chosen tiles by `Graph.contains` of every pair.

    ``chosen`` is ``[tiles]``, bool; ``masks`` is ``[chosen tiles, block, block]``, bool.
    """
    block, T, S = tiles.rows, graph.num_targets, graph.num_sources
    step = torch.arange(block)
    row, column = tiles.row[chosen, None, None], tiles.column[chosen, None, None]
    for start in range(0, masks.shape[0], _TILES_AT_ONCE):
        at = slice(start, start + _TILES_AT_ONCE)
        target, source = row[at] * block + step[:, None], column[at] * block + step
        held = graph.contains(target.clamp(max=T - 1), source.clamp(max=S - 1))
        masks[at] = held & (target < T) & (source < S)


def _groups(tiles: TileFill, mask_of: Tensor, empty: Tensor) -> list[Group]:
    """The groups of blocks of targets.

    ``mask_of`` is ``[tiles]``, the mask of each; ``empty`` is ``[blocks, block]``, bool.
    """
    height = tiles.grid[0]
    count = torch.bincount(tiles.row, minlength=height)
    start = count.cumsum(0) - count
    width = padded(count)
    whole = torch.bincount(tiles.row[mask_of == _EVERYTHING], minlength=height)
    full = (whole == count) & (width == count)
    groups: list[Group] = []
    for wide, masked in torch.unique(torch.stack([width, (~full).long()]), dim=1).T.tolist():
        if not wide:
            continue
        rows = ((width == wide) & (full != bool(masked))).nonzero()[:, 0]
        step = torch.arange(wide)
        within = torch.minimum(step, count[rows, None] - 1)
        tile = start[rows, None] + within
        masks = torch.where(step < count[rows, None], mask_of[tile], _NOTHING)
        idle = empty[rows]
        groups.append(
            Group(
                rows,
                tiles.column[tile],
                masks,
                idle if bool(idle.any()) else None,
                full=not masked,
            )
        )
    return groups

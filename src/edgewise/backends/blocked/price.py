"""Work and memory of tiles: counted where edges are listed, bounded by facts where they are not.

A graph whose edges are not listed yet, or are too few to fill tiles, is priced as if it had
as many tiles as its facts allow. So planning lowers nothing, and leaves such a graph to others; a
request for this backend runs it all the same, within the memory that those tiles would take.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from edgewise.backends.base import Work
from edgewise.backends.blocked.eager import SLABS, bytes_of_tile
from edgewise.backends.blocked.tiling import padded
from edgewise.graphs import EdgeList, Facts, Graph, recall
from edgewise.layouts import fill_of_clusters, tile_fill
from edgewise.problem import AttentionProblem

__all__ = ["Amount", "amount", "counted", "memory_of", "work_of"]

_SMALL, _LARGE = 64, 128  # rows and columns of a tile
_WORKING, _WORKED_OUT = 64, 24  # bytes of an edge while edges are listed, and then
_GAIN = 1.15  # so much cheaper is a pair of a large tile


@dataclass(frozen=True)
class Amount:
    """The number of tiles of a graph.

    Attributes:
        block: Rows and columns of a tile.
        masks: Tiles with a mask of their own.
        computed: Tiles, with those that are added so that blocks of targets have equally many.
        widest: Most tiles of one block of targets.
        groups: How many different numbers of tiles a block of targets has, about.
    """

    block: int
    masks: int
    computed: int
    widest: int
    groups: int

    @property
    def pairs(self) -> int:
        """Target-source pairs in all tiles."""
        return self.computed * self.block * self.block


def amount(graph: Graph, facts: Facts) -> Amount:
    """The tiles of a graph: counted where its edges are listed and may cluster, else bounded."""
    if fill_of_clusters(graph, _SMALL) is not None:
        return counted(graph)
    return _better(*(_bounded(facts, block) for block in (_SMALL, _LARGE)))


def counted(graph: Graph) -> Amount:
    """The tiles of a graph, of the size that takes less; worked out once, in O(E)."""

    def count() -> Amount:
        small = _counted(graph, _SMALL)
        if fill_of_clusters(graph, _SMALL) is None:
            return small
        return _better(small, _counted(graph, _LARGE))

    return recall(graph, "tiles", count)


def _better(small: Amount, large: Amount) -> Amount:
    return large if large.pairs < _GAIN * small.pairs else small


def _counted(graph: Graph, block: int) -> Amount:
    tiles = tile_fill(graph, block, block)
    width = padded(torch.bincount(tiles.row))
    return Amount(
        block,
        int((tiles.edges < block * block).sum()),
        int(width.sum()),
        int(width.max()) if width.numel() else 0,
        2 * torch.unique(width).numel(),
    )


def _bounded(facts: Facts, block: int) -> Amount:
    def touched(length: int) -> int:
        """Most blocks that so many neighbouring nodes lie in."""
        return (length + block - 2) // block + 1 if length else 0

    T, S = facts.num_targets, facts.num_sources
    height, width = -(-T // block), -(-S // block)
    near = touched(max(0, block + facts.left + facts.right))
    row = min(width, near, block * facts.max_in_degree)
    column = min(height, near, block * facts.max_out_degree)
    sizes = np.stack([facts.cuts.target_sizes, facts.cuts.source_sizes])
    diagonal = ((sizes + block - 2) // block + 1) * (sizes.min(0) > 0)
    huge = height * width >= 1 << 62  # products that 64 bits do not hold
    inside = int(np.prod(diagonal.astype(object) if huge else diagonal, axis=0).sum())
    tiles = min(height * row, width * column, facts.max_edges, inside)
    # As few edges as there may be fill so many tiles; the others have masks.
    full = max(0, facts.min_edges - tiles * (block * block - 1))
    most = min(tiles, math.ceil(1.125 * row))
    return Amount(block, max(0, tiles - full), tiles + tiles // 8, most, 1)


def work_of(problem: AttentionProblem, tiles: Amount) -> Work:
    """The work of a call on so many tiles."""
    facts = problem.facts
    planes, dim = problem.batch * problem.heads, max(problem.head_dim, problem.value_dim)
    copied = 2 * tiles.computed * tiles.block  # nodes, of keys and values
    numbers = (copied + facts.num_targets + facts.num_sources) * planes * dim
    tile = bytes_of_tile(tiles.block, planes * dim, problem.accumulate.itemsize)
    calls = tiles.groups + tiles.computed * tile / SLABS
    mask = tiles.pairs  # the same for all planes
    return Work(tiles.pairs * planes * dim, tiles.pairs * planes, numbers + mask, calls=calls)


def memory_of(problem: AttentionProblem, tiles: Amount) -> int:
    """Largest extra memory of a call, in bytes: while edges are listed, or while it runs."""
    running, edges = _running(problem, tiles), problem.facts.max_edges
    if isinstance(problem.graph, EdgeList):
        return running
    return max(_WORKING * edges, running + _WORKED_OUT * edges)


def _running(problem: AttentionProblem, tiles: Amount) -> int:
    """Bytes of a call with the masks that the graph keeps."""
    T, S = problem.facts.num_targets, problem.facts.num_sources
    planes, dim = problem.batch * problem.heads, max(problem.head_dim, problem.value_dim)
    given, size = problem.dtype.itemsize, problem.accumulate.itemsize
    low, lse_too = given < size, problem.wants_lse and problem.needs_grad
    widened = low or lse_too or problem.head_dim != problem.value_dim

    def copied(nodes: int) -> int:
        """Bytes of a table, if tiles cannot read it as it is."""
        return nodes * planes * dim * size if widened or nodes % tiles.block else 0

    every_head = 0 if problem.heads == problem.kv_heads else 2 * S * planes * dim * given
    read = copied(T) + 2 * copied(S) + every_head
    targets, sources = T * planes * dim, S * planes * dim
    kept = tiles.masks * tiles.block * tiles.block + 24 * tiles.computed
    held, slabs = kept + 2 * T * planes * size, _slabs(tiles, planes * dim, size)
    if not problem.needs_grad:
        return int(held + read + targets * (size + given * low) + 2 * slabs)
    results = targets * given + (2 + 2 * lse_too) * copied(T)
    written = (targets + 2 * sources) * (size + given * low)
    return int(held + read + results + written + 4 * slabs)


def _slabs(tiles: Amount, width: int, size: int) -> int:
    """Memory of the keys of as many tiles as are computed at a time, and half of their masks."""
    area, tile = tiles.block * tiles.block, bytes_of_tile(tiles.block, width, size)
    together = min(max(tiles.widest, SLABS // tile), tiles.computed)
    queries = min(together * tile, SLABS)
    return together * (tiles.block * width * size + area * (size + 4) // 2) + queries

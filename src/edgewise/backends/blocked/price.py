"""What tiles take: counted where the edges are known, bounded by facts where they are not.

A graph whose edges nobody has worked out yet is priced as if it had as many tiles as its facts
allow. So planning lowers nothing, and a graph that might cluster, but need not, is left to others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from edgewise.backends.blocked.flash import SLABS
from edgewise.backends.blocked.tiling import padded
from edgewise.graphs import EdgeList, Facts, Graph, recall
from edgewise.layouts import tile_fill
from edgewise.problem import AttentionProblem

__all__ = ["Amount", "amount", "memory_of"]


@dataclass(frozen=True)
class Amount:
    """How many tiles a graph has.

    Attributes:
        masks: Tiles with a mask of their own.
        padded: Tiles that are computed: of blocks of targets that read in nearly equally many.
        widest: Most tiles of one block of targets.
        groups: Different numbers of tiles of a block of targets.
    """

    masks: int
    padded: int
    widest: int
    groups: int

    def calls(self, row: int, block: int) -> float:
        """Kernels that are started, when a block of sources takes ``row * block`` bytes."""
        return self.groups + self.padded * row * block / SLABS


def amount(graph: Graph, facts: Facts, block: int) -> Amount:
    """The tiles of a graph: exact where its edges are known, an upper bound otherwise."""
    if isinstance(graph, EdgeList) or "edges" in graph.__dict__.get("_memory", {}):
        return recall(graph, ("tiles", block), lambda: _counted(graph, block))
    return _bounded(facts, block)


def _counted(graph: Graph, block: int) -> Amount:
    tiles = tile_fill(graph, block, block)
    width = padded(torch.bincount(tiles.row))
    return Amount(
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
    near = touched(block + facts.left + facts.right)
    row = min(width, near, block * facts.max_in_degree)
    column = min(height, near, block * facts.max_out_degree)
    sizes = np.stack([facts.cuts.target_sizes, facts.cuts.source_sizes])
    diagonal = ((sizes + block - 2) // block + 1) * (sizes.min(0) > 0)
    inside = int((diagonal[0] * diagonal[1]).sum())
    tiles = min(height * row, width * column, facts.max_edges, inside)
    most = min(tiles, math.ceil(1.125 * row))
    area = block * block
    # Tiles that are full need no mask; a simple graph with so many edges has some.
    full = max(0, facts.min_edges - tiles * (area - 1))
    return Amount(max(0, tiles - full), tiles, most, 1)


def memory_of(problem: AttentionProblem, found: Amount, block: int) -> int:
    """Largest extra memory of a call, in bytes, with the masks that the graph keeps."""
    facts, size = problem.facts, problem.dtype.itemsize
    wide = problem.accumulate.itemsize
    planes, dim = problem.batch * problem.heads, max(problem.head_dim, problem.value_dim)
    kept = found.masks * block * block + 24 * found.padded
    row = found.widest * block * planes * dim * size  # the keys of one block of targets
    slab = min(max(row, SLABS), found.padded * block * planes * dim * size)
    blocks = slab / max(row, 1) if found.widest else 0
    mask = blocks * found.widest * block * block * (2 + size)
    nodes = (facts.num_targets + facts.num_sources) * planes * dim
    if not problem.needs_grad:
        return int(kept + 2 * slab + mask + nodes * size)
    return int(kept + 4 * slab + 2 * slab * wide / size + mask + nodes * (2 * size + 2 * wide))

"""Block masks of FlexAttention from lists of blocks, with mask functions for partial blocks.

Tables of blocks have the shape of the matrix, but not its memory: FlexAttention reads no further in
a row than it has blocks, so rows are stored one after the other, as long as the longest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgewise.backends.flex.blocks import BLOCK, OccupiedBlocks, intervals
from edgewise.graphs import Facts, Graph
from edgewise.layouts import Csr, csr
from edgewise.layouts.progression import Progression

__all__ = ["BITS", "Mask", "MaskMod", "bitmap", "mask_of", "within"]

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
BITS = 32  # pairs in a word of a bitmap


@dataclass(frozen=True, eq=False)
class Mask:
    """The block mask of a graph, for FlexAttention.

    Attributes:
        blocks: Torch's block mask; None for a graph without targets or without sources.
        empty: ``[T, 1]`` bool, targets without sources; None when there are none.
        any_size: Whether one compiled kernel serves graphs of all sizes. On CPUs torch writes code
            for bitmaps that does not compile while sizes are symbols.
    """

    blocks: Any
    empty: Tensor | None
    any_size: bool


def mask_of(graph: Graph, facts: Facts, device: torch.device, *, backward: bool) -> Mask:
    """The block mask of a simple graph, on a device.

    Args:
        graph: The graph.
        facts: Its facts.
        device: Where the mask will be read.
        backward: Whether a backward pass will need the same blocks by column.
    """
    if not graph.num_targets or not graph.num_sources:
        return Mask(None, None, any_size=True)
    rows = intervals(graph, facts)
    if rows is not None:
        blocks = OccupiedBlocks.of_intervals(rows, graph.num_sources)
        degree, edges = rows.length, within(rows, device)
    else:
        listed = csr(graph)
        blocks = OccupiedBlocks.of_edges(listed)
        degree, edges = listed.indptr.diff(), bitmap(blocks, listed, device)
    empty = (degree == 0)[:, None]
    return Mask(
        _block_mask(blocks, edges, device, backward=backward),
        empty.to(device) if bool(empty.any()) else None,
        any_size=rows is not None or device.type != "cpu",
    )


# --- Pairs of partial blocks ---------------------------------------------------------------------


def within(rows: Progression, device: torch.device) -> MaskMod:
    """The mask function of rows without gaps: two numbers for each target bound its sources."""
    first = rows.first.to(device, torch.int32)
    stop = (rows.first + rows.length).to(device, torch.int32)

    def is_edge(_batch: Tensor, _head: Tensor, target: Tensor, source: Tensor) -> Tensor:
        return (source >= first[target]) & (source < stop[target])

    return is_edge


def bitmap(blocks: OccupiedBlocks, rows: Csr, device: torch.device) -> MaskMod:
    """The mask function of any graph: one bit for each pair of the partial blocks.

    Complexity: O(E) time; 2 KB a partial block, and 4 bytes for every block of the matrix.
    """
    R, C = blocks.shape
    partial = ~blocks.full
    slot = torch.full((R, C), -1, dtype=torch.int32)
    count = int(partial.sum())
    slot[blocks.row[partial], blocks.column[partial]] = torch.arange(count, dtype=torch.int32)
    place = slot[rows.target // BLOCK, rows.indices // BLOCK].long()
    kept = place >= 0
    target, source, place = rows.target[kept] % BLOCK, rows.indices[kept] % BLOCK, place[kept]
    width = BLOCK // BITS
    words = torch.zeros(max(count, 1) * BLOCK * width, dtype=torch.int32)
    bits = torch.ones_like(source).bitwise_left_shift(source % BITS).to(torch.int32)
    words.index_add_(0, (place * BLOCK + target) * width + source // BITS, bits)
    words, slot = words.view(-1, BLOCK, width).to(device), slot.clamp(min=0).to(device)

    def is_edge(_batch: Tensor, _head: Tensor, target: Tensor, source: Tensor) -> Tensor:
        where = slot[target // BLOCK, source // BLOCK]
        word = words[where, target % BLOCK, source % BLOCK // BITS]
        return (word >> (source % BITS)) & 1 == 1

    return is_edge


# --- Torch's block mask --------------------------------------------------------------------------


def _block_mask(
    blocks: OccupiedBlocks, edges: MaskMod, device: torch.device, *, backward: bool
) -> Any:
    """Torch's block mask of these blocks; with ``backward``, by column too."""
    from torch.nn.attention.flex_attention import BlockMask

    R, C = blocks.shape
    optional = ("q_num_blocks", "q_indices", "full_q_num_blocks", "full_q_indices")
    tables: dict[str, Any] = dict.fromkeys(optional)
    for chosen, kind in ((~blocks.full, ""), (blocks.full, "full_")):
        row, column = blocks.row[chosen], blocks.column[chosen]
        by_row = _table(row, column, R, C, device)
        tables[f"{kind}kv_num_blocks"], tables[f"{kind}kv_indices"] = by_row
        if backward:
            order = torch.argsort(column, stable=True)
            by_column = _table(column[order], row[order], C, R, device)
            tables[f"{kind}q_num_blocks"], tables[f"{kind}q_indices"] = by_column
    sizes = (blocks.num_targets, blocks.num_sources)
    return BlockMask(sizes, BLOCK_SIZE=(BLOCK, BLOCK), mask_mod=edges, **tables)


def _table(
    row: Tensor, column: Tensor, rows: int, columns: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Counts and columns of the blocks of each row: ``[1, 1, R]`` and ``[1, 1, R, C]``, int32.

    ``row`` and ``column`` are ``[K]``, int64, sorted by row; ``rows`` is R, ``columns`` C.
    """
    counts = torch.bincount(row, minlength=rows)
    longest = max(int(counts.max()), 1)
    stored = torch.zeros((rows - 1) * longest + max(columns, longest), dtype=torch.int32)
    before = (counts.cumsum(0) - counts)[row]
    stored[row * longest + torch.arange(len(row)) - before] = column.to(torch.int32)
    stored = stored.to(device)
    # Not a view, which a compiler would trace back to its base.
    table = torch.empty(0, dtype=torch.int32, device=device).set_(
        stored.untyped_storage(), 0, (1, 1, rows, columns), (len(stored), len(stored), longest, 1)
    )
    return counts.to(device, torch.int32)[None, None], table

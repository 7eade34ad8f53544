"""Lists of the blocks of target-source pairs that hold edges, and of those that hold all pairs.

`edgewise.layouts.block_mask` is the same with one number for every block of the matrix. Here
only blocks with edges exist, so a narrow window over a million nodes costs a few numbers a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgewise.graphs import Facts, Graph, PrefixCausal
from edgewise.graphs.facts import band_pairs
from edgewise.layouts import Csr, band, csr
from edgewise.layouts.progression import Progression, progression

__all__ = ["BLOCK", "OccupiedBlocks", "intervals", "rows_are_intervals", "span"]

BLOCK = 128  # rows and columns: what FlexAttention's kernels are tuned for


@dataclass(frozen=True, eq=False)
class OccupiedBlocks:
    """The blocks that hold edges, by row, then column.

    Attributes:
        num_targets: Rows of the graph ``T``.
        num_sources: Columns of the graph ``S``.
        row: ``[K]``, int64: which ``BLOCK`` targets.
        column: ``[K]``, int64: which ``BLOCK`` sources.
        full: ``[K]``, bool: whether every pair of the block is an edge, borders cut off.
    """

    num_targets: int
    num_sources: int
    row: Tensor
    column: Tensor
    full: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return -(-self.num_targets // BLOCK), -(-self.num_sources // BLOCK)

    @classmethod
    def of_intervals(cls, rows: Progression, num_sources: int) -> OccupiedBlocks:
        """The blocks of rows without gaps.

        Complexity: O(T log T) time, and O(1) for each block listed.
        """
        T, S = rows.first.shape[0], num_sources
        C = max(-(-S // BLOCK), 1)
        holds = rows.length > 0
        row = torch.arange(T)[holds] // BLOCK
        left = rows.first[holds] // BLOCK
        right = (rows.first + rows.length - 1)[holds] // BLOCK
        spans = torch.unique((row * C + left) * C + right)  # few: neighbouring rows share theirs
        start, length = spans // C, spans % C - spans // C % C + 1
        within = torch.arange(int(length.sum())) - torch.repeat_interleave(
            length.cumsum(0) - length, length
        )
        keys = torch.unique(torch.repeat_interleave(start, length) + within)
        row, column = keys // C, keys % C
        first, stop = _common(rows)
        full = (first[row] <= column * BLOCK) & (stop[row] >= ((column + 1) * BLOCK).clamp(max=S))
        return cls(T, S, row, column, full)

    @classmethod
    def of_edges(cls, rows: Csr) -> OccupiedBlocks:
        """The blocks of any simple graph: full ones hold as many edges as pairs.

        Complexity: O(E log E) time, O(E) memory.
        """
        T, S = rows.num_targets, rows.num_sources
        C = max(-(-S // BLOCK), 1)
        keys, edges = torch.unique(
            rows.target // BLOCK * C + rows.indices // BLOCK, return_counts=True
        )
        row, column = keys // C, keys % C
        height = (T - row * BLOCK).clamp(max=BLOCK)
        width = (S - column * BLOCK).clamp(max=BLOCK)
        return cls(T, S, row, column, edges == height * width)


def _common(rows: Progression) -> tuple[Tensor, Tensor]:
    """The interval of sources that all targets of a block row read; empty if one reads none."""
    stop = torch.where(rows.length > 0, rows.first + rows.length, 0)
    missing = -rows.first.shape[0] % BLOCK
    first = torch.nn.functional.pad(rows.first, (0, missing))
    stop = torch.nn.functional.pad(stop, (0, missing), value=1 << 53)  # it passes through a float
    return first.view(-1, BLOCK).amax(-1), stop.view(-1, BLOCK).amin(-1)


# --- Rows without gaps ---------------------------------------------------------------------------


def rows_are_intervals(graph: Graph, facts: Facts) -> bool:
    """Whether facts or the family prove that every row is an interval; reads no edges."""
    rows = band(graph)
    return (rows is not None and rows.step == 1) or _fills(facts) or _is_prefix(graph)


def intervals(graph: Graph, facts: Facts) -> Progression | None:
    """The rows as intervals of sources; None if some row has a gap.

    Complexity: O(T) where the family or the facts prove it, else O(E) once.
    """
    rows = progression(graph)
    if rows is not None and rows.step == 1:
        return rows
    T, S = facts.num_targets, facts.num_sources
    if _fills(facts):
        rows, columns = torch.from_numpy(facts.cuts.targets), torch.from_numpy(facts.cuts.sources)
        sizes = rows.diff()
        first = torch.repeat_interleave(columns[:-1], sizes)
        return Progression(first, torch.repeat_interleave(columns.diff(), sizes), 1)
    window = band(graph)
    if window is not None and window.step == 1:
        t = torch.arange(T)
        first = (t + window.first).clamp(0, S)
        return Progression(first, (t + window.last + 1).clamp(0, S) - first, 1)
    return _without_gaps(csr(graph))


def _without_gaps(rows: Csr) -> Progression | None:
    degree = rows.indptr.diff()
    if not rows.num_edges:
        return Progression(torch.zeros_like(degree), degree, 1)
    start = rows.indptr[:-1].clamp(max=rows.num_edges - 1)
    first = torch.where(degree > 0, rows.indices[start], 0)
    last = torch.where(degree > 0, rows.indices[rows.indptr[1:] - 1], -1)
    return Progression(first, degree, 1) if torch.equal(last - first + 1, degree) else None


def _fills(facts: Facts) -> bool:
    """Whether all pairs of all diagonal blocks are edges."""
    return facts.simple and facts.min_edges == facts.cuts.num_pairs


def _is_prefix(graph: Graph) -> bool:
    return isinstance(graph, PrefixCausal)


# --- Bounds on blocks, from facts ----------------------------------------------------------------


def span(facts: Facts) -> tuple[int, int]:
    """The largest number of blocks that hold edges: in all, and in one row of blocks.

    Between two cuts the blocks of a row are an interval whose ends are constants or rise by one a
    row, so their number rises by one a row, is constant, and falls by one a row: three sums.

    Complexity: O(C log C) for C cuts, whatever the number of nodes.
    """
    T, S = facts.num_targets, facts.num_sources
    if not facts.max_edges or band_pairs(T, S, -facts.left, facts.right) == 0:
        return 0, 0
    cuts, rows = facts.cuts, -(-T // BLOCK)
    corner = cuts.targets // BLOCK
    ends = np.unique(np.concatenate([[0, rows], corner, corner + 1]))
    ends = ends[ends <= rows]
    start, stop = ends[:-1], ends[1:]  # rows of blocks that lie between the same two corners
    before = np.searchsorted(cuts.targets, start * BLOCK, side="right") - 1
    after = np.searchsorted(cuts.targets, np.minimum((start + 1) * BLOCK, T), side="left")
    # Row r holds the blocks from max(first, r + left) to min(last, r + right).
    first = cuts.sources[before] // BLOCK
    last = -(-np.minimum(cuts.sources[after], T + facts.right) // BLOCK)
    left, right = -facts.left // BLOCK, 1 - -facts.right // BLOCK
    if rows * -(-S // BLOCK) >= 1 << 62:
        start, stop, first, last = (each.astype(object) for each in (start, stop, first, last))
    most = np.maximum(np.minimum(last - first, right - left), 0)
    rising, falling = right - first, last - left  # r + rising, falling - r
    top = np.minimum(most - rising, (falling - rising + 1) // 2)  # where the number stops rising
    down = np.maximum(falling - most, top)  # where it begins to fall

    def row_sum(begin: Any, end: Any) -> tuple[Any, Any]:
        """The number of rows from begin to end in the segment, and the sum of their indices."""
        begin, end = np.clip(begin, start, stop), np.clip(end, start, stop)
        count = np.maximum(end - begin, 0)
        return count, count * (begin + end - 1) // 2

    count_up, sum_up = row_sum(-rising, top)
    count_flat, _ = row_sum(top, down)
    count_down, sum_down = row_sum(down, falling)
    blocks = sum_up + count_up * rising + count_flat * most + count_down * falling - sum_down
    peaks = [np.clip(each, start, stop - 1) for each in (top - 1, top)]
    widest = [np.minimum(most, np.minimum(r + rising, falling - r)) for r in peaks]
    return min(int(blocks.sum()), facts.max_edges), max(0, *(int(each.max()) for each in widest))

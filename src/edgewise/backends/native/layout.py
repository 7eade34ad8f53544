"""Rows of a graph for the kernels: 32-bit indices, and a schedule of tasks by edges."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from edgewise.backends.native.library import library
from edgewise.layouts import Csr, Ragged

__all__ = ["TILE", "Layout", "Rows", "pointer"]

_GRAIN = 1024  # edges of a task: small enough to balance, large enough to pay for its start
_WINDOW = 128  # rows that are put in the order of their lengths
TILE = 4  # fewest rows of a tile, and columns, on average
_PIECE = 4096  # edges of a part of a row that is cut


@dataclass(frozen=True, eq=False)
class Rows:
    """Compressed rows with a schedule.

    Attributes:
        indptr: ``[R + 1]``, int64.
        indices: ``[E]``, int32: columns.
        edge: ``[E]``, int32: place in edge order; None where it is the same.
        copy: ``[E]``, int32: how many equal edges stand before; None where the graph has none.
        order: ``[R]``, int32: which row of the tensors each row is; None where it is the same.
        tasks: ``[tasks, 5]``, int64: rows, edges and slot of each task.
        cuts: ``[cuts, 3]``, int64: rows that are cut, with their slots.
        tiles: ``[tiles, 4]``, int64: rows, first edge and columns of each tile; None unless all
            rows lie in `tiles_of` the graph.
        num_columns: Columns.
        num_slots: Slots for parts of rows.
        tensors: All of them for an operator; empty instead of None.
    """

    indptr: Tensor
    indices: Tensor
    edge: Tensor | None
    copy: Tensor | None
    order: Tensor | None
    tasks: Tensor
    cuts: Tensor
    tiles: Tensor | None
    num_columns: int
    num_slots: int
    tensors: tuple[Tensor, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        nothing = self.indptr.new_empty(0)
        edge, copy, order, tiles = [
            nothing if part is None else part
            for part in (self.edge, self.copy, self.order, self.tiles)
        ]
        tensors = (self.indptr, self.indices, edge, copy, order, self.tasks, self.cuts, tiles)
        object.__setattr__(self, "tensors", tensors)

    @classmethod
    def from_tensors(cls, tensors: Sequence[Tensor], num_columns: int, num_slots: int) -> Rows:
        """Rows from their `tensors`."""
        indptr, indices, edge, copy, order, tasks, cuts, tiles = tensors
        edge, copy, order, tiles = [
            part if part.numel() else None for part in (edge, copy, order, tiles)
        ]
        return cls(indptr, indices, edge, copy, order, tasks, cuts, tiles, num_columns, num_slots)

    @classmethod
    def of(
        cls,
        indptr: Tensor,
        indices: Tensor,
        edge: Tensor | None,
        copy: Tensor | None,
        order: Tensor | None,
        num_columns: int,
        tiles: Tensor | None = None,
    ) -> Rows:
        """Rows with their schedule; tensors as in `Rows`, of any integer dtype."""
        tasks, cuts, num_slots = _schedule(indptr)
        return cls(
            indptr,
            indices.to(torch.int32).contiguous(),
            _small(edge),
            _small(copy),
            _small(order),
            tasks,
            cuts,
            tiles,
            num_columns,
            num_slots,
        )

    def in_order(self, order: Tensor) -> Rows:
        """These rows in another order; each keeps the order of its edges.

        Args:
            order: ``[R]``, int64: which of these rows comes first, second, ...
        """
        degree = self.indptr.diff()[order]
        indptr = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
        entry = torch.repeat_interleave(self.indptr[:-1][order] - indptr[:-1], degree)
        entry += torch.arange(entry.shape[0])
        edge = entry if self.edge is None else self.edge[entry]
        copy = None if self.copy is None else self.copy[entry]
        row = order if self.order is None else self.order[order]
        return Rows.of(indptr, self.indices[entry], edge, copy, row, self.num_columns)

    def in_place(self) -> Rows:
        """These rows in the order of the tensors."""
        return self if self.order is None else self.in_order(torch.argsort(self.order))

    def alike_together(self) -> Rows:
        """These rows, sorted by length within each window of `_WINDOW` rows.

        Loops over rows of one length are predicted well; rows that were near stay near.
        """
        window = torch.arange(self.num_rows) // _WINDOW
        order = torch.argsort(window * (self.num_edges + 1) + self.indptr.diff(), stable=True)
        return self if bool((order.diff() == 1).all()) else self.in_order(order)

    @property
    def num_rows(self) -> int:
        """Rows."""
        return self.indptr.shape[0] - 1

    @property
    def num_edges(self) -> int:
        """Entries, copies counted."""
        return self.indices.shape[0]

    @cached_property
    def record(self) -> tuple[int, ...]:
        """The fields of ``edgewise_rows``; valid as long as this object lives."""
        return (
            self.num_rows,
            self.num_columns,
            self.indptr.data_ptr(),
            self.indices.data_ptr(),
            pointer(self.edge),
            pointer(self.copy),
            pointer(self.order),
            self.tasks.data_ptr(),
            self.tasks.shape[0],
            self.cuts.data_ptr(),
            self.cuts.shape[0],
            self.num_slots,
            pointer(self.tiles),
            0 if self.tiles is None else self.tiles.shape[0],
        )

    def column_of_edge(self) -> Tensor:
        """``[E]``, int64: the column of each edge, in edge order."""
        return self.in_edge_order(self.indices.to(torch.int64))

    def in_edge_order(self, values: Tensor) -> Tensor:
        """Numbers of the entries, ``[E]``, put in edge order."""
        edge = self.edge
        if edge is None:
            return values
        return torch.empty_like(values).index_copy(0, edge.to(torch.int64), values)


@dataclass(frozen=True, eq=False)
class Layout:
    """A graph for both passes.

    Attributes:
        rows: By target.
        target: ``[E]``, int64, in edge order, where a bias is indexed by it; else None.
        source: The same for sources.
        note: A sentence about the order of rows, if any.
        alike: Whether rows of one length stand together. That pays for heads side by side, up to a
            fourth of the time; for one head, and for sums, the rows as they stand are faster.
    """

    rows: Rows
    target: Tensor | None = None
    source: Tensor | None = None
    note: str | None = None
    alike: bool = True

    @cached_property
    def reversed(self) -> Rows:
        """The rows by source: computed when the first gradient needs them."""
        rows = self.rows.in_place()  # sums run by target, whichever row is first
        order = torch.argsort(rows.indices, stable=True)
        degree = torch.bincount(rows.indices, minlength=rows.num_columns)
        indptr = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
        of_row = torch.repeat_interleave(
            torch.arange(rows.num_rows, dtype=torch.int32), rows.indptr.diff()
        )
        edge = order if rows.edge is None else rows.edge[order]
        copy = None if rows.copy is None else rows.copy[order]
        columns = Rows.of(indptr, of_row[order], edge, copy, None, rows.num_rows)
        return columns.alike_together() if self.alike else columns

    @cached_property
    def share_of_edge(self) -> Tensor:
        """``[E]``, float64, in edge order: one over the number of edges of its target."""
        degree = self.rows.indptr.diff()
        return self.rows.in_edge_order(torch.repeat_interleave(1.0 / degree.double(), degree))

    @cached_property
    def _share_in_float32(self) -> Tensor:
        return self.share_of_edge.to(torch.float32)

    def share(self, dtype: torch.dtype) -> Tensor:
        """`share_of_edge` in the dtype that sums are kept in: float32 or float64."""
        return self.share_of_edge if dtype == torch.float64 else self._share_in_float32

    @classmethod
    def of(cls, rows: Csr, blocks: Ragged | None = None, *, alike: bool = True) -> Layout:
        """The layout of a graph's rows, and of its blocks where facts prove them."""
        tiles = tiles_of(rows, blocks) if rows.copy is None else None
        plain = Rows.of(
            rows.indptr, rows.indices, rows.edge, rows.copy, None, rows.num_sources, tiles
        )
        return cls(plain.alike_together() if alike and tiles is None else plain, alike=alike)

    @classmethod
    def of_rows(cls, rows: Rows, columns: Rows, note: str) -> Layout:
        """A layout with these reversed rows."""
        layout = cls(rows, note=note)
        object.__setattr__(layout, "reversed", columns)
        return layout

    def with_ends(self, target: Tensor, source: Tensor) -> Layout:
        """This layout with ``[E]`` targets and sources of its edges; cached parts are kept."""
        layout = replace(self, target=target, source=source)
        if "reversed" in self.__dict__:
            object.__setattr__(layout, "reversed", self.reversed)
        return layout


def tiles_of(rows: Csr, blocks: Ragged | None = None) -> Tensor | None:
    """Rows that read the same columns, ``[tiles, 4]``: first row, last row, first edge, columns.

    None unless every row has columns and every column belongs to exactly one tile, as in a batch of
    complete graphs, and tiles are large enough to pay.

    Args:
        rows: Edges, each of them once.
        blocks: The blocks of the same graph, where facts prove them: no edge is read then.
    """
    degree = rows.indptr.diff()
    if not rows.indices.numel() or rows.indices.shape[0] < TILE * degree.shape[0]:
        return None
    if blocks is not None and _is_complete(blocks):
        return _tiles_of_blocks(rows.indptr, blocks)
    if not int(degree.min()):
        return None
    alike = degree[1:] == degree[:-1]
    # Where the rows of other lengths alone read more than there is, no edge has to be read.
    others = torch.nn.functional.pad(~alike, (1, 0), value=True)
    if int(degree[others].sum()) > rows.num_sources:
        return None
    of_row = rows.target
    above = (torch.arange(of_row.shape[0]) - degree[of_row]).clamp_(min=0)
    differs = (rows.indices != rows.indices[above]).to(torch.int64)
    first = others.index_put((of_row[differs.bool()],), torch.tensor(True))
    start = torch.nonzero(first)[:, 0]
    columns = degree[start]
    if int(columns.sum()) != rows.num_sources or TILE * start.shape[0] > degree.shape[0]:
        return None
    read = torch.bincount(rows.indices[first[of_row]], minlength=rows.num_sources)
    if not bool((read == 1).all()):
        return None
    end = torch.cat([start[1:], start.new_tensor([degree.shape[0]])])
    return torch.stack([start, end, rows.indptr[start], columns], 1).contiguous()


def _is_complete(blocks: Ragged) -> bool:
    """Whether every row and every column is in a block, and every pair of a block an edge."""
    return blocks.holds_all_targets and blocks.holds_all_sources and not blocks.causal.any()


def _tiles_of_blocks(indptr: Tensor, blocks: Ragged) -> Tensor | None:
    if TILE * blocks.num_blocks > blocks.num_targets:
        return None
    start, rows, columns = (
        torch.from_numpy(each) for each in (blocks.first_target, blocks.targets, blocks.sources)
    )
    return torch.stack([start, start + rows, indptr[start], columns], 1)


def _schedule(indptr: Tensor) -> tuple[Tensor, Tensor, int]:
    """Tasks ``[tasks, 5]``, cut rows ``[cuts, 3]``, both int64, and the number of slots."""
    schedule = library().schedule
    cuts, slots = ctypes.c_int64(), ctypes.c_int64()
    rows = indptr.shape[0] - 1

    def run(tasks: Tensor | None, cut_rows: Tensor | None) -> int:
        return schedule(
            indptr.data_ptr(),
            rows,
            _GRAIN,
            _PIECE,
            pointer(tasks),
            pointer(cut_rows),
            ctypes.byref(cuts),
            ctypes.byref(slots),
        )

    tasks = torch.empty(run(None, None), 5, dtype=torch.int64)
    cut_rows = torch.empty(cuts.value, 3, dtype=torch.int64)
    run(tasks, cut_rows)
    return tasks, cut_rows, slots.value


def _small(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.to(torch.int32).contiguous()


def pointer(tensor: Tensor | None) -> int:
    """The address of a tensor's data; 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()

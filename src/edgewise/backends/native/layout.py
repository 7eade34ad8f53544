"""Rows of a graph as the kernels read them: 32-bit indices, shared out by edges."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from edgewise.backends.native.library import library
from edgewise.layouts import Csr

__all__ = ["Layout", "Rows"]

_GRAIN = 1024  # edges of a task: small enough to balance, large enough to pay for its start
_WINDOW = 1024  # rows that are put in the order of their lengths
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
    num_columns: int
    num_slots: int
    tensors: tuple[Tensor, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        nothing = self.indptr.new_empty(0)
        parts = (self.edge, self.copy, self.order)
        maybe = (nothing if part is None else part for part in parts)
        tensors = (self.indptr, self.indices, *maybe, self.tasks, self.cuts)
        object.__setattr__(self, "tensors", tensors)

    @classmethod
    def from_tensors(cls, tensors: Sequence[Tensor], num_columns: int, num_slots: int) -> Rows:
        """Rows from their `tensors`."""
        indptr, indices, edge, copy, order, tasks, cuts = tensors
        edge, copy, order = [part if part.numel() else None for part in (edge, copy, order)]
        return cls(indptr, indices, edge, copy, order, tasks, cuts, num_columns, num_slots)

    @classmethod
    def of(
        cls,
        indptr: Tensor,
        indices: Tensor,
        edge: Tensor | None,
        copy: Tensor | None,
        order: Tensor | None,
        num_columns: int,
    ) -> Rows:
        """Rows with their schedule."""
        tasks, cuts, num_slots = _schedule(indptr)
        return cls(
            indptr,
            _small(indices),
            _small(edge),
            _small(copy),
            _small(order),
            tasks,
            cuts,
            num_columns,
            num_slots,
        )

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
            _pointer(self.edge),
            _pointer(self.copy),
            _pointer(self.order),
            self.tasks.data_ptr(),
            self.tasks.shape[0],
            self.cuts.data_ptr(),
            self.cuts.shape[0],
            self.num_slots,
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
        target: ``[E]``, int64, in edge order, where a bias has to be looked up; else None.
        source: The same for sources.
    """

    rows: Rows
    target: Tensor | None = None
    source: Tensor | None = None

    @cached_property
    def reversed(self) -> Rows:
        """By source: worked out when the first gradient needs it."""
        rows = self.rows
        of_row = torch.repeat_interleave(_row_ids(rows), rows.indptr.diff())
        # By source, then target: the order of a sum does not depend on the order of rows.
        key = rows.indices.to(torch.int64) * max(rows.num_rows, 1) + of_row
        entries = torch.argsort(key, stable=True)
        degree = torch.bincount(rows.indices, minlength=rows.num_columns)
        indptr = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
        order = _alike_together(indptr)
        ordered, indptr = _entries(indptr, order)
        entries = entries[ordered]
        edge = entries if rows.edge is None else rows.edge[entries]
        copy = None if rows.copy is None else rows.copy[entries]
        return Rows.of(indptr, of_row[entries], edge, copy, order, rows.num_rows)

    def with_ends(self, target: Tensor, source: Tensor) -> Layout:
        """The same graph with the ends of its edges; what was worked out stays."""
        layout = Layout(self.rows, target, source)
        layout.__dict__.update({k: v for k, v in self.__dict__.items() if k == "reversed"})
        return layout

    @cached_property
    def share_of_edge(self) -> Tensor:
        """``[E]``, float64, in edge order: one over the number of edges of its target."""
        degree = self.rows.indptr.diff()
        return self.rows.in_edge_order(torch.repeat_interleave(1.0 / degree.double(), degree))

    @classmethod
    def of(cls, rows: Csr) -> Layout:
        """The layout of a graph's rows."""
        order = _alike_together(rows.indptr)
        entries, indptr = _entries(rows.indptr, order)
        edge = entries if rows.edge is None else rows.edge[entries]
        copy = None if rows.copy is None else rows.copy[entries]
        indices = rows.indices[entries]
        return cls(Rows.of(indptr, indices, edge, copy, order, rows.num_sources))


def _row_ids(rows: Rows) -> Tensor:
    """Which row of the tensors each row is: int64."""
    if rows.order is None:
        return torch.arange(rows.num_rows)
    return rows.order.to(torch.int64)


def _alike_together(indptr: Tensor) -> Tensor:
    """Rows of equal length one after the other, within a window of rows.

    Loops over rows of one length are predicted well, which halves the time of short rows; rows that
    were near stay near. The order of a row's own edges, and so every sum, stays the same.
    """
    rows = indptr.shape[0] - 1
    window = torch.arange(rows) // _WINDOW
    return torch.argsort(window * (int(indptr[-1]) + 1) + indptr.diff(), stable=True)


def _entries(indptr: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Entries of the rows in another order, and where each row then starts."""
    degree = indptr.diff()[order]
    start = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
    shift = torch.repeat_interleave(indptr[:-1][order] - start[:-1], degree)
    return torch.arange(shift.shape[0]) + shift, start


def _schedule(indptr: Tensor) -> tuple[Tensor, Tensor, int]:
    schedule = library().schedule
    cuts, slots = ctypes.c_int64(), ctypes.c_int64()
    rows = indptr.shape[0] - 1

    def run(tasks: Tensor | None, cut_rows: Tensor | None) -> int:
        return schedule(
            indptr.data_ptr(),
            rows,
            _GRAIN,
            _PIECE,
            _pointer(tasks),
            _pointer(cut_rows),
            ctypes.byref(cuts),
            ctypes.byref(slots),
        )

    tasks = torch.empty(run(None, None), 5, dtype=torch.int64)
    cut_rows = torch.empty(cuts.value, 3, dtype=torch.int64)
    run(tasks, cut_rows)
    return tasks, cut_rows, slots.value


def _small(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.to(torch.int32).contiguous()


def _pointer(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()

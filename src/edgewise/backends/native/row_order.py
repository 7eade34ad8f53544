"""Orders of rows in which the sources of a row are soon read again by the next rows.

The kernels take rows in any order and write each result where it belongs, so an order moves no
data and changes no number: every row still adds up its own edges in the same order.

References:
    Cuthill, McKee. Reducing the bandwidth of sparse symmetric matrices. 1969.
    George. Computer implementation of the finite element method. 1971 (the reversal).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgewise.backends.native.layout import Layout, Rows

__all__ = ["cuthill_mckee", "in_better_order", "may_pay", "near"]

CALLS = 100  # how often a plan that trains is expected to be called
FAR = 64 << 20  # bytes of keys and values: training gained nothing at 20 MB, and did at 170 MB
OWN = 9.0  # near reads of neighbours that make up for one row's own tensors read out of order
_FINDING = 0.5  # microseconds for an edge: compute the order, apply it both ways, measure it
_SAVED = 0.35  # microseconds that a near read saves over a pass forward and backward
_WINDOW = 2048  # reads that are near each other: about 2 MB of rows of 1 KB
_WINDOWS = 64  # so many are sampled


def may_pay(num_rows: int, num_edges: int, table: int, *, needs_grad: bool) -> bool:
    r"""Whether an order could pay for its computation, were every read near afterwards.

    .. math::  \text{calls} \cdot \text{saved} \cdot (E - \text{own} \cdot T)
               > \text{finding} \cdot E

    Rows that are read for themselves (query, output, their gradients) are no longer consecutive,
    which costs as much as ``OWN`` reads of neighbours: `benchmarks/node_order.py`. Without
    gradients one call is expected, which never pays.

    Args:
        num_rows: Targets ``T``.
        num_edges: At most so many edges ``E``.
        table: Bytes of keys and values.
        needs_grad: Whether the plan trains.
    """
    if not needs_grad or table <= FAR:
        return False
    return CALLS * _SAVED * (num_edges - OWN * num_rows) > _FINDING * num_edges


def in_better_order(layout: Layout) -> Layout:
    """The layout in reverse Cuthill-McKee order, each pass only if it gains; else unchanged.

    An order gains if the reads of neighbours that it brings near, on a sample, are more than
    ``OWN`` for each row.
    """
    orders = cuthill_mckee(layout.rows)
    if orders is None:
        return layout
    targets = _OrderTrial.of(layout.rows, orders[0])
    sources = _OrderTrial.of(layout.reversed, orders[1])
    notes = [f"{name} {t}" for name, t in (("targets", targets), ("sources", sources)) if t.gains]
    if not notes:
        return layout
    return Layout.of_rows(targets.chosen, sources.chosen, "; ".join(notes))


def cuthill_mckee(rows: Rows) -> tuple[Tensor, Tensor] | None:
    """Orders of targets and of sources, ``[T]`` and ``[S]``, int64; None without SciPy.

    A square graph is one of nodes that are both, symmetrised; any other is bipartite.
    """
    try:
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import reverse_cuthill_mckee
    except ImportError:
        return None
    rows = rows.in_place()
    T, S = rows.num_rows, rows.num_columns
    indices, indptr = rows.indices.numpy(), rows.indptr.numpy()
    if T != S:  # sources follow the targets, with rows of their own that are empty
        indices, indptr = indices + np.int32(T), np.append(indptr, np.full(S, indptr[-1]))
    size = T if T == S else T + S
    matrix = csr_matrix((np.ones(rows.num_edges), indices, indptr), shape=(size, size))
    order = torch.from_numpy(reverse_cuthill_mckee(matrix).astype(np.int64))
    return (order, order) if T == S else (order[order < T], order[order >= T] - T)


def near(rows: Rows) -> float:
    """Share of reads whose column was read shortly before, on a sample of windows."""
    columns = rows.indices
    width = min(_WINDOW, columns.shape[0])
    if not width:
        return 0.0
    # The sample is spread evenly and not random, so that it is the same every time.
    last = columns.shape[0] - width
    starts = torch.linspace(0, last, min(_WINDOWS, last + 1), dtype=torch.float64).long()
    sample = columns[starts[:, None] + torch.arange(width)].sort().values
    return (sample.diff() == 0).sum().item() / sample.numel()


@dataclass(frozen=True)
class _OrderTrial:
    """Rows before and after an order is applied, with the share of near reads of each."""

    plain: Rows
    ordered: Rows
    before: float
    after: float

    @classmethod
    def of(cls, rows: Rows, order: Tensor) -> _OrderTrial:
        ordered = rows.in_place().in_order(order).alike_together()
        return cls(rows, ordered, near(rows), near(ordered))

    @property
    def gains(self) -> bool:
        return (self.after - self.before) * self.plain.num_edges > OWN * self.plain.num_rows

    @property
    def chosen(self) -> Rows:
        return self.ordered if self.gains else self.plain

    def __str__(self) -> str:
        return (
            f"in reverse Cuthill-McKee order: {self.after:.0%} of reads near, "
            f"{self.before:.0%} before"
        )

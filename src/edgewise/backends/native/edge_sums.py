"""Sums, maxima and products of edges by the compiled kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.backends.native import storage
from edgewise.backends.native.layout import Rows, pointer
from edgewise.backends.native.library import AGGREGATE, PRODUCTS, library, run, threads_for
from edgewise.backends.native.storage import DTYPES, NO_VIEW, View
from edgewise.ops.state import accumulate_dtype

__all__ = ["edge_products", "reduce_rows"]

_REDUCTIONS = {"sum": 0, "max": 1, "won": 2, "mean": 3}


def reduce_rows(
    reduce: str,
    rows: Rows,
    value: Tensor,
    weight: Tensor | None,
    winner: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Sums or maxima of each row, with the winning edges of a maximum.

    Args:
        reduce: ``"sum"``, ``"mean"`` or ``"max"``; ``"won"`` sums what the edges have won.
        rows: By target, or by source for a gradient.
        value: ``[*batch, columns, C]``.
        weight: ``[*batch|1, E]`` in edge order, in the dtype sums are kept in.
        winner: ``[batch, columns, C]``, int32, for ``"won"``.
    """
    batch, channels = value.shape[:-2], value.shape[-1]
    number = batch.numel()
    out = storage.new((*batch, rows.num_rows, channels), value, value.dtype)
    if reduce == "max":
        winner = torch.empty(number, rows.num_rows, channels, dtype=torch.int32)
    if out.numel():
        table = _table(value)
        factors = None if weight is None else _factors(weight, batch)
        packed = AGGREGATE.pack(
            DTYPES[value.dtype],
            _REDUCTIONS[reduce],
            number,
            channels,
            threads_for(number * rows.num_edges * channels),
            *_table_view(table),
            *_table_view(_table(out)),
            *(NO_VIEW if factors is None else _factors_view(factors)),
            pointer(winner),
            *rows.record,
        )
        run(library().aggregate(packed))
    return out, winner


def edge_products(
    rows: Rows,
    target: Tensor,
    source: Tensor,
    shape: torch.Size,
    winner: Tensor | None = None,
) -> Tensor:
    """Products of the rows at both ends of each edge, summed over batches that share a weight.

    Args:
        rows: By target.
        target: ``[*batch, T, C]``.
        source: ``[*batch, S, C]``.
        shape: Of the result, ``[*batch|1, E]``, in edge order; its dtype is that of sums.
        winner: ``[batch, T, C]``, int32: only channels that the edge has won count.
    """
    batch = target.shape[:-2]
    total = torch.zeros(shape, dtype=accumulate_dtype(target.dtype))
    spread = _factors(total, batch)
    if spread.data_ptr() != total.data_ptr() and total.numel():
        total = torch.zeros(*batch, shape[-1], dtype=total.dtype)
        spread = _factors(total, batch)
    if target.numel() and total.numel():
        table, other = _table(target), _table(source)
        number, channels = batch.numel(), target.shape[-1]
        packed = PRODUCTS.pack(
            DTYPES[target.dtype],
            number,
            channels,
            threads_for(number * rows.num_edges * channels),
            *_table_view(table),
            *_table_view(other),
            pointer(winner),
            *_factors_view(spread),
            *rows.record,
        )
        run(library().products(packed))
    return total.sum_to_size(shape).contiguous()


def _table(value: Tensor) -> Tensor:
    """``[batch, rows, channels]``, or rows and channels alone; channels in one piece."""
    value = value.resolve_neg()
    if value.stride(-1) != 1 and value.shape[-1] > 1:
        value = value.contiguous()
    return value if value.ndim <= 3 else value.flatten(0, -3)


def _table_view(table: Tensor) -> View:
    if table.ndim == 2:
        return (table.data_ptr(), 0, 0, table.stride(0))
    batch, row, _ = table.stride()
    return (table.data_ptr(), batch if table.shape[0] > 1 else 0, 0, row)


def _factors(weight: Tensor, batch: torch.Size) -> Tensor:
    """``[*batch|1, E]`` to ``[batch, E]``, without a copy if it can."""
    wide = weight.resolve_neg().expand(*batch, weight.shape[-1])
    return wide.flatten(0, -2) if batch else wide[None]


def _factors_view(factors: Tensor) -> View:
    batch, edge = factors.stride()
    return (factors.data_ptr(), batch if factors.shape[0] > 1 else 0, 0, edge)

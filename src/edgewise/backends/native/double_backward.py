"""Gradients of the kernels in plain torch operations, where they are differentiated again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edgewise.backends.native.layout import Rows
from edgewise.backends.native.operands import Operands, Settings
from edgewise.layouts import Csr, ReversedCsr
from edgewise.ops import Additive, Dot, EdgeBias, GATv2, Score
from edgewise.ops.double_backward import differentiable_gradients
from edgewise.ops.inputs import Inputs
from edgewise.ops.row_attention import row_attention

__all__ = ["best_again", "gradients_again"]


def gradients_again(
    settings: Settings,
    rows: Rows,
    operands: Operands,
    seed: Tensor | None,
    grads: tuple[Tensor | None, Tensor | None],
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Gradients of the operands that can be differentiated again.

    Args:
        settings: Of the call.
        rows: The graph by target.
        operands: The tensors of the call.
        seed: Of the dropout mask.
        grads: Of the output and of the log-sum-exp; None for zero.
        wanted: For which operands.

    Complexity: O(E * H * D) time and memory.
    """
    layout, columns = _csr(rows)
    score = _score_of(settings)

    def plain(*tensors: Any) -> tuple[Tensor, Tensor]:
        read = Operands(*tensors)
        bias = None if read.bias is None else EdgeBias(read.bias)
        inputs = Inputs(*read[:4], bias, *read[5:], seed)
        state = row_attention(layout, columns, score, settings.dropout, inputs)
        return state.out, state.lse

    return differentiable_gradients(plain, operands, wanted, grads)


def best_again(
    grad: Tensor,
    value: Tensor,
    weight: Tensor | None,
    winner: Tensor,
    source_of_edge: Tensor,
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of `best_of_rows` in plain torch, which can be differentiated again."""
    batch = value.shape[:-2]
    winner = winner.reshape(*batch, *winner.shape[-2:]).to(torch.int64)
    empty, edge = winner < 0, winner.clamp(min=0)
    source = source_of_edge[edge]
    grad = grad.masked_fill(empty, 0.0)
    of_value = of_weight = None
    if wanted[0]:
        factors = 1.0 if weight is None else _pick(weight, edge)
        of_value = torch.zeros_like(value).scatter_add(-2, source, (grad * factors).to(grad.dtype))
    if weight is not None and wanted[1]:
        messages = (grad * value.gather(-2, source)).to(weight.dtype)
        wide = weight.new_zeros(*batch, weight.shape[-1])
        wide = wide.scatter_add(-1, edge.flatten(-2), messages.flatten(-2))
        of_weight = wide.sum_to_size(weight.shape)
    return of_value, of_weight


def _pick(weight: Tensor, edge: Tensor) -> Tensor:
    """Weights ``[*batch|1, E]`` of edges ``[*batch, T, C]``."""
    wide = weight.expand(*edge.shape[:-2], weight.shape[-1])
    return wide.gather(-1, edge.flatten(-2)).view(edge.shape)


def _score_of(settings: Settings) -> Score:
    """The score of these settings: the inverse of `settings_of`."""
    scores: tuple[Score, Score, Score] = (
        Dot(settings.scale, settings.softcap or None),
        Additive(settings.slope),
        GATv2(None, settings.slope),
    )
    return scores[settings.score]


def _csr(rows: Rows) -> tuple[Csr, ReversedCsr]:
    """The rows as layouts of 64-bit indices, by target and by source."""
    target = torch.repeat_interleave(torch.arange(rows.num_rows), rows.indptr.diff())
    parts = (rows.indices, rows.edge, rows.copy)
    indices, edge, copy = (None if part is None else part.long() for part in parts)
    assert indices is not None
    indptr = rows.indptr
    if rows.order is not None:  # rows that stand in another order than their nodes
        target = rows.order.long()[target]
        entry = torch.argsort(target, stable=True)
        target, indices = target[entry], indices[entry]
        edge = entry if edge is None else edge[entry]
        copy = None if copy is None else copy[entry]
        indptr = _starts(target, rows.num_rows)
    permutation = torch.argsort(indices, stable=True)
    return (
        Csr(indptr, indices, target, edge, copy, rows.num_columns),
        ReversedCsr(
            _starts(indices, rows.num_columns), target[permutation], permutation, rows.num_rows
        ),
    )


def _starts(rows: Tensor, count: int) -> Tensor:
    """Positions at which rows begin in a list of entries by row: ``[count + 1]``."""
    degree = torch.bincount(rows, minlength=count)
    return torch.cat([degree.new_zeros(1), degree.cumsum(0)])

"""Attention along the rows of a CSR layout in plain torch: gather, segment softmax, sum.

Every operation is differentiable any number of times. Nodes are the leading dimension inside, so
one gather fetches all heads of a node at once. ``F`` is the product of batch and heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.layouts.formats import Csr, ReversedCsr
from edgewise.ops.bias import broadcast_lead
from edgewise.ops.dropout import dropout_multiplier
from edgewise.ops.inputs import Inputs
from edgewise.ops.scores import Score
from edgewise.ops.segment import gather_sources, gather_targets, segment_max, segment_sum
from edgewise.ops.state import AttentionState, accumulate_dtype, finite

__all__ = ["dropout_of_rows", "node_first", "node_last", "row_attention", "scores_and_values"]


def row_attention(
    rows: Csr, columns: ReversedCsr, score: Score, dropout: float, inputs: Inputs
) -> AttentionState:
    """Output and log-sum-exp.

    Args:
        rows: The graph by target.
        columns: The graph by source.
        score: Of pairs, without its tensor.
        dropout: Share of weights that is dropped.
        inputs: The tensors.

    Complexity: O(E * H * D) time and memory.
    """
    scores, values = scores_and_values(rows, columns, score, inputs)  # [E, F], [E, F, Dv]
    top = segment_max(scores, rows)
    # Gradients of a row without sources are zero, not zero times NaN.
    empty = top == -torch.inf
    closed, top = empty.index_select(0, rows.target), finite(top)
    scores = torch.where(closed, scores.new_full((), -torch.inf), scores)
    share = torch.exp(scores - top.index_select(0, rows.target))
    total = segment_sum(share, rows)
    full = total != 0  # not `> 0`: NaN stays NaN
    safe = torch.where(full, total, torch.ones_like(total))
    lse = torch.where(full, top + torch.log(safe), torch.full_like(total, -torch.inf))
    weights = share / gather_targets(safe, rows)
    if inputs.seed is not None:
        weights = weights * dropout_of_rows(rows, dropout, inputs)
    out = segment_sum(weights[..., None] * values, rows)
    out = torch.where(empty[..., None], out.detach(), out)
    return AttentionState(
        node_last(out, inputs.query).to(inputs.query.dtype),
        lse.t().reshape(inputs.query.shape[:-1]),
    )


def scores_and_values(
    rows: Csr, columns: ReversedCsr, score: Score, inputs: Inputs
) -> tuple[Tensor, Tensor]:
    """Scores ``[E, F]`` and values ``[E, F, Dv]`` in CSR order."""
    accumulate = accumulate_dtype(inputs.query.dtype)
    heads, lead = inputs.query.shape[-3], inputs.query.shape[:-2]
    group = heads // inputs.key.shape[-3]
    query = node_first(inputs.query).to(accumulate)
    key = node_first(_all_heads(inputs.key, group)).to(accumulate)
    value = node_first(_all_heads(inputs.value, group)).to(accumulate)
    query, key = gather_targets(query, rows), gather_sources(key, rows, columns)
    value = gather_sources(value, rows, columns)
    if inputs.edge_key is not None:
        key = key + _edge_first(inputs.edge_key, lead, rows, 2).to(accumulate)
    if inputs.edge_value is not None:
        value = value + _edge_first(inputs.edge_value, lead, rows, 2).to(accumulate)
    vector = inputs.vector
    if vector is not None:
        vector = vector.to(accumulate).repeat(query.shape[1] // heads, 1)  # [F, D]
    scores = score.pair(query, key, vector)
    if inputs.bias is not None:
        values = inputs.bias.values.to(accumulate)  # before `on_edges`: edges share numbers
        bias = inputs.bias.with_values(values).on_edges(rows.target, rows.indices, rows.edge)
        scores = scores + broadcast_lead(bias, lead, 1).t()
    return scores, value


def dropout_of_rows(rows: Csr, dropout: float, inputs: Inputs) -> Tensor:
    """Dropout factors ``[E, F]``."""
    assert inputs.seed is not None
    head = torch.arange(inputs.query.shape[:-2].numel(), device=rows.target.device)
    copy = None if rows.copy is None else rows.copy[:, None]
    factors = dropout_multiplier(
        inputs.seed, dropout, head, rows.target[:, None], rows.indices[:, None], copy
    )
    return factors.to(accumulate_dtype(inputs.query.dtype))


def node_first(tensor: Tensor) -> Tensor:
    """``[*, N, D]`` to ``[N, F, D]``, contiguous, so that a gather reads whole rows."""
    lead = tensor.flatten(0, -3) if tensor.ndim > 2 else tensor[None]
    return lead.transpose(0, 1).contiguous()


def node_last(tensor: Tensor, like: Tensor) -> Tensor:
    """``[N, F, D]`` to ``[*, N, D]`` with the leading dimensions of ``like``."""
    return tensor.transpose(0, 1).reshape(*like.shape[:-2], *tensor.shape[::2])


def _all_heads(tensor: Tensor, group: int) -> Tensor:
    return tensor if group == 1 else tensor.repeat_interleave(group, -3)


def _edge_first(tensor: Tensor, lead: torch.Size, rows: Csr, tail: int) -> Tensor:
    """``[*batch|1, H|1, E, D]`` to ``[E, F, D]`` in CSR order."""
    ordered = tensor if rows.edge is None else tensor.index_select(-tail, rows.edge)
    return broadcast_lead(ordered, tuple(lead), tail).transpose(0, 1)

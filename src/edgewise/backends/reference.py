"""The reference backend: the definition of the operator, every row written out in plain torch.

Each target gets the list of its sources, padded to the longest row. Scores, softmax and sum then
read like the equations. Every other backend is tested against this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from edgewise.backends.base import (
    Accepts,
    AggregateBackend,
    AttentionBackend,
    Work,
    backward_by_recomputation,
)
from edgewise.layouts import PaddedRows, padded_rows
from edgewise.ops.dropout import dropout_multiplier
from edgewise.ops.inputs import Inputs
from edgewise.ops.state import AttentionState, finite
from edgewise.problem import (
    AggregateProblem,
    AggregateSignature,
    AttentionProblem,
    AttentionSignature,
    Problem,
)

__all__ = ["Reference"]


class Reference(AttentionBackend, AggregateBackend):
    """Padded rows in plain torch: the definition, in float32 or float64."""

    name = "reference"
    twice_differentiable: ClassVar[bool] = True
    forward_mode: ClassVar[bool] = True
    plain_operations: ClassVar[bool] = True

    def judge_attention(self, problem: AttentionProblem) -> Accepts:
        return _accepts(problem, problem.heads * (problem.head_dim + problem.value_dim))

    def judge_aggregate(self, problem: AggregateProblem) -> Accepts:
        return _accepts(problem, problem.channels)

    def prepare_attention(self, problem: AttentionProblem) -> PaddedRows:
        return padded_rows(problem.graph, problem.device)

    def prepare_aggregate(self, problem: AggregateProblem) -> PaddedRows:
        return padded_rows(problem.graph, problem.device)

    def forward(
        self, signature: AttentionSignature, prepared: PaddedRows, inputs: Inputs
    ) -> AttentionState:
        scores, values = _scores_and_values(signature, prepared, inputs)
        empty = (scores == -torch.inf).all(-1)  # no source, or a bias that forbids them all
        filled = scores.masked_fill(empty[..., None], 0.0)
        over = filled.detach().clamp(min=0.0)
        filled = filled + (over - over)  # a score of plus infinity is NaN, as its weight is
        lse = torch.logsumexp(filled, -1).masked_fill(empty, -torch.inf)
        weights = torch.softmax(filled, -1).masked_fill(empty[..., None], 0.0)
        weights = weights * _multiplier(signature, prepared, inputs)
        out = (weights[..., None] * values).sum(-2)
        out = torch.where(empty[..., None], out.detach(), out)  # such a row has no gradient
        return AttentionState(out.to(signature.dtype), lse)

    def backward(
        self,
        signature: AttentionSignature,
        prepared: PaddedRows,
        inputs: Inputs,
        state: AttentionState,
        grad_out: Tensor,
        grad_lse: Tensor,
    ) -> Mapping[str, Tensor]:
        def gradients(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            dout, out = grad_out.to(scores.dtype), state.out.to(scores.dtype)
            weights = torch.exp(scores - finite(state.lse)[..., None])
            multiplier = _multiplier(signature, prepared, inputs)
            change = (dout[..., None, :] * values).sum(-1) * multiplier
            delta = (dout * out).sum(-1) - grad_lse
            return (
                weights * (change - delta[..., None]),
                (weights * multiplier)[..., None] * dout[..., None, :],
            )

        return backward_by_recomputation(
            inputs, lambda leaves: _scores_and_values(signature, prepared, leaves), gradients
        )

    def aggregate(
        self,
        signature: AggregateSignature,
        prepared: PaddedRows,
        value: Tensor,
        weight: Tensor | None,
    ) -> Tensor:
        padded = ~prepared.valid[..., None]
        messages = _entries(value.to(signature.accumulate), prepared.source, -2)  # [*, T, K, C]
        if weight is not None:  # first, so that no padding is multiplied with what it repeats
            messages = messages.masked_fill(padded, 0.0)
            factor = _entries(weight.to(signature.accumulate), prepared.edge, -1)[..., None]
            messages = messages * factor.masked_fill(padded, 0.0)
        degree = prepared.valid.sum(-1, keepdim=True)
        match signature.reduce:
            case "sum":
                out = messages.masked_fill(padded, 0.0).sum(-2)
            case "mean":
                out = messages.masked_fill(padded, 0.0).sum(-2) / degree.clamp(min=1)
            case "max":
                if not prepared.valid.shape[-1]:
                    out = messages.sum(-2)
                else:
                    best = messages.masked_fill(padded, -torch.inf).argmax(-2, keepdim=True)
                    out = messages.gather(-2, best).squeeze(-2).masked_fill(degree == 0, 0.0)
        return out.to(signature.dtype)


def _accepts(problem: Problem, channels: int) -> Accepts:
    """The cost of padded rows with so many numbers for each entry."""
    facts = problem.facts
    cells = facts.num_targets * facts.max_in_degree
    copies = 2.2 if problem.needs_grad else 1.6
    size = 8 if problem.dtype == torch.float64 else 4
    values = cells * problem.batch * channels
    work = Work(values / 2, cells * problem.batch, values / max(facts.max_in_degree, 1))
    return Accepts(work, memory=int(values * size * copies), way="rows")


def _scores_and_values(
    signature: AttentionSignature, rows: PaddedRows, inputs: Inputs
) -> tuple[Tensor, Tensor]:
    """Scores ``[*, H, T, K]``, -inf where padded, and values ``[*, H, T, K, Dv]``."""
    group = signature.heads // signature.kv_heads
    query = inputs.query.to(signature.accumulate)
    key = inputs.key.to(signature.accumulate).repeat_interleave(group, -3)
    value = inputs.value.to(signature.accumulate).repeat_interleave(group, -3)
    key, value = _entries(key, rows.source, -2), _entries(value, rows.source, -2)
    if inputs.edge_key is not None:
        key = key + _entries(inputs.edge_key.to(signature.accumulate), rows.edge, -2)
    if inputs.edge_value is not None:
        value = value + _entries(inputs.edge_value.to(signature.accumulate), rows.edge, -2)
    padded = ~rows.valid
    # What pads a row repeats a source: it must get no gradient, not even zero times NaN.
    key, value = (each.masked_fill(padded[..., None], 0.0) for each in (key, value))
    query, vector = query[..., None, :], inputs.vector
    if vector is not None:  # nor is what it is multiplied with
        query = query.masked_fill(padded[..., None], 0.0)
        vector = vector.to(signature.accumulate)[:, None, None]
        vector = vector.masked_fill(padded[..., None], 0.0)
    scores = signature.score.pair(query, key, vector)
    if inputs.bias is not None:
        target = torch.arange(rows.source.shape[0], device=rows.source.device)[:, None]
        target = target.expand_as(rows.source)
        bias = inputs.bias.on_edges(target, rows.source, rows.edge)
        scores = scores + bias.to(signature.accumulate)
    return scores.masked_fill(padded, -torch.inf), value


def _entries(tensor: Tensor, index: Tensor, dim: int) -> Tensor:
    """``tensor[..., index]`` along ``dim``; unlike that, its gradient adds up in a fixed order."""
    return tensor.index_select(dim, index.flatten()).unflatten(dim, index.shape)


def _multiplier(signature: AttentionSignature, rows: PaddedRows, inputs: Inputs) -> Tensor:
    """Dropout factors ``[*, H, T, K]``, or one."""
    if inputs.seed is None:
        return torch.ones((), device=rows.source.device)
    lead, T = inputs.query.shape[:-2], inputs.query.shape[-2]
    device = rows.source.device
    head = torch.arange(lead.numel(), device=device).view(*lead, 1, 1)
    target = torch.arange(T, device=device)[:, None]
    return dropout_multiplier(inputs.seed, signature.dropout, head, target, rows.source, rows.copy)

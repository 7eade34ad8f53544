"""Gather, segment softmax, scatter: what graph-learning libraries do, in plain torch.

Works for any graph, score, dtype and device, and materialises one row per edge: O(E * H * D)
memory. Sums run along sorted rows, so there are no atomics, and the backward runs on the reversed
CSR. Nodes are the leading dimension inside, so one gather fetches all heads of a node at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from edgewise.backends.base import Accepts, Backend, Refuses, Work, backward_by_recomputation
from edgewise.layouts import Csr, ReversedCsr, csr, reversed_csr
from edgewise.ops.bias import broadcast_lead
from edgewise.ops.dropout import dropout_multiplier
from edgewise.ops.inputs import Inputs
from edgewise.ops.segment import gather_sources, gather_targets, segment_max, segment_sum
from edgewise.ops.state import AttentionState, finite
from edgewise.problem import AggregateProblem, AttentionProblem, Problem

__all__ = ["Gather"]


@dataclass(frozen=True, eq=False)
class _Rows:
    rows: Csr
    columns: ReversedCsr


class Gather(Backend):
    """One row of memory for each edge, in plain torch, on any device."""

    name: ClassVar[str] = "gather"
    twice_differentiable: ClassVar[bool] = True

    def judge(self, problem: Problem) -> Accepts | Refuses:
        facts, size = problem.facts, 8 if problem.dtype == torch.float64 else 4
        T, S, E = facts.num_targets, facts.num_sources, facts.max_edges
        if isinstance(problem, AttentionProblem):
            way, heads = "rows of edges", problem.heads
            key, value = heads * problem.head_dim, heads * problem.value_dim
            width = (key + value) / 2
            kept = (2 * key + 2 * value + 4 * heads) * (1.5 if problem.needs_grad else 1)
            nodes = (T + S) * (key + value) * (1.5 if problem.needs_grad else 1)
        else:
            assert isinstance(problem, AggregateProblem)
            way, width = "messages", problem.channels
            copies = 1 + (problem.weighted or problem.needs_grad) + problem.needs_grad
            kept = problem.channels * copies * (2 if problem.weighted and problem.needs_grad else 1)
            kept *= 3 if problem.reduce == "max" else 1
            nodes = (2 * T + S) * problem.channels
        memory = int(problem.batch * size * (E * kept + nodes) + 40 * E)
        heads = problem.heads if isinstance(problem, AttentionProblem) else 1
        work = Work(E * problem.batch * width, E * problem.batch * heads, problem.batch * nodes)
        return Accepts(work, memory, way)

    def prepare(self, problem: Problem) -> _Rows:
        return _Rows(
            csr(problem.graph, problem.device), reversed_csr(problem.graph, problem.device)
        )

    def forward(self, problem: AttentionProblem, prepared: _Rows, inputs: Inputs) -> AttentionState:
        rows = prepared.rows
        scores, values = _scores_and_values(problem, prepared, inputs)  # [E, F], [E, F, Dv]
        top = segment_max(scores, rows)
        # A row that reads nothing sends nothing back, not even zero times NaN.
        empty = top == -torch.inf
        closed, top = empty.index_select(0, rows.target), finite(top)
        scores = torch.where(closed, scores.new_full((), -torch.inf), scores)
        share = torch.exp(scores - top.index_select(0, rows.target))
        total = segment_sum(share, rows)
        full = total != 0  # not above: NaN stays NaN
        safe = torch.where(full, total, torch.ones_like(total))
        lse = torch.where(full, top + torch.log(safe), torch.full_like(total, -torch.inf))
        weights = share / gather_targets(safe, rows)
        if inputs.seed is not None:
            weights = weights * _multiplier(problem, rows, inputs)
        out = segment_sum(weights[..., None] * values, rows)
        out = torch.where(empty[..., None], out.detach(), out)
        return AttentionState(
            _node_last(out, inputs.query).to(problem.dtype),
            lse.t().reshape(inputs.query.shape[:-1]),
        )

    def backward(
        self,
        problem: AttentionProblem,
        prepared: _Rows,
        inputs: Inputs,
        state: AttentionState,
        grad_out: Tensor,
        grad_lse: Tensor,
    ) -> Mapping[str, Tensor]:
        rows = prepared.rows

        def gradients(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            dout = _node_first(grad_out).to(scores.dtype)
            out = _node_first(state.out).to(scores.dtype)
            lse = _node_first(finite(state.lse)[..., None]).squeeze(-1)
            delta = (dout * out).sum(-1) - _node_first(grad_lse[..., None]).squeeze(-1)
            weights = torch.exp(scores - lse.index_select(0, rows.target))
            dout = dout.index_select(0, rows.target)
            change, kept = (dout * values).sum(-1), weights
            if inputs.seed is not None:
                multiplier = _multiplier(problem, rows, inputs)
                change, kept = change * multiplier, weights * multiplier
            return (weights * (change - delta.index_select(0, rows.target)), kept[..., None] * dout)

        return backward_by_recomputation(
            inputs, lambda leaves: _scores_and_values(problem, prepared, leaves), gradients
        )

    def aggregate(
        self, problem: AggregateProblem, prepared: _Rows, value: Tensor, weight: Tensor | None
    ) -> Tensor:
        rows = prepared.rows
        source = _node_first(value).to(problem.accumulate)  # [S, B, C]
        messages = gather_sources(source, rows, prepared.columns)
        if weight is not None:
            weight = weight.to(problem.accumulate)  # first: its gradient is a sum over the batch
            weight = weight if rows.edge is None else weight[..., rows.edge]
            factors = broadcast_lead(weight, value.shape[:-2], 1)
            messages = messages * factors.t()[..., None]
        if problem.reduce == "max":
            out = _segment_winner(messages, rows)
        else:
            out = segment_sum(messages, rows)
        if problem.reduce == "mean":
            degree = (rows.indptr[1:] - rows.indptr[:-1]).clamp(min=1)
            out = out / degree[:, None, None]
        return _node_last(out, value).to(problem.dtype)


def _segment_winner(messages: Tensor, rows: Csr) -> Tensor:
    """Largest message of each row and channel; the first of equals receives the gradient."""
    E, T = rows.num_edges, rows.num_targets
    if not E:
        return messages.sum(0, keepdim=True).expand(T, *messages.shape[1:])  # zeros, in the graph
    top = segment_max(messages, rows).index_select(0, rows.target)
    place = torch.arange(E, device=messages.device).view(-1, 1, 1)
    index = rows.target.view(-1, 1, 1).expand_as(messages)
    claims = torch.where((messages >= top) | messages.isnan(), place, E - 1)
    first = torch.full((T, *messages.shape[1:]), E - 1, device=messages.device)
    first = first.scatter_reduce(0, index, claims, "amin")
    empty = (rows.indptr[1:] == rows.indptr[:-1]).view(-1, 1, 1)
    return messages.gather(0, first).masked_fill(empty, 0.0)


def _scores_and_values(
    problem: AttentionProblem, prepared: _Rows, inputs: Inputs
) -> tuple[Tensor, Tensor]:
    """Scores ``[E, F]`` and values ``[E, F, Dv]`` in CSR order; ``F`` is batch times heads."""
    rows, columns = prepared.rows, prepared.columns
    group, lead = problem.heads // problem.kv_heads, inputs.query.shape[:-2]
    query = _node_first(inputs.query).to(problem.accumulate)
    key = _node_first(_all_heads(inputs.key, group)).to(problem.accumulate)
    value = _node_first(_all_heads(inputs.value, group)).to(problem.accumulate)
    query, key = gather_targets(query, rows), gather_sources(key, rows, columns)
    value = gather_sources(value, rows, columns)
    if inputs.edge_key is not None:
        key = key + _edge_first(inputs.edge_key, lead, rows, 2).to(problem.accumulate)
    if inputs.edge_value is not None:
        value = value + _edge_first(inputs.edge_value, lead, rows, 2).to(problem.accumulate)
    vector = inputs.vector
    if vector is not None:
        vector = vector.to(problem.accumulate).repeat(query.shape[1] // problem.heads, 1)  # [F, D]
    scores = problem.score.pair(query, key, vector)
    if inputs.bias is not None:
        values = inputs.bias.values.to(problem.accumulate)  # first: edges share its numbers
        bias = inputs.bias.with_values(values).on_edges(rows.target, rows.indices, rows.edge)
        scores = scores + broadcast_lead(bias, lead, 1).t()
    return scores, value


def _multiplier(problem: AttentionProblem, rows: Csr, inputs: Inputs) -> Tensor:
    """Dropout factors ``[E, F]``."""
    assert inputs.seed is not None
    head = torch.arange(inputs.query.shape[:-2].numel(), device=rows.target.device)
    copy = None if rows.copy is None else rows.copy[:, None]
    factors = dropout_multiplier(
        inputs.seed, problem.dropout, head, rows.target[:, None], rows.indices[:, None], copy
    )
    return factors.to(problem.accumulate)


def _all_heads(tensor: Tensor, group: int) -> Tensor:
    return tensor if group == 1 else tensor.repeat_interleave(group, -3)


def _node_first(tensor: Tensor) -> Tensor:
    """``[*, N, D]`` to ``[N, F, D]``, contiguous, so that a gather reads whole rows."""
    lead = tensor.flatten(0, -3) if tensor.ndim > 2 else tensor[None]
    return lead.transpose(0, 1).contiguous()


def _node_last(tensor: Tensor, like: Tensor) -> Tensor:
    """``[N, F, D]`` to ``[*, N, D]`` with the leading dimensions of ``like``."""
    return tensor.transpose(0, 1).reshape(*like.shape[:-2], *tensor.shape[::2])


def _edge_first(tensor: Tensor, lead: torch.Size, rows: Csr, tail: int) -> Tensor:
    """``[*batch|1, H|1, E, D]`` to ``[E, F, D]`` in CSR order."""
    ordered = tensor if rows.edge is None else tensor.index_select(-tail, rows.edge)
    return broadcast_lead(ordered, tuple(lead), tail).transpose(0, 1)

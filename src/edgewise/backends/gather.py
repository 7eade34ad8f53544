"""Gather, segment softmax, scatter in plain torch, as graph-learning libraries compute.

Works for any graph, score, dtype and device, and materialises one row per edge: O(E * H * D)
memory. Sums run along sorted rows, so there are no atomics, and the backward runs on the reversed
CSR. The equations are in `edgewise.ops.row_attention`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
from edgewise.layouts import Csr, ReversedCsr, csr, reversed_csr
from edgewise.ops.bias import broadcast_lead
from edgewise.ops.inputs import Inputs
from edgewise.ops.row_attention import (
    dropout_of_rows,
    node_first,
    node_last,
    row_attention,
    scores_and_values,
)
from edgewise.ops.segment import gather_sources, segment_max, segment_sum
from edgewise.ops.state import AttentionState, finite
from edgewise.problem import (
    AggregateProblem,
    AggregateSignature,
    AttentionProblem,
    AttentionSignature,
    Problem,
)

__all__ = ["Gather"]


@dataclass(frozen=True, eq=False)
class _EdgeRows:
    rows: Csr
    columns: ReversedCsr


class Gather(AttentionBackend, AggregateBackend):
    """The backend of gathered rows: one for each edge, in plain torch, on any device."""

    name = "gather"
    twice_differentiable: ClassVar[bool] = True
    forward_mode: ClassVar[bool] = True
    plain_operations: ClassVar[bool] = True

    def judge_attention(self, problem: AttentionProblem) -> Accepts:
        facts, heads = problem.facts, problem.heads
        key, value = heads * problem.head_dim, heads * problem.value_dim
        growth = 1.5 if problem.needs_grad else 1
        kept = (2 * key + 2 * value + 4 * heads) * growth
        nodes = (facts.num_targets + facts.num_sources) * (key + value) * growth
        return _accepts(problem, "rows of edges", (key + value) / 2, heads, kept, nodes)

    def judge_aggregate(self, problem: AggregateProblem) -> Accepts:
        facts, channels = problem.facts, problem.channels
        copies = 1 + (problem.weighted or problem.needs_grad) + problem.needs_grad
        kept = channels * copies * (2 if problem.weighted and problem.needs_grad else 1)
        kept *= 3 if problem.reduce == "max" else 1
        nodes = (2 * facts.num_targets + facts.num_sources) * channels
        return _accepts(problem, "messages", channels, 1, kept, nodes)

    def prepare_attention(self, problem: AttentionProblem) -> _EdgeRows:
        return _lowered(problem)

    def prepare_aggregate(self, problem: AggregateProblem) -> _EdgeRows:
        return _lowered(problem)

    def forward(
        self, signature: AttentionSignature, prepared: _EdgeRows, inputs: Inputs
    ) -> AttentionState:
        rows, columns = prepared.rows, prepared.columns
        return row_attention(rows, columns, signature.score, signature.dropout, inputs)

    def backward(
        self,
        signature: AttentionSignature,
        prepared: _EdgeRows,
        inputs: Inputs,
        state: AttentionState,
        grad_out: Tensor,
        grad_lse: Tensor,
    ) -> Mapping[str, Tensor]:
        rows = prepared.rows

        def gradients(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            dout = node_first(grad_out).to(scores.dtype)
            out = node_first(state.out).to(scores.dtype)
            lse = node_first(finite(state.lse)[..., None]).squeeze(-1)
            delta = (dout * out).sum(-1) - node_first(grad_lse[..., None]).squeeze(-1)
            weights = torch.exp(scores - lse.index_select(0, rows.target))
            dout = dout.index_select(0, rows.target)
            change, kept = (dout * values).sum(-1), weights
            if inputs.seed is not None:
                multiplier = dropout_of_rows(rows, signature.dropout, inputs)
                change, kept = change * multiplier, weights * multiplier
            return (weights * (change - delta.index_select(0, rows.target)), kept[..., None] * dout)

        return backward_by_recomputation(
            inputs,
            lambda leaves: scores_and_values(rows, prepared.columns, signature.score, leaves),
            gradients,
        )

    def aggregate(
        self,
        signature: AggregateSignature,
        prepared: _EdgeRows,
        value: Tensor,
        weight: Tensor | None,
    ) -> Tensor:
        rows = prepared.rows
        source = node_first(value).to(signature.accumulate)  # [S, B, C]
        messages = gather_sources(source, rows, prepared.columns)
        if weight is not None:
            weight = weight.to(signature.accumulate)  # first: its gradient is a sum over the batch
            weight = weight if rows.edge is None else weight[..., rows.edge]
            factors = broadcast_lead(weight, value.shape[:-2], 1)
            messages = messages * factors.t()[..., None]
        if signature.reduce == "max":
            out = _segment_winner(messages, rows)
        else:
            out = segment_sum(messages, rows)
        if signature.reduce == "mean":
            degree = (rows.indptr[1:] - rows.indptr[:-1]).clamp(min=1)
            out = out / degree[:, None, None]
        return node_last(out, value).to(signature.dtype)


def _accepts(
    problem: Problem, way: str, width: float, heads: int, kept: float, nodes: float
) -> Accepts:
    """The cost of one row of memory for each edge.

    Args:
        problem: What is planned.
        way: How it runs.
        width: Multiply-adds of an edge, for each head.
        heads: Exponentials of an edge.
        kept: Numbers of an edge in memory.
        nodes: Numbers of all nodes that are read or written.
    """
    size, edges = 8 if problem.dtype == torch.float64 else 4, problem.facts.max_edges
    memory = int(problem.batch * size * (edges * kept + nodes) + 40 * edges)
    work = Work(edges * problem.batch * width, edges * problem.batch * heads, problem.batch * nodes)
    return Accepts(work, memory, way)


def _lowered(problem: Problem) -> _EdgeRows:
    return _EdgeRows(
        csr(problem.graph, problem.device), reversed_csr(problem.graph, problem.device)
    )


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

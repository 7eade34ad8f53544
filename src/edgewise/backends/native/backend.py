"""The native backend: what it accepts, at which price, and how a call reaches the kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from edgewise.backends.base import Accepts, Backend, Refuses
from edgewise.backends.native import functions
from edgewise.backends.native.kernels import Operands, attention_backward, settings_of
from edgewise.backends.native.layout import Layout
from edgewise.backends.native.library import why_missing
from edgewise.graphs import recall
from edgewise.layouts import csr, edges
from edgewise.ops.bias import EdgeBias
from edgewise.ops.inputs import Inputs
from edgewise.ops.state import AttentionState
from edgewise.problem import AggregateProblem, AttentionProblem, Problem

__all__ = ["Native"]

_MOST_INDEX = 2**31 - 1
_MOST_CHANNELS = 512
_MOST_SHARING = 64


class Native(Backend):
    """One pass over the edges in compiled kernels; CPU."""

    name: ClassVar[str] = "native"
    twice_differentiable: ClassVar[bool] = False

    def judge(self, problem: Problem) -> Accepts | Refuses:
        reasons = _refusals(problem)
        if reasons:
            return Refuses(tuple(reasons))
        facts = problem.facts
        T, S, E = facts.num_targets, facts.num_sources, facts.max_edges
        size = problem.dtype.itemsize
        if isinstance(problem, AttentionProblem):
            key, value = problem.heads * problem.head_dim, problem.heads * problem.value_dim
            width, table = (key + value) / 2, S * (key + value) * size
            nodes = T * (value * size + 4 * problem.heads) + 2 * (T + S) * (key + value) * size
            if problem.needs_grad:
                nodes += (T + S) * (key + value) * size + 8 * T * problem.heads
            per_edge = problem.heads * 4 * (problem.bias is not None) * (2 if problem.needs_grad else 1)
            way = "fused rows"
        else:
            assert isinstance(problem, AggregateProblem)
            width, table = problem.channels, S * problem.channels * size
            nodes = 2 * (T + S) * problem.channels * size * (2 if problem.needs_grad else 1)
            per_edge = 4 * problem.weighted
            way = "fused messages"
        if table > _CACHE:
            way += " from memory"
        memory = int(problem.batch * (nodes + E * per_edge) + 16 * E)
        return Accepts(work=E * problem.batch * width, memory=memory, way=way)

    def prepare(self, problem: Problem) -> Layout:
        layout = recall(problem.graph, "native", lambda: Layout.of(csr(problem.graph)))
        if problem.needs_grad:
            _ = layout.reversed
        if isinstance(problem, AggregateProblem) and problem.reduce == "mean":
            _ = layout.degree
        if isinstance(problem, AttentionProblem) and problem.bias in ("relative", "dense"):
            found = edges(problem.graph)
            return layout.with_ends(found.target, found.source)
        return layout

    def forward(
        self, problem: AttentionProblem, prepared: Layout, inputs: Inputs
    ) -> AttentionState:
        settings = settings_of(problem.score, problem.head_dim, problem.dropout)
        operands = _operands(prepared, inputs)
        return AttentionState(*functions.attention(settings, prepared, operands, inputs.seed))

    def backward(
        self,
        problem: AttentionProblem,
        prepared: Layout,
        inputs: Inputs,
        state: AttentionState,
        grad_out: Tensor,
        grad_lse: Tensor,
    ) -> Mapping[str, Tensor]:
        leaves = inputs.leaves()
        with torch.enable_grad():
            operands = _operands(prepared, leaves)
        wanted = tuple(tensor is not None and tensor.requires_grad for tensor in operands)
        found = attention_backward(
            settings_of(problem.score, problem.head_dim, problem.dropout),
            prepared.rows,
            prepared.reversed,
            operands,
            inputs.seed,
            state.out,
            state.lse,
            grad_out,
            grad_lse,
            wanted,
        )
        named = {
            name: grad
            for name, grad in zip(Operands._fields, found, strict=True)
            if grad is not None
        }
        if "bias" in named and not isinstance(inputs.bias, EdgeBias):
            assert operands.bias is not None and leaves.bias is not None
            (named["bias"],) = torch.autograd.grad(
                operands.bias, leaves.bias.values, named["bias"]
            )
        return named

    def aggregate(
        self, problem: AggregateProblem, prepared: Layout, value: Tensor, weight: Tensor | None
    ) -> Tensor:
        if weight is not None and weight.dtype != value.dtype:
            weight = weight.to(value.dtype)
        if problem.reduce == "max":
            return functions.best_of_rows(prepared, value, weight)
        out = functions.sum_of_rows(prepared, value, weight, flip=False)
        return (out / prepared.degree).to(out.dtype) if problem.reduce == "mean" else out


_CACHE = 2 << 20  # bytes of keys and values that stay close to a core


def _operands(layout: Layout, inputs: Inputs) -> Operands:
    bias = inputs.bias
    values = None if bias is None else bias.values
    if bias is not None and not isinstance(bias, EdgeBias):
        assert layout.target is not None and layout.source is not None
        values = bias.on_edges(layout.target, layout.source, None)
    others = (inputs.vector, values, inputs.edge_key, inputs.edge_value)
    dtype = inputs.query.dtype
    alike = (t if t is None or t.dtype == dtype else t.to(dtype) for t in others)
    return Operands(inputs.query, inputs.key, inputs.value, *alike)


def _refusals(problem: Problem) -> list[str]:
    reasons: list[str] = []
    if problem.device.type != "cpu":
        reasons.append(f"the kernels run on the CPU, not on {problem.device.type}; move the tensors")
    missing = why_missing()
    if missing is not None:
        reasons.append(missing)
    facts = problem.facts
    if max(facts.num_targets, facts.num_sources, facts.max_edges) > _MOST_INDEX:
        reasons.append("nodes and edges are counted in 32 bits; use a smaller graph")
    if isinstance(problem, AttentionProblem):
        most = max(problem.head_dim, problem.value_dim)
        if most > _MOST_CHANNELS:
            reasons.append(
                f"head dimensions go up to {_MOST_CHANNELS}, got {most}; use more heads"
            )
        sharing = problem.heads // problem.kv_heads
        if sharing > _MOST_SHARING:
            reasons.append(
                f"up to {_MOST_SHARING} heads may share a key, got {sharing}; use more kv_heads"
            )
    return reasons

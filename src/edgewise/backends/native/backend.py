"""The native backend: which problems it accepts, their cost, and the calls of the kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from edgewise.backends.base import (
    LONG_WAY,
    Accepts,
    AggregateBackend,
    AttentionBackend,
    Refuses,
)
from edgewise.backends.native import functions
from edgewise.backends.native.kernels import attention_backward
from edgewise.backends.native.layout import Layout
from edgewise.backends.native.library import why_missing
from edgewise.backends.native.operands import Operands, settings_of
from edgewise.backends.native.price import (
    COPIES,
    SUM_LANES,
    bytes_of_features,
    bytes_of_layouts,
    bytes_of_tables,
    exponentials,
    far_bytes,
    in_tiles,
    is_copied,
    kept_bytes,
    may_order,
    ordered,
    work_of,
    worked_on,
)
from edgewise.backends.native.repeated_call import RepeatedCall
from edgewise.backends.native.row_order import in_better_order
from edgewise.graphs import recall
from edgewise.layouts import csr, edges, ragged
from edgewise.ops.bias import EdgeBias
from edgewise.ops.inputs import Inputs
from edgewise.ops.state import AttentionState, accumulate_dtype
from edgewise.problem import (
    AggregateProblem,
    AggregateSignature,
    AttentionProblem,
    AttentionSignature,
    Problem,
)

__all__ = ["Native"]

_MOST_INDEX = 2**31 - 1
_MOST_CHANNELS = 512
_MOST_SHARING = 64
_FEW_CHANNELS = 16  # of one head, up to which equal lengths side by side save more than they cost


class Native(AttentionBackend, AggregateBackend):
    """The backend of compiled kernels, which pass over the edges once, on the CPU."""

    name = "native"
    twice_differentiable: ClassVar[bool] = True

    def judge_attention(self, problem: AttentionProblem) -> Accepts | Refuses:
        reasons = _refusals(problem) + _refusals_of_heads(problem)
        if reasons:
            return Refuses(tuple(reasons))
        facts, heads, size = problem.facts, problem.heads, problem.dtype.itemsize
        T, S, E = facts.num_targets, facts.num_sources, facts.max_edges
        key, value = heads * problem.head_dim, heads * problem.value_dim
        nodes = T * (value * size + 4 * heads) + 2 * (T + S) * (key + value) * size
        if problem.needs_grad:
            nodes += (T + S) * (key + value) * size + 8 * T * heads
        biased = heads * 4 * (problem.bias is not None) * (2 if problem.needs_grad else 1)
        taken = problem.batch * (
            bytes_of_tables(problem, key, value) + kept_bytes(problem) + E * biased
        )
        way = "fused tiles" if in_tiles(problem) else "fused rows"
        far = 0.0 if way == "fused tiles" else far_bytes(facts, (key + value) * size)
        work = work_of(
            problem,
            width=heads * (worked_on(problem.head_dim) + worked_on(problem.value_dim)) / 2,
            heads=heads,
            entry=exponentials(problem),
            nodes=nodes,
            far=far + bytes_of_features(problem),
            calls=COPIES if is_copied(problem) else 1 if _short(problem) else LONG_WAY,
        )
        return Accepts(work, taken + bytes_of_layouts(problem), way)

    def judge_aggregate(self, problem: AggregateProblem) -> Accepts | Refuses:
        reasons = _refusals(problem)
        if reasons:
            return Refuses(tuple(reasons))
        facts = problem.facts
        T, S, E = facts.num_targets, facts.num_sources, facts.max_edges
        row = problem.channels * problem.dtype.itemsize
        taken = problem.batch * ((T + S * problem.needs_grad) * row + E * 4 * problem.weighted)
        work = work_of(
            problem,
            # The last vector of a row takes as long as a whole one.
            width=-(-problem.channels // SUM_LANES) * SUM_LANES,
            heads=1,
            entry=1 + (problem.reduce == "max"),  # a maximum stores its edge
            nodes=2 * (T + S) * row * (2 if problem.needs_grad else 1),
            far=far_bytes(facts, row),
            calls=1,
        )
        return Accepts(work, taken + bytes_of_layouts(problem), "fused messages")

    def prepare_attention(self, problem: AttentionProblem) -> Layout:
        layout = _lowered(problem)
        if problem.bias in ("relative", "dense"):
            ends = edges(problem.graph)
            return layout.with_ends(ends.target, ends.source)
        return layout

    def prepare_aggregate(self, problem: AggregateProblem) -> Layout:
        layout = _lowered(problem)
        if problem.reduce == "mean":
            _ = layout.share(problem.accumulate)
        return layout

    def note(self, problem: Problem) -> str | None:
        return _layout(problem).note if may_order(problem) else None

    def forward(
        self, signature: AttentionSignature, prepared: Layout, inputs: Inputs
    ) -> AttentionState:
        settings = settings_of(signature.score, signature.head_dim, signature.dropout)
        operands = _operands(prepared, inputs)
        out, lse = functions.attention(settings, prepared, operands, inputs.seed)
        return AttentionState(out.to(signature.dtype), lse)

    def shortcut(
        self, signature: AttentionSignature, prepared: Layout, inputs: Inputs
    ) -> RepeatedCall | None:
        settings = settings_of(signature.score, signature.head_dim, 0.0)
        if not _short(signature):
            return None
        return RepeatedCall.of(settings, prepared, _operands(prepared, inputs))

    def backward(
        self,
        signature: AttentionSignature,
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
        grads = attention_backward(
            settings_of(signature.score, signature.head_dim, signature.dropout),
            prepared.rows,
            prepared.reversed,
            operands,
            inputs.seed,
            [state.out, state.lse],
            grad_out,
            grad_lse,
            wanted,
        )
        originals, named = leaves.tensors(), dict[str, Tensor]()
        for name, operand, grad in zip(Operands._fields, operands, grads, strict=True):
            if grad is None or operand is None:
                continue
            original = originals[name]
            if operand is original:
                named[name] = grad
            else:  # a table of biases, or another dtype
                (named[name],) = torch.autograd.grad(operand, original, grad)
        return named

    def aggregate(
        self, signature: AggregateSignature, prepared: Layout, value: Tensor, weight: Tensor | None
    ) -> Tensor:
        weight = None if weight is None else weight.to(signature.accumulate)
        if signature.reduce == "max":
            return functions.best_of_rows(prepared, value, weight)
        if signature.reduce == "mean":
            if weight is None:
                return functions.mean_of_rows(prepared, value)
            weight = weight * prepared.share(signature.accumulate)
        return functions.sum_of_rows(prepared, value, weight, flip=False)


def _short(problem: AttentionSignature) -> bool:
    """Whether there is a shortcut: not with gradients in half precision, which keep two outputs."""
    return problem.plain and (problem.dtype == problem.accumulate or not problem.needs_grad)


def _lowered(problem: Problem) -> Layout:
    layout = _layout(problem)
    if problem.needs_grad:
        _ = layout.reversed
    return layout


def _layout(problem: Problem) -> Layout:
    """The rows of the graph, in a better order where training pays for computing one."""
    graph = problem.graph
    alike = isinstance(problem, AttentionProblem) and (
        problem.heads > 1 or max(problem.head_dim, problem.value_dim) <= _FEW_CHANNELS
    )
    key = "native, alike together" if alike else "native"
    plain = recall(graph, key, lambda: Layout.of(csr(graph), ragged(graph), alike=alike))
    if not may_order(problem):
        return plain
    ordered(graph).add("native")
    return recall(graph, "native in order", lambda: in_better_order(plain))


def _operands(layout: Layout, inputs: Inputs) -> Operands:
    bias, dtype = inputs.bias, inputs.query.dtype
    values = None
    if bias is not None:
        values = bias.values.to(accumulate_dtype(dtype))  # first: edges may share its numbers
        if not isinstance(bias, EdgeBias):
            assert layout.target is not None
            assert layout.source is not None
            values = bias.with_values(values).on_edges(layout.target, layout.source, None)
    tensors = (
        inputs.query,
        inputs.key,
        inputs.value,
        inputs.vector,
        inputs.edge_key,
        inputs.edge_value,
    )
    if any(tensor is not None and tensor.dtype != dtype for tensor in tensors):
        widest = accumulate_dtype(dtype)
        tensors = tuple(None if tensor is None else tensor.to(widest) for tensor in tensors)
    query, key, value, vector, edge_key, edge_value = tensors
    assert query is not None
    assert key is not None
    assert value is not None
    return Operands(query, key, value, vector, values, edge_key, edge_value)


def _refusals(problem: Problem) -> list[str]:
    reasons: list[str] = []
    if problem.device.type != "cpu":
        reasons.append(
            f"the kernels run on the CPU, not on {problem.device.type}; move the tensors"
        )
    missing = why_missing()
    if missing is not None:
        reasons.append(missing)
    facts = problem.facts
    if max(facts.num_targets, facts.num_sources, facts.max_edges) > _MOST_INDEX:
        reasons.append("nodes and edges are counted in 32 bits; use a smaller graph")
    return reasons


def _refusals_of_heads(problem: AttentionProblem) -> list[str]:
    reasons: list[str] = []
    most = max(problem.head_dim, problem.value_dim)
    if most > _MOST_CHANNELS:
        reasons.append(f"head dimensions go up to {_MOST_CHANNELS}, got {most}; use more heads")
    sharing = problem.heads // problem.kv_heads
    if sharing > _MOST_SHARING:
        reasons.append(
            f"up to {_MOST_SHARING} heads may share a key, got {sharing}; use more kv_heads"
        )
    return reasons

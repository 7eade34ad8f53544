"""The native backend: what it accepts, at which price, and how a call reaches the kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from edgewise.backends.base import LONG_WAY, Accepts, Backend, Refuses, Work
from edgewise.backends.native import functions
from edgewise.backends.native.kernels import (
    READ_OFTEN,
    STEP,
    Operands,
    attention_backward,
    settings_of,
)
from edgewise.backends.native.layout import TILE, Layout
from edgewise.backends.native.library import why_missing
from edgewise.backends.native.order import in_better_order, may_pay
from edgewise.backends.native.shortcut import Shortcut
from edgewise.graphs import Facts, Graph, recall
from edgewise.layouts import csr, edges, fill_of_clusters, ragged
from edgewise.ops.bias import EdgeBias
from edgewise.ops.inputs import Inputs
from edgewise.ops.scores import Dot
from edgewise.ops.state import AttentionState, accumulate_dtype
from edgewise.problem import AggregateProblem, AttentionProblem, Problem

__all__ = ["Native", "kept_between_passes"]

_MOST_INDEX = 2**31 - 1
_MOST_CHANNELS = 512
_MOST_SHARING = 64
_FEW_CHANNELS = 16  # of one head, up to which equal lengths side by side save more than they cost


class Native(Backend):
    """One pass over the edges in compiled kernels; CPU."""

    name: ClassVar[str] = "native"
    twice_differentiable: ClassVar[bool] = True

    def judge(self, problem: Problem) -> Accepts | Refuses:
        reasons = _refusals(problem)
        if reasons:
            return Refuses(tuple(reasons))
        facts = problem.facts
        T, S, E = facts.num_targets, facts.num_sources, facts.max_edges
        size = problem.dtype.itemsize
        if isinstance(problem, AttentionProblem):
            key, value = problem.heads * problem.head_dim, problem.heads * problem.value_dim
            worked_on = _worked_on(problem.head_dim) + _worked_on(problem.value_dim)
            width = problem.heads * worked_on / 2
            row = (key + value) * size
            entry = _entry(problem)
            nodes = T * (value * size + 4 * problem.heads) + 2 * (T + S) * (key + value) * size
            if problem.needs_grad:
                nodes += (T + S) * (key + value) * size + 8 * T * problem.heads
            taken = _tables(problem, key, value) + _kept(problem)
            per_edge = (
                problem.heads * 4 * (problem.bias is not None) * (2 if problem.needs_grad else 1)
            )
            way = "fused tiles" if _in_tiles(problem) else "fused rows"
            calls = _COPIES if _copied(problem) else 1 if _short(problem) else LONG_WAY
        else:
            assert isinstance(problem, AggregateProblem)
            # The last vector of a row takes as long as a whole one.
            width = -(-problem.channels // _SUM_LANES) * _SUM_LANES
            row = problem.channels * size
            entry = 1 + (problem.reduce == "max")  # a maximum remembers whose it is
            nodes = 2 * (T + S) * problem.channels * size * (2 if problem.needs_grad else 1)
            taken = (T + S * problem.needs_grad) * problem.channels * size
            per_edge = 4 * problem.weighted
            way, calls = "fused messages", 1
        layouts = 2 if _may_order(problem) else 1
        memory = int(
            problem.batch * (taken + E * per_edge)
            + layouts * _LAYOUT * (1 + problem.needs_grad) * E
        )
        heads = problem.heads if isinstance(problem, AttentionProblem) else 1
        near = min(1.0, _CACHE / max(_reach(facts) * row, 1))
        far = 0.0 if way == "fused tiles" else row * (1 - near)
        far += _features(problem)
        work = Work(
            products=E * problem.batch * width,
            entries=problem.batch * (E * (heads * entry + _EDGE) + T * heads * _ROW),
            numbers=problem.batch * nodes / size,
            misses=_far_reads(problem) * problem.batch * far,
            calls=calls,
        )
        return Accepts(work, memory, way)

    def prepare(self, problem: Problem) -> Layout:
        layout = _layout(problem)
        if problem.needs_grad:
            _ = layout.reversed
        if isinstance(problem, AggregateProblem) and problem.reduce == "mean":
            _ = layout.share(problem.accumulate)
        if isinstance(problem, AttentionProblem) and problem.bias in ("relative", "dense"):
            found = edges(problem.graph)
            return layout.with_ends(found.target, found.source)
        return layout

    def note(self, problem: Problem) -> str | None:
        return _layout(problem).note if _may_order(problem) else None

    def forward(
        self, problem: AttentionProblem, prepared: Layout, inputs: Inputs
    ) -> AttentionState:
        settings = settings_of(problem.score, problem.head_dim, problem.dropout)
        operands = _operands(prepared, inputs)
        out, lse = functions.attention(settings, prepared, operands, inputs.seed)
        return AttentionState(out.to(problem.dtype), lse)

    def shortcut(
        self, problem: AttentionProblem, prepared: Layout, inputs: Inputs
    ) -> Shortcut | None:
        settings = settings_of(problem.score, problem.head_dim, 0.0)
        if not _short(problem):
            return None
        return Shortcut.of(settings, prepared, _operands(prepared, inputs))

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
            [state.out, state.lse],
            grad_out,
            grad_lse,
            wanted,
        )
        originals, named = leaves.tensors(), dict[str, Tensor]()
        for name, operand, grad in zip(Operands._fields, operands, found, strict=True):
            if grad is None or operand is None:
                continue
            original = originals[name]
            if operand is original:
                named[name] = grad
            else:  # a table of biases, or another dtype
                (named[name],) = torch.autograd.grad(operand, original, grad)
        return named

    def aggregate(
        self, problem: AggregateProblem, prepared: Layout, value: Tensor, weight: Tensor | None
    ) -> Tensor:
        weight = None if weight is None else weight.to(problem.accumulate)
        if problem.reduce == "max":
            return functions.best_of_rows(prepared, value, weight)
        if problem.reduce == "mean":
            if weight is None:
                return functions.mean_of_rows(prepared, value)
            weight = weight * prepared.share(problem.accumulate)
        return functions.sum_of_rows(prepared, value, weight, flip=False)


_SUM_LANES = 8  # channels that sums work on at a time, at least
# What native/variant/tiles.cpp has room for.
_LANES = 16
_TILE_NUMBERS = 8192  # of a tile's keys or values
_TILE_COLUMNS = 512


def _worked_on(dim: int) -> float:
    """Channels that the kernels work on for those of a head.

    Half of the work is products, which take whole vectors; totals take a row as it is. Short heads
    share vectors, but what is done for each of them takes as long as eight channels.
    """
    short = max(dim, _LANES // 2)
    return (short + (short if dim <= _LANES // 2 else -(-dim // _LANES) * _LANES)) / 2


def _short(problem: AttentionProblem) -> bool:
    """Whether there is a shortcut; with gradients a low output is kept in two precisions."""
    return problem.plain and (problem.dtype == problem.accumulate or not problem.needs_grad)


def _in_tiles(problem: AttentionProblem) -> bool:
    """Whether facts prove that the graph is small complete blocks, as `layout.tiles_of` finds."""
    facts, dim = problem.facts, -(-max(problem.head_dim, problem.value_dim) // 8) * 8
    rows, columns = facts.cuts.target_sizes, facts.cuts.source_sizes
    complete = facts.simple and facts.exact_edges and facts.max_edges == facts.cuts.num_pairs
    if not complete or not rows.all() or not columns.all():
        return False
    widest = -(-int(columns.max()) // _LANES) * _LANES
    return (
        isinstance(problem.score, Dot)
        and not (problem.bias or problem.edge_key or problem.edge_value)
        and TILE * len(rows) <= facts.num_targets
        and TILE * facts.num_targets <= facts.max_edges
        and widest <= _TILE_COLUMNS
        and widest * dim <= _TILE_NUMBERS
    )


_CACHE = 2 << 20  # bytes of keys and values that stay close to a core

_LAYOUT = 24  # bytes of an edge in what `prepare` makes for one direction


def _tables(problem: AttentionProblem, key: int, value: int) -> int:
    """Bytes of what is returned or copied: tables of nodes by the channels of all heads."""
    T, S, size = problem.facts.num_targets, problem.facts.num_sources, problem.dtype.itemsize
    read = T * key + S * (key + value)
    found = T * value * size + 4 * T * problem.heads
    if problem.needs_grad:  # half precision keeps its output in float32
        found += read * size + 8 * T * problem.heads + T * value * 4 * (size == 2)
    copies = read + T * value * problem.needs_grad
    return found + copies * size * _copied(problem)


_ALWAYS_KEPT = 2 << 20  # bytes


def kept_between_passes(
    batch: int,
    heads: int,
    kv_heads: int,
    targets: int,
    sources: int,
    edges: int,
    channels: int,
    dtype: torch.dtype,
) -> int:
    """Bytes that one pass of the backward keeps for the other: two numbers for each edge and head.

    The same as `numbers_kept` in native/variant/backward.cpp: 0 where that is more than what query,
    key, value and output hold together, and more than 2 MiB.

    Args:
        batch: Tensors of a batch.
        heads: Of queries.
        kv_heads: Of keys.
        targets: Rows.
        sources: Columns.
        edges: Edges.
        channels: Of a key and a value together.
        dtype: Of the tensors.
    """
    kept = 2 * batch * heads * edges * accumulate_dtype(dtype).itemsize
    tensors = batch * (heads * targets + kv_heads * sources) * channels * dtype.itemsize
    return kept if kept <= max(tensors, _ALWAYS_KEPT) else 0


def _kept(problem: AttentionProblem) -> int:
    if not problem.needs_grad or _in_tiles(problem):
        return 0
    facts = problem.facts
    kept = kept_between_passes(
        problem.batch,
        problem.heads,
        problem.kv_heads,
        facts.num_targets,
        facts.num_sources,
        facts.max_edges,
        problem.head_dim + problem.value_dim,
        problem.dtype,
    )
    return kept // max(problem.batch, 1)


_COPIES = 4.0  # calls, where heads are put side by side: three tensors, and no shortcut


def _copied(problem: Problem) -> bool:
    """Whether queries, keys and values are copied first; see `kernels._storage`."""
    facts = problem.facts
    if not isinstance(problem, AttentionProblem) or problem.heads == 1:
        return False
    often = facts.max_edges >= READ_OFTEN * max(facts.num_targets, facts.num_sources)
    widest = problem.heads * max(problem.head_dim, problem.value_dim) * problem.dtype.itemsize
    return often and widest <= STEP


# What else takes time, in exponentials.
_EDGE = 4.0  # an edge, whatever its heads and channels
_ROW = 30.0  # a row of a head: its maximum, its sum, its output
_SOFT_CAP = 5.0
_DROPOUT = 5.0  # the hash
_BIAS = {"edge": 1.0, "relative": 1.5, "dense": 5.0}


def _entry(problem: AttentionProblem) -> float:
    """How many exponentials one number of an edge takes as long as."""
    capped = isinstance(problem.score, Dot) and problem.score.softcap is not None
    bias = 0.0 if problem.bias is None else _BIAS[problem.bias]
    return 1 + _SOFT_CAP * capped + _DROPOUT * (problem.dropout > 0) + bias


def _features(problem: Problem) -> int:
    """Bytes that only one edge reads."""
    if not isinstance(problem, AttentionProblem):
        return 0
    channels = problem.edge_key * problem.head_dim + problem.edge_value * problem.value_dim
    return channels * problem.dtype.itemsize


def _reach(facts: Facts) -> int:
    """Sources that rows beside each other read: those stay in the cache from row to row."""
    widest = int(facts.cuts.source_sizes.max()) if len(facts.cuts.source_sizes) else 0
    return max(0, min(facts.num_sources, facts.left + facts.right + 1, widest))


def _far_reads(problem: Problem) -> int:
    """Rows of sources that may come from beyond the caches: those of a cluster come once."""
    tiles = fill_of_clusters(problem.graph)
    edges_ = problem.facts.max_edges
    return edges_ if tiles is None else min(edges_, tiles.num_tiles * tiles.columns)


def _table(problem: Problem) -> int:
    """Bytes of what the sources hold."""
    if isinstance(problem, AttentionProblem):
        channels = problem.kv_heads * (problem.head_dim + problem.value_dim)
    else:
        assert isinstance(problem, AggregateProblem)
        channels = problem.channels
    return problem.facts.num_sources * channels * problem.dtype.itemsize


def _layout(problem: Problem) -> Layout:
    """The rows of the graph, in an order of their own where training pays for finding one."""
    graph = problem.graph
    alike = isinstance(problem, AttentionProblem) and (
        problem.heads > 1 or max(problem.head_dim, problem.value_dim) <= _FEW_CHANNELS
    )
    key = "native, alike together" if alike else "native"
    plain = recall(graph, key, lambda: Layout.of(csr(graph), ragged(graph), alike=alike))
    if not _may_order(problem):
        return plain
    _ordered(graph).add("native")
    return recall(graph, "native in order", lambda: in_better_order(plain))


def _may_order(problem: Problem) -> bool:
    """Whether an order may pay; without gradients, whether one has been looked for before."""
    facts = problem.facts
    looked = bool(_ordered(problem.graph))
    return may_pay(
        facts.num_targets,
        facts.max_edges,
        _table(problem),
        needs_grad=problem.needs_grad or looked,
    )


def _ordered(graph: Graph) -> set[str]:
    """Not empty once an order has been looked for."""
    return recall(graph, "native orders", set[str])


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
    if isinstance(problem, AttentionProblem):
        most = max(problem.head_dim, problem.value_dim)
        if most > _MOST_CHANNELS:
            reasons.append(f"head dimensions go up to {_MOST_CHANNELS}, got {most}; use more heads")
        sharing = problem.heads // problem.kv_heads
        if sharing > _MOST_SHARING:
            reasons.append(
                f"up to {_MOST_SHARING} heads may share a key, got {sharing}; use more kv_heads"
            )
    return reasons

"""The dense backend: every target-source pair, by torch's ``scaled_dot_product_attention``.

Complete and causal graphs need no mask. Other graphs pay for all pairs and a mask, cached on the
graph. Where torch's fused kernel computes something else (log-sum-exp,
dropout that can be repeated, soft cap, additive scores) the same matrix is written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from edgewise.backends.base import (
    LONG_WAY,
    Accepts,
    AggregateBackend,
    AttentionBackend,
    Refuses,
    Work,
    backward_by_recomputation,
    refusals_of_edge_features,
    scale_of,
)
from edgewise.backends.dense.pairs import (
    Pairs,
    dropout_factors,
    float_mask,
    one_batch_dimension,
    scores_and_values,
)
from edgewise.backends.dense.twice import twice_differentiable
from edgewise.backends.dense.whole import TracedWhole, Whole
from edgewise.backends.tiled import Cut, hides
from edgewise.graphs import recall
from edgewise.layouts import Csr, csr, dense_mask
from edgewise.ops.cpu_flash import above_zero
from edgewise.ops.inputs import Inputs
from edgewise.ops.scores import Additive, Dot
from edgewise.ops.state import AttentionState, finite
from edgewise.ops.tracing import differentiated_again, is_intercepted
from edgewise.problem import (
    AggregateProblem,
    AggregateSignature,
    AttentionProblem,
    AttentionSignature,
    Problem,
)

__all__ = ["Dense"]


@dataclass(frozen=True, eq=False)
class _Matrix:
    """The matrix of a graph, by which values are multiplied.

    Attributes:
        copies: ``[T, S]``, the number of times each pair is an edge.
        rows: The entries of the edges, by row; None unless edges have weights.
    """

    copies: Tensor
    rows: Csr | None


class Dense(AttentionBackend, AggregateBackend):
    """The backend of all pairs, on matrix units; masked unless the graph is complete or causal."""

    name = "dense"
    twice_differentiable: ClassVar[bool] = True
    forward_mode: ClassVar[bool] = True
    plain_operations: ClassVar[bool] = True

    def judge_attention(self, problem: AttentionProblem) -> Accepts | Refuses:
        reasons = _refusals(problem)
        if reasons:
            return Refuses(tuple(reasons))
        facts = problem.facts
        pairs = facts.num_targets * facts.num_sources
        free = _maskless(problem)
        heads = problem.batch * problem.heads
        channels = (problem.head_dim + problem.value_dim) / 2
        numbers = (facts.num_targets + facts.num_sources) * heads * channels
        taken = _causal_pairs(pairs, facts.num_sources) if free and not facts.complete else pairs
        calls = 1 if problem.plain else LONG_WAY
        work = Work(taken * heads * channels, taken * heads * _entry(problem), numbers, calls=calls)
        size = 8 if problem.dtype == torch.float64 else 4
        if not _fused(problem) and not _with_lse(problem):
            way = "softmax of all pairs" + (", dropout" if problem.dropout else "")
            entry = size * (6 if problem.needs_grad else 4)
            entry = max(entry, 36) if problem.dropout else entry  # counters are int64
            memory = pairs * heads * entry
            return Accepts(work, memory, way=way, pairs=pairs, spreads=not facts.complete)
        rows = _tables(problem, problem.dtype.itemsize)
        mask = 0 if free else pairs * (1 + size)
        if problem.bias is not None:
            mask += pairs * heads * size * (4 if problem.needs_grad else 2)
        if problem.head_dim != problem.value_dim:  # torch's fused CPU kernel needs them equal
            mask += 3 * pairs * heads * size
        way = "sdpa" if free else "sdpa + mask"
        hidden = hides(problem, facts.num_sources)
        spreads = hidden or not facts.complete
        return Accepts(work, rows + mask, way=way, pairs=taken, spreads=spreads, hides=hidden)

    def judge_aggregate(self, problem: AggregateProblem) -> Accepts | Refuses:
        if problem.reduce == "max":
            return Refuses(("a maximum over sources is not a matrix product; use sum or mean",))
        size = 8 if problem.dtype == torch.float64 else 4
        facts = problem.facts
        pairs = facts.num_targets * facts.num_sources
        matrices = 1 + problem.batch * (4 if problem.needs_grad else 2) * problem.weighted
        nodes = (facts.num_targets + facts.num_sources) * problem.batch * problem.channels
        memory = pairs * (1 + matrices * size) + nodes * size
        entries, calls = pairs, 1
        if problem.weighted:  # each edge is put in its place
            entries, calls = pairs + _PLACED * problem.batch * facts.max_edges, 2
        work = Work(pairs * problem.batch * problem.channels, entries, nodes, calls=calls)
        spreads = not facts.complete
        return Accepts(work, memory, way="matrix product", pairs=pairs, spreads=spreads)

    def prepare_attention(self, problem: AttentionProblem) -> Pairs:
        facts, graph, device = problem.facts, problem.graph, problem.device
        per_edge, fused, maskless = problem.bias == "edge", _fused(problem), _maskless(problem)
        with_lse = _with_lse(problem)

        def lower() -> Pairs:
            causal = maskless and not facts.complete
            mask = None if maskless or facts.complete else dense_mask(graph, device).mask
            empty = None
            if mask is not None and facts.min_in_degree == 0:
                empty = ~mask.any(-1, keepdim=True)
                empty = empty if bool(empty.any()) else None
            log_copies = None if facts.simple else torch.log(_copies(problem))
            rows = csr(graph, device) if per_edge else None
            open_mask = mask if mask is None or empty is None else mask | empty
            whole = _whole(problem, open_mask, log_copies, empty, causal) if with_lse else None
            return Pairs(mask, open_mask, causal, empty, log_copies, rows, fused, whole)

        key = ("dense", str(device), problem.accumulate, per_edge, fused, maskless, with_lse)
        return recall(graph, key, lower)

    def prepare_aggregate(self, problem: AggregateProblem) -> _Matrix:
        graph, device, weighted = problem.graph, problem.device, problem.weighted

        def lower() -> _Matrix:
            return _Matrix(_copies(problem), csr(graph, device) if weighted else None)

        key = ("dense sums", str(device), problem.accumulate, weighted)
        return recall(graph, key, lower)

    def attend(self, signature: AttentionSignature, prepared: Pairs, inputs: Inputs) -> Tensor:
        tensors = (inputs.query, inputs.key, inputs.value)
        if not prepared.fused or not _has_pairs(inputs) or differentiated_again(tensors):
            return self.forward(signature, prepared, inputs).out
        mask = float_mask(signature, prepared, inputs)
        mask = prepared.open_mask if mask is None else mask
        query, scale = above_zero(inputs.query, scale_of(signature))
        lead = query.shape[:-2]
        out = scaled_dot_product_attention(
            one_batch_dimension(query),
            one_batch_dimension(inputs.key),
            one_batch_dimension(inputs.value),
            attn_mask=mask,
            is_causal=prepared.causal,
            scale=scale,
            enable_gqa=bool(signature.heads != signature.kv_heads),
        )
        out = twice_differentiable(out)
        out = out if prepared.empty is None else out.masked_fill(prepared.empty, 0)
        return out.reshape(*lead, *out.shape[-2:])

    def shortcut(
        self, signature: AttentionSignature, prepared: Pairs, inputs: Inputs
    ) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
        tensors = (inputs.query, inputs.key, inputs.value)
        fits_kernel = all(t.ndim == 4 and t.stride(-1) == 1 and t.shape[-2] for t in tensors)
        if not prepared.fused or prepared.empty is not None or not fits_kernel:
            return None
        scale = scale_of(signature)
        if above_zero(inputs.query, scale)[1] != scale:
            return None
        mask = float_mask(signature, prepared, inputs)
        attend = partial(
            scaled_dot_product_attention,
            attn_mask=prepared.open_mask if mask is None else mask,
            is_causal=prepared.causal,
            scale=scale,
            enable_gqa=signature.heads != signature.kv_heads,
        )

        def short(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            if torch.is_autocast_enabled("cpu"):
                with torch.autocast("cpu", enabled=False):
                    return twice_differentiable(attend(query, key, value))
            return twice_differentiable(attend(query, key, value))

        return short

    def forward(
        self, signature: AttentionSignature, prepared: Pairs, inputs: Inputs
    ) -> AttentionState:
        tensors = (inputs.query, inputs.key, inputs.value)
        if prepared.whole is not None and _has_pairs(inputs) and not is_intercepted(tensors):
            return prepared.whole.attention(signature, inputs)
        scores, values = scores_and_values(signature, prepared, inputs)
        empty = (scores == -torch.inf).all(-1)  # no source, or a bias that forbids them all
        filled = scores.masked_fill(empty[..., None], 0.0)
        lse = torch.logsumexp(filled, -1).masked_fill(empty, -torch.inf)  # [*, H, T]
        weights = torch.softmax(filled, -1).masked_fill(empty[..., None], 0.0)
        if inputs.seed is not None:
            weights = weights * dropout_factors(signature, inputs)
        out = weights @ values
        return AttentionState(out.to(signature.dtype), lse)

    def backward(
        self,
        signature: AttentionSignature,
        prepared: Pairs,
        inputs: Inputs,
        state: AttentionState,
        grad_out: Tensor,
        grad_lse: Tensor,
    ) -> Mapping[str, Tensor]:
        if prepared.whole is not None and _has_pairs(inputs):
            return prepared.whole.gradients(signature, inputs, state, grad_out, grad_lse)

        def of_scores_and_values(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            dout, out = grad_out.to(scores.dtype), state.out.to(scores.dtype)
            lse = finite(state.lse)[..., None]
            weights = torch.exp(scores - lse)  # zero off the graph: scores are -inf
            change, kept = dout @ values.mT, weights
            if inputs.seed is not None:
                multiplier = dropout_factors(signature, inputs)
                change, kept = change * multiplier, weights * multiplier
            delta = (dout * out).sum(-1) - grad_lse
            return weights * (change - delta[..., None]), kept.mT @ dout

        return backward_by_recomputation(
            inputs,
            lambda leaves: scores_and_values(signature, prepared, leaves),
            of_scores_and_values,
        )

    def aggregate(
        self, signature: AggregateSignature, prepared: _Matrix, value: Tensor, weight: Tensor | None
    ) -> Tensor:
        matrix = prepared.copies
        if weight is not None:
            rows = prepared.rows
            assert rows is not None
            ordered = weight if rows.edge is None else weight[..., rows.edge]
            place = rows.target * matrix.shape[-1] + rows.indices
            flat = ordered.new_zeros(
                (*weight.shape[:-1], matrix.numel()), dtype=signature.accumulate
            )
            flat = flat.index_add(-1, place, ordered.to(signature.accumulate))
            matrix = flat.unflatten(-1, matrix.shape)
        out = matrix @ value.to(signature.accumulate)
        if signature.reduce == "mean":
            out = out / prepared.copies.sum(-1, keepdim=True).clamp(min=1)
        return out.to(signature.dtype)


def _refusals(problem: AttentionProblem) -> list[str]:
    reasons: list[str] = []
    if not isinstance(problem.score, Dot | Additive):
        reasons.append(
            f"{type(problem.score).__name__} scores are not a matrix product; use Dot or Additive"
        )
    reasons += refusals_of_edge_features(problem, "matrix entries")
    if not problem.facts.simple:
        if problem.bias == "edge":
            reasons.append(
                "the graph may hold copies of an edge, each with its own bias, and a "
                "matrix entry holds one; merge the copies"
            )
        if problem.dropout:
            reasons.append(
                "the graph may hold copies of an edge, which dropout tells apart, and "
                "a matrix entry holds one; merge the copies"
            )
    return reasons


def _tables(problem: AttentionProblem, size: int) -> int:
    """Bytes of output and log-sum-exp, and of gradients with the output that torch transposes."""
    T, S = problem.facts.num_targets, problem.facts.num_sources
    key, value = problem.head_dim * size, problem.value_dim * size
    total = T * (value + 4) + (T * (key + value) + S * (key + value)) * problem.needs_grad
    if problem.heads != problem.kv_heads:
        total += S * (key + value)
    return problem.batch * problem.heads * total


# Cost of a pair that has a number of its own, in exponentials.
_PLACED = 4
_BIAS = {"edge": 4, "relative": 4, "dense": 1}
_COLUMNS = 512  # that torch's kernel takes at a time: it leaves out whole blocks of a causal mask


def _entry(problem: AttentionProblem) -> int:
    return 1 if problem.bias is None else 1 + _BIAS[problem.bias]


def _causal_pairs(pairs: int, num_sources: int) -> float:
    """Pairs that torch's kernel computes of a causal mask."""
    return pairs * min(1.0, (num_sources + _COLUMNS) / (2 * num_sources))


def _maskless(problem: AttentionProblem) -> bool:
    """Whether torch needs no mask: complete, or exactly its own causal mask."""
    facts = problem.facts
    square = facts.num_targets == facts.num_sources
    plain = (_fused(problem) or _with_lse(problem)) and problem.bias is None
    return plain and (facts.complete or (facts.fully_causal and square))


def _fused(problem: AttentionProblem) -> bool:
    """Whether torch's own kernel computes this problem exactly."""
    plain = isinstance(problem.score, Dot) and problem.score.softcap is None
    extra = problem.bias is not None or not problem.facts.simple
    low = problem.dtype in (torch.bfloat16, torch.float16)
    return plain and not problem.wants_lse and not problem.dropout and not (extra and low)


def _with_lse(problem: AttentionProblem) -> bool:
    """Whether torch's kernel with a log-sum-exp computes this problem exactly."""
    alone = replace(problem, wants_lse=False)
    return problem.wants_lse and _fused(alone) and not problem.bias and problem.device.type == "cpu"


def _whole(
    problem: Problem,
    mask: Tensor | None,
    log_copies: Tensor | None,
    empty: Tensor | None,
    causal: bool,
) -> Cut:
    """The graph as one piece for torch's kernel.

    Args:
        problem: What is planned.
        mask: ``[T, S]``, bool, with empty rows opened; None for none.
        log_copies: ``[T, S]``, added to the scores; None for none.
        empty: ``[T, 1]``, bool; None where every target has a source.
        causal: Whether torch's own causal mask is used.
    """
    added = log_copies
    if mask is not None:
        added = torch.zeros(mask.shape, dtype=problem.accumulate) if added is None else added
        added = added.masked_fill(~mask, -torch.inf)
    whole = Whole(added, causal, None if empty is None else empty[:, 0])
    return Cut(whole, TracedWhole(whole))


def _has_pairs(inputs: Inputs) -> bool:
    return bool(inputs.query.shape[-2] and inputs.key.shape[-2])


def _copies(problem: Problem) -> Tensor:
    """The number of times each pair is an edge: ``[T, S]``."""
    facts = problem.facts
    shape = (facts.num_targets, facts.num_sources)
    if facts.complete:
        return torch.ones(shape, dtype=problem.accumulate, device=problem.device)
    if facts.simple:
        return dense_mask(problem.graph, problem.device).mask.to(problem.accumulate)
    rows = csr(problem.graph, problem.device)
    zeros = torch.zeros(shape, dtype=problem.accumulate, device=problem.device)
    ones = torch.ones((), dtype=problem.accumulate, device=problem.device)
    return zeros.index_put((rows.target, rows.indices), ones, accumulate=True)

"""The backend: which graphs are ragged batches, and what computing them takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from edgewise import layouts
from edgewise.backends.base import Accepts, AttentionBackend, Refuses, Work
from edgewise.backends.fused import attention, gradients, hides, refusals, scale_of
from edgewise.backends.ragged.bins import Bin, bins
from edgewise.backends.ragged.buckets import Bucket
from edgewise.backends.ragged.flash import Buckets, blocks_at_once
from edgewise.backends.ragged.written import Written
from edgewise.graphs import recall
from edgewise.ops.inputs import Inputs
from edgewise.ops.state import AttentionState
from edgewise.ops.tracing import looked_into
from edgewise.problem import AttentionProblem, AttentionSignature, Problem

__all__ = ["Ragged"]


@dataclass(frozen=True, eq=False)
class _Cut:
    """A ragged graph, cut for torch's kernel and for those who look into it."""

    buckets: Buckets
    written: Written


# The same kernel on the same tensors, without cutting them out.
_ONE = "a single block is dense as it is; ask for it with backend='ragged'"


class Ragged(AttentionBackend):
    """Batches of complete and causal graphs: torch's fused attention on blocks of alike sizes."""

    name: ClassVar[str] = "ragged"
    twice_differentiable: ClassVar[bool] = True
    forward_mode: ClassVar[bool] = True

    def judge_attention(self, problem: AttentionProblem) -> Accepts | Refuses:
        reasons = _refusals(problem)
        if reasons:
            return Refuses(tuple(reasons))
        found = _bins(problem)
        planes = problem.batch * problem.heads
        dim = max(problem.head_dim, problem.value_dim)
        pairs = sum(one.num_pairs for one in found)
        nodes = sum(len(one.members) * (one.rows + one.columns) for one in found)
        hidden = hides(problem, min((one.columns for one in found), default=0))
        work = Work(
            pairs * planes * dim, pairs * planes, nodes * planes * dim, calls=max(1, len(found))
        )
        return Accepts(
            work,
            _memory(problem, found, planes, dim),
            way="blocks",
            pairs=pairs,
            on_request=_ONE if _is_dense(problem) else None,
            # Every target of a complete block reads what a NaN there spreads to.
            spreads=hidden or any(one.causal for one in found),
            hides=hidden,
        )

    def prepare_attention(self, problem: AttentionProblem) -> _Cut:
        found, parted = layouts.ragged(problem.graph), _bins(problem)
        assert found is not None

        def cut() -> _Cut:
            parts = tuple(Bucket.of(found, one) for one in parted)
            buckets = Buckets(parts, not found.holds_all_targets, not found.holds_all_sources)
            return _Cut(buckets, Written.of(found))

        return recall(problem.graph, "buckets", cut)

    def forward(
        self, signature: AttentionSignature, prepared: _Cut, inputs: Inputs
    ) -> AttentionState:
        tensors, plain = (inputs.query, inputs.key, inputs.value), prepared.written.forward
        if looked_into(tensors):
            return AttentionState(*plain(tensors, scale_of(signature)))
        return attention(plain, signature, prepared.buckets, inputs)

    def backward(
        self,
        signature: AttentionSignature,
        prepared: _Cut,
        inputs: Inputs,
        state: AttentionState,
        grad_out: Tensor,
        grad_lse: Tensor,
    ) -> Mapping[str, Tensor]:
        return gradients(signature, prepared.buckets, inputs, state, grad_out, grad_lse)


def _bins(problem: Problem) -> tuple[Bin, ...]:
    found = layouts.ragged(problem.graph)
    assert found is not None
    return recall(problem.graph, "bins", lambda: bins(found))


def _is_dense(problem: AttentionProblem) -> bool:
    """Whether torch's kernel takes the whole problem as it is, in one call."""
    facts = problem.facts
    square = facts.num_targets == facts.num_sources
    one = facts.complete or (facts.fully_causal and square)
    return one and problem.head_dim == problem.value_dim


def _refusals(problem: AttentionProblem) -> list[str]:
    unknown = "the graph is not known to be blocks; use Blocks, or disjoint_union of Causal graphs"
    graph = unknown if layouts.ragged(problem.graph) is None else None
    return refusals(problem, "blocks", graph)


def _memory(problem: AttentionProblem, found: tuple[Bin, ...], planes: int, dim: int) -> int:
    """Bytes of what is returned, of what is padded for it, and of what one group takes."""
    size, facts, training = problem.dtype.itemsize, problem.facts, problem.needs_grad
    node = planes * dim * size
    shared = node * problem.kv_heads // problem.heads
    # Output and gradients; as wide as values and keys are not, some of them once more.
    targets, sources = (2, 2) if training else (1, 0)
    if problem.head_dim != problem.value_dim:
        targets, sources = targets + 2 * training, sources + 1 + training
    tables = facts.num_targets * targets * node + facts.num_sources * sources * shared
    group = 0
    for one in found:
        count = min(len(one.members), blocks_at_once(one, node))
        copies = (8 * one.rows + 6 * one.columns) if training else (5 * one.rows + 3 * one.columns)
        copies *= 2 if training and size == 2 else 1  # small blocks are taken in float32
        masked = one.rows * one.columns if one.causal and not one.square else 0
        group = max(group, count * (copies * node + masked * (1 + problem.accumulate.itemsize)))
    return tables + group + facts.num_targets * planes * problem.accumulate.itemsize

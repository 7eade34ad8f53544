"""The backend: what it accepts, at which price, and how a call reaches the tiles."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from torch import Tensor

from edgewise.backends.base import Accepts, AttentionBackend, Refuses
from edgewise.backends.blocked import written
from edgewise.backends.blocked.flash import Flash
from edgewise.backends.blocked.price import amount, counted, memory_of, work_of
from edgewise.backends.blocked.tiling import Tiling
from edgewise.backends.fused import attention, gradients, refusals, scale_of
from edgewise.graphs import recall
from edgewise.layouts import band, ragged
from edgewise.ops.inputs import Inputs
from edgewise.ops.state import AttentionState
from edgewise.ops.tracing import looked_into
from edgewise.problem import AttentionProblem, AttentionSignature, Problem

__all__ = ["Blocked"]


class Blocked(AttentionBackend):
    """Clusters of edges as dense tiles: torch's fused attention on the tiles that hold an edge."""

    name: ClassVar[str] = "blocked"
    twice_differentiable: ClassVar[bool] = True
    forward_mode: ClassVar[bool] = True

    def judge_attention(self, problem: AttentionProblem) -> Accepts | Refuses:
        reasons = _refusals(problem)
        if reasons:
            return Refuses(tuple(reasons))
        found = amount(problem.graph, problem.facts)
        return Accepts(
            work_of(problem, found),
            memory_of(problem, found),
            way="dense tiles",
            pairs=found.pairs,
            on_request=_better_as(problem),
            spreads=True,
            hides=True,
        )

    def prepare_attention(self, problem: AttentionProblem) -> Flash:
        graph = problem.graph

        def cut() -> Flash:
            return Flash(Tiling.of(graph, counted(graph).block))

        return recall(graph, "blocked", cut)

    def forward(
        self, signature: AttentionSignature, prepared: Flash, inputs: Inputs
    ) -> AttentionState:
        tensors = (inputs.query, inputs.key, inputs.value)
        plain = partial(written.forward, prepared.tiling)
        if looked_into(tensors):
            return AttentionState(*plain(tensors, scale_of(signature)))
        return attention(plain, signature, prepared, inputs)

    def backward(
        self,
        signature: AttentionSignature,
        prepared: Flash,
        inputs: Inputs,
        state: AttentionState,
        grad_out: Tensor,
        grad_lse: Tensor,
    ) -> Mapping[str, Tensor]:
        return gradients(signature, prepared, inputs, state, grad_out, grad_lse)


def _refusals(problem: AttentionProblem) -> list[str]:
    copies = "the graph may hold copies of an edge, and a tile holds one; merge the copies"
    graph = None if problem.facts.simple else copies
    return refusals(problem, "tiles", graph)


def _better_as(problem: Problem) -> str | None:
    """Why there are better tiles: those of a band or of blocks are views, and nothing is copied."""
    graph = problem.graph
    if problem.facts.min_in_degree == 0 or not (band(graph) or ragged(graph)):
        return None
    return (
        "windows and blocks have tiles that need no copies of keys and values; ask for these with "
        "backend='blocked'"
    )

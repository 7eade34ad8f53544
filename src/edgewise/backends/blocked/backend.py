"""The backend: what it accepts, at which price, and how a call reaches the tiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from edgewise.backends.base import Accepts, Backend, Refuses
from edgewise.backends.blocked import written
from edgewise.backends.blocked.flash import Flash
from edgewise.backends.blocked.price import amount, counted, memory_of, work_of
from edgewise.backends.blocked.tiling import Tiling
from edgewise.graphs import recall
from edgewise.ops.fused import attention, gradients
from edgewise.ops.inputs import Inputs
from edgewise.ops.scores import Dot
from edgewise.ops.state import AttentionState
from edgewise.ops.tracing import looked_into
from edgewise.problem import AggregateProblem, AttentionProblem, Problem

__all__ = ["Blocked"]


class Blocked(Backend):
    """Clusters of edges as dense tiles: torch's fused attention on the tiles that hold an edge."""

    name: ClassVar[str] = "blocked"
    twice_differentiable: ClassVar[bool] = False

    def judge(self, problem: Problem) -> Accepts | Refuses:
        reasons = _refusals(problem)
        if reasons:
            return Refuses(tuple(reasons))
        assert isinstance(problem, AttentionProblem)
        found = amount(problem.graph, problem.facts)
        return Accepts(
            work_of(problem, found), memory_of(problem, found), way="dense tiles", pairs=found.pairs
        )

    def prepare(self, problem: Problem) -> Flash:
        graph = problem.graph

        def cut() -> Flash:
            return Flash(Tiling.of(graph, counted(graph).block))

        return recall(graph, "blocked", cut)

    def forward(self, problem: AttentionProblem, prepared: Flash, inputs: Inputs) -> AttentionState:
        tensors = (inputs.query, inputs.key, inputs.value)
        if looked_into(tensors):
            return AttentionState(*written.forward(prepared.tiling, tensors, _scale(problem)))
        return AttentionState(*attention(self.name, prepared, _scale(problem), tensors))

    def backward(
        self,
        problem: AttentionProblem,
        prepared: Flash,
        inputs: Inputs,
        state: AttentionState,
        grad_out: Tensor,
        grad_lse: Tensor,
    ) -> Mapping[str, Tensor]:
        tensors = (inputs.query, inputs.key, inputs.value)
        known = (state.out, state.lse)
        found = gradients(prepared, _scale(problem), tensors, known, grad_out, grad_lse)
        named = zip(("query", "key", "value"), tensors, found, strict=True)
        return {name: grad for name, tensor, grad in named if tensor.requires_grad}

    def aggregate(
        self, problem: AggregateProblem, prepared: Flash, value: Tensor, weight: Tensor | None
    ) -> Tensor:
        raise AssertionError("judge accepts no aggregation")


def _refusals(problem: Problem) -> list[str]:
    if not isinstance(problem, AttentionProblem):
        return ["sums without scores gain nothing from tiles; use native or gather"]
    reasons: list[str] = []
    if problem.device.type != "cpu":
        reasons.append(f"tiles run on the CPU, not on {problem.device.type}; move the tensors")
    if not problem.facts.simple:
        reasons.append(
            "the graph may hold copies of an edge, and a tile holds one; merge the copies"
        )
    if not isinstance(problem.score, Dot) or problem.score.softcap is not None:
        reasons.append("torch's fused attention knows no score but Dot without a soft cap")
    if problem.bias is not None:
        reasons.append(f"tiles take no {problem.bias} bias; leave it out")
    for name in ("edge_key", "edge_value"):
        if getattr(problem, name):
            reasons.append(f"{name} belongs to edges, not to tiles; leave it out")
    if problem.dropout:
        reasons.append("torch's dropout cannot be repeated edge by edge; set dropout=0")
    return reasons


def _scale(problem: AttentionProblem) -> float:
    assert isinstance(problem.score, Dot)
    return problem.score.factor(problem.head_dim)

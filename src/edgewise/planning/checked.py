"""Plans that ``"auto"`` chose, run so that a NaN reaches only the rows that read it.

Which rows of a result are finite must not depend on a choice that was made for speed. Backends say
of each problem whether they keep a NaN or an infinity to the rows that read it (`Accepts.spreads`).
A plan of those that do not is checked: where its result or a gradient is not finite, the cheapest
exact plan computes it again. A NaN that is really read costs that second pass.

Numbers can be looked at in eager code on the CPU. Compilers, tracers, ``torch.func`` and other
devices get the plan as it is, and so does a call that names a backend.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from edgewise.graphs import Graph, Predicate, graph_from, recall
from edgewise.graphs.base import lasting
from edgewise.ops.computed_again import Checks, all_finite, are_large, trains
from edgewise.ops.inputs import Inputs
from edgewise.ops.state import AttentionState
from edgewise.ops.tracing import looked_into
from edgewise.planning.plan import Plan, Run
from edgewise.planning.planner import exact
from edgewise.problem import AttentionProblem, Problem

__all__ = ["Checked", "checked"]

_PAIRS = 1 << 26  # of a piece, where no exact plan fits into memory as a whole


def checked(plan: Plan, graph: Graph) -> Plan:
    """The plan itself, or checked, if ``"auto"`` chose it and it may spread a NaN.

    Args:
        plan: Of a question about the graph.
        graph: What the exact plan is made of, when it is needed.
    """
    if not (plan.chosen and plan.spreads) or plan.problem.device.type != "cpu":
        return plan
    checks = Checks(first_tells=_query_tells(plan.problem, graph))
    # A plan that is called again does not look for the exact one again.
    exact_plan: dict[str, Plan | None] = vars(plan).setdefault("_exact_plan", {})
    return Checked(plan.problem, plan.seconds, plan.memory, plan, _link(graph), checks, exact_plan)


def _query_tells(problem: Problem, graph: Graph) -> bool:
    """Whether a gradient that is not finite always shows in that of the query.

    It does where every target reads something: what is sent back to a row is multiplied with all
    values and keys that a tile holds, and the products are added up in the row of the query.
    """
    if not isinstance(problem, AttentionProblem) or problem.bias is not None:
        return False
    return recall(graph, "facts", graph.facts).min_in_degree > 0


def _link(graph: Graph) -> Callable[[], Graph | None]:
    """How to find a graph again from what it remembers, without keeping it alive."""
    if graph.holds_tensors:  # it keeps its memory to itself, so whoever calls holds it
        return weakref.ref(graph)
    spec = graph.spec()
    return (lambda: graph) if spec is None else partial(graph_from, spec)


Attention = Callable[[Plan, Inputs], tuple[Tensor, ...]]


def _output_of(plan: Plan, inputs: Inputs) -> tuple[Tensor, ...]:
    return (plan.attend(inputs),)


def _state_of(plan: Plan, inputs: Inputs) -> tuple[Tensor, ...]:
    state = plan.forward(inputs)
    return state.out, state.lse


def _sum_of(plan: Plan, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    assert isinstance(plan, Run), "sums are not split"
    return (plan.aggregate(tensors[0], tensors[1] if len(tensors) > 1 else None),)


def _unseen(tensors: Sequence[Tensor]) -> bool:
    """Whether the numbers cannot be looked at."""
    return looked_into(tensors)


@dataclass(frozen=True, eq=False)
class Checked(Plan):
    """A plan, and an exact one for results that are not finite.

    Attributes:
        inner: The plan.
        graph: Finds the graph, when the exact plan has to be made.
        checks: How gradients are checked.
        exact_plan: The exact plan under ``"plan"``, as soon as it was needed; None if none fits.
    """

    inner: Plan
    graph: Callable[[], Graph | None]
    checks: Checks
    exact_plan: dict[str, Plan | None]

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def spreads(self) -> bool:
        return False

    def attend(self, inputs: Inputs) -> Tensor:
        return self._called(_output_of, inputs, hides=self._hides)[0]

    def forward(self, inputs: Inputs) -> AttentionState:
        return AttentionState(*self._called(_state_of, inputs, hides=True))

    @cached_property
    def _hides(self) -> bool:
        """Whether the output may be finite where a query or a key is not.

        Parts are joined by their log-sum-exp, which torch's kernel gets wrong where all scores of
        a row are minus infinity.
        """
        return not isinstance(self.inner, Run) or self.inner.hides

    def _called(self, compute: Attention, inputs: Inputs, *, hides: bool) -> tuple[Tensor, ...]:
        also = (inputs.query, inputs.key) if hides else ()
        named = inputs.tensors()
        names, tensors = tuple(named), tuple(named.values())
        if _unseen(tensors):
            return compute(self.inner, inputs)
        if are_large(tensors):  # what follows may outlive the backward pass
            nodes = [name for name in names if name != "bias"]
            inputs = inputs.with_tensors(dict.fromkeys(nodes, tensors[0].new_empty(0)))

        def with_tensors(own: Sequence[Tensor]) -> Inputs:
            return inputs.with_tensors(dict(zip(names, own, strict=True)))

        held = self._held()
        return self.checks.call(
            lambda own: compute(self.inner, with_tensors(own)),
            lambda own: self._exact(held, compute, with_tensors(own)),
            tensors,
            also,
        )

    def aggregate(self, value: Tensor, weight: Tensor | None) -> Tensor:
        """Sum or mean over the sources of each target."""
        assert isinstance(self.inner, Run)
        tensors = (value,) if weight is None else (value, weight)
        unseen = _unseen(tensors)
        if unseen or not trains(tensors):
            out = self.inner.aggregate(value, weight)
            if unseen or all_finite((out,)):
                return out
        held = self._held()

        def exactly(own: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return _sum_of(self._exact_plan(held) or self.inner, own)

        return self.checks.call(lambda own: _sum_of(self.inner, own), exactly, tensors)[0]

    def backward(
        self, inputs: Inputs, state: AttentionState, grad_out: Tensor, grad_lse: Tensor
    ) -> Mapping[str, Tensor]:
        return self.inner.backward(inputs, state, grad_out, grad_lse)

    def shortcut(self, inputs: Inputs) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
        inner = self.inner.shortcut(inputs)
        # Larger tensors may be kept elsewhere until the backward pass, so autograd keeps them.
        large = are_large((inputs.query, inputs.key, inputs.value))
        if inner is None or (self.inner.problem.needs_grad and (large or not self.checks.at_node)):
            return None
        attend, hides = inner, self._hides

        def short(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            out = attend(query, key, value)
            if not all_finite((out, query, key) if hides else (out,)):
                return self._plainly(self._held(), (query, key, value))[0]
            if out.requires_grad:
                exactly = partial(self._plainly, self._held())
                if not self.checks.follow((out,), exactly, (query, key, value)):
                    return self.attend(Inputs(query, key, value))
            return out

        return short

    def _plainly(self, held: Graph | None, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        query, key, value = tensors
        return self._exact(held, _output_of, Inputs(query, key, value))

    # --- The exact plan ---------------------------------------------------------------------------

    def _held(self) -> Graph | None:
        """The graph, if it has to be kept until a backward pass; else it can be made again."""
        return self.graph() if isinstance(self.graph, weakref.ref) else None

    def _exact(self, held: Graph | None, compute: Attention, inputs: Inputs) -> tuple[Tensor, ...]:
        plan = self._exact_plan(held)
        if plan is not None:
            return compute(plan, inputs)
        rows = _Rows.of(self._problem(held))
        return compute(self.inner, inputs) if rows is None else rows.call(compute, inputs)

    def _exact_plan(self, held: Graph | None) -> Plan | None:
        """The cheapest plan that keeps a NaN to its readers; None if none fits into memory."""
        if "plan" not in self.exact_plan:
            found = exact(self._problem(held))
            with lasting():
                self.exact_plan["plan"] = None if found is None else found.without_graph()
        return self.exact_plan["plan"]

    def _problem(self, held: Graph | None) -> Problem:
        graph = self.graph() if held is None else held
        assert graph is not None, "whoever calls a plan holds its graph"
        return replace(self.inner.problem, graph=graph)

    def without_graph(self) -> Plan:
        return replace(self, inner=self.inner.without_graph())

    def to_dict(self) -> dict[str, Any]:
        return self.inner.to_dict()


@dataclass(frozen=True, eq=False)
class _Rows:
    """Attention over a few targets at a time, each time with an exact plan that fits into memory.

    Attributes:
        problem: What is asked.
        count: Targets at a time.
    """

    problem: AttentionProblem
    count: int

    @classmethod
    def of(cls, problem: Problem) -> _Rows | None:
        """As many rows as fit; None where a piece would not have the numbers of the whole."""
        if not isinstance(problem, AttentionProblem) or not problem.facts.simple:
            return None
        if problem.dropout or problem.bias or problem.edge_tensors:
            return None
        T, S = problem.facts.num_targets, problem.facts.num_sources
        count = max(1, min(T, _PAIRS // max(S, 1)))
        while exact(cls(problem, count).piece(0)) is None:
            if count == 1:
                return None
            count = -(-count // 4)
        return cls(problem, count)

    def piece(self, first: int) -> AttentionProblem:
        """The problem of the rows from ``first`` on."""
        whole, rows = self.problem.graph, min(self.count, self.problem.graph.num_targets - first)

        def contains(target: Tensor, source: Tensor) -> Tensor:
            return whole.contains(target + first, source)

        return replace(self.problem, graph=Predicate(contains, rows, whole.num_sources))

    def call(self, compute: Attention, inputs: Inputs) -> tuple[Tensor, ...]:
        """The results of all rows; the backward pass computes them once more, piece by piece."""
        found: list[tuple[Tensor, ...]] = []
        for first in range(0, inputs.query.shape[-2], self.count):
            rows = inputs.query[..., first : first + self.count, :]
            run = partial(self._run, compute, first)
            found.append(checkpoint(run, rows, inputs.key, inputs.value, use_reentrant=False))
        out, *lse = (
            torch.cat(parts, -2 if i == 0 else -1)
            for i, parts in enumerate(zip(*found, strict=True))
        )
        return out, *lse

    def _run(
        self, compute: Attention, first: int, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, ...]:
        plan = exact(self.piece(first))
        assert plan is not None
        return compute(plan, Inputs(query, key, value))

"""Checked plans: plans that ``"auto"`` chose, run so that a NaN reaches only rows that read it.

Which rows of a result are finite must not depend on a choice that was made for speed. Backends
state for each problem whether they keep a NaN or an infinity to the rows that read it
(`Accepts.spreads`).
A plan of those that do not is checked: where its result or a gradient is not finite, the cheapest
exact plan computes it again. A NaN that is really read costs that second pass.

Numbers can be read in eager code on the CPU. Compilers, tracers, ``torch.func`` and other
devices get the plan as it is, and so does a call that names a backend.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from edgewise.graphs import Graph, Predicate, graph_from
from edgewise.ops.computed_again import Checks, all_finite, are_large, trains
from edgewise.ops.inputs import Inputs
from edgewise.ops.state import AttentionState
from edgewise.ops.tracing import is_intercepted
from edgewise.planning.plan import AggregatePlan, BackendPlan, Plan
from edgewise.planning.planner import exact
from edgewise.planning.prepared import FastPath, Prepared, PreparedAggregate
from edgewise.problem import AggregateProblem, AttentionProblem, AttentionSignature

__all__ = ["Checked", "CheckedAggregate", "ExactPlan", "checked", "checked_aggregate"]

P = TypeVar("P", AttentionProblem, AggregateProblem)

_PAIRS = 1 << 26  # of a piece, where no exact plan fits into memory as a whole


def checked(plan: Plan, graph: Graph) -> Prepared:
    """The prepared plan: checked, if ``"auto"`` chose it and it may spread a NaN.

    Args:
        plan: Of a call on the graph.
        graph: As the caller holds it; the exact plan is made of it when it is needed.
    """
    if not _is_checked(plan):
        return plan.prepared
    problem = plan.problem
    return Checked(
        problem.signature,
        plan.prepared,
        ExactPlan(problem, graph),
        Checks(first_decides=_query_gradient_suffices(problem)),
        # Parts are joined by their log-sum-exp, which torch's kernel gets wrong where all scores of
        # a row are minus infinity.
        hides=not isinstance(plan, BackendPlan) or plan.hides,
    )


def checked_aggregate(plan: AggregatePlan, graph: Graph) -> PreparedAggregate | CheckedAggregate:
    """The prepared plan of a sum: checked, if ``"auto"`` chose it; arguments as of `checked`."""
    if not _is_checked(plan):
        return plan.prepared
    return CheckedAggregate(
        plan.prepared, ExactPlan(plan.problem, graph), Checks(first_decides=False)
    )


def _is_checked(plan: Plan | AggregatePlan) -> bool:
    return plan.chosen and plan.spreads and plan.problem.device.type == "cpu"


def _query_gradient_suffices(problem: AttentionProblem) -> bool:
    """Whether the query's gradient is not finite wherever another gradient is not.

    It is where every target reads something: the gradient of a row is multiplied with all
    values and keys that a tile holds, and the products are added up in the row of the query.
    """
    return problem.bias is None and problem.facts.min_in_degree > 0


def _link(graph: Graph) -> Callable[[], Graph | None]:
    """A function that returns the graph, or an equal one, without keeping it alive."""
    if graph.holds_tensors:  # its cache lies on the object, so the caller holds it
        return weakref.ref(graph)
    spec = graph.spec()
    return (lambda: graph) if spec is None else partial(graph_from, spec)


RunPrepared = Callable[[Prepared, Inputs], tuple[Tensor, ...]]


def _output_of(prepared: Prepared, inputs: Inputs) -> tuple[Tensor, ...]:
    return (prepared.attend(inputs),)


def _state_of(prepared: Prepared, inputs: Inputs) -> tuple[Tensor, ...]:
    state = prepared.forward(inputs)
    return state.out, state.lse


class ExactPlan(Generic[P]):
    """The cheapest plan that keeps a NaN to the rows that read it, made when it is first needed.

    It holds no graph, only a weak reference to it or its spec.

    Args:
        problem: What is planned.
        graph: Its graph as the caller holds it.
    """

    def __init__(self, problem: P, graph: Graph) -> None:
        self._signature = problem.signature
        self._link = _link(graph)
        self._prepared: list[Any] = []  # the prepared plan, or None if none may run; empty before

    def held(self) -> Graph | None:
        """The graph, if it has to be kept until a backward pass; None if it can be made again."""
        return self._link() if isinstance(self._link, weakref.ref) else None

    def prepared(self, held: Graph | None) -> Any:
        """The prepared plan; None if no exact plan fits into memory.

        Args:
            held: What `held` returned while the caller held the graph.
        """
        if not self._prepared:
            plan = exact(self.problem(held))
            self._prepared.append(None if plan is None else plan.prepared)
        return self._prepared[0]

    def problem(self, held: Graph | None) -> P:
        """The planned problem; arguments as of `prepared`."""
        graph = self._link() if held is None else held
        assert graph is not None, "the caller of a plan holds its graph"
        return cast("P", self._signature.about(graph))


@dataclass(frozen=True, eq=False)
class Checked(Prepared):
    """A prepared plan, and an exact one for results that are not finite.

    Attributes:
        signature: Of the problem that was planned.
        inner: The plan that runs first.
        exact: The plan that is exact whatever the numbers.
        checks: How gradients are checked.
        hides: Whether the output may be finite where a query or a key is not.
    """

    signature: AttentionSignature
    inner: Prepared
    exact: ExactPlan[AttentionProblem]
    checks: Checks
    hides: bool

    def attend(self, inputs: Inputs) -> Tensor:
        return self._called(_output_of, inputs, hides=self.hides)[0]

    def forward(self, inputs: Inputs) -> AttentionState:
        return AttentionState(*self._called(_state_of, inputs, hides=True))

    def _called(self, compute: RunPrepared, inputs: Inputs, *, hides: bool) -> tuple[Tensor, ...]:
        """Results of ``compute``, exact if they (with ``hides``, query or key) are not finite."""
        also = (inputs.query, inputs.key) if hides else ()
        named = inputs.tensors()
        names, tensors = tuple(named), tuple(named.values())
        if is_intercepted(tensors):
            return compute(self.inner, inputs)
        if are_large(tensors):  # what follows may outlive the backward pass
            nodes = [name for name in names if name != "bias"]
            inputs = inputs.with_tensors(dict.fromkeys(nodes, tensors[0].new_empty(0)))

        def with_tensors(given: Sequence[Tensor]) -> Inputs:
            return inputs.with_tensors(dict(zip(names, given, strict=True)))

        held = self.exact.held()
        return self.checks.call(
            lambda given: compute(self.inner, with_tensors(given)),
            lambda given: self._exact(held, compute, with_tensors(given)),
            tensors,
            also,
        )

    def backward(
        self, inputs: Inputs, state: AttentionState, grad_out: Tensor, grad_lse: Tensor
    ) -> Mapping[str, Tensor]:
        return self.inner.backward(inputs, state, grad_out, grad_lse)

    def fast_path(self, inputs: Inputs) -> FastPath | None:
        inner = self.inner.fast_path(inputs)
        # Larger tensors may be kept elsewhere until the backward pass, so autograd keeps them.
        large = are_large((inputs.query, inputs.key, inputs.value))
        if inner is None or (self.signature.needs_grad and (large or not self.checks.at_node)):
            return None
        attend, hides = inner, self.hides

        def fast(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            out = attend(query, key, value)
            if not all_finite((out, query, key) if hides else (out,)):
                return self._exactly(self.exact.held(), (query, key, value))[0]
            if out.requires_grad:
                exactly = partial(self._exactly, self.exact.held())
                if not self.checks.follow((out,), exactly, (query, key, value)):
                    return self.attend(Inputs(query, key, value))
            return out

        return fast

    def _exactly(self, held: Graph | None, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        query, key, value = tensors
        return self._exact(held, _output_of, Inputs(query, key, value))

    def _exact(
        self, held: Graph | None, compute: RunPrepared, inputs: Inputs
    ) -> tuple[Tensor, ...]:
        """Results by the exact plan, or where none fits into memory, a few targets at a time."""
        prepared = self.exact.prepared(held)
        if prepared is not None:
            return compute(prepared, inputs)
        rows = _ReadRows.of(self.exact.problem(held))
        return compute(self.inner, inputs) if rows is None else rows.call(compute, inputs)


@dataclass(frozen=True, eq=False)
class CheckedAggregate:
    """A prepared sum, and an exact one for results that are not finite.

    Attributes:
        inner: The plan that runs first.
        exact: The plan that is exact whatever the numbers.
        checks: How gradients are checked.
    """

    inner: PreparedAggregate
    exact: ExactPlan[AggregateProblem]
    checks: Checks

    def aggregate(self, value: Tensor, weight: Tensor | None) -> Tensor:
        """Sum or mean over the sources of each target: ``[*batch, T, C]``."""
        tensors = (value,) if weight is None else (value, weight)
        traced = is_intercepted(tensors)
        if traced or not trains(tensors):
            out = self.inner.aggregate(value, weight)
            if traced or all_finite((out,)):
                return out
        held = self.exact.held()

        def sums(given: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return _sum_of(self.inner, given)

        def exact_sums(given: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return _sum_of(self.exact.prepared(held) or self.inner, given)

        return self.checks.call(sums, exact_sums, tensors)[0]


def _sum_of(prepared: PreparedAggregate, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (prepared.aggregate(tensors[0], tensors[1] if len(tensors) > 1 else None),)


@dataclass(frozen=True, eq=False)
class _ReadRows:
    """Attention over a few targets at a time, each time with an exact plan that fits into memory.

    Attributes:
        problem: Attention over all targets.
        count: Targets at a time.
    """

    problem: AttentionProblem
    count: int

    @classmethod
    def of(cls, problem: AttentionProblem) -> _ReadRows | None:
        """As many targets at a time as fit; None where a piece needs numbers of the whole."""
        if not problem.facts.simple:
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

    def call(self, compute: RunPrepared, inputs: Inputs) -> tuple[Tensor, ...]:
        """The results of all rows; the backward pass computes them once more, piece by piece."""
        results: list[tuple[Tensor, ...]] = []
        for first in range(0, inputs.query.shape[-2], self.count):
            rows = inputs.query[..., first : first + self.count, :]
            run = partial(self._run, compute, first)
            results.append(checkpoint(run, rows, inputs.key, inputs.value, use_reentrant=False))
        out, *lse = (
            torch.cat(parts, -2 if i == 0 else -1)
            for i, parts in enumerate(zip(*results, strict=True))
        )
        return out, *lse

    def _run(
        self, compute: RunPrepared, first: int, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, ...]:
        """Results of the targets from ``first`` on, of which ``query`` has the rows."""
        plan = exact(self.piece(first))
        assert plan is not None
        return compute(plan.prepared, Inputs(query, key, value))

"""The planner: simplify the graph, judge it whole and in parts with every backend, take the best.

Legality first (what a backend can compute, what fits into memory), then cost. An explicit request
never falls back; only ``"auto"`` chooses, and its decision holds what it refused and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, overload

from edgewise.backends import BACKENDS, Accepts, Backend, Work
from edgewise.errors import BackendRefused, PlanError
from edgewise.measure.memory import as_text
from edgewise.planning.budget import memory_budget
from edgewise.planning.cost import seconds
from edgewise.planning.fold import Fold
from edgewise.planning.merge import Merge, Piece
from edgewise.planning.plan import AggregatePlan, BackendPlan, OneBackend, Plan, backend_named
from edgewise.planning.rules import simplify
from edgewise.planning.selection import Selection, check_backend_fits, selected
from edgewise.planning.split import Part, Split, repeated, splits
from edgewise.problem import AggregateProblem, AttentionProblem, Problem

__all__ = [
    "Decision",
    "Refusal",
    "choose",
    "exact",
    "judged",
    "legal_fold",
    "legal_splits",
    "merged",
    "part_of",
    "simplified",
]

B = TypeVar("B", bound=OneBackend)
P = TypeVar("P", bound=Plan | AggregatePlan)
Q = TypeVar("Q", bound=Problem)

DEFINITION = "reference"  # what the others are tested against; never a candidate
_ANY = Selection()
_DEEPEST = 2  # a part of a split may be split once more


@dataclass(frozen=True)
class Refusal:
    """A backend that cannot run the problem, or may not.

    Attributes:
        backend: Its name.
        reasons: Every reason as a sentence.
    """

    backend: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Decision(Generic[P]):
    """A decision: the chosen plan, and everything that was considered.

    Attributes:
        problem: What was planned, before its graph was simplified.
        plan: The choice.
        dearer: Legal plans that are estimated to take longer, cheapest first.
        refused: The rest, with reasons.
        budget: Memory a plan may take, in bytes.
        selection: What narrowed the choice.
    """

    problem: Problem
    plan: P
    dearer: tuple[P, ...]
    refused: tuple[Refusal, ...]
    budget: int
    selection: Selection = _ANY


@overload
def choose(
    problem: AttentionProblem, backend: str | Selection = "auto", budget: int | None = None
) -> Decision[Plan]: ...
@overload
def choose(
    problem: AggregateProblem, backend: str | Selection = "auto", budget: int | None = None
) -> Decision[AggregatePlan]: ...
def choose(
    problem: AttentionProblem | AggregateProblem,
    backend: str | Selection = "auto",
    budget: int | None = None,
) -> Decision[Any]:
    """Plan a problem.

    Args:
        problem: What is planned.
        backend: A backend's name, ``"auto"`` for the cheapest, or a selection.
        budget: Memory a plan may take, in bytes; half of what is free when None.

    Raises:
        BackendRefused: the named backend cannot run this problem.
        DerivativeError: the named backend lacks a derivative that the call needs.
        PlanError: no backend can, or there is no backend of this name.
    """
    limit = memory_budget(problem.device, budget)
    selection = selected(backend) if isinstance(backend, str) else backend
    if isinstance(problem, AggregateProblem):
        if selection.backend != "auto":
            return _named(problem, selection, limit, AggregatePlan)
        sums, refused = _by_one_backend(problem, limit, selection, AggregatePlan)
        return _cheapest(problem, sums, refused, limit, selection)
    if selection.backend != "auto":
        return _named(problem, selection, limit, BackendPlan)
    at_once = _one_row(problem, limit)
    if at_once is not None:
        return replace(at_once, selection=selection)
    plans, refused = _all(problem, limit, _DEEPEST, selection)
    return _cheapest(problem, plans, refused, limit, selection)


def _cheapest(
    problem: Problem,
    plans: Sequence[P],
    refused: Sequence[Refusal],
    budget: int,
    selection: Selection,
) -> Decision[P]:
    """The decision for the first of these plans, which are sorted; `PlanError` without one."""
    if not plans:
        lines = "\n".join(f"  {r.backend}: {'; '.join(r.reasons)}" for r in refused)
        raise PlanError(
            f"no backend accepts this problem ({problem}):\n{lines}",
            {refusal.backend: refusal.reasons for refusal in refused},
        )
    plan = replace(plans[0], chosen=True)
    return Decision(problem, plan, tuple(plans[1:]), tuple(refused), budget, selection)


def _named(
    problem: Problem, selection: Selection, budget: int, make: Callable[..., B]
) -> Decision[Any]:
    """The decision for the named backend, which has no other plan.

    Raises:
        BackendRefused: it cannot run the problem.
        DerivativeError: it lacks a derivative.
        PlanError: there is no backend of this name.
    """
    name = selection.backend
    backend = backend_named(name)
    check_backend_fits(backend, selection)
    written = problem if name == DEFINITION else simplified(problem)
    outcome = judged(backend, written, budget, make)
    if isinstance(outcome, Refusal):
        named = "" if selection.origin == "argument" else f", which {selection} named"
        raise BackendRefused(f"{name}{named}: {'; '.join(outcome.reasons)}. Or use backend='auto'.")
    return Decision[Any](problem, outcome, (), (), budget, selection)


@overload
def exact(problem: AttentionProblem) -> BackendPlan | None: ...
@overload
def exact(problem: AggregateProblem) -> AggregatePlan | None: ...
def exact(problem: AttentionProblem | AggregateProblem) -> Any:
    """The cheapest backend that keeps a NaN to the rows that read it; None if none may run."""
    make: Any = BackendPlan if isinstance(problem, AttentionProblem) else AggregatePlan
    plans, _ = _by_one_backend(problem, memory_budget(problem.device), _ANY, make)
    return next((plan for plan in plans if not plan.spreads), None)


_ONE_ROW = (
    "one target reads everything, as when a language model writes: torch's kernel takes it as it "
    "is, and a graph that is new each time is not worth preparing for"
)


def _one_row(problem: AttentionProblem, budget: int) -> Decision[Plan] | None:
    """The decision for one query over all keys, without a search; None for other problems."""
    if problem.graph.num_targets != 1:
        return None
    if not (problem.plain and problem.facts.complete and problem.head_dim == problem.value_dim):
        return None
    outcome = judged(backend_named("dense"), problem, budget, BackendPlan)
    if isinstance(outcome, Refusal):
        return None
    others = (b.name for b in BACKENDS if b.name not in ("dense", DEFINITION))
    refused = tuple(Refusal(name, (_ONE_ROW,)) for name in others)
    return Decision[Plan](problem, replace(outcome, chosen=True), (), refused, budget)


def simplified(problem: Q) -> Q:
    """The problem of the same edges in the same order, on a graph that is written more simply."""
    graph = simplify(problem.graph)
    return problem if graph is problem.graph else replace(problem, graph=graph)


def _all(
    problem: AttentionProblem, budget: int, depth: int, selection: Selection = _ANY
) -> tuple[list[Plan], list[Refusal]]:
    """The legal plans of attention, cheapest first, and all refusals.

    ``budget`` is in bytes; parts of splits may be split ``depth - 1`` times more.
    """
    runs, refused = _by_one_backend(problem, budget, selection, BackendPlan)
    plans: list[Plan] = [*runs]
    if depth and not selection.plain_operations:
        plans += _composed(simplified(problem), budget, depth, selection)
        plans.sort(key=lambda plan: plan.seconds)
    return plans, refused


def _by_one_backend(
    problem: Problem, budget: int, selection: Selection, make: Callable[..., B]
) -> tuple[list[B], list[Refusal]]:
    """The legal plans of the whole graph by one backend, cheapest first, and all refusals.

    ``budget`` is in bytes; ``make`` is the class of the plans.
    """
    problem = simplified(problem)
    plans: list[B] = []
    refused: list[Refusal] = []
    for backend in BACKENDS:
        if backend.name == DEFINITION:
            continue
        lacks = selection.lacks(backend)
        if lacks is not None:
            refused.append(Refusal(backend.name, (f"it {lacks}",)))
            continue
        outcome = judged(backend, problem, budget, make, on_request=False)
        if isinstance(outcome, Refusal):
            refused.append(outcome)
        else:
            plans.append(outcome)
    plans.sort(key=lambda plan: plan.seconds)
    return plans, refused


def judged(
    backend: Backend,
    problem: Problem,
    budget: int,
    make: Callable[..., B],
    *,
    on_request: bool = True,
) -> B | Refusal:
    """The plan of one backend for a whole graph, or why there is none.

    Args:
        backend: The backend.
        problem: What is planned.
        budget: Memory the plan may take, in bytes.
        make: The plan's class: `BackendPlan` or `AggregatePlan`.
        on_request: Whether the backend was named.
    """
    verdict = backend.judge(problem)
    if not isinstance(verdict, Accepts):
        return Refusal(backend.name, verdict.reasons)
    if verdict.on_request is not None and not on_request:
        return Refusal(backend.name, (verdict.on_request,))
    if verdict.memory > budget:
        return Refusal(
            backend.name,
            (
                f"needs about {as_text(verdict.memory)} ({verdict.way}) but the memory budget is "
                f"{as_text(budget)}; use a smaller problem or raise memory_budget",
            ),
        )
    time = seconds(verdict.work, verdict.way, problem)
    fill = 1.0 if not verdict.pairs else min(1.0, problem.facts.max_edges / verdict.pairs)
    law = (verdict.spreads, verdict.hides)
    return make(problem, time, verdict.memory, backend.name, verdict.way, fill, *law)


# --- In parts ------------------------------------------------------------------------------------


def _composed(
    problem: AttentionProblem, budget: int, depth: int, selection: Selection = _ANY
) -> Iterator[Plan]:
    """The plans that are made of plans: a fold, and a merge for each split.

    ``budget`` is in bytes; ``depth`` is how often parts may be split once more.
    """
    copies = legal_fold(problem)
    if copies is not None:
        inner, count = copies
        plans, _ = _all(inner, budget, 0, selection)
        if plans:
            yield Fold(problem, plans[0].seconds, plans[0].memory, count, plans[0])
    for split in legal_splits(problem):
        parts: list[Plan] = []
        for part in split.parts:
            plans, _ = _all(part_of(problem, part), budget, depth - 1, selection)
            if not plans:
                break
            parts.append(plans[0])
        else:
            plan = merged(problem, split, parts)
            if plan.memory <= budget:
                yield plan


def _is_numbered(problem: AttentionProblem) -> bool:
    """Whether something belongs to nodes or edges by their numbers, which parts change."""
    return bool(problem.dropout or problem.bias) or problem.edge_tensors


def legal_fold(problem: AttentionProblem) -> tuple[AttentionProblem, int] | None:
    """The problem of one of equal graphs side by side, on a batch, and how many there are."""
    copies = None if _is_numbered(problem) else repeated(problem.graph)
    if copies is None:
        return None
    graph, count = copies
    return replace(problem, graph=graph, batch=problem.batch * count), count


def legal_splits(problem: AttentionProblem) -> Iterator[Split]:
    """The splits of the graph that the problem allows."""
    numbered = _is_numbered(problem)
    # A plan that trains is called many times, so a longer search pays.
    for split in splits(problem.graph, many_calls=problem.needs_grad):
        if split.plain or not numbered:
            yield split


def part_of(problem: AttentionProblem, part: Part) -> AttentionProblem:
    """The problem of one part."""
    return replace(problem, graph=part.graph, wants_lse=True)


def merged(problem: AttentionProblem, split: Split, plans: Sequence[Plan]) -> Merge:
    """The plan that merges a plan for every part."""
    pieces = [
        Piece(part.on(problem.device), plan) for part, plan in zip(split.parts, plans, strict=True)
    ]
    heads, size = problem.batch * problem.heads, problem.accumulate.itemsize
    moved = heads * sum(_moved(problem, part) for part in split.parts)
    work = Work(0, 0, moved, calls=len(pieces))
    facts, value = problem.facts, problem.value_dim + 1
    state = 2 * heads * facts.num_targets * value * size
    if problem.needs_grad:  # gradients so far, while a part makes its own
        channels = problem.head_dim + problem.value_dim
        state += (
            heads * (facts.num_targets * problem.head_dim + facts.num_sources * channels) * size
        )
    return Merge(
        problem,
        sum(piece.plan.seconds for piece in pieces) + seconds(work, "merge", problem),
        max(piece.plan.memory for piece in pieces) + state,
        split.law,
        tuple(pieces),
    )


def _moved(problem: AttentionProblem, part: Part) -> int:
    """Numbers that are merged or copied for a part, for each head."""
    moved = part.graph.num_targets * problem.value_dim
    if part.place.targets is not None:
        moved += part.graph.num_targets * (problem.head_dim + problem.value_dim)
    if part.place.sources is not None:
        moved += part.graph.num_sources * (problem.head_dim + problem.value_dim)
    return moved

"""The planner: say the graph simply, let every backend judge it whole and in parts, take the best.

Legality first (what a backend can compute, what fits into memory), then cost. An explicit request
never falls back; only ``"auto"`` chooses, and it can always say what it refused and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgewise.backends import BACKENDS, Accepts, Backend, Work
from edgewise.errors import BackendRefused, PlanError
from edgewise.measure.memory import as_text
from edgewise.planning.budget import memory_budget
from edgewise.planning.cost import seconds
from edgewise.planning.fold import Fold
from edgewise.planning.merge import Merge, Piece
from edgewise.planning.plan import Plan, Run, backend_named
from edgewise.planning.rules import simplify
from edgewise.planning.selection import Selection, check_backend_fits, selected
from edgewise.planning.split import Part, Split, repeated, splits
from edgewise.problem import AttentionProblem, Problem

__all__ = ["Decision", "Refusal", "choose", "exact"]

_DEFINITION = "reference"  # what the others are tested against; never a candidate
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
class Decision:
    """What was chosen, and everything that was considered.

    Attributes:
        problem: The question, as it was asked.
        plan: The choice.
        dearer: Legal plans that are estimated to take longer, cheapest first.
        refused: The rest, with reasons.
        budget: Memory a plan may take, in bytes.
        selection: What narrowed the choice.
    """

    problem: Problem
    plan: Plan
    dearer: tuple[Plan, ...]
    refused: tuple[Refusal, ...]
    budget: int
    selection: Selection = _ANY


def choose(
    problem: Problem, backend: str | Selection = "auto", budget: int | None = None
) -> Decision:
    """Plan a problem.

    Args:
        problem: The question.
        backend: A backend's name, ``"auto"`` for the cheapest, or what else narrows the choice.
        budget: Memory a plan may take, in bytes; half of what is free when None.

    Raises:
        BackendRefused: the named backend cannot run this problem.
        DerivativeError: the named backend lacks a derivative that the call needs.
        PlanError: no backend can, or there is no backend of this name.
    """
    limit = memory_budget(problem.device, budget)
    selection = selected(backend) if isinstance(backend, str) else backend
    if selection.backend != "auto":
        return _named(problem, selection, limit)
    at_once = _one_row(problem, limit)
    if at_once is not None:
        return replace(at_once, selection=selection)
    plans, refused = _all(problem, limit, _DEEPEST, selection)
    if not plans:
        lines = "\n".join(f"  {r.backend}: {'; '.join(r.reasons)}" for r in refused)
        raise PlanError(
            f"no backend accepts this problem ({problem}):\n{lines}",
            {refusal.backend: refusal.reasons for refusal in refused},
        )
    plan = replace(plans[0], chosen=True)
    return Decision(problem, plan, tuple(plans[1:]), tuple(refused), limit, selection)


def _named(problem: Problem, selection: Selection, budget: int) -> Decision:
    """The plan of the backend that was asked for; there is no other."""
    name = selection.backend
    backend = backend_named(name)
    check_backend_fits(backend, selection)
    asked = problem if name == _DEFINITION else _simply(problem)
    outcome = _judged(backend, asked, budget)
    if isinstance(outcome, Refusal):
        named = "" if selection.origin == "argument" else f", which {selection} named"
        raise BackendRefused(f"{name}{named}: {'; '.join(outcome.reasons)}. Or use backend='auto'.")
    return Decision(problem, outcome, (), (), budget, selection)


def exact(problem: Problem) -> Run | None:
    """The cheapest backend that keeps a NaN to the rows that read it; None if none may run."""
    asked, limit = _simply(problem), memory_budget(problem.device)
    judged = [_judged(backend, asked, limit, on_request=False) for backend in BACKENDS]
    runs = [
        run
        for run in judged
        if isinstance(run, Run) and not run.spreads and run.backend != _DEFINITION
    ]
    return min(runs, key=lambda run: run.seconds, default=None)


_ONE_ROW = (
    "one target reads everything, as when a language model writes: torch's kernel takes it as it "
    "is, and a graph that is new each time is not worth preparing for"
)


def _one_row(problem: Problem, budget: int) -> Decision | None:
    """The plan of one query over all keys, which is not looked for among others."""
    if problem.graph.num_targets != 1 or not isinstance(problem, AttentionProblem):
        return None
    if not (problem.plain and problem.facts.complete and problem.head_dim == problem.value_dim):
        return None
    outcome = _judged(backend_named("dense"), problem, budget)
    if isinstance(outcome, Refusal):
        return None
    others = (b.name for b in BACKENDS if b.name not in ("dense", _DEFINITION))
    refused = tuple(Refusal(name, (_ONE_ROW,)) for name in others)
    return Decision(problem, replace(outcome, chosen=True), (), refused, budget)


def _simply(problem: Problem) -> Problem:
    graph = simplify(problem.graph)
    return problem if graph is problem.graph else replace(problem, graph=graph)


def _all(
    problem: Problem, budget: int, depth: int, selection: Selection = _ANY
) -> tuple[list[Plan], list[Refusal]]:
    """Every legal plan, cheapest first, and every refusal."""
    problem = _simply(problem)
    judged = [
        _fitting(backend, problem, budget, selection)
        for backend in BACKENDS
        if backend.name != _DEFINITION
    ]
    plans: list[Plan] = [outcome for outcome in judged if isinstance(outcome, Run)]
    if depth and isinstance(problem, AttentionProblem) and not selection.plain_operations:
        plans += _composed(problem, budget, depth, selection)
    plans.sort(key=lambda plan: plan.seconds)
    return plans, [outcome for outcome in judged if isinstance(outcome, Refusal)]


def _fitting(
    backend: Backend, problem: Problem, budget: int, selection: Selection
) -> Run | Refusal:
    """The outcome of a backend that nobody named."""
    lacks = selection.lacks(backend)
    if lacks is not None:
        return Refusal(backend.name, (f"it {lacks}",))
    return _judged(backend, problem, budget, on_request=False)


def _judged(
    backend: Backend, problem: Problem, budget: int, *, on_request: bool = True
) -> Run | Refusal:
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
    return Run(problem, time, verdict.memory, backend.name, verdict.way, fill, *law)


# --- In parts ------------------------------------------------------------------------------------


def _composed(
    problem: AttentionProblem, budget: int, depth: int, selection: Selection = _ANY
) -> Iterator[Plan]:
    """Plans that are made of plans."""
    # Parts with nodes of their own cannot tell what belongs to the nodes or edges of the whole.
    numbered = bool(problem.dropout or problem.bias) or problem.edge_tensors
    copies = None if numbered else repeated(problem.graph)
    if copies is not None:
        graph, count = copies
        folded = replace(problem, graph=graph, batch=problem.batch * count)
        plans, _ = _all(folded, budget, 0, selection)
        if plans:
            yield Fold(problem, plans[0].seconds, plans[0].memory, count, plans[0])
    # A plan that trains is called many times, so what it takes to find one pays.
    for split in splits(problem.graph, many_calls=problem.needs_grad):
        if numbered and not split.plain:
            continue
        plan = _merge(problem, split, budget, depth, selection)
        if plan is not None and plan.memory <= budget:
            yield plan


def _merge(
    problem: AttentionProblem,
    split: Split,
    budget: int,
    depth: int,
    selection: Selection = _ANY,
) -> Merge | None:
    """The best plan for every part; None if a part has none."""
    pieces: list[Piece] = []
    for part in split.parts:
        own = replace(problem, graph=part.graph, wants_lse=True)
        plans, _ = _all(own, budget, depth - 1, selection)
        if not plans:
            return None
        pieces.append(Piece(part.on(problem.device), plans[0]))
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
    if part.targets is not None:
        moved += part.graph.num_targets * (problem.head_dim + problem.value_dim)
    if part.sources is not None:
        moved += part.graph.num_sources * (problem.head_dim + problem.value_dim)
    return moved

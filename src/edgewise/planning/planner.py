"""The planner: every backend judges the problem, and the cheapest legal one is chosen.

Legality first (what a backend can compute, what fits into memory), then cost. An explicit request
never falls back; only ``"auto"`` chooses, and it can always say what it refused and why.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgewise.backends import BACKENDS, Accepts, Backend
from edgewise.errors import BackendRefused, PlanError
from edgewise.planning.budget import as_text, memory_budget
from edgewise.planning.cost import seconds
from edgewise.planning.plan import Plan, Run, backend_named
from edgewise.problem import Problem

__all__ = ["Decision", "Refusal", "choose"]

_DEFINITION = "reference"  # what the others are tested against; never a candidate


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
        plan: The choice.
        dearer: Legal plans that are estimated to take longer, cheapest first.
        refused: The rest, with reasons.
        budget: Memory a plan may take, in bytes.
    """

    plan: Plan
    dearer: tuple[Run, ...]
    refused: tuple[Refusal, ...]
    budget: int

    @property
    def problem(self) -> Problem:
        """The question."""
        return self.plan.problem


def choose(problem: Problem, backend: str = "auto", budget: int | None = None) -> Decision:
    """Plan a problem.

    Args:
        problem: The question.
        backend: A backend's name, or ``"auto"`` for the cheapest.
        budget: Memory a plan may take, in bytes; half of what is free when None.

    Raises:
        BackendRefused: the named backend cannot run this problem.
        PlanError: no backend can, or there is no backend of this name.
    """
    limit = memory_budget(problem.device, budget)
    if backend != "auto":
        outcome = _judged(backend_named(backend), problem, limit)
        if isinstance(outcome, Refusal):
            raise BackendRefused(f"{backend}: {'; '.join(outcome.reasons)}. Or use backend='auto'.")
        return Decision(outcome, (), (), limit)
    runs: list[Run] = []
    refused: list[Refusal] = []
    for candidate in BACKENDS:
        if candidate.name == _DEFINITION:
            continue
        outcome = _judged(candidate, problem, limit, on_request=False)
        if isinstance(outcome, Run):
            runs.append(outcome)
        else:
            refused.append(outcome)
    if not runs:
        lines = "\n".join(f"  {r.backend}: {'; '.join(r.reasons)}" for r in refused)
        raise PlanError(f"no backend accepts this problem ({problem}):\n{lines}")
    runs.sort(key=lambda run: run.seconds)
    return Decision(runs[0], tuple(runs[1:]), tuple(refused), limit)


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
    return Run(problem, backend.name, verdict.way, time, verdict.memory)

"""Analyze: the measured time of plans, on the tensors of a call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from edgewise.measure.memory import as_text, free_memory
from edgewise.measure.timing import seconds_of
from edgewise.ops.inputs import Inputs
from edgewise.planning.explain import Explanation
from edgewise.planning.plan import Plan
from edgewise.planning.planner import Decision

__all__ = ["analyzed", "measured", "not_run"]

_SECONDS = 0.2  # for each plan; a slower plan runs twice
_FEWEST = 2
_MOST = 100
_ONCE = 10.0  # seconds; a plan whose first run took longer is not run again
_FAR, _LONG = 10.0, 1.0  # estimated at so many times the choice, and so many seconds: not run

_log = logging.getLogger(__name__)


def analyzed(decision: Decision[Plan], inputs: Inputs) -> Explanation:
    """The explanation of a decision, with what its plans took on these tensors."""
    plans = (decision.plan, *decision.dearer)
    reasons = not_run(plans)
    times = iter(measured([p for p, why in zip(plans, reasons, strict=True) if not why], inputs))
    return Explanation(decision, tuple(None if why else next(times) for why in reasons), reasons)


def not_run(plans: Sequence[Plan]) -> tuple[str, ...]:
    """The reason not to run each plan, in a few words; empty where it may be run.

    Args:
        plans: The choice, and then the dearer plans.
    """
    choice, free = plans[0], free_memory(plans[0].problem.device)

    def reason(plan: Plan) -> str:
        if plan.memory > free:
            return f"not run, as it needs {as_text(plan.memory)} and {as_text(free)} are free"
        times = plan.seconds / max(choice.seconds, 1e-9)
        return (
            f"not run, as {times:.0f}x the choice" if times > _FAR and plan.seconds > _LONG else ""
        )

    return tuple(map(reason, plans))


def measured(plans: Sequence[Plan], inputs: Inputs) -> tuple[float, ...]:
    """Seconds of each plan: the least of a few interleaved runs, with backward where it trains.

    The first run of each, which prepares the graph, does not count, unless it is very long.
    """
    jobs = [_job(plan, inputs) for plan in plans]
    best: list[float] = []
    for plan, job in zip(plans, jobs, strict=True):
        _log.info("running %s", plan.name)
        first = seconds_of(job, inputs.query.device)
        best.append(first if first > _ONCE else float("inf"))
    spent, again = [0.0] * len(jobs), [seconds == float("inf") for seconds in best]
    for round_ in range(_MOST):
        due = [
            i
            for i, taken in enumerate(spent)
            if again[i] and (round_ < _FEWEST or taken < _SECONDS)
        ]
        if not due:
            break
        for i in due:
            seconds = seconds_of(jobs[i], inputs.query.device)
            best[i], spent[i] = min(best[i], seconds), spent[i] + seconds
    return tuple(best)


def _job(plan: Plan, inputs: Inputs) -> Callable[[], object]:
    """A function that runs a plan once, with its backward pass where the plan trains."""
    if not plan.problem.needs_grad:

        def forward() -> Tensor:
            with torch.no_grad():
                return plan.prepared.attend(inputs)

        return forward

    def training() -> object:
        leaves = inputs.leaves()
        wanted = [tensor for tensor in leaves.tensors().values() if tensor.requires_grad]
        with torch.enable_grad():
            out = plan.prepared.attend(leaves)
        return torch.autograd.grad(out, wanted, torch.ones_like(out), allow_unused=True)

    return training

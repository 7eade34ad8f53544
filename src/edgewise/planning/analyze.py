"""Analyze: how long plans really take, on the tensors of a call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from edgewise.ops.inputs import Inputs
from edgewise.planning.plan import Plan

__all__ = ["measured"]

_SECONDS = 0.2  # for each plan; a slower plan runs twice
_FEWEST = 2
_MOST = 100


def measured(plans: Sequence[Plan], inputs: Inputs) -> tuple[float, ...]:
    """Seconds of each plan: the least of a few runs, taken in turn, forward and backward if asked.

    The first run of each, which prepares the graph, does not count.
    """
    jobs = [_job(plan, inputs) for plan in plans]
    for job in jobs:
        job()
    best = [float("inf")] * len(jobs)
    spent = [0.0] * len(jobs)
    for round_ in range(_MOST):
        due = [i for i, taken in enumerate(spent) if round_ < _FEWEST or taken < _SECONDS]
        if not due:
            break
        for i in due:
            seconds = _timed(jobs[i], inputs.query.device)
            best[i], spent[i] = min(best[i], seconds), spent[i] + seconds
    return tuple(best)


def _job(plan: Plan, inputs: Inputs) -> Callable[[], object]:
    if not plan.problem.needs_grad:

        def forward() -> Tensor:
            with torch.no_grad():
                return plan.attend(inputs)

        return forward

    def training() -> object:
        leaves = inputs.leaves()
        wanted = [tensor for tensor in leaves.tensors().values() if tensor.requires_grad]
        with torch.enable_grad():
            out = plan.attend(leaves)
        return torch.autograd.grad(out, wanted, torch.ones_like(out), allow_unused=True)

    return training


def _timed(job: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    before = time.perf_counter()
    job()
    _wait(device)
    return time.perf_counter() - before


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

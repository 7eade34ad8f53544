"""Timing: the backends of one trial in turn, and of several runs the fastest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from edgewise.backends import BACKENDS, Accepts, Work
from edgewise.lottery.trials import Call, Trial
from edgewise.measure.timing import seconds_of
from edgewise.planning.cost import seconds
from edgewise.planning.price_table import Constants
from edgewise.problem import Problem

__all__ = ["DEFINITION", "Candidate", "Pace", "candidates", "timed", "worth_it"]

DEFINITION = "reference"  # never chosen by itself: measured only where it is asked for
_FACTOR = 30.0  # a backend that is estimated to take this many times the best is not measured
_RUNS = 200  # at most so many of one backend
_LEAST = 3  # at least so many more, unless they are long
_BUDGET = 2 << 30  # bytes of extra memory

# Trials run on one thread, so its processor time is what they take, whatever else is running;
# where that clock is too coarse (Windows counts in 16 ms), the clock on the wall has to do.
_FINE = time.get_clock_info("thread_time").resolution <= 1e-6
_clock = time.thread_time if _FINE else time.perf_counter
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Pace:
    """How long is measured.

    Attributes:
        each: Seconds for the runs of one backend.
        longest: Seconds one run may be estimated to take.
    """

    each: float
    longest: float


@dataclass(frozen=True)
class Candidate:
    """A backend that accepts a trial.

    Attributes:
        backend: Its name.
        way: How it computes.
        work: What it has to do.
        estimate: Seconds, by the constants known before.
    """

    backend: str
    way: str
    work: Work
    estimate: float


def candidates(problem: Problem, table: Constants, only: Sequence[str] = ()) -> list[Candidate]:
    """The backends that accept a problem, cheapest first; the definition only if it is named."""
    found: list[Candidate] = []
    for backend in BACKENDS:
        if backend.name not in only if only else backend.name == DEFINITION:
            continue
        verdict = backend.judge(problem)
        if not isinstance(verdict, Accepts) or verdict.on_request is not None:
            continue
        if verdict.memory <= _BUDGET:
            estimate = seconds(verdict.work, verdict.way, problem, table)
            found.append(Candidate(backend.name, verdict.way, verdict.work, estimate))
    return sorted(found, key=lambda candidate: candidate.estimate)


def worth_it(found: Sequence[Candidate], pace: Pace) -> list[Candidate]:
    """Those whose runs are not too long, by themselves and beside the cheapest."""
    limit = min(pace.longest, _FACTOR * found[0].estimate) if found else 0.0
    return [candidate for candidate in found if candidate.estimate <= limit]


def timed(trial: Trial, backends: Sequence[str], pace: Pace) -> Mapping[str, float]:
    """Seconds of one run with each backend: the least of several.

    Backends take turns, so that a busy moment touches all of them. The first run, which lowers
    the graph and fills the caches, does not count. What Python does on the way does: it is part
    of what a call takes.
    """
    if not backends:
        return {}
    call = trial.call()
    best = {backend: _after_warm_up(call, backend, pace) for backend in backends}
    spent = dict(best)
    for number in range(_RUNS):
        # One run says little: something else may have had the processor meanwhile.
        limit = pace.longest / 3 if number < _LEAST else pace.each
        waiting = [backend for backend in backends if spent[backend] < limit]
        if not waiting:
            break
        for backend in waiting:
            now = _clocked(call, backend)
            best[backend] = min(best[backend], now)
            spent[backend] += now
    return best


def _after_warm_up(call: Call, backend: str, pace: Pace) -> float:
    first = _clocked(call, backend)
    if first > 4 * pace.longest:  # much slower than estimated: once has to do
        return first
    return _clocked(call, backend)


def _clocked(call: Call, backend: str) -> float:
    return seconds_of(partial(call, backend), _CPU, _clock)

"""Timing of trials: each backend in turn, and the fastest of several runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from edgewise.backends import BACKENDS, Accepts, Work
from edgewise.lottery.trials import TimedCall, Trial
from edgewise.measure.timing import seconds_of
from edgewise.planning.cost import seconds
from edgewise.planning.price_table import Constants
from edgewise.problem import Problem

__all__ = ["DEFINITION", "Candidate", "Pace", "candidates", "timed", "worth_it"]

DEFINITION = "reference"  # never chosen by the planner: measured only where it is named
_FACTOR = 30.0  # a backend that is estimated to take this many times the best is not measured
_RUNS = 200  # at most so many of one backend
_LEAST = 3  # at least so many more, unless they are long
_BUDGET = 2 << 30  # bytes of extra memory

# Trials run on one thread, so they are timed by its processor time, which other processes do not
# change; where that clock is too coarse (16 ms on Windows), by wall-clock time.
_FINE = time.get_clock_info("thread_time").resolution <= 1e-6
_clock = time.thread_time if _FINE else time.perf_counter
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Pace:
    """Limits of the time of measurements.

    Attributes:
        each: Seconds for all runs of a backend.
        longest: Largest estimate of a run, in seconds.
    """

    each: float
    longest: float


@dataclass(frozen=True)
class Candidate:
    """A backend that accepts a trial.

    Attributes:
        backend: Its name.
        way: Its way to compute the trial.
        work: Counted work.
        estimate: Seconds, by the constants in use.
    """

    backend: str
    way: str
    work: Work
    estimate: float


def candidates(problem: Problem, table: Constants, only: Sequence[str] = ()) -> list[Candidate]:
    """The backends that accept a problem, cheapest first; the reference only if it is named."""
    accepting: list[Candidate] = []
    for backend in BACKENDS:
        if backend.name not in only if only else backend.name == DEFINITION:
            continue
        verdict = backend.judge(problem)
        if not isinstance(verdict, Accepts) or verdict.on_request is not None:
            continue
        if verdict.memory <= _BUDGET:
            estimate = seconds(verdict.work, verdict.way, problem, table)
            accepting.append(Candidate(backend.name, verdict.way, verdict.work, estimate))
    return sorted(accepting, key=lambda candidate: candidate.estimate)


def worth_it(accepting: Sequence[Candidate], pace: Pace) -> list[Candidate]:
    """The candidates whose estimates are below the limit and not far above the cheapest."""
    limit = min(pace.longest, _FACTOR * accepting[0].estimate) if accepting else 0.0
    return [candidate for candidate in accepting if candidate.estimate <= limit]


def timed(trial: Trial, backends: Sequence[str], pace: Pace) -> Mapping[str, float]:
    """Seconds of a run with each backend: the minimum of several.

    Backends are interleaved, so that load of the machine affects all of them. The first run,
    which lowers the graph and fills the caches, is not counted. Time in Python is counted: it is
    part of a call.
    """
    if not backends:
        return {}
    call = trial.call()
    best = {backend: _after_warm_up(call, backend, pace) for backend in backends}
    spent = dict(best)
    for number in range(_RUNS):
        # One run is not reliable: another process may have used the processor.
        limit = pace.longest / 3 if number < _LEAST else pace.each
        unfinished = [backend for backend in backends if spent[backend] < limit]
        if not unfinished:
            break
        for backend in unfinished:
            now = _clocked(call, backend)
            best[backend] = min(best[backend], now)
            spent[backend] += now
    return best


def _after_warm_up(call: TimedCall, backend: str, pace: Pace) -> float:
    first = _clocked(call, backend)
    if first > 4 * pace.longest:  # much slower than estimated: measured once
        return first
    return _clocked(call, backend)


def _clocked(call: TimedCall, backend: str) -> float:
    return seconds_of(partial(call, backend), _CPU, _clock)

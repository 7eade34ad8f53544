"""Lottery: measures trials, fits prices, decides which prices are used, and fills the map."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgewise.atomic_file import replacing
from edgewise.errors import EdgewiseError
from edgewise.lottery.fit import Fit, PriceKey, Sample, estimate, fitted
from edgewise.lottery.journal import Journal
from edgewise.lottery.map import COLUMNS, Cell, MapPoint, crossovers, map_points
from edgewise.lottery.problems import ROUNDS, trials
from edgewise.lottery.regret import Choice, Regret, regret_of
from edgewise.lottery.trial_timing import DEFINITION, Candidate, Pace, candidates, timed, worth_it
from edgewise.lottery.trials import Trial
from edgewise.lottery.trust import Quality, Ruling, folds, ruling
from edgewise.measure.machine import identity
from edgewise.measure.threads import threads_set
from edgewise.planning.price_table import Constants, constants, measured_path, shipped

__all__ = [
    "FULL",
    "QUICK",
    "Extent",
    "Findings",
    "Lottery",
    "LotteryObserver",
    "remove_constants",
    "save_constants",
]

_FOR_PRICES = 0.7  # share of the time
_FOR_MAP = 0.25  # the rest is for measuring some trials once more
_LEAST = 0.01  # seconds for a backend, however late it is
_TWICE = 16  # trials that are measured twice, for the noise of the times


@dataclass(frozen=True)
class Extent:
    """Amount of measurements of a lottery.

    Attributes:
        name: ``full`` or ``quick``.
        rounds: Rounds of trials.
        pace: Limits of each trial.
        seconds: Time for all trials; trials after it are not measured.
        quick: Whether the map is coarse.
    """

    name: str
    rounds: int
    pace: Pace
    seconds: float
    quick: bool


# A complete measurement: about twenty minutes.
FULL = Extent("full", ROUNDS, Pace(each=0.15, longest=1.0), 1100.0, quick=False)
# A measurement of the least that prices need: a few minutes.
QUICK = Extent("quick", 1, Pace(each=0.05, longest=0.2), 240.0, quick=True)


class LotteryObserver(Protocol):
    """Protocol of an observer of a lottery, for progress displays."""

    def started(self, total: int, kept: int) -> None:
        """Called once: ``total`` trials, ``kept`` of them measured earlier."""
        ...

    def measured(self, trial: str) -> None:
        """Called after each trial, with its name."""
        ...


@dataclass(frozen=True)
class Findings:
    """Results of a lottery.

    Attributes:
        table: The constants of this machine.
        fits: Errors of their estimates, by way, dtype and pass.
        regret: Regret of their choices; None without a trial that two backends can run.
        cells: The map.
        done: Number of measured trials.
        total: Number of trials.
        quality: Coverage and noise of the measurements.
        ruling: Which prices are used after it.
    """

    table: Constants
    fits: tuple[Fit, ...]
    regret: Regret | None
    cells: tuple[Cell, ...]
    done: int
    total: int
    quality: Quality
    ruling: Ruling

    def machine_line(self) -> str:
        """Processor, threads and version of torch, in one line."""
        machine = self.table.machine
        return f"{machine['cpu']}, one thread, torch {machine['torch']}"

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        lines = [
            {
                "dtype": dtype,
                "pass": pass_,
                "sparse_wins_below": {str(nodes): share for nodes, share in sizes.items()},
            }
            for (dtype, pass_), sizes in crossovers(self.cells).items()
        ]
        fits = [
            {
                "kind": str(fit.kind),
                "samples": fit.samples,
                "price": fit.price._asdict(),
                "error": {"median": fit.median, "95 %": fit.most},
            }
            for fit in self.fits
        ]
        return {
            "machine": dict(self.table.machine),
            "trials": {"measured": self.done, "all": self.total},
            "prices": self.ruling.to_dict() | {"quality": self.quality.to_dict()},
            "regret": None if self.regret is None else self.regret.to_dict(),
            "fits": fits,
            "crossovers": lines,
            "map": [cell.to_dict() for cell in self.cells],
        }


class Lottery:
    """Measurement of this machine; every time is written to the journal immediately.

    Args:
        journal: Earlier times, and the file of new ones.
        extent: Amount of measurements.
    """

    def __init__(self, journal: Journal, extent: Extent = FULL) -> None:
        self.journal, self.extent = journal, extent
        self.constants_in_use = constants()
        self.trials = trials(extent.rounds)
        self.points = map_points(quick=extent.quick)

    @property
    def machine(self) -> dict[str, Any]:
        """Properties of this machine, for the file of constants."""
        return identity() | {"threads": 1, "lottery": self.extent.name}

    def run(self, observer: LotteryObserver) -> Findings:
        """Measure the trials that are not in the journal, within the time, and fit all of them."""
        trials_of_points = [
            point.trial(column)
            for point in self.points
            for column in COLUMNS
            if point.can_be_measured(column)
        ]
        map_trials = list(dict.fromkeys(trials_of_points))
        kept = sum(trial.name in self.journal.times for trial in (*self.trials, *map_trials))
        observer.started(len(self.trials) + len(map_trials), kept)
        start = time.monotonic()
        with threads_set(1):
            for batch, share in ((self.trials, _FOR_PRICES), (map_trials, _FOR_PRICES + _FOR_MAP)):
                deadline = start + share * self.extent.seconds
                for index, trial in enumerate(batch):
                    self._measure(trial, (deadline - time.monotonic()) / (len(batch) - index))
                    observer.measured(trial.name)
            quality = self._quality(start + self.extent.seconds)
        return self._findings([*self.trials, *map_trials], quality)

    def _quality(self, deadline: float) -> Quality:
        """Share of trials that were measured, and ratios of times that are measured twice.

        Args:
            deadline: Time after which no trial is measured again; in seconds of `time.monotonic`.
        """
        done = [trial for trial in self.trials if trial.name in self.journal.times]
        quality = Quality(len(done), len(self.trials))
        if not quality.covers:
            return quality
        ratios: list[float] = []
        for trial in done[:: max(1, len(done) // _TWICE)]:
            if time.monotonic() >= deadline:
                break
            first, pace = self.journal.times[trial.name], self.extent.pace
            names = [each.backend for each in self._timed(trial)]
            again = timed(trial, [name for name in names if first[name] <= pace.longest], pace)
            ratios += [max(first[k] / again[k], again[k] / first[k]) for k in again]
        return Quality(len(done), len(self.trials), tuple(ratios))

    def _measure(self, trial: Trial, share: float) -> None:
        """Time the backends of a trial that are not in the journal, within ``share`` seconds."""
        if share <= 0:
            return
        done = self.journal.times.get(trial.name, {})
        pace = self.extent.pace
        pace = Pace(min(pace.each, max(_LEAST, share / 3)), min(pace.longest, 2 * share))
        worthwhile = worth_it(candidates(trial.problem(), self.constants_in_use, trial.only), pace)
        left = [each.backend for each in worthwhile if each.backend not in done]
        if left:
            self.journal.add(trial.name, timed(trial, left, pace))

    def _findings(self, everything: Sequence[Trial], quality: Quality) -> Findings:
        measured = [trial for trial in everything if trial.name in self.journal.times]
        if not measured:
            raise EdgewiseError("nothing was measured: the time was up. Run it again.")
        pairs = [(trial, each) for trial in measured for each in self._timed(trial)]
        table, fits = self._fitted(pairs)
        cells = [self._cell(point, table) for point in self.points]
        return Findings(
            table,
            tuple(sorted(fits, key=lambda fit: str(fit.kind))),
            regret_of(self._choices(pairs, table)),
            tuple(cell for cell in cells if cell.seconds),
            len(measured),
            len(everything),
            quality,
            self._ruling(pairs, quality),
        )

    def _fitted(self, pairs: Sequence[tuple[Trial, Candidate]]) -> tuple[Constants, list[Fit]]:
        """The prices fitted to the times of these trials."""
        samples = (
            (
                PriceKey("cpu", each.way, trial.dtype, trial.training),
                Sample(each.work, self.journal.times[trial.name][each.backend]),
            )
            for trial, each in pairs
        )
        return fitted(samples, shipped(), self.machine)

    def _ruling(self, pairs: Sequence[tuple[Trial, Candidate]], quality: Quality) -> Ruling:
        """Compare measured and shipped prices on trials that the prices were not fitted to."""
        if quality.doubt() is not None:
            return ruling(quality, None, None)
        held_out: list[Choice] = []
        for fold in folds(list(dict.fromkeys(trial.name for trial, _ in pairs))):
            table, _ = self._fitted([pair for pair in pairs if pair[0].name not in fold])
            inside = [pair for pair in pairs if pair[0].name in fold]
            held_out += self._choices(inside, table)
        earlier = (
            regret_of(self._choices(pairs, self.constants_in_use))
            if self.constants_in_use.measured
            else None
        )
        before = regret_of(self._choices(pairs, shipped()))
        return ruling(quality, regret_of(held_out), before, earlier)

    def _timed(self, trial: Trial) -> list[Candidate]:
        """The backends of a trial that have a measured time."""
        seconds = self.journal.times[trial.name]
        accepting = candidates(trial.problem(), self.constants_in_use, trial.only)
        return [each for each in accepting if each.backend in seconds]

    def _choices(
        self, pairs: Sequence[tuple[Trial, Candidate]], table: Constants
    ) -> Iterable[Choice]:
        """Estimates and times of the backends the planner chooses from, for each trial."""
        choices: dict[str, Choice] = {}
        for trial, each in pairs:
            if each.backend == DEFINITION:
                continue
            choice = choices.setdefault(trial.name, Choice(trial.name, {}, {}))
            choice.estimates[each.backend] = _seconds(each, trial, table)
            choice.times[each.backend] = self.journal.times[trial.name][each.backend]
        return choices.values()

    def _cell(self, point: MapPoint, table: Constants) -> Cell:
        seconds: dict[str, float] = {}
        estimated: list[str] = []
        for column, names in COLUMNS.items():
            trial = point.trial(column)
            by_backend = {each.backend: each for each in candidates(trial.problem(), table, names)}
            backend = next((name for name in names if name in by_backend), None)
            if backend is None:
                continue
            measured = self.journal.times.get(trial.name, {}).get(backend)
            if measured is None or not point.can_be_measured(column):
                measured = _seconds(by_backend[backend], trial, table)
                estimated.append(column)
            seconds[column] = measured
        return Cell(point, seconds, tuple(estimated))


def save_constants(table: Constants) -> None:
    """Write the constants of this machine, atomically; planners use them from now on."""
    with replacing(measured_path()) as draft:
        draft.write_text(json.dumps(table.to_dict(), indent=1) + "\n", encoding="utf-8")
    constants.cache_clear()


def remove_constants() -> bool:
    """Delete the measured constants of this machine, and return whether there were any."""
    path = measured_path()
    exists = os.path.lexists(path)
    if exists:
        path.unlink()
    constants.cache_clear()
    return exists


def _seconds(candidate: Candidate, trial: Trial, table: Constants) -> float:
    price = table.price("cpu", candidate.way, trial.dtype, training=trial.training)
    return estimate(candidate.work, price)

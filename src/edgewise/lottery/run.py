"""The lottery: measure every trial that is left, then make prices and the map of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgewise.atomic_file import replacing
from edgewise.errors import EdgewiseError
from edgewise.lottery.fit import Fit, Kind, Sample, estimate, fitted
from edgewise.lottery.journal import Journal
from edgewise.lottery.map import COLUMNS, Cell, Place, crossovers, places
from edgewise.lottery.measure import DEFINITION, Candidate, Pace, candidates, timed, worth_it
from edgewise.lottery.problems import ROUNDS, trials
from edgewise.lottery.regret import Choice, Regret, regret_of
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
    "Watcher",
    "remove_constants",
    "save_constants",
]

_FOR_PRICES = 0.7  # share of the time
_FOR_MAP = 0.25  # the rest is for measuring some trials once more
_LEAST = 0.01  # seconds for a backend, however late it is
_TWICE = 16  # trials that are measured once more, to learn how far times can be trusted


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        name: In a word.
        rounds: Of trials.
        pace: How long each.
        seconds: Time for all; what is left then is not measured.
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


class Watcher(Protocol):
    """Who is told how far it is."""

    def started(self, total: int, kept: int) -> None:
        """So many trials, of which some were measured earlier."""
        ...

    def measured(self, trial: str) -> None:
        """One trial is done."""
        ...


@dataclass(frozen=True)
class Findings:
    """What a lottery found.

    Attributes:
        table: The constants of this machine.
        fits: How well they explain the times, by way, dtype and pass.
        regret: How well they choose; None when there was nothing to choose.
        cells: The map.
        done: How many trials were measured.
        total: How many there are.
        quality: How well they were measured.
        ruling: Which prices are used from now on.
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
        """On what it was measured, in one line."""
        found = self.table.machine
        return f"{found['cpu']}, one thread, torch {found['torch']}"

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
    """Measures this machine; what was measured is in the journal at once.

    Args:
        journal: What was measured before, and where it is written.
        extent: How much is measured.
    """

    def __init__(self, journal: Journal, extent: Extent = FULL) -> None:
        self.journal, self.extent = journal, extent
        self.known = constants()
        self.trials = trials(extent.rounds)
        self.places = places(quick=extent.quick)

    @property
    def machine(self) -> dict[str, Any]:
        """What the constants are written with."""
        return identity() | {"threads": 1, "lottery": self.extent.name}

    def run(self, watcher: Watcher) -> Findings:
        """Measure what is left, as far as the time goes, and return what all of it says."""
        drawn = [
            place.trial(column)
            for place in self.places
            for column in COLUMNS
            if place.can_be_measured(column)
        ]
        of_map = list(dict.fromkeys(drawn))
        kept = sum(trial.name in self.journal.times for trial in (*self.trials, *of_map))
        watcher.started(len(self.trials) + len(of_map), kept)
        start = time.monotonic()
        with threads_set(1):
            for todo, share in ((self.trials, _FOR_PRICES), (of_map, _FOR_PRICES + _FOR_MAP)):
                deadline = start + share * self.extent.seconds
                for place, trial in enumerate(todo):
                    self._measure(trial, (deadline - time.monotonic()) / (len(todo) - place))
                    watcher.measured(trial.name)
            quality = self._quality(start + self.extent.seconds)
        return self._findings([*self.trials, *of_map], quality)

    def _quality(self, deadline: float) -> Quality:
        """How much was measured, and how far times that are measured twice agree.

        Args:
            deadline: When no other trial is begun; in seconds of `time.monotonic`.
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
        """Time what is not in the journal; a trial whose time is up is left out."""
        if share <= 0:
            return
        done = self.journal.times.get(trial.name, {})
        pace = self.extent.pace
        pace = Pace(min(pace.each, max(_LEAST, share / 3)), min(pace.longest, 2 * share))
        found = worth_it(candidates(trial.problem(), self.known, trial.only), pace)
        left = [each.backend for each in found if each.backend not in done]
        if left:
            self.journal.add(trial.name, timed(trial, left, pace))

    def _findings(self, everything: Sequence[Trial], quality: Quality) -> Findings:
        measured = [trial for trial in everything if trial.name in self.journal.times]
        if not measured:
            raise EdgewiseError("nothing was measured: the time was up. Run it again.")
        pairs = [(trial, each) for trial in measured for each in self._timed(trial)]
        table, fits = self._fitted(pairs)
        cells = [self._cell(place, table) for place in self.places]
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
        """The prices that explain the times of these trials best."""
        samples = (
            (
                Kind("cpu", each.way, trial.dtype, trial.training),
                Sample(each.work, self.journal.times[trial.name][each.backend]),
            )
            for trial, each in pairs
        )
        return fitted(samples, shipped(), self.machine)

    def _ruling(self, pairs: Sequence[tuple[Trial, Candidate]], quality: Quality) -> Ruling:
        """Compare measured and shipped prices on trials that neither were fitted to."""
        if quality.doubt() is not None:
            return ruling(quality, None, None)
        held_out: list[Choice] = []
        for fold in folds(list(dict.fromkeys(trial.name for trial, _ in pairs))):
            table, _ = self._fitted([pair for pair in pairs if pair[0].name not in fold])
            inside = [pair for pair in pairs if pair[0].name in fold]
            held_out += self._choices(inside, table)
        earlier = regret_of(self._choices(pairs, self.known)) if self.known.measured else None
        before = regret_of(self._choices(pairs, shipped()))
        return ruling(quality, regret_of(held_out), before, earlier)

    def _timed(self, trial: Trial) -> list[Candidate]:
        """The backends of a trial whose times are known."""
        took = self.journal.times[trial.name]
        found = candidates(trial.problem(), self.known, trial.only)
        return [each for each in found if each.backend in took]

    def _choices(
        self, pairs: Sequence[tuple[Trial, Candidate]], table: Constants
    ) -> Iterable[Choice]:
        """What the planner would choose from, trial by trial."""
        found: dict[str, Choice] = {}
        for trial, each in pairs:
            if each.backend == DEFINITION:
                continue
            choice = found.setdefault(trial.name, Choice(trial.name, {}, {}))
            choice.estimates[each.backend] = _seconds(each, trial, table)
            choice.times[each.backend] = self.journal.times[trial.name][each.backend]
        return found.values()

    def _cell(self, place: Place, table: Constants) -> Cell:
        seconds: dict[str, float] = {}
        guessed: list[str] = []
        for column, names in COLUMNS.items():
            trial = place.trial(column)
            found = {each.backend: each for each in candidates(trial.problem(), table, names)}
            backend = next((name for name in names if name in found), None)
            if backend is None:
                continue
            took = self.journal.times.get(trial.name, {}).get(backend)
            if took is None or not place.can_be_measured(column):
                took = _seconds(found[backend], trial, table)
                guessed.append(column)
            seconds[column] = took
        return Cell(place, seconds, tuple(guessed))


def save_constants(table: Constants) -> None:
    """Write this machine's constants, whole or not at all; planners read them from now on."""
    with replacing(measured_path()) as draft:
        draft.write_text(json.dumps(table.to_dict(), indent=1) + "\n", encoding="utf-8")
    constants.cache_clear()


def remove_constants() -> bool:
    """Delete this machine's measured constants: the shipped ones serve. Whether there were any."""
    path = measured_path()
    there = os.path.lexists(path)
    if there:
        path.unlink()
    constants.cache_clear()
    return there


def _seconds(found: Candidate, trial: Trial, table: Constants) -> float:
    price = table.price("cpu", found.way, trial.dtype, training=trial.training)
    return estimate(found.work, price)

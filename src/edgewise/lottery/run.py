"""The lottery: measure every trial that is left, then make prices and the map of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgewise.atomic import replacing
from edgewise.errors import EdgewiseError
from edgewise.lottery.fit import Fit, Kind, Sample, estimate, fitted
from edgewise.lottery.journal import Journal
from edgewise.lottery.map import COLUMNS, Cell, Place, crossovers, places
from edgewise.lottery.measure import DEFINITION, Candidate, Pace, candidates, timed, worth_it
from edgewise.lottery.problems import ROUNDS, trials
from edgewise.lottery.regret import Choice, Regret, regret_of
from edgewise.lottery.trials import Trial
from edgewise.planning.machine import Constants, constants, identity, measured_path, shipped
from edgewise.training.threads import threads_set

__all__ = ["FULL", "QUICK", "Extent", "Findings", "Lottery", "Watcher", "save_constants"]

_FOR_PRICES = 0.7  # share of the time; the rest is for the map
_LEAST = 0.01  # seconds for a backend, however late it is


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


FULL = Extent("full", ROUNDS, Pace(each=0.15, longest=1.0), 1100.0, quick=False)
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
    """

    table: Constants
    fits: tuple[Fit, ...]
    regret: Regret | None
    cells: tuple[Cell, ...]
    done: int
    total: int

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
        regret = None
        if self.regret is not None:
            names = ("count", "median", "most", "worst", "right")
            regret = {name: getattr(self.regret, name) for name in names}
        return {
            "machine": dict(self.table.machine),
            "trials": {"measured": self.done, "all": self.total},
            "regret": regret,
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
        self.known = _known()
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
            for todo, share in ((self.trials, _FOR_PRICES), (of_map, 1.0)):
                deadline = start + share * self.extent.seconds
                for place, trial in enumerate(todo):
                    self._measure(trial, (deadline - time.monotonic()) / (len(todo) - place))
                    watcher.measured(trial.name)
        return self._findings([*self.trials, *of_map])

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

    def _findings(self, everything: Sequence[Trial]) -> Findings:
        measured = [trial for trial in everything if trial.name in self.journal.times]
        if not measured:
            raise EdgewiseError("nothing was measured: the time was up. Run it again.")
        pairs = [(trial, each) for trial in measured for each in self._timed(trial)]
        samples = (
            (
                Kind("cpu", each.way, trial.dtype, trial.training),
                Sample(each.work, self.journal.times[trial.name][each.backend]),
            )
            for trial, each in pairs
        )
        table, fits = fitted(samples, shipped(), self.machine)
        cells = [self._cell(place, table) for place in self.places]
        return Findings(
            table,
            tuple(sorted(fits, key=lambda fit: str(fit.kind))),
            regret_of(self._choices(pairs, table)),
            tuple(cell for cell in cells if cell.seconds),
            len(measured),
            len(everything),
        )

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


def _known() -> Constants:
    """What is known before: a damaged file, which would stop every plan, is deleted."""
    try:
        return constants()
    except EdgewiseError:
        measured_path().unlink()
        return constants()


def _seconds(found: Candidate, trial: Trial, table: Constants) -> float:
    price = table.price("cpu", found.way, trial.dtype, training=trial.training)
    return estimate(found.work, price)

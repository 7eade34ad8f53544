"""Which tests a run takes: all that were selected, or as many as fit into a number of seconds.

``make test`` takes the tests without the mark ``slow``. ``make test-all`` takes every test; with
``--budget SECONDS`` it takes the longest ones first, until half of the time is planned, and fills
the other half with the rest, from a place that ``--rotation N`` moves on: runs with other numbers
take other tests. What is planned follows from ``tests/durations.json``, which
``--record-durations`` writes.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

import pytest

__all__ = ["choose"]

DURATIONS = Path(__file__).with_name("durations.json")
_UNKNOWN = 0.1  # seconds planned for a test that was never recorded


def choose(
    seconds: Sequence[float], names: Sequence[str], budget: float, rotation: int
) -> set[int]:
    """Which tests fit into a budget.

    Args:
        seconds: What each test takes.
        names: Their names, which decide the order of the rotation.
        budget: Seconds in all.
        rotation: Moves the place at which the second half starts by as much as that half took.
    """
    if sum(seconds) <= budget:
        return set(range(len(seconds)))
    chosen: set[int] = set()
    spent = 0.0
    # Of tests that take equally long, other ones in each rotation.
    turns = [sha256(f"{rotation} {name}".encode()).digest() for name in names]
    for place in sorted(range(len(seconds)), key=lambda i: (-seconds[i], turns[i])):
        if spent + seconds[place] > budget / 2:
            break
        chosen.add(place)
        spent += seconds[place]
    # In the order of a hash neighbours in a file, which are alike, lie apart.
    rest = sorted(
        (i for i in range(len(seconds)) if i not in chosen),
        key=lambda i: sha256(names[i].encode()).digest(),
    )
    ends = list(accumulate(seconds[i] for i in rest))
    start = rotation * (budget - spent) % ends[-1] if rest and ends[-1] else 0.0
    turn = bisect_right(ends, start)
    for place in [*rest[turn:], *rest[:turn]]:
        if spent + seconds[place] > budget:
            break
        chosen.add(place)
        spent += seconds[place]
    return chosen


# --- As a plugin of pytest ------------------------------------------------------------------------


def function_of(nodeid: str) -> str:
    """The name of a test without its parameters."""
    return nodeid.split("[", 1)[0]


class Selection:
    """Deselects what does not fit, and reports it."""

    def __init__(self, budget: float, rotation: int) -> None:
        self.budget, self.rotation = budget, rotation
        self.line = ""

    # After deselection by marks.
    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        known = json.loads(DURATIONS.read_text(encoding="utf-8"))
        names = [item.nodeid for item in items]
        seconds = [known.get(function_of(name), _UNKNOWN) for name in names]
        chosen = choose(seconds, names, self.budget, self.rotation)
        left = [item for i, item in enumerate(items) if i not in chosen]
        self.line = (
            f"{len(chosen):,} of {len(items):,} tests fit into {self.budget:.0f} s of one process "
            f"(all would take {sum(seconds):.0f} s): the longest first, the rest from place "
            f"{self.rotation} of the rotation on. Another part: --rotation N."
        )
        items[:] = [item for i, item in enumerate(items) if i in chosen]
        if left:
            config.hook.pytest_deselected(items=left)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.line:
            terminalreporter.write_line(self.line)


class Recorder:
    """Writes what tests take, by function: the mean over its cases."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        by_function: defaultdict[str, list[float]] = defaultdict(list)
        for name, seconds in self.seconds.items():
            by_function[function_of(name)].append(seconds)
        found = {
            name: round(sum(each) / len(each), 2) for name, each in sorted(by_function.items())
        }
        text = json.dumps({k: v for k, v in found.items() if v >= 0.02}, indent=0)
        self.path.write_text(text + "\n", encoding="utf-8")

"""Display of a comparison: progress while it runs, then the table and the verdict."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from edgewise.errors import printable
from edgewise.training import Comparison, Recipe, Results, Run, Rung, Summary, verdict

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["CompareDisplay", "results_table"]

_WIDTH = 110  # of text that goes to a file
_SECONDS = 20.0  # between lines about an epoch where no progress bar is shown


class CompareDisplay:
    """Display of a comparison: progress on standard error, results on standard output.

    Args:
        comparison: The comparison.
        quiet: Whether progress is left out.
    """

    def __init__(self, comparison: Comparison, *, quiet: bool) -> None:
        self.comparison = comparison
        self.quiet = quiet
        # Names of data sets may hold text that rich interprets as markup or as an emoji.
        self.results = Console(highlight=False, markup=False, emoji=False)
        self.width = self.results.width if self.results.is_terminal else _WIDTH
        self.progress_console = Console(
            stderr=True, highlight=False, markup=False, emoji=False, quiet=quiet
        )
        self.last_line = time.monotonic()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[score]}"),
            TimeElapsedColumn(),
            console=self.progress_console,
            transient=True,
            disable=quiet or not self.progress_console.is_terminal,
        )
        self.all: TaskID = self.progress.add_task("all runs", total=comparison.num_runs, score="")
        self.current: TaskID | None = None
        self.run, self.epochs = "", 0

    def __enter__(self) -> CompareDisplay:
        data = self.comparison.results.data
        for line in (data["description"], data["split"], *data["notes"]):
            self._print_progress(line)
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def resumed(self, kept: int, dropped: int) -> None:
        self.progress.advance(self.all, kept)
        if kept:
            self._print_progress(f"{_runs(kept)} finished earlier: kept.")
        if dropped:
            self._print_progress(
                f"{_runs(dropped)} with other settings, data, versions or hardware: left out."
            )

    def started(self, rung: Rung, seed: int, recipe: Recipe) -> None:
        self.current = self.progress.add_task(
            f"{rung.name}, seed {seed}", total=recipe.epochs, score=""
        )
        self.run = f"{rung.name}, seed {seed}"
        self.epochs = recipe.epochs

    def epoch(self, number: int, score: float) -> None:
        if self.current is not None:
            words = f"validation {_score(self.comparison.results, score)}"
            self.progress.update(self.current, completed=number, score=words)
            is_due = time.monotonic() - self.last_line >= _SECONDS
            if self.progress.disable and is_due and number < self.epochs:
                self._print_progress(f"  {self.run}: epoch {number} of {self.epochs}, {words}")

    def finished(self, run: Run) -> None:
        if self.current is not None:
            self.progress.remove_task(self.current)
            self.current = None
        self.progress.advance(self.all)
        results = self.comparison.results
        score = (
            f"diverged in epoch {run.diverged}"
            if run.diverged
            else f"{results.score} {_score(results, run.scores[results.score])}"
        )
        self._print_progress(
            f"  {run.rung}, seed {run.seed}: {score}, {run.epochs} "
            f"epoch{'s' * (run.epochs != 1)} in {run.seconds:.1f} s"
        )

    def stopped(self) -> None:
        """Print how many runs an interrupted comparison has finished."""
        done, total = len(self.comparison.results.runs), self.comparison.num_runs
        where = f", kept in {printable(self.comparison.path)}" if done else ""
        self.progress_console.print(
            f"Stopped: {done} of {total} runs are finished{where}. The same command goes on from "
            f"there.",
            soft_wrap=True,
        )

    def show(self) -> None:
        """Print the table and the verdict."""
        results = self.comparison.results
        table = results_table(results)
        # A narrow terminal breaks lines of the table, but no column is cut off.
        self.results.width = max(self.width, self.results.measure(table).minimum)
        self._print(results.data["description"], "bold")
        self.results.print(table)
        legend = "Time of a training epoch, memory that a training step allocates."
        if any(summary.std is not None for summary in results.summaries()):
            legend = f"± is the standard deviation over seeds. {legend}"
        self._print(legend, "dim")
        self._print(results.machine_line(), "dim")
        self._print("")
        self._print(verdict(results))

    def written(self, pictures: Sequence[Path]) -> None:
        """Print the paths of all files."""
        paths = [self.comparison.path, *pictures]
        line = printable(f"Written: {', '.join(map(str, paths))}")
        self.results.print(line, style="dim", soft_wrap=True)

    def _print(self, text: str, style: str | None = None) -> None:
        """Print text to the results, in lines without trailing blanks."""
        lines = textwrap.fill(
            printable(text), self.width, break_long_words=False, break_on_hyphens=False
        )
        self.results.print(lines, style=style, soft_wrap=True)

    def _print_progress(self, words: str) -> None:
        self.last_line = time.monotonic()
        self.progress_console.print(printable(words).rstrip(), style="dim", soft_wrap=True)


def results_table(results: Results) -> Table:
    """The table of results, with a row for each rung."""
    table = Table()
    table.add_column("rung", no_wrap=True)
    for name in (f"test {results.score}", "params", "s / epoch", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("plan", overflow="fold", min_width=6)
    summaries = results.summaries()
    has_seeds = len({summary.seeds for summary in summaries}) > 1
    if has_seeds:
        table.add_column("seeds", justify="right", no_wrap=True)
    choose = max if results.higher else min
    scores = {s.rung: s.mean for s in summaries if s.mean is not None and not s.diverged}
    best = choose(scores, key=scores.__getitem__) if scores else None
    for summary in summaries:
        cells = [
            summary.rung,
            _test_score(results, summary),
            f"{summary.parameters:,}",
            _seconds(summary.seconds_per_epoch),
            _bytes(summary.peak_bytes),
            printable(summary.plan) or "–",
        ]
        if has_seeds:
            cells.append(str(summary.seeds))
        # Text, because cells that are strings are parsed as markup.
        table.add_row(*map(Text, cells), style="bold" if summary.rung == best else None)
    return table


def _test_score(results: Results, summary: Summary) -> str:
    """Mean and spread of the runs that did not diverge."""
    if summary.mean is None:
        return "diverged"
    spread = "" if summary.std is None else f" ± {_score(results, summary.std)}"
    some = f" ({summary.diverged} of {summary.seeds} diverged)" if summary.diverged else ""
    return f"{_score(results, summary.mean)}{spread}{some}"


def _score(results: Results, value: float) -> str:
    if not math.isfinite(value):
        return "not a number"
    return f"{100 * value:.1f} %" if results.score == "accuracy" else f"{value:.3f}"


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _bytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB" if size < 2**30 else f"{size / 2**30:,.2f} GiB"

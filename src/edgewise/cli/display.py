"""What is seen of a comparison: progress while it runs, then the table and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edgewise.training import Comparison, Recipe, Results, Run, Rung, verdict

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["Display", "results_table"]

_WIDTH = 110  # of a table that goes to a file


class Display:
    """Watch a comparison: progress goes to standard error, results to standard output.

    Args:
        comparison: What is watched.
        quiet: Whether progress is left out.
    """

    def __init__(self, comparison: Comparison, *, quiet: bool) -> None:
        self.comparison = comparison
        self.quiet = quiet
        self.results = Console(highlight=False)
        if not self.results.is_terminal:
            self.results = Console(highlight=False, width=_WIDTH)
        self.progress_console = Console(stderr=True, highlight=False, quiet=quiet)
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

    def __enter__(self) -> Display:
        data = self.comparison.results.data
        self._say(f"{data['description']}\n{data['split']}")
        for note in data["notes"]:
            self._say(note)
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
            self._say(f"{_runs(kept)} finished earlier: kept.")
        if dropped:
            self._say(
                f"{_runs(dropped)} with other settings, data, versions or hardware: left out."
            )

    def started(self, rung: Rung, seed: int, recipe: Recipe) -> None:
        self.current = self.progress.add_task(
            f"{rung.name}, seed {seed}", total=recipe.epochs, score=""
        )

    def epoch(self, number: int, score: float) -> None:
        if self.current is not None:
            words = f"validation {_score(self.comparison.results, score)}"
            self.progress.update(self.current, completed=number, score=words)

    def finished(self, run: Run) -> None:
        if self.current is not None:
            self.progress.remove_task(self.current)
            self.current = None
        self.progress.advance(self.all)
        results = self.comparison.results
        score = _score(results, run.scores[results.score])
        self._say(
            f"  {run.rung}, seed {run.seed}: {results.score} {score}, "
            f"{run.epochs} epochs in {run.seconds:.1f} s"
        )

    def stopped(self) -> None:
        """Say what an interrupted comparison leaves."""
        done, asked = len(self.comparison.results.runs), self.comparison.num_runs
        where = f", kept in {self.comparison.path}" if done else ""
        self.progress_console.print(
            f"Stopped: {done} of {asked} runs are finished{where}. The same command goes on from "
            f"there.",
            soft_wrap=True,
        )

    def show(self, pictures: Sequence[Path]) -> None:
        """Print the table, the verdict, and where everything is."""
        results = self.comparison.results
        self.results.print(results.data["description"], style="bold")
        self.results.print(results_table(results))
        self.results.print(
            "Time of a training epoch, memory that a training step allocates.", style="dim"
        )
        self.results.print(results.machine_line(), style="dim")
        self.results.print()
        self.results.print(verdict(results))
        paths = [self.comparison.path, *pictures]
        self.results.print(f"Written: {', '.join(map(str, paths))}", style="dim", soft_wrap=True)

    def _say(self, words: str) -> None:
        self.progress_console.print(words, style="dim", markup=False)


def results_table(results: Results) -> Table:
    """One line for each rung."""
    table = Table()
    table.add_column("rung", no_wrap=True)
    for name in (f"test {results.score}", "params", "s / epoch", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("plan", overflow="fold", min_width=6)
    summaries = results.summaries()
    choose = max if results.higher else min
    best = choose(summaries, key=lambda s: s.mean).rung if summaries else None
    for summary in summaries:
        spread = "" if summary.std is None else f" ± {_score(results, summary.std)}"
        table.add_row(
            summary.rung,
            f"{_score(results, summary.mean)}{spread}",
            f"{summary.parameters:,}",
            _seconds(summary.seconds_per_epoch),
            _bytes(summary.peak_bytes),
            summary.plan or "–",
            style="bold" if summary.rung == best else None,
        )
    return table


def _score(results: Results, value: float) -> str:
    return f"{100 * value:.1f} %" if results.score == "accuracy" else f"{value:.3f}"


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _bytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB" if size < 2**30 else f"{size / 2**30:,.2f} GiB"

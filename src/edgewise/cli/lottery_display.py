"""Display of a lottery: progress while it measures, then the map in a few lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edgewise.errors import printable
from edgewise.lottery import Findings, crossovers
from edgewise.lottery.fit import Fit
from edgewise.lottery.map_picture import as_share
from edgewise.planning.price_table import constants, shipped

__all__ = ["LotteryDisplay"]

_WIDTH = 110  # of a table that goes to a file


class LotteryDisplay:
    """Display of a lottery: progress on standard error, results on standard output.

    Args:
        quiet: Whether progress is left out.
    """

    def __init__(self, *, quiet: bool) -> None:
        plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
        self.results = Console(**plain)
        if not self.results.is_terminal:
            self.results = Console(**plain, width=_WIDTH)
        self.errors = Console(**plain, stderr=True)
        self.quiet = quiet
        self.progress = Progress(
            TextColumn("measuring"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[trial]}"),
            console=self.errors,
            transient=True,
            disable=quiet or not self.errors.is_terminal,
        )
        self.task = self.progress.add_task("", total=None, trial="")
        self.total = self.done = 0

    def __enter__(self) -> LotteryDisplay:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def started(self, total: int, kept: int) -> None:
        self.total = total
        self.progress.update(self.task, total=total)
        if kept and not self.quiet:
            self.errors.print(
                f"{kept} of {total} were measured earlier: kept. Add --fresh to start over.",
                style="dim",
            )

    def measured(self, trial: str) -> None:
        self.done += 1
        self.progress.update(self.task, completed=self.done, trial=trial[:48])

    def stopped(self) -> None:
        """Print how many trials an interrupted lottery has measured."""
        self.errors.print(
            f"Stopped: {self.done} of {self.total} are done, kept. The same command goes on from "
            f"there; the planner's constants are as they were.",
            soft_wrap=True,
        )

    def show(self, findings: Findings) -> None:
        """Print the map, its summary, and the errors of the estimates."""
        print_line = self.results.print
        print_line(_map(findings))
        for line in _sentences(findings):
            print_line(line)
        print_line()
        print_line(_errors(findings.fits))
        if findings.regret is not None:
            regret = findings.regret
            print_line(
                f"Of {regret.count} choices {100 * regret.right:.0f} % are the fastest. The chosen "
                f"backend takes {regret.median:.2f}x the time of the fastest (median), "
                f"{regret.most:.2f}x (95 %), {regret.worst:.2f}x (worst)."
            )
        if findings.done < findings.total:
            print_line(f"Time was up: {findings.done} of {findings.total} were measured.")
        for line in _prices(findings):
            print_line(line)
        print_line(findings.machine_line(), style="dim")

    def written(self, paths: Sequence[Path]) -> None:
        """Print the paths of all files."""
        words = f"Written: {', '.join(map(printable, paths))}"
        self.results.print(words, style="dim", soft_wrap=True)


def _prices(findings: Findings) -> list[str]:
    """Sentences on the prices in use, the reason, and how to reset them."""
    ruling = findings.ruling
    reason = ruling.reason[0].upper() + ruling.reason[1:]
    if ruling.use == "measured":
        used = "measured on this machine. Back to the shipped ones: edgewise lottery --reset"
    elif ruling.use == "shipped":
        used = shipped().source
    else:
        used = f"as before, {constants().source}"
    return [f"Prices in use: {used}.", reason]


def _map(findings: Findings) -> Table:
    table = Table(title="Density below which sparse beats dense attention", title_justify="left")
    lines = crossovers(findings.cells)
    sizes = sorted({nodes for line in lines.values() for nodes in line})
    table.add_column("nodes", no_wrap=True)
    for nodes in sizes:
        table.add_column(f"{nodes:,}", justify="right", no_wrap=True)
    for kind, line in lines.items():
        shares = [_share(line.get(nodes)) for nodes in sizes]
        table.add_row(" ".join(kind), *shares)
    return table


def _share(share: float | None) -> str:
    if share is None:
        return "never"
    return "always" if share == 1 else as_share(share)


def _sentences(findings: Findings) -> list[str]:
    sentences: list[str] = []
    for (dtype, pass_), line in crossovers(findings.cells).items():
        nodes = max((n for n in line if n <= 2048), default=None)
        if nodes is not None:
            sentences.append(f"{dtype} {pass_}: {_words(line, nodes)} at n = {nodes:,}.")
    return sentences


def _words(line: Mapping[int, float | None], nodes: int) -> str:
    share = line[nodes]
    if share is None:
        return "all pairs win at every density"
    if share == 1:
        return "sparse wins at every density"
    return f"sparse wins below {as_share(share)} density"


def _errors(fits: Sequence[Fit]) -> Table:
    """Table of the errors of each way: the worst of its dtypes and passes."""
    table = Table(title="How far estimates are off", title_justify="left")
    table.add_column("way", no_wrap=True)
    for name in ("times measured", "median", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for way in sorted({fit.kind.way for fit in fits}):
        way_fits = [fit for fit in fits if fit.kind.way == way]
        median, most = max(fit.median for fit in way_fits), max(fit.most for fit in way_fits)
        count = sum(fit.samples for fit in way_fits)
        table.add_row(way, f"{count}", f"{100 * median:.0f} %", f"{100 * most:.0f} %")
    return table

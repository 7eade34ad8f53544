"""``edgewise check``: compares every layer with its original."""

from __future__ import annotations

from collections.abc import Sequence
from json import dumps as to_json
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from edgewise.atomic_file import replacing
from edgewise.claims import CLAIMS, DTYPES, Claim, Outcome, missing, outcome
from edgewise.claims.page import ladder_page, models_page, number, outcomes_table
from edgewise.cli.options import Flag, shown
from edgewise.errors import ArgumentError, printable
from edgewise.models.cards import CARDS

__all__ = ["check"]

_FAILED = 1
_WIDEST = 10_000  # most columns of a table that goes to a file

CheckedDtype = Literal["float32", "float64"]


def check(
    only: Annotated[tuple[str, ...], tyro.conf.Positional, shown("WORD")] = (),
    /,
    dtype: Annotated[CheckedDtype | None, shown("float32|float64", "both")] = None,
    markdown: Annotated[bool, Flag, shown(None)] = False,
    json: Annotated[bool, Flag, shown(None)] = False,
    ladder: Annotated[Path | None, shown("FILE", "not written")] = None,
    models: Annotated[Path | None, shown("FILE", "not written")] = None,
    quiet: Annotated[bool, Flag, shown(None)] = False,
) -> int:
    """Is every layer equal to its original?

    Builds both sides of every claim with the same weights, computes outputs and all gradients,
    and prints the largest differences, relative to the largest number of the original (or 1).
    Ends with status 1 if a difference exceeds its bound, or a claim needs a package that is not
    installed.

    Args:
        only: Words to choose claims by, such as GAT or torch.nn; all claims without any.
        dtype: In this precision alone.
        markdown: Print a Markdown table.
        json: Print JSON.
        ladder: Write the page "The ladder" to this file, and try nothing.
        models: Write the page "The models" to this file, and try nothing.
        quiet: No progress.
    """
    pages = [(ladder, lambda: ladder_page(CLAIMS)), (models, lambda: models_page(CARDS))]
    if any(path is not None for path, _ in pages):
        for path, page in pages:
            if path is not None:
                with replacing(path) as draft:
                    draft.write_text(page(), encoding="utf-8")
                print(f"Written: {printable(path)}")
        return 0
    chosen = _chosen(only)
    dtypes = DTYPES if dtype is None else (getattr(torch, dtype),)
    lacking = {claim: missing(claim) for claim in chosen if missing(claim)}
    outcomes = _tried([claim for claim in chosen if claim not in lacking], dtypes, quiet=quiet)
    if json:
        print(to_json(_as_dict(outcomes, lacking), indent=1))
    elif markdown:
        print(outcomes_table(outcomes))
    else:
        _show(outcomes)
    failed = [result for result in outcomes if not result.holds]
    if not (json or markdown):
        print(_summary(outcomes, failed, lacking))
    return _FAILED if failed or lacking else 0


def _chosen(words: Sequence[str]) -> list[Claim]:
    chosen = [
        claim
        for claim in CLAIMS
        if not words
        or any(w.lower() in f"{claim.name} {claim.step} {claim.original}".lower() for w in words)
    ]
    if not chosen:
        steps = ", ".join(dict.fromkeys(claim.step for claim in CLAIMS))
        raise ArgumentError(
            f"only: no claim speaks of {' or '.join(words)}. Choose by a layer's or a library's "
            f"name, or by a step: {steps}."
        )
    return chosen


def _tried(claims: Sequence[Claim], dtypes: Sequence[torch.dtype], *, quiet: bool) -> list[Outcome]:
    console = Console(stderr=True)
    outcomes: list[Outcome] = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    ) as progress:
        task = progress.add_task("", total=len(claims) * len(dtypes))
        for claim in claims:
            progress.update(task, description=claim.name)
            for each in dtypes:
                outcomes.append(outcome(claim, each))
                progress.advance(task)
    return outcomes


def _show(outcomes: Sequence[Outcome]) -> None:
    console = Console(highlight=False)
    whole = not console.is_terminal  # a file or a pipe has no width: do not cut or wrap
    if whole:
        console = Console(highlight=False, width=_WIDEST, soft_wrap=True)
    table = Table()
    for title in ("claim", "equals", "dtype"):
        table.add_column(title, no_wrap=whole)
    for title in ("outputs differ by", "gradients", "bound"):
        table.add_column(title, justify="right")
    table.add_column("")
    for result in outcomes:
        claim = result.claim
        table.add_row(
            claim.name,
            f"not {claim.original}" if claim.differ else claim.original,
            str(result.dtype).removeprefix("torch."),
            number(result.output),
            "–" if result.gradient is None else number(result.gradient),
            ("≥ " if claim.differ else "≤ ") + number(result.bound),
            "[green]holds[/]" if result.holds else "[bold red]FAILS[/]",
        )
    console.print(table)


def _summary(
    outcomes: Sequence[Outcome], failed: Sequence[Outcome], lacking: dict[Claim, tuple[str, ...]]
) -> str:
    claims = {id(result.claim) for result in outcomes}
    broken = {id(result.claim) for result in failed}
    text = f"{len(claims) - len(broken)} of {len(claims)} claims hold."
    if lacking:
        packages = ", ".join(sorted({name for names in lacking.values() for name in names}))
        text += (
            f" {len(lacking)} could not be tried without {packages}. "
            f"Run: pip install 'edgewise[check]'"
        )
    return text


def _as_dict(
    outcomes: Sequence[Outcome], lacking: dict[Claim, tuple[str, ...]]
) -> dict[str, list[dict[str, object]]]:
    return {
        "outcomes": [result.to_dict() for result in outcomes],
        "not_tried": [
            {"claim": claim.name, "original": claim.original, "needs": list(names)}
            for claim, names in lacking.items()
        ],
    }

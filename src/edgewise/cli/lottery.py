"""``edgewise lottery``: measures prices on this machine, and draws the map."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from edgewise.atomic_file import replacing
from edgewise.cli.lottery_display import LotteryDisplay
from edgewise.errors import ArgumentError, DataError, printable
from edgewise.lottery import (
    FULL,
    QUICK,
    Findings,
    Journal,
    Lottery,
    draw_map,
    journal_path,
    remove_constants,
    save_constants,
)
from edgewise.optional_packages import require
from edgewise.planning.price_table import constants, measured_path

__all__ = ["lottery"]

_INTERRUPTED = 130
_Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint=None)]


def lottery(
    quick: _Flag = False,
    seconds: Annotated[
        float | None, tyro.conf.arg(metavar="X", help_behavior_hint="(default: 1100, quick: 240)")
    ] = None,
    out: Annotated[
        Path, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: runs/lottery)")
    ] = Path("runs/lottery"),
    fresh: _Flag = False,
    reset: _Flag = False,
    json_: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(name="json", help_behavior_hint=None)
    ] = False,
    quiet: _Flag = False,
) -> int:
    """What does each way to compute attention cost on this machine, and where does which one win?

    Times every backend on many graphs, on one thread, and works out prices. The planner chooses
    by them from now on if they were measured well, and choose better than the shipped ones on
    trials that they were not fitted to; the report says which prices are used, and why. They lie
    in the user's cache directory, or in EDGEWISE_CACHE; --reset removes them.

    Ends with the map of size against density: where all pairs, tiles and sparse kernels win, as
    a table, a picture and a JSON file. Ctrl-C keeps what is measured, and the same command goes
    on from there. Other work on the machine spoils the numbers.

    Args:
        quick: Fewer graphs and a coarser map: a few minutes instead of about twenty.
        seconds: Time for measuring; what is left then is estimated.
        out: Folder of the pictures and of map.json.
        fresh: Start over, whatever an earlier run left.
        reset: Measure nothing: remove the measured prices, so that the shipped ones are used.
        json_: Print everything as JSON, and nothing else.
        quiet: No progress.
    """
    if reset:
        return _reset(as_json=json_)
    extent = QUICK if quick else FULL
    if seconds is not None:
        if not 0 < seconds < float("inf"):
            raise ArgumentError(
                f"seconds must be a positive finite number, got {seconds:g}. Leave it out for "
                f"{extent.seconds:g}."
            )
        extent = replace(extent, seconds=seconds)
    _check_folder(out)
    for module in ("scipy.optimize", "matplotlib"):  # fails before measuring, not after
        require(module)
    journal = Journal(journal_path(quick=quick), fresh=fresh)
    display = LotteryDisplay(quiet=quiet or json_)
    try:
        with display:
            findings = Lottery(journal, extent).run(display)
    except KeyboardInterrupt:
        display.stopped()
        return _INTERRUPTED
    # Findings are printed first: writing files may fail.
    if json_:
        print(json.dumps(findings.to_dict(), indent=1))
    else:
        display.show(findings)
    try:
        _use(findings)
        paths = _written(findings, out)
    except OSError as error:
        path = error.filename or "a file"
        raise DataError(
            f"{path} must be written, got {error.strerror or error}. Make room or choose another "
            f"folder with --out or EDGEWISE_CACHE; the same command measures nothing again."
        ) from error
    if not json_:
        display.written(paths)
    return 0


def _use(findings: Findings) -> None:
    """Write the prices that planners use, as the findings decide."""
    if findings.ruling.use == "measured":
        save_constants(findings.table)
    elif findings.ruling.use == "shipped":
        remove_constants()


def _check_folder(out: Path) -> None:
    """Check that the folder can be written to, before anything is measured."""
    existing = next(each for each in (out, *out.absolute().parents) if each.exists())
    if existing == out and not out.is_dir():
        raise ArgumentError(f"out must be a folder, but {out} is a file. Choose another --out.")
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ArgumentError(
            f"out must be a folder that can be written to, got {out}, and {existing} cannot. "
            f"Choose another with --out."
        )


def _reset(*, as_json: bool) -> int:
    path = measured_path()
    try:
        removed = remove_constants()
    except OSError as error:
        reason = "it is a folder" if path.is_dir() else error.strerror or error
        raise DataError(
            f"{path} must be a file of prices that can be removed, but {reason}. Remove it by "
            f"hand, or choose another folder with EDGEWISE_CACHE."
        ) from error
    if as_json:
        record = {"removed": str(path) if removed else None, "prices": constants().source}
        print(json.dumps(record, indent=1))
        return 0
    what = f"Removed: {path}" if removed else "There were no measured prices"
    print(printable(f"{what}. Prices: {constants().source}."))
    return 0


def _written(findings: Findings, out: Path) -> list[Path]:
    path = out / "map.json"
    with replacing(path) as draft:
        draft.write_text(json.dumps(findings.to_dict(), indent=1) + "\n", encoding="utf-8")
    return [path, *draw_map(findings.cells, findings.machine_line(), out)]

"""``edgewise lottery``: measure this machine, draw the map, and let the planner know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from edgewise.atomic import replacing
from edgewise.cli.draw import Draw
from edgewise.errors import ArgumentError
from edgewise.extras import require
from edgewise.lottery import (
    FULL,
    QUICK,
    Findings,
    Journal,
    Lottery,
    draw_map,
    journal_path,
    save_constants,
)

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
    json_: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(name="json", help_behavior_hint=None)
    ] = False,
    quiet: _Flag = False,
) -> int:
    """What does each way to compute attention cost on this machine, and where does which one win?

    Times every backend on many graphs, on one thread, and works out the prices by which the
    planner chooses from now on: they lie in the user's cache directory, or in EDGEWISE_CACHE.
    Ends with the map of size against density: where all pairs, tiles and sparse kernels win, as
    a table, a picture and a JSON file. Ctrl-C keeps what is measured, and the same command goes
    on from there. Other work on the machine spoils the numbers.

    Args:
        quick: Fewer graphs and a coarser map: a few minutes instead of about twenty.
        seconds: Time for measuring; what is left then is estimated.
        out: Folder of the pictures and of map.json.
        fresh: Start over, whatever an earlier run left.
        json_: Print everything as JSON, and nothing else.
        quiet: No progress.
    """
    extent = QUICK if quick else FULL
    if seconds is not None:
        if not seconds > 0:
            raise ArgumentError(f"seconds must be a positive number, got {seconds:g}.")
        extent = replace(extent, seconds=seconds)
    if out.exists() and not out.is_dir():
        raise ArgumentError(f"out must be a folder, but {out} is a file.")
    for module in ("scipy.optimize", "matplotlib"):  # rather now than in twenty minutes
        require(module)
    journal = Journal(journal_path(quick=quick), fresh=fresh)
    draw = Draw(quiet=quiet or json_)
    try:
        with draw:
            findings = Lottery(journal, extent).run(draw)
    except KeyboardInterrupt:
        draw.stopped()
        return _INTERRUPTED
    save_constants(findings.table)
    paths = _written(findings, out)
    if json_:
        print(json.dumps(findings.to_dict(), indent=1))
    else:
        draw.show(findings, paths)
    return 0


def _written(findings: Findings, out: Path) -> list[Path]:
    path = out / "map.json"
    with replacing(path) as draft:
        draft.write_text(json.dumps(findings.to_dict(), indent=1) + "\n", encoding="utf-8")
    return [path, *draw_map(findings.cells, findings.machine_line(), out)]

"""Journal: measured times, appended line by line, so that a stopped run can be resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgewise.atomic_file import read_regular
from edgewise.errors import DataError
from edgewise.measure.machine import identity
from edgewise.planning.price_table import measured_path
from edgewise.version import __version__

__all__ = ["Journal", "journal_path"]

_FORMAT = "edgewise lottery 2"
_LARGEST = 64 << 20  # bytes of a file; a full lottery has a third of a megabyte
_SHORTEST, _LONGEST = 1e-9, 1e6  # seconds that a call can have taken


def journal_path(*, quick: bool) -> Path:
    """The journal of this machine, beside its constants; quick runs have a separate journal."""
    digest = measured_path().stem.removeprefix("machine-")
    return measured_path().with_name(f"lottery-{digest}{'-quick' * quick}.jsonl")


class Journal:
    """Seconds by trial and backend, in a file that is only appended to.

    Damaged lines, such as the last line after a power cut, are ignored. A journal of another
    version or another machine is overwritten.

    Args:
        path: The file; folders are created.
        fresh: Overwrite the file if there is one.

    Attributes:
        times: Seconds by name of the trial, then by backend.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        self.times: dict[str, dict[str, float]] = {}
        lines = [] if fresh else _lines(path)
        if not lines or lines[0] != _header():
            _start(path)
            return
        for line in lines[1:]:
            self._add_line(line)

    def add(self, trial: str, seconds: Mapping[str, float]) -> None:
        """Add measured times, in memory and in the file."""
        self.times.setdefault(trial, {}).update(seconds)
        line = json.dumps({"trial": trial, "seconds": dict(seconds)})
        try:
            with self.path.open("a", encoding="utf-8") as file:
                # A line break first: the line before may be cut off.
                file.write(f"\n{line}\n")
        except OSError as error:  # of a full disk: it does not name the file
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def _add_line(self, line: Any) -> None:
        try:
            seconds = {str(name): float(value) for name, value in line["seconds"].items()}
            if all(_SHORTEST <= value <= _LONGEST for value in seconds.values()):
                self.times.setdefault(str(line["trial"]), {}).update(seconds)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return


def _header() -> dict[str, Any]:
    return {"format": _FORMAT, "edgewise": __version__, "machine": identity()}


def _start(path: Path) -> None:
    """Write the header, which raises before anything is measured if the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_header()) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"the cache directory must be a folder that can be written to, got {path.parent} "
            f"({error.strerror or error}). Set EDGEWISE_CACHE to another folder."
        ) from error


def _lines(path: Path) -> list[Any]:
    """The lines that are valid JSON; none if the file cannot be read or is too large."""
    try:
        text = read_regular(path, _LARGEST)
    except (OSError, ValueError):
        return []
    values: list[Any] = []
    for line in text.splitlines():
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return values

"""Checks of runs from files: types, and the range of every number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from edgewise.training.run import Run

__all__ = ["checked_run"]

_LARGEST_COUNT = 1 << 62


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LARGEST_COUNT


def _is_amount(value: Any) -> bool:
    """A finite number of at least zero; a whole number may be too large to be a float."""
    return type(value) in (int, float) and 0 <= value < _LARGEST_COUNT


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "rung": _is_text,
    "seed": _is_count,
    "best_epoch": _is_count,
    "epochs": _is_count,
    "seconds_per_epoch": _is_amount,
    "seconds": _is_amount,
    "threads": _is_count,
    "parameters": _is_count,
    "peak_bytes": _is_count,
    "plan": _is_text,
    "diverged": _is_count,
}


def checked_run(record: Mapping[str, Any], score: str) -> Run:
    """The run that a mapping describes.

    Args:
        record: The result of `Run.to_dict`, from a file.
        score: Name of the deciding score; an accuracy is a share, from 0 to 1.

    Raises:
        TypeError: a field is missing, unknown, of another type or out of range.
    """
    run = Run(**record)
    for name, is_right in _CHECKS.items():
        if not is_right(getattr(run, name)):
            raise TypeError(f"{name} of a run is {getattr(run, name)!r:.60}")
    if run.diverged:
        if run.scores != {} or run.validation is not None or run.error is not None:
            raise TypeError("a run that diverged has scores")
        return run
    largest = {"accuracy": 1.0}
    if not isinstance(run.scores, dict) or score not in run.scores:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"scores of a run are {run.scores!r:.60}")
    scores: dict[str, Any] = {**run.scores, "validation": run.validation}
    for name, value in scores.items():
        most = largest.get(score if name == "validation" else name, math.inf)
        if type(value) not in (int, float) or not (0 <= value <= most and value < math.inf):
            raise TypeError(f"scores of a run are {scores!r:.60}")
    if run.error is not None and not _is_amount(run.error):
        raise TypeError(f"error of a run is {run.error!r:.60}")
    return run

"""Reader of edges as two columns of text."""

from __future__ import annotations

import gzip
import itertools
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from edgewise.errors import DataError
from edgewise.training.data.archive import first_line
from edgewise.training.data.lines import bounded_lines

__all__ = ["read_pairs"]

_COMMENTS = ("#", "%")
_PER_EDGE = 32  # bytes: two numbers, while the table grows


class _Start(NamedTuple):
    """Format of a file, from its first lines.

    Attributes:
        line: Line of the first edge; empty if there is none.
        number: Number of that line, from one.
        comment: Character that starts comments in this file.
        comma: Whether columns are separated by commas, rather than blanks.
    """

    line: str
    number: int
    comment: str
    comma: bool


def read_pairs(path: Path) -> np.ndarray:
    """Source and target of every line: ``[2, E]``, int64.

    Raises:
        DataError: the file is damaged, or a line holds something else than two whole numbers.
    """
    try:
        with _open(path) as file:
            lines = _lines(file, path)
            start = _start(lines)
            if not start.line:
                return np.zeros((2, 0), np.int64)
            return _table(itertools.chain([start.line], lines), start).T
    except DataError:
        raise
    except (ValueError, Warning) as error:
        raise _what_is_wrong(path) or DataError(
            f"{path}: expected two columns of whole numbers, got something else "
            f"({first_line(error)}). Save one edge a line: source, target."
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: expected a gzip file, got a damaged one ({first_line(error)}). Fetch it "
            f"again."
        ) from error


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    return bounded_lines(file, path, bytes_per_line=_PER_EDGE, bytes_per_character=0)


def _start(file: Iterator[str]) -> _Start:
    """Format of a file, after comments and column names are skipped."""
    comment, names = "#", False
    for number, line in enumerate(file, start=1):
        text = line.strip()
        if text.startswith(_COMMENTS):
            comment = text[0]
        elif text:
            comma = "," in text
            if names or not _is_names(_columns(text, comma=comma)):
                return _Start(line, number, comment, comma)
            names = True
    return _Start("", 0, comment, comma=False)


def _columns(text: str, *, comma: bool) -> list[str]:
    return [word.strip() for word in text.split(",")] if comma else text.split()


def _is_names(columns: list[str]) -> bool:
    """Whether a line holds column names: two words that are no numbers."""
    return len(columns) == 2 and not any(word[:1] in "+-.0123456789" for word in columns)


def _table(lines: Iterator[str], start: _Start) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy only warns of 0.5 where a whole number belongs
        table = np.loadtxt(
            lines,
            np.int64,
            comments=start.comment,
            delimiter="," if start.comma else None,
            ndmin=2,
        )
    if table.shape[1] != 2:
        raise ValueError(f"there are {table.shape[1]} columns")
    return table


def _what_is_wrong(path: Path) -> DataError | None:
    """An error that names the first line that is no edge; None if there is none."""
    try:
        with _open(path) as file:
            lines = _lines(file, path)
            start = _start(lines)
            for number, line in enumerate(itertools.chain([start.line], lines), start.number):
                words = _columns(line.partition(start.comment)[0], comma=start.comma)
                if any(words) and not (len(words) == 2 and all(map(_is_whole, words))):
                    return DataError(
                        f"{path}: every line has to hold two whole numbers, source and target, got "
                        f"{line.strip()[:60]!r} in line {number}. Keep these two columns, and "
                        f"number nodes from 0."
                    )
    except (OSError, ValueError, EOFError, zlib.error):
        pass  # not readable as text
    return None


def _is_whole(word: str) -> bool:
    return word.lstrip("+-").isdecimal() and word.isascii() and abs(int(word)) < 2**63

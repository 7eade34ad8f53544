"""Reader of lines of text files, compressed or not, within limits of memory."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from edgewise.errors import DataError
from edgewise.measure.memory import as_text, available_memory
from edgewise.training.data.archive import check_file, first_line

__all__ = ["bounded_lines", "read_lines"]

_LONGEST = 1 << 24  # characters of a line
_PER_CHARACTER = 8  # bytes of memory for each character of a file, until it is parsed

_PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}


def read_lines(path: Path) -> list[str]:
    """Every line of a file of UTF-8 text, ``.gz`` and ``.xz`` unpacked, without line ends.

    Raises:
        DataError: the file is missing, damaged, or not UTF-8.
    """
    check_file(path)
    try:
        with _PACKED.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
            # Not splitlines(): it also splits at characters that may occur inside a word.
            lines = bounded_lines(file, path, bytes_per_line=64, bytes_per_character=_PER_CHARACTER)
            return [line.rstrip("\r\n") for line in lines]
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected text in UTF-8, got bytes that are not ({first_line(error)}). "
            f"Convert it with iconv."
        ) from error
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(
            f"{path}: expected a whole {path.suffix} file, got a damaged one "
            f"({first_line(error)}). Fetch it again."
        ) from error


def bounded_lines(
    file: TextIO, path: Path, *, bytes_per_line: float, bytes_per_character: float
) -> Iterator[str]:
    """The lines of a file, within limits of their length and of memory.

    A small packed file may hold any number of lines, or one line without an end.

    Args:
        file: Text.
        path: Its name, for the message.
        bytes_per_line: Memory that a line takes, however short it is.
        bytes_per_character: Memory that each of its characters takes.

    Raises:
        DataError: a line has more than 2**24 characters, or all take more memory than is free.
    """
    available, taken = available_memory(), 0.0
    while line := file.readline(_LONGEST + 1):
        if len(line) > _LONGEST:
            raise DataError(
                f"{path}: expected lines of at most {_LONGEST:,} characters, got a longer one. "
                f"Save one edge, word or tree a line."
            )
        taken += bytes_per_line + bytes_per_character * len(line)
        if taken > available:
            raise DataError(
                f"{path}: its lines have to fit into the {as_text(available)} of memory that are "
                f"free, and take more. Read a part of it."
            )
        yield line

"""Lines of a text file, packed or not; what cannot be read is one sentence."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgewise.errors import DataError
from edgewise.training.data.archive import check_file, first_line

__all__ = ["read_lines"]

_PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}


def read_lines(path: Path) -> list[str]:
    """Every line of a file of UTF-8 text, ``.gz`` and ``.xz`` unpacked, without line ends.

    Raises:
        DataError: the file is missing, damaged, or not UTF-8.
    """
    check_file(path)
    try:
        with _PACKED.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
            # Not splitlines(): it also splits at characters that may stand inside a word.
            return [line.rstrip("\r\n") for line in file]
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

"""Open a file of arrays without running anything that is in it."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from edgewise.errors import DataError

__all__ = ["DAMAGED", "check_file", "first_line", "read_npz", "read_zip"]

# What numpy and zipfile raise for a file that is cut short, altered, or something else.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    OSError,
    EOFError,
    KeyError,
    RuntimeError,
    NotImplementedError,
)


def read_npz(path: Path, *keys: str) -> dict[str, np.ndarray]:
    """Every array of an ``.npz`` file, which has to hold ``keys``; never unpickles.

    Raises:
        DataError: the file is missing or damaged, or lacks one of ``keys``.
    """
    check_file(path)
    try:
        # numpy takes a lone array for what it is; a zip archive is what is expected here.
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except DAMAGED as error:
        raise DataError(
            f"{path}: expected an .npz archive of plain arrays, got a damaged file or one with "
            f"pickled objects ({first_line(error)}). Save it again with numpy.savez."
        ) from error
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise DataError(
            f"{path}: expected the arrays {', '.join(keys)}, missing {', '.join(missing)} "
            f"(there is {', '.join(arrays) or 'nothing'})."
        )
    return arrays


def read_zip(path: Path) -> dict[str, bytes]:
    """Every file of a ``.zip``, by its name without folders.

    Raises:
        DataError: the file is missing or damaged.
    """
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return {Path(name).name: archive.read(name) for name in archive.namelist()}
    except DAMAGED as error:
        raise DataError(
            f"{path}: expected a .zip archive, got a damaged file ({first_line(error)}). "
            f"Fetch it again."
        ) from error


def check_file(path: Path) -> None:
    """Refuse a path that is no file."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")


def first_line(error: BaseException) -> str:
    """What an error of another library says, short enough for a sentence of ours."""
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__

"""Atomic files: written as a whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["read_regular", "replacing"]


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A temporary path to write to, which replaces ``path`` if the block succeeds.

    If the block fails, ``path`` is unchanged. Folders are created.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "a.txt")) as draft:
        ...         _ = draft.write_text("whole")
        ...     Path(folder, "a.txt").read_text()
        'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(0o666 & ~_umask())  # mkstemp lets only the owner read
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a regular file of limited size; never of a device or a pipe.

    Args:
        path: The file; links are followed.
        most: Bytes it may have.

    Raises:
        OSError: it is not there, is no regular file, or cannot be read.
        ValueError: it is larger.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.txt").write_text("whole")
        ...     read_regular(Path(folder, "a.txt"), most=100)
        b'whole'
    """
    if stat.S_ISDIR(path.stat().st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"more than {most:,} bytes")
    return content


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

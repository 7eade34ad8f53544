"""Writing to the folder of results: a check before training, and errors with the path."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgewise.errors import ArgumentError

__all__ = ["check_writable", "writing"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Add the path and the cure to errors of the system when a file cannot be written.

    Raises:
        OSError: with the path, the reason and the cure.
    """
    try:
        yield
    except OSError as error:
        raise OSError(f"{path} cannot be written: {_reason(error)}. {_cure(error)}") from error


def check_writable(folder: Path, *names: str) -> None:
    """Check that files of these names can be written to a folder; leaves nothing behind.

    A temporary file is written to the folder, or to the folder that would be created.

    Raises:
        ArgumentError: it cannot be written, or a folder has the name of a file.
    """
    for name in names:
        if (folder / name).is_dir():
            raise ArgumentError(
                f"out: {folder / name} is a folder, but a file of this name has to be written. "
                f"Remove it, or choose another --out."
            )
    made: list[Path] = []
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            made.append(path)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".write-") as file:
            file.write(b"0" * 4096)  # a full disk makes empty files
    except OSError as error:
        raise ArgumentError(
            f"out: nothing can be written to {folder} ({_reason(error)}). {_cure(error)}"
        ) from error
    finally:
        with suppress(OSError):  # another process has written to it in the meantime
            for path in reversed(made):
                path.rmdir()


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _cure(error: OSError) -> str:
    space = "Free some space, or choose" if error.errno in _FULL else "Choose"
    return f"{space} another --out; the same command goes on from what is finished."

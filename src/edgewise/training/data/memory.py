"""Refuse data before it is read where it would not fit into memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import torch

from edgewise.errors import DataError
from edgewise.planning.budget import as_text, free_memory

__all__ = ["available_memory", "check_fits", "memory_errors_as"]

_PAGE = 4096
_CGROUP = Path("/sys/fs/cgroup")
_CACHED = ("active_file ", "inactive_file ")
_NO_MEMORY = ("CPUAllocator", "alloc_cpu", "allocate memory", "not enough memory")  # of torch


def available_memory() -> int:
    """Bytes that this process may still allocate on the CPU.

    What is free on the machine, and no more than the process's limit on its address space
    (``ulimit -v``) and the limit of its control group (as containers have it) leave.
    """
    return max(0, min(free_memory(torch.device("cpu")), _left_of_limit(), _left_of_group()))


def check_fits(name: str, size: int, what: str = "its arrays", copies: float = 2.0) -> None:
    """Refuse what takes more memory than there is; nothing is allocated.

    Args:
        name: The data set or file, for the message.
        size: Bytes of the data, as a file declares them.
        what: What takes them, for the message.
        copies: How many times as much the conversions take at their worst moment.

    Raises:
        DataError: ``copies * size`` is more than the available memory.
    """
    available = available_memory()
    if copies * size > available:
        raise DataError(
            f"{name}: {what} have to fit into the {as_text(available)} of memory that are free, "
            f"got {as_text(size)}, and reading takes {copies:g} times as much. Save fewer nodes, "
            f"edges or features."
        )


@contextmanager
def memory_errors_as(sentence: Callable[[], Exception]) -> Generator[None]:
    """Replace what numpy and torch raise where memory ends by another error.

    Args:
        sentence: Makes the error, when memory has ended.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not is_memory and not any(words in str(error) for words in _NO_MEMORY):
            raise
        raise sentence() from error


def _left_of_limit() -> int:
    if sys.platform == "win32":
        return sys.maxsize
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    try:
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * _PAGE
    except (OSError, ValueError, IndexError):
        used = 0
    return limit - used


def _left_of_group() -> int:
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        if limit == "max":
            return sys.maxsize
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        stat = (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
        # Cached files count as used, and make room when memory is asked for.
        cached = sum(int(line.split()[1]) for line in stat if line.startswith(_CACHED))
        return int(limit) - used + cached
    except (OSError, ValueError, IndexError):
        return sys.maxsize

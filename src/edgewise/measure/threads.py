"""Threads of torch: a check of their number, and a context that sets it."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

import torch

from edgewise.errors import ArgumentError

__all__ = ["check_threads", "threads_set"]

_THREADS_PER_CORE = 4  # kernels of torch crash at some thousand threads


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads below one, or far above the number of cores.

    Raises:
        ArgumentError: it is not from 1 to four times the cores of this machine.
    """
    if threads is None:
        return
    if threads < 1:
        raise ArgumentError(f"threads must be at least 1, got {threads}. Leave it out.")
    cores = os.cpu_count() or 1
    if threads > _THREADS_PER_CORE * cores:
        raise ArgumentError(
            f"threads must be at most {_THREADS_PER_CORE * cores}, four for each of {cores} "
            f"cores, got {threads}. Use --threads {cores}, or leave it out."
        )


@contextmanager
def threads_set(count: int) -> Generator[None]:
    """Set the number of threads inside the context, and restore it afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

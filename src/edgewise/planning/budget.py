"""The memory budget of a plan: a share of what is free, so that no mask ends a process."""

from __future__ import annotations

import torch

from edgewise.errors import ArgumentError
from edgewise.measure.memory import free_memory

__all__ = ["SHARE", "memory_budget"]

SHARE = 0.5


def memory_budget(device: torch.device, given: int | None = None) -> int:
    """Bytes a plan may take: ``given``, or a share of what is free now.

    Raises:
        ArgumentError: ``given`` is not a positive integer.
    """
    if given is None:
        return int(SHARE * free_memory(device))
    if not isinstance(given, int) or given <= 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ArgumentError(
            f"memory_budget must be a positive number of bytes, got {given!r}. "
            f"Leave it out for half of the free memory."
        )
    return given

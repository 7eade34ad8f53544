"""How much memory a plan may take: a share of what is free, so that no mask kills a process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from edgewise.errors import ArgumentError

__all__ = ["SHARE", "as_text", "free_memory", "memory_budget"]

SHARE = 0.5
_UNKNOWN = 4 << 30  # where the system does not say, assume little


def free_memory(device: torch.device) -> int:
    """Bytes free on a device (for the CPU: available without swapping).

    A device whose module in torch does not say, or that this machine has not, is taken to share
    the memory of the CPU.
    """
    module: Any = None if device.type == "cpu" else getattr(torch, device.type, None)
    if hasattr(module, "mem_get_info") and module.is_available():
        return int(module.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(kilobytes) * 1024
    except (OSError, StopIteration, ValueError):
        return _UNKNOWN


def memory_budget(device: torch.device, given: int | None = None) -> int:
    """Bytes a plan may take: what was given, or a share of what is free now."""
    if given is None:
        return int(SHARE * free_memory(device))
    if not isinstance(given, int) or given <= 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ArgumentError(
            f"memory_budget must be a positive number of bytes, got {given!r}. "
            f"Leave it out for half of the free memory."
        )
    return given


def as_text(size: float) -> str:
    """Bytes for people: ``1.5 GB``."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.0f} TB"

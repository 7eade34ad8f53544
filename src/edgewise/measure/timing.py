"""The clock that plans and backends are timed with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["seconds_of"]

_SMALLEST = 1e-9  # seconds; a coarse clock may not have moved


def seconds_of(
    job: Callable[[], object],
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds that one call takes until its results exist, at least a nanosecond.

    Args:
        job: What is timed.
        device: Where it computes; a device that works in a queue is waited for, before and after.
        clock: What times are read from, in seconds: `time.thread_time` leaves out what other
            processes take.
    """
    _wait(device)
    before = clock()
    job()
    _wait(device)
    return max(clock() - before, _SMALLEST)


def _wait(device: torch.device) -> None:
    """Wait until everything that was queued is computed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type not in ("cpu", "meta"):
        module: Any = getattr(torch, device.type, None)
        if hasattr(module, "synchronize"):
            module.synchronize()

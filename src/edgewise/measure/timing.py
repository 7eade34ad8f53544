"""Timing on any device: the clock after its queue, and the seconds of a call."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["clock_after", "seconds_of"]

_SMALLEST = 1e-9  # seconds; a coarse clock may not have moved


def seconds_of(
    job: Callable[[], object],
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds that a call takes until its results are computed, at least a nanosecond.

    Args:
        job: The call.
        device: Its device, which is synchronized before and after.
        clock: Returns seconds: `time.thread_time` leaves out the time of other processes.
    """
    before = clock_after(device, clock)
    job()
    return max(clock_after(device, clock) - before, _SMALLEST)


def clock_after(device: torch.device, clock: Callable[[], float] = time.perf_counter) -> float:
    """The clock in seconds once the queue of a device is empty; arguments as of `seconds_of`."""
    _synchronize(device)
    return clock()


def _synchronize(device: torch.device) -> None:
    """Block until the queue of the device is empty."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type not in ("cpu", "meta"):
        module: Any = getattr(torch, device.type, None)
        if hasattr(module, "synchronize"):
            module.synchronize()

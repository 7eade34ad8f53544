"""What a step of training costs, apart from time: parameters, memory, and the plan that ran."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ["count_parameters", "peak_memory"]


def count_parameters(model: nn.Module) -> int:
    """Numbers that training can change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def peak_memory(step: Callable[[], object], device: torch.device) -> int:
    """Bytes that one call allocates at its worst moment, beyond what was there before.

    On a GPU this is what the allocator counts. On a CPU the profiler replays every allocation, so
    that the answer does not depend on what the process held before; memory that an operation
    takes and gives back inside itself is not seen.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler writes to standard error
    profile: Any = torch.autograd.profiler.profile(profile_memory=True)
    collects = gc.isenabled()
    gc.disable()  # or something old might be freed inside the profile, which warns about that
    try:
        with profile:
            step()
    finally:
        if collects:
            gc.enable()
    now = peak = 0
    events: list[Any] = list(profile.function_events or [])
    for event in sorted(events, key=_end):
        now += event.self_cpu_memory_usage
        peak = max(peak, now)
    return int(peak)


def _end(event: Any) -> float:
    return event.time_range.end

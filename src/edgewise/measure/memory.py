"""Memory in bytes: free, available to this process, and the peak of a call."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

__all__ = ["as_text", "available_memory", "free_memory", "memory_errors_as", "peak_memory"]

_UNKNOWN = 4 << 30  # bytes, if the system does not report it
_PAGE = 4096
_CGROUP = Path("/sys/fs/cgroup")
_NO_MEMORY = ("CPUAllocator", "alloc_cpu", "allocate memory", "not enough memory")  # of torch
_CACHED = ("active_file ", "inactive_file ")


def free_memory(device: torch.device) -> int:
    """Bytes free on a device (for the CPU: available without swapping).

    A device whose module in torch does not report it, or that this machine does not have, is
    assumed to share the memory of the CPU.
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


def available_memory() -> int:
    """Bytes that this process may still allocate on the CPU.

    What is free on the machine, and no more than the process's limit on its address space
    (``ulimit -v``) and the limit of its control group (as containers have it) leave.
    """
    return max(0, min(free_memory(torch.device("cpu")), _left_of_limit(), _left_of_group()))


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
        # Cached files count as used, but are freed when memory is allocated.
        cached = sum(int(line.split()[1]) for line in stat if line.startswith(_CACHED))
        return int(limit) - used + cached
    except (OSError, ValueError, IndexError):
        return sys.maxsize


def peak_memory(step: Callable[[], object], device: torch.device) -> int:
    """Peak of the bytes that one call allocates, beyond those allocated before.

    On a GPU this is the count of the allocator. On a CPU the profiler replays every allocation, so
    that the result does not depend on earlier allocations of the process; memory that an
    operation allocates and frees internally is not counted.
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
    gc.disable()  # an older object that is freed inside the profile causes a warning
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


def as_text(size: float) -> str:
    """Bytes with a decimal unit: ``1.5 GB``."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.0f} TB"

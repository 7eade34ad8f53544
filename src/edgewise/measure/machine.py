"""Description of this machine: hardware, threads and versions; no user and no host name."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from edgewise.version import __version__

__all__ = ["describe_machine", "identity", "machine", "processor"]

_PACKAGES = ("torch", "numpy", "lightning", "torchmetrics")


def machine(device: str, threads: int | None = None) -> dict[str, Any]:
    """Hardware, threads and versions that a measured time depends on, as JSON types.

    Args:
        device: Where training runs.
        threads: Number of threads, if it was chosen; otherwise that of torch.

    Example:
        >>> machine("cpu")["device"]
        'cpu'
    """
    record: dict[str, Any] = {
        "system": platform.system(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads or torch.get_num_threads(),
        "threads_chosen": threads is not None,
        "device": device,
        "python": platform.python_version(),
        "versions": {"edgewise": __version__} | {name: _version(name) for name in _PACKAGES},
    }
    if device.startswith("cuda"):
        record["gpu"] = torch.cuda.get_device_name(device)
    return record


def describe_machine(record: dict[str, Any], threads: Iterable[int]) -> str:
    """The record of `machine` in one line, with the numbers of threads that runs used.

    Example:
        >>> describe_machine({**machine("cpu"), "processor": "Abacus"}, [1, 2, 1])
        'Abacus, 1 to 2 threads, torch ..., Python ...'
    """
    chip = record.get("gpu") or record["processor"]
    counts = sorted(threads) or [1]
    few, many = counts[0], counts[-1]
    words = f"{few} to {many} threads" if few < many else f"{few} thread{'s' * (few != 1)}"
    return f"{chip}, {words}, torch {record['versions']['torch']}, Python {record['python']}"


def identity() -> dict[str, Any]:
    """Properties that measured prices depend on: the processor, and the version of torch."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__.split("+")[0],
    }


def processor() -> str:
    """The name of the CPU, from the system."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration, IndexError):
        return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

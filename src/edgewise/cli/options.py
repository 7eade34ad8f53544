"""Options that several commands share: display in the help, and parsing of values."""

from __future__ import annotations

import re
from typing import Any

import torch
import tyro

from edgewise.errors import ArgumentError

__all__ = ["Flag", "at_least_one", "bytes_of", "device_named", "shown"]

Flag = tyro.conf.FlagCreatePairsOff

_UNITS = {
    **{unit: 1000**power for power, unit in enumerate(("B", "KB", "MB", "GB", "TB"))},
    **{unit: 1024**power for power, unit in enumerate(("KIB", "MIB", "GIB", "TIB"), start=1)},
    "": 1,
}


def shown(metavar: str | None, default: str | None = None) -> Any:
    """Settings of an option in the help: the names of its value and of its default."""
    hint = None if default is None else f"(default: {default})"
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=hint)


def device_named(device: str) -> str:
    """The name of the device, checked to be available; ``auto`` is a GPU if there is one."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not (kind == "cuda" and number.isdigit())):
        raise ArgumentError(f"device must be auto, cpu or cuda, got {device!r}. Leave it out.")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ArgumentError(f"device {device} is not there. Use --device cpu.")
    return device


def at_least_one(**numbers: int | None) -> None:
    """Check that counts are at least one; None is accepted."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ArgumentError(f"{name} must be at least 1, got {number}. Leave it out.")


def bytes_of(option: str, size: str) -> int:
    """Bytes of a size with or without a unit: ``2000000``, ``2GB``, ``1.5 GiB``.

    Example:
        >>> bytes_of("memory_budget", "1.5 GB")
        1500000000
    """
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)\s*", size, re.ASCII)
    unit = None if match is None else _UNITS.get(match[2].upper())
    size_in_bytes = 0 if match is None or unit is None else int(float(match[1]) * unit)
    if size_in_bytes < 1:
        raise ArgumentError(
            f"{option} must be a positive number of bytes, got {size!r}. Write it like 2GB, 512MB "
            f"or 2000000000."
        )
    return size_in_bytes

"""What this machine takes for each kind of work: measured by ``edgewise lottery``, or shipped.

The constants are a small JSON file: for each device, way of computing, dtype and pass, the price
of each kind of `Work` in nanoseconds. A measured file lies in the user's cache directory under a
name made from the machine's identity; without one, the shipped file serves.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import torch

from edgewise.errors import EdgewiseError

__all__ = [
    "Constants",
    "Price",
    "cache_directory",
    "constants",
    "identity",
    "measured_path",
    "priced_as",
    "shipped",
]

FORMAT = 1
_PASSES = {False: "forward", True: "training"}


class Price(NamedTuple):
    """Nanoseconds for one of each kind of `edgewise.backends.Work`."""

    products: float
    entries: float
    numbers: float
    misses: float
    calls: float

    def times(self, factor: float) -> Price:
        """The same, as many times; starting a kernel takes what it takes."""
        products, entries, numbers, misses = (factor * each for each in self[:4])
        return Price(products, entries, numbers, misses, self.calls)


def priced_as(device: str) -> str:
    """The type of device whose prices stand for those of this type.

    Nothing is computed on ``meta``, so its plans are those of the CPU; any other device is an
    accelerator, and priced as CUDA is.

    >>> priced_as("meta"), priced_as("mps")
    ('cpu', 'cuda')
    """
    return "cpu" if device in ("cpu", "meta") else "cuda"


@dataclass(frozen=True)
class Constants:
    """The prices of a machine.

    Attributes:
        machine: Where they were measured.
        prices: Device, way, dtype and pass, to named prices.
        measured: Whether on this machine, rather than shipped.
    """

    machine: Mapping[str, Any]
    prices: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Price]]]]
    measured: bool

    def price(self, device: str, way: str, dtype: torch.dtype, *, training: bool) -> Price:
        """What a way of computing takes.

        Devices and dtypes that were not measured follow those that were; see `priced_as`.
        """
        device = priced_as(device)
        table = self.prices.get(device, {}).get(way)
        if table is None:
            table = shipped().prices[device][way]
        name, pass_ = str(dtype).removeprefix("torch."), _PASSES[training]
        if name in table:
            return table[name][pass_]
        if name == "float64":
            return table["float32"][pass_].times(2)
        return table.get("bfloat16", table["float32"])[pass_]

    def to_dict(self) -> dict[str, Any]:
        """The constants as JSON types."""
        prices = {
            device: {
                way: {
                    dtype: {pass_: price._asdict() for pass_, price in passes.items()}
                    for dtype, passes in dtypes.items()
                }
                for way, dtypes in ways.items()
            }
            for device, ways in self.prices.items()
        }
        return {"format": FORMAT, "machine": dict(self.machine), "prices": prices}

    @classmethod
    def from_dict(cls, found: Any, *, measured: bool) -> Constants:
        """The constants from JSON types.

        Raises:
            ValueError: this is not what `to_dict` makes.
        """
        try:
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']!r} is not {FORMAT}")
            prices = {
                device: {
                    way: {
                        dtype: {pass_: _checked(price) for pass_, price in passes.items()}
                        for dtype, passes in dtypes.items()
                    }
                    for way, dtypes in ways.items()
                }
                for device, ways in found["prices"].items()
            }
            complete = all(
                dtype in ("float32", "float64", "bfloat16") and set(passes) == {*_PASSES.values()}
                for ways in prices.values()
                for dtypes in ways.values()
                for dtype, passes in dtypes.items()
            ) and all("float32" in dtypes for ways in prices.values() for dtypes in ways.values())
            if not complete:
                raise ValueError("a dtype or a pass is missing")
            return cls(dict(found["machine"]), prices, measured)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no constants of a machine ({error})") from error


def _checked(found: Mapping[str, float]) -> Price:
    price = Price(**{name: float(value) for name, value in found.items()})
    if not all(0 <= each < float("inf") for each in price):
        raise ValueError(f"a price must be a number of at least 0, got {price}")
    return price


def identity() -> dict[str, Any]:
    """What the constants depend on: the processor, and how torch uses it."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__.split("+")[0],
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cache_directory() -> Path:
    """Where Edgewise keeps what it measured: ``EDGEWISE_CACHE``, or the user's cache directory."""
    given = os.environ.get("EDGEWISE_CACHE")
    if given:
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "edgewise"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "edgewise"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgewise"


def measured_path() -> Path:
    """The file with this machine's constants, whether or not it is there."""
    digest = sha256(json.dumps(identity(), sort_keys=True).encode()).hexdigest()[:12]
    return cache_directory() / f"machine-{digest}.json"


@cache
def constants() -> Constants:
    """This machine's constants, or the shipped ones; read once a process.

    Raises:
        EdgewiseError: the measured file is damaged.
    """
    path = measured_path()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return shipped()
    try:
        return Constants.from_dict(json.loads(text), measured=True)
    except ValueError as error:
        raise EdgewiseError(
            f"{path.name} in the cache directory must hold the constants of this machine, got a "
            f"damaged file ({error}). Run: edgewise lottery, or delete it."
        ) from error


@cache
def shipped() -> Constants:
    """The constants that come with the package."""
    text = files("edgewise.planning").joinpath("prices.json").read_text(encoding="utf-8")
    return Constants.from_dict(json.loads(text), measured=False)

"""The price table: nanoseconds for each kind of work, measured on this machine or shipped.

The constants are a small JSON file: for each device, way of computing, dtype and pass, the price
of each kind of `Work` in nanoseconds. A measured file lies in the user's cache directory under a
name made from the machine's identity. Without one, one of a few shipped sets serves, chosen by
what the processor is: its vector width, and whether it has matrix units.

Prices are advice: they decide which exact plan runs, never whether one can. So a measured file
that cannot be used is a warning with its path, and the shipped set serves.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import torch

from edgewise.atomic_file import read_regular
from edgewise.errors import EdgewiseError, PlanError, printable
from edgewise.measure.cache_directory import cache_directory
from edgewise.measure.machine import identity

__all__ = [
    "PRICE_SETS",
    "Constants",
    "Price",
    "constants",
    "measured_path",
    "price_set",
    "priced_as",
    "shipped",
]

FORMAT = 1
PRICE_SETS: Mapping[str, str] = {
    "amx": "AVX-512 and matrix units",
    "avx512": "AVX-512 without matrix units",
    "avx2": "AVX2",
}
"""The shipped sets of prices, each a file in ``planning/prices``, and the processors they are for.
"""

_LARGEST_FILE = 1 << 20  # bytes; fifty times what a measured file has
_LARGEST_PRICE = 1e15  # nanoseconds: eleven days
_PASSES = {False: "forward", True: "training"}


class Price(NamedTuple):
    """Nanoseconds for one of each kind of `edgewise.backends.Work`."""

    products: float
    entries: float
    numbers: float
    misses: float
    calls: float

    def times(self, factor: float) -> Price:
        """The price times a factor, but for the calls, which take the same time."""
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
        machine: Where they were measured; of a shipped set, also its name and its basis.
        prices: Device, way, dtype and pass, to named prices.
        measured: Whether on this machine, rather than shipped.
    """

    machine: Mapping[str, Any]
    prices: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Price]]]]
    measured: bool

    def price(self, device: str, way: str, dtype: torch.dtype, *, training: bool) -> Price:
        """The price of a way of computing, for a device, a dtype and a pass.

        Devices and dtypes that were not measured follow those that were; see `priced_as`.

        Raises:
            PlanError: there are no prices for this way.
        """
        device = priced_as(device)
        table = self.prices.get(device, {}).get(way)
        if table is None:
            ways = shipped().prices[device]
            if way not in ways:
                raise PlanError(
                    f"there are no prices on {device} for {printable(repr(way))}, the way in which "
                    f"a backend accepts this problem. Let its judge name one of "
                    f"{', '.join(map(repr, sorted(ways)))}."
                )
            table = ways[way]
        name, pass_ = str(dtype).removeprefix("torch."), _PASSES[training]
        if name in table:
            return table[name][pass_]
        if name == "float64":
            return table["float32"][pass_].times(2)
        return table.get("bfloat16", table["float32"])[pass_]

    @property
    def source(self) -> str:
        """The origin of the prices, in a few words.

        >>> shipped("avx512").source
        'shipped for AVX-512 without matrix units'
        """
        if self.measured:
            return "measured on this machine"
        words = f"shipped for {PRICE_SETS.get(self.machine.get('set', ''), 'other processors')}"
        return words if self.machine.get("basis") == "measured" else f"{words}, estimated"

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
    def from_dict(cls, table: Any, *, measured: bool) -> Constants:
        """The constants from JSON types.

        Raises:
            ValueError: this is not what `to_dict` makes.
        """
        try:
            if type(table["format"]) is not int or table["format"] != FORMAT:
                raise ValueError(f"format {table['format']!r:.40} is not {FORMAT}")
            prices = {
                device: {
                    way: {
                        dtype: {pass_: _checked(price) for pass_, price in passes.items()}
                        for dtype, passes in dtypes.items()
                    }
                    for way, dtypes in ways.items()
                }
                for device, ways in table["prices"].items()
            }
            if not any(prices.values()):
                raise ValueError("it holds no prices")
            complete = all(
                dtype in ("float32", "float64", "bfloat16") and set(passes) == {*_PASSES.values()}
                for ways in prices.values()
                for dtypes in ways.values()
                for dtype, passes in dtypes.items()
            ) and all("float32" in dtypes for ways in prices.values() for dtypes in ways.values())
            if not complete:
                raise ValueError("a dtype or a pass is missing")
            return cls(dict(table["machine"]), prices, measured)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no constants of a machine ({error!r:.80})") from error


def _checked(fields: Mapping[str, float]) -> Price:
    """The price of these fields; `ValueError` unless they are five numbers from 0 to 1e15."""
    price = Price(**fields)
    for each in price:
        # bool is a number to Python; NaN fails every comparison.
        if type(each) not in (int, float) or not 0 <= each <= _LARGEST_PRICE:
            raise ValueError(f"a price must be a number from 0 to 1e15, got {each!r:.40}")
    if not any(price):
        raise ValueError("all five prices are 0, as if the work took no time")
    return Price(*map(float, price))


def measured_path() -> Path:
    """The file with this machine's constants, whether or not it is there.

    Raises:
        EdgewiseError: there is no cache directory.
    """
    digest = sha256(json.dumps(identity(), sort_keys=True).encode()).hexdigest()[:12]
    return cache_directory() / f"machine-{digest}.json"


@cache
def constants() -> Constants:
    """This machine's constants, or the shipped ones; read once a process.

    A measured file that is there and cannot be used is one warning, which names it.
    """
    try:
        path = measured_path()
    except EdgewiseError:  # without a cache directory nothing was measured
        return shipped()
    try:
        return Constants.from_dict(json.loads(read_regular(path, _LARGEST_FILE)), measured=True)
    except (FileNotFoundError, NotADirectoryError):
        return shipped()
    except (OSError, ValueError, RecursionError) as error:
        _warn(
            f"{printable(path)} must hold the prices that edgewise lottery measured on this "
            f"machine, got {_reason(error)}. The shipped prices are used. Run: edgewise lottery, "
            f"or delete it."
        )
        return shipped()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"a file that cannot be read ({error.strerror or error})"
    if isinstance(error, RecursionError):
        return "a damaged file (nested too deep)"
    if isinstance(error, UnicodeDecodeError):
        return "a damaged file (not UTF-8)"
    return f"a damaged file ({printable(error):.160})"


def _warn(message: str) -> None:
    """Warn, but never raise: where warnings are errors, the message goes to the log."""
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    except RuntimeWarning:
        logging.getLogger("edgewise").warning(message)


_has_matrix_units: Callable[[], bool] = getattr(torch.cpu, "_is_amx_tile_supported", bool)


def price_set(capability: str | None = None, *, matrix_units: bool | None = None) -> str:
    """The shipped set for a processor: the one it was made for, or else the nearest.

    Args:
        capability: Vector instructions, by torch's name; those of this processor when None.
        matrix_units: Whether torch uses matrix units (AMX); as it is on this processor when None.

    Example:
        >>> price_set("AVX512", matrix_units=True), price_set("AVX512", matrix_units=False)
        ('amx', 'avx512')
        >>> price_set("AVX2"), price_set("DEFAULT")  # ARM and others: 128 or 256 bits
        ('avx2', 'avx2')
    """
    capability = torch.backends.cpu.get_cpu_capability() if capability is None else capability
    if "AVX512" not in capability.upper().replace("-", "").replace("_", ""):
        return "avx2"
    return "amx" if (_has_matrix_units() if matrix_units is None else matrix_units) else "avx512"


@cache
def shipped(name: str | None = None) -> Constants:
    """A set of constants that comes with the package; the one for this processor when None.

    Other devices than the CPU have the same prices in all sets.
    """
    if name is None:
        return shipped(price_set())
    if name not in PRICE_SETS:
        raise EdgewiseError(f"name must be one of {', '.join(PRICE_SETS)}, got {name!r}.")
    cpu, others = (Constants.from_dict(_packaged(each), measured=False) for each in (name, "cuda"))
    return Constants(cpu.machine, {**others.prices, **cpu.prices}, measured=False)


def _packaged(name: str) -> Any:
    file = files("edgewise.planning").joinpath("prices", f"{name}.json")
    return json.loads(file.read_text(encoding="utf-8"))

r"""Fit of prices: the price of each kind of work by least squares on measured times.

.. math::  \min_{p \ge 0} \sum_m \Big( \log \frac{\sum_k w_{mk} \, p_k}{t_m} \Big)^2

Ratios count, not seconds, because the planner compares backends that take microseconds as well as
those that take minutes. Prices are never negative: more work never takes less time.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from edgewise.backends import Work
from edgewise.optional_packages import require
from edgewise.planning.price_table import Constants, Price

__all__ = ["Fit", "PriceKey", "Sample", "fitted", "price_of"]

_FEWEST = 8  # samples that five prices are made from
_STEPS = 30
_FAR = 0.4  # logarithm of a ratio beyond which a sample is an outlier, of bounded weight
_PASSES = {False: "forward", True: "training"}


class PriceKey(NamedTuple):
    """Device, way, dtype and pass: the key of a price."""

    device: str
    way: str
    dtype: torch.dtype
    training: bool

    def __str__(self) -> str:
        return f"{self.way}, {str(self.dtype).removeprefix('torch.')}, {_PASSES[self.training]}"


class Sample(NamedTuple):
    """Counted work and measured seconds."""

    work: Work
    seconds: float


@dataclass(frozen=True)
class Fit:
    """A fitted price and the errors of its estimates.

    Attributes:
        kind: Device, way, dtype and pass.
        samples: Number of measured times.
        price: The fitted price.
        median: Median relative error of the estimates, up or down.
        most: 95 % quantile of the relative error.
    """

    kind: PriceKey
    samples: int
    price: Price
    median: float
    most: float


def price_of(samples: Sequence[Sample]) -> Price:
    """The price that minimizes the squared logarithms of estimate over time.

    Least squares on ``estimate / time - 1`` has small residuals for estimates that are far too
    low. So samples are reweighted, iteratively, by the factor that turns their residual into the
    logarithm of the ratio.
    """
    nnls = require("scipy.optimize").nnls
    times = np.array([sample.seconds for sample in samples])
    rows = np.array([sample.work for sample in samples], dtype=float) / times[:, None]
    size = np.linalg.norm(rows, axis=0)
    size[size == 0] = 1.0
    weights = np.ones(len(samples))
    solution = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        solution, _ = nnls(rows / size * weights[:, None], weights)
        ratio = np.maximum(rows / size @ solution, 1e-3)
        weights = np.sqrt(_weight(ratio))
    return Price(*(1e9 * solution / size).tolist())


def _weight(ratio: np.ndarray) -> np.ndarray:
    logs, off = np.abs(np.log(ratio)), np.abs(ratio - 1)
    as_logs = np.where(off < 1e-6, 1.0, logs / np.maximum(off, 1e-6)) ** 2
    return as_logs * np.minimum(1.0, _FAR / np.maximum(logs, 1e-9))


def fitted(
    samples: Iterable[tuple[PriceKey, Sample]], shipped: Constants, machine: Mapping[str, object]
) -> tuple[Constants, list[Fit]]:
    """The constants of a machine, and the errors of each.

    A kind with few samples keeps the proportions of its shipped prices, times one factor.
    """
    grouped: dict[PriceKey, list[Sample]] = defaultdict(list)
    for kind, sample in samples:
        grouped[kind].append(sample)
    prices: dict[str, dict[str, dict[str, dict[str, Price]]]] = {}
    fits: list[Fit] = []
    for kind, members in grouped.items():
        shipped_price = shipped.price(*kind[:3], training=kind.training)
        enough = len(members) >= _FEWEST
        price = price_of(members) if enough else _scaled(shipped_price, members)
        fits.append(_judged(kind, members, price))
        dtypes = prices.setdefault(kind.device, {}).setdefault(kind.way, {})
        passes = dtypes.setdefault(str(kind.dtype).removeprefix("torch."), {})
        passes[_PASSES[kind.training]] = price
    for device, ways in prices.items():
        for way, dtypes in ways.items():
            _complete(dtypes, device, way, shipped)
    return Constants(dict(machine), prices, measured=True), fits


def estimate(work: Work, price: Price) -> float:
    """Seconds that work takes at a price."""
    return 1e-9 * math.fsum(amount * each for amount, each in zip(work, price, strict=True))


def _scaled(price: Price, samples: Sequence[Sample]) -> Price:
    ratios = [sample.seconds / max(estimate(sample.work, price), 1e-9) for sample in samples]
    factor = statistics.geometric_mean(ratios)
    return Price(*(factor * each for each in price))


def _judged(kind: PriceKey, samples: Sequence[Sample], price: Price) -> Fit:
    logs = [abs(math.log(max(estimate(s.work, price), 1e-12) / s.seconds)) for s in samples]
    median, most = (math.expm1(float(np.quantile(logs, share))) for share in (0.5, 0.95))
    return Fit(kind, len(samples), price, median, most)


def _complete(
    dtypes: dict[str, dict[str, Price]], device: str, way: str, shipped: Constants
) -> None:
    """Add shipped prices for passes that were not measured, and for float32; in place.

    Args:
        dtypes: Prices of a way, by dtype and pass.
        device: Device of the way.
        way: Name of the way.
        shipped: Constants that the prices are taken from.
    """
    for name in ("float32", *dtypes):
        passes = dtypes.setdefault(name, {})
        for training, pass_ in _PASSES.items():
            if pass_ not in passes:
                dtype: torch.dtype = getattr(torch, name)
                passes[pass_] = shipped.price(device, way, dtype, training=training)

r"""Prices from times: the price of each kind of work that explains what was measured.

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

__all__ = ["Fit", "Kind", "Sample", "fitted", "price_of"]

_FEWEST = 8  # samples that five prices are made from
_STEPS = 30
_FAR = 0.4  # beyond this logarithm of a ratio a sample pulls no harder: it may be an accident
_PASSES = {False: "forward", True: "training"}


class Kind(NamedTuple):
    """What has a price of its own."""

    device: str
    way: str
    dtype: torch.dtype
    training: bool

    def __str__(self) -> str:
        return f"{self.way}, {str(self.dtype).removeprefix('torch.')}, {_PASSES[self.training]}"


class Sample(NamedTuple):
    """Work, and what it took."""

    work: Work
    seconds: float


@dataclass(frozen=True)
class Fit:
    """How well prices explain what was measured.

    Attributes:
        kind: Of which way, dtype and pass.
        samples: How many times there are.
        price: What was found.
        median: Half of the estimates are off by at most this share, up or down.
        most: 95 % of them are.
    """

    kind: Kind
    samples: int
    price: Price
    median: float
    most: float


def price_of(samples: Sequence[Sample]) -> Price:
    """The prices that explain the times best, as ratios.

    Least squares on ``estimate / time - 1`` forgives what is estimated far too low. So samples
    get the weight that turns their residual into the logarithm of the ratio, again and again.
    """
    nnls = require("scipy.optimize").nnls
    times = np.array([sample.seconds for sample in samples])
    rows = np.array([sample.work for sample in samples], dtype=float) / times[:, None]
    size = np.linalg.norm(rows, axis=0)
    size[size == 0] = 1.0
    weights = np.ones(len(samples))
    found = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        found, _ = nnls(rows / size * weights[:, None], weights)
        ratio = np.maximum(rows / size @ found, 1e-3)
        weights = np.sqrt(_weight(ratio))
    return Price(*(1e9 * found / size).tolist())


def _weight(ratio: np.ndarray) -> np.ndarray:
    logs, off = np.abs(np.log(ratio)), np.abs(ratio - 1)
    as_logs = np.where(off < 1e-6, 1.0, logs / np.maximum(off, 1e-6)) ** 2
    return as_logs * np.minimum(1.0, _FAR / np.maximum(logs, 1e-9))


def fitted(
    samples: Iterable[tuple[Kind, Sample]], shipped: Constants, machine: Mapping[str, object]
) -> tuple[Constants, list[Fit]]:
    """The constants of a machine, and how far to trust each.

    A kind with few samples keeps the proportions of its shipped prices, times one factor.
    """
    grouped: dict[Kind, list[Sample]] = defaultdict(list)
    for kind, sample in samples:
        grouped[kind].append(sample)
    prices: dict[str, dict[str, dict[str, dict[str, Price]]]] = {}
    fits: list[Fit] = []
    for kind, found in grouped.items():
        known = shipped.price(*kind[:3], training=kind.training)
        enough = len(found) >= _FEWEST
        price = price_of(found) if enough else _scaled(known, found)
        fits.append(_judged(kind, found, price))
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


def _judged(kind: Kind, samples: Sequence[Sample], price: Price) -> Fit:
    logs = [abs(math.log(max(estimate(s.work, price), 1e-12) / s.seconds)) for s in samples]
    median, most = (math.expm1(float(np.quantile(logs, share))) for share in (0.5, 0.95))
    return Fit(kind, len(samples), price, median, most)


def _complete(
    dtypes: dict[str, dict[str, Price]], device: str, way: str, shipped: Constants
) -> None:
    """Constants have both passes of each dtype, and float32 always."""
    for name in ("float32", *dtypes):
        passes = dtypes.setdefault(name, {})
        for training, pass_ in _PASSES.items():
            if pass_ not in passes:
                dtype: torch.dtype = getattr(torch, name)
                passes[pass_] = shipped.price(device, way, dtype, training=training)

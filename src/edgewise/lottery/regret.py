"""Regret: time of the backend that was estimated to be the fastest, over that of the fastest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Choice", "Regret", "regret_of"]


@dataclass(frozen=True)
class Choice:
    """A trial that several backends can run.

    Attributes:
        trial: Its name.
        estimates: Estimated seconds by backend.
        times: Measured seconds by backend.
    """

    trial: str
    estimates: dict[str, float]
    times: dict[str, float]

    @property
    def chosen(self) -> str:
        """The backend with the smallest estimate."""
        return min(self.times, key=lambda name: self.estimates[name])

    @property
    def best(self) -> str:
        """The backend with the smallest time."""
        return min(self.times, key=lambda name: self.times[name])

    @property
    def regret(self) -> float:
        """Time of the chosen backend over that of the best: at least 1."""
        return self.times[self.chosen] / self.times[self.best]


@dataclass(frozen=True)
class Regret:
    """Statistics of the regret of many choices.

    Attributes:
        count: Number of choices.
        mean: Mean regret.
        median: Median regret.
        most: 95 % quantile.
        worst: Largest regret.
        right: Share of choices that are the best.
        examples: The worst choices, worst first.
    """

    count: int
    mean: float
    median: float
    most: float
    worst: float
    right: float
    examples: tuple[Choice, ...]

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON types."""
        names = ("count", "mean", "median", "most", "worst", "right")
        return {name: getattr(self, name) for name in names}


def regret_of(choices: Iterable[Choice], examples: int = 5) -> Regret | None:
    """Statistics of the choices between at least two backends; None when there is none."""
    real: Sequence[Choice] = [choice for choice in choices if len(choice.times) > 1]
    if not real:
        return None
    ordered = sorted(real, key=lambda choice: -choice.regret)
    values = [choice.regret for choice in ordered]
    median, most = (float(np.quantile(values, share)) for share in (0.5, 0.95))
    right = sum(choice.chosen == choice.best for choice in real) / len(real)
    mean = float(np.mean(values))
    return Regret(len(real), mean, median, most, values[0], right, tuple(ordered[:examples]))

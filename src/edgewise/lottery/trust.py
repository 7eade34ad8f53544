"""Decision which prices are used: coverage, noise and regret of the measured prices.

Prices that were fitted to few or noisy times choose badly, and an evaluation on the times that
prices were fitted to is biased. So measured prices have to pass three tests: most trials were
measured; times that are measured twice agree; and on trials that they were not fitted to, the
backends they choose take less time than those that the shipped prices choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgewise.lottery.regret import Regret

__all__ = ["FOLDS", "Quality", "Ruling", "folds", "ruling"]

FOLDS = 5
_COVERAGE = 2 / 3  # of the trials that prices are made from
_MEDIAN, _MOST = 1.15, 1.6  # half, and 90 %, of times measured twice differ by no larger factor


@dataclass(frozen=True)
class Quality:
    """Coverage and noise of the measurements of a lottery.

    Attributes:
        measured: Trials of prices that were measured.
        total: Trials of prices.
        ratios: For times that were measured twice, the larger over the smaller.
    """

    measured: int
    total: int
    ratios: tuple[float, ...] = ()

    @property
    def covers(self) -> bool:
        """Whether enough trials were measured to fit prices."""
        return self.measured >= _COVERAGE * self.total

    @property
    def noise(self) -> tuple[float, float] | None:
        """The ratio that half, and that 90 %, of times measured twice do not exceed."""
        if not self.ratios:
            return None
        median, most = (float(np.quantile(self.ratios, share)) for share in (0.5, 0.9))
        return median, most

    def doubt(self) -> str | None:
        """The reason not to use prices from these measurements, with its cure; or None."""
        if not self.covers:
            return (
                f"only {self.measured} of {self.total} trials of prices were measured in the time. "
                f"The same command goes on from there."
            )
        if self.noise is None:
            return "no time was measured twice. Run it again."
        median, most = self.noise
        if median > _MEDIAN or most > _MOST:
            return (
                f"times that were measured twice differ by {_percent(median)} (median) and "
                f"{_percent(most)} (90 %), so something else was running. Run it again with "
                f"--fresh on a quiet machine."
            )
        return None

    def to_dict(self) -> dict[str, Any]:
        """The quality as JSON types."""
        noise = (
            None if self.noise is None else dict(zip(("median", "90 %"), self.noise, strict=True))
        )
        return {"measured": self.measured, "all": self.total, "noise": noise}


@dataclass(frozen=True)
class Ruling:
    """Decision which prices are used.

    Attributes:
        use: The measured prices, the shipped prices, or those in use before.
        reason: The reason, in a sentence.
        measured: Regret of measured prices on trials that they were not fitted to.
        shipped: Regret of the shipped prices on the same trials.
    """

    use: Literal["measured", "shipped", "as before"]
    reason: str
    measured: Regret | None = None
    shipped: Regret | None = None

    def to_dict(self) -> dict[str, Any]:
        """The ruling as JSON types."""
        held_out = {
            name: None if regret is None else regret.to_dict()
            for name, regret in (("measured", self.measured), ("shipped", self.shipped))
        }
        return {"use": self.use, "reason": self.reason, "held_out_regret": held_out}


def folds(names: Sequence[str]) -> list[frozenset[str]]:
    """The trials in interleaved parts of equal size, the same in each run."""
    return [frozenset(names[start::FOLDS]) for start in range(min(FOLDS, len(names)))]


def ruling(
    quality: Quality,
    measured: Regret | None,
    shipped: Regret | None,
    earlier: Regret | None = None,
) -> Ruling:
    """Decide which prices are used.

    Args:
        quality: Coverage and noise of the measurements.
        measured: Regret of measured prices on trials that they were not fitted to.
        shipped: Regret of the shipped prices on the same trials.
        earlier: Regret of prices measured earlier that are in use, on the same trials.
    """
    doubt = quality.doubt()
    if doubt is not None:
        return Ruling("as before", doubt, measured, shipped)
    if measured is None or shipped is None:
        return Ruling("as before", "no trial had two backends to choose from.", measured, shipped)
    compared = (
        f"on {measured.count} choices that they were not fitted to, the chosen backend takes "
        f"{measured.mean:.3f}x the time of the fastest (mean), {measured.most:.2f}x (95 %); with "
        f"the shipped prices {shipped.mean:.3f}x, {shipped.most:.2f}x."
    )
    if measured.mean < shipped.mean:
        return Ruling("measured", f"measured prices choose better: {compared}", measured, shipped)
    kept = earlier is not None and earlier.mean < shipped.mean
    reason = f"measured prices choose no better: {compared}"
    return Ruling("as before" if kept else "shipped", reason, measured, shipped)


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):.0f} %"

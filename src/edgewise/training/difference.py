"""Paired difference of two rungs, with its confidence interval over seeds and test items."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from functools import cache

from edgewise.training.results import Results
from edgewise.training.run import Run

__all__ = ["CONFIDENCE", "FEWEST_SEEDS", "PairedDifference", "compare_rungs", "t_quantile"]

CONFIDENCE = 0.95
FEWEST_SEEDS = 3  # below, no difference is claimed, however large it is
_NORMAL = statistics.NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


@dataclass(frozen=True)
class PairedDifference:
    """Difference of the scores of two rungs, paired by seed.

    Attributes:
        before: A rung.
        after: Another.
        mean: Mean over seeds both have; above 0 where ``after`` is better.
        std: Standard deviation of these differences; None for one seed.
        seeds: How many seeds both have.
        half_width: Half the 95 % interval around the mean; None if it cannot be estimated.
    """

    before: str
    after: str
    mean: float
    std: float | None
    seeds: int
    half_width: float | None = None

    @property
    def outcome(self) -> str:
        """``even``, ``better``, ``worse`` or ``unknown``.

        ``even``: the interval holds zero. ``better`` and ``worse``: it does not, over at least
        three seeds. ``unknown``: there are fewer seeds, and their interval does not hold zero.
        """
        if self.half_width is not None and abs(self.mean) <= self.half_width:
            return "even"
        if self.seeds < FEWEST_SEEDS or self.half_width is None:
            return "unknown"
        return "better" if self.mean > 0 else "worse"


def compare_rungs(results: Results, before: str, after: str) -> PairedDifference | None:
    r"""The paired difference of two rungs; None when they share no seed that did not diverge.

    Seeds are paired because both rungs then trained on the same split. With the gaps
    :math:`d_1 .. d_n`, their mean and their standard deviation :math:`s`, half the interval is

    .. math::
        t_{n-1} \, s \sqrt{1/n + r}, \qquad
        z \sqrt{e_b^2 + e_a^2}

    for several seeds, and for one. :math:`r` is the number of tested over the number of trained
    items where each seed draws a split, because such splits overlap, and 0 where one split is
    fixed. Seeds do not vary a fixed split, so there the interval of the test set, from the
    standard errors :math:`e` of both scores over test items, is added in squares. It assumes
    that items are independent between the two rungs, which gives a wider interval.

    References:
        Nadeau, Bengio. Inference for the Generalization Error. 2003, Machine Learning 52, section
        4.2 (the corrected resampled t-test).
    """
    runs = {
        name: {run.seed: run for run in results.runs if run.rung == name and not run.diverged}
        for name in (before, after)
    }
    seeds = sorted(runs[before].keys() & runs[after].keys())
    if not seeds:
        return None
    pairs = [(runs[before][seed], runs[after][seed]) for seed in seeds]
    sign = 1.0 if results.higher else -1.0
    gaps = [sign * (b.scores[results.score] - a.scores[results.score]) for a, b in pairs]
    std = statistics.stdev(gaps) if len(gaps) > 1 else None
    half_width = _half_width(results, pairs, std)
    return PairedDifference(before, after, statistics.fmean(gaps), std, len(gaps), half_width)


def _half_width(results: Results, pairs: list[tuple[Run, Run]], std: float | None) -> float | None:
    """Half the width of the interval of the mean of paired differences.

    Args:
        results: Sizes of the split.
        pairs: Runs of both rungs, by seed.
        std: Standard deviation of the differences; None for one seed.
    """
    sampling = _sampling(pairs)
    if std is None:
        return sampling
    count = len(pairs)
    t = t_quantile(count - 1)
    if results.data.get("fixed_split"):
        return math.hypot(t * std / math.sqrt(count), sampling or 0.0)
    tested, trained = results.data.get("test_items", 0), results.data.get("train_items", 0)
    overlap = tested / trained if trained else 0.0
    # Scores of a few items take few values, so several seeds may agree by chance: the interval is
    # never narrower than that of so many test sets.
    return max(t * std * math.sqrt(1 / count + overlap), (sampling or 0.0) / math.sqrt(count))


def _sampling(pairs: list[tuple[Run, Run]]) -> float | None:
    """Half the width of the interval from sampling of test items; None without standard errors."""
    squares: list[float] = []
    for run in (run for pair in pairs for run in pair):
        if run.error is None:
            return None
        squares.append(run.error**2)
    return _NORMAL * math.sqrt(sum(squares) / len(pairs))


@cache
def t_quantile(freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t distribution.

    Args:
        freedom: Degrees of freedom, a whole number of at least 1.

    Complexity: O(freedom).

    References:
        Abramowitz, Stegun. Handbook of Mathematical Functions. 1964, 26.7.3 and 26.7.4.

    Example:
        >>> round(t_quantile(2), 3)
        4.303
    """
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        if _share_within(middle, freedom) < CONFIDENCE:
            low = middle
        else:
            high = middle
    return math.tan(low) * math.sqrt(freedom)


def _share_within(angle: float, freedom: int) -> float:
    """Probability that ``|t|`` is below ``tan(angle) * sqrt(freedom)``."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= cosine**2 * (power + 1) / (power + 2)
    return (angle + sine * total) * 2 / math.pi if odd else sine * total

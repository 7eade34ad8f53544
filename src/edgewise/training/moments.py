"""Standard errors of scores over the items of a test set."""

from __future__ import annotations

import math

from torch import Tensor

__all__ = ["Moments", "error_of_share"]


def error_of_share(share: float, count: int) -> float:
    r"""Binomial standard error of a share, such as an accuracy, of ``count`` items.

    .. math::  \frac{n + 2}{n} \sqrt{\frac{\tilde p (1 - \tilde p)}{n + 2}}, \qquad
        \tilde p = \frac{n p + 1}{n + 2}

    One success and one failure are added, or a share of 0 or 1 would have no error at all. They
    shift the share towards one half; the first factor corrects that.

    References:
        Agresti, Caffo. Simple and Effective Confidence Intervals for Proportions and Differences
        of Proportions. 2000, The American Statistician 54.

    Example:
        >>> round(error_of_share(0.5, 100), 3), round(error_of_share(1.0, 8), 3)
        (0.05, 0.119)
    """
    smoothed = (count * share + 1) / (count + 2)
    return math.sqrt(smoothed * (1 - smoothed) * (count + 2)) / count


class Moments:
    """Sums of squared errors and of their squares, batch by batch, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.first = self.second = 0.0

    def update(self, squares: Tensor) -> None:
        """Add the squared errors of some items, of any shape."""
        values = squares.detach().double()
        self.count += values.numel()
        self.first += float(values.sum())
        self.second += float(values.square().sum())

    def error_of_root(self) -> float:
        r"""Standard error of the root of the mean squared error, by the delta method.

        .. math::  \mathrm{se}(\sqrt m) = \mathrm{se}(m) / (2 \sqrt m)

        with the mean :math:`m` of squares; for a single item that of a normal error,
        :math:`\sqrt{m / 2}`.
        """
        mean = self.first / self.count
        if mean == 0.0:
            return 0.0
        if self.count == 1:
            return math.sqrt(mean / 2)
        variance = max(self.second / self.count - mean**2, 0.0) * self.count / (self.count - 1)
        return math.sqrt(variance / self.count) / (2 * math.sqrt(mean))

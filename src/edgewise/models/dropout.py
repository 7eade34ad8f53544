"""Dropout for features that are mostly zeros, such as bags of words."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgewise.ops.blank import has_numbers

__all__ = ["FeatureDropout"]

_SPARSE = 0.1  # share of nonzero features up to which drawing for them alone is faster


class FeatureDropout(nn.Dropout):
    r"""Dropout that draws only for features that are not zero.

    .. math::  y = x \odot m / (1 - p), \qquad m_i \sim \mathrm{Bernoulli}(1 - p)

    What happens to a zero makes no difference, so this has the distribution of
    `torch.nn.Dropout`. On Cora's words, 1.3 % of which are not zero, drawing for all of them would
    take most of the time of a training step. Where the nonzeros are is worked out when the same
    tensor comes a second time, as it does in full-batch training; it must not be changed in
    between.

    Args:
        p: Share that is dropped.

    Gradients: to ``x``; with gradients it is torch's own dropout.

    Example:
        >>> features = torch.eye(100)
        >>> dropped = FeatureDropout(0.5)(features)
        >>> bool(((dropped == 0) | (dropped == 2 * features)).all())
        True
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)
        self._seen: Tensor | None = None
        self._places: Tensor | None = None  # of what is not zero in `_seen`; None for a dense one

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.p:
            return input
        if input.requires_grad or not input.is_contiguous() or not has_numbers(input):
            return F.dropout(input, self.p)
        if input is not self._seen:
            self._seen, self._places = input, None
            return F.dropout(input, self.p)
        if self._places is None:
            self._places = input.flatten().nonzero().squeeze(1)
        if self._places.numel() > _SPARSE * input.numel():
            return F.dropout(input, self.p)
        out = torch.zeros_like(input)
        kept = F.dropout(input.flatten()[self._places], self.p)
        out.view(-1)[self._places] = kept
        return out

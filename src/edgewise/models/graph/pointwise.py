"""The mixer that mixes nothing: what a layer is without a graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.graphs import Graph
from edgewise.nn.layer import factory

__all__ = ["Pointwise"]


class Pointwise(nn.Linear):
    r"""The same linear map at every node: ``h_i' = W h_i + b``.

    A convolution or attention over `SelfLoops` comes down to this map, which is why it stands on
    the lowest rung of a comparison, in the place of the mixer.

    Args:
        in_features: Features of every node before.
        out_features: Features of every node after.
        bias: Whether there is a bias ``b``.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Example:
        >>> import torch
        >>> from edgewise.graphs import Complete
        >>> Pointwise(4, 8)(torch.zeros(3, 4), Complete(3)).shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, **factory("Pointwise", device, dtype))

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # called as a mixer is
        self,
        input: Tensor,
        graph: Graph,
        *,
        edge: Tensor | None = None,
    ) -> Tensor:
        return super().forward(input)

"""A convolution between two projections, the first of them gated."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.graphs import Graph
from edgewise.nn.attention.heads import reset_linear
from edgewise.nn.checks import check_features, check_size
from edgewise.nn.layer import Layer, factory

__all__ = ["GatedConvolution"]


class GatedConvolution(Layer):
    r"""The module around a lightweight or dynamic convolution: gated before, mixed after.

    .. math::
        h' = W_O \, \mathrm{mixer}(a \odot \sigma(b), G), \qquad [a; b] = W_I h

    A convolution acts on each feature by itself; the projections combine the features.

    Args:
        mixer: Any module called as ``mixer(x, graph)`` that keeps the shape of ``x``, such as
            a `LightweightConvolution` or a `DynamicConvolution`.
        dim: Features of every node, before and after.
        bias: Whether both projections have a bias.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, T, dim]``, floating.
        - source: ``[*batch, S, dim]``, gated as ``x`` is; the nodes of ``x`` when left out.
        - result: ``[*batch, T, dim]``.

    Raises:
        ArgumentError: ``dim`` is not a size.
        ShapeError: features that do not fit the layer.

    Complexity: that of the mixer, and O(N dim^2).

    Example:
        >>> import torch
        >>> from edgewise.graphs import Window
        >>> from edgewise.nn import DynamicConvolution
        >>> layer = GatedConvolution(DynamicConvolution(16, heads=4, kernel=3), 16)
        >>> layer(torch.randn(2, 10, 16), Window(10, left=1, right=1)).shape
        torch.Size([2, 10, 16])

    References:
        Wu et al. Pay Less Attention with Lightweight and Dynamic Convolutions. 2019,
        arXiv:1901.10430, section 3 ("Module") and figure 2.
        Dauphin et al. Language Modeling with Gated Convolutional Networks. 2016,
        arXiv:1612.08083, section 2 (the gated linear unit).
    """

    def __init__(
        self,
        mixer: nn.Module,
        dim: int,
        *,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("GatedConvolution", device, dtype)
        self.dim = check_size("GatedConvolution", "dim", dim)
        self.in_proj = nn.Linear(dim, 2 * dim, bias=bias, **made)
        self.mixer = mixer
        self.out_proj = nn.Linear(dim, dim, bias=bias, **made)
        self._reset_projections()

    def reset_parameters(self) -> None:
        """Draw new projections (Xavier uniform), zero their biases, and reset the mixer."""
        super().reset_parameters()
        self._reset_projections()

    def _reset_projections(self) -> None:
        reset_linear(self.in_proj)
        reset_linear(self.out_proj)

    def forward(self, x: Tensor, graph: Graph, *, source: Tensor | None = None) -> Tensor:
        check_features("GatedConvolution", "x", x, self.dim, "dim")
        gated = _gated(self.in_proj(x))
        if source is None:
            return self.out_proj(self.mixer(gated, graph))
        check_features("GatedConvolution", "source", source, self.dim, "dim")
        return self.out_proj(self.mixer(gated, graph, source=_gated(self.in_proj(source))))

    def extra_repr(self) -> str:
        return f"{self.dim}"


def _gated(x: Tensor) -> Tensor:
    """The first half of the channels times the sigmoid of the second.

    Written out, since torch's ``glu`` has no vectorized second derivative.
    """
    value, gate = x.chunk(2, -1)
    return value * torch.sigmoid(gate)

"""Drop-in for GMMConv, the layer of mixture model networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric import nn as originals

from edgewise.functional import aggregate
from edgewise.integrations.pyg.convolution import neighborhood, reduce_named
from edgewise.integrations.pyg.dropin import DropIn
from edgewise.ops.gaussian import gaussian_weight

__all__ = ["GMMConv"]

_GMMConv: Any = originals.GMMConv  # its declared types are too narrow
_EPS = 1e-15  # as in the original


class GMMConv(DropIn, _GMMConv):
    r"""`torch_geometric.nn.GMMConv`, computed by Edgewise.

    .. math::
        h_i' = \operatorname{reduce}_{j \in N(i)} \sum_k
        \exp\Big(-\frac{1}{2} \sum_p \frac{(u_{ij,p} - \mu_{kp})^2}{\sigma_{kp}^2}\Big) W_k h_j
        + R h_i + b

    Arguments, inputs, outputs and weights are the original's; see `DropIn` for when the original
    computes, and in addition: ``separate_gaussians``.

    Complexity: O(N F K C + E K C) time; O(E K P) memory of the size of the edges.

    Example:
        >>> import torch
        >>> layer = GMMConv(5, 4, dim=2, kernel_size=3)
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> layer(torch.randn(3, 5), edge_index, torch.rand(3, 2)).shape
        torch.Size([3, 4])

    References:
        Monti et al. Geometric Deep Learning on Graphs and Manifolds using Mixture Model CNNs.
        2017, arXiv:1611.08402, equations 9 to 11.
    """

    original = _GMMConv
    reductions = ("add", "sum", "mean")

    def unusual(self) -> str | None:
        if self.separate_gaussians:
            return "separate kernels for each pair of features need messages"
        return super().unusual()

    def forward(
        self, x: Any, edge_index: Any, edge_attr: Tensor | None = None, size: Any = None
    ) -> Tensor:
        edges = neighborhood(self, x, edge_index, size)
        first, second = (x, x) if isinstance(x, Tensor) else x
        if edges is None or edge_attr is None or not self.root_weight or first.ndim != 2:
            return super().forward(x, edge_index, edge_attr, size)
        if edge_attr.ndim != 2 or edge_attr.shape[0] != edges.given:
            return super().forward(x, edge_index, edge_attr, size)
        value = torch.matmul(first, self.g).view(-1, self.kernel_size, self.out_channels)
        weight = gaussian_weight(edge_attr, self.mu, 1.0 / (_EPS + self.sigma.square()))
        dtype = torch.promote_types(value.dtype, weight.dtype)
        value, weight = value.transpose(0, 1).to(dtype), weight.to(dtype)
        out = aggregate(value, edges.graph, reduce_named(self.aggr), weight=weight).sum(0)
        if second is not None:
            out = out + self.root(second)
        return out if self.bias is None else out + self.bias

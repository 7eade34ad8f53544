"""The two-layer networks of the papers on citation graphs, as they were published."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from edgewise.graphs import Graph
from edgewise.models.card import Card
from edgewise.models.graph.pointwise import Pointwise
from edgewise.models.graph.sparse_dropout import FeatureDropout
from edgewise.nn import GATAttention, GCNConvolution
from edgewise.nn.checks import check_tensor
from edgewise.nn.layer import Layer, factory

__all__ = ["GAT", "GAT_CARD", "GCN", "GCN_CARD", "Perceptron", "TwoLayers"]


class TwoLayers(Layer):
    r"""Dropout, a layer, an activation, dropout, a layer; no residual and no norm.

    .. math::  y = f_2(\mathrm{drop}\,\phi(f_1(\mathrm{drop}\,x, G)), G)

    Args:
        first: Layer from features to hidden features.
        second: Layer from hidden features to predictions.
        activation: Between the two.
        dropout: Share of features dropped before each layer.

    Shape:
        - x: ``[N, in_dim]``.
        - result: ``[N, out_dim]``.
    """

    def __init__(
        self,
        first: nn.Module,
        second: nn.Module,
        *,
        activation: Callable[[Tensor], Tensor],
        dropout: float,
    ) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.activation = activation
        self.feature_dropout = FeatureDropout(dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        check_tensor("TwoLayers", "x", x)
        hidden = self.activation(self.first(self.feature_dropout(x), graph))
        return self.second(self.dropout(hidden), graph)

    def extra_repr(self) -> str:
        return f"activation={getattr(self.activation, '__name__', repr(self.activation))}"


class Perceptron(TwoLayers):
    """Two layers without a graph: the baseline of the GCN paper.

    Example:
        >>> import torch
        >>> from edgewise.graphs import SelfLoops
        >>> Perceptron(5, 16, 3)(torch.zeros(4, 5), SelfLoops(4)).shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        out_dim: int,
        *,
        dropout: float = 0.5,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        made = factory("Perceptron", device, dtype)
        layers = Pointwise(in_dim, dim, **made), Pointwise(dim, out_dim, **made)
        super().__init__(*layers, activation=F.relu, dropout=dropout)


class GCN(TwoLayers):
    r"""The graph convolutional network: ``softmax(A relu(A X W_1) W_2)``, without the softmax.

    Example:
        >>> import torch
        >>> from edgewise.graphs import EdgeList
        >>> GCN(5, 16, 3)(torch.zeros(2, 5), EdgeList([[0, 1], [1, 0]], num_nodes=2)).shape
        torch.Size([2, 3])

    References:
        Kipf, Welling. Semi-Supervised Classification with Graph Convolutional Networks. 2016,
        arXiv:1609.02907, equation 9 and section 5.2 (16 hidden features, dropout 0.5).
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        out_dim: int,
        *,
        dropout: float = 0.5,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        made = factory("GCN", device, dtype)
        layers = GCNConvolution(in_dim, dim, **made), GCNConvolution(dim, out_dim, **made)
        super().__init__(*layers, activation=F.relu, dropout=dropout)


class GAT(TwoLayers):
    r"""The graph attention network: heads side by side, ELU, then one averaging head.

    The graph has to hold self-loops, as in the paper.

    Args:
        in_dim: Features of every node.
        head_dim: Features of each head of the first layer.
        out_dim: Numbers predicted.
        heads: Heads of the first layer.
        dropout: Share dropped of features and of attention weights.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Example:
        >>> import torch
        >>> from edgewise.graphs import Complete
        >>> GAT(5, 8, 3, heads=8)(torch.zeros(2, 5), Complete(2)).shape
        torch.Size([2, 3])

    References:
        Velickovic et al. Graph Attention Networks. 2018, arXiv:1710.10903, section 3.3 (8 heads
        of 8 features, dropout 0.6).
    """

    def __init__(
        self,
        in_dim: int,
        head_dim: int,
        out_dim: int,
        *,
        heads: int = 8,
        dropout: float = 0.6,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        made = factory("GAT", device, dtype)
        first = GATAttention(in_dim, head_dim, heads, dropout=dropout, **made)
        second = GATAttention(heads * head_dim, out_dim, 1, concat=False, dropout=dropout, **made)
        super().__init__(first, second, activation=F.elu, dropout=dropout)


_TRIANGLE = "EdgeList([[0, 1, 2, 2], [1, 2, 0, 1]], num_nodes=3)"

GCN_CARD = Card(
    "GCN",
    "Kipf, Welling. Semi-Supervised Classification with Graph Convolutional Networks. 2016,"
    " arXiv:1609.02907, equation 9",
    r"y = \hat{A} \, \mathrm{relu}(\hat{A} x W_1) W_2, \quad \hat{A} = D^{-1/2} (A + I) D^{-1/2}",
    "GCN(5, 16, 3)",
    "Softmax and weight decay are left to the training.",
    f"model(torch.randn(3, 5), {_TRIANGLE})",
)

GAT_CARD = Card(
    "GAT",
    "Velickovic et al. Graph Attention Networks. 2018, arXiv:1710.10903, sections 2.1 and 3.3",
    r"h_i' = \big\Vert_h \mathrm{elu} \sum_{j \in N(i)} w_{ij} W h_j, \quad"
    r" w_{ij} = \mathrm{softmax}_j \, \mathrm{LeakyReLU}(a^\top [W h_i \, \Vert \, W h_j])",
    "GAT(5, 8, 3, heads=8)",
    "Self-loops are edges of the graph: that of the paper's network is `graph | SelfLoops(n)`.",
    f"model(torch.randn(3, 5), {_TRIANGLE} | SelfLoops(3))",
)

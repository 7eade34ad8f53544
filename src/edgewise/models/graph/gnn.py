"""Plain graph neural networks: one convolution after the other, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Never

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError
from edgewise.graphs import Graph
from edgewise.models.card import Card
from edgewise.nn import (
    GATAttention,
    GATv2Attention,
    GCNConvolution,
    GINConvolution,
    GraphConvolution,
    MoNetConvolution,
    TransformerConvolution,
)
from edgewise.nn.argument_names import refuse, without_none
from edgewise.nn.blocks.activation import Activation, activation_named
from edgewise.nn.blocks.norm import norm_named
from edgewise.nn.checks import check_choice, check_features, check_rate, check_size
from edgewise.nn.layer import Factory, Layer, factory

__all__ = ["CONVOLUTIONS", "GIN_CARD", "GNN", "MONET_CARD", "SAGE_CARD", "convolution_named"]

Convolution = Callable[[int, int], nn.Module]


class GNN(Layer):
    r"""Convolutions over one graph, each with a norm, an activation and dropout behind it.

    .. math::
        x \leftarrow \mathrm{drop} \, \phi(\mathrm{norm}(f(x, G))) \qquad \text{or} \qquad
        x \leftarrow \mathrm{drop} \, \phi(\mathrm{norm}(f(x, G) + S x))

    ==================  ===========================================  =========================
    name                layer                                        called with
    ==================  ===========================================  =========================
    ``"gcn"``           `GCNConvolution`                             ``edge_weight``, if any
    ``"sage"``          `GraphConvolution`, mean                     ``edge_weight``, if any
    ``"gin"``           `GINConvolution` of two linear maps          ``edge_weight``, if any
    ``"monet"``         `MoNetConvolution`, two coordinates          ``edge``: `degree_coordinates`
    ``"gat"``           `GATAttention`, heads side by side           --
    ``"gatv2"``         `GATv2Attention`, heads side by side         --
    ``"transformer"``   `TransformerConvolution`                     --
    ==================  ===========================================  =========================

    Self-loops are edges of the graph: that of GAT's paper is ``graph | SelfLoops(n)``.

    Args:
        in_dim: Features of every node.
        dim: Width of every layer, and of the result.
        convolution: A name of the table, or what builds a layer from two sizes:
            ``lambda before, after: GCNConvolution(before, after)``.
        layers: Convolutions.
        heads: Attention heads, a divisor of ``dim``; Gaussian kernels for MoNet.
        norm: ``"batch"``, ``"layer"``, ``"rms"``, or None for no norm.
        activation: As in `MLP`, or any function of a tensor.
        residual: Whether what goes into a layer is added to what comes out, before the norm:
            through a linear map ``S`` where the width changes.
        dropout: Share of features dropped behind every layer.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, in_dim]``, floating.
        - edge: features or coordinates of the edges, in edge order, for convolutions that take
            them; left out for none.
        - edge_weight: weights of the edges, ``[*batch | 1, E]``, for convolutions that take them.
        - result: ``[*batch, N, dim]``; `NodeModel` and `GraphModel` predict from it.

    Raises:
        ArgumentError: an unknown name, heads that do not divide, or a setting out of range.
        ShapeError: features or nodes that do not fit the model or the graph.

    Example:
        >>> import torch
        >>> from edgewise.graphs import EdgeList
        >>> from edgewise.models import NodeModel
        >>> ring = EdgeList([[0, 1, 2], [1, 2, 0]], num_nodes=3)
        >>> model = NodeModel(GNN(5, 16, "sage", layers=2, norm="batch"), 16, 7)
        >>> model(torch.randn(3, 5), ring).shape
        torch.Size([3, 7])

    References:
        Luo, Shi, Wu. Classic GNNs are Strong Baselines. 2024, arXiv:2406.08993, section 3 (norm,
        dropout and residual of plain GNNs).
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        convolution: str | Convolution,
        layers: int,
        *,
        heads: int = 4,
        norm: str | None = None,
        activation: str | Activation = "relu",
        residual: bool = False,
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("GNN", device, dtype)
        self.in_dim, self.dim = check_size("GNN", "in_dim", in_dim), check_size("GNN", "dim", dim)
        check_size("GNN", "layers", layers)
        if isinstance(convolution, str):
            convolution = convolution_named(convolution, heads=heads, norm=norm, **made)
        widths = [in_dim, *[dim] * (layers - 1)]
        self.convolutions = nn.ModuleList(convolution(width, dim) for width in widths)
        self.norms = nn.ModuleList(norm_named("GNN", norm, dim, **made) for _ in widths)
        self.skips = nn.ModuleList(
            nn.Identity() if width == dim else nn.Linear(width, dim, **made)
            for width in (widths if residual else ())
        )
        self.activation = activation_named("GNN", activation)
        self.dropout = nn.Dropout(check_rate("GNN", "dropout", dropout))

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        *,
        edge: Tensor | None = None,
        edge_weight: Tensor | None = None,
        **others: Never,
    ) -> Tensor:
        if others:
            refuse("GNN", others, "edge", "edge_weight")
        check_features("GNN", "x", x, self.in_dim, "in_dim")
        # A layer that takes no edge features, or no weights, is called without them.
        given = without_none(edge=edge, edge_weight=edge_weight)
        for number, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            out = convolution(x, graph, **given)
            if self.skips:
                out = out + self.skips[number](x)
            x = self.dropout(self.activation(norm(out)))
        return x

    def extra_repr(self) -> str:
        return f"in_dim={self.in_dim}, dim={self.dim}"


def convolution_named(
    name: str,
    *,
    heads: int = 4,
    norm: str | None = None,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> Convolution:
    """What builds the layers of that name, from features before and after.

    Args:
        name: One of the table of `GNN`.
        heads: Attention heads, or Gaussian kernels.
        norm: Between the two linear maps of GIN.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Raises:
        ArgumentError: an unknown name.

    Example:
        >>> convolution_named("gat", heads=4)(5, 16)
        GATAttention(
          5, 4, heads=4, concat=True, ...
    """
    check_choice("GNN", "convolution", name, CONVOLUTIONS)
    check_size("GNN", "heads", heads)
    made = factory("GNN", device, dtype)
    return lambda before, after: CONVOLUTIONS[name](_Place(before, after, heads, norm, made))


class _Place(NamedTuple):
    """Sizes and settings of one convolution in a stack."""

    before: int
    after: int
    heads: int
    norm: str | None
    made: Factory

    @property
    def of_head(self) -> tuple[int, int, int]:
        """Features before, features of a head after, and heads, which stand side by side."""
        if self.after % self.heads:
            raise ArgumentError(
                f"GNN: dim={self.after} cannot be divided among heads={self.heads}. Choose a "
                f"multiple of heads."
            )
        return self.before, self.after // self.heads, self.heads

    @property
    def two_linear(self) -> nn.Module:
        """GIN's MLP, with the norm inside that its paper has."""
        return nn.Sequential(
            nn.Linear(self.before, self.after, **self.made),
            norm_named("GNN", self.norm, self.after, **self.made),
            nn.ReLU(),
            nn.Linear(self.after, self.after, **self.made),
        )


CONVOLUTIONS: dict[str, Callable[[_Place], nn.Module]] = {
    "gcn": lambda at: GCNConvolution(at.before, at.after, **at.made),
    "sage": lambda at: GraphConvolution(at.before, at.after, reduce="mean", **at.made),
    "gin": lambda at: GINConvolution(at.two_linear, **at.made),
    "monet": lambda at: MoNetConvolution(
        at.before, at.after, kernels=at.heads, coordinates=2, **at.made
    ),
    "gat": lambda at: GATAttention(*at.of_head, **at.made),
    "gatv2": lambda at: GATv2Attention(*at.of_head, **at.made),
    "transformer": lambda at: TransformerConvolution(*at.of_head, **at.made),
}

_PATH = "EdgeList([[0, 1, 1, 2], [1, 0, 2, 1]], num_nodes=3)"

SAGE_CARD = Card(
    "GraphSAGE",
    "Hamilton, Ying, Leskovec. Inductive Representation Learning on Large Graphs. 2017,"
    " arXiv:1706.02216, algorithm 1",
    r"x_i \leftarrow \mathrm{relu}\Big(U x_i + \frac{1}{|N(i)|} \sum_{j \in N(i)} V x_j\Big)",
    'NodeModel(GNN(5, 16, "sage", layers=2), 16, 3)',
    "All neighbors are read; sampling some of them is left to the training. Vectors are not"
    " divided by their length behind a layer; `GraphConvolution(normalize=True)` does it.",
    f"model(torch.randn(3, 5), {_PATH})",
)

GIN_CARD = Card(
    "GIN",
    "Xu, Hu, Leskovec, Jegelka. How Powerful are Graph Neural Networks? 2018, arXiv:1810.00826,"
    " equation 4.1",
    r"x_i \leftarrow \mathrm{relu} \, \mathrm{norm} \, \mathrm{mlp}\Big((1 + \epsilon) x_i +"
    r" \sum_{j \in N(i)} x_j\Big)",
    'GraphModel(GNN(5, 16, "gin", layers=3, norm="batch"), 16, 2)',
    "The readout is the mean over the last layer; the paper adds up the nodes of every layer and"
    " puts the sums side by side. The weight eps stays 0.",
    f"model(torch.randn(3, 5), {_PATH}, readout=Blocks([1], [3]))",
)

MONET_CARD = Card(
    "MoNet",
    "Monti et al. Geometric Deep Learning on Graphs and Manifolds using Mixture Model CNNs. 2017,"
    " arXiv:1611.08402, equations 9 to 11",
    r"x_i \leftarrow \mathrm{relu}\Big(R x_i + \frac{1}{|N(i)|} \sum_{j \in N(i)} \sum_k"
    r" w_k(u_{ij}) W_k x_j\Big), \quad w_k(u) = \exp\Big(-\tfrac{1}{2} \textstyle\sum_p"
    r" (u_p - \mu_{kp})^2 / \sigma_{kp}^2\Big)",
    'NodeModel(GNN(5, 16, "monet", layers=2, heads=3), 16, 3)',
    "Coordinates go into the kernels as they are, where the paper's experiments on citation graphs"
    " learn a map in front of them. A node itself counts through a matrix of its own, as in PyG.",
    f"model(torch.randn(3, 5), {_PATH}, edge=degree_coordinates({_PATH}))",
)

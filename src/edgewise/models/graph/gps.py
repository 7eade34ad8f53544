"""GPS: messages along the edges and attention to everything, block after block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Never

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.graphs import Graph
from edgewise.models.card import Card
from edgewise.models.graph.feature_embedding import EdgeEmbedding, NodeEmbedding
from edgewise.nn import MLP, DotAttention, GINConvolution, GINEConvolution, GPSBlock
from edgewise.nn.argument_names import refuse
from edgewise.nn.checks import check_size
from edgewise.nn.layer import Layer, factory
from edgewise.ops.bias import Bias

__all__ = ["CARD", "GPS", "gps_block"]


class GPS(Layer):
    r"""A stack of `GPSBlock` over features and encodings.

    .. math::
        x_L &= \mathrm{norm}(x + \mathrm{local}(x, e, G)), \qquad
        x_A = \mathrm{norm}(x + \mathrm{attention}(x, A)) \\
        x &\leftarrow \mathrm{norm}(y + \mathrm{mlp}(y)), \qquad y = x_L + x_A

    Args:
        in_dim: Features of every node.
        dim: Width.
        heads: Attention heads.
        layers: Blocks.
        edge_dim: Features of every edge; None for a model without edge features.
        encoding_dim: Numbers in each node's encoding: `random_walk`, or Laplacian eigenvectors,
            whose signs are to be turned in training (`random_signs`).
        local: Builds the mixer over the edges, once for each block, called as
            ``local(x, graph, edge=edge)`` where edges are ``dim`` wide; `GINEConvolution` when
            left out, or `GINConvolution` where there is no ``edge_dim``.
        norm: ``"batch"``, ``"layer"``, ``"rms"``, or None for no norm.
        dropout: Share dropped from what mixers and MLPs return.
        attention_dropout: Share dropped of the attention weights.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, in_dim]``, floating; kinds of nodes as one-hot vectors.
        - everywhere: the graph of the attention, as in `GPSBlock`: ``Blocks(sizes)`` for a batch of
            graphs, ``Complete(N)`` for one.
        - edge: ``[*batch | 1, E, edge_dim]``, in the edge order of ``graph``.
        - encoding: ``[*batch | none, N, encoding_dim]``.
        - score_bias: added to the scores of every attention.
        - result: ``[*batch, N, dim]``; `GraphModel` and `NodeModel` predict from it.

    Raises:
        ArgumentError: edge features or encodings that are missing, or would be ignored; or a
            setting out of range.
        ShapeError: features, nodes or edges that do not fit the model or the graphs.

    Example:
        >>> import torch
        >>> from edgewise.graphs import Blocks, EdgeList
        >>> from edgewise.models import GraphModel
        >>> from edgewise.nn import random_walk
        >>> model = GraphModel(GPS(5, 16, heads=4, layers=2, edge_dim=3, encoding_dim=4), 16, 1)
        >>> bonds = EdgeList([[0, 1, 2, 3, 3, 4], [1, 0, 3, 2, 4, 3]], num_nodes=5)
        >>> model(
        ...     torch.randn(5, 5),
        ...     bonds,
        ...     edge=torch.randn(6, 3),
        ...     encoding=random_walk(bonds, 4),
        ...     everywhere=Blocks([2, 3]),
        ...     readout=Blocks([1, 1], [2, 3]),
        ... ).shape
        torch.Size([2, 1])

    References:
        Rampasek et al. Recipe for a General, Powerful, Scalable Graph Transformer. 2022,
        arXiv:2205.12454, section 3.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        heads: int,
        layers: int,
        *,
        edge_dim: int | None = None,
        encoding_dim: int = 0,
        local: Callable[[], nn.Module] | None = None,
        norm: str | None = "batch",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        made = factory(owner, device, dtype)
        check_size(owner, "layers", layers, 0)
        self.dim = dim
        self.embedding = NodeEmbedding(owner, in_dim, dim, encoding_dim=encoding_dim, **made)
        self.edge_embedding = EdgeEmbedding(owner, edge_dim, dim, **made)
        self.blocks = nn.ModuleList(
            gps_block(
                dim,
                heads,
                edges=edge_dim is not None,
                local=local,
                norm=norm,
                dropout=dropout,
                attention_dropout=attention_dropout,
                **made,
            )
            for _ in range(layers)
        )

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        *,
        everywhere: Graph,
        edge: Tensor | None = None,
        encoding: Tensor | None = None,
        score_bias: Tensor | Bias | None = None,
        **others: Never,
    ) -> Tensor:
        if others:
            refuse("GPS", others, "score_bias", "edge", "encoding")
        x = self.embedding(x, encoding)
        e = self.edge_embedding(edge)
        for block in self.blocks:
            x = block(x, graph, everywhere=everywhere, edge=e, score_bias=score_bias)
        return x

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


def gps_block(
    dim: int,
    heads: int,
    *,
    edges: bool,
    local: Callable[[], nn.Module] | None = None,
    norm: str | None = "batch",
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> GPSBlock:
    """A `GPSBlock` of `DotAttention` and a local mixer: graph isomorphism where none is given.

    Args:
        dim: Features of every node, and of every edge.
        heads: Attention heads.
        edges: Whether the local mixer gets edge features.
        local: Builds the local mixer.
        norm: As in `GPSBlock`.
        dropout: Share dropped from what mixers and MLP return.
        attention_dropout: Share dropped of the attention weights.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Example:
        >>> gps_block(16, 4, edges=True).local.mixer
        GINEConvolution(
          dim=16, edge_dim=16, eps=0, train_eps=False
          (mlp): MLP(...
    """
    made = factory("gps_block", device, dtype)
    if local is not None:
        mixer = local()
    elif edges:
        mixer = GINEConvolution(MLP(dim, dim, **made), dim, **made)
    else:
        mixer = GINConvolution(MLP(dim, dim, **made), **made)
    attention = DotAttention(dim, heads, dropout=attention_dropout, **made)
    return GPSBlock(mixer, attention, dim, norm=norm, dropout=dropout, **made)


_BONDS = "EdgeList([[0, 1, 1, 2], [1, 0, 2, 1]], num_nodes=3)"

CARD = Card(
    "GPS",
    "Rampasek et al. Recipe for a General, Powerful, Scalable Graph Transformer. 2022,"
    " arXiv:2205.12454, section 3.1, equations 1 to 6",
    r"x_L = \mathrm{norm}(x + \mathrm{local}(x, e, G)), \quad"
    r" x_A = \mathrm{norm}(x + \mathrm{attention}(x, A)), \quad y = x_L + x_A, \quad"
    r" x \leftarrow \mathrm{norm}(y + W_2 \, \mathrm{relu}(W_1 y))",
    "GraphModel(GPS(5, 16, heads=4, layers=2, edge_dim=3, encoding_dim=4), 16, 1)",
    "Encodings are projected and added to the projected features, where the authors put them side"
    " by side; they are not normalized. Edges are embedded once and not updated, as they are by the"
    " authors' GatedGCN.",
    f"model(torch.randn(3, 5), {_BONDS}, edge=torch.randn(4, 3), everywhere=Blocks([3]),"
    f" encoding=random_walk({_BONDS}, 4))",
)

"""The Graph Transformer: a Transformer that attends along edges, and may rewrite them."""

from __future__ import annotations

from typing import Never

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.graphs import Graph
from edgewise.models.card import Card
from edgewise.models.graph.feature_embedding import EdgeEmbedding, NodeEmbedding
from edgewise.nn import MLP, Block, DotAttention, EdgeAttention, EdgeBlock
from edgewise.nn.argument_names import refuse
from edgewise.nn.checks import check_edges, check_size
from edgewise.nn.layer import Layer, factory

__all__ = ["CARD", "EDGES_CARD", "GraphTransformer"]


class GraphTransformer(Layer):
    r"""Attention along the edges of the data, in post-norm blocks.

    .. math::
        x &\leftarrow \mathrm{norm}(x + \mathrm{attention}(x, G)), \qquad
        x \leftarrow \mathrm{norm}(x + W_2 \, \mathrm{relu}(W_1 x)) \\
        x &= W h + b + U p \quad \text{at first}

    Without ``edge_dim`` a block is a `Block` around `DotAttention`; with it, an `EdgeBlock` around
    `EdgeAttention`, in which edges have representations of their own that every block updates.
    Over `Complete` or `Blocks` it is the Transformer with full attention of the paper's tables.

    The sign of an eigenvector means nothing, and a network must not learn that it does, so turn
    the signs in every step of training, and only then::

        p = laplacian_eigenvectors(graph, k=8)                    # once
        y = model(x, graph, encoding=random_signs(p, graph))      # in every step

    Args:
        in_dim: Features of every node.
        dim: Width of nodes, and of edges.
        heads: Attention heads.
        layers: Blocks.
        edge_dim: Features of every edge; None for a model without edge features.
        encoding_dim: Numbers in each node's encoding, such as its Laplacian eigenvectors.
        norm: ``"batch"``, ``"layer"``, ``"rms"``, or None for no norm.
        dropout: Share dropped from what attention and MLPs return.
        attention_dropout: Share dropped of the attention weights.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, in_dim]``, floating; kinds of nodes as one-hot vectors.
        - edge: ``[*batch | 1, E, edge_dim]``, in edge order; batch axes may be left out.
        - encoding: ``[*batch | none, N, encoding_dim]``.
        - result: ``[*batch, N, dim]``; `GraphModel` and `NodeModel` predict from it.

    Raises:
        ArgumentError: edge features or encodings that are missing, or would be ignored; or a
            setting out of range.
        ShapeError: features, nodes or edges that do not fit the model or the graph.

    Example:
        >>> import torch
        >>> from edgewise.graphs import Blocks, EdgeList
        >>> from edgewise.models import GraphModel
        >>> trunk = GraphTransformer(5, 16, heads=4, layers=2, edge_dim=3)
        >>> model = GraphModel(trunk, 16, 1, head=MLP(16, 16, out_dim=1))
        >>> bonds = EdgeList([[0, 1, 2, 3, 3, 4], [1, 0, 3, 2, 4, 3]], num_nodes=5)
        >>> edge, molecules = torch.randn(6, 3), Blocks([1, 1], [2, 3])
        >>> model(torch.randn(5, 5), bonds, edge=edge, readout=molecules).shape
        torch.Size([2, 1])

    References:
        Dwivedi, Bresson. A Generalization of Transformer Networks to Graphs. 2020,
        arXiv:2012.09699, section 2.3.
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
        norm: str | None = "batch",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("GraphTransformer", device, dtype)
        check_size("GraphTransformer", "layers", layers, 0)
        self.dim = dim
        self.embedding = NodeEmbedding(
            "GraphTransformer", in_dim, dim, encoding_dim=encoding_dim, **made
        )
        self.edge_embedding = EdgeEmbedding("GraphTransformer", edge_dim, dim, **made)

        def block() -> Block | EdgeBlock:
            if edge_dim is not None:
                attention = EdgeAttention(dim, heads, dropout=attention_dropout, **made)
                return EdgeBlock(attention, dim, norm=norm, dropout=dropout, **made)
            attention = DotAttention(dim, heads, dropout=attention_dropout, **made)
            mlp = MLP(dim, 2 * dim, **made)
            return Block(attention, dim, norm=norm, order="post", mlp=mlp, dropout=dropout, **made)

        self.blocks = nn.ModuleList(block() for _ in range(layers))

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        *,
        edge: Tensor | None = None,
        encoding: Tensor | None = None,
        **others: Never,
    ) -> Tensor:
        if others:
            refuse("GraphTransformer", others, "edge", "encoding")
        x = self.embedding(x, encoding)
        e = self.edge_embedding(edge)
        if e is None:
            for block in self.blocks:
                x = block(x, graph)
            return x
        check_edges("GraphTransformer", e, x, graph)
        e = e.expand(*x.shape[:-2], -1, -1)
        for block in self.blocks:
            x, e = block(x, graph, edge=e)
        return x

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


_PAPER = (
    "Dwivedi, Bresson. A Generalization of Transformer Networks to Graphs. 2020,"
    " arXiv:2012.09699, section 2.3"
)
_BONDS = "EdgeList([[0, 1, 1, 2], [1, 0, 2, 1]], num_nodes=3)"
_DIFFERENCES = (
    "The authors cut scores off at -5 and 5 before the exponential, and add 1e-6 to the sum; here"
    " the softmax is safe and exact. Dropout follows the projection behind the heads, where their"
    " code has it before, and their MLPs drop hidden features too. Queries, keys and values have a"
    " bias."
)

CARD = Card(
    "Graph Transformer",
    f"{_PAPER}, equations 4 to 8",
    r"x \leftarrow \mathrm{norm}(x + O \, \Vert_k \textstyle\sum_{j \in N(i)} w_{ij}^k V^k x_j),"
    r" \quad w_{ij}^k = \mathrm{softmax}_j \, \frac{Q^k x_i \cdot K^k x_j}{\sqrt{D}}, \quad"
    r" x \leftarrow \mathrm{norm}(x + W_2 \, \mathrm{relu}(W_1 x))",
    "GraphModel(GraphTransformer(5, 16, heads=4, layers=2, encoding_dim=2), 16, 1,"
    " head=MLP(16, 16, out_dim=1))",
    _DIFFERENCES,
    f"model(torch.randn(3, 5), {_BONDS},"
    f" encoding=random_signs(laplacian_eigenvectors({_BONDS}, 2)))",
)

EDGES_CARD = Card(
    "Graph Transformer with edge features",
    f"{_PAPER}, equations 9 to 18",
    r"\hat{w}_{ij}^k = \frac{Q^k x_i \odot K^k x_j}{\sqrt{D}} \odot E^k e_{ij}, \quad"
    r" w_{ij}^k = \mathrm{softmax}_j \textstyle\sum_c \hat{w}_{ijc}^k, \quad"
    r" \hat{e}_{ij} = O_e \, \Vert_k \hat{w}_{ij}^k",
    "GraphModel(GraphTransformer(5, 16, heads=4, layers=2, edge_dim=3), 16, 1,"
    " head=MLP(16, 16, out_dim=1))",
    "Products are kept channel by channel, as in the authors' code; the paper writes a dot product"
    f" times a vector. {_DIFFERENCES}",
    f"model(torch.randn(3, 5), {_BONDS}, edge=torch.randn(4, 3))",
)

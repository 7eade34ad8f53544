"""The attention of graph attention networks, first and second version."""

from __future__ import annotations

from typing import Never

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from edgewise.functional import attention
from edgewise.graphs import Graph
from edgewise.nn.argument_names import refuse
from edgewise.nn.attention.heads import HeadsLayer, edge_heads, leading, reset_linear, split_heads
from edgewise.nn.checks import check_edge, check_features
from edgewise.nn.layer import factory
from edgewise.ops.scores import Additive, GATv2

__all__ = ["GATAttention", "GATv2Attention"]


class GATAttention(HeadsLayer):
    r"""Graph attention: the score is a sum of a term of the target and a term of the source.

    .. math::
        h_i' = \big\Vert_h \sum_{j \in N(i)} w_{ij} W h_j, \qquad
        w_{ij} = \mathrm{softmax}_j \, \mathrm{LeakyReLU}
        (a_{target} \cdot W h_i + a_{source} \cdot W h_j + a_{edge} \cdot W_E e_{ij})

    Self-loops are edges of the graph: the paper's layer is ``graph | SelfLoops(n)``. A target
    without sources gets the bias.

    Args:
        in_dim: Features of every node before.
        out_dim: Features of **each head** after (``F'`` in the paper, ``out_channels`` in PyG).
        heads: Heads ``H``.
        concat: Put the heads side by side (``heads * out_dim`` features); otherwise average them
            (``out_dim`` features), as the last layer does.
        negative_slope: Slope of LeakyReLU below zero.
        edge_dim: Features of every edge; None for a layer without edge features.
        dropout: Share of attention weights dropped in training.
        bias: Whether a bias is added to the result.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, T, in_dim]``, floating.
        - source: ``[*batch, S, in_dim]``, through the same ``W``; the nodes of ``x`` when left out.
        - edge: ``[*batch | 1, E, edge_dim]``, in edge order; batch axes may be left out.
        - result: ``[*batch, T, heads * out_dim]``, or ``[*batch, T, out_dim]`` without ``concat``.

    Raises:
        ArgumentError: a setting out of range, or ``edge`` where the layer has no ``edge_dim``
            (and the other way round).
        ShapeError: features or nodes that do not fit the layer or the graph.

    Gradients: to all tensors and parameters, never to the graph.

    Complexity: O(N in_dim H D + E H D), with ``D = out_dim``.

    Example:
        >>> from edgewise.graphs import EdgeList, SelfLoops
        >>> ring = EdgeList([[0, 1, 2], [1, 2, 0]], num_nodes=3)
        >>> GATAttention(5, 4, heads=2)(torch.randn(3, 5), ring | SelfLoops(3)).shape
        torch.Size([3, 8])

    References:
        Velickovic et al. Graph Attention Networks. 2018, arXiv:1710.10903, section 2.1.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        heads: int,
        *,
        concat: bool = True,
        negative_slope: float = 0.2,
        edge_dim: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **others: object,
    ) -> None:
        if others:
            refuse("GATAttention", others, "negative_slope")
        super().__init__(in_dim, out_dim, heads, concat=concat, edge_dim=edge_dim, dropout=dropout)
        made = factory("GATAttention", device, dtype)
        self.negative_slope = negative_slope
        self.proj = nn.Linear(in_dim, heads * out_dim, bias=False, **made)
        self.a_target = nn.Parameter(torch.empty(heads, out_dim, **made))
        self.a_source = nn.Parameter(torch.empty(heads, out_dim, **made))
        if edge_dim is None:
            self.edge_proj = None
            self.register_parameter("a_edge", None)
        else:
            self.edge_proj = nn.Linear(edge_dim, heads * out_dim, bias=False, **made)
            self.a_edge = nn.Parameter(torch.empty(heads, out_dim, **made))
        self.bias = nn.Parameter(torch.empty(self.result_dim, **made)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights (Glorot uniform) and set the bias to zero."""
        reset_linear(self.proj)
        for vector in (self.a_target, self.a_source):
            nn.init.xavier_uniform_(vector)
        if self.edge_proj is not None:
            reset_linear(self.edge_proj)
            nn.init.xavier_uniform_(self.a_edge)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        *,
        source: Tensor | None = None,
        edge: Tensor | None = None,
        **others: Never,
    ) -> Tensor:
        if others:
            refuse("GATAttention", others, "source", "edge")
        check_features("GATAttention", "x", x, self.in_dim, "in_dim")
        projected = self.proj(x)
        if source is None:
            value = projected
            target, key = _head_products(projected, self.a_target, self.a_source)
        else:
            check_features("GATAttention", "source", source, self.in_dim, "in_dim")
            value = self.proj(source)
            (target,) = _head_products(projected, self.a_target)
            (key,) = _head_products(value, self.a_source)
        out = attention(
            target,
            key,
            split_heads(value, self.heads),
            graph,
            score=Additive(self.negative_slope),
            edge_key=self._edge_term(edge, target.ndim),
            dropout=self.dropout if self.training else 0.0,
        )
        out = self.combined(out)
        return out if self.bias is None else out + self.bias

    def _edge_term(self, edge: Tensor | None, ndim: int) -> Tensor | None:
        """Terms of the edges in the scores: ``[*batch | 1, H, E, 1]``."""
        check_edge("GATAttention", edge, self.edge_dim)
        if edge is None or self.edge_proj is None:
            return None
        # a . (W e) = (a W) . e: never holds the E x H x D projected edges.
        weight = self.edge_proj.weight.unflatten(0, (self.heads, self.out_dim))
        folded = torch.einsum("hd,hde->he", self.a_edge, weight)
        return leading(split_heads(F.linear(edge, folded), self.heads), ndim)


def _head_products(nodes: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
    """Products of every head of every node with vectors ``[H, D]``: ``[*batch, H, N, 1]`` each.

    One matrix product for all heads and vectors, whose matrix is zero outside of the heads: on
    nodes that lie one after the other it is several times faster than a product for each head.
    """
    blocks = torch.diag_embed(torch.stack(vectors).mT).permute(0, 2, 3, 1)  # [V, H, H, D]
    products = F.linear(nodes, blocks.flatten(0, 1).flatten(1))
    return products.mT.unflatten(-2, blocks.shape[:2])[..., None].unbind(-4)


class GATv2Attention(HeadsLayer):
    r"""Graph attention whose ranking of the sources depends on the target.

    .. math::
        h_i' = \big\Vert_h \sum_{j \in N(i)} w_{ij} W_S h_j, \qquad
        w_{ij} = \mathrm{softmax}_j \; a \cdot \mathrm{LeakyReLU}
        (W_T h_i + W_S h_j + W_E e_{ij})

    In `GATAttention` all targets rank the sources alike; here the non-linearity comes before
    ``a``, so each has a ranking of its own. Self-loops are edges of the graph: the paper's layer is
    ``graph | SelfLoops(n)``. A target without sources gets the bias.

    Args:
        in_dim: Features of every node before.
        out_dim: Features of **each head** after (``out_channels`` in PyG).
        heads: Heads ``H``.
        concat: Put the heads side by side (``heads * out_dim`` features); otherwise average them
            (``out_dim`` features).
        negative_slope: Slope of LeakyReLU below zero.
        edge_dim: Features of every edge; None for a layer without edge features.
        dropout: Share of attention weights dropped in training.
        bias: Whether the two node projections and the result have a bias.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, T, in_dim]``, floating.
        - source: ``[*batch, S, in_dim]``; the nodes of ``x`` when left out.
        - edge: ``[*batch | 1, E, edge_dim]``, in edge order; batch axes may be left out.
        - result: ``[*batch, T, heads * out_dim]``, or ``[*batch, T, out_dim]`` without ``concat``.

    Raises:
        ArgumentError: a setting out of range, or ``edge`` where the layer has no ``edge_dim``
            (and the other way round).
        ShapeError: features or nodes that do not fit the layer or the graph.

    Gradients: to all tensors and parameters, never to the graph.

    Complexity: O(N in_dim H D + E H D), with ``D = out_dim``.

    Initialization: Glorot uniform, biases zero; PyG draws the biases of the two node projections
        as `torch.nn.Linear` does.

    Example:
        >>> from edgewise.graphs import Window
        >>> layer = GATv2Attention(5, 4, heads=2, concat=False)
        >>> layer(torch.randn(6, 5), Window(6, left=1, right=1)).shape
        torch.Size([6, 4])

    References:
        Brody, Alon, Yahav. How Attentive are Graph Attention Networks? 2021, arXiv:2105.14491,
        section 3.2.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        heads: int,
        *,
        concat: bool = True,
        negative_slope: float = 0.2,
        edge_dim: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **others: object,
    ) -> None:
        if others:
            refuse("GATv2Attention", others, "negative_slope")
        super().__init__(in_dim, out_dim, heads, concat=concat, edge_dim=edge_dim, dropout=dropout)
        made = factory("GATv2Attention", device, dtype)
        self.negative_slope = negative_slope
        width = heads * out_dim
        self.target_proj = nn.Linear(in_dim, width, bias=bias, **made)
        self.source_proj = nn.Linear(in_dim, width, bias=bias, **made)
        self.edge_proj = (
            None if edge_dim is None else nn.Linear(edge_dim, width, bias=False, **made)
        )
        self.a = nn.Parameter(torch.empty(heads, out_dim, **made))
        self.bias = nn.Parameter(torch.empty(self.result_dim, **made)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights (Glorot uniform) and set the biases to zero."""
        for projection in (self.target_proj, self.source_proj, self.edge_proj):
            if projection is not None:
                reset_linear(projection)
        nn.init.xavier_uniform_(self.a)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        *,
        source: Tensor | None = None,
        edge: Tensor | None = None,
        **others: Never,
    ) -> Tensor:
        if others:
            refuse("GATv2Attention", others, "source", "edge")
        source = x if source is None else source
        check_features("GATv2Attention", "x", x, self.in_dim, "in_dim")
        check_features("GATv2Attention", "source", source, self.in_dim, "in_dim")
        query = split_heads(self.target_proj(x), self.heads)
        value = split_heads(self.source_proj(source), self.heads)
        out = attention(
            query,
            value,
            value,
            graph,
            score=GATv2(self.a, self.negative_slope),
            edge_key=edge_heads("GATv2Attention", self.edge_proj, edge, self.heads, query.ndim),
            dropout=self.dropout if self.training else 0.0,
        )
        out = self.combined(out)
        return out if self.bias is None else out + self.bias

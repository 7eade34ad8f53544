"""Attention with edge features that are updated as well."""

from __future__ import annotations

from typing import NamedTuple, Never

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError
from edgewise.functional import attention
from edgewise.graphs import Graph
from edgewise.nn.argument_names import refuse
from edgewise.nn.attention.heads import merge_heads, reset_linear, split_heads
from edgewise.nn.blocks.block import Block
from edgewise.nn.blocks.mlp import MLP
from edgewise.nn.checks import check_edges, check_features, check_nodes, check_rate, check_size
from edgewise.nn.convolution.incidence import from_sources, from_targets
from edgewise.nn.layer import Layer, factory

__all__ = ["EdgeAttention", "EdgeBlock", "NodesAndEdges"]


class NodesAndEdges(NamedTuple):
    """Nodes and edges after a layer that updates both.

    Attributes:
        x: Features of the nodes, ``[*batch, T, dim]``.
        edge: Features of the edges, ``[*batch, E, edge_dim]``, in edge order.
    """

    x: Tensor
    edge: Tensor


class EdgeAttention(Layer):
    r"""Dot-product attention whose every channel is scaled by the edge it crosses.

    .. math::
        h_i' &= O_h \big\Vert_k \sum_{j \in N(i)} w_{ij}^k V^k h_j, \qquad
        w_{ij}^k = \mathrm{softmax}_j \sum_c \hat{w}_{ijc}^k \\
        e_{ij}' &= O_e \big\Vert_k \hat{w}_{ij}^k, \qquad
        \hat{w}_{ij}^k = \frac{Q^k h_i \odot K^k h_j}{\sqrt{D}} \odot E^k e_{ij}

    The products are kept channel by channel: their sum is the score of an edge, and they
    themselves are what the edge learns. The paper writes them as one dot product times
    ``E e_ij``; this is what its code computes, and what gives ``O_e`` its shape. That code also
    cuts scores off at -5 and 5, because it takes exponentials as they are; here the softmax is
    safe, and scores are what they are.

    A target without sources gets the bias of ``out_proj``.

    Args:
        dim: Features of every node, before and after.
        heads: Heads ``H``, a divisor of ``dim``.
        edge_dim: Features of every edge, before and after; ``dim`` when left out.
        bias: Whether the projections have a bias.
        dropout: Share of attention weights dropped in training.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, dim]``, floating.
        - edge: ``[*batch | 1, E, edge_dim]``, in edge order; batch axes may be left out.
        - result: `NodesAndEdges`.

    Raises:
        ArgumentError: ``edge`` is left out, heads that do not divide, or a setting out of range.
        ShapeError: features, nodes or edges that do not fit the layer or the graph.

    Gradients: to all tensors and parameters, never to the graph.

    Complexity: O(N dim² + E dim edge_dim) time; O(E dim) memory, because every edge has channels
        of its own.

    Example:
        >>> import torch
        >>> from edgewise.graphs import EdgeList
        >>> bonds = EdgeList([[0, 1, 1, 2], [1, 0, 2, 1]], num_nodes=3)
        >>> out = EdgeAttention(8, heads=2)(torch.randn(3, 8), bonds, edge=torch.randn(4, 8))
        >>> out.x.shape, out.edge.shape
        (torch.Size([3, 8]), torch.Size([4, 8]))

    References:
        Dwivedi, Bresson. A Generalization of Transformer Networks to Graphs. 2020,
        arXiv:2012.09699, section 2.3, equations 9 to 12.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        edge_dim: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("EdgeAttention", device, dtype)
        self.dim = check_size("EdgeAttention", "dim", dim)
        self.heads = check_size("EdgeAttention", "heads", heads)
        self.edge_dim = check_size(
            "EdgeAttention", "edge_dim", dim if edge_dim is None else edge_dim
        )
        self.dropout = check_rate("EdgeAttention", "dropout", dropout)
        if dim % heads:
            raise ArgumentError(
                f"EdgeAttention: dim={dim} cannot be divided among heads={heads}. Choose a "
                f"multiple of heads."
            )
        self.q_proj = nn.Linear(dim, dim, bias=bias, **made)
        self.k_proj = nn.Linear(dim, dim, bias=bias, **made)
        self.v_proj = nn.Linear(dim, dim, bias=bias, **made)
        self.edge_proj = nn.Linear(self.edge_dim, dim, bias=bias, **made)
        self.out_proj = nn.Linear(dim, dim, bias=bias, **made)
        self.edge_out_proj = nn.Linear(dim, self.edge_dim, bias=bias, **made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights (Xavier uniform) and set the biases to zero."""
        for projection in self.children():
            if isinstance(projection, nn.Linear):
                reset_linear(projection)

    def forward(
        self, x: Tensor, graph: Graph, *, edge: Tensor | None = None, **others: Never
    ) -> NodesAndEdges:
        if others:
            refuse("EdgeAttention", others, "edge")
        check_features("EdgeAttention", "x", x, self.dim, "dim")
        check_nodes("EdgeAttention", x, graph)
        if edge is None:
            raise ArgumentError(
                f"EdgeAttention: edge is missing, but scores are made with it. Pass edge of shape "
                f"[edges, {self.edge_dim}], or use DotAttention."
            )
        check_features("EdgeAttention", "edge", edge, self.edge_dim, "edge_dim")
        check_edges("EdgeAttention", edge, x, graph)
        query = self.q_proj(x) * (self.dim // self.heads) ** -0.5
        # [*batch, E, dim]: target times source times edge.
        channels = from_targets(query, graph) * from_sources(self.k_proj(x), graph)
        channels = channels * self.edge_proj(edge)
        scores = channels.unflatten(-1, (self.heads, -1)).sum(-1).mT  # [*batch, H, E]
        value = split_heads(self.v_proj(x), self.heads)
        alike = value.new_zeros((*value.shape[:-1], 1))  # the bias is the whole score
        dropout = self.dropout if self.training else 0.0
        read = attention(alike, alike, value, graph, bias=scores, dropout=dropout)
        return NodesAndEdges(self.out_proj(merge_heads(read)), self.edge_out_proj(channels))

    def extra_repr(self) -> str:
        return (
            f"dim={self.dim}, heads={self.heads}, edge_dim={self.edge_dim}, dropout={self.dropout}"
        )


class EdgeBlock(Layer):
    r"""A post-norm block of which both nodes and edges come out new.

    .. math::
        \hat{x}, \hat{e} &= \mathrm{mixer}(x, e, G) \\
        x &\leftarrow \mathrm{norm}(x + \hat{x}), \qquad
        x \leftarrow \mathrm{norm}(x + \mathrm{mlp}(x)) \\
        e &\leftarrow \mathrm{norm}(e + \hat{e}), \qquad
        e \leftarrow \mathrm{norm}(e + \mathrm{mlp}_e(e))

    Args:
        mixer: Any module called as ``mixer(x, graph, edge=edge)`` that returns `NodesAndEdges`
            of the shapes it was given, such as `EdgeAttention`.
        dim: Features of every node.
        edge_dim: Features of every edge; ``dim`` when left out.
        norm: ``"batch"``, ``"layer"``, ``"rms"``, or None for no norm.
        dropout: Share of features dropped, in training, from what mixer and MLPs return.
        norm_eps: Added to the variance in the norms; 1e-5 when left out.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, dim]``, floating.
        - edge: ``[*batch, E, edge_dim]``, in edge order.
        - result: `NodesAndEdges`.

    Raises:
        ArgumentError: an unknown norm, or a size or share out of range.
        ShapeError: features that do not fit, or a mixer that changes a shape.

    Example:
        >>> import torch
        >>> from edgewise.graphs import EdgeList
        >>> bonds = EdgeList([[0, 1, 1, 2], [1, 0, 2, 1]], num_nodes=3)
        >>> block = EdgeBlock(EdgeAttention(8, heads=2), 8)
        >>> x, edge = block(torch.randn(3, 8), bonds, edge=torch.randn(4, 8))
        >>> x.shape, edge.shape
        (torch.Size([3, 8]), torch.Size([4, 8]))

    References:
        Dwivedi, Bresson. A Generalization of Transformer Networks to Graphs. 2020,
        arXiv:2012.09699, section 2.3, equations 13 to 18.
    """

    def __init__(
        self,
        mixer: nn.Module,
        dim: int,
        *,
        edge_dim: int | None = None,
        norm: str | None = "batch",
        dropout: float = 0.0,
        norm_eps: float | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("EdgeBlock", device, dtype)
        self.mixer = mixer
        self.nodes, self.edges = (
            Block(
                _Mixed(),
                check_size("EdgeBlock", name, size),
                norm=norm,
                order="post",
                mlp=MLP(size, 2 * size, **made),
                dropout=check_rate("EdgeBlock", "dropout", dropout),
                norm_eps=norm_eps,
                **made,
            )
            for name, size in (("dim", dim), ("edge_dim", dim if edge_dim is None else edge_dim))
        )

    def forward(
        self, x: Tensor, graph: Graph, *, edge: Tensor | None = None, **others: Never
    ) -> NodesAndEdges:
        if others:
            refuse("EdgeBlock", others, "edge")
        if edge is None:
            raise ArgumentError(
                f"EdgeBlock: edge is missing, but edges are updated. Pass edge of shape "
                f"[edges, {self.edges.dim}], or use Block."
            )
        mixed = self.mixer(x, graph, edge=edge)
        return NodesAndEdges(
            self.nodes(x, graph, mixed=mixed.x), self.edges(edge, graph, mixed=mixed.edge)
        )

    def extra_repr(self) -> str:
        return f"{self.nodes.dim}, edge_dim={self.edges.dim}"


class _Mixed(Layer):
    """Mixer of a block whose mixed features were computed outside of it."""

    def forward(self, x: Tensor, graph: Graph, *, mixed: Tensor) -> Tensor:
        return mixed

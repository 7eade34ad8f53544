"""The attention of the unified message passing model: dot products, edge features and a skip."""

from __future__ import annotations

from typing import Never

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError
from edgewise.functional import attention
from edgewise.graphs import Graph
from edgewise.nn.argument_names import refuse
from edgewise.nn.attention.heads import HeadsLayer, edge_heads, split_heads
from edgewise.nn.checks import check_features, check_size
from edgewise.nn.layer import factory

__all__ = ["TransformerConvolution"]


class TransformerConvolution(HeadsLayer):
    r"""Dot-product attention over a graph, plus a projection of the node itself.

    .. math::
        m_i = \big\Vert_h \sum_{j \in N(i)} w_{ij} (W_V h_j + W_E e_{ij}), \qquad
        w_{ij} = \mathrm{softmax}_j \, \frac{(W_Q h_i) \cdot (W_K h_j + W_E e_{ij})}{\sqrt{D}}

    .. math::
        h_i' = m_i + R h_i \qquad \text{or} \qquad
        h_i' = (1 - \beta_i) m_i + \beta_i R h_i, \quad
        \beta_i = \mathrm{sigmoid}(v \cdot [m_i, R h_i, m_i - R h_i])

    It is `DotAttention` with a projection of the node itself in the place of one behind the heads.
    A target without sources has ``m_i = 0``.

    Args:
        in_dim: Features of every node before.
        out_dim: Features of **each head** after (``out_channels`` in PyG).
        heads: Heads ``H``.
        concat: Put the heads side by side (``heads * out_dim`` features); otherwise average them
            (``out_dim`` features).
        beta: Whether a gate weighs the sources against the node itself.
        root: Whether a node itself counts, through ``R``.
        edge_dim: Features of every edge; None for a layer without edge features. They are added
            to the key and to the value, through one projection without bias.
        dropout: Share of attention weights dropped in training.
        bias: Whether the node projections have a bias.
        source_dim: Features of ``source``; ``in_dim`` when left out.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, T, in_dim]``, floating.
        - source: ``[*batch, S, source_dim]``; the nodes of ``x`` when left out.
        - edge: ``[*batch | 1, E, edge_dim]``, in edge order; batch axes may be left out.
        - result: ``[*batch, T, heads * out_dim]``, or ``[*batch, T, out_dim]`` without ``concat``.

    Raises:
        ArgumentError: a setting out of range, ``beta`` without ``root``, or ``edge`` where the
            layer has no ``edge_dim`` (and the other way round).
        ShapeError: features or nodes that do not fit the layer or the graph.

    Gradients: to all tensors and parameters, never to the graph.

    Complexity: O(N in_dim H D + E H D), with ``D = out_dim``.

    Initialization: that of `torch.nn.Linear`, as PyG has it.

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> ring = EdgeList([[0, 1, 2], [1, 2, 0]], num_nodes=3)
        >>> layer = TransformerConvolution(5, 4, heads=2, edge_dim=3, beta=True)
        >>> layer(torch.randn(3, 5), ring, edge=torch.randn(3, 3)).shape
        torch.Size([3, 8])

    References:
        Shi et al. Masked Label Prediction: Unified Message Passing Model for Semi-Supervised
        Classification. 2020, arXiv:2009.03509, section 3.1.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        heads: int,
        *,
        concat: bool = True,
        beta: bool = False,
        root: bool = True,
        edge_dim: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        source_dim: int | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_dim, out_dim, heads, concat=concat, edge_dim=edge_dim, dropout=dropout)
        made = factory("TransformerConvolution", device, dtype)
        self.source_dim = check_size(
            "TransformerConvolution", "source_dim", in_dim if source_dim is None else source_dim
        )
        if beta and not root:
            raise ArgumentError(
                "TransformerConvolution: beta weighs the sources against the node itself, which "
                "root=False leaves out. Pass root=True, or beta=False."
            )
        width, result = heads * out_dim, self.result_dim
        self.q_proj = nn.Linear(in_dim, width, bias=bias, **made)
        self.k_proj = nn.Linear(self.source_dim, width, bias=bias, **made)
        self.v_proj = nn.Linear(self.source_dim, width, bias=bias, **made)
        self.edge_proj = (
            None if edge_dim is None else nn.Linear(edge_dim, width, bias=False, **made)
        )
        self.root_proj = nn.Linear(in_dim, result, bias=bias, **made) if root else None
        self.beta_proj = nn.Linear(3 * result, 1, bias=False, **made) if beta else None

    def reset_parameters(self) -> None:
        """Draw new weights, as `torch.nn.Linear` does."""
        for projection in self.children():
            if isinstance(projection, nn.Linear):
                projection.reset_parameters()

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
            refuse("TransformerConvolution", others, "source", "edge")
        source = x if source is None else source
        check_features("TransformerConvolution", "x", x, self.in_dim, "in_dim")
        check_features("TransformerConvolution", "source", source, self.source_dim, "source_dim")
        query = split_heads(self.q_proj(x), self.heads)
        per_edge = edge_heads(
            "TransformerConvolution", self.edge_proj, edge, self.heads, query.ndim
        )
        out = attention(
            query,
            split_heads(self.k_proj(source), self.heads),
            split_heads(self.v_proj(source), self.heads),
            graph,
            edge_key=per_edge,
            edge_value=per_edge,
            dropout=self.dropout if self.training else 0.0,
        )
        message = self.combined(out)
        if self.root_proj is None:
            return message
        root = self.root_proj(x)
        if self.beta_proj is None:
            return message + root
        beta = self.beta_proj(torch.cat([message, root, message - root], -1)).sigmoid()
        return torch.lerp(message, root, beta)

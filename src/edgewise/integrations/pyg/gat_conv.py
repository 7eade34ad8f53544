"""Drop-ins for GATConv and GATv2Conv."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric import nn as originals
from torch_geometric.utils import add_self_loops, remove_self_loops

from edgewise.integrations.pyg.attention_call import attend, heads_joined
from edgewise.integrations.pyg.connectivity import (
    Connectivity,
    connectivity,
    is_sparse,
    node_counts,
)
from edgewise.integrations.pyg.dropin import DropIn, is_plain_linear, on_both_sides
from edgewise.ops.scores import Additive, GATv2
from edgewise.ops.tracing import forward_mode

__all__ = ["GATConv", "GATv2Conv"]

_GATConv: Any = originals.GATConv  # its declared types are too narrow
_GATv2Conv: Any = originals.GATv2Conv


class GATConv(DropIn, _GATConv):
    r"""`torch_geometric.nn.GATConv`, computed by Edgewise.

    .. math::
        h_i' = \big\Vert_h \sum_{j \in N(i) \cup \{i\}} w_{ij} W h_j + b, \qquad
        w_{ij} = \mathrm{softmax}_j \, \mathrm{LeakyReLU}
        (a_{dst} \cdot W h_i + a_{src} \cdot W h_j + a_{edge} \cdot W_E e_{ij})

    Arguments, inputs, outputs and weights are the original's; see `DropIn` for when the
    original computes.

    Complexity: O(N F H C + E H C) time. Without edge features nothing of the size of the edges is
        kept on a CPU; with them O(E H), while the original has O(E H C).

    Example:
        >>> import torch
        >>> layer = GATConv(5, 4, heads=2)
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> out, (edges, alpha) = layer(
        ...     torch.randn(3, 5), edge_index, return_attention_weights=True
        ... )
        >>> out.shape, edges.shape, alpha.shape
        (torch.Size([3, 8]), torch.Size([2, 6]), torch.Size([6, 2]))

    References:
        Velickovic et al. Graph Attention Networks. 2018, arXiv:1710.10903, section 2.1.
    """

    original = _GATConv

    def forward(
        self,
        x: Any,
        edge_index: Any,
        edge_attr: Tensor | None = None,
        size: Any = None,
        return_attention_weights: bool | None = None,
    ) -> Any:
        inputs = _connected(self, x, edge_index, edge_attr, size, return_attention_weights)
        if inputs is None:
            return super().forward(x, edge_index, edge_attr, size, return_attention_weights)
        H, C = self.heads, self.out_channels
        first, second = inputs.x
        shared = self.lin is not None
        lifted = (self.lin if shared else self.lin_src)(first).view(-1, H, C)
        if second is None or (shared and second is first):
            other = None if second is None else lifted
        else:
            other = (self.lin if shared else self.lin_dst)(second).view(-1, H, C)
        if other is lifted:
            source_scores, target_scores = _projected(lifted, self.att_src, self.att_dst)
        else:
            (source_scores,) = _projected(lifted, self.att_src)
            target_scores = None if other is None else _projected(other, self.att_dst)[0]
        graph = inputs.edges.graph
        if target_scores is None:
            target_scores = source_scores.new_zeros(graph.num_targets, H, 1)
        out, alpha = attend(
            target_scores,
            source_scores,
            lifted,
            graph,
            Additive(self.negative_slope),
            edge_key=self._edge_term(inputs, edge_attr),
            dropout=self.dropout if self.training else 0.0,
            wants_weights=inputs.wants_weights,
        )
        return _finished(self, out, alpha, inputs, edge_index)

    def _edge_term(self, inputs: _GATInputs, edge_attr: Tensor | None) -> Tensor | None:
        """The score of edge features: ``[E, H, 1]``; None without them."""
        if edge_attr is None:
            return None
        edge = inputs.edges.extended(edge_attr, self.fill_value)
        if self.lin_edge is None:  # after `extended`, which raises errors of the original
            return None
        edge = edge.view(-1, 1) if edge.ndim == 1 else edge
        if not is_plain_linear(self.lin_edge):
            projected = self.lin_edge(edge).view(-1, self.heads, self.out_channels)
            return (projected * self.att_edge).sum(-1, keepdim=True)
        # a . (W e) = (a W) . e: without the E x H x C projected edges.
        weight = self.lin_edge.weight.view(self.heads, self.out_channels, -1)
        folded = torch.einsum("hc,hce->eh", self.att_edge[0], weight)
        return (edge @ folded)[..., None]


class GATv2Conv(DropIn, _GATv2Conv):
    r"""`torch_geometric.nn.GATv2Conv`, computed by Edgewise.

    .. math::
        h_i' = \big\Vert_h \sum_{j \in N(i) \cup \{i\}} w_{ij} W_l h_j + b, \qquad
        w_{ij} = \mathrm{softmax}_j \; a \cdot \mathrm{LeakyReLU}(W_r h_i + W_l h_j + W_E e_{ij})

    Arguments, inputs, outputs and weights are the original's; see `DropIn` for when the
    original computes.

    Complexity: O(N F H C + E H C) time. Without edge features nothing of the size of the edges is
        kept on a CPU.

    Example:
        >>> import torch
        >>> layer = GATv2Conv((5, 3), 4, heads=2, add_self_loops=False)
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 0, 0]])
        >>> layer((torch.randn(3, 5), torch.randn(2, 3)), edge_index).shape
        torch.Size([2, 8])

    References:
        Brody, Alon, Yahav. How Attentive are Graph Attention Networks? 2021, arXiv:2105.14491,
        section 3.2.
    """

    original = _GATv2Conv

    def forward(
        self,
        x: Any,
        edge_index: Any,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Any:
        inputs = _connected(self, x, edge_index, edge_attr, None, return_attention_weights)
        if inputs is None or (edge_attr is not None and self.lin_edge is None):
            return super().forward(x, edge_index, edge_attr, return_attention_weights)
        first, second = inputs.x
        left = self.lin_l(first).view(-1, self.heads, self.out_channels)
        right = left
        if not (self.share_weights and second is first):
            right = self.lin_r(second).view(-1, self.heads, self.out_channels)
        edge_key = None
        if edge_attr is not None:
            edge = inputs.edges.extended(edge_attr, self.fill_value)
            edge = edge.view(-1, 1) if edge.ndim == 1 else edge
            edge_key = self.lin_edge(edge).view(-1, self.heads, self.out_channels)
        # Under autocast, products have a smaller dtype than the vector; the original promotes them.
        dtype = torch.promote_types(self.att.dtype, right.dtype)
        right, left = right.to(dtype), left.to(dtype)
        out, alpha = attend(
            right,
            left,
            left,
            inputs.edges.graph,
            GATv2(self.att[0].to(dtype), self.negative_slope),
            edge_key=edge_key,
            dropout=self.dropout if self.training else 0.0,
            wants_weights=inputs.wants_weights,
        )
        return _finished(self, out, alpha, inputs, edge_index)


class _GATInputs:
    """Inputs of a call that Edgewise computes."""

    def __init__(
        self, x: tuple[Tensor, Tensor | None], edges: Connectivity, wants_weights: bool
    ) -> None:
        self.x = x
        self.edges = edges
        self.wants_weights = wants_weights


def _connected(
    layer: Any, x: Any, edge_index: Any, edge_attr: Any, size: Any, weights_requested: Any
) -> _GATInputs | None:
    """The inputs of a call; None if the original computes it.

    Args:
        layer: The layer.
        x: Features of nodes, or of sources and targets.
        edge_index: The edges.
        edge_attr: Features of edges.
        size: Numbers of sources and targets, or None.
        weights_requested: Whether attention weights are returned.
    """
    pair = on_both_sides(x)
    if pair is None or not isinstance(edge_index, Tensor) or layer.why_original() is not None:
        return None
    if forward_mode():
        return None
    first, second = pair
    version_two = isinstance(layer, _GATv2Conv)
    if first.ndim != 2 or (second is None and version_two):
        return None
    if weights_requested and (is_sparse(edge_index) or (layer.training and layer.dropout)):
        return None
    # Values of a sparse matrix are edge features, which the original handles.
    if is_sparse(edge_index) and (edge_attr is not None or layer.edge_dim is not None):
        return None
    reverse = layer.flow == "target_to_source"
    counts = node_counts(pair, edge_index, size, reverse=reverse)
    if counts is None:
        return None
    loops = None
    if layer.add_self_loops:
        loops = first.shape[0] if second is None else min(first.shape[0], second.shape[0])
        if size is not None:
            if None in size:
                return None
            loops = min(size)
        if is_sparse(edge_index):
            loops = min(edge_index.shape)
    edges = connectivity(edge_index, *counts, reverse=reverse, loops=loops)
    if edges is None or (edge_attr is not None and edge_attr.shape[0] != edges.given):
        return None
    return _GATInputs(pair, edges, bool(weights_requested))


def _projected(x: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
    """Dot products of each vector ``[1, H, C]`` with every node and head: ``[N, H, 1]`` each.

    One product with a block-diagonal matrix: three times as fast as products by element, on large
    graphs, and without their copies of all features.
    """
    if (
        x.dtype != vectors[0].dtype
    ):  # autocast would reduce the dtype of a matrix product, unlike the original
        return tuple((x * vector).sum(-1, keepdim=True) for vector in vectors)
    H = x.shape[1]
    stacked = torch.cat(vectors).permute(1, 2, 0)  # [H, C, vectors]
    blocks = torch.eye(H, dtype=x.dtype, device=x.device)[:, None, None] * stacked[..., None]
    out = x.flatten(1) @ blocks.flatten(0, 1).flatten(1)  # heads of a vector are contiguous
    return out.view(-1, len(vectors), H, 1).unbind(1)


def _finished(
    layer: Any, out: Tensor, alpha: Tensor | None, inputs: _GATInputs, edge_index: Tensor
) -> Any:
    """Output with heads concatenated or averaged, residual and bias; with weights if requested.

    Args:
        layer: The layer.
        out: ``[T, H, C]``.
        alpha: ``[E, H]``, or None.
        inputs: Inputs of the call.
        edge_index: The given edges.
    """
    out = heads_joined(out, concat=layer.concat)
    residual = inputs.x[1]
    if layer.res is not None and residual is not None:
        out = out + layer.res(residual)
    if layer.bias is not None:
        out = out + layer.bias
    if alpha is None:
        return out
    if inputs.edges.loops is not None:
        edge_index, _ = remove_self_loops(edge_index)
        edge_index, _ = add_self_loops(edge_index, num_nodes=inputs.edges.loops)
    return out, (edge_index, alpha)

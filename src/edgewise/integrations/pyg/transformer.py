"""Drop-in for TransformerConv."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric import nn as originals

from edgewise.integrations.pyg.attention_call import attend, heads_joined
from edgewise.integrations.pyg.connectivity import (
    Connectivity,
    connectivity,
    is_sparse,
    node_counts,
)
from edgewise.integrations.pyg.dropin import DropIn, on_both_sides
from edgewise.ops.scores import Dot
from edgewise.ops.tracing import forward_mode

__all__ = ["TransformerConv"]

_TransformerConv: Any = originals.TransformerConv  # its declared types are too narrow


class TransformerConv(DropIn, _TransformerConv):
    r"""`torch_geometric.nn.TransformerConv`, computed by Edgewise.

    .. math::
        h_i' = R h_i + \big\Vert_h \sum_{j \in N(i)} w_{ij} (W_V h_j + W_E e_{ij}), \qquad
        w_{ij} = \mathrm{softmax}_j \, \frac{(W_Q h_i) \cdot (W_K h_j + W_E e_{ij})}{\sqrt{C}}

    Arguments, inputs, outputs and weights are the original's; see `DropIn` for when the
    original computes.

    Complexity: O(N F H C + E H C) time. Without edge features nothing of the size of the edges is
        kept on a CPU; with them O(E H C).

    Example:
        >>> import torch
        >>> layer = TransformerConv(5, 4, heads=2, beta=True)
        >>> layer(torch.randn(3, 5), torch.tensor([[0, 1, 2], [1, 2, 0]])).shape
        torch.Size([3, 8])

    References:
        Shi et al. Masked Label Prediction: Unified Message Passing Model for Semi-Supervised
        Classification. 2020, arXiv:2009.03509, section 3.1.
    """

    original = _TransformerConv

    def forward(
        self,
        x: Any,
        edge_index: Any,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Any:
        edges = self._connected(x, edge_index, edge_attr)
        if edges is None:
            return super().forward(x, edge_index, edge_attr, return_attention_weights)
        H, C = self.heads, self.out_channels
        first, second = (x, x) if isinstance(x, Tensor) else x
        per_edge = None if edge_attr is None else self.lin_edge(edge_attr).view(-1, H, C)
        wants_weights = isinstance(return_attention_weights, bool)
        out, alpha = attend(
            self.lin_query(second).view(-1, H, C),
            self.lin_key(first).view(-1, H, C),
            self.lin_value(first).view(-1, H, C),
            edges.graph,
            Dot(),
            edge_key=per_edge,
            edge_value=per_edge,
            dropout=self.dropout if self.training else 0.0,
            wants_weights=wants_weights,
        )
        out = heads_joined(out, concat=self.concat)
        if self.root_weight:
            root = self.lin_skip(second)
            if self.lin_beta is None:
                out = out + root
            else:
                beta = self.lin_beta(torch.cat([out, root, out - root], -1)).sigmoid()
                out = beta * root + (1 - beta) * out
        return (out, (edge_index, alpha)) if wants_weights else out

    def _connected(self, x: Any, edge_index: Any, edge_attr: Tensor | None) -> Connectivity | None:
        """The edges of a call; None if the original computes it."""
        pair = on_both_sides(x)
        if pair is None or not isinstance(edge_index, Tensor) or self.why_original() is not None:
            return None
        if forward_mode():
            return None
        first, second = pair
        if second is None or first.ndim != 2 or second.ndim != 2:
            return None
        # Without one of them the original adds the features to values, or raises an error.
        if (edge_attr is None) != (self.lin_edge is None):
            return None
        sparse = is_sparse(edge_index)
        if sparse and (edge_attr is not None or edge_index.values().ndim > 1):
            return None
        reverse = self.flow == "target_to_source"
        # The row of edge_index of the second nodes depends on the direction of messages.
        rows = (second, first) if reverse else pair
        counts = node_counts(rows, edge_index, None)
        if counts is None:
            return None
        counts = counts[::-1] if reverse else counts
        edges = connectivity(edge_index, *counts, reverse=reverse)
        if edges is None or (edge_attr is not None and edge_attr.shape[0] != edges.given):
            return None
        return edges

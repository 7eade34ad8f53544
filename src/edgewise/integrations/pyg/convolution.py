"""Drop-ins for layers with weights that do not depend on features: GCN, GraphSAGE, GIN."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric import nn as originals
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from edgewise.functional import aggregate
from edgewise.graphs import EdgeList
from edgewise.integrations.pyg.connectivity import (
    Connectivity,
    connectivity,
    is_sparse,
    node_counts,
    plain_edges,
)
from edgewise.integrations.pyg.dropin import DropIn, is_plain_linear, on_both_sides
from edgewise.integrations.pyg.edge_cache import recall_about
from edgewise.problem import Reduce

__all__ = ["GCNConv", "GINConv", "SAGEConv", "neighborhood", "reduce_named"]

_GCNConv: Any = originals.GCNConv  # their declared types are too narrow
_SAGEConv: Any = originals.SAGEConv
_GINConv: Any = originals.GINConv
_NODES = -2  # the axis of nodes in all layers here


class GCNConv(DropIn, _GCNConv):
    r"""`torch_geometric.nn.GCNConv`, computed by Edgewise.

    .. math::
        h_i' = W \sum_{j \in N(i) \cup \{i\}} \frac{w_{ij}}{\sqrt{d_i \, d_j}} h_j + b

    Arguments, inputs, outputs and weights are the original's; see `DropIn` for when the
    original computes. Without edge weights the norm is computed once for each ``edge_index``, so
    ``cached=True`` saves nothing more.

    Complexity: O(N F C + E C) time, nothing of the size of the edges but their weights.

    Example:
        >>> import torch
        >>> layer = GCNConv(5, 4)
        >>> layer(torch.randn(3, 5), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 4])

    References:
        Kipf, Welling. Semi-Supervised Classification with Graph Convolutional Networks. 2016,
        arXiv:1609.02907, section 2.
    """

    original = _GCNConv

    def forward(self, x: Any, edge_index: Any, edge_weight: Tensor | None = None) -> Tensor:
        weighted = self._weighted(x, edge_index, edge_weight)
        if weighted is None:
            return super().forward(x, edge_index, edge_weight)
        graph, weight = weighted
        value = self.lin(x)
        if weight is not None:
            dtype = torch.promote_types(value.dtype, weight.dtype)
            value, weight = value.to(dtype), weight.to(dtype)
        out = aggregate(value, graph, reduce_named(self.aggr), weight=weight)
        return out if self.bias is None else out + self.bias

    def _weighted(
        self, x: Any, edge_index: Any, edge_weight: Tensor | None
    ) -> tuple[EdgeList, Tensor | None] | None:
        """Edges and their weights; None if the original computes the call."""
        if not (isinstance(x, Tensor) and isinstance(edge_index, Tensor)) or x.ndim < 2:
            return None
        if is_sparse(edge_index) or self.node_dim != _NODES or self.why_original() is not None:
            return None
        nodes = x.shape[_NODES]
        if edge_weight is not None and edge_weight.shape != edge_index.shape[1:]:
            return None
        if not self.normalize:
            edges = neighborhood(self, (x, x), edge_index, None)
            return None if edges is None else (edges.graph, edge_weight)
        if self.cached:
            kept: Any = self._cached_edge_index
            if kept is None:
                kept = self._norm(edge_index, edge_weight, nodes, x.dtype)
                self._cached_edge_index = kept
            edge_index, edge_weight = kept
            edges = neighborhood(self, (x, x), edge_index, None)
            return None if edges is None else (edges.graph, edge_weight)
        loops = nodes if self.add_self_loops else None
        edges = neighborhood(self, (x, x), edge_index, None, loops)
        if edges is None:
            return None
        if edge_weight is not None:
            return edges.graph, self._norm(edge_index, edge_weight, nodes, x.dtype)[1]
        plain = plain_edges(edge_index)
        key = ("norm", nodes, self.improved, loops, self.flow, x.dtype)
        return edges.graph, recall_about(
            plain, key, lambda: self._norm(plain, None, nodes, x.dtype)[1]
        )

    def _norm(
        self, edge_index: Tensor, edge_weight: Tensor | None, nodes: int, dtype: torch.dtype
    ) -> Any:
        """Edges of the original, in the order of the graph, and their weights."""
        settings = (self.improved, self.add_self_loops, self.flow, dtype)
        return gcn_norm(edge_index, edge_weight, nodes, *settings)


class SAGEConv(DropIn, _SAGEConv):
    r"""`torch_geometric.nn.SAGEConv`, computed by Edgewise.

    .. math::
        h_i' = U h_i + V \operatorname{reduce}_{j \in N(i)} h_j + b

    Arguments, inputs, outputs and weights are the original's; see `DropIn` for when the
    original computes. Sums and means commute with ``V``, so edges have the smaller number of
    channels.

    Complexity: O(N F C + E min(F, C)) time, nothing of the size of the edges.

    Example:
        >>> import torch
        >>> layer = SAGEConv((5, 3), 4)
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 0, 0]])
        >>> layer((torch.randn(3, 5), torch.randn(2, 3)), edge_index).shape
        torch.Size([2, 4])

    References:
        Hamilton, Ying, Leskovec. Inductive Representation Learning on Large Graphs. 2017,
        arXiv:1706.02216, algorithm 1.
    """

    original = _SAGEConv
    reductions = ("add", "sum", "mean", "max")

    def forward(self, x: Any, edge_index: Any, size: Any = None) -> Tensor:
        edges = neighborhood(self, x, edge_index, size)
        if edges is None or (self.aggr == "max" and torch.is_grad_enabled()):
            return super().forward(x, edge_index, size)
        first, second = (x, x) if isinstance(x, Tensor) else x
        reduce = reduce_named(self.aggr)
        if self.project and hasattr(self, "lin"):
            first = self.lin(first).relu()
        narrows = is_plain_linear(self.lin_l) and self.out_channels < first.shape[-1]
        if narrows and reduce != "max":
            out = aggregate(F.linear(first, self.lin_l.weight), edges.graph, reduce)
            out = out if self.lin_l.bias is None else out + self.lin_l.bias.to(out.dtype)
        else:
            out = self.lin_l(aggregate(first, edges.graph, reduce))
        if self.root_weight and second is not None:
            out = out + self.lin_r(second)
        return F.normalize(out, p=2.0, dim=-1) if self.normalize else out


class GINConv(DropIn, _GINConv):
    r"""`torch_geometric.nn.GINConv`, computed by Edgewise.

    .. math::  h_i' = \mathrm{nn}\Big((1 + \epsilon) h_i + \sum_{j \in N(i)} h_j\Big)

    Arguments, inputs, outputs and weights are the original's; see `DropIn` for when the
    original computes.

    Complexity: O(E F), and ``nn`` at every node; nothing of the size of the edges.

    Example:
        >>> import torch
        >>> layer = GINConv(torch.nn.Linear(5, 4), train_eps=True)
        >>> layer(torch.randn(3, 5), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 4])

    References:
        Xu et al. How Powerful are Graph Neural Networks? 2018, arXiv:1810.00826, equation 4.1.
    """

    original = _GINConv
    reductions = ("add", "sum", "mean")

    def forward(self, x: Any, edge_index: Any, size: Any = None) -> Tensor:
        edges = neighborhood(self, x, edge_index, size)
        if edges is None:
            return super().forward(x, edge_index, size)
        first, second = (x, x) if isinstance(x, Tensor) else x
        out = aggregate(first, edges.graph, reduce_named(self.aggr))
        if second is not None:
            out = out + (1 + self.eps) * second
        return self.nn(out)


def neighborhood(
    layer: Any, x: Any, edge_index: Any, size: Any, loops: int | None = None
) -> Connectivity | None:
    """The edges of a call without attention; None if the original computes it."""
    pair = on_both_sides(x)
    if pair is None or not isinstance(edge_index, Tensor) or layer.why_original() is not None:
        return None
    if layer.node_dim != _NODES or is_sparse(edge_index):
        return None
    if any(part is not None and part.ndim < 2 for part in pair):
        return None
    reverse = layer.flow == "target_to_source"
    nodes_first = tuple(None if part is None else part.transpose(0, _NODES) for part in pair)
    counts = node_counts(nodes_first, edge_index, size, reverse=reverse)  # type: ignore[arg-type]
    if counts is None:
        return None
    return connectivity(edge_index, *counts, reverse=reverse, loops=loops)


def reduce_named(aggr: Any) -> Reduce:
    """The name of a reduction in Edgewise: PyTorch Geometric has two names for sums."""
    return "sum" if aggr == "add" else aggr

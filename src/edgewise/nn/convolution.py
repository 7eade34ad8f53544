"""Layers that add up their sources without looking at them: message passing and GCN."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgewise.errors import ArgumentError, ShapeError
from edgewise.functional import aggregate
from edgewise.graphs import Graph, recall
from edgewise.nn.activation import Activation, activation_named
from edgewise.nn.heads import leading
from edgewise.nn.inputs import check_choice, check_features, check_nodes, check_size
from edgewise.problem import Reduce

__all__ = ["GCNConvolution", "GraphConvolution"]


class GraphConvolution(nn.Module):
    r"""Message passing: what a node knows, plus what its sources say.

    .. math::  h_i' = \phi\Big(U h_i + \bigoplus_{j \in N(i)} w_{ij} V h_j\Big)

    With ``"sum"`` it is the plainest message-passing layer, with ``"mean"`` GraphSAGE, with
    ``"max"`` its pooling variant without the inner activation. A target without sources keeps
    ``U h_i`` alone.

    Args:
        in_dim: Features of every node before.
        out_dim: Features of every node after.
        reduce: ``"sum"``, ``"mean"`` (over the number of edges, whatever their weights) or
            ``"max"``.
        bias: Whether ``U`` has a bias.
        activation: ``"relu"``, ``"gelu"``, ``"silu"``, ``"elu"``, or any function of a tensor;
            None for a linear layer.

    Shape:
        - x: ``[*batch, T, in_dim]``, floating.
        - source: ``[*batch, S, in_dim]``; the nodes of ``x`` when left out.
        - edge: weights ``w``, ``[*batch | 1, E]``, in edge order; all 1 when left out.
        - result: ``[*batch, T, out_dim]``.

    Raises:
        ArgumentError: an unknown reduce or activation, or a size out of range.
        ShapeError: features or nodes that do not fit the layer or the graph.

    Gradients: to all tensors and parameters; through ``"max"``, to the largest.

    Complexity: O(N in_dim out_dim + E out_dim); O(E in_dim) for sums and means that are narrower
        before than after.

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> layer = GraphConvolution(5, 8, reduce="mean", activation="relu")
        >>> layer(torch.randn(3, 5), EdgeList([[0, 1], [1, 2]], num_nodes=3)).shape
        torch.Size([3, 8])

    References:
        Gilmer et al. Neural Message Passing for Quantum Chemistry. 2017, arXiv:1704.01212.
        Hamilton, Ying, Leskovec. Inductive Representation Learning on Large Graphs. 2017,
        arXiv:1706.02216, section 3.3 (mean and max).
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        reduce: Reduce = "sum",
        bias: bool = True,
        activation: str | Activation | None = None,
    ) -> None:
        super().__init__()
        check_choice("GraphConvolution", "reduce", reduce, ("sum", "mean", "max"))
        self.in_dim = check_size("GraphConvolution", "in_dim", in_dim)
        self.out_dim = check_size("GraphConvolution", "out_dim", out_dim)
        self.reduce: Reduce = reduce
        self.self_proj = nn.Linear(in_dim, out_dim, bias=bias)
        self.neighbor_proj = nn.Linear(in_dim, out_dim, bias=False)
        self.activation = (
            None if activation is None else activation_named("GraphConvolution", activation)
        )

    def reset_parameters(self) -> None:
        """Draw new weights, as `torch.nn.Linear` does."""
        self.self_proj.reset_parameters()
        self.neighbor_proj.reset_parameters()

    def forward(
        self, x: Tensor, graph: Graph, *, source: Tensor | None = None, edge: Tensor | None = None
    ) -> Tensor:
        source = x if source is None else source
        check_features("GraphConvolution", "x", x, self.in_dim, "in_dim")
        check_features("GraphConvolution", "source", source, self.in_dim, "in_dim")
        check_nodes("GraphConvolution", x, graph)
        weight = _edge_weight("GraphConvolution", edge, source)
        # Sums and means commute with V, so the edges can carry the narrower of both sides.
        if self.reduce != "max" and self.in_dim < self.out_dim:
            heard = self.neighbor_proj(aggregate(source, graph, self.reduce, weight=weight))
        else:
            heard = aggregate(self.neighbor_proj(source), graph, self.reduce, weight=weight)
        out = self.self_proj(x) + heard
        return out if self.activation is None else self.activation(out)

    def extra_repr(self) -> str:
        return f"{self.in_dim}, {self.out_dim}, reduce={self.reduce!r}"


class GCNConvolution(nn.Module):
    r"""The graph convolutional network's layer: a symmetric average over neighbors and itself.

    .. math::
        h_i' = W \sum_{j \in N(i) \cup \{i\}} \frac{w_{ij}}{\sqrt{d_i \, d_j}} h_j + b, \qquad
        d_i = \sum_{j \in N(i) \cup \{i\}} w_{ij}

    Every node that has no self-loop gets one of weight 1; one that is there stays as it is. The
    normalization is written as a scaling before and after a plain sum, so a symbolic graph is
    never turned into edges for it. Without edge weights it is worked out once for each graph.

    Args:
        in_dim: Features of every node before.
        out_dim: Features of every node after.
        bias: Whether a bias ``b`` is added.

    Shape:
        - x: ``[*batch, N, in_dim]``, floating.
        - source: must be left out: the degrees need one set of nodes.
        - edge: weights ``w``, ``[*batch | 1, E]``, in edge order, at least 0; all 1 when left out.
        - result: ``[*batch, N, out_dim]``.

    Raises:
        ArgumentError: ``source`` is given, or a size out of range.
        ShapeError: features or nodes that do not fit the layer or the graph, or a graph that is
            not square.

    Gradients: to ``x``, ``edge`` and the parameters. A node whose weights sum to 0 is scaled by
        0, without gradient.

    Complexity: O(N in_dim out_dim + E min(in_dim, out_dim)).

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> path = EdgeList([[0, 1, 1, 2], [1, 0, 2, 1]], num_nodes=3)
        >>> GCNConvolution(5, 8)(torch.randn(3, 5), path).shape
        torch.Size([3, 8])

    References:
        Kipf, Welling. Semi-Supervised Classification with Graph Convolutional Networks. 2016,
        arXiv:1609.02907, section 2 ("renormalization trick").
    """

    def __init__(self, in_dim: int, out_dim: int, bias: bool = True) -> None:
        super().__init__()
        self.in_dim = check_size("GCNConvolution", "in_dim", in_dim)
        self.out_dim = check_size("GCNConvolution", "out_dim", out_dim)
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim))
        self.bias = nn.Parameter(torch.empty(out_dim)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights (Glorot uniform) and set the bias to zero."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self, x: Tensor, graph: Graph, *, source: Tensor | None = None, edge: Tensor | None = None
    ) -> Tensor:
        if source is not None:
            raise ArgumentError(
                "GCNConvolution: source must be left out, because one set of nodes has one set of "
                "degrees. Use GraphConvolution between two sets of nodes."
            )
        check_features("GCNConvolution", "x", x, self.in_dim, "in_dim")
        check_nodes("GCNConvolution", x, graph)
        if graph.num_targets != graph.num_sources:
            raise ShapeError(
                f"GCNConvolution: the graph must be square, got {graph.num_targets} targets and "
                f"{graph.num_sources} sources. Use GraphConvolution between two sets of nodes."
            )
        weight = _edge_weight("GCNConvolution", edge, x)
        scaling = _recalled_scaling(graph, x) if weight is None else _scaling(graph, x, weight)
        # Both orders are the same map; the edges carry the narrower of both sides.
        if self.in_dim < self.out_dim:
            return F.linear(scaling.spread(x, graph, weight), self.weight, self.bias)
        out = scaling.spread(F.linear(x, self.weight), graph, weight)
        return out if self.bias is None else out + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_dim}, {self.out_dim}, bias={self.bias is not None}"


@dataclass(frozen=True, eq=False)
class _Scaling:
    """The normalization of GCN, as numbers of nodes instead of edges.

    Attributes:
        node: ``d^{-1/2}``: ``[*batch | 1, N, 1]``.
        loop: Weight of the self-loop that was added, 1 or 0: ``[N, 1]``.
    """

    node: Tensor
    loop: Tensor

    def spread(self, x: Tensor, graph: Graph, weight: Tensor | None) -> Tensor:
        scaled = self.node * x
        return self.node * (aggregate(scaled, graph, "sum", weight=weight) + self.loop * scaled)


def _recalled_scaling(graph: Graph, x: Tensor) -> _Scaling:
    """The scaling of an unweighted graph, worked out once for each graph, device and dtype."""
    key = ("gcn scaling", str(x.device), x.dtype)
    return recall(graph, key, lambda: _scaling(graph, x, None))


def _scaling(graph: Graph, x: Tensor, weight: Tensor | None) -> _Scaling:
    """The scaling of a graph with these edge weights, in the dtype and on the device of ``x``."""
    # Half precision cannot count beyond 2048, so the degrees are summed in float32 at least.
    dtype = torch.promote_types(x.dtype, torch.float32)
    node = torch.arange(graph.num_targets, device=x.device)
    loop = (~graph.contains(node, node)).to(dtype)[:, None]
    ones = torch.ones(graph.num_sources, 1, dtype=dtype, device=x.device)
    if weight is not None:
        ones, weight = ones.expand(*weight.shape[:-1], -1, -1), weight.to(dtype)
    degree = aggregate(ones, graph, "sum", weight=weight) + loop
    positive = degree > 0  # chosen before the root: its gradient at 0 is infinite
    root = torch.where(positive, torch.where(positive, degree, 1.0).rsqrt(), 0.0)
    return _Scaling(root.to(x.dtype), loop.to(x.dtype))


def _edge_weight(owner: str, edge: Tensor | None, source: Tensor) -> Tensor | None:
    """Edge weights with as many batch axes as the nodes: ``[*batch | 1, E]``."""
    if edge is None:
        return None
    if not 1 <= edge.ndim < source.ndim:
        raise ShapeError(
            f"{owner}: edge holds one weight for every edge, so it must have shape [edges] or "
            f"[*batch, edges] with the batch axes of x, got {list(edge.shape)}. Edge features "
            f"need an attention layer with edge_dim."
        )
    return leading(edge, source.ndim - 1)

"""The layer of graph convolutional networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Never

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError
from edgewise.functional import aggregate
from edgewise.graphs import Graph
from edgewise.nn.argument_names import refuse
from edgewise.nn.checks import (
    check_features,
    check_nodes,
    check_size,
    check_square,
    checked_edge_weight,
)
from edgewise.nn.graph_cache import cached_by_graph
from edgewise.nn.layer import Layer, factory

__all__ = ["GCNConvolution"]


class GCNConvolution(Layer):
    r"""The graph convolutional network's layer: a symmetric average over neighbors and itself.

    .. math::
        h_i' = W \sum_{j \in N(i) \cup \{i\}} \frac{w_{ij}}{\sqrt{d_i \, d_j}} h_j + b, \qquad
        d_i = \sum_{j \in N(i) \cup \{i\}} w_{ij}

    Every node that has no self-loop gets one of weight 1; one that is there stays as it is. The
    normalization is written as a scaling before and after a plain sum, so a symbolic graph is
    never turned into edges for it. Without edge weights it is computed once for each graph.

    Args:
        in_dim: Features of every node before.
        out_dim: Features of every node after.
        bias: Whether a bias ``b`` is added.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, in_dim]``, floating.
        - source: must be left out: the degrees need one set of nodes.
        - edge_weight: weights ``w``, ``[*batch | 1, E]``, in edge order, at least 0; all 1 when
            left out.
        - result: ``[*batch, N, out_dim]``.

    Raises:
        ArgumentError: ``source`` is given, or a size out of range.
        ShapeError: features or nodes that do not fit the layer or the graph, or a graph that is
            not square.

    Gradients: to ``x``, ``edge_weight`` and the parameters. A node whose weights sum to 0 is
        scaled by 0, without gradient.

    Complexity: O(N in_dim out_dim + E min(in_dim, out_dim)).

    Example:
        >>> import torch
        >>> from edgewise.graphs import EdgeList
        >>> path = EdgeList([[0, 1, 1, 2], [1, 0, 2, 1]], num_nodes=3)
        >>> GCNConvolution(5, 8)(torch.randn(3, 5), path).shape
        torch.Size([3, 8])

    References:
        Kipf, Welling. Semi-Supervised Classification with Graph Convolutional Networks. 2016,
        arXiv:1609.02907, section 2 ("renormalization trick").
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("GCNConvolution", device, dtype)
        self.in_dim = check_size("GCNConvolution", "in_dim", in_dim)
        self.out_dim = check_size("GCNConvolution", "out_dim", out_dim)
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim, **made))
        self.bias = nn.Parameter(torch.empty(out_dim, **made)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights (Glorot uniform) and set the bias to zero."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        *,
        source: Tensor | None = None,
        edge_weight: Tensor | None = None,
        **others: Never,
    ) -> Tensor:
        if others:
            refuse("GCNConvolution", others, "source", "edge_weight")
        if source is not None:
            raise ArgumentError(
                "GCNConvolution: source must be left out, because one set of nodes has one set of "
                "degrees. Use GraphConvolution between two sets of nodes."
            )
        check_features("GCNConvolution", "x", x, self.in_dim, "in_dim")
        check_nodes("GCNConvolution", x, graph)
        check_square("GCNConvolution", graph, "Use GraphConvolution between two sets of nodes.")
        weight = checked_edge_weight("GCNConvolution", edge_weight, x)
        if weight is None:
            scaling = cached_by_graph(_scaling, graph, str(x.device), x.dtype)
        else:
            scaling = _scaling(graph, str(x.device), x.dtype, weight)
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


def _scaling(
    graph: Graph, device: str, dtype: torch.dtype, weight: Tensor | None = None
) -> _Scaling:
    """The scaling of a graph, with these edge weights or with none."""
    # Half precision cannot count beyond 2048, so the degrees are summed in float32 at least.
    exact = torch.promote_types(dtype, torch.float32)
    loop = cached_by_graph(_missing_loops, graph, device).to(exact)
    ones = torch.ones(graph.num_sources, 1, dtype=exact, device=device)
    if weight is not None:
        ones, weight = ones.expand(*weight.shape[:-1], -1, -1), weight.to(exact)
    degree = aggregate(ones, graph, "sum", weight=weight) + loop
    positive = degree > 0  # chosen before the root: its gradient at 0 is infinite
    root = torch.where(positive, torch.where(positive, degree, 1.0).rsqrt(), 0.0)
    return _Scaling(root.to(dtype), loop.to(dtype))


def _missing_loops(graph: Graph, device: str) -> Tensor:
    """Which nodes lack a self-loop: ``[N, 1]``, bool."""
    node = torch.arange(graph.num_targets, device=device)
    return ~graph.contains(node, node)[:, None]

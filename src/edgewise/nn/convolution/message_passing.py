"""Message passing: a sum, mean or maximum over sources, with weights that no target changes."""

from __future__ import annotations

from typing import Never

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from edgewise.functional import aggregate
from edgewise.graphs import Graph
from edgewise.nn.argument_names import refuse
from edgewise.nn.blocks.activation import Activation, activation_named
from edgewise.nn.checks import (
    check_choice,
    check_features,
    check_nodes,
    check_size,
    checked_edge_weight,
)
from edgewise.nn.layer import Layer, factory
from edgewise.problem import Reduce

__all__ = ["GraphConvolution"]


class GraphConvolution(Layer):
    r"""Message passing: a projection of the node plus a reduction of its sources.

    .. math::
        h_i' &= \phi\Big(U h_i + \bigoplus_{j \in N(i)} w_{ij} V h_j\Big)
        && \text{message "linear"} \\
        h_i' &= \phi\Big(U h_i + V \bigoplus_{j \in N(i)} w_{ij} h_j\Big)
        && \text{message "features"} \\
        h_i' &= \phi\Big(U h_i + V \bigoplus_{j \in N(i)} w_{ij} \mathrm{relu}(P h_j + p)\Big)
        && \text{message "pool"}

    With ``"sum"`` it is the plainest message-passing layer, with ``"mean"`` GraphSAGE; with
    ``"max"`` and ``message="pool"`` it is GraphSAGE's pooling. ``V`` commutes with sums and means,
    so the first two messages differ for ``"max"`` alone. A target without sources keeps ``U h_i``.

    Args:
        in_dim: Features of every node before.
        out_dim: Features of every node after.
        reduce: ``"sum"``, ``"mean"`` (over the number of edges, whatever their weights) or
            ``"max"``.
        bias: Whether ``U`` has a bias.
        activation: ``"relu"``, ``"gelu"``, ``"silu"``, ``"elu"``, or any function of a tensor;
            None for a linear layer.
        message: What a source sends: ``"linear"``, ``"features"`` or ``"pool"``, as above.
        normalize: Whether the result of every node is divided by its length at last.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, T, in_dim]``, floating.
        - source: ``[*batch, S, in_dim]``; the nodes of ``x`` when left out.
        - edge_weight: weights ``w``, ``[*batch | 1, E]``, in edge order; all 1 when left out.
        - result: ``[*batch, T, out_dim]``.

    Raises:
        ArgumentError: an unknown reduce, activation or message, or a size out of range.
        ShapeError: features or nodes that do not fit the layer or the graph.

    Gradients: to all tensors and parameters; through ``"max"``, to the largest.

    Complexity: O(N in_dim out_dim + E out_dim); O(E in_dim) where ``V`` comes last: for
        ``"features"`` and ``"pool"`` under ``"max"``, and for sums and means that are narrower
        before than after.

    Example:
        >>> import torch
        >>> from edgewise.graphs import EdgeList
        >>> layer = GraphConvolution(5, 8, reduce="mean", activation="relu")
        >>> layer(torch.randn(3, 5), EdgeList([[0, 1], [1, 2]], num_nodes=3)).shape
        torch.Size([3, 8])

    References:
        Gilmer et al. Neural Message Passing for Quantum Chemistry. 2017, arXiv:1704.01212.
        Hamilton, Ying, Leskovec. Inductive Representation Learning on Large Graphs. 2017,
        arXiv:1706.02216, algorithm 1 and section 3.3 (mean and pooling).
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        reduce: Reduce = "sum",
        bias: bool = True,
        activation: str | Activation | None = None,
        message: str = "linear",
        normalize: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("GraphConvolution", device, dtype)
        check_choice("GraphConvolution", "reduce", reduce, ("sum", "mean", "max"))
        check_choice("GraphConvolution", "message", message, ("linear", "features", "pool"))
        self.in_dim = check_size("GraphConvolution", "in_dim", in_dim)
        self.out_dim = check_size("GraphConvolution", "out_dim", out_dim)
        self.reduce: Reduce = reduce
        self.message = message
        self.normalize = normalize
        self.self_proj = nn.Linear(in_dim, out_dim, bias=bias, **made)
        self.neighbor_proj = nn.Linear(in_dim, out_dim, bias=False, **made)
        self.pool_proj = nn.Linear(in_dim, in_dim, **made) if message == "pool" else None
        self.activation = (
            None if activation is None else activation_named("GraphConvolution", activation)
        )

    def reset_parameters(self) -> None:
        """Draw new weights, as `torch.nn.Linear` does."""
        for projection in (self.self_proj, self.neighbor_proj, self.pool_proj):
            if projection is not None:
                projection.reset_parameters()

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
            refuse("GraphConvolution", others, "source", "edge_weight")
        source = x if source is None else source
        check_features("GraphConvolution", "x", x, self.in_dim, "in_dim")
        check_features("GraphConvolution", "source", source, self.in_dim, "in_dim")
        check_nodes("GraphConvolution", x, graph)
        weight = checked_edge_weight("GraphConvolution", edge_weight, source)
        value = source if self.pool_proj is None else F.relu(self.pool_proj(source))
        if self._transforms_last():
            message = self.neighbor_proj(aggregate(value, graph, self.reduce, weight=weight))
        else:
            message = aggregate(self.neighbor_proj(value), graph, self.reduce, weight=weight)
        out = self.self_proj(x) + message
        out = out if self.activation is None else self.activation(out)
        return F.normalize(out, dim=-1) if self.normalize else out

    def _transforms_last(self) -> bool:
        """Whether V follows the reduction; where both are the same, edges carry the narrower."""
        return self.message != "linear" if self.reduce == "max" else self.in_dim < self.out_dim

    def extra_repr(self) -> str:
        return (
            f"{self.in_dim}, {self.out_dim}, reduce={self.reduce!r}, message={self.message!r}, "
            f"normalize={self.normalize}"
        )

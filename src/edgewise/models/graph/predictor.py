"""A prediction for each node, or for each graph, from one trunk."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from edgewise.functional import aggregate
from edgewise.graphs import Graph
from edgewise.nn import MLP
from edgewise.nn.layer import Layer

__all__ = ["GraphModel", "NodeModel"]


class NodeModel(Layer):
    r"""Predict something about every node: ``y_i = W h_i``.

    Args:
        trunk: From features to representations of width ``dim``: any module called as
            ``trunk(x, graph, **given)``, such as `Trunk`, `GraphTransformer` or `GPS`.
        dim: Width of the trunk.
        out_dim: Numbers predicted: classes, or 1 for a value.
        head: Any module from ``dim`` to ``out_dim`` features; a linear map when left out.

    Shape:
        - x: ``[*batch, N, in_dim]``.
        - given: what the trunk takes besides: ``encoding``, ``edge``, ``everywhere``.
        - result: ``[*batch, N, out_dim]``.

    Example:
        >>> import torch
        >>> from edgewise.graphs import Causal
        >>> from edgewise.models import Trunk
        >>> from edgewise.nn import DotAttention
        >>> model = NodeModel(Trunk(5, 8, [DotAttention(8, heads=2)]), dim=8, out_dim=3)
        >>> model(torch.zeros(6, 5), Causal(6)).shape
        torch.Size([6, 3])
    """

    def __init__(
        self, trunk: nn.Module, dim: int, out_dim: int, *, head: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(dim, out_dim) if head is None else head

    def forward(self, x: Tensor, graph: Graph, **given: Any) -> Tensor:
        return self.head(self.trunk(x, graph, **_there(given)))


class GraphModel(Layer):
    r"""Predict something about every graph, from the mean of its nodes.

    .. math::  y_g = \mathrm{MLP}\Big(\frac{1}{N_g} \sum_{i \in g} h_i\Big)

    The mean is itself an aggregation: over the bipartite graph whose targets are the graphs of a
    batch and whose sources are their nodes.

    Args:
        trunk: From features to representations of width ``dim``: any module called as
            ``trunk(x, graph, **given)``, such as `Trunk`, `GraphTransformer` or `GPS`.
        dim: Width of the trunk.
        out_dim: Numbers predicted: classes, or 1 for a value.
        head: Any module from ``dim`` to ``out_dim`` features; an MLP with GELU when left out.

    Shape:
        - x: ``[*batch, N, in_dim]``.
        - readout: ``Blocks([1] * G, sizes)`` over the ``N`` nodes; left out, each leading
          dimension is one graph.
        - given: what the trunk takes besides: ``encoding``, ``edge``, ``everywhere``.
        - result: ``[*batch, G, out_dim]``, or ``[*batch, out_dim]`` without readout.

    Example:
        >>> import torch
        >>> from edgewise.graphs import Blocks
        >>> from edgewise.models import Trunk
        >>> from edgewise.nn import DotAttention
        >>> model = GraphModel(Trunk(5, 8, [DotAttention(8, heads=2)]), dim=8, out_dim=3)
        >>> x = torch.zeros(6, 5)  # a graph of two nodes, and one of four
        >>> model(x, Blocks([2, 4]), readout=Blocks([1, 1], [2, 4])).shape
        torch.Size([2, 3])
    """

    def __init__(
        self, trunk: nn.Module, dim: int, out_dim: int, *, head: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = MLP(dim, dim, out_dim=out_dim, activation="gelu") if head is None else head

    def forward(
        self, x: Tensor, graph: Graph, *, readout: Graph | None = None, **given: Any
    ) -> Tensor:
        h = self.trunk(x, graph, **_there(given))
        if readout is not None:
            return self.head(aggregate(h, readout, "mean"))
        return self.head(h.mean(-2, keepdim=True)).squeeze(-2)


def _there(given: dict[str, Any]) -> dict[str, Any]:
    """Without what is None: a trunk that knows no encodings, or no edges, is called without."""
    return {name: item for name, item in given.items() if item is not None}

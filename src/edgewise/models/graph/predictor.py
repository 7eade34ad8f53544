"""A prediction for each node, or for each graph, from one trunk."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.functional import aggregate
from edgewise.graphs import Graph
from edgewise.nn import MLP
from edgewise.nn.argument_names import without_none
from edgewise.nn.layer import Layer, factory

__all__ = ["GraphModel", "NodeModel"]


class NodeModel(Layer):
    r"""Predict something about every node: ``y_i = W h_i``.

    Args:
        trunk: From features to representations of width ``dim``: any module called as
            ``trunk(x, graph, **given)``, such as `Trunk`, `GraphTransformer` or `GPS`.
        dim: Width of the trunk.
        out_dim: Numbers predicted: classes, or 1 for a value.
        head: Any module from ``dim`` to ``out_dim`` features; a linear map when left out.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

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
        self,
        trunk: nn.Module,
        dim: int,
        out_dim: int,
        *,
        head: nn.Module | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("NodeModel", device, dtype)
        self.trunk = trunk
        self.dim, self.out_dim = dim, out_dim
        self.head = nn.Linear(dim, out_dim, **made) if head is None else head

    def forward(self, x: Tensor, graph: Graph, **given: Any) -> Tensor:
        return self.head(self.trunk(x, graph, **without_none(**given)))

    def extra_repr(self) -> str:
        return f"{self.dim}, {self.out_dim}"


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
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

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
        self,
        trunk: nn.Module,
        dim: int,
        out_dim: int,
        *,
        head: nn.Module | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("GraphModel", device, dtype)
        self.trunk = trunk
        self.dim, self.out_dim = dim, out_dim
        self.head = (
            MLP(dim, dim, out_dim=out_dim, activation="gelu", **made) if head is None else head
        )

    def forward(
        self, x: Tensor, graph: Graph, *, readout: Graph | None = None, **given: Any
    ) -> Tensor:
        h = self.trunk(x, graph, **without_none(**given))
        if readout is not None:
            return self.head(aggregate(h, readout, "mean"))
        return self.head(h.mean(-2, keepdim=True)).squeeze(-2)

    def extra_repr(self) -> str:
        return f"{self.dim}, {self.out_dim}"

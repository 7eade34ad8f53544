"""Degrees: how many edges end at a node, and how many start there."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import GraphError
from edgewise.graphs import Graph
from edgewise.layouts import edges
from edgewise.layouts.progression import progression
from edgewise.nn.checks import check_choice, check_size
from edgewise.nn.graph_cache import cached_by_graph
from edgewise.nn.layer import Layer, factory

__all__ = ["DegreeEncoding", "degrees"]

Direction = Literal["in", "out"]


def degrees(graph: Graph, *, direction: Direction = "in") -> Tensor:
    r"""How many edges every node has, copies and self-loops counted.

    .. math::
        d^{in}_i = \#\{j \to i\}, \qquad d^{out}_j = \#\{j \to i\}

    Args:
        graph: Any graph.
        direction: ``"in"``: how many sources each target reads; ``"out"``: how many targets read
            each source.

    Returns:
        ``[T]`` for ``"in"``, ``[S]`` for ``"out"``, int64, on the device of the graph. Worked out
        once for each graph: do not change it in place.

    Raises:
        ArgumentError: an unknown direction.

    Gradients: none.

    Complexity: O(E); O(T) for the in-degrees of graphs whose rows have no gaps, like `Causal` and
        `Window`.

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> star = EdgeList([[1, 2, 3], [0, 0, 0]], num_nodes=4)
        >>> degrees(star).tolist(), degrees(star, direction="out").tolist()
        ([3, 0, 0, 0], [0, 1, 1, 1])
    """
    check_choice("degrees", "direction", direction, ("in", "out"))
    return cached_by_graph(_degrees, graph, direction)


def _degrees(graph: Graph, direction: Direction) -> Tensor:
    if direction == "out":
        return torch.bincount(edges(graph).source, minlength=graph.num_sources)
    rows = progression(graph)
    if rows is not None:
        return rows.length
    return torch.bincount(edges(graph).target, minlength=graph.num_targets)


class DegreeEncoding(Layer):
    r"""Graphormer's centrality encoding: a learned vector for each in- and each out-degree.

    .. math::  z_i = W^{in}_{\min(d^{in}_i, D)} + W^{out}_{\min(d^{out}_i, D)}

    It is added to the features of the nodes before the first layer.

    Args:
        max_degree: ``D``; larger degrees share its vectors.
        dim: Features of every node.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - graph: a square graph.
        - result: ``[N, dim]``, on the device of the parameters.

    Raises:
        ArgumentError: a size out of range.
        GraphError: the graph is not square.

    Gradients: to ``in_degree_encoder.weight`` and ``out_degree_encoder.weight``, both
        ``[max_degree + 1, dim]``.

    Complexity: O(N dim), after the degrees of the graph were found once.

    Example:
        >>> from edgewise.graphs import Window
        >>> DegreeEncoding(64, dim=16)(Window(10, left=2, right=2)).shape
        torch.Size([10, 16])

    References:
        Ying et al. Do Transformers Really Perform Bad for Graph Representation? 2021,
        arXiv:2106.05234, section 3.1.1.
    """

    def __init__(
        self,
        max_degree: int,
        dim: int,
        *,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("DegreeEncoding", device, dtype)
        self.max_degree = check_size("DegreeEncoding", "max_degree", max_degree, 0)
        self.dim = check_size("DegreeEncoding", "dim", dim)
        self.in_degree_encoder = nn.Embedding(max_degree + 1, dim, **made)
        self.out_degree_encoder = nn.Embedding(max_degree + 1, dim, **made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new vectors from a normal distribution with deviation 0.02, as Graphormer does."""
        for encoder in (self.in_degree_encoder, self.out_degree_encoder):
            nn.init.normal_(encoder.weight, std=0.02)

    def forward(self, graph: Graph) -> Tensor:
        if graph.num_targets != graph.num_sources:
            raise GraphError(
                f"DegreeEncoding: the graph must be square, got {graph.num_targets} targets and "
                f"{graph.num_sources} sources. Give both sides one numbering in an EdgeList."
            )
        device = self.in_degree_encoder.weight.device
        arriving = degrees(graph, direction="in").to(device).clamp(max=self.max_degree)
        leaving = degrees(graph, direction="out").to(device).clamp(max=self.max_degree)
        return self.in_degree_encoder(arriving) + self.out_degree_encoder(leaving)

    def extra_repr(self) -> str:
        return f"max_degree={self.max_degree}, dim={self.dim}"

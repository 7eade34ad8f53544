"""Incidence of nodes and edges: numbers of nodes to edges, and of edges to nodes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.functional import aggregate
from edgewise.graphs import EdgeList, Graph, reverse
from edgewise.layouts import edges
from edgewise.nn.graph_cache import cached_by_graph
from edgewise.problem import Reduce

__all__ = ["from_sources", "from_targets", "incoming", "onto_targets"]


def from_sources(source: Tensor, graph: Graph) -> Tensor:
    """The source of every edge: ``[*batch, S, C]`` to ``[*batch, E, C]``, in edge order.

    >>> ring = EdgeList([[0, 1, 2], [1, 2, 0]], num_nodes=3)
    >>> from_sources(torch.eye(3)[:, :1], ring).flatten().tolist()
    [1.0, 0.0, 0.0]
    """
    return aggregate(source, cached_by_graph(_incidence, graph).sources)


def from_targets(x: Tensor, graph: Graph) -> Tensor:
    """The target of every edge: ``[*batch, T, C]`` to ``[*batch, E, C]``, in edge order.

    >>> ring = EdgeList([[0, 1, 2], [1, 2, 0]], num_nodes=3)
    >>> from_targets(torch.eye(3)[:, :1], ring).flatten().tolist()
    [0.0, 0.0, 1.0]
    """
    return aggregate(x, cached_by_graph(_incidence, graph).targets)


def onto_targets(message: Tensor, graph: Graph, reduce: Reduce = "sum") -> Tensor:
    """The sum over the edges of each target: ``[*batch, E, C]`` to ``[*batch, T, C]``.

    >>> star = EdgeList([[1, 2], [0, 0]], num_nodes=3)
    >>> onto_targets(torch.tensor([[1.0], [3.0]]), star, "mean").flatten().tolist()
    [2.0, 0.0, 0.0]
    """
    return aggregate(message, incoming(graph), reduce)


def incoming(graph: Graph) -> Graph:
    """The graph in which every target reads the edges that enter it: ``T`` by ``E``.

    >>> incoming(EdgeList([[1, 2], [0, 0]], num_nodes=3))
    EdgeList([[0, 1], [0, 0]], num_targets=3, num_sources=2)
    """
    return cached_by_graph(_incidence, graph).incoming


@dataclass(frozen=True, eq=False)
class _Incidence:
    """Three bipartite graphs, so that passing on is an aggregation, and its gradient another.

    Attributes:
        sources: Every edge reads its source: ``E`` by ``S``.
        targets: Every edge reads its target: ``E`` by ``T``.
        incoming: Every target reads its edges: ``T`` by ``E``.
    """

    sources: Graph
    targets: Graph
    incoming: Graph


def _incidence(graph: Graph) -> _Incidence:
    pairs = edges(graph)
    E = pairs.num_edges
    edge = torch.arange(E, device=pairs.target.device)
    incoming = EdgeList(
        torch.stack([edge, pairs.target]), num_targets=graph.num_targets, num_sources=E
    )
    sources = EdgeList(
        torch.stack([pairs.source, edge]), num_targets=E, num_sources=graph.num_sources
    )
    return _Incidence(sources, reverse(incoming), incoming)

"""Conversion between graphs of NetworkX and of Edgewise."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgewise.errors import DataError
from edgewise.graphs import EdgeList, Graph
from edgewise.graphs.base import check_graph
from edgewise.layouts import edges as edges_of
from edgewise.optional_packages import require

__all__ = ["Numbered", "from_networkx", "to_networkx"]


@dataclass(frozen=True, eq=False)
class Numbered:
    """A graph of NetworkX with numbered nodes.

    Attributes:
        graph: The edges.
        nodes: The node of each number, in the order of NetworkX.
        edge: Requested attributes of edges, in edge order: ``[E]`` or ``[E, D]`` each.
        node: Requested attributes of nodes: ``[N]`` or ``[N, D]`` each.
    """

    graph: EdgeList
    nodes: tuple[Hashable, ...]
    edge: Mapping[str, Tensor]
    node: Mapping[str, Tensor]


def from_networkx(graph: Any, *, edge: Sequence[str] = (), node: Sequence[str] = ()) -> Numbered:
    """The edges of a graph of NetworkX.

    Edges of a directed graph go from source to target: the target reads the source. An edge of an
    undirected graph goes both ways (a self-loop once). Edges of a multigraph count as often as they
    occur. Weights are ignored unless they are named, and then they are a tensor like any other.

    Args:
        graph: A ``Graph``, ``DiGraph``, ``MultiGraph`` or ``MultiDiGraph``.
        edge: Names of attributes of edges to convert, such as ``"weight"``.
        node: Names of attributes of nodes to convert.

    Raises:
        DataError: it is no graph of NetworkX, or an attribute is missing somewhere or is no number.
        ModuleNotFoundError: NetworkX is not installed.

    Example:
        >>> import networkx
        >>> path = networkx.DiGraph([("a", "b"), ("b", "c")])
        >>> from_networkx(path).graph, from_networkx(path).nodes
        (EdgeList([[0, 1], [1, 2]], num_nodes=3), ('a', 'b', 'c'))
    """
    networkx = require("networkx", "networkx")
    if not isinstance(graph, networkx.Graph):
        raise DataError(
            f"graph: expected a graph of NetworkX, got {type(graph).__name__}. Build one with "
            f"networkx.Graph(edges)."
        )
    nodes = tuple(graph.nodes)
    number = {name: index for index, name in enumerate(nodes)}
    ends: list[tuple[int, int]] = []
    attributes: list[Mapping[str, Any]] = []
    both_ways = not graph.is_directed()
    for source, target, values in graph.edges(data=True):
        ends.append((number[source], number[target]))
        attributes.append(values)
        if both_ways and source != target:
            ends.append((number[target], number[source]))
            attributes.append(values)
    edge_index = torch.tensor(ends, dtype=torch.int64).reshape(-1, 2).t()
    return Numbered(
        EdgeList(edge_index, num_nodes=len(nodes)),
        nodes,
        {name: _column("edge", name, attributes) for name in edge},
        {name: _column("node", name, [graph.nodes[n] for n in nodes]) for name in node},
    )


def to_networkx(
    graph: Graph,
    *,
    nodes: Sequence[Hashable] | None = None,
    edge: Mapping[str, Tensor] | None = None,
) -> Any:
    """A directed graph of NetworkX with the edges of a graph.

    Edges go from source to target. A graph that may hold copies of an edge becomes a
    ``MultiDiGraph``, any other a ``DiGraph``. Between two sets of nodes, sources are
    ``("source", j)`` and targets ``("target", i)``.

    Args:
        graph: Any graph.
        nodes: Names of the nodes of a square graph; their numbers when left out.
        edge: Attributes of edges, in edge order: ``[E]`` or ``[E, D]`` each.

    Raises:
        DataError: names or attributes that do not fit the graph.
        ModuleNotFoundError: NetworkX is not installed.

    Complexity: O(E), in Python: for small graphs.

    Example:
        >>> from edgewise.graphs import Causal
        >>> sorted(to_networkx(Causal(2)).edges)
        [(0, 0), (0, 1), (1, 1)]
    """
    networkx = require("networkx", "networkx")
    check_graph("to_networkx: graph", graph)
    sources, targets = _names(graph, nodes)
    all_edges = edges_of(graph)
    columns = {} if edge is None else dict(edge)
    for name, column in columns.items():
        if column.shape[:1] != all_edges.target.shape:
            raise DataError(
                f"edge: {name!r} has shape {list(column.shape)}, but the graph has "
                f"{all_edges.num_edges} edges. Give one row for each edge, in edge order."
            )
    out = networkx.MultiDiGraph() if graph.may_repeat else networkx.DiGraph()
    out.add_nodes_from(sources)
    out.add_nodes_from(targets)
    rows = [dict(zip(columns, row, strict=True)) for row in _rows(columns, all_edges.num_edges)]
    pairs = zip(all_edges.source.tolist(), all_edges.target.tolist(), rows, strict=True)
    out.add_edges_from((sources[j], targets[i], values) for j, i, values in pairs)
    return out


def _names(
    graph: Graph, nodes: Sequence[Hashable] | None
) -> tuple[Sequence[Hashable], Sequence[Hashable]]:
    """Names of sources and targets."""
    T, S = graph.num_targets, graph.num_sources
    if nodes is None:
        if T == S:
            return range(S), range(T)
        return [("source", j) for j in range(S)], [("target", i) for i in range(T)]
    if not len(nodes) == T == S or len(set(nodes)) != T:
        raise DataError(
            f"nodes: expected one name for each node, all different, got {len(nodes)} names for "
            f"{T} targets and {S} sources. Leave nodes out to number them."
        )
    return nodes, nodes


def _rows(columns: Mapping[str, Tensor], count: int) -> list[tuple[Any, ...]]:
    lists = [column.tolist() for column in columns.values()]
    return list(zip(*lists, strict=True)) if lists else [()] * count


def _column(what: str, name: str, values: Sequence[Mapping[str, Any]]) -> Tensor:
    """An attribute of all nodes, or of all edges."""
    missing = sum(name not in each for each in values)
    if missing:
        raise DataError(
            f"{what}: {missing} of {len(values)} {what}s have no {name!r}. Set it everywhere, or "
            f"leave it out."
        )
    try:
        return torch.tensor([each[name] for each in values])
    except (TypeError, ValueError, RuntimeError):
        raise DataError(
            f"{what}: {name!r} must hold numbers of one shape. Turn it into numbers first."
        ) from None

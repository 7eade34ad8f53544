"""The graph network block: edges, nodes and whole graphs, updated in turn."""

from __future__ import annotations

from typing import NamedTuple, Never

import torch
from torch import Tensor, nn

from edgewise.errors import ShapeError
from edgewise.functional import aggregate
from edgewise.graphs import Complete, Graph, compose, reverse
from edgewise.nn.argument_names import refuse
from edgewise.nn.checks import (
    check_choice,
    check_edges,
    check_nodes,
    check_square,
    check_tensor,
)
from edgewise.nn.convolution.incidence import from_sources, from_targets, incoming
from edgewise.nn.graph_cache import cached_by_graph
from edgewise.nn.layer import Layer
from edgewise.problem import Reduce

__all__ = ["GraphFeatures", "GraphNetwork"]


class GraphFeatures(NamedTuple):
    """What a `GraphNetwork` returns.

    Attributes:
        x: Features of the nodes, ``[*batch, N, dim]``.
        edge: Features of the edges, ``[*batch, E, edge_dim]``, in edge order; None without any.
        u: Features of whole graphs, ``[*batch, G, global_dim]``; None without any.
    """

    x: Tensor
    edge: Tensor | None
    u: Tensor | None


class GraphNetwork(Layer):
    r"""A graph network block: each edge is updated, then each node, then each graph.

    .. math::
        e_{ij}' &= \phi^e(e_{ij}, h_i, h_j, u) \\
        h_i' &= \phi^v\Big(\bigoplus_{j \in N(i)} e_{ij}', h_i, u\Big) \\
        u' &= \phi^u\Big(\bigoplus_{ij} e_{ij}', \bigoplus_i h_i', u\Big)

    Each function gets its arguments side by side, in this order; those that are not there (``u``
    was left out, there are no edge features) are left out. A function that is None leaves what it
    would update as it is. Message passing, relation networks and deep sets are settings of it:

    ====================  ==========  ==========  ============
    block                 edge_mlp    node_mlp    global_mlp
    ====================  ==========  ==========  ============
    full                  yes         yes         yes
    message passing       yes         yes         --
    relation network      yes         --          yes
    deep set              --          yes         yes
    ====================  ==========  ==========  ============

    Args:
        edge_mlp: Any module from ``[e, h_target, h_source, u]`` to new edge features, or None.
        node_mlp: Any module from ``[incoming e', h, u]`` to new node features, or None.
        global_mlp: Any module from ``[all e', all h', u]`` to new features of a graph, or None.
        edges_to_nodes: ``"sum"``, ``"mean"`` or ``"max"`` over the edges that enter a node.
        edges_to_globals: The same over all edges of a graph.
        nodes_to_globals: The same over all nodes of a graph.

    Shape:
        - x: ``[*batch, N, dim]``, floating.
        - edge: ``[*batch | 1, E, edge_dim]``, in edge order; batch axes may be left out.
        - u: ``[*batch, G, global_dim]``; batch axes may be left out.
        - readout: which nodes belong to which graph: ``Blocks([1] * G, sizes)`` for a batch. An
            edge belongs to the graph of its target. Left out, all nodes belong to one (``G = 1``).
        - result: `GraphFeatures`, each with the features its function returned.

    Raises:
        ArgumentError: an unknown reduction.
        ShapeError: the graph is not square, or nodes, edges or graphs that do not fit.

    Gradients: to all tensors and parameters, never to the graphs.

    Complexity: that of the functions, at every edge, node and graph; O(E) memory times what
        ``edge_mlp`` takes.

    Example:
        >>> from edgewise.graphs import Blocks, EdgeList
        >>> from edgewise.nn import MLP
        >>> block = GraphNetwork(
        ...     MLP(3 + 5 + 5 + 2, 16, out_dim=4),
        ...     MLP(4 + 5 + 2, 16, out_dim=6),
        ...     MLP(4 + 6 + 2, 16, out_dim=2),
        ... )
        >>> pairs = EdgeList([[0, 1, 3], [1, 0, 2]], num_nodes=5)  # of two and of three nodes
        >>> x, edge, u = torch.randn(5, 5), torch.randn(3, 3), torch.randn(2, 2)
        >>> new = block(x, pairs, edge=edge, u=u, readout=Blocks([1, 1], [2, 3]))
        >>> new.x.shape, new.edge.shape, new.u.shape
        (torch.Size([5, 6]), torch.Size([3, 4]), torch.Size([2, 2]))

    References:
        Battaglia et al. Relational inductive biases, deep learning, and graph networks. 2018,
        arXiv:1806.01261, algorithm 1 and section 4.2.
    """

    def __init__(
        self,
        edge_mlp: nn.Module | None = None,
        node_mlp: nn.Module | None = None,
        global_mlp: nn.Module | None = None,
        *,
        edges_to_nodes: Reduce = "sum",
        edges_to_globals: Reduce = "sum",
        nodes_to_globals: Reduce = "sum",
    ) -> None:
        super().__init__()
        for name, reduce in (
            ("edges_to_nodes", edges_to_nodes),
            ("edges_to_globals", edges_to_globals),
            ("nodes_to_globals", nodes_to_globals),
        ):
            check_choice("GraphNetwork", name, reduce, ("sum", "mean", "max"))
        self.edge_mlp, self.node_mlp, self.global_mlp = edge_mlp, node_mlp, global_mlp
        self.edges_to_nodes: Reduce = edges_to_nodes
        self.edges_to_globals: Reduce = edges_to_globals
        self.nodes_to_globals: Reduce = nodes_to_globals

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        *,
        edge: Tensor | None = None,
        u: Tensor | None = None,
        readout: Graph | None = None,
        **others: Never,
    ) -> GraphFeatures:
        if others:
            refuse("GraphNetwork", others, "edge", "u", "readout")
        readout = Complete(1, graph.num_targets) if readout is None else readout
        _check(x, graph, edge, u, readout)
        around = None if u is None else aggregate(u, reverse(readout))  # u at every node
        if self.edge_mlp is not None:
            around_edge = None if around is None else from_targets(around, graph)
            ends = from_targets(x, graph), from_sources(x, graph)
            edge = self.edge_mlp(_side_by_side(edge, *ends, around_edge))
        if self.node_mlp is not None:
            message = None
            if edge is not None:
                message = aggregate(edge, incoming(graph), self.edges_to_nodes)
            x = self.node_mlp(_side_by_side(message, x, around))
        if self.global_mlp is not None:
            links = None
            if edge is not None:
                inside = cached_by_graph(_edges_of_graphs, graph, readout)
                links = aggregate(edge, inside, self.edges_to_globals)
            nodes = aggregate(x, readout, self.nodes_to_globals)
            u = self.global_mlp(_side_by_side(links, nodes, u))
        return GraphFeatures(x, edge, u)

    def extra_repr(self) -> str:
        return (
            f"edges_to_nodes={self.edges_to_nodes!r}, edges_to_globals={self.edges_to_globals!r}, "
            f"nodes_to_globals={self.nodes_to_globals!r}"
        )


def _edges_of_graphs(graph: Graph, readout: Graph) -> Graph:
    """The graph in which every graph of a batch reads its edges: ``G`` by ``E``."""
    return compose(readout, incoming(graph))


def _side_by_side(*parts: Tensor | None) -> Tensor:
    """The arguments of a function that are given, with the batch axes of all: concatenated."""
    given = [part for part in parts if part is not None]
    batch = torch.broadcast_shapes(*(part.shape[:-2] for part in given))
    return torch.cat([part.expand(*batch, *part.shape[-2:]) for part in given], -1)


def _check(x: Tensor, graph: Graph, edge: Tensor | None, u: Tensor | None, readout: Graph) -> None:
    check_tensor("GraphNetwork", "x", x)
    check_square("GraphNetwork", graph, "Give both sides one numbering in an EdgeList.")
    if x.ndim < 2:
        raise ShapeError(
            f"GraphNetwork: x must have shape [*batch, nodes, features], got {list(x.shape)}. "
            f"Add the missing axis with x[None]."
        )
    check_nodes("GraphNetwork", x, graph)
    if edge is not None:
        check_edges("GraphNetwork", edge, x, graph)
    if readout.num_sources != graph.num_targets:
        raise ShapeError(
            f"GraphNetwork: readout has {readout.num_sources} sources but graph has "
            f"{graph.num_targets} nodes. Build it as Blocks([1] * graphs, sizes), with the nodes "
            f"of every graph."
        )
    if u is not None and not _fits(u, x, readout):
        raise ShapeError(
            f"GraphNetwork: u must have shape [*batch, graphs, features], with the batch axes of "
            f"x or without, and {readout.num_targets} graphs, got {list(u.shape)}. For more graphs "
            f"than one, give their readout."
        )


def _fits(u: Tensor, x: Tensor, readout: Graph) -> bool:
    alike = u.ndim == 2 or u.shape[:-2] == x.shape[:-2]
    return u.ndim >= 2 and alike and u.shape[-2] == readout.num_targets

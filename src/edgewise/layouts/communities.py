"""Communities: groups of nodes with many edges between them, by label propagation."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs import EdgeList, Facts, Graph, facts_of, recall
from edgewise.layouts.edges import edges
from edgewise.layouts.lower import csr

__all__ = ["communities", "in_order", "transitivity"]

_ROUNDS = 8
_WEDGES = 2048


def communities(graph: Graph) -> Tensor:
    r"""A label for every node; nodes of a community have the same label.

    .. math::  \ell_i \leftarrow \mathrm{argmax}_\ell \, |\{j \in N(i) : \ell_j = \ell\}|

    Every node takes the label that most of its sources have, the smallest of equals, half of the
    nodes at a time, until nothing changes or eight rounds are over. Same graph, same labels.

    Args:
        graph: A square graph.

    Returns:
        ``[N]``, int64: the label of a community is the number of a node.

    Raises:
        GraphError: the graph is not square.

    Complexity: O(E log E) a round.

    Example:
        >>> from edgewise.graphs import Blocks
        >>> communities(Blocks([2, 3])).unique(return_counts=True)[1].tolist()
        [2, 3]

    References:
        Raghavan, Albert, Kumara. Near linear time algorithm to detect community structures in
        large-scale networks. 2007, arXiv:0709.2938, section III.
    """
    if graph.num_targets != graph.num_sources:
        raise GraphError(
            f"communities: the graph must be square, got {graph.num_targets} targets and "
            f"{graph.num_sources} sources. Give both sides one numbering in an EdgeList."
        )
    return recall(graph, "communities", lambda: _communities(graph))


def _communities(graph: Graph) -> Tensor:
    N, all_edges = graph.num_targets, edges(graph, "cpu")
    label = torch.arange(N)
    drawn = torch.rand(N, generator=torch.Generator().manual_seed(0)) < 0.5
    halves = [(half, half[all_edges.target].nonzero()[:, 0]) for half in (drawn, ~drawn)]
    for _ in range(_ROUNDS):
        before = label
        for half, edge in halves:
            majority = _majority(label, all_edges.target[edge], all_edges.source[edge])
            label = torch.where(half, majority, label)
        if torch.equal(label, before):
            break
    return label


def _majority(label: Tensor, target: Tensor, source: Tensor) -> Tensor:
    """The most frequent label among the sources of each target: ``[N]``.

    Args:
        label: ``[N]``, int64; kept where a target has no sources.
        target: ``[E]``, int64.
        source: ``[E]``, int64.
    """
    N = label.shape[0]
    pairs, count = torch.unique(target * N + label[source], return_counts=True)
    # The largest of these numbers has most votes, and of those the smallest label.
    votes = count * N + (N - 1 - pairs % N)
    best = torch.full((N,), -1).scatter_reduce_(0, pairs // N, votes, "amax")
    return torch.where(best >= 0, N - 1 - best % N, label)


def transitivity(graph: Graph) -> float:
    """Estimated share of pairs of sources of a target that are connected by an edge.

    Computed for a fixed sample of targets and pairs of their sources. A graph of communities
    that are dense inside has a high transitivity, whatever the order of its nodes.

    Complexity: O(1) lookups, once the graph is lowered to CSR.

    Example:
        >>> from edgewise.graphs import Complete
        >>> transitivity(Complete(64)) > 0.99
        True
    """
    facts: Facts = facts_of(graph)
    rows = csr(graph, "cpu")
    if facts.num_targets != facts.num_sources or not rows.num_edges:
        return 0.0
    draw = torch.Generator().manual_seed(0)
    # Edges are drawn uniformly, so a target is drawn in proportion to its degree.
    edge = torch.randint(rows.num_edges, (_WEDGES,), generator=draw)
    target = rows.target[edge]
    first, length = rows.indptr[target], rows.indptr[target + 1] - rows.indptr[target]
    other = first + (torch.rand(_WEDGES, generator=draw) * length).long().clamp_(max=length - 1)
    a, b = rows.indices[edge], rows.indices[other]
    apart = (a != b) & (a != target) & (b != target)
    if not bool(apart.any()):
        return 0.0
    keys = rows.target * facts.num_sources + rows.indices
    keys_of_pairs = (a * facts.num_sources + b)[apart]
    position = torch.searchsorted(keys, keys_of_pairs).clamp_(max=rows.num_edges - 1)
    return float((keys[position] == keys_of_pairs).double().mean())


def in_order(graph: Graph, order: Tensor) -> EdgeList:
    """The graph of the same edges where node ``order[i]`` has number ``i``.

    Example:
        >>> in_order(EdgeList([[0, 1], [1, 2]], num_nodes=3), torch.tensor([2, 1, 0]))
        EdgeList([[2, 1], [1, 0]], num_nodes=3)
    """
    all_edges = edges(graph, "cpu")
    position = torch.empty_like(order)
    position[order] = torch.arange(order.shape[0])
    pairs = torch.stack([position[all_edges.source], position[all_edges.target]])
    return EdgeList(pairs, num_nodes=graph.num_targets)

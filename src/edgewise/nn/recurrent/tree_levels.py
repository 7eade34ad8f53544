"""A graph as a forest: its trees by levels, so that all nodes of one depth are one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs import Graph
from edgewise.layouts import edges
from edgewise.nn.graph_cache import cached_by_graph

__all__ = ["Forest", "forest"]


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees whose edges point from child to parent, all of them level by level.

    A level is a depth, the deepest first. Children of a level are exactly the nodes of the level
    before it, so what a recurrence has to keep is one level. A node with children is called inner.

    Attributes:
        order: All nodes: inner nodes level by level, then leaves level by level: ``[N]``.
        place: Where every node stands in ``order``: ``[N]``.
        inner: Inner nodes of every level.
        leaves: Leaves of every level.
        parent: Where the parent of every child stands in ``order``. The children go level by
            level, inner nodes before leaves: ``[E]``.
        row: The same, counted from the first inner node of the parent's level: ``[E]``.
        edge: The edge of every child, in the same order: its number in edge order, ``[E]``.
        sibling: How many edges to the same parent come before it in edge order: ``[E]``.
        most_children: The most children that a node has.
    """

    order: Tensor
    place: Tensor
    inner: list[int]
    leaves: list[int]
    parent: Tensor
    row: Tensor
    edge: Tensor
    sibling: Tensor
    most_children: int

    @property
    def num_inner(self) -> int:
        """Nodes with children."""
        return sum(self.inner)

    @property
    def children(self) -> list[int]:
        """Nodes of every level but that of the roots."""
        pairs = zip(self.inner[:-1], self.leaves[:-1], strict=True)
        return [inner + leaves for inner, leaves in pairs]


def forest(owner: str, graph: Graph, device: torch.device) -> Forest:
    """The levels of a forest, computed once for each graph and device.

    Args:
        owner: Name of the layer, for messages.
        graph: A square graph in which every node has one parent at most, and no cycle.
        device: Where to put the tensors.

    Raises:
        GraphError: the graph is not square, a node has two parents, or there is a cycle.

    Complexity: O(N log N) time, no loop over nodes or trees.

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> trees = EdgeList([[0, 1, 2, 4], [2, 2, 3, 5]], num_nodes=6)
        >>> found = forest("mine", trees, torch.device("cpu"))
        >>> found.order.tolist(), found.inner, found.leaves
        ([2, 3, 5, 0, 1, 4], [0, 1, 2], [2, 1, 0])
    """
    if graph.num_targets != graph.num_sources:
        raise GraphError(
            f"{owner}: the graph must be square, got {graph.num_targets} targets and "
            f"{graph.num_sources} sources. Number the nodes of all trees once, in an EdgeList."
        )
    return cached_by_graph(_forest, graph, owner, str(device))


def _forest(graph: Graph, owner: str, device: str) -> Forest:
    if device != "cpu":
        return _moved(cached_by_graph(_forest, graph, owner, "cpu"), device)
    N, pairs = graph.num_targets, edges(graph, "cpu")
    parent_of, edge_of = _parents(owner, N, pairs.source, pairs.target)
    depth = _depths(owner, parent_of)
    deepest = int(depth.max()) if N else 0
    level = deepest - depth
    leaf = torch.ones(N, dtype=torch.int64)
    leaf[pairs.target] = 0
    order = torch.argsort(leaf * (deepest + 1) + level, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(N)
    inner = torch.bincount(level[leaf == 0], minlength=deepest + 1)
    leaves = torch.bincount(level[leaf == 1], minlength=deepest + 1)
    child = torch.argsort(2 * level + leaf, stable=True)[: pairs.num_edges]
    parent = parent_of[child]
    first = inner.cumsum(0) - inner  # of the inner nodes of each level, in `order`
    sibling = _siblings(pairs.target)
    return Forest(
        order=order,
        place=place,
        inner=inner.tolist(),
        leaves=leaves.tolist(),
        parent=place[parent],
        row=place[parent] - first[level[parent]],
        edge=edge_of[child],
        sibling=sibling[edge_of[child]],
        most_children=int(sibling.max()) + 1 if len(sibling) else 0,
    )


def _parents(owner: str, N: int, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Parent of every node, itself for a root, and the edge between them: ``[N]`` each."""
    degree = torch.bincount(source, minlength=N)
    if bool((degree > 1).any()):
        node = int(degree.argmax())
        raise GraphError(
            f"{owner}: the graph must be a forest, in which a node has one parent at most, got "
            f"node {node} with {int(degree[node])} edges. Let edges point from child to parent, "
            f"and keep one of each child."
        )
    parent_of, edge_of = torch.arange(N), torch.zeros(N, dtype=torch.int64)
    parent_of[source] = target
    edge_of[source] = torch.arange(len(source))
    loops = (source == target).nonzero()
    if len(loops):
        _refuse_cycle(owner, int(source[loops[0, 0]]))
    return parent_of, edge_of


def _depths(owner: str, parent_of: Tensor) -> Tensor:
    """Steps from every node to its root, by jumping over twice as many nodes each time: ``[N]``."""
    up = parent_of
    depth = (up != torch.arange(len(up))).long()
    for _ in range(len(up).bit_length()):
        depth = depth + depth[up]
        up = up[up]
    inside = (parent_of[up] != up).nonzero()  # a root is its own parent, and all end at one
    if len(inside):
        _refuse_cycle(owner, int(up[inside[0, 0]]))
    return depth


def _refuse_cycle(owner: str, node: int) -> None:
    raise GraphError(
        f"{owner}: the graph must be a forest, got a cycle through node {node}. Remove the edge "
        f"that closes it; self-loops count too."
    )


def _siblings(target: Tensor) -> Tensor:
    """How many edges to the same target come before each edge: ``[E]``."""
    order = torch.argsort(target, stable=True)
    _, counts = torch.unique_consecutive(target[order], return_counts=True)
    start = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    before = torch.empty_like(order)
    before[order] = torch.arange(len(order)) - start
    return before


def _moved(trees: Forest, device: str) -> Forest:
    tensors = ("order", "place", "parent", "row", "edge", "sibling")
    return replace(trees, **{name: getattr(trees, name).to(device) for name in tensors})

"""Connected components: the parts of a graph that share no information."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs import Graph
from edgewise.layouts import edges
from edgewise.nn.graph_cache import cached_by_graph

__all__ = ["Components", "components"]


@dataclass(frozen=True, eq=False)
class Components:
    """The connected components of a square graph, smallest first, then by their first node.

    Attributes:
        label: Component of every node: ``[N]``, int64.
        position: Place of every node within its component: ``[N]``, int64.
        nodes: All nodes by component, then by number: ``[N]``, int64.
        sizes: Nodes of every component, rising: ``[components]``, int64.
        starts: Where every component starts in ``nodes``: ``[components]``, int64.
    """

    label: Tensor
    position: Tensor
    nodes: Tensor
    sizes: Tensor
    starts: Tensor


def components(graph: Graph) -> Components:
    """The connected components of a graph, its edges read in both directions.

    Worked out on the CPU, once for each graph.

    Args:
        graph: A square graph.

    Raises:
        GraphError: the graph is not square.

    Complexity: O((N + E) log N) time, O(N + E) memory, no loop over components.

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> components(EdgeList([[0, 3], [2, 2]], num_nodes=5)).label.tolist()
        [2, 0, 2, 2, 1]

    References:
        Zhang, Azad, Hu. FastSV: A Distributed-Memory Connected Component Algorithm. 2019,
        arXiv:1910.05971, section 3 (min-hooking and pointer jumping).
    """
    if graph.num_targets != graph.num_sources:
        raise GraphError(
            f"components: the graph must be square, got {graph.num_targets} targets and "
            f"{graph.num_sources} sources. Give both sides one numbering in an EdgeList."
        )
    return cached_by_graph(_components, graph)


def _components(graph: Graph) -> Components:
    N = graph.num_targets
    root, node = _roots(graph), torch.arange(N)
    parts = ((root == node).cumsum(0) - 1).index_select(0, root)  # by their first node
    sizes, order = torch.sort(torch.bincount(parts), stable=True)
    label = torch.argsort(order).index_select(0, parts)
    starts = sizes.cumsum(0) - sizes
    nodes = torch.argsort(label, stable=True)
    within = node - starts.repeat_interleave(sizes)
    position = torch.empty_like(nodes).index_copy_(0, nodes, within)
    return Components(label, position, nodes, sizes, starts)


def _roots(graph: Graph) -> Tensor:
    """The lowest node of every node's component: ``[N]``.

    Every tree hangs its root under the lowest root next to it, then all trees are flattened.
    Within two rounds every root that is not alone has hung or has been hung upon; so the number
    of rounds is logarithmic.
    """
    pairs = edges(graph, "cpu")
    root = torch.arange(graph.num_targets)
    a, b = pairs.target, pairs.source
    while a.numel():
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        root.scatter_reduce_(0, high, low, "amin")
        while not torch.equal(flatter := root.index_select(0, root), root):
            root = flatter
        a, b = root.index_select(0, a), root.index_select(0, b)
        apart = a != b
        a, b = a[apart], b[apart]
    return root

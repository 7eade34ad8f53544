"""What the edges along a shortest path say about the pair of nodes at its ends."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgewise.errors import GraphError, ShapeError
from edgewise.functional import aggregate
from edgewise.graphs import EdgeList, Graph
from edgewise.layouts import edges
from edgewise.nn.inputs import check_features, check_size
from edgewise.nn.paths import shortest_paths

__all__ = ["PathBias", "path_edges"]


def path_edges(graph: Graph, pairs: Graph, max_hops: int) -> Graph:
    r"""Which edges lie on a shortest path from the source to the target of every pair.

    .. math::
        (n E + e) \to p \iff e \text{ is edge } n \text{ on the path of pair } p, \qquad
        0 \le n < \text{max\_hops}

    Paths are counted from the target: edge 0 ends there, and the last one starts at the source.
    Of several shortest paths, the one is taken whose edges, from the target on, come first in
    edge order. So on trees, where there is one path alone, nothing depends on the order.

    Args:
        graph: A square graph whose edges are walked; many small ones as a `disjoint_union`.
        pairs: A graph over the same nodes that holds, with every pair, those of its source and
            the nodes on the way: ``Blocks(sizes)`` for the complete graph of each molecule.
        max_hops: Only so many edges of a path, those next to the target.

    Returns:
        A graph with a target for every edge of ``pairs``, in its edge order, and with
        ``max_hops * E`` sources; a pair with itself, and one without a path, has none. It is made
        for `aggregate`: a mean over it is a mean along the path.

    Raises:
        ArgumentError: ``max_hops`` is below 1.
        GraphError: the graphs do not have the same nodes, or a pair on the way is missing.

    Gradients: none.

    Complexity: that of `shortest_paths`, and O(P log P + P d) for ``P`` pairs and the largest
        in-degree ``d``. Worked out on the CPU.

    Example:
        >>> from edgewise.graphs import Complete
        >>> path = EdgeList([[0, 1], [1, 2]], num_nodes=3)  # 0 to 1 to 2
        >>> paths = path_edges(path, Complete(3), max_hops=2)
        >>> found = edges(paths)
        >>> found.source[found.target == 6].tolist()  # of node 2 and node 0: edge 1, then edge 0
        [1, 2]

    References:
        Ying et al. Do Transformers Really Perform Bad for Graph Representation? 2021,
        arXiv:2106.05234, section 3.1.3.
    """
    check_size("path_edges", "max_hops", max_hops)
    distance = shortest_paths(graph, pairs).cpu()
    walked, asked = edges(graph, "cpu"), edges(pairs, "cpu")
    last = _last_edges(graph, pairs, distance)
    key, N = asked.target * graph.num_sources + asked.source, graph.num_sources
    sorted_key, order = torch.sort(key)
    pair = at = (distance > 0).nonzero()[:, 0]
    targets, sources = [], []
    for hop in range(max_hops):
        edge = last[at]
        targets.append(pair)
        sources.append(hop * walked.num_edges + edge)
        on = distance[at] > 1
        pair, edge = pair[on], edge[on]
        wanted = walked.source[edge] * N + asked.source[pair]
        place = torch.searchsorted(sorted_key, wanted).clamp_(max=max(len(key) - 1, 0))
        if not torch.equal(sorted_key[place], wanted):
            raise GraphError(
                "path_edges: pairs must hold, with every pair, those of its source and the nodes "
                "on the way. Use Blocks(sizes), or Complete(nodes)."
            )
        at = order[place]
    index = torch.stack([torch.cat(sources), torch.cat(targets)])
    index = index.to(edges(pairs).target.device)
    return EdgeList(index, num_targets=asked.num_edges, num_sources=max_hops * walked.num_edges)


def _last_edges(graph: Graph, pairs: Graph, distance: Tensor) -> Tensor:
    """The first edge into the target of every pair that a shortest path ends with: ``[P]``."""
    walked, asked = edges(graph, "cpu"), edges(pairs, "cpu")
    by_target = torch.argsort(walked.target, stable=True)
    degree = torch.bincount(walked.target, minlength=graph.num_targets)
    start = degree.cumsum(0) - degree
    # Every pair with every edge into its target: is the edge's source one hop nearer?
    choices = torch.where(distance > 0, degree[asked.target], 0)
    pair = torch.arange(len(choices)).repeat_interleave(choices)
    offset = start[asked.target] - (choices.cumsum(0) - choices)
    edge = by_target[torch.arange(len(pair)) + offset[pair]]
    before = EdgeList(
        torch.stack([asked.source[pair], walked.source[edge]]), num_nodes=graph.num_targets
    )
    nearer = shortest_paths(graph, before).cpu() == distance[pair] - 1
    pair, edge = pair[nearer], edge[nearer]
    first = torch.ones_like(pair, dtype=torch.bool)
    first[1:] = pair[1:] != pair[:-1]
    return torch.full((len(choices),), -1).index_copy_(0, pair[first], edge[first])


class PathBias(nn.Module):
    r"""Graphormer's edge encoding: what the edges along a shortest path add to a score.

    .. math::
        b_{hij} = \frac{1}{N} \sum_{n=1}^N x_{e_n} \cdot w_{n h}, \qquad
        (e_1, \dots, e_N) = \mathrm{path}(i, j), \quad N \le \text{max\_hops}

    Edges are counted from the target, as in `path_edges`. A pair without a path gets 0, and so
    does a node with itself.

    Args:
        heads: Heads ``H``.
        edge_dim: Features of every edge.
        max_hops: Edges of a path that count, those next to the target.

    Shape:
        - edge: ``[*batch, E, edge_dim]``, in the edge order of the graph that is walked.
        - paths: what `path_edges` returns, with as many hops.
        - result: ``[*batch, H, P]``, one number for every head and pair, for ``bias=``.

    Raises:
        ArgumentError: a size out of range.
        ShapeError: features or paths that do not fit.

    Gradients: to ``edge`` and ``weight``, ``[max_hops, edge_dim, H]``.

    Complexity: O(max_hops H (E edge_dim + P)).

    Example:
        >>> from edgewise.graphs import Complete
        >>> bonds = EdgeList([[0, 1, 1, 2], [1, 0, 2, 1]], num_nodes=3)
        >>> paths = path_edges(bonds, Complete(3), max_hops=5)
        >>> PathBias(4, edge_dim=3, max_hops=5)(torch.randn(4, 3), paths).shape
        torch.Size([4, 9])

    References:
        Ying et al. Do Transformers Really Perform Bad for Graph Representation? 2021,
        arXiv:2106.05234, section 3.1.3, equation 7.
    """

    def __init__(self, heads: int, edge_dim: int, max_hops: int) -> None:
        super().__init__()
        self.heads = check_size("PathBias", "heads", heads)
        self.edge_dim = check_size("PathBias", "edge_dim", edge_dim)
        self.max_hops = check_size("PathBias", "max_hops", max_hops)
        self.weight = nn.Parameter(torch.empty(max_hops, edge_dim, heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights from a normal distribution with deviation 0.02, as Graphormer does."""
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, edge: Tensor, paths: Graph) -> Tensor:
        check_features("PathBias", "edge", edge, self.edge_dim, "edge_dim")
        if paths.num_sources != self.max_hops * edge.shape[-2]:
            raise ShapeError(
                f"PathBias: paths must have max_hops={self.max_hops} sources for each of "
                f"{edge.shape[-2]} edges, got {paths.num_sources}. Build them with "
                f"path_edges(graph, pairs, max_hops={self.max_hops})."
            )
        said = torch.einsum("...ed,ndh->...neh", edge, self.weight).flatten(-3, -2)
        return aggregate(said, paths, "mean").mT

    def extra_repr(self) -> str:
        return f"heads={self.heads}, edge_dim={self.edge_dim}, max_hops={self.max_hops}"

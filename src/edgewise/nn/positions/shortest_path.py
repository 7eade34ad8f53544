"""Shortest paths: how many edges lie between two nodes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs import Graph
from edgewise.layouts import Edges, edges
from edgewise.nn.checks import check_size
from edgewise.nn.positions.component_matrices import Squares, squares
from edgewise.nn.positions.components import Components, components

__all__ = ["shortest_path_edges", "shortest_paths"]

_LARGEST_DENSE = 256  # nodes of a component; beyond, following edges is cheaper than products
_LARGEST_TRACED = 1024  # the same, where the edges of paths are returned
_CELLS = 1 << 16  # cells of small matrices worked on at once: what a core's cache holds
_PAIRS = 1 << 16  # looked up at once
_TRACED = 1 << 12  # edges whose place on paths is looked for at once
_VISITED = 1 << 22  # nodes times walkers of a large component at once: 16 MB


def shortest_paths(graph: Graph, pairs: Graph, *, cutoff: int | None = None) -> Tensor:
    r"""The hop distance of every pair of nodes that a second graph names.

    .. math::
        d_{ij} = \min \{\, k : \text{a path of } k \text{ edges leads from } j \text{ to } i \,\}

    Paths follow the edges from source to target. So :math:`d_{ij} \le k` means that after ``k``
    layers over ``graph``, with residuals, target ``i`` depends on source ``j``: the pairs within
    ``k`` are the edges of ``receptive_field(graph, k)``. A node is 0 hops from itself. Copies of an
    edge and self-loops change nothing.

    Args:
        graph: A square graph whose edges are walked; thousands of small ones as a
            `disjoint_union`.
        pairs: A graph over the same nodes, whose edges are wanted about: for Graphormer the
            complete graph of each molecule, ``Blocks(sizes)``.
        cutoff: Look no farther; all the way when left out.

    Returns:
        ``[E]``, int64, in the edge order of ``pairs``, on its device; -1 where no path leads, or
        none of at most ``cutoff`` edges.

    Raises:
        ArgumentError: ``cutoff`` is below 0.
        GraphError: the graphs are not square, or have different nodes.

    Gradients: none.

    Complexity: O(n^3 d) on small dense matrices for components of up to 256 nodes with diameter
        ``d``, many in one product; O(E) for each source that is wanted about in larger ones. Worked
        out on the CPU.

    Example:
        >>> from edgewise.graphs import Complete, EdgeList
        >>> path = EdgeList([[0, 1, 1, 2], [1, 0, 2, 1]], num_nodes=4)
        >>> shortest_paths(path, Complete(4)).view(4, 4)
        tensor([[ 0,  1,  2, -1],
                [ 1,  0,  1, -1],
                [ 2,  1,  0, -1],
                [-1, -1, -1,  0]])

    References:
        Ying et al. Do Transformers Really Perform Bad for Graph Representation? 2021,
        arXiv:2106.05234, section 3.1.2.
    """
    if cutoff is not None:
        check_size("shortest_paths", "cutoff", cutoff, 0)
    parts = components(graph)
    _check_pairs("shortest_paths", graph, pairs)
    walked, wanted = edges(graph, "cpu"), edges(pairs, "cpu")
    out = torch.full((wanted.num_edges,), -1)
    for held in squares(parts, _LARGEST_DENSE):
        hops = _hops(held, walked, cutoff)
        for chunk, (which, cell) in _cells_of_pairs(held, wanted):
            out[chunk][which] = hops.index_select(0, cell).long()
    if parts.sizes[-1:].sum() > _LARGEST_DENSE:
        _by_walking(out, parts, walked, wanted, cutoff)
    return out.to(edges(pairs).target.device)


def shortest_path_edges(graph: Graph, pairs: Graph, length: int) -> Tensor:
    r"""The edges along one shortest path between every pair of nodes that a second graph names.

    Paths are those of `shortest_paths`, listed from their end: the first edge enters the
    target, the last one leaves the source. Of several shortest paths, the one is taken whose
    edges, in this order, come first in edge order. So these numbers, unlike distances, depend on
    how edges are ordered.

    Args:
        graph: A square graph whose edges are walked, with at most 1024 nodes in each connected
            component; thousands of small ones as a `disjoint_union`.
        pairs: A graph over the same nodes, whose edges are wanted about.
        length: Tell no more edges of any path than so many.

    Returns:
        ``[E, length]``, int64, numbers of edges of ``graph``, for the edges of ``pairs`` in their
        order, on its device; -1 after the end of a path, and where no path leads.

    Raises:
        ArgumentError: ``length`` is below 1.
        GraphError: the graphs are not square, have different nodes, or have a component that is
            too large to hold all its pairs.

    Gradients: none.

    Complexity: that of `shortest_paths`, and O(E n) for ``n`` nodes in a component. Worked out on
        the CPU.

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> path = EdgeList([[0, 1], [1, 2]], num_nodes=3)
        >>> pairs = EdgeList([[0, 1, 2], [2, 1, 0]], num_nodes=3)
        >>> shortest_path_edges(path, pairs, 3).tolist()
        [[1, 0, -1], [-1, -1, -1], [-1, -1, -1]]

    References:
        Ying et al. Do Transformers Really Perform Bad for Graph Representation? 2021,
        arXiv:2106.05234, section 3.1.3.
    """
    check_size("shortest_path_edges", "length", length)
    parts = components(graph)
    _check_pairs("shortest_path_edges", graph, pairs)
    if parts.sizes[-1:].sum() > _LARGEST_TRACED:
        raise GraphError(
            f"shortest_path_edges: a connected component of graph may have {_LARGEST_TRACED} "
            f"nodes, because all its pairs are held, got one of {int(parts.sizes[-1])}. Use "
            f"shortest_paths, which needs only the pairs that are wanted about."
        )
    walked, wanted = edges(graph, "cpu"), edges(pairs, "cpu")
    out = torch.full((wanted.num_edges, length), -1)
    for held in squares(parts, _LARGEST_TRACED):
        hops = _hops(held, walked, None)
        entering = _entering_edges(held, walked, hops)
        for chunk, (which, first) in _cells_of_pairs(held, wanted):
            number = torch.arange(chunk.start, chunk.start + len(wanted.target[chunk]))[which]
            source, cell = wanted.source[number], first
            for place in range(length):
                far = hops.index_select(0, cell) > 0
                number, source = number[far], source[far]
                edge = entering.index_select(0, cell[far])
                out[number, place] = edge
                cell = held.cell(walked.source.index_select(0, edge), source)
    return out.to(edges(pairs).target.device)


def _check_pairs(owner: str, graph: Graph, pairs: Graph) -> None:
    if (pairs.num_targets, pairs.num_sources) != (graph.num_targets, graph.num_sources):
        raise GraphError(
            f"{owner}: pairs must have the {graph.num_targets} nodes of graph on both sides, got "
            f"{pairs.num_targets} targets and {pairs.num_sources} sources. Give both graphs one "
            f"numbering."
        )


def _cells_of_pairs(
    held: Squares, wanted: Edges
) -> Iterator[tuple[slice, tuple[Tensor | slice, Tensor]]]:
    """Some pairs at a time, which of them are held, and in which cells."""
    for first in range(0, wanted.num_edges, _PAIRS):
        chunk = slice(first, first + _PAIRS)
        yield chunk, held.among(wanted.target[chunk], wanted.source[chunk])


def _hops(held: Squares, walked: Edges, cutoff: int | None) -> Tensor:
    """Distances between all nodes of each component: ``[cells]``, int16."""
    marks = held.marks(walked)
    hops = torch.empty(held.num_cells, dtype=torch.int16)
    for run in held.runs(_CELLS):
        run.matrices(hops).copy_(_by_products(run.matrices(marks).float(), cutoff))
    return hops


def _entering_edges(held: Squares, walked: Edges, hops: Tensor) -> Tensor:
    """The first edge that ends a shortest path, for each pair of nodes: ``[cells]``, int64."""
    entering = torch.full((held.num_cells,), walked.num_edges)
    number = torch.arange(walked.num_edges)[held.edges_inside(walked)]
    for edge in number.split(_TRACED):
        after, width = held.lines(walked.target[edge])
        before, _ = held.lines(walked.source[edge])
        within = torch.arange(int(width.sum())) - (width.cumsum(0) - width).repeat_interleave(width)
        cell = after.repeat_interleave(width) + within
        so_far = hops.index_select(0, before.repeat_interleave(width) + within)
        ends = (so_far >= 0) & (hops.index_select(0, cell) == so_far + 1)
        entering.scatter_reduce_(0, cell[ends], edge.repeat_interleave(width)[ends], "amin")
    return entering


def _by_products(step: Tensor, cutoff: int | None) -> Tensor:
    """Distances between all nodes of small components, level by level: ``[B, n, n]``.

    A source that is reached within d hops is so in all levels but the first d.
    """
    step.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    reached = torch.eye(step.shape[-1]).expand_as(step).contiguous()
    levels, within = 1, reached.clone()
    following = torch.empty_like(reached)
    while cutoff is None or levels <= cutoff:
        torch.bmm(step, reached, out=following).clamp_(max=1.0)
        if torch.equal(following, reached):
            break
        reached, following = following, reached
        within += reached
        levels += 1
    return torch.where(reached > 0, levels - within, -1.0)


def _by_walking(
    out: Tensor, parts: Components, walked: Edges, wanted: Edges, cutoff: int | None
) -> None:
    """Fill in the distances within large components, one component at a time."""
    label, position = parts.label, parts.position
    large = (parts.sizes > _LARGEST_DENSE).nonzero()[:, 0]
    of_edge, of_pair = label[walked.source], label[wanted.target]
    order = torch.argsort(of_edge * len(label) + position[walked.source])
    inside = ((of_pair == label[wanted.source]) & (of_pair >= large[0])).nonzero()[:, 0]
    inside = inside[torch.argsort(of_pair[inside])]
    edge_ends = torch.searchsorted(of_edge[order], torch.stack([large, large + 1]))
    pair_ends = torch.searchsorted(of_pair[inside], torch.stack([large, large + 1]))
    for which, a, b, c, d in zip(
        large.tolist(), *edge_ends.tolist(), *pair_ends.tolist(), strict=True
    ):
        size, edges_inside, rows = int(parts.sizes[which]), order[a:b], inside[c:d]
        neighbors = position[walked.target[edges_inside]]
        degree = torch.bincount(position[walked.source[edges_inside]], minlength=size)
        start = degree.cumsum(0) - degree
        target = position[wanted.target[rows]]
        sources, walker = torch.unique(position[wanted.source[rows]], return_inverse=True)
        step = max(1, _VISITED // size)
        for low in range(0, len(sources), step):
            hops = _walk(start, degree, neighbors, sources[low : low + step], cutoff)
            here = ((walker >= low) & (walker < low + step)).nonzero()[:, 0]
            out[rows[here]] = hops[walker[here] - low, target[here]].long()


def _walk(
    start: Tensor, degree: Tensor, neighbors: Tensor, sources: Tensor, cutoff: int | None
) -> Tensor:
    """Distances from some nodes of one component to all of them: ``[sources, n]``, int32."""
    n = len(degree)
    hops = torch.full((len(sources), n), -1, dtype=torch.int32)
    flat = hops.view(-1)
    cell, level = torch.arange(len(sources)) * n + sources, 0
    while len(cell):
        flat[cell] = level
        if level == cutoff:
            break
        walker, node = cell // n, cell % n
        many = degree[node]
        before = (start[node] - (many.cumsum(0) - many)).repeat_interleave(many)
        reached = neighbors[before + torch.arange(len(before))]
        cell = walker.repeat_interleave(many) * n + reached
        cell = torch.unique(cell[flat[cell] < 0])
        level += 1
    return hops

"""Edges of a symbolic graph: a fast path for each family, a generic path for all.

`edges_by_contains` is the definition; every fast path is tested to agree with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgewise.graphs.base import Difference, Graph, Intersection, Reverse, Union, check_graph
from edgewise.graphs.cache import facts_of, recall
from edgewise.graphs.composition import Composition
from edgewise.graphs.disjoint_union import DisjointUnion
from edgewise.graphs.edge_list import EdgeList
from edgewise.graphs.grid import Grid
from edgewise.graphs.hubs import Hubs
from edgewise.graphs.induced import Induced
from edgewise.graphs.permutation import Permutation
from edgewise.graphs.predicate import Assume
from edgewise.graphs.random_regular import RandomRegular
from edgewise.layouts.formats import Edges
from edgewise.layouts.progression import progression

__all__ = ["edges", "edges_by_contains", "has_closed_form", "has_free_order", "num_edges"]

_CHUNK = 1 << 22  # pairs that the generic path tests at a time


def edges(graph: Graph, device: torch.device | str | None = None) -> Edges:
    """Every edge of a graph, in edge order.

    Args:
        graph: Any graph.
        device: Where to put the tensors; the device of the graph (or the CPU) when left out.

    Complexity: O(E) time and memory for the built-in families and their unions, intersections
        and differences (plus a sort for unions); O(T * S) time for a `Predicate`.

    Example:
        >>> from edgewise.graphs import Window
        >>> edges(Window(3, left=1, right=0)).source.tolist()
        [0, 0, 1, 1, 2]
    """
    check_graph("edges: graph", graph)
    all_edges = recall(graph, "edges", lambda: _edges(graph))
    if device is None or all_edges.target.device == torch.device(device):
        return all_edges
    return recall(
        graph,
        ("edges", str(device)),
        lambda: Edges(all_edges.target.to(device), all_edges.source.to(device)),
    )


def num_edges(graph: Graph) -> int:
    """Number of edges of a graph, copies counted; lists them only if the facts are not exact.

    >>> from edgewise.graphs import Causal
    >>> num_edges(Causal(4))
    10
    """
    facts = facts_of(graph)
    return facts.max_edges if facts.exact_edges else edges(graph).num_edges


def edges_by_contains(graph: Graph) -> Edges:
    """Every edge by target, then source, by testing every pair; copies count once."""
    T, S = graph.num_targets, graph.num_sources
    rows = max(1, _CHUNK // max(S, 1))
    source = torch.arange(S)
    targets, sources = [torch.empty(0, dtype=torch.int64)], [torch.empty(0, dtype=torch.int64)]
    for start in range(0, T, rows):
        target = torch.arange(start, min(start + rows, T))
        row, column = graph.contains(target[:, None], source[None, :]).nonzero(as_tuple=True)
        targets.append(row + start)
        sources.append(column)
    return Edges(torch.cat(targets), torch.cat(sources))


def has_closed_form(graph: Graph) -> bool:
    """Whether ``contains`` costs O(1) a pair, so that a mask is cheaper than a list of edges."""
    if isinstance(graph, Composition | DisjointUnion | EdgeList | RandomRegular):
        return False
    return all(has_closed_form(child) for child in graph.children())


def has_free_order(graph: Graph) -> bool:
    """Whether edge order may differ from "by target, then source"."""
    return isinstance(graph, EdgeList | DisjointUnion) or (
        isinstance(graph, Assume) and has_free_order(graph.graph)
    )


def _edges(graph: Graph) -> Edges:
    rows = progression(graph)
    if rows is not None:
        return rows.edges()
    for family, lower in _FAMILIES:
        if isinstance(graph, family):
            return lower(graph)
    return edges_by_contains(graph)


def _hubs(graph: Hubs) -> Edges:
    N = graph.num_targets
    hubs = torch.tensor(graph.hubs, dtype=torch.int64)
    degree = torch.full((N,), len(hubs))
    degree[hubs] = N
    target = torch.repeat_interleave(torch.arange(N), degree)
    within = torch.arange(len(target)) - (degree.cumsum(0) - degree)[target]
    if not len(hubs):
        return Edges(target, within)
    source = torch.where(degree[target] == N, within, hubs[within.clamp(max=len(hubs) - 1)])
    return Edges(target, source)


def _grid(graph: Grid) -> Edges:
    N = graph.num_targets
    steps = graph.steps()
    coordinate = graph.coordinates(torch.arange(N)[:, None])
    source = torch.zeros(N, len(steps), dtype=torch.int64)
    inside = torch.ones(N, len(steps), dtype=torch.bool)
    for axis, size in enumerate(graph.shape):
        moved = coordinate[axis] + torch.tensor([step[axis] for step in steps], dtype=torch.int64)
        inside &= torch.tensor(graph.periodic) | ((moved >= 0) & (moved < size))
        source = source * size + moved % size
    target = torch.arange(N)[:, None].expand_as(source)[inside]
    reached = source[inside]
    return _sorted(target, reached, N) if graph.periodic else Edges(target, reached)


def _random_regular(graph: RandomRegular) -> Edges:
    target = torch.arange(graph.num_targets).repeat_interleave(graph.degree)
    return Edges(target, graph.neighbors.reshape(-1))


def _edge_list(graph: EdgeList) -> Edges:
    return Edges(graph.target, graph.source)


def _union(graph: Union) -> Edges:
    S = max(graph.num_sources, 1)
    a, b = edges(graph.a), edges(graph.b)
    b_keys = (b.target * S + b.source).to(a.target.device)
    return _from_keys(torch.unique(torch.cat([a.target * S + a.source, b_keys])), S)


def _intersection(graph: Intersection) -> Edges:
    few, many = graph.a, graph.b
    if few.facts().max_edges > many.facts().max_edges:
        few, many = many, few
    return _filtered(few, many, keep=True)


def _difference(graph: Difference) -> Edges:
    return _filtered(graph.a, graph.b, keep=False)


def _filtered(graph: Graph, by: Graph, *, keep: bool) -> Edges:
    """Distinct edges of ``graph`` that ``by`` has (``keep``) or has not."""
    S = max(graph.num_sources, 1)
    listed = edges(graph)
    keys = listed.target * S + listed.source
    if graph.may_repeat:
        keys = torch.unique(keys)
    target, source = keys // S, keys % S
    if isinstance(by, Composition | DisjointUnion):
        other = edges(by)
        member = torch.isin(keys, (other.target * S + other.source).to(keys.device))
    else:
        member = by.contains(target, source)
    chosen = member if keep else ~member
    return Edges(target[chosen], source[chosen])


def _reverse(graph: Reverse) -> Edges:
    inner = edges(graph.graph)
    return _sorted(inner.source, inner.target, graph.num_sources)


def _permutation(graph: Permutation) -> Edges:
    inner = edges(graph.graph)
    device = inner.target.device
    return _sorted(
        graph.targets.to(device)[inner.target],
        graph.sources.to(device)[inner.source],
        graph.num_sources,
    )


def _composition(graph: Composition) -> Edges:
    outer = edges(graph.outer)
    inner = edges(graph.inner, outer.target.device)
    order = torch.argsort(inner.target, stable=True)
    degree = torch.bincount(inner.target, minlength=graph.inner.num_targets)
    start, sources = degree.cumsum(0) - degree, inner.source[order]
    ends = degree[outer.source].cumsum(0)  # paths up to and with each edge of outer
    S, chunks, done, before = max(graph.num_sources, 1), [sources.new_empty(0)], 0, 0
    while done < outer.num_edges:  # in chunks: many paths lead to the same edge
        stop = int(torch.searchsorted(ends, before + _CHUNK, right=True))
        chunk = slice(done, max(stop, done + 1))
        middle = outer.source[chunk]
        target = torch.repeat_interleave(outer.target[chunk], degree[middle])
        first = torch.repeat_interleave(
            start[middle] - (ends[chunk] - degree[middle]), degree[middle]
        )
        path = torch.arange(before, before + len(target), device=target.device)
        chunks.append(torch.unique(target * S + sources[first + path]))
        done, before = chunk.stop, int(ends[chunk.stop - 1])
    return _from_keys(chunks[1] if len(chunks) == 2 else torch.unique(torch.cat(chunks)), S)


def _disjoint_union(graph: DisjointUnion) -> Edges:
    if not graph.parts:
        return Edges(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    if graph.joined is not None:
        return edges(graph.joined)
    device = edges(graph.parts[0]).target.device
    lowered = [edges(part, device) for part in graph.parts]
    counts = torch.tensor([part.num_edges for part in lowered])
    target = torch.cat([part.target for part in lowered])
    source = torch.cat([part.source for part in lowered])
    counts = counts.to(target.device)
    rows = torch.repeat_interleave(graph.target_ends[:-1].to(target.device), counts)
    columns = torch.repeat_interleave(graph.source_ends[:-1].to(target.device), counts)
    return Edges(target + rows, source + columns)


def _induced(graph: Induced) -> Edges:
    few = graph.num_targets * graph.num_sources <= graph.graph.facts().max_edges
    if few and has_closed_form(graph.graph):
        return edges_by_contains(graph)
    inner = edges(graph.graph)
    device = inner.target.device
    target, source = inner.target, inner.source
    for numbers, size, of_rows in (
        (graph.targets, graph.graph.num_targets, True),
        (graph.sources, graph.graph.num_sources, False),
    ):
        if numbers is None:
            continue
        number_of = torch.full((size,), -1, dtype=torch.int64, device=device)
        number_of[torch.tensor(numbers, dtype=torch.int64, device=device)] = torch.arange(
            len(numbers), device=device
        )
        number = number_of[target if of_rows else source]
        kept = number >= 0
        target, source = (number[kept], source[kept]) if of_rows else (target[kept], number[kept])
    return _sorted(target, source, graph.num_sources)


def _assume(graph: Assume) -> Edges:
    return edges(graph.graph)


def _sorted(target: Tensor, source: Tensor, num_sources: int) -> Edges:
    S = max(num_sources, 1)
    return _from_keys(torch.sort(target * S + source).values, S)


def _from_keys(keys: Tensor, num_sources: int) -> Edges:
    return Edges(torch.div(keys, num_sources, rounding_mode="floor"), keys % num_sources)


_FAMILIES: tuple[tuple[type[Graph], Callable[[Any], Edges]], ...] = (
    (Hubs, _hubs),
    (Grid, _grid),
    (RandomRegular, _random_regular),
    (EdgeList, _edge_list),
    (Union, _union),
    (Intersection, _intersection),
    (Difference, _difference),
    (Reverse, _reverse),
    (Permutation, _permutation),
    (Composition, _composition),
    (DisjointUnion, _disjoint_union),
    (Induced, _induced),
    (Assume, _assume),
)

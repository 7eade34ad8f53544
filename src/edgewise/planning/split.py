r"""Splits: a graph as edge-disjoint parts, each of which may run where it is fastest.

.. math::  \mathrm{attend}(G + H) = \mathrm{merge}(\mathrm{attend}(G), \mathrm{attend}(H))

Parts are disjoint by construction: what an earlier part holds is taken out of a later one, either
as edges (``B - A``) or as whole rows, which a part then computes for nothing and leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from edgewise.graphs import (
    Blocks,
    Complete,
    Difference,
    DisjointUnion,
    EdgeList,
    Graph,
    Grid,
    Hubs,
    Intersection,
    Permutation,
    Union,
    disjoint_union,
    facts_of,
    induced,
    recall,
)
from edgewise.layouts import communities, in_order, split_by_fill, tile_fill, transitivity
from edgewise.planning.rules import band_of, contained, simplify

__all__ = ["Part", "Place", "Split", "repeated", "splits"]

_MOST_PARTS = 8  # more calls than that cost more than they gain

NodeIndex = slice | Tensor | None
"""Some nodes of a graph: a range, numbers, or (None) all of them."""


@dataclass(frozen=True, eq=False)
class Place:
    """The place of a part of a graph in the whole; compared by its numbers.

    Attributes:
        targets: Which targets of the whole are its rows.
        sources: Which sources of the whole are its columns.
        left_out: ``[rows]``, int64: targets of the whole whose result belongs to another part.
    """

    targets: NodeIndex = None
    sources: NodeIndex = None
    left_out: Tensor | None = None

    def on(self, device: torch.device) -> Place:
        """This place with its tensors on a device."""
        targets, sources, left_out = (
            nodes.to(device) if isinstance(nodes, Tensor) else nodes
            for nodes in (self.targets, self.sources, self.left_out)
        )
        assert not isinstance(left_out, slice)
        return Place(targets, sources, left_out)

    def _key(self) -> tuple[object, ...]:
        return tuple(
            (nodes.start, nodes.stop)
            if isinstance(nodes, slice)
            else None
            if nodes is None
            else ("numbers", *nodes.tolist())
            for nodes in (self.targets, self.sources, self.left_out)
        )

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Place) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


@dataclass(frozen=True)
class Part:
    """Some edges of a graph, as a graph of its own.

    Attributes:
        graph: The edges.
        place: Where they lie.
    """

    graph: Graph
    place: Place = Place()

    def on(self, device: torch.device) -> Part:
        """This part with its tensors on a device."""
        return Part(self.graph, self.place.on(device))

    @property
    def renumbers(self) -> bool:
        """Whether nodes have other numbers in the part than in the whole."""
        return self.place.targets is not None or self.place.sources is not None


@dataclass(frozen=True, eq=False)
class Split:
    """A graph in parts.

    Attributes:
        law: Why the parts hold every edge once, in a line.
        parts: The parts.
    """

    law: str
    parts: tuple[Part, ...]

    @property
    def plain(self) -> bool:
        """Whether all parts have the whole graph's nodes and keep every row."""
        return all(not part.renumbers and part.place.left_out is None for part in self.parts)


def splits(graph: Graph, *, many_calls: bool = False) -> Iterator[Split]:
    """The splits of a graph, one for each rule that applies.

    Args:
        graph: The graph.
        many_calls: Whether what takes as long as some calls may be tried: another order of nodes.

    Example:
        >>> from edgewise import Hubs, Window
        >>> (split,) = splits(Window(64, left=2, right=2) | Hubs(64, [0]))
        >>> [part.graph for part in split.parts][:2]
        [Window(64, left=2, right=2), Complete(1, 64)]
    """
    for rule in (_relabelled, _side_by_side, _union, _clusters):
        split = rule(graph)
        if split is not None:
            yield split
    if many_calls and (reordered := _reordered(graph)) is not None:
        yield reordered


def repeated(graph: Graph) -> tuple[Graph, int] | None:
    """The graph of which this one is equal copies side by side, and their number; None for others.

    Example:
        >>> from edgewise import Grid
        >>> repeated(Grid((4, 9), radius=(0, 2)))
        (Grid((9,), radius=2), 4)
    """
    match graph:
        case DisjointUnion(parts) if not graph.holds_tensors and len(set(parts)) == 1:
            return parts[0], len(parts)
        case Blocks(sizes, columns) if len({*zip(sizes, columns, strict=True)}) == 1:
            return (Complete(sizes[0], columns[0]), len(sizes)) if len(sizes) > 1 else None
        case Grid():
            still = next((i for i, radius in enumerate(graph.radii) if radius), 0)
            shape, radii = graph.shape[still:], graph.radii[still:]
            grid = Grid(shape, radius=radii, corners=graph.corners, periodic=graph.periodic)
            copies = math.prod(graph.shape[:still])
            return (grid, copies) if copies > 1 and grid.num_targets else None
        case _:
            return None


# --- Relabelling ---------------------------------------------------------------------------------


def _relabelled(graph: Graph) -> Split | None:
    if not isinstance(graph, Permutation):
        return None
    part = Part(graph.graph, Place(graph.targets, graph.sources))
    return Split("attend(pG, pq, pk, pv) = p attend(G, q, k, v)", (part,))


# --- Disjoint unions -----------------------------------------------------------------------------


def _side_by_side(graph: Graph) -> Split | None:
    """The parts of a disjoint union, with neighbours of one kind as one part."""
    if not isinstance(graph, DisjointUnion):
        return None
    groups: list[list[Graph]] = []
    for part in graph.parts:
        if groups and _kind(groups[-1][0]) == _kind(part):
            groups[-1].append(part)
        else:
            groups.append([part])
        if len(groups) > _MOST_PARTS:
            return None
    if len(groups) < 2:
        return None
    parts: list[Part] = []
    row = column = 0
    for group in groups:
        whole = disjoint_union(group)
        rows, columns = row + whole.num_targets, column + whole.num_sources
        parts.append(Part(whole, Place(slice(row, rows), slice(column, columns))))
        row, column = rows, columns
    return Split("no edge leaves its graph: a disjoint union is its parts side by side", (*parts,))


def _kind(graph: Graph) -> tuple[type[Graph], bool]:
    facts = graph.facts()
    return type(graph), facts.complete or facts.fully_causal


# --- Dense tiles and leftovers --------------------------------------------------------------------

_FULL = (
    0.5  # share of a tile's pairs that are edges, from which tiles gain on every machine measured
)
_WORTH = 0.2  # least share of all edges that lie in such tiles
_FEWEST = 1 << 14  # edges; below, one kernel is done before two have started
_TILE = 64
_LONG_ROWS = 16  # edges of a row, on average: fewer fill no tile in any order


def _clusters(graph: Graph) -> Split | None:
    """Full tiles, which run as tiles, and the other edges, which run one by one."""
    facts = facts_of(graph)
    least = _FULL * _TILE  # edges of some row, and of some column, in a full tile
    few = facts.max_edges < _FEWEST or min(facts.max_in_degree, facts.max_out_degree) < least
    if few or not isinstance(graph, EdgeList) or not facts.simple:
        return None
    inside = _share_in_full_tiles(graph)
    parts = split_by_fill(graph, _FULL, _TILE, _TILE) if _WORTH <= inside < 1 else None
    if parts is None:
        return None
    return Split("every edge lies in one tile: full tiles, and the others", (*map(Part, parts),))


_TRANSITIVE = (
    0.4  # share of pairs of sources that read each other, from which another order is tried
)


def _reordered(graph: Graph) -> Split | None:
    """The graph with the nodes of a community numbered together, so that their edges fill tiles."""
    facts = facts_of(graph)
    least = _FULL * _TILE
    few = facts.max_edges < max(_FEWEST, _LONG_ROWS * graph.num_targets)
    few = few or min(facts.max_in_degree, facts.max_out_degree) < least
    if few or not isinstance(graph, EdgeList) or not facts.simple:
        return None
    if graph.num_targets != graph.num_sources or _share_in_full_tiles(graph) >= _WORTH:
        return None
    if transitivity(graph) < _TRANSITIVE:
        return None
    order, ordered = recall(graph, "by communities", lambda: _by_communities(graph))
    if _share_in_full_tiles(ordered) < _WORTH:
        return None
    part = Part(ordered, Place(order, order))
    return Split("attend(pG, pq, pk, pv) = p attend(G, q, k, v), p: communities together", (part,))


def _by_communities(graph: Graph) -> tuple[Tensor, EdgeList]:
    order = torch.argsort(communities(graph), stable=True)
    return order, in_order(graph, order)


def _share_in_full_tiles(graph: Graph) -> float:
    tiles = tile_fill(graph, _TILE, _TILE)
    return int(tiles.edges[tiles.fill >= _FULL].sum()) / max(tiles.num_edges, 1)


# --- Unions --------------------------------------------------------------------------------------


def _union(graph: Graph) -> Split | None:
    r"""A union as its windows, then its hubs as strips, then the edges that are left.

    .. math::  A \cup B \cup C = A + (B - A) + (C - (A \cup B))
    """
    terms = _terms(graph)
    if len(terms) > _MOST_PARTS:
        return None
    reaches = {term.scope for term in terms if term.scope is not None}
    if len(terms) + len(reaches) < 2 or len(reaches) > 1:
        return None
    hubs = _HubTerm.of(graph, terms, *reaches) if reaches else None
    others = [term.graph for term in terms if term.scope is None]
    bands = [part for part in others if band_of(part) is not None]
    others = [part for part in others if band_of(part) is None]
    parts: list[Part] = []
    before: Graph | None = None
    for part in (*bands, hubs, *others):
        match part:
            case None:
                continue
            case _HubTerm():
                parts += part.strips(before)
                before = _joined(before, part.edges)
            case _:
                left = _once(part) if before is None else simplify(Difference(part, before))
                before = _joined(before, part)
                if left.facts().max_edges:
                    parts.append(Part(left, Place(left_out=None if hubs is None else hubs.numbers)))
    law = "A | B = A + (B - A)" + (", and hubs are their rows and their columns" if hubs else "")
    return Split(law, tuple(parts)) if len(parts) > 1 else None


def _once(graph: Graph) -> Graph:
    """The graph without copies of edges, which a union drops."""
    if not graph.may_repeat or graph.facts().simple:
        return graph
    return Intersection(graph, Complete(graph.num_targets, graph.num_sources))


class _Term(NamedTuple):
    """An operand of a union.

    Attributes:
        graph: Its edges.
        hubs: Nodes of which it has all edges of the scope.
        scope: Where hubs reach; None where the operand is no hubs.
    """

    graph: Graph
    hubs: tuple[int, ...] = ()
    scope: Graph | None = None


def _terms(graph: Graph, within: Graph | None = None) -> list[_Term]:
    """The operands of a union, or of a union inside of something: (A | B) & C = A & C | B & C."""
    match graph:
        case Union(a, b):
            return _terms(a, within) + _terms(b, within)
        case Intersection(Union() | Hubs() as inside, c) | Intersection(
            c, Union() | Hubs() as inside
        ):
            return _terms(inside, c if within is None else simplify(Intersection(within, c)))
        case Hubs():
            scope = Complete(graph.num_targets) if within is None else within
            inside = graph if within is None else Intersection(graph, within)
            return [_Term(inside, tuple(graph.hubs), scope)]
        case _:
            return [_Term(graph if within is None else simplify(Intersection(graph, within)))]


@dataclass(frozen=True, eq=False)
class _HubTerm:
    """The hubs of a union, as one term.

    Attributes:
        whole: The union.
        hubs: Their numbers, rising.
        scope: Where they reach.
        edges: What they hold.
    """

    whole: Graph
    hubs: list[int]
    scope: Graph
    edges: Graph

    @classmethod
    def of(cls, whole: Graph, terms: Sequence[_Term], scope: Graph) -> _HubTerm | None:
        hubs = sorted({hub for term in terms for hub in term.hubs})
        edges = Hubs(whole.num_targets, hubs)
        edges = edges if scope.facts().complete else Intersection(edges, scope)
        return cls(whole, hubs, scope, edges) if hubs else None

    @property
    def numbers(self) -> Tensor:
        """Their numbers: ``[hubs]``, int64."""
        return torch.tensor(self.hubs)

    def strips(self, before: Graph | None) -> list[Part]:
        """The rows of hubs, and the columns in which other targets read them."""
        everything = self.scope.facts().complete
        rows = simplify(induced(self.scope if everything else self.whole, targets=self.hubs))
        inner = self.scope if before is None else Difference(self.scope, before)
        columns = simplify(induced(inner, sources=self.hubs))
        return [
            Part(rows, Place(self.numbers)),
            Part(columns, Place(sources=self.numbers, left_out=self.numbers)),
        ]


def _joined(before: Graph | None, part: Graph) -> Graph:
    if before is None or contained(before, part):
        return part
    return Union(before, part)

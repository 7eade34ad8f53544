"""The algebra of graphs: set operations and reversal.

The functions simplify where a law allows it (``reverse(Window(n, left=2, right=0))`` is a
`Window` again) and otherwise return a node of an expression tree, which stays symbolic: nothing
is materialised. Set operations forget multiplicity: their result never holds an edge twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs import facts as known
from edgewise.graphs.base import Graph, OverOne, check_graph
from edgewise.graphs.blocks import Blocks
from edgewise.graphs.expander import RandomRegular
from edgewise.graphs.explicit import EdgeList
from edgewise.graphs.facts import Facts
from edgewise.graphs.grid import Grid
from edgewise.graphs.hubs import Hubs
from edgewise.graphs.open_sizes import has_open_sizes, holds
from edgewise.graphs.sequence import Complete, Dilated, SelfLoops, Window

__all__ = [
    "Difference",
    "Intersection",
    "Reverse",
    "Union",
    "difference",
    "intersection",
    "reverse",
    "union",
]

_SYMMETRIC = (Grid, Hubs, RandomRegular, SelfLoops)


def _check_same_size(word: str, a: Graph, b: Graph) -> None:
    for graph in (a, b):
        check_graph(f"{word}: each operand", graph)
    if holds(a.num_targets != b.num_targets) or holds(a.num_sources != b.num_sources):
        raise GraphError(
            f"{word}: both graphs must have the same sizes, got {a.num_targets} x "
            f"{a.num_sources} and {b.num_targets} x {b.num_sources} (targets x sources). "
            f"Build them over the same nodes."
        )


@dataclass(frozen=True, repr=False)
class _Pair(Graph):
    """Two graphs over the same nodes."""

    a: Graph
    b: Graph

    def __post_init__(self) -> None:
        _check_same_size(type(self).__name__.lower(), self.a, self.b)

    @property
    def num_targets(self) -> int:
        """Rows; the same for both operands."""
        return self.a.num_targets

    @property
    def num_sources(self) -> int:
        """Columns; the same for both operands."""
        return self.a.num_sources

    def children(self) -> tuple[Graph, ...]:
        return (self.a, self.b)


@dataclass(frozen=True, repr=False)
class Union(_Pair):
    r"""Edges of either graph, each once: ``a | b``."""

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        return self.a.contains(target, source) | self.b.contains(target, source)

    def facts(self) -> Facts:
        return known.facts_of_union(self.a.facts(), self.b.facts())

    def __repr__(self) -> str:
        return f"({self.a!r} | {self.b!r})"


@dataclass(frozen=True, repr=False)
class Intersection(_Pair):
    r"""Edges that both graphs have, each once: ``a & b``."""

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        return self.a.contains(target, source) & self.b.contains(target, source)

    def facts(self) -> Facts:
        return known.facts_of_intersection(self.a.facts(), self.b.facts())

    def __repr__(self) -> str:
        return f"({self.a!r} & {self.b!r})"


@dataclass(frozen=True, repr=False)
class Difference(_Pair):
    r"""Edges that the first graph has and the second has not, each once: ``a - b``."""

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        return self.a.contains(target, source) & ~self.b.contains(target, source)

    def facts(self) -> Facts:
        return known.facts_of_difference(self.a.facts(), self.b.facts())

    def __repr__(self) -> str:
        return f"({self.a!r} - {self.b!r})"


def _are_same(a: Graph, b: Graph) -> bool:
    """Whether two graphs are equal; False for open sizes, whose order would become a condition."""
    return not (has_open_sizes(a) or has_open_sizes(b)) and a == b


def is_simple(graph: Graph) -> bool:
    return not graph.may_repeat or graph.facts().simple


def union(a: Graph, b: Graph) -> Graph:
    """Edges of either graph, each once; also written ``a | b``.

    >>> union(Window(4, left=1, right=0), Window(4, left=0, right=1))
    (Window(4, left=1, right=0) | Window(4, left=0, right=1))
    """
    _check_same_size("union", a, b)
    return a if _are_same(a, b) and is_simple(a) else Union(a, b)


def intersection(a: Graph, b: Graph) -> Graph:
    """Edges that both graphs have, each once; also written ``a & b``.

    >>> from edgewise.graphs import Causal
    >>> intersection(Causal(4), Window(4, left=2, right=2)).facts().max_edges
    9
    """
    _check_same_size("intersection", a, b)
    return a if _are_same(a, b) and is_simple(a) else Intersection(a, b)


def difference(a: Graph, b: Graph) -> Graph:
    """Edges of ``a`` that ``b`` has not, each once; also written ``a - b``.

    >>> difference(Complete(3), SelfLoops(3)).facts().max_edges
    6
    """
    return Difference(a, b)


@dataclass(frozen=True, repr=False)
class Reverse(OverOne):
    r"""Every edge points the other way; targets and sources change places."""

    @property
    def num_targets(self) -> int:
        """Rows: the sources of the original."""
        return self.graph.num_sources

    @property
    def num_sources(self) -> int:
        """Columns: the targets of the original."""
        return self.graph.num_targets

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        return self.graph.contains(source, target)

    def facts(self) -> Facts:
        return known.facts_of_reverse(self.graph.facts())

    def __repr__(self) -> str:
        return f"reverse({self.graph!r})"


def reverse(graph: Graph) -> Graph:
    r"""Turn every edge around: the graph of the backward pass.

    .. math::  (s \to t) \in \mathrm{reverse}(G) \iff (t \to s) \in G

    The edges of a reversed `EdgeList` keep their order; so per-edge tensors stay valid.

    Example:
        >>> reverse(Window(8, left=2, right=0))
        Window(8, left=0, right=2)
    """
    check_graph("reverse: graph", graph)
    T, S = graph.num_targets, graph.num_sources
    match graph:
        case Reverse():
            return graph.graph
        case Complete():
            return Complete(S, T)
        case Blocks():
            return Blocks(graph.source_sizes, graph.sizes)
        case Window() if T == S:
            return Window(T, left=graph.right, right=graph.left)
        case Dilated():
            return Dilated(T, left=graph.right, right=graph.left, dilation=graph.dilation)
        case EdgeList():
            return EdgeList(graph.edge_index.flip(0), num_targets=S, num_sources=T)
        case Union() | Intersection() | Difference():
            return type(graph)(reverse(graph.a), reverse(graph.b))
        case _:
            return graph if isinstance(graph, _SYMMETRIC) else Reverse(graph)

"""The algebra of graphs: set operations, reversal, relabelling, composition.

The functions simplify where a law allows it (``reverse(Window(n, left=2, right=0))`` is a
`Window` again) and otherwise return a node of an expression tree, which stays symbolic: nothing
is materialised. Set operations forget multiplicity: their result never holds an edge twice.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs import facts as known
from edgewise.graphs.base import Graph, check_graph, count
from edgewise.graphs.expander import RandomRegular
from edgewise.graphs.explicit import EdgeList
from edgewise.graphs.facts import Facts
from edgewise.graphs.grid import Grid
from edgewise.graphs.hubs import Hubs
from edgewise.graphs.sequence import (
    Blocks,
    Causal,
    Complete,
    Dilated,
    PrefixCausal,
    SelfLoops,
    Window,
)

__all__ = [
    "Composition",
    "Difference",
    "Intersection",
    "Permutation",
    "Reverse",
    "Union",
    "compose",
    "difference",
    "intersection",
    "permute",
    "receptive_field",
    "reverse",
    "union",
]

_SYMMETRIC = (Grid, Hubs, RandomRegular, SelfLoops)
_CHUNK = 1 << 22


def _check_same_size(word: str, a: Graph, b: Graph) -> None:
    for graph in (a, b):
        check_graph(f"{word}: each operand", graph)
    if (a.num_targets, a.num_sources) != (b.num_targets, b.num_sources):
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


def _is_simple(graph: Graph) -> bool:
    return not graph.may_repeat or graph.facts().simple


def union(a: Graph, b: Graph) -> Graph:
    """Edges of either graph, each once; also written ``a | b``.

    >>> union(Window(4, left=1, right=0), Window(4, left=0, right=1))
    (Window(4, left=1, right=0) | Window(4, left=0, right=1))
    """
    _check_same_size("union", a, b)
    return a if a == b and _is_simple(a) else Union(a, b)


def intersection(a: Graph, b: Graph) -> Graph:
    """Edges that both graphs have, each once; also written ``a & b``.

    >>> intersection(Causal(4), Window(4, left=2, right=2)).facts().max_edges
    9
    """
    _check_same_size("intersection", a, b)
    return a if a == b and _is_simple(a) else Intersection(a, b)


def difference(a: Graph, b: Graph) -> Graph:
    """Edges of ``a`` that ``b`` has not, each once; also written ``a - b``.

    >>> difference(Complete(3), SelfLoops(3)).facts().max_edges
    6
    """
    return Difference(a, b)


@dataclass(frozen=True, repr=False)
class Reverse(Graph):
    r"""Every edge points the other way; targets and sources change places."""

    graph: Graph

    @property
    def num_targets(self) -> int:
        """Rows: the sources of the original."""
        return self.graph.num_sources

    @property
    def num_sources(self) -> int:
        """Columns: the targets of the original."""
        return self.graph.num_targets

    @property
    def may_repeat(self) -> bool:
        return self.graph.may_repeat

    def children(self) -> tuple[Graph, ...]:
        return (self.graph,)

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


@dataclass(frozen=True, repr=False, eq=False)
class Permutation(Graph):
    """The same graph with its nodes renamed: old target ``i`` becomes ``targets[i]``."""

    graph: Graph
    targets: Tensor
    sources: Tensor

    def __post_init__(self) -> None:
        if torch.compiler.is_compiling():
            raise GraphError(
                "permute: cannot be built inside torch.compile, because its checks read the "
                "numbers. Build it outside, and pass it in or close over it."
            )
        for name, size in (
            ("targets", self.graph.num_targets),
            ("sources", self.graph.num_sources),
        ):
            object.__setattr__(self, name, _checked_order(name, getattr(self, name), size))
        inverse = (torch.argsort(self.targets), torch.argsort(self.sources))
        object.__setattr__(self, "_inverse", inverse)

    @property
    def holds_tensors(self) -> bool:
        return True

    @property
    def num_targets(self) -> int:
        """Rows of the original."""
        return self.graph.num_targets

    @property
    def num_sources(self) -> int:
        """Columns of the original."""
        return self.graph.num_sources

    @property
    def may_repeat(self) -> bool:
        return self.graph.may_repeat

    def children(self) -> tuple[Graph, ...]:
        return (self.graph,)

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        targets, sources = self.__dict__["_inverse"]
        return self.graph.contains(
            targets.to(target.device)[target], sources.to(source.device)[source]
        )

    def facts(self) -> Facts:
        return known.facts_of_permutation(self.graph.facts())

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Permutation)
            and self.graph == other.graph
            and torch.equal(self.targets, other.targets)
            and torch.equal(self.sources, other.sources)
        )

    def __hash__(self) -> int:
        return hash((Permutation, self.graph))

    def __repr__(self) -> str:
        if max(self.num_targets, self.num_sources) > 32:
            return f"permute({self.graph!r}, <{self.num_targets} targets>)"
        orders = [self.targets.tolist(), self.sources.tolist()]
        words = [
            repr(self.graph),
            *(repr(o) for o in (orders[:1] if orders[0] == orders[1] else orders)),
        ]
        return f"permute({', '.join(words)})"


def _checked_order(name: str, order: Tensor, size: int) -> Tensor:
    whole = not (order.is_floating_point() or order.is_complex() or order.dtype == torch.bool)
    fits = order.shape == (size,) and (whole or not size)  # an empty list has no integer dtype
    if not fits or not torch.equal(order.long().sort().values.cpu(), torch.arange(size)):
        raise GraphError(
            f"permute: {name} must hold each whole number from 0 to {size - 1} once, got "
            f"{reprlib.repr(order.tolist())}. Use torch.randperm({size}), for example."
        )
    return order.detach().to(torch.int64, copy=True)


def permute(
    graph: Graph, targets: Tensor | list[int], sources: Tensor | list[int] | None = None
) -> Graph:
    r"""Rename the nodes: old target ``i`` is now ``targets[i]``, old source ``j`` ``sources[j]``.

    .. math::  \mathrm{attend}(pG, pq, pk, pv) = p\,\mathrm{attend}(G, q, k, v)

    The edges of a permuted `EdgeList` keep their order; so per-edge tensors stay valid.

    Args:
        graph: Any graph.
        targets: New number of each target: ``[T]``.
        sources: New number of each source: ``[S]``; the same as ``targets`` when left out.

    Raises:
        GraphError: an order is not a permutation.

    Example:
        >>> permute(EdgeList([[0], [1]], num_nodes=3), [2, 0, 1])
        EdgeList([[2], [0]], num_nodes=3)
    """
    check_graph("permute: graph", graph)
    rows = torch.as_tensor(targets)
    columns = rows if sources is None else torch.as_tensor(sources)
    renamed = Permutation(graph, rows, columns)
    if isinstance(graph, Complete):
        return graph
    if isinstance(graph, EdgeList):
        device = graph.edge_index.device
        pairs = torch.stack(
            [renamed.sources.to(device)[graph.source], renamed.targets.to(device)[graph.target]]
        )
        return EdgeList(pairs, num_targets=graph.num_targets, num_sources=graph.num_sources)
    return renamed


@dataclass(frozen=True, repr=False)
class Composition(Graph):
    r"""Two hops: targets of ``outer`` read, through its sources, the sources of ``inner``."""

    outer: Graph
    inner: Graph

    def __post_init__(self) -> None:
        if self.outer.num_sources != self.inner.num_targets:
            raise GraphError(
                f"compose: the sources of outer must be the targets of inner, got "
                f"{self.outer.num_sources} and {self.inner.num_targets} nodes. Build both over "
                f"the same nodes in the middle."
            )

    @property
    def num_targets(self) -> int:
        """Rows of the outer graph."""
        return self.outer.num_targets

    @property
    def num_sources(self) -> int:
        """Columns of the inner graph."""
        return self.inner.num_sources

    def children(self) -> tuple[Graph, ...]:
        return (self.outer, self.inner)

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        shape = torch.broadcast_tensors(target, source)[0].shape
        found = torch.zeros(shape, dtype=torch.bool, device=target.device)
        step = max(1, _CHUNK // max(found.numel(), 1))
        for start in range(0, self.outer.num_sources, step):
            stop = min(start + step, self.outer.num_sources)
            middle = torch.arange(start, stop, device=target.device)
            path = self.outer.contains(target[..., None], middle) & self.inner.contains(
                middle, source[..., None]
            )
            found |= path.any(-1)
        return found

    def facts(self) -> Facts:
        return known.facts_of_composition(self.outer.facts(), self.inner.facts())

    def __repr__(self) -> str:
        return f"compose({self.outer!r}, {self.inner!r})"


def compose(outer: Graph, inner: Graph) -> Graph:
    r"""What two layers see: ``inner`` runs first, ``outer`` reads its result.

    .. math::  (s \to t) \in E \iff \exists m: (m \to t) \in E_{outer}, (s \to m) \in E_{inner}

    Example:
        >>> compose(Window(9, left=2, right=1), Window(9, left=1, right=0))
        Window(9, left=3, right=1)
    """
    check_graph("compose: outer", outer)
    check_graph("compose: inner", inner)
    N = outer.num_sources
    match outer, inner:
        case SelfLoops(), _ if inner.num_targets == N:
            return inner if _is_simple(inner) else Composition(outer, inner)
        case _, SelfLoops() if inner.num_targets == N:
            return outer if _is_simple(outer) else Composition(outer, inner)
        case Complete(), Complete() if inner.num_targets == N and N > 0:
            return Complete(outer.num_targets, inner.num_sources)
        case Window(), Window() if outer.num_targets == N == inner.num_targets == inner.num_sources:
            return Window(N, left=outer.left + inner.left, right=outer.right + inner.right)
        case Causal(), Causal() if outer.num_targets == N == inner.num_targets == inner.num_sources:
            return inner
        case Grid(), Grid() if (
            outer.shape == inner.shape
            and outer.corners
            and inner.corners
            and outer.periodic == inner.periodic
        ):
            radius = tuple(a + b for a, b in zip(outer.radii, inner.radii, strict=True))
            return replace(outer, radius=radius)
        case _:
            return Composition(outer, inner)


def receptive_field(graph: Graph, layers: int) -> Graph:
    r"""Everything that can influence a target through ``layers`` layers over ``graph``.

    .. math::  R_0 = I, \qquad R_{l+1} = (G \cup I) \circ R_l

    A node always keeps its own state (residual or root weight), so self-loops are included.

    Args:
        graph: A square graph.
        layers: Number of layers, 0 or more.

    Raises:
        GraphError: the graph is not square, or ``layers`` is negative.

    Example:
        >>> receptive_field(Window(100, left=2, right=0), layers=3)
        Window(100, left=6, right=0)
    """
    check_graph("receptive_field: graph", graph)
    if graph.num_targets != graph.num_sources:
        raise GraphError(
            f"receptive_field: the graph must be square, got {graph.num_targets} "
            f"targets and {graph.num_sources} sources. Compose the layers with "
            f"compose() instead."
        )
    layers = count("receptive_field", "layers", layers)
    step = graph if _holds_self_loops(graph) else graph | SelfLoops(graph.num_targets)
    field: Graph = SelfLoops(graph.num_targets)
    for _ in range(layers):
        field = compose(step, field)
    return field


def _holds_self_loops(graph: Graph) -> bool:
    if isinstance(graph, Blocks):
        return graph.sizes == graph.source_sizes
    return isinstance(graph, Complete | Causal | Window | Dilated | PrefixCausal | Grid | SelfLoops)

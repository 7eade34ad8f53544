"""Base class of graphs, set operations and reversal: four members, and free functions.

A graph states *which target reads which source*. Targets are query rows (the nodes that are
updated), sources are key and value columns (the nodes that are read). A graph is a value: frozen,
hashable, comparable, and printed the way it is written. It holds no kernels and, unless it is an
`EdgeList`, no edges.

Set operations and reversal simplify where a law allows it (``reverse(Window(n, left=2, right=0))``
is a `Window` again) and otherwise are a node of an expression tree, which stays symbolic: nothing
is materialised. Set operations drop multiplicity: their result never holds an edge twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs.facts import (
    Facts,
    facts_of_difference,
    facts_of_intersection,
    facts_of_reverse,
    facts_of_union,
)
from edgewise.graphs.open_sizes import has_open_sizes, holds

__all__ = [
    "FAMILIES",
    "Difference",
    "Graph",
    "Intersection",
    "OfTwo",
    "OverOne",
    "Reverse",
    "Union",
    "check_graph",
    "difference",
    "family_name",
    "how_to_wrap",
    "intersection",
    "is_simple",
    "reverse",
    "union",
]

FAMILIES: dict[str, type[Graph]] = {}
"""Every family of graphs by its name: families of other packages with their module."""


def family_name(family: type[Graph]) -> str:
    """The name of a family: that of its class, and for other packages its module too."""
    package = family.__module__.partition(".")[0]
    built_in = package == __name__.partition(".")[0]
    return family.__name__ if built_in else f"{family.__module__}.{family.__qualname__}"


class Graph(ABC):
    """Which target reads which source: abstract or final, never in between."""

    parsed: ClassVar[bool] = False

    def __init_subclass__(cls, *, parsed: bool = False, **settings: Any) -> None:
        """Register a family under the name that `spec` gives it.

        Args:
            parsed: Whether `read_graph` accepts a call of the family, the way its values print.
            settings: For other base classes.
        """
        super().__init_subclass__(**settings)
        cls.parsed = parsed
        if "contains" in cls.__dict__:  # bases of several families do not define it
            FAMILIES[family_name(cls)] = cls

    # Subclasses provide num_targets and num_sources as dataclass fields or as properties; they
    # are declared, not defined, here because a property could not be overridden by a field.
    if TYPE_CHECKING:

        @property
        def num_targets(self) -> int:
            """Rows ``T``: nodes that are updated."""
            ...

        @property
        def num_sources(self) -> int:
            """Columns ``S``: nodes that are read."""
            ...

    @property
    def holds_tensors(self) -> bool:
        """Whether this value owns edge tensors (and so is compared by reading them)."""
        return any(part.holds_tensors for part in self.children())

    @property
    def may_repeat(self) -> bool:
        """Whether an edge may occur twice; set operations and compositions drop copies."""
        return False

    def children(self) -> tuple[Graph, ...]:
        """The graphs this graph is made of."""
        return ()

    @abstractmethod
    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        """Whether ``source -> target`` is an edge; broadcasts, returns bool."""

    @abstractmethod
    def facts(self) -> Facts:
        """Sound bounds on this graph, computed without reading its edges where possible."""

    def reversed(self) -> Graph:
        """The graph with every edge turned around; a family overrides it where it has a law."""
        return Reverse(self)

    def __or__(self, other: Graph) -> Graph:
        return union(self, other) if isinstance(other, Graph) else NotImplemented  # pyright: ignore[reportUnnecessaryIsInstance]

    def __and__(self, other: Graph) -> Graph:
        return intersection(self, other) if isinstance(other, Graph) else NotImplemented  # pyright: ignore[reportUnnecessaryIsInstance]

    def __sub__(self, other: Graph) -> Graph:
        return difference(self, other) if isinstance(other, Graph) else NotImplemented  # pyright: ignore[reportUnnecessaryIsInstance]

    def spec(self) -> tuple[Any, ...] | None:
        """This graph as plain numbers, or None if it holds tensors or functions.

        ``graph_from(graph.spec())`` is the graph again. ``torch.compile`` keeps the numbers
        constant where it could not keep an object.
        """
        items: list[Any] = [family_name(type(self))]
        for name in self.__dataclass_fields__:  # type: ignore[attr-defined]  # dataclasses all
            value = getattr(self, name)
            plain = value.spec() if isinstance(value, Graph) else value
            if isinstance(value, Graph) and plain is None:
                return None
            if not isinstance(plain, int | torch.SymInt | tuple | None):
                return None
            items.append((name, plain))
        return tuple(items)

    def __fx_create_arg__(self, tracer: Any) -> Any:
        """Store the graph as an attribute of the module that ``torch.fx`` traces."""
        root, index = tracer.root, 0
        while getattr(root, f"_graph_{index}", self) is not self:
            index += 1
        setattr(root, f"_graph_{index}", self)
        return tracer.create_node("get_attr", f"_graph_{index}", (), {})

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the fields of the graph, without its cache."""
        names = self.__dataclass_fields__  # type: ignore[attr-defined]  # dataclasses all
        return _rebuilt, (type(self), {name: getattr(self, name) for name in names})

    def __repr__(self) -> str:
        positional: list[str] = []
        keywords: list[str] = []
        for field in fields(self):  # pyright: ignore[reportArgumentType]  # subclasses are dataclasses
            value = getattr(self, field.name)
            square = field.name == "num_sources" and value == self.num_targets
            if square or (field.default == value and field.name != "num_targets"):
                continue
            if field.kw_only:
                keywords.append(f"{field.name}={value!r}")
            else:
                positional.append(repr(value))
        return f"{type(self).__name__}({', '.join(positional + keywords)})"


@dataclass(frozen=True, repr=False)
class OverOne(Graph):
    """Base of graphs made of a single graph, with its sizes unless they are overridden."""

    graph: Graph

    @property
    def num_targets(self) -> int:
        """Rows of the graph."""
        return self.graph.num_targets

    @property
    def num_sources(self) -> int:
        """Columns of the graph."""
        return self.graph.num_sources

    @property
    def may_repeat(self) -> bool:
        return self.graph.may_repeat

    def children(self) -> tuple[Graph, ...]:
        return (self.graph,)


def _rebuilt(family: type[Graph], values: dict[str, Any]) -> Graph:
    return family(**values)


def check_graph(owner: str, value: object) -> None:
    """Check that an argument is a graph, not the tensor it could be made from."""
    if not isinstance(value, Graph):
        raise GraphError(
            f"{owner} must be a graph, got {type(value).__name__}. {how_to_wrap(value)}"
        )


def how_to_wrap(value: object) -> str:
    """A sentence that names the graph to build from an object that is not a graph."""
    if type(value).__name__ == "DenseMask":
        return "Use EdgeList.from_dense(mask) with its field mask."
    axes = getattr(value, "ndim", None)
    if isinstance(axes, int) and axes == 2 and str(getattr(value, "dtype", "")).endswith("bool"):
        return "Use EdgeList.from_dense(mask), which is True where there is an edge."
    return "Wrap edges in EdgeList(edge_index, num_nodes=...)."


# --- Set operations and reversal ------------------------------------------------------------------


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
class OfTwo(Graph):
    """Base of graphs made of two graphs over the same nodes."""

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

    def reversed(self) -> Graph:
        return type(self)(self.a.reversed(), self.b.reversed())


@dataclass(frozen=True, repr=False)
class Union(OfTwo):
    r"""Edges of either graph, each once: ``a | b``."""

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        return self.a.contains(target, source) | self.b.contains(target, source)

    def facts(self) -> Facts:
        return facts_of_union(self.a.facts(), self.b.facts())

    def __repr__(self) -> str:
        return f"({self.a!r} | {self.b!r})"


@dataclass(frozen=True, repr=False)
class Intersection(OfTwo):
    r"""Edges that both graphs have, each once: ``a & b``."""

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        return self.a.contains(target, source) & self.b.contains(target, source)

    def facts(self) -> Facts:
        return facts_of_intersection(self.a.facts(), self.b.facts())

    def __repr__(self) -> str:
        return f"({self.a!r} & {self.b!r})"


@dataclass(frozen=True, repr=False)
class Difference(OfTwo):
    r"""Edges that the first graph has and the second has not, each once: ``a - b``."""

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        return self.a.contains(target, source) & ~self.b.contains(target, source)

    def facts(self) -> Facts:
        return facts_of_difference(self.a.facts(), self.b.facts())

    def __repr__(self) -> str:
        return f"({self.a!r} - {self.b!r})"


def _are_same(a: Graph, b: Graph) -> bool:
    """Whether two graphs are equal; False for open sizes, whose order would become a condition."""
    return not (has_open_sizes(a) or has_open_sizes(b)) and a == b


def is_simple(graph: Graph) -> bool:
    """Whether the facts prove that no edge occurs twice."""
    return not graph.may_repeat or graph.facts().simple


def union(a: Graph, b: Graph) -> Graph:
    """Edges of either graph, each once; also written ``a | b``.

    >>> from edgewise.graphs import Window
    >>> union(Window(4, left=1, right=0), Window(4, left=0, right=1))
    (Window(4, left=1, right=0) | Window(4, left=0, right=1))
    """
    _check_same_size("union", a, b)
    return a if _are_same(a, b) and is_simple(a) else Union(a, b)


def intersection(a: Graph, b: Graph) -> Graph:
    """Edges that both graphs have, each once; also written ``a & b``.

    >>> from edgewise.graphs import Causal, Window
    >>> intersection(Causal(4), Window(4, left=2, right=2)).facts().max_edges
    9
    """
    _check_same_size("intersection", a, b)
    return a if _are_same(a, b) and is_simple(a) else Intersection(a, b)


def difference(a: Graph, b: Graph) -> Graph:
    """Edges of ``a`` that ``b`` has not, each once; also written ``a - b``.

    >>> from edgewise.graphs import Complete, SelfLoops
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
        return facts_of_reverse(self.graph.facts())

    def reversed(self) -> Graph:
        return self.graph

    def __repr__(self) -> str:
        return f"reverse({self.graph!r})"


def reverse(graph: Graph) -> Graph:
    r"""Turn every edge around: the graph of the backward pass.

    .. math::  (s \to t) \in \mathrm{reverse}(G) \iff (t \to s) \in G

    The edges of a reversed `EdgeList` keep their order; so per-edge tensors stay valid.

    Example:
        >>> from edgewise.graphs import Window
        >>> reverse(Window(8, left=2, right=0))
        Window(8, left=0, right=2)
    """
    check_graph("reverse: graph", graph)
    return graph.reversed()

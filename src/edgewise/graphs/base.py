"""The contract of a graph: four members; everything else is a free function.

A graph says *which target reads which source*. Targets are query rows (the nodes that are
updated), sources are key and value columns (the nodes that are read). A graph is a value: frozen,
hashable, comparable, and printed the way it is written. It holds no kernels and, unless it is an
`EdgeList`, no edges.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.utils._python_dispatch import (
    _disable_current_modes,  # pyright: ignore[reportPrivateUsage]  # torch has no public way
)

from edgewise.errors import GraphError
from edgewise.graphs.facts import Facts
from edgewise.graphs.open_sizes import holds
from edgewise.shapes import is_shape_only

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Graph", "OverOne", "check_graph", "count", "counts", "how_to_wrap", "recall"]

R = TypeVar("R")


class Graph(ABC):
    """Which target reads which source: abstract or final, never in between."""

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
        """Whether an edge may occur twice; set operations and compositions forget copies."""
        return False

    def children(self) -> tuple[Graph, ...]:
        """The graphs this graph is made of."""
        return ()

    @abstractmethod
    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        """Whether ``source -> target`` is an edge; broadcasts, returns bool."""

    @abstractmethod
    def facts(self) -> Facts:
        """Sound bounds on this graph, without looking at its edges where possible."""

    def __or__(self, other: Graph) -> Graph:
        from edgewise.graphs.algebra import union  # algebra builds on this module

        return union(self, other) if isinstance(other, Graph) else NotImplemented  # pyright: ignore[reportUnnecessaryIsInstance]

    def __and__(self, other: Graph) -> Graph:
        from edgewise.graphs.algebra import intersection

        return intersection(self, other) if isinstance(other, Graph) else NotImplemented  # pyright: ignore[reportUnnecessaryIsInstance]

    def __sub__(self, other: Graph) -> Graph:
        from edgewise.graphs.algebra import difference

        return difference(self, other) if isinstance(other, Graph) else NotImplemented  # pyright: ignore[reportUnnecessaryIsInstance]

    def spec(self) -> tuple[Any, ...] | None:
        """This graph as plain numbers, or None if it holds tensors or functions.

        ``graph_from(graph.spec())`` is the graph again. ``torch.compile`` keeps the numbers
        constant where it could not keep an object.
        """
        items: list[Any] = [type(self).__name__]
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
        """Stand as an attribute of the module in a trace of ``torch.fx``."""
        root, index = tracer.root, 0
        while getattr(root, f"_graph_{index}", self) is not self:
            index += 1
        setattr(root, f"_graph_{index}", self)
        return tracer.create_node("get_attr", f"_graph_{index}", (), {})

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what describes the graph, never what was worked out about it."""
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
    """A graph made of one other, of the same sizes unless it says otherwise."""

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
    """The sentence that says which graph an object that is none could be made into."""
    if type(value).__name__ == "DenseMask":
        return "Use EdgeList.from_dense(mask) with its field mask."
    axes = getattr(value, "ndim", None)
    if isinstance(axes, int) and axes == 2 and str(getattr(value, "dtype", "")).endswith("bool"):
        return "Use EdgeList.from_dense(mask), which is True where there is an edge."
    return "Wrap edges in EdgeList(edge_index, num_nodes=...)."


def count(owner: str, name: str, value: object, minimum: int = 0) -> int:
    """Check that a size is a whole number of at least ``minimum``."""
    if torch.compiler.is_compiling() and isinstance(value, int | torch.SymInt):
        number: Any = value  # operator.index would fix a size that a compiler holds open
    else:
        try:
            number = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            number = None
    if number is None or _is_bool(value):
        raise GraphError(
            f"{owner}: {name} must be a whole number, got {value!r} "
            f"({type(value).__name__}). Pass an int."
        )
    if holds(number < minimum):
        raise GraphError(
            f"{owner}: {name} must be at least {minimum}, got {number}. Pass a larger number."
        )
    return number


def _is_bool(value: object) -> bool:
    """Whether a value is a bool, or an array of them: Python takes those for whole numbers."""
    if isinstance(value, int):
        return isinstance(value, bool)
    return "bool" in str(getattr(value, "dtype", ""))


def counts(owner: str, name: str, values: object) -> tuple[int, ...]:
    """Check that an argument lists whole numbers of at least zero."""
    if isinstance(values, torch.Tensor) and (
        torch.compiler.is_dynamo_compiling() or is_shape_only(values)
    ):
        raise GraphError(
            f"{owner}: {name} must list whole numbers, got a tensor whose numbers cannot be read, "
            f"on meta or inside traced code. Pass a list, or build the graph outside."
        )
    listed: Any = values.tolist() if hasattr(values, "tolist") else values  # type: ignore[attr-defined]
    if not isinstance(listed, Iterable):
        raise GraphError(
            f"{owner}: {name} must list whole numbers, got {values!r} "
            f"({type(values).__name__}). Pass a list, like [{listed}]."
        )
    sizes = tuple(listed)
    if all(type(size) is int and size >= 0 for size in sizes):  # thousands of graphs: no messages
        return sizes
    return tuple(count(owner, f"{name}[{i}]", value) for i, value in enumerate(sizes))


# Recently used values without tensors share what was worked out for an equal value: writing
# `attention(q, k, v, Causal(n))` in a loop must not plan again. Graphs with tensors keep theirs
# on the object alone, so that it dies with them.
_RECENT: OrderedDict[Graph, dict[Hashable, Any]] = OrderedDict()
_RECENT_SIZE = 16
_LOCK = Lock()


def recall(graph: Graph, key: Hashable, compute: Callable[[], R]) -> R:
    """What ``compute()`` returns, worked out once per graph value and key."""
    memory: dict[Hashable, Any] | None = graph.__dict__.get("_memory")
    if memory is None:
        memory = {} if graph.holds_tensors else _shared(graph)
        object.__setattr__(graph, "_memory", memory)
    if key not in memory:
        with lasting():
            memory[key] = compute()
    return memory[key]


def _shared(graph: Graph) -> dict[Hashable, Any]:
    """What equal values worked out before."""
    with _LOCK:
        memory = _RECENT.setdefault(graph, {})
        _RECENT.move_to_end(graph)
        while len(_RECENT) > _RECENT_SIZE:
            _RECENT.popitem(last=False)
        return memory


@contextmanager
def lasting() -> Generator[None]:
    """Make real tensors that anyone may use later, whatever mode the caller is in.

    What an evaluation works out, training must be able to save; what an export works out on fake
    tensors, the real call must not find.
    """
    with (
        torch.inference_mode(False),
        _disable_current_modes(),
        _without_transforms(),
        _without_trace(),
        _on_cpu(),
    ):
        yield


@contextmanager
def _without_trace() -> Generator[None]:
    """Where `torch.jit.trace` records nothing: what is worked out is a constant of the trace."""
    state: Any = torch._C._get_tracing_state()  # pyright: ignore
    if state is None:
        yield
        return
    torch._C._set_tracing_state(None)  # pyright: ignore
    try:
        yield
    finally:
        torch._C._set_tracing_state(state)  # pyright: ignore


def _on_cpu() -> AbstractContextManager[object]:
    """Where new tensors go to the CPU; nothing where they do so anyway, as it slows each call."""
    elsewhere = torch.get_default_device().type != "cpu"
    return torch.device("cpu") if elsewhere else nullcontext()


_without_transforms: Callable[[], AbstractContextManager[object]] = getattr(
    torch._C,  # pyright: ignore[reportPrivateUsage]  # torch has no public way
    "_DisableFuncTorch",
    nullcontext,
)

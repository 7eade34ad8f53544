"""Compiled constants: results that depend on a graph alone, computed while a compiler traces.

Compiled code refers to a result as an attribute of one namespace, because a tracer guards
attributes one by one. Results live as long as the process, like the compiled code itself.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

import torch

from edgewise.errors import ArgumentError
from edgewise.graphs import Graph, graph_from
from edgewise.layouts import num_edges

__all__ = ["compiled_constant", "constant", "num_edges_of"]

R = TypeVar("R")

_RESULTS = SimpleNamespace()


def compiled_constant(compute: Callable[..., R], graph: Graph, *given: Any) -> R:
    """``compute(graph, *given)``, computed while a compiler traces: a constant of its code.

    Args:
        compute: A function of a module.
        graph: Its first argument.
        given: Its other arguments: graphs and plain values.
    """
    held = [_held(item) for item in given]
    return getattr(_RESULTS, _result_name(compute, _portable(graph), *held))


def num_edges_of(graph: Graph) -> int:
    """The number of edges of a graph; lowers it where the facts leave the number open."""
    if torch.compiler.is_compiling():
        return _num_edges(_portable(graph))
    return num_edges(graph)


def constant(item: Any) -> Any:
    """Fix a number that a tracer may hold symbolic: heads, sizes and scales decide the plan."""
    if isinstance(item, tuple) and not hasattr(item, "_fields"):
        return tuple(constant(part) for part in item)
    if isinstance(item, bool):
        return item
    if isinstance(item, int):
        return operator.index(item)
    return item.__float__() if isinstance(item, float) else item  # float() would stay symbolic


def _portable(graph: Graph) -> Any:
    """The graph as plain numbers, which a tracer can hold constant; itself where it has tensors."""
    spec = graph.spec()
    return graph if spec is None else constant(spec)


def _graph_of(portable: Any) -> Graph:
    """The inverse of `_portable`; `ArgumentError` where a tracer has built the graph."""
    graph = graph_from(portable) if isinstance(portable, tuple) else portable
    if not hasattr(graph, "num_targets"):  # the tracer made the object but not yet its fields
        raise ArgumentError(
            "a graph with edge tensors was built inside torch.compile. Build it "
            "outside, and pass it in or close over it."
        )
    return graph


def _held(item: Any) -> Any:
    """An argument as a tracer can hold it; a graph with tensors stays an argument by itself."""
    if not isinstance(item, Graph):
        return item
    portable = _portable(item)
    return portable if isinstance(portable, Graph) else ("graph", portable)


def _released(item: Any) -> Any:
    """The inverse of `_held`."""
    return _graph_of(item[1]) if isinstance(item, tuple) and item[:1] == ("graph",) else item


def _result_name(compute: Callable[..., Any], graph: Any, *given: Any) -> str:
    """Compute while tracing, and return the attribute of `_RESULTS` that holds the result."""
    result = compute(_graph_of(graph), *(_released(item) for item in given))
    name = f"result_{id(result)}"
    setattr(_RESULTS, name, result)
    return name


def _num_edges(graph: Any) -> int:
    return num_edges(_graph_of(graph))


# The attribute that torch.compiler.assume_constant_result sets. Calling it here would import the
# compiler, which takes a second of every `import edgewise`.
for _function in (_result_name, _num_edges):
    _function._dynamo_marked_constant = True  # type: ignore[attr-defined]

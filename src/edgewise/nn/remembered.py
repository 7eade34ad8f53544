"""What layers work out about a graph: once for each graph, and constant under `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

import torch

from edgewise.functional.planned import portable, real_graph
from edgewise.graphs import Graph, recall

__all__ = ["remembered"]

R = TypeVar("R")

# What compiled code refers to, as attributes, because that is what a tracer can guard one by one.
_COMPILED = SimpleNamespace()


def remembered(compute: Callable[..., R], graph: Graph, *given: Any) -> R:
    """``compute(graph, *given)``, worked out once for each graph and for what is given besides.

    A tracer does not look into it: to compiled code the result is a constant.

    Args:
        compute: A function of a module, whose name stands for it.
        graph: What it is about; remembers the result.
        given: Graphs and plain values; devices and dtypes by their names.

    Example:
        >>> from edgewise.graphs import Window
        >>> from edgewise.layouts import num_edges
        >>> remembered(num_edges, Window(5, left=1, right=0))
        9
    """
    if torch.compiler.is_compiling():
        name = _compiled_name(compute, portable(graph), *(_plain(item) for item in given))
        return getattr(_COMPILED, name)
    return _recalled(compute, graph, *given)


def _recalled(compute: Callable[..., R], graph: Graph, *given: Any) -> R:
    key = (compute.__module__, compute.__qualname__, *given)
    return recall(graph, key, lambda: compute(graph, *given))


def _plain(item: Any) -> Any:
    """What a tracer can hold; a graph with tensors stays an argument by itself."""
    if not isinstance(item, Graph):
        return item
    held = portable(item)
    return held if isinstance(held, Graph) else ("graph", held)


def _compiled_name(compute: Callable[..., Any], graph: Any, *given: Any) -> str:
    """Work it out while tracing, and return the attribute of `_COMPILED` that holds it."""
    found = _recalled(compute, real_graph(graph), *(_unplain(item) for item in given))
    name = f"found_{id(found)}"
    setattr(_COMPILED, name, found)
    return name


def _unplain(item: Any) -> Any:
    return real_graph(item[1]) if isinstance(item, tuple) and item[:1] == ("graph",) else item


# What torch.compiler.assume_constant_result sets, without importing the compiler.
_compiled_name._dynamo_marked_constant = True  # type: ignore[attr-defined]

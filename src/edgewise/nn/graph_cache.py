"""Cache of what layers compute of a graph: once for each graph, constant under `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from edgewise.graphs import Graph, recall
from edgewise.planning.compiled import compiled_constant

__all__ = ["cached_by_graph"]

R = TypeVar("R")


def cached_by_graph(compute: Callable[..., R], graph: Graph, *given: Any) -> R:
    """``compute(graph, *given)``, computed once for each graph and each ``given``.

    It is not traced: to compiled code the result is a constant. Under a
    `FakeTensorMode` its tensors are fake, because real ones cannot meet fake ones there.

    Args:
        compute: A function of a module, whose name stands for it.
        graph: The graph, with which the result is stored.
        given: Graphs and plain values; devices and dtypes by their names.

    Example:
        >>> from edgewise.graphs import Window
        >>> from edgewise.layouts import num_edges
        >>> cached_by_graph(num_edges, Window(5, left=1, right=0))
        9
    """
    if torch.compiler.is_compiling():
        return compiled_constant(_recalled, graph, compute, *given)
    result = _recalled(graph, compute, *given)
    return result if not torch._C._len_torch_dispatch_stack() else _in_mode(result)  # pyright: ignore


def _in_mode(result: R) -> R:
    """The same with fake tensors where all tensors are fake; a tracer holds real ones constant."""
    from torch._guards import active_fake_mode  # a late import: nothing else needs it
    from torch.fx.experimental.proxy_tensor import get_proxy_mode

    mode: Any = active_fake_mode()
    return result if mode is None or get_proxy_mode() is not None else _faked(result, mode)


def _faked(result: Any, mode: Any) -> Any:
    if isinstance(result, Tensor):
        return mode.from_tensor(result)
    if isinstance(result, Graph) or not is_dataclass(result) or isinstance(result, type):
        return result
    parts = {field.name: _faked(getattr(result, field.name), mode) for field in fields(result)}
    return replace(result, **parts)


def _recalled(graph: Graph, compute: Callable[..., R], *given: Any) -> R:
    key = (compute.__module__, compute.__qualname__, *given)
    return recall(graph, key, lambda: compute(graph, *given))

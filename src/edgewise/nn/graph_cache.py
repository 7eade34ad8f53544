"""What layers work out about a graph: once for each graph, and constant under `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from edgewise.graphs import Graph, recall
from edgewise.planning.compiled import compiled_constant

__all__ = ["remembered"]

R = TypeVar("R")


def remembered(compute: Callable[..., R], graph: Graph, *given: Any) -> R:
    """``compute(graph, *given)``, worked out once for each graph and for what is given besides.

    A tracer does not look into it: to compiled code the result is a constant. Under a
    `FakeTensorMode` its tensors are fake, because real ones cannot meet fake ones there.

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
        return compiled_constant(_recalled, graph, compute, *given)
    found = _recalled(graph, compute, *given)
    return found if not torch._C._len_torch_dispatch_stack() else _in_mode(found)  # pyright: ignore


def _in_mode(found: R) -> R:
    """The same with fake tensors where all tensors are fake; a tracer holds real ones constant."""
    from torch._guards import active_fake_mode  # loads what nobody else needs
    from torch.fx.experimental.proxy_tensor import get_proxy_mode

    mode: Any = active_fake_mode()
    return found if mode is None or get_proxy_mode() is not None else _faked(found, mode)


def _faked(found: Any, mode: Any) -> Any:
    if isinstance(found, Tensor):
        return mode.from_tensor(found)
    if isinstance(found, Graph) or not is_dataclass(found) or isinstance(found, type):
        return found
    parts = {field.name: _faked(getattr(found, field.name), mode) for field in fields(found)}
    return replace(found, **parts)


def _recalled(graph: Graph, compute: Callable[..., R], *given: Any) -> R:
    key = (compute.__module__, compute.__qualname__, *given)
    return recall(graph, key, lambda: compute(graph, *given))

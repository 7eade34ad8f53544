"""Cache of a graph value: facts, layouts and plans, computed once and stored with it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import (
    _disable_current_modes,  # pyright: ignore[reportPrivateUsage]  # torch has no public way
)

from edgewise.graphs.base import Graph
from edgewise.graphs.facts import Facts

__all__ = ["facts_of", "lasting", "recall", "recalled"]

R = TypeVar("R")

# Recently used values without tensors share the cache of an equal value: writing
# `attention(q, k, v, Causal(n))` in a loop must not plan again. Graphs with tensors keep theirs
# on the object alone, so that it dies with them.
_RECENT: OrderedDict[Graph, dict[Hashable, Any]] = OrderedDict()
_RECENT_SIZE = 16
_LOCK = Lock()
_NOTHING: dict[str, Any] = {}


def recall(graph: Graph, key: Hashable, compute: Callable[[], R]) -> R:
    """The result of ``compute()``, computed once per graph value and key."""
    memory: dict[Hashable, Any] | None = graph.__dict__.get("_memory")
    if memory is None:
        memory = {} if graph.holds_tensors else _shared(graph)
        object.__setattr__(graph, "_memory", memory)
    if key not in memory:
        with lasting():
            memory[key] = compute()
    return memory[key]


def facts_of(graph: Graph) -> Facts:
    """The facts of a graph, computed once per graph value."""
    return recall(graph, "facts", graph.facts)


def recalled(graph: Graph, key: Hashable) -> Any:
    """The value that `recall` stored under a key; None without one, and nothing is computed."""
    # Callers may not have checked yet that it is a graph; a torch.fx.Proxy has every attribute.
    memory: dict[Hashable, Any] | None = getattr(graph, "__dict__", _NOTHING).get("_memory")
    return None if memory is None else memory.get(key)


def _shared(graph: Graph) -> dict[Hashable, Any]:
    """The cache that all equal values share."""
    with _LOCK:
        memory = _RECENT.setdefault(graph, {})
        _RECENT.move_to_end(graph)
        while len(_RECENT) > _RECENT_SIZE:
            _RECENT.popitem(last=False)
        return memory


@contextmanager
def lasting() -> Generator[None]:
    """Create ordinary tensors that later calls can use, whatever mode the caller is in.

    A cached value that an evaluation computes must be usable in training, and an export must not
    leave fake tensors in the cache of a real call.
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
    """Pause the recording of `torch.jit.trace`: cached values are constants of the trace."""
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
    """Create new tensors on the CPU; a null context where that is the default, for speed."""
    elsewhere = torch.get_default_device().type != "cpu"
    return torch.device("cpu") if elsewhere else nullcontext()


_without_transforms: Callable[[], AbstractContextManager[object]] = getattr(
    torch._C,  # pyright: ignore[reportPrivateUsage]  # torch has no public way
    "_DisableFuncTorch",
    nullcontext,
)

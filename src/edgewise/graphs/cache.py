"""The cache of a graph value: what was worked out about it, computed once and kept with it."""

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

# Recently used values without tensors share what was worked out for an equal value: writing
# `attention(q, k, v, Causal(n))` in a loop must not plan again. Graphs with tensors keep theirs
# on the object alone, so that it dies with them.
_RECENT: OrderedDict[Graph, dict[Hashable, Any]] = OrderedDict()
_RECENT_SIZE = 16
_LOCK = Lock()
_NOTHING: dict[str, Any] = {}


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


def facts_of(graph: Graph) -> Facts:
    """The facts of a graph, computed once per graph value."""
    return recall(graph, "facts", graph.facts)


def recalled(graph: Graph, key: Hashable) -> Any:
    """What `recall` remembers under a key; None if there is nothing, which computes nothing."""
    # Callers may not have checked yet that it is a graph; a torch.fx.Proxy has every attribute.
    memory: dict[Hashable, Any] | None = getattr(graph, "__dict__", _NOTHING).get("_memory")
    return None if memory is None else memory.get(key)


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

"""Detection of tracers, and of tensors of edges whose numbers cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgewise.shapes import is_shape_only

__all__ = ["has_hooks_on_all_modules", "is_traced", "unreadable"]

# Private names of torch; if one is removed, that kind of tracer is not detected.
_C: Any = torch._C  # pyright: ignore[reportPrivateUsage]
_functorch: Any = getattr(_C, "_functorch", None)
_count_of_modes: Callable[[], int] = getattr(_C, "_len_torch_dispatch_stack", int)
_mode: Callable[[Any], Any] = getattr(_C, "_get_dispatch_mode", lambda _: None)
_keys: Any = getattr(_C, "_TorchDispatchModeKey", None)
_TRACING_MODES = tuple(
    getattr(_keys, name) for name in ("PROXY", "FAKE", "FUNCTIONAL") if hasattr(_keys, name)
)


def is_traced() -> bool:
    """Whether a compiler, an exporter or `torch.jit.trace` records operations, or all is fake."""
    jit: Any = torch.jit
    if torch.compiler.is_compiling() or jit.is_tracing():
        return True
    return _count_of_modes() > 0 and any(_mode(mode) is not None for mode in _TRACING_MODES)


def unreadable(edges: Tensor) -> bool:
    """Whether a tensor has no numbers, or different ones for each example of a ``vmap``.

    >>> unreadable(torch.zeros(2, 0)), unreadable(torch.zeros(2, 0, device="meta"))
    (False, True)
    """
    if is_shape_only(edges):
        return True
    while _functorch is not None and _functorch.is_functorch_wrapped_tensor(edges):
        if _functorch.is_batchedtensor(edges):
            return True
        edges = _functorch.get_unwrapped(edges)
        if is_shape_only(edges):
            return True
    return False


def has_hooks_on_all_modules() -> bool:
    """Whether hooks were registered for every module of the process."""
    module: Any = torch.nn.modules.module
    return bool(
        module._global_forward_hooks
        or module._global_forward_pre_hooks
        or module._global_backward_hooks
        or module._global_backward_pre_hooks
    )

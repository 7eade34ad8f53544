"""Detection of tracing: torch.compile, torch.func, dispatch modes, tensor subclasses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

__all__ = [
    "are_transforms_active",
    "differentiated_again",
    "forward_mode",
    "in_onnx_export",
    "is_intercepted",
    "many_at_once",
    "overridden",
]

_PLAIN = (Tensor, Parameter)  # subclasses may be anything

# Private names of torch; if one is removed, no tracing is assumed.
_C = torch._C  # pyright: ignore[reportPrivateUsage]
are_transforms_active: Callable[[], bool] = getattr(_C, "_are_functorch_transforms_active", bool)
_count_of_modes: Callable[[], int] = getattr(_C, "_len_torch_dispatch_stack", int)
_has_no_memory: Callable[[Tensor], bool] = getattr(Tensor, "_is_zerotensor", lambda _: False)
_functorch: Any = getattr(_C, "_functorch", None)
_transforms: Callable[[], Sequence[Any] | None] = getattr(
    _functorch, "get_interpreter_stack", lambda: None
)
_is_wrapped: Callable[[Tensor], bool] = getattr(
    _functorch, "is_functorch_wrapped_tensor", lambda _: False
)
_is_batched: Callable[[Tensor], bool] = getattr(
    _functorch, "is_legacy_batchedtensor", lambda _: False
)
_unwrapped: Callable[[Tensor], Tensor] = getattr(_functorch, "get_unwrapped", lambda t: t)
_count_of_overrides: Callable[[], int] = getattr(_C, "_len_torch_function_stack", int)


def is_intercepted(tensors: Sequence[Tensor | None]) -> bool:
    """Whether a compiler, tracer, transformation or tensor subclass intercepts the operators."""
    if (
        torch.compiler.is_compiling()
        or are_transforms_active()
        or _count_of_modes() > 0
        or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        or forward_mode()
    ):
        return True
    for tensor in tensors:
        if tensor is None:
            continue
        if type(tensor) not in _PLAIN or tensor.is_neg() or _has_no_memory(tensor):
            return True
    return False


def many_at_once(tensors: Sequence[Tensor | None]) -> bool:
    """Whether gradients are batched (``is_grads_batched``), as for a Jacobian."""
    return any(_is_batched(tensor) for tensor in tensors if tensor is not None)


def differentiated_again(tensors: Sequence[Tensor | None]) -> bool:
    """Whether ``torch.func`` or forward mode may compute a second derivative of these.

    Kernels with a single derivative are then computed in plain torch.
    """
    if forward_mode():
        return True
    levels = _count_of_derivatives()
    return levels > 1 or (
        levels == 1 and any(_outside(t).requires_grad for t in tensors if t is not None)
    )


def _count_of_derivatives() -> int:
    """Number of differentiating transforms of ``torch.func`` around this call."""
    stack = _transforms() if are_transforms_active() else None
    return sum(level.key().name in ("Grad", "Jvp") for level in stack or ())


def _outside(tensor: Tensor) -> Tensor:
    """The tensor outside of the outermost transform."""
    while _is_wrapped(tensor):
        tensor = _unwrapped(tensor)
    return tensor


# torch.compile evaluates this during tracing, inside the transforms that it traces.
_count_of_derivatives._dynamo_marked_constant = True  # type: ignore[attr-defined]


def forward_mode() -> bool:
    """Whether tensors may carry tangents."""
    return getattr(forward_ad, "_current_level", -1) >= 0


def overridden() -> bool:
    """Whether functions of torch are overridden, for example by a default device."""
    return _count_of_overrides() > 0


def in_onnx_export() -> bool:
    """Whether torch exports to ONNX, which has no custom operators."""
    return torch.onnx.is_in_onnx_export()

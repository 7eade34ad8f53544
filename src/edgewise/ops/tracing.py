"""Who is looking: whether a call may go straight to memory, or has to be seen by torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

__all__ = ["are_transforms_active", "forward_mode", "looked_into", "overridden"]

_PLAIN = (Tensor, Parameter)  # subclasses may be anything

# torch has no public way to ask; where a name is gone, nobody is looking.
_C = torch._C  # pyright: ignore[reportPrivateUsage]
are_transforms_active: Callable[[], bool] = getattr(_C, "_are_functorch_transforms_active", bool)
_count_of_modes: Callable[[], int] = getattr(_C, "_len_torch_dispatch_stack", int)
_has_no_memory: Callable[[Tensor], bool] = getattr(Tensor, "_is_zerotensor", lambda _: False)
_count_of_overrides: Callable[[], int] = getattr(_C, "_len_torch_function_stack", int)


def looked_into(tensors: Sequence[Tensor | None]) -> bool:
    """Whether a compiler, a tracer, a transformation or a tensor's own type sees the operators."""
    if (
        torch.compiler.is_compiling()
        or are_transforms_active()
        or _count_of_modes() > 0
        or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    ):
        return True
    for tensor in tensors:
        if tensor is None:
            continue
        if type(tensor) not in _PLAIN or tensor.is_neg() or _has_no_memory(tensor):
            return True
    return False


def forward_mode() -> bool:
    """Whether tensors may carry tangents."""
    return getattr(forward_ad, "_current_level", -1) >= 0


def overridden() -> bool:
    """Whether functions of torch may do something else, such as use another default device."""
    return _count_of_overrides() > 0

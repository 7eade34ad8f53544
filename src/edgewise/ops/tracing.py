"""Who is looking: whether a call may go straight to memory, or has to be seen by torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

__all__ = ["are_transforms_active", "looked_into"]

_PLAIN = (Tensor, Parameter)  # subclasses may be anything

are_transforms_active: Callable[[], bool] = getattr(
    torch._C, "_are_functorch_transforms_active", bool
)
_count_of_modes: Callable[[], int] = getattr(torch._C, "_len_torch_dispatch_stack", int)


def looked_into(tensors: Sequence[Tensor | None]) -> bool:
    """Whether a compiler, a tracer, a transformation or a tensor's own type sees the operators."""
    if (
        torch.compiler.is_compiling()
        or are_transforms_active()
        or _count_of_modes() > 0
        or torch.jit.is_tracing()
    ):
        return True
    for tensor in tensors:
        if tensor is not None and (type(tensor) not in _PLAIN or tensor.is_neg()):
            return True
    return False

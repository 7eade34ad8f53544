"""Refusals of derivatives that a backend does not have, in a sentence."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import Function

from edgewise.errors import DerivativeError
from edgewise.ops.inputs import Inputs

__all__ = ["at_most_once", "refuse", "refuse_forward_mode"]


def at_most_once(backend: str, inputs: Inputs) -> Inputs:
    """The same inputs, whose gradients refuse to be differentiated.

    For kernels of torch, which would fail in their own words.

    Args:
        backend: Which backend computes.
        inputs: The tensors of a call.
    """
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return inputs
    wanted = {name: tensor for name, tensor in inputs.tensors().items() if tensor.requires_grad}
    if not wanted:
        return inputs
    marked = _Once.apply(backend, *wanted.values())  # type: ignore[misc]
    return inputs.with_tensors(dict(zip(wanted, marked, strict=True)))


class _Once(Function):
    @staticmethod
    def forward(ctx: Any, backend: str, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.backend = backend
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        if not torch.is_grad_enabled():
            return None, *grads
        return None, *(_Refuse.apply(ctx.backend, grad) for grad in grads)  # type: ignore[misc]


class _Refuse(Function):
    @staticmethod
    def forward(ctx: Any, backend: str, grad: Tensor, *anchors: Tensor) -> Tensor:
        ctx.backend = backend
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        refuse(ctx.backend)


def refuse(backend: str) -> NoReturn:
    """Refuse a second derivative, and name the ways to have one."""
    raise DerivativeError(f"backend {backend!r} has no second derivative. {_CURE}")


def refuse_forward_mode(backend: str) -> NoReturn:
    """Refuse a forward-mode derivative, and name the ways to have one."""
    raise DerivativeError(f"backend {backend!r} has no forward-mode derivative. {_CURE}")


_CURE = (
    "Name another in the call, as backend='gather', or around layers and models, as "
    "`with edgewise.use_backend('gather'):`."
)

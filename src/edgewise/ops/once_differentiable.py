"""Gradients without second derivatives: marks inputs so that a second derivative raises."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import Function

from edgewise.errors import DerivativeError
from edgewise.ops.inputs import Inputs

__all__ = ["at_most_once", "refuse", "refuse_forward_mode"]


def at_most_once(backend: str, inputs: Inputs) -> Inputs:
    """The inputs, with gradients that raise DerivativeError if they are differentiated.

    For kernels of torch, whose errors do not name the cure.

    Args:
        backend: Name of the backend.
        inputs: The tensors of a call.
    """
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return inputs
    named = inputs.tensors().items()
    differentiable = {name: tensor for name, tensor in named if tensor.requires_grad}
    if not differentiable:
        return inputs
    marked = _Once.apply(backend, *differentiable.values())  # type: ignore[misc]
    return inputs.with_tensors(dict(zip(differentiable, marked, strict=True)))


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
    """Raise DerivativeError for a second derivative, with the cure."""
    raise DerivativeError(f"backend {backend!r} has no second derivative. {_CURE}")


def refuse_forward_mode(backend: str) -> NoReturn:
    """Raise DerivativeError for a forward-mode derivative, with the cure."""
    raise DerivativeError(f"backend {backend!r} has no forward-mode derivative. {_CURE}")


_CURE = (
    "Name another in the call, as backend='gather', or around layers and models, as "
    "`with edgewise.use_backend('gather'):`."
)

"""Gradients that have no gradient: a second derivative says so, instead of being silently zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import Function

from edgewise.errors import DerivativeError
from edgewise.ops.inputs import Inputs

__all__ = ["at_most_once", "once_differentiable", "refuse"]


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


def once_differentiable(
    backend: str, found: Sequence[Tensor | None], anchors: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The same gradients, which refuse to be differentiated.

    Args:
        backend: Which backend worked them out.
        found: The gradients.
        anchors: What they were worked out from.
    """
    leaves = [tensor for tensor in anchors if tensor is not None and tensor.requires_grad]
    return [
        None if grad is None else _Refuse.apply(backend, grad, *leaves)  # type: ignore[misc]
        for grad in found
    ]


class _Refuse(Function):
    @staticmethod
    def forward(ctx: Any, backend: str, grad: Tensor, *anchors: Tensor) -> Tensor:
        ctx.backend = backend
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        refuse(ctx.backend)


def refuse(backend: str) -> NoReturn:
    """Say what a second derivative needs."""
    raise DerivativeError(
        f"backend {backend!r} has no second derivative. "
        "Use backend='gather' or backend='reference'."
    )

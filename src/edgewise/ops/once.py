"""Gradients that have no gradient: a second derivative says so, instead of being silently zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from torch import Tensor
from torch.autograd import Function

from edgewise.errors import DerivativeError

__all__ = ["once_differentiable", "refuse"]


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

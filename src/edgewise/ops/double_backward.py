"""Double backward: differentiable gradients, by recomputation in plain torch operations.

The gradients of a kernel are not differentiable. If a backward pass is differentiated
(``create_graph=True``), the call is recomputed in torch operations on the same tensors, which
torch differentiates: exact, any number of times, in the memory of these operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from edgewise.ops.tracing import are_transforms_active

__all__ = ["differentiable_gradients"]

MaybeTensors = Sequence[Tensor | None]


def differentiable_gradients(
    plain: Callable[..., Sequence[Tensor]],
    tensors: MaybeTensors,
    needed: Sequence[bool],
    grads: MaybeTensors,
) -> list[Tensor | None]:
    """Gradients of a call, as functions of its tensors and of the gradients of its results.

    Args:
        plain: Function from ``tensors`` to the results, in operations that torch can differentiate.
        tensors: Arguments of the call, as autograd saved them.
        needed: Whether each of them needs a gradient.
        grads: A gradient for each result; None for zero.

    Returns:
        A gradient for each of ``tensors`` that needs one, else None.
    """
    places = [at for at, tensor in enumerate(tensors) if tensor is not None and needed[at]]
    if are_transforms_active():
        gradients = _by_transform(plain, tensors, places, grads)
    else:
        gradients = _by_autograd(plain, tensors, places, grads)
    at_place = dict(zip(places, gradients, strict=True))
    return [at_place.get(at) for at in range(len(tensors))]


def _by_autograd(
    plain: Callable[..., Sequence[Tensor]],
    tensors: MaybeTensors,
    places: Sequence[int],
    grads: MaybeTensors,
) -> Sequence[Tensor | None]:
    with torch.enable_grad():
        read: list[Any] = list(tensors)
        for at in places:  # aliases, so that torch stops here, not at the leaves
            alias = read[at].view_as(read[at])
            read[at] = alias if alias.requires_grad else alias.detach().requires_grad_()
        pairs = [
            (result, grad.to(result.dtype))
            for result, grad in zip(plain(*read), grads, strict=True)
            if grad is not None and result.requires_grad
        ]
        if not pairs or not places:
            return [None] * len(places)
        gradients: Any = torch.autograd.grad(
            [result for result, _ in pairs],
            [read[at] for at in places],
            [grad for _, grad in pairs],
            create_graph=True,
            allow_unused=True,
        )
        return gradients


def _by_transform(
    plain: Callable[..., Sequence[Tensor]],
    tensors: MaybeTensors,
    places: Sequence[int],
    grads: MaybeTensors,
) -> Sequence[Tensor | None]:
    """The gradients under ``torch.func``, where `torch.autograd.grad` cannot be called.

    Args:
        plain: Function from ``tensors`` to the results.
        tensors: Arguments of the call.
        places: Positions of the tensors that need a gradient.
        grads: A gradient for each result; None for zero.
    """

    def results(*chosen: Tensor) -> tuple[Tensor, ...]:
        read: list[Any] = list(tensors)
        for at, tensor in zip(places, chosen, strict=True):
            read[at] = tensor
        return tuple(plain(*read))

    made: Any = torch.func.vjp(results, *(tensors[at] for at in places))
    values, pull = made
    return pull(
        tuple(
            torch.zeros_like(value) if grad is None else grad.to(value.dtype)
            for value, grad in zip(values, grads, strict=True)
        )
    )

"""Gradients that can be differentiated again, from the same call in plain torch operations.

The gradients of a kernel are numbers without a history. Where a backward pass is itself
differentiated (``create_graph=True``), the call is written out in torch operations on the same
tensors, and torch differentiates those: exact, any number of times, in the memory that they take.
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
    wanted: Sequence[bool],
    grads: MaybeTensors,
) -> list[Tensor | None]:
    """Gradients of a call, as functions of its tensors and of the gradients of its results.

    Args:
        plain: Function from ``tensors`` to the results, in operations that torch can differentiate.
        tensors: What the call took, as autograd saved it.
        wanted: For which of them to return a gradient.
        grads: A gradient for each result; None for zero.

    Returns:
        A gradient for each of ``tensors`` that is wanted, else None.
    """
    places = [at for at, tensor in enumerate(tensors) if tensor is not None and wanted[at]]
    if are_transforms_active():
        found = _by_transform(plain, tensors, places, grads)
    else:
        found = _by_autograd(plain, tensors, places, grads)
    at_place = dict(zip(places, found, strict=True))
    return [at_place.get(at) for at in range(len(tensors))]


def _by_autograd(
    plain: Callable[..., Sequence[Tensor]],
    tensors: MaybeTensors,
    places: Sequence[int],
    grads: MaybeTensors,
) -> Sequence[Tensor | None]:
    with torch.enable_grad():
        read: list[Any] = list(tensors)
        for at in places:  # an alias each, so that torch stops here, not at the leaves
            alias = read[at].view_as(read[at])
            read[at] = alias if alias.requires_grad else alias.detach().requires_grad_()
        pairs = [
            (result, grad.to(result.dtype))
            for result, grad in zip(plain(*read), grads, strict=True)
            if grad is not None and result.requires_grad
        ]
        if not pairs or not places:
            return [None] * len(places)
        found: Any = torch.autograd.grad(
            [result for result, _ in pairs],
            [read[at] for at in places],
            [grad for _, grad in pairs],
            create_graph=True,
            allow_unused=True,
        )
        return found


def _by_transform(
    plain: Callable[..., Sequence[Tensor]],
    tensors: MaybeTensors,
    places: Sequence[int],
    grads: MaybeTensors,
) -> Sequence[Tensor | None]:
    """The same under ``torch.func``, where autograd cannot be called by hand."""

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

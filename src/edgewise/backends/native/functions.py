"""The kernels with their gradients, as autograd functions: the short way, for eager code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from edgewise.backends.native.kernels import (
    Operands,
    Settings,
    attention_backward,
    attention_forward,
    edge_products,
    reduce_rows,
)
from edgewise.backends.native.layout import Layout
from edgewise.errors import DerivativeError

__all__ = ["attention", "best_of_rows", "sum_of_rows"]


def attention(
    settings: Settings, layout: Layout, operands: Operands, seed: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp, differentiable once."""
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in operands):
        out: Any = _Attention.apply(settings, layout, seed, *operands)
        return out
    return attention_forward(settings, layout.rows, operands, seed)


class _Attention(Function):
    @staticmethod
    def forward(
        ctx: Any, settings: Settings, layout: Layout, seed: Tensor | None, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        operands = Operands(*tensors)
        exact, lse = attention_forward(settings, layout.rows, operands, seed, wide=True)
        ctx.settings, ctx.layout = settings, layout
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(exact, lse, seed, *tensors)
        query, key, _, vector, bias, edge_key, _ = ctx.needs_input_grad[3:]
        if not (query or key or vector or bias or edge_key):
            ctx.mark_non_differentiable(lse)  # the scores do not depend on the values
        return exact.to(operands.query.dtype), lse

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        out, lse, seed, *tensors = ctx.saved_tensors
        grad_out, grad_lse = grads
        if grad_out is None:
            grad_out = torch.zeros_like(out, dtype=tensors[0].dtype)
        found = attention_backward(
            ctx.settings,
            ctx.layout.rows,
            ctx.layout.reversed,
            Operands(*tensors),
            seed,
            out,
            lse,
            grad_out,
            grad_lse,
            tuple(ctx.needs_input_grad[3:]),
        )
        if torch.is_grad_enabled():
            found = _once_differentiable(found, [grad_out, *tensors])
        return None, None, None, *found


def _once_differentiable(
    found: list[Tensor | None], anchors: list[Tensor | None]
) -> list[Tensor | None]:
    """Make a second derivative say what it needs, instead of being silently zero."""
    leaves = [tensor for tensor in anchors if tensor is not None and tensor.requires_grad]
    return [
        None if grad is None else _Refuse.apply(grad, *leaves)  # type: ignore[misc]
        for grad in found
    ]


class _Refuse(Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, *anchors: Tensor) -> Tensor:
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise DerivativeError(
            "backend 'native' has no second derivative. Use backend='gather' or "
            "backend='reference'."
        )


# --- Aggregation: sums and products of edges are each other's derivatives -------------------------


def sum_of_rows(layout: Layout, value: Tensor, weight: Tensor | None, *, flip: bool) -> Tensor:
    """Weighted sums over the sources of each target; with ``flip``, over the targets of sources."""
    return _Sum.apply(layout, flip, value, weight)  # type: ignore[no-any-return]


class _Sum(Function):
    @staticmethod
    def forward(
        ctx: Any, layout: Layout, flip: bool, value: Tensor, weight: Tensor | None
    ) -> Tensor:
        ctx.layout, ctx.flip = layout, flip
        ctx.save_for_backward(value, weight)
        return reduce_rows("sum", layout.reversed if flip else layout.rows, value, weight)[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        value, weight = ctx.saved_tensors
        of_value = of_weight = None
        if ctx.needs_input_grad[2]:
            of_value = sum_of_rows(ctx.layout, grad, weight, flip=not ctx.flip)
        if ctx.needs_input_grad[3]:
            ends = (value, grad) if ctx.flip else (grad, value)
            of_weight = _Products.apply(ctx.layout, weight.shape, *ends)
        return None, None, of_value, of_weight


class _Products(Function):
    """Of each edge: its target's row times its source's row."""

    @staticmethod
    def forward(
        ctx: Any, layout: Layout, shape: torch.Size, target: Tensor, source: Tensor
    ) -> Tensor:
        ctx.layout = layout
        ctx.save_for_backward(target, source)
        return edge_products(layout.rows, target, source, shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        target, source = ctx.saved_tensors
        of_target = of_source = None
        if ctx.needs_input_grad[2]:
            of_target = sum_of_rows(ctx.layout, source, grad, flip=False)
        if ctx.needs_input_grad[3]:
            of_source = sum_of_rows(ctx.layout, target, grad, flip=True)
        return None, None, of_target, of_source


def best_of_rows(layout: Layout, value: Tensor, weight: Tensor | None) -> Tensor:
    """Largest message of each row and channel; the first of equals receives the gradient."""
    return _Best.apply(layout, value, weight)  # type: ignore[no-any-return]


class _Best(Function):
    @staticmethod
    def forward(ctx: Any, layout: Layout, value: Tensor, weight: Tensor | None) -> Tensor:
        out, winner = reduce_rows("max", layout.rows, value, weight)
        ctx.layout = layout
        ctx.save_for_backward(value, weight, winner)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        value, weight, winner = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *_best_again(ctx, grad, value, weight, winner)
        of_value = of_weight = None
        if ctx.needs_input_grad[1]:
            of_value = reduce_rows("won", ctx.layout.reversed, grad, weight, winner)[0]
        if ctx.needs_input_grad[2]:
            rows = ctx.layout.rows
            of_weight = edge_products(rows, grad, value, weight.shape, winner)
        return None, of_value, of_weight


def _best_again(
    ctx: Any, grad: Tensor, value: Tensor, weight: Tensor | None, winner: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """The same gradients in plain torch, which can be differentiated again."""
    layout: Layout = ctx.layout
    batch = value.shape[:-2]
    winner = winner.view(*batch, *winner.shape[-2:]).to(torch.int64)
    empty, edge = winner < 0, winner.clamp(min=0)
    source = layout.source_of_edge[edge]
    grad = grad.masked_fill(empty, 0.0)
    of_value = of_weight = None
    if ctx.needs_input_grad[1]:
        factors = 1.0 if weight is None else _pick(weight, edge)
        of_value = torch.zeros_like(value).scatter_add(-2, source, (grad * factors).to(grad.dtype))
    if weight is not None and ctx.needs_input_grad[2]:
        messages = (grad * value.gather(-2, source)).to(weight.dtype)
        wide = weight.new_zeros(*batch, weight.shape[-1])
        wide = wide.scatter_add(-1, edge.flatten(-2), messages.flatten(-2))
        of_weight = wide.sum_to_size(weight.shape)
    return of_value, of_weight


def _pick(weight: Tensor, edge: Tensor) -> Tensor:
    """Weights ``[*batch|1, E]`` of edges ``[*batch, T, C]``."""
    wide = weight.expand(*edge.shape[:-2], weight.shape[-1])
    return wide.gather(-1, edge.flatten(-2)).view(edge.shape)

"""Autograd functions of the kernels.

Compilers, tracers, ``torch.func`` and tensors without memory get the operators of
`edgewise.backends.native.operators` and `edgewise.backends.native.sum_operators` instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from edgewise.backends.native.double_backward import best_again, gradients_again
from edgewise.backends.native.edge_sums import edge_products, reduce_rows
from edgewise.backends.native.kernels import attention_backward, attention_forward
from edgewise.backends.native.layout import Layout, Rows
from edgewise.backends.native.operands import Operands, Settings
from edgewise.ops.computed_again import all_finite
from edgewise.ops.once_differentiable import refuse_forward_mode
from edgewise.ops.state import accumulate_dtype
from edgewise.ops.tracing import are_transforms_active, forward_mode, is_intercepted, many_at_once

__all__ = [
    "attention",
    "best_of_rows",
    "gradients",
    "mean_of_rows",
    "sum_of_rows",
]


def attention(
    settings: Settings, layout: Layout, operands: Operands, seed: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Output ``[*batch, H, T, Dv]`` and log-sum-exp ``[*batch, H, T]``.

    ``seed`` is that of dropout, None without.
    """
    needs_grad = _needs_grad(operands)
    if forward_mode():
        refuse_forward_mode("native")
    if is_intercepted(operands):
        from edgewise.backends.native import operators  # defined on first need

        graph = _graph(layout, needs_grad)
        out, lse = operators.attention(*operands, seed, *graph, settings[0], settings[1:])
        return out.to(operands.query.dtype), lse
    if needs_grad:
        out: Any = _AttentionFunction.apply(settings, layout, seed, *operands)
        return out
    return attention_forward(settings, layout.rows, operands, seed)


def _needs_grad(tensors: Sequence[Tensor | None]) -> bool:
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def _graph(
    layout: Layout, needs_grad: bool
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[int, int]]:
    """The arguments of an operator for a graph: tensors by target and by source, and slots."""
    rows = layout.rows
    if not (needs_grad or (not torch.compiler.is_compiling() and are_transforms_active())):
        return rows.tensors, (), (rows.num_slots, 0)
    columns = layout.reversed
    return rows.tensors, columns.tensors, (rows.num_slots, columns.num_slots)


class _AttentionFunction(Function):
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
        ctx.maybe_clear_saved_tensors()  # unless the graph is kept for another time
        grad_out, grad_lse = grads
        wanted, operands = tuple(ctx.needs_input_grad[3:]), Operands(*tensors)
        if torch.is_grad_enabled() or many_at_once(grads):
            rows: Rows = ctx.layout.rows
            of_operands = gradients_again(
                ctx.settings, rows, operands, seed, (grad_out, grad_lse), wanted
            )
            return None, None, None, *of_operands
        if grad_out is None:
            grad_out = torch.zeros_like(out, dtype=tensors[0].dtype)
        state = [out, lse]
        del out
        of_operands = gradients(
            ctx.settings, ctx.layout, operands, seed, state, grad_out, grad_lse, wanted
        )
        return None, None, None, *of_operands


def gradients(
    settings: Settings,
    layout: Layout,
    operands: Operands,
    seed: Tensor | None,
    state: list[Tensor],
    grad_out: Tensor,
    grad_lse: Tensor | None,
    wanted: tuple[bool, ...],
    *,
    records: list[bytes] | None = None,
) -> Sequence[Tensor | None]:
    """Gradients of the operands of which ``wanted`` is true, None of the others.

    ``grad_out`` is ``[*batch, H, T, Dv]``, ``grad_lse`` ``[*batch, H, T]``, None for zeros;
    ``state`` and ``records`` are those of `attention_backward` of the kernels.
    """
    if is_intercepted((grad_out, grad_lse)):  # many at once, as for a Jacobian
        from edgewise.backends.native import operators  # defined on first need

        tensors = (grad_out, grad_lse, *state, *operands, seed)
        graph = _graph(layout, needs_grad=True)
        of_operands = iter(
            operators.attention_backward(*tensors, *graph, settings[0], settings[1:], list(wanted))
        )
        return [next(of_operands) if needed else None for needed in wanted]
    return attention_backward(
        settings,
        layout.rows,
        layout.reversed,
        operands,
        seed,
        state,
        sent_to_readers(grad_out, state[1]),
        grad_lse,
        wanted,
        records=records,
    )


def sent_to_readers(grad_out: Tensor, lse: Tensor) -> Tensor:
    """The gradient of the output, zero where a target reads nothing.

    All that it reads may be forbidden by scores of minus infinity: the kernels then multiply its
    gradient by weights of zero, and zero times NaN is NaN.
    """
    if all_finite((grad_out,)):
        return grad_out
    return grad_out.masked_fill((lse == -torch.inf).unsqueeze(-1), 0.0)


# --- Aggregation: sums and products of edges are each other's derivatives -------------------------


def sum_of_rows(layout: Layout, value: Tensor, weight: Tensor | None, *, flip: bool) -> Tensor:
    """Weighted sums over the sources of each target; with ``flip``, over the targets of sources."""
    tensors = (value, weight)
    if forward_mode():
        refuse_forward_mode("native")
    if is_intercepted(tensors):
        from edgewise.backends.native import sum_operators  # defined on first need

        assert not flip, "operators call themselves the other way round"
        return sum_operators.sums(*tensors, None, *_graph(layout, _needs_grad(tensors)))
    if not _needs_grad(tensors):
        return reduce_rows("sum", layout.reversed if flip else layout.rows, value, weight)[0]
    return _SumFunction.apply(layout, flip, value, weight)  # type: ignore[no-any-return]


class _SumFunction(Function):
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


def mean_of_rows(layout: Layout, value: Tensor) -> Tensor:
    """Means over the sources of each target: sums with one over the number of edges as weight."""
    if forward_mode():
        refuse_forward_mode("native")
    if is_intercepted((value,)):
        share = layout.share(accumulate_dtype(value.dtype))
        return sum_of_rows(layout, value, share, flip=False)
    if not _needs_grad((value,)):
        return reduce_rows("mean", layout.rows, value, None)[0]
    return _Mean.apply(layout, value)  # type: ignore[no-any-return]


class _Mean(Function):
    @staticmethod
    def forward(ctx: Any, layout: Layout, value: Tensor) -> Tensor:
        ctx.layout = layout
        return reduce_rows("mean", layout.rows, value, None)[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        share = ctx.layout.share(accumulate_dtype(grad.dtype))
        return None, sum_of_rows(ctx.layout, grad, share, flip=True)


class _Products(Function):
    """Products for each edge: its target's row times its source's row, summed over channels."""

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
    tensors = (value, weight)
    if forward_mode():
        refuse_forward_mode("native")
    if is_intercepted(tensors):
        from edgewise.backends.native import sum_operators  # defined on first need

        return sum_operators.best(*tensors, *_graph(layout, _needs_grad(tensors)))[0]
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
        layout: Layout = ctx.layout
        value, weight, winner = ctx.saved_tensors
        wanted = (ctx.needs_input_grad[1], ctx.needs_input_grad[2])
        if torch.is_grad_enabled():
            source = layout.rows.column_of_edge()
            return None, *best_again(grad, value, weight, winner, source, wanted)
        of_value = of_weight = None
        if wanted[0]:
            of_value = reduce_rows("won", layout.reversed, grad, weight, winner)[0]
        if wanted[1]:
            of_weight = edge_products(layout.rows, grad, value, weight.shape, winner)
        return None, of_value, of_weight

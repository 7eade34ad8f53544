"""The kernels as operators of torch: what a tracer, a compiler and ``torch.func`` can look into.

A graph goes in as its tensors, so that compiled code that is kept on disk never meets another
graph under the same name. Arguments and results never share memory. Eager code takes the shorter
way of `edgewise.backends.native.functions`.
"""

# ruff: noqa: ARG001 - torch passes all arguments by position to whatever belongs to an operator
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, cast

import torch
from torch import Tensor
from torch.autograd import Function

from edgewise.backends.native import kernels
from edgewise.backends.native.functions import best_again
from edgewise.backends.native.kernels import Operands, Settings
from edgewise.backends.native.layout import Rows
from edgewise.backends.native.plain import gradients_again
from edgewise.ops.double_backward import differentiable_gradients
from edgewise.ops.once_differentiable import refuse
from edgewise.ops.state import accumulate_dtype
from edgewise.ops.tracing import are_transforms_active

__all__ = ["attention", "attention_backward", "best", "products", "sums"]

MaybeTensor = Tensor | None
Lists = Sequence[Tensor]
Dims = tuple[Any, ...]

# The tensors of `Operands`; then the graph: `Rows.tensors` by target and by source (none where no
# gradient is wanted: the output is wide where there are some), and their `num_slots`; then
# `Settings`.
_OPERANDS = (
    "Tensor query, Tensor key, Tensor value, Tensor? vector, Tensor? bias, Tensor? edge_key, "
    "Tensor? edge_value, Tensor? seed"
)
_GRAPH = "Tensor[] rows, Tensor[] columns, SymInt[] slots"
_SETTINGS = "int score, float[] numbers"
_NUM_OPERANDS = 7
_NUM_ROWS = 8  # tensors of `Rows.tensors`


def _refuse(*_: object) -> NoReturn:
    refuse("native")


def _operator(
    name: str,
    signature: str,
    run: Callable[..., Any],
    fake: Callable[..., Any],
    derivative: tuple[Callable[..., Any], Callable[..., Any]],
    batched: Callable[..., Any],
) -> Callable[..., Any]:
    """Define an operator: on tensors, on tensors without numbers, its derivative, its vmap.

    Returns:
        The operator, which under ``torch.func`` is a function with the same rules: an operator's
        derivative is for autograd alone.
    """
    full = f"edgewise::{name}"
    torch.library.define(full, signature, tags=(torch.Tag.needs_exact_strides,))
    torch.library.impl(full, "CPU", run)
    torch.library.register_fake(full, fake)
    setup, derive = derivative

    def derive_lists(ctx: Any, *grads: Any) -> Any:
        wanted, found = ctx.needs_input_grad, derive(ctx, *grads)
        return tuple(
            [None] * len(want) if isinstance(want, list | tuple) else grad
            for want, grad in zip(wanted, found, strict=True)
        )

    torch.library.register_autograd(full, derive_lists, setup_context=setup)
    torch.library.register_vmap(full, batched)
    operator = cast("Callable[..., Any]", getattr(torch.ops.edgewise, name).default)

    class Transformed(Function):
        @staticmethod
        def forward(*args: Any) -> Any:
            found = operator(*args)
            return tuple(found) if isinstance(found, list) else found

        setup_context = staticmethod(setup)
        backward = staticmethod(derive)
        vmap = staticmethod(batched)

    def call(*args: Any) -> Any:
        if not torch.compiler.is_compiling() and are_transforms_active():
            return Transformed.apply(*args)
        return operator(*args)

    return call


# --- Attention -----------------------------------------------------------------------------------


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    vector: MaybeTensor,
    bias: MaybeTensor,
    edge_key: MaybeTensor,
    edge_value: MaybeTensor,
    seed: MaybeTensor,
    rows: Lists,
    columns: Lists,
    slots: Sequence[int],
    score: int,
    numbers: Sequence[float],
) -> tuple[Tensor, Tensor]:
    return kernels.attention_forward(
        Settings(score, *numbers),
        Rows.from_tensors(rows, key.shape[-2], slots[0]),
        Operands(query, key, value, vector, bias, edge_key, edge_value),
        seed,
        wide=len(columns) > 0,
    )


def _attention_fake(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    vector: MaybeTensor,
    bias: MaybeTensor,
    edge_key: MaybeTensor,
    edge_value: MaybeTensor,
    seed: MaybeTensor,
    rows: Lists,
    columns: Lists,
    *rest: object,
) -> tuple[Tensor, Tensor]:
    return kernels.empty_results(query, value, wide=len(columns) > 0)


def _attention_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, rows, columns, slots, score, numbers = inputs
    ctx.slots, ctx.score, ctx.numbers = slots, score, numbers
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output, *tensors, *rows, *columns)


def _attention_derivative(ctx: Any, grad_out: MaybeTensor, grad_lse: MaybeTensor) -> Any:
    out, lse, *saved = ctx.saved_tensors
    tensors, graph = saved[: _NUM_OPERANDS + 1], saved[_NUM_OPERANDS + 1 :]
    rows, columns = graph[:_NUM_ROWS], graph[_NUM_ROWS:]
    wanted = list(ctx.needs_input_grad[:_NUM_OPERANDS])
    if grad_out is None:
        grad_out = torch.zeros_like(out)
    args = (grad_out, grad_lse, out, lse, *tensors)
    rest = (rows, columns, ctx.slots, ctx.score, ctx.numbers, wanted)
    if are_transforms_active():
        found = iter(attention_backward(*args, *rest))
    elif torch.is_grad_enabled():
        *operands, seed = tensors
        settings = Settings(ctx.score, *ctx.numbers)
        of_graph = Rows.from_tensors(rows, operands[1].shape[-2], ctx.slots[0])
        again = gradients_again(
            settings, of_graph, Operands(*operands), seed, (grad_out, grad_lse), wanted
        )
        return *again, *(6 * [None])
    else:
        plain = (None if tensor is None else tensor.detach() for tensor in args)
        found = iter(attention_backward(*plain, *rest))
    return *(next(found) if want else None for want in wanted), *(6 * [None])


def _attention_backward(
    grad_out: Tensor,
    grad_lse: MaybeTensor,
    out: Tensor,
    lse: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    vector: MaybeTensor,
    bias: MaybeTensor,
    edge_key: MaybeTensor,
    edge_value: MaybeTensor,
    seed: MaybeTensor,
    rows: Lists,
    columns: Lists,
    slots: Sequence[int],
    score: int,
    numbers: Sequence[float],
    wanted: Sequence[bool],
) -> list[Tensor]:
    found = kernels.attention_backward(
        Settings(score, *numbers),
        Rows.from_tensors(rows, key.shape[-2], slots[0]),
        Rows.from_tensors(columns, query.shape[-2], slots[1]),
        Operands(query, key, value, vector, bias, edge_key, edge_value),
        seed,
        [out, lse],
        grad_out,
        grad_lse,
        tuple(wanted),
    )
    return [grad for grad in found if grad is not None]


def _attention_backward_fake(
    grad_out: Tensor, grad_lse: MaybeTensor, out: Tensor, lse: Tensor, *rest: Any
) -> list[Tensor]:
    operands, wanted = Operands(*rest[:_NUM_OPERANDS]), rest[-1]
    return [
        kernels.empty_gradient(operands, place)
        for place in range(_NUM_OPERANDS)
        if wanted[place] and operands[place] is not None
    ]


def _attention_vmap(info: Any, dims: Dims, *args: Any) -> tuple[Any, Any]:
    tensors, dims, rest = args[:8], dims[:8], args[8:]
    if _seeded_or_many_vectors(tensors, dims):
        return _one_by_one(attention, info.batch_size, tensors, dims, rest)
    return attention(*_all_batched(info.batch_size, tensors, dims), *rest), (0, 0)


def _attention_backward_setup(ctx: Any, inputs: tuple[Any, ...], output: Sequence[Tensor]) -> None:
    grad_out, grad_lse, _, _, *tensors = inputs[: 4 + _NUM_OPERANDS + 1]
    rows, _, ctx.slots, ctx.score, ctx.numbers, ctx.wanted = inputs[4 + _NUM_OPERANDS + 1 :]
    ctx.save_for_backward(grad_out, grad_lse, *tensors, *rows)


def _attention_backward_derivative(ctx: Any, *grads: Any) -> Any:
    """Gradients of the gradients, all of them sent to what the call and its results depend on.

    Output and log-sum-exp are functions of the operands, so they receive none of their own.
    """
    grad_out, grad_lse, *saved = ctx.saved_tensors
    operands, seed, rows = saved[:_NUM_OPERANDS], saved[_NUM_OPERANDS], saved[_NUM_OPERANDS + 1 :]
    pushes = iter(grads[0] if isinstance(grads[0], list | tuple) else grads)
    of_graph = Rows.from_tensors(rows, operands[1].shape[-2], ctx.slots[0])
    settings, wanted = Settings(ctx.score, *ctx.numbers), ctx.wanted

    def gradients(*tensors: Any) -> tuple[Tensor, ...]:
        found = gradients_again(
            settings, of_graph, Operands(*tensors[2:]), seed, tensors[:2], wanted
        )
        return tuple(grad for grad in found if grad is not None)

    tensors = [grad_out, grad_lse, *operands]
    needed = [*ctx.needs_input_grad[:2], *ctx.needs_input_grad[4 : 4 + _NUM_OPERANDS]]
    sent = [next(pushes) for want in wanted if want]
    found = differentiable_gradients(gradients, tensors, needed, sent)
    return *found[:2], None, None, *found[2:], *(7 * [None])


def _attention_backward_vmap(info: Any, dims: Dims, *args: Any) -> tuple[Any, Any]:
    size, wanted = info.batch_size, args[-1]
    tensors, dims, rest = args[:12], dims[:12], args[12:]
    if wanted[3] or _seeded_or_many_vectors(tensors[4:], dims[4:]):
        return _one_by_one(attention_backward, size, tensors, dims, rest)
    results = [
        None if tensor is None else _in_front(tensor, dim, size)
        for tensor, dim in zip(tensors[:4], dims[:4], strict=True)
    ]
    found = attention_backward(*results, *_all_batched(size, tensors[4:], dims[4:]), *rest)
    operands: Sequence[Any] = tensors[4:11]
    shapes = [
        _in_front(tensor, dim, size).shape
        for tensor, dim, want in zip(operands, dims[4:11], wanted, strict=True)
        if want
    ]
    return tuple(g.reshape(s) for g, s in zip(found, shapes, strict=True)), (0,) * len(found)


def _seeded_or_many_vectors(tensors: Sequence[MaybeTensor], dims: Dims) -> bool:
    """Whether the samples cannot be one call: it has one vector, and numbers its heads to drop."""
    return tensors[7] is not None or dims[3] is not None


def _all_batched(size: int, tensors: Sequence[MaybeTensor], dims: Dims) -> list[MaybeTensor]:
    """Operands and seed with the samples as their first batch dimension."""
    query = tensors[0]
    assert query is not None
    lead = query.ndim - 2 - (dims[0] is not None)  # batch dimensions of one sample, and heads
    return [
        tensor
        if tensor is None or place in (3, 7)
        else _aligned(tensor, dims[place], size, lead + (1 if place == 4 else 2))
        for place, tensor in enumerate(tensors)
    ]


# --- Aggregation ---------------------------------------------------------------------------------


def _sums(
    value: Tensor,
    weight: MaybeTensor,
    winner: MaybeTensor,
    rows: Lists,
    columns: Lists,
    slots: Sequence[int],
) -> Tensor:
    return kernels.reduce_rows(
        "sum" if winner is None else "won",
        Rows.from_tensors(rows, value.shape[-2], slots[0]),
        value,
        weight,
        None if winner is None else winner.reshape(-1, *winner.shape[-2:]).contiguous(),
    )[0]


def _sums_fake(
    value: Tensor,
    weight: MaybeTensor,
    winner: MaybeTensor,
    rows: Lists,
    columns: Lists,
    slots: Sequence[int],
) -> Tensor:
    return value.new_empty((*value.shape[:-2], rows[0].shape[0] - 1, value.shape[-1]))


def _sums_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, weight, winner, rows, columns, ctx.slots = inputs
    ctx.save_for_backward(value, weight, winner, *rows, *columns)


def _sums_derivative(ctx: Any, grad: Tensor) -> Any:
    value, weight, winner, *graph = ctx.saved_tensors
    if winner is not None:
        _refuse()
    rows, columns = graph[:_NUM_ROWS], graph[_NUM_ROWS:]
    of_value = of_weight = None
    if ctx.needs_input_grad[0]:
        of_value = sums(grad, weight, None, columns, rows, ctx.slots[::-1])
    if ctx.needs_input_grad[1]:
        shape = weight.shape
        of_weight = products(grad, value, None, shape, rows, columns, ctx.slots)
    return of_value, of_weight, None, None, None, None


def _sums_vmap(info: Any, dims: Dims, *args: Any) -> tuple[Any, Any]:
    value, weight, winner, *graph = args
    size = info.batch_size
    value = _in_front(value, dims[0], size)
    if weight is not None:
        weight = _aligned(weight, dims[1], size, value.ndim - 2)
    if winner is not None:
        winner = _in_front(winner, dims[2], size)
    return sums(value, weight, winner, *graph), 0


def _products(
    target: Tensor,
    source: Tensor,
    winner: MaybeTensor,
    shape: Sequence[int],
    rows: Lists,
    columns: Lists,
    slots: Sequence[int],
) -> Tensor:
    return kernels.edge_products(
        Rows.from_tensors(rows, source.shape[-2], slots[0]),
        target,
        source,
        torch.Size(shape),
        None if winner is None else winner.reshape(-1, *winner.shape[-2:]).contiguous(),
    )


def _products_fake(
    target: Tensor, source: Tensor, winner: MaybeTensor, shape: Sequence[int], *graph: Any
) -> Tensor:
    return target.new_empty(tuple(shape), dtype=accumulate_dtype(target.dtype))


def _products_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    target, source, winner, _, rows, columns, ctx.slots = inputs
    ctx.save_for_backward(target, source, winner, *rows, *columns)


def _products_derivative(ctx: Any, grad: Tensor) -> Any:
    target, source, winner, *graph = ctx.saved_tensors
    if winner is not None:
        _refuse()
    rows, columns = graph[:_NUM_ROWS], graph[_NUM_ROWS:]
    of_target = of_source = None
    if ctx.needs_input_grad[0]:
        of_target = sums(source, grad, None, rows, columns, ctx.slots)
    if ctx.needs_input_grad[1]:
        of_source = sums(target, grad, None, columns, rows, ctx.slots[::-1])
    return of_target, of_source, *(5 * [None])


def _products_vmap(info: Any, dims: Dims, *args: Any) -> tuple[Any, Any]:
    target, source, winner, shape, *graph = args
    size = info.batch_size
    target, source = _in_front(target, dims[0], size), _in_front(source, dims[1], size)
    if winner is not None:
        winner = _in_front(winner, dims[2], size)
    ones = (1,) * (target.ndim - 2 - len(shape))
    found = products(target, source, winner, (size, *ones, *shape), *graph)
    return found.reshape(size, *shape), 0


def _best(
    value: Tensor, weight: MaybeTensor, rows: Lists, columns: Lists, slots: Sequence[int]
) -> tuple[Tensor, Tensor]:
    out, winner = kernels.reduce_rows(
        "max", Rows.from_tensors(rows, value.shape[-2], slots[0]), value, weight
    )
    assert winner is not None
    return out, winner.view(out.shape)


def _best_fake(
    value: Tensor, weight: MaybeTensor, rows: Lists, columns: Lists, slots: Sequence[int]
) -> tuple[Tensor, Tensor]:
    out = _sums_fake(value, weight, None, rows, columns, slots)
    return out, torch.empty_like(out, dtype=torch.int32)


def _best_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    value, weight, rows, columns, ctx.slots = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(value, weight, output[1], *rows, *columns)


def _best_derivative(ctx: Any, grad: Tensor, _: object) -> Any:
    value, weight, winner, *graph = ctx.saved_tensors
    rows, columns = graph[:_NUM_ROWS], graph[_NUM_ROWS:]
    wanted = tuple(ctx.needs_input_grad[:2])
    of_value = of_weight = None
    if torch.is_grad_enabled():
        source = Rows.from_tensors(rows, value.shape[-2], ctx.slots[0]).column_of_edge()
        of_value, of_weight = best_again(grad, value, weight, winner, source, wanted)
    else:
        value, weight = value.detach(), None if weight is None else weight.detach()
        if wanted[0]:
            of_value = sums(grad, weight, winner, columns, rows, ctx.slots[::-1])
        if wanted[1] and weight is not None:
            of_weight = products(grad, value, winner, weight.shape, rows, columns, ctx.slots)
    return of_value, of_weight, None, None, None


def _best_vmap(info: Any, dims: Dims, *args: Any) -> tuple[Any, Any]:
    value, weight, *graph = args
    value = _in_front(value, dims[0], info.batch_size)
    if weight is not None:
        weight = _aligned(weight, dims[1], info.batch_size, value.ndim - 2)
    return best(value, weight, *graph), (0, 0)


# --- Common --------------------------------------------------------------------------------------


def _in_front(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """The samples as the first dimension."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _aligned(tensor: Tensor, dim: int | None, size: int, ndim: int) -> Tensor:
    """The samples in front of ``ndim`` dimensions, of which the leading ones may be left out."""
    tensor = _in_front(tensor, dim, size)
    return tensor.reshape(size, *(1,) * (ndim - tensor.ndim + 1), *tensor.shape[1:])


def _one_by_one(
    operator: Callable[..., Any], size: int, tensors: Sequence[Any], dims: Dims, rest: Any
) -> tuple[Any, Any]:
    """A call for each sample."""
    samples = [
        operator(
            *(
                tensor if dim is None else tensor.select(dim, sample)
                for tensor, dim in zip(tensors, dims, strict=True)
            ),
            *rest,
        )
        for sample in range(size)
    ]
    found = tuple(torch.stack(results) for results in zip(*samples, strict=True))
    return found, (0,) * len(found)


attention = _operator(
    "attention",
    f"({_OPERANDS}, {_GRAPH}, {_SETTINGS}) -> (Tensor, Tensor)",
    _attention,
    _attention_fake,
    (_attention_setup, _attention_derivative),
    _attention_vmap,
)
attention_backward = _operator(
    "attention_backward",
    f"(Tensor grad_out, Tensor? grad_lse, Tensor out, Tensor lse, {_OPERANDS}, {_GRAPH}, "
    f"{_SETTINGS}, bool[] wanted) -> Tensor[]",
    _attention_backward,
    _attention_backward_fake,
    (_attention_backward_setup, _attention_backward_derivative),
    _attention_backward_vmap,
)
sums = _operator(
    "sums",
    f"(Tensor value, Tensor? weight, Tensor? winner, {_GRAPH}) -> Tensor",
    _sums,
    _sums_fake,
    (_sums_setup, _sums_derivative),
    _sums_vmap,
)
products = _operator(
    "products",
    f"(Tensor target, Tensor source, Tensor? winner, SymInt[] shape, {_GRAPH}) -> Tensor",
    _products,
    _products_fake,
    (_products_setup, _products_derivative),
    _products_vmap,
)
best = _operator(
    "best",
    f"(Tensor value, Tensor? weight, {_GRAPH}) -> (Tensor, Tensor)",
    _best,
    _best_fake,
    (_best_setup, _best_derivative),
    _best_vmap,
)

"""The kernels of sums, maxima and products of edges as operators of torch."""

# ruff: noqa: ARG001 - torch passes all arguments of an operator by position
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edgewise.backends.native.custom_operator import (
    GRAPH,
    Dims,
    GraphTensors,
    MaybeTensor,
    align,
    batch_first,
    define,
    refuse_second_derivative,
)
from edgewise.backends.native.double_backward import best_again
from edgewise.backends.native.edge_sums import edge_products, reduce_rows
from edgewise.ops.state import accumulate_dtype

__all__ = ["best", "products", "sums"]


def _flat(winner: MaybeTensor) -> MaybeTensor:
    """Winning edges with one batch dimension, as the kernels read them."""
    return None if winner is None else winner.reshape(-1, *winner.shape[-2:]).contiguous()


# --- Sums ----------------------------------------------------------------------------------------


def _sums(value: Tensor, weight: MaybeTensor, winner: MaybeTensor, *graph: Any) -> Tensor:
    rows = GraphTensors(*graph).by_target(value.shape[-2])
    reduce = "sum" if winner is None else "won"
    return reduce_rows(reduce, rows, value, weight, _flat(winner))[0]


def _fake_sums(value: Tensor, _weight: MaybeTensor, _winner: MaybeTensor, *graph: Any) -> Tensor:
    num_targets = GraphTensors(*graph).rows[0].shape[0] - 1
    return value.new_empty((*value.shape[:-2], num_targets, value.shape[-1]))


def _save_sums(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, weight, winner, *graph = inputs
    _save(ctx, graph, value, weight, winner)


def _derivative_of_sums(ctx: Any, grad: Tensor) -> Any:
    value, weight, winner, *tensors = ctx.saved_tensors
    if winner is not None:
        refuse_second_derivative()
    graph = GraphTensors.of_saved(tensors, ctx.slots)
    of_value = of_weight = None
    if ctx.needs_input_grad[0]:
        of_value = sums(grad, weight, None, *graph.reversed)
    if ctx.needs_input_grad[1]:
        of_weight = products(grad, value, None, weight.shape, *graph)
    return of_value, of_weight, None, None, None, None


def _batched_sums(info: Any, dims: Dims, *args: Any) -> tuple[Any, Any]:
    value, weight, winner, *graph = args
    size = info.batch_size
    value = batch_first(value, dims[0], size)
    if weight is not None:
        weight = align(weight, dims[1], size, value.ndim - 2)
    if winner is not None:
        winner = batch_first(winner, dims[2], size)
    return sums(value, weight, winner, *graph), 0


# --- Products ------------------------------------------------------------------------------------


def _products(
    target: Tensor, source: Tensor, winner: MaybeTensor, shape: Sequence[int], *graph: Any
) -> Tensor:
    rows = GraphTensors(*graph).by_target(source.shape[-2])
    return edge_products(rows, target, source, torch.Size(shape), _flat(winner))


def _fake_products(target: Tensor, *args: Any) -> Tensor:
    _source, _winner, shape, *_graph = args
    return target.new_empty(tuple(shape), dtype=accumulate_dtype(target.dtype))


def _save_products(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    target, source, winner, _shape, *graph = inputs
    _save(ctx, graph, target, source, winner)


def _derivative_of_products(ctx: Any, grad: Tensor) -> Any:
    target, source, winner, *tensors = ctx.saved_tensors
    if winner is not None:
        refuse_second_derivative()
    graph = GraphTensors.of_saved(tensors, ctx.slots)
    of_target = of_source = None
    if ctx.needs_input_grad[0]:
        of_target = sums(source, grad, None, *graph)
    if ctx.needs_input_grad[1]:
        of_source = sums(target, grad, None, *graph.reversed)
    return of_target, of_source, *(5 * [None])


def _batched_products(info: Any, dims: Dims, *args: Any) -> tuple[Any, Any]:
    target, source, winner, shape, *graph = args
    size = info.batch_size
    target, source = batch_first(target, dims[0], size), batch_first(source, dims[1], size)
    if winner is not None:
        winner = batch_first(winner, dims[2], size)
    ones = (1,) * (target.ndim - 2 - len(shape))
    result = products(target, source, winner, (size, *ones, *shape), *graph)
    return result.reshape(size, *shape), 0


# --- Maxima --------------------------------------------------------------------------------------


def _best(value: Tensor, weight: MaybeTensor, *graph: Any) -> tuple[Tensor, Tensor]:
    rows = GraphTensors(*graph).by_target(value.shape[-2])
    out, winner = reduce_rows("max", rows, value, weight)
    assert winner is not None
    return out, winner.view(out.shape)


def _fake_best(value: Tensor, weight: MaybeTensor, *graph: Any) -> tuple[Tensor, Tensor]:
    out = _fake_sums(value, weight, None, *graph)
    return out, torch.empty_like(out, dtype=torch.int32)


def _save_best(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    value, weight, *graph = inputs
    ctx.mark_non_differentiable(output[1])
    _save(ctx, graph, value, weight, output[1])


def _derivative_of_best(ctx: Any, grad: Tensor, _: object) -> Any:
    value, weight, winner, *tensors = ctx.saved_tensors
    graph = GraphTensors.of_saved(tensors, ctx.slots)
    wanted = tuple(ctx.needs_input_grad[:2])
    of_value = of_weight = None
    if torch.is_grad_enabled():
        source = graph.by_target(value.shape[-2]).column_of_edge()
        of_value, of_weight = best_again(grad, value, weight, winner, source, wanted)
    else:
        value, weight = value.detach(), None if weight is None else weight.detach()
        if wanted[0]:
            of_value = sums(grad, weight, winner, *graph.reversed)
        if wanted[1] and weight is not None:
            of_weight = products(grad, value, winner, weight.shape, *graph)
    return of_value, of_weight, None, None, None


def _batched_best(info: Any, dims: Dims, *args: Any) -> tuple[Any, Any]:
    value, weight, *graph = args
    value = batch_first(value, dims[0], info.batch_size)
    if weight is not None:
        weight = align(weight, dims[1], info.batch_size, value.ndim - 2)
    return best(value, weight, *graph), (0, 0)


def _save(ctx: Any, graph: Sequence[Any], *tensors: MaybeTensor) -> None:
    """Save tensors and the graph for the backward pass."""
    saved = GraphTensors(*graph)
    ctx.slots = saved.slots
    ctx.save_for_backward(*tensors, *saved.tensors)


sums = define(
    "sums",
    f"(Tensor value, Tensor? weight, Tensor? winner, {GRAPH}) -> Tensor",
    _sums,
    _fake_sums,
    (_save_sums, _derivative_of_sums),
    _batched_sums,
)
products = define(
    "products",
    f"(Tensor target, Tensor source, Tensor? winner, SymInt[] shape, {GRAPH}) -> Tensor",
    _products,
    _fake_products,
    (_save_products, _derivative_of_products),
    _batched_products,
)
best = define(
    "best",
    f"(Tensor value, Tensor? weight, {GRAPH}) -> (Tensor, Tensor)",
    _best,
    _fake_best,
    (_save_best, _derivative_of_best),
    _batched_best,
)

"""The attention kernels as operators of torch, for tracers, compilers and ``torch.func``.

Eager code calls `edgewise.backends.native.functions`, which does the same on memory.
"""

# ruff: noqa: ARG001 - torch passes all arguments of an operator by position
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edgewise.backends.native import kernels
from edgewise.backends.native.custom_operator import (
    GRAPH,
    Dims,
    GraphTensors,
    MaybeTensor,
    align,
    batch_first,
    call_each_sample,
    define,
)
from edgewise.backends.native.double_backward import gradients_again
from edgewise.backends.native.layout import Rows
from edgewise.backends.native.operands import Operands, Settings
from edgewise.ops.double_backward import differentiable_gradients
from edgewise.ops.tracing import are_transforms_active

__all__ = ["attention", "attention_backward"]

_NUM_OPERANDS = len(Operands._fields)
_NUM_TENSORS = _NUM_OPERANDS + 1  # with the seed
_VECTOR, _BIAS, _SEED = *map(Operands._fields.index, ("vector", "bias")), _NUM_OPERANDS
_NUM_RESULTS = 4  # of the backward pass: grad_out, grad_lse, out, lse

# `_OperatorArguments` as arguments of an operator.
_SCHEMA = ", ".join(
    (
        *(
            f"Tensor{'?' if name in Operands._field_defaults else ''} {name}"
            for name in Operands._fields
        ),
        "Tensor? seed",
        GRAPH,
        "int score, float[] numbers",
    )
)


class _OperatorArguments(NamedTuple):
    """The arguments of the operators, packed.

    The output is wide where ``graph`` has columns: where gradients are needed.
    """

    operands: Operands
    seed: MaybeTensor
    graph: GraphTensors
    settings: Settings

    @classmethod
    def of(cls, args: Sequence[Any]) -> _OperatorArguments:
        """The call with these arguments, as `_SCHEMA` lists them."""
        *operands, seed, rows, columns, slots, score, numbers = args
        graph = GraphTensors(rows, columns, slots)
        return cls(Operands(*operands), seed, graph, Settings(score, *numbers))

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments as `_SCHEMA` lists them."""
        score, *numbers = self.settings
        return (*self.operands, self.seed, *self.graph, score, numbers)

    @property
    def wide(self) -> bool:
        """Whether the output is in the dtype that sums are kept in."""
        return len(self.graph.columns) > 0

    @property
    def by_target(self) -> Rows:
        """The rows of the graph."""
        return self.graph.by_target(self.operands.key.shape[-2])

    @property
    def by_source(self) -> Rows:
        """The rows of the reversed graph."""
        return self.graph.by_source(self.operands.query.shape[-2])

    def save(self, ctx: Any, *results: MaybeTensor) -> None:
        """Save the call, and some tensors beside it, for the backward pass."""
        ctx.slots, ctx.settings = self.graph.slots, self.settings
        ctx.save_for_backward(*results, *self.operands, self.seed, *self.graph.tensors)

    @classmethod
    def of_saved(cls, ctx: Any, tensors: Sequence[Any]) -> _OperatorArguments:
        """The call that `save` saved, from the tensors after the results."""
        operands, graph = tensors[:_NUM_OPERANDS], tensors[_NUM_TENSORS:]
        return cls(
            Operands(*operands),
            tensors[_SEED],
            GraphTensors.of_saved(graph, ctx.slots),
            ctx.settings,
        )


# --- Forward -------------------------------------------------------------------------------------


def _forward(*args: Any) -> tuple[Tensor, Tensor]:
    call = _OperatorArguments.of(args)
    return kernels.attention_forward(
        call.settings, call.by_target, call.operands, call.seed, wide=call.wide
    )


def _fake_forward(*args: Any) -> tuple[Tensor, Tensor]:
    call = _OperatorArguments.of(args)
    return kernels.empty_results(call.operands.query, call.operands.value, wide=call.wide)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    _OperatorArguments.of(inputs).save(ctx, *output)


def _derivative(ctx: Any, grad_out: MaybeTensor, grad_lse: MaybeTensor) -> Any:
    out, lse, *saved = ctx.saved_tensors
    call = _OperatorArguments.of_saved(ctx, saved)
    wanted = list(ctx.needs_input_grad[:_NUM_OPERANDS])
    others = [None] * (len(ctx.needs_input_grad) - _NUM_OPERANDS)
    if grad_out is None:
        grad_out = torch.zeros_like(out)
    args = [grad_out, grad_lse, out, lse, *call.args]
    if not are_transforms_active():
        if torch.is_grad_enabled():
            grads = (grad_out, grad_lse)
            return *gradients_again(
                call.settings, call.by_target, call.operands, call.seed, grads, wanted
            ), *others
        args = [arg.detach() if isinstance(arg, Tensor) else arg for arg in args]
    grads = iter(attention_backward(*args, wanted))
    return *(next(grads) if needed else None for needed in wanted), *others


def _batched_forward(info: Any, dims: Dims, *args: Any) -> tuple[Any, Any]:
    tensors, dims, rest = args[:_NUM_TENSORS], dims[:_NUM_TENSORS], args[_NUM_TENSORS:]
    if _needs_a_call_each(tensors, dims):
        return call_each_sample(attention, info.batch_size, tensors, dims, rest)
    return attention(*_align_all(info.batch_size, tensors, dims), *rest), (0, 0)


# --- Backward ------------------------------------------------------------------------------------


def _backward(
    grad_out: Tensor, grad_lse: MaybeTensor, out: Tensor, lse: Tensor, *args: Any
) -> list[Tensor]:
    *call_args, wanted = args
    call = _OperatorArguments.of(call_args)
    grads = kernels.attention_backward(
        call.settings,
        call.by_target,
        call.by_source,
        call.operands,
        call.seed,
        [out, lse],
        grad_out,
        grad_lse,
        tuple(wanted),
    )
    return [grad for grad in grads if grad is not None]


def _fake_backward(*args: Any) -> list[Tensor]:
    *call_args, wanted = args[_NUM_RESULTS:]
    operands = _OperatorArguments.of(call_args).operands
    return [
        kernels.empty_gradient(operands, place)
        for place in range(_NUM_OPERANDS)
        if wanted[place] and operands[place] is not None
    ]


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: Sequence[Tensor]) -> None:
    grad_out, grad_lse, _, _, *args, ctx.wanted = inputs
    call = _OperatorArguments.of(args)
    call._replace(graph=call.graph._replace(columns=())).save(ctx, grad_out, grad_lse)


def _derivative_of_backward(ctx: Any, *grads: Any) -> Any:
    """Gradients of the gradients, with respect to ``grad_out``, ``grad_lse`` and the operands.

    Output and log-sum-exp are functions of the operands, so they receive none of their own.
    """
    grad_out, grad_lse, *saved = ctx.saved_tensors
    call, wanted = _OperatorArguments.of_saved(ctx, saved), ctx.wanted
    rows = call.by_target
    of_gradients = iter(grads[0] if isinstance(grads[0], list | tuple) else grads)

    def gradients(*tensors: Any) -> tuple[Tensor, ...]:
        again = gradients_again(
            call.settings, rows, Operands(*tensors[2:]), call.seed, tensors[:2], wanted
        )
        return tuple(grad for grad in again if grad is not None)

    needed = ctx.needs_input_grad
    of_tensors = differentiable_gradients(
        gradients,
        [grad_out, grad_lse, *call.operands],
        [*needed[:2], *needed[_NUM_RESULTS : _NUM_RESULTS + _NUM_OPERANDS]],
        [next(of_gradients) for of_operand in wanted if of_operand],
    )
    others = [None] * (len(needed) - _NUM_RESULTS - _NUM_OPERANDS)
    return *of_tensors[:2], None, None, *of_tensors[2:], *others


def _batched_backward(info: Any, dims: Dims, *args: Any) -> tuple[Any, Any]:
    size, wanted = info.batch_size, args[-1]
    count = _NUM_RESULTS + _NUM_TENSORS
    tensors, dims, rest = args[:count], dims[:count], args[count:]
    results, of_results = tensors[:_NUM_RESULTS], dims[:_NUM_RESULTS]
    operands, of_operands = tensors[_NUM_RESULTS:], dims[_NUM_RESULTS:]
    if wanted[_VECTOR] or _needs_a_call_each(operands, of_operands):
        return call_each_sample(attention_backward, size, tensors, dims, rest)
    batched = [
        None if tensor is None else batch_first(tensor, dim, size)
        for tensor, dim in zip(results, of_results, strict=True)
    ]
    grads = attention_backward(*batched, *_align_all(size, operands, of_operands), *rest)
    shapes = [
        batch_first(tensor, dim, size).shape
        for tensor, dim, needed in zip(operands, of_operands, [*wanted, False], strict=True)
        if needed
    ]
    return tuple(g.reshape(s) for g, s in zip(grads, shapes, strict=True)), (0,) * len(grads)


# --- Batching ------------------------------------------------------------------------------------


def _needs_a_call_each(tensors: Sequence[MaybeTensor], dims: Dims) -> bool:
    """Whether samples need a call each: a call has one vector, and dropout counts its heads."""
    return tensors[_SEED] is not None or dims[_VECTOR] is not None


def _align_all(size: int, tensors: Sequence[MaybeTensor], dims: Dims) -> list[MaybeTensor]:
    """Operands and seed with the samples as their first batch dimension."""
    query = tensors[0]
    assert query is not None
    lead = query.ndim - 2 - (dims[0] is not None)  # batch dimensions of one sample, and heads
    return [
        tensor
        if tensor is None or place in (_VECTOR, _SEED)
        else align(tensor, dims[place], size, lead + (1 if place == _BIAS else 2))
        for place, tensor in enumerate(tensors)
    ]


attention = define(
    "attention",
    f"({_SCHEMA}) -> (Tensor, Tensor)",
    _forward,
    _fake_forward,
    (_save, _derivative),
    _batched_forward,
)
attention_backward = define(
    "attention_backward",
    f"(Tensor grad_out, Tensor? grad_lse, Tensor out, Tensor lse, {_SCHEMA}, bool[] wanted) "
    "-> Tensor[]",
    _backward,
    _fake_backward,
    (_save_backward, _derivative_of_backward),
    _batched_backward,
)

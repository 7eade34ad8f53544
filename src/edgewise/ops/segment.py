"""Segment reductions over the rows of a CSR layout: deterministic, with all derivatives.

The two operations are transposes of each other, so all derivatives are computed without atomics:
the gradient of gathering rows by index is a sum along the *reversed* CSR, and the gradient of a
segment sum is a gather.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from edgewise.layouts.formats import Csr, ReversedCsr
from edgewise.ops.tracing import in_onnx_export

__all__ = ["gather_sources", "gather_targets", "segment_max", "segment_sum"]


def segment_sum(values: Tensor, rows: Csr) -> Tensor:
    r"""Sum the entries of each row.

    .. math::  y_t = \sum_{e \in \text{row } t} x_e

    Args:
        values: ``[E, *]``, floating, in CSR order.
        rows: The layout.

    Returns:
        ``[T, *]``; zero for an empty row.

    Complexity: O(E) time; no atomics, bit-identical from run to run.
    """
    return _sum_sorted(values, rows.target, rows.indptr)


def segment_max(values: Tensor, rows: Csr) -> Tensor:
    """Largest entry of each row, ``[T, *]``; ``-inf`` for an empty row. Not differentiable."""
    values = values.detach()
    if not _recorded():
        return _SegmentMax.apply(values, rows.indptr)  # type: ignore[no-any-return]
    index = _across(rows.target, values)
    low = values.new_full((rows.num_targets, *values.shape[1:]), -torch.inf)
    return low.scatter_reduce(0, index, values, "amax", include_self=True)


def gather_targets(values: Tensor, rows: Csr) -> Tensor:
    """Row of each entry's target: ``[T, *]`` to ``[E, *]``. Gradients: `segment_sum`."""
    return _gather_sorted(values, rows.target, rows.indptr)


def gather_sources(values: Tensor, rows: Csr, columns: ReversedCsr) -> Tensor:
    """Row of each entry's source: ``[S, *]`` to ``[E, *]``. Gradients: sums over the reverse."""
    if _recorded():
        return values.index_select(0, rows.indices)
    return _apply(_GatherPermuted, values, rows.indices, columns.permutation, columns.indptr)


def _sum_sorted(values: Tensor, ids: Tensor, indptr: Tensor) -> Tensor:
    if _recorded():
        return _add_rows(values, ids, indptr)
    return _apply(_SumSorted, values, ids, indptr)


def _gather_sorted(values: Tensor, ids: Tensor, indptr: Tensor) -> Tensor:
    if _recorded():
        return values.index_select(0, ids)
    return _apply(_GatherSorted, values, ids, indptr)


def _add_rows(values: Tensor, ids: Tensor, indptr: Tensor) -> Tensor:
    """Sum runs of equal ids; by segment_reduce on CUDA, where index_add uses atomics.

    Args:
        values: ``[E, *]``.
        ids: ``[E]``, rising.
        indptr: ``[T + 1]``.
    """
    if values.is_cuda and not torch.compiler.is_compiling():
        return torch.segment_reduce(values.contiguous(), "sum", offsets=indptr, axis=0, initial=0.0)
    zeros = values.new_zeros(indptr.shape[0] - 1, *values.shape[1:])
    if in_onnx_export():  # ONNX's index_add is wrong for more than one dimension
        return zeros.scatter_add(0, _across(ids, values), values)
    return zeros.index_add(0, ids, values)


def _recorded() -> bool:
    """Whether the call is recorded as operations of torch, without autograd functions."""
    return torch.compiler.is_compiling() or in_onnx_export()


def _across(ids: Tensor, values: Tensor) -> Tensor:
    """The id of each entry, expanded to the shape of the values."""
    return ids.view(-1, *[1] * (values.ndim - 1)).expand_as(values)


def _apply(function: type[Function], *tensors: Tensor) -> Tensor:
    return function.apply(*tensors)  # type: ignore[no-any-return]


def _save(ctx: Any, layout: tuple[Tensor, ...]) -> None:
    """Save the layout for reverse and forward mode: the functions are linear in their values."""
    ctx.save_for_backward(*layout)
    ctx.save_for_forward(*layout)


def _linear(function: Callable[..., Tensor], ctx: Any, tangent: Tensor | None) -> Tensor | None:
    """The tangent of a function that is linear in its first argument."""
    return None if tangent is None else function(tangent, *ctx.saved_tensors)


class _SumSorted(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, ids: Tensor, indptr: Tensor) -> Tensor:
        return _add_rows(values, ids, indptr)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        _save(ctx, inputs[1:])

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor | None:
        return _linear(_sum_sorted, ctx, tangents[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _gather_sorted(grads[0], *ctx.saved_tensors), None, None


class _GatherSorted(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, ids: Tensor, indptr: Tensor) -> Tensor:
        return values.index_select(0, ids)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        _save(ctx, inputs[1:])

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor | None:
        return _linear(_gather_sorted, ctx, tangents[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _sum_sorted(grads[0], *ctx.saved_tensors), None, None


class _GatherPermuted(Function):
    """Gather by an index that ``permutation`` sorts."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, index: Tensor, permutation: Tensor, indptr: Tensor) -> Tensor:
        return values.index_select(0, index)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        _save(ctx, inputs[1:])

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor | None:
        return _linear(partial(_apply, _GatherPermuted), ctx, tangents[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _apply(_SumPermuted, grads[0], *ctx.saved_tensors), None, None, None


class _SumPermuted(Function):
    """Sum by an index that ``permutation`` sorts."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, index: Tensor, permutation: Tensor, indptr: Tensor) -> Tensor:
        return _add_rows(values.index_select(0, permutation), index[permutation], indptr)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        _save(ctx, inputs[1:])

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor | None:
        return _linear(partial(_apply, _SumPermuted), ctx, tangents[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _apply(_GatherPermuted, grads[0], *ctx.saved_tensors), None, None, None


class _SegmentMax(Function):
    @staticmethod
    def forward(values: Tensor, indptr: Tensor) -> Tensor:
        return torch.segment_reduce(
            values.contiguous(), "max", offsets=indptr, axis=0, initial=-torch.inf
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None]:
        return None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Tensor) -> Any:
        """Map a batch as one more column, since rows are reduced independently."""
        values, indptr = args
        return _SegmentMax.apply(values.movedim(in_dims[0], -1), indptr), -1

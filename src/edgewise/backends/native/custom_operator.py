"""Definitions of torch operators on a graph, with shapes, derivatives and batching rules.

A graph is passed as its tensors, so that compiled code that is kept on disk never runs on another
graph under the same name. Arguments and results never share memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn, cast

import torch
from torch import Tensor
from torch.autograd import Function

from edgewise.backends.native.layout import Rows
from edgewise.ops.once_differentiable import refuse
from edgewise.ops.tracing import are_transforms_active

__all__ = [
    "GRAPH",
    "Dims",
    "GraphTensors",
    "MaybeTensor",
    "align",
    "batch_first",
    "call_each_sample",
    "define",
    "refuse_second_derivative",
]

MaybeTensor = Tensor | None
Dims = tuple[Any, ...]  # of each argument under vmap, the dimension of its samples, or None

GRAPH = "Tensor[] rows, Tensor[] columns, SymInt[] slots"  # `GraphTensors` in a schema
_NUM_ROWS = 8  # tensors of `Rows.tensors`


class GraphTensors(NamedTuple):
    """A graph as arguments of an operator.

    Attributes:
        rows: `Rows.tensors` by target.
        columns: `Rows.tensors` by source; empty where no gradient is needed.
        slots: `Rows.num_slots` of both.
    """

    rows: Sequence[Tensor]
    columns: Sequence[Tensor]
    slots: Sequence[int]

    @classmethod
    def of_saved(cls, tensors: Sequence[Tensor], slots: Sequence[int]) -> GraphTensors:
        """The graph from ``[*rows, *columns]``, as autograd saves it."""
        return cls(tensors[:_NUM_ROWS], tensors[_NUM_ROWS:], slots)

    @property
    def tensors(self) -> list[Tensor]:
        """``[*rows, *columns]``, for autograd to save."""
        return [*self.rows, *self.columns]

    @property
    def reversed(self) -> GraphTensors:
        """The graph with targets and sources exchanged."""
        return GraphTensors(self.columns, self.rows, self.slots[::-1])

    def by_target(self, num_sources: int) -> Rows:
        """The rows for the kernels."""
        return Rows.from_tensors(self.rows, num_sources, self.slots[0])

    def by_source(self, num_targets: int) -> Rows:
        """The rows of the reversed graph for the kernels."""
        return self.reversed.by_target(num_targets)


def define(
    name: str,
    signature: str,
    run: Callable[..., Any],
    fake: Callable[..., Any],
    derivative: tuple[Callable[..., Any], Callable[..., Any]],
    batched: Callable[..., Any],
) -> Callable[..., Any]:
    """Define the operator ``edgewise::name``.

    Args:
        name: Its name.
        signature: Its arguments and results, as a schema of torch.
        run: What it does on a CPU.
        fake: Its results on tensors without numbers: shapes, strides and dtypes.
        derivative: What it saves, and what its backward pass does.
        batched: What it does under ``torch.vmap``.

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
        wanted, of_arguments = ctx.needs_input_grad, derive(ctx, *grads)
        return tuple(
            [None] * len(needed) if isinstance(needed, list | tuple) else grad
            for needed, grad in zip(wanted, of_arguments, strict=True)
        )

    torch.library.register_autograd(full, derive_lists, setup_context=setup)
    torch.library.register_vmap(full, batched)
    operator = cast("Callable[..., Any]", getattr(torch.ops.edgewise, name).default)

    class Transformed(Function):
        @staticmethod
        def forward(*args: Any) -> Any:
            results = operator(*args)
            return tuple(results) if isinstance(results, list) else results

        setup_context = staticmethod(setup)
        backward = staticmethod(derive)
        vmap = staticmethod(batched)

    def call(*args: Any) -> Any:
        if not torch.compiler.is_compiling() and are_transforms_active():
            return Transformed.apply(*args)
        return operator(*args)

    return call


def refuse_second_derivative(*_: object) -> NoReturn:
    """Refuse to differentiate a gradient of the kernels."""
    refuse("native")


# --- Batching ------------------------------------------------------------------------------------


def batch_first(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """The samples as the first dimension."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def align(tensor: Tensor, dim: int | None, size: int, ndim: int) -> Tensor:
    """The samples in front of ``ndim`` dimensions, of which the leading ones may be left out."""
    tensor = batch_first(tensor, dim, size)
    return tensor.reshape(size, *(1,) * (ndim - tensor.ndim + 1), *tensor.shape[1:])


def call_each_sample(
    operator: Callable[..., Any], size: int, tensors: Sequence[Any], dims: Dims, rest: Any
) -> tuple[Any, Any]:
    """The results of one call for each sample, stacked."""
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
    results = tuple(torch.stack(each) for each in zip(*samples, strict=True))
    return results, (0,) * len(results)

"""Results without numbers, for tensors on ``meta`` and fake tensors.

Only shapes, dtypes and devices are computed, so no graph is lowered, and devices need not exist
on this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import Parameter

from edgewise.shapes import is_shape_only

__all__ = ["blank", "has_numbers"]


def has_numbers(tensor: Tensor) -> bool:
    """Whether a tensor holds numbers, or is a placeholder of one in a recorded computation.

    Compilers and tracers record operations on fake tensors, so for them all are computed.
    """
    if tensor.device.type == "meta":
        return False
    if type(tensor) in (Tensor, Parameter) or torch.compiler.is_compiling():
        return True
    if not is_shape_only(tensor):
        return True
    from torch.fx.experimental.proxy_tensor import get_proxy_mode  # a slow import

    return get_proxy_mode() is not None


def blank(
    shapes: Sequence[tuple[Sequence[int], torch.dtype]], tensors: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Tensors of these shapes and dtypes, on the device of the first tensor.

    Args:
        shapes: Shape and dtype of each result.
        tensors: Tensors that the results depend on: they get gradients without numbers.
    """
    return _Blank.apply(tuple(shapes), *tensors)  # type: ignore[no-any-return]


class _Blank(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(shapes: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensors[0].new_empty(shape, dtype=dtype) for shape, dtype in shapes)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.shapes = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        tensors = ctx.saved_tensors
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in tensors)
        return None, *_Blank.apply(shapes, *tensors, *grads)  # type: ignore[misc]

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        given = [tangent for tangent in tangents if isinstance(tangent, Tensor)]
        return tuple(given[0].new_empty(shape, dtype=dtype) for shape, dtype in ctx.shapes)

"""Fused attention of torch for CPUs (flash attention), on pieces of a graph.

`Pieces` run torch's kernel on parts of the tables of nodes. Here are the tables that pieces are cut
from, the gradients from a global state, and the autograd function around both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function

from edgewise.ops.double_backward import differentiable_gradients
from edgewise.ops.tracing import many_at_once

__all__ = [
    "BACKWARD",
    "FORWARD",
    "Pieces",
    "Tables",
    "above_zero",
    "attention",
    "every_head",
    "gradients",
    "on_matrix_units",
]

FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default
# Query, key, value ``[planes, nodes, channels]``: one plane for each head of each batch entry.
Tables = tuple[Tensor, Tensor, Tensor]
_SMALLEST = torch.finfo(torch.float32).tiny

_has_matrix_units: Callable[[], bool] = getattr(torch.cpu, "_is_amx_tile_supported", bool)


def on_matrix_units(dtype: torch.dtype) -> bool:
    """Whether the processor has matrix units for this dtype, faster than float32.

    Without them, the backward kernel of torch is up to eight times as slow in half precision.
    """
    return dtype.itemsize == 2 and _has_matrix_units()


def above_zero(query: Tensor, scale: float) -> tuple[Tensor, float]:
    """Query and scale that give the same scores, with a scale above zero.

    Torch's kernels mask before they scale: minus infinity times zero is NaN, and times a negative
    factor it is infinity. Nothing changes where the factor is positive.
    """
    if scale >= _SMALLEST:
        return query, scale
    if scale <= -_SMALLEST:
        return -query, -scale
    return query * scale, 1.0


class Pieces(Protocol):
    """Protocol of the pieces of a graph, on which the fused attention of torch runs."""

    def forward(self, tables: Tables, scale: float) -> tuple[Tensor, Tensor]:
        """Output ``[planes, T, D]`` and log-sum-exp ``[planes, T]``.

        Keys and values may have fewer planes than queries, if query heads share them.
        """
        ...

    def backward(self, tables: Tables, results: Tables, scale: float) -> Tables:
        """Gradients of query, key and value.

        Those of keys and values have their planes, or a plane for each query head.

        Args:
            tables: Arguments of `forward`.
            results: **Global** output and log-sum-exp, and the gradient of the output.
            scale: Factor of the scores.
        """
        ...


def attention(
    plain: Callable[[Tables], tuple[Tensor, Tensor]],
    pieces: Pieces,
    scale: float,
    tensors: Tables,
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp.

    Args:
        plain: The same from the tensors in plain torch operations, for second derivatives.
        pieces: The pieces of the graph.
        scale: Factor of the scores.
        tensors: Query ``[*batch, H, T, D]``, key ``[*batch, G, S, D]``, value
            ``[*batch, G, S, Dv]``.
    """
    return _FlashFunction.apply(plain, pieces, scale, *tensors)  # type: ignore[misc]


def gradients(
    pieces: Pieces,
    scale: float,
    tensors: Tables,
    state: tuple[Tensor, Tensor],
    grad_out: Tensor,
    grad_lse: Tensor | None,
) -> Tables:
    r"""Gradients of query, key and value from the global output and log-sum-exp.

    The kernels of torch have no gradient of a log-sum-exp. It is that of one more channel, in which
    all values are zero and the output is minus the gradient: it only enters the product of the
    output with its gradient.

    .. math::  dS_{ij} = w_{ij} (dout_i \cdot v_j - (dout_i \cdot out_i - dlse_i))
    """
    query, _, value = tensors
    out = state[0]
    channels = max(query.shape[-1], value.shape[-1])
    if grad_lse is not None and bool(grad_lse.any()):
        more = grad_lse.to(out.dtype)[..., None]
        out = torch.cat([out, -more], -1)
        grad_out = torch.cat([grad_out, torch.ones_like(more)], -1)
        channels = max(channels, out.shape[-1])
    tables = _tables(tensors, channels)
    out, grad_out = (_table(_wide(t, channels)) for t in (out, grad_out))
    lse = state[1].reshape(tables[0].shape[:-1])
    grads = pieces.backward(tables, (out, lse, grad_out), scale)
    of_query, of_key, of_value = (
        _as_given(grad, tensor) for grad, tensor in zip(grads, tensors, strict=True)
    )
    return of_query, of_key, of_value


class _FlashFunction(Function):
    @staticmethod
    def forward(
        ctx: Any,
        plain: Callable[[Tables], tuple[Tensor, Tensor]],
        pieces: Pieces,
        scale: float,
        *tensors: Tensor,
    ) -> tuple[Tensor, Tensor]:
        query, key, value = tensors
        ctx.plain, ctx.pieces, ctx.scale = plain, pieces, scale
        ctx.set_materialize_grads(False)
        shape = (*query.shape[:-1], value.shape[-1])
        channels = max(query.shape[-1], value.shape[-1])
        out, lse = pieces.forward(_tables((query, key, value), channels), scale)
        out, lse = out[..., : shape[-1]].reshape(shape), lse.reshape(shape[:-1])
        ctx.save_for_backward(query, key, value, out, lse)
        if not any(ctx.needs_input_grad[3:5]):
            ctx.mark_non_differentiable(lse)  # the scores do not depend on the values
        return out, lse

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        query, key, value, out, lse = ctx.saved_tensors
        grad_out, grad_lse = grads
        of_tensors: Any
        if torch.is_grad_enabled() or many_at_once(grads):
            plain: Callable[[Tables], tuple[Tensor, Tensor]] = ctx.plain
            of_tensors = differentiable_gradients(
                lambda *tensors: plain(tensors),
                (query, key, value),
                ctx.needs_input_grad[3:],
                grads,
            )
            return None, None, None, *of_tensors
        grad_out = torch.zeros_like(out) if grad_out is None else grad_out
        of_tensors = gradients(
            ctx.pieces, ctx.scale, (query, key, value), (out, lse), grad_out, grad_lse
        )
        return None, None, None, *of_tensors


# --- Tables --------------------------------------------------------------------------------------


def _tables(tensors: Tables, channels: int) -> Tables:
    query, key, value = tensors
    return (
        _table(_wide(query, channels)),
        _table(_wide(key, channels)),
        _table(_wide(value, channels)),
    )


def _table(tensor: Tensor) -> Tensor:
    table = tensor.reshape(tensor.shape[:-2].numel(), *tensor.shape[-2:])
    return table if table.stride(-1) == 1 else table.contiguous()


def _wide(tensor: Tensor, channels: int) -> Tensor:
    """Pad channels with zeros: the kernel of torch needs keys and values of the same size."""
    missing = channels - tensor.shape[-1]
    return torch.nn.functional.pad(tensor, (0, missing)) if missing else tensor


def every_head(tables: Tables, axis: int = 0) -> Tables:
    """Repeat keys and values for each query head; ``axis`` is that of heads."""
    query, key, value = tables
    share = query.shape[axis] // max(key.shape[axis], 1)
    if share == 1:
        return tables
    return query, key.repeat_interleave(share, axis), value.repeat_interleave(share, axis)


def _as_given(grad: Tensor, tensor: Tensor) -> Tensor:
    """A gradient in the shape of its tensor: without padding, summed over heads that share it."""
    grad = grad[..., : tensor.shape[-1]]
    planes = tensor.shape[:-2].numel()
    if grad.shape[0] != planes:
        grad = grad.unflatten(0, (planes, -1)).sum(1)
    return grad.reshape(tensor.shape)

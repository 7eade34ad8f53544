"""Attention on planes: one table of nodes and channels for each query head of each batch entry.

What runs on torch's fused attention sees ``[planes, nodes, channels]``, whatever the caller
passed: heads that share keys, batches, values of another size. Here it becomes differentiable.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import pad

from edgewise.ops.once import once_differentiable

__all__ = ["Kernel", "Tables", "attend", "every_head", "gradients"]

# Query ``[P, T, D]``, key and value ``[P, S, D]``; or output, log-sum-exp, gradient of the output.
Tables = tuple[Tensor, Tensor, Tensor]


class Kernel(Protocol):
    """How a graph is computed on planes."""

    def forward(self, tables: Tables, scale: float) -> tuple[Tensor, Tensor]:
        """Output ``[P, T, D]`` and log-sum-exp ``[P, T]`` of query, key and value."""
        ...

    def backward(self, tables: Tables, results: Tables, scale: float) -> Tables:
        """Gradients of query, key and value.

        Args:
            tables: Query, key and value.
            results: **Global** output ``[P, T, D]`` and log-sum-exp ``[P, T]``, and the gradient
                of the output ``[P, T, D]``.
            scale: Factor of the scores.
        """
        ...


def attend(owner: str, kernel: Kernel, scale: float, tensors: Tables) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of a graph, differentiable once.

    Args:
        owner: Name of the backend, for what it refuses.
        kernel: What computes on planes.
        scale: Factor of the scores.
        tensors: Query ``[*batch, H, T, D]``, key ``[*batch, G, S, D]`` and value
            ``[*batch, G, S, Dv]``.
    """
    out, lse = _Attention.apply(owner, kernel, scale, *tensors)  # type: ignore[misc]
    return out, lse


def gradients(
    kernel: Kernel,
    scale: float,
    tensors: Tables,
    results: Tables,
    grad_lse: Tensor | None,
) -> Tables:
    r"""Gradients of query, key and value from the global output and log-sum-exp.

    Torch's kernels know no gradient of a log-sum-exp. It is that of one more channel, in which all
    values are zero and the output is minus the gradient: it enters where the output is
    multiplied with its own gradient, and nowhere else.

    .. math::  dS_{ij} = w_{ij} (dout_i \cdot v_j - (dout_i \cdot out_i - dlse_i))

    Args:
        kernel: What computes on planes.
        scale: Factor of the scores.
        tensors: Query, key and value as `attend` takes them.
        results: Output and log-sum-exp of the whole graph, and the gradient of the output.
        grad_lse: Gradient of the log-sum-exp; None for zero.
    """
    query, _, value = tensors
    out, lse, push = results
    channels = max(query.shape[-1], value.shape[-1])
    extra: Tensor | None = None
    if grad_lse is not None and bool(grad_lse.any()):
        extra = grad_lse.to(out.dtype)[..., None]
        out, push = torch.cat([out, -extra], -1), torch.cat([push, torch.ones_like(extra)], -1)
        channels = max(channels, out.shape[-1])
    tables = _tables(tensors, channels)
    planes = tables[0].shape[0]
    result, push = (_table(_wide(t, channels), planes) for t in (out, push))
    found = kernel.backward(tables, (result, lse.reshape(planes, -1), push), scale)
    of_query, of_key, of_value = (
        _as_given(grad, tensor) for grad, tensor in zip(found, tensors, strict=True)
    )
    return of_query, of_key, of_value


def every_head(tensors: Tables) -> Tables:
    """Keys and values once for each query head."""
    query, key, value = tensors
    share = query.shape[-3] // key.shape[-3]
    if share == 1:
        return tensors
    return query, key.repeat_interleave(share, -3), value.repeat_interleave(share, -3)


class _Attention(Function):
    @staticmethod
    def forward(
        ctx: Any, owner: str, kernel: Kernel, scale: float, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        query, key, value = tensors
        ctx.owner, ctx.kernel, ctx.scale = owner, kernel, scale
        ctx.set_materialize_grads(False)
        shape = (*query.shape[:-1], value.shape[-1])
        channels = max(query.shape[-1], value.shape[-1])
        out, lse = kernel.forward(_tables((query, key, value), channels), scale)
        out, lse = out[..., : shape[-1]].reshape(shape), lse.reshape(shape[:-1])
        ctx.save_for_backward(query, key, value, out, lse)
        if not any(ctx.needs_input_grad[3:5]):
            ctx.mark_non_differentiable(lse)  # the scores do not depend on the values
        return out, lse

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        query, key, value, out, lse = ctx.saved_tensors
        push, grad_lse = grads
        push = torch.zeros_like(out) if push is None else push
        tensors = (query, key, value)
        found: Any = gradients(ctx.kernel, ctx.scale, tensors, (out, lse, push), grad_lse)
        if torch.is_grad_enabled():
            found = once_differentiable(ctx.owner, found, [push, query, key, value])
        return None, None, None, *found


def _tables(tensors: Tables, channels: int) -> Tables:
    query, key, value = every_head(tensors)
    planes = query.shape[:-2].numel()
    first, second, third = (_table(_wide(t, channels), planes) for t in (query, key, value))
    return first, second, third


def _wide(tensor: Tensor, channels: int) -> Tensor:
    """Torch's kernel wants keys and values of one size: zeros add nothing."""
    missing = channels - tensor.shape[-1]
    return pad(tensor, (0, missing)) if missing else tensor


def _table(tensor: Tensor, planes: int) -> Tensor:
    table = tensor.reshape(planes, *tensor.shape[-2:])
    return table if table.stride(-1) == 1 else table.contiguous()


def _as_given(grad: Tensor, tensor: Tensor) -> Tensor:
    """A gradient in the shape of its tensor: without padding, added up over heads that share it."""
    heads = tensor.shape[-3]
    grad = grad[..., : tensor.shape[-1]]
    lead = tensor.shape[:-3].numel()
    grad = grad.unflatten(0, (lead, heads, grad.shape[0] // max(lead * heads, 1)))
    whole = grad[:, :, 0] if grad.shape[2] == 1 else grad.sum(2)
    return whole.reshape(tensor.shape)

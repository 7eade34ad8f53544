"""Second derivatives of torch's ``scaled_dot_product_attention``, whose kernels have none.

A hook on the node that torch recorded replaces its gradients where they are to be differentiated
again. A function of our own around the call would cost small graphs more than their attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edgewise.ops.cpu_flash import every_head
from edgewise.ops.double_backward import differentiable_gradients
from edgewise.ops.state import accumulate_dtype
from edgewise.ops.tracing import is_intercepted

__all__ = ["pair_attention", "twice_differentiable"]

_KERNELS = "ScaledDotProduct"  # how the names of their nodes begin; other paths are plain torch
_VIEWS = ("SliceBackward0", "AliasBackward0")  # what torch may put behind them
_current_node: Any = torch._C._current_autograd_node  # pyright: ignore[reportPrivateUsage]


def twice_differentiable(out: Tensor) -> Tensor:
    """The output of torch's attention, hooked so that its gradients can be differentiated again."""
    if is_intercepted((out,)):  # compilers have no second derivatives
        return out
    node: Any = out.grad_fn
    if node is None:
        return out
    while node.name() in _VIEWS:
        node = node.next_functions[0][0]
    if node.name().startswith(_KERNELS):
        node.register_hook(_again)
    return out


def pair_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float,
    *,
    causal: bool,
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of torch's attention in plain operations; every row reads something.

    Args:
        query: ``[*, H, T, D]``.
        key: ``[*, G, S, D]``.
        value: ``[*, G, S, Dv]``.
        mask: Booleans, true for edges, or numbers to add: ``[T, S]``, or with leading dimensions.
        scale: Factor of the scores.
        causal: Only earlier sources.

    Complexity: O(T * S * H) memory.
    """
    precise = accumulate_dtype(query.dtype)
    q, k, v = (t.to(precise) for t in every_head((query, key, value), -3))
    scores = (q @ k.mT) * scale
    if causal:
        earlier = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~earlier, -torch.inf)
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -torch.inf)
    elif mask is not None:
        scores = scores + mask.to(precise)
    out = torch.softmax(scores, -1) @ v
    return out.to(query.dtype), torch.logsumexp(scores, -1)


def _again(
    grads: Sequence[Tensor | None], grad_outputs: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...] | None:
    """Gradients with a history, from the tensors that the running node has saved."""
    if not torch.is_grad_enabled():
        return None
    node = _current_node()
    mask = getattr(node, "_saved_attn_mask", None)
    mask = getattr(node, "_saved_attn_bias", None) if mask is None else mask
    tensors = (node._saved_query, node._saved_key, node._saved_value, mask)
    scale: float | None = node._saved_scale
    factor = tensors[0].shape[-1] ** -0.5 if scale is None else scale
    causal: bool = node._saved_is_causal

    def plain(query: Tensor, key: Tensor, value: Tensor, added: Tensor | None) -> tuple[Tensor]:
        return (pair_attention(query, key, value, added, factor, causal=causal)[0],)

    needed = [grad is not None for grad in grads]
    needed += [False] * (len(tensors) - len(needed))
    return tuple(differentiable_gradients(plain, tensors, needed, grad_outputs[:1])[: len(grads)])

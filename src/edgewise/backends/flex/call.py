"""The call of torch's FlexAttention: compiled, with what its kernels leave open filled in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from edgewise.backends.flex.mask import Mask
from edgewise.ops.cpu_flash import above_zero
from edgewise.ops.inputs import Inputs
from edgewise.ops.once_differentiable import at_most_once

__all__ = ["PreparedFlex", "call", "soft_cap"]

_KINDS = 256  # of calls that are compiled: heads, channels, dtypes, and sizes where they count


@dataclass(frozen=True, eq=False)
class PreparedFlex:
    """The arguments of FlexAttention besides its tensors.

    Attributes:
        mask: The graph.
        score_mod: The soft cap, if there is one.
    """

    mask: Mask
    score_mod: Callable[..., Tensor] | None


def soft_cap(softcap: float, device: torch.device) -> Callable[..., Tensor]:
    """The cap as a tensor: as a number, each would be compiled anew."""
    cap = torch.tensor(softcap, device=device)

    def capped(
        score: Tensor, _batch: Tensor, _head: Tensor, _target: Tensor, _source: Tensor
    ) -> Tensor:
        return cap * torch.tanh(score / cap)

    return capped


def call(
    prepared: PreparedFlex, inputs: Inputs, scale: float, *, wants_lse: bool
) -> tuple[Tensor, Tensor | None]:
    """Output ``[*batch, H, T, Dv]``, and log-sum-exp ``[*batch, H, T]`` if requested."""
    query, key, value = inputs.query, inputs.key, inputs.value
    shape = (*query.shape[:-1], value.shape[-1])
    if not key.shape[-2] or 0 in shape:
        nothing = sum(tensor[..., :0].sum() for tensor in (query, key, value))  # has gradients
        lse = query.new_full(shape[:-1], -torch.inf, dtype=torch.float32)
        return query.new_zeros(shape) + nothing, lse + nothing
    if query.device.type == "cpu":  # torch refuses what requires gradients, even in no_grad
        query, key, value = query.detach(), key.detach(), value.detach()
    else:
        marked = at_most_once("flex", inputs)
        query, key, value = marked.query, marked.key, marked.value
    query, scale = above_zero(query, scale)
    out, lse = _flex(
        (query, key, value),
        prepared.mask.any_size,
        wants_lse=wants_lse,
        score_mod=prepared.score_mod,
        block_mask=prepared.mask.blocks,
        scale=scale,
        enable_gqa=query.shape[-3] != key.shape[-3],
    )
    empty = prepared.mask.empty
    if empty is not None:
        out = out.masked_fill(empty, 0.0)
        lse = None if lse is None else lse.masked_fill(empty[:, 0], -torch.inf)
    return out.reshape(shape), None if lse is None else lse.reshape(shape[:-1])


def _flex(
    tensors: tuple[Tensor, ...], any_size: bool, *, wants_lse: bool, **settings: Any
) -> tuple[Tensor, Tensor | None]:
    """FlexAttention on one batch dimension; never the eager one, which writes all pairs out."""
    from torch.nn.attention.flex_attention import AuxRequest, flex_attention

    tensors = tuple(tensor.reshape(-1, *tensor.shape[-3:]) for tensor in tensors)
    tracing = torch.compiler.is_compiling()
    run: Any = flex_attention if tracing else _compiled(any_size)
    if tracing and tensors[0].device.type == "cpu":
        return _APART(run(*map(_APART, tensors), **settings)), None
    if not wants_lse:
        return run(*tensors, **settings), None
    out, more = run(*tensors, return_aux=AuxRequest(lse=True), **settings)
    return out, more.lse


@cache
def _compiled(any_size: bool) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    # Isolated, because both compile the same function, and each would count what the other did.
    compiler: Any = torch.compile  # its overloads do not list the limit
    return compiler(
        flex_attention,
        fullgraph=True,
        dynamic=any_size,
        recompile_limit=_KINDS,
        isolate_recompiles=True,
    )


# --- Inside a user's torch.compile ---------------------------------------------------------------
#
# On CPUs torch fuses what follows into FlexAttention, and then cannot write the kernel; and of
# views it reads the shape of what they are views of. An operator that it cannot trace keeps
# FlexAttention apart from its neighbours, for a copy of each tensor.


def _copied(x: Tensor) -> Tensor:
    return x.clone()


torch.library.define("edgewise::apart", "(Tensor x) -> Tensor")
torch.library.impl("edgewise::apart", "CPU", _copied)
torch.library.register_fake("edgewise::apart", torch.empty_like)
_APART: Callable[[Tensor], Tensor] = torch.ops.edgewise.apart.default

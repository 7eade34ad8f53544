"""Attention function of Edgewise for Transformers, which every layer of a model calls."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgewise.errors import ArgumentError, ShapeError
from edgewise.functional import attention, attention_state, weights
from edgewise.graphs import Complete
from edgewise.integrations.huggingface import active
from edgewise.integrations.huggingface.arguments import check_arguments, check_texts
from edgewise.integrations.huggingface.batch import BatchGraph, BatchMask
from edgewise.integrations.huggingface.dense_attention import dense_attention
from edgewise.integrations.huggingface.frame import Frame
from edgewise.integrations.huggingface.layer_rules import mask_in_trace, rule_for, source_for
from edgewise.integrations.huggingface.masks import (
    config_rule,
    mask_function,
    under_rule,
    without_mask,
)
from edgewise.integrations.huggingface.traced_calls import (
    OTHERS,
    is_traced,
    log_once,
    reads_others,
)
from edgewise.ops.bias import Bias, as_bias
from edgewise.ops.scores import Dot
from edgewise.ops.state import AttentionState

__all__ = ["NAME", "AttentionCall", "attend", "register_now"]

NAME = "edgewise"


def register_now(attentions: Any, masks: Any) -> None:
    """Register the attention and the mask function with Transformers, under their name.

    Args:
        attentions: Transformers' ``AttentionInterface``.
        masks: Transformers' ``AttentionMaskInterface``.
    """
    attentions.register(NAME, attend)
    masks.register(NAME, mask_function)


# --- Observers ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """An attention call, for observers.

    Attributes:
        module: The layer.
        query: ``[B, H, T, D]``, or ``[H, T, D]`` if the graph is not shared.
        key: The same of sources.
        value: The same of values.
        batch: The graph of the batch.
        score: The score.
        lse: ``[B, H, T]`` or ``[H, T]``, sinks included.
        bias: The bias of the scores.
        dropout: Share of weights dropped.
        backend: The backend, or ``"auto"``.
    """

    module: nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    batch: BatchGraph
    score: Dot
    lse: Tensor
    bias: Bias | None
    dropout: float
    backend: str


# --- The function ---------------------------------------------------------------------------------


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **rest: Any,
) -> tuple[Tensor, Tensor | None]:
    r"""Attention of a layer, on the graph of the batch.

    A sink :math:`z_h` is one more score, without a value: with the log-sum-exp :math:`\ell_i` of
    the others, outputs shrink by :math:`\sigma(\ell_i - z_h)`, exactly.

    Args:
        module: The layer.
        query: ``[B, H, Q, D]``.
        key: ``[B, G, K, D]``.
        value: ``[B, G, K, Dv]``.
        attention_mask: A `BatchGraph`, a mask ``[B | 1, H | 1, Q, K]`` of booleans (True where
            there is an edge) or numbers (added to the scores), or None for no mask.
        dropout: Share of weights dropped.
        scaling: Factor of the scores.
        is_causal: Whether no mask means a causal mask; ``is_causal`` of the layer when None.
        position_bias: ``[B | 1, H, Q, K]``, added to the scores (T5).
        softcap: Limit of the scores (Gemma 2).
        s_aux: ``[H]``, sinks (GPT-OSS).
        rest: Other arguments of the layer; those that would change the result are refused.

    Returns:
        ``[B, Q, H, Dv]``, and the weights ``[B, H, Q, K]`` before dropout if they are requested.

    Raises:
        ArgumentError: an argument that would change the result and is not supported.
        ShapeError: a mask of another size.
    """
    check_arguments(module, rest)
    _count_call()
    if query.shape[0] < key.shape[0]:
        query = query.expand(key.shape[0], -1, -1, -1)  # learned queries, which all sequences share
    backend = getattr(getattr(module, "config", None), "graph_backend", None) or "auto"
    weights_requested = _weights_wanted(rest)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if is_traced() and not isinstance(attention_mask, BatchGraph) and backend == "auto":
        mask = _traced_mask(module, query, key, attention_mask, bool(causal))
        out, alpha = dense_attention(
            query,
            key,
            value,
            mask,
            position=position_bias,
            scale=scaling,
            softcap=softcap,
            sinks=s_aux,
            dropout=float(dropout),
            weights=weights_requested,
        )
        return out.transpose(1, 2), alpha
    others = sys._getframe(1).f_locals if _may_be_cross_attention(attention_mask) else {}  # pyright: ignore[reportPrivateUsage]
    crosses = any(others.get(name) is not None for name in OTHERS)
    batch, given = _graph_of(module, query, key, attention_mask, bool(causal), crosses)
    check_texts(batch, rest)
    frame = Frame(batch, query.shape[0], query.shape[2], key.shape[2])
    tensors = frame.targets(query), frame.sources(key), frame.sources(value)
    score = Dot(scaling, softcap)
    bias = frame.bias(position_bias, given, query)
    rate = float(dropout)
    observed = _is_observed()
    if s_aux is None and not weights_requested and not observed:
        out = attention(
            *tensors, batch.graph, score=score, bias=bias, dropout=rate, backend=backend
        )
        return frame.whole(out), None
    state = attention_state(
        *tensors, batch.graph, score=score, bias=bias, dropout=rate, backend=backend
    )
    out, lse = _with_sinks(state, s_aux)
    if observed:
        call = AttentionCall(module, *tensors, batch, score, lse, as_bias(bias), rate, backend)
        for observer in active.observers():
            observer(call)
    if not weights_requested:
        return frame.whole(out), None
    alpha = weights(tensors[0], tensors[1], batch.graph, lse, score=score, bias=bias)
    return frame.whole(out), frame.matrix(alpha.to(query.dtype))


def _with_sinks(state: AttentionState, sinks: Tensor | None) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp with one more score for each head, without a value."""
    if sinks is None:
        return state.out, state.lse
    sink = sinks.to(state.lse.dtype)[:, None]
    share = torch.sigmoid(state.lse - sink)[..., None]
    return (state.out * share).to(state.out.dtype), torch.logaddexp(state.lse, sink)


# --- Graph ----------------------------------------------------------------------------------------


def _traced_mask(
    module: nn.Module, query: Tensor, key: Tensor, mask: Any, causal: bool
) -> Tensor | None:
    """The dense mask of a layer in traced code, with its rule.

    Args:
        module: The layer.
        query: ``[B, H, Q, D]``.
        key: ``[B, G, K, D]``.
        mask: Mask from the model.
        causal: Whether no mask means a causal mask.
    """
    config = getattr(module, "config", None)
    if isinstance(mask, BatchMask):
        return mask_in_trace(module, mask)
    source = source_for(module, config)
    if isinstance(mask, Tensor):
        if source is not None:
            raise _plain_mask(module)
        return _checked(module, query, key, mask)
    _check_no_other(module, mask)
    Q, K = query.shape[2], key.shape[2]
    queries = torch.arange(Q, device=query.device)
    keys = torch.arange(K, device=query.device)
    allowed = None
    if causal and Q > 1:
        allowed = (keys <= queries[:, None])[None, None]
    if source is None:
        return allowed
    if reads_others(type(module).__module__, type(module).__qualname__):
        layer = type(module).__name__
        raise ArgumentError(
            f"graph: a rule cannot hold in compiled or traced code of {layer}, which may read "
            f"tokens that are not its own. Call the model uncompiled, or leave the rule out."
        )
    log_once("the code is traced or compiled, where lengths cannot be read")
    base = query.new_ones(1, 1, Q, K, dtype=torch.bool) if allowed is None else allowed
    real = query.new_ones(query.shape[0], K, dtype=torch.bool)
    batch = BatchMask(base, base, queries + (K - Q), keys, real, True)
    return under_rule(batch, source, None).mask


def _may_be_cross_attention(mask: Any) -> bool:
    return mask is None and not torch.compiler.is_compiling()


def _graph_of(
    module: nn.Module, query: Tensor, key: Tensor, mask: Any, causal: bool, crosses: bool
) -> tuple[BatchGraph, Tensor | None]:
    """The graph of the batch, and a mask of numbers or booleans if the model passes one.

    Args:
        module: The layer.
        query: ``[B, H, Q, D]``.
        key: ``[B, G, K, D]``.
        mask: Mask from the model.
        causal: Whether no mask means a causal mask.
        crosses: Whether it is cross-attention, which follows no rule.
    """
    B, Q, K = max(query.shape[0], key.shape[0]), query.shape[2], key.shape[2]
    shape = (B, 1, Q, K)
    if isinstance(mask, BatchGraph):
        if not torch.compiler.is_compiling() and mask.following is not None:
            rule = rule_for(module, mask.rule)
            mask = mask if rule == mask.rule else mask.following(rule)
        if isinstance(mask, BatchGraph):
            _check_fits(module, mask, shape)
            return mask, None
    config = getattr(module, "config", None)
    if isinstance(mask, BatchMask):
        if not torch.compiler.is_compiling():
            rule = rule_for(module, mask.rule)
            mask = mask if rule == mask.rule else under_rule(mask, None, rule)
        mask = mask.mask
    elif isinstance(mask, Tensor) and rule_for(module, config_rule(config)) is not None:
        raise _plain_mask(module)
    if isinstance(mask, Tensor):
        mask = _checked(module, query, key, mask)
        graph = Complete(Q, K)
        return BatchGraph(graph, shape, True, (0, Q), (0, K)), mask.expand(-1, -1, Q, -1)
    _check_no_other(module, mask)
    rule = None if crosses else rule_for(module, config_rule(config))
    skip = bool(getattr(config, "graph_skip_padding", False))
    return without_mask(query, key, causal=causal, rule=rule, skip=skip), None


def _plain_mask(module: nn.Module) -> ArgumentError:
    layer = type(module).__name__
    return ArgumentError(
        f"graph: a rule cannot be joined to a mask of four axes where {layer} reads it, since "
        f"that does not say which tokens are padding. Give attention_mask as [batch, tokens],"
        f" or write the rule into the mask and leave it out."
    )


def _check_fits(module: nn.Module, batch: BatchGraph, shape: tuple[int, int, int, int]) -> None:
    if batch.shape == shape or (batch.shared and batch.shape[2:] == shape[2:]):
        return
    raise ShapeError(
        f"attention_mask is a graph of shape {list(batch.shape)} but {type(module).__name__} has "
        f"queries and keys of {list(shape)}. Build it for this batch, or prepare a model that "
        f"joins masks with use(model, dense_masks=True)."
    )


def _checked(module: nn.Module, query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    B, Q, K = max(query.shape[0], key.shape[0]), query.shape[2], key.shape[2]
    if mask.ndim != 4 or mask.shape[-2] not in (1, Q) or mask.shape[-1] != K:
        raise ShapeError(
            f"attention_mask must have shape [batch, heads, queries, keys] = "
            f"{[B, query.shape[1], Q, K]} where {type(module).__name__} reads it, got "
            f"{list(mask.shape)}. Leave it to the model to make one."
        )
    return mask


def _check_no_other(module: nn.Module, mask: Any) -> None:
    if mask is not None:
        layer = type(module).__name__
        raise ArgumentError(
            f"attention_mask must be a graph, a tensor or None where {layer} reads it, got "
            f"{type(mask).__name__}. Prepare the model with use(model)."
        )
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as MASKS

    if MASKS._global_mapping.get(NAME) is not mask_function:  # pyright: ignore[reportPrivateUsage]
        raise ArgumentError(
            f"attention_mask was lost: {NAME!r} is registered for attention but not for masks. "
            f"Call edgewise.integrations.huggingface.register()."
        )


def _weights_wanted(rest: dict[str, Any]) -> bool:
    """Whether attention weights are requested, by an argument or by hooks of the model."""
    if rest.get("output_attentions"):
        return True
    from transformers.utils import output_capturing

    collected = output_capturing._active_collector.get()  # pyright: ignore[reportPrivateUsage]
    return collected is not None and any("attentions" in name for name in collected)


# --- Count of calls -------------------------------------------------------------------------------

CALLS: ContextVar[list[int] | None] = ContextVar("edgewise_calls", default=None)


def _count_call() -> None:
    if torch.compiler.is_compiling():
        return
    calls = CALLS.get()
    if calls is not None:
        calls[0] += 1


def _is_observed() -> bool:
    if torch.compiler.is_compiling():
        return active.is_observed_now
    return active.is_observed()

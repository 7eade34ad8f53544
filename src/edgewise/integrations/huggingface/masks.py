"""Mask function for Transformers: from the lengths of a batch to its graph."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgewise.errors import ArgumentError
from edgewise.integrations.huggingface import active
from edgewise.integrations.huggingface.batch import BatchGraph, BatchMask, Layout, batch_graph
from edgewise.integrations.huggingface.graph_rules import Rule
from edgewise.integrations.huggingface.patterns import Pattern, read_pattern
from edgewise.integrations.huggingface.rule_mask import evaluated, rule_mask
from edgewise.integrations.huggingface.traced_calls import adds_masks, is_unreadable, log_once

__all__ = ["config_rule", "mask_function", "under_rule", "without_mask"]


def mask_function(
    batch_size: int,
    q_length: int,
    kv_length: int,
    *,
    mask_function: Callable[..., Any],
    q_offset: Any = 0,  # a tensor with a static cache
    kv_offset: int = 0,
    attention_mask: Any = None,
    config: Any = None,
    use_vmap: bool = False,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    **_: Any,
) -> Any:
    """The graph of a batch; a dense mask if none can be built.

    Arguments are those of a mask function of Transformers. Dense masks are for other mask
    functions, padding between tokens, tracers (which have no lengths to build a graph of),
    a step of a decoder with a static cache (whose graph would change with every token), and models
    that change their masks. With a rule, the result is a `BatchGraph` or a `BatchMask`.

    Raises:
        ArgumentError: a rule with a model that needs its mask as a plain tensor.
    """
    if isinstance(attention_mask, BatchGraph | BatchMask):
        return attention_mask
    dense = bool(getattr(config, "graph_dense_masks", False))
    unreadable = is_unreadable(attention_mask)
    reason = _why_dense(dense, unreadable, q_length, q_offset)
    if reason is None:
        rule = active.block_rule(None) or config_rule(config)
        pattern = read_pattern(mask_function)
        reason = "the mask function of the model is not made of lengths and windows"
        if pattern is not None:
            offset = int(q_offset)
            reads_itself = _reads_itself() and offset + q_length == kv_offset + kv_length
            skip = bool(getattr(config, "graph_skip_padding", False))
            itself = pattern.causal or reads_itself
            layout = Layout(batch_size, q_length, kv_length, offset, kv_offset, itself, skip)
            batch = batch_graph(layout, pattern, attention_mask, rule)
            if batch is not None:
                return batch
            reason = "there is padding between the tokens of a text"
    itself = unreadable or not _reads_others()
    log_once(reason)
    base = _dense(
        adds_masks(type(config).__module__),
        batch_size=batch_size,
        q_length=q_length,
        kv_length=kv_length,
        q_offset=q_offset,
        kv_offset=kv_offset,
        mask_function=mask_function,
        attention_mask=attention_mask,
        allow_is_causal_skip=False,
        allow_is_bidirectional_skip=False,
        use_vmap=use_vmap,
        device=device,
        dtype=dtype,
    )
    if not _rule_stands(config, unreadable):
        return base
    if dense:
        raise ArgumentError(
            "graph: a rule cannot hold where a model gets its mask as a plain tensor, as "
            "dense_masks=True says. Leave the rule or dense_masks out."
        )
    queries = torch.arange(q_length, device=device) + q_offset
    keys = torch.arange(kv_length, device=device) + kv_offset
    real = _real(attention_mask, batch_size, kv_length + kv_offset, device)
    batch = BatchMask(base, base, queries, keys, real, itself)
    if unreadable:
        _check_whose(config, mask_function)
        return under_rule(batch, source_of(config), None)
    rule = active.block_rule(None) or config_rule(config)
    return under_rule(batch, None, rule)


def _why_dense(dense: bool, unreadable: bool, q_length: int, q_offset: Any) -> str | None:
    if dense:
        return "the model was prepared with dense_masks=True"
    if unreadable:
        return "the code is traced or compiled, where lengths cannot be read"
    if isinstance(q_offset, Tensor) and q_length == 1:
        return "a static cache has one mask for all steps"
    return None


def _dense(numbers: bool, **arguments: Any) -> Tensor:
    # Imported here and directly: a compiler cannot trace `require`.
    from transformers.masking_utils import eager_mask, sdpa_mask

    mask = eager_mask(**arguments) if numbers else sdpa_mask(**arguments)
    assert mask is not None  # it may not be skipped
    return mask


def _real(padding: Tensor | None, batch: int, positions: int, device: Any) -> Tensor:
    """Real tokens, ``[batch, positions]``, bool; all of them without padding."""
    if padding is None:
        return torch.ones(batch, positions, dtype=torch.bool, device=device)
    from transformers.masking_utils import prepare_padding_mask

    mask = prepare_padding_mask(padding.to(torch.bool), positions, 0)
    assert mask is not None
    return mask


# --- Rules ----------------------------------------------------------------------------------------


def config_rule(config: Any) -> Rule | None:
    """The rule of a config, if any."""
    value = getattr(config, "graph_rule", None)
    return None if value is None else Rule.read(value)


def source_of(config: Any) -> str | None:
    """The text of the rule of all layers, under a tracer."""
    source = active.source if torch.compiler.is_compiling() else active.__getattr__("source")
    if source is not None:
        return source
    source = getattr(config, "graph_rule", None)
    if source is not None and not isinstance(source, str):
        raise ArgumentError(
            "graph: config.graph_rule must be a text where a model is compiled or exported. "
            "Import edgewise.integrations.huggingface before it is set."
        )
    return source


def _rule_stands(config: Any, unreadable: bool) -> bool:
    """Whether there is a rule, for all layers or for some."""
    if getattr(config, "graph_rule", None) is not None:
        return True
    if unreadable and torch.compiler.is_compiling():
        return active.has_blocks
    return active.__getattr__("has_blocks")


def under_rule(batch: BatchMask, source: str | None, rule: Rule | None) -> BatchMask:
    """The mask with a rule, given as a text (for tracers) or as a `Rule`."""
    base = batch.base
    if (source is None and rule is None) or not batch.itself:
        mask = base
    else:
        if source is not None:
            allowed = rule_mask(batch.queries, batch.keys, batch.real, source)
        else:
            assert rule is not None
            allowed = evaluated(batch.queries, batch.keys, batch.real, rule)
        allowed = allowed.to(base.device)
        mask = (
            base & allowed if base.dtype == torch.bool else base.masked_fill(~allowed, -torch.inf)
        )
    return BatchMask(mask, base, batch.queries, batch.keys, batch.real, batch.itself, source, rule)


def without_mask(
    query: Tensor, key: Tensor, *, causal: bool, rule: Rule | None = None, skip: bool = False
) -> BatchGraph:
    """The graph of a call without a mask: complete, or causal.

    Args:
        query: ``[B, H, Q, D]``.
        key: ``[B, G, K, D]``.
        causal: Whether it is causal.
        rule: A graph of the user's choice.
        skip: Whether padded queries read nothing.
    """
    B, Q, K = query.shape[0], query.shape[2], key.shape[2]
    causal = causal and Q > 1  # a step of a decoder reads all keys
    layout = Layout(B, Q, Q if causal else K, itself=Q == K, skip_padding=skip)
    batch = batch_graph(layout, Pattern(right=0 if causal else None), rule=rule)
    assert batch is not None
    return batch


# --- Cross-attention ------------------------------------------------------------------------------


def _check_whose(config: Any, function: Callable[..., Any]) -> None:
    """Refuse a rule where traced code cannot distinguish self-attention from cross-attention."""
    crosses = getattr(config, "is_encoder_decoder", False) or getattr(
        config, "add_cross_attention", False
    )
    if crosses and function.__name__ != "causal_mask_function":
        raise ArgumentError(
            "graph: a rule cannot hold in compiled or traced code of a model with cross-attention, "
            "whose masks do not tell which tokens they are of. Call it uncompiled, or leave the "
            "rule out."
        )


def _reads_itself() -> bool:
    """Whether a bidirectional mask is for self-attention.

    A mask function has lengths as arguments, but not whether they are those of an encoder or of a
    decoder. If both are equal, the padding of keys does not apply to queries: so the arguments
    of the calling function of Transformers are read. By default, no query is padding.
    """
    given = _caller()
    return "encoder_hidden_states" in given and given["encoder_hidden_states"] is None


def _reads_others() -> bool:
    """Whether the mask is for cross-attention."""
    return _caller().get("encoder_hidden_states") is not None


def _caller() -> dict[str, Any]:
    """Local variables of the function of Transformers that called the mask function."""
    frame = sys._getframe(3)  # pyright: ignore[reportPrivateUsage]
    inside = frame.f_globals.get("__name__") == "transformers.masking_utils"
    return frame.f_locals if inside else {}

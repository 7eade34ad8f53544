"""The mask function: from what Transformers says about a batch to its graph."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgewise.errors import ArgumentError
from edgewise.integrations.huggingface.batch import BatchGraph, Layout, batch_graph
from edgewise.integrations.huggingface.patterns import Pattern, read_pattern
from edgewise.integrations.huggingface.rules import Rule, rule_of

__all__ = ["mask_function", "without_mask"]


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
    **_: Any,
) -> Any:
    """The graph of a batch; a dense mask where the function is not one that is known here.

    Arguments are those of a mask function of Transformers. Compiled code has no numbers to build a
    graph of: it gets the dense mask, unless it is given a `BatchGraph`.

    Raises:
        ArgumentError: a rule together with a mask function that cannot be read.
    """
    if isinstance(attention_mask, BatchGraph):
        return attention_mask
    if not torch.compiler.is_compiling():
        rule = rule_of(config)
        pattern = read_pattern(mask_function)
        if pattern is not None:
            offset = int(q_offset)
            own = _reads_itself() and offset + q_length == kv_offset + kv_length
            itself = pattern.causal or own
            layout = Layout(batch_size, q_length, kv_length, offset, kv_offset, itself)
            found = batch_graph(layout, pattern, attention_mask, rule)
            if found is not None:
                return found
        _check_no_rule(rule, "its mask is not made of lengths and windows alone")
    from transformers.masking_utils import sdpa_mask  # a compiler cannot look into `require`

    return sdpa_mask(
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
    )


def without_mask(
    query: Tensor, key: Tensor, *, causal: bool, rule: Rule | None = None
) -> BatchGraph:
    """The graph of models that have no mask: everything, or everything before."""
    B, Q, K = query.shape[0], query.shape[2], key.shape[2]
    causal = causal and Q > 1  # a step of a decoder reads all that there is
    layout = Layout(B, Q, Q if causal else K, itself=Q == K)
    found = batch_graph(layout, Pattern(right=0 if causal else None), rule=rule)
    assert found is not None
    return found


def _reads_itself() -> bool:
    """Whether a bidirectional mask is of tokens that read one another.

    A mask function is told the lengths, but not whose they are. Where those of an encoder and a
    decoder happen to be equal, the padding of one says nothing about the other: so we look at
    what the function of Transformers that calls us was given. If in doubt, no query is padding.
    """
    caller = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    if caller.f_globals.get("__name__") != "transformers.masking_utils":
        return False
    given = caller.f_locals
    return "encoder_hidden_states" in given and given["encoder_hidden_states"] is None


def _check_no_rule(rule: Rule | None, reason: str) -> None:
    if rule is not None:
        raise ArgumentError(
            f"graph: this model cannot follow a rule, because {reason}. Leave the rule out."
        )

"""Checks of arguments of attention functions: which of them change the result."""

from __future__ import annotations

from typing import Any

from torch import nn

from edgewise.errors import ArgumentError
from edgewise.integrations.huggingface.batch import BatchGraph
from edgewise.integrations.huggingface.traced_calls import named_in_call

__all__ = ["check_arguments", "check_texts"]

# Arguments of attention functions that do not change the result here: the graph, or another part
# of the model, contains them. `indices` are part of the mask.
_IRRELEVANT = frozenset(
    {
        *("cache_position", "deterministic", "indices", "is_causal", "layer_head_mask"),
        *("layer_idx", "max_length_k", "max_length_q", "output_attentions", "position_ids"),
        *("sliding_window", "attn_implementation"),
    }
)
# Arguments that change the result of some attention function of Transformers, not supported here.
_MEANT = frozenset(
    {
        *("block_indices", "block_table", "cache", "cu_seqlens", "k_cache"),
        *("kernel_options", "sinks", "softmax_scale", "target_dtype", "use_top_left_mask"),
        "v_cache",
    }
)
_TEXTS = ("cu_seq_lens_q", "cu_seq_lens_k", "seq_idx")


def check_arguments(module: nn.Module, rest: dict[str, Any]) -> None:
    """Refuse arguments that would change the result; those that others ignore are accepted.

    Arguments of losses and of other parts of a model are passed to attention through ``**kwargs``.
    """
    for name, value in rest.items():
        if name in _IRRELEVANT or name in _TEXTS or value is None or value is False:
            continue
        if name == "graph":
            raise ArgumentError(
                "graph: a model takes a rule for one call after use(model). Prepare it so, or call "
                "it inside `with graph(rule):`."
            )
        of_layer = name in _MEANT or named_in_call(
            type(module).__module__, type(module).__qualname__, name
        )
        if of_layer:
            layer = type(module).__name__
            raise ArgumentError(
                f"{layer} passes {name}, which Edgewise does not know and would ignore. Use "
                f"another attn_implementation for this model."
            )


def check_texts(batch: BatchGraph, rest: dict[str, Any]) -> None:
    """Check that packed texts are those of the graph."""
    for name in ("cu_seq_lens_q", "cu_seq_lens_k"):
        value = rest.get(name)
        if value is not None and len(value) - 1 != batch.texts:
            raise ArgumentError(
                f"{name} says that there are {len(value) - 1} texts but the graph of the batch has "
                f"{batch.texts}. Give position_ids that start anew with each text, and no "
                f"attention_mask."
            )

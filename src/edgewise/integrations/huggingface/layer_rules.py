"""Rule of a layer: from a block that covers it, from its config, or from its forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from edgewise.errors import ArgumentError
from edgewise.integrations.huggingface import active
from edgewise.integrations.huggingface.batch import BatchMask
from edgewise.integrations.huggingface.graph_rules import Rule
from edgewise.integrations.huggingface.masks import source_of, under_rule

__all__ = ["mask_in_trace", "rule_for", "source_for"]


# Rules that a layer followed in training: gradient checkpointing runs it again in the backward
# pass, when the block that set the rule is closed.
@dataclass
class _Followed:
    rules: list[Rule | None]
    is_read: bool = False


_FOLLOWED: WeakKeyDictionary[nn.Module, _Followed] = WeakKeyDictionary()


def rule_for(module: nn.Module, usual: Rule | None) -> Rule | None:
    """The current rule of a layer.

    Args:
        module: The layer.
        usual: The rule if no block covers the layer.
    """
    if torch._C._current_graph_task_id() != -1:  # pyright: ignore[reportPrivateUsage]
        return _rule_again(module, usual)
    rule = active.block_rule(module) or usual
    if module.training:
        followed = _FOLLOWED.setdefault(module, _Followed([]))
        if followed.is_read:
            followed.rules, followed.is_read = [], False
        if rule not in followed.rules:
            followed.rules.append(rule)
    return rule


def _rule_again(module: nn.Module, usual: Rule | None) -> Rule | None:
    """The rule of a layer that is recomputed in the backward pass."""
    followed = _FOLLOWED.get(module)
    if followed is None:
        return usual
    if len(followed.rules) > 1:
        layer = type(module).__name__
        raise ArgumentError(
            f"graph: {layer} followed several rules since the last backward pass, and gradient "
            f"checkpointing cannot tell which one to follow again. Run the backward pass of "
            f"one before the forward pass of the next, or train without checkpointing."
        )
    followed.is_read = True
    return followed.rules[0]


# --- Under a tracer -------------------------------------------------------------------------------


def _has_layers() -> bool:
    if torch.compiler.is_compiling():
        return active.has_layers
    return active.__getattr__("has_layers")


def source_for(module: nn.Module, config: Any) -> str | None:
    """The text of the rule of a layer, under a tracer."""
    if _has_layers():
        source = getattr(active, f"source_{id(module)}")
        if source is not None:
            return source
    return source_of(config)


def mask_in_trace(module: nn.Module, batch: BatchMask) -> Tensor:
    """The mask of a batch with the rule of a layer, under a tracer."""
    if not _has_layers():
        return batch.mask
    source = getattr(active, f"source_{id(module)}")
    return batch.mask if source is None else under_rule(batch, source, None).mask

"""State of the current context: rules of `graph` blocks, and observers of attention calls.

Both live in context variables, so that threads and asynchronous tasks do not share them. A
compiler cannot trace ``ContextVar.get``, but it can trace and guard an attribute of a module: in
compiled code the state is read through this module's ``__getattr__`` (``active.source``), which the
guards call again, in the context of each call.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import nn

from edgewise.errors import ArgumentError
from edgewise.integrations.huggingface.graph_rules import Rule

__all__ = [
    "RuleBlock",
    "block_rule",
    "close_block",
    "graph",
    "is_observed",
    "observers",
    "observing",
    "open_block",
]


@dataclass(eq=False)
class RuleBlock:
    """An open `graph` block.

    Attributes:
        rule: Its rule.
        layers: The modules that follow it, by identity; None for all.
        calls: Number of attention calls that read it.
    """

    rule: Rule
    layers: frozenset[int] | None = None
    calls: int = 0

    def covers(self, layer: int | None) -> bool:
        """Whether a layer follows the rule; None for masks that all layers share."""
        return self.layers is None or layer in self.layers


_BLOCKS: ContextVar[tuple[RuleBlock, ...]] = ContextVar("edgewise_blocks", default=())
_OBSERVERS: ContextVar[tuple[Callable[[Any], None], ...]] = ContextVar(
    "edgewise_observers", default=()
)


@contextmanager
def graph(
    rule: object, *, layers: nn.Module | Iterable[nn.Module] | None = None
) -> Generator[None]:
    """Run models that use Edgewise on a graph of your choice.

    It is intersected with the graph of the model: a decoder stays causal, a window stays a window,
    and cross-attention is unchanged. Tokens are counted without padding, and padded queries read
    nothing. The block applies to its thread or asynchronous task. A rule that is saved with
    a model is set in its config instead: ``model.config.graph_rule = "..."``.

    Args:
        rule: A text in which ``n`` stands for the number of tokens, a function of ``n``, edges,
            parents or a graph for each example, or one graph for all; see `Rule`. A random graph
            differs for each length, so with caches each new token reads the graph of its length.
        layers: Modules whose attention follows the rule, such as ``model.encoder.layer[0]`` or
            the language model of a model of images and text, with all that is in them; None for
            every layer. Of nested blocks, the innermost that covers a layer counts.

    Raises:
        ArgumentError: another type, or no attention call read the rule: the model does not use
            Edgewise.

    Example:
        >>> import torch
        >>> from transformers import BertConfig, BertModel
        >>> from edgewise.integrations.huggingface import use
        >>> sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
        >>> model = use(BertModel(BertConfig(**sizes, intermediate_size=8, vocab_size=10)))
        >>> with graph("Window(n, left=n // 4, right=1) | Hubs(n, [0])"):
        ...     model(torch.tensor([[1, 2, 3, 4]])).last_hidden_state.shape
        torch.Size([1, 4, 8])
    """
    block = RuleBlock(Rule.read(rule), None if layers is None else _all_within(layers))
    open_block(block)
    try:
        yield
    finally:
        close_block(block)
    if not block.calls:
        raise ArgumentError(
            "graph: no attention read the rule. Prepare the model with "
            "edgewise.integrations.huggingface.use(model), and call it inside the block, in the "
            "same thread."
        )


def open_block(block: RuleBlock) -> None:
    """Open a block inside those that are open."""
    _BLOCKS.set((*_BLOCKS.get(), block))


def close_block(block: RuleBlock) -> None:
    """Close a block."""
    _BLOCKS.set(tuple(each for each in _BLOCKS.get() if each is not block))


def _all_within(layers: nn.Module | Iterable[nn.Module]) -> frozenset[int]:
    chosen = [layers] if isinstance(layers, nn.Module) else list(layers)
    for each in chosen:
        if not isinstance(each, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ArgumentError(
                f"graph: layers must be modules of the model, got {type(each).__name__}. Pass "
                f"model.get_submodule('...') for a name."
            )
    if not chosen:
        raise ArgumentError("graph: layers must hold a module, got none. Leave layers out for all.")
    return frozenset(id(part) for each in chosen for part in each.modules())


def _block_of(layer: int | None) -> RuleBlock | None:
    for block in reversed(_BLOCKS.get()):
        if block.covers(layer):
            block.calls += 1
            return block
    return None


def block_rule(layer: nn.Module | None) -> Rule | None:
    """The rule of the innermost block that covers a layer, or (None) every layer."""
    block = _block_of(None if layer is None else id(layer))
    return None if block is None else block.rule


# --- Observers ------------------------------------------------------------------------------------


@contextmanager
def observing(observer: Callable[[Any], None]) -> Generator[None]:
    """Call a function with every attention call of this context, in its thread or task."""
    token = _OBSERVERS.set((*_OBSERVERS.get(), observer))
    try:
        yield
    finally:
        _OBSERVERS.reset(token)


def observers() -> tuple[Callable[[Any], None], ...]:
    """The observers of the current context."""
    return _OBSERVERS.get()


def is_observed() -> bool:
    """Whether there are observers."""
    return bool(_OBSERVERS.get())


# --- For compiled code ----------------------------------------------------------------------------


def __getattr__(name: str) -> Any:
    """``source``: the portable text of the rule of all layers, or None.

    ``source_123``: the same for the layer with identity 123. ``has_layers``: whether some block
    covers chosen layers alone. ``has_blocks``: whether a block is open. ``is_observed_now``.
    """
    match name.split("_"):
        case ["source"]:
            block = _block_of(None)
        case ["source", layer] if layer.isdecimal():
            block = _block_of(int(layer))
        case ["has", "layers"]:
            return any(block.layers is not None for block in _BLOCKS.get())
        case ["has", "blocks"]:
            return bool(_BLOCKS.get())
        case ["is", "observed", "now"]:
            return is_observed()
        case _:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return None if block is None else block.rule.source

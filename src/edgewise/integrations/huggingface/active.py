"""What holds in the current context: the rules of `graph` blocks, and who watches attention.

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
from edgewise.integrations.huggingface.rules import Rule

__all__ = [
    "Block",
    "block_rule",
    "close_block",
    "graph",
    "is_watched",
    "open_block",
    "watchers",
    "watching",
]


@dataclass(eq=False)
class Block:
    """A `graph` block that is open.

    Attributes:
        rule: Its rule.
        layers: The modules that follow it, by identity; None for all.
        calls: How often it was read.
    """

    rule: Rule
    layers: frozenset[int] | None = None
    calls: int = 0

    def covers(self, layer: int | None) -> bool:
        """Whether a layer follows the rule; None for what is shared by all layers."""
        return self.layers is None or layer in self.layers


_BLOCKS: ContextVar[tuple[Block, ...]] = ContextVar("edgewise_blocks", default=())
_WATCHERS: ContextVar[tuple[Callable[[Any], None], ...]] = ContextVar(
    "edgewise_watchers", default=()
)


@contextmanager
def graph(
    rule: object, *, layers: nn.Module | Iterable[nn.Module] | None = None
) -> Generator[None]:
    """Run models that use Edgewise on a graph of your choice.

    It is intersected with the model's own: a decoder stays causal, a window stays a window, and
    cross-attention is left alone. Tokens are counted without padding, and padded queries read
    nothing. The block holds in its own thread or asynchronous task. A rule that shall be saved with
    a model goes into its config instead: ``model.config.graph_rule = "..."``.

    Args:
        rule: A text in which ``n`` stands for the number of tokens, a function of ``n``, edges,
            parents or a graph for each example, or one graph for all; see `Rule`. A random graph
            is another one at each length, so with caches each new token reads by the graph of its
            own length.
        layers: Modules whose attention follows the rule, such as ``model.encoder.layer[0]`` or
            the language model of a model of images and text, with all that is in them; None for
            every layer. Of nested blocks, the innermost that covers a layer counts.

    Raises:
        ArgumentError: something else, or no attention asked for it: the model does not use
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
    block = Block(Rule.read(rule), None if layers is None else _all_within(layers))
    open_block(block)
    try:
        yield
    finally:
        close_block(block)
    if not block.calls:
        raise ArgumentError(
            "graph: no attention asked for the rule. Prepare the model with "
            "edgewise.integrations.huggingface.use(model), and call it inside the block, in the "
            "same thread."
        )


def open_block(block: Block) -> None:
    """Make a block the innermost one."""
    _BLOCKS.set((*_BLOCKS.get(), block))


def close_block(block: Block) -> None:
    """Take a block away."""
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


def _block_of(layer: int | None) -> Block | None:
    for block in reversed(_BLOCKS.get()):
        if block.covers(layer):
            block.calls += 1
            return block
    return None


def block_rule(layer: nn.Module | None) -> Rule | None:
    """The rule of the innermost block that covers a layer, or (None) every layer."""
    block = _block_of(None if layer is None else id(layer))
    return None if block is None else block.rule


# --- Watching -------------------------------------------------------------------------------------


@contextmanager
def watching(watcher: Callable[[Any], None]) -> Generator[None]:
    """Call a function with every attention of this block, in its thread or task."""
    token = _WATCHERS.set((*_WATCHERS.get(), watcher))
    try:
        yield
    finally:
        _WATCHERS.reset(token)


def watchers() -> tuple[Callable[[Any], None], ...]:
    """Those of the current context."""
    return _WATCHERS.get()


def is_watched() -> bool:
    """Whether there are any."""
    return bool(_WATCHERS.get())


# --- For compiled code ----------------------------------------------------------------------------


def __getattr__(name: str) -> Any:
    """``source``: the portable text of the rule of all layers, or None.

    ``source_123``: the same for the layer with identity 123. ``has_layers``: whether some block
    covers chosen layers alone. ``has_blocks``: whether a block is open. ``is_watched_now``.
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
        case ["is", "watched", "now"]:
            return is_watched()
        case _:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return None if block is None else block.rule.source

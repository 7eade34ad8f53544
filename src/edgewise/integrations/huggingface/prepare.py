"""Preparation of a model: its implementation, its settings, and a check of its first call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgewise.backends import BACKENDS
from edgewise.errors import ArgumentError
from edgewise.integrations.huggingface import active
from edgewise.integrations.huggingface.graph_rules import Rule
from edgewise.integrations.huggingface.interface import CALLS, NAME
from edgewise.integrations.huggingface.registration import register
from edgewise.optional_packages import require

__all__ = ["use"]


def use(
    model: Any,
    *,
    backend: str | None = None,
    skip_padding: bool | None = None,
    dense_masks: bool | None = None,
) -> Any:
    """Compute the attention of a model of Transformers with Edgewise; returns the model.

    A prepared model takes a rule for one call: ``model(..., graph="Window(n, left=8, right=8)")``.
    Settings are stored in its configs, as ``graph_backend``, ``graph_skip_padding`` and
    ``graph_dense_masks``, and saved with them.

    Args:
        model: A model of Transformers, or a module that holds one, such as a
            ``SentenceTransformer``.
        backend: The backend of every attention, such as ``"gather"``, which has second
            derivatives; ``"auto"`` for the fastest.  Unchanged when None.
        skip_padding: Whether padded queries are left out, which saves their work: their rows are
            zeros then. Else they read what Transformers' own attention lets them read, so that
            right-padded generation and pooling without a mask are the same. Unchanged when None.
        dense_masks: Whether the model gets its masks as tensors, for models that change them.
            Unchanged when None.

    Raises:
        ArgumentError: the model does not use the attention interface of Transformers, or there is
            no such backend.
        ModuleNotFoundError: Transformers is not installed.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
        >>> model = use(BertModel(BertConfig(**sizes, intermediate_size=8, vocab_size=10)))
        >>> model(torch.tensor([[1, 2, 3]])).last_hidden_state.shape
        torch.Size([1, 3, 8])
    """
    register()
    _check_backend(backend)
    models = _models_within(model)
    _choose_all(models)
    settings = {
        "graph_backend": backend,
        "graph_skip_padding": skip_padding,
        "graph_dense_masks": dense_masks,
    }
    for each in models:
        for config in _configs_of(each):
            for name, value in settings.items():
                if value is not None:
                    setattr(config, name, value)
    _add_hooks(model)
    return model


def _models_within(model: Any) -> list[Any]:
    """The outermost models of Transformers in a module."""
    from transformers import PreTrainedModel

    models: list[Any] = []
    pending: list[Any] = [model]
    while pending:
        part = pending.pop()
        if isinstance(part, PreTrainedModel):
            models.append(part)
        elif hasattr(part, "get_base_model") and hasattr(part, "set_attn_implementation"):
            models.append(part)  # PEFT models, which pass it on
        elif isinstance(part, nn.Module):
            pending += part.children()
    if not models:
        raise ArgumentError(
            f"use: model must be a model of Transformers or hold one, got {type(model).__name__}. "
            f"For other modules, call edgewise.attention or the layers of edgewise.nn."
        )
    return models


def _choose_all(models: Sequence[Any]) -> None:
    """Set the implementation of all models; of none where one of them is refused."""
    before = [(each, vars(each).get(_CHOSEN)) for model in models for each in _configs_of(model)]
    try:
        for model in models:
            _choose(model)
            _check_layers(model)
    except BaseException:
        for config, implementation in before:
            vars(config)[_CHOSEN] = implementation
        raise


_CHOSEN = "_attn_implementation_internal"  # what Transformers keeps in a config


def _choose(model: Any) -> None:
    """Set the implementation, with an error instead of a warning if it is not used."""
    logging = require("transformers.utils.logging", "huggingface")
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        model.set_attn_implementation(NAME)
    finally:
        logging.set_verbosity(before)
    if model.config._attn_implementation != NAME:
        raise ArgumentError(
            f"use: {type(model).__name__} computes its attention by itself, without Transformers' "
            f"attention interface. Use it as it is, or another model."
        )


def _configs_of(model: Any) -> list[Any]:
    from transformers import PreTrainedConfig

    held = [getattr(part, "config", None) for part in model.modules()]
    by_identity = {id(each): each for each in held if isinstance(each, PreTrainedConfig)}
    return list(by_identity.values())


def _check_backend(backend: str | None) -> None:
    names = ["auto", *(each.name for each in BACKENDS)]
    if backend is not None and backend not in names:
        raise ArgumentError(
            f"use: backend must be one of {', '.join(names)}, got {backend!r}. Leave it out for "
            f"the fastest."
        )


# --- Attention interface --------------------------------------------------------------------------

_COMPUTES = re.compile(r"softmax\(|scaled_dot_product_attention\(|\.bmm\(|torch\.matmul\(")


def _check_layers(model: nn.Module) -> None:
    """Refuse a model none of whose attention classes uses the attention interface."""
    layers = {type(part) for part in model.modules() if "Attention" in type(part).__name__}
    using = [each for each in layers if "get_interface(" in _source_of(each)]
    computing = [
        each for each in layers if each not in using and _COMPUTES.search(_source_of(each))
    ]
    if computing and not using:
        names = ", ".join(sorted(each.__name__ for each in computing))
        raise ArgumentError(
            f"use: {type(model).__name__} computes its attention in {names}, which was chosen when "
            f"the model was built and does not go through Transformers' attention interface. Use "
            f"it as it is, or another model."
        )


def _source_of(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return "get_interface("  # unknown: the first call is checked


# --- Calls ----------------------------------------------------------------------------------------


def _add_hooks(model: nn.Module) -> None:
    """Add hooks that check the first call of a model, and read the rule of each call."""
    hooks = model._forward_pre_hooks  # pyright: ignore[reportPrivateUsage]
    if _before in hooks.values():
        return
    model.register_forward_pre_hook(_before, with_kwargs=True)
    model.register_forward_hook(_after, always_call=True)


@dataclass(eq=False)
class _ModelCall:
    """An open call of a prepared model.

    Attributes:
        module: The model.
        block: The rule of this call, for the layers of the model.
        count: Number of attention calls, as a list with one number.
        outer: Counter of the enclosing call.
    """

    module: nn.Module
    block: active.RuleBlock | None
    count: list[int]
    outer: list[int] | None


_OPEN: ContextVar[tuple[_ModelCall, ...]] = ContextVar("edgewise_open_calls", default=())


def _before(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
    """Open a block for the rule of a call, and a counter of its attention calls."""
    rule = kwargs.get("graph")
    if torch.compiler.is_compiling():
        if rule is not None:
            raise ArgumentError(
                "graph: a compiled call takes no rule. Call the compiled model inside "
                "`with graph(rule):`."
            )
        return None
    if "graph" not in kwargs and getattr(module, "_edgewise_came", False):
        return None
    block = None
    if rule is not None:
        block = active.RuleBlock(Rule.read(rule), frozenset(id(part) for part in module.modules()))
        active.open_block(block)
    call = _ModelCall(module, block, [0], CALLS.get())
    CALLS.set(call.count)
    _OPEN.set((*_OPEN.get(), call))
    return args, {name: value for name, value in kwargs.items() if name != "graph"}


def _after(module: nn.Module, _: Any, output: Any) -> None:
    """Close the block and the counter, also after an error."""
    if torch.compiler.is_compiling():
        return
    opened = _OPEN.get()
    if not opened or opened[-1].module is not module:
        return
    call = opened[-1]
    _OPEN.set(opened[:-1])
    CALLS.set(call.outer)
    if call.outer is not None:
        call.outer[0] += call.count[0]
    if call.block is not None:
        active.close_block(call.block)
    if output is None:
        return  # the call failed
    if not call.count[0]:
        raise ArgumentError(
            f"use: no attention of {type(module).__name__} came to Edgewise. It has none, or "
            f"computes it without Transformers' attention interface. Use it as it is."
        )
    module._edgewise_came = True  # type: ignore[assignment]

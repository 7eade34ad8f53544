"""Detection of traced calls, and functions that are constants for a tracer."""

from __future__ import annotations

import inspect
import logging
import sys
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from edgewise.ops.tracing import is_intercepted
from edgewise.shapes import is_shape_only

__all__ = ["adds_masks", "is_traced", "is_unreadable", "log_once", "named_in_call", "reads_others"]

_LOGGER = logging.getLogger("edgewise.integrations.huggingface")


def is_traced() -> bool:
    """Whether a compiler, an exporter or `torch.jit.trace` records the code."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def is_unreadable(padding: Tensor | None) -> bool:
    """Whether the lengths of texts cannot be read: traced, fake, batched or without memory."""
    if is_traced():
        return True
    if padding is None:
        return False
    return is_shape_only(padding) or type(padding) is not Tensor or _is_wrapped(padding)


def _is_wrapped(tensor: Tensor) -> bool:
    functorch: Any = torch._C._functorch  # type: ignore[attr-defined]  # pyright: ignore[reportPrivateUsage]
    return is_intercepted((tensor,)) and bool(functorch.is_functorch_wrapped_tensor(tensor))


@lru_cache(maxsize=256)
def _log_once(reason: str) -> None:
    _LOGGER.warning("Attention runs under a dense mask: %s.", reason)


@torch.compiler.assume_constant_result
def log_once(reason: str) -> None:
    """Log the reason for a dense mask, once for each reason in a process."""
    _log_once(reason)


# --- Properties of classes, by name: constants for a tracer ---------------------------------------


@torch.compiler.assume_constant_result
def adds_masks(config_module: str) -> bool:
    """Whether models of a config are written for masks of numbers: they declare no sdpa."""
    return _adds_masks(config_module)


@lru_cache(maxsize=256)
def _adds_masks(config_module: str) -> bool:
    modeling = sys.modules.get(config_module.replace("configuration_", "modeling_"))
    models: list[Any] = [
        each
        for each in vars(modeling or object).values()
        if inspect.isclass(each)
        and each.__module__ == getattr(modeling, "__name__", None)
        and hasattr(each, "_supports_sdpa")
    ]
    return bool(models) and not any(each._supports_sdpa for each in models)


def _class_named(module: str, name: str) -> Any:
    value: Any = sys.modules.get(module)
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


@torch.compiler.assume_constant_result
def named_in_call(module: str, name: str, argument: str) -> bool:
    """Whether the forward method of a layer passes its attention an argument of this name."""
    return argument in _words(module, name)


@lru_cache(maxsize=1024)
def _words(module: str, name: str) -> frozenset[str]:
    """Names of keyword arguments of the attention function in the forward method of a class."""
    forward: Any = getattr(_class_named(module, name), "forward", None)
    try:
        source = inspect.getsource(forward)
    except (OSError, TypeError):
        return frozenset()
    start = source.find("attention_interface(")
    call = source[start:] if start >= 0 else ""
    words: set[str] = set()
    for line in call.partition("**kwargs")[0].splitlines():
        word, sign, _ = line.strip().partition("=")
        if sign and word.isidentifier():
            words.add(word)
    return frozenset(words)


@torch.compiler.assume_constant_result
def reads_others(module: str, name: str) -> bool:
    """Whether a layer can compute cross-attention."""
    forward = getattr(_class_named(module, name), "forward", None)
    try:
        parameters = inspect.signature(forward).parameters if forward is not None else {}
    except (TypeError, ValueError):
        return False
    return any(word in parameters for word in OTHERS)


OTHERS = ("key_value_states", "encoder_hidden_states")

"""What tracers that run no Python do with a function of the operator: a record, or a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import torch.fx

from edgewise.errors import ArgumentError

__all__ = ["not_scriptable", "recorded"]

F = TypeVar("F", bound=Callable[..., Any])


def not_scriptable(function: F) -> F:
    """Make ``torch.jit.script`` refuse a function in a sentence."""

    def refuse() -> NoReturn:
        raise ArgumentError(
            f"{function.__name__} cannot be compiled by torch.jit.script, which knows no graphs. "
            f"Use torch.compile, torch.export or torch.jit.trace."
        )

    function.__prepare_scriptable__ = refuse  # type: ignore[attr-defined]  # torch calls it first
    return function


def recorded(
    function: Callable[..., Any], arguments: Sequence[object], settings: Mapping[str, object]
) -> Any:
    """The node of a call in a trace of ``torch.fx``; None where the call is not traced.

    ``torch.fx`` traces by values that have no shape, so a call is recorded as it is.
    """
    for argument in (*arguments, *settings.values()):
        if isinstance(argument, torch.fx.Proxy):
            return argument.tracer.create_proxy(
                "call_function", function, tuple(arguments), dict(settings)
            )
    return None

"""Checks of sizes: whole numbers, and lists of them."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import torch

from edgewise.errors import GraphError
from edgewise.graphs.open_sizes import holds
from edgewise.shapes import is_shape_only

__all__ = ["count", "counts"]


def count(owner: str, name: str, value: object, minimum: int = 0) -> int:
    """Check that a size is a whole number of at least ``minimum``."""
    if torch.compiler.is_compiling() and isinstance(value, int | torch.SymInt):
        number: Any = value  # operator.index would specialize a symbolic size of the compiler
    else:
        try:
            number = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            number = None
    if number is None or _is_bool(value):
        raise GraphError(
            f"{owner}: {name} must be a whole number, got {value!r} "
            f"({type(value).__name__}). Pass an int."
        )
    if holds(number < minimum):
        raise GraphError(
            f"{owner}: {name} must be at least {minimum}, got {number}. Pass a larger number."
        )
    return number


def _is_bool(value: object) -> bool:
    """Whether a value is a bool or an array of bools, which Python converts to whole numbers."""
    if isinstance(value, int):
        return isinstance(value, bool)
    return "bool" in str(getattr(value, "dtype", ""))


def counts(owner: str, name: str, values: object) -> tuple[int, ...]:
    """Check that an argument lists whole numbers of at least zero."""
    if isinstance(values, torch.Tensor) and (
        torch.compiler.is_dynamo_compiling() or is_shape_only(values)
    ):
        raise GraphError(
            f"{owner}: {name} must list whole numbers, got a tensor whose numbers cannot be read, "
            f"on meta or inside traced code. Pass a list, or build the graph outside."
        )
    listed: Any = values.tolist() if hasattr(values, "tolist") else values  # type: ignore[attr-defined]
    if not isinstance(listed, Iterable):
        raise GraphError(
            f"{owner}: {name} must list whole numbers, got {values!r} "
            f"({type(values).__name__}). Pass a list, like [{listed}]."
        )
    sizes = tuple(listed)
    if all(type(size) is int and size >= 0 for size in sizes):  # fast for thousands of graphs
        return sizes
    return tuple(count(owner, f"{name}[{i}]", value) for i, value in enumerate(sizes))

"""Names of arguments in other libraries: a wrong one raises a sentence that has the right one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Never

from edgewise.errors import ArgumentError, printable

__all__ = ["refuse", "without_none"]

# What an argument holds, and what other libraries (or earlier versions) call it.
_ARGUMENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "edge": (
        "features of edges, [*batch, edges, features]",
        ("edge_attr", "edge_attrs", "edge_feat", "edge_features", "edge_weight"),
    ),
    "edge_weight": (
        "one number for each edge, [*batch, edges]",
        ("edge", "edge_attr", "edge_weights", "weight"),
    ),
    "child_position": ("the position of each child, [edges]", ("edge", "edge_attr")),
    "score_bias": (
        "what is added to the scores",
        ("bias", "attn_bias", "attention_bias", "attn_mask", "mask"),
    ),
    "negative_slope": ("the slope of LeakyReLU below zero", ("slope", "alpha")),
}


def refuse(owner: str, given: Mapping[str, object], *taken: str) -> Never:
    """Raise for arguments that a layer does not take, naming the one that was meant.

    Args:
        owner: Name of the layer.
        given: The arguments that it does not take; at least one.
        taken: Names of optional arguments that it takes.

    Raises:
        ArgumentError: always.

    Example:
        >>> refuse("GATAttention", {"edge_attr": 1}, "edge")
        Traceback (most recent call last):
        ...
        edgewise.errors.ArgumentError: GATAttention: there is no argument edge_attr. Pass edge: ...
    """
    name = next(iter(given))
    for argument in taken:
        meaning, others = _ARGUMENTS.get(argument, ("", ()))
        if name in others:
            raise ArgumentError(
                f"{owner}: there is no argument {name}. Pass {argument}: {meaning}."
            )
    listed = f" Optional ones are {', '.join(taken)}." if taken else ""
    raise ArgumentError(f"{owner}: there is no argument {printable(name)}.{listed}")


def without_none(**given: object) -> dict[str, Any]:
    """Arguments that are given: those that are None are left out.

    Example:
        >>> without_none(edge=None, edge_weight=1.0)
        {'edge_weight': 1.0}
    """
    return {name: value for name, value in given.items() if value is not None}

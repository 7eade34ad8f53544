"""Tables of names of weights, for conversion in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgewise.errors import ArgumentError

__all__ = ["Name", "to_edgewise", "to_original", "within"]

_SUFFIXES = r"(\.weight|\.bias)?"


@dataclass(frozen=True)
class Name:
    """A row of a table: the names of the same weights in Edgewise and in the original.

    A row names a module, for its weight and its bias, or one tensor. ``{i}`` is
    the number of a layer.

    Attributes:
        edgewise: Name in Edgewise; several if the original concatenates them.
        original: Name in the original.
        turned: Whether matrices of the original are stored as ``[in, out]``.
        axes: Number of leading axes of size one in the original.
    """

    edgewise: tuple[str, ...]
    original: str
    turned: bool = False
    axes: int = 0


Names = Sequence[Name]


def within(names: Names, prefix: str, original_prefix: str) -> tuple[Name, ...]:
    """The rows of a part with prefixes, for the table of the whole.

    Example:
        >>> (name,) = within([Name(("mlp.up_proj",), "fc1")], "blocks.{i}.", "layers.{i}.")
        >>> name.edgewise, name.original
        (('blocks.{i}.mlp.up_proj',), 'layers.{i}.fc1')
    """
    return tuple(
        replace(
            name,
            edgewise=tuple(prefix + each for each in name.edgewise),
            original=original_prefix + name.original,
        )
        for name in names
    )


def to_original(weights: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Weights of Edgewise with names and shapes of the original; differentiable.

    Raises:
        ArgumentError: a weight that is not in the table, or a part of a concatenated weight.

    Example:
        >>> table = [Name(("q_proj", "k_proj"), "qk", turned=True)]
        >>> weights = {"q_proj.weight": torch.zeros(2, 3), "k_proj.weight": torch.ones(2, 3)}
        >>> {name: tensor.shape for name, tensor in to_original(weights, table).items()}
        {'qk.weight': torch.Size([3, 4])}
    """
    converted: dict[str, Tensor] = {}
    used: set[str] = set()
    for name in names:
        for number, suffix in _matches(name.edgewise[0], weights):
            keys = [pattern.replace("{i}", number) + suffix for pattern in name.edgewise]
            _check_all(keys, weights)
            used.update(keys)
            tensor = torch.cat([weights[each] for each in keys]) if keys[1:] else weights[keys[0]]
            tensor = tensor.mT if name.turned and tensor.ndim > 1 else tensor
            converted[name.original.replace("{i}", number) + suffix] = tensor[(None,) * name.axes]
    _check_used(weights, used)
    return converted


def to_edgewise(weights: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Weights of the original with names and shapes of Edgewise; differentiable, views if possible.

    Raises:
        ArgumentError: a weight that is not in the table.

    Example:
        >>> table = [Name(("q_proj", "k_proj"), "qk", turned=True)]
        >>> weights = to_edgewise({"qk.weight": torch.zeros(3, 4)}, table)
        >>> {name: tensor.shape for name, tensor in weights.items()}
        {'q_proj.weight': torch.Size([2, 3]), 'k_proj.weight': torch.Size([2, 3])}
    """
    converted: dict[str, Tensor] = {}
    used: set[str] = set()
    for name in names:
        for number, suffix in _matches(name.original, weights):
            other = name.original.replace("{i}", number) + suffix
            used.add(other)
            tensor = weights[other][(0,) * name.axes]
            tensor = tensor.mT if name.turned and tensor.ndim > 1 else tensor
            parts = tensor.chunk(len(name.edgewise)) if name.edgewise[1:] else (tensor,)
            for pattern, part in zip(name.edgewise, parts, strict=True):
                converted[pattern.replace("{i}", number) + suffix] = part
    _check_used(weights, used)
    return converted


def _matches(pattern: str, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Matches of a pattern among the names: the number of the layer, and the suffix."""
    expression = re.compile(re.escape(pattern).replace(r"\{i\}", r"(?P<i>\d+)") + _SUFFIXES)
    for name in weights:
        match = expression.fullmatch(name)
        if match is not None:
            groups = match.groupdict()
            yield groups.get("i", ""), match.groups()[-1] or ""


def _check_all(wanted: Sequence[str], weights: Mapping[str, Tensor]) -> None:
    missing = [name for name in wanted if name not in weights]
    if missing:
        raise ArgumentError(
            f"weights: {wanted[0]} is there but {missing[0]} is not, and theirs holds both in one "
            f"tensor. Pass all weights of the layer."
        )


def _check_used(weights: Mapping[str, Tensor], used: set[str]) -> None:
    unknown = [name for name in weights if name not in used]
    if unknown:
        raise ArgumentError(
            f"weights: {unknown[0]} is not in the table of names"
            f"{'' if len(unknown) == 1 else f', nor are {len(unknown) - 1} others'}. Leave out "
            f"what the other model does not have."
        )

"""Weights under other names: tables of names, read in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgewise.errors import ArgumentError

__all__ = ["Name", "to_ours", "to_theirs", "within"]

_SUFFIXES = r"(\.weight|\.bias)?"


@dataclass(frozen=True)
class Name:
    """One row of a table: the same weights here and there.

    A row names a module, and then stands for its weight and its bias, or one tensor. ``{i}`` is
    the number of a layer.

    Attributes:
        ours: What we call it; several, where theirs holds ours one below the other.
        theirs: What they call it.
        turned: Whether their matrices are stored as ``[in, out]``.
        axes: How many axes of size one theirs has in front.
    """

    ours: tuple[str, ...]
    theirs: str
    turned: bool = False
    axes: int = 0


Names = Sequence[Name]


def within(names: Names, ours: str, theirs: str) -> tuple[Name, ...]:
    """A table of a part as rows of the table of the whole.

    Example:
        >>> within([Name(("mlp.up_proj",), "fc1")], "blocks.{i}.", "layers.{i}.")
        (Name(ours=('blocks.{i}.mlp.up_proj',), theirs='layers.{i}.fc1', turned=False, axes=0),)
    """
    return tuple(
        replace(name, ours=tuple(ours + own for own in name.ours), theirs=theirs + name.theirs)
        for name in names
    )


def to_theirs(weights: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Our weights under their names and in their shapes; differentiable, nothing is copied twice.

    Raises:
        ArgumentError: a weight that the table does not know, or half of what theirs holds.

    Example:
        >>> table = [Name(("q_proj", "k_proj"), "qk", turned=True)]
        >>> ours = {"q_proj.weight": torch.zeros(2, 3), "k_proj.weight": torch.ones(2, 3)}
        >>> {name: tensor.shape for name, tensor in to_theirs(ours, table).items()}
        {'qk.weight': torch.Size([3, 4])}
    """
    found: dict[str, Tensor] = {}
    known: set[str] = set()
    for name in names:
        for number, suffix in _places(name.ours[0], weights):
            own = [pattern.replace("{i}", number) + suffix for pattern in name.ours]
            _check_all(own, weights)
            known.update(own)
            tensor = torch.cat([weights[each] for each in own]) if own[1:] else weights[own[0]]
            tensor = tensor.mT if name.turned and tensor.ndim > 1 else tensor
            found[name.theirs.replace("{i}", number) + suffix] = tensor[(None,) * name.axes]
    _check_known(weights, known)
    return found


def to_ours(weights: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Their weights under our names and in our shapes; differentiable, views where possible.

    Raises:
        ArgumentError: a weight that the table does not know.

    Example:
        >>> table = [Name(("q_proj", "k_proj"), "qk", turned=True)]
        >>> ours = to_ours({"qk.weight": torch.zeros(3, 4)}, table)
        >>> {name: tensor.shape for name, tensor in ours.items()}
        {'q_proj.weight': torch.Size([2, 3]), 'k_proj.weight': torch.Size([2, 3])}
    """
    found: dict[str, Tensor] = {}
    known: set[str] = set()
    for name in names:
        for number, suffix in _places(name.theirs, weights):
            other = name.theirs.replace("{i}", number) + suffix
            known.add(other)
            tensor = weights[other][(0,) * name.axes]
            tensor = tensor.mT if name.turned and tensor.ndim > 1 else tensor
            parts = tensor.chunk(len(name.ours)) if name.ours[1:] else (tensor,)
            for pattern, part in zip(name.ours, parts, strict=True):
                found[pattern.replace("{i}", number) + suffix] = part
    _check_known(weights, known)
    return found


def _places(pattern: str, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Where a pattern occurs among the names: the number of the layer, and weight or bias."""
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


def _check_known(weights: Mapping[str, Tensor], known: set[str]) -> None:
    unknown = [name for name in weights if name not in known]
    if unknown:
        raise ArgumentError(
            f"weights: {unknown[0]} is not in the table of names"
            f"{'' if len(unknown) == 1 else f', nor are {len(unknown) - 1} others'}. Leave out "
            f"what the other model does not have."
        )

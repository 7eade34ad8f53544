"""What was worked out about edges: kept while their tensor lives and stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from edgewise.graphs.cache import lasting

__all__ = ["forget", "recall_about"]

R = TypeVar("R")

_MOST_FOUND = 16  # about one tensor: sizes, self-loops and norms it was used with


@dataclass(eq=False)
class _Entry:
    """What is known of one tensor.

    Attributes:
        kind: Type of storage, shape, dtype and device.
        parts: Copies of the numbers on a CPU, which are compared before each use: no way of
            changing them, through NumPy or ``.data``, goes unseen. Elsewhere comparing would wait
            for the device, so torch's counter of changes has to do.
        version: What that counter said, and where the numbers lie.
        found: Results, by key.
    """

    kind: tuple[Hashable, ...]
    parts: tuple[Tensor, ...]
    version: tuple[Hashable, ...] | None
    found: dict[Hashable, Any] = field(default_factory=dict)


_ENTRIES: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def recall_about(tensor: Tensor, key: Hashable, compute: Callable[[], R]) -> R:
    """What ``compute()`` returns, worked out once for this tensor, its numbers and a key.

    Nothing is kept once the tensor is gone, and nothing of it is used once its numbers differ.
    ``compute`` must return nothing that holds the tensor itself, or it would never be gone.

    Args:
        tensor: Edges, groups of nodes, or a sparse matrix (of which only the places count).
        key: What else the result depends on.
        compute: Works it out.

    Complexity: O(E) to compare the numbers, a small part of what any use of them takes.
    """
    entry = _ENTRIES.get(tensor)
    if entry is None or not _unchanged(entry, tensor):
        _ENTRIES[tensor] = entry = _entry(tensor)
    if key not in entry.found:
        while len(entry.found) >= _MOST_FOUND:
            entry.found.pop(next(iter(entry.found)))
        with lasting():
            entry.found[key] = compute()
    return entry.found[key]


def forget(tensor: Tensor | None = None) -> None:
    """Free what is kept about a tensor, or about all of them.

    Nobody has to call it for right results; what is kept goes with the tensor.
    """
    if tensor is None:
        _ENTRIES.clear()
    else:
        _ENTRIES.pop(tensor, None)


def _entry(tensor: Tensor) -> _Entry:
    if tensor.device.type != "cpu":
        return _Entry(_kind(tensor), (), _version(tensor))
    with lasting():
        return _Entry(_kind(tensor), tuple(part.clone() for part in _parts(tensor)), None)


def _unchanged(entry: _Entry, tensor: Tensor) -> bool:
    if entry.kind != _kind(tensor):
        return False
    if tensor.device.type != "cpu":
        return entry.version is not None and entry.version == _version(tensor)
    return all(map(torch.equal, entry.parts, _parts(tensor)))


def _kind(tensor: Tensor) -> tuple[Hashable, ...]:
    return (tensor.layout, tensor.shape, tensor.dtype, tensor.device)


def _parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """The numbers that say where edges are."""
    if tensor.layout == torch.strided:
        return (tensor.detach(),)
    if tensor.layout == torch.sparse_csr:
        return tensor.crow_indices(), tensor.col_indices()
    if tensor.layout == torch.sparse_csc:
        return tensor.ccol_indices(), tensor.row_indices()
    return (tensor._indices(),)


def _version(tensor: Tensor) -> tuple[Hashable, ...] | None:
    """Address and number of changes of every part; None where torch does not count changes."""
    if any(part.is_inference() for part in _parts(tensor)):
        return None
    return tuple((part.data_ptr(), part._version) for part in _parts(tensor))

"""Cache of results about edges, valid while their tensor exists and is unchanged."""

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

_MOST_RESULTS = 16  # of a tensor: sizes, self-loops and norms it was used with


@dataclass(eq=False)
class _CachedTensor:
    """Cached results of a tensor.

    Attributes:
        kind: Type of storage, shape, dtype and device.
        parts: Copies of the numbers on a CPU, which are compared before each use, so that changes
            through NumPy or ``.data`` are detected. On other devices a comparison would
            synchronize, so torch's counter of changes is compared.
        version: That counter, and the addresses of the numbers.
        results: Results, by key.
    """

    kind: tuple[Hashable, ...]
    parts: tuple[Tensor, ...]
    version: tuple[Hashable, ...] | None
    results: dict[Hashable, Any] = field(default_factory=dict)


_ENTRIES: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def recall_about(tensor: Tensor, key: Hashable, compute: Callable[[], R]) -> R:
    """The result of ``compute()``, computed once for a tensor, its numbers and a key.

    Results are freed with the tensor, and are not used if its numbers differ.
    ``compute`` must return nothing that holds the tensor, or it would never be freed.

    Args:
        tensor: Edges, groups of nodes, or a sparse matrix (of which only the indices count).
        key: Other arguments of the result.
        compute: Computes the result.

    Complexity: O(E) to compare the numbers, a small part of the time of any use of them.
    """
    entry = _ENTRIES.get(tensor)
    if entry is None or not _unchanged(entry, tensor):
        _ENTRIES[tensor] = entry = _entry(tensor)
    if key not in entry.results:
        while len(entry.results) >= _MOST_RESULTS:
            entry.results.pop(next(iter(entry.results)))
        with lasting():
            entry.results[key] = compute()
    return entry.results[key]


def forget(tensor: Tensor | None = None) -> None:
    """Free the cached results of a tensor, or of all tensors.

    It is not needed for right results; results are freed with their tensor.
    """
    if tensor is None:
        _ENTRIES.clear()
    else:
        _ENTRIES.pop(tensor, None)


def _entry(tensor: Tensor) -> _CachedTensor:
    if tensor.device.type != "cpu":
        return _CachedTensor(_kind(tensor), (), _version(tensor))
    with lasting():
        return _CachedTensor(_kind(tensor), tuple(part.clone() for part in _parts(tensor)), None)


def _unchanged(entry: _CachedTensor, tensor: Tensor) -> bool:
    if entry.kind != _kind(tensor):
        return False
    if tensor.device.type != "cpu":
        return entry.version is not None and entry.version == _version(tensor)
    return all(map(torch.equal, entry.parts, _parts(tensor)))


def _kind(tensor: Tensor) -> tuple[Hashable, ...]:
    return (tensor.layout, tensor.shape, tensor.dtype, tensor.device)


def _parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """The tensors of indices."""
    if tensor.layout == torch.strided:
        return (tensor.detach(),)
    if tensor.layout == torch.sparse_csr:
        return tensor.crow_indices(), tensor.col_indices()
    if tensor.layout == torch.sparse_csc:
        return tensor.ccol_indices(), tensor.row_indices()
    return (tensor._indices(),)


def _version(tensor: Tensor) -> tuple[Hashable, ...] | None:
    """Address and number of changes of every part; None if torch does not count changes."""
    if any(part.is_inference() for part in _parts(tensor)):
        return None
    return tuple((part.data_ptr(), part._version) for part in _parts(tensor))

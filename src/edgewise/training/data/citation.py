"""Cora and CiteSeer: citation graphs with word vectors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgewise.errors import DataError
from edgewise.training.data.archive import read_npz
from edgewise.training.data.dataset import GraphDataset
from edgewise.training.data.memory_check import check_fits
from edgewise.training.data.splits import Published, Split
from edgewise.training.data.topology import Separate

__all__ = ["citation", "citation_arrays"]

_KEYS = ("edges", "labels", "train", "val", "test", "x_indptr", "x_indices", "x_values", "x_shape")


def citation(name: str, path: Path) -> GraphDataset:
    """A citation graph from a file with the sparse word matrix and each edge once.

    Raises:
        DataError: the file is missing, damaged or inconsistent.
    """
    raw = read_npz(path, *_KEYS)
    x = _dense(path, raw)
    once = raw["edges"].astype(np.int64)
    arrays = {"x": x, "y": raw["labels"], "edge_index": np.concatenate([once, once[::-1]], 1)}
    return citation_arrays(
        name, {**arrays, **{part: raw[part] for part in ("train", "val", "test")}}
    )


def _dense(path: Path, raw: Mapping[str, np.ndarray]) -> np.ndarray:
    """The dense word matrix; its sizes are checked against its entries first.

    Raises:
        DataError: sizes and entries contradict each other, or the matrix does not fit into memory.
    """
    shape = tuple(int(length) for length in raw["x_shape"].reshape(-1))
    ends, columns = raw["x_indptr"].astype(np.int64), raw["x_indices"].astype(np.int64)
    if (
        len(shape) != 2
        or len(ends) != shape[0] + 1
        or int(ends[-1]) != len(columns)
        or (columns.size and not 0 <= columns.min() <= columns.max() < shape[1])
    ):
        raise DataError(
            f"{path}: x_shape, x_indptr and x_indices have to describe one matrix, got a shape of "
            f"{list(shape)}, {len(ends) - 1} rows and {len(columns)} entries. Fetch it again."
        )
    check_fits(str(path), 4 * shape[0] * shape[1], "its features")
    x = np.zeros(shape, np.float32)
    x[np.repeat(np.arange(shape[0]), np.diff(ends)), columns] = raw["x_values"]
    return x


def citation_arrays(name: str, arrays: Mapping[str, np.ndarray]) -> GraphDataset:
    """A citation graph from plain arrays: ``x``, ``y``, ``edge_index`` and the three parts.

    Rows of features are divided by their sum, as in the papers; an empty row stays zero.

    References:
        Kipf, Welling. Semi-Supervised Classification with Graph Convolutional Networks. 2016,
        arXiv:1609.02907, section 5.2. Split: Yang et al. 2016, arXiv:1603.08861.
    """
    x = torch.from_numpy(arrays["x"]).float()
    y, edge_index = _whole(arrays["y"]), _whole(arrays["edge_index"])
    num_nodes, num_edges = x.shape[0], edge_index.shape[1]
    unlabelled = int((y < 0).sum())
    notes = (f"{unlabelled} nodes without a label take part, unscored.",) if unlabelled else ()
    return GraphDataset(
        name=name,
        task="node-classes",
        x=x / x.sum(1, keepdim=True).clamp(min=1e-12),
        y=y,
        topology=Separate(edge_index, torch.tensor([0, num_nodes]), torch.tensor([0, num_edges])),
        splits=Published(
            Split(*(_whole(arrays[part]) for part in ("train", "val", "test"))), "public split"
        ),
        num_classes=int(y.max()) + 1,
        notes=notes,
    )


def _whole(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.int64))

"""Readers of edges from files: arrays or a list of pairs, never a pickle.

======================== =====================================================================
kind                     what is read
======================== =====================================================================
``.npz, .safetensors``   ``edge_index [2, E]`` (sources, then targets) and, if there, the number
                         of nodes: ``num_nodes``, or the rows of ``x``; ``node_ptr`` and
                         ``edge_ptr`` where there are many graphs; other arrays are not read
``.npy``                 the array ``edge_index [2, E]`` by itself
``.csv, .tsv, .txt``,    two columns, source and target, with commas or blanks between them;
``.edges``, with or      comments after ``#`` or ``%`` and one line of column names are left out
without ``.gz``
======================== =====================================================================
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edgewise.errors import DataError
from edgewise.training.data.archive import check_file, read_arrays
from edgewise.training.data.array_checks import check_edge_index
from edgewise.training.data.pairs import read_pairs
from edgewise.training.data.topology import Separate

__all__ = ["EDGE_SUFFIXES", "edges_from_file"]

_ARRAYS = (".npz", ".safetensors", ".npy")
_TEXT = (".csv", ".tsv", ".txt", ".edges", ".gz")
# Endings of the files that `edges_from_file` reads.
EDGE_SUFFIXES = (*_ARRAYS, *_TEXT)
_MOST_NODES = 1 << 40


def edges_from_file(path: Path, num_nodes: int | None = None) -> Separate:
    """Read the edges of a file: one graph, or many in the layout of `from_file`.

    Args:
        path: A file of one of the kinds above.
        num_nodes: Nodes of the graph; when left out that of the file, or one more than the
            largest number in it.

    Raises:
        DataError: the file is missing, damaged, or of another kind, or its numbers are no edges.
    """
    check_file(path)
    if path.suffix not in EDGE_SUFFIXES:
        raise DataError(
            f"{path}: expected a file of edges, ending in {', '.join(EDGE_SUFFIXES)}, got "
            f"{path.suffix or 'no ending'}. Rename it, or save the edges as two columns of text."
        )
    arrays = _arrays(path) if path.suffix in _ARRAYS else {"edge_index": read_pairs(path)}
    edges = _checked(path, arrays["edge_index"])
    if "node_ptr" in arrays or "edge_ptr" in arrays:
        return _many(path, edges, arrays, num_nodes)
    stored = arrays.get("num_nodes")
    nodes = _num_nodes(path, edges, None if stored is None else int(stored), num_nodes)
    return Separate(
        torch.from_numpy(edges), torch.tensor([0, nodes]), torch.tensor([0, edges.shape[1]])
    )


def _checked(path: Path, edges: np.ndarray) -> np.ndarray:
    """The edges as int64, checked to be numbered from zero."""
    check_edge_index(str(path), edges)
    if not edges.size:
        return edges.astype(np.int64)
    low, high = int(edges.min()), int(edges.max())
    if low < 0 or high >= _MOST_NODES:
        raise DataError(
            f"{path}: nodes have to be numbered from 0 to below 2**40, got "
            f"{low if low < 0 else high}. Number them from 0, without gaps."
        )
    return np.ascontiguousarray(edges.astype(np.int64))


def _num_nodes(path: Path, edges: np.ndarray, stored: int | None, given: int | None) -> int:
    """Number of nodes: that of the argument, of the file, or of its edges.

    Args:
        path: The file, for the message.
        edges: ``[2, E]``.
        stored: Number in the file, if any.
        given: Number that the caller gave, if any.

    Raises:
        DataError: it is smaller than the edges need, or there is neither a number nor an edge.
    """
    needed = int(edges.max()) + 1 if edges.size else 0
    if given is None and stored is None and not edges.size:
        raise DataError(
            f"{path}: there has to be an edge, got none. Say how many nodes there are with "
            f"num_nodes if that is meant."
        )
    nodes = given if given is not None else needed if stored is None else stored
    if nodes < needed or nodes > _MOST_NODES:
        raise DataError(
            f"{path}: num_nodes has to be from {needed} (one more than the largest node in it) to "
            f"2**40, got {nodes}. Leave it out, or number the nodes from 0."
        )
    return nodes


def _many(
    path: Path, edges: np.ndarray, arrays: dict[str, np.ndarray], num_nodes: int | None
) -> Separate:
    ends: list[torch.Tensor] = []
    for key in ("node_ptr", "edge_ptr"):
        if key not in arrays or arrays[key].ndim != 1 or arrays[key].dtype.kind not in "iu":
            got = f"{arrays[key].dtype} {list(arrays[key].shape)}" if key in arrays else "nothing"
            raise DataError(
                f"{path}: {key} has to hold one whole number for each graph and one more, got "
                f"{got}. Many graphs need node_ptr and edge_ptr."
            )
        ends.append(torch.from_numpy(arrays[key].astype(np.int64)))
    if num_nodes is not None:
        raise DataError(
            f"{path}: num_nodes has to be left out for many graphs, got {num_nodes}. node_ptr says "
            f"how many nodes each has."
        )
    topology = Separate(torch.from_numpy(edges), *ends)
    topology.check(str(path))
    return topology


# --- Files of arrays ------------------------------------------------------------------------------

_NAMES = ("edge_index", "node_ptr", "edge_ptr", "num_nodes")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of edges and sizes; features, which may be large, are not read."""
    arrays = read_arrays(path, _NAMES, only_headers=("x",))
    read = arrays.read
    if "edge_index" not in read:
        there = ", ".join([*arrays.headers, *arrays.others]) or "nothing"
        raise DataError(
            f"{path}: expected the array edge_index, got {there}. Save the edges under this name."
        )
    if "num_nodes" in read:
        num_nodes = read["num_nodes"]
        if num_nodes.size != 1 or num_nodes.dtype.kind not in "iu":
            raise DataError(
                f"{path}: num_nodes has to be one whole number, got {num_nodes.dtype} "
                f"{list(num_nodes.shape)}. Save it again, or leave it out."
            )
        read["num_nodes"] = num_nodes.reshape(())
    elif "x" in arrays.headers:
        shape = arrays.headers["x"].shape
        if not shape:
            raise DataError(f"{path}: x has to be [nodes, features], got []. Save one row a node.")
        read["num_nodes"] = np.array(shape[0])
    return read

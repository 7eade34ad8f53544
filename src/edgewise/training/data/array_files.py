"""Data sets from files of arrays, ``.npz`` or ``.safetensors``, never a pickle.

A file holds these arrays. ``N`` nodes, ``E`` edges, ``G`` graphs; whole numbers and floating
point of any width.

======================== ============ ========================================================
key                      shape        content
======================== ============ ========================================================
``x``                    ``[N, F]``   features of the nodes, graph after graph
``edge_index``           ``[2, E]``   sources, then targets; both directions of an undirected
                                      edge; numbers count from the start of each graph
``y``                    ``[N]`` or   classes from 0 (-1: a node without label), or values
                         ``[G]``
``node_ptr`` (many)      ``[G + 1]``  where each graph's nodes end: from 0 to ``N``
``edge_ptr`` (many)      ``[G + 1]``  the same for columns of ``edge_index``
``train_mask``,          ``[N]`` or   true where a node (or graph) belongs to that part; all
``val_mask``,            ``[G]``      three or none; without them every seed draws a
``test_mask`` (optional)              split, 60/20/20 of nodes or 80/10/10 of graphs,
                                      stratified by class
``edge_attr`` (optional) ``[E, ..]``  features of the edges: checked, used by no rung
``task`` (optional)      text         ``node-classes``, ``graph-classes``, ``node-values`` or
                                      ``graph-values``; otherwise derived from ``y``
======================== ============ ========================================================

Arrays of other names are not read; the notes of the data set name them. A name that differs from
one of the layout by a few letters is refused, since the array it stands for would be missing.

In ``.safetensors``, ``task`` is an entry of the metadata. From PyTorch Geometric,
`edgewise.integrations.pyg.save` writes either kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgewise.errors import DataError
from edgewise.training.data.archive import read_arrays
from edgewise.training.data.array_checks import (
    check_edge_index,
    check_finite,
    check_numbers,
    check_whole,
)
from edgewise.training.data.dataset import TASKS, GraphDataset, Task
from edgewise.training.data.notes import edge_notes, label_notes
from edgewise.training.data.splits import Drawn, Published, Split, Splits
from edgewise.training.data.topology import Separate

__all__ = ["SUFFIXES", "from_arrays", "from_file"]

SUFFIXES = (".npz", ".safetensors")
_MASKS = ("train_mask", "val_mask", "test_mask")
_REQUIRED = ("x", "edge_index", "y")
_NAMES_SHOWN = 8
_KNOWN = (*_REQUIRED, *_MASKS, "node_ptr", "edge_ptr", "edge_attr", "task")


def from_file(path: Path) -> GraphDataset:
    """Read a data set that follows the layout above.

    Raises:
        DataError: the file is missing or damaged, or its arrays contradict each other.
    """
    file = read_arrays(path, _KNOWN)
    arrays = dict(file.read)
    if "task" in file.metadata:
        arrays["task"] = np.array(file.metadata["task"])
    return from_arrays(str(path), arrays, others=file.others)


def from_arrays(
    name: str, arrays: Mapping[str, np.ndarray], *, others: Sequence[str] = ()
) -> GraphDataset:
    """A data set from arrays that follow the layout above.

    Args:
        name: Name in messages and results.
        arrays: The arrays by name.
        others: Names of further arrays, which are not used.

    Raises:
        DataError: an array is missing or contradicts another, or an unknown name is nearly that
            of a missing one.

    Example:
        >>> path = {"x": np.ones((3, 1)), "edge_index": np.array([[0, 1], [1, 2]])}
        >>> from_arrays("path", {**path, "y": np.array([0, 1, 1])}).task
        'node-classes'
    """
    others = (*others, *(key for key in arrays if key not in _KNOWN))
    _check_keys(name, arrays, others)
    y = _labels(name, arrays["y"])
    topology = _topology(name, arrays)
    num_nodes, num_graphs = topology.num_nodes, topology.num_graphs
    task = _task(name, arrays, y, num_nodes, num_graphs)
    on_nodes, has_classes = task.startswith("node"), task.endswith("classes")
    if has_classes and y.is_floating_point():
        if not torch.equal(y, y.round()):
            raise DataError(f"{name}: the task is {task}, but y holds numbers that are not whole.")
        y = y.long()
    elif not has_classes:
        y = y.float()
    if "edge_attr" in arrays:
        _check_rows(name, "edge_attr", arrays["edge_attr"], topology.num_edges, "edge")
        check_finite(name, "edge_attr", arrays["edge_attr"])
    on_labels = label_notes(name, y, num_nodes if on_nodes else num_graphs, task)
    return GraphDataset(
        name=name,
        task=task,
        x=torch.from_numpy(np.ascontiguousarray(arrays["x"], np.float32)),
        y=y,
        topology=topology,
        splits=_splits(name, arrays, y, num_nodes if on_nodes else num_graphs, on_nodes),
        num_classes=int(y.max()) + 1 if has_classes and y.numel() else 1,
        notes=(*_array_notes(arrays, others), *on_labels, *edge_notes(topology)),
    )


def _array_notes(arrays: Mapping[str, np.ndarray], others: Sequence[str]) -> list[str]:
    """Notes on arrays of a file that no rung uses."""
    notes: list[str] = []
    if "edge_attr" in arrays:
        notes.append("Edge features are not used: every rung sees the same nodes and edges.")
    if others:
        more = f" and {len(others) - _NAMES_SHOWN} more" if len(others) > _NAMES_SHOWN else ""
        notes.append(
            f"Not part of the layout, and not used: {', '.join(others[:_NAMES_SHOWN])}{more}."
        )
    return notes


def _check_keys(name: str, arrays: Mapping[str, np.ndarray], others: Sequence[str]) -> None:
    missing = [key for key in _REQUIRED if key not in arrays]
    if missing:
        present = [key for key in arrays if key in _KNOWN]
        there = ", ".join([*present, *others][: 2 * _NAMES_SHOWN]) or "nothing"
        raise DataError(
            f"{name}: expected the arrays {', '.join(_REQUIRED)}, missing {', '.join(missing)} "
            f"(there is {there})."
        )
    for key in others:
        near = get_close_matches(key, [k for k in _KNOWN if k not in arrays], n=1, cutoff=0.8)
        if near:
            raise DataError(
                f"{name}: {key} is not part of the layout, which has {', '.join(_KNOWN)}. Rename "
                f"it to {near[0]} if it is that, or else remove it."
            )
    pairs = [key for key in ("node_ptr", "edge_ptr") if key in arrays]
    if len(pairs) == 1:
        raise DataError(f"{name}: many graphs need node_ptr and edge_ptr, got only {pairs[0]}.")
    if arrays["x"].ndim != 2:
        raise DataError(f"{name}: x has to be [nodes, features], got {list(arrays['x'].shape)}.")
    for key in ("x", "y"):
        check_numbers(name, key, arrays[key])


def _topology(name: str, arrays: Mapping[str, np.ndarray]) -> Separate:
    edges = arrays["edge_index"]
    check_edge_index(name, edges)
    num_nodes, num_edges = arrays["x"].shape[0], edges.shape[1]
    node_ptr = arrays.get("node_ptr", np.array([0, num_nodes]))
    edge_ptr = arrays.get("edge_ptr", np.array([0, num_edges]))
    for key, array in (("node_ptr", node_ptr), ("edge_ptr", edge_ptr)):
        if array.ndim != 1:
            raise DataError(
                f"{name}: {key} has to hold one whole number for each graph and one more, got "
                f"{list(array.shape)}. Flatten it."
            )
        check_whole(name, key, array)
    if not node_ptr.size or node_ptr[-1] != num_nodes:
        last = node_ptr[-1] if node_ptr.size else "nothing"
        raise DataError(f"{name}: node_ptr has to end with the {num_nodes} rows of x, got {last}.")
    topology = Separate(
        *(torch.from_numpy(a.astype(np.int64)) for a in (edges, node_ptr, edge_ptr))
    )
    topology.check(name)
    return topology


def _labels(name: str, y: np.ndarray) -> Tensor:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(
            f"{name}: y has to hold one label each, got {list(y.shape)}. Choose one column."
        )
    whole = y.dtype.kind in "iub"
    return torch.from_numpy(y.astype(np.int64 if whole else np.float32))


def _task(
    name: str, arrays: Mapping[str, np.ndarray], y: Tensor, num_nodes: int, num_graphs: int
) -> Task:
    """The task in the file, or that of the shape and dtype of ``y``.

    Args:
        name: The data set, for the message.
        arrays: The arrays of the file.
        y: Labels ``[N]`` or ``[G]``.
        num_nodes: ``N``.
        num_graphs: ``G``.

    Raises:
        DataError: the task is unknown, or ``y`` fits neither or both of ``N`` and ``G``.
    """
    if "task" in arrays:
        task = str(arrays["task"])
        if task not in TASKS:
            raise DataError(f"{name}: task has to be one of {', '.join(TASKS)}, got {task!r}.")
        return task  # pyright: ignore[reportReturnType]  # one of TASKS
    units = [u for u, n in (("node", num_nodes), ("graph", num_graphs)) if n == y.numel()]
    if len(units) != 1:
        kinds = "nodes and graphs" if units else "nodes nor graphs"
        raise DataError(
            f"{name}: y has {y.numel()} labels, which fits {'both' if units else 'neither'} "
            f"{kinds} ({num_nodes} and {num_graphs}). "
            + ("Add a task." if units else "Give one label for each.")
        )
    kind = "values" if y.is_floating_point() else "classes"
    return f"{units[0]}-{kind}"  # pyright: ignore[reportReturnType]  # one of TASKS


def _splits(
    name: str, arrays: Mapping[str, np.ndarray], y: Tensor, count: int, on_nodes: bool
) -> Splits:
    given = [key for key in _MASKS if key in arrays]
    if not given:
        return Drawn(y, (0.6, 0.2) if on_nodes else (0.8, 0.1))
    if len(given) < len(_MASKS):
        raise DataError(f"{name}: give all of {', '.join(_MASKS)} or none, got {', '.join(given)}.")
    parts: list[Tensor] = []
    for key in _MASKS:
        mask = arrays[key]
        _check_rows(name, key, mask, count, "node" if on_nodes else "graph")
        if mask.ndim != 1 or mask.dtype.kind not in "biu" or mask.max(initial=0) > 1:
            raise DataError(
                f"{name}: {key} has to hold one true or false each, got {mask.dtype} "
                f"{list(mask.shape)}. {_cure_of_mask(key, mask)}"
            )
        parts.append(torch.from_numpy(np.flatnonzero(mask)))
    split = Split(*parts)
    split.check(name, count, "node" if on_nodes else "graph")
    return Published(split, "split of the file")


def _cure_of_mask(key: str, mask: np.ndarray) -> str:
    if mask.ndim == 2:
        return f"Save one split, such as {key}[:, 0]."
    return "Save it as bool."


def _check_rows(name: str, key: str, array: np.ndarray, count: int, unit: str) -> None:
    if not array.ndim or array.shape[0] != count:
        raise DataError(
            f"{name}: {key} needs one row for each of {count} {unit}s, got {list(array.shape)}."
        )

"""Reader of the text format of the TU Dortmund collection of graph classes: MUTAG, NCI1."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from edgewise.errors import DataError
from edgewise.training.data.archive import first_line, read_zip
from edgewise.training.data.dataset import GraphDataset
from edgewise.training.data.memory_check import check_fits
from edgewise.training.data.splits import Drawn, Folds, Split, Splits
from edgewise.training.data.topology import Separate

__all__ = ["tu"]

_PARTS = ("graph_indicator", "A", "graph_labels", "node_labels")


def tu(name: str, path: Path) -> GraphDataset:
    """Graphs with labelled nodes from a published ``.zip``, with its outer folds if present.

    Nodes carry their label as a one-hot vector; edge labels are not used. The folds of
    ``<NAME>_splits.json`` are used where that file lies beside the archive.

    Raises:
        DataError: a file is missing, damaged or inconsistent.

    References:
        Morris et al. TUDataset. 2020, arXiv:2007.08663. Folds: Errica et al. A Fair Comparison of
        Graph Neural Networks for Graph Classification. 2020, arXiv:1912.09893.
    """
    stem = path.stem
    names = [f"{stem}_{part}.txt" for part in _PARTS]
    files = read_zip(path, *names)
    graph_of_node, pairs, graph_labels, node_labels = (_numbers(path, files, n) for n in names)
    if pairs.size % 2 or len(node_labels) != len(graph_of_node):
        raise DataError(
            f"{path}: every edge has to be two numbers and every node has to have a label, got "
            f"{pairs.size} numbers of edges, and {len(node_labels)} labels for "
            f"{len(graph_of_node)} nodes. Fetch it again."
        )
    edges = pairs.reshape(-1, 2).T - 1  # target and source: both directions
    graph_of_node = graph_of_node - 1
    _, y = np.unique(graph_labels, return_inverse=True)
    kinds, kind = np.unique(node_labels, return_inverse=True)
    check_fits(str(path), 4 * len(kinds) * len(kind), f"one-hot labels of {len(kinds):,} kinds")
    topology = _grouped(path, graph_of_node, edges, len(y))
    labels = torch.from_numpy(y).long()
    splits = _folds(path.with_name(f"{stem}_splits.json")) or Drawn(labels, (0.8, 0.1))
    return GraphDataset(
        name=name,
        task="graph-classes",
        x=torch.eye(len(kinds))[torch.from_numpy(kind)],
        y=labels,
        topology=topology,
        splits=splits,
        num_classes=int(y.max()) + 1,
    )


def _grouped(path: Path, graph_of_node: np.ndarray, edges: np.ndarray, num_graphs: int) -> Separate:
    """Edges sorted by graph, with node numbers from the start of each graph.

    Args:
        path: The file, for the message.
        graph_of_node: ``[N]``, int64, rising.
        edges: ``[2, E]``, int64.
        num_graphs: ``G``.
    """
    falls = np.diff(graph_of_node) < 0
    if (
        not graph_of_node.size
        or falls.any()
        or graph_of_node[0] != 0
        or graph_of_node[-1] != num_graphs - 1
    ):
        raise DataError(
            f"{path}: the graph of each node has to rise from 1 to {num_graphs}. Fetch it again."
        )
    if edges.size and (edges.min() < 0 or edges.max() >= len(graph_of_node)):
        raise DataError(f"{path}: an edge names a node beyond the {len(graph_of_node)} there are.")
    node_ptr = np.searchsorted(graph_of_node, np.arange(num_graphs + 1))
    graph_of_edge = graph_of_node[edges[0]]
    order = np.argsort(graph_of_edge, kind="stable")
    edge_ptr = np.searchsorted(graph_of_edge[order], np.arange(num_graphs + 1))
    local = edges[:, order] - node_ptr[graph_of_edge[order]]
    return Separate(*(torch.from_numpy(a.astype(np.int64)) for a in (local, node_ptr, edge_ptr)))


def _numbers(path: Path, files: dict[str, bytes], name: str) -> np.ndarray:
    try:
        return np.array(files[name].replace(b",", b" ").split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{path}: {name} has to hold whole numbers ({first_line(error)}). Fetch it again."
        ) from error


def _folds(path: Path) -> Splits | None:
    """Outer folds, with the validation part that their authors chose for each."""
    if not path.is_file():
        return None
    try:
        folds = json.loads(path.read_text())
        return Folds(
            tuple(
                Split(
                    torch.tensor(fold["model_selection"][0]["train"]),
                    torch.tensor(fold["model_selection"][0]["validation"]),
                    torch.tensor(fold["test"]),
                )
                for fold in folds
            )
        )
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, RuntimeError) as error:
        raise DataError(
            f"{path}: expected a list of folds with test and model_selection, got something else "
            f"({first_line(error)}). Fetch it again, or remove it for a random split."
        ) from error

"""Data set in memory: features, edges, labels and splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from edgewise.errors import DataError
from edgewise.training.data.notes import label_counts, rare_classes
from edgewise.training.data.splits import Split, Splits
from edgewise.training.data.topology import Separate, Shared, Topology

__all__ = ["TASKS", "GraphDataset", "Task"]

# What is predicted: a class or a number, for each node or for each graph.
Task = Literal["node-classes", "graph-classes", "node-values", "graph-values"]
TASKS: tuple[str, ...] = get_args(Task)


@dataclass(frozen=True, eq=False, repr=False)
class GraphDataset:
    """Many graphs (or one), with a label for each node or for each graph.

    Args:
        name: Name in messages and results.
        task: What is labelled (nodes or graphs), and with what (classes or values).
        x: Features of all nodes, graph after graph: ``[N, F]``, float32.
        y: Labels ``[N]`` or ``[G]``: int64 classes (-1 for an unlabelled node), or float32.
        topology: Edges of all graphs.
        splits: Rule for the split of a seed.
        num_classes: Number of classes ``C``; 1 for values.
        notes: Remarks for readers of the results.

    Raises:
        DataError: features that are not finite, labels or edges out of range, no edges at all,
            or sizes that contradict each other.
    """

    name: str
    task: Task
    x: Tensor
    y: Tensor
    topology: Topology
    splits: Splits
    num_classes: int
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.x.shape[0] != self.topology.num_nodes or not self.x.shape[1]:
            raise DataError(
                f"{self.name}: x has to be [{self.topology.num_nodes}, features], one row for "
                f"each node, got {list(self.x.shape)}."
            )
        if not bool(self.x.isfinite().all()):
            row = int((~self.x.isfinite()).any(1).nonzero()[0])
            raise DataError(
                f"{self.name}: x holds NaN or an infinite number, first in row {row}. "
                f"Fill in or remove missing features."
            )
        if isinstance(self.topology, Separate):
            self.topology.check(self.name)
        elif self.on_nodes:
            raise DataError(f"{self.name}: labelled nodes need a topology of their own (Separate).")
        if not self.topology.num_edges:
            raise DataError(
                f"{self.name}: there is no edge in any graph, so no rung could tell what a graph "
                f"is worth. Add edges, or train a network that needs none."
            )
        self._check_labels()

    def __repr__(self) -> str:
        classes = f", num_classes={self.num_classes}" if self.has_classes else ""
        return (
            f"GraphDataset({self.name!r}, task={self.task!r}, "
            f"num_graphs={self.topology.num_graphs}, num_nodes={self.topology.num_nodes}, "
            f"num_edges={self.topology.num_edges}, num_features={self.num_features}{classes})"
        )

    def _check_labels(self) -> None:
        if self.y.ndim != 1 or self.y.numel() != self.num_labels:
            raise DataError(
                f"{self.name}: y has to hold one label for each of {self.num_labels} "
                f"{self.unit}s, got {list(self.y.shape)}."
            )
        if not self.has_classes:
            if not bool(self.y.isfinite().all()):
                raise DataError(
                    f"{self.name}: y holds NaN or an infinite number. Fill in or remove what has "
                    f"no value."
                )
            return
        low, high = int(self.y.min()), int(self.y.max())
        lowest = -1 if self.on_nodes else 0
        if low < lowest or high >= self.num_classes:
            wrong = low if low < lowest else high
            numbered = f"0 to {self.num_classes - 1}" if self.num_classes > 0 else "from 0"
            unlabelled = " (-1 is an unlabelled node)" if self.on_nodes else ""
            raise DataError(
                f"{self.name}: y holds the label {wrong}, but classes are numbered "
                f"{numbered}{unlabelled}."
            )
        labelled = int((self.y >= 0).sum())
        if not labelled:
            raise DataError(
                f"{self.name}: y labels none of the {self.num_labels:,} {self.unit}s (-1 is an "
                f"unlabelled node). Number the classes from 0."
            )
        if len(label_counts(self.y)[0]) < 2:
            some = (
                f" among the {labelled:,} of {self.num_labels:,} {self.unit}s that are labelled "
                f"(-1 is an unlabelled node)"
                if labelled < self.num_labels
                else ""
            )
            cure = "; number them from 0" if some else ""
            raise DataError(
                f"{self.name}: y holds a single class{some}. Two are the fewest to learn{cure}."
            )

    @property
    def on_nodes(self) -> bool:
        """Whether nodes are labelled, not graphs."""
        return self.task.startswith("node")

    @property
    def has_classes(self) -> bool:
        """Whether labels are classes, not values."""
        return self.task.endswith("classes")

    @property
    def unit(self) -> str:
        """Unit of labels: ``node`` or ``graph``."""
        return "node" if self.on_nodes else "graph"

    @property
    def num_labels(self) -> int:
        """Nodes or graphs, whichever is labelled."""
        return self.topology.num_nodes if self.on_nodes else self.topology.num_graphs

    @property
    def num_features(self) -> int:
        """Features ``F`` of a node."""
        return self.x.shape[1]

    @property
    def largest_graph(self) -> int:
        """Nodes of the largest graph."""
        if isinstance(self.topology, Shared):
            return self.topology.graph.num_targets
        return int(self.topology.sizes.max())

    def split(self, seed: int) -> Split:
        """The split of a seed, without unlabelled nodes.

        Raises:
            DataError: a part is empty or out of range, or parts overlap.
        """
        split = self.splits.draw(seed)
        self._check_rare(split)
        split.check(self.name, self.num_labels, self.unit)
        if self.has_classes:
            parts = (part[self.y[part] >= 0] for part in (split.train, split.val, split.test))
            split = Split(*parts)
            split.check(self.name, self.num_labels, f"labelled {self.unit}")
        return split

    def _check_rare(self, split: Split) -> None:
        """Raise an error that names rare classes if they leave a part of a split empty."""
        rare = rare_classes(self.y) if self.has_classes else ""
        if rare and 0 in split.sizes:
            part = ("train", "val", "test")[split.sizes.index(0)]
            raise DataError(
                f"{self.name}: y holds {rare}, so the {part} part of the split is empty. "
                f"If these are values, store them as floats or set task={self.unit}-values."
            )

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of all data that a result depends on."""
        digest = hashlib.sha256(f"{self.task} {self.num_classes} {self.splits.describe()}".encode())
        tensors = [self.x, self.y, *_parts(self.splits.draw(0))]
        if isinstance(self.topology, Separate):
            tensors += [self.topology.edge_index, self.topology.node_ptr, self.topology.edge_ptr]
        else:
            digest.update(repr(self.topology.graph).encode())
        for tensor in tensors:
            digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
        return digest.hexdigest()[:16]

    def describe(self) -> str:
        """The data set in one line.

        Example:
            ``mutag: 188 graphs, 3,371 nodes, 7,442 edges, 7 features, 2 graph classes``
        """
        graphs = self.topology.num_graphs
        words = [] if graphs == 1 else [f"{graphs:,} graphs"]
        words += [f"{self.topology.num_nodes:,} nodes", f"{self.topology.num_edges:,} edges"]
        words += [f"{self.num_features:,} feature{'s' * (self.num_features > 1)}"]
        words += [
            f"{self.num_classes} {self.unit} classes"
            if self.has_classes
            else f"one value for each {self.unit}"
        ]
        return f"{self.name}: {', '.join(words)}"


def _parts(split: Split) -> list[Tensor]:
    return [part.to(torch.int64) for part in (split.train, split.val, split.test)]

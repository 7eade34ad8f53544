"""Notes on labels and edges that are valid but unusual, for readers of results."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.errors import DataError
from edgewise.training.data.topology import Separate

__all__ = ["edge_notes", "label_counts", "label_notes", "rare_classes"]

_SHOWN = 5


def label_counts(y: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct labels and their counts, without -1."""
    return torch.unique(y[y >= 0], return_counts=True)


def rare_classes(y: Tensor) -> str:
    """Number of classes that occur once, as text after "y holds"; empty if there is none.

    Example:
        >>> rare_classes(torch.tensor([0, 0, 1, 2]))
        '3 classes, 2 of them once'
    """
    labels, counts = label_counts(y)
    once = int((counts == 1).sum())
    return f"{len(labels):,} classes, {once:,} of them once" if once else ""


def label_notes(name: str, y: Tensor, count: int, task: str) -> list[str]:
    """Notes on unlabelled nodes, on missing class numbers, and on classes that occur once.

    Args:
        name: The data set, for the message.
        y: Labels.
        count: Nodes or graphs, whichever is labelled.
        task: Task of the data set.

    Raises:
        DataError: there are more classes than labels, so most of them cannot occur.
    """
    if not task.endswith("classes") or not y.numel():
        return []
    unit = task.partition("-")[0]
    notes: list[str] = []
    unlabelled = int((y == -1).sum())
    if unlabelled and unit == "node":
        notes.append(
            f"{unlabelled:,} of {count:,} nodes are unlabelled (label -1): they take part, and are "
            f"not scored."
        )
    labels, _ = label_counts(y)
    highest = int(y.max())
    if highest >= count and highest > len(labels):
        raise DataError(
            f"{name}: y holds {rare_classes(y) or f'{len(labels):,} classes'}, with numbers up to "
            f"{highest:,} for {count:,} {unit}s. If these are values, store them as floats or set "
            f"task={unit}-values; if they are classes, number them from 0 without gaps."
        )
    empty = highest + 1 - len(labels)
    if empty > 0 and int(y.min()) >= -1:
        present = set(labels.tolist())
        missing = [label for label in range(highest + 1) if label not in present]
        shown = ", ".join(map(str, missing[:_SHOWN])) + (", .." if empty > _SHOWN else "")
        first = " Labels seem to be counted from 1." if missing == [0] else ""
        notes.append(
            f"{empty:,} of the classes 0 to {highest:,} occur{'s' * (empty == 1)} nowhere: {shown}."
            f"{first} Number classes from 0 without gaps."
        )
    rare = rare_classes(y)
    if rare:
        notes.append(
            f"y holds {rare}, so no test can hold what was trained on. If these are values, store "
            f"them as floats or set task={unit}-values."
        )
    return notes


def edge_notes(topology: Separate) -> list[str]:
    """Notes on copies of edges, self-loops, and edges whose reverse is missing.

    Complexity: O(E log E) for E edges.
    """
    source, target = topology.whole().edge_index
    if not source.numel():
        return []
    loops = int((source == target).sum())
    keys = torch.unique(source * topology.num_nodes + target)
    copies = source.numel() - keys.numel()
    single_source, single_target = keys // topology.num_nodes, keys % topology.num_nodes
    reverses = torch.isin(single_target * topology.num_nodes + single_source, keys)
    one_way = int((~reverses).sum())
    proper = int((single_source != single_target).sum())
    notes: list[str] = []
    if proper and one_way == proper:
        notes.append(
            "No edge has its reverse: messages flow one way. Add both directions of edges that "
            "have none."
        )
    elif one_way:
        notes.append(
            f"{one_way:,} of {proper:,} different edges have no reverse: there, messages flow one "
            f"way."
        )
    if copies:
        notes.append(
            f"{copies:,} of {source.numel():,} edges are copies of another one, and count again "
            f"in sums and softmaxes. Remove them unless that is meant."
        )
    if loops:
        notes.append(
            f"{loops:,} edge{'s lead' if loops > 1 else ' leads'} from a node to itself. Attention "
            f"on the graph adds such an edge to every node, so there they count twice."
        )
    return notes

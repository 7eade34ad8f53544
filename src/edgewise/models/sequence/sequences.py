"""Sequences of a graph: first nodes and sizes of its blocks, for models that follow an order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgewise.errors import GraphError
from edgewise.graphs import Graph
from edgewise.layouts import ragged

__all__ = ["sequences"]

Ints = npt.NDArray[np.int64]


def sequences(owner: str, graph: Graph, *, both_ways: bool) -> tuple[Ints, Ints]:
    """First node and number of nodes of every sequence, empty ones left out.

    Args:
        owner: Name of the model, for messages.
        graph: Complete or causal blocks side by side, in any family.
        both_ways: Whether a node reads what comes after it, which a causal block forbids.

    Raises:
        GraphError: the graph is something else.

    Complexity: O(sequences).

    Example:
        >>> from edgewise.graphs import Blocks
        >>> first, sizes = sequences("mine", Blocks([2, 0, 3]), both_ways=True)
        >>> first.tolist(), sizes.tolist()
        ([0, 2], [2, 3])
    """
    blocks = ragged(graph)
    if (
        blocks is None
        or not np.array_equal(blocks.first_target, blocks.first_source)
        or not np.array_equal(blocks.targets, blocks.sources)
        or not blocks.holds_all_targets
    ):
        raise GraphError(
            f"{owner}: graph must be sequences side by side, got {graph}. Use Causal(n), "
            f"Complete(n), Blocks(sizes), or a disjoint_union of them."
        )
    if both_ways and bool(blocks.causal.any()):
        raise GraphError(
            f"{owner}: graph must let every node read its whole sequence, because the layer reads "
            f"both ways, got {graph}, which is causal. Use Complete or Blocks, or build a layer "
            f"that reads one way."
        )
    return blocks.first_target, blocks.targets

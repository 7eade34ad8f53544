"""Text drawing of a graph: rows are targets, columns are sources."""

from __future__ import annotations

import torch

from edgewise.errors import ArgumentError
from edgewise.graphs.base import Graph, check_graph
from edgewise.layouts.formats import BlockMask
from edgewise.layouts.lower import block_mask

__all__ = ["draw"]

_MARKS = {BlockMask.EMPTY: ".", BlockMask.PARTIAL: "+", BlockMask.FULL: "#"}


def draw(graph: Graph, *, width: int = 64) -> str:
    """The attention matrix in characters: ``#`` edges, ``.`` none, ``+`` some of a block.

    Graphs larger than ``width`` are drawn in blocks of pairs, each one character.

    Args:
        graph: Any graph.
        width: Most characters a line, at least 1.

    Raises:
        ArgumentError: ``width`` is below 1.

    Example:
        >>> from edgewise.graphs import Causal, Window
        >>> print(draw(Window(1000, left=250, right=0), width=8))
        +.......
        #+......
        +#+.....
        .+#+....
        ..+#+...
        ...+#+..
        ....+#+.
        .....+#+
    """
    check_graph("draw: graph", graph)
    if width < 1:
        raise ArgumentError(f"draw: width must be at least 1, got {width}. Leave it out for 64.")
    T, S = graph.num_targets, graph.num_sources
    block = max(1, -(-max(T, S) // width))
    if block == 1:
        matrix = graph.contains(torch.arange(T)[:, None], torch.arange(S)[None, :])
        return "\n".join("".join("#" if edge else "." for edge in row) for row in matrix.tolist())
    kinds = block_mask(graph, block).kind.tolist()
    return "\n".join("".join(_MARKS[kind] for kind in row) for row in kinds)

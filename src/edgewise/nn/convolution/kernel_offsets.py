"""Places of edges in a convolution's kernel: the distance from target to source."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs import Dilated, DisjointUnion, Graph, SelfLoops, Window
from edgewise.layouts import edges
from edgewise.nn.graph_cache import cached_by_graph

__all__ = ["kernel_places"]


def kernel_places(
    owner: str,
    graph: Graph,
    kernel: int,
    left: int | None,
    device: torch.device,
    *,
    of_targets: bool,
) -> Tensor:
    r"""The place of every edge in a kernel: ``[E]``, int64.

    .. math::  \text{place}_{ij} = (j - i) / \text{dilation} + \text{left}, \qquad
               \text{or, of targets,} \quad \text{place}_{ij} \, T + i

    Positions are counted from the end on rectangles, as a `Window` does; in a disjoint union,
    from the end of each part.

    Args:
        owner: Name of the layer, for messages.
        graph: Any graph whose distances lie in the kernel.
        kernel: Weights of the kernel.
        left: Sources before the target that the kernel covers. When left out the graph has to be
            written as a window of ``kernel`` sources, whose ``left`` it then is.
        device: Where to put the result.
        of_targets: Whether every target has a kernel of its own; they lie side by side, targets
            last: ``[kernel, T]``.

    Raises:
        GraphError: a distance does not lie in the kernel, or the graph does not define where
            the kernel begins.

    Complexity: O(E), once for each graph.

    Example:
        >>> two = Window(3, left=1, right=0)
        >>> kernel_places("mine", two, 2, None, torch.device("cpu"), of_targets=False)
        tensor([1, 0, 1, 0, 1])
    """
    return cached_by_graph(_kernel_places, graph, owner, kernel, left, str(device), of_targets)


def _kernel_places(
    graph: Graph, owner: str, kernel: int, left: int | None, device: str, of_targets: bool
) -> Tensor:
    places = _places(owner, graph, kernel, left)
    if of_targets:
        places = places * graph.num_targets + edges(graph, "cpu").target
    return places.to(device)


def _places(owner: str, graph: Graph, kernel: int, left: int | None) -> Tensor:
    window = _window(graph)
    if left is None:
        if window is None or window[0] + window[1] + 1 != kernel:
            reads = graph if window is None else f"{window[0] + window[1] + 1} sources: {graph}"
            raise GraphError(
                f"{owner}: graph must be a Window or Dilated of kernel={kernel} sources (left + "
                f"right + 1), or a disjoint union of equal ones, got {reads}. For any other graph "
                f"build the layer with left, the sources before a target that its kernel covers."
            )
        left = window[0]
    step = 1 if window is None else window[2]
    distance = _distances(graph)
    low, high = -left * step, (kernel - 1 - left) * step
    if distance.numel():
        least, most = (int(bound) for bound in torch.aminmax(distance))
        if least < low or most > high:
            raise GraphError(
                f"{owner}: every distance source - target must lie in the kernel, from {low} to "
                f"{high}, got {least if least < low else most}. Take a graph of shorter edges, "
                f"like graph & Window(n, left={-low}, right={high}), or a larger kernel."
            )
    return torch.div(distance, step, rounding_mode="floor") + left


def _window(graph: Graph) -> tuple[int, int, int] | None:
    """``left``, ``right`` and dilation of a graph that is written as a window, or as equal ones."""
    match graph:
        case Window():
            return graph.left, graph.right, 1
        case Dilated():
            return graph.left, graph.right, graph.dilation
        case SelfLoops():
            return 0, 0, 1
        case DisjointUnion():
            windows = {_window(part) for part in graph.parts}
            return windows.pop() if len(windows) == 1 else None
        case _:
            return None


def _distances(graph: Graph) -> Tensor:
    """``source - target`` of every edge, both counted from the end: ``[E]``."""
    pairs = edges(graph, "cpu")
    if not isinstance(graph, DisjointUnion):
        return pairs.source - pairs.target - (graph.num_sources - graph.num_targets)
    part = torch.bucketize(pairs.target, graph.target_ends[1:], right=True)
    return pairs.source - pairs.target - (graph.source_ends - graph.target_ends)[1:][part]

"""Composition of graphs: the sources that a target reads through several layers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgewise.errors import GraphError
from edgewise.graphs.base import Graph, check_graph, is_simple
from edgewise.graphs.blocks import Blocks
from edgewise.graphs.counts import count
from edgewise.graphs.facts import Facts, facts_of_composition
from edgewise.graphs.grid import Grid
from edgewise.graphs.open_sizes import holds
from edgewise.graphs.sequence import Causal, Complete, Dilated, PrefixCausal, SelfLoops, Window

__all__ = ["Composition", "compose", "receptive_field"]

_CHUNK = 1 << 22


@dataclass(frozen=True, repr=False)
class Composition(Graph):
    r"""Paths of two edges: targets of ``outer`` read, through its sources, those of ``inner``."""

    outer: Graph
    inner: Graph

    def __post_init__(self) -> None:
        if holds(self.outer.num_sources != self.inner.num_targets):
            raise GraphError(
                f"compose: the sources of outer must be the targets of inner, got "
                f"{self.outer.num_sources} and {self.inner.num_targets} nodes. Build both over "
                f"the same nodes in the middle."
            )

    @property
    def num_targets(self) -> int:
        """Rows of the outer graph."""
        return self.outer.num_targets

    @property
    def num_sources(self) -> int:
        """Columns of the inner graph."""
        return self.inner.num_sources

    def children(self) -> tuple[Graph, ...]:
        return (self.outer, self.inner)

    def contains(self, target: Tensor, source: Tensor) -> Tensor:
        shape = torch.broadcast_tensors(target, source)[0].shape
        connected = torch.zeros(shape, dtype=torch.bool, device=target.device)
        step = max(1, _CHUNK // max(connected.numel(), 1))
        for start in range(0, self.outer.num_sources, step):
            stop = min(start + step, self.outer.num_sources)
            middle = torch.arange(start, stop, device=target.device)
            path = self.outer.contains(target[..., None], middle) & self.inner.contains(
                middle, source[..., None]
            )
            connected |= path.any(-1)
        return connected

    def facts(self) -> Facts:
        return facts_of_composition(self.outer.facts(), self.inner.facts())

    def __repr__(self) -> str:
        return f"compose({self.outer!r}, {self.inner!r})"


def compose(outer: Graph, inner: Graph) -> Graph:
    r"""The sources that targets read through two layers: ``inner``, then ``outer``.

    .. math::  (s \to t) \in E \iff \exists m: (m \to t) \in E_{outer}, (s \to m) \in E_{inner}

    Example:
        >>> compose(Window(9, left=2, right=1), Window(9, left=1, right=0))
        Window(9, left=3, right=1)
    """
    check_graph("compose: outer", outer)
    check_graph("compose: inner", inner)
    N = outer.num_sources
    match outer, inner:
        case SelfLoops(), _ if inner.num_targets == N:
            return inner if is_simple(inner) else Composition(outer, inner)
        case _, SelfLoops() if inner.num_targets == N:
            return outer if is_simple(outer) else Composition(outer, inner)
        case Complete(), Complete() if inner.num_targets == N and N > 0:
            return Complete(outer.num_targets, inner.num_sources)
        case Window(), Window() if outer.num_targets == N == inner.num_targets == inner.num_sources:
            return Window(N, left=outer.left + inner.left, right=outer.right + inner.right)
        case Causal(), Causal() if outer.num_targets == N == inner.num_targets == inner.num_sources:
            return inner
        case Grid(), Grid() if (
            outer.shape == inner.shape
            and outer.corners
            and inner.corners
            and outer.periodic == inner.periodic
        ):
            radius = tuple(a + b for a, b in zip(outer.radii, inner.radii, strict=True))
            return replace(outer, radius=radius)
        case _:
            return Composition(outer, inner)


def receptive_field(graph: Graph, layers: int) -> Graph:
    r"""Everything that can influence a target through ``layers`` layers over ``graph``.

    .. math::  R_0 = I, \qquad R_{l+1} = (G \cup I) \circ R_l

    A node always keeps its state (residual or root weight), so self-loops are included.

    Args:
        graph: A square graph.
        layers: Number of layers, 0 or more.

    Raises:
        GraphError: the graph is not square, or ``layers`` is negative.

    Example:
        >>> receptive_field(Window(100, left=2, right=0), layers=3)
        Window(100, left=6, right=0)
    """
    check_graph("receptive_field: graph", graph)
    if graph.num_targets != graph.num_sources:
        raise GraphError(
            f"receptive_field: the graph must be square, got {graph.num_targets} "
            f"targets and {graph.num_sources} sources. Compose the layers with "
            f"compose() instead."
        )
    layers = count("receptive_field", "layers", layers)
    step = graph if _holds_self_loops(graph) else graph | SelfLoops(graph.num_targets)
    field: Graph = SelfLoops(graph.num_targets)
    for _ in range(layers):
        field = compose(step, field)
    return field


def _holds_self_loops(graph: Graph) -> bool:
    if isinstance(graph, Blocks):
        return graph.sizes == graph.source_sizes
    return isinstance(graph, Complete | Causal | Window | Dilated | PrefixCausal | Grid | SelfLoops)

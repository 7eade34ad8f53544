"""Graphs of trials: families with sizes, as a name and a few whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from edgewise.graphs import (
    Blocks,
    Causal,
    Complete,
    Dilated,
    EdgeList,
    Graph,
    Grid,
    Hubs,
    RandomRegular,
    Window,
    disjoint_union,
)

__all__ = ["FAMILIES", "NamedGraph"]

_SEED = 0
_AT_ONCE = 1 << 22  # pairs that are drawn at a time


class NamedGraph(NamedTuple):
    """Name of a graph, which is built when it is measured.

    Attributes:
        family: One of `FAMILIES`.
        sizes: Its whole numbers.
    """

    family: str
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.family}({', '.join(map(str, self.sizes))})"

    def build(self) -> Graph:
        """The graph, with the same edges each time."""
        return _built(self)


@lru_cache(maxsize=16)
def _built(name: NamedGraph) -> Graph:
    return FAMILIES[name.family](*name.sizes)


def _window(nodes: int, left: int, right: int) -> Graph:
    return Window(nodes, left=left, right=right)


def _dilated(nodes: int, left: int, right: int, dilation: int) -> Graph:
    return Dilated(nodes, left=left, right=right, dilation=dilation)


def _blocks(count: int, size: int) -> Graph:
    return Blocks([size] * count)


def _molecules(count: int, size: int) -> Graph:
    """Complete graphs of half to one and a half times this size."""
    return Blocks(_uneven(count, size))


def _documents(count: int, size: int) -> Graph:
    """Causal graphs of half to one and a half times this size, packed."""
    return disjoint_union([Causal(each) for each in _uneven(count, size)])


def _meshes(count: int, size: int) -> Graph:
    """A batch of sparse graphs: each node reads its four neighbours on a line."""
    return disjoint_union([Window(each, left=2, right=2) for each in _uneven(count, size)])


def _uneven(count: int, size: int) -> list[int]:
    random = torch.Generator().manual_seed(_SEED)
    return torch.randint(
        size - size // 2, size + size // 2 + 1, (count,), generator=random
    ).tolist()


def _grid(side: int) -> Graph:
    return Grid((side, side))


def _longformer(nodes: int, reach: int, hubs: int) -> Graph:
    return Window(nodes, left=reach, right=reach) | Hubs(nodes, list(range(hubs)))


def _bigbird(nodes: int, reach: int, hubs: int, degree: int) -> Graph:
    return _longformer(nodes, reach, hubs) | RandomRegular(nodes, degree=degree)


def _random(nodes: int, degree: int) -> Graph:
    """Each pair is an edge with the same probability; each node reads itself."""
    random = torch.Generator().manual_seed(_SEED)
    if 8 * degree < nodes:  # few edges: draw them instead of testing every pair
        ends = torch.randint(nodes, (2, nodes * degree), generator=random)
        return _with_self_loops(ends[0], ends[1], nodes)
    rows = max(1, _AT_ONCE // nodes)
    parts: list[Tensor] = []
    for first in range(0, nodes, rows):
        count = min(rows, nodes - first)
        part = (torch.rand(count, nodes, generator=random) < degree / nodes).nonzero()
        parts.append(part + torch.tensor([first, 0]))
    target, source = torch.cat(parts).unbind(1)
    return _with_self_loops(target, source, nodes)


def _power(nodes: int, degree: int) -> Graph:
    r"""Sources drawn with probability ~ rank^(-1/2), targets too: few nodes have most edges."""
    random = torch.Generator().manual_seed(_SEED)
    ends = (nodes * torch.rand(2, nodes * degree, generator=random) ** 2).long()
    order = torch.randperm(nodes, generator=random)
    target, source = order[ends.clamp(max=nodes - 1)]
    return _with_self_loops(target, source, nodes)


def _clusters(nodes: int, size: int, percent: int) -> Graph:
    """Groups with a percentage of their pairs as edges, and as many edges across as nodes."""
    random = torch.Generator().manual_seed(_SEED)
    start = torch.arange(0, nodes, size)
    inside = torch.rand(len(start), size, size, generator=random) < percent / 100
    group, row, column = inside.nonzero().unbind(1)
    target, source = start[group] + row, start[group] + column
    inside_graph = (target < nodes) & (source < nodes)
    across = torch.randint(nodes, (2, nodes), generator=random)
    return _with_self_loops(
        torch.cat([target[inside_graph], across[0]]),
        torch.cat([source[inside_graph], across[1]]),
        nodes,
    )


def _with_self_loops(target: Tensor, source: Tensor, nodes: int) -> Graph:
    """Each edge once, with self-loops, so that no target is isolated."""
    loops = torch.arange(nodes)
    pairs = torch.unique(torch.cat([target, loops]) * nodes + torch.cat([source, loops]))
    return EdgeList(torch.stack([pairs % nodes, pairs // nodes]), num_nodes=nodes)


def _bipartite(targets: int, sources: int, degree: int) -> Graph:
    """Each target reads as many sources, drawn at random."""
    random = torch.Generator().manual_seed(_SEED)
    target = torch.arange(targets).repeat_interleave(degree)
    source = torch.randint(sources, target.shape, generator=random)
    pairs = torch.unique(target * sources + source)
    edges = torch.stack([pairs % sources, pairs // sources])
    return EdgeList(edges, num_targets=targets, num_sources=sources)


FAMILIES: dict[str, Callable[..., Graph]] = {
    "complete": Complete,
    "causal": Causal,
    "window": _window,
    "dilated": _dilated,
    "blocks": _blocks,
    "molecules": _molecules,
    "documents": _documents,
    "meshes": _meshes,
    "grid": _grid,
    "longformer": _longformer,
    "bigbird": _bigbird,
    "random": _random,
    "power": _power,
    "bipartite": _bipartite,
    "clusters": _clusters,
}

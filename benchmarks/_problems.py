"""Problems for the planner: a grid over families of graphs, sizes, heads, dtypes and passes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from _harness import DTYPES
from _workloads import power_law
from torch import Tensor

import edgewise as ew


@dataclass(frozen=True)
class Case:
    """One problem of the grid."""

    name: str
    graph: ew.Graph
    heads: int
    dim: int
    dtype: torch.dtype
    training: bool

    def job(self) -> Callable[[str], Any]:
        """From a backend's name to one run."""
        torch.manual_seed(0)
        rows, columns = self.graph.num_targets, self.graph.num_sources

        def draw(nodes: int) -> Tensor:
            tensor = torch.randn(1, self.heads, nodes, self.dim).to(self.dtype)
            return tensor.requires_grad_(self.training)

        tensors, push = (draw(rows), draw(columns), draw(columns)), draw(rows).detach()

        def run(backend: str) -> Any:
            out = ew.attention(*tensors, self.graph, backend=backend)
            return torch.autograd.grad(out, tensors, push) if self.training else out

        return run


def grid(number: int) -> list[Case]:
    """Problems drawn with one seed; sizes that no calibration uses."""
    draw, found = random.Random(20), []
    families = list(FAMILIES)
    while len(found) < number:
        family = families[len(found) % len(families)]
        nodes = int(2 ** draw.uniform(5, 14))
        heads, dim = draw.choice([1, 2, 4, 8]), draw.choice([8, 16, 32, 64, 128])
        graph = FAMILIES[family](nodes, 2 ** draw.uniform(-8, -0.5), draw)
        dtype, training = draw.choice(DTYPES), draw.random() < 0.5
        cheap = graph.facts().max_edges * heads * dim < 5e8
        if cheap and graph.num_targets * heads * dim < 1 << 22:
            name = f"{family} {nodes}, {heads} x {dim}, {label(dtype, training)}"
            found.append(Case(name, graph, heads, dim, dtype, training))
    return found


def _window(nodes: int, density: float, draw: random.Random) -> ew.Graph:
    reach = max(1, int(nodes * density / 2))
    return ew.Window(nodes, left=reach, right=draw.choice([0, reach]))


def _longformer(nodes: int, density: float, draw: random.Random) -> ew.Graph:
    hubs = draw.sample(range(nodes), min(nodes, 1 + draw.randrange(16)))
    return _window(nodes, density, draw) | ew.Hubs(nodes, hubs)


def _random(nodes: int, density: float, draw: random.Random) -> ew.Graph:
    nodes = min(nodes, 8192)
    degree = max(1, int(nodes * density))
    count = min(nodes * degree, 4_000_000)
    generator = torch.Generator().manual_seed(draw.randrange(1 << 30))
    keys = torch.unique(torch.randint(nodes * nodes, (count,), generator=generator))
    return ew.EdgeList(torch.stack([keys % nodes, keys // nodes]), num_nodes=nodes)


def _power(nodes: int, density: float, draw: random.Random) -> ew.Graph:
    nodes = max(nodes, 256)
    edges = 2 * int(nodes * min(64.0, max(1.0, nodes * density / 4)))
    return power_law(nodes, edges, seed=draw.randrange(1 << 30))


def _clusters(nodes: int, density: float, draw: random.Random) -> ew.Graph:
    """Communities that are dense inside, and a few edges between them."""
    size = max(8, int(nodes * density))
    inside = draw.uniform(0.1, 0.9)
    generator = torch.Generator().manual_seed(draw.randrange(1 << 30))
    start = torch.arange(0, nodes, size)
    chosen = torch.rand(len(start), size, size, generator=generator) < inside
    block, row, column = chosen.nonzero().unbind(1)
    target, source = start[block] + row, start[block] + column
    here = (target < nodes) & (source < nodes)
    across = torch.randint(nodes, (2, nodes), generator=generator)
    target, source = torch.cat([target[here], across[0]]), torch.cat([source[here], across[1]])
    keys = torch.unique(target * nodes + source)
    return ew.EdgeList(torch.stack([keys % nodes, keys // nodes]), num_nodes=nodes)


def _sizes(nodes: int, density: float, draw: random.Random) -> list[int]:
    mean = max(2, int(nodes * density))
    sizes = []
    while sum(sizes) < nodes:
        sizes.append(max(1, int(mean * draw.uniform(0.4, 1.6))))
    return sizes


FAMILIES: dict[str, Callable[[int, float, random.Random], ew.Graph]] = {
    "complete": lambda n, _d, _r: ew.Complete(min(n, 4096)),
    "causal": lambda n, _d, _r: ew.Causal(min(n, 4096)),
    "window": _window,
    "longformer": _longformer,
    "random": _random,
    "power law": _power,
    "clusters": _clusters,
    "molecules": lambda n, d, r: ew.Blocks(_sizes(n, d, r)),
    "documents": lambda n, d, r: ew.disjoint_union([ew.Causal(s) for s in _sizes(n, d, r)]),
    "grid": lambda n, _d, r: ew.Grid((math.isqrt(n), math.isqrt(n)), radius=r.choice([1, 2, 4])),
    "dilated": lambda n, d, r: ew.Dilated(
        n, left=max(1, int(n * d / 8)), right=0, dilation=r.choice([2, 4])
    ),
    "expander": lambda n, d, r: ew.RandomRegular(
        n - n % 2, degree=max(1, min(int(n * d), 256, n // 2 - 1)), seed=r.randrange(1000)
    ),
}


def problem_of(case: Case) -> Any:
    """The planner's question."""
    q, k, v = (
        torch.empty(1, case.heads, 1, case.dim, dtype=case.dtype).expand(-1, -1, nodes, -1)
        for nodes in (case.graph.num_targets, *[case.graph.num_sources] * 2)
    )
    q = q.requires_grad_(case.training)
    return ew.explain(q, k, v, case.graph).decision.problem


def label(dtype: torch.dtype, training: bool) -> str:
    """For tables."""
    name = str(dtype).removeprefix("torch.")
    return f"{name}, {'forward + backward' if training else 'forward'}"

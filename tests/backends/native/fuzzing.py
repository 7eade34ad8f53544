"""Random calls of the operator, each from one seed: `attention_case`, `aggregate_case`."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

import edgewise as ew
from edgewise.graphs import Graph
from edgewise.testing import GRAPHS
from tests.backends.native.cases import Case, assert_close, described, doubled, gradients
from tests.backends.native.layouts import LAYOUTS, lay

_NUMBERS = 60_000  # edges * heads * channels of one case
_DTYPES = [torch.float32] * 7 + [torch.float64, torch.bfloat16, torch.float16]
_EDGES = ("unsorted", "sorted", "copies", "bipartite", "isolated", "one row", "one source")


# --- Graphs ---------------------------------------------------------------------------------


def random_graph(pick: random.Random) -> Graph:
    """A graph of any kind: edge lists in every order, hubs, nothing at all, symbolic families."""
    chance = pick.random()
    if chance < 0.2:
        return GRAPHS[pick.choice(sorted(GRAPHS))]
    if chance < 0.22:
        nodes = pick.choice([0, 1, 7])
        return ew.EdgeList(torch.empty(2, 0, dtype=torch.int64), num_nodes=nodes)
    if chance < 0.24:
        return ew.EdgeList(torch.zeros(2, pick.randint(1, 4), dtype=torch.int64), num_nodes=1)
    if chance < 0.26:
        return _hub(pick, pick.randint(2000, 6000), pick.choice([1, 50, 3000]))
    return _edge_list(pick, pick.choice(_EDGES))


def _edge_list(pick: random.Random, kind: str) -> Graph:
    draw = torch.Generator().manual_seed(pick.getrandbits(32))
    T = S = pick.choice([2, 3, 5, 9, 17, 40, 90])
    if kind == "bipartite":
        S = pick.choice([1, 4, 30, 70])
    E = min(int(2 ** pick.uniform(0, 9)), 400)
    target = torch.randint(T, (E,), generator=draw)
    source = torch.randint(S, (E,), generator=draw)
    match kind:
        case "copies":
            again = torch.randint(E, (E // 2,), generator=draw)
            target, source = torch.cat([target, target[again]]), torch.cat([source, source[again]])
        case "isolated":
            target, source = target // 2, source // 2
        case "one row":
            target = torch.where(torch.rand(E, generator=draw) < 0.9, T - 1, target)
        case "one source":
            source = torch.where(torch.rand(E, generator=draw) < 0.9, 0, source)
        case "sorted":
            keys = torch.sort(target * S + source).values
            target, source = keys // S, keys % S
    return ew.EdgeList(torch.stack([source, target]), num_targets=T, num_sources=S)


def _hub(pick: random.Random, edges: int, nodes: int) -> Graph:
    """One row with thousands of edges, and a few others."""
    draw = torch.Generator().manual_seed(pick.getrandbits(32))
    source = torch.randint(nodes, (edges,), generator=draw)
    target = torch.where(torch.rand(edges, generator=draw) < 0.95, 2, 5)
    return ew.EdgeList(torch.stack([source, target]), num_targets=7, num_sources=nodes)


# --- Tensors --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tensors:
    """Draws tensors of random layouts, some of which require a gradient."""

    pick: random.Random
    draw: torch.Generator
    dtype: torch.dtype
    grad: float  # share of tensors that require a gradient

    def __call__(
        self, *shape: int, factor: float = 1.0, dtype: torch.dtype | None = None
    ) -> Tensor:
        # Multiples of 1/256: sums of three are exact in float32 (no sign of a LeakyReLU is in
        # doubt), products of two as well (equal messages are equal), and zero does occur.
        numbers = torch.randn(*shape, generator=self.draw).mul(256 * factor).round().div(256)
        layout = self.pick.choice(LAYOUTS) if self.pick.random() < 0.6 else "contiguous"
        tensor = lay(numbers.to(dtype or self.dtype), layout)
        return tensor.requires_grad_(self.pick.random() < self.grad)

    def push(self, output: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A gradient of an output; sometimes expanded, as the one of a sum is."""
        numbers = torch.randn(output, generator=self.draw).to(dtype)
        if not self.pick.random() < 0.3:
            return lay(numbers, self.pick.choice(LAYOUTS))
        return torch.tensor(1.5, dtype=dtype).expand(output)


def _tensors(pick: random.Random) -> _Tensors:
    draw = torch.Generator().manual_seed(pick.getrandbits(32))
    return _Tensors(pick, draw, pick.choice(_DTYPES), pick.choice([0.0, 0.5, 0.9, 1.0, 1.0]))


def _batch(pick: random.Random) -> tuple[int, ...]:
    return pick.choice([(), (), (1,), (2,), (3,), (2, 2), (1, 3)])


def _per_edge_lead(pick: random.Random, batch: tuple[int, ...], heads: int) -> tuple[int, ...]:
    """Leading sizes of a tensor per edge: full, 1, or left out."""
    lead = tuple(pick.choice([n, 1]) for n in (*batch, heads))
    return lead[pick.choice([0, 0, 0, len(batch)]) :]


# --- Attention ------------------------------------------------------------------------------


def attention_case(seed: int) -> Case:
    """A random call of attention."""
    pick = random.Random(seed)
    graph, make, batch = random_graph(pick), _tensors(pick), _batch(pick)
    T, S, E = graph.num_targets, graph.num_sources, ew.edges(graph).num_edges
    score, D, Dv, H = _sizes(pick, max(E, T, S, 1) * max(1, torch.Size(batch).numel()))
    G = pick.choice([g for g in range(1, H + 1) if H % g == 0]) if pick.random() < 0.5 else H
    tensors = {"query": make(*batch, H, T, D), "key": make(*batch, G, S, D)}
    tensors["value"] = make(*batch, G, S, Dv)
    if isinstance(score, ew.GATv2):
        tensors["vector"] = make(H, D, factor=D**-0.5)
    bias: Callable[[Tensor], ew.ops.Bias] = ew.EdgeBias
    lead = _per_edge_lead(pick, batch, H)
    kind = pick.choice(["none", "none", "edge", "edge", "forbids", "relative", "dense"])
    match kind:
        case "edge" | "forbids":
            # A bias may have a dtype of its own.
            dtype = torch.float64 if pick.random() < 0.1 else make.dtype
            tensors["bias"] = make(*lead, E, dtype=dtype)
            bias = _forbidding if kind == "forbids" else ew.EdgeBias
        case "relative":
            first, K = pick.randint(-6, 1), pick.randint(1, 9)
            tensors["bias"] = make(pick.choice([1, H]), K)
            bias = functools.partial(ew.RelativeBias, first=first)
        case "dense" if T * S * torch.Size(lead).numel() <= _NUMBERS:
            tensors["bias"] = make(*lead, T, S)
            bias = ew.DenseBias
    if pick.random() < 0.3:
        tensors["edge_key"] = make(*_per_edge_lead(pick, batch, H), E, D)
    if pick.random() < 0.3:
        tensors["edge_value"] = make(*_per_edge_lead(pick, batch, H), E, Dv)
    sends = pick.choice([("out",), ("out",), ("out", "lse"), ("lse",)])
    low = torch.float64 if make.dtype == torch.float64 else torch.float32
    pushes = {"out": make.push((*batch, H, T, Dv), make.dtype)} if "out" in sends else {}
    if "lse" in sends:
        pushes["lse"] = make.push((*batch, H, T), low)
    dropout = pick.choice([0.0, 0.0, 0.0, 0.1, 0.5, 0.9])
    return Case(
        graph, tensors, score, bias, dropout, sends, pushes, f"attention_case({seed}), bias: {kind}"
    )


def _sizes(pick: random.Random, edges: int) -> tuple[ew.ops.Score, int, int, int]:
    """Score, head_dim, value_dim and heads, so that all edges hold not too many numbers."""
    D, Dv = _dim(pick), _dim(pick)
    H = pick.choice([1, 1, 2, 3, 4, 4, 5, 6, 8, 8, 12, 16, 24, 32, 64])
    kind = pick.choice(["dot", "dot", "scaled", "capped", "additive", "gatv2", "gatv2"])
    if kind == "additive":
        D = 1
    while edges * H * (D + Dv) > _NUMBERS and H * (D + Dv) > 2:
        shrunk = pick.choice(["H", "D"])
        if shrunk == "H":
            H = max(1, H // 2)
        else:
            D, Dv = max(1, D * 2 // 3), max(1, Dv * 2 // 3)
    match kind:
        case "scaled":
            return ew.Dot(scale=pick.choice([-0.5, 0.3, 1.4]) * D**-0.5), D, Dv, H
        case "capped":
            return ew.Dot(scale=D**-0.5, softcap=pick.choice([0.7, 3.0, 30.0])), D, Dv, H
        case "additive":
            return ew.Additive(pick.choice([0.0, 0.2, 1.5])), D, Dv, H
        case "gatv2":
            return ew.GATv2(None, pick.choice([0.0, 0.2, 0.9])), D, Dv, H
    return ew.Dot(), D, Dv, H


def _dim(pick: random.Random) -> int:
    common = [1, 2, 4, 8, 16, 32, 64, 128, 256]
    return pick.choice(common) if pick.random() < 0.4 else int(2 ** pick.uniform(0, 8.006))


def _forbidding(values: Tensor) -> ew.EdgeBias:
    """Minus infinity on a part of the edges: some rows keep none."""
    return ew.EdgeBias(values.masked_fill(values.detach() > 0.2, -torch.inf))


# --- Aggregation ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Aggregation:
    """A call of `aggregate`."""

    graph: Graph
    tensors: Mapping[str, Tensor]  # value, and perhaps weight
    reduce: str
    push: Tensor
    about: str

    def results(
        self, backend: str, tensors: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The output, and the gradient of every tensor that requires one."""
        t = self.tensors if tensors is None else tensors
        out = ew.aggregate(
            t["value"], self.graph, self.reduce, weight=t.get("weight"), backend=backend
        )
        return {"out": out, **gradients({"out": out}, t, {"out": self.push.to(out.dtype)})}

    def assert_exact(self, backend: str) -> None:
        """Output and gradients are those of float64."""
        value = self.tensors["value"]
        found = self.results(backend)
        assert found["out"].dtype == value.dtype
        expected = self.results("gather", {k: doubled(t) for k, t in self.tensors.items()})
        assert_close(found, expected, value.dtype, self.graph)

    def __str__(self) -> str:
        lines = [self.about, f"graph {self.graph!r}, {ew.edges(self.graph).num_edges} edges"]
        lines += [self.reduce, *(described(*item) for item in self.tensors.items())]
        return "\n    ".join([*lines, described("push", self.push)])


def aggregate_case(seed: int) -> Aggregation:
    """A random call of aggregate."""
    pick = random.Random(-1 - seed)
    graph, make, batch = random_graph(pick), _tensors(pick), _batch(pick)
    T, S, E = graph.num_targets, graph.num_sources, ew.edges(graph).num_edges
    C = _dim(pick)
    while C > 1 and C * max(E, T, S) * torch.Size(batch).numel() > _NUMBERS:
        C = C * 2 // 3
    tensors = {"value": make(*batch, S, C)}
    if pick.random() < 0.6:
        tensors["weight"] = make(*_per_edge_lead(pick, batch, 1)[:-1], E)
    reduce = pick.choice(["sum", "mean", "max"])
    push = make.push((*batch, T, C), make.dtype)
    return Aggregation(graph, tensors, reduce, push, f"aggregate_case({seed})")

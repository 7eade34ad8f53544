"""The points of `shapes.py`: which shapes are measured, and what runs at each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import count, islice
from typing import Literal

import numpy as np
import torch
from _peers import Contender
from _workloads import power_law
from torch import Tensor

import edgewise as ew
from edgewise.errors import EdgewiseError
from edgewise.planning import choose
from edgewise.planning.call import read_aggregate

Kind = Literal["attention", "sums"]

MOST_NUMBERS = 1 << 24  # of one tensor: nodes * heads * width
MOST_WORK = 1 << 24  # edges * heads * width
_SUMS = ("sum", "mean", "max", "weighted")
# What `auto` could have chosen; `flex` would compile for minutes, `reference` is never chosen.
_RIVALS = ("native", "gather", "dense", "banded", "blocked", "ragged")
_NEAR = 4.0  # a rival is measured where its estimate is within this factor of the chosen plan's


@dataclass(frozen=True)
class Point:
    """One shape.

    Attributes:
        kind: Attention, or a sum over sources.
        nodes: Of a power-law graph.
        edges: As drawn; the graph has about as many.
        heads: 1 for sums.
        width: Channels of a head.
        dtype: ``float32`` or ``bfloat16``.
        reduce: ``sum``, ``mean``, ``max`` or ``weighted`` (a sum with edge weights) for sums.
        layout: Whether the heads of a node (``node``) or the nodes of a head (``head``) are
            adjacent in our tensors; in the peer's the heads of a node always are.
    """

    kind: Kind
    nodes: int
    edges: int
    heads: int
    width: int
    dtype: str = "float32"
    reduce: str = ""
    layout: str = "node"

    @property
    def key(self) -> str:
        """The point as a name, under which its result is stored."""
        return " ".join(str(value) for value in asdict(self).values() if value != "")

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    @property
    def rounded(self) -> Point:
        """The same with the next width that is a multiple of 16."""
        return replace(self, width=-(-self.width // 16) * 16)

    def graph(self) -> ew.EdgeList:
        return _graph(self.nodes, self.edges)


@lru_cache(maxsize=2)
def _graph(nodes: int, edges: int) -> ew.EdgeList:
    return power_law(nodes, edges)


# Shapes that were slow on an Intel Xeon, those that were fast beside them, and sums alike.
_NAMED = (
    *(
        Point("attention", 3_100, 12_480, heads, width)
        for heads, width in (
            (8, 8),
            (6, 12),
            (3, 20),
            (5, 24),
            (1, 100),
            (12, 10),
            (7, 7),
            (8, 16),
            (8, 64),
        )
    ),
    *(
        Point("sums", 3_100, 12_480, 1, width, reduce="sum")
        for width in (1, 7, 20, 33, 64, 100, 127)
    ),
)


def points(seed: int, nodes_max: int, only: Kind | None) -> Iterator[Point]:
    """The named shapes, then shapes without end: two of attention for each of sums."""
    random = np.random.default_rng(seed)
    named = (point for point in _NAMED if point.nodes <= nodes_max)
    drawn = (
        _draw(random, "sums" if number % 3 == 2 else "attention", number, nodes_max)
        for number in count()
    )
    for source in (named, drawn):
        yield from (point for point in source if only in (None, point.kind))


def first_points(number: int, seed: int, nodes_max: int, only: Kind | None) -> list[Point]:
    """So many points, in one order for each seed."""
    return list(islice(points(seed, nodes_max, only), number))


def _draw(random: np.random.Generator, kind: Kind, number: int, nodes_max: int) -> Point:
    """Heads and width first, then a graph that is small enough for them."""
    heads = int(random.integers(1, 17)) if kind == "attention" else 1
    # Half of the widths evenly, half by their logarithm, so that small ones are not rare.
    even = random.random() < 0.5
    width = int(random.integers(1, 161)) if even else round(160 ** random.random())
    while True:
        nodes = _between(random, 500, min(200_000, nodes_max))
        degree = _between(random, 2, 200)
        edges = nodes * degree // 2 * 2
        fits = nodes * heads * width <= MOST_NUMBERS and edges * heads * width <= MOST_WORK
        if fits and degree < nodes // 3:  # a denser power law takes too long to draw
            break
    return Point(
        kind,
        nodes,
        edges,
        heads,
        width,
        dtype=("float32", "bfloat16")[number // 3 % 2],
        reduce=str(random.choice(_SUMS)) if kind == "sums" else "",
        layout="head" if kind == "attention" and random.random() < 0.3 else "node",
    )


def _between(random: np.random.Generator, low: int, high: int) -> int:
    """A whole number, evenly by its logarithm."""
    return round(math.exp(random.uniform(math.log(low), math.log(max(high, low)))))


# --- What runs at a point ------------------------------------------------------------------------


@dataclass
class Work:
    """The tensors of a point, and ways to compute with them."""

    point: Point
    training: bool

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        point = self.point
        self.graph = point.graph()
        found = ew.edges(self.graph)
        self.target, self.source = found.target, found.source
        rows = (point.nodes, point.heads) if point.kind == "attention" else (point.nodes,)
        number = 4 if point.kind == "attention" else 2
        *inputs, self.grad_out = (
            torch.randn(*rows, point.width).to(point.torch_dtype) for _ in range(number)
        )
        self.inputs = tuple(inputs)
        weighted = point.reduce == "weighted"
        self.weight = torch.rand(found.num_edges).to(point.torch_dtype) if weighted else None

    def peer(self) -> Contender:
        """The plain formula, compiled for exactly these shapes."""
        if self.point.kind == "attention":
            function = _attention_formula(self.target, self.source)
        else:
            function = _sum_formula(self.point, self.target, self.source, self.weight)
        compiled = torch.compile(function, dynamic=False, fullgraph=True)
        return Contender(compiled, _leaves(self.inputs), self.grad_out)

    def ours(self, backend: str) -> Contender:
        """Our operator on the same numbers."""
        point, graph, weight = self.point, self.graph, self.weight
        if point.kind == "sums":
            reduce = "sum" if point.reduce == "weighted" else point.reduce

            def add(x: Tensor) -> Tensor:
                return ew.aggregate(x, graph, reduce, weight=weight, backend=backend)  # type: ignore[arg-type]

            return Contender(add, _leaves(self.inputs), self.grad_out)
        views = [tensor.transpose(0, 1) for tensor in (*self.inputs, self.grad_out)]
        if point.layout == "head":
            views = [view.contiguous() for view in views]
        *inputs, grad_out = views
        return Contender(
            lambda q, k, v: ew.attention(q, k, v, graph, backend=backend),
            _leaves(inputs),
            grad_out,
            common=lambda tensors: tuple(tensor.transpose(0, 1) for tensor in tensors),
        )

    def rivals(self) -> tuple[str, list[str]]:
        """The backend that `auto` chooses, and those that it might as well have chosen."""
        if self.point.kind == "sums":
            return self._plan_of_sums(), [name for name in ("native", "gather") if self._runs(name)]
        inputs = self.ours("auto").inputs
        inputs = inputs if self.training else tuple(tensor.detach() for tensor in inputs)
        chosen = ew.plan(*inputs, self.graph)
        near = []
        for name in _RIVALS:
            try:
                plan = ew.plan(*inputs, self.graph, backend=name)
            except EdgewiseError:
                continue  # refused
            if name == "gather" or plan.seconds <= _NEAR * chosen.seconds:
                near.append(name)
        return chosen.name, near

    def _plan_of_sums(self) -> str:
        (value,) = self.ours("auto").inputs
        reduce = "sum" if self.point.reduce == "weighted" else self.point.reduce
        with torch.set_grad_enabled(self.training):
            call = read_aggregate(value, self.graph, reduce, self.weight)  # type: ignore[arg-type]
            return choose(call.question.about(self.graph)).plan.name

    def _runs(self, backend: str) -> bool:
        contender = self.ours(backend)
        try:
            contender.job(backward=self.training)()
        except EdgewiseError:
            return False
        return True


def _leaves(tensors: tuple[Tensor, ...] | list[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor.detach().requires_grad_() for tensor in tensors)


def _attention_formula(target: Tensor, source: Tensor) -> Callable[..., Tensor]:
    """Gather, softmax, scatter, on ``[N, H, D]``.

    In half precision, edges are worked on in float32 and added up in float32, which is more exact
    than half precision all the way and faster (atomic additions of 16 bits are loops).
    """

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        score = (query.index_select(0, target).float() * key.index_select(0, source).float()).sum(
            -1
        )
        score = score * query.shape[-1] ** -0.5
        index = target[:, None].expand_as(score)
        top = torch.full_like(query[..., 0], -torch.inf, dtype=torch.float32)
        top = top.scatter_reduce(0, index, score.detach(), "amax")
        share = (score - top.index_select(0, target)).exp()
        total = torch.zeros_like(top).index_add(0, target, share)
        message = (share / total.index_select(0, target))[..., None]
        message = message * value.index_select(0, source).float()
        out = torch.zeros_like(query, dtype=torch.float32).index_add(0, target, message)
        return out.to(query.dtype)

    return attend


def _sum_formula(
    point: Point, target: Tensor, source: Tensor, weight: Tensor | None
) -> Callable[[Tensor], Tensor]:
    """Gather and scatter, on ``[N, C]``; half precision is added up in float32."""
    degree = torch.zeros(point.nodes).index_add(0, target, torch.ones(len(target)))
    degree = degree.clamp(min=1)[:, None]

    def add(x: Tensor) -> Tensor:
        message = x.index_select(0, source).float()
        if weight is not None:
            message = message * weight.float()[:, None]
        out = torch.zeros_like(x, dtype=torch.float32).index_add(0, target, message)
        return (out / degree if point.reduce == "mean" else out).to(x.dtype)

    def best(x: Tensor) -> Tensor:
        out = torch.zeros_like(x, dtype=torch.float32)
        index = target[:, None].expand(-1, x.shape[-1])
        message = x.index_select(0, source).float()
        return out.scatter_reduce(0, index, message, "amax", include_self=False).to(x.dtype)

    return best if point.reduce == "max" else add

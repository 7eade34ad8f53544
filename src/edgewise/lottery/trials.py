"""Trials: one call on one graph, as a value; it says its problem and makes its tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from edgewise.functional import aggregate, attention, attention_state
from edgewise.graphs import Graph
from edgewise.layouts import num_edges
from edgewise.lottery.topologies import Topology
from edgewise.ops.bias import Bias, BiasKind, DenseBias, EdgeBias, RelativeBias
from edgewise.ops.scores import Additive, Dot, GATv2, Score
from edgewise.problem import AggregateProblem, AttentionProblem, Problem, Reduce

__all__ = ["Attends", "Call", "Setting", "Sums", "Trial"]

_CPU = torch.device("cpu")
_SEED = 0

Call = Callable[[str], object]  # from the name of a backend to one run


class Setting(ABC):
    """How the operator is called."""

    @abstractmethod
    def problem(self, graph: Graph, dtype: torch.dtype, *, training: bool) -> Problem:
        """The question this call asks."""

    @abstractmethod
    def call(self, graph: Graph, dtype: torch.dtype, *, training: bool) -> Call:
        """Make the tensors, and return what is timed."""

    @abstractmethod
    def numbers(self, nodes: int) -> int:
        """How many numbers a tensor of so many nodes has."""


@dataclass(frozen=True)
class Attends(Setting):
    """A call of `edgewise.attention`.

    Attributes:
        heads: Heads of the query.
        dim: Channels of a head.
        batch: Calls that share the graph; 1 is no batch dimension.
        sharing: Heads that share a key.
        score: Which score.
        bias: How a bias is given, if at all.
        features: Whether keys and values have a part that belongs to the edge.
        dropout: Share of weights to drop.
        lse: Whether the log-sum-exp is wanted.
    """

    heads: int
    dim: int
    batch: int = 1
    sharing: int = 1
    score: Literal["dot", "soft cap", "additive", "gatv2"] = "dot"
    bias: BiasKind | None = None
    features: bool = False
    dropout: float = 0.0
    lse: bool = False

    @property
    def key_dim(self) -> int:
        """Channels of queries and keys."""
        return 1 if self.score == "additive" else self.dim

    def numbers(self, nodes: int) -> int:
        return self.batch * self.heads * self.dim * nodes

    def problem(self, graph: Graph, dtype: torch.dtype, *, training: bool) -> Problem:
        return AttentionProblem(
            graph=graph,
            batch=self.batch,
            dtype=dtype,
            device=_CPU,
            needs_grad=training,
            score=self._score(None),
            heads=self.heads,
            kv_heads=self.heads // self.sharing,
            head_dim=self.key_dim,
            value_dim=self.dim,
            bias=self.bias,
            edge_key=self.features,
            edge_value=self.features,
            dropout=self.dropout,
            wants_lse=self.lse,
        )

    def call(self, graph: Graph, dtype: torch.dtype, *, training: bool) -> Call:
        draw = _Draw(dtype, training)
        lead = (self.batch,) if self.batch > 1 else ()
        T, S, groups = graph.num_targets, graph.num_sources, self.heads // self.sharing
        query = draw(*lead, self.heads, T, self.key_dim)
        key = draw(*lead, groups, S, self.key_dim)
        value = draw(*lead, groups, S, self.dim)
        vector = draw(self.heads, self.dim) if self.score == "gatv2" else None
        more: dict[str, Any] = {"score": self._score(vector), "dropout": self.dropout}
        if self.bias is not None:
            more["bias"] = self._bias(graph, draw)
        if self.features:
            more["edge_key"] = draw(1, num_edges(graph), self.key_dim)
            more["edge_value"] = draw(1, num_edges(graph), self.dim)
        if self.dropout:
            more["generator"] = torch.Generator().manual_seed(_SEED)
        operator: Callable[..., Any] = attention_state if self.lse else attention

        def run(backend: str) -> object:
            out = operator(query, key, value, graph, backend=backend, **more)
            outs = (out.out, out.lse) if self.lse else (out,)
            return draw.backward(*outs) if training else outs

        return run

    def _score(self, vector: Tensor | None) -> Score:
        match self.score:
            case "additive":
                return Additive()
            case "gatv2":
                return GATv2(vector)
            case kind:
                return Dot(softcap=30.0 if kind == "soft cap" else None)

    def _bias(self, graph: Graph, draw: _Draw) -> Bias:
        match self.bias:
            case "relative":
                return RelativeBias(draw(self.heads, 127), first=-63)
            case "dense":
                return DenseBias(draw(self.heads, graph.num_targets, graph.num_sources))
            case _:
                return EdgeBias(draw(self.heads, num_edges(graph)))


@dataclass(frozen=True)
class Sums(Setting):
    """A call of `edgewise.aggregate`.

    Attributes:
        channels: Numbers of a node.
        batch: Calls that share the graph; 1 is no batch dimension.
        reduce: How the sources of a target are combined.
        weighted: Whether each edge has a weight.
    """

    channels: int
    batch: int = 1
    reduce: Reduce = "sum"
    weighted: bool = False

    def numbers(self, nodes: int) -> int:
        return self.batch * self.channels * nodes

    def problem(self, graph: Graph, dtype: torch.dtype, *, training: bool) -> Problem:
        return AggregateProblem(
            graph=graph,
            batch=self.batch,
            dtype=dtype,
            device=_CPU,
            needs_grad=training,
            reduce=self.reduce,
            channels=self.channels,
            weighted=self.weighted,
        )

    def call(self, graph: Graph, dtype: torch.dtype, *, training: bool) -> Call:
        draw = _Draw(dtype, training)
        lead = (self.batch,) if self.batch > 1 else ()
        value = draw(*lead, graph.num_sources, self.channels)
        weight = draw(num_edges(graph)) if self.weighted else None

        def run(backend: str) -> object:
            out = aggregate(value, graph, self.reduce, weight=weight, backend=backend)
            return draw.backward(out) if training else out

        return run


class _Draw:
    """Random tensors, the same each time, and the gradients of all of them."""

    def __init__(self, dtype: torch.dtype, training: bool) -> None:
        self.dtype, self.training = dtype, training
        self.leaves: list[Tensor] = []
        self.pushes: list[Tensor] | None = None
        self._random = torch.Generator().manual_seed(_SEED)

    def __call__(self, *shape: int) -> Tensor:
        leaf = torch.randn(*shape, generator=self._random).to(self.dtype)
        self.leaves.append(leaf.requires_grad_(self.training))
        return leaf

    def backward(self, *outs: Tensor) -> object:
        if self.pushes is None:
            self.pushes = [torch.ones_like(out) for out in outs]
        return torch.autograd.grad(outs, self.leaves, self.pushes)


@dataclass(frozen=True)
class Trial:
    """What is timed: one call, on one graph, with every backend that is worth it.

    Attributes:
        topology: The graph.
        setting: The call.
        dtype: Of all tensors.
        training: Whether the backward pass is part of it.
        only: The backends that are measured; all that are worth it when empty.
    """

    topology: Topology
    setting: Setting
    dtype: torch.dtype = torch.float32
    training: bool = False
    only: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the trial is called in files; equal trials have equal names."""
        dtype = str(self.dtype).removeprefix("torch.")
        pass_ = "training" if self.training else "forward"
        told = [f"{name}={value}" for name, value in vars(self.setting).items() if value]
        return f"{self.topology} {' '.join(told)} {dtype} {pass_}"

    def problem(self) -> Problem:
        """The question."""
        return self.setting.problem(self.topology.graph(), self.dtype, training=self.training)

    def call(self) -> Call:
        """Make the tensors, and return what is timed."""
        return self.setting.call(self.topology.graph(), self.dtype, training=self.training)

"""Trials: a workload on a graph, as a value, with its problem and its tensors."""

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
from edgewise.lottery.named_graphs import NamedGraph
from edgewise.ops.bias import Bias, BiasKind, DenseBias, EdgeBias, RelativeBias
from edgewise.ops.scores import Additive, Dot, GATv2, Score
from edgewise.problem import AggregateProblem, AttentionProblem, Problem, Reduce

__all__ = ["AggregateWorkload", "AttentionWorkload", "TimedCall", "Trial", "Workload"]

_CPU = torch.device("cpu")
_SEED = 0

TimedCall = Callable[[str], object]  # runs the call with a backend, by its name


class Workload(ABC):
    """Base of workloads: a call of an operator with its sizes and options."""

    @abstractmethod
    def problem(self, graph: Graph, dtype: torch.dtype, *, training: bool) -> Problem:
        """The problem of the call."""

    @abstractmethod
    def call(self, graph: Graph, dtype: torch.dtype, *, training: bool) -> TimedCall:
        """Create the tensors, and return the function to time."""

    @abstractmethod
    def numbers(self, nodes: int) -> int:
        """Elements of a tensor of so many nodes."""


@dataclass(frozen=True)
class AttentionWorkload(Workload):
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
        lse: Whether the log-sum-exp is part of the result.
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

    def call(self, graph: Graph, dtype: torch.dtype, *, training: bool) -> TimedCall:
        random_tensor = _RandomTensors(dtype, training)
        lead = (self.batch,) if self.batch > 1 else ()
        T, S, groups = graph.num_targets, graph.num_sources, self.heads // self.sharing
        query = random_tensor(*lead, self.heads, T, self.key_dim)
        key = random_tensor(*lead, groups, S, self.key_dim)
        value = random_tensor(*lead, groups, S, self.dim)
        vector = random_tensor(self.heads, self.dim) if self.score == "gatv2" else None
        more: dict[str, Any] = {"score": self._score(vector), "dropout": self.dropout}
        if self.bias is not None:
            more["bias"] = self._bias(graph, random_tensor)
        if self.features:
            more["edge_key"] = random_tensor(1, num_edges(graph), self.key_dim)
            more["edge_value"] = random_tensor(1, num_edges(graph), self.dim)
        if self.dropout:
            more["generator"] = torch.Generator().manual_seed(_SEED)
        operator: Callable[..., Any] = attention_state if self.lse else attention

        def run(backend: str) -> object:
            out = operator(query, key, value, graph, backend=backend, **more)
            outs = (out.out, out.lse) if self.lse else (out,)
            return random_tensor.backward(*outs) if training else outs

        return run

    def _score(self, vector: Tensor | None) -> Score:
        match self.score:
            case "additive":
                return Additive()
            case "gatv2":
                return GATv2(vector)
            case kind:
                return Dot(softcap=30.0 if kind == "soft cap" else None)

    def _bias(self, graph: Graph, random_tensor: _RandomTensors) -> Bias:
        match self.bias:
            case "relative":
                return RelativeBias(random_tensor(self.heads, 127), first=-63)
            case "dense":
                return DenseBias(random_tensor(self.heads, graph.num_targets, graph.num_sources))
            case _:
                return EdgeBias(random_tensor(self.heads, num_edges(graph)))


@dataclass(frozen=True)
class AggregateWorkload(Workload):
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

    def call(self, graph: Graph, dtype: torch.dtype, *, training: bool) -> TimedCall:
        random_tensor = _RandomTensors(dtype, training)
        lead = (self.batch,) if self.batch > 1 else ()
        value = random_tensor(*lead, graph.num_sources, self.channels)
        weight = random_tensor(num_edges(graph)) if self.weighted else None

        def run(backend: str) -> object:
            out = aggregate(value, graph, self.reduce, weight=weight, backend=backend)
            return random_tensor.backward(out) if training else out

        return run


class _RandomTensors:
    """Random tensors with a fixed seed, and the backward pass to all of them."""

    def __init__(self, dtype: torch.dtype, training: bool) -> None:
        self.dtype, self.training = dtype, training
        self.leaves: list[Tensor] = []
        self.grad_outs: list[Tensor] | None = None
        self._random = torch.Generator().manual_seed(_SEED)

    def __call__(self, *shape: int) -> Tensor:
        leaf = torch.randn(*shape, generator=self._random).to(self.dtype)
        self.leaves.append(leaf.requires_grad_(self.training))
        return leaf

    def backward(self, *outs: Tensor) -> object:
        if self.grad_outs is None:
            self.grad_outs = [torch.ones_like(out) for out in outs]
        return torch.autograd.grad(outs, self.leaves, self.grad_outs)


@dataclass(frozen=True)
class Trial:
    """A call on a graph, timed with every backend whose estimate is not too large.

    Attributes:
        graph: The graph.
        workload: The call.
        dtype: Of all tensors.
        training: Whether the backward pass is part of it.
        only: The backends to time; all with estimates that are not too large when empty.
    """

    graph: NamedGraph
    workload: Workload
    dtype: torch.dtype = torch.float32
    training: bool = False
    only: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the trial in files; equal trials have equal names."""
        dtype = str(self.dtype).removeprefix("torch.")
        pass_ = "training" if self.training else "forward"
        options = [f"{name}={value}" for name, value in vars(self.workload).items() if value]
        return f"{self.graph} {' '.join(options)} {dtype} {pass_}"

    def problem(self) -> Problem:
        """The problem of the call."""
        return self.workload.problem(self.graph.build(), self.dtype, training=self.training)

    def call(self) -> TimedCall:
        """Create the tensors, and return the function to time."""
        return self.workload.call(self.graph.build(), self.dtype, training=self.training)

"""Problems: everything about one call except its tensors.

A *signature* is a problem without its graph. Backends judge and prepare problems, and run on
signatures: what runs holds no graph, so a graph can cache its plans.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import torch

from edgewise.graphs import Facts, Graph, facts_of
from edgewise.ops.bias import BiasKind
from edgewise.ops.scores import Score
from edgewise.ops.state import accumulate_dtype

__all__ = [
    "AggregateProblem",
    "AggregateSignature",
    "AttentionProblem",
    "AttentionSignature",
    "Problem",
    "Reduce",
    "Signature",
    "edges_as_text",
]

# How the values of all sources of a target become one.
Reduce = Literal["sum", "mean", "max"]


@dataclass(frozen=True, kw_only=True)
class Signature:
    """Base of both signatures: batch, dtype, device, gradients.

    Attributes:
        batch: Product of the leading batch dimensions, which share the graph.
        dtype: Of all tensors.
        device: Of all tensors.
        needs_grad: Whether a backward pass will follow.
    """

    batch: int
    dtype: torch.dtype
    device: torch.device
    needs_grad: bool

    @property
    def accumulate(self) -> torch.dtype:
        """The dtype of sums: float32 for half precision."""
        return accumulate_dtype(self.dtype)


@dataclass(frozen=True, kw_only=True)
class AttentionSignature(Signature):
    """The signature of a call of `edgewise.attention`.

    Attributes:
        score: The score, without its tensor.
        heads: Heads of the query ``H``.
        kv_heads: Heads of key and value ``G``.
        head_dim: ``D``.
        value_dim: ``Dv``.
        bias: How the bias is given, if at all.
        edge_key: Whether keys have a part that belongs to the edge.
        edge_value: Whether values have a part that belongs to the edge.
        dropout: Share of attention weights to drop.
        wants_lse: Whether the log-sum-exp is part of the result. Attention weights are computed
            from it, so there is no separate "wants weights".
    """

    score: Score
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    bias: BiasKind | None = None
    edge_key: bool = False
    edge_value: bool = False
    dropout: float = 0.0
    wants_lse: bool = False

    @property
    def edge_tensors(self) -> bool:
        """Whether any tensor has one entry for each edge."""
        return self.bias == "edge" or self.edge_key or self.edge_value

    @property
    def plain(self) -> bool:
        """Whether query, key and value are the only tensors, and the output the only result.

        Such calls have a fast path; see `edgewise.backends.AttentionBackend.shortcut`.
        """
        return not (self.bias or self.edge_key or self.edge_value or self.dropout or self.wants_lse)

    def about(self, graph: Graph) -> AttentionProblem:
        """The problem: this signature and a graph."""
        return AttentionProblem(graph=graph, **_signature_fields(self))


@dataclass(frozen=True, kw_only=True)
class AggregateSignature(Signature):
    """The signature of a call of `edgewise.aggregate`.

    Attributes:
        reduce: How the sources of a target are combined.
        channels: ``C``.
        weighted: Whether each edge has a weight.
    """

    reduce: Reduce
    channels: int
    weighted: bool = False

    def about(self, graph: Graph) -> AggregateProblem:
        """The problem: this signature and a graph."""
        return AggregateProblem(graph=graph, **_signature_fields(self))


@dataclass(frozen=True, kw_only=True)
class Problem(Signature):
    """A signature and the graph of the call.

    Attributes:
        graph: Which target reads which source.
    """

    graph: Graph

    @property
    def facts(self) -> Facts:
        """Bounds on the graph, computed once."""
        return facts_of(self.graph)


@dataclass(frozen=True, kw_only=True)
class AttentionProblem(Problem, AttentionSignature):
    """One call of `edgewise.attention`, without its tensors."""

    @property
    def signature(self) -> AttentionSignature:
        """The same without the graph."""
        return AttentionSignature(**_signature_fields(self))

    def __str__(self) -> str:
        heads = f"{self.heads} heads"
        if self.kv_heads != self.heads:
            heads += f" on {self.kv_heads}"
        extras = [f"{self.bias} bias"] if self.bias else []
        extras += ["edge keys"] if self.edge_key else []
        extras += ["edge values"] if self.edge_value else []
        extras += [f"dropout {self.dropout:g}"] if self.dropout else []
        extras += ["lse"] if self.wants_lse else []
        name = type(self.score).__name__
        return " · ".join(
            ["attention", _size(self), f"{heads} x {self.head_dim}", name, *extras, _machine(self)]
        )


@dataclass(frozen=True, kw_only=True)
class AggregateProblem(Problem, AggregateSignature):
    """One call of `edgewise.aggregate`, without its tensors."""

    @property
    def signature(self) -> AggregateSignature:
        """The same without the graph."""
        return AggregateSignature(**_signature_fields(self))

    def __str__(self) -> str:
        reduce = f"weighted {self.reduce}" if self.weighted else self.reduce
        return " · ".join(
            [f"aggregate ({reduce})", _size(self), f"{self.channels} channels", _machine(self)]
        )


def _signature_fields(signature: Signature) -> dict[str, Any]:
    return {f.name: getattr(signature, f.name) for f in fields(signature) if f.name != "graph"}


def _size(problem: Problem) -> str:
    facts = problem.facts
    batch = f"batch {problem.batch} x " if problem.batch != 1 else ""
    nodes = f"{facts.num_targets:,} targets x {facts.num_sources:,} sources"
    return f"{batch}{nodes} · {edges_as_text(facts)} edges"


def edges_as_text(facts: Facts) -> str:
    """Number of edges, or its bounds if the facts are not exact: ``10,556`` or ``0 to 9``."""
    if facts.exact_edges:
        return f"{facts.max_edges:,}"
    return f"{facts.min_edges:,} to {facts.max_edges:,}"


def _machine(problem: Problem) -> str:
    direction = "forward + backward" if problem.needs_grad else "forward"
    return f"{str(problem.dtype).removeprefix('torch.')} · {problem.device.type} · {direction}"

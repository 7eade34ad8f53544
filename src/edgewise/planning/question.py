"""Questions: the signature of a call as plain numbers and names, from its arguments.

A question holds no tensors and no graph. It is the key under which a graph stores its plans, and
all that ``torch.compile`` has to keep constant.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from edgewise.graphs import Graph
from edgewise.ops.bias import BiasKind
from edgewise.ops.scores import score_from
from edgewise.problem import AggregateProblem, AttentionProblem, Reduce

__all__ = ["AggregateQuestion", "AttentionQuestion"]


class AttentionQuestion(NamedTuple):
    """The question of a call of attention: everything about it but its graph and its numbers."""

    score: tuple[str, *tuple[float | None, ...]]
    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    dtype: torch.dtype
    device: torch.device
    needs_grad: bool
    bias: BiasKind | None
    edge_key: bool
    edge_value: bool
    dropout: float
    wants_lse: bool

    def about(self, graph: Graph) -> AttentionProblem:
        """The problem: this question about a graph."""
        fields = self._asdict()
        fields["score"] = score_from(self.score)
        return AttentionProblem(graph=graph, **fields)


class AggregateQuestion(NamedTuple):
    """The question of a call of aggregate: everything about it but its graph and its numbers."""

    reduce: Reduce
    channels: int
    weighted: bool
    batch: int
    dtype: torch.dtype
    device: torch.device
    needs_grad: bool

    def about(self, graph: Graph) -> AggregateProblem:
        """The problem: this question about a graph."""
        return AggregateProblem(graph=graph, **self._asdict())

"""Calls on tensors without numbers: planned and refused as other calls, but not computed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.graphs.cache import lasting
from edgewise.ops.inputs import Inputs
from edgewise.ops.state import AttentionState, accumulate_dtype
from edgewise.ops.without_numbers import blank
from edgewise.planning.call import AggregateCall, Call
from edgewise.planning.planner import choose
from edgewise.planning.prepared import Prepared
from edgewise.problem import AggregateProblem, AttentionProblem, AttentionSignature

__all__ = ["BlankAggregate", "BlankAttention", "blank_aggregate", "blank_attention"]


@dataclass(frozen=True, eq=False)
class BlankAttention(Prepared):
    """Attention that gives results of the right shapes, without numbers."""

    signature: AttentionSignature

    def attend(self, inputs: Inputs) -> Tensor:
        query, value = inputs.query, inputs.value
        shape = (*query.shape[:-1], value.shape[-1])
        return blank([(shape, query.dtype)], tuple(inputs.tensors().values()))[0]

    def forward(self, inputs: Inputs) -> AttentionState:
        query, value = inputs.query, inputs.value
        out = ((*query.shape[:-1], value.shape[-1]), query.dtype)
        lse = (query.shape[:-1], accumulate_dtype(query.dtype))
        return AttentionState(*blank([out, lse], tuple(inputs.tensors().values())))

    def backward(
        self, inputs: Inputs, state: AttentionState, grad_out: Tensor, grad_lse: Tensor
    ) -> Mapping[str, Tensor]:
        tensors = inputs.tensors()
        return {name: torch.empty_like(t) for name, t in tensors.items() if t.requires_grad}


@dataclass(frozen=True, eq=False)
class BlankAggregate:
    """Sums that give results of the right shapes, without numbers.

    Attributes:
        num_targets: Rows of the result.
    """

    num_targets: int

    def aggregate(self, value: Tensor, weight: Tensor | None) -> Tensor:
        """Sum, mean or maximum over the sources of each target: ``[*batch, T, C]``."""
        shape = (*value.shape[:-2], self.num_targets, value.shape[-1])
        tensors = (value,) if weight is None else (value, weight)
        return blank([(shape, value.dtype)], tensors)[0]


def blank_attention(call: Call, backend: str) -> BlankAttention:
    """The prepared plan of attention without numbers; errors as of `choose`."""
    problem = call.question.about(call.graph)
    _check_chosen(problem, backend)
    return BlankAttention(problem.signature)


def blank_aggregate(call: AggregateCall, backend: str) -> BlankAggregate:
    """The prepared plan of aggregate without numbers; errors as of `choose`."""
    _check_chosen(call.question.about(call.graph), backend)
    return BlankAggregate(call.graph.num_targets)


def _check_chosen(problem: AttentionProblem | AggregateProblem, backend: str) -> None:
    """Plan on real tensors, whatever mode makes those of the call fake."""
    with nullcontext() if torch.compiler.is_compiling() else lasting():
        _ = choose(problem, backend)

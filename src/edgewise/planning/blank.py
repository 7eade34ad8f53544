"""Calls on tensors without numbers: they are planned, and refused, as others are, but not run."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from edgewise.graphs import Graph
from edgewise.graphs.cache import lasting
from edgewise.ops.inputs import Inputs
from edgewise.ops.state import AttentionState, accumulate_dtype
from edgewise.ops.without_numbers import blank
from edgewise.planning.planner import choose
from edgewise.planning.question import AggregateQuestion, AttentionQuestion

__all__ = ["blank_aggregate", "blank_attention"]


def blank_attention(
    question: AttentionQuestion, graph: Graph, backend: str, inputs: Inputs
) -> AttentionState:
    """Output and log-sum-exp of attention, without numbers.

    Raises:
        BackendRefused: the named backend cannot run this problem.
        PlanError: no backend can, or there is none of this name.
    """
    _check_chosen(question, graph, backend)
    query, value = inputs.query, inputs.value
    out = ((*query.shape[:-1], value.shape[-1]), query.dtype)
    lse = (query.shape[:-1], accumulate_dtype(query.dtype))
    shapes = [out, lse] if question.wants_lse else [out]
    found = blank(shapes, tuple(inputs.tensors().values()))
    return AttentionState(found[0], found[-1])


def blank_aggregate(
    question: AggregateQuestion, graph: Graph, backend: str, value: Tensor, weight: Tensor | None
) -> Tensor:
    """A sum, mean or maximum over sources, without numbers.

    Raises:
        BackendRefused: the named backend cannot run this problem.
        PlanError: no backend can, or there is none of this name.
    """
    _check_chosen(question, graph, backend)
    shape = (*value.shape[:-2], graph.num_targets, value.shape[-1])
    tensors = (value,) if weight is None else (value, weight)
    return blank([(shape, value.dtype)], tensors)[0]


def _check_chosen(
    question: AttentionQuestion | AggregateQuestion, graph: Graph, backend: str
) -> None:
    """Plan on real tensors, whatever mode makes those of the call fake."""
    with nullcontext() if torch.compiler.is_compiling() else lasting():
        _ = choose(question.about(graph), backend)

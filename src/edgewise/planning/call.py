"""Calls: the arguments of `edgewise.attention` and `edgewise.aggregate`, read and checked once."""

from __future__ import annotations

from typing import NamedTuple, TypedDict, Unpack

import torch
from torch import Tensor

from edgewise.graphs import Graph
from edgewise.graphs.base import check_graph
from edgewise.ops.bias import Bias
from edgewise.ops.inputs import Inputs
from edgewise.ops.scores import Dot, Score
from edgewise.planning.compiled import num_edges_of
from edgewise.planning.question import (
    AggregateQuestion,
    AttentionQuestion,
    ask_aggregate,
    ask_attention,
    inputs_of,
)
from edgewise.problem import Reduce

__all__ = ["AggregateCall", "AttentionOptions", "Call", "call_of", "read_aggregate", "read_call"]

_DOT = Dot()


class AttentionOptions(TypedDict, total=False):
    """The keyword arguments of `edgewise.attention` that are computed on."""

    score: Score
    bias: Tensor | Bias | None
    edge_key: Tensor | None
    edge_value: Tensor | None
    dropout: float
    generator: torch.Generator | None


class Call(NamedTuple):
    """A checked call of attention.

    Attributes:
        inputs: The tensors.
        graph: Which target reads which source.
        question: What the plan depends on besides the graph.
    """

    inputs: Inputs
    graph: Graph
    question: AttentionQuestion


class AggregateCall(NamedTuple):
    """A checked call of aggregate.

    Attributes:
        value: ``[*batch, S, C]``.
        weight: ``[*batch|1, E]``, or ``[E]`` for a value without batch dimensions.
        graph: Which target reads which source.
        question: What the plan depends on besides the graph.
    """

    value: Tensor
    weight: Tensor | None
    graph: Graph
    question: AggregateQuestion


def read_call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: Graph,
    *,
    wants_lse: bool = False,
    seeded: bool = True,
    **options: Unpack[AttentionOptions],
) -> Call:
    """Check the arguments of a call of attention against each other and the graph.

    Args are those of `edgewise.attention`, and:
        wants_lse: Whether the log-sum-exp is part of the answer.
        seeded: Whether dropout gets a seed; a call that is only planned draws no random number.

    Raises:
        GraphError: the graph is no graph.
        ShapeError: shapes that do not fit each other or the graph.
        ArgumentError: dtypes, devices or numbers out of range.
    """
    score, dropout = options.get("score", _DOT), options.get("dropout", 0.0)
    inputs = inputs_of(
        query,
        key,
        value,
        graph,
        score,
        options.get("bias"),
        options.get("edge_key"),
        options.get("edge_value"),
        dropout if seeded else 0.0,
        options.get("generator"),
    )
    return call_of(inputs, graph, score, dropout, wants_lse=wants_lse)


def call_of(inputs: Inputs, graph: Graph, score: Score, dropout: float, *, wants_lse: bool) -> Call:
    """The call of tensors that `inputs_of` returned; arguments and errors as in `read_call`."""
    count = num_edges_of(graph) if inputs.has_edge_tensors else None
    question = ask_attention(inputs, graph, score, count, dropout, wants_lse=wants_lse)
    return Call(inputs, graph, question)


def read_aggregate(
    value: Tensor, graph: Graph, reduce: Reduce = "sum", weight: Tensor | None = None
) -> AggregateCall:
    """Check the arguments of a call of aggregate; arguments and errors as in `read_call`."""
    check_graph("graph", graph)
    count = None if weight is None else num_edges_of(graph)
    question = ask_aggregate(value, graph, reduce, weight, count)
    if weight is not None and weight.ndim >= value.ndim:
        weight = weight.reshape(-1)  # [1, E] for a value without batch dimensions
    return AggregateCall(value, weight, graph, question)

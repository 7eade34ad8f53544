"""Calls: the arguments of `edgewise.attention` and `edgewise.aggregate`, read and checked once."""

from __future__ import annotations

from numbers import Real
from typing import NamedTuple, TypedDict, Unpack, cast

import torch
from torch import Tensor

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Graph
from edgewise.graphs.base import check_graph
from edgewise.ops.bias import Bias, RelativeBias, as_bias, check_per_edge
from edgewise.ops.dropout import draw_seed
from edgewise.ops.inputs import Inputs
from edgewise.ops.scores import Dot, GATv2, Score
from edgewise.planning.compiled import num_edges_of
from edgewise.planning.question import AggregateQuestion, AttentionQuestion
from edgewise.problem import Reduce
from edgewise.shapes import check_attention, check_floating, check_rows

__all__ = [
    "AggregateCall",
    "AttentionOptions",
    "Call",
    "aggregate_question",
    "attention_question",
    "call_of",
    "inputs_of",
    "read_aggregate",
    "read_call",
]

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
    """The call of these arguments, checked against each other and the graph.

    Args are those of `edgewise.attention`, and:
        wants_lse: Whether the log-sum-exp is part of the result.
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
    question = attention_question(inputs, graph, score, count, dropout, wants_lse=wants_lse)
    return Call(inputs, graph, question)


def read_aggregate(
    value: Tensor, graph: Graph, reduce: Reduce = "sum", weight: Tensor | None = None
) -> AggregateCall:
    """The checked call of aggregate; arguments and errors as in `read_call`."""
    check_graph("graph", graph)
    count = None if weight is None else num_edges_of(graph)
    question = aggregate_question(value, graph, reduce, weight, count)
    if weight is not None and weight.ndim >= value.ndim:
        weight = weight.reshape(-1)  # [1, E] for a value without batch dimensions
    return AggregateCall(value, weight, graph, question)


# --- Checks ---------------------------------------------------------------------------------------

_CHECKED = ("query", "key", "value")  # by `check_attention`


def attention_question(
    inputs: Inputs,
    graph: Graph,
    score: Score,
    num_edges: int | None,
    dropout: float,
    *,
    wants_lse: bool,
) -> AttentionQuestion:
    """The question of a call of attention; checks its tensors against each other and the graph.

    Raises:
        ShapeError: shapes that do not fit.
        ArgumentError: dtypes or devices that differ, a dropout outside ``[0, 1)``.
    """
    query = inputs.query
    sizes = check_attention(
        query, inputs.key, inputs.value, graph.num_targets, graph.num_sources, score.key_dim
    )
    _check_dropout(dropout)
    lead = (*sizes.batch, sizes.heads)
    if inputs.bias is not None:
        inputs.bias.check(sizes.batch, sizes.heads, graph.num_targets, graph.num_sources, num_edges)
    for name, tensor, dim in (
        ("edge_key", inputs.edge_key, sizes.head_dim),
        ("edge_value", inputs.edge_value, sizes.value_dim),
    ):
        if tensor is not None:
            word = "head_dim" if name == "edge_key" else "value_dim"
            check_floating(name, tensor)
            meaning = f"[*batch|1, heads|1, edges, {word}]"
            check_per_edge(tensor, lead, (num_edges, dim), name, meaning)
    if inputs.vector is not None and inputs.vector.shape != (sizes.heads, sizes.head_dim):
        raise ShapeError(
            f"the vector of a GATv2 score must have shape [heads, head_dim] = "
            f"[{sizes.heads}, {sizes.head_dim}], got {list(inputs.vector.shape)}. Give one vector "
            f"for each head."
        )
    needs_grad = False
    for name, tensor in inputs.tensors().items():
        if name not in _CHECKED:
            _check_alike("weight" if name == "vector" else name, tensor, query)
        needs_grad = needs_grad or tensor.requires_grad
    batch = 1
    for size in sizes.batch:
        batch *= size
    return AttentionQuestion(
        score.spec(),
        batch,
        sizes.heads,
        sizes.kv_heads,
        sizes.head_dim,
        sizes.value_dim,
        query.dtype,
        query.device,
        needs_grad and torch.is_grad_enabled(),
        None if inputs.bias is None else inputs.bias.kind,
        inputs.edge_key is not None,
        inputs.edge_value is not None,
        float(dropout),
        wants_lse,
    )


def aggregate_question(
    value: Tensor, graph: Graph, reduce: Reduce, weight: Tensor | None, num_edges: int | None
) -> AggregateQuestion:
    """The question of an aggregation; checks its tensors against each other and the graph.

    Raises:
        ShapeError: shapes that do not fit.
        ArgumentError: an unknown reduction, dtypes or devices that differ.
    """
    check_floating("value", value)
    if reduce not in ("sum", "mean", "max"):
        raise ArgumentError(
            f"reduce must be 'sum', 'mean' or 'max', got {reduce!r}. Leave it out for 'sum'."
        )
    if value.ndim < 2:
        raise ShapeError(
            f"value must have shape [*batch, sources, channels], got "
            f"{list(value.shape)}. Add a channel dimension with unsqueeze(-1)."
        )
    check_rows("value", value, "sources", graph.num_sources)
    needs_grad = value.requires_grad
    batch = 1
    for size in value.shape[:-2]:
        batch *= size
    if weight is not None:
        check_floating("weight", weight)
        lead = tuple(value.shape[:-2])
        check_per_edge(weight, lead or (1,), (num_edges,), "weight", "[*batch|1, edges]")
        _check_alike("weight", weight, value)
        needs_grad = needs_grad or weight.requires_grad
    return AggregateQuestion(
        reduce,
        value.shape[-1],
        weight is not None,
        batch,
        value.dtype,
        value.device,
        needs_grad and torch.is_grad_enabled(),
    )


def check_score(score: object) -> None:
    """Check that the score argument is a score with its tensor."""
    if not isinstance(score, Score):
        raise ArgumentError(
            f"score must be Dot(...), Additive(...) or GATv2(...), got {score!r}. "
            f"Leave it out for Dot()."
        )
    if isinstance(score, GATv2) and not isinstance(score.weight, Tensor):
        raise ArgumentError(
            f"GATv2: weight must be a tensor [heads, head_dim], got "
            f"{type(score.weight).__name__}. Give one vector for each head."
        )


def _check_dropout(dropout: object) -> None:
    number = not isinstance(dropout, bool) and isinstance(dropout, Real)
    if not (number and 0.0 <= float(cast("float", dropout)) < 1.0):
        raise ArgumentError(
            f"dropout must be a number in [0, 1), got {dropout!r}. Pass 0 for none."
        )


def inputs_of(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    graph: Graph,
    score: Score,
    bias: Tensor | Bias | None = None,
    edge_key: Tensor | None = None,
    edge_value: Tensor | None = None,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
) -> Inputs:
    """The arguments of a call as one value, with a seed if anything is dropped.

    Raises:
        GraphError: the graph is no graph.
        ArgumentError: the score is no score with its tensor.
    """
    check_graph("graph", graph)
    check_score(score)
    wrapped = as_bias(bias)
    if isinstance(wrapped, RelativeBias):  # positions count from the end
        wrapped = wrapped.shifted(graph.num_sources - graph.num_targets)
    seed = draw_seed(generator) if dropout else None
    return Inputs(query, key, value, score.vector, wrapped, edge_key, edge_value, seed)


def _check_alike(name: str, tensor: Tensor, like: Tensor) -> None:
    """Raise an `ArgumentError` unless a tensor is floating and on the device of ``like``."""
    check_floating(name, tensor)
    if tensor.device != like.device:
        raise ArgumentError(
            f"{name} is on {tensor.device} but the other tensors are on "
            f"{like.device}. Move it with {name}.to({str(like.device)!r})."
        )

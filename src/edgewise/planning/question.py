"""From the tensors of a call to the question behind it.

A `Question` is the part of a problem that can be read off the arguments: plain numbers and names,
no tensors and no graph. It is the key under which a graph remembers its plans, and it is all that
``torch.compile`` has to keep constant.
"""

from __future__ import annotations

from numbers import Real
from typing import NamedTuple, cast

import torch
from torch import Tensor

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Graph
from edgewise.graphs.base import how_to_wrap
from edgewise.ops.bias import Bias, BiasKind, RelativeBias, as_bias, check_per_edge
from edgewise.ops.dropout import draw_seed
from edgewise.ops.inputs import Inputs
from edgewise.ops.scores import GATv2, Score, score_from
from edgewise.problem import AggregateProblem, AttentionProblem, Reduce
from edgewise.shapes import check_attention, check_floating, check_rows

__all__ = ["AggregateQuestion", "AttentionQuestion", "ask_aggregate", "ask_attention", "inputs_of"]


class AttentionQuestion(NamedTuple):
    """Everything about a call of attention except its graph and its numbers."""

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
    """Everything about a call of aggregate except its graph and its numbers."""

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


def ask_attention(
    inputs: Inputs,
    graph: Graph,
    score: Score,
    num_edges: int | None,
    dropout: float,
    *,
    wants_lse: bool,
) -> AttentionQuestion:
    """Check the tensors of a call against each other and the graph, and put the question.

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


def ask_aggregate(
    value: Tensor, graph: Graph, reduce: Reduce, weight: Tensor | None, num_edges: int | None
) -> AggregateQuestion:
    """Check the tensors of an aggregation, and put the question.

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


def check_graph(graph: object) -> None:
    """Check that the graph argument is a graph."""
    if not isinstance(graph, Graph):
        raise ArgumentError(
            f"graph must be an edgewise graph, got {type(graph).__name__}. {how_to_wrap(graph)}"
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
        ArgumentError: the graph is no graph, or the score no score with its tensor.
    """
    check_graph(graph)
    check_score(score)
    wrapped = as_bias(bias)
    if isinstance(wrapped, RelativeBias):  # positions count from the end
        wrapped = wrapped.shifted(graph.num_sources - graph.num_targets)
    seed = draw_seed(generator) if dropout else None
    return Inputs(query, key, value, score.vector, wrapped, edge_key, edge_value, seed)


def _check_alike(name: str, tensor: Tensor, like: Tensor) -> None:
    check_floating(name, tensor)
    if tensor.device != like.device:
        raise ArgumentError(
            f"{name} is on {tensor.device} but the other tensors are on "
            f"{like.device}. Move it with {name}.to({str(like.device)!r})."
        )

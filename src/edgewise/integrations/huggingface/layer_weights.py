"""Attention weights of a pretrained model, of chosen layers, heads and edges."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from edgewise.errors import ArgumentError
from edgewise.functional import weights as weights_of
from edgewise.integrations.huggingface.active import observing
from edgewise.integrations.huggingface.interface import AttentionCall
from edgewise.layouts import edges as edges_of

__all__ = ["LayerWeights", "call_observed", "weights"]


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """The attention weights of a layer.

    Attributes:
        layer: Number of the attention in the call, in the order in which they ran.
        module: Name of its class.
        edges: ``[3, M]``, int64: sequence, source and target of each edge, by positions in the
            padded batch.
        values: ``[heads, M]``, before dropout; 0 where there is no such edge.
    """

    layer: int
    module: str
    edges: Tensor
    values: Tensor


def weights(
    model: Callable[..., Any],
    inputs: Mapping[str, Any],
    *,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    edges: Tensor | None = None,
) -> list[LayerWeights]:
    r"""Run a model, and return attention weights.

    .. math::  w_{ij} = \exp(s_{ij} - \text{lse}_i)

    Args:
        model: A model that uses Edgewise; see `use`.
        inputs: What it is called with.
        layers: Which attentions, counted in the order in which they run; all when None.
        heads: Which heads; all when None.
        edges: ``[3, M]``, int64: sequence, source and target of edges, by positions in the
            padded batch; all edges of each layer when None.

    Raises:
        ArgumentError: the model called no attention of Edgewise, or there is no such layer.

    Complexity: O(M * heads * head_dim) for each layer, beside the call itself.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> from edgewise.integrations.huggingface import use
        >>> sizes = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
        >>> model = use(BertModel(BertConfig(**sizes, intermediate_size=8, vocab_size=10))).eval()
        >>> batch = dict(input_ids=torch.tensor([[1, 2, 3]]))
        >>> (layer,) = weights(
        ...     model, batch, layers=[1], edges=torch.tensor([[0, 0], [0, 1], [2, 2]])
        ... )
        >>> layer.layer, layer.values.shape
        (1, torch.Size([2, 2]))
    """
    results: list[LayerWeights] = []

    def keep(number: int, call: AttentionCall) -> None:
        if layers is None or number in layers:
            chosen = call if heads is None else _of_heads(call, heads)
            triples, values = _all(chosen) if edges is None else (edges, _chosen(chosen, edges))
            results.append(LayerWeights(number, type(call.module).__name__, triples, values))

    count = call_observed("weights", model, inputs, keep)
    missing = [layer for layer in layers or () if layer not in range(count)]
    if missing:
        raise ArgumentError(
            f"weights: layers must lie in 0 to {count - 1}, got {missing[0]}. Count from 0."
        )
    return results


def call_observed(
    owner: str,
    model: Callable[..., Any],
    inputs: Mapping[str, Any],
    observer: Callable[[int, AttentionCall], None],
) -> int:
    """Call a model, and an observer with each attention call and its number.

    Args:
        owner: Name of the public function, for the message.
        model: A model that uses Edgewise.
        inputs: Arguments of the model.
        observer: Called in the order in which attentions run.

    Returns:
        The number of attention calls.

    Raises:
        ArgumentError: there is none.
    """
    count = 0

    def numbered(call: AttentionCall) -> None:
        nonlocal count
        observer(count, call)
        count += 1

    with observing(numbered):
        _called(model, inputs)
    if not count:
        raise ArgumentError(
            f"{owner}: no attention of the model came to Edgewise. Prepare it with use(model), and "
            f"call it uncompiled."
        )
    return count


def _called(model: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
    """The output of a model: inputs as keywords, or as a mapping for a ``SentenceTransformer``."""
    forward = getattr(model, "forward", model)
    try:
        inspect.signature(forward).bind(**inputs)
    except TypeError:
        return model(dict(inputs))
    return model(**inputs)


def _of_heads(call: AttentionCall, heads: Sequence[int]) -> AttentionCall:
    """The attention call with chosen heads."""
    H, G = call.query.shape[-3], call.key.shape[-3]
    if any(head not in range(H) for head in heads):
        raise ArgumentError(
            f"weights: heads must lie in 0 to {H - 1}, got {list(heads)}. Count from 0."
        )
    at = torch.tensor(heads, device=call.query.device)
    bias = call.bias
    if bias is not None:
        # A dense bias has one more axis than an edge bias.
        axis = -3 if bias.kind == "dense" else -2
        shared = bias.values.ndim < -axis or bias.values.shape[axis] == 1
        bias = bias if shared else bias.with_values(bias.values.index_select(axis, at))
    return replace(
        call,
        query=call.query.index_select(-3, at),
        key=call.key.index_select(-3, at // (H // G)),
        lse=call.lse.index_select(-2, at),
        bias=bias,
    )


def _alpha(call: AttentionCall, pairs: Tensor | None, number: int | None = None) -> Tensor:
    """Weights ``[.., H, M]``; of one sequence of a shared graph if its number is given."""
    query, key, lse, bias = call.query, call.key, call.lse, call.bias
    if number is not None:
        query, key, lse = query[number], key[number], lse[number]
        if bias is not None and bias.values.ndim == 4:
            bias = bias.with_values(bias.values[min(number, len(bias.values) - 1)])
    graph = call.batch.graph
    return weights_of(query, key, graph, lse, edges=pairs, score=call.score, bias=bias)


def _all(call: AttentionCall) -> tuple[Tensor, Tensor]:
    batch = call.batch
    all_edges = edges_of(batch.graph)
    _, _, Q, K = batch.shape
    values = _alpha(call, None)
    if batch.targets is not None and batch.sources is not None:
        target, source = batch.targets[all_edges.target], batch.sources[all_edges.source]
        return torch.stack([target // Q, source % K, target % Q]), values
    B, E = values.shape[0], len(all_edges.target)
    number = torch.arange(B).repeat_interleave(E)
    source, target = all_edges.source + batch.columns[0], all_edges.target + batch.rows[0]
    triples = torch.stack([number, source.repeat(B), target.repeat(B)])
    return triples, values.transpose(0, 1).flatten(1)


def _chosen(call: AttentionCall, edges: Tensor) -> Tensor:
    batch = call.batch
    B, _, Q, K = batch.shape
    number, source, target = edges
    if batch.targets is not None and batch.sources is not None:
        row = _numbered(batch.targets, B * Q)[number * Q + target]
        column = _numbered(batch.sources, B * K)[number * K + source]
        return _at(call, row, column)
    row, column = target - batch.rows[0], source - batch.columns[0]
    row = row.masked_fill(target >= batch.rows[1], -1)
    column = column.masked_fill(source >= batch.columns[1], -1)
    new = call.lse.new_zeros(call.lse.shape[-2], len(number))
    for sequence in number.unique().tolist():
        of_sequence = (number == sequence).nonzero()[:, 0]
        values = _at(call, row[of_sequence], column[of_sequence], sequence)
        new = new.index_copy(1, of_sequence.to(new.device), values)
    return new


def _at(call: AttentionCall, row: Tensor, column: Tensor, number: int | None = None) -> Tensor:
    """Weights of pairs, some of which are outside the graph (-1)."""
    inside = (row >= 0) & (column >= 0)
    pairs = torch.stack([column.clamp(min=0), row.clamp(min=0)])
    return _alpha(call, pairs, number).masked_fill(~inside.to(call.lse.device), 0.0)


def _numbered(nodes: Tensor, size: int) -> Tensor:
    """The position of each number in ``nodes``; -1 if it is not there."""
    numbers = torch.full((size,), -1)
    numbers[nodes] = torch.arange(len(nodes))
    return numbers

"""Attention weights of a pretrained model: of chosen layers, heads and edges, without matrices."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from edgewise.errors import ArgumentError
from edgewise.functional import weights as weights_of
from edgewise.integrations.huggingface.active import watching
from edgewise.integrations.huggingface.interface import Seen
from edgewise.layouts import edges as edges_of

__all__ = ["LayerWeights", "call_watched", "weights"]


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """The attention weights of one layer.

    Attributes:
        layer: Its number among all attentions of the call, in the order in which they ran.
        module: What class it is.
        edges: ``[3, M]``, int64: sequence, source and target of each edge, by their places in the
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
    r"""Run a model, and look at who attends to whom.

    .. math::  w_{ij} = \exp(s_{ij} - \text{lse}_i)

    Args:
        model: A model that uses Edgewise; see `use`.
        inputs: What it is called with.
        layers: Which attentions, counted in the order in which they run; all when None.
        heads: Which heads; all when None.
        edges: ``[3, M]``, int64: sequence, source and target of the edges that are wanted, by
            their places in the padded batch; all edges of each layer when None.

    Raises:
        ArgumentError: no attention of the model asked Edgewise, or there is no such layer.

    Complexity: O(M * heads * head_dim) for each layer, beside the call itself.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> from edgewise.integrations.huggingface import use
        >>> sizes = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
        >>> model = use(BertModel(BertConfig(**sizes, intermediate_size=8, vocab_size=10))).eval()
        >>> batch = dict(input_ids=torch.tensor([[1, 2, 3]]))
        >>> (found,) = weights(
        ...     model, batch, layers=[1], edges=torch.tensor([[0, 0], [0, 1], [2, 2]])
        ... )
        >>> found.layer, found.values.shape
        (1, torch.Size([2, 2]))
    """
    found: list[LayerWeights] = []

    def keep(number: int, seen: Seen) -> None:
        if layers is None or number in layers:
            own = seen if heads is None else _of_heads(seen, heads)
            triples, values = _all(own) if edges is None else (edges, _chosen(own, edges))
            found.append(LayerWeights(number, type(seen.module).__name__, triples, values))

    count = call_watched("weights", model, inputs, keep)
    missing = [layer for layer in layers or () if layer not in range(count)]
    if missing:
        raise ArgumentError(
            f"weights: layers must lie in 0 to {count - 1}, got {missing[0]}. Count from 0."
        )
    return found


def call_watched(
    owner: str,
    model: Callable[..., Any],
    inputs: Mapping[str, Any],
    watcher: Callable[[int, Seen], None],
) -> int:
    """Call a model, and a function with the number of each attention, and with that attention.

    Args:
        owner: Name of the public function, for the message.
        model: A model that uses Edgewise.
        inputs: What it is called with.
        watcher: Called in the order in which attentions run.

    Returns:
        How many attentions there were.

    Raises:
        ArgumentError: there was none.
    """
    count = 0

    def numbered(seen: Seen) -> None:
        nonlocal count
        watcher(count, seen)
        count += 1

    with watching(numbered):
        _called(model, inputs)
    if not count:
        raise ArgumentError(
            f"{owner}: no attention of the model came to Edgewise. Prepare it with use(model), and "
            f"call it uncompiled."
        )
    return count


def _called(model: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
    """A model on its inputs: as named arguments, or as one mapping (a ``SentenceTransformer``)."""
    forward = getattr(model, "forward", model)
    try:
        inspect.signature(forward).bind(**inputs)
    except TypeError:
        return model(dict(inputs))
    return model(**inputs)


def _of_heads(seen: Seen, heads: Sequence[int]) -> Seen:
    """The same attention with fewer heads."""
    H, G = seen.query.shape[-3], seen.key.shape[-3]
    if any(head not in range(H) for head in heads):
        raise ArgumentError(
            f"weights: heads must lie in 0 to {H - 1}, got {list(heads)}. Count from 0."
        )
    at = torch.tensor(heads, device=seen.query.device)
    bias = seen.bias
    if bias is not None:
        # One number a pair has one more axis than one an edge.
        axis = -3 if bias.kind == "dense" else -2
        shared = bias.values.ndim < -axis or bias.values.shape[axis] == 1
        bias = bias if shared else bias.with_values(bias.values.index_select(axis, at))
    return replace(
        seen,
        query=seen.query.index_select(-3, at),
        key=seen.key.index_select(-3, at // (H // G)),
        lse=seen.lse.index_select(-2, at),
        bias=bias,
    )


def _alpha(seen: Seen, pairs: Tensor | None, number: int | None = None) -> Tensor:
    """``[.., H, M]``; of one sequence of a shared graph, if its number is given."""
    query, key, lse, bias = seen.query, seen.key, seen.lse, seen.bias
    if number is not None:
        query, key, lse = query[number], key[number], lse[number]
        if bias is not None and bias.values.ndim == 4:
            bias = bias.with_values(bias.values[min(number, len(bias.values) - 1)])
    graph = seen.batch.graph
    return weights_of(query, key, graph, lse, edges=pairs, score=seen.score, bias=bias)


def _all(seen: Seen) -> tuple[Tensor, Tensor]:
    batch = seen.batch
    found = edges_of(batch.graph)
    _, _, Q, K = batch.shape
    values = _alpha(seen, None)
    if batch.targets is not None and batch.sources is not None:
        target, source = batch.targets[found.target], batch.sources[found.source]
        return torch.stack([target // Q, source % K, target % Q]), values
    B, E = values.shape[0], len(found.target)
    number = torch.arange(B).repeat_interleave(E)
    source, target = found.source + batch.columns[0], found.target + batch.rows[0]
    triples = torch.stack([number, source.repeat(B), target.repeat(B)])
    return triples, values.transpose(0, 1).flatten(1)


def _chosen(seen: Seen, edges: Tensor) -> Tensor:
    batch = seen.batch
    B, _, Q, K = batch.shape
    number, source, target = edges
    if batch.targets is not None and batch.sources is not None:
        row = _numbered(batch.targets, B * Q)[number * Q + target]
        column = _numbered(batch.sources, B * K)[number * K + source]
        return _at(seen, row, column)
    row, column = target - batch.rows[0], source - batch.columns[0]
    row = row.masked_fill(target >= batch.rows[1], -1)
    column = column.masked_fill(source >= batch.columns[1], -1)
    new = seen.lse.new_zeros(seen.lse.shape[-2], len(number))
    for one in number.unique().tolist():
        here = (number == one).nonzero()[:, 0]
        own = _at(seen, row[here], column[here], one)
        new = new.index_copy(1, here.to(new.device), own)
    return new


def _at(seen: Seen, row: Tensor, column: Tensor, number: int | None = None) -> Tensor:
    """Weights of pairs, some of which are outside the graph (-1)."""
    inside = (row >= 0) & (column >= 0)
    pairs = torch.stack([column.clamp(min=0), row.clamp(min=0)])
    return _alpha(seen, pairs, number).masked_fill(~inside.to(seen.lse.device), 0.0)


def _numbered(nodes: Tensor, size: int) -> Tensor:
    """Which number each place has among some; -1 for none."""
    found = torch.full((size,), -1)
    found[nodes] = torch.arange(len(nodes))
    return found

"""Attention weights on demand: of chosen edges, from the log-sum-exp, without the matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.errors import ArgumentError, ShapeError
from edgewise.functional.tracers import not_scriptable
from edgewise.graphs import Graph
from edgewise.layouts import csr, edges as edges_of
from edgewise.ops.bias import Bias
from edgewise.ops.scores import Dot, Score
from edgewise.ops.state import finite
from edgewise.ops.without_numbers import blank, has_numbers
from edgewise.planning.call import read_call
from edgewise.planning.compiled import num_edges_of
from edgewise.shapes import check_floating

__all__ = ["weights"]

_DOT = Dot()


@not_scriptable
def weights(
    query: Tensor,
    key: Tensor,
    graph: Graph,
    lse: Tensor,
    *,
    edges: Tensor | None = None,
    score: Score = _DOT,
    bias: Tensor | Bias | None = None,
    edge_key: Tensor | None = None,
) -> Tensor:
    r"""Attention weights of chosen edges, from the log-sum-exp.

    .. math::  w_{ij} = \exp(s_{ij} - \text{lse}_i)

    Only the weights of these edges are computed: the full matrix is never built.

    Args:
        query: ``[*batch, H, T, D]``.
        key: ``[*batch, G, S, D]``.
        graph: Which target reads which source.
        lse: ``[*batch, H, T]``: from `attention_state` with the same arguments.
        edges: Which edges: positions in edge order (``[M]``, int64), or pairs (``[2, M]``,
            sources then targets, like ``edge_index``; the weight of a pair that is no edge is 0).
            All edges, in edge order, when None.
        score: As in `attention`.
        bias: As in `attention`.
        edge_key: As in `attention`.

    Returns:
        ``[*batch, H, M]``, in the dtype of ``lse``, before dropout.

    Raises:
        ShapeError: shapes that do not fit.
        ArgumentError: ``edges`` out of range, or pairs that are ambiguous because the graph holds
            copies of an edge with tensors of their own.

    Gradients: With respect to every tensor, ``lse`` included.

    Complexity: O(M * H * D).

    Example:
        >>> import torch, edgewise as ew
        >>> q, k, v = torch.randn(3, 2, 5, 4).unbind()
        >>> lse = ew.attention_state(q, k, v, ew.Causal(5)).lse
        >>> last = torch.tensor([[0, 1, 2, 3, 4], [4, 4, 4, 4, 4]])  # sources, targets
        >>> ew.weights(q, k, ew.Causal(5), lse, edges=last).sum(-1).round(decimals=4)
        tensor([1., 1.])
    """
    inputs, _, question = read_call(
        query, key, key, graph, wants_lse=True, score=score, bias=bias, edge_key=edge_key
    )
    check_floating("lse", lse)
    per_edge = inputs.has_edge_tensors
    if lse.shape != query.shape[:-1]:
        raise ShapeError(
            f"lse must have shape [*batch, heads, targets] = "
            f"{list(query.shape[:-1])}, got {list(lse.shape)}. Take it from "
            f"attention_state() with the same arguments."
        )
    if lse.device != query.device:
        raise ArgumentError(
            f"lse is on {lse.device} but query is on {query.device}. "
            f"Move it with lse.to({str(query.device)!r})."
        )
    if not has_numbers(query):
        count = num_edges_of(graph) if edges is None else edges.shape[-1]
        shapes = [((*lse.shape[:-1], count), lse.dtype)]
        return blank(shapes, (*inputs.tensors().values(), lse))[0]
    target, source, edge, real = _chosen(graph, edges, query.device, per_edge=per_edge)
    precise = lse.dtype
    if per_edge and edge is not None and not num_edges_of(graph):
        return lse.new_zeros(*lse.shape[:-1], len(target))  # pairs, and none of them is an edge
    picked = key.to(precise).repeat_interleave(question.heads // question.kv_heads, -3)
    picked = picked.index_select(-2, source)
    if edge_key is not None:
        added = edge_key if edge is None else edge_key.index_select(-2, edge)
        picked = picked + added.to(precise)
    vector = None if score.vector is None else score.vector[:, None].to(precise)
    scores = score.pair(query.to(precise).index_select(-2, target), picked, vector)
    if inputs.bias is not None:
        scores = scores + inputs.bias.on_edges(target, source, edge).to(precise)
    exponent = scores - finite(lse.index_select(-1, target))
    return torch.exp(exponent if real is None else exponent.masked_fill(~real, -torch.inf))


def _chosen(
    graph: Graph, chosen: Tensor | None, device: torch.device, *, per_edge: bool
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Target, source, place in edge order (None: all of them), and whether it is an edge.

    Each is ``[M]``. ``chosen`` is ``[M]`` or ``[2, M]``; errors are those of `weights`.
    """
    if chosen is None:
        listing = edges_of(graph, device)
        return listing.target, listing.source, None, None
    if not isinstance(chosen, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ArgumentError(
            f"edges must be an int64 tensor, got {type(chosen).__name__}. Use torch.tensor(edges)."
        )
    if (
        chosen.dtype != torch.int64
        or chosen.ndim not in (1, 2)
        or (chosen.ndim == 2 and chosen.shape[0] != 2)
    ):
        raise ArgumentError(
            f"edges must be positions [M] or pairs [2, M] of int64, got "
            f"{list(chosen.shape)} of {chosen.dtype}. Use edges.long(), sources in the first row."
        )
    chosen = chosen.to(device)
    if chosen.ndim == 1:
        listing = edges_of(graph, device)
        _check_range("edges", chosen, listing.num_edges, "edges")
        return listing.target[chosen], listing.source[chosen], chosen, None
    source, target = chosen
    _check_range("edges[0]", source, graph.num_sources, "sources")
    _check_range("edges[1]", target, graph.num_targets, "targets")
    real = graph.contains(target, source)
    place = _places(graph, target, source, device) if per_edge else None
    return target, source, place, real


def _places(graph: Graph, target: Tensor, source: Tensor, device: torch.device) -> Tensor:
    """Positions of pairs in edge order, ``[M]``; any position for a pair that is no edge.

    Raises:
        ArgumentError: the graph holds copies of an edge.
    """
    rows = csr(graph, device)
    if rows.copy is not None:
        raise ArgumentError(
            "edges given as pairs are ambiguous: the graph holds copies of an edge, "
            "each with its own numbers. Give positions in edge order instead."
        )
    S = max(graph.num_sources, 1)
    place = torch.searchsorted(rows.target * S + rows.indices, target * S + source)
    place = place.clamp_(max=max(rows.num_edges - 1, 0))
    return place if rows.edge is None else rows.edge[place]


def _check_range(name: str, index: Tensor, size: int, noun: str) -> None:
    """Raise an `ArgumentError` where an index, int64 of any shape, is not below ``size``."""
    if not index.numel():
        return
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= size:
        allowed = f"from 0 to {size - 1}" if size else "empty"
        raise ArgumentError(
            f"{name} must be {allowed}, because the graph has {size} {noun}, got {low} to {high}. "
            f"Use the numbers of edges(graph)."
        )

"""Matrices of all target-source pairs: masks, biases, scores and dropout factors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from edgewise.backends.tiled import Cut
from edgewise.layouts import Csr
from edgewise.ops.bias import DenseBias, EdgeBias
from edgewise.ops.cpu_flash import every_head
from edgewise.ops.dropout import dropout_multiplier
from edgewise.ops.inputs import Inputs
from edgewise.ops.scores import Additive, Dot
from edgewise.problem import AttentionSignature

__all__ = ["Pairs", "dropout_factors", "float_mask", "one_batch_dimension", "scores_and_values"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """The graph as a matrix; None where every entry would be the same.

    Attributes:
        mask: ``[T, S]`` bool; None when complete, or when torch needs none.
        open_mask: The mask with empty rows opened, so that no softmax runs over nothing.
        causal: The graph is exactly torch's ``is_causal``, and torch needs no mask.
        empty: ``[T, 1]`` bool, targets without sources; None when there are none.
        log_copies: ``[T, S]`` log of how often each edge occurs; None when the graph is simple.
        rows: The entries of the edges, by row, for their numbers; None unless edges have numbers.
        fused: Whether torch's own function computes the problem exactly.
        whole: For torch's kernel that returns the log-sum-exp; None where it cannot be used.
    """

    mask: Tensor | None
    open_mask: Tensor | None
    causal: bool
    empty: Tensor | None
    log_copies: Tensor | None
    rows: Csr | None
    fused: bool
    whole: Cut | None


def scores_and_values(
    signature: AttentionSignature, prepared: Pairs, inputs: Inputs
) -> tuple[Tensor, Tensor]:
    """Scores ``[*, H, T, S]``, -inf off the graph, and values ``[*, H, S, Dv]``."""
    tensors = every_head((inputs.query, inputs.key, inputs.value), -3)
    query, key, value = (tensor.to(signature.accumulate) for tensor in tensors)
    match signature.score:
        case Dot() as dot:
            scores = dot.capped(query @ key.mT * dot.factor(signature.head_dim))
        case Additive() as additive:
            scores = leaky_relu(query + key.mT, additive.slope)
        case other:
            raise AssertionError(f"judge accepts no {other}")
    extra = _extra(signature, prepared, inputs)
    scores = scores if extra is None else scores + extra
    mask = prepared.mask
    if prepared.causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    return scores if mask is None else scores.masked_fill(~mask, -torch.inf), value


def _extra(signature: AttentionSignature, prepared: Pairs, inputs: Inputs) -> Tensor | None:
    """Bias plus the logarithm of repeated edges, for every pair; None without both."""
    extra, bias = prepared.log_copies, inputs.bias
    if bias is None:
        return extra
    T, S = inputs.query.shape[-2], inputs.key.shape[-2]
    if isinstance(bias, EdgeBias):
        rows = prepared.rows
        assert rows is not None
        ordered = bias.on_edges(rows.target, rows.indices, rows.edge)
        zeros = ordered.new_zeros(*ordered.shape[:-1], T, S)
        pairs = zeros.index_put((*_lead_index(ordered), rows.target, rows.indices), ordered)
    elif isinstance(bias, DenseBias):
        pairs = bias.values
    else:
        device = signature.device
        target, source = torch.arange(T, device=device)[:, None], torch.arange(S, device=device)
        pairs = bias.on_edges(target.expand(T, S), source.expand(T, S), None)
    pairs = pairs.to(signature.accumulate)
    return pairs if extra is None else pairs + extra


def _lead_index(tensor: Tensor) -> tuple[Tensor, ...]:
    """Indices that select every entry of the leading dimensions, before an edge index."""
    lead = tensor.shape[:-1]
    return tuple(
        torch.arange(size, device=tensor.device).view(-1, *[1] * (len(lead) - axis))
        for axis, size in enumerate(lead)
    )


def float_mask(signature: AttentionSignature, prepared: Pairs, inputs: Inputs) -> Tensor | None:
    """The mask as numbers, where a bias or copies of edges need one."""
    extra = _extra(signature, prepared, inputs)
    if extra is None:
        return None
    mask = prepared.open_mask
    extra = extra.to(signature.dtype)
    extra = extra if prepared.empty is None else extra.masked_fill(prepared.empty, 0.0)
    extra = extra if mask is None else extra.masked_fill(~mask, -torch.inf)
    lead = inputs.query.shape[:-2]
    return one_batch_dimension(extra.expand(*lead, *extra.shape[-2:])) if extra.ndim > 2 else extra


def dropout_factors(signature: AttentionSignature, inputs: Inputs) -> Tensor:
    """Dropout factors ``[*, H, T, S]``."""
    assert inputs.seed is not None
    lead, T = inputs.query.shape[:-2], inputs.query.shape[-2]
    S, device = inputs.key.shape[-2], inputs.query.device
    head = torch.arange(lead.numel(), device=device).view(*lead, 1, 1)
    target, source = torch.arange(T, device=device)[:, None], torch.arange(S, device=device)
    factors = dropout_multiplier(inputs.seed, signature.dropout, head, target, source)
    return factors.to(signature.accumulate)


def one_batch_dimension(tensor: Tensor) -> Tensor:
    """A tensor with one batch dimension and contiguous rows, as torch's fused CPU kernel needs."""
    tensor = tensor if tensor.stride(-1) == 1 else tensor.contiguous()
    return tensor[None] if tensor.ndim == 3 else tensor.flatten(0, -4)

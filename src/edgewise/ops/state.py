"""States of attention: output and log-sum-exp, which can be merged exactly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from edgewise.errors import ArgumentError, ShapeError

__all__ = ["AttentionState", "accumulate_dtype", "finite", "merge"]


@dataclass(frozen=True, eq=False)
class AttentionState:
    r"""Output and log-sum-exp of attention over some edges, which can be merged with other edges.

    .. math::  \text{lse}_i = \log \sum_j \exp s_{ij}, \qquad
               \text{out}_i = \sum_j \exp(s_{ij} - \text{lse}_i) v_j

    Attributes:
        out: ``[*batch, H, T, Dv]``; zero for a target without sources.
        lse: ``[*batch, H, T]``, natural log, float32 (float64 for float64 inputs); ``-inf`` for a
            target without sources.
    """

    out: Tensor
    lse: Tensor


def accumulate_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of sums: float32 for half precision."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def finite(lse: Tensor) -> Tensor:
    """The log-sum-exp with zero for targets without sources, to avoid inf - inf.

    Plus infinity is kept: a row with such a score has no weights, and becomes NaN.
    """
    return lse.masked_fill(lse == -torch.inf, 0.0)


def merge(states: Iterable[AttentionState]) -> AttentionState:
    r"""Attention over edge-disjoint graphs, from the attention over each: exact.

    .. math::  \mathrm{attend}(G + H) = \mathrm{merge}(\mathrm{attend}(G), \mathrm{attend}(H))

    Wrong when an edge is in both graphs. Differentiable, twice too.

    Args:
        states: At least one state, all of the same shape, dtype and device.

    Raises:
        ArgumentError: there is no state, something else, or states of two dtypes or devices.
        ShapeError: the states differ in shape.

    Complexity: O(T * Dv) for each state.

    References:
        Milakov, Gimelshein. Online normalizer calculation for softmax. 2018, arXiv:1805.02867;
        Ye et al. FlashInfer. 2025, arXiv:2501.01005, section 2 ("attention state").
    """
    listed = _listed(states)
    if not listed:
        raise ArgumentError(
            "merge: states must hold at least one AttentionState, got none. "
            "Pass a list of attention_state() results."
        )
    shapes = {(tuple(state.out.shape), tuple(state.lse.shape)) for state in listed}
    if len(shapes) > 1:
        raise ShapeError(
            f"merge: all states must have one shape, got {' and '.join(map(str, sorted(shapes)))} "
            f"(out, lse). Merge attention over graphs of the same targets."
        )
    first = listed[0].out
    for state in listed:
        if state.out.dtype != first.dtype or state.out.device != first.device:
            raise ArgumentError(
                f"merge: all states must have one dtype and device, got {first.dtype} on "
                f"{first.device} and {state.out.dtype} on {state.out.device}. Compute them from "
                f"tensors that are alike."
            )
    return reduce(_merge_two, listed)


def _listed(states: Any) -> list[AttentionState]:
    """The states as a list, checked for their type."""
    is_one = not hasattr(states, "__iter__")
    listed: list[Any] = [states] if is_one else list(states)
    for each in listed:
        if is_one or not isinstance(each, AttentionState):
            kind = type(each).__name__
            raise ArgumentError(
                f"merge: states must be a list of AttentionState, got {kind}. Pass a list of "
                f"attention_state() results."
            )
    return listed


def _merge_two(a: AttentionState, b: AttentionState) -> AttentionState:
    top = torch.maximum(a.lse, b.lse).detach()
    top = finite(top)  # both may be empty
    share_a, share_b = torch.exp(a.lse - top), torch.exp(b.lse - top)
    total = share_a + share_b
    safe = torch.where(total > 0, total, torch.ones_like(total))
    lse = torch.where(total > 0, top + torch.log(safe), torch.full_like(total, -torch.inf))
    weight_a, weight_b = (share_a / safe).unsqueeze(-1), (share_b / safe).unsqueeze(-1)
    out = a.out.to(lse.dtype) * weight_a + b.out.to(lse.dtype) * weight_b
    return AttentionState(out.to(a.out.dtype), lse)

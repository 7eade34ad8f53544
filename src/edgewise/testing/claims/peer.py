"""Claims about modules: ours and its peer, with the same weights under two names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgewise.integrations.renaming import Name, to_theirs
from edgewise.testing.claims.claim import Side, Sides, Weights, without

__all__ = ["Call", "called", "drawn", "peer_sides"]

Call = Callable[..., Any]
Run = Callable[[Call, Weights], Tensor]


def drawn(model: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """New weights for a model, so large that nothing is flat and nothing is zero."""
    found: dict[str, Tensor] = {}
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, dtype=dtype)
        if weight.ndim > 1:
            found[name] = noise / weight[0].numel() ** 0.5
        else:
            start = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            found[name] = start + 0.3 * noise
    return found


def called(model: nn.Module, inputs: Sequence[str], run: Run) -> Side:
    """A side that calls a model, as often as ``run`` does, with what is not an input as weights."""

    def side(given: Weights) -> Tensor:
        return run(_with(model, without(given, *inputs)), given)

    return side


def peer_sides(
    ours: nn.Module,
    peer: nn.Module,
    names: Sequence[Name],
    inputs: Mapping[str, Tensor],
    run: Run,
    run_peer: Run,
    dtype: torch.dtype,
) -> Sides:
    """Both sides of a claim about two modules.

    Args:
        ours: Our module.
        peer: The original; its own weights do not matter.
        names: What it calls ours.
        inputs: Tensors by name, which both sides are given.
        run: Calls ours: from something that can be called like it, and the inputs.
        run_peer: Calls the original.
        dtype: Of the weights.
    """
    weights = drawn(ours, dtype)
    peer = peer.to(dtype)
    forgotten = set(to_theirs(weights, names)) ^ {name for name, _ in peer.named_parameters()}
    assert not forgotten, forgotten  # it would keep its own

    def theirs(given: Weights) -> Tensor:
        own = to_theirs({name: given[name] for name in weights}, names)
        return run_peer(_with(peer, own), given)

    return Sides({**weights, **inputs}, called(ours, list(inputs), run), theirs)


def _with(model: nn.Module, weights: Weights) -> Call:
    def call(*args: Any, **kwargs: Any) -> Any:
        return functional_call(model, dict(weights), args, kwargs)

    return call

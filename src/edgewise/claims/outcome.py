"""Outcome of a claim: the largest difference of outputs and of gradients."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from math import isnan
from typing import Any

import torch
from torch import Tensor

from edgewise.claims.claim import Claim, Side, Weights

__all__ = ["DTYPES", "LEAST", "Outcome", "missing", "outcome"]

# The dtypes in which every claim is tried.
DTYPES = (torch.float32, torch.float64)
# The least difference of two sides that must not agree.
LEAST = 1e-3
_SEED = 20_250_601


@dataclass(frozen=True)
class Outcome:
    """Differences of both sides of a claim in a dtype.

    Attributes:
        claim: The claim.
        dtype: The dtype.
        output: Largest difference of the outputs, relative to the largest number (or 1).
        gradient: The same of all gradients; None if there are none.
    """

    claim: Claim
    dtype: torch.dtype
    output: float
    gradient: float | None

    @property
    def bound(self) -> float:
        """The largest difference that is allowed; the smallest, for sides that must differ."""
        return LEAST if self.claim.differ else self.claim.bounds[self.dtype]

    @property
    def holds(self) -> bool:
        """Whether the difference is within its bound; False with NaN on either side."""
        if self.claim.differ:
            return self.output >= LEAST
        return self.output <= self.bound and (self.gradient is None or self.gradient <= self.bound)

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON types."""
        return {
            "claim": self.claim.name,
            "step": self.claim.step,
            "original": self.claim.original,
            "dtype": str(self.dtype).removeprefix("torch."),
            "output": self.output,
            "gradient": self.gradient,
            "must": "differ" if self.claim.differ else "agree",
            "bound": self.bound,
            "holds": self.holds,
        }


def missing(claim: Claim) -> tuple[str, ...]:
    """The packages that a claim needs and that are not installed."""
    return tuple(name for name in claim.needs if find_spec(name) is None)


def outcome(claim: Claim, dtype: torch.dtype = torch.float64) -> Outcome:
    """Compute both sides of a claim on the same numbers, forward and backward.

    The numbers are the same each time; the state of torch's generator is restored.

    Example:
        >>> from edgewise.claims import CLAIMS
        >>> outcome(CLAIMS[0]).holds
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        sides = claim.sides(dtype)
        weights = {
            name: tensor.detach().clone().requires_grad_(tensor.is_floating_point())
            for name, tensor in sides.weights.items()
        }
        computed, grads = _tried(sides.computed, weights)
        expected, expected_grads = _tried(sides.expected, weights)
    output = max(_difference(*pair) for pair in zip(computed, expected, strict=True))
    pairs = [
        (grads[name], expected_grads[name])
        for name in weights
        if grads[name] is not None or expected_grads[name] is not None
    ]
    gradient = max((_difference(*pair) for pair in pairs), default=None)
    return Outcome(claim, dtype, output, gradient)


def _tried(side: Side, weights: Weights) -> tuple[tuple[Tensor, ...], dict[str, Tensor | None]]:
    """The outputs of a side, and the gradients of its weights for fixed random directions."""
    returned = side(weights)
    outs = returned if isinstance(returned, tuple) else (returned,)
    generator = torch.Generator().manual_seed(_SEED)
    total = sum(
        (out * torch.randn(out.shape, generator=generator, dtype=out.dtype)).sum()
        for out in outs
        if out.requires_grad
    )
    leaves = {name: tensor for name, tensor in weights.items() if tensor.requires_grad}
    grads: tuple[Tensor | None, ...] = (None,) * len(leaves)
    if isinstance(total, Tensor) and leaves:
        grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    by_name = dict(zip(leaves, grads, strict=True))
    return tuple(out.detach() for out in outs), {name: by_name.get(name) for name in weights}


def _difference(computed: Tensor | None, expected: Tensor | None) -> float:
    """Largest difference over the largest number of the other side (or 1); NaN is infinite."""
    if computed is None or expected is None:
        given = expected if computed is None else computed
        assert given is not None
        return _largest(given)  # no gradient is a gradient of zero
    if computed.shape != expected.shape:
        return torch.inf
    difference = _largest(computed.double() - expected.double())
    return difference / max(1.0, _largest(expected))


def _largest(tensor: Tensor) -> float:
    if not tensor.numel():
        return 0.0
    largest = float(tensor.detach().abs().max())
    return torch.inf if isnan(largest) else largest

"""Claim: two ways to compute the same numbers, and the largest difference allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["BOUNDS", "Claim", "Sides", "without"]

Weights = Mapping[str, Tensor]
Side = Callable[[Weights], "Tensor | tuple[Tensor, ...]"]

# The largest difference that a claim allows, relative to the largest number, by dtype.
BOUNDS: Mapping[torch.dtype, float] = {torch.float32: 2e-5, torch.float64: 1e-11}


@dataclass(frozen=True, eq=False)
class Sides:
    """Both sides of a claim, as functions of the same tensors.

    A side that is a module takes its weights from these tensors too, renamed and reshaped by
    ordinary differentiable operations (`torch.func.functional_call`): so both have the same
    weights, and their gradients can be compared one by one, whatever the names of parameters.

    Attributes:
        weights: Inputs and parameters by name; gradients are compared for those with floating
            numbers.
        computed: The layer or function of Edgewise.
        expected: The original, or the equation written out.
    """

    weights: Weights
    computed: Side
    expected: Side


def without(given: Weights, *inputs: str) -> dict[str, Tensor]:
    """The parameters: all tensors but the inputs."""
    return {name: tensor for name, tensor in given.items() if name not in inputs}


@dataclass(frozen=True, eq=False)
class Claim:
    """A statement that a layer of Edgewise equals an original, as a test.

    Attributes:
        name: Short description of the layer.
        step: The step of the ladder it belongs to; see `edgewise.claims.STEPS`.
        original: Name of the original.
        sides: Function from a dtype to both sides; draws all tensors from torch's generator.
        source: Author, year, arXiv number and section, where the claim is a paper's equation.
        needs: Packages that have to be installed for it, by their import names.
        differ: Whether the sides must **not** agree: then they must differ by `LEAST`.
        bounds: Largest difference, relative to the largest number of the other side (or 1).
    """

    name: str
    step: str
    original: str
    sides: Callable[[torch.dtype], Sides]
    source: str = ""
    needs: tuple[str, ...] = ()
    differ: bool = False
    bounds: Mapping[torch.dtype, float] = field(default_factory=lambda: BOUNDS)

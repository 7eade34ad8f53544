"""Learned positions: one vector for each place, and a place for no more nodes than that."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError
from edgewise.nn.checks import can_be_checked, check_size
from edgewise.nn.layer import Layer, factory

__all__ = ["LearnedPositions"]


class LearnedPositions(Layer):
    r"""A learned vector for every position.

    .. math::  p_i = W_{\text{position}(i)}

    Its one parameter is called ``weight``; so as an attribute ``wpe`` of a model it is
    ``wpe.weight``, as in GPT-2.

    Args:
        max_nodes: Positions ``0`` to ``max_nodes - 1``.
        dim: Features of every position.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - positions: ``[*batch, N]``, whole numbers; or ``N``, for 0 to N - 1.
        - result: ``[*batch, N, dim]``.

    Raises:
        ArgumentError: a position that has no vector. Compiled code leaves this to torch.

    Gradients: to ``weight``.

    Complexity: O(N dim).

    Example:
        >>> positions = LearnedPositions(1024, 16)
        >>> positions(5).shape, positions(torch.arange(3, 8)).shape
        (torch.Size([5, 16]), torch.Size([5, 16]))

    References:
        Gehring et al. Convolutional Sequence to Sequence Learning. 2017, arXiv:1705.03122,
        section 3.1.
        Radford et al. Improving Language Understanding by Generative Pre-Training. 2018.
    """

    def __init__(
        self,
        max_nodes: int,
        dim: int,
        *,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("LearnedPositions", device, dtype)
        self.max_nodes = check_size("LearnedPositions", "max_nodes", max_nodes)
        self.dim = check_size("LearnedPositions", "dim", dim)
        self.weight = nn.Parameter(torch.empty(max_nodes, dim, **made))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new vectors from a normal distribution with deviation 0.02, as GPT-2 does."""
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, positions: Tensor | int) -> Tensor:
        if not isinstance(positions, Tensor):
            N = check_size("LearnedPositions", "positions", positions, 0)
            if self.max_nodes < N:
                raise ArgumentError(self._too_far(f"{N} nodes"))
            return self.weight[:N]
        if positions.is_floating_point() or positions.dtype == torch.bool:
            raise ArgumentError(
                f"LearnedPositions: positions must be whole numbers, got {positions.dtype}. "
                f"Use sinusoidal for broken ones."
            )
        if can_be_checked(positions):
            low, high = (int(end) for end in positions.aminmax())
            if low < 0 or high >= self.max_nodes:
                raise ArgumentError(self._too_far(f"position {low if low < 0 else high}"))
        return F.embedding(positions, self.weight)

    def _too_far(self, got: str) -> str:
        return (
            f"LearnedPositions: there are vectors for positions 0 to {self.max_nodes - 1}, got "
            f"{got}. Build it with a larger max_nodes, or use sinusoidal, which has no end."
        )

    def extra_repr(self) -> str:
        return f"{self.max_nodes}, {self.dim}"

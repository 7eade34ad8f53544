"""Rotary positions: queries and keys are turned, so that only distances remain."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgewise.errors import ArgumentError, ShapeError
from edgewise.nn.checks import check_size, check_tensor

__all__ = ["Rotary"]


class Rotary(nn.Module):
    r"""Turn pairs of features by an angle that grows with the position.

    .. math::
        \begin{pmatrix} x_a' \\ x_b' \end{pmatrix} =
        \begin{pmatrix} \cos p\theta_i & -\sin p\theta_i \\
                        \sin p\theta_i & \cos p\theta_i \end{pmatrix}
        \begin{pmatrix} x_a \\ x_b \end{pmatrix}, \qquad
        \theta_i = \text{base}^{-2i / \text{dim}}

    The dot product of a turned query and a turned key depends on the distance of their positions
    alone: :math:`q_i^\top R_{j - i} k_j`.

    Args:
        dim: Features that are turned, even: the head dimension, or less, and then the rest of
            the head stays as it is (GPT-NeoX).
        base: The longest wavelength is about ``2 pi base``.
        interleaved: Whether neighboring features are a pair (``a, b = 2i, 2i + 1``, the paper's
            order), or features half the width apart (``a, b = i, i + dim / 2``, Llama's).

    Shape:
        - x: ``[*batch, H, N, D]``, floating; ``D`` is at least ``dim``.
        - positions: ``[*batch, N]`` or ``[N]``, whole or broken numbers.
        - result: as ``x``. The angles are worked out in float32 at least.

    Raises:
        ArgumentError: ``dim`` is odd or below 2, or ``base`` is not positive.
        ShapeError: heads that are too narrow, or positions that do not fit.

    Gradients: to ``x``.

    Complexity: O(N H D).

    Example:
        >>> query = torch.randn(2, 4, 7, 16)
        >>> Rotary(16)(query, torch.arange(7)).shape
        torch.Size([2, 4, 7, 16])

    References:
        Su et al. RoFormer: Enhanced Transformer with Rotary Position Embedding. 2021,
        arXiv:2104.09864, section 3.2.
    """

    def __init__(self, dim: int, *, base: float = 10000.0, interleaved: bool = False) -> None:
        super().__init__()
        if check_size("Rotary", "dim", dim, 2) % 2:
            raise ArgumentError(f"Rotary: dim must be even, got {dim}. Use dim={dim - 1}.")
        if not base > 0:
            raise ArgumentError(f"Rotary: base must be positive, got {base}.")
        self.dim = dim
        self.base = float(base)
        self.interleaved = interleaved

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        check_tensor("Rotary", "x", x)
        check_tensor("Rotary", "positions", positions)
        if x.ndim < 2 or x.shape[-1] < self.dim or positions.shape[-1:] != x.shape[-2:-1]:
            raise ShapeError(
                f"Rotary: x must be [*batch, heads, nodes, head_dim] with head_dim at least "
                f"{self.dim} and positions [*batch, nodes], got {list(x.shape)} and "
                f"{list(positions.shape)}. Give every node one position."
            )
        cos, sin = self._turns(positions, x.dtype)
        turned, rest = x[..., : self.dim], x[..., self.dim :]
        if self.interleaved:
            a, b = turned[..., 0::2], turned[..., 1::2]
            rotated = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
        else:
            a, b = turned.chunk(2, -1)
            rotated = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
        return torch.cat([rotated, rest], -1) if rest.shape[-1] else rotated

    def _turns(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines of all angles: ``[*batch, 1, N, dim / 2]``."""
        accurate = torch.promote_types(dtype, torch.float32)
        step = torch.arange(0, self.dim, 2, dtype=accurate, device=positions.device) / self.dim
        angle = positions.to(accurate)[..., None] * self.base**-step
        angle = angle[..., None, :, :] if positions.ndim > 1 else angle
        return angle.cos().to(dtype), angle.sin().to(dtype)

    def extra_repr(self) -> str:
        return f"{self.dim}, base={self.base:g}, interleaved={self.interleaved}"

"""Gaussian weights of edges, from their pseudo-coordinates: MoNet."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.errors import ShapeError

__all__ = ["gaussian_weight"]


def gaussian_weight(coordinate: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    r"""Gaussian weight of each edge for each kernel.

    .. math::  w_{h,ij} = \exp\left(-\tfrac{1}{2} (u_{ij} - \mu_h)^\top
               \Sigma_h^{-1} (u_{ij} - \mu_h)\right)

    The weights of a target do not add up to one, so this is no score for `attention`: pass them to
    ``aggregate(value, graph, weight=...)``.

    Args:
        coordinate: ``[*batch|1, E, P]``: pseudo-coordinates :math:`u_{ij}` of each edge.
        mean: ``[H, P]``: center of each kernel.
        precision: :math:`\Sigma^{-1}`: ``[H, P]`` for a diagonal, ``[H, P, P]`` for a full matrix.

    Returns:
        ``[*batch|1, H, E]``.

    Raises:
        ShapeError: shapes that do not fit.

    Gradients: With respect to every argument, any number of times.

    Complexity: O(H * E * P), or O(H * E * P * P) for full matrices.

    Example:
        >>> import torch
        >>> angle = torch.tensor([[0.0], [1.0]])  # two edges, one coordinate
        >>> gaussian_weight(angle, torch.zeros(1, 1), torch.ones(1, 1))
        tensor([[1.0000, 0.6065]])

    References:
        Monti et al. Geometric Deep Learning on Graphs and Manifolds using Mixture Model CNNs.
        2017, arXiv:1611.08402, equation 11.
    """
    heads, size = mean.shape if mean.ndim == 2 else (-1, -1)
    shapes = ((heads, size), (heads, size, size))
    if (
        heads < 0
        or coordinate.ndim < 2
        or coordinate.shape[-1] != size
        or tuple(precision.shape) not in shapes
    ):
        raise ShapeError(
            "gaussian_weight needs coordinate [edges, P], mean [heads, P] and precision [heads, P] "
            f"or [heads, P, P], got {list(coordinate.shape)}, {list(mean.shape)} and "
            f"{list(precision.shape)}. Give one mean and one precision for each head."
        )
    offset = coordinate[..., None, :, :] - mean[:, None, :]  # [*, H, E, P]
    scaled = offset @ precision if precision.ndim == 3 else offset * precision[:, None, :]
    return torch.exp(-0.5 * (scaled * offset).sum(-1))

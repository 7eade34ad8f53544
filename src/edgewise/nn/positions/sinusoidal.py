"""Sinusoidal encodings of positions, and random signs for eigenvectors."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Graph
from edgewise.nn.checks import check_size
from edgewise.nn.positions.components import components

__all__ = ["random_signs", "sinusoidal"]


def sinusoidal(positions: Tensor | int, dim: int, *, base: float = 10000.0) -> Tensor:
    r"""Sines and cosines of falling frequency: the encoding of the first Transformer.

    .. math::
        PE_{p, 2i} = \sin(p \, \theta_i), \qquad PE_{p, 2i + 1} = \cos(p \, \theta_i), \qquad
        \theta_i = \text{base}^{-2i / \text{dim}}

    Args:
        positions: ``[*batch, N]``, whole or broken numbers; or ``N``, for 0 to N - 1.
        dim: Features of the encoding; even.
        base: The longest wavelength is about ``2 pi base``.

    Returns:
        ``[*batch, N, dim]``, in the floating dtype of ``positions``, otherwise float32. The
        angles are worked out in float64, because a float32 loses its phase far from zero.

    Raises:
        ArgumentError: ``dim`` is odd or below 2, or ``base`` is not positive.

    Complexity: O(N dim).

    Example:
        >>> sinusoidal(2, 4)
        tensor([[0.0000, 1.0000, 0.0000, 1.0000],
                [0.8415, 0.5403, 0.0100, 0.9999]])

    References:
        Vaswani et al. Attention Is All You Need. 2017, arXiv:1706.03762, section 3.5.
    """
    if check_size("sinusoidal", "dim", dim, 2) % 2:
        raise ArgumentError(f"sinusoidal: dim must be even, got {dim}. Use dim={dim + 1}.")
    if base <= 0:
        raise ArgumentError(f"sinusoidal: base must be positive, got {base}.")
    if not isinstance(positions, Tensor):
        positions = torch.arange(check_size("sinusoidal", "positions", positions, 0))
    dtype = positions.dtype if positions.is_floating_point() else torch.float32
    exponent = torch.arange(0, dim, 2, dtype=torch.float64, device=positions.device) / dim
    angle = positions.double()[..., None] * base**-exponent
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2).to(dtype)


def random_signs(
    encoding: Tensor, graph: Graph | None = None, *, generator: torch.Generator | None = None
) -> Tensor:
    r"""Turn the sign of each eigenvector at random: a network then learns not to rely on it.

    .. math::  \mathrm{out}_{ic} = s_{g(i), c} \; \mathrm{encoding}_{ic}, \qquad
        s \in \{-1, 1\} \text{ uniform}

    With a graph every connected component ``g`` has its own signs, as its eigenvectors were found
    on their own. Without, all nodes share the signs of a column, as in the paper.

    The signs are drawn in the call, so keep the encoding, and **call this anew in every step of
    training**, with the graph of the batch; leave it out in evaluation. Signs that are drawn once,
    when the data are prepared, are as arbitrary as the solver's, and a network learns them by
    heart.

    Args:
        encoding: ``[N, k]``, as `laplacian_eigenvectors` returns it.
        graph: The graph it was made from.
        generator: Source of randomness; torch's global one when left out.

    Raises:
        ShapeError: the encoding is not a matrix, or has another number of nodes than the graph.

    Gradients: to ``encoding``.

    Complexity: O(N k), after the components of the graph were found once.

    Example:
        >>> from edgewise.graphs import Window
        >>> from edgewise.nn import laplacian_eigenvectors
        >>> graph, features = Window(5, left=1, right=1), torch.rand(5, 3)
        >>> encoding = laplacian_eigenvectors(graph, 2)  # once
        >>> for step in range(100):  # signs anew in each
        ...     x = torch.cat([features, random_signs(encoding, graph)], -1)

    References:
        Dwivedi et al. Benchmarking Graph Neural Networks. 2020, arXiv:2003.00982, section 4.
    """
    if encoding.ndim != 2:
        raise ShapeError(
            f"random_signs: encoding must have shape [nodes, k], got {list(encoding.shape)}."
        )
    N, k = encoding.shape
    if graph is not None and graph.num_targets != N:
        raise ShapeError(
            f"random_signs: encoding has {N} rows but graph has {graph.num_targets} nodes "
            f"(encoding: {list(encoding.shape)}). Pass the graph that it was made from."
        )
    parts = None if graph is None else components(graph)
    rows = 1 if parts is None else len(parts.sizes)
    device = encoding.device if generator is None else generator.device
    coins = torch.randint(2, (rows, k), generator=generator, device=device).to(encoding.device)
    signs = (2 * coins - 1).to(encoding.dtype)
    return encoding * (signs if parts is None else signs[parts.label.to(encoding.device)])

"""Embeddings of tokens, of their positions and of their segments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError, ShapeError
from edgewise.nn import sinusoidal as nn_sinusoidal
from edgewise.nn.blocks.norm import norm_named
from edgewise.nn.checks import check_rate, check_size, check_tensor
from edgewise.nn.layer import Layer, factory, reset
from edgewise.ops.tracing import is_intercepted

__all__ = ["TokenEmbedding", "positions_within"]

_WHOLE = (torch.int64, torch.int32)


class TokenEmbedding(Layer):
    r"""A learned vector for every token, one for its position, and one for its segment, added up.

    .. math::  x_i = \mathrm{norm}(\mathrm{scale} \cdot E_{t_i} + P_{p_i} + S_{s_i})

    Args:
        vocab_size: Different tokens.
        dim: Features of every node.
        max_positions: Different positions, with a learned vector each; None to learn none.
        sinusoidal: Whether positions are sines and cosines instead, of any length.
        num_segments: Different segments (BERT's sentences A and B); 0 for none.
        scale: Factor of the tokens' vectors: the root of ``dim`` in the first Transformer.
        norm: Of the sum: ``"layer"``, ``"rms"``, ``"batch"`` or None.
        norm_eps: Added to the variance in the norm; 1e-5 when left out.
        dropout: Share of features dropped in the end.
        std: Standard deviation of the first vectors.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - tokens: ``[*batch, N]``, int64 or int32.
        - positions: ``[*batch, N]`` or ``[N]``; 0 to N - 1 when left out. Several texts side by
            side, as in a disjoint union, need positions of their own: `positions_within`.
        - segments: ``[*batch, N]`` or ``[N]``; all 0 when left out.
        - result: ``[*batch, N, dim]``.

    Raises:
        ArgumentError: numbers outside their table (on CUDA torch finds them), or positions or
            segments for a model without a table of them.
        ShapeError: tokens without an axis of nodes, or more of them than positions.

    Gradients: to the tables.

    Example:
        >>> front = TokenEmbedding(100, 8, max_positions=16, num_segments=2, norm="layer")
        >>> front(torch.tensor([[5, 7, 99], [1, 2, 3]])).shape
        torch.Size([2, 3, 8])

    References:
        Vaswani et al. Attention Is All You Need. 2017, arXiv:1706.03762, sections 3.4, 3.5.
        Gehring et al. Convolutional Sequence to Sequence Learning. 2017, arXiv:1705.03122,
        section 3.1 (learned positions).
        Devlin et al. BERT. 2018, arXiv:1810.04805, section 3.2 (segments).
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        *,
        max_positions: int | None = None,
        sinusoidal: bool = False,
        num_segments: int = 0,
        scale: float = 1.0,
        norm: str | None = None,
        norm_eps: float | None = None,
        dropout: float = 0.0,
        std: float = 0.02,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("TokenEmbedding", device, dtype)
        self.dim = check_size("TokenEmbedding", "dim", dim)
        check_size("TokenEmbedding", "num_segments", num_segments, 0)
        self.token = nn.Embedding(
            check_size("TokenEmbedding", "vocab_size", vocab_size), dim, **made
        )
        self.position = self.segment = None
        self.sinusoidal = sinusoidal
        self.scale = float(scale)
        self.std = std
        if sinusoidal and max_positions is not None:
            raise ArgumentError(
                f"TokenEmbedding: positions are learned or sinusoidal, got sinusoidal=True and "
                f"max_positions={max_positions}. Leave out one of them."
            )
        if max_positions is not None:
            check_size("TokenEmbedding", "max_positions", max_positions)
            self.position = nn.Embedding(max_positions, dim, **made)
        if num_segments:
            self.segment = nn.Embedding(num_segments, dim, **made)
        self.norm = norm_named("TokenEmbedding", norm, dim, norm_eps, **made)
        self.dropout = nn.Dropout(check_rate("TokenEmbedding", "dropout", dropout))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the tables from N(0, std²): small, so that a head tied to them starts evenly."""
        reset(self.norm)
        for table in (self.token, self.position, self.segment):
            if table is not None:
                nn.init.normal_(table.weight, std=self.std)

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        check_tensor("TokenEmbedding", "tokens", tokens)
        if not tokens.ndim:
            raise ShapeError(
                "TokenEmbedding: tokens must have shape [*batch, nodes], got []. Add the missing "
                "axis with tokens[None]."
            )
        _check_numbers("tokens", tokens, self.token, "vocab_size")
        x = self.token(tokens)
        if self.scale != 1.0:
            x = self.scale * x
        if self.placed:
            x = x + self._encoding(self._positions(tokens, positions), x.dtype)
        elif positions is not None:
            raise _unexpected("positions", "max_positions")
        if self.segment is not None:
            if segments is None:
                segments = tokens.new_zeros(tokens.shape[-1])
            _check_like("segments", segments, tokens)
            _check_numbers("segments", segments, self.segment, "num_segments")
            x = x + self.segment(segments)
        elif segments is not None:
            raise _unexpected("segments", "num_segments")
        return self.dropout(self.norm(x))

    @property
    def placed(self) -> bool:
        """Whether a token's position matters here."""
        return self.sinusoidal or self.position is not None

    def _encoding(self, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """The vectors of positions: ``[*batch | none, N, dim]``."""
        if self.position is not None:
            return self.position(positions)
        return nn_sinusoidal(positions.double(), self.dim).to(dtype)

    def _positions(self, tokens: Tensor, given: Tensor | None) -> Tensor:
        """A position for each token."""
        N, table = tokens.shape[-1], self.position
        if given is not None:
            _check_like("positions", given, tokens)
            if table is not None:
                _check_numbers("positions", given, table, "max_positions")
            return given
        if table is not None and table.num_embeddings < N:
            raise ShapeError(
                f"TokenEmbedding: tokens has {N} nodes but the model was built with "
                f"max_positions={table.num_embeddings} (tokens: {list(tokens.shape)}, axis -1). "
                f"Shorten it, or build the model with max_positions={N}."
            )
        return torch.arange(N, device=tokens.device)

    def extra_repr(self) -> str:
        return f"sinusoidal={self.sinusoidal}, scale={self.scale:g}, std={self.std:g}"


def positions_within(sizes: Sequence[int], *, device: Device = None) -> Tensor:
    """The positions of nodes in texts that stand side by side: each counts from 0.

    Args:
        sizes: Nodes of each text.
        device: Where to.

    Returns:
        ``[sum(sizes)]``, int64.

    Example:
        >>> positions_within([3, 2])
        tensor([0, 1, 2, 0, 1])
    """
    if not sizes:
        return torch.arange(0, device=device)
    return torch.cat([torch.arange(size, device=device) for size in sizes])


def _check_like(name: str, numbers: Tensor, tokens: Tensor) -> None:
    """Check that every node has one number."""
    shape, want = numbers.shape, tokens.shape
    fits = 1 <= len(shape) <= len(want) and shape[-1] == want[-1]
    if not fits or torch.broadcast_shapes(shape, want) != want:
        either = "" if len(want) == 1 else f"[{want[-1]}] or "
        raise ShapeError(
            f"TokenEmbedding: {name} must have shape {either}{list(want)}, one for each token, "
            f"got {list(shape)}."
        )


def _check_numbers(name: str, numbers: Tensor, table: nn.Embedding, size: str) -> None:
    """Check that a tensor holds rows of a table."""
    if numbers.dtype not in _WHOLE:
        raise ArgumentError(
            f"TokenEmbedding: {name} must be int64 or int32, got "
            f"{str(numbers.dtype).removeprefix('torch.')}. Pass {name}.long()."
        )
    if not numbers.is_cpu or not numbers.numel() or is_intercepted((numbers,)):
        return  # reading would block on the device, or there are no numbers yet
    low, high = (int(end) for end in torch.aminmax(numbers))
    if low < 0 or high >= table.num_embeddings:
        cure = "Count from 0." if low < 0 else f"Build the model with {size}={high + 1}."
        raise ArgumentError(
            f"TokenEmbedding: {name} must lie in 0 to {table.num_embeddings - 1}, got {low} to "
            f"{high}. {cure}"
        )


def _unexpected(name: str, size: str) -> ArgumentError:
    return ArgumentError(
        f"TokenEmbedding: {name} were given, but the model was built without {size} and would "
        f"ignore them. Build it with {size}."
    )

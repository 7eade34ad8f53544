"""Transformer encoders of texts: an embedding in front of a stack of blocks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.types import Device

from edgewise.errors import ArgumentError
from edgewise.graphs import Graph
from edgewise.models.card import Card
from edgewise.models.transformers.encoder import Encoder
from edgewise.models.transformers.initialization import normal_weights
from edgewise.models.transformers.token_embedding import TokenEmbedding
from edgewise.nn.layer import Layer, factory

__all__ = ["CARD", "TextEncoder", "bert", "check_widths", "embedded"]


class TextEncoder(Layer):
    """An `Encoder` on tokens: what BERT is.

    Args:
        embedding: From tokens to features.
        trunk: From features to representations, as wide as the embedding.
        std: Standard deviation of all first weights, as in BERT; the parts keep theirs when left
            out.

    Shape:
        - tokens: ``[*batch, N]``, int64 or int32.
        - graph: ``N`` nodes; `Complete` when left out. Texts of different lengths are `Blocks`,
            with ``positions`` that count in each of them (`positions_within`).
        - positions, segments: ``[*batch, N]`` or ``[N]``, as in `TokenEmbedding`; ``positions``
            go to ``rotary`` too, where the trunk has it.
        - given: what all mixers take besides.
        - result: ``[*batch, N, dim]``.

    Raises:
        ArgumentError: an embedding and a trunk of different widths, or numbers without a table.

    Example:
        >>> import torch
        >>> model = TextEncoder(TokenEmbedding(100, 16, max_positions=32), Encoder(16, 4, 2))
        >>> model(torch.randint(100, (2, 7))).shape
        torch.Size([2, 7, 16])
    """

    def __init__(
        self, embedding: TokenEmbedding, trunk: Encoder, *, std: float | None = None
    ) -> None:
        super().__init__()
        check_widths("TextEncoder", embedding, trunk.dim)
        self.embedding = embedding
        self.trunk = trunk
        self.std = std
        self._draw()

    def reset_parameters(self) -> None:
        """Draw all weights anew: from N(0, std²), or as the parts do without ``std``."""
        super().reset_parameters()
        self._draw()

    def _draw(self) -> None:
        if self.std is not None:
            normal_weights(self, self.std)

    def forward(
        self,
        tokens: Tensor,
        graph: Graph | None = None,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        **given: Any,
    ) -> Tensor:
        x, turned = embedded(self.embedding, self.trunk.rotary, tokens, positions, segments)
        return self.trunk(x, graph, **turned, **given)

    def extra_repr(self) -> str:
        return f"std={self.std}"


def embedded(
    embedding: TokenEmbedding,
    rotary: bool,
    tokens: Tensor,
    positions: Tensor | None,
    segments: Tensor | None = None,
    first: int = 0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Features of tokens, and positions for ``rotary`` where the trunk has it.

    The first token is number ``first``, where positions are not given: a cache holds the others.
    """
    if positions is None and first and embedding.placed:
        count = tokens.shape[-1] if tokens.ndim else 0
        positions = torch.arange(first, first + count, device=tokens.device)
    placed = positions if embedding.placed or not rotary else None
    x = embedding(tokens, positions=placed, segments=segments)
    return x, {} if positions is None or not rotary else {"positions": positions}


def check_widths(owner: str, embedding: TokenEmbedding, dim: int) -> None:
    """Check that an embedding is as wide as what follows."""
    if embedding.dim != dim:
        raise ArgumentError(
            f"{owner}: embedding has {embedding.dim} features but what follows it has {dim}. "
            f"Build both with the same dim."
        )


def bert(
    vocab_size: int = 30_522,
    *,
    dim: int = 768,
    heads: int = 12,
    layers: int = 12,
    hidden: int | None = None,
    max_positions: int = 512,
    num_segments: int = 2,
    dropout: float = 0.1,
    norm_eps: float = 1e-12,
    std: float = 0.02,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> TextEncoder:
    """BERT's encoder: post-norm, exact GELU, three embeddings and their norm; the base model.

    Weights start as N(0, std²), biases at zero.

    Args:
        vocab_size: Different tokens.
        dim: Features of every node.
        heads: Attention heads.
        layers: Blocks.
        hidden: Hidden features of the MLP; ``4 * dim`` when left out.
        max_positions: Longest text.
        num_segments: Different segments.
        dropout: Of embeddings, attention weights, and what attention and MLP return.
        norm_eps: Added to the variance in the norms.
        std: Of the first weights; narrow models learn faster from about ``1 / sqrt(dim)``.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Example:
        >>> import torch
        >>> model = bert(100, dim=16, heads=2, layers=2)
        >>> model(torch.randint(100, (2, 7))).shape
        torch.Size([2, 7, 16])

    References:
        Devlin et al. BERT. 2018, arXiv:1810.04805, sections 3 and A.2.
    """
    made = factory("bert", device, dtype)
    front = TokenEmbedding(
        vocab_size,
        dim,
        max_positions=max_positions,
        num_segments=num_segments,
        norm="layer",
        norm_eps=norm_eps,
        dropout=dropout,
        **made,
    )
    trunk = Encoder(
        dim,
        heads,
        layers,
        hidden=hidden,
        activation="gelu",
        order="post",
        norm_eps=norm_eps,
        dropout=dropout,
        attention_dropout=dropout,
        **made,
    )
    return TextEncoder(front, trunk, std=std)


CARD = Card(
    "BERT",
    "Devlin et al. BERT. 2018, arXiv:1810.04805, section 3",
    r"x_i = \mathrm{norm}(E_{t_i} + P_i + S_{s_i}), \quad"
    r" x \leftarrow \mathrm{norm}(x + \mathrm{attention}(x, G)), \quad"
    r" x \leftarrow \mathrm{norm}(x + W_2 \, \mathrm{gelu}(W_1 x))",
    "bert(100, dim=32, heads=4, layers=2)",
    "The encoder alone: no pooler and no heads for pretraining. No token is padding: texts of "
    "different lengths stand side by side as `Blocks`.",
    "model(torch.randint(100, (2, 7)))",
)

"""Encoder-decoder models: sequence to sequence, along three graphs."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.graphs import Graph
from edgewise.models.card import Card
from edgewise.models.transformers.decoder import Caches, Decoder
from edgewise.models.transformers.encoder import Encoder
from edgewise.models.transformers.sampling import check_generation, generate
from edgewise.models.transformers.text_encoder import check_widths, embedded
from edgewise.models.transformers.tied_head import TiedHead
from edgewise.models.transformers.token_embedding import TokenEmbedding
from edgewise.nn.layer import factory

__all__ = ["CARD", "EncoderDecoder", "transformer"]


class EncoderDecoder(TiedHead):
    r"""Sequence to sequence: an encoder, a decoder that reads it, and one linear map.

    .. math::  m = \mathrm{encoder}(x^{source}, G^{source}), \qquad
        \ell = W_{head} \, \mathrm{decoder}(x^{target}, G^{target}; m, G^{cross})

    Args:
        source: From source tokens to features; may be the same module as ``target``.
        target: From target tokens to features.
        encoder: From features to the memory.
        decoder: From features and the memory to representations.
        tied: Whether the embedding of target tokens is the head's matrix too.
        device: Of the head's matrix, unless it is tied; torch's default when left out.
        dtype: Of the same, floating; torch's default when left out.

    Shape:
        - source: tokens, ``[*batch, S]``.
        - target: tokens, ``[*batch, T]``.
        - source_graph, target_graph, cross: their graphs; `Complete` among the sources,
            `Causal` among the targets and `Complete` across when left out. Texts of different
            lengths stand side by side: ``Blocks(S)``, ``disjoint_union([Causal(t), ...])`` and
            ``Blocks(T, S)``, with positions that count in each of them (`positions_within`).
        - source_positions, target_positions: ``[*batch, S]``, ``[*batch, T]``.
        - result: logits, ``[*batch, T, vocab_size]``.

    Raises:
        ArgumentError: parts of different widths, or numbers without a table.
        ShapeError: features or nodes that do not fit.

    Example:
        >>> words = TokenEmbedding(100, 16, max_positions=32)
        >>> model = EncoderDecoder(words, words, Encoder(16, 4, 2), Decoder(16, 4, 2)).eval()
        >>> source, target = torch.randint(100, (2, 7)), torch.randint(100, (2, 5))
        >>> model(source, target).shape
        torch.Size([2, 5, 100])
        >>> model.generate(source, target[:, :1], max_new_tokens=4, temperature=0).shape
        torch.Size([2, 5])

    References:
        Sutskever, Vinyals, Le. Sequence to Sequence Learning. 2014, arXiv:1409.3215.
        Vaswani et al. Attention Is All You Need. 2017, arXiv:1706.03762, section 3.
    """

    def __init__(
        self,
        source: TokenEmbedding,
        target: TokenEmbedding,
        encoder: Encoder,
        decoder: Decoder,
        *,
        tied: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("EncoderDecoder", device, dtype)
        check_widths("EncoderDecoder", source, encoder.dim)
        check_widths("EncoderDecoder", target, decoder.dim)
        self.source = source
        self.target = target
        self.encoder = encoder
        self.decoder = decoder
        self.built_tied = tied
        self.head = nn.Linear(decoder.dim, target.token.num_embeddings, bias=False, **made)
        if tied:
            self.tie()

    def table(self) -> nn.Embedding:
        """The embedding of target tokens, whose weight a tied head has."""
        return self.target.token

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        *,
        source_graph: Graph | None = None,
        target_graph: Graph | None = None,
        cross: Graph | None = None,
        source_positions: Tensor | None = None,
        target_positions: Tensor | None = None,
    ) -> Tensor:
        memory = self.encode(source, source_graph, positions=source_positions)
        return self.head(
            self.decode(target, memory, target_graph, cross, positions=target_positions)
        )

    def encode(
        self, source: Tensor, graph: Graph | None = None, *, positions: Tensor | None = None
    ) -> Tensor:
        """The memory of source tokens: ``[*batch, S, dim]``."""
        x, given = embedded(self.source, self.encoder.rotary, source, positions)
        return self.encoder(x, graph, **given)

    def decode(
        self,
        target: Tensor,
        memory: Tensor,
        graph: Graph | None = None,
        cross: Graph | None = None,
        *,
        positions: Tensor | None = None,
        caches: Caches | None = None,
    ) -> Tensor:
        """Representations of target tokens, the head's input: ``[*batch, T, dim]``."""
        first = caches[0][0].length if caches else 0
        x, given = embedded(self.target, self.decoder.rotary, target, positions, first=first)
        return self.decoder(x, memory, graph, cross, caches=caches, **given)

    def extra_repr(self) -> str:
        return f"tied={self.tied}"

    def generate(
        self,
        source: Tensor,
        target: Tensor,
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Sample ``max_new_tokens`` tokens of the target, each given those before it.

        Args:
            source: ``[*batch, S]``.
            target: ``[*batch, T]``, at least the token that begins a target.
            max_new_tokens: How many more.
            temperature: 0 for the likeliest token each time, 1 for the model's probabilities.
            top_k: How many of the likeliest tokens may be drawn; all when left out.
            generator: Source of randomness; torch's global one when left out.

        Returns:
            ``[*batch, T + max_new_tokens]``, ``target`` first.

        Raises:
            ArgumentError: a model in training mode, whose dropout would act; numbers out of
                range; or more nodes than positions.
        """
        check_generation(self, self.target, target, max_new_tokens)
        with torch.no_grad():
            memory = self.encode(source)
        caches = self.decoder.caches()

        def step(newest: Tensor) -> Tensor:
            return self.head(self.decode(newest, memory, caches=caches)[..., -1, :])

        return generate(
            step,
            target,
            max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            generator=generator,
        )


def transformer(
    vocab_size: int = 37_000,
    *,
    dim: int = 512,
    heads: int = 8,
    layers: int = 6,
    hidden: int | None = None,
    dropout: float = 0.1,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> EncoderDecoder:
    """The Transformer of 2017: post-norm, ReLU, sinusoids, one table of tokens; the base model.

    Tokens start as N(0, 1 / dim), so that what is read and what is scored has a variance of one.

    Args:
        vocab_size: Different tokens, of both languages.
        dim: Features of every node.
        heads: Attention heads.
        layers: Blocks of the encoder, and pairs of blocks of the decoder.
        hidden: Hidden features of the MLPs; ``4 * dim`` when left out.
        dropout: Of embeddings, and of what attention and MLPs return.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Example:
        >>> model = transformer(100, dim=16, heads=4, layers=2)
        >>> model(torch.randint(100, (2, 7)), torch.randint(100, (2, 5))).shape
        torch.Size([2, 5, 100])

    References:
        Vaswani et al. Attention Is All You Need. 2017, arXiv:1706.03762, section 3 and table 3.
    """
    made = factory("transformer", device, dtype)
    words = TokenEmbedding(
        vocab_size,
        dim,
        sinusoidal=True,
        scale=sqrt(dim),
        dropout=dropout,
        std=1 / sqrt(dim),
        **made,
    )
    encoder = Encoder(dim, heads, layers, hidden=hidden, order="post", dropout=dropout, **made)
    decoder = Decoder(dim, heads, layers, hidden=hidden, order="post", dropout=dropout, **made)
    return EncoderDecoder(words, words, encoder, decoder, **made)


CARD = Card(
    "Transformer, encoder and decoder",
    "Vaswani et al. Attention Is All You Need. 2017, arXiv:1706.03762, section 3",
    r"x \leftarrow \mathrm{norm}(x + \mathrm{attention}(x, \mathrm{Causal})), \quad"
    r" x \leftarrow \mathrm{norm}(x + \mathrm{attention}(x, \mathrm{Complete}; m)), \quad"
    r" x \leftarrow \mathrm{norm}(x + W_2 \, \mathrm{relu}(W_1 x))",
    "transformer(100, dim=32, heads=4, layers=2)",
    "Queries, keys and values start on their own, as Xavier uniform; MLPs as torch's linear maps.",
    "model(torch.randint(100, (2, 7)), torch.randint(100, (2, 5)))",
)

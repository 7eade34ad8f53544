"""Language models: an encoder over the causal graph that predicts the next token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.graphs import Causal, Graph
from edgewise.models.transformers.encoder import Encoder
from edgewise.models.transformers.initialization import normal_weights
from edgewise.models.transformers.sampling import check_generation, generate
from edgewise.models.transformers.text_encoder import check_widths, embedded
from edgewise.models.transformers.tied_head import TiedHead
from edgewise.models.transformers.token_embedding import TokenEmbedding
from edgewise.nn import KVCache
from edgewise.nn.checks import check_tensor
from edgewise.nn.layer import factory

__all__ = ["GraphRule", "LanguageModel"]

GraphRule = Callable[[int, int], Graph]


class LanguageModel(TiedHead):
    r"""Scores of the next token at every node: an `Encoder` over `Causal`, and one linear map.

    .. math::  \ell_i = W_{head} \, \mathrm{trunk}(x, \mathrm{Causal})_i, \qquad
        W_{head} = E \text{ if tied}

    Args:
        embedding: From tokens to features.
        trunk: From features to representations, as wide as the embedding.
        tied: Whether the embedding of tokens is the head's matrix too.
        rule: The graph of ``T`` new nodes that read ``S`` nodes, themselves the last of these:
            `Causal`, or ``functools.partial(Window, left=w, right=0)`` for a sliding window.
        std: Standard deviation of all first weights; the parts keep theirs when left out.
        last_std: Of the last projections of attention and MLP; ``std`` when left out.
        device: Of the head's matrix, unless it is tied; torch's default when left out.
        dtype: Of the same, floating; torch's default when left out.

    Shape:
        - tokens: ``[*batch, T]``, int64 or int32.
        - graph: instead of that of the rule; texts side by side are a `disjoint_union`,
            with ``positions`` that count in each of them (`positions_within`).
        - positions: ``[*batch, T]`` or ``[T]``; counted on from the caches when left out.
        - caches: from `caches`, to go on where the last call stopped; then graphs are ``T`` by
            ``S``, the nodes of all calls.
        - given: what all mixers take besides.
        - result: logits, ``[*batch, T, vocab_size]``.

    Raises:
        ArgumentError: an embedding and a trunk of different widths, or numbers without a table.
        ShapeError: more nodes than positions, or another number than the graph has.

    Example:
        >>> model = LanguageModel(TokenEmbedding(65, 16, max_positions=32), Encoder(16, 2, 2))
        >>> model = model.eval()
        >>> tokens = torch.randint(65, (2, 7))
        >>> model(tokens).shape
        torch.Size([2, 7, 65])
        >>> model.generate(tokens, max_new_tokens=3, temperature=0).shape
        torch.Size([2, 10])

    References:
        Radford et al. Language Models are Unsupervised Multitask Learners. 2019, section 2.3.
        Press, Wolf. Using the Output Embedding to Improve Language Models. 2016,
        arXiv:1608.05859, section 2 (tied).
    """

    def __init__(
        self,
        embedding: TokenEmbedding,
        trunk: Encoder,
        *,
        tied: bool = True,
        rule: GraphRule = Causal,
        std: float | None = None,
        last_std: float | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("LanguageModel", device, dtype)
        check_widths("LanguageModel", embedding, trunk.dim)
        self.embedding = embedding
        self.trunk = trunk
        self.rule = rule
        self.built_tied = tied
        self.std, self.last_std = std, last_std
        self.head = nn.Linear(trunk.dim, embedding.token.num_embeddings, bias=False, **made)
        if tied:
            self.tie()
        self._draw()

    def reset_parameters(self) -> None:
        """Draw all weights anew: from N(0, std²), or as the parts do without ``std``."""
        super().reset_parameters()
        self._draw()

    def _draw(self) -> None:
        if self.std is not None:
            normal_weights(self, self.std, last_std=self.last_std)

    def table(self) -> nn.Embedding:
        """The embedding of tokens, whose weight a tied head has."""
        return self.embedding.token

    def forward(
        self,
        tokens: Tensor,
        graph: Graph | None = None,
        *,
        positions: Tensor | None = None,
        caches: Sequence[KVCache] | None = None,
        **given: Any,
    ) -> Tensor:
        return self.head(self.hidden(tokens, graph, positions=positions, caches=caches, **given))

    def hidden(
        self,
        tokens: Tensor,
        graph: Graph | None = None,
        *,
        positions: Tensor | None = None,
        caches: Sequence[KVCache] | None = None,
        **given: Any,
    ) -> Tensor:
        """Representations of tokens, the head's input: ``[*batch, T, dim]``."""
        check_tensor("LanguageModel", "tokens", tokens)
        first = caches[0].length if caches else 0
        T = tokens.shape[-1] if tokens.ndim else 0
        x, turned = embedded(self.embedding, self.trunk.rotary, tokens, positions, first=first)
        graph = self.rule(T, first + T) if graph is None else graph
        return self.trunk(x, graph, caches=caches, **turned, **given)

    def extra_repr(self) -> str:
        rule = getattr(self.rule, "__name__", repr(self.rule))
        return f"tied={self.tied}, rule={rule}, std={self.std}"

    def caches(self) -> list[KVCache]:
        """Empty caches, one a block, for calls that go on where the last one stopped."""
        return [KVCache() for _ in self.trunk.blocks]

    def generate(
        self,
        tokens: Tensor,
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Sample ``max_new_tokens`` tokens that follow, each given those before it.

        Args:
            tokens: ``[*batch, T]``, at least one; all of one length.
            max_new_tokens: How many more.
            temperature: 0 for the likeliest token each time, 1 for the model's probabilities.
            top_k: How many of the likeliest tokens may be drawn; all when left out.
            generator: Source of randomness; torch's global one when left out.

        Returns:
            ``[*batch, T + max_new_tokens]``, ``tokens`` first.

        Raises:
            ArgumentError: a model in training mode, whose dropout would act; numbers out of
                range; or more nodes than positions.

        Complexity: each token costs one pass of one node, which reads the nodes before it.
        """
        check_generation(self, self.embedding, tokens, max_new_tokens)
        caches = self.caches()

        def step(newest: Tensor) -> Tensor:
            return self.head(self.hidden(newest, caches=caches)[..., -1, :])

        return generate(
            step,
            tokens,
            max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            generator=generator,
        )

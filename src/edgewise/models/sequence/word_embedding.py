"""From words to features: what stands before a model when nodes are words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError
from edgewise.graphs import Graph
from edgewise.nn.checks import can_be_checked, check_rate, check_size, check_tensor
from edgewise.nn.layer import Layer, factory

__all__ = ["WordEmbedding", "WordModel"]


class WordEmbedding(Layer):
    r"""A vector for each word, and zeros for a node without one.

    Args:
        num_words: Words of the vocabulary.
        dim: Features of each.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - words: ``[*batch, N]``, whole numbers below ``num_words``; -1 for a node without a word.
        - result: ``[*batch, N, dim]``.

    Raises:
        ArgumentError: a number that is no word, or a size out of range.

    Gradients: to the vectors of the words that occur.

    Example:
        >>> import torch
        >>> words = WordEmbedding(10, 4)
        >>> words(torch.tensor([3, -1]))[1]
        tensor([0., 0., 0., 0.], grad_fn=<SelectBackward0>)
    """

    def __init__(
        self,
        num_words: int,
        dim: int,
        *,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("WordEmbedding", device, dtype)
        check_size("WordEmbedding", "num_words", num_words)
        self.embedding = nn.Embedding(num_words, check_size("WordEmbedding", "dim", dim), **made)

    def forward(self, words: Tensor) -> Tensor:
        check_tensor("WordEmbedding", "words", words)
        if words.is_floating_point() or words.is_complex():
            raise ArgumentError(
                f"WordEmbedding: words must hold whole numbers, got {words.dtype}. Convert them "
                f"with words.long()."
            )
        if can_be_checked(words):
            self._check_numbers(words)
        return self.embedding(words.clamp(min=0)).masked_fill((words < 0)[..., None], 0.0)

    def _check_numbers(self, words: Tensor) -> None:
        unknown = words[(words < -1) | (words >= self.embedding.num_embeddings)]
        if unknown.numel():
            raise ArgumentError(
                f"WordEmbedding: words must lie below num_words={self.embedding.num_embeddings} "
                f"and from -1, which is no word, got {int(unknown[0])}. Give unknown words a "
                f"number too."
            )

    def extra_repr(self) -> str:
        return f"{self.embedding.num_embeddings}, {self.embedding.embedding_dim}"


class WordModel(Layer):
    r"""Any model over graphs whose nodes are words: a language model, a classifier of sentences.

    .. math::  y = \mathrm{model}(\mathrm{drop}(E_{\text{words}}), G)

    Args:
        num_words: Words of the vocabulary.
        dim: Features of each, which the model takes.
        model: Any module called as ``model(x, graph, **given)``, such as a `GraphModel` or a
            `NodeModel`.
        dropout: Share of the words' features dropped.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - words: ``[*batch, N]``, whole numbers; -1 for a node without a word.
        - given: whatever the model takes besides.
        - result: what the model returns.

    Example:
        >>> import torch
        >>> from edgewise.graphs import Blocks
        >>> from edgewise.models import GraphModel, Recurrent, Trunk
        >>> model = WordModel(100, 8, GraphModel(Trunk(8, 16, [Recurrent(16)]), 16, out_dim=6))
        >>> words = torch.randint(100, (9,))  # a sentence of four words, and one of five
        >>> model(words, Blocks([4, 5]), readout=Blocks([1, 1], [4, 5])).shape
        torch.Size([2, 6])
    """

    def __init__(
        self,
        num_words: int,
        dim: int,
        model: nn.Module,
        *,
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("WordModel", device, dtype)
        self.words = WordEmbedding(num_words, dim, **made)
        self.dropout = nn.Dropout(check_rate("WordModel", "dropout", dropout))
        self.model = model

    def forward(self, words: Tensor, graph: Graph, **given: Any) -> Any:
        return self.model(self.dropout(self.words(words)), graph, **given)

    def extra_repr(self) -> str:
        return f"{self.words.extra_repr()}"

"""From features to representations: a projection and a stack of equal blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.graphs import Graph
from edgewise.models.graph.feature_embedding import NodeEmbedding
from edgewise.nn import MLP, Block
from edgewise.nn.layer import Layer, factory

__all__ = ["Trunk"]


class Trunk(Layer):
    r"""Project the features, add the encodings, and pass them through one block a mixer.

    .. math::  h = \mathrm{norm}\,(B_L \circ \dots \circ B_1)(W x + U p)

    Every block is pre-norm, with residuals and an MLP of twice the width, whatever its mixer: so
    two trunks that differ in their mixers differ in nothing else.

    Args:
        in_dim: Features of every node.
        dim: Width.
        mixers: One for each block, called as ``mixer(x, graph, **given)``.
        encoding_dim: Numbers in each node's encoding ``p``; 0 for none.
        dropout: Share dropped from the features, and from what mixers and MLPs return.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, in_dim]``.
        - encoding: ``[*batch | none, N, encoding_dim]``.
        - given: what all mixers take besides, such as ``edge``.
        - result: ``[*batch, N, dim]``.

    References:
        Xiong et al. On Layer Normalization in the Transformer Architecture. 2020,
        arXiv:2002.04745. Dwivedi, Bresson. A Generalization of Transformer Networks to Graphs.
        2020, arXiv:2012.09699, section 2.2 (encodings are projected and added).
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        mixers: Sequence[nn.Module],
        *,
        encoding_dim: int = 0,
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("Trunk", device, dtype)
        self.embedding = NodeEmbedding(
            "Trunk", in_dim, dim, encoding_dim=encoding_dim, dropout=dropout, **made
        )
        self.blocks = nn.ModuleList(
            Block(
                mixer,
                dim,
                mlp=MLP(dim, 2 * dim, activation="gelu", **made),
                dropout=dropout,
                **made,
            )
            for mixer in mixers
        )
        self.norm = nn.LayerNorm(dim, **made)

    def forward(
        self, x: Tensor, graph: Graph, *, encoding: Tensor | None = None, **given: Any
    ) -> Tensor:
        x = self.embedding(x, encoding)
        for block in self.blocks:
            x = block(x, graph, **given)
        return self.norm(x)

    def extra_repr(self) -> str:
        return f"{self.embedding.in_dim}, {self.embedding.features.out_features}"

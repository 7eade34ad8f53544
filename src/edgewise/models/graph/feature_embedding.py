"""What every model over a graph begins with: features, projected to the width of the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError
from edgewise.models.graph.sparse_dropout import FeatureDropout
from edgewise.nn.checks import check_edge, check_features, check_size
from edgewise.nn.layer import Layer, factory

__all__ = ["EdgeEmbedding", "NodeEmbedding"]


class NodeEmbedding(Layer):
    r"""Project the features of every node, and add its projected encoding.

    .. math::  h_i = W \, \mathrm{drop}(x_i) + b + U p_i

    Args:
        owner: The model, for messages.
        in_dim: Features of every node; kinds of nodes as one-hot vectors.
        dim: Width.
        encoding_dim: Numbers in each node's encoding ``p``; 0 for none.
        dropout: Share dropped from the features.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - x: ``[*batch, N, in_dim]``.
        - encoding: ``[*batch | none, N, encoding_dim]``.
        - result: ``[*batch, N, dim]``.

    Raises:
        ArgumentError: an encoding is missing, or would be ignored.
        ShapeError: features or encodings of another width.

    References:
        Dwivedi, Bresson. A Generalization of Transformer Networks to Graphs. 2020,
        arXiv:2012.09699, section 2.3, equations 2 and 3.
    """

    def __init__(
        self,
        owner: str,
        in_dim: int,
        dim: int,
        *,
        encoding_dim: int = 0,
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("NodeEmbedding", device, dtype)
        self.owner = owner
        self.in_dim = check_size(owner, "in_dim", in_dim)
        self.encoding_dim = check_size(owner, "encoding_dim", encoding_dim, 0)
        self.features = nn.Linear(in_dim, check_size(owner, "dim", dim), **made)
        self.encoding = nn.Linear(encoding_dim, dim, bias=False, **made) if encoding_dim else None
        self.dropout = FeatureDropout(dropout)

    def forward(self, x: Tensor, encoding: Tensor | None = None) -> Tensor:
        check_features(self.owner, "x", x, self.in_dim, "in_dim")
        if (encoding is None) != (self.encoding is None):
            got = "is missing" if encoding is None else "was given, which it would ignore"
            raise ArgumentError(
                f"{self.owner}: encoding {got}. Build it with encoding_dim for encodings, and "
                f"without for none."
            )
        x = self.features(self.dropout(x))
        if self.encoding is None or encoding is None:
            return x
        check_features(self.owner, "encoding", encoding, self.encoding_dim, "encoding_dim")
        return x + self.encoding(encoding)

    def extra_repr(self) -> str:
        return f"{self.in_dim}, {self.features.out_features}, encoding_dim={self.encoding_dim}"


class EdgeEmbedding(Layer):
    r"""Project the features of every edge, if the model has any: ``e_ij = W b_ij + b``.

    Args:
        owner: The model, for messages.
        edge_dim: Features of every edge; None for a model without them.
        dim: Width.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - edge: ``[*batch | 1, E, edge_dim]``, or None.
        - result: ``[*batch | 1, E, dim]``, or None.

    Raises:
        ArgumentError: features are missing, or would be ignored.
        ShapeError: features of another width.
    """

    def __init__(
        self,
        owner: str,
        edge_dim: int | None,
        dim: int,
        *,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("EdgeEmbedding", device, dtype)
        self.owner = owner
        self.edge_dim = edge_dim
        self.features = (
            None
            if edge_dim is None
            else nn.Linear(check_size(owner, "edge_dim", edge_dim), dim, **made)
        )

    def forward(self, edge: Tensor | None) -> Tensor | None:
        check_edge(self.owner, edge, self.edge_dim)
        return None if self.features is None else self.features(edge)

    def extra_repr(self) -> str:
        return f"edge_dim={self.edge_dim}"

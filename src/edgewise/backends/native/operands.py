"""Operands and settings of the attention kernels: tensors, and the numbers of a score."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from edgewise.ops.scores import Additive, Dot, GATv2, Score

__all__ = ["ADDITIVE", "Operands", "Settings", "settings_of"]

# Of native/edgewise.h.
_DOT, ADDITIVE, _GATV2 = range(3)


class Settings(NamedTuple):
    """The numbers of a call that do not depend on its tensors."""

    score: int
    scale: float
    softcap: float
    slope: float
    dropout: float


class Operands(NamedTuple):
    """The tensors of a call: ``[*batch, heads, nodes|edges, dim]``; a bias ends with the edges.

    All have one dtype but the bias, which has the one that sums are kept in.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    vector: Tensor | None = None
    bias: Tensor | None = None
    edge_key: Tensor | None = None
    edge_value: Tensor | None = None


def settings_of(score: Score, head_dim: int, dropout: float) -> Settings:
    """The settings of a score."""
    match score:
        case Dot():
            return Settings(_DOT, score.factor(head_dim), score.softcap or 0.0, 0.0, dropout)
        case Additive():
            return Settings(ADDITIVE, 1.0, 0.0, score.slope, dropout)
        case GATv2():
            return Settings(_GATV2, 1.0, 0.0, score.slope, dropout)
        case _:
            raise AssertionError(f"judge accepts no {score}")

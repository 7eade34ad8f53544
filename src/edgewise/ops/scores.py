"""Scores: the number of each edge before the softmax.

=========================  ============================================  ====================
score                      formula                                       used by
=========================  ============================================  ====================
`Dot`                      ``scale * q_i . (k_j + e_ij)``                Transformer
`Dot` with ``softcap``     ``cap * tanh(scale * q_i . k_j / cap)``       Gemma 2
`Additive`                 ``LeakyReLU(a_i + b_j + c_ij)``               GAT
`GATv2`                    ``a . LeakyReLU(q_i + k_j + e_ij)``           GATv2
=========================  ============================================  ====================

A bias is added after the score (`edgewise.ops.bias`). A score is evaluated on *paired* rows, so
one formula serves every backend that gathers.

The numbers of a score are any that float32 can hold: zero and negative ones too, from Python or
NumPy. A tensor is refused, also one without dimensions, because a plan keeps the number: it would
have no gradient, and reading it would synchronize the device.
"""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from edgewise.errors import ArgumentError

__all__ = ["Additive", "Dot", "GATv2", "Score"]

_LARGEST = torch.finfo(torch.float32).max
_SMALLEST = torch.finfo(torch.float32).tiny
_LARGEST_FACTOR = 1e30  # of a cap or a slope: numbers and gradients are multiplied by it
_LEARNED = "Multiply query by a learned scale instead, or take its .item()."


def _number(owner: str, name: str, value: object, cure: str) -> float:
    """A setting of a score as a number.

    Raises:
        ArgumentError: it is no number, or none that float32 can hold.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        cure = cure if hasattr(value, "item") else "Pass a float, such as 0.5."
        raise ArgumentError(f"{owner}: {name} must be a number, got {type(value).__name__}. {cure}")
    number: Any = value
    if not -_LARGEST <= number <= _LARGEST:  # an int may be too large for a float
        raise ArgumentError(
            f"{owner}: {name} must be a finite number of float32, got {reprlib.repr(value)}. "
            f"Pass one between {-_LARGEST:.2g} and {_LARGEST:.2g}."
        )
    return float(number)


def _slope(owner: str, value: object) -> float:
    """The slope of a LeakyReLU as a number; errors are those of `_number`."""
    slope = _number(owner, "slope", value, "Take its .item().")
    if abs(slope) > _LARGEST_FACTOR:
        raise ArgumentError(
            f"{owner}: slope must lie between {-_LARGEST_FACTOR:.2g} and "
            f"{_LARGEST_FACTOR:.2g}, got {value}. Pass a smaller one, such as 0.2."
        )
    return slope


def _set(score: Score, name: str, value: float) -> None:
    """Replace a setting during construction, unless it is a float already."""
    if type(getattr(score, name)) is not float:
        object.__setattr__(score, name, value)


class Score(ABC):
    """Base of scores: the number of an edge, from the rows of its target and source."""

    @property
    def vector(self) -> Tensor | None:
        """The learned tensor that belongs to this score, if any: ``[H, D]``."""
        return None

    @property
    def key_dim(self) -> int | None:
        """The head dimension of query and key that this score needs; None for any."""
        return None

    @abstractmethod
    def spec(self) -> tuple[str, *tuple[float | None, ...]]:
        """This score as plain numbers, without its tensor; see `score_from`."""

    @abstractmethod
    def pair(self, query: Tensor, key: Tensor, vector: Tensor | None) -> Tensor:
        """Scores of paired rows: ``[..., D]`` and ``[..., D]`` to ``[...]``."""


@dataclass(frozen=True)
class Dot(Score):
    r"""Scaled dot product.

    .. math::  s_{ij} = \text{scale} \; q_i \cdot (k_j + e_{ij})

    Args:
        scale: Factor of the dot product, of any sign; ``1 / sqrt(head_dim)`` when None.
        softcap: Limit ``c`` of the scores, ``c tanh(s / c)``, at most 1e30; no limit when None.

    Raises:
        ArgumentError: a setting is no finite number of float32, or ``softcap`` is not positive or
            above 1e30.

    References:
        Vaswani et al. 2017, arXiv:1706.03762, equation 1. Soft cap: Gemma team. Gemma 2. 2024,
        arXiv:2408.00118, section 2.
    """

    scale: float | None = None
    softcap: float | None = None

    def __post_init__(self) -> None:
        if self.scale is not None:
            _set(self, "scale", _number("Dot", "scale", self.scale, _LEARNED))
        if self.softcap is not None:
            cap = _number("Dot", "softcap", self.softcap, "Take its .item().")
            if not _SMALLEST <= cap <= _LARGEST_FACTOR:
                raise ArgumentError(
                    f"Dot: softcap must lie between {_SMALLEST:.2g} and {_LARGEST_FACTOR:.2g}, got "
                    f"{self.softcap}. Leave it out for no limit."
                )
            _set(self, "softcap", cap)

    def factor(self, head_dim: int) -> float:
        """The factor of the dot product for this head dimension."""
        return head_dim**-0.5 if self.scale is None else self.scale

    def capped(self, score: Tensor) -> Tensor:
        """Apply the soft cap, if there is one."""
        return score if self.softcap is None else self.softcap * torch.tanh(score / self.softcap)

    def spec(self) -> tuple[str, *tuple[float | None, ...]]:
        return ("Dot", self.scale, self.softcap)

    def pair(self, query: Tensor, key: Tensor, vector: Tensor | None) -> Tensor:
        return self.capped((query * key).sum(-1) * self.factor(query.shape[-1]))


@dataclass(frozen=True)
class Additive(Score):
    r"""The score of GAT: a number of the target plus a number of the source.

    .. math::  s_{ij} = \mathrm{LeakyReLU}(a_i + b_j + c_{ij})

    ``query`` holds the ``a_i`` and ``key`` the ``b_j``, both with head dimension 1; ``edge_key``
    the ``c_ij``.

    Args:
        slope: Slope of the LeakyReLU for negative numbers: at most 1e30, of any sign.

    Raises:
        ArgumentError: ``slope`` is no number, or a larger one.

    References:
        Velickovic et al. Graph Attention Networks. 2018, arXiv:1710.10903, equation 3.
    """

    slope: float = 0.2

    def __post_init__(self) -> None:
        _set(self, "slope", _slope("Additive", self.slope))

    @property
    def key_dim(self) -> int | None:
        return 1

    def spec(self) -> tuple[str, *tuple[float | None, ...]]:
        return ("Additive", self.slope)

    def pair(self, query: Tensor, key: Tensor, vector: Tensor | None) -> Tensor:
        return leaky_relu(query + key, self.slope).squeeze(-1)


@dataclass(frozen=True)
class GATv2(Score):
    r"""The score of GATv2: a learned vector times a LeakyReLU.

    .. math::  s_{ij} = a \cdot \mathrm{LeakyReLU}(q_i + k_j + e_{ij})

    Args:
        weight: The vector ``a`` of each head: ``[H, D]``; it receives gradients.
        slope: Slope of the LeakyReLU for negative numbers: at most 1e30, of any sign.

    Raises:
        ArgumentError: ``slope`` is no number, or a larger one.

    References:
        Brody, Alon, Yahav. How Attentive are Graph Attention Networks? 2021, arXiv:2105.14491,
        equation 7.
    """

    weight: Tensor | None = field(compare=False, repr=False)  # None in a problem, never in a call
    slope: float = 0.2

    def __post_init__(self) -> None:
        _set(self, "slope", _slope("GATv2", self.slope))

    @property
    def vector(self) -> Tensor | None:
        return self.weight

    def spec(self) -> tuple[str, *tuple[float | None, ...]]:
        return ("GATv2", self.slope)

    def pair(self, query: Tensor, key: Tensor, vector: Tensor | None) -> Tensor:
        assert vector is not None, "attention() always passes the vector of a GATv2 score"
        return (leaky_relu(query + key, self.slope) * vector).sum(-1)


def score_from(spec: tuple[str, *tuple[float | None, ...]]) -> Score:
    """The score of a `Score.spec`, without its tensor.

    >>> score_from(Dot(scale=0.5).spec())
    Dot(scale=0.5, softcap=None)
    """
    name, *numbers = spec
    match name:
        case "Dot":
            return Dot(*numbers)
        case "Additive":
            return Additive(*(number or 0.0 for number in numbers))
        case _:
            return GATv2(None, *(number or 0.0 for number in numbers))

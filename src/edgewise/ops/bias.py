"""Biases: numbers added to the scores, per head; given by edge, by distance or by pair.

A bare tensor is an `EdgeBias`. All of them receive gradients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from torch import Tensor

from edgewise.errors import ArgumentError, ShapeError

BiasKind = Literal["edge", "relative", "dense"]

__all__ = ["Bias", "DenseBias", "EdgeBias", "RelativeBias"]


@dataclass(frozen=True, eq=False)
class Bias(ABC):
    """Base of biases: numbers added to the scores."""

    values: Tensor

    kind: ClassVar[BiasKind]

    def __post_init__(self) -> None:
        if not isinstance(self.values, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ArgumentError(
                f"{type(self).__name__}: values must be a tensor, got "
                f"{type(self.values).__name__}. Use torch.tensor(values)."
            )

    @abstractmethod
    def on_edges(self, target: Tensor, source: Tensor, edge: Tensor | None) -> Tensor:
        """Values of the given edges, ``[*batch|1, H|1, *edges]``; ``edge`` is edge order."""

    @abstractmethod
    def check(
        self,
        batch: tuple[int, ...],
        heads: int,
        num_targets: int,
        num_sources: int,
        num_edges: int | None,
    ) -> None:
        """Raise a ShapeError if the values do not fit."""

    def with_values(self, values: Tensor) -> Bias:
        """The same kind of bias with other numbers."""
        return replace(self, values=values)


@dataclass(frozen=True, eq=False)
class EdgeBias(Bias):
    """One number for each edge: ``[*batch|1, H|1, E]``, in edge order."""

    kind: ClassVar[BiasKind] = "edge"

    def on_edges(self, target: Tensor, source: Tensor, edge: Tensor | None) -> Tensor:
        return self.values if edge is None else _select(self.values, edge)

    def check(
        self,
        batch: tuple[int, ...],
        heads: int,
        num_targets: int,
        num_sources: int,
        num_edges: int | None,
    ) -> None:
        check_per_edge(
            self.values, (*batch, heads), (num_edges,), "bias", "[*batch|1, heads|1, edges]"
        )


@dataclass(frozen=True, eq=False)
class RelativeBias(Bias):
    r"""A function of the distance ``source - target``, as a table (ALiBi, T5).

    .. math::  b_{h,ij} = \text{values}[h, \mathrm{clamp}(j - i - \text{first}, 0, K - 1)]

    Distances outside the table take its first or last entry. Targets and sources are counted
    from the end on rectangles: the last target has the position of the last source.

    Args:
        values: ``[H|1, K]``.
        first: Distance of the first entry, usually negative: ``-(K // 2)`` for a symmetric table.

    Example:
        >>> import torch
        >>> from edgewise import Causal, RelativeBias, attention
        >>> distance = torch.arange(-15.0, 1.0)  # from the farthest past to the node itself
        >>> alibi = RelativeBias(0.5 * distance[None], first=-15)  # slope 1/2, for all heads
        >>> q = torch.randn(4, 16, 8)
        >>> attention(q, q, q, Causal(16), bias=alibi).shape
        torch.Size([4, 16, 8])

    References:
        Press, Smith, Lewis. ALiBi. 2021, arXiv:2108.12409, section 3; Raffel et al. T5. 2019,
        arXiv:1910.10683, section 2.1.
    """

    first: int = 0
    offset: int = field(default=0, repr=False)  # sources before the first target; see `shifted`

    kind: ClassVar[BiasKind] = "relative"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.first, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ArgumentError(
                f"RelativeBias: first must be a whole number, got {self.first!r}. "
                f"It is the distance of the first entry of the table."
            )

    def shifted(self, offset: int) -> RelativeBias:
        """The same table where the first target has the position of source ``offset``."""
        return replace(self, offset=offset)

    def table_index(self, target: Tensor, source: Tensor) -> Tensor:
        """Which entry of the table belongs to each pair."""
        distance = source - target - self.offset
        return (distance - self.first).clamp(0, self.values.shape[-1] - 1)

    def on_edges(self, target: Tensor, source: Tensor, edge: Tensor | None) -> Tensor:
        index = self.table_index(target, source)
        return _select(self.values, index)

    def check(
        self,
        batch: tuple[int, ...],
        heads: int,
        num_targets: int,
        num_sources: int,
        num_edges: int | None,
    ) -> None:
        shape = list(self.values.shape)
        if len(shape) != 2 or shape[0] not in (1, heads) or shape[1] < 1:
            raise ShapeError(
                f"bias table must have shape [heads|1, distances] = [{heads}|1, K], got {shape}. "
                f"Give one row for each head, or one for all."
            )


@dataclass(frozen=True, eq=False)
class DenseBias(Bias):
    """One number for each target-source pair: ``[*batch|1, H|1, T, S]``; read only at edges."""

    kind: ClassVar[BiasKind] = "dense"

    def on_edges(self, target: Tensor, source: Tensor, edge: Tensor | None) -> Tensor:
        return self.values[..., target, source]

    def check(
        self,
        batch: tuple[int, ...],
        heads: int,
        num_targets: int,
        num_sources: int,
        num_edges: int | None,
    ) -> None:
        tail, meaning = (num_targets, num_sources), "[*batch|1, heads|1, targets, sources]"
        check_per_edge(self.values, (*batch, heads), tail, "bias", meaning)


def as_bias(bias: Bias | Tensor | None) -> Bias | None:
    """The bias, or a bare tensor as an `EdgeBias`."""
    if bias is None or isinstance(bias, Bias):
        return bias
    if isinstance(bias, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        return EdgeBias(bias)
    raise ArgumentError(
        f"bias must be a tensor of one number per edge, RelativeBias or DenseBias, got "
        f"{type(bias).__name__}. Use torch.as_tensor()."
    )


def _select(values: Tensor, index: Tensor) -> Tensor:
    """``values[..., index]``, with a gradient that is summed in a fixed order."""
    return values.index_select(-1, index.flatten()).unflatten(-1, index.shape)


def check_per_edge(
    values: Tensor, lead: tuple[int, ...], tail: tuple[int | None, ...], name: str, meaning: str
) -> None:
    """Check the shape ``[*lead, *tail]``, where leading sizes may be 1 or left out.

    Args:
        values: The tensor.
        lead: Leading sizes.
        tail: Trailing sizes; None matches any size.
        name: Name of the tensor, for the message.
        meaning: Names of the sizes, for the message.

    Raises:
        ShapeError: the shape does not fit.
    """
    leading, rest = values.shape[: -len(tail)], values.shape[-len(tail) :]
    fits = len(rest) == len(tail) and len(leading) <= len(lead)
    fits = fits and all(n is None or got == n for got, n in zip(rest, tail, strict=True))
    fits = fits and all(
        got == 1 or got == n  # noqa: PLR1714  # tracers compare open sizes, not members
        for got, n in zip(reversed(leading), reversed(lead), strict=False)
    )
    if not fits:
        cure = (
            "Give one number for each pair of the graph."
            if len(tail) == 2 and name == "bias"
            else "Order them as in edges(graph), one entry for each edge."
        )
        expected = ", ".join("?" if n is None else str(n) for n in (*lead, *tail))
        raise ShapeError(
            f"{name} must have shape {meaning} = [{expected}] (leading sizes may be 1 or left "
            f"out), got {list(values.shape)}. {cure}"
        )


def broadcast_lead(values: Tensor, lead: tuple[int, ...], tail: int) -> Tensor:
    """Expand ``[*batch|1, heads|1, *tail]`` to ``[prod(lead), *tail]``, without a copy if 1."""
    trailing = values.shape[-tail:]
    if not lead:
        return values.reshape(1, *trailing)
    return values.expand(*lead, *trailing).flatten(0, -tail - 1)

"""Patterns of mask functions of Transformers, from their structure, without evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

__all__ = ["Pattern", "read_pattern"]

_MODULE = "transformers.masking_utils"


@dataclass(frozen=True, eq=False)
class Pattern:
    r"""Keys that a query reads, by their positions, without padding.

    .. math::  -\text{right} \le q - k \le \text{left}, \qquad
        \lfloor (k - s_b) / \text{chunk} \rfloor = \lfloor (q - s_b) / \text{chunk} \rfloor

    Attributes:
        left: Largest distance backwards; None without a limit.
        right: Largest distance forwards; 0 for causal, None without a limit.
        chunk: Positions of a chunk, within which queries read; None for no chunks.
        starts: ``[B]``, the position at which chunks begin.
        texts: ``[B, N]``, the number of the text that each token of a packed row belongs to.
        positions: ``[B, N]``, the position of each token of a packed row in its text.
    """

    left: int | None = None
    right: int | None = None
    chunk: int | None = None
    starts: Tensor | None = None
    texts: Tensor | None = None
    positions: Tensor | None = None

    @property
    def causal(self) -> bool:
        """Whether no later position is read."""
        return self.right == 0


def read_pattern(function: Callable[..., Any]) -> Pattern | None:
    """The pattern of a mask function; None if it has parts that are not supported.

    Example:
        >>> from transformers.masking_utils import sliding_window_causal_mask_function
        >>> pattern = read_pattern(sliding_window_causal_mask_function(5))
        >>> pattern.left, pattern.right
        (4, 0)
        >>> read_pattern(lambda batch, head, query, key: key != 3) is None
        True
    """
    if getattr(function, "__module__", None) != _MODULE:
        return None
    name = function.__qualname__.partition(".")[0]
    held = _held(function)
    match name:
        case "causal_mask_function":
            return Pattern(right=0)
        case "bidirectional_mask_function":
            return Pattern()
        case "sliding_window_overlay":
            return Pattern(left=int(held["sliding_window"]) - 1)
        case "sliding_window_bidirectional_overlay":
            reach = int(held["sliding_window"])
            return Pattern(left=reach, right=reach)
        case "chunked_overlay":
            return Pattern(chunk=int(held["chunk_size"]), starts=held["left_padding"])
        case "packed_sequence_mask_function":
            return Pattern(texts=held["packed_sequence_mask"])
        case "remap_positions_for_packed_sequence":
            inner = read_pattern(held["mask_function"])
            return None if inner is None else replace(inner, positions=held["position_ids"])
        case "and_masks":
            return _all_of([read_pattern(part) for part in held["mask_functions"]])
        case _:
            return None


def _held(function: Callable[..., Any]) -> dict[str, Any]:
    """The closure variables of a function, by name."""
    names = function.__code__.co_freevars
    cells = function.__closure__ or ()
    return {name: cell.cell_contents for name, cell in zip(names, cells, strict=True)}


def _all_of(parts: list[Pattern | None]) -> Pattern | None:
    """The intersection of patterns; None if they cannot be combined."""
    combined = Pattern()
    for part in parts:
        if part is None:
            return None
        once = ("chunk", "starts", "texts", "positions")
        fields = {name: getattr(part, name) for name in once if getattr(part, name) is not None}
        if any(getattr(combined, name) is not None for name in fields):
            return None
        left, right = _least(combined.left, part.left), _least(combined.right, part.right)
        combined = replace(combined, left=left, right=right, **fields)
    if combined.positions is not None and combined.texts is None:
        return None  # positions that jump within a text are not distances
    return combined


def _least(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)

"""Base of models whose head may be tied: its matrix is then the embedding of tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from edgewise.nn.layer import Layer, reset

__all__ = ["TiedHead"]


class TiedHead(Layer):
    """A model with a linear ``head`` whose weight can be that of a table of tokens.

    Torch makes two of a tied weight in ``to_empty``, in moves from the meta device, and in
    ``load_state_dict(assign=True)``; here it stays one. A head that was replaced is left alone.
    """

    head: nn.Linear

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_post_hook(_tie_if_equal)

    def table(self) -> nn.Embedding:
        """The table whose weight a tied head has."""
        raise NotImplementedError

    def tie(self) -> None:
        """Give the head the weight of the table."""
        self.head.weight = self.table().weight

    @property
    def tied(self) -> bool:
        """Whether the head's weight is that of the table."""
        return getattr(self.head, "weight", None) is self.table().weight

    def reset_parameters(self) -> None:
        """Draw the weights of all parts anew; a tied head has those of its table."""
        tied = self.tied
        for part in self.children():
            if part is not self.head or not tied:
                reset(part)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        tied = self.tied
        super()._apply(fn, recurse)  # pyright: ignore[reportUnknownMemberType]
        if tied:
            self.tie()
        return self


def _tie_if_equal(model: nn.Module, _: Any) -> None:
    """Tie a head that was given the same numbers as its table, of one built as tied."""
    assert isinstance(model, TiedHead)
    weight, other = getattr(model.head, "weight", None), model.table().weight
    if weight is None or weight is other or not getattr(model, "built_tied", False):
        return
    same_kind = weight.shape == other.shape and weight.device == other.device
    if same_kind and not weight.is_meta and torch.equal(weight, other):
        model.tie()

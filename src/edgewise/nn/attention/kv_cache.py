"""Cache of a language model's keys and values, so that a step computes the newest alone."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.errors import ShapeError

__all__ = ["KVCache"]


class KVCache:
    """Keys and values of one attention layer, in the order in which they came.

    A step of a language model is then attention of a few targets over all sources so far: the
    graph ``Causal(T, S)``. Without gradients the tables grow by doubling, so that a step costs
    no copy of what is already there.

    Example:
        >>> import torch
        >>> from edgewise.graphs import Causal
        >>> from edgewise.nn import DotAttention
        >>> layer, x, cache = DotAttention(16, heads=2), torch.randn(1, 5, 16), KVCache()
        >>> steps = [layer(x[:, i : i + 1], Causal(1, i + 1), cache=cache) for i in range(5)]
        >>> torch.allclose(torch.cat(steps, 1), layer(x, Causal(5)), atol=1e-6)
        True
    """

    def __init__(self) -> None:
        self.length = 0
        self._tables: tuple[Tensor, Tensor] | None = None

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add the next nodes, ``[*batch, G, T, D]``, and return all of them.

        Raises:
            ShapeError: batch, heads or features differ from those that are there.
        """
        first, last = self.length, self.length + key.shape[-2]
        if self._tables is None:
            self._tables, self.length = (key, value), last
            return self._tables
        for name, table, new in zip(("key", "value"), self._tables, (key, value), strict=True):
            if table.shape[:-2] != new.shape[:-2] or table.shape[-1] != new.shape[-1]:
                raise ShapeError(
                    f"KVCache: {name} must be [*batch, heads, nodes, head_dim] as in the calls "
                    f"before, {list(table.shape)} but for the nodes, got {list(new.shape)}. Use "
                    f"one cache for each layer and each batch."
                )
        grown = tuple(
            _grown(table, new, first, last)
            for table, new in zip(self._tables, (key, value), strict=True)
        )
        self._tables, self.length = (grown[0], grown[1]), last
        return grown[0][..., :last, :], grown[1][..., :last, :]

    def reorder(self, batch: Tensor) -> None:
        """Go on with these entries of the first batch axis, as beam search does."""
        if self._tables is not None:
            key, value = self._tables
            self._tables = key.index_select(0, batch), value.index_select(0, batch)


def _grown(table: Tensor, new: Tensor, first: int, last: int) -> Tensor:
    """A table with the new rows in their place; written in place where autograd records nothing."""
    if torch.is_grad_enabled() and (table.requires_grad or new.requires_grad):
        return torch.cat([table[..., :first, :], new], -2)
    if table.shape[-2] < last or table.requires_grad:
        wide = table.new_empty(*table.shape[:-2], 2 * last, table.shape[-1])
        wide[..., :first, :] = table[..., :first, :]
        table = wide
    table[..., first:last, :] = new
    return table

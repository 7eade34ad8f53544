"""Conversion of tensors of an attention between a padded batch and the nodes of its graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgewise.graphs import recall
from edgewise.integrations.huggingface.batch import BatchGraph
from edgewise.layouts import edges
from edgewise.ops.bias import Bias, DenseBias

__all__ = ["Frame"]


class Frame:
    """Conversion between tensors of a padded batch and of the nodes of its graph."""

    def __init__(self, batch: BatchGraph, size: int, queries: int, keys: int) -> None:
        self.batch, self.size, self.queries, self.keys = batch, size, queries, keys

    def targets(self, table: Tensor) -> Tensor:
        return self._read(table, self.batch.rows, self.queries, self.batch.targets)

    def sources(self, table: Tensor) -> Tensor:
        return self._read(table, self.batch.columns, self.keys, self.batch.sources)

    def _read(
        self, table: Tensor, part: tuple[int, int], length: int, nodes: Tensor | None
    ) -> Tensor:
        """``[B, H, N, D]`` as it is or without some rows, or ``[H, nodes, D]``."""
        if nodes is None:
            return table if part == (0, length) else table[:, :, part[0] : part[1]]
        # Layers split heads after projecting, so that the heads of a token are contiguous.
        rows = table.transpose(1, 2).flatten(0, 1)
        return rows.index_select(0, nodes.to(rows.device)).transpose(0, 1).contiguous()

    def whole(self, out: Tensor) -> Tensor:
        """The result as ``[B, Q, H, Dv]``, zeros for queries without a source."""
        nodes = self.batch.targets
        if nodes is not None:
            rows = out.new_zeros(self.size * self.queries, out.shape[0], out.shape[2])
            rows.index_copy_(0, nodes.to(out.device), out.transpose(0, 1))
            return rows.unflatten(0, (self.size, self.queries))
        first, last = self.batch.rows
        if (first, last) != (0, self.queries):
            out = nn.functional.pad(out, (0, 0, first, self.queries - last))
        return out.transpose(1, 2)

    def bias(
        self, position: Tensor | None, given: Tensor | None, query: Tensor
    ) -> Bias | Tensor | None:
        """The bias of the scores: the position bias of the model and its mask.

        Args:
            position: ``[1 | B, H, Q, K]`` or None.
            given: A mask ``[B | 1, H | 1, Q, K]`` of the model, or None.
            query: Gives dtype and device.
        """
        mask = self.batch.mask
        added = None if mask is None else _numbers(mask.to(query.device), query.dtype)
        if given is not None:
            added = _numbers(given, query.dtype)
        if position is None:
            return None if added is None else DenseBias(added)
        if not self.batch.shared:
            return self._of_edges(position)
        (t0, t1), (s0, s1) = self.batch.rows, self.batch.columns
        position = position[..., t0:t1, s0:s1]
        return DenseBias(position if added is None else position + added)

    def _places(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Sequence, query and key of each edge."""
        batch = self.batch
        all_edges = recall(batch.graph, "edges", lambda: edges(batch.graph))
        if batch.targets is None or batch.sources is None:
            row, column = all_edges.target + batch.rows[0], all_edges.source + batch.columns[0]
            return torch.zeros_like(row).to(device), row.to(device), column.to(device)
        row, column = batch.targets[all_edges.target], batch.sources[all_edges.source]
        number = row // self.queries
        return number.to(device), (row % self.queries).to(device), (column % self.keys).to(device)

    def _of_edges(self, position: Tensor) -> Tensor:
        """``[1 | B, H, Q, K]`` as one number for each edge: ``[H, E]``."""
        number, row, column = self._places(position.device)
        place = row * self.keys + column
        if position.shape[0] > 1:
            place = place + number * (self.queries * self.keys)
        return position.transpose(0, 1).flatten(1).index_select(1, place)

    def matrix(self, alpha: Tensor) -> Tensor:
        """Weights of edges ``[.., E]`` as ``[B, H, Q, K]``, as other implementations give them."""
        number, row, column = self._places(alpha.device)
        B, Q, K = self.size, self.queries, self.keys
        place = (number * Q + row) * K + column
        if self.batch.shared:
            new = alpha.new_zeros(*alpha.shape[:2], Q * K)
            return new.index_copy_(2, place, alpha).unflatten(2, (Q, K))
        new = alpha.new_zeros(alpha.shape[0], B * Q * K)
        return new.index_copy_(1, place, alpha).unflatten(1, (B, Q, K)).transpose(0, 1)


def _numbers(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as numbers that are added to scores."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, -torch.inf)

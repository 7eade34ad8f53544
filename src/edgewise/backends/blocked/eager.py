"""Tiles of clusters on torch's fused attention for CPUs, on copies of keys and values.

The kernel stores nodes before heads, and so do the copies: what it returns is added up as it is.
Half precision is computed in float32, as gradients of a source come from many tiles: the kernel is
no faster in bfloat16 where the processor has no matrix units, and slower in its backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from edgewise.backends.blocked.tiling import Group, Tiling
from edgewise.ops.cpu_flash import BACKWARD, FORWARD, Tables, every_head
from edgewise.ops.state import accumulate_dtype, finite

__all__ = ["SLABS", "EagerTiling", "bytes_of_tile"]

SLABS = 2 << 20  # bytes of tiles that are computed at a time, unless one block of targets has more


@dataclass(frozen=True, eq=False)
class EagerTiling:
    """A tiling, as `Pieces` for torch's kernel.

    Attributes:
        tiling: The tiles.
    """

    tiling: Tiling

    def forward(self, tables: Tables, scale: float) -> tuple[Tensor, Tensor]:
        """Output ``[P, T, D]`` and log-sum-exp ``[P, T]``."""
        read = query, _, _ = self._all_blocks(every_head(tables))
        out, lse = query.new_zeros(query.shape), query.new_full(query.shape[:3], -torch.inf)
        for group in self._groups(query):
            out_of_group, lse_of_group = self._attend(group, read, scale)
            out[:, group.rows] = out_of_group.transpose(0, 1)
            lse[:, group.rows] = lse_of_group.transpose(0, 1)
            del out_of_group, lse_of_group  # before the next ones are made
        T, empty = self.tiling.num_targets, self.tiling.empty
        out, lse = out.flatten(1, 2)[:, :T], lse.flatten(1, 2)[:, :T]
        if empty is not None:
            out.masked_fill_(empty[:, None], 0.0)
            lse.masked_fill_(empty, -torch.inf)
        return out.to(tables[0].dtype), lse

    def backward(self, tables: Tables, results: Tables, scale: float) -> Tables:
        """Gradients of query, key and value from the global output and log-sum-exp."""
        read = query, key, _ = self._all_blocks(every_head(tables))
        lse = finite(results[1])[..., None]
        results = self._all_blocks((results[0], lse, results[2]))
        of_query = query.new_zeros(query.shape)
        shape = (key.shape[1], key.shape[2], key.shape[0], key.shape[3])
        of_key, of_value = key.new_zeros(shape), key.new_zeros(shape)
        for group in self._groups(query):
            queries, keys, values = self._gradients(group, read, results, scale)
            of_query[:, group.rows] = queries.transpose(0, 1)
            _add(of_key, group.columns, keys)
            _add(of_value, group.columns, values)
            del queries, keys, values
        T, S = self.tiling.num_targets, self.tiling.num_sources
        of_sources = (grad.flatten(0, 1)[:S].transpose(0, 1) for grad in (of_key, of_value))
        grads = (of_query.flatten(1, 2)[:, :T], *of_sources)
        first, second, third = (grad.to(tables[0].dtype) for grad in grads)
        return first, second, third

    def _attend(self, group: Group, tables: Tables, scale: float) -> tuple[Tensor, Tensor]:
        """Output ``[B, P, block, D]`` and log-sum-exp of a group; tables as of `_blocks`."""
        query, key, value = tables
        mask = self._mask(group, query.dtype)
        if mask is not None and group.empty is not None:
            mask.masked_fill_(group.empty[:, None, :, None], 0.0)
        read = (_taken(key, group.columns), _taken(value, group.columns))
        return FORWARD(_taken(query, group.rows), *read, attn_mask=mask, scale=scale)

    def _gradients(self, group: Group, tables: Tables, results: Tables, scale: float) -> Tables:
        """Gradients of queries, keys and values of a group; tables and results as of `_blocks`."""
        query, key, value = tables
        out, lse, grad_out = results
        return BACKWARD(
            _taken(grad_out, group.rows),
            _taken(query, group.rows),
            _taken(key, group.columns),
            _taken(value, group.columns),
            _taken(out, group.rows),
            _taken(lse, group.rows)[..., 0],
            0.0,
            False,
            attn_mask=self._mask(group, query.dtype),
            scale=scale,
        )

    def _all_blocks(self, tables: Tables) -> Tables:
        first, second, third = (self._blocks(table) for table in tables)
        return first, second, third

    def _blocks(self, table: Tensor) -> Tensor:
        """``[P, nodes, D]`` as ``[P, blocks, block, D]``, float32 at least: a view if it can be."""
        block = self.tiling.block
        table = table.to(accumulate_dtype(table.dtype))
        missing = -table.shape[1] % block
        table = pad(table, (0, 0, 0, missing)) if missing else table
        return table.unflatten(1, (table.shape[1] // block, block))

    def _groups(self, query: Tensor) -> Iterator[Group]:
        """The groups, in pieces of which copies take about `SLABS` bytes."""
        planes, _, block, channels = query.shape
        for group in self.tiling.groups:
            row = group.columns.shape[1] * bytes_of_tile(block, planes * channels, query.itemsize)
            most = max(1, SLABS // row)
            for start in range(0, group.rows.shape[0], most):
                yield group.part(start, start + most)

    def _mask(self, group: Group, dtype: torch.dtype) -> Tensor | None:
        """Zero for edges, minus infinity elsewhere: ``[B, 1, block, K * block]``."""
        if group.full:
            return None
        edges = group.edges(self.tiling.masks)
        mask = torch.zeros(edges.shape, dtype=dtype, device=edges.device)
        return mask.masked_fill_(~edges, -torch.inf)[:, None]


def bytes_of_tile(block: int, width: int, size: int) -> int:
    """Memory of the keys that are copied for a tile, in all planes, and of its mask."""
    return block * (width + block) * size


def _taken(table: Tensor, blocks: Tensor) -> Tensor:
    """``[P, blocks, block, D]`` as ``[B, P, K * block, D]``: a copy, nodes before planes."""
    copy = table.permute(1, 2, 0, 3).index_select(0, blocks.flatten())
    return copy.view(blocks.shape[0], -1, *copy.shape[2:]).transpose(1, 2)


def _add(total: Tensor, blocks: Tensor, grads: Tensor) -> None:
    """Add ``[B, P, K * block, D]`` to ``[blocks, block, P, D]``, one block after the other."""
    nodes = grads.transpose(1, 2).reshape(blocks.numel(), *total.shape[1:])
    total.index_add_(0, blocks.flatten(), nodes.to(total.dtype))

"""Tiles of a band on torch's fused attention for CPUs, which reads them in place.

Forward, a tile is a block of targets with the slab of sources they read. Backward it is a block of
sources with the slab of targets that read them: gradients of keys and values are then written
once, and only those of queries, which neighbours share, are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.backends.banded.strands import Strand
from edgewise.backends.banded.tiles import Tiles
from edgewise.ops.cpu_flash import BACKWARD, FORWARD, Tables, every_head, on_matrix_units
from edgewise.ops.state import accumulate_dtype

__all__ = ["GROUPS", "EagerStrands"]

# Bytes of outputs, or of gradients of queries, at a time: they are copied while in a cache.
GROUPS = 4 << 20


@dataclass(frozen=True, eq=False)
class EagerStrands:
    """The strands of a band, as `Pieces` for torch's kernel."""

    strands: tuple[Strand, ...]

    def forward(self, tables: Tables, scale: float) -> tuple[Tensor, Tensor]:
        tables = every_head(tables)
        if len(self.strands) == 1:
            return _forward(tables, self.strands[0].tiles, scale)
        query = tables[0]
        out = torch.empty_like(query)
        lse = query.new_empty(query.shape[:2], dtype=accumulate_dtype(query.dtype))
        for strand in self.strands:
            at = strand.nodes
            out[:, at], lse[:, at] = _forward(strand.of_tables(tables), strand.tiles, scale)
        return out, lse

    def backward(self, tables: Tables, results: Tables, scale: float) -> Tables:
        tables = every_head(tables)
        if len(self.strands) == 1:
            return _backward(tables, results, self.strands[0].reversed, scale)
        query, key, value = tables
        grads = (torch.empty_like(query), torch.empty_like(key), torch.empty_like(value))
        for strand in self.strands:
            read = (strand.of_tables(tables), strand.of_tables(results))
            parts = _backward(*read, strand.reversed, scale)
            for grad, part in zip(grads, parts, strict=True):
                grad[:, strand.nodes] = part
        return grads


def _forward(tables: Tables, tiles: Sequence[Tiles], scale: float) -> tuple[Tensor, Tensor]:
    """Output ``[P, T, D]`` and log-sum-exp ``[P, T]`` of a band.

    Args:
        tables: Query ``[P, T, D]``, key and value ``[P, S, D]``.
        tiles: The tiles of the band; they hold every target.
        scale: Factor of the scores.
    """
    query, key, value = tables
    out = torch.empty_like(query)
    lse = query.new_empty((*query.shape[:2], 1), dtype=accumulate_dtype(query.dtype))
    for whole in tiles:
        block = query.shape[0] * whole.rows * query.shape[-1] * query.itemsize
        mask = _mask(whole.edges, query.dtype)
        for part in whole.in_groups(max(1, GROUPS // max(block, 1))):
            read = (part.rows_of(query), part.columns_of(key), part.columns_of(value))
            out_of_part, lse_of_part = FORWARD(*read, attn_mask=mask, scale=scale)
            part.rows_of(out).copy_(out_of_part)
            part.rows_of(lse)[..., 0].copy_(lse_of_part)
    return out, lse[..., 0]


def _backward(tables: Tables, results: Tables, tiles: Sequence[Tiles], scale: float) -> Tables:
    """Gradients of query, key and value from the global output and log-sum-exp.

    Args:
        tables: Query ``[P, T, D]``, key and value ``[P, S, D]``.
        results: Output ``[P, T, D]``, log-sum-exp ``[P, T]``, gradient of the output.
        tiles: The tiles of the reversed band; they hold every source that is read.
        scale: Factor of the scores.
    """
    query, key, value = tables
    out, lse, grad_out = results
    dtype = query.dtype if on_matrix_units(query.dtype) else lse.dtype
    of_query = torch.zeros_like(query, dtype=lse.dtype)
    of_key, of_value = torch.zeros_like(key), torch.zeros_like(value)
    query, out, grad_out = (table.to(dtype) for table in (query, out, grad_out))
    for whole in tiles:
        slab = query.shape[0] * whole.columns * query.shape[-1] * query.itemsize
        mask = _mask(whole.edges.mT, dtype)
        for part in whole.in_groups(max(1, GROUPS // max(slab, 1))):
            slabs, keys, values = BACKWARD(
                part.columns_of(grad_out),
                part.columns_of(query),
                part.rows_of(key).to(dtype),
                part.rows_of(value).to(dtype),
                part.columns_of(out),
                part.columns_of(lse[..., None])[..., 0],
                0.0,
                False,
                attn_mask=mask,
                scale=scale,
            )
            part.add_columns(slabs, of_query)
            part.rows_of(of_key).copy_(keys)
            part.rows_of(of_value).copy_(values)
    return of_query.to(tables[0].dtype), of_key, of_value


def _mask(edges: Tensor, dtype: torch.dtype) -> Tensor:
    """Zero for edges, minus infinity elsewhere."""
    zeros = torch.zeros(edges.shape, dtype=dtype, device=edges.device)
    return zeros.masked_fill_(~edges, -torch.inf)

"""Buckets of blocks on torch's fused attention for CPUs: each number is read and written once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.backends.ragged.bins import Bin
from edgewise.backends.ragged.buckets import Bucket
from edgewise.ops.cpu_flash import BACKWARD, FORWARD, Tables, on_matrix_units
from edgewise.ops.state import accumulate_dtype

__all__ = ["EagerBuckets", "blocks_at_once"]

GROUP = 2 << 20  # bytes of one tensor's copies at a time
_SMALL = 256  # rows of blocks that are too small for half precision, backward


@dataclass(frozen=True, eq=False)
class EagerBuckets:
    """A ragged graph as buckets, as `Pieces` for torch's kernel.

    Attributes:
        parts: The buckets, which share no node.
        fill_targets: Whether some targets are in none.
        fill_sources: Whether some sources are in none.
    """

    parts: Sequence[Bucket]
    fill_targets: bool
    fill_sources: bool

    def forward(self, tables: Tables, scale: float) -> tuple[Tensor, Tensor]:
        query, key, value = tables
        share = query.shape[0] // max(key.shape[0], 1)
        out = torch.zeros_like(query) if self.fill_targets else torch.empty_like(query)
        lse = query.new_full((*query.shape[:2], 1), -torch.inf, dtype=accumulate_dtype(query.dtype))
        for part in self._groups(query):
            rows, columns = part.rows, part.columns
            read = _heads(rows.read(query), columns.read(key), columns.read(value), share)
            out_of_part, lse_of_part = FORWARD(
                *read,
                is_causal=part.torch_causal,
                attn_mask=part.mask(query.dtype),
                scale=scale,
            )
            rows.write(_planes(out_of_part, rows.count), out)
            rows.write(_planes(lse_of_part[..., None], rows.count), lse)
        return out, lse[..., 0]

    def backward(self, tables: Tables, results: Tables, scale: float) -> Tables:
        query, key, value = tables
        out, lse, grad_out = results
        share = query.shape[0] // max(key.shape[0], 1)
        of_query = torch.zeros_like(query) if self.fill_targets else torch.empty_like(query)
        new = torch.zeros_like if self.fill_sources else torch.empty_like
        of_key, of_value = new(key), new(value)
        for part in self._groups(query):
            rows, columns = part.rows, part.columns
            dtype = query.dtype
            if rows.length <= _SMALL or not on_matrix_units(dtype):
                dtype = accumulate_dtype(dtype)
            read = _heads(
                rows.read(query).to(dtype),
                columns.read(key).to(dtype),
                columns.read(value).to(dtype),
                share,
            )
            sums = rows.read(lse[..., None])[..., 0]
            if rows.padding is not None:  # weights are exp(score - lse): none for a padded row
                sums = sums.masked_fill(rows.padding[:, None], torch.inf)
            shape = read[0].shape
            queries, keys, values = BACKWARD(
                rows.read(grad_out).to(dtype).view(shape),
                *read,
                rows.read(out).to(dtype).view(shape),
                sums.view(shape[:-1]),
                0.0,
                part.torch_causal,
                attn_mask=part.mask(dtype),
                scale=scale,
            )
            rows.write(_planes(queries, rows.count), of_query)
            columns.write(_summed(_planes(keys, rows.count), share), of_key)
            columns.write(_summed(_planes(values, rows.count), share), of_value)
        return of_query, of_key, of_value

    def _groups(self, query: Tensor) -> list[Bucket]:
        if not query.numel():
            return []
        number = query.shape[0] * query.shape[2] * query.itemsize
        return [
            part
            for whole in self.parts
            for part in whole.in_groups(blocks_at_once(whole.bin, number))
        ]


def blocks_at_once(bin_: Bin, node: int) -> int:
    """The number of blocks that are computed together, where a node has ``node`` bytes."""
    return max(1, GROUP // (max(bin_.rows, bin_.columns) * max(node, 1)))


# --- Heads that share keys and values ------------------------------------------------------------


def _heads(query: Tensor, key: Tensor, value: Tensor, share: int) -> Tables:
    """``[count, planes, length, dim]`` with a key and a value for each head."""
    if share == 1:
        return query, key, value
    if query.shape[0] > 1:
        return query, key.repeat_interleave(share, 1), value.repeat_interleave(share, 1)
    # One block: heads that share a key become a batch, and the key is read where it is.
    key, value = (t[0, :, None].expand(-1, share, -1, -1) for t in (key, value))
    return query.view(*key.shape[:2], *query.shape[2:]), key, value


def _planes(result: Tensor, count: int) -> Tensor:
    """A result of the kernel as ``[count, planes, length, dim]``."""
    return result.reshape(count, -1, *result.shape[2:])


def _summed(grads: Tensor, share: int) -> Tensor:
    """Gradients added up over the heads that share a key."""
    if share == 1:
        return grads
    accumulate = accumulate_dtype(grads.dtype)
    return grads.unflatten(1, (-1, share)).sum(2, dtype=accumulate)

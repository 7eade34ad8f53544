"""Tiles of a band in plain torch operations, for compilers, tracers and ``torch.func``.

The same tiles as in `eager`, of keys and values that are padded at both ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from edgewise.backends.banded.strands import Strand
from edgewise.layouts import Band
from edgewise.ops.cpu_flash import Tables, every_head
from edgewise.ops.state import accumulate_dtype
from edgewise.ops.tracing import are_transforms_active

__all__ = ["TracedStrands"]


@dataclass(frozen=True, eq=False)
class TracedStrands:
    """The strands of a band, as `TracedPieces`."""

    strands: tuple[Strand, ...]

    def forward(self, tensors: Tables, scale: float) -> tuple[Tensor, Tensor]:
        query, key, value = every_head(tensors, -3)
        outs: list[Tensor] = []
        sums: list[Tensor] = []
        for strand in self.strands:
            at = strand.nodes
            read = (query[..., at, :], key[..., at, :], value[..., at, :])
            out, lse = _forward(read, strand.band, strand.block, scale)
            outs.append(out)
            sums.append(lse)
        if len(self.strands) == 1:
            return outs[0], sums[0]
        nodes = torch.arange(query.shape[-2], device="cpu")
        order = torch.argsort(torch.cat([nodes[strand.nodes] for strand in self.strands]))
        return torch.cat(outs, -2)[..., order, :], torch.cat(sums, -1)[..., order]


def _forward(tensors: Tables, band: Band, block: int, scale: float) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of a band without gaps; every target reads something.

    Args:
        tensors: Query ``[*batch, H, T, D]``, key and value ``[*batch, H, S, D]``.
        band: Which pairs are edges.
        block: Targets of a tile.
        scale: Factor of the scores.

    Complexity: O(T * (block + width)) time and memory for each head.
    """
    query, key, value = tensors
    T, S, first = band.num_targets, band.num_sources, band.first
    count, columns = -(-T // block), block + band.last - first
    rows = torch.arange(count * block, device="cpu").view(count, block, 1)
    column = rows[:, :1] + first + torch.arange(columns, device="cpu")
    distance = column - rows
    edges = (distance >= first) & (distance <= band.last) & (column >= 0) & (column < S)
    edges |= rows >= T  # rows that are none read anything

    accumulate = accumulate_dtype(query.dtype)
    tiles = pad(query.to(accumulate), (0, 0, 0, count * block - T))
    tiles = tiles.unflatten(-2, (count, block))

    def slabs(table: Tensor) -> Tensor:  # [*batch, H, tiles, dim, columns]
        after = (count - 1) * block + first + columns - S
        table = pad(table.to(accumulate), (0, 0, -first, after))
        if are_transforms_active():  # torch.vmap has no rule for the gradient of a view by steps
            index = (rows[:, :1] + torch.arange(columns, device="cpu")).flatten()
            return table.index_select(-2, index).unflatten(-2, (count, columns)).mT
        return table.unfold(-2, columns, block)

    scores = (tiles @ slabs(key)) * scale
    scores = scores.masked_fill(~edges, -torch.inf)
    lse = torch.logsumexp(scores, -1)
    out = torch.softmax(scores, -1) @ slabs(value).mT
    out = out.flatten(-3, -2)[..., :T, :]
    return out.to(query.dtype), lse.flatten(-2)[..., :T]

"""Tiles of clusters in plain torch operations, for compilers, tracers and ``torch.func``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from edgewise.backends.blocked.tiling import Tiling
from edgewise.ops.cpu_flash import Tables, every_head
from edgewise.ops.state import accumulate_dtype

__all__ = ["TracedTiling"]


@dataclass(frozen=True, eq=False)
class TracedTiling:
    """A tiling, as `TracedPieces`.

    Attributes:
        tiling: The tiles.
    """

    tiling: Tiling

    def forward(self, tensors: Tables, scale: float) -> tuple[Tensor, Tensor]:
        """Output and log-sum-exp.

        Complexity: O(pairs of all tiles) time and memory for each head.
        """
        tiling = self.tiling
        accumulate, block = accumulate_dtype(tensors[0].dtype), tiling.block

        def blocks(table: Tensor) -> Tensor:  # [*batch, H, blocks, block, D]
            table = pad(table.to(accumulate), (0, 0, 0, -table.shape[-2] % block))
            return table.unflatten(-2, (-1, block)) if table.shape[-2] else table[..., None, :, :]

        query, key, value = (blocks(table) for table in every_head(tensors, -3))
        outs: list[Tensor] = []
        sums: list[Tensor] = []
        for group in tiling.groups:
            keys, values = (t[..., group.columns, :, :].flatten(-3, -2) for t in (key, value))
            scores = (query[..., group.rows, :, :] @ keys.mT) * scale
            edges = group.edges(tiling.masks)
            opened = edges if group.empty is None else edges | group.empty[..., None]
            scores = scores.masked_fill(~opened, -torch.inf)
            outs.append(torch.softmax(scores, -1) @ values)
            sums.append(torch.logsumexp(scores, -1))
        T, lead = tiling.num_targets, query.shape[:-3]
        # Zeros for blocks that read nothing, which depend on all tensors, as every output has to.
        none = [table[..., :0, :, :].sum((-3, -2, -1)) for table in (query, key, value)]
        nothing = none[0] + none[1] + none[2]
        idle = nothing[..., None, None].expand(*lead, 1, block)
        outs.append(idle[..., None].expand(*lead, 1, block, value.shape[-1]))
        sums.append(idle)
        out = torch.cat(outs, -3)[..., tiling.place, :, :].flatten(-3, -2)[..., :T, :]
        lse = torch.cat(sums, -2)[..., tiling.place, :].flatten(-2)[..., :T]
        if tiling.empty is not None:
            out = out.masked_fill(tiling.empty[:, None], 0.0)
            lse = lse.masked_fill(tiling.empty, -torch.inf)
        return out.to(tensors[0].dtype), lse

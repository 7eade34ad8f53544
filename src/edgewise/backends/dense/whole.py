"""The whole matrix on torch's fused attention for CPUs, which tells the log-sum-exp."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.ops.fused import BACKWARD, FORWARD, Tables, every_head

__all__ = ["Whole"]


@dataclass(frozen=True, eq=False)
class Whole:
    """A graph as one piece, for `edgewise.ops.fused`.

    Attributes:
        mask: ``[T, S]``, added to the scores, rows without sources opened; None for none.
        causal: Only earlier sources, as torch means it.
        empty: ``[T]`` bool: targets without sources; None when there are none.
    """

    mask: Tensor | None
    causal: bool
    empty: Tensor | None

    def forward(self, tables: Tables, scale: float) -> tuple[Tensor, Tensor]:
        query, key, value = (table[None] for table in every_head(tables))
        mask = None if self.mask is None else self.mask.to(query.dtype)
        out, lse = FORWARD(query, key, value, 0.0, self.causal, attn_mask=mask, scale=scale)
        out, lse = out[0], lse[0]
        if self.empty is not None:
            out = out.masked_fill(self.empty[:, None], 0.0)
            lse = lse.masked_fill(self.empty, -torch.inf)
        return out, lse

    def backward(self, tables: Tables, results: Tables, scale: float) -> Tables:
        query, key, value = (table[None] for table in every_head(tables))
        out, lse, push = results
        if self.empty is not None:  # every weight of these rows is zero
            lse = lse.masked_fill(self.empty, torch.inf)
        mask = None if self.mask is None else self.mask.to(query.dtype)
        found = BACKWARD(
            push.to(query.dtype)[None],
            query,
            key,
            value,
            out.to(query.dtype)[None],
            lse[None],
            0.0,
            self.causal,
            attn_mask=mask,
            scale=scale,
        )
        of_query, of_key, of_value = (grad[0] for grad in found)
        return of_query, of_key, of_value

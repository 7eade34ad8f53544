"""The whole matrix on torch's fused attention for CPUs, which returns the log-sum-exp."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.backends.dense.twice import pair_attention
from edgewise.ops.cpu_flash import BACKWARD, FORWARD, Tables, every_head

__all__ = ["TracedWhole", "Whole"]


@dataclass(frozen=True, eq=False)
class Whole:
    """A graph as one piece, as `Pieces` for torch's kernel.

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
        out, lse, grad_out = results
        if self.empty is not None:  # every weight of these rows is zero
            lse = lse.masked_fill(self.empty, torch.inf)
        mask = None if self.mask is None else self.mask.to(query.dtype)
        grads = BACKWARD(
            grad_out.to(query.dtype)[None],
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
        of_query, of_key, of_value = (grad[0] for grad in grads)
        return of_query, of_key, of_value


@dataclass(frozen=True, eq=False)
class TracedWhole:
    """A graph as one piece, as `TracedPieces`."""

    whole: Whole

    def forward(self, tensors: Tables, scale: float) -> tuple[Tensor, Tensor]:
        whole = self.whole
        out, lse = pair_attention(*tensors, whole.mask, scale, causal=whole.causal)
        if whole.empty is None:
            return out, lse
        out = out.masked_fill(whole.empty[:, None], 0.0)
        return out, lse.masked_fill(whole.empty, -torch.inf)

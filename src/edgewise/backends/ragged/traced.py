"""Buckets of blocks in plain torch operations, for compilers, tracers and ``torch.func``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.backends.ragged.bins import coarse_bins
from edgewise.backends.ragged.buckets import Bucket, Slots, forbidden
from edgewise.layouts import Ragged
from edgewise.ops.cpu_flash import Tables, every_head
from edgewise.ops.state import accumulate_dtype

__all__ = ["TracedBuckets"]


@dataclass(frozen=True, eq=False)
class TracedBuckets:
    """A ragged graph in a few coarse buckets, as `TracedPieces`.

    Attributes:
        parts: The buckets.
        place: ``[T]``, where each target stands in the rows of all buckets; a target that reads
            nothing stands behind them.
    """

    parts: tuple[Bucket, ...]
    place: Tensor

    @classmethod
    def of(cls, graph: Ragged) -> TracedBuckets:
        """The buckets of a graph."""
        parts = tuple(Bucket.of(graph, bin_) for bin_ in coarse_bins(graph))
        place = torch.full((graph.num_targets,), -1)
        done = 0
        for part in parts:
            slots = torch.arange(len(part.rows.nodes)) if part.rows.kept is None else part.rows.kept
            place[part.rows.nodes[slots]] = slots + done
            done += len(part.rows.nodes)
        return cls(parts, torch.where(place < 0, done, place))

    def forward(self, tensors: Tables, scale: float) -> tuple[Tensor, Tensor]:
        """Output and log-sum-exp.

        Complexity: O(pairs) time and memory for each head, padding included.
        """
        dtype = tensors[0].dtype
        accumulate = accumulate_dtype(dtype)
        query, key, value = (t.to(accumulate) for t in every_head(tensors, -3))
        lead = query.shape[:-2]
        outs: list[Tensor] = []
        sums: list[Tensor] = []
        for part in self.parts:
            rows, columns = part.rows, part.columns
            scores = (_read(query, rows) @ _read(key, columns).mT) * scale
            off = forbidden(part.bin, rows.sizes, columns.sizes)
            scores = scores if off is None else scores.masked_fill(off, -torch.inf)
            sums.append(torch.logsumexp(scores, -1).flatten(-2))
            outs.append((torch.softmax(scores, -1) @ _read(value, columns)).flatten(-3, -2))
        outs.append(value.new_zeros((*lead, 1, value.shape[-1])))
        sums.append(value.new_full((*lead, 1), -torch.inf))
        out = torch.cat(outs, -2).index_select(-2, self.place)
        return out.to(dtype), torch.cat(sums, -1).index_select(-1, self.place)


def _read(table: Tensor, slots: Slots) -> Tensor:
    """``[*batch, H, nodes, dim]`` as ``[*batch, H, count, length, dim]``."""
    return table.index_select(-2, slots.nodes).unflatten(-2, (slots.count, slots.length))

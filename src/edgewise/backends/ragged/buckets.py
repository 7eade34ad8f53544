"""A bucket: blocks of nearly one size, padded to the largest, as one batch of small matrices."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgewise.backends.ragged.bins import Bin
from edgewise.graphs.cache import lasting
from edgewise.layouts import Ragged

__all__ = ["Bucket", "Slots", "forbidden"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Slots:
    """The positions of the blocks of a bucket among the rows, or the columns, of the graph.

    Attributes:
        count: Blocks.
        length: Slots of each: nodes of the largest.
        first: First node of the first block.
        step: From the first node of a block to that of the next; 0 where blocks are of different
            sizes or not evenly spaced, and so cannot be read in place.
        sizes: ``[count]``, nodes of each block.
        nodes: ``[count * length]``; a block that is too short repeats its last node.
        kept: ``[nodes]``, slots that repeat nothing; None if they are all slots.
    """

    count: int
    length: int
    first: int
    step: int
    sizes: Tensor
    nodes: Tensor
    kept: Tensor | None

    @classmethod
    def of(cls, first: Ints, sizes: Ints, length: int) -> Slots:
        """Slots of blocks with these first nodes and sizes, both ``[count]``, int64."""
        steps = np.unique(np.diff(first))
        full = bool((sizes == length).all())
        place = np.minimum(np.arange(length), sizes[:, None] - 1)
        kept = None if full else (place == np.arange(length)).reshape(-1).nonzero()[0]
        step = int(steps[0]) if len(steps) else length
        return cls(
            len(first),
            length,
            int(first[0]),
            step if full and len(steps) <= 1 else 0,
            torch.from_numpy(sizes),
            torch.from_numpy((first[:, None] + place).reshape(-1)),
            None if kept is None else torch.from_numpy(kept),
        )

    @property
    def padding(self) -> Tensor | None:
        """``[count, length]``, bool: slots that repeat a node; None where none does."""
        if self.kept is None:
            return None
        return torch.arange(self.length, device="cpu") >= self.sizes[:, None]

    def read(self, table: Tensor) -> Tensor:
        """``[planes, nodes, dim]`` as ``[count, planes, length, dim]``."""
        if self.step:
            return self._in_place(table)
        if _node_major(table):
            rows = table.transpose(0, 1).index_select(0, self.nodes)
            return rows.unflatten(0, (self.count, self.length)).transpose(1, 2)
        rows = table.index_select(1, self.nodes)
        return rows.unflatten(1, (self.count, self.length)).transpose(0, 1)

    def write(self, blocks: Tensor, table: Tensor) -> None:
        """Put ``[count, planes, length, dim]`` into ``[planes, nodes, dim]``, without padding."""
        if self.step:
            self._in_place(table).copy_(blocks)
            return
        nodes, rows = self.nodes, blocks.to(table.dtype).transpose(1, 2).flatten(0, 1)
        if self.kept is not None:
            nodes, rows = nodes[self.kept], rows.index_select(0, self.kept)
        if _node_major(table):
            table.transpose(0, 1).index_copy_(0, nodes, rows)
        else:
            table.index_copy_(1, nodes, rows.transpose(0, 1))

    def _in_place(self, table: Tensor) -> Tensor:
        plane, row, channel = table.stride()
        shape = (self.count, table.shape[0], self.length, table.shape[2])
        stride = (self.step * row, plane, row, channel)
        return table.as_strided(shape, stride, table.storage_offset() + self.first * row)


def _node_major(table: Tensor) -> bool:
    """Whether all planes of a node lie together."""
    return table.stride(0) < table.stride(1)


@dataclass(frozen=True, eq=False)
class Bucket:
    """Blocks that one call of torch's kernel computes.

    Attributes:
        graph: The blocks of the whole graph.
        bin: Which of them are meant.
        rows: Where their targets are.
        columns: Where their sources are.
    """

    graph: Ragged
    bin: Bin
    rows: Slots
    columns: Slots
    _groups: dict[int, tuple[Bucket, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Ragged, bin_: Bin) -> Bucket:
        """The bucket of the blocks of a bin."""
        at = bin_.members
        return cls(
            graph,
            bin_,
            Slots.of(graph.first_target[at], graph.targets[at], bin_.rows),
            Slots.of(graph.first_source[at], graph.sources[at], bin_.columns),
        )

    @property
    def torch_causal(self) -> bool:
        """Whether torch's own causal mask is all that is needed, padding included."""
        return self.bin.causal and self.bin.square

    def in_groups(self, count: int) -> tuple[Bucket, ...]:
        """These blocks in buckets of at most ``count``."""
        if count >= self.rows.count:
            return (self,)
        if count not in self._groups:
            with lasting():
                self._groups[count] = tuple(
                    Bucket.of(self.graph, replace(self.bin, members=members))
                    for members in np.split(self.bin.members, range(count, self.rows.count, count))
                )
        return self._groups[count]

    def mask(self, dtype: torch.dtype) -> Tensor | None:
        """Minus infinity for what is no edge, ``[count, 1, 1 or rows, columns]``.

        None where all are edges, or where torch's own causal mask is all that is needed.
        """
        if self.torch_causal:
            return None
        off = forbidden(self.bin, self.rows.sizes, self.columns.sizes)
        if off is None:
            return None
        zeros = torch.zeros(off.shape, dtype=dtype, device="cpu")
        return zeros.masked_fill_(off, -torch.inf)[:, None]


def forbidden(bin_: Bin, targets: Tensor, sources: Tensor) -> Tensor | None:
    """``[count, 1 or rows, columns]``, bool: what is no edge of its block; None if all are.

    Padded columns are forbidden to all rows, while padded rows read what others do.

    Args:
        bin_: Blocks of which sizes and kind.
        targets: ``[count]``, rows of each block.
        sources: ``[count]``, columns of each block.
    """
    column = torch.arange(bin_.columns, device="cpu")
    ends = sources[:, None, None]
    if bin_.causal:
        row = torch.arange(bin_.rows, device="cpu")[:, None]
        ahead = column > row + (ends - targets[:, None, None])
        return ahead if bin_.square else ahead | (column >= ends)
    return column >= ends if bin_.padded else None

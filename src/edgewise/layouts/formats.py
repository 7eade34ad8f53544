"""Layouts of edges: frozen records of tensors.

===============  ==================================================  ================
record           content                                             memory
===============  ==================================================  ================
`Edges`          target and source of every edge, in edge order      16 bytes an edge
`Csr`            sources of every target, by target then source      8 bytes an edge
`ReversedCsr`    targets of every source, and positions in `Csr`     16 bytes an edge
`PaddedRows`     sources of every target, padded to the longest row  9 bytes a cell
`DenseMask`      one bool for every target-source pair               1 byte a pair
`BlockMask`      empty, partial or full for every block of pairs     1 byte a block
===============  ==================================================  ================

**Edge order** is the order of all per-edge tensors: the columns of an `EdgeList`; part after part
in a disjoint union; by target, then source, in every other graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["BlockMask", "Csr", "DenseMask", "Edges", "PaddedRows", "ReversedCsr"]


@dataclass(frozen=True, eq=False)
class Edges:
    """Every edge, in edge order.

    Attributes:
        target: ``[E]``, int64.
        source: ``[E]``, int64.

    Example:
        >>> from edgewise import Window, edges
        >>> edges(Window(3, left=1, right=0)).edge_index
        tensor([[0, 0, 1, 1, 2],
                [0, 1, 1, 2, 2]])
    """

    target: Tensor
    source: Tensor

    @property
    def num_edges(self) -> int:
        """Edges ``E``, copies counted."""
        return self.target.shape[0]

    @property
    def edge_index(self) -> Tensor:
        """Sources and targets of all edges, as PyTorch Geometric stores them: ``[2, E]``, int64."""
        return torch.stack([self.source, self.target])


@dataclass(frozen=True, eq=False)
class Csr:
    """Compressed rows by target: row ``t`` is ``indices[indptr[t]:indptr[t + 1]]``.

    Attributes:
        indptr: ``[T + 1]``, int64, rising from 0 to E.
        indices: ``[E]``, int64: sources, rising within each row.
        target: ``[E]``, int64: the row of each entry.
        edge: ``[E]``, int64: position of each entry in edge order; None when they are the same.
        copy: ``[E]``, int64: number of equal entries before this one; None when the graph
            holds no edge twice.
        num_sources: Columns ``S``.
    """

    indptr: Tensor
    indices: Tensor
    target: Tensor
    edge: Tensor | None
    copy: Tensor | None
    num_sources: int

    @property
    def num_targets(self) -> int:
        """Rows ``T``."""
        return self.indptr.shape[0] - 1

    @property
    def num_edges(self) -> int:
        """Entries ``E``, copies counted."""
        return self.indices.shape[0]


@dataclass(frozen=True, eq=False)
class ReversedCsr:
    """Compressed rows by source: the layout of the backward pass.

    Attributes:
        indptr: ``[S + 1]``, int64, rising from 0 to E.
        indices: ``[E]``, int64: targets, rising within each row.
        permutation: ``[E]``, int64: position in the `Csr` of each entry.
        num_targets: Rows of the original graph ``T``.
    """

    indptr: Tensor
    indices: Tensor
    permutation: Tensor
    num_targets: int


@dataclass(frozen=True, eq=False)
class PaddedRows:
    """Every row padded to the longest one: ``K`` is the largest in-degree.

    Attributes:
        source: ``[T, K]``, int64; 0 where padded.
        edge: ``[T, K]``, int64: position in edge order; 0 where padded.
        copy: ``[T, K]``, int64: number of equal edges before this one in its row.
        valid: ``[T, K]``, bool: False where padded.
    """

    source: Tensor
    edge: Tensor
    copy: Tensor
    valid: Tensor


@dataclass(frozen=True, eq=False)
class DenseMask:
    """Matrix that is True where there is an edge.

    Attributes:
        mask: ``[T, S]``, bool.
    """

    mask: Tensor


@dataclass(frozen=True, eq=False)
class BlockMask:
    """Content of each square block of target-source pairs: no, some or all edges.

    Attributes:
        kind: ``[ceil(T / block), ceil(S / block)]``, uint8: `EMPTY`, `PARTIAL` or `FULL`.
        block: Rows and columns of a block; the last ones may be cut off by the graph's border.
    """

    kind: Tensor
    block: int

    EMPTY = 0
    PARTIAL = 1
    FULL = 2

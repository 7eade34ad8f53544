"""Lowering: the layouts of a graph that backends compute on, cached per graph and device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from edgewise.errors import ArgumentError
from edgewise.graphs.base import Graph, check_graph
from edgewise.graphs.cache import recall
from edgewise.graphs.edge_list import EdgeList
from edgewise.layouts.edges import edges, has_closed_form, has_free_order
from edgewise.layouts.formats import BlockMask, Csr, DenseMask, Edges, PaddedRows, ReversedCsr
from edgewise.layouts.progression import Progression, progression

__all__ = [
    "block_mask",
    "block_mask_by_contains",
    "csr",
    "dense_mask",
    "dense_mask_by_contains",
    "lower",
    "padded_rows",
    "reversed_csr",
]

_CHUNK = 1 << 22

Device = torch.device | str
L = TypeVar("L", Edges, Csr, ReversedCsr, PaddedRows, DenseMask, BlockMask)


def csr(graph: Graph, device: Device = "cpu") -> Csr:
    """Sources of every target, by target then source.

    Complexity: O(E) time and memory; one sort if the edges of an `EdgeList` are not sorted.

    Example:
        >>> from edgewise.graphs import EdgeList
        >>> rows = csr(EdgeList([[2, 0, 1], [1, 0, 1]], num_nodes=3))
        >>> rows.indptr.tolist(), rows.indices.tolist(), rows.edge.tolist()
        ([0, 1, 3, 3], [0, 1, 2], [1, 2, 0])
    """
    return recall(graph, ("csr", str(device)), lambda: _csr(graph, device))


def _csr(graph: Graph, device: Device) -> Csr:
    all_edges = edges(graph, device)
    target, source, edge, copy = all_edges.target, all_edges.source, None, None
    T, S = graph.num_targets, graph.num_sources
    if graph.may_repeat:
        keys = target * max(S, 1) + source
        if has_free_order(graph) and not bool((keys[1:] >= keys[:-1]).all()):
            if isinstance(graph, EdgeList) and graph.edge_index.device == keys.device:
                keys, edge = graph.sorted_keys  # already sorted for the facts
            else:
                keys, edge = torch.sort(keys, stable=True)
            target, source = target[edge], source[edge]
        if not bool((keys[1:] != keys[:-1]).all()):
            copy = _copies(keys)
    degree = torch.bincount(target, minlength=T)
    indptr = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
    return Csr(indptr, source.contiguous(), target.contiguous(), edge, copy, S)


def _copies(keys: Tensor) -> Tensor:
    """Number of equal keys before each key; the keys are sorted."""
    _, repeats = torch.unique_consecutive(keys, return_counts=True)
    start = torch.repeat_interleave(repeats.cumsum(0) - repeats, repeats)
    return torch.arange(keys.shape[0], device=keys.device) - start


def reversed_csr(graph: Graph, device: Device = "cpu") -> ReversedCsr:
    """Targets of every source, by source then target, with the position of each entry in the `Csr`.

    Complexity: O(E log E) time once (a stable sort by source), O(E) memory.
    """

    def lower() -> ReversedCsr:
        rows = csr(graph, device)
        order = torch.argsort(rows.indices, stable=True)
        degree = torch.bincount(rows.indices, minlength=rows.num_sources)
        indptr = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
        return ReversedCsr(indptr, rows.target[order], order, rows.num_targets)

    return recall(graph, ("reversed_csr", str(device)), lower)


def padded_rows(graph: Graph, device: Device = "cpu") -> PaddedRows:
    """Every row padded to the longest one.

    Complexity: O(T * K) time and memory, ``K`` the largest in-degree.
    """

    def lower() -> PaddedRows:
        rows = csr(graph, device)
        T = rows.num_targets
        degree = rows.indptr[1:] - rows.indptr[:-1]
        K = int(degree.max()) if T else 0
        column = torch.arange(rows.num_edges, device=degree.device) - rows.indptr[rows.target]
        entry = torch.arange(rows.num_edges, device=degree.device)

        def table(values: Tensor) -> Tensor:
            out = torch.zeros(T, K, dtype=torch.int64, device=degree.device)
            out[rows.target, column] = values
            return out

        return PaddedRows(
            source=table(rows.indices),
            edge=table(entry if rows.edge is None else rows.edge),
            copy=table(torch.zeros_like(entry) if rows.copy is None else rows.copy),
            valid=torch.arange(K, device=degree.device) < degree[:, None],
        )

    return recall(graph, ("padded_rows", str(device)), lower)


def dense_mask(graph: Graph, device: Device = "cpu") -> DenseMask:
    """One bool for every target-source pair; copies of an edge count once.

    Complexity: O(T * S) time and memory.

    Example:
        >>> from edgewise.graphs import SelfLoops
        >>> dense_mask(SelfLoops(2)).mask.tolist()
        [[True, False], [False, True]]
    """

    def lower() -> DenseMask:
        if has_closed_form(graph):
            return dense_mask_by_contains(graph, device)
        all_edges = edges(graph, device)
        mask = torch.zeros(graph.num_targets, graph.num_sources, dtype=torch.bool, device=device)
        mask[all_edges.target, all_edges.source] = True
        return DenseMask(mask)

    return recall(graph, ("dense_mask", str(device)), lower)


def dense_mask_by_contains(graph: Graph, device: Device = "cpu") -> DenseMask:
    """The dense mask through ``contains``, for a range of rows at a time."""
    T, S = graph.num_targets, graph.num_sources
    mask = torch.empty(T, S, dtype=torch.bool, device=device)
    source = torch.arange(S, device=device)[None, :]
    rows = max(1, _CHUNK // max(S, 1))
    for start in range(0, T, rows):
        target = torch.arange(start, min(start + rows, T), device=device)[:, None]
        mask[start : start + rows] = graph.contains(target, source)
    return DenseMask(mask)


def block_mask(graph: Graph, block: int = 128, device: Device = "cpu") -> BlockMask:
    """Empty, partial or full, for every block of pairs.

    Complexity: O(T * S / block) for progressions, O(E log E) otherwise; never O(T * S).

    Example:
        >>> from edgewise.graphs import Causal
        >>> block_mask(Causal(4), block=2).kind.tolist()
        [[1, 0], [2, 1]]
    """
    if block < 1:
        raise ArgumentError(
            f"block_mask: block must be at least 1, got {block}. Use 128, for example."
        )

    def lower() -> BlockMask:
        rows = progression(graph)
        if rows is not None and rows.step == 1:
            filled = _filled_by_progression(rows, graph.num_sources, block)
        else:
            filled = _filled_by_edges(graph, block)
        return BlockMask(_kinds(graph, filled, block).to(device), block)

    return recall(graph, ("block_mask", block, str(device)), lower)


def block_mask_by_contains(graph: Graph, block: int = 128) -> BlockMask:
    """The block mask through ``contains``: O(T * S)."""
    mask = dense_mask_by_contains(graph).mask
    T, S = mask.shape
    rows, columns = -(-T // block), -(-S // block)
    padded = torch.zeros(rows * block, columns * block, dtype=torch.int64)
    padded[:T, :S] = mask
    filled = padded.view(rows, block, columns, block).sum((1, 3))
    return BlockMask(_kinds(graph, filled, block), block)


def _kinds(graph: Graph, filled: Tensor, block: int) -> Tensor:
    """Kind of each block: its number of edges compared with its area within the graph.

    Args:
        graph: Gives the sizes.
        filled: Distinct edges in each block, ``[rows, columns]`` of the grid of blocks.
        block: Rows and columns of a block.
    """

    def extent(size: int) -> Tensor:
        start = torch.arange(0, max(size, 0), block, device=filled.device)
        return (start + block).clamp(max=size) - start

    area = extent(graph.num_targets)[:, None] * extent(graph.num_sources)[None, :]
    kind = torch.full(area.shape, BlockMask.PARTIAL, dtype=torch.uint8, device=filled.device)
    kind[filled == 0] = BlockMask.EMPTY
    kind[filled == area] = BlockMask.FULL
    return kind


def _filled_by_progression(rows: Progression, num_sources: int, block: int) -> Tensor:
    """Edges in each block: overlaps of the interval of every row with the columns of blocks."""
    T = rows.first.shape[0]
    start = torch.arange(0, num_sources, block)
    stop = (start + block).clamp(max=num_sources)
    first, last = rows.first, rows.first + rows.length
    bands: list[Tensor] = []
    for row in range(0, T, block):
        low = torch.maximum(first[row : row + block, None], start)
        high = torch.minimum(last[row : row + block, None], stop)
        bands.append((high - low).clamp(min=0).sum(0))
    return torch.stack(bands) if bands else torch.zeros(0, start.shape[0], dtype=torch.int64)


def _filled_by_edges(graph: Graph, block: int) -> Tensor:
    """Distinct edges counted in their blocks."""
    all_edges = edges(graph)
    target, source = all_edges.target, all_edges.source
    S = max(graph.num_sources, 1)
    if graph.may_repeat:
        keys = torch.unique(target * S + source)
        target, source = keys // S, keys % S
    rows, columns = -(-graph.num_targets // block), -(-graph.num_sources // block)
    cell = (target // block) * columns + source // block
    return torch.bincount(cell, minlength=rows * columns).view(rows, columns)


_LOWERINGS: dict[type, Callable[..., Any]] = {
    Edges: edges,
    Csr: csr,
    ReversedCsr: reversed_csr,
    PaddedRows: padded_rows,
    DenseMask: dense_mask,
}


def lower(graph: Graph, layout: type[L], device: Device = "cpu") -> L:
    """The tensors of a layout of a symbolic graph; computed once, then cached.

    Args:
        graph: Any graph.
        layout: `Edges`, `Csr`, `ReversedCsr`, `PaddedRows`, `DenseMask` or `BlockMask`.
        device: Where to put the tensors.

    Raises:
        ArgumentError: ``layout`` is none of these.

    Example:
        >>> from edgewise.graphs import Window
        >>> lower(Window(3, left=1, right=0), Csr).indptr.tolist()
        [0, 1, 3, 5]
    """
    check_graph("lower: graph", graph)
    if layout is BlockMask:
        return cast("L", block_mask(graph, device=device))
    if layout not in _LOWERINGS:
        layouts = ", ".join(kind.__name__ for kind in (*_LOWERINGS, BlockMask))
        raise ArgumentError(
            f"lower: layout must be one of {layouts}, got {layout!r}. "
            f"Pass the class, like lower(graph, Csr)."
        )
    return _LOWERINGS[layout](graph, device)

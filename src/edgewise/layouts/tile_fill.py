"""Tile fill: distinct edges in each tile of a graph, which measures how its edges cluster."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.errors import ArgumentError
from edgewise.graphs import EdgeList, Graph, facts_of, recall, recalled
from edgewise.layouts.edges import edges
from edgewise.layouts.lower import csr
from edgewise.layouts.progression import Progression, progression

__all__ = ["TileFill", "fill_of_clusters", "split_by_fill", "tile_fill"]

_LEAST = 0.25  # mean fill of tiles below which they gain nothing
_SMALL_GRID = 1 << 16  # tiles up to which each has a counter, however few edges there are


@dataclass(frozen=True, eq=False)
class TileFill:
    """Number of distinct edges in each non-empty tile of a grid.

    Attributes:
        num_targets: Rows ``T`` of the graph.
        num_sources: Columns ``S`` of the graph.
        rows: Rows of a tile.
        columns: Columns of a tile.
        row: ``[tiles]``, int64: the row of the grid in which each tile stands.
        column: ``[tiles]``, int64: its column. Tiles stand by row, then column.
        edges: ``[tiles]``, int64: distinct edges in it, at least one.
    """

    num_targets: int
    num_sources: int
    rows: int
    columns: int
    row: Tensor
    column: Tensor
    edges: Tensor

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the grid, empty tiles counted."""
        return -(-self.num_targets // self.rows), -(-self.num_sources // self.columns)

    @property
    def num_tiles(self) -> int:
        """Tiles that hold an edge."""
        return self.row.shape[0]

    @property
    def num_edges(self) -> int:
        """Distinct edges in all tiles."""
        return int(self.edges.sum())

    @property
    def area(self) -> Tensor:
        """``[tiles]``, int64: pairs of each tile; the border of the graph cuts off the last."""
        high = (self.num_targets - self.row * self.rows).clamp(max=self.rows)
        wide = (self.num_sources - self.column * self.columns).clamp(max=self.columns)
        return high * wide

    @property
    def fill(self) -> Tensor:
        """``[tiles]``, float64: share of each tile's pairs that are edges."""
        return self.edges.double() / self.area

    def tile_of(self, target: Tensor, source: Tensor) -> Tensor:
        """Number of the tile of each edge; all of them must be edges of the graph."""
        return torch.searchsorted(self._keys(self.row, self.column), self.key_of(target, source))

    def key_of(self, target: Tensor, source: Tensor) -> Tensor:
        """A key for each pair: the position of its tile in the grid, row after row."""
        return self._keys(_over(target, self.rows), _over(source, self.columns))

    def _keys(self, row: Tensor, column: Tensor) -> Tensor:
        return row * max(self.grid[1], 1) + column


def tile_fill(graph: Graph, rows: int = 64, columns: int = 64) -> TileFill:
    """The non-empty tiles of a graph, with the number of distinct edges in each.

    Args:
        graph: Any graph.
        rows: Rows of a tile.
        columns: Columns of a tile.

    Raises:
        ArgumentError: a tile has no rows or no columns.

    Complexity: O(E), or O(E log E) where the grid has many more tiles than there are edges.
        O(T + E / columns) for rows that are intervals: their edges are not
        listed.

    Example:
        >>> from edgewise.graphs import Causal
        >>> tiles = tile_fill(Causal(4), 2, 2)
        >>> tiles.row.tolist(), tiles.column.tolist(), tiles.edges.tolist()
        ([0, 1, 1], [0, 0, 1], [3, 4, 3])
    """
    for name, size in (("rows", rows), ("columns", columns)):
        if size < 1:
            raise ArgumentError(
                f"tile_fill: {name} must be at least 1, got {size}. Use 64, for example."
            )
    return recall(graph, ("tile fill", rows, columns), lambda: _tile_fill(graph, rows, columns))


def fill_of_clusters(graph: Graph, size: int = 64) -> TileFill | None:
    """The fill of square tiles, if the edges are listed and may cluster; else None.

    For planning: it lists no edges that are not cached, and counts none if the facts exclude full
    tiles. A tile holds no more edges than its rows have, so few edges a row, or a column, fill
    none: the facts exclude molecules, meshes and citations.
    """
    if not isinstance(graph, EdgeList) and recalled(graph, "edges") is None:
        return None
    facts = facts_of(graph)
    sides = (
        (facts.num_targets, facts.min_in_degree, facts.max_in_degree),
        (facts.num_sources, facts.min_out_degree, facts.max_out_degree),
    )
    for nodes, fewest, most in sides:
        held = nodes if fewest else -(-facts.max_edges // max(most, 1))  # at least, with edges
        if facts.max_edges < _LEAST * size * held:
            return None
    return tile_fill(graph, size, size)


def split_by_fill(
    graph: Graph, fill: float, rows: int = 64, columns: int = 64
) -> tuple[EdgeList, EdgeList] | None:
    """The edges in tiles that are at least so full, and the others.

    The parts share no edge, hold every edge between them, and list them by target, then source.

    Args:
        graph: Any graph.
        fill: Least share of a tile's pairs that are edges, for its edges to be in the first part.
        rows: Rows of a tile.
        columns: Columns of a tile.

    Returns:
        Dense tiles and leftovers; None where one of them would be empty, or where the graph may
        hold copies of an edge, which parts could not distinguish.

    Complexity: that of `tile_fill` and of `csr`.

    Example:
        >>> from edgewise.graphs import Blocks, Window
        >>> graph = Blocks([2, 2]) | Window(4, left=1, right=1)
        >>> dense, leftovers = split_by_fill(graph, 0.5, 2, 2)
        >>> dense.edge_index.tolist()
        [[0, 1, 0, 1, 2, 3, 2, 3], [0, 0, 1, 1, 2, 2, 3, 3]]
        >>> leftovers
        EdgeList([[2, 1], [1, 2]], num_nodes=4)
    """
    if not facts_of(graph).simple:
        return None
    tiles = tile_fill(graph, rows, columns)
    dense = tiles.fill >= fill
    if bool(dense.all()) or not bool(dense.any()):
        return None
    key = ("split by fill", fill, rows, columns)
    return recall(graph, key, lambda: _split(graph, tiles, dense))


def _split(graph: Graph, tiles: TileFill, dense: Tensor) -> tuple[EdgeList, EdgeList]:
    rows = csr(graph)
    inside = dense[tiles.tile_of(rows.target, rows.indices)]

    def part(chosen: Tensor) -> EdgeList:
        pairs = torch.stack([rows.indices[chosen], rows.target[chosen]])
        return EdgeList(pairs, num_targets=graph.num_targets, num_sources=graph.num_sources)

    return part(inside), part(~inside)


def _tile_fill(graph: Graph, rows: int, columns: int) -> TileFill:
    none = torch.empty(0, dtype=torch.int64)
    empty = TileFill(graph.num_targets, graph.num_sources, rows, columns, none, none, none)
    if not graph.num_targets or not graph.num_sources:
        return empty
    height, width = empty.grid
    finer = _finer(graph, rows, columns)
    if finer is not None:
        keys, counts = _over(finer.row, 2) * width + _over(finer.column, 2), finer.edges
    elif (intervals := progression(graph)) is not None and intervals.step == 1:
        keys, counts = _pieces(intervals, empty)
    else:
        keys, counts = _key_of_each_edge(graph, empty), None
    keys, counts = _sums(keys, counts, height * width)
    row, column = _over(keys, width), keys % width
    return TileFill(graph.num_targets, graph.num_sources, rows, columns, row, column, counts)


def _finer(graph: Graph, rows: int, columns: int) -> TileFill | None:
    """Cached tiles of half the size, if any: four of them make a tile of this size."""
    if rows % 2 or columns % 2:
        return None
    return recalled(graph, ("tile fill", rows // 2, columns // 2))


def _key_of_each_edge(graph: Graph, grid: TileFill) -> Tensor:
    all_edges = edges(graph, "cpu")
    target, source = all_edges.target, all_edges.source
    if graph.may_repeat and not facts_of(graph).simple:
        S = graph.num_sources
        pairs = torch.unique(target * S + source)
        target, source = _over(pairs, S), pairs % S
    return grid.key_of(target, source)


def _pieces(intervals: Progression, grid: TileFill) -> tuple[Tensor, Tensor]:
    """Key of the tile, and length, of each piece into which tiles cut the intervals of rows."""
    target = intervals.length.nonzero()[:, 0]
    first = intervals.first[target]
    stop = first + intervals.length[target]
    start = _over(first, grid.columns)
    count = _over(stop - 1, grid.columns) - start + 1
    within = torch.arange(int(count.sum()))
    within -= torch.repeat_interleave(count.cumsum(0) - count, count)
    column = torch.repeat_interleave(start, count) + within
    low = torch.maximum(torch.repeat_interleave(first, count), column * grid.columns)
    high = torch.minimum(torch.repeat_interleave(stop, count), (column + 1) * grid.columns)
    return grid.key_of(torch.repeat_interleave(target, count), column * grid.columns), high - low


def _sums(keys: Tensor, counts: Tensor | None, tiles: int) -> tuple[Tensor, Tensor]:
    """Distinct keys in rising order, and the sum of the counts of each.

    Args:
        keys: ``[n]``, int64, below ``tiles``.
        counts: ``[n]``, int64; 1 for each when None.
        tiles: Number of tiles of the grid.
    """
    if tiles <= max(_SMALL_GRID, 8 * keys.shape[0]):
        total = torch.zeros(tiles, dtype=torch.int64)
        total = (
            torch.bincount(keys, minlength=tiles)
            if counts is None
            else total.index_add_(0, keys, counts)
        )
        distinct = total.nonzero()[:, 0]
        return distinct, total[distinct]
    if counts is None:
        distinct, total = torch.unique(keys, return_counts=True)
        return distinct, total
    distinct, position = torch.unique(keys, return_inverse=True)
    return distinct, torch.zeros_like(distinct).index_add_(0, position, counts)


def _over(number: Tensor, size: int) -> Tensor:
    if size & (size - 1) == 0:  # a division takes ten times as long
        return number >> size.bit_length() - 1
    return torch.div(number, size, rounding_mode="floor")

"""Tile fill against the dense mask, on every family and on random expressions."""

import pytest
import torch

import edgewise as ew
from edgewise.layouts import csr, dense_mask, edges, split_by_fill, tile_fill
from edgewise.layouts.edges import num_edges
from edgewise.testing import GRAPHS
from tests.graphs.expressions import expressions

SIZES = [
    (1, 1),
    (2, 3),
    (5, 2),
    (2, 2),
    (4, 6),
    (64, 64),
]  # some are four of others
FILLS = [0.0, 0.2, 0.5, 1.0, 1.1]


def counted(graph, rows, columns):
    """Edges of each tile of the mask, with empty tiles."""
    mask = dense_mask(graph).mask.long()
    T, S = mask.shape
    high, wide = -(-T // rows), -(-S // columns)
    padded = torch.zeros(high * rows, wide * columns, dtype=torch.int64)
    padded[:T, :S] = mask
    return padded.view(high, rows, wide, columns).sum((1, 3))


def check_fill(graph, rows, columns):
    tiles, expected = tile_fill(graph, rows, columns), counted(graph, rows, columns)
    assert tiles.grid == expected.shape
    listed = torch.zeros_like(expected)
    listed[tiles.row, tiles.column] = tiles.edges
    assert torch.equal(listed, expected)
    assert tiles.num_tiles == int((expected > 0).sum())
    assert tiles.num_edges == int(expected.sum())
    assert bool((tiles.edges > 0).all())
    place = tiles.row * expected.shape[1] + tiles.column
    assert torch.equal(place, place.sort().values)
    area = counted(ew.Complete(graph.num_targets, graph.num_sources), rows, columns)
    assert torch.equal(tiles.area, area[tiles.row, tiles.column])
    target, source = dense_mask(graph).mask.nonzero(as_tuple=True)
    tile = tiles.tile_of(target, source)
    assert torch.equal(torch.bincount(tile, minlength=tiles.num_tiles), tiles.edges)


def check_split(graph, fill, rows, columns):
    parts = split_by_fill(graph, fill, rows, columns)
    mask, facts = dense_mask(graph).mask, graph.facts()
    tiles = tile_fill(graph, rows, columns)
    dense = torch.zeros(tiles.grid, dtype=torch.bool)
    dense[tiles.row, tiles.column] = tiles.fill >= fill
    dense = dense.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    expected = [mask & inside[: mask.shape[0], : mask.shape[1]] for inside in (dense, ~dense)]
    if not facts.simple or not all(bool(part.any()) for part in expected):
        assert parts is None
        return
    for part, wanted in zip(parts, expected, strict=True):
        assert isinstance(part, ew.EdgeList)
        assert part.facts().simple
        assert torch.equal(dense_mask(part).mask, wanted)
        assert csr(part).edge is None, "by target, then source"
        assert part.facts().exact_edges


@pytest.mark.parametrize("name", GRAPHS)
def test_every_family(name):
    for rows, columns in SIZES:
        check_fill(GRAPHS[name], rows, columns)
        for fill in FILLS:
            check_split(GRAPHS[name], fill, rows, columns)


@pytest.mark.parametrize("seed", range(20))
def test_random_expressions(seed):
    for e in expressions(seed, 25):
        check_fill(e.graph, 2, 3)
        check_split(e.graph, 0.5, 3, 2)


def test_a_grid_with_more_tiles_than_edges():
    nodes = 1 << 20
    graph = ew.EdgeList([[5, 6, 70, 5], [nodes - 1, nodes - 1, 0, 64]], num_nodes=nodes)
    tiles = tile_fill(graph)
    assert tiles.row.tolist() == [0, 1, nodes // 64 - 1]
    assert tiles.column.tolist() == [1, 0, 0]
    assert tiles.edges.tolist() == [1, 1, 2]
    wide = tile_fill(ew.SelfLoops(nodes))
    assert wide.num_tiles == nodes // 64
    assert bool((wide.edges == 64).all())


def test_intervals_are_counted_without_their_edges():
    graph = ew.Causal(5000)
    assert tile_fill(graph).num_edges == num_edges(graph)
    assert "edges" not in graph.__dict__["_memory"]


def test_fills_and_splits_are_cached():
    graph = GRAPHS["edge list"]
    assert tile_fill(graph, 3, 3) is tile_fill(graph, 3, 3)
    assert split_by_fill(graph, 0.4, 3, 3) is split_by_fill(graph, 0.4, 3, 3)


def test_parts_merge_to_the_whole():
    graph = ew.Blocks([40, 30, 60]) | ew.RandomRegular(130, degree=3)
    dense, leftovers = split_by_fill(graph, 0.3, 16, 16)
    assert edges(dense).num_edges + edges(leftovers).num_edges == edges(graph).num_edges
    q = torch.randn(2, 130, 8, dtype=torch.float64)
    states = [ew.attention_state(q, q, q, part) for part in (dense, leftovers)]
    torch.testing.assert_close(ew.merge(states).out, ew.attention(q, q, q, graph))


@pytest.mark.parametrize("name", ["rows", "columns"])
def test_a_tile_has_a_size(name):
    with pytest.raises(ew.ArgumentError, match=f"tile_fill: {name} must be at least 1, got 0"):
        tile_fill(ew.Causal(4), **{name: 0})

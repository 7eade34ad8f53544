"""Every lowering against the definition, and against `contains`."""

import importlib
from collections import Counter

import numpy as np
import pytest
import torch

import edgewise as ew
from edgewise.layouts import (
    PaddedRows,
    block_mask,
    csr,
    dense_mask,
    edges,
    edges_by_contains,
    padded_rows,
    reversed_csr,
)
from edgewise.layouts.lower import block_mask_by_contains, dense_mask_by_contains
from tests.graphs.expressions import ALL, Expression, by_target, expressions

BLOCKS = (1, 2, 3, 5, 8)


def pairs(first, second):
    return list(zip(first.tolist(), second.tolist(), strict=True))


def check_edges(e: Expression):
    lowered = edges(e.graph)
    assert (lowered.target.dtype, lowered.source.dtype) == (torch.int64, torch.int64)
    assert pairs(lowered.target, lowered.source) == e.order
    assert lowered.num_edges == len(e.order)
    generic = edges_by_contains(e.graph)
    assert pairs(generic.target, generic.source) == sorted(set(e.order))


def check_csr(e: Expression):
    T, S = e.shape
    rows, in_rows = csr(e.graph), by_target(e.copies)
    assert (rows.num_targets, rows.num_sources, rows.num_edges) == (T, S, len(in_rows))
    assert rows.indptr.tolist() == [0, *np.cumsum(e.copies.sum(1))]
    assert pairs(rows.target, rows.indices) == in_rows
    assert all(t.is_contiguous() for t in (rows.indptr, rows.indices, rows.target))
    order = e.order if rows.edge is None else [e.order[i] for i in rows.edge]
    assert order == in_rows
    if rows.edge is not None:
        assert sorted(rows.edge.tolist()) == list(range(len(in_rows)))
        assert rows.edge.tolist() != sorted(rows.edge.tolist()), "None where they are the same"
    assert (rows.copy is not None) == e.holds_copies
    if rows.copy is not None:
        assert rows.copy.tolist() == numbered(in_rows)
        # Copies keep their order, so that the first copy is the first in edge order.
        place = range(len(in_rows)) if rows.edge is None else rows.edge.tolist()
        assert list(place) == sorted(place, key=lambda i: (*e.order[i], i))


def numbered(in_rows):
    """Number of equal entries before each entry."""
    counter = Counter()
    out = []
    for pair in in_rows:
        out.append(counter[pair])
        counter[pair] += 1
    return out


def check_reversed_csr(e: Expression):
    rows, columns, in_rows = csr(e.graph), reversed_csr(e.graph), by_target(e.copies)
    assert columns.num_targets == e.shape[0]
    assert columns.indptr.tolist() == [0, *np.cumsum(e.copies.sum(0))]
    wanted = sorted(range(len(in_rows)), key=lambda i: (in_rows[i][1], in_rows[i][0], i))
    assert columns.permutation.tolist() == wanted
    assert columns.indices.equal(rows.target[columns.permutation])


def check_padded_rows(e: Expression):
    table, rows = padded_rows(e.graph), csr(e.graph)
    degrees = e.copies.sum(1)
    assert table.valid.shape == (e.shape[0], degrees.max(initial=0))
    assert table.valid.sum(1).tolist() == degrees.tolist()
    for row, valid in enumerate(table.valid.tolist()):
        assert valid == sorted(valid, reverse=True), "the padding is at the end"
        start = int(rows.indptr[row])
        for column, real in enumerate(valid):
            cell = [int(t[row, column]) for t in (table.source, table.edge, table.copy)]
            if not real:
                assert cell == [0, 0, 0]
                continue
            assert cell[0] == rows.indices[start + column]
            assert e.order[cell[1]] == (row, cell[0])
            assert cell[2] == (0 if rows.copy is None else rows.copy[start + column])


def check_dense_mask(e: Expression):
    wanted = torch.from_numpy(e.copies > 0)
    assert dense_mask(e.graph).mask.equal(wanted)
    assert dense_mask_by_contains(e.graph).mask.equal(wanted)


def check_block_mask(e: Expression):
    (T, S), held = e.shape, e.copies > 0
    for block in BLOCKS:
        wanted = [
            [
                0 if not (part := held[t : t + block, s : s + block]).any() else 1 + part.all()
                for s in range(0, S, block)
            ]
            for t in range(0, T, block)
        ]
        lowered = block_mask(e.graph, block)
        assert (lowered.kind.tolist(), lowered.block) == (wanted, block)
        assert lowered.kind.dtype == torch.uint8
        assert block_mask_by_contains(e.graph, block).kind.equal(lowered.kind)


CHECKS = {
    "edges": check_edges,
    "csr": check_csr,
    "reversed csr": check_reversed_csr,
    "padded rows": check_padded_rows,
    "dense mask": check_dense_mask,
    "block mask": check_block_mask,
}


def check(layout, e):
    try:
        CHECKS[layout](e)
    except Exception as error:
        raise AssertionError(
            f"{layout} of {e.graph!r} ({type(error).__name__}: {error})"
        ) from error


@pytest.mark.parametrize("layout", CHECKS)
@pytest.mark.parametrize("name", ALL)
def test_every_family(name, layout):
    for e in ALL[name]:
        check(layout, e)


@pytest.mark.parametrize("layout", CHECKS)
@pytest.mark.parametrize("seed", range(2))
def test_random_expressions(seed, layout):
    for e in expressions(seed + 100, 400):
        check(layout, e)


@pytest.mark.parametrize("chunk", [1, 7])
def test_large_graphs_are_lowered_in_chunks(monkeypatch, chunk):
    for name in ("edges", "lower"):
        module = importlib.import_module(f"edgewise.layouts.{name}")
        monkeypatch.setattr(module, "_CHUNK", chunk)
    for e in expressions(7, 250):
        for layout in ("edges", "dense mask"):
            check(layout, e)


def test_a_few_expressions_of_a_larger_size():
    for e in expressions(5, 40, largest=30):
        for layout in CHECKS:
            check(layout, e)


# --- The brief's examples, by hand ----------------------------------------------------------

COPIES = ew.EdgeList([[2, 0, 1, 0, 2], [1, 0, 1, 0, 1]], num_nodes=3)


def test_an_unsorted_edge_list_with_copies_by_hand():
    rows = csr(COPIES)
    assert rows.indptr.tolist() == [0, 2, 5, 5]
    assert rows.indices.tolist() == [0, 0, 1, 2, 2]
    assert rows.target.tolist() == [0, 0, 1, 1, 1]
    assert rows.edge.tolist() == [1, 3, 2, 0, 4]
    assert rows.copy.tolist() == [0, 1, 0, 0, 1]
    columns = reversed_csr(COPIES)
    assert columns.indptr.tolist() == [0, 2, 3, 5]
    assert columns.indices.tolist() == [0, 0, 1, 1, 1]
    assert columns.permutation.tolist() == [0, 1, 2, 3, 4]


def test_a_batch_keeps_part_after_part_by_hand():
    batch = ew.disjoint_union([COPIES, ew.Causal(2), COPIES])
    assert edges(batch).source.tolist() == [2, 0, 1, 0, 2, 3, 3, 4, 7, 5, 6, 5, 7]
    assert edges(batch).target.tolist() == [1, 0, 1, 0, 1, 3, 4, 4, 6, 5, 6, 5, 6]
    rows = csr(batch)
    assert rows.edge.tolist() == [1, 3, 2, 0, 4, 5, 6, 7, 9, 11, 10, 8, 12]
    assert rows.copy.tolist() == [0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1]


def test_copies_are_kept_by_reverse_and_permute():
    """Dropout depends on the copy, and a dense backend counts copies: both need them."""
    batch = ew.disjoint_union([COPIES, ew.Causal(2)])
    for graph in (ew.reverse(batch), ew.permute(batch, [4, 2, 0, 1, 3])):
        assert csr(graph).num_edges == 8
        assert sorted(csr(graph).copy.tolist()) == [0, 0, 0, 0, 0, 0, 1, 1]
        assert csr(graph - ew.SelfLoops(5)).num_edges == 2, "set operations forget copies"
        assert block_mask(graph, 5).kind.tolist() == [[1]]


def test_a_sorted_edge_list_has_no_permutation():
    rows = csr(ew.EdgeList([[0, 1, 0], [0, 0, 2]], num_nodes=3))
    assert (rows.edge, rows.copy) == (None, None)
    twice = csr(ew.EdgeList([[0, 0, 1], [0, 0, 0]], num_nodes=3))
    assert (twice.edge, twice.copy.tolist()) == (None, [0, 1, 0])


def test_padding_to_the_longest_row_by_hand():
    table = ew.lower(COPIES, PaddedRows)
    assert table.source.tolist() == [[0, 0, 0], [1, 2, 2], [0, 0, 0]]
    assert table.edge.tolist() == [[1, 3, 0], [2, 0, 4], [0, 0, 0]]
    assert table.copy.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert table.valid.tolist() == [[True, True, False], [True] * 3, [False] * 3]


def test_the_border_of_a_block_mask_may_be_full():
    """Blocks that the border cuts off count as full when all of their real pairs are edges."""
    assert block_mask(ew.Complete(5, 3), 4).kind.tolist() == [[2], [2]]
    assert block_mask(ew.Complete(3, 0), 2).kind.shape == (2, 0)
    assert block_mask(ew.Complete(0, 3), 2).kind.shape == (0, 2)
    kinds = (ew.BlockMask.EMPTY, ew.BlockMask.PARTIAL, ew.BlockMask.FULL)
    assert kinds == (0, 1, 2)


def test_a_block_mask_of_a_long_window_is_computed_without_its_pairs():
    mask = ew.lower(ew.Window(100_000, left=256, right=0), ew.BlockMask)
    assert mask.block == 128
    assert mask.kind.shape == (782, 782)
    assert mask.kind[:4, :4].tolist() == [[1, 0, 0, 0], [2, 1, 0, 0], [1, 2, 1, 0], [0, 1, 2, 1]]

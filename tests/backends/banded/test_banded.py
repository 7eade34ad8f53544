"""Tiles of windows: which pairs they hold, which graphs are windows, and when tiles are chosen."""

import pytest
import torch

import edgewise as ew
from edgewise.backends.banded.tiles import Tiles
from edgewise.layouts import Band, band
from tests.backends.tiled_graphs import WINDOWS


@pytest.mark.parametrize("name", WINDOWS)
def test_tiles_hold_every_edge_once(name):
    for strand in band(WINDOWS[name]).strands:
        for part in (strand, strand.reversed):
            T, S = part.num_targets, part.num_sources
            pairs = torch.arange(S) - torch.arange(T)[:, None]
            expected = (pairs >= part.first) & (pairs <= part.last)
            for block in (1, 16, 64, 1000):
                actual = torch.zeros(1, T, S, dtype=torch.int64)
                for tiles in Tiles.of(part, block):
                    for group in tiles.in_groups(3):
                        for i in range(group.count):
                            row, column = (
                                group.first_row + i * group.rows,
                                group.first_column + i * group.rows,
                            )
                            view = actual[
                                0, row : row + group.rows, column : column + group.columns
                            ]
                            assert view.shape == group.edges.shape
                            view += group.edges
                assert torch.equal(actual[0], expected.long())


def test_auto_takes_tiles_for_wide_windows_and_kernels_for_narrow_ones():
    q = torch.randn(8, 4096, 64)
    assert ew.plan(q, q, q, ew.Window(4096, left=128, right=128)).name == "banded"
    assert ew.plan(q, q, q, ew.Window(4096, left=1, right=1)).name == "native"
    assert ew.plan(q, q, q, ew.Causal(4096)).name == "dense"


def test_facts_prove_bands():
    assert band(ew.Causal(4, 9)) == Band(4, 9, -3, 5)
    assert band(ew.Complete(4)) == Band(4, 4, -3, 3)
    assert band(ew.EdgeList([[0, 1], [1, 0]], num_nodes=2)) is None
    assert band(ew.Complete(0, 4)) is None


def test_what_it_refuses_is_a_sentence():
    q = torch.randn(2, 8, 4)
    ring = ew.EdgeList([[0], [1]], num_nodes=8)
    with pytest.raises(ew.BackendRefused, match="banded: the graph is not known to be a window"):
        ew.attention(q, q, q, ring, backend="banded")
    with pytest.raises(ew.BackendRefused, match="some targets have nothing to read"):
        ew.attention(torch.randn(2, 9, 4), q, q, ew.Causal(9, 8), backend="banded")

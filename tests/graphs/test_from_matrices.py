"""Graphs from matrices, and edges as PyTorch Geometric stores them."""

import warnings

import numpy as np
import pytest
import torch

from edgewise.errors import GraphError
from edgewise.graphs import EdgeList
from edgewise.layouts import csr, edges
from edgewise.testing import GRAPHS


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_is_that_of_its_rows(name):
    graph = GRAPHS[name]
    rows = csr(graph)
    again = EdgeList.from_csr(rows.indptr, rows.indices, num_sources=rows.num_sources)
    assert (again.num_targets, again.num_sources) == (graph.num_targets, graph.num_sources)
    assert torch.equal(csr(again).indptr, rows.indptr)
    assert torch.equal(csr(again).indices, rows.indices)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_is_that_of_its_matrix(name):
    graph = GRAPHS[name]
    T, S = graph.num_targets, graph.num_sources
    mask = graph.contains(torch.arange(T)[:, None], torch.arange(S)[None])
    again = EdgeList.from_dense(mask)
    assert (again.num_targets, again.num_sources) == (T, S)
    assert torch.equal(again.contains(torch.arange(T)[:, None], torch.arange(S)[None]), mask)


@pytest.mark.parametrize("name", GRAPHS)
def test_edges_are_an_edge_index(name):
    result = edges(GRAPHS[name])
    T, S = GRAPHS[name].num_targets, GRAPHS[name].num_sources
    again = EdgeList(result.edge_index, num_targets=T, num_sources=S)
    assert torch.equal(again.source, result.source)
    assert torch.equal(again.target, result.target)


def test_the_order_of_a_row_is_kept():
    graph = EdgeList.from_csr([0, 3, 3], [4, 0, 4], num_sources=5)
    assert graph == EdgeList([[4, 0, 4], [0, 0, 0]], num_targets=2, num_sources=5)


def test_matrices_of_other_libraries():
    scipy = pytest.importorskip("scipy.sparse")
    dense = np.array([[0, 2, 0], [1, 0, 0]])
    matrix = scipy.csr_matrix(dense)
    expected = EdgeList.from_dense(torch.from_numpy(dense) != 0)
    assert EdgeList.from_csr(matrix.indptr, matrix.indices, num_sources=3) == expected
    with warnings.catch_warnings():  # torch warns that its CSR is new
        warnings.simplefilter("ignore")
        sparse = torch.from_numpy(dense).to_sparse_csr()
    rows = EdgeList.from_csr(sparse.crow_indices(), sparse.col_indices(), num_sources=3)
    assert rows == expected
    assert EdgeList.from_dense(dense != 0) == expected


def test_rows_without_edges():
    assert EdgeList.from_csr([0, 0, 0], []).num_edges == 0
    assert EdgeList.from_csr([0], []).num_targets == 0
    assert EdgeList.from_dense(torch.ones(0, 3, dtype=torch.bool)).num_sources == 3


@pytest.mark.parametrize(
    ("indptr", "indices", "sentence"),
    [
        ([0, 2, 1], [0, 1], "indptr must rise from 0 to the 2 entries of indices"),
        ([0, 1], [0, 1], "indptr must rise from 0 to the 2 entries"),
        ([1, 2], [0, 1], "indptr must rise from 0"),
        ([], [], "indptr must rise from 0 to the 0 entries"),
        ([[0, 1]], [0], r"indptr must be one row of whole numbers, got \[1, 2\]"),
        ([0.0, 1.0], [0], "indptr must be one row of whole numbers"),
        ([0, 1], [True], "indices must be one row of whole numbers"),
        (torch.tensor([0, 1], device="meta"), [0], "indptr must be one row .* on meta"),
        ([0, 1], torch.tensor([0], device="meta"), "indices must be one row .* on meta"),
        ([0, 1], [3], "3"),
        ([0, 1], [-1], "-1"),
    ],
)
def test_rows_that_are_none(indptr, indices, sentence):
    with pytest.raises(GraphError, match=sentence):
        EdgeList.from_csr(indptr, indices)


@pytest.mark.parametrize(
    "mask",
    [
        torch.ones(2, 3),
        torch.ones(3, dtype=torch.bool),
        torch.ones(2, 2, dtype=torch.bool, device="meta"),
        torch.ones(2, 2, dtype=torch.bool).to_sparse(),
    ],
)
def test_masks_that_are_none(mask):
    with pytest.raises(
        GraphError,
        match=r"mask must be (\[targets, sources\] of|a dense)",
    ):
        EdgeList.from_dense(mask)


def test_a_default_device_changes_nothing():
    with torch.device("meta"):
        graph = EdgeList.from_csr([0, 1, 2], [1, 0])
        assert EdgeList.from_dense([[False, True], [True, False]]) == graph

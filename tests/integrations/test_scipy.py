"""Sparse matrices of SciPy both ways."""

import numpy as np
import pytest
import torch
from scipy import sparse

from edgewise import Causal, EdgeList, aggregate
from edgewise.errors import DataError, GraphError
from edgewise.integrations.scipy import from_scipy, to_scipy

FORMATS = ("csr", "csc", "coo", "lil", "dok", "bsr")


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("kind", [sparse.random_array, sparse.random])
def test_a_product_is_an_aggregation(kind, layout):
    shape = ((7, 5),) if kind is sparse.random_array else (7, 5)
    matrix = kind(*shape, density=0.4, rng=np.random.default_rng(0)).asformat(layout)
    graph, weight = from_scipy(matrix)
    assert (graph.num_targets, graph.num_sources) == (7, 5)
    x = torch.randn(5, 3, dtype=torch.float64)
    out = aggregate(x, graph, weight=weight)
    torch.testing.assert_close(out, torch.from_numpy(matrix @ x.numpy()))
    again = to_scipy(graph, weight)
    assert abs(again - matrix).max() == 0


def test_zeros_that_are_stored_are_edges():
    matrix = sparse.csr_array(([0.0, 1.0], ([0, 1], [1, 0])), shape=(2, 2))
    assert from_scipy(matrix)[0].num_edges == 2
    matrix.eliminate_zeros()
    assert from_scipy(matrix)[0].num_edges == 1


def test_copies_are_edges_and_add_up():
    matrix = sparse.coo_array(([1.0, 2.0], ([0, 0], [1, 1])), shape=(2, 2))
    graph, weight = from_scipy(matrix)
    assert graph.num_edges == 2
    assert to_scipy(graph, weight).toarray().tolist() == [[0.0, 3.0], [0.0, 0.0]]


def test_the_matrix_may_change_later():
    matrix = sparse.coo_array(([1.0], ([0], [1])), shape=(2, 2))
    _, weight = from_scipy(matrix)
    matrix.data[0] = 5.0
    assert weight.tolist() == [1.0]


def test_any_graph_and_nothing():
    assert to_scipy(Causal(3)).nnz == 6
    empty, weight = from_scipy(sparse.csr_array((0, 4)))
    assert empty == EdgeList(torch.zeros(2, 0, dtype=torch.long), num_targets=0, num_sources=4)
    assert to_scipy(empty, weight).shape == (0, 4)


@pytest.mark.parametrize(
    ("function", "given", "text"),
    [
        (
            from_scipy,
            (np.eye(2),),
            "expected a sparse matrix of SciPy, got ndarray of shape [2, 2]",
        ),
        (from_scipy, (3,), "expected a sparse matrix of SciPy, got int."),
        (to_scipy, (Causal(3), torch.ones(2)), "expected one number for each of 6 edges"),
    ],
)
def test_errors(function, given, text):
    with pytest.raises(DataError) as caught:
        function(*given)
    assert text in str(caught.value)


def test_not_a_graph():
    with pytest.raises(GraphError, match="to_scipy: graph must be a graph"):
        to_scipy(np.eye(2))

"""Random regular graphs: exact degrees, simple, symmetric, and the same on every machine."""

import numpy as np
import pytest
import torch

import edgewise as ew
from edgewise.graphs import random_regular

CASES = [
    (0, 0),
    (1, 0),
    (2, 1),
    (3, 2),
    (4, 1),
    (5, 2),  # the only simple graph of this degree is a ring: the hardest to repair
    (5, 4),
    (6, 3),
    (7, 4),
    (50, 3),
    (50, 24),
    (50, 25),
    (50, 48),
    (101, 50),
    (1000, 8),
]


@pytest.mark.parametrize(("N", "degree"), CASES)
def test_degrees_are_exact_and_edges_simple_and_symmetric(N, degree):
    for seed in range(20 if N < 20 else 3):
        graph = ew.RandomRegular(N, degree=degree, seed=seed)
        table = graph.neighbors
        assert (tuple(table.shape), table.dtype) == ((N, degree), torch.int64)
        adjacency = torch.zeros(N, N, dtype=torch.int64)
        adjacency.index_put_((torch.arange(N)[:, None], table), torch.tensor(1), accumulate=True)
        assert adjacency.sum(1).tolist() == [degree] * N
        assert not adjacency.diagonal().any()
        assert adjacency.equal(adjacency.t())
        assert bool((adjacency <= 1).all())
        assert bool((table[:, 1:] > table[:, :-1]).all())


def test_the_draw_is_pinned():
    """The stream of numbers is part of the interface: a saved model has this graph."""
    sparse = ew.RandomRegular(6, degree=2, seed=0).neighbors
    assert sparse.tolist() == [[2, 3], [3, 4], [0, 5], [0, 1], [1, 5], [2, 4]]
    dense = ew.RandomRegular(6, degree=3, seed=1).neighbors
    assert dense.tolist() == [[1, 2, 5], [0, 3, 4], [0, 3, 5], [1, 2, 4], [1, 3, 5], [0, 2, 4]]
    many = ew.RandomRegular(1000, degree=8, seed=7).neighbors
    assert int((many * torch.arange(1, 9)).sum(1).mul(torch.arange(1000)).sum()) == 11_354_223_331


def test_seeds_reproduce_and_differ():
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    drawn = {
        tuple(ew.RandomRegular(20, degree=3, seed=seed).neighbors[0].tolist()) for seed in range(30)
    }
    assert len(drawn) > 20
    again = ew.RandomRegular(20, degree=3, seed=5).neighbors
    assert again.equal(ew.RandomRegular(20, degree=3, seed=5).neighbors)
    np.testing.assert_array_equal(
        np.random.get_state()[1], state, "the global stream is left alone"
    )


def test_edges_are_drawn_at_first_use(monkeypatch):
    def fail(*_):
        raise AssertionError("the edges were drawn")

    monkeypatch.setattr(random_regular, "_pairs", fail)
    graph = ew.RandomRegular(10**6, degree=8)
    assert graph.facts().max_edges == 8 * 10**6
    assert repr(graph) == "RandomRegular(1000000, degree=8)"
    assert repr(ew.RandomRegular(4, degree=1, seed=3)) == "RandomRegular(4, degree=1, seed=3)"


def test_a_draw_that_cannot_be_repaired_is_an_error(monkeypatch):
    monkeypatch.setattr(random_regular, "_swap_ends", lambda *_: None)
    monkeypatch.setattr(random_regular, "_MAX_DRAWS", 3)
    monkeypatch.setattr(random_regular, "_MAX_ROUNDS", 3)
    with pytest.raises(
        ew.GraphError,
        match=r"no simple graph of 101 nodes and degree 50 was found in 3 draws\. Try another seed",
    ):
        _ = ew.RandomRegular(101, degree=50).neighbors


def test_information_crosses_in_few_layers():
    """Of 64 nodes of degree 3, every node reads every node through eight layers."""
    field = ew.receptive_field(ew.RandomRegular(64, degree=3), 8)
    assert ew.edges(field).num_edges == 64 * 64

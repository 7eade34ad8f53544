"""Random walks: diagonals of powers, PyTorch Geometric's, alone and in a batch."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch_geometric.data import Data
from torch_geometric.transforms import AddRandomWalkPE

from edgewise.errors import ArgumentError, GraphError
from edgewise.graphs import Complete, EdgeList, Window, disjoint_union, permute
from edgewise.layouts import edges
from edgewise.nn import random_walk

DOUBLE = torch.float64


@st.composite
def edge_lists(draw):
    N = draw(st.integers(1, 8))
    node = st.integers(0, N - 1)
    pairs = draw(st.lists(st.tuples(node, node), max_size=20))
    return EdgeList(torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T, num_nodes=N)


def test_random_walks_equal_pyg(graph):
    data = Data(edge_index=graph.edge_index, num_nodes=graph.num_targets)
    theirs = AddRandomWalkPE(7, attr_name="pe")(data).pe
    torch.testing.assert_close(random_walk(graph, 7), theirs, rtol=1e-5, atol=1e-6)


@pytest.fixture(params=["native", "aggregation", "a walker at a time"])
def way(request, monkeypatch):
    """With compiled kernels, and without."""
    if request.param != "native":
        monkeypatch.setattr("edgewise.nn.positions.random_walk.returns", lambda *_: None)
        monkeypatch.setattr(
            "edgewise.nn.positions.random_walk._CELLS", 1 if "time" in request.param else 1 << 22
        )


def diagonals(graph, k):
    """The definition."""
    step = torch.zeros(graph.num_targets, graph.num_targets, dtype=DOUBLE)
    pairs = edges(graph)
    step.index_put_((pairs.target, pairs.source), torch.ones(1).double(), accumulate=True)
    step = step / step.sum(0).clamp(min=1)
    power, columns = torch.eye(graph.num_targets, dtype=DOUBLE), []
    for _ in range(k):
        power = step @ power
        columns.append(power.diagonal())
    return torch.stack(columns, 1)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("k", [1, 2, 7, 20])
def test_random_walks_are_diagonals_of_powers(graph, close, k):
    close(random_walk(graph, k, dtype=DOUBLE), diagonals(graph, k))


@settings(deadline=None, max_examples=30)
@given(edge_lists(), st.integers(1, 12), st.integers(0, 2**31))
def test_copies_directions_and_names(graph, k, seed):
    result = random_walk(graph, k, dtype=DOUBLE)
    torch.testing.assert_close(result, diagonals(graph, k), rtol=0, atol=1e-13)
    order = torch.randperm(graph.num_targets, generator=torch.Generator().manual_seed(seed))
    renamed = random_walk(permute(graph, order), k, dtype=DOUBLE)
    torch.testing.assert_close(renamed[order], result, rtol=0, atol=1e-13)


@pytest.mark.usefixtures("way")
def test_random_walks_in_a_batch_are_those_of_its_graphs(graph, close):
    graphs = [
        graph,
        Complete(4),
        EdgeList([[], []], num_nodes=2),
        Window(9, left=1, right=1),
        graph,
    ]
    alone = torch.cat([diagonals(each, 6) for each in graphs])
    close(random_walk(disjoint_union(graphs), 6, dtype=DOUBLE), alone)
    single = random_walk(disjoint_union(graphs), 6)
    torch.testing.assert_close(single, alone.float())


def test_lost_walkers_and_copies():
    lost = random_walk(EdgeList([[0, 0, 1], [1, 2, 0]], num_nodes=4), 2)  # node 2 is a dead end
    assert lost.tolist() == [[0.0, 0.5], [0.0, 0.5], [0.0, 0.0], [0.0, 0.0]]
    twice = random_walk(EdgeList([[0, 0, 0, 1], [1, 1, 2, 0]], num_nodes=3), 2)
    torch.testing.assert_close(twice[:, 1], torch.tensor([2 / 3, 2 / 3, 0.0]))
    assert random_walk(EdgeList([[], []], num_nodes=0), 3).shape == (0, 3)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ArgumentError, match="random_walk: k must be at least 1"):
        random_walk(Complete(3), 0)
    with pytest.raises(GraphError, match="must be square"):
        random_walk(Complete(3, 4), 1)

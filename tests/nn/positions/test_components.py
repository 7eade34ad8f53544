"""Connected components agree with SciPy's and come in one fixed order."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy import sparse

from edgewise.errors import GraphError
from edgewise.graphs import Complete, EdgeList, Window
from edgewise.nn import components


@st.composite
def edge_lists(draw):
    N = draw(st.integers(1, 30))
    node = st.integers(0, N - 1)
    pairs = draw(st.lists(st.tuples(node, node), max_size=40))
    return EdgeList(torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T, num_nodes=N)


@settings(deadline=None)
@given(edge_lists())
def test_components_are_scipys(graph):
    N = graph.num_targets
    ones = torch.ones(graph.num_edges)
    matrix = sparse.coo_array((ones, (graph.target, graph.source)), shape=(N, N))
    count, expected = sparse.csgraph.connected_components(matrix, directed=False)
    parts = components(graph)
    assert len(parts.sizes) == count
    pairs = set(zip(parts.label.tolist(), expected.tolist(), strict=True))
    assert len(pairs) == count  # one of ours for each of theirs


@settings(deadline=None)
@given(edge_lists())
def test_the_record_is_consistent(graph):
    parts = components(graph)
    assert parts.sizes.tolist() == sorted(parts.sizes.tolist())
    assert int(parts.sizes.sum()) == graph.num_targets
    for index, (start, size) in enumerate(zip(parts.starts, parts.sizes, strict=True)):
        nodes = parts.nodes[start : start + size]
        assert (parts.label[nodes] == index).all()
        assert nodes.tolist() == sorted(nodes.tolist())
        assert parts.position[nodes].tolist() == list(range(int(size)))


def test_long_chains_take_few_rounds():
    N = 20_000
    shuffled = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    chain = EdgeList(torch.stack([shuffled[:-1], shuffled[1:]]), num_nodes=N)
    assert components(chain).sizes.tolist() == [N]


def test_implicit_graphs_and_no_nodes():
    assert components(Window(9, left=1, right=0)).sizes.tolist() == [9]
    assert components(EdgeList([[], []], num_nodes=0)).sizes.tolist() == []


def test_two_sets_of_nodes_are_refused():
    with pytest.raises(GraphError, match="must be square, got 3 targets and 4 sources"):
        components(Complete(3, 4))

"""Shortest paths: networkx's and SciPy's distances, and real paths of edges."""

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.sparse import csgraph, csr_array

from edgewise.errors import ArgumentError, GraphError
from edgewise.graphs import (
    Blocks,
    Causal,
    Complete,
    EdgeList,
    Grid,
    Window,
    disjoint_union,
    permute,
    receptive_field,
)
from edgewise.layouts import edges
from edgewise.nn import shortest_path_edges, shortest_paths
from edgewise.nn.positions import component_matrices, shortest_path


@st.composite
def edge_lists(draw, max_nodes=9, max_edges=16):
    N = draw(st.integers(1, max_nodes))
    node = st.integers(0, N - 1)
    pairs = draw(st.lists(st.tuples(node, node), max_size=max_edges))
    return EdgeList(torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T, num_nodes=N)


def by_networkx(graph):
    """Distances from each source (column) to each target (row); -1 without a path."""
    result = edges(graph)
    digraph = nx.DiGraph()
    digraph.add_nodes_from(range(graph.num_targets))
    digraph.add_edges_from(zip(result.source.tolist(), result.target.tolist(), strict=True))
    out = torch.full((graph.num_targets, graph.num_targets), -1)
    for source, lengths in nx.all_pairs_shortest_path_length(digraph):
        for target, length in lengths.items():
            out[target, source] = length
    return out


def all_pairs(graph, cutoff=None):
    N = graph.num_targets
    return shortest_paths(graph, Complete(N), cutoff=cutoff).view(N, N)


@pytest.fixture(params=["products", "walking", "mixed"])
def way(request, monkeypatch):
    """Small components by products, large ones by walking; and little memory for both."""
    if request.param != "products":
        monkeypatch.setattr(shortest_path, "_LARGEST_DENSE", 0 if request.param == "walking" else 4)
        monkeypatch.setattr(shortest_path, "_VISITED", 12)
    else:
        monkeypatch.setattr(component_matrices, "_CELLS", 100)
        monkeypatch.setattr(shortest_path, "_PAIRS", 7)


@settings(deadline=None, max_examples=40)
@given(edge_lists())
def test_distances_are_networkxs(graph):
    assert torch.equal(all_pairs(graph), by_networkx(graph))


GRAPHS = [
    EdgeList([[], []], num_nodes=3),
    EdgeList([[0, 1, 1, 1, 3, 5], [1, 0, 0, 1, 4, 4]], num_nodes=7),  # copies and a self-loop
    Window(13, left=1, right=0),  # one way
    Grid((4, 5)),
    Causal(9),
    disjoint_union([Window(8, left=1, right=1), Complete(3), EdgeList([[], []], num_nodes=2)]),
]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("graph", GRAPHS, ids=repr)
@pytest.mark.parametrize("cutoff", [None, 0, 1, 3])
def test_all_ways_agree(graph, cutoff):
    expected = by_networkx(graph)
    if cutoff is not None:
        expected[expected > cutoff] = -1
    assert torch.equal(all_pairs(graph, cutoff), expected)


def test_distances_are_scipys():
    random = torch.Generator().manual_seed(0)
    dense = torch.rand(300, 300, generator=random) < 0.005
    graph = EdgeList(dense.nonzero().T, num_nodes=300)
    matrix = csr_array(dense.numpy().astype(np.float64)).T  # nonzero() gave (source, target)
    expected = torch.from_numpy(csgraph.shortest_path(matrix.T, unweighted=True)).T
    expected = expected.masked_fill(expected.isinf(), -1)
    assert torch.equal(all_pairs(graph).double(), expected)


@settings(deadline=None, max_examples=25)
@given(edge_lists(), st.integers(0, 4))
def test_within_k_hops_is_the_receptive_field(graph, k):
    node = torch.arange(graph.num_targets)
    within = receptive_field(graph, k).contains(node[:, None], node[None, :])
    assert torch.equal(all_pairs(graph, k) >= 0, within)


@settings(deadline=None, max_examples=25)
@given(edge_lists(), edge_lists(), st.integers(0, 2**31))
def test_names_and_unions_do_not_matter(one, other, seed):
    order = torch.randperm(one.num_targets, generator=torch.Generator().manual_seed(seed))
    renamed = all_pairs(permute(one, order))
    assert torch.equal(renamed[order][:, order], all_pairs(one))
    sizes = [one.num_targets, other.num_targets, one.num_targets]
    together = shortest_paths(disjoint_union([one, other, one]), Blocks(sizes))
    alone = [all_pairs(graph).flatten() for graph in (one, other, one)]
    assert torch.equal(together, torch.cat(alone))


@settings(deadline=None, max_examples=25)
@given(edge_lists(), st.data())
def test_pairs_are_answered_in_their_order(graph, data):
    N = graph.num_targets
    node = st.integers(0, N - 1)
    wanted = data.draw(st.lists(st.tuples(node, node), max_size=12))
    pairs = EdgeList(torch.tensor(wanted, dtype=torch.int64).reshape(-1, 2).T, num_nodes=N)
    expected = by_networkx(graph)[pairs.target, pairs.source]
    assert torch.equal(shortest_paths(graph, pairs), expected)


@pytest.mark.usefixtures("way")
def test_pairs_across_parts_have_no_path():
    graph = disjoint_union([Complete(5), Complete(3), Complete(6)])
    result = all_pairs(graph)
    node = torch.arange(14)
    inside = graph.contains(node[:, None], node[None, :])
    assert torch.equal(result == -1, ~inside)


def test_long_chains():
    chain = Window(3000, left=1, right=0)
    pairs = EdgeList([[0, 0, 2999, 1500], [2999, 0, 0, 1600]], num_nodes=3000)
    assert shortest_paths(chain, pairs).tolist() == [2999, 0, -1, 100]
    assert shortest_paths(chain, pairs, cutoff=100).tolist() == [-1, 0, -1, 100]


def test_no_nodes_and_no_pairs():
    empty, no_pairs = EdgeList([[], []], num_nodes=0), EdgeList([[], []], num_nodes=5)
    assert shortest_paths(empty, empty).shape == (0,)
    assert shortest_paths(Complete(5), no_pairs).shape == (0,)
    assert shortest_path_edges(empty, empty, 3).shape == (0, 3)
    assert shortest_path_edges(Complete(5), no_pairs, 3).shape == (0, 3)


# --- Edges along paths ---------------------------------------------------------------------------


def check_paths(graph, length):
    N = graph.num_targets
    distance = all_pairs(graph).flatten()
    result = shortest_path_edges(graph, Complete(N), length)
    walked, wanted = edges(graph), edges(Complete(N))
    assert torch.equal((result >= 0).sum(1), distance.clamp(0, length))
    for row, hops, start, goal in zip(
        result.tolist(),
        distance.tolist(),
        wanted.target.tolist(),
        wanted.source.tolist(),
        strict=True,
    ):
        node, returned = start, [edge for edge in row if edge >= 0]
        assert row == returned + [-1] * (length - len(returned))
        for edge in returned:  # back from the target
            assert walked.target[edge] == node
            node = int(walked.source[edge])
        if 0 < hops <= length:
            assert node == goal


@settings(deadline=None, max_examples=25)
@given(edge_lists(), st.integers(1, 5))
def test_the_edges_are_those_of_a_shortest_path(graph, length):
    check_paths(graph, length)


@pytest.mark.parametrize("graph", GRAPHS, ids=repr)
def test_paths_need_little_memory(graph, monkeypatch):
    whole = shortest_path_edges(graph, Complete(graph.num_targets), 4)
    monkeypatch.setattr(component_matrices, "_CELLS", 100)
    monkeypatch.setattr(shortest_path, "_PAIRS", 7)
    monkeypatch.setattr(shortest_path, "_TRACED", 3)
    assert torch.equal(shortest_path_edges(graph, Complete(graph.num_targets), 4), whole)
    check_paths(graph, 4)


def test_of_two_paths_the_first_edges_are_taken():
    square = EdgeList([[0, 0, 1, 2], [1, 2, 3, 3]], num_nodes=4)
    pair = EdgeList([[0], [3]], num_nodes=4)
    assert shortest_path_edges(square, pair, 3).tolist() == [[2, 0, -1]]
    other = EdgeList([[2, 0, 1, 0], [3, 1, 3, 2]], num_nodes=4)
    assert shortest_path_edges(other, pair, 3).tolist() == [[0, 3, -1]]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ArgumentError, match="cutoff must be at least 0, got -1"):
        shortest_paths(Complete(3), Complete(3), cutoff=-1)
    with pytest.raises(ArgumentError, match="length must be at least 1, got 0"):
        shortest_path_edges(Complete(3), Complete(3), 0)
    with pytest.raises(GraphError, match="components: the graph must be square"):
        shortest_paths(Complete(3, 4), Complete(3))
    for function in (shortest_paths, lambda graph, pairs: shortest_path_edges(graph, pairs, 2)):
        with pytest.raises(GraphError, match="pairs must have the 3 nodes of graph on both sides"):
            function(Complete(3), Complete(4, 3))
    with pytest.raises(GraphError, match=r"may have 1024 nodes, .* got one of 1100\. Use shortest"):
        shortest_path_edges(Window(1100, left=1, right=1), Complete(1100), 2)

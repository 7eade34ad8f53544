"""Degrees of every family of graphs, and their encoding."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch_geometric.utils import degree

from edgewise.errors import ArgumentError, GraphError
from edgewise.graphs import (
    Blocks,
    Causal,
    Complete,
    Dilated,
    EdgeList,
    Hubs,
    PrefixCausal,
    SelfLoops,
    Window,
    disjoint_union,
    permute,
    reverse,
)
from edgewise.layouts import edges
from edgewise.nn import DegreeEncoding, degrees

GRAPHS = [
    Complete(4, 6),
    Causal(5),
    Causal(3, 7),
    Causal(7, 3),
    Window(9, left=2, right=1),
    Dilated(11, left=2, right=1, dilation=3),
    PrefixCausal(6, prefix=3),
    SelfLoops(4),
    Blocks([2, 0, 3], [1, 2, 2]),
    Hubs(7, [0, 3]),
    Window(9, left=2, right=1) | Hubs(9, [4]),
    EdgeList([[0, 0, 0, 2, 2], [1, 1, 2, 2, 0]], num_nodes=4),  # copies, a self-loop, node 3
    EdgeList([[0, 4], [1, 1]], num_targets=3, num_sources=5),
    EdgeList([[], []], num_nodes=0),
    disjoint_union([Causal(3), EdgeList([[0, 0], [1, 1]], num_nodes=2)]),
]


@pytest.mark.parametrize("graph", GRAPHS, ids=repr)
def test_degrees_are_pygs(graph):
    result = edges(graph)
    assert torch.equal(degrees(graph), degree(result.target, graph.num_targets, torch.int64))
    assert torch.equal(
        degrees(graph, direction="out"), degree(result.source, graph.num_sources, torch.int64)
    )
    assert torch.equal(degrees(reverse(graph), direction="out"), degrees(graph, direction="in"))


def test_a_million_rows_need_no_edges():
    assert degrees(Window(10**6, left=1000, right=0)).sum() == 1001 * 10**6 - 500 * 1001


@st.composite
def edge_lists(draw, max_nodes=8):
    N = draw(st.integers(1, max_nodes))
    node = st.integers(0, N - 1)
    pairs = draw(st.lists(st.tuples(node, node), max_size=20))
    return EdgeList(torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T, num_nodes=N)


@settings(deadline=None, max_examples=25)
@given(edge_lists(), edge_lists(), st.integers(0, 2**31))
def test_the_encoding_follows_names_and_unions(one, other, seed):
    torch.manual_seed(0)
    encoding = DegreeEncoding(3, dim=4)
    order = torch.randperm(one.num_targets, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(encoding(permute(one, order))[order], encoding(one))
    together = encoding(disjoint_union([one, other]))
    assert torch.equal(together, torch.cat([encoding(one), encoding(other)]))


def test_the_encoding_is_two_tables(same_layer):
    encoding = DegreeEncoding(2, dim=3).double()
    star = EdgeList([[1, 2, 3], [0, 0, 0]], num_nodes=5)
    into, out = encoding.in_degree_encoder.weight, encoding.out_degree_encoder.weight
    expected = torch.stack([into[2] + out[0], *[into[0] + out[1]] * 3, into[0] + out[0]])
    same_layer(encoding(star), expected, [into, out])
    assert list(encoding.state_dict()) == ["in_degree_encoder.weight", "out_degree_encoder.weight"]
    assert "max_degree=2, dim=3" in repr(encoding)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ArgumentError, match="direction must be one of 'in', 'out', got 'both'"):
        degrees(Causal(3), direction="both")
    with pytest.raises(GraphError, match="must be square, got 3 targets and 4 sources"):
        DegreeEncoding(4, dim=2)(Complete(3, 4))
    with pytest.raises(ArgumentError, match="max_degree must be at least 0, got -1"):
        DegreeEncoding(-1, dim=2)
    with pytest.raises(ArgumentError, match="dim must be at least 1, got 0"):
        DegreeEncoding(4, dim=0)

"""NetworkX both ways."""

import networkx
import pytest
import torch

from edgewise import Causal, EdgeList, edges
from edgewise.errors import DataError, GraphError
from edgewise.integrations.networkx import from_networkx, to_networkx


def test_directed_with_attributes():
    graph = networkx.DiGraph()
    graph.add_node("a", age=[1.0, 2.0])
    graph.add_node("b", age=[3.0, 4.0])
    graph.add_edge("b", "a", weight=2.5, kind=1)
    found = from_networkx(graph, edge=["weight", "kind"], node=["age"])
    assert found.graph == EdgeList([[1], [0]], num_nodes=2)
    assert found.nodes == ("a", "b")
    assert found.edge["weight"].tolist() == [2.5]
    assert found.edge["kind"].dtype == torch.int64
    assert found.node["age"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_undirected_edges_go_both_ways():
    graph = networkx.Graph()
    graph.add_edge(0, 1, weight=3.0)
    graph.add_edge(1, 1, weight=4.0)
    found = from_networkx(graph, edge=["weight"])
    assert found.graph.edge_index.tolist() == [[0, 1, 1], [1, 0, 1]]
    assert found.edge["weight"].tolist() == [3.0, 3.0, 4.0]


def test_copies_of_edges():
    graph = networkx.MultiDiGraph([(0, 1), (0, 1), (1, 0)])
    assert from_networkx(graph).graph.num_edges == 3


def test_no_weight_unless_named():
    graph = networkx.Graph()
    graph.add_edge(0, 1, weight=3.0)
    assert from_networkx(graph).edge == {}


@pytest.mark.parametrize("kind", [networkx.Graph, networkx.MultiDiGraph])
def test_nothing(kind):
    assert from_networkx(kind()).graph == EdgeList(torch.zeros(2, 0, dtype=torch.long), num_nodes=0)


def test_there_and_back():
    graph = EdgeList(torch.randint(9, (2, 30)), num_nodes=9)
    weight = torch.rand(30)
    there = to_networkx(graph, edge={"weight": weight})
    assert isinstance(there, networkx.MultiDiGraph)
    back = from_networkx(there, edge=["weight"])
    mine = sorted(zip(*graph.edge_index.tolist(), weight.tolist(), strict=True))
    again = sorted(zip(*back.graph.edge_index.tolist(), back.edge["weight"].tolist(), strict=True))
    assert again == mine


def test_names_and_two_sets():
    assert list(to_networkx(Causal(2), nodes=["x", "y"]).edges) == [
        ("x", "x"),
        ("x", "y"),
        ("y", "y"),
    ]
    block = EdgeList([[2], [0]], num_targets=1, num_sources=3)
    assert list(to_networkx(block).edges()) == [(("source", 2), ("target", 0))]
    assert type(to_networkx(Causal(2))) is networkx.DiGraph


def test_a_known_graph():
    karate = from_networkx(networkx.karate_club_graph()).graph
    assert karate.num_edges == 2 * 78
    assert networkx.is_isomorphic(
        networkx.Graph(to_networkx(karate)), networkx.Graph(networkx.karate_club_graph().edges)
    )
    assert edges(karate).num_edges == 156


ERRORS = {
    "no graph": (from_networkx, ([],), {}, "expected a graph of NetworkX, got list"),
    "missing": (
        from_networkx,
        (networkx.path_graph(3),),
        {"edge": ["weight"]},
        "edge: 4 of 4 edges have no 'weight'",
    ),
    "names": (
        from_networkx,
        (networkx.Graph([(0, 1, {"kind": "x"})]),),
        {"edge": ["kind"]},
        "edge: 'kind' must hold numbers of one shape",
    ),
    "twice": (
        to_networkx,
        (Causal(2),),
        {"nodes": ["a", "a"]},
        "nodes: expected one name for each node",
    ),
    "rows": (
        to_networkx,
        (Causal(2),),
        {"edge": {"w": torch.zeros(2)}},
        "edge: 'w' has shape [2], but the graph has 3 edges",
    ),
}


@pytest.mark.parametrize("which", ERRORS)
def test_errors(which):
    function, given, named, text = ERRORS[which]
    with pytest.raises(DataError) as caught:
        function(*given, **named)
    assert text in str(caught.value)


def test_not_a_graph_of_ours():
    with pytest.raises(GraphError, match="to_networkx: graph must be a graph, got int"):
        to_networkx(3)

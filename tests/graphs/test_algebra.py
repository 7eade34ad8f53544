"""The algebra: simplification, edge order, and the definition of composition."""

import numpy as np
import pytest
import torch

import edgewise as ew
from edgewise.graphs import Composition, Permutation, Reverse, Union
from tests.graphs.expressions import expressions, receptive_field

UNSORTED = ew.EdgeList([[3, 0, 2, 0], [1, 2, 1, 0]], num_nodes=4)
COPIES = ew.EdgeList([[3, 0, 3], [1, 2, 1]], num_nodes=4)


def matrix(graph):
    T, S = graph.num_targets, graph.num_sources
    return graph.contains(torch.arange(T)[:, None], torch.arange(S)[None, :])


# --- Sets -----------------------------------------------------------------------------------


def test_operators_and_functions_are_the_same():
    a, b = ew.Causal(5), ew.Window(5, left=1, right=1)
    assert matrix(a | b).equal(matrix(a) | matrix(b))
    assert matrix(a & b).equal(matrix(a) & matrix(b))
    assert matrix(a - b).equal(matrix(a) & ~matrix(b))


def test_a_graph_with_itself():
    simple = ew.Causal(4)
    assert (simple | simple) is simple
    assert (simple & simple) is simple
    assert ew.edges(simple - simple).num_edges == 0
    assert ew.edges(COPIES | COPIES).num_edges == 2, "sets forget copies"
    assert (COPIES | COPIES).facts().simple


@pytest.mark.parametrize("other", [3, None, "graph", torch.ones(4), [0, 1]])
def test_only_graphs_combine(other):
    for combine in (
        lambda a, b: a | b,
        lambda a, b: a & b,
        lambda a, b: a - b,
    ):
        with pytest.raises(TypeError):
            combine(ew.Causal(4), other)


# --- Reverse --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("graph", "reversed_graph"),
    [
        (ew.Complete(2, 5), ew.Complete(5, 2)),
        (ew.Blocks([1, 2], [3, 0]), ew.Blocks([3, 0], [1, 2])),
        (ew.Window(5, left=2, right=1), ew.Window(5, left=1, right=2)),
        (
            ew.Dilated(5, left=2, right=1, dilation=2),
            ew.Dilated(5, left=1, right=2, dilation=2),
        ),
        (ew.Grid((2, 3), corners=False), ew.Grid((2, 3), corners=False)),
        (ew.Hubs(4, [1]), ew.Hubs(4, [1])),
        (ew.SelfLoops(3), ew.SelfLoops(3)),
        (ew.RandomRegular(6, degree=3), ew.RandomRegular(6, degree=3)),
        (
            ew.Window(5, left=2, right=0) | ew.Hubs(5, [0]),
            ew.Window(5, left=0, right=2) | ew.Hubs(5, [0]),
        ),
    ],
)
def test_reversing_stays_symbolic(graph, reversed_graph):
    assert ew.reverse(graph) == reversed_graph
    assert matrix(reversed_graph).equal(matrix(graph).t())


def test_reversing_twice_is_the_graph():
    for graph in (ew.Causal(3, 5), ew.Window(3, 5, left=1, right=0), ew.PrefixCausal(4, prefix=2)):
        assert isinstance(ew.reverse(graph), Reverse)
        assert ew.reverse(ew.reverse(graph)) is graph
    assert ew.reverse(ew.reverse(COPIES)) == COPIES


def test_a_reversed_edge_list_keeps_its_order():
    assert ew.reverse(UNSORTED).edge_index.equal(UNSORTED.edge_index.flip(0))
    wide = ew.EdgeList([[4, 0], [1, 0]], num_targets=2, num_sources=5)
    assert ew.reverse(wide) == ew.EdgeList([[1, 0], [4, 0]], num_targets=5, num_sources=2)


# --- Permute --------------------------------------------------------------------------------


def test_permuting_moves_both_ends():
    order = [2, 0, 3, 1]
    moved = matrix(ew.permute(ew.Causal(4), order))
    for t in range(4):
        for s in range(4):
            assert bool(moved[order[t], order[s]]) == (s <= t)


def test_a_permuted_edge_list_keeps_its_order_and_a_complete_graph_stays():
    order = torch.tensor([2, 0, 3, 1])
    moved = ew.permute(UNSORTED, order)
    assert moved.edge_index.equal(order[UNSORTED.edge_index])
    assert ew.permute(ew.Complete(4), order) == ew.Complete(4)
    assert ew.permute(ew.Complete(2, 4), [1, 0], order) == ew.Complete(2, 4)


def test_an_order_may_be_written_in_many_ways_and_is_copied():
    order = torch.tensor([2, 0, 1])
    graph = ew.permute(ew.Causal(3), order)
    for same in ([2, 0, 1], np.array([2, 0, 1]), order.int(), order.to(torch.uint8)):
        assert ew.permute(ew.Causal(3), same) == graph
        assert hash(ew.permute(ew.Causal(3), same)) == hash(graph)
    order.zero_()
    assert graph == ew.permute(ew.Causal(3), [2, 0, 1])
    assert graph != ew.permute(ew.Causal(3), [0, 1, 2])
    assert isinstance(ew.permute(ew.Causal(0), []), Permutation)
    assert ew.permute(ew.EdgeList([[], []], num_nodes=0), []).num_edges == 0


# --- Compose --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outer", "inner", "both"),
    [
        (ew.SelfLoops(4), ew.Causal(4, 6), ew.Causal(4, 6)),
        (ew.Causal(6, 4), ew.SelfLoops(4), ew.Causal(6, 4)),
        (ew.SelfLoops(4), UNSORTED, UNSORTED),
        (ew.Complete(2, 4), ew.Complete(4, 3), ew.Complete(2, 3)),
        (ew.Causal(4), ew.Causal(4), ew.Causal(4)),
        (
            ew.Window(6, left=1, right=0),
            ew.Window(6, left=2, right=1),
            ew.Window(6, left=3, right=1),
        ),
        (ew.Grid((3, 4)), ew.Grid((3, 4), radius=(0, 1)), ew.Grid((3, 4), radius=(1, 2))),
        (
            ew.Grid((5,), periodic=True),
            ew.Grid((5,), periodic=True),
            ew.Grid((5,), radius=2, periodic=True),
        ),
    ],
)
def test_composing_stays_symbolic(outer, inner, both):
    assert ew.compose(outer, inner) == both
    assert matrix(Composition(outer, inner)).equal(matrix(both))


def test_composing_drops_copies_and_keeps_other_expressions():
    for a, b in [
        (ew.SelfLoops(4), COPIES),
        (COPIES, ew.SelfLoops(4)),
        (ew.Complete(3, 0), ew.Complete(0, 3)),
        (ew.Grid((2, 2)), ew.Grid((2, 2), corners=False)),
        (ew.Grid((2, 2)), ew.Grid((4, 1))),
        (ew.Window(4, left=1, right=0), ew.Window(4, 5, left=1, right=0)),
        (ew.Causal(4), ew.Causal(4, 6)),
    ]:
        both = ew.compose(a, b)
        assert isinstance(both, Composition)
        assert matrix(both).equal((matrix(a).float() @ matrix(b).float()) > 0)
        assert ew.edges(both).num_edges == int(matrix(both).sum())


def test_a_composition_is_tested_in_chunks(monkeypatch):
    monkeypatch.setattr("edgewise.graphs.composition._CHUNK", 1)
    a, b = ew.RandomRegular(9, degree=2), ew.Causal(9)
    wanted = (matrix(a).float() @ matrix(b).float()) > 0
    assert matrix(Composition(a, b)).equal(wanted)
    nested = (matrix(a).float() @ wanted.float()) > 0
    assert matrix(Composition(a, Composition(a, b))).equal(nested)


# --- Receptive fields -----------------------------------------------------------------------


def reach(graph, layers):
    step = (matrix(graph) | torch.eye(graph.num_targets, dtype=torch.bool)).numpy()
    return torch.from_numpy(np.linalg.matrix_power(step.astype(np.int64), layers) > 0)


@pytest.mark.parametrize("seed", range(4))
def test_a_receptive_field_is_a_power_of_the_graph_with_self_loops(seed):
    for e in expressions(seed + 50, 60):
        if e.shape[0] == e.shape[1]:
            for layers in range(4):
                field = receptive_field(e, layers).graph
                assert matrix(field).equal(reach(e.graph, layers)), (e.graph, layers)


@pytest.mark.parametrize(
    "graph",
    [
        ew.Complete(4),
        ew.Causal(4),
        ew.Window(5, left=2, right=0),
        ew.Dilated(7, left=1, right=0, dilation=2),
        ew.PrefixCausal(5, prefix=2),
        ew.Blocks([2, 3]),
        ew.Blocks([1, 2], [2, 1]),  # square, but its second node does not read itself
        ew.Blocks([0, 7], [1, 6]),
        ew.Grid((3, 3), corners=False),
        ew.Hubs(5, [0]),
        ew.RandomRegular(8, degree=2),
        UNSORTED,
        COPIES,
    ],
    ids=repr,
)
def test_a_receptive_field_of_every_family(graph):
    for layers in range(5):
        assert matrix(ew.receptive_field(graph, layers)).equal(reach(graph, layers))


def test_receptive_fields_stay_symbolic():
    assert ew.receptive_field(ew.Hubs(5, [1]), 0) == ew.SelfLoops(5)
    assert ew.receptive_field(ew.Causal(5), 3) == ew.Causal(5)
    assert ew.receptive_field(ew.Window(10**6, left=2, right=1), 4) == ew.Window(
        10**6, left=8, right=4
    )
    assert ew.receptive_field(ew.Grid((9, 9)), 3) == ew.Grid((9, 9), radius=3)
    assert ew.receptive_field(ew.Hubs(5, [1]), 1) == Union(ew.Hubs(5, [1]), ew.SelfLoops(5))

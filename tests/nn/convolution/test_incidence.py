"""Numbers pass from nodes to edges and back: by index, in edge order, with sums as gradients."""

import pytest
import torch

from edgewise.graphs import Causal, Complete, EdgeList, SelfLoops
from edgewise.layouts import edges
from edgewise.nn.convolution.incidence import from_sources, from_targets, incoming, onto_targets
from edgewise.nn.graph_cache import cached_by_graph

GRAPHS = [
    EdgeList([[0, 0, 1, 2, 2, 3, 3], [1, 1, 1, 0, 1, 3, 0]], num_nodes=5),
    EdgeList([[0, 4, 2, 2], [1, 1, 0, 0]], num_targets=3, num_sources=5),
    EdgeList([[], []], num_nodes=2),
    Causal(4),
    Complete(2, 3),
    Causal(4) | SelfLoops(4),
]


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("graph", GRAPHS, ids=repr)
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_they_go_by_index(graph, batch, dtype, close):
    result = edges(graph)
    T, S, E = graph.num_targets, graph.num_sources, result.num_edges
    x, source, message = (
        torch.randn(*batch, n, 3, dtype=dtype, requires_grad=True) for n in (T, S, E)
    )
    zeros = torch.zeros(*batch, T, 3, dtype=dtype)
    for mine, theirs, leaf in (
        (from_sources(source, graph), source.index_select(-2, result.source), source),
        (from_targets(x, graph), x.index_select(-2, result.target), x),
        (onto_targets(message, graph), zeros.index_add(-2, result.target, message), message),
    ):
        close(mine, theirs)
        grad_out = torch.randn_like(theirs)
        close(*(torch.autograd.grad(out, leaf, grad_out)[0] for out in (mine, theirs)))


def test_reductions_over_what_enters():
    star = EdgeList([[1, 2], [0, 0]], num_nodes=3)
    message = torch.tensor([[1.0], [3.0]])
    result = {reduce: onto_targets(message, star, reduce) for reduce in ("sum", "mean", "max")}
    assert {k: v.flatten().tolist() for k, v in result.items()} == {
        "sum": [4, 0, 0],
        "mean": [2, 0, 0],
        "max": [3, 0, 0],
    }


def test_it_is_worked_out_once_for_each_graph():
    graph = EdgeList([[0, 1], [1, 0]], num_nodes=2)
    assert incoming(graph) is incoming(graph)
    assert incoming(EdgeList([[0, 1], [1, 0]], num_nodes=2)) is not incoming(graph)


def counted(graph, power, other=None):
    counted.calls += 1
    return torch.full((2,), float(edges(graph).num_edges ** power + (other or graph).num_targets))


def test_what_is_remembered_follows_what_was_given():
    graph, counted.calls = EdgeList([[0, 1], [1, 0]], num_nodes=2), 0
    assert [cached_by_graph(counted, graph, p)[0].item() for p in (1, 2, 1)] == [4, 6, 4]
    assert cached_by_graph(counted, graph, 1, Causal(7))[0].item() == 9
    assert counted.calls == 3


def test_compiled_code_uses_the_graph_of_the_call():
    def passed(x, graph, other):
        return x * cached_by_graph(counted, graph, 1, other)[0] + from_sources(x, graph).sum()

    torch.compiler.reset()
    compiled = torch.compile(passed, backend="eager", fullgraph=True)
    counted.calls, x = 0, torch.randn(4, 2)
    for graph in (Causal(4), EdgeList([[0, 1], [1, 0]], num_nodes=4), Causal(4)):
        for other in (Causal(3), SelfLoops(5)):
            torch.testing.assert_close(compiled(x, graph, other), passed(x, graph, other))

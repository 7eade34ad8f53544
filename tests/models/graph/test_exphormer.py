"""The graph of an Exphormer is the expander, the stars of the hubs and the data's edges."""

import pytest
import torch

from edgewise.errors import ArgumentError, GraphError
from edgewise.graphs import Complete, EdgeList, RandomRegular, Union, disjoint_union
from edgewise.layouts import edges
from edgewise.models import Exphormer, exphormer_graph


def pairs(graph):
    result = edges(graph)
    return set(zip(result.source.tolist(), result.target.tolist(), strict=True))


def ring(size):
    node = torch.arange(size)
    return EdgeList(torch.stack([node, (node + 1) % size]), num_nodes=size)


@pytest.mark.parametrize("hubs", [0, 1, 3])
@pytest.mark.parametrize("degree", [0, 2, 4])
def test_one_graph(hubs, degree):
    local, N = ring(9), 9
    expected = pairs(local) | pairs(RandomRegular(N, degree=degree))
    for hub in range(N, N + hubs):
        expected |= {(node, hub) for node in range(N)} | {(hub, node) for node in range(N)}
    result = exphormer_graph(local, degree=degree, hubs=hubs)
    assert isinstance(result, Union)
    assert result.num_targets == result.num_sources == N + hubs
    assert pairs(result) == expected
    assert result.facts().simple


def test_a_batch_is_its_graphs_with_the_hubs_behind_all():
    sizes, hubs = [7, 1, 3, 7, 5], 2
    parts = [ring(size) for size in sizes]
    batch = exphormer_graph(disjoint_union(parts), degree=4, hubs=hubs, sizes=sizes)
    starts = [0, 7, 8, 11, 18]
    expected = set()
    for g, (part, size, start) in enumerate(zip(parts, sizes, starts, strict=True)):
        place = [*range(start, start + size)]
        place += [23 + g * hubs + v for v in range(hubs)]
        alone = pairs(exphormer_graph(part, degree=4, hubs=hubs))
        expected |= {(place[source], place[target]) for source, target in alone}
    assert pairs(batch) == expected


def test_a_small_graph_is_joined_completely():
    nothing = EdgeList(torch.empty(2, 0, dtype=torch.int64), num_nodes=4)
    result = exphormer_graph(nothing, degree=4, hubs=0)
    assert pairs(result) == {(i, j) for i in range(4) for j in range(4) if i != j}


def test_the_seed_decides_about_the_expander_alone():
    first, second = (exphormer_graph(ring(30), seed=seed) for seed in (0, 1))
    assert first == exphormer_graph(ring(30))
    only = pairs(first) ^ pairs(second)
    assert only
    assert all(max(pair) < 30 for pair in only)


def test_the_data_may_be_any_graph():
    assert pairs(exphormer_graph(Complete(5), degree=2)) > pairs(Complete(5))
    twice = EdgeList([[0, 0, 1], [1, 1, 1]], num_nodes=3)  # a copy and a loop
    assert pairs(exphormer_graph(twice, degree=0, hubs=0)) == {(0, 1), (1, 1)}


REFUSED = {
    "odd": (lambda: exphormer_graph(ring(5), degree=3), ArgumentError, "must be even, got 3"),
    "negative": (lambda: exphormer_graph(ring(5), hubs=-1), ArgumentError, "hubs must be at"),
    "sizes": (
        lambda: exphormer_graph(ring(5), sizes=[2, 2]),
        ArgumentError,
        "sizes must add up to the 5 nodes of graph, got 4. Pass the nodes of every graph",
    ),
    "square": (
        lambda: exphormer_graph(Complete(2, 3)),
        GraphError,
        "the graph must be square, got 2 targets and 3 sources. Give both sides one numbering",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name):
    act, error, sentence = REFUSED[name]
    with pytest.raises(error, match=sentence) as caught:
        act()
    assert str(caught.value).startswith("exphormer_graph: ")


def test_every_kind_of_edge_has_its_own_bias():
    """A bias that shuts a kind out is a graph without it."""
    graph, N = ring(9), 9
    model = Exphormer(3, 8, heads=2, layers=1, hubs=1, norm="layer").double().eval()
    x = torch.randn(N, 3, dtype=torch.float64)
    everywhere = exphormer_graph(graph, degree=2, hubs=1)
    into, out_of = ({(n, N) for n in range(N)}, {(N, n) for n in range(N)})
    kinds = [pairs(graph), pairs(RandomRegular(N, degree=2)) - pairs(graph), into, out_of]
    assert set().union(*kinds) == pairs(everywhere)
    for kind, without in enumerate(kinds):
        with torch.no_grad():
            model.kind_bias.normal_()
            model.kind_bias[:, :, kind] = -1e4
        rest = torch.tensor(sorted(pairs(everywhere) - without)).T
        out = model(x, graph, everywhere=everywhere)
        expected = model(x, graph, everywhere=EdgeList(rest, num_nodes=N + 1))
        torch.testing.assert_close(out, expected)

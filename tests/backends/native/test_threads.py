"""The same bits with any number of threads, and from run to run."""

import pytest
import torch

import edgewise as ew
from tests.backends.native.backend import NATIVE
from tests.backends.native.cases import Case, gradients

THREADS = (1, 2, 5)


@pytest.fixture(autouse=True)
def _threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def random_graph(nodes=20_000, edges=200_000):
    return ew.EdgeList(torch.randint(nodes, (2, edges)), num_nodes=nodes)


def hub_graph(nodes=20_000, hub=100_000):
    """One row of 100,000 edges, one source of 100,000 edges, and many small ones between."""
    some = torch.randint(nodes, (hub,))
    pairs = [  # sources, targets
        torch.stack([some, torch.full_like(some, nodes // 2)]),
        torch.stack([torch.full_like(some, 7), some.flip(0)]),
        torch.randint(nodes, (2, hub // 4)),
    ]
    return ew.EdgeList(torch.cat(pairs, 1), num_nodes=nodes)


GRAPHS = {"random": random_graph, "hub": hub_graph}
HEADS = {"random": 4, "hub": 2}


def assert_same_bits(results):
    """The function gives the same bits with every number of threads, twice."""
    expected = None
    for threads in THREADS:
        torch.set_num_threads(threads)
        for _ in range(2):
            found = results()
            expected = expected or found
            for name in found:
                same = torch.equal(found[name], expected[name])
                assert same, f"{name} differs with {threads} threads"


def case(
    graph, score, heads, head_dim, *, batch=(), kv_heads=None, value_dim=16, shapes=(), **options
):
    """A case in which every tensor requires a gradient."""
    T, S = graph.num_targets, graph.num_sources
    G = kv_heads or heads
    tensors = {
        "query": torch.randn(*batch, heads, T, head_dim),
        "key": torch.randn(*batch, G, S, head_dim),
        "value": torch.randn(*batch, G, S, value_dim),
    }
    tensors |= {name: torch.randn(shape) for name, shape in dict(shapes).items()}
    tensors = {name: t.requires_grad_() for name, t in tensors.items()}
    pushes = {"out": torch.randn(*batch, heads, T, value_dim), "lse": torch.randn(*batch, heads, T)}
    return Case(graph, tensors, score, sends=("out", "lse"), pushes=pushes, **options)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("score", ["dot", "additive", "gatv2"])
def test_every_score(score, name):
    graph = GRAPHS[name]()
    if score == "dot":
        one = case(graph, ew.Dot(), HEADS[name], 16)
    elif score == "additive":
        one = case(graph, ew.Additive(), HEADS[name], 1)
    else:
        H = HEADS[name]
        one = case(graph, ew.GATv2(None), H, 16, shapes={"vector": (H, 16)})
    assert_same_bits(lambda: one.results(NATIVE))


@pytest.mark.parametrize("name", GRAPHS)
def test_batches_and_groups_of_heads(name):
    graph = GRAPHS[name]()
    one = case(graph, ew.Dot(softcap=2.0), 2, 4, batch=(2,), kv_heads=1, value_dim=8)
    assert_same_bits(lambda: one.results(NATIVE))


@pytest.mark.parametrize("name", GRAPHS)
def test_edge_features_for_all_heads_and_dropout(name):
    graph = GRAPHS[name]()
    E = graph.num_edges
    shapes = {"edge_key": (1, E, 8), "edge_value": (1, E, 16), "bias": (1, E)}
    one = case(graph, ew.Dot(), 2, 8, shapes=shapes, dropout=0.3)
    assert_same_bits(lambda: one.results(NATIVE))


@pytest.mark.parametrize("kind", ["relative", "one for all batches"])
def test_a_bias_that_many_edges_share(kind):
    graph = random_graph(5_000, 80_000)
    if kind == "relative":
        shapes, bias = {"bias": (1, 9)}, lambda values: ew.RelativeBias(values, first=-4)
    else:
        shapes, bias = {"bias": (1, 1, graph.num_edges)}, ew.EdgeBias
    one = case(graph, ew.Dot(), 2, 8, batch=(2,), shapes=shapes, bias=bias)
    assert_same_bits(lambda: one.results(NATIVE))


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_aggregate(reduce, name):
    graph = GRAPHS[name]()
    tensors = {
        "value": torch.randn(2, graph.num_sources, 16, requires_grad=True),
        "weight": torch.randn(1, graph.num_edges, requires_grad=True),
    }
    push = torch.randn(2, graph.num_targets, 16)

    def results():
        out = ew.aggregate(
            tensors["value"], graph, reduce, weight=tensors["weight"], backend=NATIVE
        )
        return {"out": out, **gradients({"out": out}, tensors, {"out": push})}

    assert_same_bits(results)


def test_bits_do_not_depend_on_what_else_is_asked():
    """Fewer gradients, or no log-sum-exp, change no number of the others."""
    graph = random_graph(2_000, 20_000)
    both = case(graph, ew.Dot(), 2, 8)
    expected = both.outputs(NATIVE)
    q, k, v = (both.tensors[name] for name in ("query", "key", "value"))
    assert torch.equal(ew.attention(q, k, v, graph, backend=NATIVE), expected["out"])
    with torch.no_grad():
        assert torch.equal(ew.attention(q, k, v, graph, backend=NATIVE), expected["out"])

"""Groups of heads that share blocks of edges, and what one backward pass keeps for the other.

Both are chosen by size: `join_groups` in ``native/variant/scores.hpp`` and `numbers_kept` in
``native/variant/backward.cpp``. The cases lie on both sides of each limit.
"""

import pytest
import torch

import edgewise as ew
from edgewise.backends.native.price import kept_between_passes
from tests.backends.native.backend import NATIVE
from tests.backends.native.cases import Case, assert_exact
from tests.backends.native.layouts import lay
from tests.backends.native.test_threads import _threads_as_before, assert_same_bits  # noqa: F401

# Heads, width and nodes of a graph with 4 edges for each node; then what the sizes lead to.
JOINED = [(12, 46, 900), (9, 89, 800), (4, 100, 800), (5, 40, 1100), (3, 130, 700)]
ALONE = [(12, 46, 60), (4, 100, 60), (8, 16, 300)]
KEPT = (6, 12, 500, 2_000)  # heads, width, nodes, edges
RECOMPUTED = (8, 2, 300, 40_000)


def random_graph(nodes, edges, hub=0):
    """Random edges; with a target, and a source, of so many edges more."""
    pairs = [torch.randint(nodes, (2, edges))]
    if hub:
        some = torch.randint(nodes, (hub,))
        pairs += [torch.stack([some, torch.full_like(some, 3)])]
        pairs += [torch.stack([torch.full_like(some, 5), some])]
    return ew.EdgeList(torch.cat(pairs, 1), num_nodes=nodes)


def case(graph, heads, width, *, kv_heads=None, dtype=torch.float32, extra=(), **options):
    """A case in the layout in which the heads of a node are adjacent; every tensor is a leaf."""
    nodes, edges = graph.num_targets, ew.edges(graph).num_edges
    score = options.get("score", ew.Dot())
    key_width = 1 if isinstance(score, ew.Additive) else width
    shapes = {
        "query": (heads, nodes, key_width),
        "key": (kv_heads or heads, nodes, key_width),
        "value": (kv_heads or heads, nodes, width),
    }
    tensors = {
        name: lay(torch.randn(1, *shape).to(dtype), "node-major") for name, shape in shapes.items()
    }
    if isinstance(score, ew.GATv2):
        tensors["vector"] = torch.randn(heads, width).to(dtype) / width**0.5
    if "bias" in extra:
        tensors["bias"] = torch.randn(heads, edges)
    if "features" in extra:
        tensors["edge_key"] = torch.randn(heads, edges, width).to(dtype)
        tensors["edge_value"] = torch.randn(heads, edges, width).to(dtype)
    tensors = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    pushes = {
        "out": torch.randn(1, heads, nodes, width).to(dtype),
        "lse": torch.randn(1, heads, nodes).to(torch.promote_types(dtype, torch.float32)),
    }
    return Case(graph, tensors, sends=("out", "lse"), pushes=pushes, **options)


@pytest.mark.parametrize(("heads", "width", "nodes"), JOINED + ALONE)
def test_groups_of_heads(heads, width, nodes):
    graph = random_graph(nodes, 4 * nodes)
    for dtype in (torch.float32, torch.bfloat16):
        assert_exact(case(graph, heads, width, dtype=dtype), NATIVE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_groups_of_heads_in_other_dtypes(dtype):
    heads, width, nodes = JOINED[0]
    assert_exact(case(random_graph(nodes, 3 * nodes), heads, width, dtype=dtype), NATIVE)


@pytest.mark.parametrize("score", [ew.GATv2(None), ew.Additive(), ew.Dot(softcap=2.0)])
def test_scores_of_joined_groups(score):
    heads, width, nodes = JOINED[0]
    assert_exact(case(random_graph(nodes, 2 * nodes), heads, width, score=score), NATIVE)


@pytest.mark.parametrize("extra", [("bias",), ("features",), ("bias", "features")])
def test_what_belongs_to_edges_of_joined_groups(extra):
    heads, width, nodes = JOINED[3]
    graph = random_graph(nodes, 2 * nodes)
    assert_exact(case(graph, heads, width, extra=extra, dropout=0.3), NATIVE)


@pytest.mark.parametrize(("kv_heads", "share"), [(2, 6), (4, 2), (1, 9)])
def test_shared_keys_of_joined_groups(kv_heads, share):
    graph = random_graph(1_200, 4_000)
    one = case(graph, kv_heads * share, 46, kv_heads=kv_heads, dropout=0.2)
    assert_exact(one, NATIVE)


@pytest.mark.parametrize("hub", [300, 9_000])  # a row of several blocks, and one that is cut
@pytest.mark.parametrize("score", [ew.Dot(), ew.GATv2(None)])
def test_long_rows_of_joined_groups(hub, score):
    graph = random_graph(800, 1_000, hub)
    assert_exact(case(graph, 5, 48, score=score), NATIVE)


@pytest.mark.parametrize("sizes", [KEPT, RECOMPUTED])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_ways_to_the_gradients_of_sources(sizes, dtype):
    heads, width, nodes, edges = sizes
    graph = random_graph(nodes, edges)
    one = case(graph, heads, width, dtype=dtype, dropout=0.2)
    kept = kept_between_passes(1, heads, heads, nodes, nodes, edges, 2 * width, dtype)
    assert (kept > 0) == (sizes is KEPT)
    assert_exact(one, NATIVE)


def test_a_part_of_the_gradients():
    """Sources without targets have no first pass that keeps anything; targets alone no second."""
    graph = random_graph(100, 600)
    for wanted in (("key",), ("value",), ("key", "value"), ("query",), ("query", "value")):
        one = case(graph, 3, 20)
        for name, tensor in one.tensors.items():
            tensor.requires_grad_(name in wanted)
        assert_exact(one, NATIVE)


@pytest.mark.parametrize(("heads", "width", "edges"), [(6, 50, 12_000), (8, 2, 200_000)])
def test_the_same_bits_with_any_number_of_threads(heads, width, edges):
    """With few threads the groups are joined, with many they are cells of their own."""
    one = case(random_graph(3_000, edges), heads, width)
    assert_same_bits(lambda: one.results(NATIVE))


def test_nothing_beside_the_numbers_is_read_as_a_number():
    """A source that nobody reads may hold NaN, whichever heads are loaded with it."""
    heads, width, nodes = JOINED[0]
    found = torch.randint(nodes - 1, (2, 4 * nodes))
    graph = ew.EdgeList(found, num_nodes=nodes)
    one = case(graph, heads, width)
    with torch.no_grad():
        for tensor in (one.tensors["key"], one.tensors["value"]):
            tensor[..., nodes - 1, :] = torch.nan
    for name, result in one.results(NATIVE).items():
        assert not result[..., : nodes - 1, :].isnan().any() if name != "lse" else True


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("channels", [1, 2, 7, 40])
def test_means_divide_in_the_kernel(dtype, channels):
    graph = random_graph(300, 900, hub=9_000)  # rows without edges, short ones, and one that is cut
    value = torch.randn(2, 300, channels).to(dtype).requires_grad_()
    exact = value.detach().double().requires_grad_()
    push = torch.randn(2, 300, channels)
    found = ew.aggregate(value, graph, "mean", backend=NATIVE)
    wanted = ew.aggregate(exact, graph, "mean", backend="reference")
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(found.double(), wanted, atol=tolerance, rtol=tolerance)
    (grad,) = torch.autograd.grad(found, value, push.to(dtype))
    (grad_wanted,) = torch.autograd.grad(wanted, exact, push.to(dtype).double())
    scale = float(grad_wanted.abs().max())
    torch.testing.assert_close(grad.double(), grad_wanted, atol=tolerance * scale, rtol=tolerance)
    with torch.no_grad():
        assert torch.equal(ew.aggregate(value, graph, "mean", backend=NATIVE), found)

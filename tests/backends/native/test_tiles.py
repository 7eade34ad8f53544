"""Rows that read the same columns: found where they pay, and the same numbers as edge by edge."""

from dataclasses import replace

import pytest
import torch

import edgewise as ew
from edgewise.backends.native.layout import Layout
from edgewise.layouts import csr, ragged
from tests.backends.native.backend import NATIVE
from tests.backends.native.cases import Case, assert_exact
from tests.backends.native.layouts import lay

SIZES = {
    "molecules": [5, 23, 9, 31, 16, 17, 32, 33],
    "one": [40],
    "with single nodes": [1, 30, 1, 2, 25],
    "large": [200, 64],
}


def tiles(graph):
    return Layout.of(csr(graph)).rows.tiles


def case(graph, *, heads=4, kv_heads=None, dim=16, value_dim=None, batch=(), dtype=torch.float32,
         storage="node-major", bias=None, **options):  # fmt: skip
    T, S, E = graph.num_targets, graph.num_sources, ew.edges(graph).num_edges
    G, V = kv_heads or heads, value_dim or dim
    shapes = {
        "query": (*batch, heads, T, dim),
        "key": (*batch, G, S, dim),
        "value": (*batch, G, S, V),
    }
    tensors = {name: lay(torch.randn(shape).to(dtype), storage) for name, shape in shapes.items()}
    if bias is not None:
        tensors["bias"] = torch.randn(*bias, E).to(dtype)
    tensors = {name: t.detach().requires_grad_() for name, t in tensors.items()}
    pushes = {
        "out": lay(torch.randn(*batch, heads, T, V).to(dtype), storage),
        "lse": torch.randn(*batch, heads, T),
    }
    return Case(graph, tensors, sends=("out", "lse"), pushes=pushes, **options)


def by_edge(monkeypatch):
    """Forget tiles, so that rows are worked on one by one."""
    monkeypatch.setattr("edgewise.backends.native.layout.tiles_of", lambda *_: None)


def test_the_rows_first_edge_and_columns_of_each_block():
    found = tiles(ew.Blocks([5, 7, 30]))
    assert found.tolist() == [[0, 5, 0, 5], [5, 12, 25, 7], [12, 42, 74, 30]]
    bipartite = ew.Blocks([5, 7], source_sizes=[9, 4])
    assert tiles(bipartite).tolist() == [[0, 5, 0, 9], [5, 12, 45, 4]]
    union = ew.disjoint_union([ew.Complete(4), ew.Complete(6)])
    assert tiles(union).tolist() == [[0, 4, 0, 4], [4, 10, 16, 6]]


@pytest.mark.parametrize(
    "graph",
    [
        *(ew.Blocks(sizes) for sizes in SIZES.values()),
        ew.Complete(40),
        ew.Complete(4, 90),
        ew.Blocks([5, 7], source_sizes=[9, 4]),
        ew.disjoint_union([ew.Complete(4), ew.Complete(6)]),
        ew.Blocks([2] * 20),
        ew.Blocks([8, 8], source_sizes=[8, 0]),
        ew.Blocks([0, 8], source_sizes=[8, 8]),
        ew.Window(64, left=5, right=5),
        ew.Causal(20),
    ],
    ids=repr,
)
def test_facts_foresee_tiles(graph):
    T, S = graph.num_targets, graph.num_sources
    q, k = torch.randn(2, T, 16), torch.randn(2, S, 16)
    way = ew.plan(q, k, k, graph, backend=NATIVE).to_dict()["way"]
    found = tiles(graph)
    assert (way == "fused tiles") == (found is not None)
    by_facts = Layout.of(csr(graph), ragged(graph)).rows.tiles
    assert (by_facts is None) == (found is None)
    assert found is None or by_facts.equal(found)


def test_equal_neighbours_of_other_blocks_are_told_apart():
    assert tiles(ew.Blocks([6, 6, 6])).shape == (3, 4)


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param(ew.Blocks([2] * 20), id="too small to pay"),
        pytest.param(ew.Window(64, left=5, right=5), id="columns in several rows"),
        pytest.param(ew.Blocks([8, 8], source_sizes=[8, 0]), id="rows without columns"),
        pytest.param(ew.Complete(20) - ew.SelfLoops(20), id="no row like another"),
        pytest.param(ew.Causal(20), id="rows that grow"),
        pytest.param(ew.EdgeList(torch.empty(2, 0, dtype=torch.long), num_nodes=9), id="no edges"),
    ],
)
def test_no_tiles(graph):
    assert tiles(graph) is None


def test_no_tiles_where_a_column_is_read_by_nobody_or_by_two_tiles():
    pairs = [(s, t) for t in range(8) for s in range(8)]
    graph = ew.EdgeList(list(zip(*pairs, strict=True)), num_targets=8, num_sources=9)
    assert tiles(graph) is None
    pairs += [(s, t) for t in range(8, 16) for s in (*range(4), *range(8, 12))]
    graph = ew.EdgeList(list(zip(*pairs, strict=True)), num_targets=16, num_sources=12)
    assert tiles(graph) is None


def test_no_tiles_where_edges_occur_twice():
    pairs = torch.cartesian_prod(torch.arange(6), torch.arange(6)).T
    assert tiles(ew.EdgeList(pairs, num_nodes=6)) is not None
    assert tiles(ew.EdgeList(torch.cat([pairs, pairs], 1), num_nodes=6)) is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sizes", SIZES)
def test_every_size_in_every_dtype(sizes, dtype):
    graph = ew.Blocks(SIZES[sizes])
    assert_exact(case(graph, heads=2, dtype=dtype), NATIVE)


@pytest.mark.parametrize("storage", ["node-major", "contiguous"])
@pytest.mark.parametrize(
    ("dim", "value_dim"), [(1, 3), (5, 8), (8, 24), (16, 40), (31, 17), (64, 64)]
)
def test_every_head_dimension(dim, value_dim, storage):
    graph = ew.Blocks([23, 5, 40])
    assert_exact(case(graph, dim=dim, value_dim=value_dim, storage=storage), NATIVE)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"heads": 6, "kv_heads": 2}, id="shared keys"),
        pytest.param({"batch": (2, 3)}, id="batch"),
        pytest.param({"score": ew.Dot(scale=0.3, softcap=1.5)}, id="soft cap"),
        pytest.param({"bias": (4,)}, id="bias"),
        pytest.param({"bias": (1,)}, id="bias of all heads"),
        pytest.param({"dropout": 0.4}, id="dropout"),
        pytest.param({"dropout": 0.4, "bias": (4,), "kv_heads": 2}, id="together"),
    ],
)
def test_every_setting(options):
    assert_exact(case(ew.Blocks([23, 9, 33]), **options), NATIVE)


def test_bipartite_blocks():
    assert_exact(case(ew.Blocks([23, 3, 12], source_sizes=[7, 40, 16])), NATIVE)
    assert_exact(case(ew.Blocks([600, 30], source_sizes=[8, 9])), NATIVE)  # more rows than fit


@pytest.mark.parametrize("options", [{}, {"dropout": 0.3}, {"bias": (4,)}, {"kv_heads": 2}])
def test_equal_to_edge_by_edge(options, monkeypatch):
    sizes = SIZES["molecules"]
    torch.manual_seed(0)
    given = case(ew.Blocks(sizes), **options)
    found = given.results(NATIVE)
    by_edge(monkeypatch)
    plain = replace(given, graph=ew.Blocks(sizes))
    assert tiles(plain.graph) is None
    for name, expected in plain.results(NATIVE).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)


def test_gradients_of_some_operands_only():
    given = case(ew.Blocks([23, 9]), bias=(4,))
    for name in given.tensors:
        some = {k: t.detach().requires_grad_(k == name) for k, t in given.tensors.items()}
        assert_exact(replace(given, tensors=some), NATIVE)


def test_too_large_for_tiles():
    graph = ew.Blocks([300, 20])
    assert tiles(graph) is not None
    assert_exact(case(graph, heads=1, dim=64), NATIVE)


def test_rows_that_a_bias_forbids_weigh_nothing():
    given = case(ew.Blocks([23, 9]), bias=(4,))
    bias = given.tensors["bias"].detach().clone()
    bias[:, :23] = -torch.inf  # all of the first row
    found = replace(given, tensors={**given.tensors, "bias": bias}).results(NATIVE)
    assert (found["out"][:, 0] == 0).all()
    assert (found["lse"][:, 0] == -torch.inf).all()
    assert all(t.isfinite().all() for name, t in found.items() if name != "lse")


def test_nan_stays_within_its_block():
    given = case(ew.Blocks([23, 9, 30]))
    key = given.tensors["key"].detach().clone()
    key[:, 25] = torch.nan
    spoilt = replace(given, tensors={**given.tensors, "key": key.requires_grad_()})
    clean, found = given.results(NATIVE), spoilt.results(NATIVE)
    for name, t in found.items():
        assert t[:, 23:32].isnan().any(), name
        for part in (slice(23), slice(32, None)):
            assert torch.equal(t[:, part], clean[name][:, part]), name


def test_the_same_bits_for_any_number_of_threads():
    given = case(ew.Blocks([25] * 200), heads=8)
    before, expected = torch.get_num_threads(), None
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found = given.results(NATIVE)
            expected = expected or found
            assert all(torch.equal(t, expected[name]) for name, t in found.items())
    finally:
        torch.set_num_threads(before)

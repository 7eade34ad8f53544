"""An order of rows changes where numbers are read, never the numbers."""

import json
import sys

import pytest
import torch

import edgewise as ew
from edgewise.backends import BACKENDS
from edgewise.backends.native import row_order as orders
from edgewise.backends.native.layout import Layout
from edgewise.backends.native.row_order import cuthill_mckee, in_better_order, may_pay, near
from edgewise.layouts import csr
from tests.backends.native.backend import NATIVE
from tests.backends.native.cases import Case

BACKEND = next(b for b in BACKENDS if b.name == NATIVE)
SCORES = [ew.Dot(), ew.Dot(softcap=2.0), ew.Additive(), ew.GATv2(None)]


def layout_of(graph):
    return Layout.of(csr(graph))


def ring(num_nodes=4000, degree=16, *, shuffled=True):
    """Each node reads its neighbours on a circle; both ways."""
    target = torch.arange(num_nodes).repeat_interleave(degree)
    steps = torch.tensor([s for s in range(-(degree // 2), degree // 2 + 1) if s])
    source = (target + steps.repeat(num_nodes)) % num_nodes
    name = torch.randperm(num_nodes) if shuffled else torch.arange(num_nodes)
    return ew.EdgeList(name[torch.stack([source, target])], num_nodes=num_nodes)


def copies():
    """Rows of zero to many edges, some twice, targets and sources apart."""
    pairs = torch.stack([torch.randint(90, (700,)), torch.randint(69, (700,))])
    return ew.EdgeList(torch.cat([pairs, pairs[:, :50]], 1), num_targets=70, num_sources=90)


def hub():
    """Rows that are cut, in both passes."""
    node = torch.arange(9000)
    pairs = torch.stack([torch.cat([node, 0 * node + 5]), torch.cat([0 * node + 3, node])])
    return ew.EdgeList(pairs, num_nodes=9000)


def shuffled(layout):
    """The same layout in a drawn order, both ways."""
    targets = torch.randperm(layout.rows.num_rows)
    sources = torch.randperm(layout.rows.num_columns)
    columns = layout.reversed.in_order(sources)
    return Layout.of_rows(layout.rows.in_order(targets), columns, "shuffled")


def use(monkeypatch, layout):
    """Whatever the plan is for, this layout is used."""
    monkeypatch.setattr("edgewise.backends.native.backend._layout", lambda _: layout)


def case(graph, score, *, dropout=0.0, bias=None, edges=False, dim=8):
    T, S, E = graph.num_targets, graph.num_sources, ew.edges(graph).num_edges
    dim = 1 if isinstance(score, ew.Additive) else dim
    draw = {
        "query": torch.randn(2, 2, T, dim),
        "key": torch.randn(2, 2, S, dim),
        "value": torch.randn(2, 2, S, 5),
    }
    if isinstance(score, ew.GATv2):
        draw["vector"] = torch.randn(2, dim)
    if edges:
        draw |= {"edge_key": torch.randn(2, E, dim), "edge_value": torch.randn(2, E, 5)}
    if bias is not None:
        draw["bias"] = torch.randn(2, *((E,) if bias is ew.EdgeBias else (T, S)))
    pushes = {"out": torch.randn(2, 2, T, 5), "lse": torch.randn(2, 2, T)}
    tensors = {name: t.requires_grad_() for name, t in draw.items()}
    return Case(graph, tensors, score, bias or ew.EdgeBias, dropout, ("out", "lse"), pushes=pushes)


def assert_same(case, monkeypatch):
    """Every result is the same to the last bit; a vector that all rows share, nearly."""
    plain = layout_of(case.graph)
    if case.tensors.get("bias") is not None and case.bias is not ew.EdgeBias:
        found = ew.edges(case.graph)
        plain = plain.with_ends(found.target, found.source)
    use(monkeypatch, plain)
    expected = case.results(NATIVE)
    use(monkeypatch, shuffled(plain))
    found = case.results(NATIVE)
    for name, numbers in found.items():
        if name == "gradient of vector":
            torch.testing.assert_close(numbers, expected[name], rtol=1e-4, atol=1e-3)
        else:
            assert torch.equal(numbers, expected[name]), name


@pytest.mark.parametrize("graph", [copies, hub, lambda: ring(300)], ids=["copies", "hub", "ring"])
@pytest.mark.parametrize("score", SCORES, ids=repr)
def test_an_order_changes_no_number(score, graph, monkeypatch):
    assert_same(case(graph(), score), monkeypatch)


@pytest.mark.parametrize("score", SCORES, ids=repr)
def test_an_order_changes_no_number_of_edges_and_dropout(score, monkeypatch):
    for bias in (None, ew.EdgeBias, ew.DenseBias):
        assert_same(case(copies(), score, dropout=0.4, bias=bias, edges=True), monkeypatch)


@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_an_order_changes_no_number_of_aggregation(reduce, monkeypatch):
    for graph in (copies(), hub()):
        value = torch.randn(2, graph.num_sources, 7, requires_grad=True)
        weight = torch.rand(ew.edges(graph).num_edges, requires_grad=True)
        plain, results = layout_of(graph), []
        for layout in (plain, shuffled(plain)):
            use(monkeypatch, layout)
            out = ew.aggregate(value, graph, reduce, weight=weight, backend=NATIVE)
            results.append([out, *torch.autograd.grad(out.square().sum(), (value, weight))])
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_reversed_rows_do_not_depend_on_the_order_of_targets():
    plain = layout_of(copies())
    ordered = Layout(plain.rows.in_order(torch.randperm(plain.rows.num_rows)))
    for name in ("indptr", "indices", "edge", "copy"):
        assert torch.equal(getattr(plain.reversed, name), getattr(ordered.reversed, name))
    assert torch.equal(plain.share_of_edge, ordered.share_of_edge)
    assert torch.equal(plain.rows.column_of_edge(), ordered.rows.column_of_edge())


def test_two_orders_are_one():
    rows = layout_of(copies()).rows.in_place()
    order = torch.randperm(rows.num_rows)
    again = rows.in_order(order).in_order(torch.argsort(order))
    assert torch.equal(again.order, torch.arange(rows.num_rows, dtype=torch.int32))
    assert torch.equal(again.indices, rows.indices)


@pytest.mark.parametrize("graph", [copies, hub, ring])
def test_an_order_is_a_permutation_and_always_the_same(graph):
    rows = layout_of(graph()).rows
    targets, sources = cuthill_mckee(rows)
    assert torch.equal(targets.sort().values, torch.arange(rows.num_rows))
    assert torch.equal(sources.sort().values, torch.arange(rows.num_columns))
    assert all(map(torch.equal, cuthill_mckee(rows), (targets, sources)))


def test_directed_and_empty_graphs_have_an_order():
    for pairs in ([[0, 1], [2, 2]], [[], []]):
        graph = ew.EdgeList(torch.tensor(pairs, dtype=torch.int64), num_nodes=3)
        targets, _ = cuthill_mckee(layout_of(graph).rows)
        assert sorted(targets.tolist()) == [0, 1, 2]
        assert near(layout_of(graph).rows) in (0.0, 0.5)


def test_an_order_brings_a_shuffled_ring_near():
    layout = in_better_order(layout_of(ring()))
    plain = layout_of(ring())
    assert near(plain.rows) < 0.5
    assert near(layout.rows) > 0.85
    assert near(layout.reversed) > 0.85
    assert layout.note is not None
    assert "targets in reverse Cuthill-McKee order: 9" in layout.note
    assert "sources in reverse" in layout.note


def test_an_order_that_does_not_help_is_not_used():
    for graph in (
        ring(shuffled=False),
        ew.EdgeList(torch.randint(4000, (2, 60000)), num_nodes=4000),
    ):
        plain = layout_of(graph)
        assert in_better_order(plain) is plain


def test_without_scipy_there_is_no_order(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    plain = layout_of(ring())
    assert in_better_order(plain) is plain


def test_it_may_pay_for_training_on_many_edges_and_large_tables():
    large = 1 << 30
    assert may_pay(1000, 20_000, large, needs_grad=True)
    assert not may_pay(1000, 20_000, large, needs_grad=False)
    assert not may_pay(1000, 8_000, large, needs_grad=True)
    assert not may_pay(1000, 20_000, 1 << 20, needs_grad=True)


def test_training_finds_an_order_and_explain_says_so(monkeypatch):
    monkeypatch.setattr(orders, "FAR", 1 << 10)
    graph = ring()
    q, k, v = (torch.randn(2, 4000, 8, requires_grad=True) for _ in range(3))
    calm = [t.detach() for t in (q, k, v)]
    assert "Cuthill" not in str(ew.explain(*calm, graph, backend=NATIVE))
    explained = ew.explain(q, k, v, graph, backend=NATIVE)
    assert "\n   targets in reverse Cuthill-McKee order: 9" in str(explained)
    assert "reads near" in json.loads(explained.to_json())["plan"]["note"]
    # What training has found, inference uses too.
    assert "Cuthill" in str(ew.explain(*calm, graph, backend=NATIVE))
    out = ew.attention(q, k, v, graph, backend=NATIVE)
    monkeypatch.setattr(orders, "FAR", 1 << 60)
    pairs = torch.stack([ew.edges(graph).source, ew.edges(graph).target])
    plain = ew.attention(q, k, v, ew.EdgeList(pairs, num_nodes=4000), backend=NATIVE)
    assert torch.equal(out, plain)
    assert "note" not in ew.plan(*calm, ring(), backend=NATIVE).to_dict()


def test_sums_and_single_heads_take_rows_as_they_stand():
    graph = copies()
    plain, alike = Layout.of(csr(graph), alike=False), Layout.of(csr(graph))
    assert plain.rows.order is None
    assert plain.reversed.order is None
    assert alike.rows.order is not None
    assert alike.reversed.order is not None
    assert torch.equal(alike.rows.in_place().indices, plain.rows.indices)
    x = torch.randn(90, 3, dtype=torch.float64, requires_grad=True)
    ours = ew.aggregate(x, graph, "mean", backend=NATIVE)
    theirs = ew.aggregate(x, graph, "mean", backend="reference")
    push = torch.randn_like(ours)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        *(torch.autograd.grad(out, x, push, retain_graph=True) for out in (ours, theirs))
    )

"""NaN in one number: NaN in exactly what reads it, and the same bits everywhere else."""

import pytest
import torch

import edgewise as ew
from tests.backends.native.backend import NATIVE
from tests.backends.native.cases import Case

NAN, INF = float("nan"), float("inf")
N, H, G, D, DV = 9, 4, 2, 5, 3
# Target 8 has no source, source 0 no target; the edge 5 <- 4 occurs twice.
EDGES = [(1, 2), (4, 5), (3, 3), (7, 0), (4, 5), (2, 5), (8, 1), (6, 2), (5, 7), (4, 0), (2, 6)]
SCORES = {"dot": ew.Dot(), "capped": ew.Dot(softcap=2.0), "gatv2": ew.GATv2(None)}


def graph():
    return ew.EdgeList(list(zip(*EDGES, strict=True)), num_nodes=N)


def rows_of(source):
    return torch.tensor([(source, t) in EDGES for t in range(N)])


def sources_of(rows):
    return torch.tensor([any(rows[t] for s, t in EDGES if s == n) for n in range(N)])


def case(score="dot", dtype=torch.float32):
    shapes = {
        "query": (H, N, D),
        "key": (G, N, D),
        "value": (G, N, DV),
        "bias": (H, len(EDGES)),
        "edge_key": (1, len(EDGES), D),
        "edge_value": (H, len(EDGES), DV),
    }
    shapes |= {"vector": (H, D)} if score == "gatv2" else {}
    draw = torch.Generator().manual_seed(3)
    tensors = {k: torch.randn(shape, generator=draw).to(dtype) for k, shape in shapes.items()}
    tensors = {k: t.requires_grad_() for k, t in tensors.items()}
    pushes = {"out": torch.randn(H, N, DV, generator=draw).to(dtype)}
    pushes["lse"] = torch.randn(H, N, generator=draw)
    return Case(graph(), tensors, SCORES[score], sends=("out", "lse"), pushes=pushes)


def spoil(clean, name, place, bad):
    """The same case with one number replaced."""
    spoilt = clean.tensors[name].detach().clone()
    spoilt[place] = bad
    tensors = {**clean.tensors, name: spoilt.requires_grad_()}
    return Case(clean.graph, tensors, clean.score, sends=clean.sends, pushes=clean.pushes)


def assert_only(found, clean, touched, name):
    """NaN exactly where touched, the bits of the clean run everywhere else."""
    assert torch.equal(found.isnan(), touched.expand_as(found)), name
    kept = ~touched.expand_as(found)
    assert torch.equal(found[kept], clean[kept]), name


def mask(*shape):
    return torch.zeros(*shape, dtype=torch.bool)


def heads_of(group):
    return slice(group * H // G, (group + 1) * H // G)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_key_reaches_the_rows_and_heads_that_read_it(score, dtype):
    clean = case(score, dtype)
    expected = clean.results(NATIVE)
    for source in range(N):
        rows = mask(H, N)
        rows[heads_of(1)] = rows_of(source)
        found = spoil(clean, "key", (1, source, 2), NAN).results(NATIVE)
        assert_only(found["out"], expected["out"], rows[..., None], "out")
        assert_only(found["lse"], expected["lse"], rows, "lse")
        queries = rows[..., None]
        assert_only(found["gradient of query"], expected["gradient of query"], queries, "query")
        read = mask(G, N, 1)
        read[1, :, 0] = sources_of(rows_of(source))
        assert_only(found["gradient of key"], expected["gradient of key"], read, "key")
        assert_only(found["gradient of value"], expected["gradient of value"], read, "value")
        edges = mask(H, len(EDGES))
        edges[heads_of(1)] = torch.tensor([bool(rows_of(source)[t]) for _, t in EDGES])
        assert_only(found["gradient of bias"], expected["gradient of bias"], edges, "bias")


@pytest.mark.parametrize("score", SCORES)
def test_a_value_reaches_one_channel(score):
    clean = case(score)
    expected = clean.results(NATIVE)
    for source in range(N):
        touched = mask(H, N, DV)
        touched[heads_of(0), :, 1] = rows_of(source)
        found = spoil(clean, "value", (0, source, 1), NAN).results(NATIVE)
        assert_only(found["out"], expected["out"], touched, "out")
        # The log-sum-exp and the gradient of the value read no value at all.
        for name in ("lse", "gradient of value", "gradient of edge_value"):
            assert torch.equal(found[name], expected[name]), name
        rows = touched.any(-1, keepdim=True)
        assert_only(found["gradient of query"], expected["gradient of query"], rows, "query")
        read = mask(G, N, 1)
        read[0, :, 0] = sources_of(rows_of(source))
        assert_only(found["gradient of key"], expected["gradient of key"], read, "key")


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", ["bias", "edge_key", "edge_value"])
def test_an_edge_reaches_its_row(name, score):
    clean = case(score)
    expected = clean.results(NATIVE)
    for edge, (_, target) in enumerate(EDGES):
        head = 0 if name == "edge_key" else 2  # one edge_key for all heads
        place = (head, edge) if name == "bias" else (head, edge, 1)
        rows = mask(H, N)
        rows[slice(None) if name == "edge_key" else head, target] = True
        touched = rows[..., None].expand(H, N, DV).clone()
        if name == "edge_value":
            touched[..., [0, 2]] = False
        found = spoil(clean, name, place, NAN).results(NATIVE)
        assert_only(found["out"], expected["out"], touched, "out")
        lse = mask(H, N) if name == "edge_value" else rows
        assert_only(found["lse"], expected["lse"], lse, "lse")
        queries = rows[..., None]
        assert_only(found["gradient of query"], expected["gradient of query"], queries, "query")


@pytest.mark.parametrize("score", SCORES)
def test_a_query_reaches_its_row(score):
    clean = case(score)
    expected = clean.results(NATIVE)
    for target in range(N):
        rows = mask(H, N)
        rows[3, target] = any(t == target for _, t in EDGES)
        found = spoil(clean, "query", (3, target, 0), NAN).results(NATIVE)
        assert_only(found["out"], expected["out"], rows[..., None], "out")
        assert_only(found["lse"], expected["lse"], rows, "lse")
        read = mask(G, N, 1)
        read[1, :, 0] = sources_of(rows[3])
        assert_only(found["gradient of key"], expected["gradient of key"], read, "key")
        assert_only(found["gradient of value"], expected["gradient of value"], read, "value")


def test_a_vector_reaches_its_head():
    clean = case("gatv2")
    expected = clean.results(NATIVE)
    found = spoil(clean, "vector", (1, 4), NAN).results(NATIVE)
    rows = mask(H, N)
    rows[1] = torch.tensor([any(t == n for _, t in EDGES) for n in range(N)])
    assert_only(found["out"], expected["out"], rows[..., None], "out")
    head = mask(H, 1)
    head[1] = True
    assert_only(found["gradient of vector"], expected["gradient of vector"], head, "vector")


@pytest.mark.parametrize("bad", [INF, -INF])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", ["query", "key", "value", "edge_value"])
def test_an_infinity_stays_where_the_definition_has_it(name, score, bad):
    """What is finite is what is finite in the reference, and nobody else's bits change."""
    clean = case(score)
    expected = clean.outputs(NATIVE)
    for node in range(N):
        spoilt = spoil(clean, name, (1, node, 0), bad)
        found, definition = spoilt.outputs(NATIVE), spoilt.outputs("reference")
        for output in ("out", "lse"):
            finite = definition[output].isfinite()
            assert torch.equal(found[output].isfinite(), finite), output
            rows = rows_of(node) if name in ("key", "value") else torch.arange(N) == node
            if name == "edge_value":
                rows = torch.arange(N) == EDGES[node][1]
            assert torch.equal(found[output][:, ~rows], expected[output][:, ~rows]), output


def test_a_nan_in_the_gradient_of_one_row():
    clean = case()
    expected = clean.results(NATIVE)
    pushes = {**clean.pushes, "out": clean.pushes["out"].clone()}
    pushes["out"][2, 5, 1] = NAN
    found = Case(clean.graph, clean.tensors, sends=clean.sends, pushes=pushes).results(NATIVE)
    rows = mask(H, N, 1)
    rows[2, 5] = True
    assert_only(found["gradient of query"], expected["gradient of query"], rows, "query")
    read = mask(G, N, 1)
    read[1, :, 0] = sources_of(rows[2, :, 0])
    assert_only(found["gradient of key"], expected["gradient of key"], read, "key")
    channel = read & (torch.arange(DV) == 1)
    assert_only(found["gradient of value"], expected["gradient of value"], channel, "value")


@pytest.mark.parametrize("score", SCORES)
def test_rows_of_forbidden_edges(score):
    clean = case(score)
    bias = clean.tensors["bias"].detach().clone()
    gone = torch.tensor([target in (2, 5) for _, target in EDGES])
    bias[:3, gone] = -INF
    tensors = {**clean.tensors, "bias": bias.requires_grad_()}
    found = Case(clean.graph, tensors, clean.score, sends=clean.sends, pushes=clean.pushes)
    found = found.results(NATIVE)
    rows = [2, 5, 8]
    assert not found["out"][:3, rows].any()
    assert (found["lse"][:3, rows] == -INF).all()
    assert found["lse"][3, [2, 5]].isfinite().all()
    assert not found["gradient of query"][:3, rows].any()
    for name in ("bias", "edge_value"):
        assert not found[f"gradient of {name}"][:3, gone].any()
    assert all(t.isfinite().all() for name, t in found.items() if name != "lse")


def test_a_forbidden_edge_is_no_edge():
    clean = case()
    kept = [e for e, (source, _) in enumerate(EDGES) if source != 4]
    bias = clean.tensors["bias"].detach().clone()
    bias[:, [e for e in range(len(EDGES)) if e not in kept]] = -INF
    found = clean.outputs(NATIVE, bias=bias)
    per_edge = {name: clean.tensors[name][:, kept] for name in ("bias", "edge_key", "edge_value")}
    smaller = ew.EdgeList(list(zip(*(EDGES[e] for e in kept), strict=True)), num_nodes=N)
    without = Case(smaller, {**clean.tensors, **per_edge}, sends=("out", "lse")).outputs(NATIVE)
    for name in found:
        torch.testing.assert_close(found[name], without[name])


@pytest.mark.parametrize("shift", [1e4, -1e4, 1e30])
def test_large_scores_overflow_nothing(shift):
    """A softmax does not see what is added to every score of a row."""
    clean = case(dtype=torch.float64)
    shifted = clean.tensors["bias"].detach() * 0 + shift
    found = clean.outputs(NATIVE, bias=shifted)
    rows = [target for _, target in EDGES]
    assert all(t[:, rows].isfinite().all() for t in found.values())
    if abs(shift) < 1e5:
        level = clean.outputs(NATIVE, bias=shifted * 0)
        torch.testing.assert_close(found["out"], level["out"])
        torch.testing.assert_close(found["lse"], level["lse"] + shift)


@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
@pytest.mark.parametrize("weighted", [False, True])
def test_aggregate(reduce, weighted):
    value, weight = torch.randn(2, N, 4), torch.rand(2, len(EDGES)) + 0.5
    weight = weight if weighted else None
    clean = ew.aggregate(value, graph(), reduce, weight=weight, backend=NATIVE)
    for source in range(N):
        spoilt = value.clone()
        spoilt[1, source, 3] = NAN
        found = ew.aggregate(spoilt, graph(), reduce, weight=weight, backend=NATIVE)
        touched = mask(2, N, 4)
        touched[1, :, 3] = rows_of(source)
        assert_only(found, clean, touched, f"source {source}")

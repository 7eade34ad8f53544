"""Backends from outside the package: one of its own kind, and a cutter for `Tiled`."""

import pytest
import torch

import edgewise as ew
from edgewise.backends import (
    BACKENDS,
    Accepts,
    AggregateBackend,
    AttentionBackend,
    Cut,
    Refuses,
    Tiled,
    Work,
    register,
)
from edgewise.layouts import dense_mask
from edgewise.ops.cpu_flash import BACKWARD, FORWARD, every_head
from edgewise.ops.state import AttentionState
from edgewise.testing import GRAPHS, SETTINGS, assert_keeps_contract, expected_refusal


class Pairs(AttentionBackend, AggregateBackend):
    """All pairs in a dozen lines: plain torch, so torch differentiates it."""

    name = "pairs"
    twice_differentiable = True
    forward_mode = True

    def judge_attention(self, problem):
        reasons = []
        if not isinstance(problem.score, ew.Dot) or problem.score.softcap is not None:
            reasons.append("computes Dot scores without a soft cap; use gather")
        if problem.bias or problem.edge_key or problem.edge_value or problem.dropout:
            reasons.append("computes no biases, edge features and dropout; use gather")
        if not problem.facts.simple:
            reasons.append("the graph may hold copies of an edge; merge the copies")
        return Refuses(tuple(reasons)) if reasons else self._accept(problem, problem.heads)

    def judge_aggregate(self, problem):
        if problem.reduce != "sum" or problem.weighted or not problem.facts.simple:
            return Refuses(("computes plain sums of simple graphs alone; use gather",))
        return self._accept(problem, 1)

    def _accept(self, problem, heads):
        pairs = problem.facts.num_targets * problem.facts.num_sources
        work = Work(0.0, 1e-3 * pairs, 0.0, calls=0.0)  # too cheap to be true: "auto" chooses it
        return Accepts(work, 16 * heads * pairs, way="messages", pairs=pairs, spreads=True)

    def prepare_attention(self, problem):
        return dense_mask(problem.graph, problem.device).mask

    prepare_aggregate = prepare_attention

    def forward(self, signature, prepared, inputs):
        query, key, value = (
            t.to(signature.accumulate)
            for t in every_head((inputs.query, inputs.key, inputs.value), -3)
        )
        scores = query @ key.mT * signature.score.factor(signature.head_dim)
        scores = scores.masked_fill(~prepared, -torch.inf)
        empty = ~prepared.any(-1)
        scores = scores.masked_fill(empty[:, None], 0.0)
        weights = torch.softmax(scores, -1).masked_fill(empty[:, None], 0.0)
        lse = torch.logsumexp(scores, -1).masked_fill(empty, -torch.inf)
        return AttentionState((weights @ value).to(signature.dtype), lse)

    def backward(self, signature, prepared, inputs, state, grad_out, grad_lse):
        leaves = inputs.leaves()
        with torch.enable_grad():
            part = self.forward(signature, prepared, leaves)
        share = torch.exp(part.lse.detach() - state.lse.masked_fill(state.lse.isinf(), 1e30))
        sent = (share[..., None] * grad_out).to(part.out.dtype)
        change = ((part.out.detach() - state.out) * grad_out).sum(-1) + grad_lse
        wanted = {name: t for name, t in leaves.tensors().items() if t.requires_grad}
        grads = torch.autograd.grad(
            (part.out, part.lse), list(wanted.values()), (sent, share * change)
        )
        return dict(zip(wanted, grads, strict=True))

    def aggregate(self, signature, prepared, value, weight):
        return (prepared.to(signature.accumulate) @ value.to(signature.accumulate)).to(value.dtype)


class HalfCutter:
    """Complete graphs cut into two halves of the targets."""

    pieces = "halves"

    def graph_refusal(self, problem):
        facts = problem.facts
        if facts.complete and facts.num_targets > 1 and facts.num_sources:
            return None
        return "the graph is not known to be complete; use Complete"

    def accept(self, problem):
        pairs = problem.facts.num_targets * problem.facts.num_sources
        return Accepts(Work(pairs, pairs, pairs), 1 << 20, way="tiles", pairs=pairs, spreads=True)

    def key(self, problem):
        return None

    def cut(self, problem):
        return Cut(EagerHalves(), TracedHalves())


class EagerHalves:
    def forward(self, tables, scale):
        query, key, value = (table[None] for table in every_head(tables))
        halves = [FORWARD(half, key, value, scale=scale) for half in query.tensor_split(2, -2)]
        return tuple(torch.cat([half[at] for half in halves], 2)[0] for at in range(2))

    def backward(self, tables, results, scale):
        query, key, value = (table[None] for table in every_head(tables))
        out, lse, grad_out = (table[None].tensor_split(2, 2) for table in results)
        rows = zip(grad_out, query.tensor_split(2, -2), out, lse, strict=True)
        parts = [
            BACKWARD(sent, half, key, value, actual, sums, 0.0, False, scale=scale)
            for sent, half, actual, sums in rows
        ]
        of_query, of_key, of_value = zip(*parts, strict=True)
        return torch.cat(of_query, -2)[0], sum(of_key)[0], sum(of_value)[0]


class TracedHalves:
    def forward(self, tensors, scale):
        query, key, value = every_head(tensors, -3)
        scores = (query @ key.mT).float() * scale
        out = torch.softmax(scores, -1) @ value.float()
        return out.to(query.dtype), torch.logsumexp(scores, -1)


@pytest.fixture
def registered():
    """Both backends, registered for one test."""
    backends = [Pairs(), Tiled("halves", HalfCutter())]
    for backend in backends:
        register(backend)
    yield backends
    for backend in backends:
        BACKENDS.remove(backend)


@pytest.mark.parametrize("setting", ["dot", "dot, grouped heads", "dot, two batch dimensions"])
def test_they_keep_the_contract(registered, setting):
    ran = set()
    for name, graph in GRAPHS.items():
        call = SETTINGS[setting].call(graph, torch.float32)
        exact = {k: t.detach().double().requires_grad_() for k, t in call.tensors.items()}
        oracle = type(call)(call.setting, graph, exact)
        for backend in registered:
            reasons = expected_refusal(backend.name, SETTINGS[setting], graph)
            if not reasons:
                assert_keeps_contract(backend.name, call, oracle)
                ran.add((backend.name, name))
                continue
            with pytest.raises(ew.BackendRefused) as refusal:
                call.out(backend.name)
            assert all(reason in str(refusal.value) for reason in reasons)
    assert ("halves", "complete") in ran
    assert ("pairs", "window | hubs") in ran


@pytest.mark.usefixtures("registered")
def test_a_cutter_brings_every_derivative():
    graph = ew.Complete(9, 6)
    q, k, v = (torch.randn(2, n, 4, requires_grad=True) for n in (9, 6, 6))

    def out(backend):
        return lambda q: ew.attention(q, k, v, graph, backend=backend)

    tangents = [torch.func.jvp(out(b), (q,), (q.sin(),))[1] for b in ("halves", "reference")]
    torch.testing.assert_close(*tangents, rtol=1e-4, atol=1e-5)
    twice = []
    for backend in ("halves", "reference"):
        (once,) = torch.autograd.grad(out(backend)(q).square().sum(), q, create_graph=True)
        twice.append(torch.autograd.grad(once.square().sum(), k)[0])
    torch.testing.assert_close(*twice, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("registered")
def test_sums():
    value = torch.randn(3, 12, 5)
    graph = GRAPHS["window | hubs"]
    actual, wanted = (ew.aggregate(value, graph, backend=b) for b in ("pairs", "gather"))
    torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-5)
    with pytest.raises(ew.BackendRefused, match="plain sums of simple graphs alone"):
        ew.aggregate(value, graph, "max", backend="pairs")
    with pytest.raises(ew.BackendRefused, match="halves: computes attention alone"):
        ew.aggregate(value, graph, backend="halves")


@pytest.mark.usefixtures("registered")
def test_auto_explain_and_use_backend_include_them():
    graph = ew.Window(41, left=2, right=3)  # of a size that no other test has planned
    q = torch.randn(2, 41, 4)
    assert ew.plan(q, q, q, graph).name == "pairs"
    text = str(ew.explain(q, q, q, graph))
    assert "pairs" in text
    assert "the graph is not known to be complete; use Complete" in text
    with ew.use_backend("pairs"):
        assert ew.plan(q, q, q, ew.Causal(41)).name == "pairs"
    with pytest.raises(ew.PlanError, match="'pairs', 'halves'"):
        ew.attention(q, q, q, graph, backend="none of them")


@pytest.mark.usefixtures("registered")
def test_a_part_of_a_plan_may_be_theirs():
    graph = ew.disjoint_union([ew.Complete(20, 30), ew.Window(20, left=1, right=1)])
    q, k = torch.randn(2, 40, 4), torch.randn(2, 50, 4)
    expected = ew.attention(q, k, k, graph, backend="reference")
    torch.testing.assert_close(ew.attention(q, k, k, graph), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("registered")
def test_a_way_without_prices_is_named(monkeypatch):
    accepts = Accepts(Work(1.0, 1.0, 1.0), 0, way="by magic")
    monkeypatch.setattr(Pairs, "judge_attention", lambda *_: accepts)
    q = torch.randn(2, 8, 4)
    with pytest.raises(ew.PlanError, match=r"no prices on cpu for 'by magic'.*one of .*'messages'"):
        ew.attention(q, q, q, ew.Causal(8), backend="pairs")


class Unnamed(Pairs):
    name = "two words"


class Taken(Pairs):
    name = "gather"


class Auto(Pairs):
    name = "auto"


@pytest.mark.parametrize(
    ("backend", "sentence"),
    [
        (object(), "must be an AttentionBackend or an AggregateBackend, got <object"),
        (Pairs, "must be an AttentionBackend or an AggregateBackend, got <class"),
        (Unnamed(), "must be an identifier, got 'two words'. Use letters"),
        (Taken(), "the name 'gather' is taken. Choose another one"),
        (Auto(), "the name 'auto' is taken"),
    ],
)
def test_what_cannot_be_registered(backend, sentence):
    before = list(BACKENDS)
    with pytest.raises(ew.ArgumentError, match=sentence):
        register(backend)
    assert before == BACKENDS

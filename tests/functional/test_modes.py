"""Modes: whichever the first call ran in, the next one uses real, trainable, exact tensors."""

import gc
import pickle
import threading
import weakref

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import edgewise as ew
from edgewise.graphs import recall
from edgewise.testing import GENERAL

NAMES = GENERAL


def ring(n=12):
    return ew.EdgeList([list(range(n)), [*range(1, n), 0]], num_nodes=n)


@pytest.mark.parametrize("backend", NAMES)
def test_fake_tensors_are_not_remembered(backend):
    for graph in (ring(), ew.Window(12, left=3, right=1)):
        with FakeTensorMode(allow_non_fake_inputs=True):
            q = torch.randn(2, 12, 4)
            ew.attention(q, q, q, graph, backend=backend)
        q = torch.randn(2, 12, 4)
        out = ew.attention(q, q, q, graph, backend=backend)
        torch.testing.assert_close(out, ew.attention(q, q, q, graph, backend="reference"))


def test_export_then_call():
    class Layer(torch.nn.Module):
        def forward(self, q):
            return ew.attention(q, q, q, ew.Window(12, left=2, right=1) | ew.Hubs(12, [3]))

    q = torch.randn(2, 12, 4)
    exported = torch.export.export(Layer(), (q,))
    torch.testing.assert_close(Layer()(q), exported.module()(q))


@pytest.mark.parametrize("backend", NAMES)
def test_a_graph_built_in_inference_mode_can_be_trained_with(backend):
    with torch.inference_mode():
        graphs = [ring(), ew.RandomRegular(12, degree=3, seed=9), ew.Blocks([5, 7])]
        for graph in graphs:
            ew.attention(*torch.randn(3, 2, 12, 4).unbind(), graph, backend=backend)
    for graph in graphs:
        q = torch.randn(2, 12, 4, requires_grad=True)
        ew.attention(q, q, q, graph, backend=backend).sum().backward()
        assert q.grad is not None


@pytest.mark.parametrize("backend", NAMES)
def test_autocast_changes_no_number(backend):
    q, k, v = torch.randn(3, 2, 12, 4).unbind()
    plain = ew.attention_state(q, k, v, ring(), backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        lowered = ew.attention_state(q, k, v, ring(), backend=backend)
        out = ew.attention(q, k, v, ring(), backend=backend)
        summed = ew.aggregate(v, ring(), backend=backend)
    assert torch.equal(plain.out, lowered.out)
    assert torch.equal(plain.lse, lowered.lse)
    assert out.dtype == summed.dtype == torch.float32
    assert torch.equal(summed, ew.aggregate(v, ring(), backend=backend))


@pytest.mark.parametrize("backend", NAMES)
def test_a_graph_dies_with_its_last_name(backend):
    gc.collect()
    gc.disable()
    try:
        graph, q = ring(), torch.randn(2, 12, 4, requires_grad=True)
        ew.attention(q, q, q, graph, backend=backend).sum().backward()
        ew.aggregate(q, graph, backend=backend)
        gone = weakref.ref(graph)
        del graph
        assert gone() is None
    finally:
        gc.enable()


def test_many_threads_share_what_is_remembered():
    failures = []

    def work(seed):
        try:
            for n in range(200):
                recall(ew.Window(4, left=(n * 7 + seed) % 90, right=0), "nothing", object)
        except Exception as error:  # the test reports whatever a thread died of
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_causal_attention_builds_no_mask():
    n = 30_000
    q = torch.randn(1, n, 1)
    plan = ew.plan(q, q, q, ew.Causal(n))
    assert plan.name == "dense"
    assert plan.prepared.lowered.mask is None
    assert plan.memory < 10_000_000


def test_pickles_carry_no_caches():
    graph, q = ring(), torch.randn(2, 12, 4)
    before = len(pickle.dumps(graph))
    ew.attention(q, q, q, graph)
    graph.facts()
    assert len(pickle.dumps(graph)) == before
    assert pickle.loads(pickle.dumps(graph)) == graph


def test_planning_draws_no_random_numbers():
    q = torch.randn(2, 12, 4)
    state = torch.get_rng_state()
    ew.explain(q, q, q, ring(), dropout=0.5)
    ew.plan(q, q, q, ring(), dropout=0.5)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("backend", ["reference", "gather"])
def test_torch_func(backend):
    graph, q = ring(), torch.randn(3, 2, 12, 4, dtype=torch.float64)

    def loss(q):
        return ew.attention(q, q, q, graph, backend=backend).sin().sum()

    each = torch.func.vmap(torch.func.grad(loss))(q)
    torch.testing.assert_close(each, torch.stack([torch.func.grad(loss)(one) for one in q]))


def test_plans_of_one_graph_are_bounded():
    graph, q = ring(), torch.randn(2, 12, 4)
    for step in range(200):
        ew.attention(q, q, q, graph, dropout=step / 1000)
    assert len(graph.__dict__["_memory"]["plans"]) <= 64


@pytest.mark.parametrize("backend", NAMES)
def test_an_empty_row_hides_any_bias(backend):
    graph = ew.Causal(6, 4)  # the first two targets have no source
    q, k = torch.randn(1, 6, 4, requires_grad=True), torch.randn(1, 4, 4, requires_grad=True)
    for bad in (float("inf"), float("-inf"), float("nan")):
        bias = torch.zeros(6, 4)
        bias[:2] = bad
        state = ew.attention_state(q, k, k, graph, bias=ew.DenseBias(bias), backend=backend)
        out = ew.attention(q, k, k, graph, bias=ew.DenseBias(bias), backend=backend)
        grads = torch.autograd.grad(out.sum() + state.out.sum(), (q, k))
        assert all(torch.isfinite(t).all() for t in (out, state.out, *grads))


def test_weights_in_low_precision_and_at_large_scores():
    q = torch.rand(1, 4096, 4).bfloat16()
    k = torch.zeros(1, 1, 4).bfloat16().requires_grad_()
    actual = ew.weights(q, k, ew.Complete(4096, 1), torch.zeros(1, 4096))
    (grad,) = torch.autograd.grad(actual.sum(), k)
    torch.testing.assert_close(grad, (q.float().sum(1, keepdim=True) / 2).bfloat16())
    q, k = (100 * torch.randn(1, 4, 4)).requires_grad_(), 100 * torch.randn(1, 4, 4)
    pairs = torch.tensor([[0, 1, 2], [3, 3, 3]])
    actual = ew.weights(q, k, ew.SelfLoops(4), torch.zeros(1, 4), edges=pairs)
    (grad,) = torch.autograd.grad(actual.sum(), q)
    assert not actual.any()
    assert not grad.any()


@pytest.mark.parametrize("backend", NAMES)
@pytest.mark.parametrize("kind", ["edge", "relative", "dense"])
def test_a_bias_of_higher_precision(backend, kind):
    q = torch.randn(1, 4, 4)
    bias = {
        "edge": ew.EdgeBias(torch.randn(1, 16, dtype=torch.float64)),
        "relative": ew.RelativeBias(torch.randn(1, 7, dtype=torch.float64), first=-3),
        "dense": ew.DenseBias(torch.randn(4, 4, dtype=torch.float64)),
    }[kind]
    state = ew.attention_state(q, q, q, ew.Complete(4), bias=bias, backend=backend)
    out = ew.attention(q, q, q, ew.Complete(4), bias=bias, backend=backend)
    assert state.out.dtype == state.lse.dtype == out.dtype == torch.float32
    torch.testing.assert_close(out, state.out)


def test_nan_survives_a_maximum():
    graph = ew.EdgeList([[0, 1, 2], [0, 0, 1]], num_nodes=3)
    value = torch.tensor([[float("nan")], [1.0], [2.0]])
    for backend in ("reference", "gather"):
        out = ew.aggregate(value, graph, "max", backend=backend).flatten()
        assert torch.isnan(out[0])
        assert out[1:].tolist() == [2.0, 0.0]


@pytest.mark.parametrize("backend", NAMES)
def test_a_weight_with_a_leading_one(backend):
    value, weight = torch.randn(12, 3), torch.randn(1, 12)
    out = ew.aggregate(value, ring(), weight=weight, backend=backend)
    assert torch.equal(out, ew.aggregate(value, ring(), weight=weight[0], backend=backend))

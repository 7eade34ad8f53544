"""The second call of a kind takes a short way: with the numbers and errors of the long one."""

import threading

import pytest
import torch

import edgewise as ew
from tests.backends.native.backend import NATIVE

H, N, D = 2, 12, 8


def ring(n=N):
    return ew.EdgeList([list(range(n)), [*range(1, n), 0]], num_nodes=n)


def tensors(**options):
    return [torch.randn(H, N, D, **options) for _ in range(3)]


def shortcuts(graph):
    return [found for found in graph._memory["shortcuts"].values() if found is not None]


@pytest.mark.parametrize("score", [ew.Dot(), ew.Dot(scale=0.5, softcap=2.0)])
@pytest.mark.parametrize("backend", [NATIVE, "auto"])
def test_the_same_numbers(backend, score):
    graph = ring()
    for _ in range(3):
        q, k, v = tensors(requires_grad=True)
        push = torch.randn(H, N, D)
        found = ew.attention(q, k, v, graph, score=score, backend=backend)
        expected = ew.attention(q, k, v, graph, score=score, backend="reference")
        torch.testing.assert_close(found, expected)
        pairs = zip(
            torch.autograd.grad(found, (q, k, v), push),
            torch.autograd.grad(expected, (q, k, v), push),
            strict=True,
        )
        for a, b in pairs:
            torch.testing.assert_close(a, b)
        with torch.no_grad():
            torch.testing.assert_close(
                ew.attention(q, k, v, graph, score=score, backend=backend), expected
            )
    if backend == "native":
        assert len(shortcuts(graph)) == 2
        assert sum(len(found.backward) for found in shortcuts(graph)) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_takes_it_without_gradients(dtype):
    graph = ring()
    q, k, v = tensors(dtype=dtype)
    first, second = (ew.attention(q, k, v, graph, backend=NATIVE) for _ in range(2))
    assert len(shortcuts(graph)) == (NATIVE == "native")
    assert torch.equal(first, second)
    learns = [t.clone().requires_grad_() for t in (q, k, v)]
    for _ in range(2):  # an output in two precisions: the long way
        out = ew.attention(*learns, graph, backend=NATIVE)
        assert torch.equal(out, first)
        torch.autograd.grad(out.sum(), learns)
    assert len(shortcuts(graph)) == (NATIVE == "native")


def test_every_layout_has_its_own():
    graph = ring()
    for _ in range(2):
        q, k, v = tensors()
        expected = ew.attention(q, k, v, graph, backend="reference")
        apart = [t.transpose(0, 1).contiguous().transpose(0, 1) for t in (q, k, v)]
        inner = [t.mT.contiguous().mT for t in (q, k, v)]
        negative = [torch._neg_view(-t) for t in (q, k, v)]
        for same in ((q, k, v), apart, inner, negative, (q, apart[1], inner[2])):
            out = ew.attention(*same, graph, backend=NATIVE)
            torch.testing.assert_close(out, expected)
        wide = k[:1].expand(H, N, D)
        out = ew.attention(q, wide, v, graph, backend=NATIVE)
        torch.testing.assert_close(out, ew.attention(q, wide, v, graph, backend="reference"))


def test_gradients_of_any_layout_and_only_those_wanted():
    graph = ring()
    for _ in range(2):
        for wanted in ((0,), (1, 2), (0, 1, 2)):
            inputs = tensors()
            for place in wanted:
                inputs[place].requires_grad_()
            leaves = [inputs[place] for place in wanted]
            for push in (torch.randn(H, N, D), torch.ones(()).expand(H, N, D)):
                found, expected = (
                    torch.autograd.grad(ew.attention(*inputs, graph, backend=name), leaves, push)
                    for name in (NATIVE, "reference")
                )
                for a, b in zip(found, expected, strict=True):
                    torch.testing.assert_close(a, b)


def test_a_warm_graph_refuses_what_a_cold_one_refuses():
    graph, (q, k, v) = ring(), tensors()
    for _ in range(2):
        ew.attention(q, k, v, graph, backend=NATIVE)
    wrong = [
        ((q[:, 1:], k, v, graph), {}),
        ((q, k[:1], v, graph), {}),
        ((q, k.double(), v, graph), {}),
        ((q, k, v.to("meta"), graph), {}),
        ((q, k, v.tolist(), graph), {}),
        ((q, k.to_sparse(), v, graph), {}),
        ((q, k, v, q), {}),
        ((q, k, v, graph), {"dropout": None}),
        ((q, k, v, graph), {"dropout": 1.0}),
        ((q, k, v, graph), {"backend": []}),
        ((q, k, v, graph), {"score": "dot"}),
    ]
    for args, options in wrong:
        with pytest.raises(ew.EdgewiseError):
            ew.attention(*args, **({"backend": NATIVE} | options))


def test_memory_is_bounded_and_threads_may_change():
    graph = ring()
    for heads in range(1, 100):
        q = torch.randn(heads, N, D)
        ew.attention(q, q, q, graph, backend=NATIVE)
    assert len(graph._memory["shortcuts"]) <= 64
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            out = ew.attention(q, q, q, graph, backend=NATIVE)
            torch.testing.assert_close(out, ew.attention(q, q, q, graph, backend="reference"))
    finally:
        torch.set_num_threads(before)


def test_many_threads_share_a_shortcut():
    graph, failures = ring(), []

    def work():
        try:
            for _ in range(200):
                q, k, v = tensors(requires_grad=True)
                out = ew.attention(q, k, v, graph, backend=NATIVE)
                torch.testing.assert_close(out, v[:, torch.arange(-1, N - 1)])
                (grad,) = torch.autograd.grad(out, v, out.detach())
                torch.testing.assert_close(grad, v.detach())
        except Exception as error:  # the test reports whatever a thread died of
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_second_derivative():
    graph, (q, k, v) = ring(), tensors(requires_grad=True)
    found = []
    for backend in (NATIVE, NATIVE, "reference"):  # the second call is a shortcut
        out = ew.attention(q, k, v, graph, backend=backend)
        (grad,) = torch.autograd.grad(out.sin().sum(), v, create_graph=True)
        found.append(torch.autograd.grad(grad.square().sum(), v)[0])
    for each in found[:2]:
        torch.testing.assert_close(each, found[2])


def test_another_default_device_and_inference():
    graph, (q, k, v) = ring(), tensors()
    expected = ew.attention(q, k, v, graph, backend=NATIVE)
    for mode in (torch.inference_mode(), torch.device("meta"), torch.autocast("cpu")):
        for _ in range(2):
            with mode:
                out = ew.attention(q, k, v, graph, backend=NATIVE)
            assert torch.equal(out, expected)


def test_forward_mode_is_refused_not_lost():
    graph, (q, k, v) = ring(), tensors()
    for _ in range(2):
        ew.attention(q, k, v, graph, backend=NATIVE)
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(v, torch.ones_like(v))
            with pytest.raises(ew.DerivativeError, match="no forward-mode derivative"):
                ew.attention(q, k, dual, graph, backend=NATIVE)

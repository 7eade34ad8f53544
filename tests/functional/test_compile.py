"""torch.compile(fullgraph=True) on functions that call the operator."""

import pytest
import torch

import edgewise as ew
from edgewise.testing import GENERAL, GRAPHS, SETTINGS, expected_refusal
from tests.pairwise import crossed

NAMES = GENERAL
SHAPES = (
    "window | hubs",
    "edge list, copies",
    "causal, tall: isolated targets",
    "blocks, one empty",
    "disjoint union of edge lists",
    "complete",
)


def compiled(function, **options):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager", **options)


@pytest.mark.parametrize(("backend", "setting"), crossed(NAMES, SETTINGS, strength=1))
def test_compiled_equals_eager_forward_and_backward(backend, setting):
    names = SHAPES if setting == "dot" else SHAPES[:2]
    for name in names:
        if expected_refusal(backend, SETTINGS[setting], GRAPHS[name]):
            continue
        call = SETTINGS[setting].call(GRAPHS[name], torch.float32)
        used = call.used()

        def out(*tensors, call=call, names=tuple(used)):
            return call.out(backend, **dict(zip(names, tensors, strict=True)))

        actual = compiled(out)(*used.values())
        if call.setting.dropout:  # another seed: another mask, so only the machinery is checked
            assert torch.isfinite(actual).all()
            continue
        expected = out(*used.values())
        torch.testing.assert_close(actual, expected)
        grad_out = torch.randn_like(expected)
        for a, b in zip(
            torch.autograd.grad(actual, list(used.values()), grad_out),
            torch.autograd.grad(expected, list(used.values()), grad_out),
            strict=True,
        ):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("backend", "reduce"),
    [(b, r) for b in NAMES for r in ("sum", "mean", "max") if (b, r) != ("dense", "max")],
)
def test_aggregate_compiles(backend, reduce):
    graph, value = GRAPHS["edge list, copies"], torch.randn(2, 12, 3)
    actual = compiled(lambda v: ew.aggregate(v, graph, reduce, backend=backend))(value)
    torch.testing.assert_close(actual, ew.aggregate(value, graph, reduce, backend=backend))


def test_the_state_compiles():
    q, k, v = torch.randn(3, 2, 12, 4).unbind()

    def both(q, k, v):
        state = ew.attention_state(q, k, v, GRAPHS["edge list"])
        return state.out, state.lse

    for actual, expected in zip(compiled(both)(q, k, v), both(q, k, v), strict=True):
        torch.testing.assert_close(actual, expected)


def test_a_symbolic_graph_may_be_built_inside():
    def out(q):
        n = q.shape[-2]
        return ew.attention(q, q, q, ew.Window(n, left=2, right=0) | ew.Hubs(n, [0]))

    fast = compiled(out)
    for n in (8, 9, 10):
        q = torch.randn(2, n, 4)
        torch.testing.assert_close(fast(q), out(q))


def test_an_edge_list_is_built_outside():
    pairs = torch.tensor([[0, 1], [1, 2]])

    def out(q):
        return ew.attention(q, q, q, ew.EdgeList(pairs, num_nodes=3))

    with pytest.raises(Exception, match=r"cannot be built inside torch\.compile"):
        compiled(out)(torch.randn(1, 3, 4))


def test_an_edge_list_may_be_an_argument():
    fast = compiled(lambda q, graph: ew.attention(q, q, q, graph))
    q = torch.randn(2, 12, 4)
    for name in ("edge list", "edge list, isolated"):
        torch.testing.assert_close(fast(q, GRAPHS[name]), ew.attention(q, q, q, GRAPHS[name]))


def test_growing_batches_do_not_compile_again_each_time():
    graph = GRAPHS["edge list"]
    count = 0

    def counting(gm, _):
        nonlocal count
        count += 1
        return gm.forward

    torch._dynamo.reset()
    fast = torch.compile(lambda q: ew.attention(q, q, q, graph), fullgraph=True, backend=counting)
    for batch in range(2, 17):
        q = torch.randn(batch, 2, 12, 4)
        torch.testing.assert_close(fast(q), ew.attention(q, q, q, graph))
    assert count <= 6


def test_dynamic_shapes():
    graph = GRAPHS["edge list"]
    fast = compiled(lambda q: ew.attention(q, q, q, graph), dynamic=True)
    for batch in (1, 3, 5):
        q = torch.randn(batch, 2, 12, 4)
        torch.testing.assert_close(fast(q), ew.attention(q, q, q, graph))


def test_dropout_follows_the_default_generator():
    q, graph = torch.randn(2, 12, 4), GRAPHS["edge list"]
    fast = compiled(lambda q: ew.attention(q, q, q, graph, dropout=0.5))
    torch.manual_seed(5)
    first, second = fast(q), fast(q)
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    torch.testing.assert_close(fast(q), first)
    torch.manual_seed(5)
    torch.testing.assert_close(ew.attention(q, q, q, graph, dropout=0.5), first)


def test_a_generator_cannot_be_traced():
    q, graph = torch.randn(2, 12, 4), GRAPHS["edge list"]
    generator = torch.Generator()
    fast = compiled(lambda q: ew.attention(q, q, q, graph, dropout=0.5, generator=generator))
    with pytest.raises(Exception, match="generator cannot be traced"):
        fast(q)


@pytest.mark.filterwarnings("ignore:.*script.*is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*:FutureWarning:torch")
def test_the_default_compiler_gives_the_same_numbers():
    graph = GRAPHS["edge list"]
    q = torch.randn(2, 2, 12, 4, requires_grad=True)
    torch._dynamo.reset()
    fast = torch.compile(lambda q: ew.attention(q, q, q, graph, backend="gather"), fullgraph=True)
    actual, expected = fast(q), ew.attention(q, q, q, graph, backend="gather")
    torch.testing.assert_close(actual, expected)
    (a,) = torch.autograd.grad(actual.sin().sum(), q)
    (b,) = torch.autograd.grad(expected.sin().sum(), q)
    torch.testing.assert_close(a, b)


def test_a_disjoint_union_that_was_never_lowered():
    parts = [ew.EdgeList([[0], [1]], num_nodes=2), ew.EdgeList([[0, 1], [1, 0]], num_nodes=2)]
    graph = ew.disjoint_union(parts)
    q = torch.randn(2, 4, 3)
    actual = compiled(lambda q: ew.attention(q, q, q, graph))(q)
    torch.testing.assert_close(actual, ew.attention(q, q, q, ew.disjoint_union(parts)))

"""Windows as tiles: large enough to have tiles inside, and every way to be cut off at the ends."""

import pytest
import torch

import edgewise as ew
from edgewise.backends.banded.tiles import Tiles
from edgewise.layouts import Band, band
from tests.pairwise import first_of

WINDOWS = {
    "both sides": ew.Window(700, left=40, right=40),
    "one side": ew.Window(700, left=150, right=0),
    "ahead only": ew.Window(515, left=0, right=33),
    "narrow": ew.Window(1000, left=1, right=1),
    "wider than half": ew.Window(300, left=200, right=180),
    "wide rectangle": ew.Window(400, 777, left=64, right=10),
    "tall rectangle": ew.Window(600, 500, left=30, right=170),
    "dilated": ew.Dilated(911, left=20, right=11, dilation=5),
    "dilated, more gaps than nodes": ew.Dilated(7, left=2, right=2, dilation=10),
    "causal": ew.Causal(300),
    "decoding": ew.Causal(1, 400),
    "block": ew.Window(256, left=64, right=64),
    "one block short": ew.Window(255, left=64, right=63),
}
CALLS = {
    "plain": {},
    "grouped": {"heads": 4, "kv_heads": 2, "lead": (2,)},
    "other value size": {"value_dim": 5},
    "node-major": {"node_major": True, "lead": (3,)},
}


def draw(graph, heads=2, kv_heads=None, dim=8, value_dim=8, lead=(), node_major=False, **options):
    """Query, key, value."""

    def one(count, nodes, channels):
        if node_major:
            return torch.randn(*lead, nodes, count, channels, **options).transpose(-3, -2)
        return torch.randn(*lead, count, nodes, channels, **options)

    kv_heads = kv_heads or heads
    shapes = (
        (heads, graph.num_targets, dim),
        (kv_heads, graph.num_sources, dim),
        (kv_heads, graph.num_sources, value_dim),
    )
    return [one(*shape).requires_grad_() for shape in shapes]


def everything(backend, graph, tensors, dtype=None):
    """Output, log-sum-exp and gradients of both."""
    tensors = [t.detach().to(dtype or t.dtype).requires_grad_() for t in tensors]
    state = ew.attention_state(*tensors, graph, backend=backend)
    pushes = [
        torch.randn(t.shape, generator=torch.Generator().manual_seed(3)).to(t.dtype)
        for t in (state.out, state.lse)
    ]
    grads = torch.autograd.grad((state.out, state.lse), tensors, pushes)
    return [state.out, state.lse, *grads]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", WINDOWS)
def test_the_same_numbers(name, call):
    graph = WINDOWS[name]
    tensors = draw(graph, **CALLS[call], dtype=torch.float64)
    expected = everything("gather", graph, tensors)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 2e-5), (torch.bfloat16, 6e-2)):
        rounded = [t.detach().to(dtype).double() for t in tensors]
        right = expected if dtype != torch.bfloat16 else everything("gather", graph, rounded)
        for found, wanted in zip(everything("banded", graph, tensors, dtype), right, strict=True):
            scale = wanted.abs().max().clamp(min=1)
            assert (found.double() - wanted).abs().max() <= tolerance * scale


@pytest.mark.parametrize("name", WINDOWS)
def test_tiles_hold_every_edge_once(name):
    for strand in band(WINDOWS[name]).strands:
        for part in (strand, strand.reversed):
            T, S = part.num_targets, part.num_sources
            pairs = torch.arange(S) - torch.arange(T)[:, None]
            expected = (pairs >= part.first) & (pairs <= part.last)
            for block in (1, 16, 64, 1000):
                found = torch.zeros(1, T, S, dtype=torch.int64)
                for tiles in Tiles.of(part, block):
                    for one in tiles.in_groups(3):
                        for i in range(one.count):
                            row, column = (
                                one.first_row + i * one.rows,
                                one.first_column + i * one.rows,
                            )
                            view = found[0, row : row + one.rows, column : column + one.columns]
                            assert view.shape == one.edges.shape
                            view += one.edges
                assert torch.equal(found[0], expected.long())


@pytest.mark.parametrize("name", ["both sides", "dilated", "tall rectangle"])
def test_transforms_see_the_same(name):
    graph = WINDOWS[name]
    q, k, v = (t.detach().double() for t in draw(graph, lead=(2,)))

    def out(q, k, v):
        return ew.attention(q, k, v, graph, backend="banded")

    expected = out(q, k, v)
    torch.testing.assert_close(torch.vmap(out)(q, k, v), expected)
    found = torch.func.grad(lambda q: out(q, k, v).square().sum())(q)
    again = q.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(out(again, k, v).square().sum(), again)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", first_of(1, ["wide rectangle", "both sides", "dilated"]))
def test_compiled(name):
    graph = WINDOWS[name]
    tensors = draw(graph, lead=(2,))
    push = torch.randn(2, 2, graph.num_targets, 8)

    def out(q, k, v):
        return ew.attention(q, k, v, graph, backend="banded")

    compiled = torch.compile(out, fullgraph=True)(*tensors)
    expected = out(*tensors)
    torch.testing.assert_close(compiled, expected)
    pairs = zip(
        torch.autograd.grad(compiled, tensors, push),
        torch.autograd.grad(expected, tensors, push),
        strict=True,
    )
    for found, wanted in pairs:
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_the_same_bits_for_any_number_of_threads():
    graph = WINDOWS["both sides"]
    tensors = draw(graph, heads=4)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(everything("banded", graph, tensors))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_first_call_in_another_mode_leaves_nothing_behind():
    graph = ew.Window(333, left=17, right=4)
    tensors = draw(graph)
    expected = everything("gather", graph, tensors)
    with torch.inference_mode():
        ew.attention(*tensors, graph, backend="banded")
    with torch.device("meta"):
        ew.attention(*tensors, graph, backend="banded").sum().backward()
    for found, wanted in zip(everything("banded", graph, tensors), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_tangents_are_right():
    q = torch.randn(2, 64, 4, dtype=torch.float64)
    graph = ew.Window(64, left=3, right=1)

    def out(backend):
        return lambda q: ew.attention(q, q, q, graph, backend=backend)

    found, wanted = (torch.func.jvp(out(b), (q,), (q.sin(),))[1] for b in ("banded", "reference"))
    torch.testing.assert_close(found, wanted)
    with torch.autograd.forward_ad.dual_level():
        dual = out("banded")(torch.autograd.forward_ad.make_dual(q, q.sin()))
        torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(dual).tangent, wanted)


def test_auto_takes_tiles_for_wide_windows_and_kernels_for_narrow_ones():
    q = torch.randn(8, 4096, 64)
    assert ew.plan(q, q, q, ew.Window(4096, left=128, right=128)).name == "banded"
    assert ew.plan(q, q, q, ew.Window(4096, left=1, right=1)).name == "native"
    assert ew.plan(q, q, q, ew.Causal(4096)).name == "dense"


def test_bands_are_known_by_their_facts():
    assert band(ew.Causal(4, 9)) == Band(4, 9, -3, 5)
    assert band(ew.Complete(4)) == Band(4, 4, -3, 3)
    assert band(ew.EdgeList([[0, 1], [1, 0]], num_nodes=2)) is None
    assert band(ew.Complete(0, 4)) is None


def test_what_it_refuses_is_a_sentence():
    q = torch.randn(2, 8, 4)
    ring = ew.EdgeList([[0], [1]], num_nodes=8)
    with pytest.raises(ew.BackendRefused, match="banded: the graph is not known to be a window"):
        ew.attention(q, q, q, ring, backend="banded")
    with pytest.raises(ew.BackendRefused, match="some targets have nothing to read"):
        ew.attention(torch.randn(2, 9, 4), q, q, ew.Causal(9, 8), backend="banded")
    with pytest.raises(ew.BackendRefused, match="set dropout=0"):
        ew.attention(q, q, q, ew.Causal(8), dropout=0.1, backend="banded")
    with pytest.raises(ew.BackendRefused, match="computes attention alone"):
        ew.aggregate(q, ew.Causal(8), backend="banded")

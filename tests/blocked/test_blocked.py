"""Clusters as tiles: the numbers of the reference, whatever the graph and however it is called."""

import pytest
import torch

import edgewise as ew
from edgewise.backends.blocked import eager
from edgewise.layouts import split_by_fill
from edgewise.ops import Inputs
from edgewise.planning import Merge, Run, choose
from edgewise.planning.question import ask_attention
from tests.blocked.graphs import GRAPHS, communities
from tests.pairwise import crossed, first_of

CALLS = {
    "plain": {},
    "grouped": {"heads": 4, "kv_heads": 2, "lead": (2,)},
    "one key head": {"heads": 3, "kv_heads": 1, "value_dim": 11},
    "other value size": {"value_dim": 5},
    "node-major": {"node_major": True, "lead": (3,)},
    "strided": {"strided": True},
}
COMMUNITIES = "communities and strays"


def draw(graph, heads=2, kv_heads=None, dim=8, value_dim=8, lead=(), node_major=False,
         strided=False, **options):  # fmt: skip
    """Query, key, value."""

    def one(count, nodes, channels):
        if node_major:
            return torch.randn(*lead, nodes, count, channels, **options).transpose(-3, -2)
        if strided:
            return torch.randn(*lead, count, channels, 2 * nodes, **options)[..., ::2].mT
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
    finite = state.lse.masked_fill(torch.isinf(state.lse), 0)
    grads = torch.autograd.grad((state.out, finite), tensors, pushes)
    assert all(grad.dtype == tensor.dtype for grad, tensor in zip(grads, tensors, strict=True))
    return [state.out, state.lse, *grads]


def assert_close(found, expected, tolerance):
    assert found.shape == expected.shape
    assert torch.equal(torch.isinf(found), torch.isinf(expected))
    if found.numel():
        gap = (found.double() - expected.double()).nan_to_num(posinf=0, neginf=0)
        scale = expected.nan_to_num(posinf=0, neginf=0).abs().max().clamp(min=1)
        assert not found.isnan().any()
        assert gap.abs().max() <= tolerance * scale


@pytest.mark.parametrize(("name", "call"), crossed(GRAPHS, CALLS, strength=1))
def test_the_same_numbers(name, call):
    graph = GRAPHS[name]
    tensors = draw(graph, **CALLS[call], dtype=torch.float64)
    expected = everything("reference", graph, tensors)
    kinds = {torch.float64: 1e-11, torch.float32: 3e-5, torch.bfloat16: 5e-2, torch.float16: 6e-3}
    for dtype, tolerance in kinds.items():
        low = dtype in (torch.bfloat16, torch.float16)
        if low and call != "plain":
            continue
        rounded = [t.detach().to(dtype).double() for t in tensors]
        right = everything("reference", graph, rounded) if low else expected
        for found, wanted in zip(everything("blocked", graph, tensors, dtype), right, strict=True):
            assert_close(found, wanted, tolerance)


@pytest.mark.parametrize("dim", [1, 3, 40])
def test_any_number_of_channels(dim):
    graph = GRAPHS[COMMUNITIES]
    tensors = draw(graph, dim=dim, value_dim=dim + 1, dtype=torch.float64)
    expected = everything("reference", graph, tensors)
    for found, wanted in zip(everything("blocked", graph, tensors), expected, strict=True):
        assert_close(found, wanted, 1e-11)


def test_pieces_of_groups_give_the_same(monkeypatch):
    graph = GRAPHS["communities"]
    tensors = draw(graph, dtype=torch.float64)
    expected = everything("blocked", graph, tensors)
    monkeypatch.setattr(eager, "SLABS", 1)
    for found, wanted in zip(everything("blocked", graph, tensors), expected, strict=True):
        assert_close(found, wanted, 1e-13)


@pytest.mark.parametrize("name", ["communities and strays", "window and hubs"])
def test_dense_tiles_and_leftovers_are_the_whole(name):
    graph = GRAPHS[name]
    parts = split_by_fill(graph, 0.2)
    assert parts is not None
    tensors = draw(graph, dtype=torch.float64)
    inputs = Inputs(*tensors)
    question = ask_attention(inputs, graph, ew.Dot(), None, 0.0, wants_lse=True)
    runs = []
    for part, backend in zip(parts, ("blocked", "gather"), strict=True):
        run = choose(question.about(part), backend).plan
        assert isinstance(run, Run)
        runs.append(run)
    plan = Merge.of(question.about(graph), runs)
    state = plan.forward(inputs)
    expected = ew.attention_state(*tensors, graph, backend="reference")
    outputs, wanted = ((s.out, s.lse.nan_to_num(neginf=0)) for s in (state, expected))
    pushes = [torch.randn_like(t) for t in wanted]
    grads = torch.autograd.grad(outputs, tensors, pushes)
    right = torch.autograd.grad(wanted, tensors, pushes)
    for one, other in zip((*outputs, *grads), (*wanted, *right), strict=True):
        assert_close(one, other, 1e-11)


@pytest.mark.parametrize("name", ["communities", "complete blocks off the grid"])
def test_transforms_see_the_same(name):
    graph = GRAPHS[name]
    q, k, v = (t.detach().double() for t in draw(graph, lead=(2,)))

    def out(q, k, v):
        return ew.attention(q, k, v, graph, backend="blocked")

    expected = out(q, k, v)
    torch.testing.assert_close(torch.vmap(out)(q, k, v), expected)
    found = torch.func.grad(lambda q: out(q, k, v).square().sum())(q)
    again = q.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(out(again, k, v).square().sum(), again)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", ["no edges", "one node", "no targets", "no sources", "causal",
                                  "one full community among isolated nodes"])  # fmt: skip
def test_written_out_it_is_the_same(name):
    graph = GRAPHS[name]
    q, k, v = (t.detach().double() for t in draw(graph, lead=(2,)))
    expected = ew.attention_state(q, k, v, graph, backend="reference")

    def state(q, k, v):
        found = ew.attention_state(q, k, v, graph, backend="blocked")
        return found.out, found.lse

    out, lse = torch.vmap(state)(q, k, v)
    torch.testing.assert_close(out, expected.out)
    torch.testing.assert_close(lse, expected.lse)


@pytest.mark.parametrize("name", first_of(1, ["tall: isolated targets", "communities", "no edges"]))
def test_compiled(name):
    graph = GRAPHS[name]
    tensors = draw(graph, lead=(2,))
    push = torch.randn(2, 2, graph.num_targets, 8)

    def out(q, k, v):
        return ew.attention(q, k, v, graph, backend="blocked")

    compiled = torch.compile(out, fullgraph=True)(*tensors)
    expected = out(*tensors)
    torch.testing.assert_close(compiled, expected, rtol=1e-4, atol=1e-5)
    options = {"allow_unused": True, "materialize_grads": True}
    pairs = zip(
        torch.autograd.grad(compiled, tensors, push, **options),
        torch.autograd.grad(expected, tensors, push, **options),
        strict=True,
    )
    for found, wanted in pairs:
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_bits_for_any_number_of_threads(dtype):
    graph = GRAPHS[COMMUNITIES]
    tensors = draw(graph, heads=4, dim=16, value_dim=16)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5, 1):
            torch.set_num_threads(threads)
            results.append(everything("blocked", graph, tensors, dtype))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_torch_calls_it_deterministic():
    graph = GRAPHS["communities"]
    torch.use_deterministic_algorithms(True)
    try:
        everything("blocked", graph, draw(graph))
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_first_call_in_another_mode_leaves_nothing_behind():
    graph = communities([70, 90], 0.4, seed=8)
    tensors = draw(graph)
    expected = everything("gather", graph, tensors)
    with torch.inference_mode():
        ew.attention(*tensors, graph, backend="blocked")
    with torch.device("meta"):
        ew.attention(*tensors, graph, backend="blocked").sum().backward()
    for found, wanted in zip(everything("blocked", graph, tensors), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_tangents_are_right():
    q = torch.randn(2, 90, 4, dtype=torch.float64)
    graph = communities([30, 60], 0.5)

    def out(backend):
        return lambda q: ew.attention(q, q, q, graph, backend=backend)

    found, wanted = (torch.func.jvp(out(b), (q,), (q.sin(),))[1] for b in ("blocked", "reference"))
    torch.testing.assert_close(found, wanted)
    with torch.autograd.forward_ad.dual_level():
        dual = out("blocked")(torch.autograd.forward_ad.make_dual(q, q.sin()))
        torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(dual).tangent, wanted)


def test_a_nan_spreads_to_the_blocks_of_targets_that_share_a_tile_with_it():
    graph = communities([200, 120], 0.3, seed=4)
    q, k, v = (t.detach() for t in draw(graph, heads=1))
    v[:, 300] = torch.nan
    reached = ew.attention(q, k, v, graph, backend="blocked").isnan().any(-1)[0]
    readers = torch.zeros(320, dtype=torch.bool)
    readers[graph.target[graph.source == 300]] = True
    assert bool(reached[readers].all())
    assert not bool(reached[:192].any())  # blocks without a tile that holds the source


def test_gradients_are_only_worked_out_where_they_are_wanted():
    graph = GRAPHS["communities"]
    q, k, v = draw(graph)
    state = ew.attention_state(q.detach(), k.detach(), v, graph, backend="blocked")
    assert not state.lse.requires_grad
    state.out.sum().backward()
    assert v.grad is not None
    assert q.grad is None

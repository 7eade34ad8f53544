"""Compiled, exported, transformed by torch.func, in inference mode: the numbers of a plain call."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

import edgewise as ew
from edgewise.testing import GRAPHS, SETTINGS
from tests.backends.native.backend import NATIVE
from tests.pairwise import first_of

SHAPES = ("edge list, copies", "causal, tall: isolated targets", "edge list, no edges")


def compiled(function, **options):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager", **options)


def ring(n=12):
    return ew.EdgeList([list(range(n)), [*range(1, n), 0]], num_nodes=n)


def assert_same(found, expected, tensors):
    """Results and gradients agree."""
    torch.testing.assert_close(found, expected)
    push = torch.randn_like(expected)
    pairs = zip(
        torch.autograd.grad(found, tensors, push),
        torch.autograd.grad(expected, tensors, push),
        strict=True,
    )
    for a, b in pairs:
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    "case",
    first_of(
        4,
        [
            ("dot, everything", None),
            ("gatv2, grouped, edge features", None),
            ("dot, relative bias", None),
            ("dot, edge bias", True),
            ("dot", None),
            ("dot, soft cap", None),
            ("dot, grouped heads", None),
            ("dot, dense bias", None),
            ("additive, bias, dropout", None),
            ("dot", True),
            ("gatv2", True),
        ],
    ),
    ids=str,
)
def test_compiled_equals_eager(case):
    setting, dynamic = case
    for name in SHAPES if (setting, dynamic) == ("dot", None) else SHAPES[:1]:
        call = SETTINGS[setting].call(GRAPHS[name], torch.float32)
        used = call.used()

        def out(*tensors, call=call, names=tuple(used)):
            return call.out(NATIVE, **dict(zip(names, tensors, strict=True)))

        fast = compiled(out, dynamic=dynamic)
        torch.manual_seed(3)
        found = fast(*used.values())
        if call.setting.dropout:  # compiled code draws its seed from torch's own generator
            assert found.isfinite().all()
        else:
            assert_same(found, out(*used.values()), list(used.values()))


def test_dropout_drops_the_same():
    q, k, v = (torch.randn(2, 12, 4, requires_grad=True) for _ in range(3))
    graph = GRAPHS["edge list, copies"]

    def out(q, k, v):
        return ew.attention(q, k, v, graph, dropout=0.5, backend=NATIVE)

    fast = compiled(out)
    torch.manual_seed(5)
    found = fast(q, k, v)
    torch.manual_seed(5)
    assert_same(found, out(q, k, v), [q, k, v])


def test_the_state_compiles():
    q, k, v = (torch.randn(2, 12, 4, requires_grad=True) for _ in range(3))

    def both(q, k, v):
        state = ew.attention_state(q, k, v, GRAPHS["edge list, copies"], backend=NATIVE)
        return torch.cat([state.out, state.lse[..., None]], -1)

    assert_same(compiled(both)(q, k, v), both(q, k, v), [q, k, v])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_aggregate_compiles(reduce, weighted):
    graph = GRAPHS["edge list, copies"]
    value = torch.randn(2, 12, 3, requires_grad=True)
    weight = torch.randn(1, 70, requires_grad=True) if weighted else None

    def out(value, weight):
        return ew.aggregate(value, graph, reduce, weight=weight, backend=NATIVE)

    tensors = [value] if weight is None else [value, weight]
    assert_same(compiled(out)(value, weight), out(value, weight), tensors)


@pytest.mark.parametrize("dynamic", [None, True])
def test_growing_batches_do_not_compile_again_each_time(dynamic):
    graph, count = GRAPHS["edge list"], 0

    def counting(gm, _):
        nonlocal count
        count += 1
        return gm.forward

    def out(q):
        return ew.attention(q, q, q, graph, backend=NATIVE)

    torch._dynamo.reset()
    fast = torch.compile(out, fullgraph=True, backend=counting, dynamic=dynamic)
    for batch in range(2, 17):
        q = torch.randn(batch, 2, 12, 4)
        torch.testing.assert_close(fast(q), out(q))
    assert count <= 6


@pytest.mark.filterwarnings("ignore:.*script.*is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*:FutureWarning:torch")
def test_the_default_compiler_gives_the_same_numbers():
    graph = GRAPHS["edge list"]
    q = torch.randn(2, 2, 12, 4, requires_grad=True)

    def out(q):  # fused with what stands before and after
        return ew.attention(2 * q, q, q.sin(), graph, backend=NATIVE).cos()

    torch._dynamo.reset()
    assert_same(torch.compile(out, fullgraph=True)(q), out(q), [q])


# --- Custom operators -----------------------------------------------------------------------


class _Recorded(TorchDispatchMode):
    """Remembers the first calls of each operator of this package."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if getattr(function, "namespace", "") == "edgewise":
            self.calls.append((function, args, kwargs or {}))
        return function(*args, **(kwargs or {}))


def _operator_calls():
    """One call of every custom operator, forward and backward, for some settings."""
    with _Recorded() as recorded:
        for setting in ("dot, everything", "additive, edge features", "gatv2", "dot, dense bias"):
            call = SETTINGS[setting].call(GRAPHS["edge list, copies"], torch.float32)
            call.out(NATIVE).sum().backward()
        for reduce in ("sum", "mean", "max"):
            value = torch.randn(2, 12, 3, requires_grad=True)
            weight = torch.randn(2, 70, requires_grad=True)
            out = ew.aggregate(
                value, GRAPHS["edge list, copies"], reduce, weight=weight, backend=NATIVE
            )
            out.sum().backward()
    return recorded.calls


def test_custom_operators_keep_torchs_rules():
    calls = _operator_calls()
    if NATIVE == "native":
        assert calls, "the native backend has custom operators"
    for function, args, kwargs in calls:
        leaves = tree_map_only(
            torch.Tensor, lambda t: t.detach().requires_grad_(t.requires_grad), args
        )
        torch.library.opcheck(function, leaves, kwargs)


# --- Modes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_without_gradients(mode):
    q, graph = torch.randn(2, 12, 4, requires_grad=True), ring()
    with mode():
        found = ew.attention(q, q, q, graph, backend=NATIVE)
        summed = ew.aggregate(q, graph, backend=NATIVE)
    assert not found.requires_grad
    assert not summed.requires_grad
    assert torch.equal(found, ew.attention(q, q, q, graph, backend=NATIVE))
    ew.attention(q, q, q, graph, backend=NATIVE).sum().backward()
    assert q.grad.isfinite().all()


def test_grad_and_vmap_equal_a_loop():
    graph, q = GRAPHS["edge list, copies"], torch.randn(3, 2, 12, 4, dtype=torch.float64)

    def loss(q):
        return ew.attention(q, q, q, graph, backend=NATIVE).sin().sum()

    loop = torch.stack([torch.func.grad(loss)(one) for one in q])
    leaf = q.clone().requires_grad_()
    torch.testing.assert_close(loop, torch.autograd.grad(loss(leaf), leaf)[0])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(q), loop)


@pytest.mark.parametrize("dim", [0, 2])
def test_vmap_of_the_state_and_the_aggregation(dim):
    graph = GRAPHS["edge list, copies"]
    q, kv = torch.randn(3, 2, 12, 4), torch.randn(2, 12, 4)
    bias = torch.randn(3, 70)

    def both(q, bias):
        state = ew.attention_state(q, kv, kv, graph, bias=bias, backend=NATIVE)
        return state.out, state.lse

    def total(value, weight):
        return ew.aggregate(value, graph, "mean", weight=weight, backend=NATIVE)

    moved = q.movedim(0, dim)
    for function in (both, total):
        found = torch.func.vmap(function, in_dims=(dim, 0))(moved, bias)
        loop = [function(*one) for one in zip(q, bias, strict=True)]
        expected = (
            torch.stack(loop)
            if function is total
            else tuple(torch.stack(part) for part in zip(*loop, strict=True))
        )
        torch.testing.assert_close(found, expected)


def test_autocast_changes_no_number():
    q, k, v = (torch.randn(2, 12, 4, requires_grad=True) for _ in range(3))
    plain = ew.attention(q, k, v, ring(), backend=NATIVE)
    with torch.autocast("cpu", torch.bfloat16):
        out = ew.attention(q, k, v, ring(), backend=NATIVE)
        summed = ew.aggregate(v, ring(), backend=NATIVE)
    assert out.dtype == summed.dtype == torch.float32
    assert torch.equal(out, plain)
    assert_same(out, plain, [q, k, v])


@pytest.mark.parametrize("which", ["query", "key", "value"])
def test_second_derivatives(which):
    call = SETTINGS["dot"].call(GRAPHS["window"], torch.float64)
    tensor = call.tensors[which]
    found = []
    for backend in (NATIVE, "reference"):
        (grad,) = torch.autograd.grad(call.out(backend).square().sum(), tensor, create_graph=True)
        found.append(torch.autograd.grad(grad.square().sum(), call.tensors["query"])[0])
    torch.testing.assert_close(*found)


def test_a_first_derivative_with_create_graph_is_exact():
    call = SETTINGS["dot"].call(GRAPHS["window"], torch.float64)
    tensors = list(call.used().values())
    found = torch.autograd.grad(call.out(NATIVE).sum(), tensors, create_graph=True)
    expected = torch.autograd.grad(call.out("reference").sum(), tensors)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.detach(), b)


def test_tiles():
    graph = ew.Blocks([23, 9, 30])
    query, key, value = (torch.randn(4, 62, 16) for _ in range(3))

    def call(*tensors):
        return ew.attention(*tensors, graph, backend=NATIVE)

    expected = call(query, key, value)
    torch.testing.assert_close(compiled(call)(query, key, value), expected)

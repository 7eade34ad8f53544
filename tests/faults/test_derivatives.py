"""Derivatives of derivatives, forward mode, and the choice of a backend around a call.

Stock layers have second derivatives and tangents. So have ours, on whatever backend a call runs.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.utils.checkpoint import checkpoint

import edgewise as ew
from edgewise import nn
from edgewise.backends import BACKENDS
from edgewise.planning import Merge, choose
from edgewise.planning.call import attention_question, inputs_of
from edgewise.testing.calls import SETTINGS
from edgewise.testing.graphs import GRAPHS
from tests.faults.kinds import Kind, each_case

N = 7
RING = ew.EdgeList([[0, 1, 2, 5], [1, 2, 0, 5]], num_nodes=N)
FORWARD = [b.name for b in BACKENDS if b.forward_mode]


def penalty(function, x, *leaves):
    """Gradients of a gradient penalty: of the square of the gradient of a sum of squares."""
    (once,) = torch.autograd.grad(function(x).square().sum(), x, create_graph=True)
    return torch.autograd.grad(once.square().sum(), (x, *leaves), allow_unused=True)


def assert_alike(found, expected, tolerance=1e-8):
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a.double(), b.double(), rtol=tolerance, atol=tolerance)


# --- Second derivatives -------------------------------------------------------------------------

LAYERS = {
    "GATAttention": lambda: nn.GATAttention(4, 2, heads=2),
    "GATv2Attention": lambda: nn.GATv2Attention(4, 2, heads=2),
    "DotAttention": lambda: nn.DotAttention(4, 2),
    "TransformerConvolution": lambda: nn.TransformerConvolution(4, 2, heads=2),
    "GCNConvolution": lambda: nn.GCNConvolution(4, 3),
    "GINConvolution": lambda: nn.GINConvolution(torch.nn.Linear(4, 3)),
}


def _check_layer(case):
    """A layer's second derivatives are those on the reference, on edges, a window and hubs."""
    torch.manual_seed(0)
    layer = LAYERS[case]().double()
    for graph in (RING, ew.Causal(N), ew.Window(N, left=1, right=0) | ew.Hubs(N, [0])):
        x = torch.randn(N, 4, dtype=torch.float64, requires_grad=True)
        leaves = tuple(layer.parameters())
        found = penalty(lambda x, graph=graph: layer(x, graph), x, *leaves)
        with ew.use_backend("reference"):
            expected = penalty(lambda x, graph=graph: layer(x, graph), x, *leaves)
        assert_alike(found, expected)


def _check_drop_in(case):
    """A drop-in's second derivatives are the original's."""
    stock = pytest.importorskip("torch_geometric.nn")
    from edgewise.integrations import pyg

    name, arguments, edge_dim = case
    torch.manual_seed(0)
    original, ours = getattr(stock, name)(*arguments), getattr(pyg, name)(*arguments)
    if edge_dim:
        original = getattr(stock, name)(*arguments, edge_dim=edge_dim)
        ours = getattr(pyg, name)(*arguments, edge_dim=edge_dim)
    original, ours = original.double(), ours.double()
    ours.load_state_dict(original.state_dict())
    edges = torch.tensor([[0, 1, 2], [1, 2, 0]])
    features = {"edge_attr": torch.randn(3, edge_dim).double()} if edge_dim else {}
    x = torch.randn(N, 5, dtype=torch.float64, requires_grad=True)
    found = penalty(lambda x: ours(x, edges, **features), x, *ours.parameters())
    expected = penalty(lambda x: original(x, edges, **features), x, *original.parameters())
    assert_alike(found, expected)


def _attend(graph, *, backend="auto", operator=ew.attention, **settings):
    return lambda q: operator(q, q.cos(), q + 1, graph, backend=backend, **settings)


def _check_second(case):
    """Second and third derivatives of a way through the operator are the reference's."""
    function, reference = case
    x = torch.randn(2, 2, N, 4, dtype=torch.float64, requires_grad=True)
    for _ in range(2):  # the second call may take a shortcut
        found = penalty(function, x)
    assert_alike(found, penalty(reference, x))
    third = []
    for each in (function, reference):
        (once,) = torch.autograd.grad(each(x).square().sum(), x, create_graph=True)
        (twice,) = torch.autograd.grad(once.square().sum(), x, create_graph=True)
        third.append(torch.autograd.grad(twice.square().sum(), x)[0])
    scale = third[1].abs().max()
    assert_alike([third[0] / scale], [third[1] / scale])


def _pair(graph, **settings):
    return _attend(graph, **settings), _attend(graph, **(settings | {"backend": "reference"}))


def _lse(q, k, v, graph, **settings):
    state = ew.attention_state(q, k, v, graph, **settings)
    return state.out + state.lse.clamp(min=-9)[..., None]


def _checkpointed(q):
    return checkpoint(_attend(RING), q, use_reentrant=False)


UNION = ew.Window(N, left=1, right=0) | ew.Hubs(N, [0])
PATHS = {
    "native, shortcut": _pair(RING, backend="native"),
    "native, lse": _pair(RING, backend="native", operator=_lse),
    "dense, causal": _pair(ew.Causal(N), backend="dense"),
    "dense, complete": _pair(ew.Complete(N), backend="dense"),
    "dense, mask": _pair(RING, backend="dense"),
    "dense, lse": _pair(ew.Causal(N), backend="dense", operator=_lse),
    "dense, dropout": _pair(
        ew.Causal(N),
        backend="dense",
        operator=lambda *a, **s: ew.attention(
            *a, dropout=0.3, generator=torch.Generator().manual_seed(1), **s
        ),
    ),
    "banded": _pair(ew.Window(N, left=2, right=1), backend="banded"),
    "banded, lse": _pair(ew.Window(N, left=2, right=1), backend="banded", operator=_lse),
    "ragged": _pair(ew.Blocks([3, 4]), backend="ragged"),
    "ragged, lse": _pair(ew.Blocks([3, 0, 4]), backend="ragged", operator=_lse),
    "blocked": _pair(UNION, backend="blocked"),
    "auto, union": _pair(UNION),
    "auto, equal graphs side by side": _pair(ew.disjoint_union([RING]), backend="auto"),
    "auto, twice differentiable": (
        ew.use_backend("auto", twice_differentiable=True)(_attend(RING)),
        _attend(RING, backend="reference"),
    ),
    "checkpointed": (_checkpointed, _attend(RING, backend="reference")),
    "sum": (
        lambda q: ew.aggregate(q, RING),
        lambda q: ew.aggregate(q, RING, backend="reference"),
    ),
    "maximum": (
        lambda q: ew.aggregate(q.sin(), RING, "max"),
        lambda q: ew.aggregate(q.sin(), RING, "max", backend="reference"),
    ),
}


def _check_merge(case):
    """A plan of parts has second derivatives, the log-sum-exp's included."""
    backends, wants_lse = case
    parts = (ew.Causal(N), ew.Complete(N) - ew.Causal(N))
    x = torch.randn(1, 2, N, 4, dtype=torch.float64, requires_grad=True)
    whole = _pair(ew.Complete(N), operator=_lse if wants_lse else ew.attention)[1]
    inputs = inputs_of(x, x, x, ew.Complete(N), ew.Dot())
    question = attention_question(inputs, ew.Complete(N), ew.Dot(), None, 0.0, wants_lse=True)
    runs = [
        choose(question.about(part), name).plan for part, name in zip(parts, backends, strict=True)
    ]
    plan = Merge.of(question.about(ew.Complete(N)), runs)

    def merged(q):
        state = plan.prepared.forward(
            inputs.with_tensors({"query": q, "key": q.cos(), "value": q + 1})
        )
        return state.out + state.lse.clamp(min=-9)[..., None] if wants_lse else state.out

    assert_alike(penalty(merged, x), penalty(whole, x))


def _check_half(case):
    """In half precision a second derivative is as near to that of float32 as gather's is."""
    graph, backend = case
    wide = torch.randn(1, 2, N, 8).bfloat16()
    found = []
    for dtype, name in ((torch.bfloat16, backend), (torch.float32, "reference")):
        x = wide.to(dtype).requires_grad_()
        (second,) = penalty(_attend(graph, backend=name), x)
        assert second.dtype == dtype
        found.append(second)
    scale = found[1].abs().max()
    assert_alike([found[0] / scale], [found[1] / scale], 0.1)


# --- Forward mode and transforms ----------------------------------------------------------------

TRANSFORMS = {
    "jvp": lambda f, x, t: jvp(f, (x,), (t,))[1],
    "jacfwd": lambda f, x, _: jacfwd(lambda x: f(x).sum((-1, -2)))(x),
    "hessian": lambda f, x, t: hessian(lambda y: f(x + y * t).square().sum())(
        torch.ones(()).double()
    ),
    "jvp of grad": lambda f, x, t: jvp(grad(lambda x: f(x).square().sum()), (x,), (t,))[1],
    "grad of jvp": lambda f, x, t: grad(lambda x: jvp(f, (x,), (t,))[1].square().sum())(x),
    "jvp of jvp": lambda f, x, t: jvp(lambda x: jvp(f, (x,), (t,))[1], (x,), (t,))[1],
    "vmap of jvp": lambda f, x, t: vmap(lambda t: jvp(f, (x,), (t,))[1])(torch.stack([t, 2 * t])),
    "grad of grad": lambda f, x, _: grad(
        lambda x: grad(lambda x: f(x).square().sum())(x).square().sum()
    )(x),
    "jacrev of jacrev": lambda f, x, _: jacrev(jacrev(lambda x: f(x).square().sum((-1, -2))))(x),
}


def _backward_of_grad(function, x, _):
    """Autograd outside, ``torch.func`` inside."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(grad(lambda x: function(x).square().sum())(x).square().sum(), x)[0]


def _dual(function, x, tangent):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(function(forward_ad.make_dual(x, tangent))).tangent


TRANSFORMS |= {"backward of grad": _backward_of_grad, "dual numbers": _dual}


def _check_transform(case):
    transform, setting, graph, backend = case
    call = SETTINGS[setting].call(GRAPHS[graph], torch.float64)
    call.tensors.update({name: tensor.detach() for name, tensor in call.tensors.items()})
    key = call.tensors["key"]
    x = call.tensors["query"]
    tangent = torch.randn_like(x)

    def function(x, backend):
        return call.out(backend, query=x, key=key + 0.1 * x.sum())

    found = TRANSFORMS[transform](partial(function, backend=backend), x, tangent)
    expected = TRANSFORMS[transform](partial(function, backend="reference"), x, tangent)
    assert_alike([found], [expected])


def _transform_cases():
    """Every transform with every backend, every setting with ``auto``, each on some graph."""
    graphs = {
        "banded": ["window", "dilated"],
        "ragged": ["blocks, one empty", "causal"],
        "blocked": ["window | hubs", "edge list"],
    }
    anything = ["causal", "window | hubs", "edge list, copies", "causal, tall: isolated targets"]
    cases = {}
    for backend in ("auto", *FORWARD):
        for turn, transform in enumerate(TRANSFORMS):
            some = graphs.get(backend, anything)
            graph = some[turn % len(some)]
            cases[f"{transform}, {backend}"] = (transform, "dot", graph, backend)
    # Reverse mode twice is native's as well.
    for transform in ("grad of grad", "backward of grad"):
        cases[f"{transform}, native"] = (transform, "dot", "edge list, copies", "native")
    for turn, setting in enumerate(SETTINGS):
        graph = anything[turn % len(anything)]
        cases[f"jvp, auto, {setting}"] = ("jvp", setting, graph, "auto")
        if "bias" not in setting:
            cases[f"jvp, gather, {setting}"] = ("jvp of grad", setting, graph, "gather")
    return cases


def _check_aggregate(case):
    """Tangents of sums, weighted or not, and of maxima."""
    reduce, weighted = case
    edges = GRAPHS["edge list, copies"]
    count = ew.edges(edges).num_edges
    value = torch.randn(2, edges.num_sources, 3, dtype=torch.float64)
    weight = torch.randn(count, dtype=torch.float64) if weighted else None

    def function(value, weight=weight, *, backend="auto"):
        return ew.aggregate(value, edges, reduce, weight=weight, backend=backend)

    for transform in ("jvp", "jvp of grad", "vmap of jvp", "dual numbers"):
        found, expected = (
            TRANSFORMS[transform](partial(function, backend=name), value, value.cos())
            for name in ("auto", "reference")
        )
        assert_alike([found], [expected])
    with pytest.raises(ew.DerivativeError, match="'native' has no forward-mode derivative"):
        jvp(partial(function, backend="native"), (value,), (value,))


def _check_layer_forward(case):
    layer = LAYERS[case]().double()
    x, tangent = torch.randn(2, N, 4, dtype=torch.float64)
    found = jvp(lambda x: layer(x, RING), (x,), (tangent,))[1]
    with ew.use_backend("reference"):
        expected = jvp(lambda x: layer(x, RING), (x,), (tangent,))[1]
    assert_alike([found], [expected])


def _check_refusal(case):
    """A backend without a derivative refuses in a sentence whose cure can be followed."""
    attempt, text = case
    with pytest.raises(ew.EdgewiseError, match=text):
        attempt(torch.randn(2, N, 4))


REFUSALS = {
    "native, jvp": (
        lambda q: jvp(_attend(RING, backend="native"), (q,), (q,)),
        r"'native' has no forward-mode derivative\. .*edgewise\.use_backend\('gather'\)",
    ),
    "native around, dual numbers": (
        lambda q: ew.use_backend("native")(_dual)(_attend(RING), q, q),
        "has no forward-mode derivative",
    ),
    "native's plan, jvp": (
        lambda q: jvp(partial(_planned, ew.plan(q, q, q, RING, backend="native")), (q,), (q,)),
        r"has no forward-mode derivative\. .*edgewise\.use_backend\('gather'\)",
    ),
    "flex, jvp": (
        lambda q: jvp(_attend(RING, backend="flex"), (q,), (q,)),
        "'flex' has no forward-mode derivative",
    ),
}


def _planned(plan, q):
    return plan(q, q, q)


# --- The choice of a backend --------------------------------------------------------------------


def _plan_of(graph=RING, **settings):
    q = torch.randn(2, N, 4)
    return ew.plan(q, q, q, graph, **settings).name


def _nested():
    with ew.use_backend("gather"):
        assert _plan_of() == "gather"
        with ew.use_backend("dense"):
            assert _plan_of() == "dense"
            assert _plan_of(backend="native") == "native"
            with ew.use_backend():
                assert _plan_of() == "native"
        assert _plan_of() == "gather"
    assert _plan_of() == "native"


def _raising():
    with pytest.raises(KeyError), ew.use_backend("gather"):
        raise KeyError
    assert _plan_of() == "native"


def _one_block_twice():
    block = ew.use_backend("gather")
    with block, block:
        assert _plan_of() == "gather"
    assert _plan_of() == "native"
    with block:
        assert _plan_of() == "gather"


def _threads():
    found = {}

    def work(name):
        with ew.use_backend(name):
            found[name] = {_plan_of() for _ in range(20)}

    def outside():
        found["outside"] = {_plan_of()}

    with ew.use_backend("reference"):
        threads = [threading.Thread(target=work, args=(n,)) for n in ("gather", "dense", "native")]
        threads.append(threading.Thread(target=outside))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {n: {n} for n in ("gather", "dense", "native")} | {"outside": {"native"}}


def _tasks():
    async def work(name):
        with ew.use_backend(name):
            for _ in range(3):
                await asyncio.sleep(0)
                assert _plan_of() == name

    @ew.use_backend("gather")
    async def decorated():
        await asyncio.sleep(0)
        return _plan_of()

    async def both():
        await asyncio.gather(*(work(name) for name in ("gather", "dense", "native")))
        assert await decorated() == "gather"
        assert _plan_of() == "native"

    asyncio.run(both())


def _decorator():
    @ew.use_backend("gather")
    def below(depth):
        """Its text."""
        return [_plan_of(), *(below(depth - 1) if depth else [])]

    assert below(2) == ["gather"] * 3
    assert below.__doc__ == "Its text."
    with pytest.raises(ew.ArgumentError, match="is a generator"):
        ew.use_backend("gather")(lambda: (yield))


def _process():
    found = []
    ew.set_default_backend("gather")
    try:
        thread = threading.Thread(target=lambda: found.append(_plan_of()))
        thread.start()
        thread.join()
        with ew.use_backend():
            found.append(_plan_of())
    finally:
        ew.set_default_backend()
    assert found == ["gather", "native"]


def _shortcuts():
    """What a call left behind belongs to the choice that was made for it."""
    q = torch.randn(2, N, 4)
    calls = []
    original = {b.name: type(b).attend for b in BACKENDS}
    with pytest.MonkeyPatch.context() as patch:
        for each in BACKENDS:
            if each.name in ("gather", "reference"):
                patch.setattr(
                    type(each),
                    "attend",
                    lambda self, *a: calls.append(self.name) or original[self.name](self, *a),
                )
        for name in ("auto", "gather", "auto", "gather", "reference"):
            with ew.use_backend(name):
                ew.attention(q, q, q, RING)
    assert calls == ["gather", "gather", "reference"]


def _operators():
    """Each of them follows the block: the named backend refuses what it cannot do."""
    q = torch.randn(2, N, 4)
    with ew.use_backend("ragged"):
        for operator in (ew.attention, ew.attention_state, ew.plan, ew.explain):
            with pytest.raises(ew.BackendRefused, match=r"which edgewise\.use_backend\('ragged'\)"):
                operator(q, q, q, RING)
        with pytest.raises(ew.BackendRefused, match="use_backend"):
            ew.aggregate(q, RING)
        with pytest.raises(ew.BackendRefused, match="use_backend"):
            nn.DotAttention(4, 1)(q, RING)


def _explained():
    q = torch.randn(2, N, 4)
    with ew.use_backend("gather"):
        explanation = ew.explain(q, q, q, RING)
    assert "chosen   by edgewise.use_backend('gather')" in str(explanation)
    assert explanation.to_dict()["selection"]["origin"] == "context"
    assert "chosen" not in str(ew.explain(q, q, q, RING, backend="gather"))
    with ew.use_backend(twice_differentiable=True):
        text = str(ew.explain(q, q, q, RING))
    assert "use_backend('auto', twice_differentiable=True)" in text
    assert "refused  flex      it has no second derivative" in text


def _compiled():
    """Compiled code is compiled again, once, for each choice, and in every thread."""
    found = []

    def backend(module, _):
        found.append({str(n.target) for n in module.graph.nodes if n.op == "call_function"})
        return module

    torch._dynamo.reset()
    function = torch.compile(lambda q: ew.attention(q, q, q, RING), backend=backend, fullgraph=True)
    q = torch.randn(2, N, 4)
    expected = ew.attention(q, q, q, RING)
    for name in ("auto", "gather", "auto", "gather", "dense", "gather"):
        with ew.use_backend(name):
            torch.testing.assert_close(function(q), expected)
    assert len(found) == 3
    assert "edgewise.attention.default" in found[0]
    assert not any("edgewise" in each for each in found[1] | found[2])
    with ew.use_backend("gather"):  # a thread begins outside, where the first code is valid
        outputs = []
        thread = threading.Thread(target=lambda: outputs.append(function(q)))
        thread.start()
        thread.join()
        torch.testing.assert_close(outputs[0], expected)
    assert len(found) == 3
    ew.set_default_backend("gather")
    try:
        torch.testing.assert_close(function(q), expected)
    finally:
        ew.set_default_backend()

    def inside(q):
        with ew.use_backend("gather"):
            return ew.attention(q, q, q, RING)

    with pytest.raises(Exception, match="Enter the block around the call"):
        torch.compile(inside, backend="eager", fullgraph=True)(q)
    torch.testing.assert_close(torch.compile(inside, backend="eager")(q), expected)


def _one_block_in_two_threads():
    block, other = ew.use_backend("gather"), threading.Barrier(2)
    outcomes = []

    def work():
        with block:
            other.wait()
            outcomes.append(ew.plan(*[torch.zeros(1, N, 4)] * 3, ew.Causal(N)).name == "gather")
            other.wait()
        outcomes.append(ew.plan(*[torch.zeros(1, N, 4)] * 3, ew.Causal(N)).name == "gather")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False, False, True, True]


def _bad_names():
    for wrong in ("fast", 3, None, ["gather"]):
        for function in (ew.use_backend, ew.set_default_backend):
            with pytest.raises(ew.PlanError, match="backend must be"):
                function(wrong)
    with pytest.raises(ew.ArgumentError, match="Decorate its methods"):
        ew.use_backend("gather")(type("Model", (), {}))
    with pytest.raises(ew.DerivativeError, match="'flex' has no second derivative"):
        ew.use_backend("flex", twice_differentiable=True)


def _check_choice(case):
    case()


DROP_INS = {
    "GATConv": ("GATConv", (5, 4), 0),
    "GATv2Conv": ("GATv2Conv", (5, 4), 0),
    "TransformerConv": ("TransformerConv", (5, 4), 0),
    "GATConv, edge features": ("GATConv", (5, 4, 2), 3),
    "GATv2Conv, edge features": ("GATv2Conv", (5, 4, 2), 3),
    "TransformerConv, edge features": ("TransformerConv", (5, 4, 2), 3),
    "GCNConv": ("GCNConv", (5, 4), 0),
    "SAGEConv": ("SAGEConv", (5, 4), 0),
}
LAYER_CASES = {name: name for name in LAYERS}

KINDS = (
    Kind("a drop-in without a second derivative", _check_drop_in, DROP_INS),
    Kind("a layer without a second derivative", _check_layer, LAYER_CASES),
    Kind("a path without a second derivative", _check_second, PATHS),
    Kind(
        "a merge without a second derivative",
        _check_merge,
        {
            f"{first}, {second}, lse" if lse else f"{first}, {second}": ((first, second), lse)
            for first, second in (("dense", "native"), ("banded", "dense"), ("gather", "blocked"))
            for lse in (False, True)
        },
    ),
    Kind(
        "a second derivative in half precision",
        _check_half,
        {
            backend: (graph, backend)
            for backend, graph in {
                "native": RING,
                "dense": ew.Causal(N),
                "banded": ew.Window(N, left=2, right=1),
                "ragged": ew.Blocks([3, 4]),
                "blocked": UNION,
                "auto": UNION,
            }.items()
        },
    ),
    Kind("a transform that torch's internals refuse", _check_transform, _transform_cases()),
    Kind(
        "tangents of sums",
        _check_aggregate,
        {
            "sum": ("sum", False),
            "weighted sum": ("sum", True),
            "mean": ("mean", False),
            "max": ("max", False),
            "weighted max": ("max", True),
        },
    ),
    Kind("a layer without tangents", _check_layer_forward, LAYER_CASES),
    Kind("a refusal without a cure", _check_refusal, REFUSALS),
    Kind(
        "a choice of backend that does not hold where it was made",
        _check_choice,
        {
            function.__name__.strip("_").replace("_", " "): function
            for function in (
                *(_operators, _nested, _raising, _one_block_twice, _threads, _tasks, _decorator),
                *(_process, _shortcuts, _explained, _compiled, _bad_names),
                _one_block_in_two_threads,
            )
        },
    ),
)


@each_case(KINDS)
def test_no_fault(check, case):
    torch.manual_seed(0)
    check(case)

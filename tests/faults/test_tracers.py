"""Tracers: what is traced once is right for every batch, every number and every open size.

The table is every tracer with every operator, every family of graphs and every backend, in pairs:
an entry is a call that is traced on one input and run on others.
"""

from __future__ import annotations

import copy
import io
import warnings
from operator import and_, or_, sub

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import jvp, vmap

import edgewise as ew
from tests.faults.kinds import Kind, each_case

N, HEADS, DIM = 12, 2, 4
_random = torch.Generator().manual_seed(3)
EDGES = torch.randint(0, N, (2, 40), generator=_random)
EDGE_LIST = ew.EdgeList(EDGES, num_nodes=N)
NUM_EDGES = ew.num_edges(EDGE_LIST)


def _thirds(target, source):
    return (target + source) % 3 == 0


GRAPHS = {
    "causal": ew.Causal(N),
    "complete": ew.Complete(N),
    "window": ew.Window(N, left=2, right=1),
    "dilated": ew.Dilated(N, left=1, right=1, dilation=3),
    "blocks": ew.Blocks([5, 7]),
    "union": ew.Window(N, left=1, right=1) | ew.Hubs(N, [0]),
    "edge list, copies": EDGE_LIST,
    "permutation": ew.permute(ew.Causal(N), torch.randperm(N, generator=_random).tolist()),
    "disjoint union": ew.disjoint_union([ew.EdgeList(EDGES[:, :9] % 4, num_nodes=4), ew.Causal(8)]),
    "equal graphs side by side": ew.disjoint_union([ew.Causal(4)] * 3),
    "predicate": ew.Predicate(_thirds, N, N),
    "assumption": ew.Assume(ew.Predicate(_thirds, N, N), ew.Predicate(_thirds, N, N).facts()),
    "difference of an edge list": EDGE_LIST - ew.Causal(N),
    "composition": ew.compose(EDGE_LIST, ew.Window(N, left=1, right=0)),
    "reverse": ew.reverse(EDGE_LIST),
    "induced": ew.induced(ew.Causal(16), range(N), range(2, N + 2)),
    "grid": ew.Grid((3, 4)),
    "random regular": ew.RandomRegular(N, degree=4, seed=0),
}


def _lse(q, graph, backend):
    state = ew.attention_state(q, q, q + 1, graph, backend=backend)
    return state.out + state.lse.clamp(min=-9)[..., None]


def _biased(q, _, backend):
    bias = q.mean() * torch.arange(NUM_EDGES, dtype=q.dtype, device=q.device)
    return ew.attention(q, q, q, EDGE_LIST, bias=bias, backend=backend)


def _weighted(q, _, backend):
    weight = q.mean() * torch.arange(NUM_EDGES, dtype=q.dtype, device=q.device)
    return ew.aggregate(q, EDGE_LIST, weight=weight, backend=backend)


def _edge_features(q, _, backend):
    own = q.mean() * torch.ones(HEADS, NUM_EDGES, DIM, dtype=q.dtype, device=q.device)
    return ew.attention(q, q, q, EDGE_LIST, edge_key=own, edge_value=own, backend=backend)


OPERATORS = {
    "attention": lambda q, graph, backend: ew.attention(q, q, q + 1, graph, backend=backend),
    "attention_state": _lse,
    "attention, soft cap": lambda q, graph, backend: ew.attention(
        q, q, q, graph, score=ew.Dot(0.7, softcap=2.0), backend=backend
    ),
    "attention, GATv2": lambda q, graph, backend: ew.attention(
        q, q, q, graph, score=ew.GATv2(q.mean((0, 2))), backend=backend
    ),
    "attention, edge bias": _biased,
    "attention, relative bias": lambda q, graph, backend: ew.attention(
        q, q, q, graph, bias=ew.RelativeBias(q.mean((0, 2)), first=-2), backend=backend
    ),
    "attention, dense bias": lambda q, graph, backend: ew.attention(
        q, q, q, graph, bias=ew.DenseBias(q @ q.mT), backend=backend
    ),
    "attention, edge features": _edge_features,
    "attention, one key head": lambda q, graph, backend: ew.attention(
        q, q[:, :1], q[:, :1], graph, backend=backend
    ),
    "sum": lambda q, graph, backend: ew.aggregate(q, graph, backend=backend),
    "mean": lambda q, graph, backend: ew.aggregate(q, graph, "mean", backend=backend),
    "max": lambda q, graph, backend: ew.aggregate(q, graph, "max", backend=backend),
    "sum, weighted": _weighted,
}


def draw(batch=2, nodes=N):
    return torch.randn(batch, HEADS, nodes, DIM)


class Module(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, q):
        return self.function(q)


# --- Tracers: from a function to what they make of it ---------------------------------------------


def jit_trace(function):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".torch.jit")
        traced = torch.jit.trace(function, draw(), check_trace=True)
        kept = io.BytesIO()
        torch.jit.save(traced, kept)
        kept.seek(0)
        return torch.jit.load(kept)


def fx(function):
    return copy.deepcopy(torch.fx.symbolic_trace(function))


def export(function, strict=False):
    batch = torch.export.Dim("batch", min=2, max=64)
    made = torch.export.export(
        Module(function), (draw(3),), dynamic_shapes={"q": {0: batch}}, strict=strict
    )
    return made.module()


def export_strictly(function):
    return export(function, strict=True)


def compile_static(function):
    torch._dynamo.reset()
    return torch.compile(function, backend="eager", fullgraph=True, dynamic=False)


def compile_dynamic(function):
    torch._dynamo.reset()
    return torch.compile(function, backend="eager", fullgraph=True, dynamic=True)


def batched(function):
    return vmap(lambda q: function(q[None])[0])


def tangents(function):
    """A function that is its own derivative's value: the output of `jvp`, not its tangent."""
    return lambda q: jvp(function, (q,), (q,))[0]


TRACERS = {
    "jit.trace": jit_trace,
    "fx": fx,
    "export": export,
    "export, strict": export_strictly,
    "compile": compile_static,
    "compile, dynamic": compile_dynamic,
    "vmap": batched,
    "jvp": tangents,
}
WITHOUT_GRADIENT = ("export", "export, strict")  # its program was made for inference


OF_THE_BATCH = ("GATv2", "edge bias", "relative bias", "edge features")  # means over all of it
LEFT_OUT = {
    "vmap": (*(f"attention, {name}" for name in OF_THE_BATCH), "sum, weighted"),
    # A bias is a record of tensors, which a value of torch.fx is not.
    "fx": ("attention, relative bias", "attention, dense bias"),
}


def _check_traced(case):
    tracer, operator, graph, backend = case

    def function(q):
        return OPERATORS[operator](q, GRAPHS[graph], backend)

    traced = TRACERS[tracer](function)
    for batch in (2, 5):
        q, p = draw(batch).requires_grad_(), None
        p = q.detach().clone().requires_grad_()
        found, expected = traced(q), function(p)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        if tracer in WITHOUT_GRADIENT:
            continue
        (grad,) = torch.autograd.grad(found.square().sum(), q)
        (wanted,) = torch.autograd.grad(expected.square().sum(), p)
        torch.testing.assert_close(grad, wanted, rtol=1e-3, atol=1e-4)


def _table():
    cases = {}
    for turn, tracer in enumerate(TRACERS):
        for offset, operator in enumerate(OPERATORS):
            graph = ("causal", "union", "edge list, copies", "window")[(turn + offset) % 4]
            if "relative" in operator or "dense" in operator:
                graph = "causal"
            if operator not in LEFT_OUT.get(tracer, ()):
                cases[f"{tracer}: {operator}"] = (tracer, operator, graph, "auto")
        for graph in GRAPHS:
            cases[f"{tracer}: {graph}"] = (tracer, "attention", graph, "auto")
        for backend in ("reference", "gather", "dense", "native"):
            if (tracer, backend) != ("jvp", "native"):
                cases[f"{tracer}: {backend}"] = (tracer, "attention", "union", backend)
            if (tracer, backend) == ("vmap", "dense"):
                cases.pop("vmap: dense")  # torch's own attention warns that it goes one by one
        cases[f"{tracer}: banded"] = (tracer, "attention", "window", "banded")
        cases[f"{tracer}: ragged"] = (tracer, "attention", "blocks", "ragged")
        cases[f"{tracer}: blocked"] = (tracer, "attention", "union", "blocked")
    return cases


# --- Open sizes -----------------------------------------------------------------------------------

OPEN = {
    "causal": ew.Causal,
    "complete": ew.Complete,
    "window": lambda n: ew.Window(n, left=2, right=1),
    "dilated": lambda n: ew.Dilated(n, left=1, right=1, dilation=2),
    "union": lambda n: ew.Window(n, left=1, right=0) | ew.Hubs(n, [0]),
    "difference": lambda n: ew.Complete(n) - ew.Causal(n),
    "blocks": lambda n: ew.Blocks([2, n - 2]),
    "prefix": lambda n: ew.PrefixCausal(n, prefix=2),
    "reverse": lambda n: ew.reverse(ew.Causal(n)),
    "hubs at both ends": lambda n: ew.Hubs(n, [0, n - 1]),
    "hubs, unsorted, twice": lambda n: ew.Hubs(n, [n - 1, 0, n // 2, n - 1]),
    "self loops": ew.SelfLoops,
    "grid": lambda n: ew.Grid((n, 1)),
    "random regular": lambda n: ew.RandomRegular(n, degree=2, seed=1),
    "prefix, a share": lambda n: ew.PrefixCausal(n, prefix=n // 2),
    "window, a share": lambda n: ew.Window(n, left=n // 2, right=0),
    "disjoint union": lambda n: ew.disjoint_union([ew.Causal(n - 2), ew.Complete(2)]),
    "disjoint union, halves": lambda n: ew.disjoint_union(
        [ew.Causal(n // 2), ew.Causal(n - n // 2)]
    ),
    "disjoint union of a union": lambda n: ew.disjoint_union(
        [ew.Causal(n - 3) | ew.Hubs(n - 3, [0]), ew.Complete(3)]
    ),
    "reversed union": lambda n: ew.reverse(ew.Window(n, left=1, right=0) | ew.Hubs(n, [n - 1])),
    "compose": lambda n: ew.compose(ew.Causal(n), ew.Hubs(n, [1])),
    "receptive field": lambda n: ew.receptive_field(ew.Window(n, left=1, right=0), 2),
}


def _pairs_of_families():
    """Two families joined by a set operation: each family with two others, operations in turn."""
    signs = {"|": or_, "&": and_, "-": sub}
    names = list(OPEN)
    for offset in (1, 7):
        for place, first in enumerate(names):
            second = names[(place + offset) % len(names)]
            sign = list(signs)[(place + offset) % 3]

            def joined(n, a=OPEN[first], b=OPEN[second], join=signs[sign]):
                return join(a(n), b(n))

            yield f"{first} {sign} {second}", joined


PAIRS = dict(_pairs_of_families())
BUILT_OUTSIDE = {
    "permute": (lambda n: ew.permute(ew.Causal(n), torch.arange(n)), "permute: cannot be built"),
    "edge list": (
        lambda n: ew.EdgeList(torch.arange(n).expand(2, n), num_nodes=n),
        "EdgeList: (cannot be built|edge_index must be a dense tensor with data)",
    ),
    "predicate": (
        lambda n: ew.Predicate(torch.ge, n, n),
        "Predicate: cannot be built inside",
    ),
    "induced": (
        lambda n: ew.induced(ew.Causal(2 * n), torch.arange(n)),
        "induced: targets must list whole numbers",
    ),
    "disjoint union": (
        lambda n: ew.disjoint_union([ew.Predicate(torch.ge, n - 2, n - 2), ew.Complete(2)]),
        "(DisjointUnion|Predicate): cannot be built inside",
    ),
}


class Counter:
    """A backend of torch.compile that counts."""

    def __init__(self):
        self.count = 0

    def __call__(self, module, _):
        self.count += 1
        return module


def _check_sizes(case):
    """Many sizes of one symbolic graph compile twice: a fixed size, and an open one."""
    family, operator, where = case
    counter = Counter()
    torch._dynamo.reset()
    if where == "inside":
        function = torch.compile(
            lambda q: OPERATORS[operator](q, family(q.shape[-2]), "auto"),
            backend=counter,
            fullgraph=True,
        )
        run = function
    else:
        function = torch.compile(
            lambda q, graph: OPERATORS[operator](q, graph, "auto"), backend=counter, fullgraph=True
        )

        def run(q):
            return function(q, family(q.shape[-2]))

    for nodes in range(5, 17):
        q = draw(nodes=nodes).requires_grad_()
        p = q.detach().clone().requires_grad_()
        found, expected = run(q), OPERATORS[operator](p, family(nodes), "auto")
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        (grad,) = torch.autograd.grad(found.square().sum(), q)
        (wanted,) = torch.autograd.grad(expected.square().sum(), p)
        torch.testing.assert_close(grad, wanted, rtol=1e-3, atol=1e-4)
    # Two numbers of a graph that are equal once are one symbol to torch: halves compile once more.
    assert counter.count <= (3 if where == "outside" else 2), counter.count


def _check_exported_sizes(case):
    """One exported program serves every number of nodes."""
    family, strict = case
    nodes = torch.export.Dim("nodes", min=4, max=64)
    batch = torch.export.Dim("batch", min=2, max=64)
    module = Module(lambda q: ew.attention(q, q, q, family(q.shape[-2])))
    made = torch.export.export(
        module, (draw(3),), dynamic_shapes={"q": {0: batch, 2: nodes}}, strict=strict
    )
    for size in (5, 9, 30):
        q = draw(2, size)
        torch.testing.assert_close(made.module()(q), module(q))


def _check_built_outside(case):
    """A graph of open size that has to be built outside of traced code is refused so."""
    (family, words), how = case
    module = Module(lambda q: ew.attention(q, q, q, family(q.shape[-2])))
    torch._dynamo.reset()
    if how == "compile":
        call = torch.compile(module, backend="eager", fullgraph=True, dynamic=True)
    else:
        nodes = torch.export.Dim("nodes", min=4, max=64)

        def call(q):
            given = {"dynamic_shapes": {"q": {2: nodes}}, "strict": how == "export, strict"}
            return torch.export.export(module, (q,), **given)

    # The compiler wraps an error in one of its own.
    with pytest.raises((ew.GraphError, torch._dynamo.exc.Unsupported), match=words):
        call(draw(3))


def _check_moving_mask(_):
    """Decoding with a cache of fixed size: the mask is data, so one compilation serves all."""
    counter = Counter()
    torch._dynamo.reset()
    size = 16
    whole = ew.Complete(1, size)

    @torch.compile(backend=counter, fullgraph=True)
    def step(q, key, value, position):
        unread = torch.arange(size) > position
        mask = torch.zeros(1, size).masked_fill(unread, -torch.inf)
        return ew.attention(q, key, value, whole, bias=ew.DenseBias(mask))

    key, value = draw(nodes=size), draw(nodes=size)
    for position in range(size):
        q = draw(nodes=1)
        found = step(q, key, value, torch.tensor(position))
        seen = slice(0, position + 1)
        expected = ew.attention(
            q, key[..., seen, :], value[..., seen, :], ew.Complete(1, position + 1)
        )
        torch.testing.assert_close(found, expected)
    assert counter.count == 1


# --- What only some can --------------------------------------------------------------------------


def _check_without_numbers(case):
    """Fake and meta tensors give the shapes and dtypes of real ones, and the same errors."""
    operator, graph, mode = case
    expected = OPERATORS[operator](draw(), GRAPHS[graph], "auto")
    with mode():
        q = draw().requires_grad_()
        found = OPERATORS[operator](q, GRAPHS[graph], "auto")
        (grad,) = torch.autograd.grad(found.sum(), q)
        with pytest.raises(ew.ShapeError, match=f"has {N + 1} rows but graph has {N}"):
            ew.attention(*[draw(nodes=N + 1)] * 3, GRAPHS[graph])
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert grad.shape == q.shape


def on_meta():
    return torch.device("meta")


def _check_other_nodes(graph):
    """A trace run on another number of nodes says so."""
    traced = jit_trace(lambda q: ew.attention(q, q, q, graph))
    with pytest.raises(Exception, match=f"query has {N + 1} rows but graph has {N} targets"):
        traced(draw(nodes=N + 1))


def _check_second_of_a_trace(graph):
    """A traced function has second derivatives as well."""
    traced = jit_trace(lambda q: ew.attention(q, q, q, graph))
    found = []
    for function in (traced, lambda q: ew.attention(q, q, q, graph, backend="reference")):
        torch.manual_seed(1)
        q = draw().requires_grad_()
        (once,) = torch.autograd.grad(function(q).square().sum(), q, create_graph=True)
        found.append(torch.autograd.grad(once.square().sum(), q)[0])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


def _check_script(function):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".torch.jit")
        with pytest.raises(ew.ArgumentError, match=r"cannot be compiled by torch\.jit\.script"):
            torch.jit.script(function)


def _scripted(q: torch.Tensor):
    return ew.attention(q, q, q, EDGE_LIST)


def _check_layer_in_fx(_):
    """A module around the operator is traced with its own weights and graph."""

    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(DIM, DIM)

        def forward(self, q):
            return ew.aggregate(self.linear(q), EDGE_LIST) + ew.attention(q, q, q, ew.Causal(N))

    module = Small()
    traced = torch.fx.symbolic_trace(module)
    for batch in (2, 3):
        q = draw(batch)
        torch.testing.assert_close(traced(q), module(q))


def _check_onnx(case):
    """ONNX gets plain operations, and onnxruntime gives the same numbers for other batches."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    operator, graph, backend, legacy = case
    module = Module(lambda q: OPERATORS[operator](q, GRAPHS[graph], backend))
    kept = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exporters warn of themselves
        if legacy:
            torch.onnx.export(
                module, (draw(),), kept, dynamo=False, opset_version=18,
                input_names=["q"], dynamic_axes={"q": {0: "batch"}},
            )  # fmt: skip
        else:
            batch = torch.export.Dim("batch", min=2, max=64)
            made = torch.onnx.export(
                module, (draw(3),), dynamo=True, opset_version=18,
                dynamic_shapes={"q": {0: batch}}, verbose=False,
            )  # fmt: skip
            kept.write(made.model_proto.SerializeToString())
    session = runtime.InferenceSession(kept.getvalue(), providers=["CPUExecutionProvider"])
    for size in (2, 5):
        q = draw(size)
        (found,) = session.run(None, {session.get_inputs()[0].name: q.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), module(q), rtol=1e-4, atol=1e-5)


ONNX = {
    f"{operator}, {graph}, {backend}{', legacy' * legacy}": (operator, graph, backend, legacy)
    for operator, graph, backend, legacy in (
        ("attention", "edge list, copies", "gather", False),
        ("attention, soft cap", "union", "dense", False),
        ("attention", "edge list, copies", "gather", True),
        ("attention", "causal", "dense", True),
        ("mean", "union", "auto", True),
    )
}
SLOW_ONNX = {
    f"{operator}, {graph}, {backend}": (operator, graph, backend, False)
    for backend in ("auto", "gather")
    for operator in OPERATORS
    for graph in ("causal", "union")
}

FAST = ("jit.trace", "fx", "vmap", "jvp")  # the others trace with torch's compiler: a second each
CORE = ("attention_state", "edge list, copies", "dense")
TABLE = _table()
KINDS = (
    Kind(
        "a trace that holds for one input",
        _check_traced,
        {
            name: case
            for name, case in TABLE.items()
            if case[0] in FAST or name.split(": ")[1] in CORE
        },
    ),
    Kind(
        "a compilation for each size",
        _check_sizes,
        {
            "causal": (OPEN["causal"], "attention", "inside"),
            "union, lse": (OPEN["union"], "attention_state", "outside"),
            "window, mean": (OPEN["window"], "mean", "inside"),
        },
    ),
    Kind(
        "an export for each size",
        _check_exported_sizes,
        {
            "hubs at both ends": (OPEN["hubs at both ends"], False),
            "causal": (OPEN["causal"], False),
            "union, strict": (OPEN["union"], True),
            "disjoint union": (OPEN["disjoint union"], False),
            "disjoint union, strict": (OPEN["disjoint union"], True),
            "prefix, a share": (OPEN["prefix, a share"], False),
            "a pair": (PAIRS["hubs at both ends & hubs, unsorted, twice"], False),
        },
    ),
    Kind(
        "a graph that traced code cannot build, without a sentence",
        _check_built_outside,
        {
            f"{name}, {how}": (case, how)
            for place, (name, case) in enumerate(BUILT_OUTSIDE.items())
            for how in (("export", "export, strict", "compile")[place % 3], "export")
        },
    ),
    Kind("a compilation for each step of decoding", _check_moving_mask, {"static cache": None}),
    Kind(
        "tensors without numbers",
        _check_without_numbers,
        {
            f"{name}: {operator}, {graph}": (operator, graph, mode)
            for name, mode in {"fake": FakeTensorMode, "meta": on_meta}.items()
            for operator, graph in (
                *((operator, "causal") for operator in OPERATORS),
                *(("attention", graph) for graph in GRAPHS),
            )
        },
    ),
    Kind("a trace on other nodes", _check_other_nodes, {"causal": GRAPHS["causal"]}),
    Kind(
        "a trace without second derivatives",
        _check_second_of_a_trace,
        {name: GRAPHS[name] for name in ("causal", "union", "edge list, copies")},
    ),
    Kind(
        "torch.jit.script without a sentence",
        _check_script,
        {
            "a function around it": _scripted,
            **{f.__name__: f for f in (ew.attention, ew.attention_state, ew.aggregate, ew.weights)},
        },
    ),
    Kind("torch.fx and a module", _check_layer_in_fx, {"module": None}),
    Kind("ONNX", _check_onnx, ONNX),
)
SLOW = (
    Kind(
        "a trace that holds for one input",
        _check_traced,
        {
            name: case
            for name, case in TABLE.items()
            if case[0] not in FAST and name.split(": ")[1] not in CORE
        },
    ),
    Kind(
        "a compilation for each size",
        _check_sizes,
        {
            f"{name}, {operator}, {where}": (family, operator, where)
            for name, family in OPEN.items()
            for operator, where in (("attention", "inside"), ("attention_state", "outside"))
        },
    ),
    Kind(
        "an export for each size",
        _check_exported_sizes,
        {
            f"{name}{', strict' * strict}": (family, strict)
            for name, family in OPEN.items()
            for strict in (False, True)
        }
        | {
            f"{name}{', strict' * strict}": (family, strict)
            for place, (name, family) in enumerate(PAIRS.items())
            for strict in (place % 2 == 0,)
        },
    ),
    Kind("ONNX", _check_onnx, SLOW_ONNX),
)


@each_case(KINDS)
def test_no_fault(check, case):
    torch.manual_seed(0)
    check(case)


@pytest.mark.slow
@each_case(SLOW)
def test_no_fault_anywhere(check, case):
    torch.manual_seed(0)
    check(case)

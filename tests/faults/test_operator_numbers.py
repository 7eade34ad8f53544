"""Odd numbers in scores, tensors without numbers, NaN that nobody reads, and wrong inputs."""

import math
import random
import weakref

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map

import edgewise as ew
import edgewise.nn as layers
from edgewise import models
from edgewise.layouts import num_edges
from edgewise.models.cards import CARDS
from edgewise.testing.calls import Setting
from edgewise.testing.contract import assert_keeps_contract, expected_refusal
from tests.faults.kinds import Kind, each_case
from tests.graphs.expressions import expressions

NAN, INF = math.nan, math.inf
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def _qkv(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[torch.Tensor]:
    random_ = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=random_).to(dtype) for _ in range(3)]


# --- The numbers of a score -------------------------------------------------------------------

SCALES = (0.0, -0.0, -0.5, -1e-30, 1e-30, -1e-60, 3, np.float32(-0.25), np.int64(2))
GRAPHS = {
    "causal": ew.Causal(40),
    "equal causal graphs side by side": ew.disjoint_union([ew.Causal(20)] * 3),
    "unequal causal graphs side by side": ew.disjoint_union([ew.Causal(n) for n in (5, 21, 33)]),
    "a window that is causal": ew.Window(40, left=40, right=0),
    "a window": ew.Window(40, left=3, right=2),
    "causal, more sources": ew.Causal(5, 40),
    "complete, rectangular": ew.Complete(7, 40),
    "parts": ew.Window(40, left=2, right=2) | ew.Hubs(40, [0]),
}
BACKENDS = ("auto", "dense", "ragged", "banded", "blocked", "native", "gather")


def _check_scale(case):
    graph, scale, dtype, backend = case
    setting = Setting(ew.Dot(scale), heads=4, kv_heads=2, head_dim=8, value_dim=8, batch=(2,))
    call = setting.call(graph, dtype)
    exact = {k: t.detach().double().requires_grad_() for k, t in call.tensors.items()}
    oracle = type(call)(setting, graph, exact)
    if backend != "auto" and expected_refusal(backend, setting, graph):
        return
    for _ in range(2):  # the second call of a kind takes a shortcut
        assert_keeps_contract(backend, call, oracle)


def _check_reported(case):
    scale, right = case
    query, key, value = _qkv(1, 2, 64, 8)
    for _ in range(2):
        out = ew.attention(query, key, value, ew.Causal(64), score=ew.Dot(scale))
        torch.testing.assert_close(out, right(query, key, value), rtol=1e-4, atol=1e-4)


def _mean_so_far(_query, _key, value):
    return value.cumsum(2) / torch.arange(1, 65)[:, None]


def _with_minus_query(query, key, value):
    return ew.attention(-query, key, value, ew.Causal(64), score=ew.Dot(0.5))


def _scale_cases():
    """Every graph with every backend; scales and dtypes take turns."""
    draw = random.Random(3)
    for name, graph in GRAPHS.items():
        for backend in BACKENDS:
            for scale in draw.sample(SCALES, 2):
                dtype = draw.choice(DTYPES)
                label = f"{name}, {scale!r}, {backend}, {str(dtype).removeprefix('torch.')}"
                yield label, (graph, scale, dtype, backend)


def _check_refused(case):
    make, words = case
    with pytest.raises(ew.EdgewiseError, match=words):
        make()


def _dropped(dropout):
    query, key, value = _qkv(2, 9, 4)
    return ew.attention(query, key, value, ew.Causal(9), dropout=dropout)


REFUSED = {
    "scale nan": (lambda: ew.Dot(NAN), "finite number"),
    "scale inf": (lambda: ew.Dot(-INF), "finite number"),
    "scale beyond float32": (lambda: ew.Dot(1e60), "finite number"),
    "scale a tensor": (lambda: ew.Dot(torch.tensor(1.0)), "Multiply query by a learned scale"),
    "scale a bool": (lambda: ew.Dot(True), "must be a number, got bool"),
    "scale a text": (lambda: ew.Dot("1"), "must be a number, got str"),
    "soft cap 0": (lambda: ew.Dot(1.0, 0.0), "Leave it out for no limit"),
    "soft cap that float32 rounds to 0": (lambda: ew.Dot(1.0, 1e-300), "Leave it out"),
    "soft cap inf": (lambda: ew.Dot(1.0, INF), "finite number"),
    "slope nan": (lambda: ew.Additive(NAN), "Additive: slope"),
    "slope a tensor": (lambda: ew.GATv2(torch.ones(1, 1), torch.tensor(0.2)), "GATv2: slope"),
    "dropout 1": (lambda: _dropped(1.0), r"in \[0, 1\)"),
    "dropout nan": (lambda: _dropped(NAN), r"in \[0, 1\)"),
    "dropout a bool": (lambda: _dropped(True), r"in \[0, 1\)"),
    "dropout a tensor": (lambda: _dropped(torch.tensor(0.5)), r"in \[0, 1\)"),
    "dropout below 0": (lambda: _dropped(-0.1), r"in \[0, 1\)"),
}


def _check_dropout(dropout):
    query, key, value = _qkv(2, 9, 4)

    def drawn(backend):
        seed = torch.Generator().manual_seed(1)
        given = {"dropout": dropout, "generator": seed, "backend": backend}
        return ew.attention(query, key, value, ew.Causal(9), **given)

    for backend in ("auto", "native", "gather", "dense"):
        torch.testing.assert_close(drawn(backend), drawn("reference"), rtol=1e-4, atol=1e-4)


# --- Tensors without numbers ------------------------------------------------------------------


_TWO_EDGES = ew.EdgeList([[0, 1], [1, 2]], num_targets=9, num_sources=12)


def _check_device(case):
    device, backend = case
    query = torch.empty(1, 4, 9, 4, device=device, requires_grad=device == "meta")
    key, value = (torch.empty(1, 2, 12, d, device=device) for d in (4, 6))
    graph = ew.Causal(9, 12)
    out = ew.attention(query, key, value, graph, backend=backend)
    assert out.shape == (1, 4, 9, 6)
    assert out.device == query.device
    state = ew.attention_state(query, key, value, graph, backend=backend)
    assert state.lse.shape == (1, 4, 9)
    assert ew.merge([state, state]).out.shape == out.shape
    assert ew.weights(query, key, graph, state.lse).shape == (1, 4, 9 * 4 + 36)
    assert ew.aggregate(value, graph, "mean", backend=backend).shape == (1, 2, 9, 6)
    assert ew.plan(query, key, value, graph)(query, key, value).shape == out.shape
    if backend == "auto":
        priced = "cpu" if device in ("cpu", "meta") else "cuda"
        text = str(ew.explain(query, key, value, graph))
        assert device == priced or f"those of {priced}, as {device} has none" in text
    bias = torch.empty(4, 2, device=device)
    ew.attention(query, key, value, _TWO_EDGES, bias=bias, dropout=0.5, score=ew.Dot(-1.0))
    if query.requires_grad:
        (grad,) = torch.autograd.grad(out.sum(), query)
        assert grad.shape == query.shape
        assert grad.device == query.device


def _check_fake_device(case):
    with FakeTensorMode():
        _check_device(case)


class _OnMeta:
    """A model whose inputs are moved to ``meta``."""

    def __init__(self, model):
        self._call = model

    def __call__(self, *inputs, **given):
        moved = tree_map(_to_meta, (inputs, given))
        return self._call(*moved[0], **moved[1])

    def __getattr__(self, name):
        found = getattr(self._call, name)
        return _OnMeta(found) if callable(found) else found


def _to_meta(x):
    return x.to("meta") if isinstance(x, torch.Tensor) else x


def _check_card_on_meta(case):
    card, built_there = case
    names = {**vars(layers), **vars(ew), **vars(models), "torch": torch}
    model = eval(card.setting, names)
    expected = eval(card.call, {**names, "model": model})
    if built_there:
        with torch.device("meta"):
            model = eval(card.setting, names)
    out = eval(card.call, {**names, "model": _OnMeta(model.to("meta"))})
    assert out.device.type == "meta"
    assert out.shape == expected.shape


# --- A NaN that nobody reads ------------------------------------------------------------------


def _poisoned(tensor, draw, share):
    if not tensor.numel() or draw.random() > share:
        return tensor
    tensor = tensor.clone()
    for _ in range(draw.randint(1, 2)):
        at = tuple(draw.randrange(size) for size in tensor.shape)
        tensor[at if draw.random() < 0.7 else at[:-1]] = draw.choice((NAN, INF, -INF))
    return tensor


def _same_numbers(name, found, expected, dtype):
    found, expected = found.detach().double(), expected.detach().double()
    assert torch.equal(found.isfinite(), expected.isfinite()), f"{name}: finite elsewhere"
    here = expected.isfinite()
    if here.any():
        allowed = {8: 1e-8, 4: 1e-3, 2: 2e-1}[dtype.itemsize]
        scale = expected[here].abs().max().clamp(min=1.0)
        assert (found[here] - expected[here]).abs().max() <= allowed * scale, f"{name} differs"


def _random_graph(draw, seed):
    if draw.random() < 0.3:
        return next(expressions(seed, 1)).graph
    n = draw.choice((1, 2, 3, 5, 13, 33, 48, 65, 100, 128, 150, 200))
    few = draw.randint(0, min(n, 6))
    numbers = torch.Generator().manual_seed(seed)
    return draw.choice(
        (
            lambda: ew.Causal(n),
            lambda: ew.Causal(max(1, n - 3), n),
            lambda: ew.Window(n, left=few, right=1),
            lambda: ew.Window(n, left=n, right=0),
            lambda: ew.Blocks([n // 3 + 1] * 3 + [few]),
            lambda: ew.disjoint_union([ew.Causal(n // 4 + 1)] * 4),
            lambda: ew.disjoint_union([ew.Causal(draw.randint(1, 40)) for _ in range(4)]),
            lambda: ew.Window(n, left=4, right=4) | ew.Hubs(n, [0]),
            lambda: ew.Complete(n, n + few),
            lambda: ew.Complete(n) - ew.Window(n, left=2, right=2),
            lambda: ew.EdgeList(torch.randint(n, (2, 5 * n), generator=numbers), num_nodes=n),
            lambda: ew.Dilated(n, left=3, right=2, dilation=3),
            lambda: ew.PrefixCausal(n, prefix=few),
        )
    )()


def _check_nan_law(seed):
    """Results and gradients of ``auto`` are finite where those of the reference are."""
    draw = random.Random(seed)
    graph, dtype = _random_graph(draw, seed), draw.choice(DTYPES)
    numbers = torch.Generator().manual_seed(seed)

    def tensor(*shape):
        return torch.randn(*shape, generator=numbers).to(dtype)

    what = draw.choice(("attention", "attention", "state", "sum", "mean", "max", "weighted sum"))
    heads, groups = draw.choice(((1, 1), (2, 2), (4, 2), (4, 1)))
    dim, lead = draw.choice((1, 4, 8, 16)), draw.choice(((), (1,), (2,)))
    trains = draw.random() < 0.7
    T, S, E = graph.num_targets, graph.num_sources, num_edges(graph)
    if what in ("attention", "state"):
        shapes = [(*lead, heads, T, dim), (*lead, groups, S, dim), (*lead, groups, S, dim)]
        if draw.random() < 0.2:
            shapes.append((heads, E))
        kinds = [tensor(*shape) for shape in shapes]
    else:
        kinds = [tensor(*lead, S, dim)] + ([tensor(E)] if what.startswith("w") else [])
    inputs = [_poisoned(each, draw, 0.4) for each in kinds]
    if len(inputs) > 2 and not all(bool(each.isfinite().all()) for each in inputs):
        # An infinite query, key or bias may forbid all that a target reads. Weights of zero then
        # meet values: whether zero times infinity is sent back, backends do not agree.
        inputs[2] = kinds[2] if draw.random() < 0.5 else inputs[2]
        if not bool(inputs[2].isfinite().all()):
            inputs = [*kinds[:2], inputs[2], *kinds[3:]]
    score = ew.Dot(draw.choice((None, None, 0.5, -0.5, 0.0)))

    def called(backend, own):
        if what in {"attention", "state"}:
            operator = ew.attention if what == "attention" else ew.attention_state
            given = {"score": score, "backend": backend}
            found = operator(*own[:3], graph, bias=own[3] if len(own) > 3 else None, **given)
            return [found] if what == "attention" else [found.out, found.lse]
        reduce = "sum" if what.startswith("w") else what
        weight = own[1] if len(own) > 1 else None
        return [ew.aggregate(own[0], graph, reduce, weight=weight, backend=backend)]

    right: list[torch.Tensor] = []
    pushes = None
    for backend in ("reference", "gather", "auto", "auto"):
        own = [each.detach().clone().requires_grad_(trains) for each in inputs]
        outs = called(backend, own)
        if pushes is None:
            pushes = [torch.randn(out.shape, generator=numbers).to(out.dtype) for out in outs]
            pushes = [_poisoned(push, draw, 0.4) for push in pushes]
        grads = torch.autograd.grad(outs, own, pushes, allow_unused=True) if trains else ()
        found = [*outs, *(grad for grad in grads if grad is not None)]
        right = right or found
        for place, pair in enumerate(zip(found, right, strict=True)):
            _same_numbers(f"{what} on {graph}, {backend}, {place}", *pair, dtype)


def _check_drop_in(case):
    name, number = case
    pytest.importorskip("torch_geometric")
    import torch_geometric.nn as stock

    from edgewise.integrations import pyg

    def made(library):
        inner = torch.nn.Linear(2, 3)
        given = {"GINConv": (inner,), "GMMConv": (2, 3, 2, 2)}.get(name, (2, 3))
        return getattr(library, name)(*given).double()

    theirs, ours = made(stock), made(pyg)
    ours.load_state_dict(theirs.state_dict())
    for nodes in (5, 16, 64):
        x = torch.randn(nodes, 2, dtype=torch.float64)
        x[4] = number  # has no edges
        edges = torch.tensor([[0, 1, 2], [1, 2, 0]])
        more = {"edge_attr": torch.rand(3, 2, dtype=torch.float64)} if name == "GMMConv" else {}
        found, right = ours(x, edges, **more), theirs(x, edges, **more)
        assert torch.equal(found.isfinite(), right.isfinite())
        torch.testing.assert_close(found, right, equal_nan=True)


def test_rows_are_computed_a_few_at_a_time_where_memory_is_short(monkeypatch):
    from edgewise.planning import planner

    graph = ew.Causal(96)
    inputs = [each.requires_grad_() for each in _qkv(1, 2, 96, 8, dtype=torch.float64)]
    with torch.no_grad():
        inputs[2][0, 0, 50] = NAN
    right = ew.attention(*inputs, graph, backend="reference")
    needs = {
        backend: planner.choose(
            ew.plan(*inputs, graph, backend=backend).problem, backend
        ).plan.memory
        for backend in ("dense", "native", "gather")
    }
    least = min(needs["native"], needs["gather"])
    monkeypatch.setattr(planner, "memory_budget", lambda *_: max(least // 3, needs["dense"]))
    ew_plan = ew.plan(*inputs, graph, backend="auto")
    out = ew_plan(*inputs)
    push = torch.randn_like(out)
    _same_numbers("out", out, right, torch.float64)
    for found, expected in zip(
        torch.autograd.grad(out, inputs, push),
        torch.autograd.grad(right, inputs, push),
        strict=True,
    ):
        _same_numbers("gradient", found, expected, torch.float64)


def test_explain_says_what_happens_to_a_nan():
    query = torch.empty(1, 4, 64, 16)
    assert "computed again, exactly" in str(ew.explain(query, query, query, ew.Causal(64)))
    assert "not finite" not in str(ew.explain(query, query, query, ew.Complete(64)))


# --- Wrong inputs -----------------------------------------------------------------------------


def _check_cure(case):
    wrong, words, cured = case
    wrong = [make() if callable(make) else make for make in wrong]
    graph = ew.Causal(9)
    with pytest.raises(ew.EdgewiseError, match=words):
        ew.attention(*wrong, graph)
    if cured is not None:
        assert torch.isfinite(ew.attention(*cured(*wrong), graph)).all()


_Q = torch.randn(1, 2, 9, 4)
_C = torch.randn(1, 2, 9, 4, dtype=torch.complex64)
_T = _Q.transpose(-3, -2).contiguous()


def _jagged():
    return torch.nested.nested_tensor([torch.randn(2, 4), torch.randn(7, 4)], layout=torch.jagged)


def _each(change):
    return lambda *tensors: [change(tensor) for tensor in tensors]


CURES = {
    "complex": (
        [_C] * 3,
        "view_as_real",
        _each(lambda t: torch.view_as_real(t.resolve_conj()).flatten(-2)),
    ),
    "complex, conjugate view": (
        [_C.conj()] * 3,
        "view_as_real",
        _each(lambda t: torch.view_as_real(t.resolve_conj()).flatten(-2)),
    ),
    "nested": ([_jagged] * 3, "nested.*Blocks", None),
    "sparse": ([_Q.to_sparse(), _Q, _Q], "to_dense", _each(lambda t: t.to_dense())),
    "no heads": ([_Q[:, :0]] * 3, "query has 0 heads", None),
    "no heads in key": ([_Q, _Q[:, :0], _Q[:, :0]], "key has 0 heads", None),
    "no channels": ([_Q[..., :0]] * 3, "head_dim 0", None),
    "heads behind nodes": ([_T] * 3, r"transpose\(-3, -2\)", _each(lambda t: t.transpose(-3, -2))),
    "heads of value behind nodes": ([_Q, _Q, _T], r"value.transpose\(-3, -2\)", None),
    "two dtypes": ([_Q, _Q.double(), _Q], r"key.to\(query\)", _each(lambda t: t.to(_Q))),
    "whole numbers": ([_Q.long()] * 3, r"float\(\)", _each(lambda t: t.float())),
    "numpy": ([_Q.numpy()] * 3, r"as_tensor\(query\)", _each(torch.as_tensor)),
    "a list": ([_Q.tolist()] * 3, r"as_tensor\(query\)", _each(torch.as_tensor)),
    "nothing": ([None, _Q, _Q], "query must be a tensor", None),
}


def _check_nested_blocks(_):
    """The cure of a nested tensor, followed."""
    parts = [torch.randn(2, 4), torch.randn(7, 4)]
    joined = torch.cat(parts)[None]
    out = ew.attention(joined, joined, joined, ew.Blocks([2, 7]))
    for part, found in zip(parts, out.split([2, 7], -2), strict=True):
        each = part[None]
        torch.testing.assert_close(ew.attention(each, each, each, ew.Complete(len(part))), found)


def _check_refused_without_numbers(device):
    """A call without numbers is planned, and refused, as any other."""
    shape = (1, 2, 9, 4)
    if device == "fake":
        with FakeTensorMode() as mode:
            like = mode.from_tensor(torch.zeros(shape))
    else:
        like = torch.empty(shape, device=device)
    with pytest.raises(ew.PlanError, match="no such"):
        ew.attention(like, like, like, ew.Causal(9), backend="no such name")
    with pytest.raises(ew.BackendRefused, match="banded"):
        ew.attention(like, like, like, ew.EdgeList([[0], [1]], num_nodes=9), backend="banded")


def _check_batched_gradients(graph):
    """Gradients of many outputs at once, by torch's older vmap."""
    q, k, v = (t.double().requires_grad_() for t in _qkv(2, graph.num_targets, 4))
    pushes = torch.randn(3, 2, graph.num_targets, 4, dtype=torch.float64)
    for _ in range(2):  # the second call is a shortcut
        out = ew.attention(q, k, v, graph)
        many = torch.autograd.grad(out, (q, k, v), pushes, is_grads_batched=True, retain_graph=True)
        for i, push in enumerate(pushes):
            for found, right in zip(
                many, torch.autograd.grad(out, (q, k, v), push, retain_graph=True), strict=True
            ):
                torch.testing.assert_close(found[i], right)


def _check_freed(graph):
    """Large tensors are not kept once the backward pass has used them."""
    leaves = [t.requires_grad_() for t in _qkv(4, graph.num_targets, 64)]
    tensors = [leaf * 1 for leaf in leaves]
    assert tensors[0].numel() > 1 << 20
    kept = [weakref.ref(t) for t in tensors]
    loss = ew.attention(*tensors, graph).sum()
    del tensors
    loss.backward()
    assert [each() for each in kept] == [None] * 3


KINDS = (
    Kind(
        "a backend that refuses is accepted where there are no numbers",
        _check_refused_without_numbers,
        {"meta": "meta", "fake": "fake"},
    ),
    Kind(
        "a check of gradients that come in batches",
        _check_batched_gradients,
        {
            str(graph): graph
            for graph in (
                *(ew.Causal(12), ew.Complete(9), ew.Window(30, left=4, right=2)),
                *(ew.Causal(300), ew.Window(2000, left=40, right=40)),
                ew.Window(2000, left=40, right=40) | ew.Hubs(2000, [0]),
            )
        },
    ),
    Kind(
        "a check that keeps tensors alive",
        _check_freed,
        {"causal": ew.Causal(5000), "window": ew.Window(5000, left=64, right=64)},
    ),
    Kind(
        "scale of zero or less",
        _check_reported,
        {"0": (0.0, _mean_so_far), "-0.5": (-0.5, _with_minus_query)},
    ),
    Kind("a scale on every way to compute", _check_scale, dict(_scale_cases())),
    Kind("a number that is none", _check_refused, REFUSED),
    Kind(
        "dropout",
        _check_dropout,
        {str(d): d for d in (0, 0.0, 0.5, np.float32(0.25), 0.999, 1 - 1e-12)},
    ),
    Kind(
        "a device without numbers",
        _check_device,
        {f"meta, {b}": ("meta", b) for b in ("auto", "gather", "dense", "reference")},
    ),
    Kind(
        "a device that is not there",
        _check_fake_device,
        {
            f"{device}, {backend}": (device, backend)
            for device in ("cpu", "cuda", "mps", "xpu")
            for backend in ("auto", "gather")
        },
    ),
    Kind(
        "a model on meta",
        _check_card_on_meta,
        {
            f"{card.name}{', built there' * there}": (card, there)
            for card in CARDS
            for there in (False, True)
        },
    ),
    Kind(
        "a NaN that nobody reads, in a drop-in",
        _check_drop_in,
        {
            f"{name}, {number}": (name, number)
            for name in (
                *("GCNConv", "SAGEConv", "GINConv", "GATConv", "GATv2Conv"),
                *("TransformerConv", "GMMConv"),
            )
            for number in (NAN, INF)
        },
    ),
    Kind(
        "a NaN that nobody reads",
        _check_nan_law,
        {str(seed): seed for seed in range(150)},
    ),
    Kind("a wrong input", _check_cure, CURES),
    Kind("a nested tensor", _check_nested_blocks, {"as blocks": None}),
)


@each_case(KINDS)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_no_fault(check, case):
    check(case)

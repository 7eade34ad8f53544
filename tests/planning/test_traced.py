"""Plans of several parts under compilers and transforms."""

import pytest
import torch

import edgewise as ew

N = 24
GRAPHS = {
    "union": ew.Window(N, left=2, right=1) | ew.Hubs(N, [0, 9]),
    "hubs": ew.Hubs(N, [3]),
    "causal": ew.Causal(N),
    "renamed": ew.permute(
        ew.Causal(N), torch.randperm(N, generator=torch.Generator().manual_seed(1))
    ),
    "side by side": ew.disjoint_union([ew.Causal(10), ew.Window(14, left=1, right=1)]),
}


def tensors(seed=0):
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(2, N, 4, generator=random, requires_grad=True) for _ in range(3)]


@pytest.fixture
def parts_only(monkeypatch):
    """Take the first plan of several parts, however dear."""
    from edgewise.planning import planner

    real = planner._all

    def parts_first(*arguments):
        plans, refused = real(*arguments)
        return sorted(plans, key=lambda plan: "merge" not in plan.name), refused

    monkeypatch.setattr(planner, "_all", parts_first)


def call(graph, q, k, v):
    state = ew.attention_state(q, k, v, graph)
    return state.out, torch.where(torch.isinf(state.lse), 0.0, state.lse)


def expected(graph, q, k, v):
    state = ew.attention_state(q, k, v, graph, backend="reference")
    return state.out, torch.where(torch.isinf(state.lse), 0.0, state.lse)


def check(actual, wanted, leaves, other):
    push = [torch.randn_like(t) for t in actual]
    grads = torch.autograd.grad(actual, leaves, push)
    reference = torch.autograd.grad(wanted, other, push)
    for a, b in (*zip(actual, wanted, strict=True), *zip(grads, reference, strict=True)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("parts_only")
@pytest.mark.parametrize("name", GRAPHS)
def test_compiled_in_one_graph(name):
    graph, leaves, other = GRAPHS[name], tensors(), tensors()
    graph.__dict__.pop("_memory", None)
    torch._dynamo.reset()
    actual = torch.compile(call, fullgraph=True, backend="aot_eager")(graph, *leaves)
    check(actual, expected(graph, *other), leaves, other)


@pytest.mark.usefixtures("parts_only")
@pytest.mark.parametrize("name", GRAPHS)
def test_gradients_by_transform(name):
    graph, (q, k, v) = GRAPHS[name], (t.detach() for t in tensors())
    graph.__dict__.pop("_memory", None)
    ew.graphs.cache._RECENT.clear()

    def loss(which, query):
        return sum(t.sin().sum() for t in which(graph, query, k, v))

    actual = torch.func.grad(lambda query: loss(call, query))(q)
    wanted = torch.func.grad(lambda query: loss(expected, query))(q)
    torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("parts_only")
def test_they_run_in_parts():
    names = {name: ew.plan(*tensors(), graph).name for name, graph in GRAPHS.items()}
    assert [name for name, plan in names.items() if "merge" not in plan] == ["causal"]


@pytest.mark.usefixtures("parts_only")
@pytest.mark.parametrize("name", GRAPHS)
def test_twice_the_same_bits(name):
    graph, leaves = GRAPHS[name], tensors()
    graph.__dict__.pop("_memory", None)
    runs = []
    for _ in range(2):
        actual = call(graph, *leaves)
        runs.append([*actual, *torch.autograd.grad(sum(t.sum() for t in actual), leaves)])
    assert all(a.equal(b) for a, b in zip(*runs, strict=True))


@pytest.mark.usefixtures("parts_only")
def test_nan_reaches_only_its_readers_through_hubs():
    """A NaN in a row that another part answers for does not leak into the merge."""
    graph = ew.Hubs(N, [3])
    q, k, v = (t.detach() for t in tensors())
    q[:, 3] = torch.nan
    out = ew.attention(q, k, v, graph)
    assert out[:, 3].isnan().all()
    kept = [i for i in range(N) if i != 3]
    assert not out[:, kept].isnan().any()

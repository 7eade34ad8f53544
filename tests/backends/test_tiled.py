"""The tiled backends: the numbers of the reference, whatever the graph and however it is called."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import edgewise as ew
from edgewise.ops import Inputs
from tests.backends.tiled_calls import assert_all_close, draw, everything, gradients_of
from tests.backends.tiled_graphs import GRAPHS
from tests.pairwise import crossed, first_of

CALLS = {
    "plain": {},
    "grouped": {"heads": 4, "kv_heads": 2, "lead": (2,)},
    "one key head": {"heads": 3, "kv_heads": 1, "value_dim": 11},
    "other value size": {"value_dim": 5},
    "other key size": {"dim": 3, "lead": (1, 2)},
    "one channel": {"dim": 1, "value_dim": 2},
    "40 channels": {"dim": 40, "value_dim": 41},
    "node-major": {"node_major": True, "lead": (3,)},
    "strided": {"strided": True},
}
TOLERANCES = {
    torch.float64: 1e-10,
    torch.float32: 3e-5,
    torch.bfloat16: 6e-2,
    torch.float16: 1e-2,
}
ON_GRAPHS = [
    pytest.param(backend, *row.values, id=f"{backend}-{row.id}", marks=row.marks)
    for backend, graphs in GRAPHS.items()
    for row in crossed(graphs, CALLS, strength=1)
]
# Of each backend: a graph with pieces of one size, and one with awkward ends.
TWO = [
    ("banded", "both sides"),
    ("banded", "dilated"),
    ("ragged", "molecules"),
    ("ragged", "mixed"),
    ("blocked", "communities"),
    ("blocked", "complete blocks off the grid"),
]
LARGE = [("banded", "both sides"), ("ragged", "large"), ("blocked", "communities and strays")]
# Torch's kernel masks before it scales.
SCALES = [-0.7, 0.0, 1e-45]


@pytest.mark.parametrize(("backend", "name", "call"), ON_GRAPHS)
def test_the_same_numbers(backend, name, call):
    graph = GRAPHS[backend][name]
    tensors = draw(graph, **CALLS[call], dtype=torch.float64)
    expected = everything("reference", graph, tensors)
    for dtype, tolerance in TOLERANCES.items():
        rounded = [t.detach().to(dtype).double() for t in tensors]
        right = expected if dtype.itemsize > 2 else everything("reference", graph, rounded)
        assert_all_close(everything(backend, graph, tensors, dtype), right, tolerance)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("backend", "name"), TWO)
def test_any_scale(backend, name, scale):
    graph = GRAPHS[backend][name]
    q, k, v = draw(graph, dtype=torch.float64)
    score = ew.Dot(scale)
    actual, wanted = (
        torch.autograd.grad(
            ew.attention(q, k, v, graph, score=score, backend=each).square().sum(), (q, k, v)
        )
        for each in (backend, "reference")
    )
    assert_all_close(actual, wanted, 1e-10)


@pytest.mark.parametrize(("backend", "name"), TWO)
def test_gradients_from_a_global_state(backend, name):
    """As part of a larger graph: the state of the whole, the gradients of this part."""
    graph = GRAPHS[backend][name]
    other = ew.Complete(graph.num_targets, 7)
    q, k, v = draw(graph, dtype=torch.float64)
    more_key, more_value = torch.randn(2, 7, 8).double(), torch.randn(2, 7, 8).double()
    state = ew.merge(
        [
            ew.attention_state(q, k, v, graph, backend="reference"),
            ew.attention_state(q, more_key, more_value, other, backend="reference"),
        ]
    )
    grads = gradients_of(state)
    expected = torch.autograd.grad((state.out, state.lse), (k, v), grads)
    plan = ew.plan(q, k, v, graph, backend=backend)
    whole = ew.AttentionState(state.out.detach(), state.lse.detach())
    actual = plan.prepared.backward(Inputs(q, k, v), whole, *grads)
    assert_all_close([actual["key"], actual["value"]], expected, 1e-10)


@pytest.mark.parametrize(("backend", "name"), TWO)
def test_transforms_compute_the_same(backend, name):
    graph = GRAPHS[backend][name]
    q, k, v = (t.detach() for t in draw(graph, 4, 2, lead=(2,), dtype=torch.float64))

    def state(q, k, v):
        actual = ew.attention_state(q, k, v, graph, backend=backend)
        return actual.out, actual.lse

    expected = state(q, k, v)
    assert_all_close(torch.vmap(state)(q, k, v), expected, 1e-12)
    actual = torch.func.grad(lambda q: state(q, k, v)[0].square().sum())(q)
    again = q.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(state(again, k, v)[0].square().sum(), again)
    assert_all_close([actual], [wanted], 1e-10)


@pytest.mark.parametrize(
    ("backend", "name"), [(backend, name) for backend, graphs in GRAPHS.items() for name in graphs]
)
def test_traced_pieces_are_those_of_eager_code(backend, name):
    graph = GRAPHS[backend][name]
    q, k, v = (t.detach() for t in draw(graph, lead=(2,), dtype=torch.float64))
    expected = ew.attention_state(q, k, v, graph, backend="reference")

    def state(q, k, v):
        actual = ew.attention_state(q, k, v, graph, backend=backend)
        return actual.out, actual.lse

    actual = torch.vmap(state)(q, k, v)
    assert_all_close(actual, (expected.out, expected.lse), 1e-11)


@pytest.mark.parametrize(("backend", "name"), TWO)
def test_tangents_are_right(backend, name):
    graph = GRAPHS[backend][name]
    q, k, v = (t.detach() for t in draw(graph, dim=4, value_dim=4, dtype=torch.float64))

    def out(backend):
        return lambda q: ew.attention(q, k, v, graph, backend=backend)

    actual, wanted = (torch.func.jvp(out(b), (q,), (q.sin(),))[1] for b in (backend, "reference"))
    torch.testing.assert_close(actual, wanted)
    with torch.autograd.forward_ad.dual_level():
        dual = out(backend)(torch.autograd.forward_ad.make_dual(q, q.sin()))
        torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(dual).tangent, wanted)


@pytest.mark.parametrize(("backend", "name"), TWO)
def test_a_second_derivative(backend, name):
    graph = GRAPHS[backend][name]
    q, k, v = draw(graph, dtype=torch.float64)
    actual = []
    for each in (backend, "reference"):
        state = ew.attention_state(q, k, v, graph, backend=each)
        loss = state.out.square().sum() + state.lse.clamp(min=-9).square().sum()
        (once,) = torch.autograd.grad(loss, q, create_graph=True)
        actual.append(torch.autograd.grad(once.square().sum(), (q, k, v)))
    assert_all_close(*actual, 1e-9)


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        pytest.param(backend, *name.values, marks=name.marks)
        for backend, names in {
            "banded": ["wide rectangle", "both sides", "dilated"],
            "ragged": ["mixed small", "molecules"],
            "blocked": ["tall: isolated targets", "communities", "no edges"],
        }.items()
        for name in first_of(1, names)
    ],
)
def test_compiled(backend, name):
    graph = GRAPHS[backend][name]
    tensors = draw(graph, lead=(2,))
    push = torch.randn(2, 2, graph.num_targets, 8)

    def out(q, k, v):
        state = ew.attention_state(q, k, v, graph, backend=backend)
        return state.out + state.lse.clamp(min=-9)[..., None]

    compiled = torch.compile(out, fullgraph=True)(*tensors)
    expected = out(*tensors)
    torch.testing.assert_close(compiled, expected, rtol=1e-4, atol=1e-5)
    options = {"allow_unused": True, "materialize_grads": True}
    actual, wanted = (
        torch.autograd.grad(each, tensors, push, **options) for each in (compiled, expected)
    )
    for result, exact in zip(actual, wanted, strict=True):
        torch.testing.assert_close(result, exact, rtol=1e-4, atol=1e-5)


# Torch's kernel rounds blocks of fewer than 32 rows by thread, so these graphs have larger ones.
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("backend", "name"), LARGE)
def test_the_same_bits_for_any_number_of_threads(backend, name, dtype):
    graph = GRAPHS[backend][name]
    tensors = draw(graph, heads=4, kv_heads=2, dim=16, value_dim=16)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5, 1):
            torch.set_num_threads(threads)
            results.append(everything(backend, graph, tensors, dtype))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize(("backend", "name"), LARGE)
def test_torch_calls_it_deterministic(backend, name):
    torch.use_deterministic_algorithms(True)
    try:
        everything(backend, GRAPHS[backend][name], draw(GRAPHS[backend][name]))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("backend", "graph"),
    [
        ("banded", ew.Window(333, left=17, right=4)),
        ("ragged", ew.Blocks([7, 19, 4, 18])),
        ("blocked", ew.permute(ew.Blocks([70, 90]), torch.arange(160).flip(0))),
    ],
    ids=str,
)
def test_a_first_call_in_another_mode_leaves_nothing_behind(backend, graph):
    tensors = draw(graph)
    expected = everything("gather", graph, tensors)
    with torch.inference_mode():
        ew.attention(*tensors, graph, backend=backend)
    with torch.device("meta"):
        ew.attention(*tensors, graph, backend=backend).sum().backward()
    assert_all_close(everything(backend, graph, tensors), expected, 1e-4)


@pytest.mark.parametrize("lead", [(0,), (2, 0)])
@pytest.mark.parametrize(("backend", "name"), TWO)
def test_an_empty_batch(backend, name, lead):
    graph = GRAPHS[backend][name]
    tensors = draw(graph, lead=lead, heads=4, kv_heads=2)
    actual, expected = (everything(each, graph, tensors) for each in (backend, "gather"))
    assert [t.shape for t in actual] == [t.shape for t in expected]


@pytest.mark.parametrize(("backend", "name"), TWO)
def test_expanded_tensors_are_read_as_they_are(backend, name):
    graph = GRAPHS[backend][name]
    q = torch.randn(graph.num_targets, 8).expand(4, -1, 8).requires_grad_()
    k = torch.randn(graph.num_sources, 8).expand(4, -1, 8)
    push = torch.randn(8).expand(4, graph.num_targets, 8)
    actual, wanted = (
        torch.autograd.grad(ew.attention(q, k, k, graph, backend=each), q, push)[0]
        for each in (backend, "reference")
    )
    torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("backend", "name"), TWO)
def test_gradients_are_only_computed_where_they_are_needed(backend, name):
    graph = GRAPHS[backend][name]
    q, k, v = draw(graph)
    state = ew.attention_state(q.detach(), k.detach(), v, graph, backend=backend)
    assert not state.lse.requires_grad
    state.out.sum().backward()
    assert v.grad is not None
    assert q.grad is None


@pytest.mark.parametrize(
    ("backend", "pieces"), [("banded", "tiles"), ("ragged", "blocks"), ("blocked", "tiles")]
)
def test_refusals(backend, pieces):
    q, causal = torch.randn(2, 8, 4), ew.Causal(8)
    edge_key = torch.zeros(1, 36, 4)
    refused = {
        "no score but Dot without a soft cap": {"score": ew.Dot(softcap=2.0)},
        f"{pieces} take no dense bias; leave it out": {"bias": ew.DenseBias(torch.zeros(2, 8, 8))},
        f"edge_key belongs to edges, not to {pieces}; leave it out": {"edge_key": edge_key},
        f"edge_value belongs to edges, not to {pieces}; leave it out": {"edge_value": edge_key},
        "set dropout=0": {"dropout": 0.1},
    }
    for reason, options in refused.items():
        with pytest.raises(ew.BackendRefused, match=reason):
            ew.attention(q, q, q, causal, backend=backend, **options)
    with pytest.raises(ew.BackendRefused, match="computes attention alone; use native or gather"):
        ew.aggregate(q, causal, backend=backend)
    with FakeTensorMode():
        far = torch.empty(2, 8, 4, device="cuda")
    with pytest.raises(ew.BackendRefused, match=f"{pieces} run on the CPU, not on cuda"):
        ew.attention(far, far, far, causal, backend=backend)


@pytest.mark.parametrize("backend", GRAPHS)
def test_every_reason_is_given_at_once(backend):
    q = torch.randn(2, 8, 4)
    copies = ew.EdgeList([[0, 0], [1, 1]], num_nodes=8)
    with pytest.raises(ew.BackendRefused) as refusal:
        ew.attention(q, q, q, copies, score=ew.Dot(softcap=2.0), dropout=0.1, backend=backend)
    assert "the graph" in str(refusal.value)
    assert "soft cap" in str(refusal.value)
    assert "set dropout=0" in str(refusal.value)

"""Every head dimension and every number of heads, however nodes and heads lie in memory."""

import pytest
import torch

import edgewise as ew
from tests.backends.native.backend import NATIVE
from tests.backends.native.cases import Case, assert_exact
from tests.backends.native.layouts import lay

DIMS = [
    *range(1, 21),
    24,
    31,
    32,
    33,
    40,
    48,
    63,
    64,
    65,
    80,
    96,
    100,
    127,
    128,
    129,
    200,
    255,
    256,
]
HEADS = [*range(1, 18), 24, 32, 33, 64]
STORAGE = {"head-major": "contiguous", "node-major": "node-major"}
T, S, E = 7, 9, 40


def graph():
    """Rows of zero to many edges, some twice, in no order."""
    pairs = torch.stack([torch.randint(S, (E,)), torch.randint(T - 1, (E,))])
    return ew.EdgeList(torch.cat([pairs, pairs[:, :3]], 1), num_targets=T, num_sources=S)


def case(score, heads, head_dim, value_dim, storage, *, kv_heads=None, batch=(2,)):
    draw = {
        "query": torch.randn(*batch, heads, T, head_dim),
        "key": torch.randn(*batch, kv_heads or heads, S, head_dim),
        "value": torch.randn(*batch, kv_heads or heads, S, value_dim),
    }
    tensors = {name: lay(t, STORAGE[storage]).requires_grad_() for name, t in draw.items()}
    if isinstance(score, ew.GATv2):
        tensors["vector"] = (torch.randn(heads, head_dim) * head_dim**-0.5).requires_grad_()
    push = lay(torch.randn(*batch, heads, T, value_dim), STORAGE[storage])
    pushes = {"out": push, "lse": torch.randn(*batch, heads, T)}
    return Case(graph(), tensors, score, sends=("out", "lse"), pushes=pushes)


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("dim", DIMS)
def test_every_head_dimension(dim, storage):
    for score in (ew.Dot(), ew.Dot(softcap=2.0), ew.GATv2(None)):
        assert_exact(case(score, 2, dim, dim, storage), NATIVE)
        assert_exact(case(score, 2, dim, 5, storage), NATIVE)
        assert_exact(case(score, 4, 5, dim, storage, kv_heads=2), NATIVE)
    assert_exact(case(ew.Additive(), 3, 1, dim, storage), NATIVE)


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("heads", HEADS)
def test_every_number_of_heads(heads, storage):
    for score in (ew.Dot(), ew.GATv2(None), ew.Additive()):
        dim = 1 if isinstance(score, ew.Additive) else 6
        assert_exact(case(score, heads, dim, 3, storage), NATIVE)
        assert_exact(case(score, heads, dim, 8, storage, kv_heads=1, batch=()), NATIVE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_head_dimension_in_other_dtypes(dtype):
    for dim in DIMS:
        one = case(ew.Dot(), 2, dim, dim, "node-major")
        tensors = {k: t.detach().to(dtype).requires_grad_() for k, t in one.tensors.items()}
        lse = one.pushes["lse"].to(torch.promote_types(dtype, torch.float32))
        pushes = {"out": one.pushes["out"].to(dtype), "lse": lse}
        assert_exact(Case(one.graph, tensors, sends=one.sends, pushes=pushes), NATIVE)


@pytest.mark.parametrize("batch", [(), (1,), (5,), (2, 3), (1, 1, 4), (0,), (2, 0)])
def test_batches(batch):
    one = case(ew.Dot(), 3, 4, 6, "head-major", batch=batch)
    found = one.results(NATIVE)
    assert found["out"].shape == (*batch, 3, T, 6)
    assert found["lse"].shape == (*batch, 3, T)
    if 0 not in batch:
        assert_exact(one, NATIVE)


def test_a_plan_gives_the_same_bits():
    one = case(ew.GATv2(None), 2, 8, 8, "node-major")
    q, k, v = (one.tensors[name] for name in ("query", "key", "value"))
    score = ew.GATv2(one.tensors["vector"])
    plan = ew.plan(q, k, v, one.graph, score=score, backend=NATIVE)
    assert plan.name == NATIVE
    found = plan(q, k, v, score=score)
    assert torch.equal(found, one.outputs(NATIVE)["out"])


def test_the_inputs_stay_as_they_are():
    one = case(ew.Dot(), 2, 8, 8, "node-major")
    before = {name: t.detach().clone() for name, t in one.tensors.items()}
    pushes = {name: t.clone() for name, t in one.pushes.items()}
    one.results(NATIVE)
    assert all(torch.equal(one.tensors[name], t) for name, t in before.items())
    assert all(torch.equal(one.pushes[name], t) for name, t in pushes.items())


def test_a_tensor_that_is_changed_before_the_backward():
    """Autograd refuses, or the gradient is that of what was computed; never something else."""
    one = case(ew.Dot(), 2, 8, 8, "node-major")
    q, k, v = (
        one.tensors[name].detach().clone().requires_grad_() for name in ("query", "key", "value")
    )
    (expected,) = torch.autograd.grad(ew.attention(q, k, v, one.graph, backend=NATIVE).sum(), q)
    changed = v.clone()
    out = ew.attention(q, k, changed, one.graph, backend=NATIVE)
    changed.add_(1.0)
    try:
        found = torch.autograd.grad(out.sum(), q)[0]
    except RuntimeError as error:
        found, said = None, str(error)
    if found is None:
        assert "modified by an inplace operation" in said
    else:
        torch.testing.assert_close(found, expected)

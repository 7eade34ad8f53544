"""Aggregation: every backend against the reference and against a literal loop."""

import pytest
import torch

import edgewise as ew
from edgewise.testing import GENERAL, GRAPHS

CASES = [
    (backend, reduce)
    for backend in GENERAL
    for reduce in ("sum", "mean", "max")
    if (backend, reduce) != ("dense", "max")
]
F64 = torch.float64


def literal(value, graph, reduce, weight):
    """The equation as a loop, one message at a time."""
    out = torch.zeros(*value.shape[:-2], graph.num_targets, value.shape[-1], dtype=value.dtype)
    actual = ew.edges(graph)
    for t in range(graph.num_targets):
        mine = (actual.target == t).nonzero().flatten().tolist()
        if not mine:
            continue
        messages = [value[..., actual.source[e], :] for e in mine]
        if weight is not None:
            messages = [weight[..., e, None] * m for e, m in zip(mine, messages, strict=True)]
        stacked = torch.stack(messages)
        out[..., t, :] = {"sum": stacked.sum, "mean": stacked.mean, "max": stacked.amax}[reduce](0)
    return out


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("backend", "reduce"), CASES)
def test_aggregate(backend, reduce, weighted):
    for name, graph in GRAPHS.items():
        for batch in ((), (2,), (2, 3)):
            value = torch.randn(*batch, graph.num_sources, 3, dtype=F64, requires_grad=True)
            weight = None
            if weighted:
                lead = batch[-1:]
                weight = torch.randn(*lead, ew.edges(graph).num_edges, dtype=F64)
                weight.requires_grad_()
            out = ew.aggregate(value, graph, reduce, weight=weight, backend=backend)
            expected = literal(value, graph, reduce, weight)
            torch.testing.assert_close(out, expected, rtol=0, atol=1e-12, msg=name)
            leaves = [value] + ([weight] if weighted else [])
            grad_out = torch.randn_like(out)
            again = ew.aggregate(value, graph, reduce, weight=weight, backend="reference")
            for a, b in zip(
                torch.autograd.grad(out, leaves, grad_out),
                torch.autograd.grad(again, leaves, grad_out),
                strict=True,
            ):
                torch.testing.assert_close(a, b, rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize(("backend", "reduce"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_accumulates_in_float32(backend, reduce, dtype):
    graph = ew.Complete(2, 3000)
    value = torch.full((3000, 1), 1.001, dtype=dtype)
    out = ew.aggregate(value, graph, reduce, backend=backend)
    assert out.dtype == dtype
    expected = value.double().sum() if reduce == "sum" else value[0].double()
    torch.testing.assert_close(out.double(), expected.expand(2, 1).double(), rtol=5e-3, atol=0)


@pytest.mark.parametrize(("backend", "reduce"), CASES)
def test_gradcheck(backend, reduce):
    graph = GRAPHS["edge list, copies"]
    value = torch.randn(12, 2, dtype=F64, requires_grad=True)
    weight = torch.rand(70, dtype=F64).add(0.5).requires_grad_()

    def out(value, weight):
        return ew.aggregate(value, graph, reduce, weight=weight, backend=backend)

    assert torch.autograd.gradcheck(out, (value, weight), fast_mode=True)
    assert torch.autograd.gradgradcheck(out, (value, weight), fast_mode=True)


def test_dense_refuses_a_maximum():
    with pytest.raises(ew.BackendRefused, match="a maximum over sources is not a matrix product"):
        ew.aggregate(torch.randn(4, 2), ew.Complete(4), "max", backend="dense")


def test_of_equal_maxima_the_first_receives_the_gradient():
    for backend in ("reference", "gather"):
        value = torch.ones(3, 1, requires_grad=True)
        ew.aggregate(value, ew.Complete(1, 3), "max", backend=backend).sum().backward()
        assert value.grad.flatten().tolist() == [1.0, 0.0, 0.0]

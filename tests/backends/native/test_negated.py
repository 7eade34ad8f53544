"""Tensors whose memory holds other numbers, because torch negates them, or none at all."""

import pytest
import torch

import edgewise as ew
from tests.backends.native.backend import NATIVE
from tests.backends.native.cases import Case, assert_exact
from tests.backends.native.fuzzing import Aggregation

T, S, E, H, B = 5, 6, 30, 2, 2
SCORES = {"dot": ew.Dot(), "additive": ew.Additive(), "gatv2": ew.GATv2(None)}


def negated(*shape):
    """What the imaginary part of a conjugate is."""
    tensor = torch._neg_view(torch.randn(shape))
    assert tensor.is_neg()
    return tensor.requires_grad_()


def graph():
    pairs = torch.stack([torch.randint(S, (E,)), torch.randint(T, (E,))])
    return ew.EdgeList(pairs, num_targets=T, num_sources=S)


@pytest.mark.parametrize("width", [1, 5, 8])
@pytest.mark.parametrize("name", SCORES)
def test_attention(name, width):
    D = 1 if name == "additive" else width
    tensors = {
        "query": negated(B, H, T, D),
        "key": negated(B, H, S, D),
        "value": negated(B, H, S, width),
        "bias": negated(1, H, E),
        "edge_key": negated(B, 1, E, D),
        "edge_value": negated(B, H, E, width),
    }
    if name == "gatv2":
        tensors["vector"] = negated(H, D)
    pushes = {"out": negated(B, H, T, width).detach(), "lse": negated(B, H, T).detach()}
    case = Case(graph(), tensors, SCORES[name], sends=("out", "lse"), pushes=pushes)
    assert_exact(case, NATIVE)


@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
@pytest.mark.parametrize("channels", [5, 8])
def test_aggregate(channels, reduce):
    tensors = {"value": negated(B, S, channels), "weight": negated(B, E)}
    push = negated(B, T, channels).detach()
    Aggregation(graph(), tensors, reduce, push, "").assert_exact(NATIVE)


def test_a_bias_that_is_the_imaginary_part_of_a_conjugate():
    bias = torch.randn(H, E, dtype=torch.complex64).conj().imag
    query, key = torch.randn(H, T, 8), torch.randn(H, S, 8)
    found, expected = (
        ew.attention(query, key, key, graph, bias=ew.EdgeBias(bias), backend=name)
        for graph in [graph()]
        for name in (NATIVE, "reference")
    )
    torch.testing.assert_close(found, expected)


def test_zeros_without_memory():
    query, key, value = (torch.randn(H, n, 8) for n in (T, S, S))
    zeros = torch._efficientzerotensor(query.shape)
    found = ew.attention(zeros, key, value, graph(), backend=NATIVE)
    assert found.shape == (H, T, 8)
    out = ew.attention(query.requires_grad_(), key, value, graph(), backend=NATIVE)
    (grad,) = torch.autograd.grad(out, query, torch._efficientzerotensor(out.shape))
    assert not grad.any()

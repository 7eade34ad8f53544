"""Aggregation: sums, means and maxima, weighted and not, with their gradients."""

import itertools

import pytest
import torch

import edgewise as ew
from tests.backends.native.backend import NATIVE
from tests.backends.native.fuzzing import Aggregation
from tests.backends.native.layouts import lay

REDUCES = ("sum", "mean", "max")
CHANNELS = [*range(1, 20), 24, 31, 33, 47, 63, 64, 65, 77, 99, 127, 129, 151, 199, 200]
WEIGHTS = {"none": None, "shared": (1,), "own": (2,), "left out": ()}
T, S, E = 8, 11, 50


def graph():
    """Targets 0 and 7 have no source; some edges occur twice."""
    pairs = torch.stack([torch.randint(S, (E,)), torch.randint(1, T - 1, (E,))])
    pairs[:, E - 4 :] = pairs[:, :4]
    return ew.EdgeList(pairs, num_targets=T, num_sources=S)


def aggregation(reduce, channels, *, batch=(2,), weight=None, layout="contiguous"):
    tensors = {"value": lay(torch.randn(*batch, S, channels), layout).requires_grad_()}
    if weight is not None:
        tensors["weight"] = torch.randn(*weight, E, requires_grad=True)
    push = torch.randn(*batch, T, channels)
    return Aggregation(graph(), tensors, reduce, push, "")


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_every_number_of_channels(channels, reduce):
    for weight, layout in itertools.product(WEIGHTS.values(), ("contiguous", "node-major")):
        one = aggregation(reduce, channels, weight=weight, layout=layout)
        one.assert_exact(NATIVE)


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3)])
def test_batches(batch, reduce):
    leads = [None, (), *([(1,), batch[-1:], batch] if batch else [(1,)])]
    for weight in leads:
        one = aggregation(reduce, 5, batch=batch, weight=weight)
        one.assert_exact(NATIVE)


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_row_without_edges_is_zero(reduce, weighted):
    value = torch.randn(2, S, 3, requires_grad=True)
    weight = torch.randn(E, requires_grad=True) if weighted else None
    found = ew.aggregate(value, graph(), reduce, weight=weight, backend=NATIVE)
    assert not found[:, [0, 7]].any()
    (grad,) = torch.autograd.grad(found[:, [0, 7]].sum(), value)
    assert not grad.any()
    empty = ew.EdgeList(torch.empty(2, 0, dtype=torch.int64), num_targets=T, num_sources=S)
    found = ew.aggregate(value, empty, reduce, backend=NATIVE)
    assert found.shape == (2, T, 3)
    assert not found.any()


def test_of_equal_maxima_the_first_source_receives_the_gradient():
    order = ew.EdgeList([[5, 2, 9, 2], [0, 0, 0, 0]], num_targets=1, num_sources=10)
    value = torch.zeros(10, 3)
    value[[2, 5, 9]] = 4.0
    value[9, 1] = 7.0
    value.requires_grad_()
    ew.aggregate(value, order, "max", backend=NATIVE).sum().backward()
    expected = torch.zeros(10, 3)
    expected[2, [0, 2]] = 1.0
    expected[9, 1] = 1.0
    assert torch.equal(value.grad, expected)


def test_of_equal_weighted_maxima_the_first_copy_receives_the_gradient():
    copies = ew.EdgeList([[3, 1, 1, 1], [0, 0, 0, 0]], num_targets=1, num_sources=4)
    value = torch.tensor([[0.0], [2.0], [0.0], [3.0]], requires_grad=True)
    weight = torch.tensor([2.0, 1.0, 3.0, 3.0], requires_grad=True)
    ew.aggregate(value, copies, "max", weight=weight, backend=NATIVE).sum().backward()
    assert weight.grad.tolist() == [0.0, 0.0, 2.0, 0.0]
    assert value.grad.flatten().tolist() == [0.0, 3.0, 0.0, 0.0]


def test_the_maximum_of_negative_numbers_and_infinities():
    one = ew.EdgeList([[0, 1, 2, 3], [0, 0, 1, 2]], num_targets=4, num_sources=4)
    value = torch.tensor([[-2.0], [-3.0], [-torch.inf], [torch.inf]])
    found = ew.aggregate(value, one, "max", backend=NATIVE)
    assert found.flatten().tolist() == [-2.0, -torch.inf, torch.inf, 0.0]


def test_the_mean_divides_by_the_number_of_edges():
    copies = ew.EdgeList([[0, 0, 1], [0, 0, 0]], num_targets=1, num_sources=2)
    value, weight = torch.tensor([[6.0], [3.0]]), torch.tensor([1.0, 2.0, 4.0])
    assert ew.aggregate(value, copies, "mean", backend=NATIVE).item() == 5.0
    assert ew.aggregate(value, copies, "mean", weight=weight, backend=NATIVE).item() == 10.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("reduce", REDUCES)
def test_low_precision_adds_up_in_float32(reduce, dtype):
    many = ew.Complete(2, 3000)
    value = torch.full((3000, 1), 1.001, dtype=dtype, requires_grad=True)
    weight = torch.ones(6000, dtype=dtype, requires_grad=True)
    found = ew.aggregate(value, many, reduce, weight=weight, backend=NATIVE)
    expected = value.double().sum() if reduce == "sum" else value[0].double()
    torch.testing.assert_close(found.double(), expected.expand(2, 1), rtol=5e-3, atol=0)
    grads = torch.autograd.grad(found.sum(), (value, weight))
    assert [grad.dtype for grad in grads] == [dtype, dtype]


def test_which_tensors_require_a_gradient():
    one, value, weight = graph(), torch.randn(S, 3), torch.randn(E)
    for needs in itertools.product([False, True], repeat=2):
        tensors = {
            "value": value.clone().requires_grad_(needs[0]),
            "weight": weight.clone().requires_grad_(needs[1]),
        }
        for reduce in REDUCES:
            Aggregation(one, tensors, reduce, torch.randn(T, 3), "").assert_exact(NATIVE)

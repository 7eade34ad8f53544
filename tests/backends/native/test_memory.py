"""What large tensors cost beside their numbers."""

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef

import edgewise as ew
from edgewise.backends.native import functions, kernels, storage
from tests.backends.native.backend import NATIVE

H, D = 4, 16


@pytest.fixture
def large():
    """A graph whose output is large, and what attention reads on it."""
    num_nodes = storage.LARGE // (4 * H * D) + 7
    graph = ew.Window(num_nodes, left=1, right=1)
    q, k, v, push = (torch.randn(1, H, num_nodes, D) for _ in range(4))
    return graph, [t.requires_grad_() for t in (q, k, v)], push


def test_the_output_is_freed_before_gradients_fill_memory(large, monkeypatch):
    graph, tensors, push = large
    freed = []

    def watched(*args, **options):
        state = next(arg for arg in args if isinstance(arg, list))
        output = StorageWeakRef(state[0].untyped_storage())
        real = kernels.library()

        class Library:
            advise = staticmethod(real.advise)
            statistics = staticmethod(real.statistics)

            @staticmethod
            def backward(record):
                freed.append(output.expired())
                return real.backward(record)

        with monkeypatch.context() as patch:
            patch.setattr(kernels, "library", Library)
            return kernels.attention_backward(*args, **options)

    monkeypatch.setattr(functions, "attention_backward", watched)
    (ew.attention(*tensors, graph, backend=NATIVE) * 1.0).backward(push)
    assert freed == [True]


def test_gradients_of_a_large_output(large):
    graph, tensors, push = large
    out = ew.attention(*tensors, graph, backend=NATIVE)
    once = torch.autograd.grad(out, tensors, push, retain_graph=True)
    again = torch.autograd.grad(out, tensors, push)
    expected = torch.autograd.grad(ew.attention(*tensors, graph, backend="gather"), tensors, push)
    for first, second, right in zip(once, again, expected, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, right, rtol=1e-4, atol=1e-5)

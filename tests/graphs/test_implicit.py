"""A graph of a million nodes is a few numbers: nothing of its size is ever built."""

import tracemalloc
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import edgewise as ew
from edgewise.graphs import graph_from

N = 10**6
MOST = 2**20  # bytes

IMPLICIT = {
    "complete": lambda: ew.Complete(N),
    "causal": lambda: ew.Causal(N, 2 * N),
    "window": lambda: ew.Window(N, left=128, right=128),
    "longformer": lambda: ew.Window(N, left=128, right=128) | ew.Hubs(N, [0]),
    "bigbird": lambda: (
        ew.Window(N, left=64, right=64) | ew.Hubs(N, [0, 1]) | ew.RandomRegular(N, degree=4)
    ),
    "dilated": lambda: ew.Dilated(N, left=N, right=N, dilation=1),
    "prefix": lambda: ew.PrefixCausal(N, prefix=N // 2),
    "self-loops": lambda: ew.SelfLoops(N),
    "grid": lambda: ew.Grid((1000, 1000), radius=7),
    "grid, far": lambda: ew.Grid((N,), radius=N // 3),
    "grid, periodic": lambda: ew.Grid((1000, 1000), radius=1000, periodic=True),
    "random regular": lambda: ew.RandomRegular(N, degree=6),
    "algebra": lambda: ew.Complete(N) - ew.reverse(ew.Causal(N)) & ew.Hubs(N, [5]),
    "receptive field": lambda: ew.receptive_field(ew.Window(N, left=3, right=0), 12),
    "composition": lambda: ew.receptive_field(ew.Hubs(N, [0]), 3),
    "packed documents": lambda: ew.disjoint_union([ew.Causal(N), ew.Complete(N), ew.Causal(3)]),
}


class _Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation returns."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.bytes = max(self.bytes, tensor.numel() * tensor.element_size())
        return out


@pytest.fixture(autouse=True)
def _torch_has_imported_what_it_wants():
    with _Largest():
        ew.Complete(2).contains(torch.arange(2)[:, None], torch.arange(2))


@contextmanager
def small():
    """At most `MOST` bytes in Python and NumPy, and in any tensor."""
    tracemalloc.start()
    try:
        with _Largest() as largest:
            yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST, f"{peak:,} bytes in Python"
    assert largest.bytes < MOST, f"a tensor of {largest.bytes:,} bytes"


@pytest.mark.parametrize("name", IMPLICIT)
def test_a_million_nodes_are_a_few_numbers(name):
    with small():
        graph = IMPLICIT[name]()
        facts = graph.facts()
        assert facts.num_targets >= N
        assert len(repr(graph)) < 200 or name == "composition"
        assert graph == IMPLICIT[name]()
        assert hash(graph) == hash(IMPLICIT[name]())
        ew.reverse(graph).facts()
        spec = graph.spec()
        assert spec is None or graph_from(spec) == graph
        assert hash(facts) == hash(graph.facts())


# Hubs are looked up in a table of all nodes, and a composition asks every node in the middle.
LARGER = {"random regular", "bigbird", "longformer", "composition", "algebra"}


@pytest.mark.parametrize("name", [name for name in IMPLICIT if name not in LARGER])
def test_asking_about_a_few_pairs_costs_a_few_numbers(name):
    graph = IMPLICIT[name]()
    with small():
        assert graph.contains(torch.arange(5)[:, None], torch.arange(5)).shape == (5, 5)


def test_the_check_can_fail():
    with pytest.raises(AssertionError, match="a tensor of 8,000,000 bytes"), small():
        torch.arange(N)
    with pytest.raises(AssertionError, match="bytes in Python"), small():
        _ = list(range(N))
    with pytest.raises(AssertionError, match="a tensor of"), small():
        ew.lower(ew.SelfLoops(N), ew.Csr)

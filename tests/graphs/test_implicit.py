"""A graph of a million nodes is a few numbers: nothing of its size is allocated."""

import tracemalloc

import numpy as np
import pytest
import torch

import edgewise as ew
from edgewise.graphs import cache, graph_from
from edgewise.measure.memory import peak_memory

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


def footprint(work):
    """Peak bytes of Python and NumPy, or of torch."""
    cache._RECENT.clear()
    tensors = peak_memory(work, torch.device("cpu"))
    cache._RECENT.clear()
    tracemalloc.start()
    try:
        work()
        return max(tensors, tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", IMPLICIT)
def test_a_million_nodes_are_a_few_numbers(name):
    def build_print_compare_and_describe():
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

    assert footprint(build_print_compare_and_describe) < MOST


# Hubs are looked up in a table of all nodes, and a composition asks every node in the middle.
LARGER = {"random regular", "bigbird", "longformer", "composition", "algebra"}


@pytest.mark.parametrize("name", [name for name in IMPLICIT if name not in LARGER])
def test_testing_a_few_pairs_allocates_little(name):
    graph, few = IMPLICIT[name](), torch.arange(5)
    assert footprint(lambda: graph.contains(few[:, None], few)) < MOST


def test_a_large_allocation_is_detected():
    assert footprint(lambda: torch.arange(N)) >= 8 * N
    assert footprint(lambda: np.arange(N)) >= 8 * N
    assert footprint(lambda: list(range(N))) >= 8 * N
    assert footprint(lambda: ew.lower(ew.SelfLoops(N), ew.Csr)) >= 8 * N
    assert footprint(lambda: ew.RandomRegular(N // 10, degree=2).neighbors) >= MOST
    assert footprint(lambda: torch.arange(5)) < 10_000

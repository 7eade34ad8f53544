"""Cache of lowerings: by value for graphs without tensors, by object with tensors."""

import gc
import weakref

import pytest
import torch

import edgewise as ew
from edgewise.graphs import cache, recall
from edgewise.layouts import (
    PaddedRows,
    block_mask,
    csr,
    dense_mask,
    edges,
    padded_rows,
    reversed_csr,
)

LAYOUTS = [ew.Edges, ew.Csr, ew.ReversedCsr, PaddedRows, ew.DenseMask, ew.BlockMask]
SYMBOLIC = [
    lambda: ew.Causal(33),
    lambda: ew.Window(33, left=2, right=1) | ew.Hubs(33, [4]),
    lambda: ew.disjoint_union([ew.Causal(30), ew.Complete(3)]),
    lambda: ew.RandomRegular(34, degree=3),
]
PAIRS = torch.tensor([[0, 2, 1], [1, 1, 0]])
WITH_TENSORS = [
    lambda: ew.EdgeList(PAIRS, num_nodes=3),
    lambda: ew.disjoint_union([ew.EdgeList(PAIRS, num_nodes=3), ew.Causal(2)]),
    lambda: ew.permute(ew.Causal(3), [1, 2, 0]),
    lambda: ew.EdgeList(PAIRS, num_nodes=3) | ew.SelfLoops(3),
]


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch):
    monkeypatch.setattr(cache, "_RECENT", type(cache._RECENT)())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_lowering_is_computed_once(layout):
    for build in SYMBOLIC + WITH_TENSORS:
        graph = build()
        lowered = ew.lower(graph, layout)
        assert isinstance(lowered, layout)
        assert ew.lower(graph, layout) is lowered
        assert ew.lower(graph, layout, "cpu") is lowered


def test_lower_calls_the_function_of_the_layout():
    graph = ew.Causal(7)
    functions = [edges, csr, reversed_csr, padded_rows, dense_mask, block_mask]
    for function, layout in zip(functions, LAYOUTS, strict=True):
        assert ew.lower(graph, layout) is function(graph)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_symbolic_graphs_share_a_cache(layout):
    for build in SYMBOLIC:
        assert ew.lower(build(), layout) is ew.lower(build(), layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_graphs_with_tensors_have_separate_caches(layout):
    """A comparison would read all edges, and sharing would keep them alive."""
    for build in WITH_TENSORS:
        assert build() == build()
        assert ew.lower(build(), layout) is not ew.lower(build(), layout)


def test_the_cache_of_a_graph_with_tensors_is_freed_with_it():
    graph = ew.EdgeList(PAIRS, num_nodes=3)
    rows = weakref.ref(csr(graph))
    assert rows() is not None
    del graph
    gc.collect()
    assert rows() is None


def test_every_device_has_separate_entries():
    graph = ew.Causal(5)
    assert csr(graph, "cpu") is csr(graph, torch.device("cpu"))
    assert csr(graph, "cpu") is not csr(graph, "cpu:0")
    assert edges(graph) is edges(graph, "cpu")
    moved = edges(graph, "meta")
    assert (moved.target.device.type, moved.num_edges) == ("meta", 15)
    assert edges(graph, "meta") is moved
    assert edges(graph).target.device.type == "cpu"
    assert block_mask(graph, 2) is not block_mask(graph, 3)


def test_recently_used_values_are_kept():
    often = 0

    def compute():
        nonlocal often
        often += 1
        return object()

    for n in range(cache._RECENT_SIZE * 3):
        recall(ew.Causal(7), "anything", compute)  # a new object each time, as in a training loop
        recall(ew.Complete(n), "anything", object)
    assert often == 1
    assert len(cache._RECENT) == cache._RECENT_SIZE


def test_an_object_keeps_its_cache_after_eviction():
    graph = ew.Causal(7)
    first = recall(graph, "anything", object)
    for n in range(cache._RECENT_SIZE + 1):
        recall(ew.Complete(n), "anything", object)
    assert recall(graph, "anything", object) is first
    assert recall(ew.Causal(7), "anything", object) is not first


def test_a_failure_is_not_cached():
    graph = ew.Predicate(lambda t, s: t + s, 3)
    for _ in range(2):
        with pytest.raises(ew.GraphError, match="must return a bool tensor"):
            csr(graph)


def test_the_cache_does_not_change_the_value():
    graph, fresh = ew.Causal(5), ew.Causal(5)
    before = hash(graph), repr(graph)
    csr(graph)
    assert (hash(graph), repr(graph)) == before
    assert graph == fresh

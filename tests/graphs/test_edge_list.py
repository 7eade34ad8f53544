"""Edge lists from arrays, lists, other integers, other strides, other devices."""

import numpy as np
import pytest
import torch

import edgewise as ew

PAIRS = [[0, 2, 2, 1], [1, 0, 0, 2]]
GRAPH = ew.EdgeList(PAIRS, num_nodes=3)
READ_ONLY = np.array(PAIRS)
READ_ONLY.setflags(write=False)


@pytest.mark.parametrize(
    "edge_index",
    [
        torch.tensor(PAIRS),
        torch.tensor(PAIRS).t().contiguous().t(),  # other strides
        torch.tensor([row + row for row in PAIRS])[:, :4],
        *(torch.tensor(PAIRS, dtype=getattr(torch, name)) for name in ("int32", "int16", "int8")),
        *(torch.tensor(PAIRS, dtype=getattr(torch, f"uint{bits}")) for bits in (8, 16, 32, 64)),
        np.array(PAIRS),
        np.array(PAIRS, dtype=np.uint32),
        np.asfortranarray(np.array(PAIRS)),
        READ_ONLY,
        tuple(map(tuple, PAIRS)),
        [torch.tensor(row) for row in PAIRS],
        tuple(torch.tensor(row) for row in PAIRS),
        [np.array(row) for row in PAIRS],
        [READ_ONLY[0], READ_ONLY[1]],
        [torch.tensor(PAIRS[0]), PAIRS[1]],
        [torch.tensor(PAIRS[0]).int(), torch.tensor(PAIRS[1])],
    ],
)
def test_edges_may_be_written_in_many_ways(edge_index):
    graph = ew.EdgeList(edge_index, num_nodes=3)
    assert graph == GRAPH
    assert hash(graph) == hash(GRAPH)
    assert graph.edge_index.dtype == torch.int64
    assert graph.edge_index.is_contiguous()
    assert not graph.edge_index.requires_grad


def test_the_edges_are_copied():
    for edge_index in (torch.tensor(PAIRS), np.array(PAIRS), [torch.tensor(row) for row in PAIRS]):
        graph = ew.EdgeList(edge_index, num_nodes=3)
        edge_index[0][:] = 0
        assert graph == GRAPH


def test_no_edges_may_be_written_in_many_ways():
    for none in ([[], []], torch.empty(2, 0), torch.empty(2, 0).long(), np.empty((2, 0))):
        for N in (0, 1, 4):
            graph = ew.EdgeList(none, num_nodes=N)
            assert (graph.num_edges, graph.num_targets, graph.num_sources) == (0, N, N)
            assert graph.facts().max_edges == 0
            assert not graph.contains(torch.arange(N)[:, None], torch.arange(N)).any()


def test_source_target_and_sizes():
    assert (GRAPH.source.tolist(), GRAPH.target.tolist()) == tuple(PAIRS)
    assert (GRAPH.num_edges, GRAPH.num_nodes) == (4, 3)
    wide = ew.EdgeList([[4], [1]], num_targets=2, num_sources=5)
    assert (wide.num_targets, wide.num_sources, wide.num_nodes) == (2, 5, None)
    square = ew.EdgeList(PAIRS, num_targets=3, num_sources=3)
    assert (square, square.num_nodes) == (GRAPH, 3)


def test_equality_reads_edges_in_order():
    same = torch.tensor(PAIRS)
    assert ew.EdgeList(same, num_nodes=3) == GRAPH
    assert ew.EdgeList(same.flip(1), num_nodes=3) != GRAPH, "per-edge tensors would differ"
    assert ew.EdgeList(same, num_nodes=4) != GRAPH
    assert ew.EdgeList(same[:, :3], num_nodes=3) != GRAPH
    assert ew.Complete(3) != GRAPH
    many = torch.arange(100).repeat(2, 1)
    other = many.clone()
    other[0, 51] = 0  # between the edges the hash looks at: equality must look at all
    assert ew.EdgeList(many, num_nodes=100) != ew.EdgeList(other, num_nodes=100)


def test_copies_are_edges():
    facts = GRAPH.facts()
    assert (facts.min_edges, facts.max_edges, facts.simple) == (4, 4, False)
    assert (facts.max_in_degree, facts.max_out_degree) == (2, 2)


def test_the_number_of_pairs_must_fit_into_64_bits():
    last = 3_037_000_498
    graph = ew.EdgeList([[last, 0], [last, last]], num_nodes=last + 1)
    contained = graph.contains(torch.tensor([last, last, 0]), torch.tensor([last, 1, 0]))
    assert contained.tolist() == [True, False, False]
    with pytest.raises(ew.GraphError, match=r"must be below 2\*\*63"):
        ew.EdgeList([[0], [0]], num_nodes=2**32)

"""Vectorised batches of graphs equal those of a loop over graphs."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from edgewise import disjoint_union, edges
from edgewise.training.batches import complete, given as given_edges, given_with_self
from edgewise.training.data import Separate


@st.composite
def topologies(draw):
    sizes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=6))
    counts, columns = [], []
    for size in sizes:
        node = st.integers(0, size - 1) if size else st.nothing()
        pairs = draw(st.lists(st.tuples(node, node), max_size=6)) if size else []
        columns += pairs
        counts.append(len(pairs))
    edge_index = torch.tensor(columns, dtype=torch.int64).reshape(-1, 2).T
    ends = [torch.tensor([0, *values]).cumsum(0) for values in (sizes, counts)]
    return Separate(edge_index, *ends)


@settings(deadline=None, max_examples=60)
@given(topologies(), st.data())
def test_a_part_is_the_disjoint_union_of_its_graphs(topology, data):
    number = st.integers(0, topology.num_graphs - 1)
    chosen = data.draw(st.lists(number, min_size=1, max_size=5))
    part = topology.part(torch.tensor(chosen))
    graphs = topology.graphs()
    union = edges(disjoint_union([graphs[i] for i in chosen]))
    got = {tuple(pair) for pair in part.edge_index.T.tolist()}
    assert got == set(zip(union.source.tolist(), union.target.tolist(), strict=True))
    assert part.sizes.tolist() == [graphs[i].num_targets for i in chosen]
    starts = topology.node_ptr.tolist()
    expected = [n for i in chosen for n in range(starts[i], starts[i + 1])]
    assert part.nodes.tolist() == expected


@pytest.fixture
def part():
    edge_index = torch.tensor([[0, 1, 0, 2], [1, 0, 2, 0]])
    topology = Separate(edge_index, torch.tensor([0, 2, 5]), torch.tensor([0, 2, 4]))
    return topology.whole()


def test_rules_of_a_batch_of_graphs(part):
    dense = torch.zeros(5, 5, dtype=torch.bool)
    dense[[0, 1, 2, 4], [1, 0, 4, 2]] = True
    every = torch.arange(5)
    assert torch.equal(given_edges(part).contains(every[:, None], every), dense)
    loops = dense | torch.eye(5, dtype=torch.bool)
    assert torch.equal(given_with_self(part).contains(every[:, None], every), loops)
    blocks = torch.block_diag(torch.ones(2, 2), torch.ones(3, 3)).bool()
    assert torch.equal(complete(part).contains(every[:, None], every), blocks)

"""Small components as matrices: every edge in its cell, every node in its row."""

import pytest
import torch

from edgewise.graphs import Complete, EdgeList, disjoint_union
from edgewise.layouts import edges
from edgewise.nn import components
from edgewise.nn.positions import component_matrices

SIZES = [3, 2, 9, 3, 1, 5, 4, 3]


@pytest.fixture(params=[1 << 24, 60, 1])
def held(request, monkeypatch):
    """A graph with copies and single directions, all at once or a few components at a time."""
    monkeypatch.setattr(component_matrices, "_CELLS", request.param)
    directed = EdgeList([[0, 0, 1], [1, 1, 2]], num_nodes=3)
    graph = disjoint_union([directed, *map(Complete, SIZES)])
    return graph, list(component_matrices.squares(components(graph), largest=5))


def test_every_small_component_is_held_once(held):
    _, result = held
    sizes = [size for part in result for run in part.runs(1000) for size in run.sizes.tolist()]
    assert sizes == sorted([3, *(size for size in SIZES if size <= 5)])
    assert all(run.size % 4 == 0 for part in result for run in part.runs(1000))


@pytest.mark.parametrize("most_cells", [1, 40, 1000])
def test_cells_are_edges(held, most_cells):
    graph, result = held
    N, walked = graph.num_targets, edges(graph)
    marked, both = torch.zeros(2, N, N)
    nodes = torch.arange(N)
    for part in result:
        cells = (part.marks(walked), part.marks(walked, both=True))
        for run in part.runs(most_cells):
            B, n = len(run.sizes), run.size
            place = torch.full((N, 2), -1)  # of every node: its matrix, and its row there
            run.spread(torch.cartesian_prod(torch.arange(B), torch.arange(n)).view(B, n, 2), place)
            for matrix in range(B):
                own = nodes[place[:, 0] == matrix]
                row = place[own, 1]
                assert sorted(row.tolist()) == list(range(int(run.sizes[matrix])))
                for table, flat in zip((marked, both), cells, strict=True):
                    values = run.matrices(flat)[matrix].float()
                    table[own[:, None], own] = values[row[:, None], row]
                    assert values.sum() == values[row[:, None], row].sum()  # nothing elsewhere
    expected = torch.zeros(N, N).index_put_((walked.target, walked.source), torch.ones(1))
    expected[components(graph).sizes[components(graph).label] > 5] = 0
    assert torch.equal(marked, expected)
    assert torch.equal(both, (expected + expected.T > 0).float())


def test_pairs_find_their_cells(held):
    graph, result = held
    N = graph.num_targets
    target, source = (x.flatten() for x in torch.meshgrid(*[torch.arange(N)] * 2, indexing="ij"))
    answered = torch.zeros(N * N)
    for part in result:
        marks = part.marks(edges(graph))
        which, cell = part.among(target, source)
        answered[which] += marks[cell]
    pairs = edges(graph)
    expected = torch.zeros(N, N).index_put_((pairs.target, pairs.source), torch.ones(1))
    expected[components(graph).sizes[components(graph).label] > 5] = 0
    assert torch.equal(answered.view(N, N), expected)

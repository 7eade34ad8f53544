"""Prices of tiles, the counts they come from, and refusals."""

import pytest
import torch

import edgewise as ew
from edgewise.backends import BACKENDS, Accepts
from edgewise.backends.blocked.price import _bounded, _counted, counted
from edgewise.backends.blocked.tiling import Tiling, padded
from edgewise.layouts import dense_mask, edges, fill_of_clusters
from edgewise.ops import Inputs
from edgewise.planning.call import attention_question
from edgewise.testing import GRAPHS
from tests.backends.tiled_graphs import CLUSTERS, communities

BLOCKED = next(backend for backend in BACKENDS if backend.name == "blocked")
SIMPLE = CLUSTERS | {name: graph for name, graph in GRAPHS.items() if graph.facts().simple}
SIMPLE["wide window"] = ew.Window(3000, left=500, right=570)


def judged(graph, **options):
    q = torch.empty(2, graph.num_targets, 8, **options)
    k = torch.empty(2, graph.num_sources, 8, **options)
    question = attention_question(Inputs(q, k, k), graph, ew.Dot(), None, 0.0, wants_lse=False)
    return BLOCKED.judge(question.about(graph))


def in_memory(graph):
    return graph.__dict__.get("_memory", {})


@pytest.mark.parametrize("block", [1, 3, 16, 64])
@pytest.mark.parametrize("name", CLUSTERS)
def test_tiles_hold_every_edge_once(name, block):
    graph = CLUSTERS[name]
    tiling = Tiling.of(graph, block)
    actual = torch.zeros(graph.num_targets + block, graph.num_sources + block, dtype=torch.int64)
    for group in tiling.groups:
        held = group.edges(tiling.masks).unflatten(2, (-1, block))
        assert held.shape[1:] == (block, group.columns.shape[1], block)
        assert not group.full or bool(held.all())
        for i, row in enumerate(group.rows.tolist()):
            for j, column in enumerate(group.columns[i].tolist()):
                place = (slice(row * block, (row + 1) * block),
                         slice(column * block, (column + 1) * block))  # fmt: skip
                actual[place] += held[i, :, j]
    T, S = graph.num_targets, graph.num_sources
    assert torch.equal(actual[:T, :S], dense_mask(graph).mask.long())
    assert int(actual.sum()) == edges(graph).num_edges


def test_padding_is_bounded():
    count = torch.arange(5000)
    wide = padded(count)
    assert bool((wide >= count).all())
    assert bool((wide <= count * 9 / 8).all())
    assert wide.unique().numel() < 16 + 8 * 9


@pytest.mark.parametrize("name", SIMPLE)
def test_bounds_are_never_passed(name):
    graph = SIMPLE[name]
    bound, actual = _bounded(graph.facts(), 64), _counted(graph, 64)
    assert actual.computed <= bound.computed
    assert actual.masks <= bound.masks


@pytest.mark.parametrize("name", ["window and hubs", "predicate", "causal", "permuted"])
def test_planning_lowers_nothing(name):
    graph = CLUSTERS[name]
    graph = ew.permute(graph.graph, graph.targets) if name == "permuted" else graph
    for key in ("edges", "tiles", ("tile fill", 64, 64)):
        in_memory(graph).pop(key, None)
    assert isinstance(judged(graph), Accepts)
    assert "edges" not in in_memory(graph)
    assert fill_of_clusters(graph) is None
    edges(graph)
    bound, actual = judged(graph), counted(graph)
    assert bound.work.entries >= actual.pairs


def test_sparse_graphs_are_not_counted():
    ring = ew.EdgeList([list(range(4096)), [*range(1, 4096), 0]], num_nodes=4096)
    judged(ring)
    assert fill_of_clusters(ring) is None
    assert ("tile fill", 64, 64) not in in_memory(ring)
    assert fill_of_clusters(communities([100, 200], 0.5)) is not None


def test_the_larger_tile_is_taken_where_it_costs_little():
    assert counted(CLUSTERS["large communities: large tiles"]).block == 128
    assert counted(CLUSTERS["communities"]).block == 64


def test_auto_takes_tiles_for_dense_clusters_alone():
    q = torch.empty(8, 9600, 64, requires_grad=True)
    full = communities([192] * 50, 0.9)
    assert ew.plan(q, q, q, full, memory_budget=1 << 33).name == "blocked"
    thin = communities([192] * 50, 0.1)
    assert ew.plan(q, q, q, thin, memory_budget=1 << 33).name == "native"


def test_a_full_tile_needs_no_mask():
    tiling = Tiling.of(ew.Blocks([64, 128, 64]), 64)
    assert all(group.full for group in tiling.groups)
    assert tiling.masks.shape[0] == 2


def test_copies_are_refused():
    q, copies = torch.randn(2, 8, 4), ew.EdgeList([[0, 0], [1, 1]], num_nodes=8)
    with pytest.raises(ew.BackendRefused, match="blocked: the graph may hold copies of an edge"):
        ew.attention(q, q, q, copies, backend="blocked")

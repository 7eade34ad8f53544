"""Tiles of clusters: in groups of any size, beside leftover edges, and what a NaN reaches."""

import pytest
import torch

import edgewise as ew
from edgewise.backends.blocked import eager
from edgewise.layouts import split_by_fill
from edgewise.ops import Inputs
from edgewise.planning import BackendPlan, Merge, choose
from edgewise.planning.call import attention_question
from tests.backends.tiled_calls import assert_all_close, draw, everything
from tests.backends.tiled_graphs import CLUSTERS, communities


def test_pieces_of_groups_give_the_same(monkeypatch):
    graph = CLUSTERS["communities"]
    tensors = draw(graph, dtype=torch.float64)
    expected = everything("blocked", graph, tensors)
    monkeypatch.setattr(eager, "SLABS", 1)
    assert_all_close(everything("blocked", graph, tensors), expected, 1e-13)


@pytest.mark.parametrize("name", ["communities and strays", "window and hubs"])
def test_dense_tiles_and_leftovers_are_the_whole(name):
    graph = CLUSTERS[name]
    parts = split_by_fill(graph, 0.2)
    assert parts is not None
    tensors = draw(graph, dtype=torch.float64)
    inputs = Inputs(*tensors)
    question = attention_question(inputs, graph, ew.Dot(), None, 0.0, wants_lse=True)
    runs = []
    for part, backend in zip(parts, ("blocked", "gather"), strict=True):
        run = choose(question.about(part), backend).plan
        assert isinstance(run, BackendPlan)
        runs.append(run)
    plan = Merge.of(question.about(graph), runs)
    state = plan.prepared.forward(inputs)
    expected = ew.attention_state(*tensors, graph, backend="reference")
    outputs, wanted = ((s.out, s.lse.nan_to_num(neginf=0)) for s in (state, expected))
    pushes = [torch.randn_like(t) for t in wanted]
    grads = torch.autograd.grad(outputs, tensors, pushes)
    right = torch.autograd.grad(wanted, tensors, pushes)
    assert_all_close((*outputs, *grads), (*wanted, *right), 1e-11)


def test_a_nan_spreads_to_the_blocks_of_targets_that_share_a_tile_with_it():
    graph = communities([200, 120], 0.3, seed=4)
    q, k, v = (t.detach() for t in draw(graph, heads=1))
    v[:, 300] = torch.nan
    reached = ew.attention(q, k, v, graph, backend="blocked").isnan().any(-1)[0]
    readers = torch.zeros(320, dtype=torch.bool)
    readers[graph.target[graph.source == 300]] = True
    assert bool(reached[readers].all())
    assert not bool(reached[:192].any())  # blocks without a tile that holds the source

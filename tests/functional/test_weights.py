"""Attention weights of chosen edges, from the log-sum-exp."""

import pytest
import torch

import edgewise as ew
from edgewise.testing import GRAPHS, SETTINGS

WITHOUT_VALUES = [name for name, s in SETTINGS.items() if not s.dropout]


def asked(call):
    t, setting = call.tensors, call.setting
    score = setting.score
    return {
        "score": ew.GATv2(t["vector"], score.slope) if isinstance(score, ew.GATv2) else score,
        "bias": None if setting.bias is None else setting.bias(t["bias"]),
        "edge_key": t.get("edge_key"),
    }


@pytest.mark.parametrize("setting", WITHOUT_VALUES)
def test_weights_are_those_that_made_the_output(setting):
    for name, graph in GRAPHS.items():
        call = SETTINGS[setting].call(graph, torch.float64)
        t = call.tensors
        state = call.state("gather")
        actual = ew.weights(t["query"], t["key"], graph, state.lse, **asked(call))
        edges = ew.edges(graph)
        group = call.setting.heads // call.setting.kv_heads
        value = t["value"].repeat_interleave(group, -3)[..., edges.source, :]
        if "edge_value" in t:
            value = value + t["edge_value"]
        out = torch.zeros_like(state.out)
        out = out.index_add(-2, edges.target, actual[..., None] * value)
        torch.testing.assert_close(out, state.out, rtol=0, atol=1e-12, msg=name)
        assert actual.shape == (*t["query"].shape[:-2], edges.num_edges)


@pytest.mark.parametrize("setting", WITHOUT_VALUES)
def test_positions_and_pairs_choose_the_same_edges(setting):
    graph = GRAPHS["edge list"]
    call = SETTINGS[setting].call(graph, torch.float64)
    q, k = call.tensors["query"], call.tensors["key"]
    lse = call.state("gather").lse
    every = ew.weights(q, k, graph, lse, **asked(call))
    chosen = torch.tensor([5, 0, 39, 5])
    edges = ew.edges(graph)
    pairs = torch.stack([edges.source[chosen], edges.target[chosen]])
    for edges_argument in (chosen, pairs):
        some = ew.weights(q, k, graph, lse, edges=edges_argument, **asked(call))
        torch.testing.assert_close(some, every[..., chosen], rtol=0, atol=1e-14)


def test_a_pair_that_is_no_edge_weighs_nothing():
    q, k, v = torch.randn(3, 2, 4, 3).unbind()
    lse = ew.attention_state(q, k, v, ew.Causal(4)).lse
    actual = ew.weights(q, k, ew.Causal(4), lse, edges=torch.tensor([[3, 0], [0, 0]]))
    assert actual[:, 0].tolist() == [0.0, 0.0]
    assert actual[:, 1].tolist() == pytest.approx([1.0, 1.0])


def test_weights_of_a_target_without_sources():
    graph = ew.EdgeList([[0], [1]], num_nodes=2)
    q, k, v = torch.randn(3, 1, 2, 3).unbind()
    lse = ew.attention_state(q, k, v, graph).lse
    assert ew.weights(q, k, graph, lse, edges=torch.tensor([[0], [0]])).item() == 0


def test_the_matrix_of_a_huge_graph_is_never_built():
    n = 200_000
    q, k = torch.randn(1, n, 2), torch.randn(1, n, 2)
    pairs = torch.tensor([[0, n - 1], [n - 1, 0]])
    actual = ew.weights(q, k, ew.Complete(n), torch.zeros(1, n), edges=pairs)
    assert actual.shape == (1, 2)


def test_gradients():
    graph = GRAPHS["window | hubs"]
    leaves = [t.double().requires_grad_() for t in torch.randn(2, 2, 12, 3).unbind()]
    lse = torch.randn(2, 12, dtype=torch.float64, requires_grad=True)

    def chosen(q, k, lse):
        return ew.weights(q, k, graph, lse, edges=torch.tensor([0, 7, 20]))

    assert torch.autograd.gradcheck(chosen, (*leaves, lse))

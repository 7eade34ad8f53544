"""attend(G + H) = merge(attend(G), attend(H)), forward and backward, however the parts run."""

import itertools

import pytest
import torch

import edgewise as ew
from edgewise.graphs import Graph
from edgewise.layouts import edges
from edgewise.ops import Inputs
from edgewise.planning import BackendPlan, Merge, choose
from edgewise.planning.call import attention_question
from edgewise.testing import GRAPHS, SETTINGS, expected_refusal

N = 12
SPLITS: dict[str, tuple[Graph, list[Graph]]] = {}


def split(name: str, whole: Graph, *parts: Graph) -> None:
    SPLITS[name] = (whole, list(parts))


window, hubs, causal = ew.Window(N, left=2, right=2), ew.Hubs(N, [0, 7]), ew.Causal(N)
split("complete = causal + rest", ew.Complete(N), causal, ew.Complete(N) - causal)
split("union = window + (hubs - window)", window | hubs, window, hubs - window)
split("three parts", ew.Complete(N), window, hubs - window, ew.Complete(N) - (window | hubs))
split("one part is empty", causal, causal, causal - ew.Complete(N))
split("one part only", window, window)
_tall, _near = ew.Causal(9, 4), ew.Window(9, 4, left=1, right=0)
split("isolated targets in every part", _tall, _tall & _near, _tall - _near)
_edges = GRAPHS["edge list"]
split("edge list = lower + upper", _edges, _edges & causal, _edges - causal)


def inputs_of_call(call):
    """The tensors of a call as one value."""
    t, setting = call.tensors, call.setting
    return Inputs(
        t["query"], t["key"], t["value"],
        t["vector"] if call.setting.score.spec()[0] == "GATv2" else None,
        None if setting.bias is None else setting.bias(t["bias"]),
        t.get("edge_key"), t.get("edge_value"),
        torch.tensor(1234) if setting.dropout else None,
    )  # fmt: skip


def plan_for(call, parts, backends):
    """A merged plan of the given parts, each run by its backend."""
    inputs, setting = inputs_of_call(call), call.setting
    count = edges(call.graph).num_edges
    question = attention_question(
        inputs, call.graph, setting.score, count, setting.dropout, wants_lse=True
    )
    runs = []
    for part, backend in zip(parts, backends, strict=False):
        run = choose(question.about(part), backend).plan
        assert isinstance(run, BackendPlan)
        runs.append(run)
    whole = choose(question.about(call.graph), "reference").plan
    return Merge.of(question.about(call.graph), runs), whole, inputs


def numbers(plan, call, inputs):
    state = plan.prepared.forward(inputs)
    finite = torch.where(torch.isinf(state.lse), torch.zeros_like(state.lse), state.lse)
    random = torch.Generator().manual_seed(3)
    weights = [torch.randn(o.shape, generator=random).to(o.dtype) for o in (state.out, finite)]
    used = list(call.used().values())
    grads = torch.autograd.grad([state.out, finite], used, weights, retain_graph=True)
    return state, grads


@pytest.mark.parametrize("setting", [s for s in SETTINGS if "relative" not in s])
@pytest.mark.parametrize("split_name", SPLITS)
def test_merge_forward_and_backward(split_name, setting):
    whole_graph, parts = SPLITS[split_name]
    for backends in itertools.permutations(("reference", "gather", "dense"), 3):
        call = SETTINGS[setting].call(whole_graph, torch.float64, seed=4)
        runs = zip(backends, parts, strict=False)
        if any(expected_refusal(name, SETTINGS[setting], part) for name, part in runs):
            continue  # the contract table says which and why
        plan, whole, inputs = plan_for(call, parts, backends)
        state, grads = numbers(plan, call, inputs)
        expected, expected_grads = numbers(whole, call, inputs)
        torch.testing.assert_close(state.out, expected.out, rtol=0, atol=1e-12)
        torch.testing.assert_close(state.lse, expected.lse, rtol=0, atol=1e-12)
        for grad, expected_grad in zip(grads, expected_grads, strict=True):
            torch.testing.assert_close(grad, expected_grad, rtol=0, atol=1e-11)


def test_merging_states_is_differentiable_by_itself():
    q, k, v = torch.randn(3, 2, N, 4, dtype=torch.float64).unbind()
    leaves = [t.requires_grad_() for t in (q, k, v)]
    whole_graph, parts = SPLITS["three parts"]

    def merged(*tensors):
        states = [ew.attention_state(*tensors, part, backend="gather") for part in parts]
        return ew.merge(states).out

    expected = ew.attention(*leaves, whole_graph, backend="reference")
    torch.testing.assert_close(merged(*leaves), expected, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(merged, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(merged, leaves, fast_mode=True)


def test_merging_overlapping_parts_is_wrong_and_refused():
    """The law needs disjoint edges: merging gives other numbers, and a plan raises."""
    call = SETTINGS["dot"].call(window | hubs, torch.float64)
    q, k, v = (call.tensors[name] for name in ("query", "key", "value"))
    wrong = ew.merge([ew.attention_state(q, k, v, part) for part in (window, hubs)]).out
    assert (wrong - ew.attention(q, k, v, window | hubs)).abs().max() > 0.01
    with pytest.raises(ew.PlanError, match=r"must hold every edge once, but they share \d+"):
        plan_for(call, [window, hubs], ["gather", "gather"])
    with pytest.raises(ew.PlanError, match=r"share 0 and miss \d+"):
        plan_for(call, [window], ["gather"])
    with pytest.raises(ew.PlanError, match="has edges that the whole graph has not"):
        plan_for(call, [ew.Complete(N)], ["gather"])


def test_copies_cannot_be_split():
    call = SETTINGS["dot"].call(GRAPHS["edge list, copies"], torch.float64)
    with pytest.raises(ew.PlanError, match="copies of an edge"):
        plan_for(call, [GRAPHS["edge list, copies"]], ["gather"])


def test_a_merged_plan_has_second_derivatives():
    whole_graph, parts = SPLITS["complete = causal + rest"]
    call = SETTINGS["dot"].call(whole_graph, torch.float64)
    plan, _, inputs = plan_for(call, parts, ["gather", "gather"])
    query, key = call.tensors["query"], call.tensors["key"]
    gradients = []
    for out in (plan.prepared.attend(inputs), call.out("reference")):
        (grad,) = torch.autograd.grad(out.square().sum(), query, create_graph=True)
        gradients.append(torch.autograd.grad(grad.square().sum(), key)[0])
    torch.testing.assert_close(*gradients)


def test_a_merged_plan_prints_and_serialises():
    whole_graph, parts = SPLITS["three parts"]
    call = SETTINGS["dot"].call(whole_graph, torch.float64)
    plan, _, _ = plan_for(call, parts, ["dense", "gather", "reference"])
    assert str(plan) == "merge(dense, gather, reference)"
    assert [part["backend"] for part in plan.to_dict()["parts"]] == ["dense", "gather", "reference"]
    assert '"plan": "merge"' in plan.to_json()

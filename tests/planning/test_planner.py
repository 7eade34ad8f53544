"""Planning: legality, cost, memory, caching, and what explain prints."""

import json
import re

import pytest
import torch

import edgewise as ew
from edgewise.backends import BACKENDS
from edgewise.graphs import cache
from edgewise.measure.memory import as_text, free_memory
from edgewise.planning import planner
from edgewise.planning.budget import memory_budget
from edgewise.planning.price_table import shipped

BUDGET = 1_000_000_000
NAMES = [backend.name for backend in BACKENDS]


def q(n, heads=4, dim=8, **options):
    return torch.randn(heads, n, dim, **options)


def explain(graph, like, **options):
    return ew.explain(like, like, like, graph, memory_budget=BUDGET, **options)


def timeless(explanation):
    """What is explained, whatever the constants of the machine."""
    return re.sub(r"about [\d.,]+ \w+,", "about T,", str(explanation))


def lines_of(explanation):
    """The first word and the name of every line after the plan, and the last lines."""
    tree, rest = timeless(explanation).split("\n\n")
    *considered, budget, prices = rest.splitlines()
    named = [tuple(line.split()[:2]) for line in considered if not line.startswith(" ")]
    return tree, named, budget, prices


PRICES = f"prices   {shipped().source}; 'edgewise lottery' measures those of this machine"


def test_explain_of_a_complete_graph():
    tree, considered, budget, prices = lines_of(explain(ew.Complete(1024), q(1024)))
    assert tree == (
        "attention · 1,024 targets x 1,024 sources · 1,048,576 edges · 4 heads x 8 · Dot · float32"
        " · cpu · forward\n"
        "└─ dense · Complete(1024) · sdpa · about T, 147 KB"
    )
    dearer = [name for word, name in considered if word == "dearer"]
    refused = [name for word, name in considered if word == "refused"]
    assert sorted([*dearer, *refused, "dense", "reference"]) == sorted(NAMES)
    assert dearer[-1] == "gather"
    assert refused == ["ragged", "blocked", "flex"]  # all three only on request
    assert (budget, prices) == ("budget   1 GB", PRICES)


def test_explain_of_a_sparse_graph_with_training():
    ring = ew.EdgeList([list(range(4096)), [*range(1, 4096), 0]], num_nodes=4096)
    tree, considered, *_ = lines_of(explain(ring, q(4096, requires_grad=True)))
    assert tree == (
        "attention · 4,096 targets x 4,096 sources · 4,096 edges · 4 heads x 8 · Dot · float32"
        " · cpu · forward + backward\n"
        "└─ native · EdgeList(<4,096 edges>, num_nodes=4096) · fused rows · about T, 2.62 MB"
    )
    assert ("refused", "banded") in considered
    assert ("dearer", "dense") in considered
    text = str(explain(ring, q(4096, requires_grad=True)))
    assert re.search(r"dearer   dense .* · sdpa \+ mask, 0\.024% filled\n", text)


def test_explain_names_every_reason():
    copies = ew.EdgeList([[0, 0], [1, 1]], num_nodes=2)
    bias = torch.zeros(1, 2)
    text = str(explain(copies, q(2), bias=bias, dropout=0.1, edge_key=torch.zeros(1, 2, 8)))
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("refused  dense"))
    assert lines[start : start + 7] == [
        "refused  dense     edge_key belongs to edges, not to matrix entries; leave it out",
        "                   the graph may hold copies of an edge, each with its own bias, and a"
        " matrix entry holds one; merge the copies",
        "                   the graph may hold copies of an edge, which dropout tells apart, and a"
        " matrix entry holds one; merge the copies",
        "refused  banded    the graph is not known to be a window; use Window, Dilated or Causal",
        "                   tiles take no edge bias; leave it out",
        "                   edge_key belongs to edges, not to tiles; leave it out",
        "                   torch's dropout cannot be repeated edge by edge; set dropout=0",
    ]


def test_explain_as_json():
    actual = json.loads(explain(ew.Causal(2048), q(2048, dim=64)).to_json())
    assert actual["plan"]["backend"] == "dense"
    assert actual["plan"]["graph"] == "Causal(2048)"
    assert actual["plan"]["edges"] == [2098176, 2098176]
    assert {"native", "banded"} <= {run["backend"] for run in actual["dearer"]}
    assert "flex" in {refusal["backend"] for refusal in actual["refused"]}
    assert actual["budget"] == BUDGET


def test_a_mask_that_does_not_fit_is_refused_and_auto_takes_the_next():
    graph = ew.Window(200_000, left=1, right=0)
    like = q(200_000, heads=1, dim=4)
    text = str(explain(graph, like))
    assert "└─ native" in text
    reason = "needs about 200 GB (sdpa + mask) but the memory budget is 1 GB"
    assert f"refused  dense     {reason}" in text
    with pytest.raises(ew.BackendRefused, match="dense: needs about 200 GB"):
        ew.plan(like, like, like, graph, backend="dense", memory_budget=BUDGET)
    out = ew.attention(like, like, like, graph)  # the default budget refuses the mask as well
    assert out.shape == like.shape


def test_nothing_fits():
    like = q(64)
    with pytest.raises(ew.PlanError, match=r"(?s)no backend accepts.*gather: needs.*dense: needs"):
        ew.plan(like, like, like, ew.Complete(64), memory_budget=10)
    with pytest.raises(ew.ArgumentError, match="memory_budget must be a positive number"):
        ew.plan(like, like, like, ew.Complete(64), memory_budget=0)


def test_the_budget_is_half_of_what_is_free():
    device = torch.device("cpu")
    assert memory_budget(device) == pytest.approx(free_memory(device) / 2, rel=0.2)
    assert memory_budget(device, 5) == 5


def test_bytes_for_people():
    assert [as_text(n) for n in (5, 1500, 2.5e9, 3e15)] == ["5 B", "1.5 KB", "2.5 GB", "3,000 TB"]


def test_an_explicit_backend_never_falls_back():
    like = q(4)
    edge_key = torch.zeros(1, 16, 8)
    with pytest.raises(ew.BackendRefused, match=r"^dense: edge_key belongs to edges"):
        ew.attention(like, like, like, ew.Complete(4), edge_key=edge_key, backend="dense")
    with pytest.raises(ew.PlanError, match=r"backend must be 'auto' or one of 'reference', 'gath"):
        ew.attention(like, like, like, ew.Complete(4), backend="flash")


def test_the_reference_is_only_taken_on_request():
    like = q(4)
    assert "reference" not in str(explain(ew.Complete(4), like))
    assert ew.plan(like, like, like, ew.Complete(4), backend="reference").name == "reference"


@pytest.mark.parametrize("graph", [ew.Window(32, left=1, right=1), ew.EdgeList([[0], [1]], 32)])
def test_a_call_is_planned_once(graph, monkeypatch):
    count = 0

    def counting(*args, real=planner.judged, **options):
        nonlocal count
        count += 1
        return real(*args, **options)

    monkeypatch.setattr(planner, "judged", counting)
    cache._RECENT.clear()
    graph.__dict__.pop("_memory", None)
    like = q(32)
    for _ in range(3):
        ew.attention(like, like, like, graph)
    planned = count
    assert planned > 0
    ew.attention(like, like, like, graph, dropout=0.1)
    assert count > planned


def test_equal_symbolic_graphs_share_their_plans():
    like = q(33)
    ew.attention(like, like, like, ew.Window(33, left=1, right=1))
    memory = ew.Window(33, left=1, right=1)
    ew.attention(like, like, like, memory)
    assert memory.__dict__["_memory"] is cache._RECENT[ew.Window(33, left=1, right=1)]


def test_memory_of_symbolic_graphs_is_bounded():
    like = q(3)
    for n in range(100):
        ew.attention(like, like, like, ew.Window(3, left=n, right=0))
    assert len(cache._RECENT) <= cache._RECENT_SIZE


def test_a_plan_is_a_value():
    like, graph = q(2048, dim=64), ew.Causal(2048)
    first, second = (ew.plan(like, like, like, graph, memory_budget=BUDGET) for _ in "ab")
    assert first == second
    assert hash(first) == hash(second)
    assert str(first) == "dense"
    assert json.loads(first.to_json())["way"] == "sdpa"
    with pytest.raises(AttributeError):
        first.backend = "gather"


def test_a_plan_can_be_called():
    like = torch.randn(2, 4, 16, 8)
    plan = ew.plan(like, like, like, ew.Causal(16))
    for batch in (2, 3):
        other = torch.randn(batch, 4, 16, 8)
        assert torch.equal(
            plan(other, other, other), ew.attention(other, other, other, ew.Causal(16))
        )
    with pytest.raises(ew.PlanError, match="heads 2 instead of 4"):
        plan(like[:, :2], like[:, :2], like[:, :2])
    with pytest.raises(ew.PlanError, match=r"this plan is for Dot\(scale=None"):
        plan(like, like, like, score=ew.Dot(scale=2.0))
    with pytest.raises(ew.ShapeError, match="query has 15 rows but graph has 16 targets"):
        plan(like[:, :, 1:], like, like)


def test_a_plan_of_a_learned_score_needs_its_vector():
    like, graph = torch.randn(2, 4, 3), ew.Causal(4)
    score = ew.GATv2(torch.randn(2, 3))
    plan = ew.plan(like, like, like, graph, score=score)
    expected = ew.attention(like, like, like, graph, score=score)
    assert torch.equal(plan(like, like, like, score=score), expected)
    with pytest.raises(ew.ArgumentError, match="GATv2: weight must be a tensor"):
        plan(like, like, like)


def test_what_evaluation_worked_out_can_be_trained_with():
    graph = ew.EdgeList([[0, 1, 2], [1, 2, 0]], num_nodes=3)
    like = q(3)
    with torch.inference_mode():
        ew.attention(like, like, like, graph, backend="gather")
    like.requires_grad_()
    ew.attention(like, like, like, graph, backend="gather").sum().backward()
    assert like.grad is not None


# --- Measured beside estimated -------------------------------------------------------------------


@pytest.mark.parametrize("needs_grad", [False, True])
def test_analyze_runs_every_legal_plan(needs_grad):
    graph = ew.Window(64, left=2, right=2) | ew.Hubs(64, [3])
    like = q(64, requires_grad=needs_grad)
    actual = explain(graph, like, analyze=True)
    plans = (actual.decision.plan, *actual.decision.dearer)
    assert len(actual.measured) == len(plans) >= 4
    assert all(0 < seconds < 60 for seconds in actual.measured)
    assert str(actual).count(", took ") == len(plans)
    assert "\nmeasured " in str(actual)
    assert [p["measured"] for p in (actual.to_dict()["plan"], *actual.to_dict()["dearer"])] == list(
        actual.measured
    )
    assert like.grad is None


def test_analyze_states_when_another_plan_was_faster():
    decision = explain(ew.Complete(64), q(64)).decision
    rest = (9.0,) * (len(decision.dearer) - 1)
    slow = ew.planning.Explanation(decision, (2.0, 1.0, *rest))
    assert f"measured {decision.dearer[0].name} was 2.00x as fast as the choice" in str(slow)
    fast = ew.planning.Explanation(decision, (1.0, 1.0, *rest))
    assert "measured the choice is the fastest, or as good" in str(fast)


# --- One query over all keys ---------------------------------------------------------------------


@pytest.mark.parametrize("graph", [ew.Causal(1, 300), ew.Complete(1, 300)], ids=repr)
def test_one_target_that_reads_everything_is_dense_at_once(graph):
    query, key = torch.randn(2, 4, 1, 8), torch.randn(2, 2, 300, 8)
    decision = ew.explain(query, key, key, graph).decision
    assert decision.plan.name == "dense"
    assert decision.dearer == ()
    assert {refusal.backend for refusal in decision.refused} == set(NAMES) - {"dense", "reference"}
    assert all("when a language model writes" in r.reasons[0] for r in decision.refused)
    out = ew.attention(query, key, key, graph)
    assert "csr" not in str(graph.__dict__["_memory"].keys())  # nothing was lowered for it
    torch.testing.assert_close(out, ew.attention(query, key, key, graph, backend="reference"))


def test_one_target_with_further_options_is_planned_like_any_other():
    query, key = torch.randn(4, 1, 8), torch.randn(4, 300, 8)
    for graph, more in (
        (ew.Causal(1, 300), {"dropout": 0.5}),
        (ew.Causal(1, 300), {"bias": torch.zeros(4, 300)}),
        (ew.Window(1, left=4, right=0, num_sources=300), {}),
    ):
        assert len(ew.explain(query, key, key, graph, **more).decision.dearer) > 0

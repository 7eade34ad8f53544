"""Equal graphs side by side run as a batch, with the same numbers."""

import pytest
import torch

import edgewise as ew
from edgewise.planning import planner
from edgewise.planning.call import attention_question
from edgewise.planning.fold import Fold
from edgewise.planning.split import repeated
from edgewise.testing import SETTINGS
from tests.laws.test_merge import inputs_of_call

WINDOW = ew.Window(7, left=2, right=1)
FOLDED = {
    "windows": (ew.disjoint_union([WINDOW] * 3), WINDOW, 3),
    "decoding": (ew.disjoint_union([ew.Causal(1, 5)] * 4), ew.Causal(1, 5), 4),
    "blocks": (ew.Blocks([4, 4, 4]), ew.Complete(4), 3),
    "rows of a grid": (ew.Grid((3, 5), radius=(0, 2)), ew.Grid((5,), radius=2), 3),
    "planes of a grid": (
        ew.Grid((2, 3, 4), radius=(0, 1, 1), corners=False),
        ew.Grid((3, 4), corners=False),
        2,
    ),
    "rings": (ew.Grid((3, 6), radius=(0, 1), periodic=True), ew.Grid((6,), periodic=True), 3),
}
WHOLE = {
    "different sizes": ew.disjoint_union([WINDOW, ew.Window(6, left=2, right=1)]),
    "different blocks": ew.Blocks([4, 4], [4, 5]),
    "one block": ew.Blocks([4]),
    "a grid": ew.Grid((3, 5)),
    "a grid that stands still": ew.Grid((3, 5), radius=0),
    "edges": ew.disjoint_union([ew.EdgeList([[0], [1]], num_nodes=2)] * 2),
}


@pytest.mark.parametrize("name", FOLDED)
def test_copies_are_detected(name):
    graph, one, copies = FOLDED[name]
    assert repeated(graph) == (one, copies)
    batch = ew.disjoint_union([one] * copies)
    assert sorted(zip(*ew.edges(graph).__dict__.values(), strict=True)) == sorted(
        zip(*ew.edges(batch).__dict__.values(), strict=True)
    )


@pytest.mark.parametrize("name", WHOLE)
def test_no_copies_are_detected(name):
    assert repeated(WHOLE[name]) is None


@pytest.mark.parametrize(
    "setting", ["dot", "dot, two batch dimensions", "dot, grouped heads", "dot, strided", "gatv2"]
)
@pytest.mark.parametrize("name", FOLDED)
def test_the_same_numbers(name, setting):
    graph = FOLDED[name][0]
    call = SETTINGS[setting].call(graph, torch.float64)
    inputs, score = inputs_of_call(call), call.setting.score
    question = attention_question(inputs, graph, score, None, 0.0, wants_lse=True)
    problem = question.about(graph)
    plan = next(p for p in planner._composed(problem, 1 << 40, depth=1) if isinstance(p, Fold))
    whole = planner.choose(problem, "reference").plan
    states = [each.prepared.forward(inputs) for each in (plan, whole)]
    used, push = list(call.used().values()), [torch.randn_like(t) for t in vars(states[1]).values()]
    actual, wanted = (
        [*vars(s).values(), *torch.autograd.grad([s.out, s.lse], used, push)] for s in states
    )
    backward = plan.prepared.backward(inputs, states[1], *push)
    for name_, tensor in call.used().items():
        torch.testing.assert_close(
            backward[name_], wanted[2 + list(call.used()).index(name_)], rtol=0, atol=1e-11
        )
        assert backward[name_].shape == tensor.shape
    for first, second in zip(actual, wanted, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-11)


def test_what_belongs_to_nodes_is_not_folded():
    graph = FOLDED["windows"][0]
    call = SETTINGS["dot, dropout"].call(graph, torch.float64)
    question = attention_question(
        inputs_of_call(call), graph, call.setting.score, None, 0.4, wants_lse=False
    )
    plans = planner._composed(question.about(graph), 1 << 40, depth=1)
    assert not [plan for plan in plans if isinstance(plan, Fold)]


def test_explain_prints_the_batch():
    graph = ew.Grid((64, 256), radius=(0, 32))
    like = torch.empty(1, 4, 1, 64).expand(-1, -1, 64 * 256, -1)
    text = str(ew.explain(like, like, like, graph))
    assert "batch(" in text or "└─ batch of 64 · equal graphs side by side" in text

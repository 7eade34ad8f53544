"""What is measured: every way, and really the calls that it says."""

import pytest
import torch

from edgewise.backends.native.library import why_missing
from edgewise.graphs import Hubs, Window
from edgewise.layouts import edges
from edgewise.lottery.measure import candidates
from edgewise.lottery.problems import ROUNDS, trials
from edgewise.lottery.topologies import FAMILIES, Topology
from edgewise.lottery.trials import Attends, Sums, Trial
from edgewise.planning import plan_cache
from edgewise.planning.price_table import shipped

NOT_A_BACKEND = {"merge", "flex blocks"}  # parts of plans, and what nobody takes unasked
RING = Topology("window", (12, 2, 1))
SETTINGS = (
    Attends(2, 4),
    Attends(2, 4, batch=3, sharing=2),
    Attends(2, 4, score="additive"),
    Attends(2, 4, score="gatv2"),
    Attends(2, 4, score="soft cap", dropout=0.5),
    Attends(2, 4, bias="edge"),
    Attends(2, 4, bias="dense"),
    Attends(2, 4, bias="relative", lse=True),
    Attends(2, 4, features=True),
    Sums(4),
    Sums(4, batch=2, reduce="mean", weighted=True),
    Sums(4, reduce="max"),
)


@pytest.mark.skipif(why_missing() is not None, reason="its ways cannot be measured without it")
def test_every_way_is_measured_even_by_a_quick_run():
    """If this fails, a backend has a way that no trial in `problems.py` takes: add one."""
    found = {
        (candidate.way, trial.training)
        for trial in trials(rounds=1)
        if trial.dtype == torch.float32 and max(trial.topology.sizes) <= 4096
        for candidate in candidates(trial.problem(), shipped(), trial.only)
    }
    known = set(shipped().prices["cpu"]) - NOT_A_BACKEND
    assert {(way, training) for way in known for training in (False, True)} <= found


def test_no_trial_comes_twice():
    found = trials(ROUNDS)
    assert len({(trial.name, trial.only) for trial in found}) == len(found)
    assert found[: len(trials(1))] == trials(1)


@pytest.mark.parametrize("family", sorted({trial.topology.family for trial in trials()}))
def test_graphs_are_the_same_each_time(family):
    topologies = (trial.topology for trial in trials() if trial.topology.family == family)
    sizes = min((topology.sizes for topology in topologies), key=max)
    first, second = (edges(FAMILIES[family](*sizes)) for _ in range(2))
    assert first.target.equal(second.target)
    assert first.source.equal(second.source)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_what_is_planned_is_what_is_called(setting, training, monkeypatch):
    """The problem that is judged and the problem of the call are the same."""
    asked = []
    choose = plan_cache.choose

    def noted(problem, *args):
        asked.append(problem)
        return choose(problem, *args)

    monkeypatch.setattr(plan_cache, "choose", noted)
    graph = Window(12, left=2, right=1) | Hubs(12, [0])  # a new one, which remembers no plan
    setting.call(graph, torch.float32, training=training)("gather")
    assert asked == [setting.problem(graph, torch.float32, training=training)]


def test_training_sends_gradients_to_all_inputs():
    trial = Trial(RING, Attends(2, 4, bias="edge", features=True), training=True)
    assert len(trial.call()("native" if why_missing() is None else "gather")) == 6

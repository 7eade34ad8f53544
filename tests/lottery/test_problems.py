"""Trials: every way is measured, and the problem of a trial is that of its call."""

import pytest
import torch

from edgewise.backends.native.library import why_missing
from edgewise.graphs import Hubs, Window
from edgewise.layouts import edges
from edgewise.lottery.named_graphs import FAMILIES, NamedGraph
from edgewise.lottery.problems import ROUNDS, trials
from edgewise.lottery.trial_timing import candidates
from edgewise.lottery.trials import AggregateWorkload, AttentionWorkload, Trial
from edgewise.planning import plan_cache
from edgewise.planning.price_table import shipped

NOT_A_BACKEND = {"merge", "flex blocks"}  # parts of plans, and a way that is used on request only
RING = NamedGraph("window", (12, 2, 1))
WORKLOADS = (
    AttentionWorkload(2, 4),
    AttentionWorkload(2, 4, batch=3, sharing=2),
    AttentionWorkload(2, 4, score="additive"),
    AttentionWorkload(2, 4, score="gatv2"),
    AttentionWorkload(2, 4, score="soft cap", dropout=0.5),
    AttentionWorkload(2, 4, bias="edge"),
    AttentionWorkload(2, 4, bias="dense"),
    AttentionWorkload(2, 4, bias="relative", lse=True),
    AttentionWorkload(2, 4, features=True),
    AggregateWorkload(4),
    AggregateWorkload(4, batch=2, reduce="mean", weighted=True),
    AggregateWorkload(4, reduce="max"),
)


@pytest.mark.skipif(why_missing() is not None, reason="its ways cannot be measured without it")
def test_every_way_is_measured_even_by_a_quick_run():
    """If this fails, a backend has a way that no trial in `problems.py` takes: add one."""
    measured = {
        (candidate.way, trial.training)
        for trial in trials(rounds=1)
        if trial.dtype == torch.float32 and max(trial.graph.sizes) <= 4096
        for candidate in candidates(trial.problem(), shipped(), trial.only)
    }
    ways = set(shipped().prices["cpu"]) - NOT_A_BACKEND
    assert {(way, training) for way in ways for training in (False, True)} <= measured


def test_no_trial_occurs_twice():
    all_trials = trials(ROUNDS)
    assert len({(trial.name, trial.only) for trial in all_trials}) == len(all_trials)
    assert all_trials[: len(trials(1))] == trials(1)


@pytest.mark.parametrize("family", sorted({trial.graph.family for trial in trials()}))
def test_graphs_are_reproducible(family):
    graphs = (trial.graph for trial in trials() if trial.graph.family == family)
    sizes = min((graph.sizes for graph in graphs), key=max)
    first, second = (edges(FAMILIES[family](*sizes)) for _ in range(2))
    assert first.target.equal(second.target)
    assert first.source.equal(second.source)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_the_problem_of_a_workload_is_that_of_its_call(workload, training, monkeypatch):
    """The problem that backends judge is the problem of the call."""
    problems = []
    choose = plan_cache.choose

    def recorded(problem, *args):
        problems.append(problem)
        return choose(problem, *args)

    monkeypatch.setattr(plan_cache, "choose", recorded)
    graph = Window(12, left=2, right=1) | Hubs(12, [0])  # a new graph, without a cached plan
    workload.call(graph, torch.float32, training=training)("gather")
    assert problems == [workload.problem(graph, torch.float32, training=training)]


def test_training_computes_gradients_of_all_inputs():
    trial = Trial(RING, AttentionWorkload(2, 4, bias="edge", features=True), training=True)
    assert len(trial.call()("native" if why_missing() is None else "gather")) == 6

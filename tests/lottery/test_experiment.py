"""A whole lottery on a few trials."""

import json
from dataclasses import replace

import pytest
import torch

import edgewise as ew
from edgewise.lottery import (
    QUICK,
    Journal,
    Lottery,
    Quality,
    experiment,
    journal_path,
    save_constants,
)
from edgewise.lottery.map import MapPoint
from edgewise.lottery.named_graphs import NamedGraph
from edgewise.lottery.trials import AggregateWorkload, AttentionWorkload, Trial
from edgewise.planning.price_table import Constants, constants, measured_path, shipped

TRIALS = [
    Trial(NamedGraph("complete", (nodes,)), AttentionWorkload(2, 8), torch.float32, training)
    for nodes in (8, 16, 24, 32)
    for training in (False, True)
]


class Recorder:
    def __init__(self):
        self.trials, self.total, self.kept = [], 0, 0

    def started(self, total, kept):
        self.total, self.kept = total, kept

    def measured(self, trial):
        self.trials.append(trial)


def small(**settings):
    lottery = Lottery(Journal(journal_path(quick=True), **settings), QUICK)
    lottery.trials = [*TRIALS, Trial(NamedGraph("grid", (3,)), AggregateWorkload(4))]
    lottery.points = [MapPoint(64, density, torch.float32, False) for density in (1 / 16, 1 / 4, 1)]
    return lottery


@pytest.mark.usefixtures("cache")
def test_a_lottery_measures_fits_and_maps():
    recorder = Recorder()
    findings = small().run(recorder)
    assert findings.done == findings.total == recorder.total == len(recorder.trials)
    assert recorder.kept == 0
    assert {"sdpa", "matrix product"} <= set(findings.table.prices["cpu"])
    assert findings.regret is not None
    assert findings.regret.count >= len(TRIALS)
    assert {cell.point.density for cell in findings.cells} == {1 / 16, 1 / 4, 1}
    assert all(not cell.estimated for cell in findings.cells)
    assert json.loads(json.dumps(findings.to_dict()))["trials"]["measured"] == findings.done


@pytest.mark.usefixtures("cache")
def test_a_stopped_lottery_is_resumed(monkeypatch):
    monkeypatch.setattr(Lottery, "_quality", lambda *_: Quality(0, 1))  # measures no trial twice
    timed, calls = experiment.timed, []

    def interrupted(trial, *args):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(trial.name)
        return timed(trial, *args)

    monkeypatch.setattr(experiment, "timed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small().run(Recorder())
    assert not measured_path().exists()
    with journal_path(quick=True).open("ab") as file:
        file.write(b'{"trial": "cut o')
    first, calls[:] = list(calls), []
    monkeypatch.setattr(
        experiment, "timed", lambda trial, *args: calls.append(trial.name) or timed(trial, *args)
    )
    recorder = Recorder()
    small().run(recorder)
    assert recorder.kept == 3
    assert not set(first) & set(calls)
    calls.clear()
    small().run(recorder)
    assert not calls
    small(fresh=True).run(recorder)
    assert calls


@pytest.mark.usefixtures("cache")
def test_cells_without_time_to_measure_are_estimated():
    lottery = small()
    lottery.points.append(MapPoint(64, 1 / 64, torch.float32, True))
    lottery.trials, measure = [*TRIALS], lottery._measure

    def without_time(trial, _):
        measure(trial, 1.0 if trial in TRIALS else 0.0)

    lottery._measure = without_time
    findings = lottery.run(Recorder())
    assert findings.done == len(TRIALS) < findings.total
    assert set(findings.cells[-1].estimated) == set(findings.cells[-1].seconds)


@pytest.mark.usefixtures("cache")
def test_planners_use_measured_constants():
    q = torch.randn(2, 8, 8)
    assert constants() is shipped()
    findings = small().run(Recorder())
    table = findings.table.to_dict()
    for pass_ in table["prices"]["cpu"]["sdpa"]["float32"].values():
        pass_["calls"] = 42e9
    save_constants(Constants.from_dict(table, measured=True))
    assert constants().measured
    assert constants().machine["threads"] == 1
    assert "about 42 s" in str(ew.explain(q, q, q, ew.Complete(8), backend="dense"))


def test_constants_are_written_atomically(cache, monkeypatch):
    save_constants(shipped())
    before = measured_path().read_text()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match="No space left"):
        save_constants(shipped())
    assert measured_path().read_text() == before
    assert list(cache.iterdir()) == [measured_path()]


@pytest.mark.usefixtures("cache")
def test_without_time_an_error_is_raised():
    lottery = small()
    lottery.extent = replace(QUICK, seconds=-1.0)
    with pytest.raises(ew.EdgewiseError, match="nothing was measured"):
        lottery.run(Recorder())


@pytest.mark.usefixtures("cache")
def test_the_number_of_threads_is_restored():
    torch.set_num_threads(2)
    small().run(Recorder())
    assert torch.get_num_threads() == 2

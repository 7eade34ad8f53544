"""A lottery from beginning to end, on a handful of trials."""

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
    journal_path,
    run as place,
    save_constants,
)
from edgewise.lottery.map import Place
from edgewise.lottery.topologies import Topology
from edgewise.lottery.trials import Attends, Sums, Trial
from edgewise.planning.price_table import Constants, constants, measured_path, shipped

TRIALS = [
    Trial(Topology("complete", (nodes,)), Attends(2, 8), torch.float32, training)
    for nodes in (8, 16, 24, 32)
    for training in (False, True)
]


class Witness:
    def __init__(self):
        self.seen, self.total, self.kept = [], 0, 0

    def started(self, total, kept):
        self.total, self.kept = total, kept

    def measured(self, trial):
        self.seen.append(trial)


def small(**settings):
    lottery = Lottery(Journal(journal_path(quick=True), **settings), QUICK)
    lottery.trials = [*TRIALS, Trial(Topology("grid", (3,)), Sums(4))]
    lottery.places = [Place(64, density, torch.float32, False) for density in (1 / 16, 1 / 4, 1)]
    return lottery


@pytest.mark.usefixtures("cache")
def test_it_measures_fits_and_maps():
    witness = Witness()
    found = small().run(witness)
    assert found.done == found.total == witness.total == len(witness.seen)
    assert witness.kept == 0
    assert {"sdpa", "matrix product"} <= set(found.table.prices["cpu"])
    assert found.regret is not None
    assert found.regret.count >= len(TRIALS)
    assert {cell.place.density for cell in found.cells} == {1 / 16, 1 / 4, 1}
    assert all(not cell.estimated for cell in found.cells)
    assert json.loads(json.dumps(found.to_dict()))["trials"]["measured"] == found.done


@pytest.mark.usefixtures("cache")
def test_it_goes_on_where_it_stopped(monkeypatch):
    monkeypatch.setattr(Lottery, "_quality", lambda *_: Quality(0, 1))  # measures some again
    timed, calls = place.timed, []

    def pressed(trial, *args):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(trial.name)
        return timed(trial, *args)

    monkeypatch.setattr(place, "timed", pressed)
    with pytest.raises(KeyboardInterrupt):
        small().run(Witness())
    assert not measured_path().exists()
    with journal_path(quick=True).open("ab") as file:
        file.write(b'{"trial": "cut o')
    first, calls[:] = list(calls), []
    monkeypatch.setattr(
        place, "timed", lambda trial, *args: calls.append(trial.name) or timed(trial, *args)
    )
    witness = Witness()
    small().run(witness)
    assert witness.kept == 3
    assert not set(first) & set(calls)
    calls.clear()
    small().run(witness)
    assert not calls
    small(fresh=True).run(witness)
    assert calls


@pytest.mark.usefixtures("cache")
def test_what_time_does_not_allow_is_estimated():
    lottery = small()
    lottery.places.append(Place(64, 1 / 64, torch.float32, True))
    lottery.trials, measure = [*TRIALS], lottery._measure

    def in_haste(trial, _):
        measure(trial, 1.0 if trial in TRIALS else 0.0)

    lottery._measure = in_haste
    found = lottery.run(Witness())
    assert found.done == len(TRIALS) < found.total
    assert set(found.cells[-1].estimated) == set(found.cells[-1].seconds)


@pytest.mark.usefixtures("cache")
def test_planners_read_what_was_measured():
    q = torch.randn(2, 8, 8)
    assert constants() is shipped()
    found = small().run(Witness())
    table = found.table.to_dict()
    for pass_ in table["prices"]["cpu"]["sdpa"]["float32"].values():
        pass_["calls"] = 42e9
    save_constants(Constants.from_dict(table, measured=True))
    assert constants().measured
    assert constants().machine["threads"] == 1
    assert "about 42 s" in str(ew.explain(q, q, q, ew.Complete(8), backend="dense"))


def test_constants_are_written_whole_or_not_at_all(cache, monkeypatch):
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
def test_without_time_there_is_a_sentence():
    lottery = small()
    lottery.extent = replace(QUICK, seconds=-1.0)
    with pytest.raises(ew.EdgewiseError, match="nothing was measured"):
        lottery.run(Witness())


@pytest.mark.usefixtures("cache")
def test_threads_are_as_before():
    torch.set_num_threads(2)
    small().run(Witness())
    assert torch.get_num_threads() == 2

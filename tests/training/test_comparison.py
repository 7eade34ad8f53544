"""A comparison saves finished runs, resumes from them, and never destroys results."""

import json
from dataclasses import replace

import pytest
import torch

from edgewise.errors import ArgumentError, DataError
from edgewise.training import Comparison, Results, Silent, rungs_named


class Notes(Silent):
    """Records all events, and raises KeyboardInterrupt in a chosen epoch of a run."""

    def __init__(self, stop=None):
        self.trained, self.kept_and_dropped, self.stop = [], None, stop

    def resumed(self, kept, dropped):
        self.kept_and_dropped = (kept, dropped)

    def started(self, rung, seed, recipe):
        self.now = (rung.name, seed)

    def epoch(self, number, score):
        if self.stop == (*self.now, number):
            raise KeyboardInterrupt

    def finished(self, run):
        self.trained.append((run.rung, run.seed))


@pytest.fixture
def compare(small_nodes, tmp_path):
    def compare(rungs="mlp,gnn", seeds=2, data=small_nodes, fresh=False, **overrides):
        return Comparison(
            data,
            tmp_path / "out",
            rungs=rungs_named(rungs),
            seeds=seeds,
            overrides={"epochs": 2, **overrides},
            fresh=fresh,
        )

    return compare


def go(comparison, stop=None):
    notes = Notes(stop)
    comparison.run(notes)
    return notes


ALL = [("mlp", 0), ("gnn", 0), ("mlp", 1), ("gnn", 1)]


def test_seeds_are_the_outer_loop(compare):
    assert go(compare()).trained == ALL


def test_the_file_has_settings_runs_and_summaries(compare):
    comparison = compare()
    comparison.run()
    content = json.loads(comparison.path.read_text())
    assert content["data"]["description"].startswith("small: 40 nodes, 760 edges")
    assert content["data"]["split"].startswith("stratified split 60%/20%/20%")
    assert content["machine"]["versions"]["torch"]
    assert content["settings"]["gnn"]["epochs"] == 2
    assert [(run["rung"], run["seed"]) for run in content["runs"]] == ALL
    assert [line["rung"] for line in content["summary"]] == ["mlp", "gnn"]
    assert "The graph" in content["verdict"]
    assert Results.load(comparison.path) == replace(comparison.results, recipes=content["settings"])


def test_a_repeated_run_trains_nothing(compare):
    first = compare()
    first.run()
    written = first.path.read_text()
    again = compare()
    notes = go(again)
    assert notes.trained == []
    assert notes.kept_and_dropped == (4, 0)
    assert again.path.read_text() == written


def test_more_seeds_and_rungs_are_added(compare):
    go(compare(rungs="gnn", seeds=1))
    assert go(compare()).trained == [("mlp", 0), ("mlp", 1), ("gnn", 1)]


def test_runs_that_are_not_requested_stay_in_the_file(compare):
    go(compare())
    narrow = compare(rungs="gnn", seeds=1)
    assert go(narrow).trained == []
    assert [(r.rung, r.seed) for r in narrow.results.runs] == [("gnn", 0)]
    assert len(Results.load(narrow.path).runs) == 4
    assert go(compare()).trained == []


def test_other_settings_are_trained_again(compare):
    go(compare())
    notes = go(compare(lr=0.1))
    assert notes.kept_and_dropped == (0, 4)
    assert notes.trained == ALL


def test_other_data_is_trained_again(compare, small_nodes):
    go(compare())
    notes = go(compare(data=replace(small_nodes, x=small_nodes.x + 1)))
    assert notes.kept_and_dropped == (0, 4)


def test_another_machine_is_trained_again(compare):
    comparison = compare()
    comparison.run()
    content = json.loads(comparison.path.read_text())
    content["machine"]["processor"] = "abacus"
    comparison.path.write_text(json.dumps(content))
    assert go(compare()).kept_and_dropped == (0, 4)


def test_fresh_ignores_earlier_results(compare):
    go(compare())
    notes = go(compare(fresh=True))
    assert notes.kept_and_dropped is None
    assert notes.trained == ALL


def test_ctrl_c_keeps_what_is_finished(compare):
    comparison = compare()
    with pytest.raises(KeyboardInterrupt):
        go(comparison, stop=("mlp", 1, 2))
    assert [(run.rung, run.seed) for run in comparison.results.runs] == ALL[:2]
    assert comparison.results.runs == Results.load(comparison.path).runs
    assert go(compare()).trained == ALL[2:]


def test_ctrl_c_before_anything_is_finished_writes_nothing(compare):
    comparison = compare()
    with pytest.raises(KeyboardInterrupt):
        go(comparison, stop=("mlp", 0, 1))
    assert not comparison.out.exists()


def damage(key, value):
    def change(content):
        content["runs"][0][key] = value

    return change


DAMAGES = {
    "not JSON": lambda text: text[: len(text) // 2],
    "empty": lambda _: "",
    "a list": lambda _: "[]",
    "another format": lambda text: text.replace("edgewise comparison 1", "something else"),
    "no runs": lambda text: text.replace('"runs"', '"run"'),
    "a run without seed": lambda text: text.replace('"seed"', '"sead"'),
    "a seed of words": lambda text: text.replace('"seed": 0', '"seed": "zero"'),
    "a score of words": lambda text: text.replace('"accuracy": ', '"accuracy": "high", "was": '),
    "not a number": lambda text: text.replace('"accuracy": ', '"accuracy": NaN, "was": '),
    "a run of nothing": lambda text: text.replace(
        '"rung": "mlp",\n      "seed"', '"rung": "x",\n      "seed"'
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_results_are_refused_and_left_alone(case, compare):
    comparison = compare()
    comparison.run()
    damaged = DAMAGES[case](comparison.path.read_text())
    assert damaged != comparison.path.read_text()
    comparison.path.write_text(damaged)
    with pytest.raises(DataError) as caught:
        compare()
    message = str(caught.value)
    assert message.startswith(f"{comparison.path}: expected the results of an earlier comparison")
    assert message.endswith("Add --fresh to replace it, or choose another --out.")
    assert "\n" not in message
    assert comparison.path.read_text() == damaged
    assert go(compare(fresh=True)).trained == ALL


@pytest.mark.parametrize("seeds", [0, -3])
def test_at_least_one_seed(seeds, compare):
    with pytest.raises(ArgumentError, match=f"seeds must be at least 1, got {seeds}"):
        compare(seeds=seeds)


def test_at_least_one_thread(small_nodes, tmp_path):
    with pytest.raises(ArgumentError, match="threads must be at least 1, got 0"):
        Comparison(small_nodes, tmp_path, threads=0)


def test_a_split_that_cannot_be_used_is_refused_before_training(small_nodes, tmp_path):
    y = small_nodes.y.clone()
    y[2:] = -1
    y[:2] = torch.tensor([0, 1])
    few = replace(small_nodes, y=y, splits=replace(small_nodes.splits, y=y))
    with pytest.raises(DataError, match="part of the split is empty"):
        Comparison(few, tmp_path)


def test_encodings_are_computed_only_for_rungs_that_have_them(compare):
    assert compare(rungs="gnn,transformer").encoding is None
    assert compare(rungs="transformer+pe").encoding.shape == (40, 8)

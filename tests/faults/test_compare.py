"""`edgewise compare`: what its verdict claims, runs that diverge, files, names, progress."""

import io
import json
import math
import os
import re
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from rich.console import Console

from edgewise.cli import compare_display as display_module
from edgewise.cli.compare_display import CompareDisplay, results_table
from edgewise.cli.main import main
from edgewise.errors import ArgumentError, DataError, printable
from edgewise.models import FeatureDropout
from edgewise.training import (
    RUNGS,
    Comparison,
    Results,
    Run,
    compare_rungs,
    draw_picture,
    rungs_named,
    verdict,
)
from edgewise.training.data import from_arrays
from edgewise.training.difference import t_quantile
from edgewise.training.moments import Moments, error_of_share
from edgewise.training.recipe import recipe_for
from edgewise.training.run import train
from tests.faults.kinds import Kind, each_case

CLAIM = re.compile(r" (helps|costs quality) \(")
NO_DIFFERENCE = "no difference this test set can show"
DISAGREE = "Validation and test disagree"


def run_of(rung, seed, score, value, *, validation=None, error=None, seconds=1.0) -> Run:
    """A finished run; one whose score is None diverged."""
    diverged = value is None
    return Run(
        rung=rung,
        seed=seed,
        scores={} if diverged else {score: value, "loss": 1.0},
        validation=None if diverged else value if validation is None else validation,
        best_epoch=1,
        epochs=1,
        seconds_per_epoch=seconds,
        seconds=1.0,
        threads=1,
        parameters=1,
        peak_bytes=1,
        plan="",
        error=None if diverged else error,
        diverged=int(diverged),
    )


def results(scores, score="accuracy", *, validations=None, errors=None, seconds=None, **data):
    """Results of runs with these test scores, from seed 0."""
    runs = [
        run_of(
            rung,
            seed,
            score,
            value,
            validation=(validations or {}).get(rung, values)[seed],
            error=(errors or {}).get(rung),
            seconds=(seconds or {}).get(rung, 1.0),
        )
        for rung, values in scores.items()
        for seed, value in enumerate(values)
        if value is not Ellipsis  # not run
    ]
    about = {
        "score": score,
        "higher_is_better": score == "accuracy",
        "fingerprint": "",
        "description": "mine.npz: 40 nodes",
        "split": "a split",
        "notes": [],
        "unit": "node",
        **data,
    }
    machine = {"processor": "Abacus", "versions": {"torch": "2"}, "python": "3"}
    return Results(about, machine, {name: {} for name in RUNGS}, tuple(runs))


# --- Claims ---------------------------------------------------------------------------------------


def _check_few_seeds(case):
    """Under three seeds nothing is claimed, however large or even a difference is."""
    seeds, gap, error, fixed = case
    base = [0.3 + 0.01 * seed for seed in range(seeds)]
    after = [value + gap for value in base]
    errors = {"mlp": error, "gnn": error}
    text = verdict(results({"mlp": base, "gnn": after}, errors=errors, fixed_split=fixed))
    assert not CLAIM.search(text)
    assert "seems" not in text
    assert text.endswith("use --seeds 3 or more.")
    assert "gnn against mlp: " in text


def _check_sampling(case):
    """One seed: the binomial error of the test set decides whether a difference is stated."""
    (before, after), items, is_shown = case
    errors = {"mlp": error_of_share(before, items), "gnn": error_of_share(after, items)}
    text = verdict(results({"mlp": [before], "gnn": [after]}, errors=errors, test_items=items))
    assert (NO_DIFFERENCE in text) != is_shown
    assert f"Intervals of one seed are those of sampling {items:,} test nodes." in text
    assert not CLAIM.search(text)


SENTENCES = {
    "helps": (
        {"scores": {"mlp": [0.5, 0.52, 0.51], "gnn": [0.7, 0.73, 0.72]}},
        "The graph helps (gnn against mlp: +20.7 points, 95 % interval +19.2 to +22.1).",
    ),
    "costs": (
        {"scores": {"mlp": [0.7, 0.73, 0.72], "gnn": [0.5, 0.52, 0.51]}},
        "The graph costs quality (gnn against mlp: -20.7 points",
    ),
    "within the interval": (
        {"scores": {"mlp": [0.5, 0.52, 0.51], "gnn": [0.5, 0.6, 0.55]}},
        f"The graph: {NO_DIFFERENCE} (gnn against mlp: +4.0 points, 95 % interval -5.9 to +13.9)",
    ),
    "errors that fall": (
        {"scores": {"mlp": [1.5, 1.52, 1.51], "gnn": [1.2, 1.23, 1.2]}, "score": "rmse"},
        "The graph helps (gnn against mlp: -0.300 rmse, 95 % interval -0.325 to -0.275).",
    ),
    "two seeds": (
        {"scores": {"mlp": [0.5, 0.5], "gnn": [0.9, 0.9]}},
        "The graph: gnn scored better in 2 seeds, too few to conclude (gnn against mlp: +40.0",
    ),
    "two seeds, closing": (
        {"scores": {"mlp": [0.5, 0.5], "gnn": [0.9, 0.9]}},
        "Two seeds cannot tell luck from effect; use --seeds 3 or more.",
    ),
    "one seed, worse": (
        {"scores": {"mlp": [0.9], "gnn": [0.5]}},
        "The graph: gnn scored worse in one seed, too few to conclude (gnn against mlp: -40.0",
    ),
    "one fixed split": (
        {
            "scores": {"mlp": [0.5, 0.52, 0.51], "gnn": [0.7, 0.73, 0.72]},
            "fixed_split": True,
            "test_items": 37,
        },
        "The data has one split, so seeds vary only the weights; intervals also hold the sampling "
        "error of its 37 test nodes.",
    ),
    "a split for each seed": (
        {"scores": {"mlp": [0.5, 0.52, 0.51], "gnn": [0.7, 0.73, 0.72]}},
        "Intervals are paired t intervals over seeds.",
    ),
    "a rung that diverged": (
        {"scores": {"mlp": [0.5] * 3, "gat": [0.6] * 3, "gnn": [0.9, None, 0.9]}},
        "Training diverged (the loss was no finite number any more): gnn in 1 of 3 seeds. Nothing "
        "is said about it: use a smaller --lr, or scale the features.",
    ),
    "all but one diverged": (
        {"scores": {"mlp": [0.5] * 3, "gnn": [None] * 3}},
        "Only mlp is left, and one rung alone says nothing about another.",
    ),
    "all diverged": ({"scores": {"mlp": [None], "gnn": [None]}}, "No rung is left to compare."),
    "one rung": ({"scores": {"mlp": [0.5]}}, "One rung alone says nothing about another"),
    "best and cheapest": (
        {"scores": {"mlp": [0.9] * 3, "gnn": [0.5] * 3}, "seconds": {"gnn": 2.0}},
        "mlp has the best validation score and is the cheapest.",
    ),
    "best and dear": (
        {"scores": {"mlp": [0.5] * 3, "gnn": [0.9] * 3}, "seconds": {"gnn": 2.0}},
        "gnn has the best validation score, and nothing cheaper comes close.",
    ),
    "a cheaper one as good": (
        {"scores": {"mlp": [0.8, 0.9, 0.7], "gnn": [0.9, 0.8, 0.8]}, "seconds": {"gnn": 2.0}},
        "gnn has the best validation score; mlp is cheaper and no worse as far as this test set",
    ),
    "test against validation, chance": (
        {
            "scores": {"mlp": [0.50, 0.60, 0.5], "gnn": [0.55, 0.55, 0.56]},
            "validations": {"mlp": [0.9] * 3, "gnn": [0.8] * 3},
        },
        f"{DISAGREE}: mlp is best on validation, gnn on the test. The test set cannot tell these "
        "two apart: take the cheaper one, or use more seeds or a larger validation part before "
        "you choose.",
    ),
    "test against validation, one seed": (
        {
            "scores": {"mlp": [0.5], "gnn": [0.625]},
            "validations": {"mlp": [0.9], "gnn": [0.8]},
        },
        f"{DISAGREE}: mlp is best on validation, gnn on the test, in too few seeds to tell: use "
        "--seeds 3 or more before you choose.",
    ),
    "test against validation, more than chance": (
        {
            "scores": {"mlp": [0.5] * 3, "gnn": [0.9] * 3},
            "validations": {"mlp": [0.9] * 3, "gnn": [0.8] * 3},
        },
        f"{DISAGREE}: mlp is best on validation, gnn on the test, by more than chance. Choose "
        "neither before a larger validation part or more seeds agree with the test.",
    ),
}


def _check_sentence(case):
    settings, words = case
    assert words in verdict(results(**settings))


def _check_fixed_split(case):
    """A fixed split's test nodes count, whatever the seeds agree on."""
    gap, items, is_claimed = case
    base, after = [0.7, 0.71, 0.72], [0.7 + gap, 0.71 + gap, 0.72 + gap]
    errors = {"mlp": error_of_share(0.71, items), "gnn": error_of_share(0.71 + gap, items)}
    found = results({"mlp": base, "gnn": after}, errors=errors, fixed_split=True, test_items=items)
    assert bool(CLAIM.search(verdict(found))) == is_claimed


def _check_false_claims(case):
    """Rungs that do not differ: a claim about the graph in at most one of twenty comparisons."""
    draw, seeds, score = case
    rng = np.random.default_rng(0)
    trials = 300
    claims = 0
    for _ in range(trials):
        found = results(
            {name: draw(rng, seeds).tolist() for name in ("mlp", "gnn")}, score, test_items=50
        )
        claims += bool(CLAIM.search(verdict(found)))
    assert claims <= 0.07 * trials


def normal(rng, seeds):
    return 0.5 + 0.03 * rng.normal(size=seeds)


def few_items(rng, seeds):
    return rng.binomial(12, 0.6, seeds) / 12


def one_item(rng, seeds):
    return rng.binomial(1, 0.5, seeds) / 1


def skewed(rng, seeds):
    return np.minimum(rng.exponential(0.1, seeds), 1.0)


def _check_coherent(seed):
    """Of any scores: what is said first never goes against what is said next, in silence."""
    rng = np.random.default_rng(seed)
    names = rng.permutation(list(RUNGS))[: rng.integers(2, 7)]
    count = int(rng.integers(1, 5))

    def draw():
        spread = rng.choice([0.0, 0.02, 0.2])
        level = {name: rng.uniform(0.3, 0.9) for name in names}
        return {
            name: np.clip(level[name] + spread * rng.normal(size=count), 0, 1).tolist()
            for name in names
        }

    scores, validations = draw(), draw()
    for name in names[: rng.integers(0, 2)]:
        scores[name][0] = None  # diverged
    if count > 1 and rng.random() < 0.5:
        scores[names[-1]][-1] = Ellipsis  # stopped before this run
    found = results(
        scores,
        rng.choice(["accuracy", "rmse"]),
        validations=validations,
        errors=rng.choice([None, dict.fromkeys(names, 0.02)]),
        seconds={name: rng.uniform(0.1, 1) for name in names},
        fixed_split=bool(rng.random() < 0.5),
        train_items=60,
        test_items=20,
    )
    text = verdict(found)
    assert "nan" not in text.lower()
    diverged = {s.rung for s in found.summaries() if s.diverged}
    advice = re.search(r"(\S+) has the best validation score(?:; (\S+) is cheaper)?", text)
    if advice is None:
        assert len({s.rung for s in found.summaries()} - diverged) < 2
        return
    best, cheapest = advice[1], advice[2] or advice[1]
    assert not {best, cheapest} & diverged
    for name in names:
        gap = None if name in diverged else compare_rungs(found, best, name)
        if gap is not None and gap.outcome == "better":
            assert DISAGREE in text
    for subject in CLAIM.finditer(text):
        after, before = re.match(r"(\S+) against (\S+):", text[subject.end() :]).groups()
        loser = before if subject[1] == "helps" else after
        assert cheapest != loser or DISAGREE in text
        assert not {after, before} & diverged


def _check_pairs(case):
    """Seeds that only one rung has do not count."""
    before, after, seeds = case
    found = results({"mlp": before, "gnn": after})
    difference = compare_rungs(found, "mlp", "gnn")
    assert (0 if difference is None else difference.seeds) == seeds
    assert CLAIM.search(verdict(found)) is None or seeds >= 3


def _check_t(case):
    freedom, expected = case
    assert t_quantile(freedom) == pytest.approx(expected, abs=6e-4)


def test_splits_that_overlap_widen_the_interval():
    scores = {"mlp": [0.5, 0.52, 0.51], "gnn": [0.6, 0.63, 0.64]}
    alone = compare_rungs(results(scores), "mlp", "gnn")
    drawn = compare_rungs(results(scores, train_items=60, test_items=20), "mlp", "gnn")
    assert drawn.half_width / alone.half_width == pytest.approx(math.sqrt(2))


def test_the_error_of_a_root_mean_square_is_that_of_resampling():
    errors = torch.from_numpy(np.random.default_rng(0).normal(size=400))
    moments = Moments()
    for part in errors.square().split(150):
        moments.update(part)
    draws = errors[torch.randint(400, (4000, 400), generator=torch.Generator().manual_seed(0))]
    assert moments.error_of_root() == pytest.approx(
        float(draws.square().mean(1).sqrt().std()), rel=0.05
    )


# --- Runs that diverge ----------------------------------------------------------------------------


def small(task="node-classes", scale=1.0):
    """Two cliques, or pairs of graphs, with classes or values."""
    group = np.arange(24) // 12
    edges = np.nonzero((group[:, None] == group) & ~np.eye(24, dtype=bool))
    x = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32) * np.float32(scale)
    y = group if task.endswith("classes") else group + 0.5
    arrays = {"x": x, "edge_index": np.stack(edges), "y": y}
    if task.startswith("graph"):
        ring = np.array([[0, 1, 2, 1, 2, 0], [1, 2, 0, 0, 1, 2]])
        arrays = {
            "x": np.tile(x, (3, 1)),
            "edge_index": np.tile(ring, (1, 24)),
            "y": y,
            "node_ptr": np.arange(0, 73, 3),
            "edge_ptr": np.arange(0, 145, 6),
        }
    return from_arrays("mine", arrays)


def _check_diverged(case, tmp_path):
    task, rungs, scale, lr = case
    settings = {"epochs": 3, "lr": lr}
    data = small(task, scale)

    def compare():
        return Comparison(data, tmp_path, rungs=rungs_named(rungs), seeds=1, overrides=settings)

    first = compare()
    first.run()

    def refuse(text):
        raise AssertionError(f"{text} is not JSON")

    content = json.loads(first.path.read_text(), parse_constant=refuse)
    for run in content["runs"]:
        assert run["diverged"] == 1
        assert run["scores"] == {}
        assert run["validation"] is None
    assert content["verdict"].startswith("Training diverged")
    assert "has the best" not in content["verdict"]
    again = compare()
    again.run()
    assert again.results.runs == first.results.runs  # read back, not trained again
    table = Console(width=120, record=True, file=io.StringIO())
    table.print(results_table(first.results))
    assert table.export_text().count("diverged") == len(first.results.runs)
    if scale == 1e38 and task == "node-classes":  # nothing is left to draw
        assert draw_picture(first.results, tmp_path)


DIVERGED = {
    "x = 1e38": ("node-classes", "mlp,gnn", 1e38, 0.01),
    "lr = 1e30": ("node-classes", "mlp,gnn", 1.0, 1e30),
    **{
        f"{rung}, {task}": (task, rung, 1e38, 0.01)
        for rung, task in zip(
            RUNGS,
            ("graph-classes", "graph-values", "node-values", "graph-classes") * 2,
            strict=False,
        )
    },
}


@pytest.mark.parametrize("name", DIVERGED)
def test_a_diverged_run_is_no_result(name, tmp_path):
    _check_diverged(DIVERGED[name], tmp_path)


def test_a_run_that_diverges_late_diverged(monkeypatch):
    """One epoch with finite numbers does not make a result of what came after."""
    from edgewise.training.learner import Learner

    end = Learner.on_validation_epoch_end

    def late(self):
        end(self)
        if self.trainer.current_epoch == 2:
            self.scores["loss"] = math.nan

    monkeypatch.setattr(Learner, "on_validation_epoch_end", late)
    data = small()
    run = train(RUNGS["gnn"], data, recipe_for(data, "gnn", {"epochs": 9}), 0)
    assert (run.diverged, run.epochs, run.scores, run.validation) == (3, 3, {}, None)


# --- Settings -------------------------------------------------------------------------------------


def _check_setting(case):
    words, sentence = case
    with pytest.raises(ArgumentError, match=re.escape(sentence)):
        Comparison(small(), Path("nowhere"), **words)


CORES = os.cpu_count() or 1
SETTINGS = {
    "lr inf": (
        {"overrides": {"lr": math.inf}},
        "lr must be above 0 and finite, got inf. Use 0.001",
    ),
    "lr nan": (
        {"overrides": {"lr": math.nan}},
        "lr must be above 0 and finite, got nan. Use 0.001",
    ),
    "lr -inf": (
        {"overrides": {"lr": -math.inf}},
        "lr must be above 0 and finite, got -inf. Use 0.001",
    ),
    "weight_decay inf": (
        {"overrides": {"weight_decay": math.inf}},
        "must be at least 0 and finite, got inf. Use 0, for",
    ),
    "weight_decay nan": (
        {"overrides": {"weight_decay": math.nan}},
        "must be at least 0 and finite, got nan",
    ),
    "dropout nan": ({"overrides": {"dropout": math.nan}}, "dropout must be at least 0"),
    "dropout inf": ({"overrides": {"dropout": math.inf}}, "dropout must be at least 0"),
    "5000 threads": (
        {"threads": 5000},
        f"threads must be at most {4 * CORES}, four for each of {CORES} cores, got 5000.",
    ),
    "one thread too many": ({"threads": 4 * CORES + 1}, f"got {4 * CORES + 1}."),
    "10^18 threads": ({"threads": 10**18}, "threads must be at most"),
    "no threads": ({"threads": 0}, "threads must be at least 1, got 0."),
    "hidden of 8 * 10^9": ({"overrides": {"hidden": 8 * 10**9}}, "of memory are free. Choose"),
    "hidden of 8 * 10^5": ({"overrides": {"hidden": 8 * 10**5}}, "of memory are free. Choose"),
    "10^9 layers": ({"overrides": {"layers": 10**9}}, "of memory are free. Choose smaller ones."),
    "10^12 encodings": ({"overrides": {"encodings": 10**12}}, "of memory are free. Choose"),
    "10^9 seeds": ({"seeds": 10**9}, "seeds must be at most 10,000, got 1,000,000,000."),
}


# --- Results that are read ------------------------------------------------------------------------


def _check_results_file(change, tmp_path):
    path = tmp_path / "results.json"
    found = results({"mlp": [0.5, 0.6], "gnn": [0.7, None]}, machine={})
    found.save(path)
    assert Results.load(path).runs == found.runs
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError) as caught:
        Results.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: expected the results of an earlier comparison, got a damaged")
    assert text.endswith("Add --fresh to replace it, or choose another --out.")
    assert "\n" not in text
    assert len(text) < 500 + len(str(path))


def first_run(**fields):
    """Change the first run that a file holds."""

    def change(text):
        content = json.loads(text)
        content["runs"][0].update(fields)
        return json.dumps(content)

    return change


def _twice(text):
    content = json.loads(text)
    content["runs"] *= 2
    return json.dumps(content)


RESULTS = {
    "100,000 brackets": lambda _: "[" * 100_000,
    "100,000 objects": lambda _: '{"format":' * 100_000,
    "9900 %": first_run(scores={"accuracy": 99}),
    "just above 1": first_run(scores={"accuracy": 1.0000001}),
    "below 0": first_run(scores={"accuracy": -0.1}),
    "NaN": first_run(scores={"accuracy": math.nan}),
    "infinite": first_run(scores={"accuracy": 0.5, "loss": math.inf}),
    "another score": first_run(scores={"rmse": 0.5}),
    "true": first_run(scores={"accuracy": True}),
    "a list of scores": first_run(scores=[0.5]),
    "no scores": first_run(scores={}),
    "validation above 1": first_run(validation=7),
    "no validation": first_run(validation=None),
    "diverged with scores": first_run(diverged=1),
    "seed -1": first_run(seed=-1),
    "seed 0.5": first_run(seed=0.5),
    "seed true": first_run(seed=True),
    "10^400 parameters": first_run(parameters=10**400),
    "bytes below 0": first_run(peak_bytes=-1),
    "endless": first_run(seconds=math.inf),
    "time below 0": first_run(seconds_per_epoch=-1.0),
    "a plan of numbers": first_run(plan=3),
    "a negative error": first_run(error=-0.1),
    "an unknown field": first_run(colour="red"),
    "every run twice": _twice,
    "5,000 digits": lambda text: text.replace('"seed": 0', '"seed": ' + "9" * 5000),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_file_of_results_is_not_believed(name, tmp_path):
    _check_results_file(RESULTS[name], tmp_path)


# --- Files that cannot be written -----------------------------------------------------------------


@pytest.fixture
def own_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = small()
    np.savez("mine.npz", x=data.x, y=data.y, edge_index=data.topology.edge_index)
    return tmp_path / "mine.npz"


SMALL = ("--epochs", "1", "--seeds", "1", "--rungs", "mlp,gnn")


def _long_name():
    return "n" * 300


def _with_folder():
    Path("runs/r/results.json").mkdir(parents=True)
    return "runs/r"


def _link():
    Path("link").symlink_to("nowhere/at/all")
    return "link"


UNWRITABLE = {
    "below a file": lambda: "mine.npz/runs",
    "a file system of the kernel": lambda: "/proc/edgewise",
    "a device": lambda: "/dev/null/runs",
    "a name of 300 letters": _long_name,
    "a folder in the place of results.json": _with_folder,
    "a link to nothing": _link,
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_a_folder_that_cannot_be_written_is_found_before_training(name, own_file, monkeypatch):
    out = UNWRITABLE[name]()
    before = sorted(own_file.parent.rglob("*"))
    monkeypatch.setattr("edgewise.training.comparison.train", None)  # would be a TypeError
    assert main(["compare", "mine.npz", *SMALL, "--fresh", "--out", out]) in (1, 2)
    assert sorted(own_file.parent.rglob("*")) == before


def test_what_is_said_of_such_a_folder(own_file):
    with pytest.raises(ArgumentError) as caught:
        Comparison(small(), own_file / "runs").run()
    assert str(caught.value) == (
        f"out: nothing can be written to {own_file / 'runs'} (Not a directory). Choose another "
        f"--out; the same command goes on from what is finished."
    )


FULL = {
    "the picture": ("edgewise.training.picture.replacing", "comparison.png", 2),
    "the results": ("edgewise.training.results.replacing", "results.json", 1),
}


@pytest.mark.parametrize("name", FULL)
@pytest.mark.usefixtures("own_file")
def test_a_full_disk_does_not_hide_the_verdict(name, capsys, monkeypatch):
    place, file, runs = FULL[name]

    monkeypatch.setattr(place, Mock(side_effect=OSError(28, "No space left on device")))
    assert main(["compare", "mine.npz", *SMALL, "--out", "here"]) == 1
    out, err = capsys.readouterr()
    assert "test accuracy" in out
    assert out.count("0.") >= runs  # seconds of the runs that are finished
    assert ("gnn against mlp" in out) == (runs == 2)
    assert err.splitlines()[-1] == (
        f"edgewise: here/{file} cannot be written: No space left on device. Free some space, or "
        f"choose another --out; the same command goes on from what is finished."
    )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError(),
    ],
)
@pytest.mark.usefixtures("own_file")
def test_memory_that_ends_while_training_is_a_sentence(error, capsys, monkeypatch):
    done = run_of("mlp", 0, "accuracy", 0.5)
    monkeypatch.setattr("edgewise.training.comparison.train", Mock(side_effect=[done, error]))
    assert main(["compare", "mine.npz", *SMALL, "--out", "here"]) == 2
    out, err = capsys.readouterr()
    assert "50.0 %" in out
    assert err.splitlines()[-1].startswith("edgewise: gnn: training does not fit into the memory")


# --- Names ----------------------------------------------------------------------------------------

NAMES = {
    "escape": "esc\x1b[31mRED\x1b[2J.npz",
    "line": "nl\nline.npz",
    "return and bell": "a\rb\a.npz",
    "C1": "a\x9b31mb.npz",
    "turned around": "a\u202efdp.npz",
    "separator": "a\u2028b.npz",
    "not UTF-8": "a\udcff.npz",
    "NUL": "a\0b.npz",
    "markup": "[red]a[/red][link=x]b[/].npz",
    "closing markup": "[/bold]a.npz",
    "emoji code": ":smile:.npz",
    "mathematics": "$\\frac$a$.npz",
    "tags": "<script>alert(1)</script>&amp;.npz",
    "many scripts": "uni-ünï-数据-🙂-العربية-ไทย.npz",
    "long": "a" * 400 + ".npz",
    "blanks": "   .npz",
}
DRAWN = ("escape", "not UTF-8", "mathematics", "tags", "many scripts", "long")  # takes a second


def _check_name(name, tmp_path, capsys):
    found = results({"mlp": [0.5, 0.6], "gnn": [0.6, 0.5]}, description=f"{name}: 40 nodes")
    found = replace(found, runs=tuple(replace(run, plan=name) for run in found.runs))
    comparison = Comparison(small(), tmp_path, rungs=rungs_named("mlp,gnn"))
    comparison.results = replace(found, data={**found.data, "notes": [f"unused: {name}."]})
    display = CompareDisplay(comparison, quiet=False)
    with display:
        pass
    display.show()
    display.written([Path(name)])
    for text in capsys.readouterr():
        assert all(c.isprintable() or c == "\n" for c in text)
        text.encode()
        assert printable(name).strip()[:50] in text
    if not any(name == NAMES[drawn] for drawn in DRAWN):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = draw_picture(found, tmp_path)[1]
    words = "".join(ElementTree.fromstring(picture.read_text(encoding="utf-8")).itertext())
    assert printable(name).strip()[:40] in words


@pytest.mark.parametrize("name", NAMES)
def test_no_character_of_a_name_is_obeyed(name, tmp_path, capsys):
    _check_name(NAMES[name], tmp_path, capsys)


# --- What is printed ------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [20, 40, 80, 110, 200])
def test_no_column_is_cut_off_and_no_line_ends_in_a_blank(width, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    comparison = Comparison(small(), tmp_path, rungs=rungs_named("mlp,gnn"))
    comparison.results = results(
        {"graph-transformer": [0.5, 0.6, 0.7], "transformer+pe": [0.6, None, Ellipsis]},
        description="a long description " * 12,
    )
    display = CompareDisplay(comparison, quiet=False)
    with display:
        pass
    display.show()
    for text in capsys.readouterr():
        assert "…" not in text
        assert not re.search("[ \t]$", text, re.MULTILINE)


def test_a_pipe_gets_a_line_a_few_times_a_minute(tmp_path, capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(display_module.time, "monotonic", lambda: now[0])
    comparison = Comparison(small(), tmp_path, rungs=rungs_named("mlp"), seeds=1)
    display = CompareDisplay(comparison, quiet=False)
    with display:
        capsys.readouterr()
        display.started(RUNGS["mlp"], 0, comparison.recipes["mlp"])
        for epoch in range(1, 121):
            now[0] += 1.0
            display.epoch(epoch, 0.5)
    lines = capsys.readouterr().err.splitlines()
    assert 4 <= len(lines) <= 8  # of two minutes
    assert lines[0] == "  mlp, seed 0: epoch 20 of 200, validation 50.0 %"


def test_quick_runs_and_quiet_ones_say_nothing_of_epochs(tmp_path, capsys, monkeypatch):
    for quiet, step in ((False, 0.01), (True, 100.0)):
        now = [0.0]
        monkeypatch.setattr(display_module.time, "monotonic", lambda now=now: now[0])
        comparison = Comparison(small(), tmp_path, rungs=rungs_named("mlp"), seeds=1)
        display = CompareDisplay(comparison, quiet=quiet)
        with display:
            capsys.readouterr()
            display.started(RUNGS["mlp"], 0, comparison.recipes["mlp"])
            for epoch in range(1, 121):
                now[0] += step
                display.epoch(epoch, math.nan)
        assert capsys.readouterr().err == ""


def test_a_mixed_number_of_seeds_has_a_column():
    table = Console(width=120, record=True, file=io.StringIO())
    table.print(results_table(results({"mlp": [0.5, 0.6, 0.7], "gnn": [0.6]})))
    text = table.export_text()
    assert "seeds" in text
    assert re.search(r"│ gnn .*│\s+1 │", text)


# --- Feature dropout ------------------------------------------------------------------------------


def _set(x):
    x[5] = 7.0


def _data(x):
    x.data[5] = 7.0


def _numpy(x):
    x.numpy()[5] = 7.0


def _zero(x):
    x.zero_()


def _fill(x):
    x.fill_(2.0)


def _move(x):
    x.copy_(x.roll(1, 1))


def _copy(x):
    with torch.inference_mode():
        x[5] = 7.0


def _shrink(x):
    x.resize_(3, 40)


def _exchange(x):
    rows, columns = x.nonzero()[:2].T
    x[rows[0], columns[0]] = 0.0
    x[-1, -1] = 3.0


def _check_changed_in_place(change):
    x = (torch.rand(30, 40, generator=torch.Generator().manual_seed(0)) < 0.04).float()
    dropout = FeatureDropout(1e-12)  # drops nothing
    for _ in range(3):
        torch.testing.assert_close(dropout(x), x)
    for _ in range(3):
        change(x)
        for _ in range(2):
            torch.testing.assert_close(dropout(x), x)


def _check_one_dropout_of_two_threads(rows):
    dropout, wrong = FeatureDropout(1e-12), []

    def work(seed):
        x = (torch.rand(rows, 40, generator=torch.Generator().manual_seed(seed)) < 0.04).float()
        wrong.extend(1 for _ in range(200) if not torch.equal(dropout(x), x))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def _check_traced_dropout(trace):
    x = torch.eye(30)
    dropout = FeatureDropout(0.5)
    for _ in range(3):
        dropout(x)
    trace(dropout, x)


def _fake(function, x):
    with torch._subclasses.FakeTensorMode() as mode:
        fake = mode.from_tensor(x)
        for _ in range(3):
            function(fake)


TRACES = {
    "vmap": lambda f, x: torch.vmap(f, randomness="different")(torch.stack([x, x])),
    "make_fx": lambda f, x: torch.fx.experimental.proxy_tensor.make_fx(f)(x),
    "fake": _fake,
    "meta": lambda f, x: f(x.to("meta")),
    "export": lambda f, x: torch.export.export(f, (x,)),
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (x,)),
}


KINDS = (
    Kind(
        "a claim from one or two seeds",
        _check_few_seeds,
        {
            f"{seeds} seeds, {gap:+}, error {error}, fixed {fixed}": (seeds, gap, error, fixed)
            for seeds in (1, 2)
            for gap in (0.001, 0.01, 0.4, -0.25)
            for error in (None, 0.02)
            for fixed in (False, True)
        },
    ),
    Kind(
        "a difference below the sampling error",
        _check_sampling,
        {
            "+0.1 points of 1,900": ((0.634, 0.635), 1900, False),
            "+0.4 points of 1,900": ((0.635, 0.639), 1900, False),
            "one graph of 100": ((0.74, 0.75), 100, False),
            "four graphs of 111": ((0.676, 0.712), 111, False),
            "one node of 8": ((0.5, 0.625), 8, False),
            "all or nothing, one node": ((0.0, 1.0), 1, False),
            "+10 points of 1,900": ((0.6, 0.7), 1900, True),
            "+40 points of 111": ((0.5, 0.9), 111, True),
            "-10 points of 10,000": ((0.7, 0.6), 10_000, True),
        },
    ),
    Kind("a sentence that is never said", _check_sentence, SENTENCES),
    Kind(
        "seeds of one split stand for test nodes",
        _check_fixed_split,
        {
            "+12 points of 37": (0.12, 37, False),
            "+5 points of 100": (0.05, 100, False),
            "+1 point of 1,000": (0.01, 1000, False),
            "+12 points of 2,000": (0.12, 2000, True),
            "-12 points of 2,000": (-0.12, 2000, True),
        },
    ),
    Kind(
        "claims about rungs that do not differ",
        _check_false_claims,
        {
            f"{draw.__name__}, {seeds} seeds, {score}": (draw, seeds, score)
            for draw in (normal, few_items, one_item, skewed)
            for seeds in (2, 3, 5, 10)
            for score in ("accuracy", "rmse")
            if score == "accuracy" or seeds == 3
        },
    ),
    Kind(
        "sentences against each other",
        _check_coherent,
        {f"scores {seed}": seed for seed in range(150)},
    ),
    Kind(
        "seeds without a partner",
        _check_pairs,
        {
            "2 and 1": ([0.5, 0.5], [0.9], 1),
            "3 and 2": ([0.5] * 3, [0.9] * 2, 2),
            "3 and 4": ([0.5] * 3, [0.9] * 4, 3),
            "none": ([0.5, ...], [..., 0.9], 0),
            "holes": ([0.5, ..., 0.5, 0.5], [0.9, 0.9, ..., 0.9], 2),
        },
    ),
    Kind(
        "quantiles of t",
        _check_t,
        {
            str(freedom): (freedom, expected)
            for freedom, expected in (
                (1, 12.7062),
                (2, 4.3027),
                (3, 3.1824),
                (4, 2.7764),
                (5, 2.5706),
                (9, 2.2622),
                (10, 2.2281),
                (30, 2.0423),
                (99, 1.9842),
                (1000, 1.9623),
            )
        },
    ),
    Kind("settings out of range", _check_setting, SETTINGS),
    Kind(
        "features that were changed in place are dropped",
        _check_changed_in_place,
        {
            change.__name__.removeprefix("_"): change
            for change in (_set, _data, _numpy, _zero, _fill, _move, _copy, _shrink, _exchange)
        },
    ),
    Kind("one dropout in threads", _check_one_dropout_of_two_threads, {"30": 30, "300": 300}),
    Kind("dropout under a tracer", _check_traced_dropout, TRACES),
)


@each_case(KINDS)
def test_no_fault(check, case):
    check(case)

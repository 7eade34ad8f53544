"""The command line: output, files, and an error for each failure."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgewise.cli import main as main_module
from edgewise.cli.main import main

SMALL = ["--epochs", "2", "--seeds", "2", "--rungs", "mlp,gnn"]


def refused(capsys, *words, code=2):
    """Run a command that fails, and return its error, which is one sentence."""
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("edgewise: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err.removeprefix("edgewise: ").strip()


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("edgewise 0.")


def test_without_arguments_help_is_printed(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "compare" in out
    assert "datasets" in out


def test_help_has_the_layout_of_data_files(capsys):
    assert main(["compare", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for words in (
        "edge_index",
        "node_ptr",
        "edgewise.integrations.pyg.save",
        "--seeds",
        "graph-transformer",
        "goes on from there",
    ):
        assert words in out


def test_datasets(capsys):
    assert main(["datasets"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["digits", "cora", "citeseer", "mutag", "nci1", "esol"]


def test_compare_prints_a_table_and_writes_everything(own_file, capsys):
    assert main(["compare", "mine.npz", *SMALL]) == 0
    out, err = capsys.readouterr()
    for words in (
        "test accuracy",
        "params",
        "s / epoch",
        "memory",
        "plan",
        "mlp",
        "gnn",
        "The graph",
        "For one epoch of gnn you pay: mlp",
    ):
        assert words in " ".join(out.split())
    assert "gnn, seed 1: accuracy" in err
    assert "drawn anew for each seed" in err
    folder = own_file.parent / "runs" / "mine"
    assert sorted(path.name for path in folder.iterdir()) == [
        "comparison.png",
        "comparison.svg",
        "results.json",
    ]
    assert len(json.loads((folder / "results.json").read_text())["runs"]) == 4


@pytest.mark.usefixtures("own_file")
def test_a_repeated_comparison_trains_nothing(capsys):
    assert main(["compare", "mine.npz", *SMALL]) == 0
    first = capsys.readouterr()
    assert main(["compare", "mine.npz", *SMALL]) == 0
    second = capsys.readouterr()
    assert second.out == first.out
    assert "4 runs finished earlier: kept." in second.err
    assert "gnn, seed 1" not in second.err
    assert main(["compare", "mine.npz", *SMALL, "--lr", "0.1"]) == 0
    assert "4 runs with other settings" in capsys.readouterr().err


def test_quiet(own_file, capsys):
    assert main(["compare", "mine.npz", *SMALL, "--quiet", "--out", "here"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "test accuracy" in out
    assert (own_file.parent / "here" / "results.json").is_file()


@pytest.mark.usefixtures("own_file")
def test_one_rung_and_one_seed(capsys):
    assert main(["compare", "mine.npz", "--rungs", "gat", "--seeds", "1", "--epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert "±" not in out
    assert "One rung alone says nothing about another" in out


BAD = {
    "unknown set": (["kora"], "kora: no such data set. Use digits, cora, citeseer, mutag"),
    "missing file": (["none.npz"], "none.npz: there is no such file."),
    "unknown rung": (["mine.npz", "--rungs", "gcn"], "rungs: expected some of mlp, gnn, gat"),
    "no seeds": (["mine.npz", "--seeds", "0"], "seeds must be at least 1, got 0."),
    "no epochs": (["mine.npz", "--epochs", "0"], "epochs must be at least 1, got 0."),
    "no threads": (["mine.npz", "--threads", "0"], "threads must be at least 1, got 0."),
    "odd width": (["mine.npz", "--hidden", "30"], "hidden=30 cannot be divided among heads=8."),
    "unknown device": (["mine.npz", "--device", "tpu"], "device must be auto, cpu or cuda"),
    "absent device": (["mine.npz", "--device", "cuda:99"], "device cuda:99 is not there."),
    "no folder": (["mine.npz", "--out", "mine.npz"], "out must be a folder, but mine.npz is a"),
    "no root": (["cora", "--data-root", "nowhere"], "nowhere: the data root is not a folder."),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.usefixtures("own_file")
def test_bad_input(case, capsys):
    words, sentence = BAD[case]
    before = sorted(Path().iterdir())
    assert refused(capsys, "compare", *words).startswith(sentence)
    assert sorted(Path().iterdir()) == before


BAD_DATA = {
    "NaN": ({"x": np.full((24, 3), np.nan)}, "x holds NaN or an infinite number"),
    "edges": ({"edge_index": np.array([[0], [24]])}, "edge_index[:, 0] is 0 -> 24, but its graph"),
    "no edges": ({"edge_index": np.zeros((2, 0), int)}, "there is no edge in any graph"),
    "labels": ({"y": np.arange(24) - 2}, "y holds the label -2, but classes are numbered 0 to 21"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(case, own_file, capsys):
    change, sentence = BAD_DATA[case]
    np.savez(own_file, **{**np.load(own_file), **change})
    assert refused(capsys, "compare", "mine.npz").startswith(f"mine.npz: {sentence}")
    assert list(Path().iterdir()) == [Path("mine.npz")]


@pytest.mark.usefixtures("own_file")
def test_arguments_that_are_no_command(capsys):
    for words in (
        ["compare"],
        ["compare", "mine.npz", "--epoch", "3"],
        ["compere", "digits"],
        ["compare", "mine.npz", "--seeds", "many"],
    ):
        assert main(words) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        assert err


def test_damaged_results_are_kept(own_file, capsys):
    folder = own_file.parent / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text("{")
    sentence = refused(capsys, "compare", "mine.npz", *SMALL)
    assert "expected the results of an earlier comparison, got a damaged file" in sentence
    assert (folder / "results.json").read_text() == "{"
    assert main(["compare", "mine.npz", *SMALL, "--fresh"]) == 0


def test_a_missing_extra(own_file, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    assert main(["compare", "mine.npz", *SMALL, "--quiet"]) == 2
    err = capsys.readouterr().err
    assert err == "edgewise: lightning is not installed. Run: pip install 'edgewise[compare]'\n"
    assert not (own_file.parent / "runs").exists()


def test_a_missing_command_line_library(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert refused(capsys, "datasets") == (
        "the command line needs tyro. Run: pip install 'edgewise[compare]'"
    )


@pytest.mark.usefixtures("own_file")
def test_an_error_of_the_system(capsys, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(main_module, "_run", full)
    assert "No space left on device" in refused(capsys, "compare", "mine.npz", code=1)


def test_ctrl_c_during_training(own_file):
    """A signal to a process: status 130, no traceback, and finished runs are saved."""
    words = [
        sys.executable,
        "-m",
        "edgewise",
        "compare",
        str(own_file),
        "--rungs",
        "mlp,gnn",
        "--seeds",
        "200",
        "--epochs",
        "3",
    ]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        results = own_file.parent / "runs" / "mine" / "results.json"
        deadline = time.monotonic() + 100
        while not results.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=100)
    assert child.returncode == 130
    assert "Traceback" not in err
    finished = len(json.loads(results.read_text())["runs"])
    assert 1 <= finished < 400
    assert f"Stopped: {finished} of 400 runs are finished, kept in" in err
    assert "test accuracy" in out
    assert sorted(path.name for path in results.parent.iterdir()) == [
        "comparison.png",
        "comparison.svg",
        "results.json",
    ]


def test_ctrl_c_outside_of_training(capsys, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "_run", stop)
    assert refused(capsys, "datasets", code=130) == "stopped."

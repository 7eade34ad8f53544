"""The command ``edgewise lottery``: output, files, and errors."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from edgewise import lottery as lottery_package
from edgewise.cli.main import main
from edgewise.planning.price_table import constants, measured_path

SHORT = ["lottery", "--quick", "--seconds", "1"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "cache"))
    constants.cache_clear()
    yield tmp_path
    constants.cache_clear()


def test_the_map_is_printed_and_written(here, capsys):
    assert main([*SHORT, "--quiet"]) == 0
    out, err = capsys.readouterr()
    words = " ".join(out.split())
    assert err == ""
    for part in (
        "Density below which sparse beats dense attention",
        "float32 forward",
        "at n = 2,048.",
        "How far estimates are off",
        "Time was up",
        "Written: runs/lottery/map.json",
    ):
        assert part in words
    names = sorted(path.name for path in (here / "runs" / "lottery").iterdir())
    assert names == ["map.json", "map.png", "map.svg"]
    assert "trials of prices were measured in the time. The same command goes on" in words
    assert not measured_path().exists()
    assert not constants().measured


@pytest.mark.usefixtures("here")
def test_json_alone(capsys):
    assert main([*SHORT, "--json", "--out", "elsewhere"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    findings = json.loads(out)
    assert set(findings) == {"machine", "trials", "prices", "regret", "fits", "crossovers", "map"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--seconds", "0"],
            "seconds must be a positive finite number, got 0. Leave it out for 1100.",
        ),
        (
            ["--seconds", "nan"],
            "seconds must be a positive finite number, got nan. Leave it out for 1100.",
        ),
        (["--out", "file"], "out must be a folder, but file is a file. Choose another --out."),
    ],
)
def test_bad_input(here, capsys, words, sentence):
    (here / "file").write_text("")
    assert main(["lottery", *words]) == 2
    assert capsys.readouterr().err == f"edgewise: {sentence}\n"
    assert not (here / "cache").exists()


def test_a_missing_package_is_reported_before_measuring(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert main(SHORT) == 2
    sentence = "edgewise: scipy is not installed. Run: pip install 'edgewise[compare]'\n"
    assert capsys.readouterr().err == sentence
    assert not (here / "cache").exists()


@pytest.mark.usefixtures("here")
def test_a_full_disk(capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lottery_package.Journal, "add", full)
    assert main([*SHORT, "--quiet"]) == 1
    assert capsys.readouterr().err == "edgewise: [Errno 28] No space left on device\n"
    assert not measured_path().exists()


# A process in the background may ignore Ctrl-C, and its children inherit that.
WITH_SIGINT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from edgewise.cli.main import main
sys.exit(main(["lottery"]))
"""


def test_ctrl_c_during_measurements(here):
    """A signal to a process: status 130, one sentence, and measured times are saved."""
    words = [sys.executable, "-c", WITH_SIGINT]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as child:
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            journals = list((here / "cache").glob("lottery-*.jsonl"))
            if journals and journals[0].read_text().count("\n") > 3:
                break
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        try:
            out, err = child.communicate(timeout=100)
        finally:
            child.kill()
    assert child.returncode == 130
    assert out == ""
    assert err.startswith("Stopped: ")
    assert err.count("\n") == 1
    assert lottery_package.Journal(journals[0]).times
    assert sorted(path.name for path in here.iterdir()) == ["cache"]

"""Prices: damaged files, noisy measurements, the way back, and the shipped sets."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

import edgewise as ew
from edgewise.cli.main import main
from edgewise.lottery import (
    QUICK,
    Findings,
    Journal,
    Lottery,
    Quality,
    experiment,
    journal_path,
    remove_constants,
    save_constants,
)
from edgewise.lottery.map import MapPoint
from edgewise.lottery.problems import trials
from edgewise.lottery.regret import Regret
from edgewise.lottery.trial_timing import candidates
from edgewise.lottery.trials import AttentionWorkload, Trial
from edgewise.lottery.trust import folds, ruling
from edgewise.measure.cache_directory import cache_directory
from edgewise.planning import choose, cost, price_table
from edgewise.planning.price_table import (
    PRICE_SETS,
    Constants,
    Price,
    constants,
    measured_path,
    price_set,
    shipped,
)
from edgewise.testing import GRAPHS
from tests.faults.kinds import Kind, each_case


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache directory of its own, and constants that are read again."""
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    monkeypatch.chdir(tmp_path)
    constants.cache_clear()
    yield tmp_path / "cache"
    constants.cache_clear()


# --- A damaged file of prices ---------------------------------------------------------------------


def _spoilt(*path: str, value: Any = None, remove: bool = False) -> bytes:
    """The shipped prices with one entry changed or removed."""
    found = shipped().to_dict()
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return json.dumps(found).encode()


SDPA = ("prices", "cpu", "sdpa", "float32", "forward")
DAMAGED: dict[str, bytes] = {
    "no prices": b'{"format": 1, "machine": {}, "prices": {}}',
    "a device without prices": b'{"format": 1, "machine": {}, "prices": {"cpu": {}}}',
    "a format that is a boolean": b'{"format": true, "machine": {}, "prices": {}}',
    "a brace": b"{",
    "empty": b"",
    "a list": b"[]",
    "a number": b"5",
    "a text": b'"prices"',
    "null": b"null",
    "another format": b'{"format": 2}',
    "a long format": b'{"format": "' + b"x" * 100_000 + b'"}',
    "prices that are a number": b'{"format": 1, "machine": {}, "prices": 5}',
    "a machine that is a number": b'{"format": 1, "machine": 5, "prices": {}}',
    "cut in half": json.dumps(shipped().to_dict()).encode()[:4000],
    "not UTF-8": b"\xff\xfe\xfa\x00\x80",
    "zeros": bytes(4096),
    "nested deep": b"[" * 100_000,
    "nested deep, closed": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "huge": b" " * (2 << 20) + b"{}",
    "a number of 5,000 digits": b'{"format": ' + b"1" * 5000 + b"}",
    "negative": _spoilt(*SDPA, "calls", value=-1),
    "NaN": _spoilt(*SDPA, "calls", value=math.nan),
    "infinite": _spoilt(*SDPA, "calls", value=math.inf),
    "huge price": _spoilt(*SDPA, "calls", value=1e300),
    "a price of 400 digits": _spoilt(*SDPA, "calls", value=10**400),
    "a text for a price": _spoilt(*SDPA, "calls", value="5"),
    "true for a price": _spoilt(*SDPA, "calls", value=True),
    "no number": _spoilt(*SDPA, "calls", value=None),
    "all prices are 0": _spoilt(*SDPA, value=dict.fromkeys(Price._fields, 0)),
    "a price is missing": _spoilt(*SDPA, "calls", remove=True),
    "a price too many": _spoilt(*SDPA, "waits", value=1),
    "a pass is missing": _spoilt(*SDPA, remove=True),
    "a dtype is missing": _spoilt(*SDPA[:-1], remove=True),
    "a dtype that is none": _spoilt(*SDPA[:-2], "int8", value={}),
}


SIZES = itertools.count(8)


def _runs() -> None:
    """Attention on a graph that was not planned before."""
    q = torch.randn(1, 2, next(SIZES), 4)
    ew.attention(q, q, q, ew.Causal(q.shape[-2]))


def _check_damaged(text: bytes) -> None:
    measured_path().write_bytes(text)
    with pytest.warns(RuntimeWarning) as caught:
        _runs()
    (warning,) = caught
    words = str(warning.message)
    assert words.startswith(f"{measured_path()} must hold the prices that edgewise lottery")
    assert words.endswith("The shipped prices are used. Run: edgewise lottery, or delete it.")
    assert len(words) < 600
    assert "\n" not in words
    assert constants() is shipped()
    _runs()  # a second call does not warn: warnings are errors in tests


def _folder(path: Path) -> None:
    path.mkdir()


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _link_to_a_folder(path: Path) -> None:
    path.symlink_to(path.parent)


def _check_no_file(make: Callable[[Path], None]) -> None:
    make(measured_path())
    with pytest.warns(RuntimeWarning, match="The shipped prices are used"):
        _runs()
    assert constants() is shipped()


def _check_forbidden(_: None) -> None:
    """Permissions, for users who are not root; root is let in, and reads good prices."""
    measured_path().write_text(json.dumps(shipped().to_dict()))
    measured_path().chmod(0)
    if os.geteuid():
        with pytest.warns(RuntimeWarning, match="cannot be read"):
            _runs()
    else:
        _runs()


class _Elsewhere(NamedTuple):
    """Environment variables in which no file of prices can be read."""

    variables: dict[str, str | None]


ELSEWHERE = {
    "the cache is a file": _Elsewhere({"EDGEWISE_CACHE": __file__}),
    "the cache is nothing": _Elsewhere({"EDGEWISE_CACHE": "/dev/null"}),
    "the cache is missing": _Elsewhere({"EDGEWISE_CACHE": "/no/such/folder"}),
    "no home": _Elsewhere({"EDGEWISE_CACHE": None, "XDG_CACHE_HOME": None, "HOME": "/no/home"}),
    "an empty home": _Elsewhere({"EDGEWISE_CACHE": "", "XDG_CACHE_HOME": "", "HOME": ""}),
}


def _check_elsewhere(case: _Elsewhere) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in case.variables.items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        constants.cache_clear()
        _runs()  # without a warning: nothing was measured
        assert constants() is shipped()


def _check_no_home_at_all(_: None) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("EDGEWISE_CACHE", "XDG_CACHE_HOME"):
            patch.delenv(name, raising=False)
        patch.setattr(Path, "home", homeless)
        constants.cache_clear()
        _runs()
        assert constants() is shipped()
        with pytest.raises(ew.EdgewiseError, match="Set EDGEWISE_CACHE to a folder"):
            cache_directory()


def _check_warnings_are_errors(text: bytes) -> None:
    """Whoever turns warnings into errors finds the words in the log."""
    measured_path().write_bytes(text)
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("logging.Logger.warning", lambda _, words: said.append(words))
        _runs()  # pytest makes errors of warnings
        assert [str(measured_path()) in words for words in said] == [True]
    assert constants() is shipped()


def _check_command(text: bytes) -> None:
    """Every command runs, too."""
    measured_path().write_bytes(text)
    with pytest.warns(RuntimeWarning, match="The shipped prices are used"):
        assert main(["explain", "Causal(8)"]) == 0
    assert main(["lottery", "--reset"]) == 0
    assert not measured_path().exists()


KINDS_OF_FILES = (
    Kind("a damaged file of prices", _check_damaged, DAMAGED),
    Kind(
        "no file in the place of prices",
        _check_no_file,
        {
            "a folder": _folder,
            "a link to itself": _loop,
            "a file without end": _endless,
            "a pipe": _pipe,
            "a link to a folder": _link_to_a_folder,
        },
    ),
    Kind("a file that may not be read", _check_forbidden, {"mode 0": None}),
    Kind("no cache directory", _check_elsewhere, ELSEWHERE),
    Kind("no home directory", _check_no_home_at_all, {"none": None}),
    Kind(
        "warnings that are errors", _check_warnings_are_errors, {"a brace": b"{", "bytes": b"\xff"}
    ),
    Kind("a command with damaged prices", _check_command, {"a brace": b"{", "nested": b"[" * 9999}),
)


@each_case(KINDS_OF_FILES)
def test_damaged_prices_never_stop_the_operator(check, case):
    check(case)


GOOD_FILE = json.dumps(shipped().to_dict()).encode()


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_no_file_of_prices_stops_the_operator(data):
    """Whatever the file: prices come out, and they are whole, finite and not negative."""
    if data.draw(st.booleans()):
        text = bytearray(GOOD_FILE)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(text) - 1))
            text[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=5))
    else:
        values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
        tree = st.recursive(values, lambda v: st.lists(v) | st.dictionaries(st.text(), v))
        text = json.dumps(data.draw(tree)).encode()
    measured_path().write_bytes(bytes(text))
    constants.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgewise.planning.price_table._warn", lambda _: None)
        table = constants()
    for way in shipped().prices["cpu"]:
        for training in (False, True):
            price = table.price("cpu", way, torch.float32, training=training)
            assert all(0 <= each < math.inf for each in price)


# --- The journal ----------------------------------------------------------------------------------


def _check_journal(spoil: Callable[[Path], object]) -> None:
    """Whatever lies in its place, a journal is begun anew or goes on; or one sentence says why."""
    path = journal_path(quick=True)
    Journal(path).add("first", {"dense": 0.5})
    spoil(path)
    if path.is_file():
        Journal(path).add("second", {"dense": 0.25})
        assert Journal(path).times["second"] == {"dense": 0.25}
        return
    with pytest.raises(ew.EdgewiseError, match="Set EDGEWISE_CACHE to another folder") as caught:
        Journal(path)
    assert str(path.parent) in str(caught.value)


def _replaced(make: Callable[[Path], None]) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


def _line(text: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes() + b"\n" + text + b"\n")


JOURNALS: dict[str, Callable[[Path], object]] = {
    "nested deep": _line(b"[" * 100_000),
    "not UTF-8": _line(b"\xff\xfe"),
    "an infinite time": _line(b'{"trial": "x", "seconds": {"dense": 1e999}}'),
    "a time of 400 digits": _line(b'{"trial": "x", "seconds": {"dense": 1' + b"0" * 400 + b"}}"),
    "a time that is too long": _line(b'{"trial": "x", "seconds": {"dense": 1e300}}'),
    "an unknown backend": _line(b'{"trial": "x", "seconds": {"no such": 1}}'),
    "a header that is a list": lambda path: path.write_bytes(b"[]\n"),
    "a header of zeros": lambda path: path.write_bytes(bytes(100)),
    "a folder": _replaced(_folder),
    "a link to itself": _replaced(_loop),
    "a pipe without a reader": _replaced(lambda path: path.symlink_to("/dev/full")),
}


@each_case((Kind("a damaged journal", _check_journal, JOURNALS),))
def test_damaged_journals(check, case):
    check(case)


@pytest.mark.parametrize("kind", ["file", "read-only"])
def test_a_cache_that_cannot_be_written_is_a_sentence(folder, kind, monkeypatch, capsys):
    if kind == "file":
        monkeypatch.setenv("EDGEWISE_CACHE", str(folder / "file"))
        (folder / "file").write_text("")
    else:
        monkeypatch.setenv("EDGEWISE_CACHE", "/proc/edgewise")
    assert main(["lottery", "--quick"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Set EDGEWISE_CACHE to another folder." in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("file", "out must be a folder, but file is a file."),
        ("file/inside", "out must be a folder that can be written to, got file/inside"),
        ("/proc/sys/inside", "out must be a folder that can be written to"),
    ],
)
def test_a_folder_that_cannot_be_written_is_found_first(out, said, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    access = os.access
    monkeypatch.setattr(os, "access", lambda at, mode: "/proc" not in str(at) and access(at, mode))
    assert main(["lottery", "--quick", "--out", out]) == 2
    assert said in capsys.readouterr().err
    assert not list((tmp_path / "cache").iterdir())


# --- The better prices are kept -------------------------------------------------------------------

Clock = Callable[[Trial, str], float]


class _Silent:
    def started(self, total: int, kept: int) -> None: ...

    def measured(self, trial: str) -> None: ...


@cache
def _some_trials() -> tuple[Trial, ...]:
    """Trials of several families, small enough for a test."""
    small = [
        trial
        for trial in trials(1)
        if isinstance(trial.workload, AttentionWorkload)
        and trial.graph.build().facts().max_edges < 1 << 18
    ]
    return tuple(small[::5])


@cache
def _work() -> dict[tuple[str, str], float]:
    """What each trial takes with each backend at the shipped prices, in seconds."""
    return {
        (trial.name, each.backend): each.estimate
        for trial in _some_trials()
        for each in candidates(trial.problem(), shipped(), trial.only)
    }


@cache
def _lottery(clock: Clock, measured: float = 1.0) -> Findings:
    """A lottery with a made clock, of which a share of all trials is measured."""

    def timed(trial: Trial, backends: Any, _: Any) -> dict[str, float]:
        return {backend: clock(trial, backend) for backend in backends}

    lottery = Lottery(Journal(journal_path(quick=True), fresh=True), QUICK)
    lottery.trials = [*_some_trials()]
    lottery.points = [MapPoint(64, 1.0, torch.float32, False)]
    measure = lottery._measure
    cut = [trial.name for trial in lottery.trials][: round(measured * len(lottery.trials))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "timed", timed)
        patch.setattr(
            lottery, "_measure", lambda trial, _: measure(trial, 1.0) if trial.name in cut else None
        )
        return lottery.run(_Silent())


def _same(trial: Trial, backend: str) -> float:
    """A machine exactly like that of the shipped prices."""
    return _work().get((trial.name, backend), 1e-3)


def _other(trial: Trial, backend: str) -> float:
    """A machine whose compiled kernels are ten times as slow as the shipped prices say."""
    return _same(trial, backend) * (10 if backend == "native" else 1)


@cache
def _noisy(spread: float) -> Clock:
    random = np.random.default_rng(0)
    return lambda trial, backend: _other(trial, backend) * float(np.exp(random.normal(0, spread)))


def test_prices_that_choose_better_are_used():
    found = _lottery(_other)
    assert found.ruling.use == "measured"
    assert found.ruling.measured.mean < found.ruling.shipped.mean
    assert found.ruling.measured.count == found.ruling.shipped.count
    assert "measured prices choose better" in found.ruling.reason


def test_prices_that_choose_no_better_are_not():
    found = _lottery(_same)
    assert found.ruling.use == "shipped"
    assert found.ruling.shipped.mean == pytest.approx(1.0)


@pytest.mark.parametrize("spread", [0.3, 0.6, 1.5])
def test_noise_is_refused(spread):
    found = _lottery(_noisy(spread))
    assert found.ruling.use == "as before"
    assert "something else was running" in found.ruling.reason
    assert "--fresh" in found.ruling.reason


def test_a_little_noise_is_not():
    assert _lottery(_noisy(0.03)).ruling.use == "measured"


@pytest.mark.parametrize("share", [0.1, 0.25, 0.6])
def test_low_coverage_is_refused(share):
    found = _lottery(_other, measured=share)
    assert found.ruling.use == "as before"
    assert "trials of prices were measured in the time" in found.ruling.reason


def _regret(mean: float) -> Regret:
    return Regret(100, mean, 1.0, mean, mean, 0.9, ())


GOOD = Quality(100, 100, (1.01, 1.02, 1.03))


@pytest.mark.parametrize(
    ("quality", "measured", "before", "earlier", "use"),
    [
        (GOOD, 1.02, 1.05, None, "measured"),
        (GOOD, 1.05, 1.05, None, "shipped"),
        (GOOD, 60.6, 1.05, None, "shipped"),
        (GOOD, 1.06, 1.05, 1.01, "as before"),  # those of an earlier lottery are the best
        (GOOD, 1.06, 1.05, 1.20, "shipped"),  # and here the worst
        (replace(GOOD, measured=66), 1.02, 1.05, None, "as before"),
        (replace(GOOD, measured=67), 1.02, 1.05, None, "measured"),
        (replace(GOOD, ratios=()), 1.02, 1.05, None, "as before"),
        (replace(GOOD, ratios=(1.2, 1.2)), 1.02, 1.05, None, "as before"),
        (replace(GOOD, ratios=(1.0,) * 8 + (9.0,) * 2), 1.02, 1.05, None, "as before"),
        (GOOD, None, None, None, "as before"),
    ],
)
def test_the_ruling(quality, measured, before, earlier, use):
    regrets = (None if mean is None else _regret(mean) for mean in (measured, before, earlier))
    found = ruling(quality, *regrets)
    assert found.use == use
    assert found.reason.endswith(".")
    json.dumps(found.to_dict(), allow_nan=False)


@given(st.lists(st.text(max_size=3), max_size=30, unique=True))
def test_folds_hold_every_trial_once(names):
    found = folds(names)
    assert sorted(name for fold in found for name in fold) == sorted(names)
    assert all(found)


def _command(monkeypatch: pytest.MonkeyPatch, findings: Findings) -> int:
    monkeypatch.setattr("edgewise.cli.lottery.Lottery", lambda *_: _Fixed(findings))
    return main(["lottery", "--quick", "--quiet"])


class _Fixed:
    """A lottery that has its findings already."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    def run(self, _: Any) -> Findings:
        return self.findings


def test_the_command_says_which_prices_are_used_and_the_way_back(monkeypatch, capsys):
    assert _command(monkeypatch, _lottery(_other)) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Prices in use: measured on this machine." in out
    assert "edgewise lottery --reset" in out
    assert constants().measured
    assert main(["explain", "Causal(8)"]) == 0
    assert "prices   measured on this machine" in capsys.readouterr().out
    assert main(["lottery", "--reset"]) == 0
    assert capsys.readouterr().out.startswith("Removed: ")
    assert not constants().measured
    assert not measured_path().exists()
    assert main(["lottery", "--reset"]) == 0
    assert capsys.readouterr().out.startswith("There were no measured prices.")


@pytest.mark.parametrize("place_", ["save_constants", "draw_map"])
def test_a_full_disk_hides_nothing(monkeypatch, capsys, place_):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "there")

    monkeypatch.setattr(f"edgewise.cli.lottery.{place_}", full)
    assert _command(monkeypatch, _lottery(_other)) == 2
    out, err = capsys.readouterr()
    assert "Prices in use: measured on this machine." in " ".join(out.split())
    assert "there must be written, got No space left on device" in err


@pytest.mark.parametrize("name", ["[red]x[/nope]", ":smile:", "a\x1b[31mb", "a\nb"])
def test_names_with_markup_or_escapes_are_printed_as_they_are(monkeypatch, capsys, name):
    findings = _lottery(_same)
    monkeypatch.setattr("edgewise.cli.lottery.Lottery", lambda *_: _Fixed(findings))
    assert main(["lottery", "--quick", "--quiet", "--out", name]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert f"Written: {name.encode('unicode_escape').decode()}/map.json" in out


@pytest.mark.parametrize("clock", [_same, _noisy(0.6)], ids=["no better", "noise"])
def test_the_command_keeps_what_is_better(monkeypatch, capsys, clock):
    assert _command(monkeypatch, _lottery(clock)) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"Prices in use: {'as before, ' if clock is not _same else ''}shipped for" in out
    assert not measured_path().exists()
    assert Path("runs/lottery/map.json").exists()
    found = json.loads(Path("runs/lottery/map.json").read_text())["prices"]
    assert found["use"] in ("shipped", "as before")


def test_prices_of_an_earlier_lottery_that_choose_worse_are_removed(monkeypatch, capsys):
    ways = shipped().prices["cpu"]
    spoilt = {
        way: {
            dtype: {
                pass_: price.times(5) if way.startswith("fused") else price
                for pass_, price in passes.items()
            }
            for dtype, passes in dtypes.items()
        }
        for way, dtypes in ways.items()
    }
    earlier = Constants({}, {"cpu": spoilt}, measured=True)
    save_constants(earlier)
    assert constants() == earlier
    assert _command(monkeypatch, _lottery.__wrapped__(_same)) == 0
    assert not measured_path().exists()
    assert f"Prices in use: {shipped().source}." in capsys.readouterr().out


def test_reset_removes_whatever_is_there():
    assert not remove_constants()
    measured_path().symlink_to(measured_path())
    assert remove_constants()
    assert not os.path.lexists(measured_path())


# --- The shipped sets -----------------------------------------------------------------------------


def test_every_way_has_prices_in_every_set():
    """The same ways in all sets; that one has them all is tested with the trials."""
    for name in PRICE_SETS:
        table = shipped(name)
        assert {"merge", "flex blocks"} < set(table.prices["cpu"])
        assert set(table.prices["cpu"]) == set(shipped("avx512").prices["cpu"])
        assert table.prices["cuda"] == shipped("avx512").prices["cuda"]
        assert table.machine["set"] == name
        assert table.machine["basis"] == "measured" or "estimated" in table.machine["basis"]
        for dtypes in table.prices["cpu"].values():
            for passes in dtypes.values():
                for price in passes.values():
                    assert any(price)


@pytest.mark.parametrize(
    ("capability", "matrix_units", "name"),
    [
        ("AVX512", True, "amx"),
        ("AVX512", False, "avx512"),
        ("AVX512_VNNI", False, "avx512"),
        ("avx-512", False, "avx512"),
        ("AVX2", True, "avx2"),
        ("AVX2", False, "avx2"),
        ("DEFAULT", False, "avx2"),
        ("NO AVX", False, "avx2"),
        ("SVE256", False, "avx2"),
        ("ASIMD", False, "avx2"),
        ("VSX", False, "avx2"),
        ("Z VECTOR", False, "avx2"),
        ("a word that torch does not have yet", False, "avx2"),
    ],
)
def test_a_processor_has_the_nearest_set(capability, matrix_units, name):
    assert price_set(capability, matrix_units=matrix_units) == name


def test_the_set_of_this_processor_serves(monkeypatch):
    monkeypatch.setattr(price_table, "price_set", price_set)  # tests pin another
    shipped.cache_clear()
    assert shipped() is shipped(price_set())
    shipped.cache_clear()
    monkeypatch.setattr("edgewise.planning.price_table._has_matrix_units", lambda: True)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX512")
    assert price_set() == "amx"
    with pytest.raises(ew.EdgewiseError, match="name must be one of amx, avx512, avx2, got 'sse'"):
        shipped("sse")


@pytest.mark.parametrize("name", PRICE_SETS)
def test_explain_says_which_set(monkeypatch, capsys, name):
    monkeypatch.setattr("edgewise.planning.explain.constants", lambda: shipped(name))
    assert main(["explain", "Causal(8)"]) == 0
    (line,) = [ln for ln in capsys.readouterr().out.splitlines() if ln.startswith("prices")]
    assert f"shipped for {PRICE_SETS[name]}" in line
    assert ("estimated" in line) == (shipped(name).machine["basis"] != "measured")
    assert main(["explain", "Causal(8)", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["prices"], found["price_set"]) == ("shipped", name)


@pytest.mark.parametrize("name", PRICE_SETS)
def test_every_set_plans_every_graph(monkeypatch, name):
    monkeypatch.setattr(cost, "constants", lambda: shipped(name))
    for graph in GRAPHS.values():
        for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.float16):
            for training in (False, True):
                problem = AttentionWorkload(2, 8).problem(graph, dtype, training=training)
                plan = choose(problem, budget=10**12).plan
                assert 0 <= plan.seconds < 10


def test_matrix_units_gain_in_half_precision_alone():
    units, plain = (shipped(name).prices["cpu"] for name in ("amx", "avx512"))
    for way, dtypes in plain.items():
        assert units[way]["float32"] == dtypes["float32"]
        for pass_, price in dtypes.get("bfloat16", {}).items():
            gained = way in ("sdpa", "sdpa + mask", "tiles", "blocks")
            assert (units[way]["bfloat16"][pass_].products < price.products) == gained


@pytest.mark.slow
def test_a_processor_with_less_has_another_set():
    """A new process, because torch reads what it may use once."""
    code = "from edgewise.planning.price_table import shipped; print(shipped().machine['set'])"
    words = [sys.executable, "-c", code]
    env = os.environ | {"ATEN_CPU_CAPABILITY": "avx2"}
    found = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "avx2"

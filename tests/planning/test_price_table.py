"""The constants of a machine: shipped or measured; damaged files are in tests/faults."""

import json

import pytest
import torch

from edgewise.planning.price_table import Constants, constants, measured_path, shipped


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path))
    constants.cache_clear()
    yield tmp_path
    constants.cache_clear()


def test_without_a_measured_file_the_shipped_one_serves(cache):
    assert constants() is shipped()
    assert not constants().measured
    assert not list(cache.iterdir())


@pytest.mark.usefixtures("cache")
def test_a_measured_file_is_read():
    actual = shipped().to_dict()
    actual["prices"] = {"cpu": {"sdpa": actual["prices"]["cpu"]["sdpa"]}}
    actual["prices"]["cpu"]["sdpa"]["float32"]["forward"]["calls"] = 123.0
    measured_path().write_text(json.dumps(actual))
    read = constants()
    assert read.measured
    assert read.price("cpu", "sdpa", torch.float32, training=False).calls == 123
    # A way that was not measured, by an older version say, has the shipped price.
    for way in ("merge", "fused rows"):
        price = read.price("cpu", way, torch.float32, training=True)
        assert price == shipped().price("cpu", way, torch.float32, training=True)


def test_dtypes_that_were_not_measured_follow_those_that_were():
    table = shipped()
    half, brain = (
        table.price("cpu", "sdpa", dtype, training=True) for dtype in (torch.half, torch.bfloat16)
    )
    assert half == brain
    single, double = (
        table.price("cpu", "rows", dtype, training=False) for dtype in (torch.float, torch.double)
    )
    assert double.products == 2 * single.products
    assert double.calls == single.calls


def test_constants_survive_json():
    text = json.dumps(shipped().to_dict())
    assert Constants.from_dict(json.loads(text), measured=False) == shipped()


def test_the_file_belongs_to_one_machine(monkeypatch):
    here = measured_path()
    monkeypatch.setattr("edgewise.measure.machine.processor", lambda: "another processor")
    assert measured_path() != here

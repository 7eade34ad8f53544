"""Settings for all tests: one thread (the tensors are tiny) and the same random numbers.

Plans follow one shipped set of prices, whatever this machine is, and nothing measured on it.
"""

import os
from pathlib import Path

import pytest
import torch

from edgewise.planning import price_table
from tests.selection import Recorder, Selection


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("selection", "which tests a run takes")
    group.addoption("--budget", type=float, help="take as many tests as fit into so many seconds")
    group.addoption("--rotation", type=int, default=0, help="which part of them; see --budget")
    group.addoption("--record-durations", type=Path, help="write what tests take to this file")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.budget is not None:
        chosen = Selection(config.option.budget, config.option.rotation)
        config.pluginmanager.register(chosen)
    if config.option.record_durations and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(config.option.record_durations))


@pytest.fixture(autouse=True, scope="session")
def _shipped_constants(tmp_path_factory):
    os.environ["EDGEWISE_CACHE"] = str(tmp_path_factory.mktemp("cache"))  # processes inherit it
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(price_table, "price_set", _price_set)
        yield


def _price_set() -> str:
    """Of what processor the shipped prices are, whatever processor the tests run on."""
    return "avx512"


@pytest.fixture(autouse=True)
def _one_thread_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the real data sets."""
    root = os.environ.get("EDGEWISE_DATA")
    if not root:
        pytest.skip("EDGEWISE_DATA names no folder with the real data sets")
    return Path(root)

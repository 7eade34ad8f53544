"""Settings for all tests: one thread (the tensors are tiny) and the same random numbers.

Plans follow one shipped set of prices, whatever this machine is, and nothing measured on it.
"""

import os
from pathlib import Path

import pytest
import torch

from edgewise.planning import machine


@pytest.fixture(autouse=True, scope="session")
def _shipped_constants(tmp_path_factory):
    os.environ["EDGEWISE_CACHE"] = str(tmp_path_factory.mktemp("cache"))  # processes inherit it
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "price_set", lambda: "avx512")
        yield


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

"""Imports load no optional package, and a missing package is one sentence."""

import subprocess
import sys

import pytest

from edgewise.optional_packages import require

OPTIONAL = (
    "lightning",
    "torchmetrics",
    "sklearn",
    "scipy",
    "matplotlib",
    "rich",
    "tyro",
    "safetensors",
    "psutil",
    "torch_geometric",
    "pandas",
)


def loaded_by(code: str) -> list[str]:
    report = f"import sys; {code}; print(*(m for m in {OPTIONAL!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    "module",
    ["edgewise.training", "edgewise.models", "edgewise.integrations.pyg", "edgewise.cli.main"],
)
def test_importing_loads_nothing_optional(module):
    assert loaded_by(f"import {module}") == []


def test_an_optional_import_is_detected():
    assert loaded_by("import edgewise.cli.compare_display") == ["rich"]


def test_a_missing_package_is_one_sentence():
    with pytest.raises(ModuleNotFoundError) as caught:
        require("no_such_package.part")
    assert str(caught.value) == (
        "no_such_package is not installed. Run: pip install 'edgewise[compare]'"
    )


def test_a_fault_inside_a_package_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import no_such_part")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_part'"):
        require("broken_package")

"""Workflows run what is here, on the versions that are declared, and hold no secrets."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.name: path.read_text("utf-8") for path in ROOT.glob(".github/workflows/*.yml")}
SCRIPTS = sorted((ROOT / ".ci").iterdir())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_every_python_that_is_declared_is_tested():
    prefix = "Programming Language :: Python :: 3."
    declared = {c.removeprefix(prefix) for c in PROJECT["classifiers"] if c.startswith(prefix)}
    assert declared
    assert set(re.findall(r'"3\.(\d+)"', WORKFLOWS["test.yml"])) == declared
    oldest, newest = (f"3.{choose(declared, key=int)}" for choose in (min, max))
    assert PROJECT["requires-python"] == f">={oldest}"
    assert f'python: ["{oldest}", "{newest}"]' in WORKFLOWS["wheels.yml"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_have_versions_and_nothing_is_secret(name):
    text = WORKFLOWS[name]
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert all(re.fullmatch(r"[\w/-]+@v\d+\.\d+\.\d+", action) for action in used), used
    assert "secrets." not in text
    assert "permissions:\n  contents: read\n" in text


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_a_workflow_runs_is_here(name):
    makefile = (ROOT / "Makefile").read_text("utf-8")
    commands = re.findall(r"run: (.+)", WORKFLOWS[name])
    assert commands
    for command in commands:
        program, *words = command.split()
        if program == "bash":
            assert (ROOT / words[0]).is_file(), command
        elif program == "make":
            assert f"\n{words[0]}:" in makefile, command
        else:
            assert program == "pipx", command


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_can_be_run_and_stop_at_the_first_failure(path):
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", path], check=True)
    assert "\nset -euo pipefail\n" in path.read_text("utf-8")


def test_the_oldest_torch_can_be_read_from_the_dependencies():
    line = next(
        x for x in (ROOT / ".ci/oldest_torch").read_text("utf-8").splitlines() if "sed" in x
    )
    script = f'cd "{ROOT}"; {line}; echo "$oldest"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert f"torch>={done.stdout.strip()}" in PROJECT["dependencies"]

"""A cold import loads torch, numpy and nothing optional; and no package that is not used."""

import subprocess
import sys

import pytest

import edgewise as ew

# What importing a package adds to what torch loads by itself, without the standard library.
PROGRAM = """
import sys
import torch
before = set(sys.modules)
{snippet}
added = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(added - sys.stdlib_module_names))
print(*sorted(name for name in sys.modules if name.startswith("edgewise.")))
"""


def run(*words):
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=True, timeout=120
    ).stdout


def added_by(snippet):
    packages, modules = run("-c", PROGRAM.format(snippet=snippet)).split("\n")[:2]
    floors = {name.split(".")[1] for name in modules.split()}
    return {name for name in packages.split() if "cython" not in name}, floors  # numpy.random


def test_packages_are_attributes_that_load_on_first_use():
    text = run("-c", "import edgewise as ew; print(ew.nn.MLP, ew.models.GCN, dir(ew)[-1])")
    assert "edgewise.nn.blocks.mlp.MLP" in text
    assert "edgewise.models" in text
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ew.nothing


def test_importing_loads_nothing_optional():
    packages, floors = added_by("import edgewise")
    assert packages - {"torch", "numpy"} == {"edgewise"}
    lower = {
        "atomic_file",
        "measure",
        "errors",
        "version",
        "shapes",
        "graphs",
        "layouts",
        "ops",
        "problem",
        "backends",
    }
    assert floors == lower | {"planning", "functional"}


def test_using_it_loads_nothing_optional():
    """The first call neither: a graph is built, planned, lowered, computed and drawn."""
    packages, _ = added_by(
        "import edgewise as ew\n"
        "graph = ew.Window(9, left=1, right=1) | ew.RandomRegular(9, degree=2)\n"
        "q = torch.randn(1, 9, 4, requires_grad=True)\n"
        "ew.attention(q, q, q, graph).sum().backward()\n"
        "ew.aggregate(q[0].detach(), graph)\n"
        "str(ew.explain(q, q, q, graph)), ew.draw(graph)\n"
    )
    assert packages - {"torch", "numpy"} == {"edgewise"}


@pytest.mark.parametrize("snippet", ["import edgewise, matplotlib", "import edgewise, scipy"])
def test_an_optional_package_is_detected(snippet):
    packages, _ = added_by(snippet)
    assert packages & {"matplotlib", "scipy"}


def test_a_package_that_is_not_used_is_detected():
    _, floors = added_by("import edgewise.nn")
    assert "nn" in floors


def test_the_command_prints_its_version():
    assert run("-m", "edgewise", "--version").strip() == f"edgewise {ew.__version__}"

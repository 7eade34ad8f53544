"""The examples, and the same scripts with the original's layers: step by step the same losses."""

from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[3] / "examples"
SETTINGS = {
    "pyg_gat": {"epochs": 12},
    "pyg_gps": {"epochs": 4, "count": 128},
    "pyg_accelerate": {"epochs": 12},
}


@pytest.fixture(autouse=True)
def _data(data_root):
    """The examples find the data by the same variable."""


def loaded(name, theirs):
    """The names of an example, with our layers or theirs."""
    source = (EXAMPLES / f"{name}.py").read_text()
    if theirs:
        changed = source.replace(
            "edgewise.integrations.pyg import G", "torch_geometric.nn import G"
        )
        changed = changed.replace("print(accelerate(model))", "pass")
        assert changed != source
        source = changed
    scope = {"__name__": name}
    exec(compile(source, name, "exec"), scope)
    return scope


def losses(scope, settings):
    result = scope["main"](**settings)
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_steps(name):
    ours, theirs = (losses(loaded(name, flag), SETTINGS[name]) for flag in (False, True))
    assert ours == pytest.approx(theirs, rel=2e-3)
    assert ours[:3] == pytest.approx(theirs[:3], rel=1e-4)
    assert sum(ours[-3:]) < sum(ours[:3])


@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_steps_in_double_precision(name):
    """Nothing but rounding lies between them."""
    torch.set_default_dtype(torch.float64)
    try:
        settings = SETTINGS[name] | {"epochs": 3}
        ours, theirs = (losses(doubled(name, flag), settings) for flag in (False, True))
    finally:
        torch.set_default_dtype(torch.float32)
    assert ours == pytest.approx(theirs, rel=1e-8)


def doubled(name, theirs):
    """An example on features of the default type."""
    scope = loaded(name, theirs)
    load = scope["load"]

    def double(dataset):
        found = load(dataset)
        for field in ("x", "y"):
            tensor = getattr(found, field)
            if tensor.is_floating_point():
                object.__setattr__(found, field, tensor.double())
        return found

    scope["load"] = double
    return scope


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("pyg_*.py")} == set(SETTINGS)

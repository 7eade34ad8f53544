"""The example runs, and says what it says."""

import importlib.util
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "huggingface_window.py"


def test_the_example_runs(capsys):
    spec = importlib.util.spec_from_file_location("huggingface_window", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.main()
    text = capsys.readouterr().out
    assert "everything: cosine to the model's own [1.0, 1.0]" in text
    assert "converted: cosine to the model's own [1.0, 1.0]" in text
    moved = (found["window and hub"] * found["everything"]).sum(-1)
    assert 0.5 < moved[0] < moved[1] < 0.999  # a short sentence loses less

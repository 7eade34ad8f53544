"""Scripts under ``benchmarks/`` stand first on the path of all that they start."""

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_no_script_hides_a_module_of_python():
    # With an `encodings.py` there, no process that torch's compiler starts finds its own encodings.
    scripts = {path.stem for path in BENCHMARKS.glob("*.py")}
    assert scripts
    assert not scripts & set(sys.stdlib_module_names)

"""A library that is missing, broken or of another version: one sentence, and the rest works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgewise.backends.native import library

CXX = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
SUBJECT = "the library that EDGEWISE_NATIVE_LIBRARY names"
CURE = "name another one, or unset the variable"

# In a process of its own, because the library is loaded once. Prints the refusal.
ASK = """
import torch
import edgewise as ew

q = torch.randn(2, 6, 8)
graph = ew.EdgeList([[0, 1, 2, 3], [1, 1, 0, 5]], num_nodes=6)
expected = ew.attention(q, q, q, graph, backend="reference")
torch.testing.assert_close(ew.attention(q, q, q, graph, backend="auto"), expected)
explained = str(ew.explain(q, q, q, graph))
try:
    ew.attention(q, q, q, graph, backend="native")
    print("accepted")
except ew.BackendRefused as error:
    sentence = str(error).removesuffix(". Or use backend='auto'.").removeprefix("native: ")
    assert sentence in explained, explained
    print(error)
"""


def answer(named):
    """What a process says in which EDGEWISE_NATIVE_LIBRARY names that file."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "EDGEWISE_NATIVE_LIBRARY": str(named)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def assert_refused(said, reason):
    """One sentence: whose fault, what is wrong, what to do."""
    start, end = f"native: {SUBJECT} ", f"; {CURE}. Or use backend='auto'."
    assert said.startswith(start), said
    assert said.endswith(end), said
    assert re.fullmatch(reason, said[len(start) : -len(end)]), said
    assert "\n" not in said


def test_a_file_that_is_missing(tmp_path):
    path = tmp_path / "missing.so"
    assert_refused(answer(path), rf"cannot be loaded \(.*{re.escape(str(path))}.*\)")


def test_a_file_that_is_no_library(tmp_path):
    path = tmp_path / "text.so"
    path.write_text("not a library\n")
    assert_refused(answer(path), r"cannot be loaded \(.*\)")


def test_a_bare_name_is_a_file_of_this_folder():
    name = "libm.so.6"  # in the system's folders there is one
    path = Path(name).absolute()
    assert_refused(answer(name), rf"cannot be loaded \(.*{re.escape(str(path))}.*\)")


@pytest.mark.skipif(CXX is None, reason="needs a C++ compiler")
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("int64_t edgewise_sizes(int64_t) { return 8; }", "is of another version"),
        ("int64_t edgewise_other() { return 0; }", r"cannot be loaded \(.*edgewise_sizes.*\)"),
    ],
    ids=["other records", "no such function"],
)
def test_a_library_of_another_version(tmp_path, source, reason):
    file, path = tmp_path / "other.cpp", tmp_path / "other.so"
    file.write_text(f'#include <stdint.h>\nextern "C" {source}\n')
    subprocess.run([CXX, "-shared", "-fPIC", "-o", path, file], check=True, timeout=60)
    assert_refused(answer(path), reason)


def test_an_empty_name_is_none():
    assert "EDGEWISE_NATIVE_LIBRARY" not in answer("")


def test_without_a_library(monkeypatch):
    monkeypatch.setattr(library, "_path", lambda: None)
    monkeypatch.delenv("EDGEWISE_NATIVE_LIBRARY", raising=False)
    assert library._loaded.__wrapped__() == (
        "no compiled library was installed; install a C++ compiler and install Edgewise again"
    )

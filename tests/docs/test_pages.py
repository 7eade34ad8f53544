"""The Python of every page of the documentation runs, and prints what the page shows."""

import doctest
from pathlib import Path

import pytest
import torch

from tests.docs.pages import DOCS, blocks, run

# Their blocks are settings of `edgewise check`, which runs them.
GENERATED = {"ladder.md", "models.md"}
# Its model and batch come from a folder that the reader has.
NEEDS_A_MODEL = {"huggingface.md"}
PAGES = sorted(
    path
    for path in DOCS.rglob("*.md")
    if path.name not in GENERATED | NEEDS_A_MODEL
    and blocks(path.read_text(encoding="utf-8"))
    and "gallery" not in path.parts
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_its_code_runs(page: Path, tmp_path: Path):
    torch.manual_seed(0)
    run(page, tmp_path, {"__name__": "page"})


def test_a_page_that_prints_something_else_is_an_error(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\n>>> 1 + 1\n3\n```\n")
    with pytest.raises(doctest.DocTestFailure):
        run(page, tmp_path, {})


def test_a_page_that_raises_is_an_error(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\ntext\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError):
        run(page, tmp_path, {})

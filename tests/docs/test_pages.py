"""The Python of every page of the documentation runs, and prints what the page shows."""

import doctest
import re
from functools import cache
from pathlib import Path

import pytest
import torch

import edgewise
from tests.docs.pages import DOCS, ROOT, blocks, run

# Their blocks are settings of `edgewise check`, which runs them.
GENERATED = {"ladder.md", "models.md"}
PAGES = sorted(
    path
    for path in DOCS.rglob("*.md")
    if path.name not in GENERATED
    and blocks(path.read_text(encoding="utf-8"))
    and "gallery" not in path.parts
)


def a_small_bert(folder):
    """What a reader has who opens the page on Transformers: a model in a folder, and a batch."""
    from transformers import AutoModel, BertConfig, BertModel

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 4}
    BertModel(BertConfig(vocab_size=50, num_hidden_layers=2, **sizes)).eval().save_pretrained(
        folder / "bert"
    )
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 9:] = 0
    batch = {"input_ids": torch.randint(50, (2, 12)), "attention_mask": mask}
    edges = torch.randint(9, (2, 30))
    names = {"edge_index_0": edges, "edge_index_1": edges.flip(0), "path": folder / "bert"}
    return names | {"AutoModel": AutoModel, "batch": batch, "ew": edgewise}


GIVEN = {"huggingface.md": a_small_bert}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_its_code_runs(page: Path, tmp_path: Path):
    torch.manual_seed(0)
    given = GIVEN.get(page.name, lambda _: {})(tmp_path)
    run(page, tmp_path, {"__name__": "page", **given})


@cache
def files(folder):
    return [path for path in (ROOT / folder).rglob("*.*") if path.suffix in SUFFIXES]


SUFFIXES = {".py", ".cpp", ".hpp", ".h"}
TEXTS = [*DOCS.rglob("*.md"), *(ROOT / name for name in ("DESIGN.md", "CONTRIBUTING.md"))]


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_it_names_exist(page):
    """`` `planning/split.py` `` is the end of the path of a file."""
    folders = ("src", "native", "tests", "benchmarks", "examples", "docs")
    paths = [f"/{path.relative_to(ROOT).as_posix()}" for f in folders for path in files(f)]
    for name in re.findall(r"`([\w/]+\.(?:py|cpp|hpp|h))`", page.read_text(encoding="utf-8")):
        assert any(path.endswith(f"/{name}") for path in paths), name


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

"""The site: every public name has a page, every variable a line, every picture its script."""

import ast
import importlib.util
import re
import sys
from pathlib import Path

import pytest

import edgewise

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "edgewise"


def loaded(path):
    """A module of the documentation, which is no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PUBLIC = loaded(DOCS / "extensions" / "public_names.py")
LINKS = loaded(DOCS / "check_links.py")
ROOT_PAGES = loaded(DOCS / "extensions" / "root_pages.py")
DOCSTRINGS = loaded(DOCS / "extensions" / "docstrings.py")


# --- Public names -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def listed():
    return PUBLIC.public_names()


def test_every_exported_name_is_listed_and_documented_once(listed):
    for package, names in listed.items():
        folder = PUBLIC.source_file(package).parent
        packages = {name for name in PUBLIC.exported(package) if (folder / name).is_dir()}
        assert {name.name for name in names} | packages == set(PUBLIC.exported(package))
    shown = {name.path for names in listed.values() for name in names}
    pages = [n.path for package, names in listed.items() for n in names if n.package == package]
    assert sorted(shown) == sorted(pages)


def test_the_names_of_the_package_are_those_of_the_interpreter(listed):
    shown = {name.name for name in listed["edgewise"]}
    assert shown == {
        name
        for name in dir(edgewise)
        if not name.startswith("_")
        and name not in edgewise._PACKAGES
        and name in vars(edgewise)
        and getattr(getattr(edgewise, name), "__module__", "").startswith("edgewise")
    }


@pytest.mark.parametrize("package", PUBLIC.packages())
def test_a_module_with_all_lists_just_that(package):
    """``__all__``, or ``from x import y as y``: a package never has both."""
    tree = ast.parse(PUBLIC.source_file(package).read_text(encoding="utf-8"))
    lists = [node for node in tree.body if PUBLIC._targets(node) == ["__all__"]]
    if lists:
        assert set(PUBLIC.exported(package)) == set(ast.literal_eval(lists[0].value))


def test_the_packages_are_those_that_users_import():
    named = {f"edgewise.{name}" for name in ("nn", "models", "graphs", "layouts", "training.data")}
    named |= {f"edgewise.{name}" for name in ("training", "testing", "lottery", "planning")}
    named |= {f"edgewise.integrations.{n}" for n in ("huggingface", "pyg", "networkx", "scipy")}
    assert named | {"edgewise", "edgewise.backends"} <= set(PUBLIC.packages())


# --- Pages of the root --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[a](DESIGN.md#laws)", "[a](design.md#laws)"),
        ("![a](docs/pictures/split.svg)", "![a](pictures/split.svg)"),
        ("[a](benchmarks/results/windows.json)", "[a](../benchmarks/results/windows.json)"),
        ("see [the scripts](benchmarks), [b](https://example.org)", None),
        ("[a](#here)", "[a](#here)"),
    ],
)
def test_links_of_pages_of_the_root(written, expected):
    expected = expected or "see the scripts, [b](https://example.org)"
    assert ROOT_PAGES.with_links_of_site(written, ROOT) == expected


# --- Docstrings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Gradients: to all tensors.", "\nGradients:\n    To all tensors."),
        ("Gradients:\n    to all tensors.", "Gradients:\n    to all tensors."),
        ("Example: this is a sentence.", "Example: this is a sentence."),
        ("Shape:\n    - x: a\n        b\n    - y", "Shape:\n    - x: a\n      b\n    - y"),
        ("References:\n    A. 2020.\n    B.\n", "References:\n    - A. 2020.\n    - B.\n"),
        ("References:\n    A, 2020,\n    B.", "References:\n    - A, 2020,\n      B."),
        ("Example:\n    >>> 1 - 1\n    0", "Example:\n    >>> 1 - 1\n    0"),
    ],
)
def test_docstrings_are_rewritten_for_napoleon(written, expected):
    assert DOCSTRINGS.written_for_napoleon(written.split("\n")) == expected.split("\n")


# --- Environment variables ----------------------------------------------------------------------

PAGE = (DOCS / "reference" / "environment.md").read_text(encoding="utf-8")


def variables():
    """Names that the code reads from the environment, or that a build takes as an option."""
    names = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and re.fullmatch(
                r"EDGEWISE_[A-Z_]+", str(node.value)
            ):
                names.add(node.value)
    for path in [*(ROOT / "native").rglob("*.*pp"), ROOT / "native" / "CMakeLists.txt"]:
        text = path.read_text(encoding="utf-8")
        names |= set(re.findall(r'(?:getenv\("|ENV\{|option\()(EDGEWISE_[A-Z_]+)', text))
    for name in ("Makefile", "pyproject.toml", ".ci/run"):
        names |= set(re.findall(r"EDGEWISE_[A-Z_]+", (ROOT / name).read_text(encoding="utf-8")))
    return names


def test_every_variable_has_a_line():
    assert {"EDGEWISE_CACHE", "EDGEWISE_NATIVE_VARIANT", "EDGEWISE_SANITIZE"} <= variables()
    assert variables() == set(re.findall(r"EDGEWISE_[A-Z_]+", PAGE))


# --- Pictures -----------------------------------------------------------------------------------


def test_pictures_are_what_the_script_draws():
    pictures = loaded(DOCS / "pictures.py")
    drawn = {f"{name}.svg": pictures.picture(row) for name, row in pictures.PICTURES.items()}
    assert drawn == {
        path.name: path.read_text(encoding="utf-8") for path in (DOCS / "pictures").iterdir()
    }


def test_the_parts_of_the_split_are_the_graph():
    """The picture shows a graph and its edge-disjoint parts."""
    pictures = loaded(DOCS / "pictures.py")
    whole, *parts = (pictures.pairs(graph) for graph, *_ in pictures.SPLIT)
    assert sorted(pair for part in parts for pair in part) == whole


# --- Links of the built site --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="other.html">', None),
        ('<a href="other.html#here">', None),
        ('<p id="top"><a href="#top">', None),
        ('<a href="https://example.org/x">', None),
        ('<img src="data:image/png;base64,AAAA">', None),
        ('<a href="folder/">', None),
        ('<a href="missing.html">', "no such file"),
        ('<a href="other.html#gone">', "no such place"),
        ('<a href="#gone">', "no such place"),
        ('<img src="missing.png">', "no such file"),
        ('<script src="https://example.org/x.js"></script>', "not part of the site"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "not part of the site"),
    ],
)
def test_links_are_checked(body, fault, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "index.html").write_text("<p>")
    (tmp_path / "other.html").write_text('<h1 id="here">')
    (tmp_path / "index.html").write_text(body)
    found = list(LINKS.faults(tmp_path))
    assert len(found) == (fault is not None)
    assert all(fault in sentence for sentence in found)


def test_a_folder_without_a_site_is_an_error(tmp_path, capsys):
    assert LINKS.main([str(tmp_path)]) == 1
    assert "make docs" in capsys.readouterr().err

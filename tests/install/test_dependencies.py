"""Every package that is imported is declared, and every package that is declared is imported."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import edgewise

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "edgewise"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TOOLS = {"dev", "docs"}  # extras of programs and of what only tests and docs import
IMPORTED_AS = {"scikit-learn": "sklearn"}


def packages(requirements):
    """Packages as they are imported; other extras of ours are not packages."""
    names = (re.match(r"[\w-]+", line)[0] for line in requirements)
    return {IMPORTED_AS.get(name, name.replace("-", "_")) for name in names} - {"edgewise"}


CORE = packages(PROJECT["dependencies"])
EXTRAS = {
    name: packages(lines)
    for name, lines in PROJECT["optional-dependencies"].items()
    if name not in TOOLS
}


def imported(tree):
    """First names of all modules that a file imports, directly or by ``require``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module, None
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require" and node.args:
            module, *extra = (x.value if is_text(x) else "" for x in node.args)
            yield module, (extra or ["compare"])[0]


def is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


FOUND = {
    (name.partition(".")[0], extra)
    for path in SOURCES.rglob("*.py")
    for name, extra in imported(ast.parse(path.read_text("utf-8")))
}
THIRD_PARTY = {name for name, _ in FOUND} - {"", "edgewise", *sys.stdlib_module_names}


def test_what_is_imported_is_declared():
    assert THIRD_PARTY - CORE.union(*EXTRAS.values()) == set()


def test_what_is_declared_is_imported():
    assert CORE.union(*EXTRAS.values()) - THIRD_PARTY == set()


def test_a_missing_package_is_answered_with_the_extra_that_has_it():
    named = {(name, extra) for name, extra in FOUND if name and extra is not None}
    assert named
    for name, extra in named:
        assert name in EXTRAS[extra], (name, extra)


def test_everything_is_in_all():
    def contents(name):
        inner = [re.search(r"edgewise\[(.*)\]", x) for x in PROJECT["optional-dependencies"][name]]
        others = [part for found in inner if found for part in found[1].split(",")]
        return {name}.union(*map(contents, others))

    assert contents("all") == {*EXTRAS}


def test_the_version_is_written_once():
    assert "version" in PROJECT["dynamic"]
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    version, date = re.search(r"^## \[(\d\S+)\] - (\S+)$", changes, re.MULTILINE).groups()
    assert version == edgewise.__version__
    assert f"\nversion: {version}\n" in citation
    assert f"\ndate-released: {date}\n" in citation

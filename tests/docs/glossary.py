"""Files that use words that ``docs/glossary.md`` rules out: ``python -m tests.docs.glossary``."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
FOLDERS = ("src/edgewise", "docs", "examples")
RESULTS = "Names of results"


def not_used(text):
    """The words of the last column of the page's tables: of whole names, and of any."""
    whole, anywhere = set(), set()
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        rows = [line for line in body.splitlines() if line.startswith("| ")]
        words = {word for row in rows[1:] for word in re.findall(r"`(\w+)`", last_cell(row))}
        (whole if title == RESULTS else anywhere).update(words)
    return whole, anywhere


def last_cell(row):
    return row.strip().strip("|").rsplit("|", 1)[-1]


WHOLE, ANYWHERE = not_used(GLOSSARY.read_text(encoding="utf-8"))


def faults(source):
    """Names and first lines of docstrings of a piece of Python that use such a word."""
    for node in ast.walk(ast.parse(source)):
        for name in names(node):
            if name in WHOLE or ANYWHERE & set(parts(name)):
                yield f"line {node.lineno}: {name}"
        if line := first_line(node):
            words = set(re.findall(r"[a-z]+", re.sub(r"`[^`]*`", "", line).lower()))
            if wrong := sorted(ANYWHERE & words):
                yield f"line {getattr(node, 'lineno', 1)}: {wrong[0]!r} in {line!r}"


def names(node):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id


def parts(name):
    """The words of a name: ``looked_into`` and ``LookedInto`` are two."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+", name)]


def first_line(node):
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def files():
    """Every file of Python that the glossary is for, but what the documentation writes itself."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "gallery" not in path.parts:
                yield path.relative_to(ROOT).as_posix()


def offending():
    """The files that use such a word, each with its faults."""
    found_in = {name: list(faults((ROOT / name).read_text(encoding="utf-8"))) for name in files()}
    return {name: lines for name, lines in found_in.items() if lines}


if __name__ == "__main__":
    print("\n".join(offending()))

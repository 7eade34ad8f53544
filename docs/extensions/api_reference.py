"""The API reference: a page for each package, and one for each public name, from docstrings.

Pages are written to ``docs/reference/api`` before Sphinx reads its sources; only those that
changed, so that a second build is quick.
"""

from __future__ import annotations

import ast
import builtins
import collections.abc
import inspect
import pathlib
import sys
import textwrap
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from docstrings import written_for_napoleon
from public_names import SOURCE, PublicName, public_names, source_file
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

logger = logging.getLogger(__name__)


def write_pages(folder: Path) -> None:
    """Write all pages of the reference below ``folder``, and remove those that are no more."""
    pages = dict(_pages())
    for path in folder.rglob("*.rst"):
        if path.relative_to(folder).as_posix() not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _pages() -> Iterator[tuple[str, str]]:
    listed = public_names()
    yield "index.rst", _index(list(listed))
    for package, names in listed.items():
        yield f"{package}.rst", _package_page(package, names)
        for name in names:
            if name.package == package:
                yield f"{package}/{name.name}.rst", _name_page(name)


def _heading(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n"


def _index(packages: list[str]) -> str:
    lines = [_heading("API reference"), "Every public name, by package.\n"]
    lines += [".. toctree::", "   :maxdepth: 1\n", *(f"   {package}" for package in packages)]
    return "\n".join(lines) + "\n"


def _package_page(package: str, names: list[PublicName]) -> str:
    here = [name for name in names if name.package == package]
    lines = [_heading(package), f".. automodule:: {package}", "   :no-members:\n"]
    for title, chosen in (
        ("", here),
        ("Documented elsewhere", [n for n in names if n not in here]),
    ):
        if not chosen:
            continue
        if title:
            lines.append(_heading(title, "-"))
        lines += [".. list-table::", "   :widths: 30 70\n"]
        for name in chosen:
            lines.append(f"   * - :doc:`{name.name} </reference/api/{name.package}/{name.name}>`")
            lines.append(f"     - {_summary(name)}")
        lines.append("")
    return "\n".join(lines) + "\n"


def _summary(name: PublicName) -> str:
    """The first sentence of the documentation of a name."""
    first = documentation(name).strip().split("\n\n")[0].replace("\n", " ")
    return first.split(". ")[0].rstrip(".") + "." if first else ""


def documentation(name: PublicName) -> str:
    """The docstring of a name; of a value, the comment or the string beside its definition."""
    value = name.value
    if inspect.isclass(value) or inspect.isroutine(value):
        return inspect.cleandoc(value.__doc__ or "")
    return _text_beside(name)


def _text_beside(name: PublicName) -> str:
    path = _defining_file(name.package, name.name)
    source = path.read_text(encoding="utf-8")
    lines, body = source.splitlines(), ast.parse(source).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if name.name not in _names_of(node):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            return inspect.cleandoc(str(after.value.value))
        comment: list[str] = []
        for line in reversed(lines[: node.lineno - 1]):
            if not line.startswith("#"):
                break
            comment.insert(0, line.lstrip("#: "))
        return "\n".join(comment)
    raise LookupError(f"{path} does not define {name.name}")


def _names_of(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _defining_file(module: str, name: str) -> Path:
    """The file that defines what ``module`` exports as ``name``."""
    path = source_file(module)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and any(a.name == name for a in node.names):
            assert node.module is not None
            return _defining_file(node.module, name)
    return path


def _name_page(name: PublicName) -> str:
    value = name.value
    # In no table of contents: all names in the sidebar of all pages would be most of the site.
    title = (
        f":orphan:\n\n{_heading(name.name)}\n"
        f":doc:`API reference </reference/api/index>` / "
        f":doc:`{name.package} </reference/api/{name.package}>` / "
        f"``from {name.package} import {name.name}``\n"
    )
    if inspect.isclass(value):
        members = ", ".join(_members(value))
        options = [f"   :members: {members}", "   :undoc-members:"] if members else []
        bases = [] if value.__bases__ == (object,) else ["   :show-inheritance:"]
        body = [f".. autoclass:: {name.path}", *options, *bases]
    elif inspect.isroutine(value):
        body = [f".. autofunction:: {name.path}"]
    else:
        text = documentation(name)
        if not text:
            logger.warning("%s has neither a docstring nor a comment beside it", name.path)
        body = [f".. py:data:: {name.path}", "", textwrap.indent(text, "   ")]
    return "\n".join([title, *body]) + "\n"


def _members(kind: type[Any]) -> list[str]:
    """Methods and properties of its own that are documented, and ``forward``."""
    members = []
    for name, value in vars(kind).items():
        method = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        is_method = inspect.isfunction(method) or isinstance(method, property)
        if name == "forward" or (is_method and not name.startswith("_") and method.__doc__):
            members.append(name)
    return members


# --- References in docstrings -------------------------------------------------------------------


def rewrite_docstring(
    _app: Sphinx, _what: str, _name: str, _obj: Any, _o: Any, lines: list[str]
) -> None:
    """Rewrite a docstring in place, before napoleon reads it."""
    lines[:] = written_for_napoleon(lines)


def no_type_in_properties(
    _app: Sphinx, what: str, _name: str, _obj: Any, _o: Any, lines: list[str]
) -> None:
    """Keep napoleon from reading ``Rows: one for each`` in a property as a type ``Rows``.

    It takes a colon in the first line for the end of a type, so an empty comment goes first.
    """
    if what in ("attribute", "property") and lines:
        lines[:0] = ["..", ""]


def resolve(app: Sphinx, env: Any, node: Any, content: Any) -> Any:
    """Link a name in single backticks, or of a type, to the page that documents it.

    A name that exists and has no page (an internal type, a name of another library) stays text; one
    that does not exist is left to Sphinx, which warns.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].lstrip("~.").removesuffix("()")
    documented: dict[str, Any] = env.domains["py"].objects
    candidates = [target, f"edgewise.{target}"]
    candidates += sorted(_by_last_part(documented).get(target.rsplit(".", 1)[-1], ()), key=len)
    for full in candidates:
        if full in documented:
            entry = documented[full]
            page = node.get("refdoc", "")
            return make_refnode(app.builder, page, entry.docname, entry.node_id, content, full)
    return content if _exists(target) else None


@cache
def _defined() -> frozenset[str]:
    """All names that the source defines: modules, classes, functions, values, attributes."""
    names: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        names.add(path.stem)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.stmt):
                names.update(_names_of(node))
    return frozenset(names)


def _by_last_part(documented: dict[str, Any]) -> dict[str, list[str]]:
    table = _TABLES.get(len(documented))
    if table is None:
        table = {}
        for full in documented:
            table.setdefault(full.rsplit(".", 1)[-1], []).append(full)
        _TABLES[len(documented)] = table
    return table


_TABLES: dict[int, dict[str, list[str]]] = {}

# The site is built without a network, so nothing links to the pages of other libraries.
OTHER_LIBRARIES = frozenset(
    ("torch", "numpy", "np", "scipy", "networkx", "transformers", "torch_geometric", "lightning")
)


def _exists(target: str) -> bool:
    first, last = target.split(".", maxsplit=1)[0], target.rsplit(".", 1)[-1]
    if first in OTHER_LIBRARIES | sys.stdlib_module_names or hasattr(builtins, first):
        return True
    return last in _defined() or any(
        hasattr(module, target) for module in (torch, collections.abc, pathlib, typing)
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the pages, the list of references, and the links of names."""
    folder = Path(app.srcdir) / "reference" / "api"
    app.connect("builder-inited", lambda _: write_pages(folder))
    app.connect("autodoc-process-docstring", rewrite_docstring, priority=400)
    app.connect("autodoc-process-docstring", no_type_in_properties, priority=400)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""The public names of Edgewise, read from the source: what its packages export on purpose.

A package exports a name by ``from x import y as y``, by defining it, and by a public assignment in
capitals (a registry); a module by ``__all__``. Nothing is imported to find the names.
"""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "src" / "edgewise"

# Modules that are public beside the packages.
MODULES = ("edgewise.problem", "edgewise.integrations.networkx", "edgewise.integrations.scipy")
# Their names are those of another package, or reached by the name of a backend or a command.
INTERNAL = ("edgewise.functional", "edgewise.cli", "edgewise.backends.", "edgewise.measure")
# The order of pages; what is not here follows by name.
ORDER = (
    *("edgewise", "edgewise.nn", "edgewise.models", "edgewise.graphs", "edgewise.layouts"),
    *("edgewise.ops", "edgewise.problem", "edgewise.planning", "edgewise.backends"),
    *("edgewise.integrations.huggingface", "edgewise.integrations.pyg"),
    *("edgewise.integrations.networkx", "edgewise.integrations.scipy"),
    *("edgewise.training", "edgewise.training.data", "edgewise.lottery", "edgewise.testing"),
)


@dataclass(frozen=True)
class PublicName:
    """A name, the package that documents it, and the object behind it.

    Attributes:
        name: As in ``DotAttention``.
        package: As in ``edgewise.nn``: the first of `packages` that exports the object.
        value: The object.
    """

    name: str
    package: str
    value: Any

    @property
    def path(self) -> str:
        """As in ``edgewise.nn.DotAttention``."""
        return f"{self.package}.{self.name}"


def source_file(package: str) -> Path:
    """The file that lists the names of a package or module."""
    folder = SOURCE.parent.joinpath(*package.split("."))
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


def exported(package: str) -> list[str]:
    """The names that a package or module exports, sorted."""
    names: set[str] = set()
    tree = ast.parse(source_file(package).read_text(encoding="utf-8"))
    if source_file(package).name == "__init__.py":
        kinds = (ast.FunctionDef, ast.ClassDef)
        names |= {node.name for node in tree.body if isinstance(node, kinds)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names |= {a.name for a in node.names if a.asname == a.name}
    for node in tree.body:
        for target in _targets(node):
            if target == "__all__":
                names |= set(ast.literal_eval(node.value))  # type: ignore[attr-defined]
            elif target.isupper() and source_file(package).name == "__init__.py":
                names.add(target)
    return sorted(name for name in names if not name.startswith("_"))


def _targets(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def packages() -> tuple[str, ...]:
    """The public packages: those that export a name that the package around them does not."""
    public = set(MODULES)
    for file in SOURCE.rglob("__init__.py"):
        package = ".".join(("edgewise", *file.parent.relative_to(SOURCE).parts))
        parent = package.rpartition(".")[0]
        theirs = set(exported(parent)) if parent else set[str]()
        if set(exported(package)) - theirs and not package.startswith(INTERNAL):
            public.add(package)
    rank = {package: number for number, package in enumerate(ORDER)}
    return tuple(sorted(public, key=lambda package: (rank.get(package, len(rank)), package)))


def public_names() -> dict[str, list[PublicName]]:
    """For each public package its names; of several that export one, the first documents it.

    Packages within packages (``edgewise.nn``) are not names.
    """
    homes: dict[tuple[str, int], str] = {}
    listed: dict[str, list[PublicName]] = {}
    for package in packages():
        module = importlib.import_module(package)
        listed[package] = []
        for name in exported(package):
            if (source_file(package).parent / name).is_dir():
                continue
            value = getattr(module, name)
            home = homes.setdefault((name, id(value)), package)
            listed[package].append(PublicName(name, home, value))
    return listed

"""Kinds of faults: what went wrong once, and the inputs beside the reported one that would show it.

A fault is a check and the cases it is run on. The first case is the reported input; the others are
its neighbours: every backend, dtype, layer or file that the same cause could reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

__all__ = ["Kind", "each_case"]


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: What goes wrong, in a few words.
        check: Function of one case that fails where the fault is present.
        cases: The reported input and its neighbours, by name.
    """

    name: str
    check: Callable[[Any], None]
    cases: Mapping[str, Any]


def each_case(kinds: Iterable[Kind]) -> pytest.MarkDecorator:
    """Parametrize a test by ``check, case``: one test for each case of each kind."""
    return pytest.mark.parametrize(
        ("check", "case"),
        [
            pytest.param(kind.check, case, id=f"{kind.name}: {name}")
            for kind in kinds
            for name, case in kind.cases.items()
        ],
    )

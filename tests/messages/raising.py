"""Checks of errors: their whole text, their form, and that every error has a case."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

import pytest

import edgewise as ew

SOURCE = Path(ew.__file__).parent
Case = tuple[Callable[[], object], type[ew.EdgewiseError], str]
Site = tuple[str, int]


def caught(case: Case) -> tuple[str, Site]:
    """The text of the error that a case raises, and the statement that raised it."""
    call, kind, _ = case
    with pytest.raises(ew.EdgewiseError) as info:
        call()
    assert info.type is kind, f"{info.type.__name__} instead of {kind.__name__}: {info.value}"
    return str(info.value), _site(info.tb)


def _site(traceback: TracebackType) -> Site:
    """File (below the package) and line where a traceback ends."""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    file = Path(traceback.tb_frame.f_code.co_filename).relative_to(SOURCE)
    return file.as_posix(), traceback.tb_lineno


def raise_sites(*places: str) -> dict[Site, str]:
    """Every statement below these files and folders that raises an error of Edgewise."""
    raises: dict[Site, str] = {}
    for place in places:
        path = SOURCE / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                    name = ast.unparse(node.exc.func)
                    if issubclass(getattr(ew, name, object), ew.EdgewiseError):
                        text = ast.unparse(node.exc.args[0])
                        raises[file.relative_to(SOURCE).as_posix(), node.lineno] = text
    return raises


def forgotten(cases: Iterable[Case], elsewhere: Iterable[str], *places: str) -> list[str]:
    """Statements that no case raises, but those whose text holds one of ``elsewhere``."""
    raised = {caught(case)[1] for case in cases}
    return [
        f"{file}:{line}: {text}"
        for (file, line), text in raise_sites(*places).items()
        if (file, line) not in raised and not any(words in text for words in elsewhere)
    ]


def names_a_cure(text: str) -> bool:
    """Whether a cure follows the sentence that names the fault."""
    return re.search(r"[.;] [A-Za-z]", text.removesuffix(".")) is not None


def is_one_clear_sentence(text: str) -> bool:
    """Argument, expected and got in one sentence, with a cure in a second one at most."""
    sentences = re.split(r"\. (?=[A-Z])", text)
    states_what_was_got = re.search(r"\b(got|has|is|are|belongs)\b", sentences[0]) is not None
    return text.endswith(".") and len(sentences) <= 2 and states_what_was_got and "\n" not in text

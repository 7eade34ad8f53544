"""Model cards: what a model is, in one record, from which its page is written."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Card"]


@dataclass(frozen=True)
class Card:
    """A model in short.

    Attributes:
        name: As in the literature.
        paper: Author, title, year, arXiv number and section.
        equation: One layer, as LaTeX.
        setting: A small one as code: an expression over the names of `edgewise.models`,
            `edgewise.nn` and `edgewise`.
        differences: Where it differs from the paper or from the usual code; empty if nowhere.
        call: How to call it, as code over the same names, `torch`, and ``model`` for the setting.
    """

    name: str
    paper: str
    equation: str
    setting: str
    differences: str = ""
    call: str = ""

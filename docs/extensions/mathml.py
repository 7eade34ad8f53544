"""Formulas as MathML, which browsers draw by themselves: no script, nothing to download."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def mathml(formula: str, display: str) -> str:
    """The MathML of a formula in LaTeX.

    Args:
        formula: LaTeX without dollar signs.
        display: ``"inline"`` or ``"block"``.

    Raises:
        ValueError: a command that the converter leaves as it is.
    """
    # The converter has sizes for brackets alone, and no Vert.
    formula = re.sub(r"\\[bB]ig(?=\s*\\(?:Vert|[lr]floor|[lr]ceil)(?![A-Za-z]))", "", formula)
    formula = re.sub(r"\\Vert(?![A-Za-z])", r"\\|", formula)
    # The sign of a prime is small and raised already: as a superscript it could not be read.
    formula = re.sub(r"([A-Za-z])_(\w|\{[^{}]*\})'", "{\\1\u2032}_\\2", formula)
    formula = re.sub(r"([A-Za-z])'", "{\\1\u2032}", formula)
    text = convert(formula, display=display)
    unknown = re.findall(r"\\[A-Za-z]+", re.sub(r"<annotation.*?</annotation>", "", text))
    if unknown:
        raise ValueError(f"unknown command {unknown[0]} in the formula {formula!r}")
    return text


def _visit(node: nodes.Element, formulas: list[str], display: str) -> str:
    try:
        return "".join(mathml(formula, display) for formula in formulas)
    except Exception as error:
        logger.warning("cannot write a formula as MathML: %s", error, location=node)
        return ""


def visit_inline(translator: Any, node: nodes.Element) -> None:
    """Write a formula within a line."""
    translator.body.append(_visit(node, [node.astext()], "inline"))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.Element) -> None:
    """Write formulas of their own lines; a blank line parts them."""
    # Of a wide formula, what a quad of spaces parts goes on lines of its own.
    parts = r"\n\s*\n" if "\\begin" in node.astext() else r"\n\s*\n|\\qquad"
    formulas = [part.strip() for part in re.split(parts, node.astext()) if part.strip()]
    translator.body.append(f'<div class="math">{_visit(node, formulas, "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer under the name ``mathml``."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

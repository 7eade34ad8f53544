"""Docstrings as napoleon and reStructuredText expect them."""

from __future__ import annotations

import re
from collections.abc import Sequence

SECTIONS = ("Complexity", "Gradients", "Initialization", "Differences", "Randomness")


def written_for_napoleon(lines: Sequence[str]) -> list[str]:
    """Rewrite three habits of our docstrings for napoleon and reStructuredText.

    ``Gradients: to all tensors.`` on one line is a section. Each entry of ``References:`` is an
    item of a list. Lines that continue an item are indented by as much as its text, not more.
    """
    section, depth, rewritten = "", None, list[str]()
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if not indent and (head := re.match(r"(\w[\w ]*):(?: (.+))?$", line)):
            section = head[1]
            if head[2] and section in SECTIONS:
                rewritten += ["", f"{section}:", f"    {head[2][0].upper()}{head[2][1:]}"]
                continue
        new = line
        if section == "References" and indent == 4:
            begins = _ends_entry(rewritten[-1])
            new = f"    - {line.strip()}" if begins else f"      {line.strip()}"
        depth = _item_depth(new, indent, depth)
        if depth is not None and indent > depth:
            new = " " * (depth + 2) + line.strip()
        rewritten.append(new)
    return rewritten


def _item_depth(line: str, indent: int, depth: int | None) -> int | None:
    """How far the list item is indented that a line begins or continues; None in no list."""
    if line.lstrip().startswith("- "):
        return len(line) - len(line.lstrip())
    return depth if line.strip() and depth is not None and indent >= depth else None


def _ends_entry(line: str) -> bool:
    return line.rstrip().endswith((".", ")", ":"))

"""Pages of the root of the repository: their links, as the site that includes them has them."""

from __future__ import annotations

import re
from pathlib import Path

PAGES = {
    "README.md": "index.md",
    "DESIGN.md": "design.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|[#/])([^)#\s]+)(#[^)\s]*)?\)")


def with_links_of_site(text: str, root: Path) -> str:
    """A page of the root with the links that it has in ``docs``.

    A page that the site includes becomes that page, a page of ``docs`` is beside it, any other file
    can be downloaded, and of a folder only the text of the link is left.

    Args:
        text: Markdown.
        root: The root of the repository.
    """

    def link(match: re.Match[str]) -> str:
        mark, words, target, fragment = match[1], match[2], match[3], match[4] or ""
        if target in PAGES:
            return f"{mark}[{words}]({PAGES[target]}{fragment})"
        if target.startswith("docs/"):
            return f"{mark}[{words}]({target.removeprefix('docs/')}{fragment})"
        if (root / target).is_dir():
            return words
        return f"{mark}[{words}](../{target}{fragment})"

    return _LINK.sub(link, text)

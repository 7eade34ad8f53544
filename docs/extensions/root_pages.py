"""Links between the pages that lie in the root of the repository, which the site includes."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

PAGES = {
    "README.md": "index",
    "DESIGN.md": "design",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
}


def resolve(app: Sphinx, _env: Any, node: Any, content: Any) -> Any:
    """Link a file of the root to the page of the site that includes it."""
    file, _, fragment = node.get("reftarget", "").partition("#")
    if node.get("reftype") != "myst" or file not in PAGES:
        return None
    return make_refnode(app.builder, node["refdoc"], PAGES[file], fragment or None, content)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the links."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

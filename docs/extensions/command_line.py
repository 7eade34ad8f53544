"""The page of the command line, from what ``edgewise COMMAND --help`` prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx

COMMANDS = ("compare", "explain", "check", "lottery", "datasets")


def help_of(*arguments: str) -> str:
    """What the command prints, 100 columns wide and without colors."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-m", "edgewise", *arguments, "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return "\n".join(line.rstrip() for line in ended.stdout.strip().splitlines())


def page() -> str:
    """The page: one section for each command."""
    parts = [
        "# Command line\n",
        "`edgewise` and `python -m edgewise` are the same program. This page is what it prints.\n",
        f"```text\n{help_of()}\n```\n",
    ]
    for command in COMMANDS:
        parts.append(f"## edgewise {command}\n\n```text\n{help_of(command)}\n```\n")
    return "\n".join(parts)


def write_page(app: Sphinx) -> None:
    """Write ``reference/command_line.md`` if it changed."""
    path = Path(app.srcdir) / "reference" / "command_line.md"
    text = page()
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the page before Sphinx reads its sources."""
    app.connect("builder-inited", write_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Run the Python of a page: its blocks in order, in one namespace; what is printed is compared."""

import contextlib
import doctest
import io
import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(text):
    """The blocks of Python of a page, each with the number of its first line."""
    return [(text[: m.start(1)].count("\n") + 1, m[1]) for m in _BLOCK.finditer(text)]


def run(page, folder, namespace):
    """Execute the blocks of ``page`` in ``folder``; a difference from what is shown is an error.

    Args:
        page: A Markdown file.
        folder: Where its files are written.
        namespace: What its code may use; changed.
    """
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DebugRunner(verbose=False, optionflags=flags)
    with inside(folder), contextlib.redirect_stdout(io.StringIO()):
        for line, code in blocks(page.read_text(encoding="utf-8")):
            if ">>>" in code:
                test = doctest.DocTestParser().get_doctest(code, namespace, page.name, page, line)
                runner.run(test, clear_globs=False)
                namespace.update(test.globs)
            else:
                exec(compile("\n" * line + code, str(page), "exec"), namespace)


@contextlib.contextmanager
def inside(folder):
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)

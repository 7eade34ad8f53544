"""Checks in a process of their own, where a crash ends no other test."""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["in_a_child"]


def in_a_child(check: Callable[[], None]) -> None:
    """Run a check in a forked process: a crash is a failure of this test alone."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            check()
            said = "right"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode()[:60_000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    assert said == "right", said or f"the process ended with status {status}"

"""The folder of the user in which Edgewise keeps prices, data sets and compiled libraries."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edgewise.errors import EdgewiseError

__all__ = ["cache_directory"]


def cache_directory() -> Path:
    """Where Edgewise keeps what it measured: ``EDGEWISE_CACHE``, or the user's cache directory.

    Raises:
        EdgewiseError: the variable is not set, and the system names no home directory.
    """
    given = os.environ.get("EDGEWISE_CACHE")
    if given:
        return Path(given)
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "edgewise"
    if sys.platform != "darwin" and os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "edgewise"
    try:
        home = Path.home()
    except (RuntimeError, KeyError) as error:
        raise EdgewiseError(
            "the cache directory must lie in a home directory, and this user has none. "
            "Set EDGEWISE_CACHE to a folder."
        ) from error
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "edgewise"
    return home / "edgewise" if sys.platform == "win32" else home / ".cache" / "edgewise"

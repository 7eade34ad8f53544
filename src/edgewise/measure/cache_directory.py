"""Cache directory of the user: prices, data sets and compiled libraries."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edgewise.errors import EdgewiseError

__all__ = ["cache_directory"]


def cache_directory() -> Path:
    """The cache directory: ``EDGEWISE_CACHE``, or Edgewise's folder in that of the user.

    Raises:
        EdgewiseError: the variable is not set, and the system has no home directory.
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

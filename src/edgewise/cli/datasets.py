"""``edgewise datasets``: what has a name."""

from __future__ import annotations

from edgewise.training import CATALOG

__all__ = ["datasets"]


def datasets() -> int:
    """List the data sets that have a name."""
    width = max(map(len, CATALOG))
    for name, entry in CATALOG.items():
        place = entry.file or "comes with scikit-learn"
        print(f"{name:<{width}}  {entry.title} ({place})")
    return 0

"""``edgewise datasets``: lists the named data sets."""

from __future__ import annotations

from edgewise.training import CATALOG

__all__ = ["datasets"]


def datasets() -> int:
    """List the data sets that have a name."""
    width = max(map(len, CATALOG))
    for name, entry in CATALOG.items():
        source = entry.file or "comes with scikit-learn"
        print(f"{name:<{width}}  {entry.title} ({source})")
    return 0

"""Check that data fits into memory, before it is read."""

from __future__ import annotations

from edgewise.errors import DataError
from edgewise.measure.memory import as_text, available_memory

__all__ = ["check_fits"]


def check_fits(name: str, size: int, what: str = "its arrays", copies: float = 2.0) -> None:
    """Check that data fits into the available memory; nothing is allocated.

    Args:
        name: The data set or file, for the message.
        size: Bytes of the data, as a file declares them.
        what: Name of the data, for the message.
        copies: Peak memory of the conversions, as a multiple of ``size``.

    Raises:
        DataError: ``copies * size`` is more than the available memory.
    """
    available = available_memory()
    if copies * size > available:
        raise DataError(
            f"{name}: {what} have to fit into the {as_text(available)} of memory that are free, "
            f"got {as_text(size)}, and reading takes {copies:g} times as much. Save fewer nodes, "
            f"edges or features."
        )

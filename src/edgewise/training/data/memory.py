"""Refuse data before it is read where it would not fit into memory."""

from __future__ import annotations

from edgewise.errors import DataError
from edgewise.measure.memory import as_text, available_memory

__all__ = ["check_fits"]


def check_fits(name: str, size: int, what: str = "its arrays", copies: float = 2.0) -> None:
    """Refuse what takes more memory than there is; nothing is allocated.

    Args:
        name: The data set or file, for the message.
        size: Bytes of the data, as a file declares them.
        what: What takes them, for the message.
        copies: How many times as much the conversions take at their worst moment.

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

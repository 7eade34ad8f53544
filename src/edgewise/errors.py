"""Errors that Edgewise raises, and the escaping of text from outside in messages.

::

    EdgewiseError
    ├── GraphError        (ValueError)    a graph that cannot exist, or a false fact
    ├── ShapeError        (ValueError)    a tensor whose shape does not fit
    ├── ArgumentError     (ValueError)    an argument out of range, or of a wrong dtype or device
    ├── BackendRefused    (RuntimeError)  an explicitly requested backend cannot run this problem
    ├── PlanError         (RuntimeError)  no backend accepts this problem
    ├── DerivativeError   (RuntimeError)  a derivative this backend does not have
    └── DataError         (ValueError)    a data set unknown, missing, damaged or inconsistent

A message is one sentence or two: *argument, expected, got, cure*.
"""

from __future__ import annotations

from collections.abc import Mapping


class EdgewiseError(Exception):
    """Root of all errors raised on purpose by this package."""


class GraphError(EdgewiseError, ValueError):
    """A graph that cannot exist (sizes, indices), or a declared fact that is false."""


class ShapeError(EdgewiseError, ValueError):
    """A tensor whose shape does not fit the graph or the other tensors."""


class ArgumentError(EdgewiseError, ValueError):
    """An argument outside its range, or of the wrong dtype or device."""


class BackendRefused(EdgewiseError, RuntimeError):
    """An explicitly requested backend cannot run this problem; there is no silent fallback."""


class PlanError(EdgewiseError, RuntimeError):
    """No backend accepts this problem; the message lists every reason.

    Attributes:
        refused: The reasons of each backend, by its name; empty if none was called.
    """

    def __init__(self, message: str, refused: Mapping[str, tuple[str, ...]] | None = None) -> None:
        super().__init__(message)
        self.refused = dict(refused or {})


class DerivativeError(EdgewiseError, RuntimeError):
    """A derivative that the chosen backend does not have."""


class DataError(EdgewiseError, ValueError):
    """A data set that is unknown, missing, damaged or inconsistent."""


def printable(text: object, keep: str = "") -> str:
    r"""Text with its control characters written as escapes, for terminals, tables and pictures.

    Names of files and arrays, and words of a command line, may hold characters that clear a
    terminal, break a line, reverse the direction of what follows, or have no UTF-8 form. Every
    character for which `str.isprintable` is false is replaced by its Python escape. Markup (of
    rich, HTML or SVG) is left as it is: code that prints into markup must disable it.

    Args:
        text: Anything; its ``str`` is used.
        keep: Characters to leave alone, such as ``"\n"`` where a message has several lines.

    Example:
        >>> printable("a\x1b[31m\n.npz")
        'a\\x1b[31m\\n.npz'
    """
    return "".join(
        character
        if character.isprintable() or character in keep
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in str(text)
    )

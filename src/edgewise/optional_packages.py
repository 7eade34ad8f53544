"""Optional packages: lazy import, with an error that names the command to install."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["require"]


def require(module: str, extra: str = "compare") -> Any:
    """Import an optional module.

    Raises:
        ModuleNotFoundError: it is not installed; the message is one sentence with the cure.

    Example:
        >>> require("a_module_nobody_has")
        Traceback (most recent call last):
            ...
        ModuleNotFoundError: a_module_nobody_has is not installed. Run: ...
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # it is installed, but a module that it needs is not
        package = module.partition(".")[0]
        raise ModuleNotFoundError(
            f"{package} is not installed. Run: pip install 'edgewise[{extra}]'", name=package
        ) from error

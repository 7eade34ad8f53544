"""Interrupt: raises KeyboardInterrupt again if a finalizer swallowed it."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupt"]


class Interrupt:
    """Records Ctrl-C, so that a KeyboardInterrupt that was swallowed can be raised again.

    Python raises ``KeyboardInterrupt`` in whatever code it executes. Inside a finalizer the
    exception is printed and dropped, and training would go on for hours. Inside this context a
    dropped exception is raised again at the next call of `check`.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._handler: Any = None
        self._hook = sys.unraisablehook

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if Ctrl-C was pressed."""
        if self.pressed:
            raise KeyboardInterrupt

    def __enter__(self) -> Interrupt:
        self._hook, sys.unraisablehook = sys.unraisablehook, self._dropped
        if threading.current_thread() is threading.main_thread():  # others receive none
            self._handler = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sys.unraisablehook = self._hook
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)

    def _press(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        raise KeyboardInterrupt

    def _dropped(self, dropped: Any) -> None:
        if self.pressed and issubclass(dropped.exc_type, KeyboardInterrupt):
            return  # `check` raises it where it can be handled
        self._hook(dropped)

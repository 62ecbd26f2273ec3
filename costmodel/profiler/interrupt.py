"""Interrupt: the first ctrl-C asks for a clean end, the second gets an immediate one."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Catches SIGINT and SIGTERM while its ``with`` block runs in the main thread.

    Attributes:
        asked: whether a signal came.
    """

    def __init__(self) -> None:
        self.asked = False
        self._former: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._former.items():
            # None: a handler that was not set from Python and cannot be put back from here.
            signal.signal(number, handler if callable(handler) else _default(handler))
        self._former.clear()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def _default(handler: object) -> signal.Handlers:
    return signal.SIG_IGN if handler is signal.SIG_IGN else signal.SIG_DFL

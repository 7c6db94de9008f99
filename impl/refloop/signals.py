"""Signals: a handler that runs in a turn, whatever the wake-up channel holds.

What the operating system lets run at a signal is next to nothing, so two things are done with one. Python's
own handler, which comes between two instructions of the main thread, *posts* the callback, as another thread
would. The post is what counts: no number is carried by any channel, so none is lost in a full one.

But a signal that comes just before the wait suspends the thread would be looked at only after it. So the
interpreter is also told to write a byte to a pipe at once (``signal.set_wakeup_fd``). That byte means nothing
but *look*; when the pipe is full it is readable, and nothing is lost with a byte that does not fit.

Both belong to the process, and are given back as they were found: by the close, and in a forked child.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Final, TypeAlias

Disposition: TypeAlias = Callable[[int, FrameType | None], object] | int | signal.Handlers | None

_AT_ONCE: Final = 4096


class Signals:
    """The signals that a reactor handles; made on the main thread, where alone Python allows it."""

    __slots__ = ("_before", "_reader", "_wakeup_before", "_writer")

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[int, Disposition] = {}
        try:
            self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        except ValueError:
            os.close(self._reader)
            os.close(self._writer)
            raise

    def fileno(self) -> int:
        """What is readable when a signal has come."""
        return self._reader

    def drain(self, _events: int) -> None:
        """Take the bytes away; what they were for has been done."""
        with suppress(BlockingIOError):
            while len(os.read(self._reader, _AT_ONCE)) == _AT_ONCE:
                pass

    def handle(self, number: int, post: Callable[[], object]) -> None:
        """Have ``post`` called at signal ``number``, in the place of what was called before."""
        before = signal.signal(number, lambda _number, _frame: post())
        self._before.setdefault(number, before)

    def restore(self, number: int) -> bool:
        """Handle signal ``number`` as before; whether it was handled here."""
        if number not in self._before:
            return False
        # None: the handler was not set from Python, and cannot be given back.
        signal.signal(number, self._before.pop(number) or signal.SIG_DFL)
        return True

    def close(self) -> None:
        """Give everything back."""
        for number in tuple(self._before):
            self.restore(number)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._reader)
        os.close(self._writer)

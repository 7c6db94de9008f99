"""A toy event loop, some sixty lines of code, for `docs/adapters.md`. It works, mostly: it has three bugs."""

from __future__ import annotations

import heapq
import select
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Protocol

Callback = Callable[[], None]


class Poller(Protocol):
    """The part of ``select.epoll`` that is used here."""

    def register(self, fd: int, eventmask: int, /) -> None: ...
    def unregister(self, fd: int, /) -> None: ...
    def poll(self, timeout: float | None) -> list[tuple[int, int]]: ...
    def close(self) -> None: ...


class Loop:
    """Callbacks, timers and readers on one thread. ``poller`` and ``clock`` can be given, for tests."""

    def __init__(
        self,
        poller: Callable[[], Poller] = select.epoll,
        clock: Callable[[], float] = time.monotonic,
        on_error: Callable[[Exception], object] = print,
    ) -> None:
        self._poller, self._clock, self._on_error = poller(), clock, on_error
        self._ready: deque[Callback] = deque()
        self._timers: list[tuple[float, int, Callback]] = []
        self._cancelled: set[int] = set()
        self._handlers: dict[int, Callback] = {}
        self._numbers = count()
        self._running = True

    def call_soon(self, callback: Callback) -> None:
        self._ready.append(callback)

    def call_threadsafe(self, callback: Callback) -> None:
        self._ready.append(callback)

    def call_at(self, instant: float, callback: Callback) -> int:
        number = next(self._numbers)
        heapq.heappush(self._timers, (instant, number, callback))
        return number

    def cancel(self, timer: int) -> None:
        self._cancelled.add(timer)

    def add_reader(self, fd: int, callback: Callback) -> None:
        self._poller.register(fd, select.EPOLLIN)
        self._handlers[fd] = callback

    def remove_reader(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._poller.unregister(fd)

    def run_forever(self) -> None:
        while self._running:
            for fd, _ in self._poller.poll(self._timeout()):
                if fd in self._handlers:
                    self._call(self._handlers[fd])
            due = []
            while self._timers and self._timers[0][0] <= self._clock():
                _, number, callback = heapq.heappop(self._timers)
                if number not in self._cancelled:
                    due.append(callback)
            for callback in due:
                self._call(callback)
            while self._ready:
                self._call(self._ready.popleft())

    def _timeout(self) -> float | None:
        if self._ready:
            return 0
        return max(0, self._timers[0][0] - self._clock()) if self._timers else None

    def _call(self, callback: Callback) -> None:
        try:
            callback()
        except Exception as error:
            self._on_error(error)

    def stop(self) -> None:
        self._running = False

    def close(self) -> None:
        self._poller.close()

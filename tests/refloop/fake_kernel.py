"""The real epoll under a clock that the test holds: what a test needs of a kernel, and what was asked of it.

The poller passes every call on to ``select.epoll`` and waits with timeout 0; a wait that would have slept
moves the clock by what was granted. One that nothing would end is an error of the test, not a hang; where
workers are at work they may end it, and are waited for.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from dataclasses import dataclass, field

from refloop.here import here
from refloop.kernel import LINUX, MILLISECOND, Poller, Waker

LAST_RESORT = 60.0
"""Seconds for which workers are waited for, at most: no verdict, but a hang that ends."""


class WouldSleepForEverError(AssertionError):
    """The loop entered an endless wait, and nothing was there to end it."""


def open_descriptors() -> set[int]:
    """The descriptors of this process, but for the one that looks."""
    return {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208  # iterdir holds one open


class CountingPoller:
    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self._epoll = select.epoll()

    def register(self, fd: int, eventmask: int, /) -> None:
        self._kernel.controls.append(("register", fd, eventmask))
        self._epoll.register(fd, eventmask)

    def modify(self, fd: int, eventmask: int, /) -> None:
        self._kernel.controls.append(("modify", fd, eventmask))
        self._epoll.modify(fd, eventmask)

    def unregister(self, fd: int, /) -> None:
        self._kernel.controls.append(("unregister", fd, 0))
        self._epoll.unregister(fd)

    def poll(self, timeout: float | None, maxevents: int, /) -> list[tuple[int, int]]:
        kernel = self._kernel
        kernel.timeouts.append(None if timeout is None else round(timeout * 1000))
        batch = self._epoll.poll(0, maxevents)
        if not batch and kernel.while_asleep and timeout != 0:
            kernel.while_asleep.pop(0)()
            batch = self._epoll.poll(0, maxevents)
        if not batch and timeout is None and here.runtime is not None and here.runtime.workers.busy:
            batch = self._epoll.poll(LAST_RESORT, maxevents)
        if not batch:
            if timeout is None:
                raise WouldSleepForEverError
            kernel.now += round(timeout * 1000) * MILLISECOND
        return batch

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        self._epoll.close()


@dataclass
class FakeKernel:
    """``timeouts`` in milliseconds as granted, ``controls`` as told; ``while_asleep`` acts within a wait."""

    now: int = 0
    timeouts: list[int | None] = field(default_factory=list)
    controls: list[tuple[str, int, int]] = field(default_factory=list)
    while_asleep: list[Callable[[], object]] = field(default_factory=list)

    @property
    def clock(self) -> Callable[[], int]:
        return lambda: self.now

    def poller(self) -> Poller:
        return CountingPoller(self)

    def waker(self) -> Waker:
        return LINUX.waker()

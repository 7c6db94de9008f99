"""The port to the operating system: all that a reactor asks of the world, as protocols.

A kernel is a parameter, so that the same reactor runs on Linux, on a model of Linux, or under a clock that a
test holds in its hand. The port costs nothing where it matters: a :class:`Poller` has the methods of
``select.epoll`` and nothing more, so the real one *is* a bare ``select.epoll``, and a reactor keeps its bound
methods. Sockets are not made here; they come in from outside, as whatever has the methods of
``socket.socket``.

This is the one module that knows ``select``, ``time`` and ``os.eventfd``.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol, TypeAlias

MILLISECOND: Final = 1_000_000
SECOND: Final = 1_000_000_000

IN: Final = select.EPOLLIN
OUT: Final = select.EPOLLOUT
RDHUP: Final = select.EPOLLRDHUP
HUP: Final = select.EPOLLHUP
ERR: Final = select.EPOLLERR
ET: Final = select.EPOLLET
ONESHOT: Final = select.EPOLLONESHOT

POLLER_UNIT: Final = MILLISECOND
"""What ``epoll_wait`` counts in, in nanoseconds (epoll_wait(2))."""

POLLER_MAXIMUM: Final = 2**31 - 1
"""The longest finite wait, in :data:`POLLER_UNIT`: the timeout of ``epoll_wait`` is an ``int``."""


class Poller(Protocol):
    """An interest set and the wait on it, with the signatures of ``select.epoll`` (epoll(7)).

    ``register``, ``modify`` and ``unregister`` raise the ``OSError`` of ``epoll_ctl(2)``. ``poll`` waits for
    at most ``timeout`` seconds (None is without end, 0 does not suspend) and returns at most ``maxevents``
    pairs of descriptor number and event mask.
    """

    def register(self, fd: int, eventmask: int, /) -> None: ...
    def modify(self, fd: int, eventmask: int, /) -> None: ...
    def unregister(self, fd: int, /) -> None: ...
    def poll(self, timeout: float | None, maxevents: int, /) -> list[tuple[int, int]]: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class Waker(Protocol):
    """One bit that another thread can set and a poller can see.

    ``signal`` may be called from any thread, even after or during ``close``; it never suspends, and takes a
    full channel (EAGAIN) as already signalled. ``drain`` clears the bit.
    """

    def fileno(self) -> int: ...
    def signal(self) -> None: ...
    def drain(self) -> None: ...
    def close(self) -> None: ...


class Kernel(Protocol):
    """What a reactor needs: a monotonic clock in nanoseconds, an interest set, and a waker."""

    @property
    def clock(self) -> Callable[[], int]: ...
    def poller(self) -> Poller: ...
    def waker(self) -> Waker: ...


class HasFileno(Protocol):
    """Anything that has a descriptor."""

    def fileno(self) -> int: ...


Resource: TypeAlias = int | HasFileno
"""A descriptor: by its number, or by an object that owns one."""


class _Descriptor:
    """A number that is closed when the last reference to this object is gone."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self.number)


class EventFd:
    """A waker on ``eventfd(2)``.

    A thread may be inside :meth:`signal` while the loop closes. If the number were closed then, it could
    belong to somebody else before the write; a lock would keep it, but could suspend the one who posts. So
    ``signal`` holds a reference of its own for as long as it writes, and the number is closed with the last
    of them.
    """

    __slots__ = ("_descriptor",)

    def __init__(self) -> None:
        self._descriptor: _Descriptor | None = _Descriptor(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))

    def fileno(self) -> int:
        return -1 if self._descriptor is None else self._descriptor.number

    def signal(self) -> None:
        descriptor = self._descriptor
        if descriptor is not None:
            with suppress(BlockingIOError):  # the counter is full, so it is readable: the bit is set
                os.eventfd_write(descriptor.number, 1)

    def drain(self) -> None:
        descriptor = self._descriptor
        if descriptor is not None:
            with suppress(BlockingIOError):  # a hint without a signal
                os.eventfd_read(descriptor.number)

    def close(self) -> None:
        self._descriptor = None


class LinuxKernel:
    """The real kernel: epoll, eventfd, CLOCK_MONOTONIC."""

    clock: Callable[[], int] = staticmethod(time.monotonic_ns)

    def poller(self) -> Poller:
        return select.epoll()

    def waker(self) -> Waker:
        return EventFd()


LINUX: Final[Kernel] = LinuxKernel()


def poll_timeout(wait: int) -> float:
    """``wait`` nanoseconds (positive) as the timeout of a :class:`Poller`: seconds, rounded up to its unit,
    capped at its maximum.

    ``select.epoll.poll`` rounds up twice, to nanoseconds and then to milliseconds, so that the float next to
    1.001 would wait for 1,002 ms. One float below the quotient is above the last millisecond for every value
    that the cap lets through, and below the next.
    """
    units = min(-(-wait // POLLER_UNIT), POLLER_MAXIMUM)
    return math.nextafter(units * POLLER_UNIT / SECOND, 0.0)

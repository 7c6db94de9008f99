"""uvloop: libuv's epoll waits and its clock are the world's, by interposition.

libuv takes neither a poller nor a clock, and waits in C. But uvloop's one shared library calls the C library
through slots that can be written (:mod:`loopspec.conformance.interposed`): ``epoll_create1`` is answered with
a duplicate of the world's epoll instance, ``epoll_pwait`` by the world's wait, and ``clock_gettime`` by the
world's clock. All the rest, ``epoll_ctl`` included, is libuv's own, on the real kernel. The slots are written
for the time of a run, and put back.

What is lost: libuv counts time in milliseconds, so a deadline is told as the millisecond that it has written
down; how many timers it holds is not told; and its own worker threads, which look up names, are not judged.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import uvloop
import uvloop.loop

from loopspec.conformance.adapter import (
    ACCEPTS,
    ALONE,
    BUFFERS,
    CONNECTS,
    Deviation,
    Poller,
    TimerHandle,
    World,
)
from loopspec.conformance.interposed import Interposed
from loopspec.conformance.loops.asyncio import AsyncioLoop

# libuv opens a pipe for signals with its first loop, and keeps it as long as the process lives.
uvloop.new_event_loop().close()

_LIBRARY = Path(str(uvloop.loop.__file__))
_SECOND = 1_000_000_000


class _Event(ctypes.Structure):
    """``struct epoll_event``."""

    _pack_ = 1
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


_CREATE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
_WAIT = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(_Event),
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_void_p,
    use_errno=True,
)
_TIME = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(_TimeSpec))


class _Libc:
    """The C library, as the world has it. What the world raises is kept until libuv has returned."""

    def __init__(self, world: World, stop: Callable[[], object]) -> None:
        self._world = world
        self._poller: Poller | None = None
        self._stop = stop
        self.raised: BaseException | None = None
        self.answers = {
            "epoll_create1": _CREATE(self._create),
            "epoll_pwait": _WAIT(self._wait),
            "clock_gettime": _TIME(self._time),
        }

    def close(self) -> None:
        if self._poller is not None:
            self._poller.close()

    def _create(self, _flags: int) -> int:
        self._poller = self._world.poller()
        return os.dup(self._poller.fileno())

    def _wait(self, _epoll: int, events: ctypes.Array[_Event], size: int, timeout: int, _mask: int) -> int:
        assert self._poller is not None
        try:
            batch = self._poller.poll(None if timeout < 0 else timeout / 1000, size)
        except BaseException as error:
            self.raised = error
            self._stop()
            batch = []
        if not batch and timeout < 0:  # a wait without end brings something, or is interrupted
            ctypes.set_errno(errno.EINTR)
            return -1
        for place, (descriptor, mask) in enumerate(batch):
            events[place] = _Event(mask, descriptor)
        return len(batch)

    def _time(self, _clock: int, to: ctypes._Pointer[_TimeSpec]) -> int:
        to.contents.seconds, to.contents.nanoseconds = divmod(self._world.now(), _SECOND)
        return 0


class _Timer:
    """uvloop's handle. That of a delay of nought is one of ``call_soon``, and does not tell when."""

    def __init__(self, handle: asyncio.Handle, now: float) -> None:
        when = getattr(handle, "when", lambda: now)
        self.deadline = round(when() * _SECOND)
        self.cancel = handle.cancel


class UvloopLoop(AsyncioLoop):
    """The adapter: asyncio's operations, on another loop."""

    version: ClassVar[str] = f"uvloop {version('uvloop')}"
    deviations: ClassVar[Mapping[str, Deviation]] = {
        "TIMER.CLOCK.MONOTONIC_AT_CALL": Deviation(
            "https://docs.libuv.org/en/v1.x/timer.html", "libuv counts the delays of timers in milliseconds"
        ),
        "LOOP.WAIT.TIMEOUT": Deviation(
            "https://docs.libuv.org/en/v1.x/loop.html#c.uv_update_time",
            "the wait is computed from the time at the start of the turn, which a long handler makes stale",
        ),
    }
    shows: ClassVar[frozenset[str]] = (
        AsyncioLoop.shows - {"TimersHeld"} - ACCEPTS - BUFFERS - CONNECTS - ALONE
    )

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.stop = self._stop

    def _make(self, world: World) -> asyncio.AbstractEventLoop:
        self._libc = _Libc(world, self._stop)
        self._interposed = Interposed(_LIBRARY, self._libc.answers)
        return uvloop.new_event_loop()

    def _stop(self) -> None:
        self._loop.stop()
        # libuv goes on with a wait without end that brings nothing: it is to be woken for this.
        self._loop.call_soon_threadsafe(lambda: None)

    def run(self, main: Callable[[], None]) -> None:
        # libuv calls what is queued before it first waits: the world's runs begin with a wait.
        def first() -> None:
            self.call_soon(main)

        super().run(first)
        raised, self._libc.raised = self._libc.raised, None
        if raised is not None:
            raise raised

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._interposed.restore()
            self._libc.close()

    def call_later(self, delay: int, callback: Callable[[], None]) -> TimerHandle:
        return _Timer(self._loop.call_later(delay / _SECOND, callback), self._loop.time())

    def timers_held(self) -> int:
        return 0

"""trio, on its own epoll manager: which gets the world's epoll instance, and its run the world's clock.

trio has tasks, and neither timers nor handlers that are called back: those events are not shown, and what
needs them is not observed. What trio has for callbacks is ``TrioToken.run_sync_soon``, for its own thread and
for others alike: nobody trespasses who uses it.

*A wait for ever* is one of a day to trio, and is handed on as what it stands for. The world's runs begin when
trio's own tasks are at rest for the first time.

*Supervised.* An exception that leaves a task or a callback ends the run, by trio's documented contract. The
adapter therefore supervises both, and ``Report`` is not shown: it would be the adapter's doing. Jobs go to
threads with ``abandon_on_cancel``, since a run could not end otherwise.

*Pinned.* trio reverses every other batch of runnable tasks, by a random number. The source of that is
seeded anew for each run: the order is its own, and the same each time. Equal deadlines, and the tasks of a
scope that is cancelled, it takes by their addresses, as identity and hash: by their age instead. Its threads
are its run's: none is there before, and they end with it, where trio would keep them for ten seconds of real
time for the next.
"""

from __future__ import annotations

import math
import os
import random
import select
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import ClassVar, NoReturn
from unittest.mock import patch

import trio
import trio.testing
from trio._core import _io_epoll, _run, _thread_cache

from loopspec.conformance.adapter import GROUPS, Deviation, Job, TaskHandle, World
from loopspec.conformance.structured import (
    SECOND,
    TASKS,
    Group,
    Names,
    Primitives,
    Scope,
    Supervised,
    TasksOnly,
)


class _Clock(trio.abc.Clock):
    def __init__(self, world: World) -> None:
        self._now = world.now

    def start_clock(self) -> None:
        """The world's runs already."""

    def current_time(self) -> float:
        return self._now() / SECOND

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return deadline - self.current_time()


class _Poller:
    """The world's epoll instance, but for the waits before trio's own tasks are all at rest."""

    def __init__(self, world: World) -> None:
        self.begun = False
        self._poller = world.poller()
        self.register = self._poller.register
        self.modify = self._poller.modify
        self.unregister = self._poller.unregister
        self.close = self._poller.close

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        if not self.begun:
            return []
        return self._poller.poll(None if timeout == _run._MAX_TIMEOUT else timeout, maxevents)


def _scope(seconds: float | None) -> trio.CancelScope:
    return trio.CancelScope(deadline=math.inf if seconds is None else trio.current_time() + seconds)


_NAMES = Names(
    trio.Event,
    _scope,
    trio.Lock,
    trio.Semaphore,
    trio.Condition,
    trio.open_memory_channel[int],
    trio.open_nursery,
)


class TrioLoop(TasksOnly):
    """The adapter; see :mod:`loopspec.conformance.adapter`."""

    version: ClassVar[str] = f"trio {trio.__version__}"
    deviations: ClassVar[Mapping[str, Deviation]] = {
        "FAIR.TASKS.STEPS_DIFFER_BY_ONE": Deviation(
            "https://github.com/python-trio/trio/issues/32",
            "the order within a batch is random by design: of two ready tasks one may step twice in a row",
        )
    }
    shows: ClassVar[frozenset[str]] = (TASKS | GROUPS) - {"Report", "Closing", "Trespass"}

    def __init__(self, world: World) -> None:
        self._world = world
        self._streams: dict[socket.socket, trio.SocketStream] = {}
        self._limiter = trio.CapacityLimiter(1)
        self._over = trio.Event()
        self._cache = _thread_cache.ThreadCache()
        self._threads = set(threading.enumerate())
        self.checkpoint = trio.lowlevel.checkpoint

    def run(self, main: Callable[[], None]) -> None:
        poller = _Poller(self._world)

        async def everything() -> None:
            self._token = trio.lowlevel.current_trio_token()
            await trio.testing.wait_all_tasks_blocked()
            poller.begun = True
            _contained(main)
            await self._over.wait()

        with _pinned(poller, self._cache):
            try:
                trio.run(everything, clock=_Clock(self._world))
            except BaseException as error:
                _raise_innermost(error)

    def stop(self) -> None:
        self._over.set()

    def close(self) -> None:
        with patch.object(_thread_cache, "IDLE_TIMEOUT", 0):
            while self._cache._idle_workers:
                self._cache.start_thread_soon(lambda: None, lambda _: None)
            for thread in set(threading.enumerate()) - self._threads:
                thread.join()

    # -- callbacks

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._token.run_sync_soon(_contained, callback)

    post = call_soon

    def close_socket(self, sock: socket.socket) -> None:
        self._stream(sock).socket.close()

    def on_signal(self, number: int, callback: Callable[[], None]) -> None:
        opened = trio.open_signal_receiver(signal.Signals(number))
        signals = opened.__enter__()

        async def handle() -> None:
            try:
                async for _ in signals:
                    _contained(callback)
            finally:
                opened.__exit__(None, None, None)

        trio.lowlevel.spawn_system_task(handle)

    # -- coroutines

    def spawn(self, job: Job) -> TaskHandle:
        task = Supervised(_NAMES, job)
        self.start(task)
        return task

    def start(self, task: Supervised) -> None:
        """Have ``task`` run."""
        trio.lowlevel.spawn_system_task(task.run)

    def sleep(self, delay: int) -> Awaitable[None]:
        return trio.sleep(delay / SECOND)

    def receive(self, sock: socket.socket, size: int) -> Awaitable[bytes]:
        return self._stream(sock).receive_some(size)

    def send_all(self, sock: socket.socket, data: bytes) -> Awaitable[None]:
        return self._stream(sock).send_all(data)

    def _stream(self, sock: socket.socket) -> trio.SocketStream:
        if sock not in self._streams:
            self._streams[sock] = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        return self._streams[sock]

    operations = staticmethod(_NAMES.operations)

    def primitives(self) -> Primitives:
        return Primitives(_NAMES)

    def scope(self, delay: int | None) -> Scope:
        return Scope(_NAMES, delay)

    def group(self) -> Group:
        return Group(_NAMES)

    # -- worker threads

    def start_workers(self, count: int) -> None:
        self._limiter = trio.CapacityLimiter(count)

    def to_thread(self, function: Callable[[], str]) -> Awaitable[str]:
        return trio.to_thread.run_sync(function, limiter=self._limiter, abandon_on_cancel=True)

    def from_thread(self, job: Job) -> str:
        return trio.from_thread.run(job)

    # -- servers

    def serve_echo(self, listener: socket.socket) -> None:
        plain = socket.socket(fileno=os.dup(listener.fileno()))  # trio takes no socket of another class
        listening = trio.SocketListener(trio.socket.from_stdlib_socket(plain))
        trio.lowlevel.spawn_system_task(trio.serve_listeners, _echo, [listening])


def _contained(callback: Callable[[], None]) -> None:
    with suppress(Exception):
        callback()


async def _echo(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        async for data in stream:
            await stream.send_all(data)


class _Ages:
    """How many others were asked for before: no address, and as good for an identity or a hash."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, object]] = {}  # by address, which is kept from being used again

    def __call__(self, one: object) -> int:
        return self._known.setdefault(id(one), (len(self._known), one))[0]

    def __get__(self, one: object, _: type | None = None) -> Callable[[], int]:
        return lambda: self(one)


@contextmanager
def _pinned(poller: _Poller, threads: _thread_cache.ThreadCache) -> Iterator[None]:
    """That poller, a random order that is the same each time, threads of its own."""
    kernel = SimpleNamespace(**{**vars(select), "epoll": lambda: poller})
    age = _Ages()
    with (
        patch.object(_run, "id", age, create=True),
        patch.object(_run.Task, "__hash__", age),
        patch.object(_run.CancelStatus, "__hash__", age),
        patch.object(_io_epoll, "select", kernel),
        patch.object(_run, "_r", random.Random(0)),
        patch.object(_thread_cache, "THREAD_CACHE", threads),
    ):
        yield


def _raise_innermost(error: BaseException) -> NoReturn:
    """Raise what the harness has broken the run off with, out of what trio has wrapped it in."""
    wrapped = error.exceptions if isinstance(error, BaseExceptionGroup) else (error.__cause__,)
    for inner in wrapped:
        if isinstance(inner, KeyboardInterrupt | BaseExceptionGroup):
            _raise_innermost(inner)
    raise error

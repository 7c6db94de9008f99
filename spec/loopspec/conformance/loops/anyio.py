"""AnyIO, on both of its back ends: a thin layer over their adapters, and judged as one.

What AnyIO has of its own is put in the place of the back end's: cancel scopes, events, locks, semaphores,
conditions, memory object streams, sleep and checkpoint, worker threads. Callbacks, the wait and the clock
are the back end's, and so are byte streams, since a scenario brings its own sockets. Tasks are supervised as
trio's are (:mod:`loopspec.conformance.structured`).

Its jobs are awaited, and none is called back. On asyncio its threads end with the task that ``asyncio.run``
was given, so that a run has such a task; and a task that a job asks for is cancelled with the one who waits
for the job, of which a trace does not tell: ``JobAsk`` is not shown there.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from typing import ClassVar

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from loopspec.conformance.adapter import (
    ACCEPTS,
    ALONE,
    BUFFERS,
    CONNECTS,
    Deviation,
    Job,
    Operation,
    TaskHandle,
    World,
)
from loopspec.conformance.loops.asyncio import AsyncioLoop
from loopspec.conformance.loops.trio import TrioLoop
from loopspec.conformance.structured import SECOND, Group, Names, Primitives, Scope, Supervised

_VERSION = version("anyio")

for _name in ("asyncio", "trio"):  # AnyIO imports them late, in a turn of the first run
    import_module(f"anyio._backends._{_name}")

# A task group of AnyIO's that takes no more tasks has made the coroutine by the time it refuses.
warnings.filterwarnings("ignore", "coroutine 'Supervised.run' was never awaited", RuntimeWarning)


def _scope(seconds: float | None) -> anyio.CancelScope:
    return anyio.CancelScope(deadline=math.inf if seconds is None else anyio.current_time() + seconds)


_MADE: list[tuple[MemoryObjectSendStream[int], MemoryObjectReceiveStream[int]]] = []


def _channel(capacity: int) -> tuple[MemoryObjectSendStream[int], MemoryObjectReceiveStream[int]]:
    """Both ends, which AnyIO wants closed: by :func:`_close_channels`."""
    sender, receiver = anyio.create_memory_object_stream[int](capacity)
    _MADE.append((sender, receiver))
    return sender, receiver


def _close_channels() -> None:
    while _MADE:
        for end in _MADE.pop():
            end.close()


_NAMES = Names(
    anyio.Event,
    _scope,
    anyio.Lock,
    anyio.Semaphore,
    anyio.Condition,
    _channel,
    anyio.create_task_group,
)


class _Offload:
    """AnyIO's worker threads, ``most`` of them at a time."""

    def __init__(self) -> None:
        self.most = 1
        self._limiter: anyio.CapacityLimiter | None = None  # which is made in a task

    async def to_thread(self, function: Callable[[], str]) -> str:
        self._limiter = self._limiter or anyio.CapacityLimiter(self.most)
        return await anyio.to_thread.run_sync(function, limiter=self._limiter, abandon_on_cancel=True)

    def from_thread(self, job: Job) -> str:
        async def run() -> str:
            return await job()

        return anyio.from_thread.run(run)


class _Operations:
    """What AnyIO offers, whatever is beneath."""

    _offload: _Offload

    def sleep(self, delay: int) -> Awaitable[None]:
        return anyio.sleep(delay / SECOND)

    def operations(self) -> Mapping[str, Callable[[], Operation]]:
        return _NAMES.operations()

    def primitives(self) -> Primitives:
        return Primitives(_NAMES)

    def scope(self, delay: int | None) -> Scope:
        return Scope(_NAMES, delay)

    def group(self) -> Group:
        return Group(_NAMES)

    # -- worker threads

    def start_workers(self, count: int) -> None:
        self._offload.most = count

    def to_thread(self, function: Callable[[], str]) -> Awaitable[str]:
        return self._offload.to_thread(function)

    def from_thread(self, job: Job) -> str:
        return self._offload.from_thread(job)


class AnyioOnTrio(_Operations, TrioLoop):
    """The adapter of AnyIO on trio."""

    version: ClassVar[str] = f"AnyIO {_VERSION} on {TrioLoop.version}"
    deviations: ClassVar[Mapping[str, Deviation]] = TrioLoop.deviations

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._offload = _Offload()
        self.checkpoint = anyio.lowlevel.checkpoint

    def close(self) -> None:
        super().close()
        _close_channels()

    def spawn(self, job: Job) -> TaskHandle:
        task = Supervised(_NAMES, job)
        self.start(task)
        return task


class AnyioOnAsyncio(_Operations, AsyncioLoop):  # type: ignore[misc] # another's primitives
    """The adapter of AnyIO on asyncio."""

    version: ClassVar[str] = f"AnyIO {_VERSION} on {AsyncioLoop.version}"
    shows: ClassVar[frozenset[str]] = AsyncioLoop.shows - ACCEPTS - BUFFERS - CONNECTS - ALONE - {"JobAsk"}
    submits = False

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._running: set[object] = set()  # asyncio itself keeps no task
        self._over = self._loop.create_future()
        self._threads = set(threading.enumerate())
        self._offload = _Offload()
        self.stop = self._stop

    def run(self, main: Callable[[], None]) -> None:
        async def everything() -> None:
            await self._over

        self._loop.call_soon(main)
        self._loop.run_until_complete(everything())

    def _stop(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def close(self) -> None:
        super().close()
        _close_channels()
        for thread in set(threading.enumerate()) - self._threads:
            thread.join()

    def spawn(self, job: Job) -> TaskHandle:
        task = Supervised(_NAMES, job)
        self._running.add(started := self._loop.create_task(task.run()))
        started.add_done_callback(self._running.discard)
        return task

    def checkpoint(self) -> Awaitable[None]:
        return anyio.lowlevel.checkpoint()

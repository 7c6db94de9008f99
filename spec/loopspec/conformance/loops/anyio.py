"""AnyIO, on both of its back ends: a thin layer over their adapters, and judged as one.

What AnyIO has of its own is put in the place of the back end's: cancel scopes, events, locks, semaphores,
conditions, memory object streams, sleep and checkpoint; on trio, worker threads, too. Callbacks, the wait
and the clock are the back end's, and so are byte streams, since a scenario brings its own sockets. Tasks are
supervised as trio's are (:mod:`loopspec.conformance.structured`).

On asyncio worker threads are left out: AnyIO starts each when it is needed, ``Thread.start`` waits for it,
and whether it does so in the kernel is chance.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
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
from loopspec.conformance.structured import SECOND, Names, Primitives, Scope, Supervised

_VERSION = version("anyio")
_WORKERS = frozenset(
    {"Pool", "Submit", "JobStart", "JobEnd", "JobResult", "JobRefuse", "JobAbandon", "JobAsk"}
)


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
)


class AnyioOnTrio(TrioLoop):
    """The adapter of AnyIO on trio."""

    version: ClassVar[str] = f"AnyIO {_VERSION} on {TrioLoop.version}"
    deviations: ClassVar[Mapping[str, Deviation]] = TrioLoop.deviations

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.checkpoint = anyio.lowlevel.checkpoint
        self._workers = 1

    def close(self) -> None:
        super().close()
        _close_channels()

    def spawn(self, job: Job) -> TaskHandle:
        task = Supervised(_NAMES, job)
        self.start(task)
        return task

    def sleep(self, delay: int) -> Awaitable[None]:
        return anyio.sleep(delay / SECOND)

    def operations(self) -> Mapping[str, Callable[[], Operation]]:
        return _NAMES.operations()

    def primitives(self) -> Primitives:
        return Primitives(_NAMES)

    def scope(self, delay: int | None) -> Scope:
        return Scope(_NAMES, delay)

    def start_workers(self, count: int) -> None:
        super().start_workers(count)
        self._workers = count
        self._offload: anyio.CapacityLimiter | None = None

    def to_thread(self, function: Callable[[], str]) -> Awaitable[str]:
        self._offload = self._offload or anyio.CapacityLimiter(self._workers)
        return anyio.to_thread.run_sync(function, limiter=self._offload, abandon_on_cancel=True)

    def from_thread(self, job: Job) -> str:
        async def run() -> str:
            return await job()

        return anyio.from_thread.run(run)


class AnyioOnAsyncio(AsyncioLoop):
    """The adapter of AnyIO on asyncio."""

    version: ClassVar[str] = f"AnyIO {_VERSION} on {AsyncioLoop.version}"
    shows: ClassVar[frozenset[str]] = AsyncioLoop.shows - _WORKERS - ACCEPTS - BUFFERS - CONNECTS - ALONE

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._running: set[object] = set()  # asyncio itself keeps no task

    def close(self) -> None:
        super().close()
        _close_channels()

    def spawn(self, job: Job) -> TaskHandle:
        task = Supervised(_NAMES, job)
        self._running.add(started := self._loop.create_task(task.run()))
        started.add_done_callback(self._running.discard)
        return task

    def checkpoint(self) -> Awaitable[None]:
        return anyio.lowlevel.checkpoint()

    def sleep(self, delay: int) -> Awaitable[None]:
        return anyio.sleep(delay / SECOND)

    def operations(self) -> Mapping[str, Callable[[], Operation]]:
        return _NAMES.operations()

    def primitives(self) -> Primitives:  # type: ignore[override] # another's primitives, as the protocol has it
        return Primitives(_NAMES)

    def scope(self, delay: int | None) -> Scope:  # type: ignore[override] # as above
        return Scope(_NAMES, delay)

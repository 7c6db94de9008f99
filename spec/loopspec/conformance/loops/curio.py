"""curio, on its stock selector: which gets the world's epoll instance, and its kernel the world's clock.

curio has tasks and nothing that is called back: those events are not shown, and what needs them is not
observed. What other threads hand in goes the way that curio has for it, through a ``UniversalQueue`` that a
task of the adapter's empties; ``Report`` is not shown, since what a callback lets out is met there.

*In place.* Synchronous code has no door into curio's kernel: everything is asked for by awaiting a trap.
A scenario's steps are synchronous. A trap that does not suspend (spawn, set, release, notify, cancel) is
therefore performed where it is asked for, by the kernel's own function for it, instead of one yield later.
So are those within an operation: to curio they are calls, and no suspension of the task; nor is
a trap that finds a cancellation pending, and raises at once.

What curio has no counterpart of is left out: scopes without a deadline, and cancelling one before it, tasks
run for a worker, signals since 1.0, and a refusal of other threads.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from types import SimpleNamespace, coroutine
from typing import ClassVar, TypeVar
from unittest.mock import patch

from loopspec.conformance.adapter import IncompatibleError, Job, Operation, World
from loopspec.conformance.structured import SECOND, TASKS, Op, StockSelector, TasksOnly
from loopspec.trace import Outcome

try:
    import curio
    import curio.io
    import curio.kernel
except AttributeError as error:  # curio takes from the standard library what later versions do not have
    raise IncompatibleError(f"curio {version('curio')} does not run on this Python: {error}") from None

Trap = tuple[object, ...]
T = TypeVar("T")

#: The traps that never suspend.
_AT_ONCE = frozenset(
    {"trap_io_release", "trap_io_waiting", "trap_spawn", "trap_cancel_task", "trap_sched_wake", "trap_clock"}
    | {"trap_set_timeout", "trap_unset_timeout", "trap_get_kernel", "trap_get_current"}
)


class _Running(curio.kernel.Activation):  # type: ignore[misc] # curio is not typed
    """Knows which task runs: whose the result of a trap is."""

    task: curio.Task

    def running(self, task: curio.Task) -> None:
        self.task = task


class _Task:
    def __init__(self, loop: CurioLoop, task: curio.Task) -> None:
        self._task = task
        self._loop = loop

    def cancel(self) -> None:
        self._loop.in_place(self._task.cancel(blocking=False))

    async def join(self) -> tuple[Outcome, str]:
        await self._loop.suspending(self._task.wait())
        error = self._task.exception
        if error is None:
            return "value", str(self._task.result)
        return ("error", str(error)) if isinstance(error, Exception) else ("cancelled", "")


class _Holdable:
    """A lock, a semaphore or a condition, whose ``release`` and ``notify`` are traps."""

    def __init__(self, loop: CurioLoop, made: curio.Lock | curio.Semaphore | curio.Condition) -> None:
        self._made = made
        self._loop = loop
        self.locked = made.locked

    def acquire(self) -> Awaitable[object]:
        return self._loop.suspending(self._made.acquire())

    def release(self) -> None:
        self._loop.in_place(self._made.release())

    def wait(self) -> Awaitable[object]:
        return self._loop.suspending(self._made.wait())

    def notify(self, count: int) -> None:
        self._loop.in_place(self._made.notify(count))


class _Queue:
    def __init__(self, loop: CurioLoop, capacity: int) -> None:
        self._queue = curio.Queue(capacity)
        self._loop = loop
        self.qsize = self._queue.qsize

    def put(self, item: int) -> Awaitable[object]:
        return self._loop.suspending(self._queue.put(item))

    def get(self) -> Awaitable[int]:
        return self._loop.suspending(self._queue.get())


class _Primitives:
    def __init__(self, loop: CurioLoop) -> None:
        self._loop = loop
        self.queue = partial(_Queue, loop)

    def lock(self) -> _Holdable:
        return _Holdable(self._loop, curio.Lock())

    def semaphore(self, value: int) -> _Holdable:
        return _Holdable(self._loop, curio.Semaphore(value))

    def condition(self) -> _Holdable:
        return _Holdable(self._loop, curio.Condition())


class _Scope:
    """``ignore_after``, which ends at its deadline and cannot be cancelled before."""

    def __init__(self, loop: CurioLoop, delay: int) -> None:
        self._loop = loop
        self._timeout = curio.ignore_after(delay / SECOND)

    @property
    def caught(self) -> bool:
        return bool(self._timeout.expired)

    def __aenter__(self) -> Awaitable[object]:
        return self._loop.suspending(self._timeout.__aenter__())

    def __aexit__(self, *raised: object) -> Awaitable[bool | None]:
        return self._loop.suspending(self._timeout.__aexit__(*raised))


class CurioLoop(TasksOnly):
    """The adapter; see :mod:`loopspec.conformance.adapter`."""

    version: ClassVar[str] = f"curio {version('curio')}"
    shows: ClassVar[frozenset[str]] = TASKS - {
        *("Enqueue", "Report", "Closing", "Closed", "RefusePost", "Trespass", "Fork", "Signal", "Caught"),
        "JobAsk",
    }

    def __init__(self, world: World) -> None:
        self._clock = SimpleNamespace(monotonic=lambda: world.now() / SECOND)
        self._running = _Running()
        self._posted = curio.UniversalQueue()
        self.call_soon = self.post = self._posted.put
        self._over = curio.UniversalEvent()
        self.stop = self._over.set
        self._sockets: dict[socket.socket, curio.io.Socket] = {}
        self._threads = set(threading.enumerate())
        self._kernel = curio.Kernel(selector=StockSelector(world), activations=[self._running])

    def run(self, main: Callable[[], None]) -> None:
        async def everything() -> None:
            await curio.spawn(self._call_what_is_posted, daemon=True)
            with suppress(Exception):
                main()
            await self._over.wait()

        with self._pinned():
            self._kernel.run(everything)

    def close(self) -> None:
        with self._pinned():
            self._kernel.run(shutdown=True)
        for thread in set(threading.enumerate()) - self._threads:
            thread.join()

    @contextmanager
    def _pinned(self) -> Iterator[None]:
        with (
            patch.object(curio.kernel, "time", self._clock),
            patch.object(curio.kernel.log, "disabled", True),
        ):
            yield

    def in_place(self, asked: Coroutine[Trap, object, T]) -> T:
        """Perform what does not suspend."""
        steps = self.suspending(asked)
        try:
            raise RuntimeError(f"curio suspends the caller of {asked!r} by {next(steps)}")
        except StopIteration as end:
            result: T = end.value
            return result

    @coroutine
    def suspending(self, asked: Coroutine[Trap, object, T]) -> Generator[Trap, object, T]:
        """``asked``, of whose traps only those are yielded that suspend."""
        result: object = None
        while True:
            try:
                trap = asked.send(result)
            except StopIteration as end:
                value: T = end.value
                return value
            task = self._running.task
            if trap[0] in _AT_ONCE or (task.allow_cancel and task.cancel_pending):
                task._trap_result = None
                self._kernel._traps[trap[0]](*trap[1:])
                result, task._trap_result = task._trap_result, None
            else:
                result = yield trap

    # -- callbacks

    async def _call_what_is_posted(self) -> None:
        while True:
            callback = await self._posted.get()
            with suppress(Exception):
                callback()

    on_signal = from_thread = TasksOnly.call_later

    def close_socket(self, sock: socket.socket) -> None:
        self.in_place(self._socket(sock).close())

    # -- coroutines

    def spawn(self, job: Job) -> _Task:
        async def run() -> str:
            return await job()

        return _Task(self, self.in_place(curio.spawn(run, daemon=True)))

    def checkpoint(self) -> Awaitable[object]:
        return self.suspending(curio.sleep(0))

    def sleep(self, delay: int) -> Awaitable[object]:
        return self.suspending(curio.sleep(delay / SECOND))

    def receive(self, sock: socket.socket, size: int) -> Awaitable[bytes]:
        return self.suspending(self._socket(sock).recv(size))

    def send_all(self, sock: socket.socket, data: bytes) -> Awaitable[object]:
        return self.suspending(self._socket(sock).sendall(data))

    def _socket(self, sock: socket.socket) -> curio.io.Socket:
        if sock not in self._sockets:
            self._sockets[sock] = curio.io.Socket(sock)
        return self._sockets[sock]

    def operations(self) -> Mapping[str, Callable[[], Operation]]:
        return {"Event.wait": self._event_wait, "Queue.get": self._get, "Queue.put": self._put}

    def _event_wait(self) -> Op:
        event = curio.Event()
        return Op(lambda: self.in_place(event.set()), lambda: self.suspending(event.wait()))

    def _get(self) -> Op:
        queue = curio.Queue()
        return Op(lambda: self.in_place(queue.put(None)), lambda: self.suspending(queue.get()))

    def _put(self) -> Op:
        queue = curio.Queue(1)
        self.in_place(queue.put(None))
        return Op(lambda: self.in_place(queue.get()), lambda: self.suspending(queue.put(None)))

    def primitives(self) -> _Primitives:
        return _Primitives(self)

    def scope(self, delay: int | None) -> _Scope | None:
        return None if delay is None else _Scope(self, delay)

    # -- worker threads

    def start_workers(self, count: int) -> None:
        pool = self._kernel.thread_pool = curio.workers.WorkerPool(curio.workers.ThreadWorker, count)
        self._kernel._call_at_shutdown(pool.shutdown)

    def to_thread(self, function: Callable[[], str]) -> Awaitable[str]:
        return self.suspending(curio.run_in_thread(function))

    # -- servers

    def serve_echo(self, listener: socket.socket) -> None:
        async def serve() -> None:
            served = curio.io.Socket(listener)
            while True:
                client, _ = await served.accept()
                await curio.spawn(_echo, client, daemon=True)

        self.in_place(curio.spawn(serve, daemon=True))


async def _echo(client: curio.io.Socket) -> None:
    async with client:
        with suppress(ConnectionError):
            while data := await client.recv(65536):
                await client.sendall(data)

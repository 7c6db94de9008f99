"""asyncio on its selector event loop, as CPython ships it.

The loop keeps its stock epoll selector, which is given the world's epoll instance; ``time()`` reads the
world's clock. Nothing else is overridden, and no operation is wrapped.
"""

from __future__ import annotations

import asyncio
import platform
import selectors
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import ClassVar

from loopspec.conformance.adapter import (
    ACCEPTS,
    ALONE,
    BUFFERS,
    CONNECTS,
    EVERYTHING,
    GROUPS,
    BufferedWriter,
    Connection,
    HasFileno,
    Job,
    Operation,
    TaskHandle,
    TimerHandle,
    World,
)
from loopspec.trace import Direction, Outcome

SECOND = 1_000_000_000


class _Selector(selectors.EpollSelector):
    """The stock selector; the attribute is where it looks for the class of its epoll object."""

    def __init__(self, world: World) -> None:
        self._selector_cls = world.poller
        super().__init__()


class _EventLoop(asyncio.SelectorEventLoop):
    """The stock selector loop on the world's poller and clock."""

    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, world: World) -> None:
        self._now = world.now
        super().__init__(_Selector(world))

    def time(self) -> float:
        return self._now() / SECOND


class _Timer:
    """asyncio's timer handle, with its deadline in nanoseconds."""

    __slots__ = ("_handle", "cancel")

    def __init__(self, handle: asyncio.TimerHandle) -> None:
        self._handle = handle
        self.cancel = handle.cancel

    @property
    def deadline(self) -> int:
        return round(self._handle.when() * SECOND)


class _Task:
    """asyncio's task; ``wait`` joins without passing a cancellation on, in either direction."""

    __slots__ = ("_task", "cancel", "done")

    def __init__(self, task: asyncio.Task[str]) -> None:
        self._task = task
        self.cancel = task.cancel
        self.done = task.done
        task.add_done_callback(_retrieve)

    async def join(self) -> tuple[Outcome, str]:
        await asyncio.wait((self._task,))
        if self._task.cancelled():
            return "cancelled", ""
        error = self._task.exception()
        return ("value", self._task.result()) if error is None else ("error", str(error))


def _retrieve(task: asyncio.Task[str]) -> None:
    """Look at the outcome, so that asyncio does not tell of one that nobody has looked at."""
    if not task.cancelled():
        task.exception()


class _QueueGet:
    def __init__(self) -> None:
        self._queue: asyncio.Queue[None] = asyncio.Queue()
        self.call = self._queue.get

    def ready(self) -> None:
        self._queue.put_nowait(None)


class _QueuePut:
    def __init__(self) -> None:
        self._queue: asyncio.Queue[None] = asyncio.Queue(maxsize=1)
        self._queue.put_nowait(None)
        self.ready = self._queue.get_nowait

    def call(self) -> Awaitable[None]:
        return self._queue.put(None)


class _EventWait:
    def __init__(self) -> None:
        event = asyncio.Event()
        self.ready = event.set
        self.call = event.wait


class _SemaphoreAcquire:
    def __init__(self) -> None:
        semaphore = asyncio.Semaphore(0)
        self.ready = semaphore.release
        self.call = semaphore.acquire


class _Primitives:
    """asyncio's own, as they are."""

    lock = asyncio.Lock
    semaphore = asyncio.Semaphore
    condition = asyncio.Condition

    def queue(self, capacity: int) -> asyncio.Queue[int]:
        return asyncio.Queue(capacity)


class _Scope:
    """``asyncio.timeout``: it is cancelled by moving its deadline, and tells of it by an error."""

    def __init__(self, delay: int | None) -> None:
        self._timeout = asyncio.timeout(None if delay is None else delay / SECOND)
        self._asked = False
        self._caught = False

    @property
    def caught(self) -> bool:
        return self._caught

    def cancel(self) -> None:
        # Moved once more, the deadline would come later.
        if not self._asked and not self._timeout.expired():
            self._asked = True
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            self._caught = True
        return self._caught


class _Writer:
    """A stream's writer, used as one is told to: ``write``, then ``await drain()``."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.accepted = 0

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        self.accepted += len(data)
        await self.writer.drain()


class _Group(asyncio.TaskGroup):
    """asyncio's own; its tasks as the harness knows them."""

    def start(self, job: Job) -> _Task:
        coroutine = job()
        try:
            return _Task(self.create_task(coroutine))
        except RuntimeError:
            coroutine.close()  # what is refused before 3.13 is left as it was
            raise


class AsyncioLoop:
    """The adapter; see :mod:`loopspec.conformance.adapter`.

    Jobs go to a ThreadPoolExecutor as anybody gets one: it starts its threads when they are first needed, and
    suspends the loop until they run.
    """

    version: ClassVar[str] = f"asyncio {platform.python_version()}"
    # A handler is taken off by its descriptor, so that there is no registration to name twice; and a close
    # drops what is queued, so that nothing runs in it that could post.
    shows: ClassVar[frozenset[str]] = (EVERYTHING | ACCEPTS | CONNECTS | BUFFERS | GROUPS | ALONE) - {
        "StaleDisarm",
        "Closing",
        "Handle",
        "Handled",
    }

    def __init__(self, world: World) -> None:
        self._loop = self._make(world)
        self._loop.set_exception_handler(lambda _, context: _report(world, context))
        self._servers: list[asyncio.AbstractServer] = []
        self._writers: list[_Writer] = []
        self._pool: ThreadPoolExecutor | None = None
        self._spawned: list[_Task] | None = None  # those that a run alone waits for
        self.stop = self._loop.stop
        self.call_soon = self._loop.call_soon
        self.post = self._loop.call_soon_threadsafe

    def _make(self, world: World) -> asyncio.AbstractEventLoop:
        return _EventLoop(world)

    def run(self, main: Callable[[], None]) -> None:
        self._loop.call_soon(main)
        self._loop.run_forever()

    def run_alone(self, main: Callable[[], None]) -> Sequence[TaskHandle]:
        # As asyncio.run does, which says nothing of a deadlock, whoever else there may be.
        spawned: list[_Task] = []
        self._spawned = spawned

        async def outlive() -> None:
            for task in spawned:  # those that are spawned meanwhile, too
                if not task.done():  # to wait for one that is takes steps, and they are told as the loop's
                    await task.join()

        self._loop.call_soon(main)
        outliving = self._loop.create_task(outlive())
        outliving.add_done_callback(self._stop_after)
        self._loop.run_forever()
        outliving.remove_done_callback(self._stop_after)
        return ()

    def _stop_after(self, _: asyncio.Task[None]) -> None:
        self._loop.stop()

    def close(self) -> None:
        async def end_all() -> None:
            await asyncio.sleep(0)  # for what other threads have posted
            for server in self._servers:
                server.close()
            for made in self._writers:
                made.writer.transport.abort()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)  # for the transports to let go of their sockets

        if self._servers or self._writers or self._pool or asyncio.all_tasks(self._loop):
            self._loop.run_until_complete(end_all())
        if self._pool is not None:
            self._pool.shutdown()
        self._loop.close()

    # -- callbacks

    def call_later(self, delay: int, callback: Callable[[], None]) -> TimerHandle:
        return _Timer(self._loop.call_later(delay / SECOND, callback))

    def timers_held(self) -> int:
        assert isinstance(self._loop, _EventLoop)
        return len(self._loop._scheduled)

    def arm(self, sock: HasFileno, direction: Direction, callback: Callable[[], None]) -> object:
        if direction == "read":
            self._loop.add_reader(sock, callback)
            return partial(self._loop.remove_reader, sock)
        self._loop.add_writer(sock, callback)
        return partial(self._loop.remove_writer, sock)

    def disarm(self, registration: object) -> None:
        assert callable(registration)
        registration()

    def close_socket(self, sock: socket.socket) -> None:
        sock.close()

    def on_signal(self, number: int, callback: Callable[[], None]) -> None:
        self._loop.add_signal_handler(number, callback)
        # A byte that does not fit is the loop's to look after; the interpreter need not print of it.
        signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)

    # -- coroutines

    def spawn(self, job: Job) -> TaskHandle:
        task = _Task(self._loop.create_task(job()))
        if self._spawned is not None:
            self._spawned.append(task)
        return task

    def checkpoint(self) -> Awaitable[None]:
        return asyncio.sleep(0)

    def sleep(self, delay: int) -> Awaitable[None]:
        return asyncio.sleep(delay / SECOND)

    def receive(self, sock: socket.socket, size: int) -> Awaitable[bytes]:
        return self._loop.sock_recv(sock, size)

    def send_all(self, sock: socket.socket, data: bytes) -> Awaitable[None]:
        return self._loop.sock_sendall(sock, data)

    async def connect(self, host: str, port: int) -> Connection:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            await self._loop.sock_connect(made, (host, port))
        except BaseException:
            made.close()
            raise
        return made

    async def buffered(self, sock: socket.socket, mark: int) -> BufferedWriter:
        _, writer = await asyncio.open_connection(sock=sock)
        writer.transport.set_write_buffer_limits(high=mark)
        self._writers.append(_Writer(writer))
        return self._writers[-1]

    def operations(self) -> Mapping[str, Callable[[], Operation]]:
        return {
            "Event.wait": _EventWait,
            "Queue.get": _QueueGet,
            "Queue.put": _QueuePut,
            "Semaphore.acquire": _SemaphoreAcquire,
        }

    def primitives(self) -> _Primitives:
        return _Primitives()

    def group(self) -> _Group:
        return _Group()

    def scope(self, delay: int | None) -> _Scope:
        return _Scope(delay)

    # -- worker threads

    def start_workers(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count)

    def submit(self, function: Callable[[], str], done: Callable[[Callable[[], str]], None]) -> object:
        future = self._loop.run_in_executor(self._pool, function)
        future.add_done_callback(lambda ended: done(ended.result))
        return future

    def to_thread(self, function: Callable[[], str]) -> Awaitable[str]:
        return self._loop.run_in_executor(self._pool, function)

    def from_thread(self, job: Job) -> str:
        return asyncio.run_coroutine_threadsafe(job(), self._loop).result()

    def handle_on_workers(self, sock: socket.socket, handler: Callable[[], None]) -> object:
        raise NotImplementedError("asyncio has no handlers on worker threads")

    # -- servers

    def serve_echo(self, listener: socket.socket) -> None:
        async def serve() -> None:
            self._servers.append(await asyncio.start_unix_server(_echo, sock=listener))

        self._loop.create_task(serve())


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


def _report(world: World, context: dict[str, object]) -> None:
    error = context.get("exception")
    if isinstance(error, BaseException):
        world.report(error)

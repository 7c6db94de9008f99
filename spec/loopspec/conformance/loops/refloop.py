"""refloop, the reference implementation: a reactor on the world's kernel, and a runtime on that reactor."""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from types import TracebackType
from typing import ClassVar

import refloop
import refloop.rpc
import refloop.rpc.calls
import refloop.tasks
from loopspec import __version__
from loopspec.conformance.adapter import (
    ACCEPTS,
    ALONE,
    BUFFERS,
    CONNECTS,
    EVERYTHING,
    GROUPS,
    MODES,
    RPC,
    BlockingRpc,
    BlockingSocket,
    BufferedWriter,
    CallbackRpc,
    Connection,
    CoroutineRpc,
    HasFileno,
    Job,
    Operation,
    Poller,
    RpcEnding,
    TaskHandle,
    TimerHandle,
    World,
)
from loopspec.server import ARCHITECTURES
from loopspec.trace import Direction, Outcome, RpcOutcome, Trigger

_DIRECTIONS: Mapping[Direction, refloop.Direction] = {
    "read": refloop.Direction.READ,
    "write": refloop.Direction.WRITE,
}

#: The life cycles of the implementation, for the documentation to draw: each by the name of its table.
LIVES: Mapping[str, Sequence[tuple[tuple[Enum, Enum], object]]] = {
    "refloop.tasks.LIFE": tuple(refloop.tasks.LIFE.items()),
    "refloop.rpc.calls.LIFE": tuple(refloop.rpc.calls.LIFE.items()),
}


_MODES: Mapping[Trigger, refloop.Mode] = {"edge": refloop.Mode.EDGE, "one-shot": refloop.Mode.ONE_SHOT}


class _Kernel:
    """The world's clock and epoll instances; the eventfd is the real one, unless the world has its own."""

    def __init__(self, world: World) -> None:
        self.clock = world.now
        self.poller: Callable[[], Poller] = world.poller
        self.waker: Callable[[], refloop.Waker] = getattr(world, "waker", refloop.LINUX.waker)


class _Task:
    __slots__ = ("cancel", "task")

    def __init__(self, task: refloop.Task[str]) -> None:
        self.task = task
        self.cancel = task.cancel

    async def join(self) -> tuple[Outcome, str]:
        try:
            return "value", await self.task.join()
        except refloop.TaskCancelledError:
            return "cancelled", ""
        except Exception as error:
            return "error", str(error)


class _EventWait:
    def __init__(self) -> None:
        event = refloop.Event()
        self.ready = event.set
        self.call = event.wait


class _SemaphoreAcquire:
    def __init__(self) -> None:
        self._semaphore = refloop.Semaphore(0)
        self.ready = self._semaphore.release
        self.call = self._semaphore.acquire


class _QueueGet:
    def __init__(self) -> None:
        self._queue: refloop.Queue[None] = refloop.Queue(1)
        self.call = self._queue.get

    def ready(self) -> None:
        self._queue.put_nowait(None)


class _QueuePut:
    def __init__(self) -> None:
        self._queue: refloop.Queue[None] = refloop.Queue(1)
        self._queue.put_nowait(None)
        self.ready = self._queue.get_nowait

    def call(self) -> Awaitable[None]:
        return self._queue.put(None)


class _Queue(refloop.Queue[int]):
    qsize = refloop.Queue.__len__


class _Primitives:
    """refloop's own, as they are."""

    lock = refloop.Lock
    semaphore = refloop.Semaphore
    condition = refloop.Condition
    queue = _Queue


class _Scope(refloop.CancelScope):
    """A cancel scope's ``with`` as ``async with``, which it has no need to be."""

    @property
    def caught(self) -> bool:
        return self.cancelled_caught

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        return self.__exit__(kind, error, traceback)


class _Writer:
    """A buffered sender, and how much it has accepted."""

    def __init__(self, sender: refloop.BufferedSender) -> None:
        self._sender = sender
        self.accepted = 0

    async def write(self, data: bytes) -> None:
        await self._sender.send(data)
        self.accepted += len(data)


class _Group(refloop.TaskGroup):
    """refloop's own; its tasks as the harness knows them."""

    def start(self, job: Job) -> _Task:
        return _Task(self.start_soon(job))  # type: ignore[arg-type]  # as in spawn


def _ending(outcome: refloop.rpc.Outcome) -> RpcEnding:
    match outcome:
        case refloop.rpc.Replied(value):
            return "reply", str(value)
        case refloop.rpc.Failed(error):
            return "error", error
        case refloop.rpc.TimedOut():
            return "timeout", ""
        case refloop.rpc.Ended():
            return "end", ""


_RAISED: Mapping[type[Exception], RpcOutcome] = {
    refloop.rpc.RemoteError: "error",
    TimeoutError: "timeout",
    refloop.rpc.EndedError: "end",
}


def _raised(error: Exception) -> RpcEnding:
    outcome = _RAISED[type(error)]
    return outcome, str(error) if outcome == "error" else ""


class _BlockingRpc:
    def __init__(self, client: refloop.rpc.BlockingClient) -> None:
        self._client = client
        self.close = client.close

    def dropped(self) -> int:
        return self._client.dropped

    def ask(self, params: tuple[int, str], timeout: int | None) -> RpcEnding:
        try:
            return "reply", str(self._client.call("ask", *params, timeout=timeout))
        except tuple(_RAISED) as error:
            return _raised(error)


class _CallbackRpc:
    def __init__(self, client: refloop.rpc.CallbackClient) -> None:
        self._client = client
        self.close = client.close

    def dropped(self) -> int:
        return self._client.dropped

    def ask(
        self, params: tuple[int, str], timeout: int | None, settled: Callable[[RpcOutcome, str], None]
    ) -> Callable[[], object]:
        call = self._client.call(
            "ask", *params, timeout=timeout, callback=lambda outcome: settled(*_ending(outcome))
        )
        return call.cancel


class _CoroutineRpc:
    def __init__(self, client: refloop.rpc.Client) -> None:
        self._client = client
        self.close = client.close

    def dropped(self) -> int:
        return self._client.dropped

    async def ask(self, params: tuple[int, str], timeout: int | None) -> RpcEnding:
        try:
            return "reply", str(await self._client.call("ask", *params, timeout=timeout))
        except tuple(_RAISED) as error:
            return _raised(error)


class RefloopLoop:
    """The adapter; see :mod:`loopspec.conformance.adapter`."""

    version: ClassVar[str] = f"refloop {__version__}"
    shows: ClassVar[frozenset[str]] = EVERYTHING | ACCEPTS | RPC | MODES | CONNECTS | BUFFERS | GROUPS | ALONE
    servers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        architecture: (sys.executable, "-m", "refloop.servers", architecture)
        for architecture in ARCHITECTURES
    }

    def __init__(self, world: World) -> None:
        self._reactor = refloop.Reactor(_Kernel(world))
        self._reactor.on_error = world.report
        self._runtime = refloop.Runtime(self._reactor)
        self._streams: dict[socket.socket, refloop.SocketStream] = {}
        self._stopping = False
        self._outliving: refloop.Task[None] | None = None
        self._spawned: list[_Task] = []  # those that a run alone waits for
        self.group = _Group
        self.call_soon = self._reactor.call_soon
        self.post = self._reactor.call_soon_threadsafe
        self.on_signal = self._reactor.add_signal_handler
        self.checkpoint = refloop.checkpoint
        self.sleep = refloop.sleep

    def run(self, main: Callable[[], None]) -> None:
        self._reactor.call_soon(main)
        while not self._stopping:
            self._reactor.turn()

    def run_alone(self, main: Callable[[], None]) -> Sequence[TaskHandle]:
        self._runtime.alone = True
        self._reactor.call_soon(main)
        self._outliving = self._runtime.spawn(self._outlive)
        try:
            self._runtime.run_until_done(self._outliving)
        except refloop.DeadlockError as deadlock:
            return [each for task in deadlock.tasks for each in self._spawned if each.task is task]
        except refloop.Cancelled:
            pass  # stopped
        return ()

    async def _outlive(self) -> None:
        for task in self._spawned:  # those that are spawned meanwhile, too
            await task.join()

    def stop(self) -> None:
        self._stopping = True
        if self._outliving is not None:
            self._outliving.cancel()

    def close(self) -> None:
        self._runtime.close()
        self._reactor.close()

    # -- callbacks

    def call_later(self, delay: int, callback: Callable[[], None]) -> TimerHandle:
        return self._reactor.call_later(delay, callback)

    def timers_held(self) -> int:
        return len(self._reactor.timers)

    def arm(self, sock: HasFileno, direction: Direction, callback: Callable[[], None]) -> object:
        return self._reactor.register(sock, _DIRECTIONS[direction], lambda _events: callback())

    def disarm(self, registration: object) -> None:
        assert isinstance(registration, refloop.Registration | refloop.WorkerRegistration)
        registration.disarm()

    def arm_triggered(
        self, sock: HasFileno, direction: Direction, trigger: Trigger, callback: Callable[[], None]
    ) -> object:
        mode = _MODES[trigger]
        return self._reactor.register(sock, _DIRECTIONS[direction], lambda _events: callback(), mode)

    def rearm(self, registration: object) -> None:
        assert isinstance(registration, refloop.Registration)
        registration.rearm()

    def close_socket(self, sock: socket.socket) -> None:
        stream = self._streams.pop(sock, None)
        if stream is None:
            self._reactor.notify_closing(sock)
            sock.close()
        else:
            stream.close()

    # -- coroutines

    def spawn(self, job: Job) -> TaskHandle:
        # What a coroutine yields is a matter between it and its loop.
        task = _Task(self._runtime.spawn(job))  # type: ignore[arg-type]
        if self._outliving is not None:
            self._spawned.append(task)
        return task

    def receive(self, sock: socket.socket, size: int) -> Awaitable[bytes]:
        return self._stream(sock).receive(size)

    def send_all(self, sock: socket.socket, data: bytes) -> Awaitable[object]:
        return self._stream(sock).send_all(data)

    async def connect(self, host: str, port: int) -> Connection:
        return await refloop.open_tcp(host, port)

    async def buffered(self, sock: socket.socket, mark: int) -> BufferedWriter:
        return _Writer(refloop.BufferedSender(self._stream(sock), mark))

    def _stream(self, sock: socket.socket) -> refloop.SocketStream:
        if sock not in self._streams:
            self._streams[sock] = refloop.SocketStream(sock)
        return self._streams[sock]

    def operations(self) -> Mapping[str, Callable[[], Operation]]:
        return {
            "Event.wait": _EventWait,
            "Queue.get": _QueueGet,
            "Queue.put": _QueuePut,
            "Semaphore.acquire": _SemaphoreAcquire,
        }

    def primitives(self) -> _Primitives:
        return _Primitives()

    def scope(self, delay: int | None) -> _Scope:
        return _Scope(deadline=None if delay is None else self._reactor.clock() + delay)

    # -- worker threads

    def start_workers(self, count: int) -> None:
        # They start when there is something to do.
        self._runtime.close()
        self._runtime = refloop.Runtime(self._reactor, workers=count)

    def submit(self, function: Callable[[], str], done: Callable[[Callable[[], str]], None]) -> object:
        return self._runtime.workers.submit(function, done=lambda job: done(job.take))

    def to_thread(self, function: Callable[[], str]) -> Awaitable[str]:
        return refloop.to_thread(function)

    def from_thread(self, job: Job) -> str:
        # To the type checker a job gives a coroutine like any other value; from_thread gives that one's
        # value.
        return str(refloop.from_thread(job))

    def handle_on_workers(self, sock: socket.socket, handler: Callable[[], None]) -> object:
        register = self._runtime.workers.register
        return register(sock, refloop.Direction.READ, lambda _events: handler())

    # -- servers

    def serve_echo(self, listener: socket.socket) -> None:
        self._runtime.spawn(partial(refloop.serve, refloop.Listener(listener), _echo))

    # -- remote calls

    def rpc_blocking(self, sock: BlockingSocket, now: Callable[[], int]) -> BlockingRpc:
        return _BlockingRpc(refloop.rpc.BlockingClient(sock, now))

    def rpc_callback(self, sock: socket.socket) -> CallbackRpc:
        return _CallbackRpc(refloop.rpc.CallbackClient(self._reactor, sock))

    def rpc_coroutine(self, sock: socket.socket) -> CoroutineRpc:
        return _CoroutineRpc(refloop.rpc.Client(refloop.SocketStream(sock)))


async def _echo(stream: refloop.SocketStream) -> None:
    with stream:
        while data := await stream.receive():
            await stream.send_all(data)

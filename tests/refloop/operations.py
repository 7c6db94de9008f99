"""Every public asynchronous operation of refloop, and how to make it ready: what the generic tests run over.

What is public and asynchronous is found out and not listed: :func:`public`. What a test needs to know of an
operation is in :data:`OPERATIONS`, and an operation that is not there is an error of the tests, so that a
new one joins by being public. A site is made on the kernel of the reactor that it finds, the real one under a
held clock or the simulated one; :data:`REAL_ONLY` are those that the simulated kernel has nothing for.
"""

from __future__ import annotations

import inspect
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from functools import partial
from types import ModuleType
from typing import Final, NamedTuple, TypeAlias

import refloop
from loopspec.conformance.simulated import SimulatedKernel, SimulatedSocket
from refloop import (
    MILLISECOND,
    BufferedReceiver,
    BufferedSender,
    CapacityLimiter,
    Condition,
    Event,
    Listener,
    Lock,
    Queue,
    Semaphore,
    SocketStream,
    TaskGroup,
    checkpoint,
    from_thread,
    getaddrinfo,
    listen_unix,
    notify_closing,
    open_tcp,
    open_unix,
    read_file,
    rpc,
    serve,
    serve_tcp,
    serve_unix,
    sleep,
    sleep_until,
    to_thread,
    wait_readable,
    wait_writable,
)
from refloop.rpc.wire import CallId, Request, encode
from tests.refloop.fake_kernel import FakeKernel


class Site(NamedTuple):
    """One operation, not ready yet, where it can wait: ``call`` it.

    ``ready`` has its next call succeed. ``left`` tells how much of what ``ready`` has brought nobody has had
    yet; None of an operation that takes nothing away, such as to wait for an event. ``close`` closes what the
    operation is of, whoever is waiting; None where there is nothing to close.
    """

    call: Callable[[], Awaitable[object]]
    ready: Callable[[], object]
    left: Callable[[], int] | None = None
    close: Callable[[], object] | None = None


Make = Callable[[ExitStack], Site]
"""Makes a site, inside a task; what is to be closed afterwards goes on the stack."""


def nothing() -> None:
    """For what is ready from the start."""


def _checkpoint(_stack: ExitStack) -> Site:
    return Site(checkpoint, nothing)


def _clock() -> FakeKernel | SimulatedKernel:
    kernel = refloop.current_reactor()._kernel
    assert isinstance(kernel, FakeKernel | SimulatedKernel)
    return kernel


def _pass(instants: list[int]) -> None:
    """Let the clock show the last of ``instants``, and let every later one be over already."""
    kernel = _clock()
    kernel.now = max(kernel.now, instants[-1])
    instants.append(0)


def _sleep(_stack: ExitStack) -> Site:
    # The clock of the tests moves on only when nobody has anything to do, so a call that has begun waits.
    delays, instants = [MILLISECOND], [0]

    def call() -> Awaitable[None]:
        instants.append(_clock().now + delays[-1])
        return sleep(delays[-1])

    def ready() -> None:
        delays.append(0)
        _pass(instants)

    return Site(call, ready)


def _sleep_until(_stack: ExitStack) -> Site:
    instants = [_clock().now + MILLISECOND]
    return Site(lambda: sleep_until(instants[-1]), lambda: _pass(instants))


Connected: TypeAlias = socket.socket | SimulatedSocket


def _pair(stack: ExitStack) -> tuple[Connected, Connected]:
    kernel = _clock()
    ends = kernel.pair() if isinstance(kernel, SimulatedKernel) else socket.socketpair()
    for end in ends:
        end.setblocking(False)
        stack.callback(end.close)
    stack.callback(_notify_unless_closed, ends[0])
    return ends


def _notify_unless_closed(end: Connected) -> None:
    if end.fileno() >= 0:
        notify_closing(end)


def _close(end: Connected) -> None:
    _notify_unless_closed(end)
    end.close()


def _fill(ours: Connected) -> None:
    if isinstance(ours, socket.socket):
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    with suppress(BlockingIOError):
        while True:
            ours.send(bytes(1024))


def _drain(theirs: Connected) -> None:
    with suppress(BlockingIOError):
        while theirs.recv(1 << 20):
            pass


def _wait_readable(stack: ExitStack) -> Site:
    ours, theirs = _pair(stack)
    return Site(lambda: wait_readable(ours), lambda: theirs.send(b"x"), close=lambda: _close(ours))


def _wait_writable(stack: ExitStack) -> Site:
    ours, theirs = _pair(stack)
    _fill(ours)
    return Site(lambda: wait_writable(ours), lambda: _drain(theirs), close=lambda: _close(ours))


def _receive(stack: ExitStack) -> Site:
    ours, theirs = _pair(stack)
    stream = SocketStream(ours)
    return Site(stream.receive, lambda: theirs.send(b"x"), lambda: _left(ours, theirs), stream.close)


def _left(ours: Connected, theirs: Connected) -> int:
    """How many bytes nobody has received; they are put back."""
    try:
        data = ours.recv(100)
    except BlockingIOError:
        return 0
    theirs.send(data)
    return len(data)


def _send_all(stack: ExitStack) -> Site:
    ours, theirs = _pair(stack)
    _fill(ours)
    stream = SocketStream(ours)
    return Site(lambda: stream.send_all(b"x"), lambda: _drain(theirs), close=stream.close)


def _receiving(
    stack: ExitStack, call: Callable[[BufferedReceiver], Awaitable[object]], data: bytes = b"x"
) -> Site:
    ours, theirs = _pair(stack)
    stream = SocketStream(ours)
    receiver = BufferedReceiver(stream)

    def left() -> int:
        return receiver.buffered + _left(ours, theirs)

    return Site(lambda: call(receiver), lambda: theirs.send(data), left, stream.close)


def _buffered_receive(stack: ExitStack) -> Site:
    return _receiving(stack, BufferedReceiver.receive)


def _receive_exactly(stack: ExitStack) -> Site:
    return _receiving(stack, lambda receiver: receiver.receive_exactly(1))


def _receive_until(stack: ExitStack) -> Site:
    return _receiving(stack, lambda receiver: receiver.receive_until(b"\n"), b"\n")


def _sending(stack: ExitStack, call: Callable[[BufferedSender], Awaitable[object]]) -> Site:
    """Above its mark, since there is a byte for which there is no room."""
    ours, theirs = _pair(stack)
    _fill(ours)
    stream = SocketStream(ours)
    sender = BufferedSender(stream, 0)
    refloop.current_runtime().spawn(sender.send, b"x")
    return Site(lambda: call(sender), lambda: _drain(theirs), close=stream.close)


def _buffered_send(stack: ExitStack) -> Site:
    return _sending(stack, lambda sender: sender.send(b"x"))


def _flush(stack: ExitStack) -> Site:
    return _sending(stack, BufferedSender.flush)


def _listener(stack: ExitStack) -> tuple[Listener, Callable[[], Connected]]:
    """A listener, and what connects a client to it."""
    kernel = _clock()
    if isinstance(kernel, SimulatedKernel):
        return _simulated_listener(stack, kernel)
    listener, path = _unix_listener(stack)

    def connect() -> socket.socket:
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        client.connect(path)
        client.setblocking(False)
        return client

    return listener, connect


def _simulated_listener(
    stack: ExitStack, kernel: SimulatedKernel
) -> tuple[Listener, Callable[[], Connected]]:
    listening = kernel.listener(1)

    def connect() -> SimulatedSocket:
        client = kernel.socket()
        stack.callback(client.close)
        client.setblocking(False)
        client.connect_ex(listening.getsockname())
        kernel.carry()
        return client

    return stack.enter_context(Listener(listening)), connect


def _unix_listener(stack: ExitStack) -> tuple[Listener, str]:
    listener = stack.enter_context(listen_unix(""))
    path = listener.socket.getsockname()
    assert isinstance(path, bytes)
    return listener, path.decode()


def _accept(stack: ExitStack) -> Site:
    listener, connect = _listener(stack)
    clients: list[int] = []
    accepted: list[SocketStream] = []

    async def accept() -> None:
        accepted.append(stack.enter_context(await listener.accept()))

    def ready() -> None:
        clients.append(1)
        connect()

    return Site(accept, ready, lambda: len(clients) - len(accepted), listener.close)


def _serve(stack: ExitStack) -> Site:
    """It serves until it is cancelled: the test of it ends when the first client has been served."""
    listener, connect = _listener(stack)

    async def serve_one() -> None:
        served = Event()

        async def handler(_stream: SocketStream) -> None:
            served.set()

        async with TaskGroup() as group:
            group.start_soon(serve, listener, handler)
            await served.wait()
            group.cancel_scope.cancel()

    return Site(serve_one, connect, close=listener.close)


Handler = Callable[[SocketStream], Awaitable[object]]
Listening = Callable[[Listener], object]


def _serving(
    stack: ExitStack, family: int, serve_it: Callable[[Handler, Listening], Awaitable[None]]
) -> Site:
    """What makes its own listener: a client that is there before connects when it has."""
    addresses: list[str | tuple[str, int]] = []
    clients: list[socket.socket] = []

    def connect() -> None:
        while addresses and clients:
            clients.pop().connect(addresses[-1])

    def listening(listener: Listener) -> None:
        assert isinstance(listener.socket, socket.socket)
        addresses.append(listener.socket.getsockname())
        connect()

    def ready() -> None:
        clients.append(stack.enter_context(socket.socket(family)))
        connect()

    async def serve_one() -> None:
        served = Event()

        async def handler(_stream: SocketStream) -> None:
            served.set()

        async def serve_until_cancelled() -> None:
            try:
                await serve_it(handler, listening)
            finally:
                addresses.clear()

        async with TaskGroup() as group:
            group.start_soon(serve_until_cancelled)
            await served.wait()
            group.cancel_scope.cancel()

    return Site(serve_one, ready)


def _serve_tcp(stack: ExitStack) -> Site:
    return _serving(
        stack,
        socket.AF_INET,
        lambda handler, listening: serve_tcp(handler, "127.0.0.1", 0, listening=listening),
    )


def _serve_unix(stack: ExitStack) -> Site:
    return _serving(
        stack, socket.AF_UNIX, lambda handler, listening: serve_unix(handler, "", listening=listening)
    )


def _open_tcp(stack: ExitStack) -> Site:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    async def connect() -> None:
        stack.enter_context(await open_tcp("127.0.0.1", listener.getsockname()[1]))

    return Site(connect, nothing)


def _open_unix(stack: ExitStack) -> Site:
    _, path = _unix_listener(stack)

    async def connect() -> None:
        stack.enter_context(await open_unix(path))

    return Site(connect, nothing)


def _event(_stack: ExitStack) -> Site:
    event = Event()
    return Site(event.wait, event.set)


def _join(_stack: ExitStack) -> Site:
    event = Event()
    task = refloop.current_runtime().spawn(event.wait)
    return Site(task.join, event.set)


def _group(_stack: ExitStack) -> Site:
    event = Event()

    async def group() -> None:
        async with TaskGroup() as tasks:
            tasks.start_soon(event.wait)

    return Site(group, event.set)


def _semaphore(_stack: ExitStack) -> Site:
    semaphore = Semaphore(0)
    return Site(semaphore.acquire, semaphore.release, lambda: semaphore.value)


async def _hold(shared: Lock | Semaphore | Condition | CapacityLimiter) -> None:
    async with shared:
        pass


def _semaphore_block(_stack: ExitStack) -> Site:
    semaphore = Semaphore(0)
    return Site(lambda: _hold(semaphore), semaphore.release)


def _held_by_another(shared: Lock | Condition | CapacityLimiter) -> Callable[[], None]:
    """Have a task hold ``shared`` until the function that is returned is called."""
    over = Event()

    async def hold() -> None:
        async with shared:
            await over.wait()

    refloop.current_runtime().spawn(hold)
    return over.set


def _lock(_stack: ExitStack) -> Site:
    lock = Lock()
    return Site(lambda: _acquire_and_release(lock), _held_by_another(lock))


def _condition(_stack: ExitStack) -> Site:
    condition = Condition()
    return Site(lambda: _acquire_and_release(condition), _held_by_another(condition))


async def _acquire_and_release(shared: Lock | Condition) -> None:
    await shared.acquire()
    shared.release()


def _lock_block(_stack: ExitStack) -> Site:
    lock = Lock()
    return Site(lambda: _hold(lock), _held_by_another(lock))


def _condition_block(_stack: ExitStack) -> Site:
    condition = Condition()
    return Site(lambda: _hold(condition), _held_by_another(condition))


def _condition_wait(_stack: ExitStack) -> Site:
    condition = Condition()
    true: list[int] = []

    async def wait() -> None:
        async with condition:
            while not true:
                await condition.wait()
            true.pop()

    async def notify() -> None:
        async with condition:
            true.append(1)
            condition.notify()

    return Site(wait, lambda: refloop.current_runtime().spawn(notify))


def _get(_stack: ExitStack) -> Site:
    queue: Queue[int] = Queue(3)
    return Site(queue.get, lambda: queue.put_nowait(1), lambda: len(queue))


def _put(_stack: ExitStack) -> Site:
    queue: Queue[int] = Queue(1)
    queue.put_nowait(0)
    return Site(lambda: queue.put(1), queue.get_nowait, lambda: 1 - len(queue))


def _limiter(_stack: ExitStack) -> Site:
    limiter = CapacityLimiter(1)
    refloop.current_runtime().spawn(limiter.acquire)
    return Site(limiter.acquire, limiter.release, lambda: limiter.available)


def _limiter_block(_stack: ExitStack) -> Site:
    limiter = CapacityLimiter(1)
    return Site(lambda: _hold(limiter), _held_by_another(limiter))


def _to_thread(stack: ExitStack) -> Site:
    gate = threading.Event()
    stack.callback(gate.set)  # the worker of a call that was cancelled waits, too
    return Site(lambda: to_thread(gate.wait), gate.set)


def _from_thread(stack: ExitStack) -> Site:
    """No coroutine function itself, but the way back of one: a job that has the loop wait for an event."""
    event = Event()
    return Site(lambda: to_thread(from_thread, event.wait), event.set)


def _rpc_call(stack: ExitStack) -> Site:
    ours, theirs = _pair(stack)
    event = Event()

    async def ask() -> str:
        await event.wait()
        return "done"

    client = stack.enter_context(rpc.Client(SocketStream(ours)))
    stream = stack.enter_context(SocketStream(theirs))
    server = refloop.current_runtime().spawn(rpc.answer_calls, stream, {"ask": ask})
    stack.callback(server.cancel)
    return Site(lambda: client.call("ask"), event.set, close=client.close)


def _answer_calls(stack: ExitStack) -> Site:
    """It serves until its client leaves."""
    ours, theirs = _pair(stack)
    stream = stack.enter_context(SocketStream(ours))
    return Site(lambda: rpc.answer_calls(stream, {}), theirs.close, close=stream.close)


def _serve_calls(stack: ExitStack) -> Site:
    """It serves until it is cancelled, as ``serve`` does."""
    listener, connect = _listener(stack)

    async def serve_one() -> None:
        served = Event()

        async def come() -> None:
            served.set()

        async with TaskGroup() as group:
            group.start_soon(rpc.serve_calls, listener, {"come": come})
            await served.wait()
            group.cancel_scope.cancel()

    return Site(serve_one, lambda: connect().send(_COME), close=listener.close)


_COME: Final = encode(Request(CallId(0), "come", ()))


def _read_file(_stack: ExitStack) -> Site:
    return Site(lambda: read_file(__file__), nothing)


def _getaddrinfo(_stack: ExitStack) -> Site:
    return Site(partial(getaddrinfo, "127.0.0.1", 80), nothing)


OPERATIONS: Final[dict[str, Make]] = {
    "BufferedReceiver.receive": _buffered_receive,
    "BufferedReceiver.receive_exactly": _receive_exactly,
    "BufferedReceiver.receive_until": _receive_until,
    "BufferedSender.flush": _flush,
    "BufferedSender.send": _buffered_send,
    "CapacityLimiter": _limiter_block,
    "CapacityLimiter.acquire": _limiter,
    "Condition": _condition_block,
    "Condition.acquire": _condition,
    "Condition.wait": _condition_wait,
    "Event.wait": _event,
    "Listener.accept": _accept,
    "Lock": _lock_block,
    "Lock.acquire": _lock,
    "Queue.get": _get,
    "Queue.put": _put,
    "Semaphore": _semaphore_block,
    "Semaphore.acquire": _semaphore,
    "SocketStream.receive": _receive,
    "SocketStream.send_all": _send_all,
    "Task.join": _join,
    "TaskGroup": _group,
    "checkpoint": _checkpoint,
    "from_thread": _from_thread,
    "getaddrinfo": _getaddrinfo,
    "open_tcp": _open_tcp,
    "open_unix": _open_unix,
    "read_file": _read_file,
    "rpc.Client.call": _rpc_call,
    "rpc.answer_calls": _answer_calls,
    "rpc.serve_calls": _serve_calls,
    "serve": _serve,
    "serve_tcp": _serve_tcp,
    "serve_unix": _serve_unix,
    "sleep": _sleep,
    "sleep_until": _sleep_until,
    "to_thread": _to_thread,
    "wait_readable": _wait_readable,
    "wait_writable": _wait_writable,
}
"""The public asynchronous operations by name; a class that ``async with`` takes goes by the class's."""

BESIDES: Final = frozenset({"from_thread"})
"""Those of them that are no coroutine functions, and belong here all the same."""

READY_FROM_THE_START: Final = frozenset({"checkpoint", "open_unix", "open_tcp", "read_file", "getaddrinfo"})
"""Operations for which no site is made that would have them wait; of TCP the network decides, of a file its
worker."""

REAL_ONLY: Final = frozenset(
    {
        "from_thread",
        "getaddrinfo",
        "open_tcp",
        "open_unix",
        "read_file",
        "serve_tcp",
        "serve_unix",
        "to_thread",
    }
)
"""Operations that are simulated nowhere: they make sockets of the real kernel, or have threads do the
work."""


CLOSABLE: Final = frozenset(
    {
        "BufferedReceiver.receive",
        "BufferedReceiver.receive_exactly",
        "BufferedReceiver.receive_until",
        "BufferedSender.flush",
        "BufferedSender.send",
        "Listener.accept",
        "SocketStream.receive",
        "SocketStream.send_all",
        "rpc.Client.call",
        "rpc.answer_calls",
        "rpc.serve_calls",
        "serve",
        "wait_readable",
        "wait_writable",
    }
)
"""The operations of something that can be closed."""


def public() -> set[str]:
    """The names of all public asynchronous operations, as refloop and its remote calls have them."""
    return _public(refloop, "") | _public(rpc, "rpc.")


def _public(module: ModuleType, prefix: str) -> set[str]:
    found: set[str] = set()
    for name in module.__all__:
        value = getattr(module, name)
        if not inspect.isclass(value):
            found |= {prefix + name} if _is_async(value) else set()
            continue
        if hasattr(value, "__aenter__"):
            found.add(prefix + name)
        members = [attribute for attribute in dir(value) if not attribute.startswith("_")]
        found |= {
            f"{prefix}{name}.{each}" for each in members if _is_async(inspect.getattr_static(value, each))
        }
    return found


def _is_async(value: object) -> bool:
    if not inspect.isfunction(value):
        return False
    if inspect.iscoroutinefunction(value) or value.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE:
        return True
    return str(value.__annotations__.get("return", "")).startswith("Awaitable")

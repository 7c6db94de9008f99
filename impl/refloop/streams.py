"""Byte streams over nonblocking sockets, TCP and Unix, and the servers and clients of them.

Both wait first and act then, so that a cancellation comes before the effect. *Receiving* waits for the
socket: it is a checkpoint in any case, and after the wait one ``recv`` suffices where trying first would take
two. *Sending* does not, since a socket is nearly always writable: it is a plain checkpoint, then hands over
what the kernel takes, and waits for room only for the rest. Letting the others run before the send and not
after it also spares a turn in which the next request comes in while nobody waits for it. There is no buffer
on either side: what was sent is with the kernel, and what was not received is there still, so an idle
connection costs its objects and nothing else.

*Closing* tells the reactor first. A task that waits for the stream, or was woken and has not run, gets
:class:`ClosedResourceError`, and never touches the number again.
"""

from __future__ import annotations

import errno
import inspect
import os
import socket
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from typing import Final, Protocol, Self, TypeAlias

from refloop.errors import BusyResourceError, ClosedResourceError
from refloop.generators import checkpoint
from refloop.groups import TaskGroup
from refloop.here import current_reactor
from refloop.kernel import MILLISECOND
from refloop.tasks import CHECKPOINT, Task, Trap, suspend
from refloop.waits import Readable, Writable, notify_closing, sleep, wait_writable
from refloop.workers import getaddrinfo

RECEIVE_BYTES: Final = 65_536
"""How much one receive takes at most: what one peer may make the others wait for."""

BACKLOG: Final = 1_024
"""How many connections the kernel holds for a listener that has not accepted them yet."""

ACCEPTS: Final = 16
"""How many connections a server accepts a turn: what a burst of newcomers may make the others wait for."""

ACCEPT_BACK_OFF: Final = 100 * MILLISECOND
"""How long a listener rests when the process is out of descriptors: only time, or a close, can help."""

_OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Bytes: TypeAlias = bytes | bytearray | memoryview


class StreamSocket(Protocol):
    """What a stream needs of a socket; ``socket.socket`` has it. The socket is nonblocking."""

    def fileno(self) -> int: ...
    def recv(self, bufsize: int, /) -> bytes: ...
    def send(self, data: Bytes, /) -> int: ...
    def setblocking(self, flag: bool, /) -> None: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...


class ListeningSocket(Protocol):
    """What a listener needs of a socket; ``socket.socket`` has it. The socket is nonblocking."""

    def fileno(self) -> int: ...
    def accept(self) -> tuple[StreamSocket, object]: ...
    def getsockname(self) -> object: ...
    def setblocking(self, flag: bool, /) -> None: ...
    def close(self) -> None: ...


class SocketStream:
    """The two directions of one connected socket, which the stream owns from now on and makes nonblocking.

    One task may receive while another sends; two in one direction are refused. ``with stream:`` closes it.
    """

    __slots__ = ("_readable", "_sending", "closed", "socket")

    def __init__(self, socket: StreamSocket) -> None:
        socket.setblocking(False)
        self.socket = socket
        self.closed = False
        self._sending = False
        reactor = current_reactor()
        self._readable = Readable(reactor, reactor.slot(socket))

    @types.coroutine
    def receive(self, max_bytes: int = RECEIVE_BYTES) -> Generator[Trap, None, bytes]:
        """Wait for data and return at most ``max_bytes`` of it, at least one; empty at the end of the stream.

        Raises :class:`BusyResourceError` while another task receives, :class:`ClosedResourceError` if this
        end is closed, and the OSError of ``recv(2)``, ConnectionResetError for one.
        """
        if max_bytes < 1:
            raise ValueError(
                f"{max_bytes} bytes cannot be told from the end of the stream: ask for one or more"
            )
        readable = self._readable
        while True:
            yield readable
            readable.slot.reader = None  # release(), and no call
            if self.closed:
                raise ClosedResourceError("the stream was closed before the task that was woken ran")
            try:
                return self.socket.recv(max_bytes)
            except BlockingIOError:
                continue  # readiness is a hint

    @types.coroutine
    def send_all(self, data: Bytes) -> Generator[Trap, None, None]:
        """Hand all of ``data`` to the kernel, and wait for room as often as that takes.

        If it is cancelled while it waits, an unknown part has been sent, and the stream is good only for
        closing. Raises :class:`BusyResourceError` while another task sends, :class:`ClosedResourceError` if
        this end is closed, and the OSError of ``send(2)``, BrokenPipeError for one.
        """
        yield CHECKPOINT
        if self._sending:
            raise BusyResourceError("another task is sending on this stream")
        if self.closed:
            raise ClosedResourceError("the stream has been closed")
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        if type(data) is not bytes or sent < len(data):
            yield from self._send_rest(memoryview(data).cast("B")[sent:])

    @types.coroutine
    def _send_rest(self, rest: memoryview) -> Generator[Trap, None, None]:
        reactor, self._sending = self._readable.reactor, True
        writable = Writable(reactor, reactor.slot(self.socket))
        try:
            while rest:
                yield writable
                writable.release()
                if self.closed:
                    raise ClosedResourceError("the stream was closed before all was sent")
                try:
                    rest = rest[self.socket.send(rest) :]
                except BlockingIOError:
                    continue  # readiness is a hint
        finally:
            self._sending = False

    def send_eof(self) -> None:
        """Half-close: the peer reads the end of the stream after what was sent; receiving goes on.

        Raises :class:`BusyResourceError` while a task sends, :class:`ClosedResourceError` if this end is
        closed, and the OSError of ``shutdown(2)``.
        """
        if self._sending:
            raise BusyResourceError("a task is sending on this stream")
        if self.closed:
            raise ClosedResourceError("the stream has been closed")
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close both directions at once; whoever waits for them gets :class:`ClosedResourceError`.
        Idempotent."""
        if not self.closed:
            notify_closing(self.socket)
            self.closed = True
            self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Listener:
    """A listening socket, which the listener owns from now on and makes nonblocking."""

    __slots__ = ("_readable", "closed", "socket")

    def __init__(self, socket: ListeningSocket) -> None:
        socket.setblocking(False)
        self.socket = socket
        self.closed = False
        reactor = current_reactor()
        self._readable = Readable(reactor, reactor.slot(socket))

    async def accept(self) -> SocketStream:
        """Wait for a connection and return its stream.

        Raises :class:`BusyResourceError` while another task accepts, :class:`ClosedResourceError` if the
        listener is closed, and the OSError of ``accept(2)``, EMFILE for one.
        """
        while True:
            await suspend(self._readable)
            self._readable.release()
            stream = self.accept_nowait()
            if stream is not None:
                return stream

    def accept_nowait(self) -> SocketStream | None:
        """The stream of a connection that waits to be accepted; None if none does, or if its client has left
        again. Raises the OSError of ``accept(2)``, EMFILE for one."""
        if self.closed:
            raise ClosedResourceError("the listener has been closed")
        try:
            connection, _ = self.socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        return SocketStream(connection)

    def close(self) -> None:
        """Stop listening; who waits to accept gets :class:`ClosedResourceError`. Idempotent."""
        if not self.closed:
            notify_closing(self.socket)
            self.closed = True
            self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


async def serve(listener: Listener, handler: Callable[[SocketStream], Awaitable[object]]) -> None:
    """Accept connections until cancelled, and run ``handler(stream)`` for each, in a task of its own.

    The stream is closed when its handler ends. A handler's exception ends its connection and nothing else;
    the reactor's ``on_error`` is told. It accepts at most :data:`ACCEPTS` connections a turn. Out of
    descriptors, it serves those it has and tries again a little later, after :data:`ACCEPT_BACK_OFF`.
    """
    async with _Connections(handler) as connections:
        while True:
            try:
                connections.begin(await listener.accept())
                for _ in range(ACCEPTS - 1):
                    stream = listener.accept_nowait()
                    if stream is None:
                        break
                    connections.begin(stream)
            except OSError as error:
                if error.errno not in _OUT_OF_DESCRIPTORS:
                    raise
                await sleep(ACCEPT_BACK_OFF)


class _Connections(TaskGroup):
    """The tasks of a server, one a connection.

    Each runs the handler itself, and its stream is closed as the task ends: a coroutine around the handler
    would be passed through at every step of every request, and held by every connection that is idle.
    """

    __slots__ = ("_handler", "_streams")

    def __init__(self, handler: Callable[[SocketStream], Awaitable[object]]) -> None:
        super().__init__()
        self._handler = _as_coroutine(handler)
        self._streams: dict[Task[object], SocketStream] = {}

    def begin(self, stream: SocketStream) -> None:
        """Run the handler for ``stream``."""
        self._streams[self.start_soon(self._handler, stream)] = stream

    def ended(self, task: Task[object]) -> None:
        on_error = task.runtime.reactor.on_error
        try:
            self._streams.pop(task).close()
        except OSError as error:
            on_error(error)
        if isinstance(task.error, Exception):
            self.left()
            on_error(task.error)
        else:
            super().ended(task)


def _as_coroutine(
    handler: Callable[[SocketStream], Awaitable[object]],
) -> Callable[[SocketStream], Coroutine[Trap, None, object]]:
    """``handler`` as an async function, which most are."""
    if inspect.iscoroutinefunction(handler):
        return handler

    async def wait_for(stream: SocketStream) -> object:
        return await handler(stream)

    return wait_for


def listen_tcp(host: str, port: int, *, backlog: int = BACKLOG) -> Listener:
    """Listen on the numeric address ``host``, IPv4 or IPv6, and ``port``, 0 for any that is free.

    Nagle's algorithm is off in what is accepted: a reply is sent when it is given.
    """
    family, address = _numeric(host, port)
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        listening.bind(address)
        listening.listen(backlog)
        return Listener(listening)
    except BaseException:
        listening.close()
        raise


def listen_unix(path: str, *, backlog: int = BACKLOG) -> Listener:
    """Listen on the Unix socket ``path``, which must not exist."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(path)
        listening.listen(backlog)
        return Listener(listening)
    except BaseException:
        listening.close()
        raise


async def serve_tcp(
    handler: Callable[[SocketStream], Awaitable[object]],
    host: str,
    port: int,
    *,
    backlog: int = BACKLOG,
    listening: Callable[[Listener], object] | None = None,
) -> None:
    """:func:`listen_tcp` and :func:`serve`, until cancelled; ``listening``, if given, is called with the
    listener, whose port it may want to know."""
    await _serve_and_close(listen_tcp(host, port, backlog=backlog), handler, listening)


async def serve_unix(
    handler: Callable[[SocketStream], Awaitable[object]],
    path: str,
    *,
    backlog: int = BACKLOG,
    listening: Callable[[Listener], object] | None = None,
) -> None:
    """:func:`listen_unix` and :func:`serve`, until cancelled; ``listening``, if given, is called with the
    listener. The path is left behind, as it is whenever a Unix socket is closed."""
    await _serve_and_close(listen_unix(path, backlog=backlog), handler, listening)


async def _serve_and_close(
    listener: Listener,
    handler: Callable[[SocketStream], Awaitable[object]],
    listening: Callable[[Listener], object] | None,
) -> None:
    with listener:
        if listening is not None:
            listening(listener)
        await serve(listener, handler)


async def open_tcp(host: str, port: int) -> SocketStream:
    """Connect to ``host``, an IPv4 or IPv6 address or a name, and ``port``.

    A name is resolved on a worker, since that is a blocking call, and its addresses are tried in the order in
    which they came. Raises ``socket.gaierror`` for a name that has none, and the OSError of the last connect,
    ConnectionRefusedError for one.
    """
    try:
        addresses = [_numeric(host, port)]
    except socket.gaierror:
        found = await getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [(family, (str(address[0]), int(address[1]))) for family, _, _, _, address in found]
    *others, last = addresses
    for family, address in others:
        with suppress(OSError):
            return await _connect_tcp(family, address)
    return await _connect_tcp(*last)


async def _connect_tcp(family: socket.AddressFamily, address: tuple[str, int]) -> SocketStream:
    connection = socket.socket(family)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    return await _connect(connection, address)


async def open_unix(path: str) -> SocketStream:
    """Connect to the Unix socket ``path``; raises the OSError of ``connect(2)``, EAGAIN for a full
    backlog."""
    return await _connect(socket.socket(socket.AF_UNIX), path)


async def _connect(connection: socket.socket, address: tuple[str, int] | str) -> SocketStream:
    """Connect, and let SO_ERROR alone say how it went: readiness, or a hang-up, only says when to ask."""
    try:
        await checkpoint()
        connection.setblocking(False)
        error = connection.connect_ex(address)
        if error == errno.EINPROGRESS:
            await wait_writable(connection)
            error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error), str(address))
        return SocketStream(connection)
    except BaseException:
        notify_closing(connection)
        connection.close()
        raise


def _numeric(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)[0]
    return family, (str(address[0]), int(address[1]))

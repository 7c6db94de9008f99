"""The echo servers: one handler as a user of each loop would write it, on the loop's own public API.

``python -m bench.echo NAME`` listens on a free port of loopback, says which, and serves until it is ended.
Every server reads at most :data:`AT_ONCE` bytes, has Nagle's algorithm off, and takes a reset for an end.
What a loop has no words for is not added to it: the bare loop, which is the floor, has no timers, no tasks
and no errors.
"""

from __future__ import annotations

import asyncio
import resource
import select
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import refloop

AT_ONCE = 65_536
BACKLOG = 1_024


def _listening() -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.bind(("127.0.0.1", 0))
    listening.listen(BACKLOG)
    listening.setblocking(False)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    return listening


# --- refloop ------------------------------------------------------------------------------------------


def refloop_coroutine() -> None:
    async def echo(stream: refloop.SocketStream) -> None:
        with suppress(ConnectionError):
            while data := await stream.receive(AT_ONCE):
                await stream.send_all(data)

    async def main() -> None:
        await refloop.serve(refloop.Listener(_listening()), echo)

    refloop.run(main)


class _Connection:
    """One connection on callbacks: a handler that reads and sends, and keeps what did not fit."""

    def __init__(self, reactor: refloop.Reactor, connection: socket.socket) -> None:
        self.reactor = reactor
        self.socket = connection
        self.rest = b""
        self.writing: refloop.Registration | None = None
        self.reading = reactor.register(connection, refloop.Direction.READ, self.readable)

    def readable(self, _events: int) -> None:
        if self.rest:
            return
        try:
            data = self.socket.recv(AT_ONCE)
            sent = self.socket.send(data)
        except BlockingIOError:
            return
        except ConnectionError:
            data, sent = b"", 0
        if not data:
            self.reactor.notify_closing(self.socket)
            self.socket.close()
        elif sent < len(data):
            self.rest = data[sent:]
            self.reading.disarm()
            self.writing = self.reactor.register(self.socket, refloop.Direction.WRITE, self.writable)

    def writable(self, _events: int) -> None:
        with suppress(BlockingIOError):
            self.rest = self.rest[self.socket.send(self.rest) :]
        if not self.rest and self.writing is not None:
            self.writing.disarm()
            self.reading = self.reactor.register(self.socket, refloop.Direction.READ, self.readable)


def refloop_callbacks() -> None:
    reactor = refloop.Reactor()
    listening = _listening()

    def acceptable(_events: int) -> None:
        with suppress(BlockingIOError):
            connection, _ = listening.accept()
            connection.setblocking(False)
            _Connection(reactor, connection)

    reactor.register(listening, refloop.Direction.READ, acceptable)
    while True:
        reactor.turn()


# --- asyncio, and uvloop, which has its interface -------------------------------------------------------


async def _asyncio_streams() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(AT_ONCE):
                writer.write(data)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, sock=_listening(), backlog=BACKLOG) as server:
        await server.serve_forever()


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def _asyncio_protocol() -> None:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(_Echo, sock=_listening(), backlog=BACKLOG) as server:
        await server.serve_forever()


def asyncio_streams() -> None:
    asyncio.run(_asyncio_streams())


def asyncio_protocol() -> None:
    asyncio.run(_asyncio_protocol())


def uvloop_streams() -> None:
    import uvloop

    uvloop.run(_asyncio_streams())


def uvloop_protocol() -> None:
    import uvloop

    class Echo(_Echo):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport  # type: ignore[assignment]  # uvloop's own is no asyncio.Transport

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with await loop.create_server(Echo, sock=_listening(), backlog=BACKLOG) as server:
            await server.serve_forever()

    uvloop.run(main())


# --- trio, curio ----------------------------------------------------------------------------------------


def trio_streams() -> None:
    import trio

    async def echo(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            while data := await stream.receive_some(AT_ONCE):
                await stream.send_all(data)

    async def main() -> None:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(_listening()))
        await trio.serve_listeners(echo, [listener])

    trio.run(main)


def curio_sockets() -> None:
    import curio
    from curio.network import run_server

    async def echo(client: curio.io.Socket, _address: object) -> None:
        with suppress(ConnectionError):
            while data := await client.recv(AT_ONCE):
                await client.sendall(data)

    async def main() -> None:
        await run_server(curio.io.Socket(_listening()), echo)

    curio.run(main)


# --- nothing at all -------------------------------------------------------------------------------------


def bare_epoll() -> None:
    """What epoll and two system calls a request cost in Python, with nothing around them."""
    listening = _listening()
    connections: dict[int, socket.socket] = {}
    poller = select.epoll()
    poller.register(listening, select.EPOLLIN)
    while True:
        for fd, _events in poller.poll(-1, 256):
            connection = connections.get(fd)
            if connection is None:
                accepted, _ = listening.accept()
                accepted.setblocking(False)
                connections[accepted.fileno()] = accepted
                poller.register(accepted, select.EPOLLIN)
                continue
            try:
                data = connection.recv(AT_ONCE)
                connection.send(data)
            except ConnectionError:
                data = b""
            if not data:
                del connections[fd]
                connection.close()


SERVERS: dict[str, Callable[[], None]] = {
    "refloop": refloop_coroutine,
    "refloop callbacks": refloop_callbacks,
    "asyncio streams": asyncio_streams,
    "asyncio protocol": asyncio_protocol,
    "uvloop streams": uvloop_streams,
    "uvloop protocol": uvloop_protocol,
    "trio": trio_streams,
    "curio": curio_sockets,
    "bare epoll": bare_epoll,
    "refloop compiled": refloop_coroutine,  # by another interpreter: see bench.measure
}

if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    SERVERS[sys.argv[1]]()

"""The sequential code, with ``await``: synchronous to read, event-driven to run.

Lay it beside :mod:`~refloop.servers.sequential`: from :class:`Lines` to :func:`ask` it is the same text, with
``await`` before every call that waits, and a test compares their syntax trees. Where a thread would be
suspended, only the coroutine is; the loop's thread goes on to whoever is ready. What was an object with four
callbacks in :mod:`~refloop.servers.event_loop` is three lines again, and its local variables are local
variables.

The one thing that differs is :func:`serve`: it begins the conversation with a client and does not wait for
its end.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial
from typing import assert_never

from refloop import streams
from refloop.rpc import Client, RemoteError
from refloop.runtime import run
from refloop.servers.awaiting import read_first_line, wait_unlocked
from refloop.servers.protocol import (
    LINE_LIMIT,
    PROCEDURE,
    Ask,
    Echo,
    File,
    Refused,
    Services,
    Slow,
    Sum,
    answered,
    failure,
    located,
    parse,
    refused,
    total,
    worded,
)
from refloop.streams import Listener, SocketStream, open_tcp


class Lines:
    """The lines of a stream, each with its end."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def receive(self) -> bytes:
        """Wait for the next line; empty after the last, or if there is no end to it."""
        while b"\n" not in self.buffer:
            data = await self.stream.receive()
            if not data or len(self.buffer) >= LINE_LIMIT:
                return b""
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line + b"\n"


async def converse(stream: SocketStream, services: Services) -> None:
    """Answer the lines of one client until it has no more to say, or has gone."""
    lines = Lines(stream)
    with suppress(OSError):
        while line := await lines.receive():
            await stream.send_all(await answer(line, services) + b"\n")


async def answer(line: bytes, services: Services) -> bytes:
    """The answer to one line, however long it takes."""
    request = parse(line)
    try:
        match request:
            case Echo(text):
                return text
            case Sum(numbers):
                return total(numbers)
            case Slow(name):
                await wait_unlocked(located(services, name))
                return name + b" is free"
            case File(name):
                return await read_first_line(located(services, name))
            case Ask(question):
                return await ask(question, services.backend)
            case Refused(why):
                return b"error: " + why
            case _:
                assert_never(request)
    except OSError as error:
        return failure(error)


async def ask(question: bytes, backend: tuple[str, int] | None) -> bytes:
    """What the backend answers."""
    if backend is None:
        return b"error: no backend"
    try:
        with Client(await open_tcp(*backend)) as client:
            return answered(await client.call(PROCEDURE, worded(question)))
    except RemoteError as error:
        return refused(error)


def serve(listener: socket.socket, services: Services) -> None:
    """Serve every client in a task of its own, all of them on this one thread."""
    run(_serve, listener, services)


async def _serve(listener: socket.socket, services: Services) -> None:
    await streams.serve(Listener(listener), partial(converse, services=services))

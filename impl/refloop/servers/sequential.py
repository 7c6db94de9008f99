"""One client after another: the server that anybody would write first, and the reason for all the others.

It is as clear as a server can be: receive a line, answer it, until the client has no more to say, and then
take the next client. Every call waits for as long as it has to, and while it waits for this client it waits
for nobody else: ``recv(fd1); recv(fd2)``. If the first client says nothing, the second is never served.

All of it but :func:`serve` is also the code of the process server and of the thread server, which run it once
a client, and, with ``await`` before every call that waits, of the coroutine server.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import assert_never

from refloop.rpc import BlockingClient as Client
from refloop.rpc import RemoteError
from refloop.servers.blocking import Stream, accept, open_tcp, read_first_line, wait_unlocked
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


class Lines:
    """The lines of a stream, each with its end."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.buffer = b""

    def receive(self) -> bytes:
        """Wait for the next line; empty after the last, or if there is no end to it."""
        while b"\n" not in self.buffer:
            data = self.stream.receive()
            if not data or len(self.buffer) >= LINE_LIMIT:
                return b""
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line + b"\n"


def converse(stream: Stream, services: Services) -> None:
    """Answer the lines of one client until it has no more to say, or has gone."""
    lines = Lines(stream)
    with suppress(OSError):
        while line := lines.receive():
            stream.send_all(answer(line, services) + b"\n")


def answer(line: bytes, services: Services) -> bytes:
    """The answer to one line, however long it takes."""
    request = parse(line)
    try:
        match request:
            case Echo(text):
                return text
            case Sum(numbers):
                return total(numbers)
            case Slow(name):
                wait_unlocked(located(services, name))
                return name + b" is free"
            case File(name):
                return read_first_line(located(services, name))
            case Ask(question):
                return ask(question, services.backend)
            case Refused(why):
                return b"error: " + why
            case _:
                assert_never(request)
    except OSError as error:
        return failure(error)


def ask(question: bytes, backend: tuple[str, int] | None) -> bytes:
    """What the backend answers."""
    if backend is None:
        return b"error: no backend"
    try:
        with Client(open_tcp(*backend)) as client:
            return answered(client.call(PROCEDURE, worded(question)))
    except RemoteError as error:
        return refused(error)


def serve(listener: socket.socket, services: Services) -> None:
    """Serve one client after another."""
    while True:
        with accept(listener) as stream:
            converse(stream, services)

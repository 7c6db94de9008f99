"""An HTTP/1.1 server on refloop: h11 knows the protocol, refloop the sockets, and this file how they meet.

python examples/http_server.py --port 8080

``GET /`` greets, ``GET /bytes/N`` sends N bytes in chunks, ``POST /echo`` sends back what it is sent;
connections are kept, pipelined requests answered in order, and whoever sends nothing for a while is let go.
h11 (h11.readthedocs.io) does no I/O: it is given bytes and gives events, and the other way round.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import h11

from refloop import SECOND, SocketStream, fail_after, listen_tcp, run, serve

PATIENCE = 30 * SECOND
"""How long a client may take over each piece of a request."""

BODY_LIMIT = 1 << 20
"""What a request may bring along, in bytes."""

CHUNK = b"x" * 16_384


class Connection:
    """One client, and h11's account of what has been said on either side."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.protocol = h11.Connection(h11.SERVER)
        self.head = False

    async def event(self) -> object:
        """The next thing that the client says, an event of h11's; its ``PAUSED`` between requests."""
        while True:
            if self.protocol.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            event = self.protocol.next_event()
            if event is not h11.NEED_DATA:
                return event
            with fail_after(PATIENCE):
                self.protocol.receive_data(await self.stream.receive())

    async def send(self, event: h11.Event) -> None:
        """Say ``event`` to the client; waits while it does not read."""
        data = self.protocol.send(event)
        if data:
            await self.stream.send_all(data)

    async def body(self) -> AsyncIterator[bytes]:
        """What a request brings along, piece by piece."""
        while isinstance(event := await self.event(), h11.Data):
            yield bytes(event.data)

    async def answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        """A whole response; to HEAD only what it says of its body."""
        length = ("content-length", str(len(body)))
        await self.send(h11.Response(status_code=status, headers=[length, *headers]))
        if not self.head:
            await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())


async def handle(connection: Connection, request: h11.Request) -> None:
    """Answer one request."""
    method, target = request.method.decode(), request.target.decode()
    connection.head = method == "HEAD"
    body = bytearray()
    async for piece in connection.body():
        body += piece
        if len(body) > BODY_LIMIT:
            await connection.answer(413, b"too much\n", ("connection", "close"))
            return
    size = target.removeprefix("/bytes/")
    match method, target:
        case "GET" | "HEAD", "/":
            await connection.answer(200, b"hello\n", ("content-type", "text/plain"))
        case "POST", "/echo":
            await connection.answer(200, bytes(body))
        case "GET", _ if size != target and size.isascii() and size.isdigit() and len(size) < 10:
            await send_bytes(connection, int(size))
        case _:
            await connection.answer(404, b"no such thing\n")


async def send_bytes(connection: Connection, size: int) -> None:
    """Send ``size`` bytes, of which there are never more than a chunk in memory."""
    await connection.send(h11.Response(status_code=200, headers=[("transfer-encoding", "chunked")]))
    while size:
        piece = CHUNK[:size]
        await connection.send(h11.Data(data=piece))
        size -= len(piece)
    await connection.send(h11.EndOfMessage())


async def converse(stream: SocketStream) -> None:
    """Answer requests for as long as the connection is to be kept."""
    connection = Connection(stream)
    try:
        while True:
            event = await connection.event()
            if not isinstance(event, h11.Request):
                return
            await handle(connection, event)
            if connection.protocol.our_state is not h11.DONE:
                return
            if connection.protocol.their_state is not h11.DONE:
                return
            connection.protocol.start_next_cycle()
    except h11.RemoteProtocolError as error:
        if connection.protocol.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            with suppress(OSError):  # the client may have gone already
                await connection.answer(error.error_status_hint, b"what?\n", ("connection", "close"))
    except (OSError, TimeoutError):
        pass  # the client has gone, or has nothing to say


async def http(host: str, port: int) -> None:
    """Serve at this address, and say where on standard output."""
    with listen_tcp(host, port) as listener:
        sys.stdout.write(f"http on {listener.socket.getsockname()}\n")
        sys.stdout.flush()
        await serve(listener, converse)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="An HTTP/1.1 server.")
    parser.add_argument("--host", default="127.0.0.1", help="numeric address (%(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="0 for any that is free (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        run(http, options.host, options.port)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

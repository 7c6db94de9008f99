"""A port forwarder on refloop: what comes in here goes out there, in both directions, half-closes included.

python examples/forward.py 7009 127.0.0.1:8080

A direction is one task that receives and sends, so that a receiver who is slow slows down its sender and
nothing piles up in between. It ends with the end of what it receives, which it passes on; the connection ends
with both, or as soon as one of them fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from refloop import SocketStream, TaskGroup, listen_tcp, open_tcp, run, serve


async def pump(source: SocketStream, sink: SocketStream) -> None:
    """Everything from ``source`` to ``sink``, up to the end and with it."""
    while data := await source.receive():
        await sink.send_all(data)
    sink.send_eof()


class Forwarder:
    """Connects every client with the same server."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    async def connect(self, client: SocketStream) -> None:
        """One client's connection, from its beginning to its end."""
        try:
            with await open_tcp(self.host, self.port) as server:
                async with TaskGroup() as group:
                    group.start_soon(pump, client, server)
                    group.start_soon(pump, server, client)
        except* OSError:
            pass  # one side is gone or was never there, and so the other is closed


async def forward(port: int, forwarder: Forwarder) -> None:
    """Listen on ``port`` of this machine, and say so on standard output."""
    with listen_tcp("127.0.0.1", port) as listener:
        sys.stdout.write(f"forward from {listener.socket.getsockname()}\n")
        sys.stdout.flush()
        await serve(listener, forwarder.connect)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Forwards a local port to a server.")
    parser.add_argument("port", type=int, help="to listen on, 0 for any that is free")
    parser.add_argument("server", metavar="HOST:PORT", help="where to, as a numeric address")
    options = parser.parse_args(arguments)
    host, _, port = options.server.rpartition(":")
    try:
        run(forward, options.port, Forwarder(host, int(port)))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

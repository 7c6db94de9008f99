"""An echo server: what a server on refloop looks like.

python -m refloop.echo --port 7007
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress

from refloop.runtime import run
from refloop.streams import Listener, SocketStream, listen_tcp, listen_unix, serve


async def echo(stream: SocketStream) -> None:
    """Send back whatever comes, until the peer has no more to say or, as it may at any moment, leaves."""
    with suppress(ConnectionResetError, BrokenPipeError):
        while data := await stream.receive():
            await stream.send_all(data)


async def serve_echo(host: str, port: int, path: str | None) -> None:
    """Serve :func:`echo` on a TCP address, or on the Unix socket ``path``, and tell where on standard
    output."""
    listener: Listener = listen_tcp(host, port) if path is None else listen_unix(path)
    with listener:
        address = listener.socket.getsockname()
        sys.stdout.write(f"echo server on {address}\n")
        sys.stdout.flush()
        await serve(listener, echo)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of ``python -m refloop.echo``."""
    parser = argparse.ArgumentParser(prog="refloop.echo", description="A TCP or Unix echo server.")
    parser.add_argument("--host", default="127.0.0.1", help="numeric address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=7007, help="port to listen on, 0 for any (%(default)s)")
    parser.add_argument("--unix", metavar="PATH", help="listen on a Unix socket instead")
    options = parser.parse_args(arguments)
    try:
        run(serve_echo, options.host, options.port, options.unix)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

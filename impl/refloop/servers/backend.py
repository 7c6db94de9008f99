"""A backend for the servers of lines to ask: ``python -m refloop.servers.backend --port N``.

A server of remote calls with one procedure, ``answer``, which gives a question back backwards; asked for
``count``, it says how often it has been. It serves until SIGINT or SIGTERM, as the others do.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import count

from refloop.rpc import Json, serve_calls
from refloop.runtime import run
from refloop.servers.protocol import PROCEDURE
from refloop.streams import listen_tcp


class Backend:
    """What answers, and what it remembers."""

    def __init__(self) -> None:
        self._times = count(1)

    async def answer(self, question: str) -> Json:
        """The question backwards, or how often ``count`` was asked."""
        return str(next(self._times)) if question == "count" else question[::-1]


async def _serve(host: str, port: int) -> None:
    with listen_tcp(host, port) as listener:
        sys.stdout.write("backend server on {} port {}\n".format(*_named(listener.socket.getsockname())))
        sys.stdout.flush()
        await serve_calls(listener, {PROCEDURE: Backend().answer})


def _named(address: object) -> Sequence[object]:
    assert isinstance(address, tuple)
    return address[:2]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; exit status 2 and one line where it cannot listen."""
    parser = argparse.ArgumentParser(
        prog="python -m refloop.servers.backend", description="A backend for the servers of lines."
    )
    parser.add_argument("--port", type=int, required=True, help="port to listen on, 0 for any that is free")
    parser.add_argument("--host", default="127.0.0.1", help="numeric address (%(default)s)")
    options = parser.parse_args(arguments)
    with suppress(KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        try:
            run(_serve, options.host, options.port)
        except (OSError, OverflowError) as error:
            parser.exit(2, f"{parser.prog}: cannot listen on {options.host} port {options.port}: {error}\n")


if __name__ == "__main__":
    main()

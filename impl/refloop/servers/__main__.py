"""The command line: ``python -m refloop.servers ARCHITECTURE --port N``.

It listens, says where in one line on standard output, and serves until it is told to end, by SIGINT or by
SIGTERM; both are an end in good order, with exit status 0. A request that makes no sense is one line on
standard error and exit status 2.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from refloop.servers import coroutine, event_loop, process, reactor, sequential, thread
from refloop.servers.protocol import Services

ARCHITECTURES: Final[Mapping[str, Callable[[socket.socket, Services], None]]] = {
    "sequential": sequential.serve,
    "process": process.serve,
    "thread": thread.serve,
    "event_loop": event_loop.serve,
    "reactor": reactor.serve,
    "coroutine": coroutine.serve,
}

BACKLOG: Final = 1_024
"""How many connections the kernel holds that the server has not accepted yet."""

SEND_BUFFER: Final = 65_536
"""What the kernel holds of answers that a client does not read, in bytes (it doubles the number): 10,000 such
clients are to cost a gigabyte and not forty."""


class _Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError(text)
    return number


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    _family(host)
    return host, _port(port)


def _family(host: str) -> socket.AddressFamily:
    """That of the numeric address ``host``; a ValueError for a name: to resolve one is a blocking call."""
    try:
        return socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)[0][0]
    except (socket.gaierror, UnicodeError):
        raise ValueError(host) from None


def _numeric(text: str) -> str:
    _family(text)
    return text


def _directory(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise ValueError(text)
    return path


# argparse names these in its complaints: invalid … value.
_port.__name__, _address.__name__, _numeric.__name__, _directory.__name__ = (
    "port",
    "HOST:PORT (numeric)",
    "numeric address",
    "directory",
)


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m refloop.servers",
        description="A server of lines (echo, sum, slow, file, ask) in one of six architectures.",
    )
    parser.add_argument(
        "architecture", choices=ARCHITECTURES, metavar="ARCHITECTURE", help=", ".join(ARCHITECTURES)
    )
    parser.add_argument("--port", type=_port, required=True, help="port to listen on, 0 for any that is free")
    parser.add_argument("--host", type=_numeric, default="127.0.0.1", help="numeric address (%(default)s)")
    parser.add_argument(
        "--root",
        type=_directory,
        default=Path(),
        metavar="DIRECTORY",
        help="where the files are (the working directory)",
    )
    parser.add_argument("--backend", type=_address, metavar="HOST:PORT", help="who answers `ask`")
    return parser


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises the OSError of ``bind(2)``, EADDRINUSE for one."""
    listener = socket.socket(_family(host), socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    with suppress(KeyboardInterrupt):
        # Whatever started this process: a job in the background, for one, is given SIGINT to be ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        _serve(arguments)


def _serve(arguments: Sequence[str] | None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        listener = listen(options.host, options.port)
    except OSError as error:
        parser.error(f"cannot listen on {options.host} port {options.port}: {error.strerror}")
    with listener:
        host, port = listener.getsockname()[:2]
        sys.stdout.write(f"{options.architecture} server on {host} port {port}\n")
        sys.stdout.flush()
        ARCHITECTURES[options.architecture](listener, Services(options.root, options.backend))


if __name__ == "__main__":
    main()

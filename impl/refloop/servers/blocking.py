"""Blocking calls, under the names that refloop's coroutine streams have: what ``await`` is not needed for.

Each of these suspends the calling *thread* until it can return. They are what the sequential, the process and
the thread server are written with, and the coroutine server has the same names from elsewhere, so that the
two can be laid side by side.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import time
from pathlib import Path
from typing import Final, Self

from refloop.servers.protocol import RECEIVE_BYTES

BACK_OFF: Final = 0.1
"""Seconds that a listener rests when the process is out of descriptors: only time can help."""

OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Stream:
    """A connected blocking socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection

    def receive(self) -> bytes:
        """Wait for data; empty at the end of the stream."""
        return self.socket.recv(RECEIVE_BYTES)

    def send_all(self, data: bytes) -> None:
        """Hand all of ``data`` to the kernel, and wait for room as often as that takes."""
        self.socket.sendall(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()


def accept(listener: socket.socket) -> Stream:
    """Wait for the next client. Out of descriptors, rest and try again."""
    while True:
        try:
            connection, _ = listener.accept()
        except ConnectionAbortedError:
            continue  # it has left again
        except OSError as error:
            if error.errno not in OUT_OF_DESCRIPTORS:
                raise
            time.sleep(BACK_OFF)
        else:
            return Stream(connection)


def open_tcp(host: str, port: int) -> socket.socket:
    """Connect to the numeric address ``host`` and ``port``, and wait until that is done."""
    return socket.create_connection((host, port))


def read_first_line(path: Path) -> bytes:
    """The first line of a file, without its end."""
    with path.open("rb") as file:
        return file.readline().removesuffix(b"\n")


def wait_unlocked(path: Path) -> None:
    """Wait until nobody locks the file (flock(2)); it must exist."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)

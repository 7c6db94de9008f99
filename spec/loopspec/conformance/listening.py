"""The listener of a scenario's echo server: it tells of each accept, and can be out of descriptors.

What the kernel says to a process that has no descriptor left it says itself: for the length of the call the
limit is 0. So it is with the listener alone, and the harness can go on opening what it needs. The
connections wait in the kernel's queue meanwhile, and the listener stays readable, as it is for everybody.
"""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ROOMY = 1 << 19
"""The send buffer of what is accepted, where the scenario wants room for a flood: the kernel grants twice as
much, or what it grants at most, and that is enough for a turn's cap to be passed."""


class ToldListener(socket.socket):
    """A nonblocking Unix listener without a path of its own. ``told`` gets the name of the errno of each
    ``accept``, None for a connection; ``resting`` says that the last one found no descriptor."""

    def __init__(self, told: Callable[[str | None], None], *, roomy: bool) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._told = told
        self._roomy = roomy
        self.exhausted = False
        self.resting = False
        self.setblocking(False)
        self.bind("")
        self.listen(256)

    def accept(self) -> tuple[socket.socket, object]:
        try:
            if self.exhausted:
                with _no_descriptors():
                    connection, address = super().accept()
            else:
                connection, address = super().accept()
        except OSError as error:
            self.resting = error.errno == errno.EMFILE
            self._told(errno.errorcode.get(error.errno or 0))
            raise
        self.resting = False
        self._told(None)
        if self._roomy:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOMY)
        return connection, address


@contextmanager
def _no_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

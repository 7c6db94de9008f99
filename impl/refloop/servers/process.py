"""A process a client: the sequential code, in as many address spaces as there are clients.

Nothing is shared but the listener, so that nothing one client brings about can reach another: not a wait,
not a corrupted heap, not a crash. The price is a process each, and that whatever clients have in common has
to be put somewhere outside. A child that has ended is a zombie until its parent asks for its status; the
parent does so whenever the kernel says that there is one, in the midst of waiting for the next client.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType
from typing import Final, NoReturn

from refloop.servers.blocking import Stream, accept
from refloop.servers.protocol import Services
from refloop.servers.sequential import converse

_ABOUT_CHILDREN: Final = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)


def serve(listener: socket.socket, services: Services) -> None:
    """Serve every client in a process of its own; end them all when interrupted."""
    children: set[int] = set()

    def reap(_number: int, _frame: FrameType | None) -> None:
        # One signal may stand for many children.
        with suppress(ChildProcessError):
            while ended := os.waitpid(-1, os.WNOHANG)[0]:
                children.discard(ended)

    signal.signal(signal.SIGCHLD, reap)
    try:
        while True:
            with accept(listener) as stream:  # closed here as soon as the child has it
                # Held back until the child is on the list: by the time that fork returns it may have ended,
                # or the server be told to end.
                signal.pthread_sigmask(signal.SIG_BLOCK, _ABOUT_CHILDREN)
                with suppress(BlockingIOError):  # no more processes: this client cannot be served
                    child = os.fork()
                    if not child:
                        _serve_one(listener, stream, services)
                    children.add(child)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _ABOUT_CHILDREN)
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for child in children:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(child, signal.SIGTERM)
                os.waitpid(child, 0)


def _serve_one(listener: socket.socket, stream: Stream, services: Services) -> NoReturn:
    """What a child does, and never comes back from into the code of its parent."""
    try:
        for number in _ABOUT_CHILDREN:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ABOUT_CHILDREN)
        listener.close()
        converse(stream, services)
        os._exit(0)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        os._exit(1)

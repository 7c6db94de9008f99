"""A thread a client: the sequential code, and a kernel that switches between its copies.

A silent client suspends its own thread and no other, so nobody has to wait for it. The price is a thread for
everyone who is connected, whether or not there is anything to do for him: a stack, a place in the scheduler,
and memory that all of them share and may get in each other's way with.
"""

from __future__ import annotations

import socket
import threading

from refloop.servers.blocking import Stream, accept
from refloop.servers.protocol import Services
from refloop.servers.sequential import converse


def serve(listener: socket.socket, services: Services) -> None:
    """Serve every client on a thread of its own."""
    while True:
        stream = accept(listener)
        # Daemons: a thread that waits for its client cannot be told that the server is to end.
        thread = threading.Thread(target=_serve_one, args=(stream, services), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads: this client cannot be served, the others can
            stream.socket.close()


def _serve_one(stream: Stream, services: Services) -> None:
    with stream:
        converse(stream, services)

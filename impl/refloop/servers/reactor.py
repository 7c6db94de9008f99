"""A loop that multiplexes and dispatches, and handlers on worker threads: the reactor pattern.

The loop's thread waits for all clients at once, as in :mod:`~refloop.servers.event_loop`, and does nothing
else: what is ready is handed to a worker, and the loop goes back to its wait. A worker may block, on the
disk, a lock, the backend, so the code between two waits for the *client* is the sequential one again. It
delays its own client, and nobody else as long as there is another worker.

A client is with the loop or with one worker, never with both, and so needs no lock: its registration is
one-shot, silent after one report, until the job of the worker that has the client has ended. What the job
returns is what the client is to wait for next. Room to send is waited for in the loop, so that a client that
does not read its answers keeps no worker.

The pool is not closed: a worker that is blocked in a handler cannot be told that the server is to end, and a
server that is told to ends.
"""

from __future__ import annotations

import socket
from enum import Enum
from typing import Final, assert_never

from refloop.reactor import Direction, Mode, Reactor
from refloop.servers.event_loop import Acceptor
from refloop.servers.protocol import LINE_LIMIT, RECEIVE_BYTES, Services
from refloop.servers.sequential import answer
from refloop.workers import Job, Workers

HANDLERS: Final = 4
"""How many handlers can block at once before the next client has to wait."""


class Wants(Enum):
    """What a client that a worker is done with waits for."""

    DATA = "that it says more"
    ROOM = "that it takes what it was answered"
    END = "nothing: it has gone, or has no more to say"


class Conversation:
    """One client. Methods named ``on_`` run on the loop's thread, the others on the worker's that has it."""

    def __init__(self, workers: Workers, client: socket.socket, services: Services) -> None:
        self.workers = workers
        self.client = client
        self.services = services
        self.unread = b""
        self.unsent = b""
        self.ended = False
        self.reading = workers.reactor.register(client, Direction.READ, self.on_readable, Mode.ONE_SHOT)

    def on_readable(self, _events: int) -> None:
        self.workers.submit(self.receive, done=self.on_done)

    def on_writable(self, _events: int) -> None:
        self.writing.disarm()
        self.workers.submit(self.go_on, done=self.on_done)

    def on_done(self, job: Job[Wants]) -> None:
        try:
            wants = job.take()
        except BaseException:
            self.on_end()
            raise
        match wants:
            case Wants.DATA:
                self.reading.rearm()
            case Wants.ROOM:
                reactor = self.workers.reactor
                self.writing = reactor.register(self.client, Direction.WRITE, self.on_writable, Mode.ONE_SHOT)
            case Wants.END:
                self.on_end()
            case _:
                assert_never(wants)

    def on_end(self) -> None:
        self.workers.reactor.notify_closing(self.client)
        self.client.close()

    def receive(self) -> Wants:
        """Take what has come, and answer what is complete of it."""
        try:
            data = self.client.recv(RECEIVE_BYTES)
        except BlockingIOError:
            pass  # readiness is a hint
        except OSError:
            self.ended = True
        else:
            self.ended = not data or len(self.unread) >= LINE_LIMIT
            self.unread += data
        return self.go_on()

    def go_on(self) -> Wants:
        """Answer and send as far as it goes, and give the client back to the loop."""
        try:
            while self.unsent or b"\n" in self.unread:
                if not self.unsent:
                    line, _, self.unread = self.unread.partition(b"\n")
                    self.unsent = answer(line + b"\n", self.services) + b"\n"
                self.unsent = self.unsent[self.client.send(self.unsent) :]
        except BlockingIOError:
            return Wants.ROOM
        except OSError:
            return Wants.END
        return Wants.END if self.ended else Wants.DATA


def serve(listener: socket.socket, services: Services) -> None:
    """Serve every client's socket on this thread, and its requests on the workers."""
    reactor = Reactor()
    try:
        reactor.wake_on_signals()
        workers = Workers(reactor, HANDLERS)
        Acceptor(reactor, listener, lambda client: Conversation(workers, client, services))
        while True:
            reactor.turn()
    finally:
        reactor.close()

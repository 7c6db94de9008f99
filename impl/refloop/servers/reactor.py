"""A loop that multiplexes and dispatches, and handlers on worker threads: the reactor pattern.

The loop's thread waits for all clients at once, as in :mod:`~refloop.servers.event_loop`, and does nothing
else: what is ready is handed to a worker, and the loop goes back to its wait. A worker may block, on the
disk, a lock, the backend, so the code between two waits for the *client* is the sequential one again. It
delays its own client, and nobody else as long as there is another worker.

A client is with the loop or with one worker, never with both, and so needs no lock: its registration is
one-shot, silent after one report, until the worker that has the client gives it back by a post. Room to send
is waited for in the loop, so that a client that does not read its answers keeps no worker.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Final, TypeAlias

from refloop.errors import ClosedReactorError
from refloop.reactor import Direction, Mode, Reactor, Registration
from refloop.servers.event_loop import Acceptor
from refloop.servers.protocol import LINE_LIMIT, RECEIVE_BYTES, Services
from refloop.servers.sequential import answer

WORKERS: Final = 4
"""How many handlers can block at once before the next client has to wait."""

Job: TypeAlias = Callable[[], object]


class Workers:
    """Threads that take jobs from one queue, in order. A job's error is reported and ends nothing."""

    def __init__(self, count: int, report: Callable[[Exception], object]) -> None:
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._report = report
        for number in range(count):
            # Daemons: a worker that is blocked in a handler cannot be told that the server is to end.
            threading.Thread(target=self._work, name=f"worker {number}", daemon=True).start()

    def submit(self, job: Job) -> None:
        """Have ``job`` run; never suspends."""
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                job()
            except Exception as error:
                self._report(error)


class Conversation:
    """One client. Methods named ``on_`` run on the loop's thread, the others on the worker's that has it."""

    def __init__(self, reactor: Reactor, workers: Workers, client: socket.socket, services: Services) -> None:
        self.reactor = reactor
        self.workers = workers
        self.client = client
        self.services = services
        self.unread = b""
        self.unsent = b""
        self.ended = False
        self.reading = reactor.register(client, Direction.READ, self.on_readable, Mode.ONE_SHOT)
        self.writing: Registration | None = None

    def on_readable(self, _events: int) -> None:
        self.workers.submit(self.receive)

    def on_writable(self, _events: int) -> None:
        assert self.writing is not None
        self.writing.disarm()
        self.workers.submit(self.go_on)

    def on_wants_data(self) -> None:
        self.reading.rearm()

    def on_wants_room(self) -> None:
        self.writing = self.reactor.register(self.client, Direction.WRITE, self.on_writable, Mode.ONE_SHOT)

    def on_end(self) -> None:
        self.reactor.notify_closing(self.client)
        self.client.close()

    def receive(self) -> None:
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
        self.go_on()

    def go_on(self) -> None:
        """Answer and send as far as it goes, and give the client back to the loop."""
        try:
            while self.unsent or b"\n" in self.unread:
                if not self.unsent:
                    line, _, self.unread = self.unread.partition(b"\n")
                    self.unsent = answer(line + b"\n", self.services) + b"\n"
                self.unsent = self.unsent[self.client.send(self.unsent) :]
        except BlockingIOError:
            self._give_back(self.on_wants_room)
        except OSError:
            self._give_back(self.on_end)
        except Exception:
            self._give_back(self.on_end)
            raise
        else:
            self._give_back(self.on_end if self.ended else self.on_wants_data)

    def _give_back(self, then: Job) -> None:
        with suppress(ClosedReactorError):  # the server has ended meanwhile
            self.reactor.call_soon_threadsafe(then)


def serve(listener: socket.socket, services: Services) -> None:
    """Serve every client's socket on this thread, and its requests on the workers."""
    reactor = Reactor()
    try:
        workers = Workers(WORKERS, lambda error: reactor.on_error(error))
        Acceptor(reactor, listener, lambda client: Conversation(reactor, workers, client, services))
        while True:
            reactor.turn()
    finally:
        reactor.close()

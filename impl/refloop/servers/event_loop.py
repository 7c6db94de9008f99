"""Callbacks on one thread: one wait for all clients, and code that is torn at every place where it waits.

The thread waits in one place, for everybody at once, and the kernel says for whom there is something to do. A
client who says nothing costs a few objects, and delays nobody. But a handler must not wait: where the
sequential code says ``receive``, ``ask`` or ``send_all``, this one has to return to the loop and say by which
function it goes on. So a conversation, which was one loop of three lines, is an object here whose attributes
are what used to be local variables, and the call of the backend is four functions.

What cannot be waited for by a poller, a file or a lock, is called as it always was, on this thread: then
everybody waits for it. That is the limit of this architecture, and it is shown and not hidden;
:mod:`~refloop.servers.reactor` is the answer.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Final, TypeAlias, assert_never

from refloop.kernel import MILLISECOND
from refloop.reactor import Direction, Reactor, Registration
from refloop.rpc import CallbackClient, Outcome, RemoteError, value_of
from refloop.servers.blocking import OUT_OF_DESCRIPTORS, read_first_line, wait_unlocked
from refloop.servers.protocol import (
    LINE_LIMIT,
    PROCEDURE,
    RECEIVE_BYTES,
    Ask,
    Echo,
    File,
    Refused,
    Services,
    Slow,
    Sum,
    answered,
    failure,
    located,
    parse,
    refused,
    total,
    worded,
)

BACK_OFF: Final = 100 * MILLISECOND
"""How long a listener rests when the process is out of descriptors."""

Answered: TypeAlias = Callable[[bytes], object]
"""What is called with an answer once it is there."""


class Acceptor:
    """Gives every client of ``listener`` to ``greet``, as a nonblocking socket."""

    def __init__(
        self, reactor: Reactor, listener: socket.socket, greet: Callable[[socket.socket], object]
    ) -> None:
        listener.setblocking(False)
        self.reactor = reactor
        self.listener = listener
        self.greet = greet
        self.armed = self._arm()

    def _arm(self) -> Registration:
        return self.reactor.register(self.listener, Direction.READ, self._on_client)

    def _on_client(self, _events: int) -> None:
        try:
            client, _ = self.listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in OUT_OF_DESCRIPTORS:
                raise
            # Level-triggered: a listener that cannot be served would be reported by every wait.
            self.armed.disarm()
            self.reactor.call_later(BACK_OFF, self._rested)
        else:
            client.setblocking(False)
            self.greet(client)

    def _rested(self) -> None:
        self.armed = self._arm()


class Conversation:
    """One client: what it has sent and was not answered yet, and what it was answered and has not taken.

    It waits for one thing at a time: for a line, for an answer, or for room to send one. While it waits for
    the last two it does not read, so a client that does not read its answers is not read from either.
    """

    def __init__(self, reactor: Reactor, client: socket.socket, services: Services) -> None:
        self.reactor = reactor
        self.client = client
        self.services = services
        self.unread = b""
        self.unsent = b""
        self.ended = False
        self.armed = reactor.register(client, Direction.READ, self._on_readable)

    def _on_readable(self, _events: int) -> None:
        try:
            data = self.client.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.ended = not data or len(self.unread) >= LINE_LIMIT
        self.unread += data
        if self.ended or b"\n" in self.unread:
            self.armed.disarm()
            self._next_line()

    def _next_line(self) -> None:
        if b"\n" in self.unread:
            line, _, self.unread = self.unread.partition(b"\n")
            answer(self.reactor, line + b"\n", self.services, self._on_answer)
        elif self.ended:
            self._close()
        else:
            self.armed = self.reactor.register(self.client, Direction.READ, self._on_readable)

    def _on_answer(self, answer: bytes) -> None:
        self.unsent = answer + b"\n"
        if self._send():
            self._next_line()

    def _send(self) -> bool:
        """Whether all is sent; if there is no room for it, go on when there is."""
        try:
            self.unsent = self.unsent[self.client.send(self.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._close()
            return False
        if self.unsent:
            self.armed = self.reactor.register(self.client, Direction.WRITE, self._on_writable)
        return not self.unsent

    def _on_writable(self, _events: int) -> None:
        self.armed.disarm()
        if self._send():
            self._next_line()

    def _close(self) -> None:
        self.reactor.notify_closing(self.client)
        self.client.close()


def answer(reactor: Reactor, line: bytes, services: Services, done: Answered) -> None:
    """Have ``done`` called with the answer to one line, never within this call.

    By the queue even if the answer is there: so others have their turn, a thousand lines of one client are no
    recursion, and what the caller does after this call is done before the answer, always.
    """

    def reply(text: bytes) -> None:
        reactor.call_soon(done, text)

    request = parse(line)
    try:
        match request:
            case Echo(text):
                reply(text)
            case Sum(numbers):
                reply(total(numbers))
            case Slow(name):
                wait_unlocked(located(services, name))  # and everybody else waits as well
                reply(name + b" is free")
            case File(name):
                reply(read_first_line(located(services, name)))
            case Ask(question) if services.backend is not None:
                Question(reactor, question, services.backend, done)
            case Ask():
                reply(b"error: no backend")
            case Refused(why):
                reply(b"error: " + why)
            case _:
                assert_never(request)
    except OSError as error:
        reply(failure(error))


class Question:
    """A call of the backend: connect, ask, answer, each from where the one before has left off."""

    def __init__(self, reactor: Reactor, question: bytes, backend: tuple[str, int], done: Answered) -> None:
        self.reactor = reactor
        self.question = worded(question)
        self.done = done
        family = socket.AF_INET6 if ":" in backend[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        status = self.socket.connect_ex(backend)
        if status in (0, errno.EINPROGRESS):
            self.armed = reactor.register(self.socket, Direction.WRITE, self._on_connected)
        else:
            self._fail(status)

    def _on_connected(self, _events: int) -> None:
        status = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.armed.disarm()
        if status:
            self._fail(status)
        else:
            self.calls = CallbackClient(self.reactor, self.socket)
            self.calls.call(PROCEDURE, self.question, callback=self._on_outcome)

    def _on_outcome(self, outcome: Outcome) -> None:
        self.calls.close()
        try:
            answer = answered(value_of(outcome))
        except RemoteError as error:
            answer = refused(error)
        except OSError as error:
            answer = failure(error)
        self.done(answer)

    def _fail(self, status: int) -> None:
        self.reactor.notify_closing(self.socket)
        self.socket.close()
        self.reactor.call_soon(self.done, failure(OSError(status, os.strerror(status))))


def serve(listener: socket.socket, services: Services) -> None:
    """Serve every client on this one thread."""
    reactor = Reactor()
    try:
        reactor.wake_on_signals()
        Acceptor(reactor, listener, lambda client: Conversation(reactor, client, services))
        while True:
            reactor.turn()
    finally:
        reactor.close()

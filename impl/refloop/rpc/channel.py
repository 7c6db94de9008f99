"""A conversation on a reactor: the nonblocking half that the callback and the coroutine form share.

A frame is sent at once if the kernel takes it, and what it does not take is kept until the socket is
writable. What comes is read as it comes, one receive a dispatch. Nobody is called from here: the book
settles calls, and a form's ``settle`` only queues what is to happen, so that no callback ever runs inside a
call, be it the one that makes it, the one that ends it, or the reading of somebody else's reply.

*A send that fails* ends the transport, since a part of the frame may have gone. What the peer had answered
by then is read first: a reply that has come is a reply.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from refloop.errors import BusyResourceError
from refloop.reactor import Direction, Reactor, Registration
from refloop.rpc.calls import Call, Outcome
from refloop.rpc.conversation import CLOSED_HERE, Conversation
from refloop.rpc.wire import CallId, Json
from refloop.streams import RECEIVE_BYTES, StreamSocket
from refloop.timers import Timer

HIGH_WATER: Final = 65_536
"""How many bytes may wait for a peer that does not read, before one who can be suspended is."""

MAX_UNSENT: Final = 1 << 20
"""How many bytes may wait for a peer that does not read, before a call is refused."""

_LAST_RECEIVES: Final = 64
"""How many receives a transport that cannot send any more is good for: a socket's buffer, not a flood."""


class Channel:
    """The calls over one nonblocking ``socket``, which the channel owns from now on.

    ``close_socket`` closes it; ``on_room`` is called when what was unsent has been sent, and at the end.
    """

    __slots__ = (
        "_close_socket",
        "_reactor",
        "_reader",
        "_socket",
        "_timers",
        "_unsent",
        "_writer",
        "conversation",
        "on_room",
    )

    def __init__(self, reactor: Reactor, socket: StreamSocket, close_socket: Callable[[], object]) -> None:
        socket.setblocking(False)
        self.conversation: Final = Conversation()
        self.on_room: Callable[[], object] = _nobody_waits
        self._reactor = reactor
        self._socket = socket
        self._close_socket = close_socket
        self._timers: dict[CallId, Timer] = {}  # of the calls that have a time-out and are not settled
        self._unsent = bytearray()
        self._writer: Registration | None = None
        self._reader = reactor.register(socket, Direction.READ, self._readable)

    @property
    def unsent(self) -> int:
        """How many bytes wait for the peer to read."""
        return len(self._unsent)

    def issue(
        self, method: str, params: tuple[Json, ...], settle: Callable[[Outcome], object], timeout: int | None
    ) -> Call:
        """Make a call, to be settled in ``timeout`` nanoseconds at the latest; None is without end.

        Raises :class:`FrameError` and ValueError for what cannot be asked, :class:`BusyResourceError` where
        :data:`MAX_UNSENT` bytes wait; no call has been made then.
        """
        self._reactor._mine()
        if timeout is not None and timeout < 0:
            raise ValueError(f"a time-out of {timeout} ns is over already")
        if len(self._unsent) > MAX_UNSENT:
            raise BusyResourceError(
                f"{len(self._unsent)} bytes of requests wait for a peer that does not read"
            )
        number = self.conversation.book.next_id

        def settle_in_time(outcome: Outcome) -> None:
            self._stop_timer(number)
            settle(outcome)

        call, frame = self.conversation.request(method, params, settle_in_time)
        if frame:
            if timeout is not None:
                expire = self.conversation.book.expire
                self._timers[number] = self._reactor.call_later(timeout, expire, call)
            self._send(frame)
        return call

    def cancel(self, call: Call) -> None:
        """Whoever made ``call`` wants to hear no more of it. Idempotent; the server is not told."""
        self.conversation.book.cancel(call)
        self._stop_timer(call.id)

    def _stop_timer(self, number: CallId) -> None:
        timer = self._timers.pop(number, None)
        if timer is not None:
            timer.cancel()

    def end(self, reason: str = CLOSED_HERE) -> None:
        """End the transport: settle what is pending, in the order of issue, and close the socket.
        Idempotent."""
        self._reactor._mine()
        self.conversation.book.end(reason)
        if self._reader.live:
            self._reader.disarm()
            self._sent_all()
            self._close_socket()

    def _send(self, frame: bytes) -> None:
        if self._unsent:
            self._unsent += frame
            return
        sent = self._sent(frame)
        if sent is not None and sent < len(frame):
            self._unsent += frame[sent:]
            self._writer = self._reactor.register(self._socket, Direction.WRITE, self._writable)

    def _writable(self, _events: int) -> None:
        sent = self._sent(bytes(self._unsent[:RECEIVE_BYTES]))
        if sent is not None:
            del self._unsent[:sent]
            if not self._unsent:
                self._sent_all()

    def _sent(self, data: bytes) -> int | None:
        """How many bytes of ``data`` the kernel took; None if it takes no more, and all is over."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            for _ in range(_LAST_RECEIVES):
                if not self._receive():
                    break
            self.end(f"sending failed: {error}")
            return None

    def _sent_all(self) -> None:
        self._unsent.clear()
        if self._writer is not None:
            self._writer.disarm()
            self._writer = None
        self.on_room()

    def _readable(self, _events: int) -> None:
        self._receive()

    def _receive(self) -> bool:
        """Take what has come; whether there may be more."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return False  # readiness is a hint
        except OSError as error:
            self.end(f"receiving failed: {error}")
            return False
        self.conversation.received(data)
        if self.conversation.book.ended is None:
            return True
        self.end()
        return False


def _nobody_waits() -> None:
    """What :attr:`Channel.on_room` is where callers are refused and not suspended."""

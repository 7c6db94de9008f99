"""The blocking client: a call is a function that returns the result, and its thread sleeps until it can.

It reads like a local call and is written like one, top to bottom, on a plain blocking socket. The price is
the thread: while it is suspended in ``recv`` it can do nothing else, so whoever wants to make two calls at
once needs two threads, and whoever calls from an event loop stops it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self

from refloop.kernel import LINUX, SECOND
from refloop.rpc.calls import Call, Outcome, value_of
from refloop.rpc.conversation import CLOSED_HERE, Conversation
from refloop.rpc.wire import Json
from refloop.streams import RECEIVE_BYTES


class BlockingSocket(Protocol):
    """What the client needs of a socket; ``socket.socket`` has it."""

    def settimeout(self, value: float | None, /) -> None: ...
    def recv(self, bufsize: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> None: ...
    def close(self) -> None: ...


class BlockingClient:
    """Calls over a connected ``socket``, which the client owns from now on. For one thread at a time.

    ``clock`` gives the instants, in nanoseconds, that time-outs are measured by.
    """

    __slots__ = ("_clock", "_conversation", "_socket")

    def __init__(self, socket: BlockingSocket, clock: Callable[[], int] = LINUX.clock) -> None:
        self._socket = socket
        self._clock = clock
        self._conversation = Conversation()

    @property
    def dropped(self) -> int:
        """How many replies came for no pending call: late, twice, or never asked for."""
        return self._conversation.book.dropped

    def call(self, method: str, *params: Json, timeout: int | None = None) -> Json:
        """Call ``method`` of the server, and suspend the thread until there is a result.

        Raises :class:`RemoteError` with what the procedure raised; TimeoutError once ``timeout`` nanoseconds
        have passed, and the reply, if it comes, is dropped; :class:`EndedError` if the transport ends or has
        ended; :class:`FrameError` for parameters that cannot be framed, and then nothing has been sent.
        """
        deadline = None if timeout is None else self._clock() + timeout
        outcomes: list[Outcome] = []
        call, frame = self._conversation.request(method, params, outcomes.append)
        try:
            if frame:
                self._send(frame, deadline)
            while not outcomes:
                self._receive(call, deadline)
        finally:
            self._conversation.book.cancel(call)  # for a KeyboardInterrupt: else it is settled
        return value_of(outcomes[0])

    def close(self) -> None:
        """Close the socket. Idempotent; calls made from now on raise :class:`EndedError`."""
        self._conversation.book.end(CLOSED_HERE)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _send(self, frame: bytes, deadline: int | None) -> None:
        try:
            self._socket.settimeout(self._left(deadline))
            self._socket.sendall(frame)
        except OSError as error:
            # A part of the frame may have gone: nothing can be sent any more. What has come has come.
            self._take_what_is_there()
            self._end(f"sending failed: {error}")

    def _receive(self, call: Call, deadline: int | None) -> None:
        try:
            self._socket.settimeout(self._left(deadline))
            data = self._socket.recv(RECEIVE_BYTES)
        except (TimeoutError, BlockingIOError):
            if deadline is not None and self._clock() >= deadline:
                self._conversation.book.expire(call)
        except OSError as error:
            self._end(f"receiving failed: {error}")
        else:
            self._received(data)

    def _take_what_is_there(self) -> None:
        try:
            self._socket.settimeout(0)
            while self._conversation.book.ended is None:
                self._received(self._socket.recv(RECEIVE_BYTES))
        except OSError:
            return

    def _received(self, data: bytes) -> None:
        self._conversation.received(data)
        if self._conversation.book.ended is not None:
            self._socket.close()

    def _end(self, reason: str) -> None:
        self._conversation.book.end(reason)
        self._socket.close()

    def _left(self, deadline: int | None) -> float | None:
        """Seconds until ``deadline``; once it is over nought, so that what is there is still looked at."""
        return None if deadline is None else max(0, deadline - self._clock()) / SECOND

"""The callback client: a call returns at once, and what is to be done with the result goes along with it.

The thread is free, and any number of calls are under way at a time. The price is the shape of the program:
what comes after a call is no longer what stands after it, but in a function that is passed on, and every
variable, loop and ``try`` that spans two calls has to be taken apart by hand.

A callback is run from the reactor's ready queue, never inside the call that registers it, the close that ends
it, or the reading of a reply: whoever calls may finish what they are doing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from refloop.reactor import Handle, Reactor
from refloop.rpc.calls import Call, Outcome
from refloop.rpc.channel import Channel
from refloop.rpc.wire import CallId, Json
from refloop.streams import StreamSocket


class PendingCall:
    """A call that was made; see :meth:`CallbackClient.call`. ``id`` is what goes over the wire."""

    __slots__ = ("_call", "_callback", "_channel", "_queued", "_reactor")

    def __init__(self, reactor: Reactor, channel: Channel, callback: Callable[[Outcome], object]) -> None:
        self._reactor = reactor
        self._channel = channel
        self._callback = callback
        self._queued: Handle | None = None
        self._call: Call

    @property
    def id(self) -> CallId:
        return self._call.id

    def cancel(self) -> None:
        """Have the callback not called. Idempotent; too late for one that has begun. The server is not
        told."""
        self._channel.cancel(self._call)
        if self._queued is not None:
            self._queued.cancel()

    def issue(self, method: str, params: tuple[Json, ...], timeout: int | None) -> None:
        """Make the call; raises as :meth:`CallbackClient.call` does."""
        self._call = self._channel.issue(method, params, self._settle, timeout)

    def _settle(self, outcome: Outcome) -> None:
        self._queued = self._reactor.call_soon(self._callback, outcome)


class CallbackClient:
    """Calls over a connected ``socket``, which the client owns from now on and makes nonblocking.

    It belongs to the thread of its ``reactor``, and is to be closed before it.
    """

    __slots__ = ("_channel", "_reactor", "_socket")

    def __init__(self, reactor: Reactor, socket: StreamSocket) -> None:
        self._reactor = reactor
        self._socket = socket
        self._channel = Channel(reactor, socket, self._close_socket)

    @property
    def dropped(self) -> int:
        """How many replies came for no pending call: late, twice, or never asked for."""
        return self._channel.conversation.book.dropped

    def call(
        self, method: str, *params: Json, callback: Callable[[Outcome], object], timeout: int | None = None
    ) -> PendingCall:
        """Call ``method`` of the server, and have ``callback(outcome)`` run once the call is settled.

        It is settled exactly once: by the reply, the error of the other side, ``timeout`` nanoseconds
        (TimedOut), or the end of the transport (Ended), be that over already; of several calls that the end
        settles, in the order in which they were made.

        Raises :class:`FrameError` for parameters that cannot be framed, and :class:`BusyResourceError` where
        too many bytes wait for a peer that does not read; no call has been made then.
        """
        pending = PendingCall(self._reactor, self._channel, callback)
        pending.issue(method, params, timeout)
        return pending

    def close(self) -> None:
        """Close the transport: callbacks of what is pending are called with Ended. Idempotent."""
        self._channel.end()

    def _close_socket(self) -> None:
        self._reactor.notify_closing(self._socket)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

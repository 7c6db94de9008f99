"""The coroutine client: written like the blocking one, and its thread is as free as with callbacks.

Between the two there is one trap. A call is made as the callback form makes it, and the task is suspended;
what settles the call wakes the task. What comes after the call stands after it again.
"""

from __future__ import annotations

from typing import Self

from refloop.here import current_runtime, current_task
from refloop.rpc.calls import Call, Outcome, value_of
from refloop.rpc.channel import HIGH_WATER, Channel
from refloop.rpc.wire import Json
from refloop.streams import SocketStream
from refloop.tasks import CHECKPOINT, ParkingLot, Task, Trap, suspend


class _Answer(Trap):
    """That a call is settled."""

    __slots__ = ("_channel", "_task", "call", "method", "outcome")
    reason = "rpc"

    def __init__(self, channel: Channel, method: str) -> None:
        self._channel = channel
        self._task: Task[object] | None = None
        self.method = method
        self.outcome: Outcome | None = None
        self.call: Call

    def arm(self, task: Task[object], /) -> None:
        if self.outcome is None:
            self._task = task
        else:
            task.wake()  # the transport had ended already

    def abort(self, _task: Task[object], /) -> None:
        self._task = None
        self._channel.cancel(self.call)

    def settle(self, outcome: Outcome) -> None:
        self.outcome = outcome
        if self._task is not None:
            self._task.wake()

    def describe(self) -> str:
        return f"the reply to call {self.call.id}, {self.method}"


class Client:
    """Calls over a connected ``stream``, which the client owns from now on.

    It belongs to the thread of its runtime. Any number of tasks may call at a time.
    """

    __slots__ = ("_channel", "_room")

    def __init__(self, stream: SocketStream) -> None:
        self._channel = Channel(current_runtime().reactor, stream.socket, stream.close)
        self._room = ParkingLot("room", self)
        self._channel.on_room = self._room.wake_all

    @property
    def dropped(self) -> int:
        """How many replies came for no pending call: late, twice, or never asked for."""
        return self._channel.conversation.book.dropped

    async def call(self, method: str, *params: Json, timeout: int | None = None) -> Json:
        """Call ``method`` of the server, and suspend the task until there is a result.

        Raises what :meth:`BlockingClient.call` raises, for the same reasons. A task that is cancelled while
        it waits gives the call up; the server is not told. Where the peer does not read, the task waits for
        room before the call is made.
        """
        if current_task().scope.effective:
            await suspend(CHECKPOINT)
        while self._channel.unsent > HIGH_WATER:
            await suspend(self._room)
        answer = _Answer(self._channel, method)
        answer.call = self._channel.issue(method, params, answer.settle, timeout)
        await suspend(answer)
        assert answer.outcome is not None
        return value_of(answer.outcome)

    def close(self) -> None:
        """Close the transport: whoever waits for a reply gets :class:`EndedError`. Idempotent."""
        self._channel.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

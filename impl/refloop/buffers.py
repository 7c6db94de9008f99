"""Buffers for those who want them: on a stream's receiving side to find boundaries, on its sending side to be
spared the wait.

A :class:`~refloop.streams.SocketStream` has none, and what is here is put on top and costs nobody else
anything. A protocol that says how long a message is, or how it ends, needs what came with the end of one and
belongs to the next: :class:`BufferedReceiver` keeps it. A producer that is faster than its peer for a moment
need not wait for it: :class:`BufferedSender` accepts, and hands over when there is room.

*Both are bounded.* The receiver never takes more from the kernel than the call at hand may need. The sender
accepts a write whole if at most ``high_water`` bytes are still with it, and suspends the writer *before* that
write otherwise, as every operation here waits first and acts then: so that a cancellation finds a write not
begun, and never one of which nobody knows how much has gone. What it holds is the high-water mark and one
write at most, however many tasks write: one is let in at a time, in the order of arrival.

What is accepted and finds room goes to the kernel in the same step; for the rest the sender holds the
stream's writing direction in the reactor, and no task. A write that fails then has nobody to raise in: the
error is kept, and raised by the next call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

from refloop.errors import (
    BusyResourceError,
    ClosedResourceError,
    DelimiterNotFoundError,
    IncompleteReadError,
)
from refloop.generators import checkpoint
from refloop.here import current_runtime
from refloop.reactor import INTEREST, Direction, Mode, Slot
from refloop.streams import RECEIVE_BYTES, Bytes, SocketStream
from refloop.tasks import ParkingLot, Task, suspend

HIGH_WATER: Final = 65_536
"""Bytes accepted and not sent above which a writer is suspended: as many as one receive of the peer takes."""

LINE_LIMIT: Final = 65_536
"""How many bytes may come before a delimiter, unless the caller says otherwise."""


class BufferedReceiver:
    """What comes over ``stream``, by length or by delimiter. Receiving is its own from now on, one task at a
    time; sending stays the stream's."""

    __slots__ = ("_buffer", "_busy", "stream")

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self._buffer = bytearray()
        self._busy = False

    @property
    def buffered(self) -> int:
        """How many bytes have been taken from the kernel and not been asked for."""
        return len(self._buffer)

    async def receive(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        """At most ``max_bytes`` of what is there, waiting for it if nothing is; empty at the end of the
        stream. Raises as :meth:`SocketStream.receive` does."""
        with self._alone():
            if not self._buffer or max_bytes < 1:
                return await self.stream.receive(max_bytes)
            await checkpoint()
            return self._take(max_bytes)

    async def receive_exactly(self, count: int) -> bytes:
        """Wait for ``count`` bytes and return them.

        Raises :class:`IncompleteReadError` if the stream ends before, and as :meth:`SocketStream.receive`
        does; what has come then, or when it is cancelled, is there for the next call.
        """
        if count < 0:
            raise ValueError(f"{count} bytes cannot be received: ask for none or more")
        with self._alone():
            if len(self._buffer) >= count:
                await checkpoint()
            while len(self._buffer) < count:
                await self._fill(count, f"{count} bytes")
            return self._take(count)

    async def receive_until(self, delimiter: bytes, limit: int = LINE_LIMIT) -> bytes:
        """Wait for ``delimiter`` and return what comes before it; the delimiter is taken and not returned.

        At most ``limit`` bytes may come before it: more raise :class:`DelimiterNotFoundError`. Raises
        :class:`IncompleteReadError` if the stream ends before, and as :meth:`SocketStream.receive` does. What
        has come then, or when it is cancelled, is there for the next call.
        """
        if not delimiter or limit < 0:
            raise ValueError("a delimiter is one byte or more, and a limit not negative")
        most, searched = limit + len(delimiter), 0
        with self._alone():
            if delimiter in self._buffer[:most] or len(self._buffer) >= most:
                await checkpoint()
            while (place := self._buffer.find(delimiter, searched, most)) < 0:
                if len(self._buffer) >= most:
                    raise DelimiterNotFoundError(f"no {delimiter!r} behind the first {limit} bytes")
                searched = max(0, len(self._buffer) - len(delimiter) + 1)
                await self._fill(most, repr(delimiter))
            data = self._take(place)
            del self._buffer[: len(delimiter)]
            return data

    async def _fill(self, most: int, wanted: str) -> None:
        """Wait for more, up to ``most`` bytes in all."""
        data = await self.stream.receive(min(most - len(self._buffer), RECEIVE_BYTES))
        if not data:
            raise IncompleteReadError(f"the stream ended {len(self._buffer)} bytes on, before {wanted}")
        self._buffer += data

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._busy:
            raise BusyResourceError("another task is receiving from this buffer")
        self._busy = True
        try:
            yield
        finally:
            self._busy = False


class _Room(ParkingLot):
    """Room for a write, which one writer has at a time: until it has accepted, nobody knows what is left."""

    __slots__ = ("given", "sender")

    def __init__(self, sender: BufferedSender) -> None:
        super().__init__("room", sender)
        self.sender = sender
        self.given = False

    def admit(self, _task: Task[object], /) -> bool:
        if self.given or self.sender.unsent > self.sender.high_water:
            return False
        self.given = True
        return True


class _Emptiness(ParkingLot):
    """That everything is with the kernel."""

    __slots__ = ("sender",)

    def __init__(self, sender: BufferedSender) -> None:
        super().__init__("flush", sender)
        self.sender = sender

    def admit(self, _task: Task[object], /) -> bool:
        return not self.sender.unsent


class BufferedSender:
    """Writes to ``stream`` that wait only while more than ``high_water`` bytes are still here.

    Any number of tasks may write; each write goes whole and in the order of arrival. While bytes are here,
    :meth:`SocketStream.send_all` and :meth:`SocketStream.send_eof` are refused. Closing the stream drops
    them: :meth:`flush` first.
    """

    __slots__ = (
        "_emptiness",
        "_failure",
        "_room",
        "_runtime",
        "_slot",
        "_unsent",
        "born",
        "high_water",
        "stream",
    )
    mode: ClassVar[Mode] = Mode.LEVEL
    interest: ClassVar[int] = INTEREST[Direction.WRITE]

    def __init__(self, stream: SocketStream, high_water: int = HIGH_WATER) -> None:
        if high_water < 0:
            raise ValueError(f"a high-water mark of {high_water} bytes would let nobody write")
        self.stream = stream
        self.high_water = high_water
        self.born = 0
        self._runtime = current_runtime()
        self._slot: Slot | None = None  # while bytes are here
        self._unsent = bytearray()
        self._failure: Exception | None = None
        self._room = _Room(self)
        self._emptiness = _Emptiness(self)

    @property
    def unsent(self) -> int:
        """How many bytes have been accepted and are not with the kernel yet."""
        return len(self._unsent)

    async def send(self, data: Bytes) -> None:
        """Accept all of ``data``, once at most :attr:`high_water` bytes are unsent; in the order of arrival.

        What the socket has room for is with the kernel on return. Cancelled, it has accepted nothing. Raises
        what an earlier write has failed with, :class:`BusyResourceError` while a task sends on the stream
        itself, :class:`ClosedResourceError` if this end is closed, and the OSError of ``send(2)``.
        """
        await suspend(self._room)
        self._room.given = False
        try:
            self._accept(data)
        finally:
            self._room.let_in()

    async def flush(self) -> None:
        """Wait until all that was accepted is with the kernel; raises what a write has failed with."""
        await suspend(self._emptiness)
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self.stream.closed:
            raise ClosedResourceError("the stream has been closed")

    def _accept(self, data: Bytes) -> None:
        self._check()
        if self._unsent:
            self._unsent += data
            return
        if self.stream._sending:
            raise BusyResourceError("a task is sending on this stream")
        slot = self._runtime.reactor.slot(self.stream.socket)
        slot.refuse_second(Direction.WRITE, self.mode)
        try:
            sent = self.stream.socket.send(data)
        except BlockingIOError:
            sent = 0
        rest = memoryview(data).cast("B")[sent:]
        if rest:
            self._unsent += rest
            self._hold(slot)

    # --- the holder of the writing direction ----------------------------------------------------------

    def _hold(self, slot: Slot) -> None:
        self._slot = slot
        self.stream._sending = True
        self.born = self._runtime.reactor.turns
        self._runtime.reactor.hold(slot, Direction.WRITE, self)

    def fire(self, _events: int, /) -> None:
        """There is room, or a hang-up: hand over what the kernel takes, once, so that others get their
        turn."""
        try:
            sent = self.stream.socket.send(self._unsent)
        except BlockingIOError:
            return  # readiness is a hint
        except OSError as error:
            self._fail(error)
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._release()
        self._room.let_in()
        self._emptiness.let_in()

    def settle_closed(self) -> None:
        self._slot = None
        self._fail(ClosedResourceError("the stream was closed before all was sent"))

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._unsent.clear()
        self._release()
        self._room.wake_all()
        self._emptiness.wake_all()

    def _release(self) -> None:
        self.stream._sending = False
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.hold(Direction.WRITE, None)
            self._runtime.reactor.tell(slot, slot.wanted())

"""FLOW: what becomes of bytes between the one who gives them and the kernel.

A write is accepted whole and given to the kernel in parts, as room comes. Between the two the bytes are the
loop's, and what it owes is told by their order and by when it may sleep. Both rules are written for one
stream, and look at it from its client's end, where a byte that was lost, doubled or kept back is missed.
"""

from __future__ import annotations

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import value
from loopspec.judge import EVERY, Broken, Kept, Progress
from loopspec.trace import (
    Abandon,
    Await,
    Buffered,
    CancelRequest,
    Close,
    Connect,
    Event,
    HighWater,
    Leave,
    Receive,
    Refuse,
    Reset,
    Room,
    StopReading,
    Write,
)


def _written(event: Await) -> tuple[int, ...]:
    return (event.key,) if event.reason == "write" else ()


@clause(
    "FLOW.WRITE.KEEPS_SUFFIX",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="write(2), partial writes; STREAM.WRITE.PARTIAL",
    watches={Write: "stream", Receive: "stream", Await: _written},
)
@value
class KeepsSuffix:
    """A partial write keeps exactly the unwritten suffix, in order."""

    # A write was partial if who made it has waited for room since. What the client receives from there on is
    # what was accepted and it has not had.

    owed: bytes = b""
    partial: bool = False
    over: bool = False  # broken, or what is received was never told as written, as with an echo server

    def after(self, event: Event) -> Progress:
        match event:
            case _ if self.over:
                return self
            case Write():
                return KeepsSuffix(self.owed + event.data, self.partial)
            case Receive():
                data = event.data
                if not self.owed.startswith(data):
                    return self._strayed(data)
                left = self.owed[len(data) :]
                after = KeepsSuffix(left, self.partial and bool(left))
                return Kept(after) if self.partial and data else after
            case Await():
                return KeepsSuffix(self.owed, partial=bool(self.owed))
            case _:
                return self

    def _strayed(self, data: bytes) -> Progress:
        if not self.partial:
            return KeepsSuffix(over=True)
        return Broken(
            f"the {len(self.owed)} bytes that were left of the write, in order: {self.owed[:16]!r}…",
            f"{len(data)} bytes that are not: {data[:16]!r}…",
            KeepsSuffix(over=True),
        )


@clause(
    "FLOW.WRITE.HANDED_OVER",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="asyncio transport.write; trio SocketStream.send_all",
    watches={Write: "stream", Receive: "stream", Room: "stream"},
    also={
        Connect: "stream",
        StopReading: "stream",
        Leave: "stream",
        Reset: "stream",
        Close: "stream",
        Abandon: "stream",
        Refuse: "stream",
        CancelRequest: EVERY,
    },
)
@value
class HandedOver:
    """If a socket is writable, accepted bytes are given to the kernel before the loop sleeps."""

    # What a client that reads has not had when the loop sleeps and there is room is still with the loop.
    # Nobody asks that of a write that was cancelled, failed, or was made to a stream that is closed since.

    owed: int = 0

    def after(self, event: Event) -> Progress:
        match event:
            case Write():
                return HandedOver(self.owed + len(event.data))
            case Receive():
                left = self.owed - len(event.data)
                after = HandedOver(left) if left > 0 else None
                return Kept(after) if event.data and self.owed > 0 else after
            case Room() if self.owed > 0:
                return Broken(
                    f"what has been accepted for stream {event.stream} is with the kernel: there is room",
                    f"the loop sleeps, and {self.owed} bytes are missing",
                    None,
                )
            case _:
                return None


@clause(
    "FLOW.BUFFER.BOUNDED",
    Level.MUST,
    Kind.BOUND,
    Profile.ASYNC,
    source="asyncio StreamWriter.drain; CPython issue 116279",
    watches={HighWater: "stream", Buffered: "stream"},
    also={Write: "stream"},
    opens={HighWater},
)
@value
class BufferBounded:
    """Bytes accepted and not yet written are at most the high-water mark plus one write; above it the writer
    is suspended."""

    # One write: the largest of those that were accepted since the mark was last kept. Whether the writer is
    # suspended behind the write that brings it above the mark or before its next is the loop's choice; that
    # it is suspended shows in the bound. The premise is that the mark is passed.

    mark: int | None = None
    largest: int = 0

    def after(self, event: Event) -> Progress:
        match event:
            case HighWater(mark=mark):
                return BufferBounded(mark)
            case Write(data=data) if self.mark is not None:
                return BufferBounded(self.mark, max(self.largest, len(data)))
            case Buffered(held=held) if self.mark is not None:
                if held > self.mark:
                    return self._above(event.stream, held, self.mark)
                return BufferBounded(self.mark)
            case _:
                return self

    def _above(self, stream: int, held: int, mark: int) -> Progress:
        if held <= mark + self.largest:
            return Kept(self)
        return Broken(
            f"at most {mark} + {self.largest} bytes are held for stream {stream}",
            f"{held} are held",
            None,
        )

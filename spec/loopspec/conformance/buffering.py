"""What a scenario's tasks write to a loop's buffers, and what the loop holds of it.

What has been accepted the writer says; what the kernel has been given is its own account: what the client
has received, and what lies in the client's socket. The rest is with the loop. A write is accepted in a step
of the task that makes it, at its first or at its last, so after each step of a writer one looks.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections.abc import Awaitable, Callable
from typing import Protocol

from loopspec import trace
from loopspec.conformance.adapter import BufferedWriter, OffersBuffers
from loopspec.trace import Event

MARK = 2_000
"""The high-water mark of every buffer, in bytes: less than a socket of a scenario holds, so that one who
writes a little at a time comes to see it."""


class Teller(Protocol):
    """The run, as far as it matters here."""

    turn: int
    tell: Callable[[Event], None]


class Channel(Protocol):
    """A stream, with what its client has received and what has been accepted for it."""

    number: int
    client: socket.socket | None
    received: int
    written: int


class _Buffer:
    def __init__(self, stream: Channel) -> None:
        self.stream = stream
        self.writer: BufferedWriter | None = None
        self.seen = 0


class Buffering:
    """The buffers of one run."""

    def __init__(self, run: Teller) -> None:
        self._run = run
        self._buffers: dict[int, _Buffer] = {}
        self._writing: dict[int, tuple[_Buffer, bytes]] = {}

    async def write(
        self,
        loop: OffersBuffers,
        task: int,
        stream: Channel,
        server: socket.socket,
        data: bytes,
        operate: Callable[[str, Callable[[], Awaitable[object]]], Awaitable[object]],
    ) -> None:
        """Write ``data`` from ``task``. One that comes while the buffer is being made goes without."""
        buffer = self._buffers.get(stream.number)
        if buffer is None:
            buffer = self._buffers[stream.number] = _Buffer(stream)
            await operate("buffered", lambda: self._make(loop, buffer, server))
        writer = buffer.writer
        if writer is None:
            return
        self._writing[task] = (buffer, data)
        try:
            await operate("write", lambda: writer.write(data))
        finally:
            self.look(task)
            del self._writing[task]

    async def _make(self, loop: OffersBuffers, buffer: _Buffer, server: socket.socket) -> None:
        buffer.writer = await loop.buffered(server, MARK)
        self._run.tell(trace.HighWater(self._run.turn, buffer.stream.number, MARK))

    def look(self, task: int) -> None:
        """After a step of ``task``: tell if what it writes has been accepted in it."""
        if task not in self._writing:
            return
        buffer, data = self._writing[task]
        assert buffer.writer is not None
        accepted = buffer.writer.accepted
        if accepted != buffer.seen:
            buffer.seen = accepted
            buffer.stream.written += len(data)
            self._run.tell(trace.Write(self._run.turn, buffer.stream.number, data))
            self._tell_held(buffer.stream)

    def tell_held(self) -> None:
        """Tell what the loop holds."""
        for buffer in self._buffers.values():
            if buffer.seen:
                self._tell_held(buffer.stream)

    def _tell_held(self, stream: Channel) -> None:
        if stream.client is not None:
            (queued,) = struct.unpack("i", fcntl.ioctl(stream.client, termios.FIONREAD, b"\0\0\0\0"))
            held = stream.written - stream.received - queued
            self._run.tell(trace.Buffered(self._run.turn, stream.number, held))

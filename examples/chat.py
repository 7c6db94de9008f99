"""A chat on refloop: whatever anybody says goes to everybody else.

python examples/chat.py --port 7008

A member who does not read must not delay those who do, nor fill the memory: what is said is put into a
bounded outbox each, which a task of its own empties, and whoever lags behind by a whole outbox is shown out.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Sequence

from refloop import Event, SocketStream, TaskGroup, listen_tcp, run, serve

OUTBOX = 256
"""How many lines a member may lag behind."""

LINE_LIMIT = 4096
"""A line of more bytes is cut."""


class Member:
    """Somebody in the room, and what was said and is not sent to him yet."""

    def __init__(self, stream: SocketStream, name: bytes) -> None:
        self.stream = stream
        self.name = name
        self.outbox: deque[bytes] = deque()
        self.something = Event()

    def hears(self, line: bytes) -> None:
        """Queue ``line`` for him; never waits."""
        if len(self.outbox) >= OUTBOX:
            self.stream.close()  # whoever waits for the stream is told, and the conversation ends
            return
        self.outbox.append(line)
        self.something.set()

    async def write(self) -> None:
        """Send what is queued, for as long as he is here."""
        while True:
            await self.something.wait()
            self.something = Event()
            lines = b"".join(self.outbox)
            self.outbox.clear()
            await self.stream.send_all(lines)


class Room:
    """Those who talk to each other."""

    def __init__(self) -> None:
        self.members: dict[Member, None] = {}

    def say(self, line: bytes, *, but: Member) -> None:
        """Tell ``line`` to everybody ``but`` one."""
        for member in self.members:
            if member is not but:
                member.hears(line)

    async def visit(self, stream: SocketStream) -> None:
        """One member's whole stay: the first line is the name, the others are said."""
        lines = Lines(stream)
        await stream.send_all(b"your name?\n")
        name = await lines.receive()
        if name is None:
            return
        member = Member(stream, name or b"nobody")
        self.members[member] = None
        self.say(b"* %s comes\n" % member.name, but=member)
        try:
            async with TaskGroup() as group:
                group.start_soon(member.write)
                while (line := await lines.receive()) is not None:
                    self.say(b"%s: %s\n" % (member.name, line), but=member)
                group.cancel_scope.cancel()
        except* (OSError, RuntimeError):
            pass  # he has gone, or was shown out
        finally:
            del self.members[member]
            self.say(b"* %s goes\n" % member.name, but=member)


class Lines:
    """The lines of a stream."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def receive(self) -> bytes | None:
        """The next line without its end; None after the last."""
        while b"\n" not in self.buffer:
            data = await self.stream.receive()
            if not data:
                return None
            self.buffer = (self.buffer + data)[-LINE_LIMIT:]
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.removesuffix(b"\r")


async def chat(host: str, port: int) -> None:
    """Open a room at this address, and say where on standard output."""
    with listen_tcp(host, port) as listener:
        sys.stdout.write(f"chat on {listener.socket.getsockname()}\n")
        sys.stdout.flush()
        await serve(listener, Room().visit)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="A chat: whatever anybody says goes to everybody else.")
    parser.add_argument("--host", default="127.0.0.1", help="numeric address (%(default)s)")
    parser.add_argument("--port", type=int, default=7008, help="0 for any that is free (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        run(chat, options.host, options.port)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

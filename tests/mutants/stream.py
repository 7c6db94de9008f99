"""Mutants of the streams: bytes twice, or never."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

STREAMS = "impl/refloop/streams.py"

STREAM_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="stream-partial-write-repeated",
        clause="STREAM.BYTES.PREFIX",
        path=STREAMS,
        old='memoryview(data).cast("B")[sent:]',
        new='memoryview(data).cast("B")',
        story="After a partial write all is sent once more.",
    ),
    Mutant(
        name="stream-byte-too-many",
        clause="STREAM.BYTES.PREFIX",
        path=STREAMS,
        old="                return self.socket.recv(max_bytes)\n",
        new="                return self.socket.recv(max_bytes + 1)[:max_bytes]\n",
        story="A receive asks for a byte more than it has room for, and drops it.",
    ),
    Mutant(
        name="stream-half-close-overtakes",
        clause="STREAM.EOF.AFTER_DATA",
        path=STREAMS,
        old="                return self.socket.recv(max_bytes)\n",
        new="""                poll = __import__("select").poll()
                poll.register(self.socket, 0x2000)  # POLLRDHUP
                return b"" if poll.poll(0) else self.socket.recv(max_bytes)
""",
        story="A peer that has half-closed is taken to have been read to its end.",
    ),
    Mutant(
        name="stream-partial-write-dropped",
        clause="STREAM.EOF.AFTER_DATA",
        path=STREAMS,
        old="            yield from self._send_rest(",
        new="            if not sent:\n                yield from self._send_rest(",
        story="A partial write counts as a whole one: the rest is never sent, and the end comes instead.",
    ),
)

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
        new="""                data = self.socket.recv(max_bytes)
                with suppress(BlockingIOError):
                    while data and len(data) < max_bytes:
                        more = self.socket.recv(max_bytes - len(data))
                        data = more and data + more
                return data
""",
        story="A receive reads on until nothing comes, and at the end of file forgets what came before it.",
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

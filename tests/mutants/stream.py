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
        name="stream-partial-write-dropped",
        clause="STREAM.EOF.AFTER_DATA",
        path=STREAMS,
        old="            yield from self._send_rest(",
        new="            if not sent:\n                yield from self._send_rest(",
        story="A partial write counts as a whole one: the rest is never sent, and the end comes instead.",
    ),
)

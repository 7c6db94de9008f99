"""Mutants of the way from a write to the kernel: bytes that go twice, and bytes that stay."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

STREAMS = "impl/refloop/streams.py"

FLOW_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="flow-starts-over-after-a-partial-write",
        clause="FLOW.WRITE.KEEPS_SUFFIX",
        path=STREAMS,
        old='memoryview(data).cast("B")[sent:]',
        new='memoryview(data).cast("B")[:]',
        story="After a partial write everything is sent again, what had gone included.",
    ),
    Mutant(
        name="flow-waits-for-the-wrong-direction",
        clause="FLOW.WRITE.HANDED_OVER",
        path=STREAMS,
        old="                yield writable\n",
        new="                yield self._readable\n",
        story="The rest of a write waits until there is something to read.",
    ),
)

"""Mutants of the way from a write to the kernel: bytes that go twice, and bytes that stay."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

BUFFERS = "impl/refloop/buffers.py"
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
    Mutant(
        name="flow-small-writes-wait-for-more",
        clause="FLOW.WRITE.HANDED_OVER",
        path=BUFFERS,
        old="""        try:
            sent = self.stream.socket.send(data)
        except BlockingIOError:
            sent = 0
        rest = memoryview(data).cast("B")[sent:]
        if rest:
            self._unsent += rest
            self._hold(slot)
""",
        new="""        self._unsent += data
        if len(self._unsent) > 500:
            self._hold(slot)
""",
        story="A small write is kept back, to go with the next; and there is no next.",
        report="https://github.com/MagicStack/uvloop/issues/631",
    ),
    Mutant(
        name="flow-mark-is-advice",
        clause="FLOW.BUFFER.BOUNDED",
        path=BUFFERS,
        old="        if self.given or self.sender.unsent > self.sender.high_water:\n",
        new="        if self.given:\n",
        story="A writer that does not ask whether there is room is never made to wait for it.",
        report="https://github.com/python/cpython/issues/116279",
    ),
    Mutant(
        name="flow-lets-in-all-who-wait",
        clause="FLOW.BUFFER.BOUNDED",
        path=BUFFERS,
        old="            return False\n        self.given = True\n",
        new="            return False\n",
        story="When there is room for one write, everyone who waits is let in with theirs.",
    ),
)

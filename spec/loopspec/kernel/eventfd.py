"""eventfd(2): a counter of 64 bits that can be waited for."""

from __future__ import annotations

from loopspec.kernel.calls import SLEEPS, Count, Data, Outcome
from loopspec.kernel.law import refusal, with_kind
from loopspec.kernel.state import IN, NOTHING, OUT, Errno, EventCounter, FileId, Mask, State
from loopspec.kernel.wake import wake

WIDTH = 8
"""Bytes of a value, native order."""

MOST = (1 << 64) - 2
"""The largest count. One more is not a value."""


def mask(kind: EventCounter) -> Mask:
    """Readable above 0, writable while one can be added."""
    return Mask((IN if kind.count else NOTHING) | (OUT if kind.count < MOST else NOTHING))


def read(state: State, file: FileId, kind: EventCounter, size: int) -> tuple[Outcome, ...]:
    """read(2): the count, which becomes 0; at 0 the caller would wait."""
    if size < WIDTH:
        return (refusal(state, Errno.EINVAL),)
    if not kind.count:
        return (Outcome(state, SLEEPS),)
    told = wake(with_kind(state, file, EventCounter(0)), file, OUT, was_ready=kind.count < MOST)
    return tuple(branch.ends(Data(kind.count.to_bytes(WIDTH, "little"))) for branch in told)


def write(state: State, file: FileId, kind: EventCounter, data: bytes) -> tuple[Outcome, ...]:
    """write(2): added to the count; a sum above :data:`MOST` would make the caller wait."""
    value = int.from_bytes(data[:WIDTH], "little")
    if len(data) < WIDTH or value > MOST:
        return (refusal(state, Errno.EINVAL),)
    if kind.count + value > MOST:
        return (Outcome(state, SLEEPS),)
    after = with_kind(state, file, EventCounter(kind.count + value))
    told = wake(after, file, IN, was_ready=kind.count > 0 or value == 0)
    return tuple(branch.ends(Count(WIDTH)) for branch in told)

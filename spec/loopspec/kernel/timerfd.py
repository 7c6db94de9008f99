"""timerfd_create(2), one-shot timers on the monotonic clock."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from loopspec.kernel.calls import DONE, SLEEPS, Data, Outcome
from loopspec.kernel.law import Branches, certain, refusal, then, with_kind
from loopspec.kernel.state import IN, NOTHING, Errno, FileId, Mask, State, Timer
from loopspec.kernel.wake import wake

WIDTH = 8
"""Bytes of a count of expirations, native order."""


def mask(kind: Timer) -> Mask:
    """Readable once it has expired."""
    return IN if kind.ticks else NOTHING


def read(state: State, file: FileId, kind: Timer, size: int) -> tuple[Outcome, ...]:
    """read(2): how often it has expired since the last read; else the caller would wait."""
    if size < WIDTH:
        return (refusal(state, Errno.EINVAL),)
    if not kind.ticks:
        return (Outcome(state, SLEEPS),)
    read = with_kind(state, file, replace(kind, ticks=0))
    return (Outcome(read, Data(kind.ticks.to_bytes(WIDTH, "little"))),)


def arm(state: State, file: FileId, after: int) -> tuple[Outcome, ...]:
    """timerfd_settime(2): expirations that nobody has read are forgotten."""
    expires = state.now + after if after else None
    return (Outcome(with_kind(state, file, Timer(expires)), DONE),)


def due(state: State, to: int) -> tuple[FileId, ...]:
    """The timers that expire until ``to``, in order of their instants."""
    found = (
        (file.kind.expires, id)
        for id, file in state.files.items()
        if isinstance(file.kind, Timer) and file.kind.expires is not None and file.kind.expires <= to
    )
    return tuple(id for _, id in sorted(found))


def advance(state: State, to: int) -> Branches:
    """Time passes, and the timers that are due expire."""
    branches = certain(replace(state, now=to))
    for id in due(state, to):
        branches = then(branches, partial(_expire, id=id))
    return branches


def _expire(state: State, id: FileId) -> Branches:
    return wake(with_kind(state, id, Timer(ticks=1)), id, IN)

"""Regular files: always ready, never waited for, and so no target for epoll."""

from __future__ import annotations

from dataclasses import replace

from loopspec.kernel.calls import Count, Data, Outcome
from loopspec.kernel.law import with_kind
from loopspec.kernel.state import FileId, FileKind, Regular, State


def pollable(kind: FileKind) -> bool:
    """Whether poll(2) means anything here: epoll_ctl(2) EPERM. O_NONBLOCK changes nothing (open(2))."""
    return not isinstance(kind, Regular)


_IDS = frozenset(("CALL.REGULAR_FILE.CANNOT_POLL",))


def read(state: State, file: FileId, kind: Regular, size: int) -> tuple[Outcome, ...]:
    """read(2) at the description's offset, which moves."""
    data = kind.data[kind.offset : kind.offset + size]
    after = with_kind(state, file, replace(kind, offset=kind.offset + len(data)))
    return (Outcome(after, Data(data), _IDS),)


def write(state: State, file: FileId, kind: Regular, data: bytes) -> tuple[Outcome, ...]:
    """write(2) at the description's offset, which moves."""
    end = kind.offset + len(data)
    after = with_kind(state, file, Regular(kind.data[: kind.offset] + data + kind.data[end:], end))
    return (Outcome(after, Count(len(data)), _IDS),)

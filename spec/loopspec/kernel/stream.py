"""STREAM: what pipes, Unix stream pairs and TCP connections have in common: bytes in order, in a bounded
buffer.

How full a buffer must be before it is no longer writable is nobody's promise: Linux counts pages of a pipe
and socket buffers of a socket, not bytes. So writability is a bit of the state that the world sets when the
buffer changes, within the bounds of :class:`~loopspec.kernel.state.Buffer`; while the buffer only fills, the
bit does not come back, and while it only empties, it does not go.
"""

from __future__ import annotations

from dataclasses import replace

from loopspec.clause import Kind
from loopspec.kernel.law import law, with_object
from loopspec.kernel.state import Buffer, Connection, End, ObjectId, State


@law("STREAM.WRITE.PARTIAL", Kind.STEP, source="write(2)")
def accepted(buffer: Buffer, used: int, size: int, writable: bool, short: bool) -> tuple[int, ...]:
    """A nonblocking write accepts between one byte and all of them, or EAGAIN."""
    most = min(size, buffer.most - used)
    surely = min(size, buffer.sure + buffer.atomic - used)
    some = tuple(range(1 if short else max(surely, 1), most + 1))
    return some if writable else (*some, 0)


def delivered(available: int, size: int, short: bool) -> tuple[int, ...]:
    """How much a read may give: all that fits, or less if transfers fall short."""
    most = min(available, size)
    return tuple(range(1, most + 1)) if short else (most,)


def fuller(buffer: Buffer, used: int, was: bool) -> tuple[bool, ...]:
    """What writability may be once the buffer has grown to ``used``."""
    if used <= buffer.sure:
        return (True,)
    if used > buffer.most - buffer.atomic or not was:
        return (False,)
    return (True, False)


def emptier(buffer: Buffer, used: int, was: bool) -> tuple[bool, ...]:
    """What writability may be once the buffer has shrunk to ``used``."""
    if used <= buffer.sure or was:
        return (True,)
    if used > buffer.most - buffer.atomic:
        return (False,)
    return (True, False)


GONE = End(closed=True)
"""An end that nobody holds any more: what it was is nothing to its peer."""


def connection(state: State, id: ObjectId) -> Connection:
    """The connection ``id``."""
    found = state.objects[id]
    assert isinstance(found, Connection), found
    return found


def both(state: State, id: ObjectId, side: int) -> tuple[End, End]:
    """This side's end, and its peer's."""
    ends = connection(state, id).ends
    return ends[side], ends[1 - side]


def with_both(state: State, id: ObjectId, side: int, own: End, peer: End) -> State:
    """``state`` with new ends. A connection that nobody holds is gone."""
    if own.closed and peer.closed:
        return replace(state, objects=state.objects.without(id))
    ends = (own, peer) if side == 0 else (peer, own)
    return with_object(state, id, replace(connection(state, id), ends=ends))


@law("STREAM.HALF_CLOSE.ONE_WAY", Kind.STEP, source="shutdown(2)")
def may_write(own: End) -> bool:
    """After a peer's half-close the other direction still carries data."""
    # Deliberately not a word about own.no_more_in, which is what the peer's half-close sets.
    return not own.no_more_out

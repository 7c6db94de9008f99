"""Pipes: pipe(7)."""

from __future__ import annotations

from dataclasses import replace

from loopspec.clause import Kind
from loopspec.kernel.calls import SLEEPS, Count, Data, Outcome
from loopspec.kernel.law import NO_IDS, Branches, Ids, law, refusal, with_object
from loopspec.kernel.state import ERR, HUP, IN, NOTHING, OUT, Errno, Mask, ObjectId, Pipe, PipeEnd, State
from loopspec.kernel.stream import accepted, delivered, emptier, fuller
from loopspec.kernel.wake import ANYTHING, wake


def _pipe(state: State, id: ObjectId) -> Pipe:
    found = state.objects[id]
    assert isinstance(found, Pipe), found
    return found


def ready(state: State, kind: PipeEnd) -> tuple[Mask, Ids]:
    """What poll(2) says of one end."""
    pipe = _pipe(state, kind.pipe)
    mask = writer_mask(pipe) if kind.writes else reader_mask(pipe)
    return mask, frozenset(("EPOLL.MASK.PIPE_ENDS",)) if mask & (HUP | ERR) else NO_IDS


@law("EPOLL.MASK.PIPE_ENDS", Kind.STEP, source="pipe(7); kernel probe")
def reader_mask(pipe: Pipe) -> Mask:
    """A reader whose writers are gone reports HUP, with IN only while data is left; a writer whose readers
    are gone reports ERR."""
    return Mask((IN if pipe.data else NOTHING) | (HUP if pipe.writer is None else NOTHING))


def writer_mask(pipe: Pipe) -> Mask:
    """The other half of EPOLL.MASK.PIPE_ENDS."""
    return Mask((OUT if pipe.writable else NOTHING) | (ERR if pipe.reader is None else NOTHING))


def read(state: State, kind: PipeEnd, size: int) -> tuple[Outcome, ...]:
    """read(2): what is there; end of file once the writer is gone; else the caller would wait."""
    pipe = _pipe(state, kind.pipe)
    if kind.writes:
        return (refusal(state, Errno.EBADF),)
    if not pipe.data:
        return (Outcome(state, Data(b"") if pipe.writer is None else SLEEPS),)
    return tuple(
        branch.ends(Data(pipe.data[:amount]))
        for amount in delivered(len(pipe.data), size, state.limits.short)
        for branch in _taken(state, kind.pipe, pipe, amount)
    )


def _taken(state: State, id: ObjectId, pipe: Pipe, amount: int) -> Branches:
    rest = pipe.data[amount:]
    return frozenset(
        branch
        for writable in emptier(state.limits.pipe, len(rest), pipe.writable)
        for branch in wake(
            with_object(state, id, replace(pipe, data=rest, writable=writable)),
            pipe.writer if writable else None,
            OUT,
            was_ready=pipe.writable,
        )
    )


@law("STREAM.WRITE.PIPE_BUF_ATOMIC", Kind.STEP, source="pipe(7)")
def whole(used: int, size: int, most: int, writable: bool) -> tuple[int, ...]:
    """A pipe takes a write of at most PIPE_BUF bytes whole or not at all."""
    if used + size > most:
        return (0,)
    return (size,) if writable else (size, 0)


def write(state: State, kind: PipeEnd, data: bytes) -> tuple[Outcome, ...]:
    """write(2): EPIPE without a reader, else as much as the buffer takes."""
    pipe = _pipe(state, kind.pipe)
    if not kind.writes:
        return (refusal(state, Errno.EBADF),)
    if pipe.reader is None:
        return (refusal(state, Errno.EPIPE),)
    return tuple(
        outcome
        for amount in _amounts(state, pipe, len(data))
        for outcome in _put(
            state, kind.pipe, pipe, data[:amount], atomic=len(data) <= state.limits.pipe.atomic
        )
    )


def _amounts(state: State, pipe: Pipe, size: int) -> tuple[int, ...]:
    buffer, used = state.limits.pipe, len(pipe.data)
    if size <= buffer.atomic:
        return whole(used, size, buffer.most, pipe.writable)
    return accepted(buffer, used, size, pipe.writable, state.limits.short)


def _put(state: State, id: ObjectId, pipe: Pipe, data: bytes, atomic: bool) -> tuple[Outcome, ...]:
    rule = "STREAM.WRITE.PIPE_BUF_ATOMIC" if atomic else "STREAM.WRITE.PARTIAL"
    if not data:
        # Linux wakes the reader even so (since 5.14, if the pipe was ever polled): an edge from nothing.
        told = wake(state, pipe.reader, IN, was_ready=True)
        return tuple(branch.because(rule).ends(SLEEPS) for branch in told)
    after = pipe.data + data
    return tuple(
        branch.because(rule).ends(Count(len(data)))
        for writable in fuller(state.limits.pipe, len(after), pipe.writable)
        for branch in wake(
            with_object(state, id, replace(pipe, data=after, writable=writable)),
            pipe.reader,
            IN,
            was_ready=bool(pipe.data),
        )
    )


def close(state: State, kind: PipeEnd) -> Branches:
    """The last reference to one end is gone: the other end is told, whatever it waits for."""
    pipe = _pipe(state, kind.pipe)
    left = replace(pipe, writer=None) if kind.writes else replace(pipe, reader=None)
    if left.reader is None and left.writer is None:
        return frozenset(wake(replace(state, objects=state.objects.without(kind.pipe)), None, ANYTHING))
    other = left.reader if kind.writes else left.writer
    return wake(with_object(state, kind.pipe, left), other, ANYTHING, everyone=True)

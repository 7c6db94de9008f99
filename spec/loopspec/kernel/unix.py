"""Unix stream pairs: unix(7), and net/unix/af_unix.c where the page is silent."""

from __future__ import annotations

from dataclasses import replace

from loopspec.clause import Kind
from loopspec.kernel.calls import DONE, SLEEPS, Count, Data, How, Outcome
from loopspec.kernel.law import NO_IDS, Branches, Ids, law, refusal, then
from loopspec.kernel.state import ERR, HUP, IN, NOTHING, OUT, RDHUP, End, Errno, Mask, SocketEnd, State
from loopspec.kernel.stream import GONE, accepted, both, delivered, emptier, fuller, may_write, with_both
from loopspec.kernel.wake import ANYTHING, wake


def ready(state: State, kind: SocketEnd) -> tuple[Mask, Ids]:
    """What poll(2) says of one end."""
    own, _ = both(state, kind.connection, kind.side)
    mask = end_mask(own, hung_up=own.no_more_in and own.no_more_out)
    return Mask(mask | (OUT if own.writable else NOTHING)), end_clauses(own)


@law("EPOLL.MASK.RDHUP_IN", Kind.STEP, source="epoll_ctl(2); kernel probe")
def end_mask(own: End, hung_up: bool) -> Mask:
    """A peer's half-close reports RDHUP and IN; a full close adds HUP (Unix stream), or ERR after a reset
    (TCP)."""
    mask = IN if own.inbox else NOTHING
    if own.no_more_in:
        mask = Mask(mask | IN | RDHUP)
    if hung_up:
        mask = Mask(mask | HUP)
    return Mask(mask | (ERR if own.error else NOTHING))


def end_clauses(own: End) -> Ids:
    """The clauses at work when this end is reported."""
    return frozenset(("EPOLL.MASK.RDHUP_IN",)) if own.no_more_in else NO_IDS


def read(state: State, kind: SocketEnd, size: int) -> tuple[Outcome, ...]:
    """read(2): data, then a pending error, then end of file; else the caller would wait."""
    own, _ = both(state, kind.connection, kind.side)
    if own.inbox:
        return _data(state, kind, size)
    ended = Outcome(state, Data(b"") if own.no_more_in else SLEEPS)
    return take_error(state, kind) or (ended,)


def take_error(state: State, kind: SocketEnd) -> tuple[Outcome, ...]:
    """The pending error, which is told once; nothing if there is none."""
    own, peer = both(state, kind.connection, kind.side)
    if own.error is None:
        return ()
    taken = with_both(state, kind.connection, kind.side, replace(own, error=None), peer)
    return (refusal(taken, own.error),)


def _data(state: State, kind: SocketEnd, size: int) -> tuple[Outcome, ...]:
    own, _ = both(state, kind.connection, kind.side)
    # The other direction of an end that may not send any more: the half-close was one-way.
    ids = frozenset(("STREAM.HALF_CLOSE.ONE_WAY",)) if own.no_more_out else NO_IDS
    return tuple(
        branch.because(*ids).ends(Data(own.inbox[:amount]))
        for amount in delivered(len(own.inbox), size, state.limits.short)
        for branch in take(state, kind, amount)
    )


def take(state: State, kind: SocketEnd, amount: int) -> Branches:
    """``amount`` units leave the inbox; the peer may have room again, and is told."""
    own, peer = both(state, kind.connection, kind.side)
    rest = own.inbox[amount:]
    own = replace(own, inbox=rest)
    return frozenset(
        branch
        for writable in emptier(state.limits.unix, len(rest), peer.writable)
        for branch in wake(
            with_both(state, kind.connection, kind.side, own, replace(peer, writable=writable)),
            peer.file if writable else None,
            OUT,
            was_ready=peer.writable,
        )
    )


def write(state: State, kind: SocketEnd, data: bytes) -> tuple[Outcome, ...]:
    """write(2): EPIPE once either side has closed this direction, else as much as the buffer takes."""
    own, peer = both(state, kind.connection, kind.side)
    if not may_write(own):
        return (refusal(state, Errno.EPIPE),)
    limits, used = state.limits, len(peer.inbox)
    return tuple(
        outcome
        for amount in accepted(limits.unix, used, len(data), own.writable, limits.short)
        for outcome in _put(state, kind, data[:amount])
    )


def _put(state: State, kind: SocketEnd, data: bytes) -> tuple[Outcome, ...]:
    own, peer = both(state, kind.connection, kind.side)
    ids = {"STREAM.WRITE.PARTIAL"} | ({"STREAM.HALF_CLOSE.ONE_WAY"} if own.no_more_in else set())
    if not data:
        return (Outcome(state, SLEEPS, frozenset(("STREAM.WRITE.PARTIAL",))),)
    inbox = peer.inbox + data
    return tuple(
        branch.because(*ids).ends(Count(len(data)))
        for writable in fuller(state.limits.unix, len(inbox), own.writable)
        for branch in wake(
            with_both(
                state,
                kind.connection,
                kind.side,
                replace(own, writable=writable),
                replace(peer, inbox=inbox),
            ),
            peer.file,
            IN,
            was_ready=bool(peer.inbox),
        )
    )


def shutdown(state: State, kind: SocketEnd, how: How) -> tuple[Outcome, ...]:
    """shutdown(2): each direction that ends here ends there too."""
    own, peer = both(state, kind.connection, kind.side)
    reads, writes = how is not How.WR, how is not How.RD
    after = with_both(
        state,
        kind.connection,
        kind.side,
        replace(own, no_more_in=own.no_more_in or reads, no_more_out=own.no_more_out or writes),
        replace(peer, no_more_in=peer.no_more_in or writes, no_more_out=peer.no_more_out or reads),
    )
    known = after == state
    told = wake(after, own.file, ANYTHING, everyone=True, was_ready=known)
    told = then(told, lambda now: wake(now, peer.file, ANYTHING, everyone=True, was_ready=known))
    return tuple(branch.ends(DONE) for branch in told)


def close(state: State, kind: SocketEnd) -> Branches:
    """The last reference to one end is gone. What it had not read is lost, and the peer is told so."""
    own, peer = both(state, kind.connection, kind.side)
    told = replace(
        peer,
        no_more_in=True,
        no_more_out=True,
        writable=True,
        error=Errno.ECONNRESET if own.inbox else peer.error,
    )
    after = with_both(state, kind.connection, kind.side, GONE, told)
    return wake(after, peer.file, ANYTHING, everyone=True)

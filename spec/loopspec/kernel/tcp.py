"""TCP on the loopback: tcp(7), connect(2), accept(2); net/ipv4/tcp*.c where the pages are silent.

Data and FIN arrive, and are acknowledged, at once; only the handshake takes a move of the world. The state
machine of RFC 9293 is not spelled out: which of its states an end is in follows from who has sent a FIN, and
only two of its consequences can be seen from outside: what a reset is called, and when the connection is
dead.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from loopspec.kernel import unix
from loopspec.kernel.calls import DONE, SLEEPS, Count, Data, Failed, How, Opened, Outcome
from loopspec.kernel.law import (
    NO_IDS,
    Branches,
    Ids,
    NotModelledError,
    certain,
    refusal,
    then,
    with_kind,
    with_object,
)
from loopspec.kernel.state import (
    CLIENT,
    ERR,
    HUP,
    IN,
    NOTHING,
    OUT,
    Connection,
    End,
    Errno,
    File,
    FileId,
    FreshSocket,
    Listener,
    Mask,
    Number,
    ObjectId,
    SocketEnd,
    State,
    lowest_free,
)
from loopspec.kernel.stream import (
    GONE,
    accepted,
    both,
    connection,
    delivered,
    emptier,
    fuller,
    may_write,
    with_both,
)
from loopspec.kernel.wake import ANYTHING, wake


def fresh_mask() -> Mask:
    """A socket that is in state CLOSE is hung up, and a write to it would not wait."""
    return Mask(OUT | HUP)


def listener_mask(kind: Listener) -> Mask:
    """A listener is readable while somebody is in its queue."""
    return IN if kind.queue else NOTHING


def ready(state: State, kind: SocketEnd) -> tuple[Mask, Ids]:
    """What poll(2) says of one end; nothing at all while the handshake is under way."""
    if connection(state, kind.connection).under_way:
        return NOTHING, NO_IDS
    own, _ = both(state, kind.connection, kind.side)
    mask = unix.end_mask(own, hung_up=own.no_more_in and own.no_more_out)
    return Mask(mask | (OUT if own.writable or own.no_more_out else NOTHING)), unix.end_clauses(own)


# --- making connections --------------------------------------------------------------------------------


def listen(state: State, file: FileId, port: int, backlog: int) -> tuple[Outcome, ...]:
    """bind(2) and listen(2)."""
    if listener_on(state, port) is not None:
        return (refusal(state, Errno.EADDRINUSE),)
    return (Outcome(with_kind(state, file, Listener(port, backlog)), DONE),)


def listen_refused(state: State, kind: SocketEnd, port: int) -> Outcome:
    """bind(2) and listen(2) of what has been connected. One that is dead has no port any more: bind(2) asks
    for one, and listen(2) refuses it."""
    own, _ = both(state, kind.connection, kind.side)
    is_taken = own.dead and listener_on(state, port) is not None
    return refusal(state, Errno.EADDRINUSE if is_taken else Errno.EINVAL)


def listener_on(state: State, port: int | None) -> FileId | None:
    """The description that listens on ``port``."""
    for id, file in state.files.items():
        if isinstance(file.kind, Listener) and file.kind.port == port:
            return id
    return None


def connect(state: State, file: FileId, port: int) -> tuple[Outcome, ...]:
    """connect(2): EINPROGRESS if nonblocking, and the handshake goes on. A blocking one may find it done
    before it has to wait: on the loopback the peer answers within the call."""
    id = ObjectId(lowest_free(state.objects))
    client = End(file=file)
    after = with_object(state, id, Connection((client, End()), port=port, under_way=True))
    after = with_kind(after, file, SocketEnd(id, CLIENT))
    if state.files[file].nonblocking:
        ids = frozenset(("CALL.EAGAIN.INSTEAD_OF_SUSPENSION",))
        return (Outcome(after, Failed(Errno.EINPROGRESS), ids),)
    at_once = tuple(
        outcome
        for branch in handshake(after, id)
        for outcome in connected(branch.state, file, SocketEnd(id, CLIENT))
        if outcome.result != SLEEPS
    )
    return (*at_once, Outcome(after, SLEEPS))


def connected(state: State, file: FileId, kind: SocketEnd) -> tuple[Outcome, ...]:
    """What a connect that waits comes to. One that was refused leaves a socket as fresh as before."""
    own, _ = both(state, kind.connection, kind.side)
    found = connection(state, kind.connection)
    if found.under_way:
        return (Outcome(state, SLEEPS),)
    if own.dead:
        return _given_up(state, file, kind, own.error or Errno.ECONNABORTED)
    return (Outcome(with_object(state, kind.connection, replace(found, noticed=True)), DONE),)


def _given_up(state: State, file: FileId, kind: SocketEnd, errno: Errno) -> tuple[Outcome, ...]:
    """The socket is fresh again, and hung up as such: whoever watches it is told."""
    fresh = with_kind(_gone(state, kind), file, FreshSocket())
    return tuple(branch.ends(Failed(errno)) for branch in wake(fresh, file, ERR))


def connect_again(state: State, file: FileId, kind: SocketEnd) -> tuple[Outcome, ...]:
    """connect(2) on a socket that has been connected already, or is about to be, or was refused.

    Linux tells a client once what came of a connect that did not wait; POSIX would say EISCONN at once.
    """
    found = connection(state, kind.connection)
    if kind.side != CLIENT or found.noticed:
        return (refusal(state, Errno.EISCONN),)
    if found.under_way and state.files[file].nonblocking:
        return (refusal(state, Errno.EALREADY),)
    return connected(state, file, kind)


def handshake(state: State, id: ObjectId) -> Branches:
    """The network carries the handshake of connection ``id``: joined, refused, or left waiting for room."""
    found = connection(state, id)
    listener = listener_on(state, found.port)
    if listener is None:
        return _refused(state, id)
    kind = state.files[listener].kind
    assert isinstance(kind, Listener), kind
    if len(kind.queue) > kind.backlog:
        return frozenset()
    joined = with_object(state, id, replace(found, under_way=False))
    joined = with_kind(joined, listener, replace(kind, queue=(*kind.queue, id)))
    told = wake(joined, found.ends[0].file, ANYTHING, everyone=True)
    return then(told, lambda now: wake(now, listener, IN, was_ready=bool(kind.queue)))


def _refused(state: State, id: ObjectId) -> Branches:
    found = connection(state, id)
    client, _ = found.ends
    ends = (_lost(client, Errno.ECONNREFUSED), GONE)
    after = with_object(state, id, replace(found, ends=ends, under_way=False))
    return wake(after, client.file, ANYTHING, everyone=True)


def _lost(end: End, errno: Errno) -> End:
    """``end`` after a reset."""
    return replace(end, error=errno, dead=True, no_more_in=True, no_more_out=True)


def accept(state: State, file: FileId, number: Number, nonblocking: bool) -> tuple[Outcome, ...]:
    """accept(2): the oldest connection of the queue gets a description, known as ``number``, which the caller
    has chosen; else the caller would wait."""
    kind = state.files[file].kind
    assert isinstance(kind, Listener), kind
    if not kind.queue:
        return (Outcome(state, SLEEPS),)
    first, *rest = kind.queue
    server = SocketEnd(first, 1)
    new = FileId(lowest_free(state.files))
    after = with_kind(state, file, replace(kind, queue=tuple(rest)))
    after = replace(after, files=after.files.put(new, File(server, nonblocking)))
    own, peer = both(after, first, server.side)
    after = with_both(after, first, server.side, replace(own, file=new), peer)
    return (Outcome(after, Opened((number,))),)


# --- bytes ----------------------------------------------------------------------------------------------


def read(state: State, kind: SocketEnd, size: int) -> tuple[Outcome, ...]:
    """read(2): data, end of file after a FIN, a pending error; else the caller would wait."""
    own, _ = both(state, kind.connection, kind.side)
    if own.inbox:
        return _data(state, kind, size)
    if own.finished:
        return (Outcome(state, Data(b"")),)
    ended = Outcome(state, Data(b"") if own.no_more_in else SLEEPS)
    return unix.take_error(state, kind) or (ended,)


def _data(state: State, kind: SocketEnd, size: int) -> tuple[Outcome, ...]:
    own, _ = both(state, kind.connection, kind.side)
    ids = frozenset(("STREAM.HALF_CLOSE.ONE_WAY",)) if own.sent_fin else NO_IDS
    return tuple(
        branch.because(*ids).ends(Data(own.inbox[:amount]))
        for amount in delivered(len(own.inbox), size, state.limits.short)
        for branch in _taken(state, kind, amount)
    )


def _taken(state: State, kind: SocketEnd, amount: int) -> Branches:
    own, peer = both(state, kind.connection, kind.side)
    rest = own.inbox[amount:]
    # Unlike a Unix stream, TCP says nothing while the sender had room anyway.
    return frozenset(
        branch
        for writable in emptier(state.limits.tcp, len(rest), peer.writable)
        for branch in wake(
            with_both(
                state, kind.connection, kind.side, replace(own, inbox=rest), replace(peer, writable=writable)
            ),
            peer.file if writable and not peer.writable else None,
            OUT,
        )
    )


def write(state: State, kind: SocketEnd, data: bytes) -> tuple[Outcome, ...]:
    """write(2): a pending error, EPIPE once this direction is closed, else as much as the buffer takes."""
    own, peer = both(state, kind.connection, kind.side)
    if own.error:
        return unix.take_error(state, kind)
    if not may_write(own):
        return (refusal(state, Errno.EPIPE),)
    if connection(state, kind.connection).under_way:
        return (Outcome(state, SLEEPS),)
    limits, used = state.limits, len(peer.inbox)
    return tuple(
        outcome
        for amount in accepted(limits.tcp, used, len(data), own.writable, limits.short)
        for outcome in _put(state, kind, data[:amount])
    )


def _put(state: State, kind: SocketEnd, data: bytes) -> tuple[Outcome, ...]:
    own, _ = both(state, kind.connection, kind.side)
    ids = {"STREAM.WRITE.PARTIAL"} | ({"STREAM.HALF_CLOSE.ONE_WAY"} if own.finished else set())
    if not data:
        return (Outcome(state, SLEEPS, frozenset(("STREAM.WRITE.PARTIAL",))),)
    return tuple(branch.because(*ids).ends(Count(len(data))) for branch in _arrives(state, kind, data))


def _arrives(state: State, kind: SocketEnd, data: bytes) -> Branches:
    own, peer = both(state, kind.connection, kind.side)
    if peer.closed:
        return reset(state, kind)
    if peer.no_more_in and peer.sent_fin:
        # RFC 1122 4.2.2.13: data for one who has closed both directions is answered by a reset.
        told = reset(state, SocketEnd(kind.connection, 1 - kind.side))
        return then(told, lambda now: reset(now, kind))
    inbox = peer.inbox + data
    return frozenset(
        branch
        for writable in fuller(state.limits.tcp, len(inbox), own.writable)
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


# --- ending ---------------------------------------------------------------------------------------------


def reset(state: State, kind: SocketEnd) -> Branches:
    """A reset reaches this end. It is EPIPE to one who has had the peer's FIN and not sent its own."""
    own, peer = both(state, kind.connection, kind.side)
    if own.closed:
        return certain(state)
    errno = Errno.EPIPE if own.finished and not own.sent_fin else Errno.ECONNRESET
    after = with_both(state, kind.connection, kind.side, _lost(own, errno), peer)
    return wake(after, own.file, ANYTHING, everyone=True)


def _finish(state: State, kind: SocketEnd) -> Branches:
    """Our FIN reaches the peer; if it had sent its own, both ends are dead."""
    own, peer = both(state, kind.connection, kind.side)
    over = own.finished
    own = replace(own, no_more_out=True, sent_fin=True, dead=over)
    told = replace(peer, no_more_in=True, finished=True, dead=over)
    return wake(with_both(state, kind.connection, kind.side, own, told), peer.file, ANYTHING, everyone=True)


def shutdown(state: State, file: FileId, kind: SocketEnd, how: How) -> tuple[Outcome, ...]:
    """shutdown(2): a FIN for the writing direction; the reading one ends here alone."""
    found = connection(state, kind.connection)
    own, _ = both(state, kind.connection, kind.side)
    if found.under_way or own.dead:
        raise NotModelledError("shutdown(2) of an end that is not connected: Linux refuses it and notes it")
    known = (how is How.WR or own.no_more_in) and (how is How.RD or own.no_more_out)
    if kind.side == CLIENT:
        # What came of the connect is taken for known.
        state = with_object(state, kind.connection, replace(found, noticed=True))
    ended = _finish(state, kind) if how is not How.RD and not own.sent_fin else certain(state)

    def stop_reading(now: State) -> Branches:
        own, peer = both(now, kind.connection, kind.side)
        own = replace(own, no_more_in=own.no_more_in or how is not How.WR)
        return wake(
            with_both(now, kind.connection, kind.side, own, peer),
            file,
            ANYTHING,
            everyone=True,
            was_ready=known,
        )

    return tuple(branch.ends(DONE) for branch in then(ended, stop_reading))


def close(state: State, kind: SocketEnd) -> Branches:
    """The last reference is gone: a FIN if all was read, a reset if something was not."""
    found = connection(state, kind.connection)
    if found.under_way:
        return certain(replace(state, objects=state.objects.without(kind.connection)))
    own, _ = both(state, kind.connection, kind.side)
    if own.inbox and not own.dead:
        return abort(state, kind)
    ended = certain(state) if own.sent_fin or own.dead else _finish(state, kind)
    return then(ended, lambda now: certain(_gone(now, kind)))


def abort(state: State, kind: SocketEnd) -> Branches:
    """The end is gone at once, and the peer is reset."""
    return then(break_off(state, kind), lambda now: certain(_gone(now, kind)))


def break_off(state: State, kind: SocketEnd) -> Branches:
    """This end is dead from now on, and the peer is reset unless it is past that."""
    own, other = both(state, kind.connection, kind.side)
    if own.dead:
        return certain(state)
    state = with_both(state, kind.connection, kind.side, replace(own, dead=True), other)
    return reset(state, SocketEnd(kind.connection, 1 - kind.side))


def _gone(state: State, kind: SocketEnd) -> State:
    _, peer = both(state, kind.connection, kind.side)
    return with_both(state, kind.connection, kind.side, GONE, peer)


def close_listener(state: State, kind: Listener) -> Branches:
    """Whoever is in the queue is reset."""
    branches = certain(state)
    for waiting in kind.queue:
        branches = then(branches, partial(abort, kind=SocketEnd(waiting, 1)))
    return branches

"""The step: what one call may do in one state.

A call either returns at once, or suspends its caller, or, if it is the world's :class:`Resume`, completes a
call that was suspended. Rules by type of object do not know which: they say what the call comes to *now*, or
that it would have to wait. What waiting means is decided once, in :func:`would_wait`: this is where blocking
and nonblocking part, and the reason why CALL is a theorem of this model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from loopspec.kernel import epoll, eventfd, fd, pipe, regular, tcp, timerfd, unix
from loopspec.kernel.calls import (
    DONE,
    SLEEPS,
    Abort,
    Accept,
    Advance,
    Call,
    Close,
    Connect,
    Count,
    Dup,
    EpollControl,
    EpollWait,
    Events,
    Exit,
    Fork,
    GetError,
    Handshake,
    Listen,
    OpenEpoll,
    OpenEvent,
    OpenFile,
    OpenPair,
    OpenPipe,
    OpenSocket,
    OpenTimer,
    Outcome,
    Read,
    Resume,
    SetNonblocking,
    SetTimer,
    Shutdown,
    Sleeps,
    SystemCall,
    Write,
)
from loopspec.kernel.law import NotModelledError, refusal
from loopspec.kernel.state import (
    EXCLUSIVE,
    Connection,
    End,
    EpollSet,
    Errno,
    EventCounter,
    FileId,
    FreshSocket,
    Listener,
    Number,
    ObjectId,
    Pipe,
    PipeEnd,
    Regular,
    SocketEnd,
    State,
    Suspended,
    Thread,
    ThreadId,
    Timer,
    lowest_free,
)
from loopspec.kernel.stream import both, connection


def step(state: State, call: Call) -> frozenset[Outcome]:
    """Every outcome that ``call`` may have in ``state``; empty for a move of the world that cannot be made
    now.

    Raises :class:`NotModelledError` for a call by a thread that is suspended or not there.
    """
    return frozenset(_tidied(outcome) for outcome in _outcomes(state, call))


def _outcomes(state: State, call: Call) -> Iterable[Outcome]:
    """The table of contents: a line a call."""
    match call:
        case Advance():
            return _advance(state, call)
        case Handshake():
            return _handshake(state, call)
        case Resume():
            return _resume(state, call.thread)
        case _:
            _must_run(state, call.thread)
            return _system_call(state, call)


def _system_call(state: State, call: SystemCall) -> Iterable[Outcome]:
    match call:
        case OpenPipe():
            id = ObjectId(lowest_free(state.objects))
            ends = (PipeEnd(id, writes=False), PipeEnd(id, writes=True))
            return fd.open_two(state, call.thread, ends, Pipe(b"", None, None), call.nonblocking)
        case OpenPair():
            id = ObjectId(lowest_free(state.objects))
            sides = (SocketEnd(id, 0), SocketEnd(id, 1))
            return fd.open_two(state, call.thread, sides, Connection((End(), End())), call.nonblocking)
        case OpenSocket():
            return fd.open_one(state, call.thread, FreshSocket(), call.nonblocking)
        case OpenEvent():
            return fd.open_one(state, call.thread, EventCounter(call.count), call.nonblocking)
        case OpenTimer():
            return fd.open_one(state, call.thread, Timer(), call.nonblocking)
        case OpenFile():
            return fd.open_one(state, call.thread, Regular(call.data), call.nonblocking)
        case OpenEpoll():
            return fd.open_one(state, call.thread, EpollSet(), nonblocking=False)
        case Dup():
            return fd.dup(state, call)
        case Close():
            return fd.close(state, call)
        case Abort():
            return fd.abort(state, call.thread, call.fd)
        case Fork():
            return fd.fork(state, call)
        case Exit():
            return fd.exit_process(state, call)
        case EpollControl():
            return epoll.control(state, call)
        case EpollWait():
            return _epoll_wait(state, call)
        case Accept():
            return _accept(state, call)
        case (
            Listen() | Connect() | Read() | Write() | Shutdown() | SetNonblocking() | GetError() | SetTimer()
        ):
            file = fd.names_of(state, call.thread).get(call.fd)
            return (refusal(state, Errno.EBADF),) if file is None else _on_file(state, call, file)
        case _:
            assert_never(call)


def _on_file(
    state: State,
    call: Listen | Connect | Read | Write | Shutdown | SetNonblocking | GetError | SetTimer,
    file: FileId,
) -> Iterable[Outcome]:
    match call:
        case Read() | Write() | Connect():
            return _waiting(state, call, file, _attempt(state, call, file))
        case Listen():
            return _listen(state, call, file)
        case Shutdown():
            return _shutdown(state, call, file)
        case GetError():
            return _get_error(state, file)
        case SetNonblocking():
            changed = replace(state.files[file], nonblocking=call.nonblocking)
            return (Outcome(replace(state, files=state.files.put(file, changed)), DONE),)
        case SetTimer():
            if not isinstance(state.files[file].kind, Timer):
                return (refusal(state, Errno.EINVAL),)
            return timerfd.arm(state, file, call.after)
        case _:
            assert_never(call)


def _must_run(state: State, thread: ThreadId) -> None:
    if thread not in state.threads or state.threads[thread].suspended:
        raise NotModelledError(f"thread {thread} is not running: {state.threads.get(thread)}")


# --- waiting --------------------------------------------------------------------------------------------


def would_wait(state: State, call: Call, file: FileId, why: frozenset[str]) -> Outcome:
    """Nonblocking: EAGAIN instead of suspension, and no byte is moved. Blocking: the caller is suspended."""
    if state.files[file].nonblocking:
        return refusal(state, Errno.EAGAIN, "CALL.EAGAIN.INSTEAD_OF_SUSPENSION", *why)
    taken = fd.taken_numbers(state, call.thread)
    reserved = fd.next_number(taken) if isinstance(call, Accept) else None
    return _suspend(state, call, Suspended(call, file, reserved=reserved))


def _suspend(state: State, call: Call, suspended: Suspended) -> Outcome:
    """The kernel suspends the thread of ``call``: this, and nothing else, makes a call blocking."""
    thread = replace(state.threads[call.thread], suspended=suspended)
    after = replace(state, threads=state.threads.put(call.thread, thread))
    return Outcome(after, SLEEPS, frozenset(("CALL.BLOCKING.SUSPENDS_CALLER",)))


def _waiting(state: State, call: Call, file: FileId, outcomes: Iterable[Outcome]) -> Iterable[Outcome]:
    """The outcomes, with waiting given its meaning; a blocking write goes on until all is written."""
    for outcome in outcomes:
        blocking = not state.files[file].nonblocking
        if isinstance(outcome.result, Sleeps):
            yield would_wait(outcome.state, call, file, outcome.clauses)
        elif blocking and isinstance(call, Write) and _rest(call, outcome):
            yield _suspend(outcome.state, call, Suspended(call, file, done=_taken(outcome)))
        else:
            yield outcome


def _taken(outcome: Outcome) -> int:
    return outcome.result.value if isinstance(outcome.result, Count) else 0


def _rest(call: Write, outcome: Outcome) -> bool:
    return isinstance(outcome.result, Count) and outcome.result.value < len(call.data)


def _resume(state: State, thread: ThreadId) -> Iterable[Outcome]:
    """Complete the suspended call of ``thread``, if it can be; or let a write take another part."""
    suspended = state.threads[thread].suspended if thread in state.threads else None
    if suspended is None:
        raise NotModelledError(f"thread {thread} is not suspended: {state.threads.get(thread)}")
    for outcome in _progress(state, suspended):
        if not isinstance(outcome.result, Sleeps):
            yield from _gone_on(outcome, thread, suspended)


def _gone_on(outcome: Outcome, thread: ThreadId, suspended: Suspended) -> Iterable[Outcome]:
    """The call has gone on, and ends, unless it is a write with more to write."""
    done = suspended.done + _taken(outcome)
    if isinstance(suspended.call, Write) and done:
        if isinstance(outcome.result, Count) and done < len(suspended.call.data):
            return (_suspend(outcome.state, suspended.call, replace(suspended, done=done)),)
        # What was written counts; the error that ended the wait is spent all the same.
        outcome = outcome._replace(result=Count(done))
    return _woken(outcome, thread, suspended)


def _woken(outcome: Outcome, thread: ThreadId, suspended: Suspended) -> Iterable[Outcome]:
    """The thread runs again, and lets go of the description."""
    running = Thread(outcome.state.threads[thread].process)
    after = replace(outcome.state, threads=outcome.state.threads.put(thread, running))
    for branch in fd.release(after, suspended.file):
        yield Outcome(branch.state, outcome.result, outcome.clauses | branch.clauses)


def _progress(state: State, suspended: Suspended) -> Iterable[Outcome]:
    call, file = suspended.call, suspended.file
    match call:
        case EpollWait():
            return _epoll_again(state, call, suspended)
        case Read():
            return _attempt(state, call, file)
        case Write():
            return _write_on(state, replace(call, data=call.data[suspended.done :]), file)
        case Accept():
            assert suspended.reserved is not None
            return _accept_now(state, call, file, suspended.reserved)
        case Connect():
            kind = state.files[file].kind
            assert isinstance(kind, SocketEnd), kind
            return tcp.connected(state, file, kind)
        case _:
            raise NotModelledError(f"{call} is never suspended")


def _write_on(state: State, call: Write, file: FileId) -> tuple[Outcome, ...]:
    """A write that has waited looks for a pending error first."""
    kind = state.files[file].kind
    if isinstance(kind, SocketEnd) and connection(state, kind.connection).port is None:
        return unix.take_error(state, kind) or unix.write(state, kind, call.data)
    return _write(state, call, file)


def _tidied(outcome: Outcome) -> Outcome:
    """Whoever waits on an epoll has looked at its ready list, and found nothing: it holds nothing stale."""
    state = outcome.state
    for thread in state.threads.values():
        suspended = thread.suspended
        if suspended and isinstance(suspended.call, EpollWait) and state.epolls[suspended.file].ready:
            batch = epoll.harvest(state, suspended.file, 1, state.numbers[thread.process])
            if not batch.events:
                state = batch.state
    return outcome if state is outcome.state else outcome._replace(state=state)


# --- read, write, accept, connect -----------------------------------------------------------------------


def _attempt(state: State, call: Read | Write | Connect, file: FileId) -> Iterable[Outcome]:
    match call:
        case Read():
            return _read(state, call, file)
        case Write():
            return _write(state, call, file)
        case Connect():
            return _connect(state, call, file)
        case _:
            assert_never(call)


def _read(state: State, call: Read, file: FileId) -> tuple[Outcome, ...]:
    kind = state.files[file].kind
    match kind:
        case PipeEnd():
            return pipe.read(state, kind, call.size)
        case SocketEnd():
            if connection(state, kind.connection).port is None:
                return unix.read(state, kind, call.size)
            return tcp.read(state, kind, call.size)
        case EventCounter():
            return eventfd.read(state, file, kind, call.size)
        case Timer():
            return timerfd.read(state, file, kind, call.size)
        case Regular():
            return regular.read(state, file, kind, call.size)
        case FreshSocket() | Listener():
            return (refusal(state, Errno.ENOTCONN),)
        case EpollSet():
            return (refusal(state, Errno.EINVAL),)
        case _:
            assert_never(kind)


def _write(state: State, call: Write, file: FileId) -> tuple[Outcome, ...]:
    kind = state.files[file].kind
    match kind:
        case PipeEnd():
            return pipe.write(state, kind, call.data)
        case SocketEnd():
            if connection(state, kind.connection).port is None:
                return unix.write(state, kind, call.data)
            return tcp.write(state, kind, call.data)
        case EventCounter():
            return eventfd.write(state, file, kind, call.data)
        case Regular():
            return regular.write(state, file, kind, call.data)
        case FreshSocket() | Listener():
            return (refusal(state, Errno.EPIPE),)
        case EpollSet() | Timer():
            return (refusal(state, Errno.EINVAL),)
        case _:
            assert_never(kind)


def _connect(state: State, call: Connect, file: FileId) -> tuple[Outcome, ...]:
    kind = state.files[file].kind
    match kind:
        case FreshSocket():
            return tcp.connect(state, file, call.port)
        case SocketEnd() if connection(state, kind.connection).port is not None:
            return tcp.connect_again(state, file, kind)
        case Listener():
            return (refusal(state, Errno.EISCONN),)
        case SocketEnd():
            return (refusal(state, Errno.EINVAL),)
        case _:
            return (refusal(state, Errno.ENOTSOCK),)


def _listen(state: State, call: Listen, file: FileId) -> tuple[Outcome, ...]:
    kind = state.files[file].kind
    match kind:
        case FreshSocket():
            return tcp.listen(state, file, call.port, call.backlog)
        case SocketEnd():
            return (tcp.listen_refused(state, kind, call.port),)
        case Listener():
            return (refusal(state, Errno.EINVAL),)
        case _:
            return (refusal(state, Errno.ENOTSOCK),)


def _accept(state: State, call: Accept) -> Iterable[Outcome]:
    file = fd.names_of(state, call.thread).get(call.fd)
    full = () if fd.has_room(state, call.thread) else (refusal(state, Errno.EMFILE),)
    if file is None:
        return (refusal(state, Errno.EBADF), *full)
    kind = state.files[file].kind
    if not isinstance(kind, Listener):
        is_socket = isinstance(kind, SocketEnd | FreshSocket)
        return (refusal(state, Errno.EINVAL if is_socket else Errno.ENOTSOCK), *full)
    if full:
        again = not kind.queue and state.files[file].nonblocking
        return (*full, *([refusal(state, Errno.EAGAIN)] if again else []))
    number = fd.next_number(fd.taken_numbers(state, call.thread))
    return _waiting(state, call, file, _accept_now(state, call, file, number))


def _accept_now(state: State, call: Accept, file: FileId, number: Number) -> Iterable[Outcome]:
    for outcome in tcp.accept(state, file, number, call.nonblocking):
        if isinstance(outcome.result, Sleeps):
            yield outcome
        else:
            new = FileId(lowest_free(state.files))
            after = fd.name_as(outcome.state, call.thread, new, number)
            yield Outcome(after, outcome.result, frozenset(("FD.NUMBER.LOWEST_FREE",)))


def _shutdown(state: State, call: Shutdown, file: FileId) -> tuple[Outcome, ...]:
    kind = state.files[file].kind
    match kind:
        case SocketEnd() if connection(state, kind.connection).port is None:
            return unix.shutdown(state, kind, call.how)
        case SocketEnd():
            return tcp.shutdown(state, file, kind, call.how)
        case FreshSocket() | Listener():
            raise NotModelledError(
                "shutdown(2) of a socket that is not connected: Linux refuses it and notes it"
            )
        case _:
            return (refusal(state, Errno.ENOTSOCK),)


def _get_error(state: State, file: FileId) -> tuple[Outcome, ...]:
    kind = state.files[file].kind
    match kind:
        case SocketEnd():
            own, peer = both(state, kind.connection, kind.side)
            if own.error is None:
                return (Outcome(state, Count(0)),)
            ends = [own, peer]
            ends[0] = replace(own, error=None)
            pair = (ends[0], ends[1]) if kind.side == 0 else (ends[1], ends[0])
            found = replace(connection(state, kind.connection), ends=pair)
            return (Outcome(_with(state, kind.connection, found), Count(own.error)),)
        case FreshSocket() | Listener():
            return (Outcome(state, Count(0)),)
        case _:
            return (refusal(state, Errno.ENOTSOCK),)


def _with(state: State, id: ObjectId, found: Connection) -> State:
    return replace(state, objects=state.objects.put(id, found))


# --- epoll_wait -----------------------------------------------------------------------------------------


def _epoll_wait(state: State, call: EpollWait) -> Iterable[Outcome]:
    names = fd.names_of(state, call.thread)
    file = names.get(call.epfd)
    errors = [refusal(state, Errno.EINVAL)] if call.maxevents <= 0 else []
    errors += [refusal(state, Errno.EBADF)] if file is None else []
    errors += [refusal(state, Errno.EINVAL)] if file is not None and file not in state.epolls else []
    if errors or file is None:
        return errors
    batch = epoll.harvest(state, file, call.maxevents, names)
    if batch.events:
        return (batch.ends(),)
    if not epoll.may_suspend(call.timeout):
        return (Outcome(batch.state, Events(()), batch.clauses | {"EPOLL.WAIT.ZERO_NEVER_SUSPENDS"}),)
    deadline = None if call.timeout is None else state.now + call.timeout
    return (_suspend(batch.state, call, Suspended(call, file, deadline)),)


def _epoll_again(state: State, call: EpollWait, suspended: Suspended) -> Iterable[Outcome]:
    batch = epoll.harvest(state, suspended.file, call.maxevents, fd.names_of(state, call.thread))
    if batch.events:
        return (batch.ends(),)
    if epoll.over(suspended, state.now):
        return (Outcome(batch.state, Events(()), batch.clauses | {"EPOLL.WAIT.NOT_EARLY"}),)
    return ()


# --- the world ------------------------------------------------------------------------------------------


def _advance(state: State, call: Advance) -> Iterable[Outcome]:
    if call.to < state.now:
        raise NotModelledError(f"time does not run backwards, from {state.now} to {call.to}")
    return tuple(branch.ends(DONE) for branch in timerfd.advance(state, call.to))


def _handshake(state: State, call: Handshake) -> Iterable[Outcome]:
    found = state.objects.get(call.connection)
    if not isinstance(found, Connection) or not found.under_way:
        return ()
    return tuple(branch.ends(DONE) for branch in tcp.handshake(state, call.connection))


def must_go_on(state: State, thread: ThreadId) -> bool:
    """Whether the suspended call of ``thread`` cannot stay as it is: time may not pass before it goes on.

    A write may be able to go on and not have to, since how much room is enough is the world's choice; and
    next to an EXCLUSIVE registration of its target a thread may be left asleep, since one was enough.
    """
    suspended = state.threads[thread].suspended
    if suspended is None or _has_exclusive(state, suspended.file):
        return False
    results = [outcome.result for outcome in _progress(state, suspended)]
    return bool(results) and not any(isinstance(result, Sleeps) for result in results)


def _has_exclusive(state: State, file: FileId) -> bool:
    return any(
        key.file == file and registration.mask & EXCLUSIVE
        for interest in state.epolls.values()
        for key, registration in interest.registrations.items()
    )

"""FD: numbers, and the open file descriptions that they name.

A description ends when nobody refers to it: no number of any process, and no call under way. Only then do its
registrations go, and only then is its peer told. Nearly every surprise of close(2) is this paragraph.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import assert_never

from loopspec.clause import Kind
from loopspec.kernel import pipe, tcp, unix
from loopspec.kernel.calls import DONE, Close, Count, Dup, Exit, Fork, Opened, Outcome
from loopspec.kernel.epoll import forget
from loopspec.kernel.law import Branch, Branches, NotModelledError, certain, law, refusal, then
from loopspec.kernel.state import (
    Connection,
    End,
    EpollSet,
    Errno,
    EventCounter,
    File,
    FileId,
    FileKind,
    FreshSocket,
    Interest,
    Listener,
    Number,
    ObjectId,
    Pipe,
    PipeEnd,
    ProcessId,
    Regular,
    Shared,
    SocketEnd,
    State,
    Table,
    Thread,
    ThreadId,
    Timer,
    lowest_free,
)
from loopspec.kernel.stream import connection

# --- numbers --------------------------------------------------------------------------------------------


def names_of(state: State, thread: ThreadId) -> Table[Number, FileId]:
    """The table of numbers of ``thread``'s process."""
    return state.numbers[state.threads[thread].process]


@law("FD.NUMBER.LOWEST_FREE", Kind.STEP, source="POSIX open")
def next_number(taken: Collection[Number]) -> Number:
    """A new descriptor takes the lowest free number, so a closed number returns at once."""
    return Number(lowest_free(taken))


def taken_numbers(state: State, thread: ThreadId) -> Collection[Number]:
    """The numbers of the process that are open, or reserved: an accept that waits has its number already."""
    process = state.threads[thread].process
    reserved = {
        other.suspended.reserved
        for other in state.threads.values()
        if other.process == process and other.suspended and other.suspended.reserved is not None
    }
    return reserved.union(state.numbers[process]) if reserved else state.numbers[process]


def has_room(state: State, thread: ThreadId, wanted: int = 1) -> bool:
    """Whether the process may open ``wanted`` more numbers."""
    return len(taken_numbers(state, thread)) + wanted <= state.limits.numbers


def name(state: State, thread: ThreadId, file: FileId) -> tuple[State, Number]:
    """Give ``file`` the next number of the process."""
    number = next_number(taken_numbers(state, thread))
    return name_as(state, thread, file, number), number


def name_as(state: State, thread: ThreadId, file: FileId, number: Number) -> State:
    """Give ``file`` this ``number``."""
    process = state.threads[thread].process
    named = state.numbers[process].put(number, file)
    return replace(state, numbers=state.numbers.put(process, named))


_LOWEST = frozenset(("FD.NUMBER.LOWEST_FREE",))


def opened(state: State, thread: ThreadId, *files: FileId) -> Outcome:
    """The call has opened ``files``."""
    numbers = []
    for file in files:
        state, number = name(state, thread, file)
        numbers.append(number)
    return Outcome(state, Opened(tuple(numbers)), _LOWEST)


def add_file(state: State, kind: FileKind, nonblocking: bool) -> tuple[State, FileId]:
    """A new description, known by no number yet."""
    id = FileId(lowest_free(state.files))
    return replace(state, files=state.files.put(id, File(kind, nonblocking))), id


def open_one(state: State, thread: ThreadId, kind: FileKind, nonblocking: bool) -> tuple[Outcome, ...]:
    """open(2) and its kin: one description, one number."""
    if not has_room(state, thread):
        return (refusal(state, Errno.EMFILE),)
    state, file = add_file(state, kind, nonblocking)
    if isinstance(kind, EpollSet):
        state = replace(state, epolls=state.epolls.put(file, Interest()))
    return (opened(state, thread, file),)


def open_two(
    state: State, thread: ThreadId, kinds: tuple[FileKind, FileKind], shared: Shared, nonblocking: bool
) -> tuple[Outcome, ...]:
    """pipe(2) and socketpair(2): two descriptions of one object, whose id ``kinds`` carry already."""
    if not has_room(state, thread, 2):
        return (refusal(state, Errno.EMFILE),)
    object_id = ObjectId(lowest_free(state.objects))
    state, first = add_file(state, kinds[0], nonblocking)
    state, second = add_file(state, kinds[1], nonblocking)
    state = replace(state, objects=state.objects.put(object_id, _held(shared, first, second)))
    return (opened(state, thread, first, second),)


def _held(shared: Shared, first: FileId, second: FileId) -> Shared:
    match shared:
        case Pipe():
            return replace(shared, reader=first, writer=second)
        case Connection():
            return replace(shared, ends=(End(file=first), End(file=second)))
        case _:
            assert_never(shared)


def dup(state: State, call: Dup) -> tuple[Outcome, ...]:
    """dup(2): another number for the same description."""
    file = names_of(state, call.thread).get(call.fd)
    errors = [refusal(state, Errno.EBADF)] if file is None else []
    errors += [] if has_room(state, call.thread) else [refusal(state, Errno.EMFILE)]
    if errors or file is None:
        return tuple(errors)
    return (opened(state, call.thread, file),)


# --- references -----------------------------------------------------------------------------------------


@law("FD.CLOSE.LAST_REFERENCE", Kind.STEP, source="epoll(7) Q6")
def referred_to(state: State, file: FileId) -> bool:
    """Closing a number ends an open file description only when no other number refers to it."""
    # A call under way refers to it as well: close(2) under a blocked read does not end the read.
    return any(file in names.values() for names in state.numbers.values()) or any(
        thread.suspended is not None and thread.suspended.file == file for thread in state.threads.values()
    )


def close(state: State, call: Close) -> tuple[Outcome, ...]:
    """close(2)."""
    names = names_of(state, call.thread)
    if call.fd not in names:
        return (refusal(state, Errno.EBADF),)
    branches = _drop(state, state.threads[call.thread].process, call.fd)
    return tuple(branch.ends(DONE) for branch in branches)


def _drop(state: State, process: ProcessId, number: Number) -> Branches:
    names = state.numbers[process]
    file = names[number]
    state = replace(state, numbers=state.numbers.put(process, names.without(number)))
    return frozenset(branch.because("FD.CLOSE.LAST_REFERENCE") for branch in release(state, file))


def release(state: State, file: FileId) -> Branches:
    """Somebody has let go of ``file``; if that was the last reference, it ends."""
    if referred_to(state, file):
        return certain(state)
    kind = state.files[file].kind
    state = forget(state, file)
    state = replace(state, files=state.files.without(file))
    if file in state.epolls:
        state = replace(state, epolls=state.epolls.without(file))
    return _ended(state, kind)


def _ended(state: State, kind: FileKind) -> Branches:
    """What the end of a description means to those it was connected with."""
    match kind:
        case PipeEnd():
            return pipe.close(state, kind)
        case SocketEnd():
            if connection(state, kind.connection).port is None:
                return unix.close(state, kind)
            return tcp.close(state, kind)
        case Listener():
            return tcp.close_listener(state, kind)
        case FreshSocket() | EventCounter() | Timer() | Regular() | EpollSet():
            return certain(state)
        case _:
            assert_never(kind)


def abort(state: State, thread: ThreadId, number: Number) -> tuple[Outcome, ...]:
    """close(2) with SO_LINGER 0: a reset of a connected TCP socket."""
    names = names_of(state, thread)
    file = names.get(number)
    if file is None:
        return (refusal(state, Errno.EBADF),)
    kind = state.files[file].kind
    process = state.threads[thread].process
    branches = certain(state)
    if isinstance(kind, SocketEnd) and connection(state, kind.connection).port is not None:
        others = replace(state, numbers=state.numbers.put(process, names.without(number)))
        if referred_to(others, file):
            raise NotModelledError("SO_LINGER stays with the description, for whoever closes it last")
        branches = tcp.break_off(state, kind)
    closed = then(branches, partial(_drop, process=process, number=number))
    return tuple(branch.ends(DONE) for branch in closed)


# --- processes ------------------------------------------------------------------------------------------


def fork(state: State, call: Fork) -> tuple[Outcome, ...]:
    """fork(2): the child's numbers name the parent's descriptions."""
    process = ProcessId(lowest_free(state.numbers))
    after = replace(
        state,
        numbers=state.numbers.put(process, names_of(state, call.thread)),
        threads=state.threads.put(call.child, Thread(process)),
    )
    return (Outcome(after, Count(process)),)


def exit_process(state: State, call: Exit) -> tuple[Outcome, ...]:
    """_exit(2): every number of the process is closed, and process and thread are gone."""
    process = state.threads[call.thread].process
    branches = certain(state)
    for number in sorted(state.numbers[process]):
        branches = then(branches, partial(_drop, process=process, number=number))
    return tuple(Branch(_gone(now, call.thread, process), ids).ends(DONE) for now, ids in branches)


def _gone(state: State, thread: ThreadId, process: ProcessId) -> State:
    return replace(state, threads=state.threads.without(thread), numbers=state.numbers.without(process))

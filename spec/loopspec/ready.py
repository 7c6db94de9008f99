"""What is ready, as far as a trace shows it.

Fairness and starvation are about what is ready and waits for its turn, and several rules need to know. That
is not for the loop to say: a loop whose table has lost a registration reports nothing amiss. So readiness
is counted from both sides. The batch of a wait says what the kernel reported; and a stream on which
the client has sent more than the server has read is readable, whether a batch names it or not.

Everything here is a value: an operation gives another.
"""

from __future__ import annotations

import select
from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

from loopspec.frozen import Map, Sorted, replace, value
from loopspec.trace import (
    Abandon,
    Arm,
    Await,
    CancelRequest,
    Close,
    Direction,
    Disarm,
    Dispatch,
    Done,
    Enqueue,
    Event,
    HalfClose,
    Leave,
    Post,
    Read,
    Reset,
    Run,
    Send,
    Spawn,
    Step,
    WaitReturn,
)

_HANGS = select.EPOLLHUP | select.EPOLLERR

WAKES: dict[Direction, int] = {
    "read": select.EPOLLIN | select.EPOLLRDHUP | _HANGS,
    "write": select.EPOLLOUT | _HANGS,
}
"""The events that wake each direction: HUP and ERR, which the kernel reports unasked, wake both."""


# --- registrations ------------------------------------------------------------------------------------


class Armed(NamedTuple):
    """A live registration; ``born`` is the turn in which it was armed."""

    registration: int
    stream: int
    direction: Direction
    born: int


Table: TypeAlias = Map[int, tuple[Armed, ...]]
"""The live registrations, by number of descriptor."""


def armed(table: Table, event: Arm) -> Table:
    """The table with one more; what it replaces, if the loop let it, is gone."""
    entry = Armed(event.registration, event.stream, event.direction, event.turn)
    others = [other for other in table.get(event.fd, ()) if other.direction != event.direction]
    return table.put(event.fd, (*others, entry))


def disarmed(table: Table, event: Disarm) -> Table:
    """The table without that registration."""
    entries = table.get(event.fd)
    if entries is None:
        return table
    left = tuple([entry for entry in entries if entry.registration != event.registration])
    return table.put(event.fd, left) if left else table.drop(event.fd)


def named(table: Table, batch: Iterable[tuple[int, int]]) -> list[Armed]:
    """The live registrations that a batch wakes, in its order."""
    return [entry for fd, mask in batch for entry in table.get(fd, ()) if mask & WAKES[entry.direction]]


def found(table: Table, fd: int, registration: int) -> Armed | None:
    """The entry of ``registration`` under the number ``fd``, if it is live there."""
    for entry in table.get(fd, ()):
        if entry.registration == registration:
            return entry
    return None


# --- timers -------------------------------------------------------------------------------------------


class Due(NamedTuple):
    """A timer that is armed. Compares as timers ought to fire: by deadline, then in the order of arming."""

    deadline: int
    timer: int
    armed: int


@value
class Agenda:
    """The armed timers, in the order in which they ought to fire, and by name."""

    entries: Sorted[Due] = Sorted()
    members: Map[int, Due] = Map()

    def put(self, due: Due) -> Agenda:
        """The agenda and ``due``, instead of what it had under that name."""
        old = self.members.get(due.timer)
        entries = self.entries if old is None else self.entries.drop(old)
        return Agenda(entries.put(due), self.members.put(due.timer, due))

    def drop(self, timer: int) -> Agenda:
        """The agenda without ``timer``; the same if it is not there."""
        due = self.members.get(timer)
        if due is None:
            return self
        return Agenda(self.entries.drop(due), self.members.drop(timer))

    @property
    def first(self) -> Due | None:
        """The one that ought to fire first."""
        return self.entries.first

    def before(self, due: Due) -> list[Due]:
        """Those that ought to fire before ``due``."""
        return self.entries.before(due)


# --- what waits for its turn --------------------------------------------------------------------------

Thing: TypeAlias = tuple[Literal["registration", "callback", "task"], int]
"""What can be ready: a handler's registration, a queued callback, a task."""

_NOT_YET_TOLD = 64
"""How many callbacks that ran before their post was told of are remembered. A post from another thread is
told of when it has returned there, and the loop may have been faster; so many threads will not be."""

_END = 1
"""An end of stream that has not been read yet counts as one more byte: it is readable too."""


@value
class Waiting:
    """Everything that is ready, each with the stamp that the rule gave it when it became so.

    ``unread`` counts by stream what the server has still to read, ``readers`` knows who is to be woken for
    that: a registration, or a task that is suspended in a read (``reading``). A rule passes on only the
    events it watches, and so chooses which things it follows.
    """

    ready: Map[Thing, int] = Map()
    table: Table = Map()
    unread: Map[int, int] = Map()
    readers: Map[int, Thing] = Map()
    reading: Map[int, int] = Map()
    told_late: tuple[int, ...] = ()

    def after(self, event: Event, stamp: int) -> Waiting:
        """Who waits after ``event``; who becomes ready by it is stamped ``stamp``."""
        match event:
            case Send():
                return self._readable(event.stream, len(event.data), stamp)
            case Read():
                return self._read(event.stream, len(event.data))
            case Step():
                return self._stepped(event.task)
            case Await():
                return self._suspended(event, stamp)
            case Dispatch():
                return self._dispatched(event, stamp)
            case Run():
                return self._ran(event.callback)
            case WaitReturn(batch=batch):
                if not batch:
                    return self
                woken: list[Thing] = [
                    ("registration", entry.registration) for entry in named(self.table, batch)
                ]
                return self.but(self.ready.add(woken, stamp))
            case Enqueue(callback=callback) | Post(callback=callback):
                if callback in self.told_late:
                    return self
                return self.but(self.ready.put(("callback", callback), stamp))
            case Spawn(task=task):
                return self.but(self.ready.put(("task", task), stamp))
            case Done(task=task):
                return self.but(self.ready.drop(("task", task)))
            case HalfClose(stream=stream) | Leave(stream=stream) | Reset(stream=stream):
                return self._readable(stream, _END, stamp)
            case CancelRequest(task=task) if task in self.reading:
                # Whether a read that was cancelled has taken its bytes is CANCEL's question. Here they count
                # as taken, so that nobody is said to starve for bytes that are gone.
                return self._read(self.reading[task], 0)
            case Arm():
                return self._armed(event, stamp)
            case Disarm():
                return self._disarmed(event)
            case Close() | Abandon():
                return self._closed(event)
            case _:
                return self

    def but(self, ready: Map[Thing, int]) -> Waiting:
        """The same, but for what is ready."""
        if ready is self.ready:
            return self
        return Waiting(ready, self.table, self.unread, self.readers, self.reading, self.told_late)

    def _disarmed(self, event: Disarm) -> Waiting:
        gone: Thing = ("registration", event.registration)
        entry = found(self.table, event.fd, event.registration)
        readers = self.readers
        if entry is not None and readers.get(entry.stream) == gone:
            readers = readers.drop(entry.stream)
        ready, table = self.ready.drop(gone), disarmed(self.table, event)
        return Waiting(ready, table, self.unread, readers, self.reading, self.told_late)

    def _dispatched(self, event: Dispatch, stamp: int) -> Waiting:
        thing: Thing = ("registration", event.registration)
        entry = found(self.table, event.fd, event.registration)
        if entry is not None and entry.direction == "read" and self.unread.get(entry.stream) is not None:
            # Ready again at once: what its handler now reads takes that back.
            return self.but(self.ready.put(thing, stamp))
        return self.but(self.ready.drop(thing))

    def _ran(self, callback: int) -> Waiting:
        ready = self.ready.drop(("callback", callback))
        if ready is not self.ready:
            return self.but(ready)
        return replace(self, told_late=(*self.told_late[1 - _NOT_YET_TOLD :], callback))

    def _stepped(self, task: int) -> Waiting:
        thing: Thing = ("task", task)
        ready = self.ready.drop(thing)
        stream = self.reading.get(task)
        if stream is None:
            return self.but(ready)
        readers = self.readers.drop(stream) if self.readers.get(stream) == thing else self.readers
        reading = self.reading.drop(task)
        return Waiting(ready, self.table, self.unread, readers, reading, self.told_late)

    def _suspended(self, event: Await, stamp: int) -> Waiting:
        thing: Thing = ("task", event.task)
        match event.reason:
            case "checkpoint":
                return self.but(self.ready.put(thing, stamp))
            case "read":
                reading = self.reading.put(event.task, event.key)
                return self._reader(event.key, thing, stamp, self.table, reading)
            case _:
                return self

    def _armed(self, event: Arm, stamp: int) -> Waiting:
        thing: Thing = ("registration", event.registration)
        table = armed(self.table, event)
        if event.direction == "write":
            return replace(self, table=table)
        return self._reader(event.stream, thing, stamp, table, self.reading)

    def _reader(self, stream: int, thing: Thing, stamp: int, table: Table, reading: Map[int, int]) -> Waiting:
        """``thing`` now waits for the stream. Whom it replaces LOOP.WAITER speaks of, and nobody else."""
        ready, replaced = self.ready, self.readers.get(stream)
        if replaced is not None:
            ready = ready.drop(replaced)
        if self.unread.get(stream) is not None:
            ready = ready.put(thing, stamp)
        return Waiting(ready, table, self.unread, self.readers.put(stream, thing), reading, self.told_late)

    def _readable(self, stream: int, more: int, stamp: int) -> Waiting:
        unread = self.unread.put(stream, self.unread.get(stream, 0) + more)
        reader = self.readers.get(stream)
        ready = self.ready
        if reader is not None and ready.get(reader) is None:
            ready = ready.put(reader, stamp)
        return Waiting(ready, self.table, unread, self.readers, self.reading, self.told_late)

    def _read(self, stream: int, size: int) -> Waiting:
        left = self.unread.get(stream, 0) - size
        ready = self.ready
        if size and left > 0:
            unread = self.unread.put(stream, left)
        else:
            unread = self.unread.drop(stream)
            reader = self.readers.get(stream)
            if reader is not None:
                ready = ready.drop(reader)
            elif unread is self.unread:
                return self
        return Waiting(ready, self.table, unread, self.readers, self.reading, self.told_late)

    def _closed(self, event: Close | Abandon) -> Waiting:
        gone: list[Thing] = [("registration", entry.registration) for entry in self.table.get(event.fd, ())]
        if event.stream in self.readers:
            gone.append(self.readers[event.stream])
        return replace(
            self.but(self.ready.drop_all(gone)),
            table=self.table.drop(event.fd),
            unread=self.unread.drop(event.stream),
            readers=self.readers.drop(event.stream),
        )

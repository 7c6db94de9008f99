"""Draws sequences of calls that are worth asking a kernel.

A sequence is drawn along the model: the state so far says which numbers exist and of what they are, and the
next call is drawn for that. Most calls make sense, since nonsense is refused alike by every kernel; one in
fifteen does not. Where a clause needs a rare combination (a number reused under a live dup, two EXCLUSIVE
epolls on one target, a full buffer) a *motif* of several calls brings it about, and random calls go on
from there.

Calls that may suspend their caller are given to worker threads, whatever the model thinks of them: a
mistake in the model must not hang the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import TypeVar

from loopspec.kernel.calls import (
    Abort,
    Accept,
    Advance,
    Call,
    Close,
    Connect,
    Control,
    Dup,
    EpollControl,
    EpollWait,
    Exit,
    Fork,
    GetError,
    How,
    Listen,
    OpenEpoll,
    OpenEvent,
    OpenFile,
    OpenPair,
    OpenPipe,
    OpenSocket,
    OpenTimer,
    Read,
    SetNonblocking,
    SetTimer,
    Shutdown,
    SystemCall,
    Write,
)
from loopspec.kernel.fd import names_of
from loopspec.kernel.state import (
    EDGE,
    EXCLUSIVE,
    IN,
    NOTHING,
    ONESHOT,
    OUT,
    RDHUP,
    EpollSet,
    EventCounter,
    File,
    FreshSocket,
    Listener,
    Mask,
    Number,
    PipeEnd,
    Regular,
    SocketEnd,
    State,
    ThreadId,
    Timer,
)
from loopspec.kernel.stream import connection

DRIVER = ThreadId(0)
CHILD = ThreadId(9)
LONG = 1_000_000_000_000
"""A time-out, in nanoseconds, that no run lives to see."""
SHORT = 1_000_000
"""A time-out, in nanoseconds, that a run waits out."""

T = TypeVar("T")

_MASKS = (IN, OUT, IN | OUT, IN | OUT | RDHUP, IN | RDHUP, NOTHING)
_MODES = (0, 0, 0, EDGE, EDGE, ONESHOT, EDGE | ONESHOT, EXCLUSIVE)


class Drawer:
    """Draws calls with ``random``; ``workers`` are the threads that may be suspended."""

    def __init__(self, random: Random, workers: Sequence[ThreadId]) -> None:
        self.random = random
        self.workers = workers
        self._data = 0
        self._serial = 0
        self._now = 0
        self._motifs = (
            self._ghost,
            self._crowd,
            self._full,
            self._exclusive,
            self._cycle,
            self._hang_up,
            self._rearm,
            self._faults,
            self._half_close,
            self._sleep,
            # What fires once a motif is wanted oftener than what fires at every second call.
            self._ghost,
            self._exclusive,
            self._cycle,
            self._faults,
            self._sleep,
            self._hang_up,
        )
        self._table: tuple[tuple[int, Callable[[State], list[Call]]], ...] = (
            (8, self._open),
            (12, self._control),
            (14, self._wait),
            (12, self._read),
            (12, self._write),
            (4, self._shutdown),
            (5, self._close),
            (3, self._dup),
            (2, self._time),
            (4, self._network),
            (2, self._flag),
            (3, self._child),
            (4, self._nonsense),
            (24, self._motif),
        )

    def next(self, state: State) -> list[Call]:
        """A call, or a few that belong together, for whoever is free to make it."""
        self._now = state.now
        weights = [weight for weight, _ in self._table]
        calls: list[Call] = []
        while not calls:
            (kind,) = self.random.choices(self._table, weights)
            calls = kind[1](state)
        return calls

    # --- choosing ---

    def _one(self, options: Sequence[T]) -> T:
        return options[self.random.randrange(len(options))]

    def _some(self, state: State, *kinds: type) -> Number | None:
        """A number of the driver's that is of one of ``kinds``."""
        found = [n for n, file in self._files(state) if isinstance(file.kind, kinds)]
        return self._one(found) if found else None

    def _files(self, state: State) -> list[tuple[Number, File]]:
        return [(number, state.files[id]) for number, id in sorted(names_of(state, DRIVER).items())]

    def _free(self, state: State) -> ThreadId | None:
        idle = [worker for worker in self.workers if not state.threads[worker].suspended]
        return self._one(idle) if idle else None

    def _bytes(self, size: int) -> bytes:
        made = bytes((self._data + offset) % 251 + 1 for offset in range(size))
        self._data += size
        return made

    def _on_worker(self, state: State, call: SystemCall) -> list[Call]:
        worker = self._free(state)
        return [] if worker is None else [replace(call, thread=worker)]

    def _by_someone(self, state: State, number: Number, call: SystemCall) -> list[Call]:
        """By the driver if the description does not let it wait, else by a worker."""
        file = state.files[names_of(state, DRIVER)[number]]
        if file.nonblocking or isinstance(file.kind, Regular | EpollSet):
            return [call]
        return self._on_worker(state, call)

    # --- single calls ---

    def _open(self, state: State) -> list[Call]:
        nonblocking = self.random.random() < 0.8
        room = state.limits.numbers - len(names_of(state, DRIVER))
        if room < 3 and self.random.random() < 0.8:
            return []
        epolls = len(state.epolls)
        options: list[Call] = [
            OpenPipe(nonblocking),
            OpenPair(nonblocking),
            OpenPair(nonblocking),
            OpenSocket(nonblocking),
            OpenEvent(self._one((0, 0, 1)), nonblocking),
            OpenTimer(nonblocking),
            OpenFile(b"regular", nonblocking),
        ]
        return [OpenEpoll() if epolls < 2 or self.random.random() < 0.1 else self._one(options)]

    def _control(self, state: State) -> list[Call]:
        epfd = self._some(state, EpollSet)
        if epfd is None:
            return []
        interest = state.epolls[names_of(state, DRIVER)[epfd]]
        registered = [key.number for key in interest.registrations]
        op = self._one((Control.ADD, Control.ADD, Control.ADD, Control.MOD, Control.MOD, Control.DEL))
        if op is not Control.ADD and registered and self.random.random() < 0.9:
            fd = self._one(registered)
        else:
            known = [n for n, _ in self._files(state) if n not in registered or self.random.random() < 0.1]
            fd = self._one(known) if known else epfd
        return [self._registration(epfd, op, fd)]

    def _registration(self, epfd: Number, op: Control, fd: Number) -> EpollControl:
        self._serial += 1
        mask = self._one(_MASKS) | self._one(_MODES)
        if mask & EXCLUSIVE and self.random.random() < 0.8:
            mask &= ~RDHUP
            op = Control.ADD
        return EpollControl(epfd, op, fd, Mask(mask), data=self._serial)

    def _wait(self, state: State) -> list[Call]:
        epfd = self._some(state, EpollSet)
        if epfd is None:
            return []
        most = self._one((1, 1, 2, 3, 8))
        if self.random.random() < 0.85:
            return [EpollWait(epfd, most, 0)]
        calls = self._on_worker(state, EpollWait(epfd, most, self._one((None, None, LONG, SHORT))))
        (call,) = calls or (None,)
        if isinstance(call, EpollWait) and call.timeout == SHORT:
            if self.random.random() < 0.7:
                return []
            return [call, Advance(state.now + SHORT)]
        return calls

    def _read(self, state: State) -> list[Call]:
        fd = self._some(state, PipeEnd, SocketEnd, EventCounter, Timer, Regular)
        if fd is None:
            return []
        kind = state.files[names_of(state, DRIVER)[fd]].kind
        size = 8 if isinstance(kind, EventCounter | Timer) else self._one((1, 1, 2, 4, 8))
        return self._by_someone(state, fd, Read(fd, size))

    def _write(self, state: State) -> list[Call]:
        fd = self._some(state, PipeEnd, SocketEnd, EventCounter, Regular)
        if fd is None:
            return []
        kind = state.files[names_of(state, DRIVER)[fd]].kind
        if isinstance(kind, EventCounter):
            value = self._one((0, 1, 1, 2, (1 << 64) - 2, (1 << 64) - 1))
            return self._by_someone(state, fd, Write(fd, value.to_bytes(8, "little")))
        return self._by_someone(state, fd, Write(fd, self._bytes(self._one((1, 1, 1, 2, 3, 5)))))

    def _shutdown(self, state: State) -> list[Call]:
        fd = self._some(state, SocketEnd)
        if fd is None:
            return []
        kind = state.files[names_of(state, DRIVER)[fd]].kind
        assert isinstance(kind, SocketEnd)
        found = connection(state, kind.connection)
        if found.under_way or found.ends[kind.side].dead:
            return []
        return [Shutdown(fd, self._one((How.WR, How.WR, How.WR, How.RD, How.RDWR)))]

    def _close(self, state: State) -> list[Call]:
        names = sorted(names_of(state, DRIVER))
        if not names:
            return []
        fd = self._one(names)
        kind = state.files[names_of(state, DRIVER)[fd]].kind
        if isinstance(kind, EpollSet) and self.random.random() < 0.7:
            return []
        is_tcp = isinstance(kind, SocketEnd) and connection(state, kind.connection).port is not None
        return [Abort(fd) if is_tcp and self.random.random() < 0.5 else Close(fd)]

    def _dup(self, state: State) -> list[Call]:
        names = sorted(names_of(state, DRIVER))
        return [Dup(self._one(names))] if names else []

    def _time(self, state: State) -> list[Call]:
        fd = self._some(state, Timer)
        if fd is None:
            return []
        if self.random.random() < 0.5:
            return [SetTimer(fd, self._one((0, LONG)))]
        return [SetTimer(fd, 1_000), Advance(state.now + 1_000)]

    def _network(self, state: State) -> list[Call]:
        listener = self._some(state, Listener)
        fresh = self._some(state, FreshSocket)
        if listener is not None and self.random.random() < 0.5:
            return self._by_someone(state, listener, Accept(listener, self.random.random() < 0.9))
        if fresh is None:
            return [OpenSocket(nonblocking=self.random.random() < 0.8)]
        ports = [f.kind.port for f in state.files.values() if isinstance(f.kind, Listener)]
        if not ports:
            return [Listen(fresh, port=1)] if self.random.random() < 0.8 else self._connect(state, fresh, 7)
        return self._connect(state, fresh, self._one((*ports, *ports, 7)))

    def _connect(self, state: State, fresh: Number, port: int) -> list[Call]:
        full = any(
            isinstance(f.kind, Listener) and len(f.kind.queue) > f.kind.backlog for f in state.files.values()
        )
        return [] if full else self._by_someone(state, fresh, Connect(fresh, port))

    def _flag(self, state: State) -> list[Call]:
        fd = self._some(state, SocketEnd, PipeEnd, EventCounter, Timer, Listener)
        if fd is None:
            return []
        if self.random.random() < 0.5:
            return [GetError(fd)]
        held = {thread.suspended.file for thread in state.threads.values() if thread.suspended}
        if names_of(state, DRIVER)[fd] in held:
            return []
        return [SetNonblocking(fd, self.random.random() < 0.8)]

    def _child(self, state: State) -> list[Call]:
        if CHILD not in state.threads:
            return [Fork(CHILD)] if self.random.random() < 0.1 and state.epolls else []
        if self.random.random() < 0.25:
            return [Exit(thread=CHILD)]
        names = sorted(names_of(state, CHILD))
        if not names:
            return []
        fd = self._one(names)
        kind = state.files[names_of(state, CHILD)[fd]].kind
        epolls = [n for n, id in names_of(state, CHILD).items() if id in state.epolls]
        if epolls and self.random.random() < 0.5:
            return [replace(self._registration(self._one(epolls), Control.ADD, fd), thread=CHILD)]
        if isinstance(kind, EpollSet):
            return [EpollWait(fd, 4, 0, thread=CHILD)]
        return [Close(fd, thread=CHILD)]

    def _nonsense(self, state: State) -> list[Call]:
        """One fault or several; any error that holds will do."""
        numbers = [*sorted(names_of(state, DRIVER)), Number(14), Number(15)]
        op = self._one(tuple(Control))
        mask = Mask(self._one(_MASKS) | self._one(_MODES))
        readable = self.random.random() < 0.8
        epfd = self._some(state, EpollSet)
        if epfd is None or self.random.random() < 0.5:
            epfd = self._one(numbers)
        options: tuple[Call, ...] = (
            EpollControl(epfd, op, self._one(numbers), mask, readable=readable),
            EpollControl(epfd, op, self._one(numbers), mask, readable=readable),
            EpollControl(epfd, Control.ADD, epfd, IN),
            EpollWait(self._one(numbers), self._one((0, 1)), 0),
            Close(Number(15)),
            Dup(Number(15)),
        )
        call = self._one(options)
        if isinstance(call, EpollWait) and call.maxevents > 0:
            return [call]
        return [call]

    # --- motifs ---

    def _motif(self, state: State) -> list[Call]:
        free = state.limits.numbers - len(names_of(state, DRIVER))
        epolls = [n for n, file in self._files(state) if isinstance(file.kind, EpollSet)]
        if free < 5 or not epolls:
            return []
        names = set(names_of(state, DRIVER))
        spare = [Number(n) for n in range(state.limits.numbers) if n not in names]
        calls = self._one(self._motifs)(epolls, spare)
        # Tidied up, most of the time: numbers are few.
        opened = [] if self.random.random() < 0.2 else [fd for fd in spare if fd < spare[0] + 3]
        return [*calls, *(Close(fd) for fd in opened)]

    def _add(self, epfd: Number, fd: Number, mask: int) -> EpollControl:
        self._serial += 1
        return EpollControl(epfd, Control.ADD, fd, Mask(mask), data=self._serial)

    def _ghost(self, epolls: list[Number], spare: list[Number]) -> list[Call]:
        """A registration whose number is closed, and given to another description."""
        a, b, copy = spare[:3]
        epfd = self._one(epolls)
        return [
            OpenPair(nonblocking=True),
            self._add(epfd, a, IN | self._one((0, EDGE, ONESHOT))),
            Dup(a),
            Close(a),
            Write(b, self._bytes(1)),
            EpollWait(epfd, 8, 0),
            EpollControl(epfd, self._one((Control.DEL, Control.MOD)), self._one((a, copy)), IN),
            OpenEvent(1, nonblocking=True),
            self._add(epfd, a, IN),
            EpollWait(epfd, 8, 0),
        ]

    def _crowd(self, epolls: list[Number], spare: list[Number]) -> list[Call]:
        """Many that stay ready, and waits that are too small for them."""
        epfd, most = self._one(epolls), self._one((1, 2))
        opened: list[Call] = [OpenEvent(1, nonblocking=True) for _ in range(3)]
        added: list[Call] = [self._add(epfd, fd, IN | self._one((0, 0, EDGE))) for fd in spare[:3]]
        return opened + added + [EpollWait(epfd, most, 0) for _ in range(4)]

    def _full(self, epolls: list[Number], spare: list[Number]) -> list[Call]:
        """A buffer that fills and empties under an epoll."""
        epfd, (a, b) = self._one(epolls), spare[:2]
        is_pipe = self.random.random() < 0.5
        writer, reader = (b, a) if is_pipe else (a, b)
        return [
            OpenPipe(nonblocking=True) if is_pipe else OpenPair(nonblocking=True),
            self._add(epfd, writer, OUT | self._one((0, EDGE))),
            *(Write(writer, self._bytes(self._one((1, 2, 3)))) for _ in range(4)),
            EpollWait(epfd, 8, 0),
            Read(reader, self._one((1, 2, 8))),
            EpollWait(epfd, 8, 0),
            Write(writer, self._bytes(2)),
            Read(reader, 8),
            EpollWait(epfd, 8, 0),
        ]

    def _exclusive(self, epolls: list[Number], spare: list[Number]) -> list[Call]:
        """One event for epolls that registered its target EXCLUSIVE."""
        a, b = spare[:2]
        mode = self._one((0, EDGE))
        return [
            OpenPair(nonblocking=True),
            *(self._add(epfd, a, IN | EXCLUSIVE | mode) for epfd in epolls[:2]),
            Write(b, self._bytes(1)),
            *(EpollWait(epfd, 8, 0) for epfd in epolls[:2]),
            Read(a, 1),
            Write(b, self._bytes(1)),
        ]

    def _cycle(self, _: list[Number], spare: list[Number]) -> list[Call]:
        """Epolls that watch one another, and one that would close the circle."""
        a, b, event = spare[:3]
        return [
            OpenEpoll(),
            OpenEpoll(),
            OpenEvent(0, nonblocking=True),
            self._add(a, b, IN | self._one((0, EDGE))),
            self._add(b, event, IN | self._one((0, EDGE))),
            self._add(b, a, IN),
            Write(event, (1).to_bytes(8, "little")),
            EpollWait(a, 1, 0),
            EpollWait(b, 1, 0),
            EpollWait(a, 1, 0),
            Close(self._one((a, b))),
        ]

    def _hang_up(self, epolls: list[Number], spare: list[Number]) -> list[Call]:
        """One end goes while the other is watched."""
        epfd, (a, b) = self._one(epolls), spare[:2]
        is_pipe = self.random.random() < 0.6
        gone, left = self._one(((a, b), (b, a)))
        return [
            OpenPipe(nonblocking=True) if is_pipe else OpenPair(nonblocking=True),
            self._add(epfd, left, self._one(_MASKS) | self._one((0, EDGE, ONESHOT))),
            Write(b, self._bytes(1)),
            Close(gone) if is_pipe or self.random.random() < 0.5 else Shutdown(gone, How.WR),
            EpollWait(epfd, 8, 0),
            EpollWait(epfd, 8, 0),
            Read(left, 8),
            EpollWait(epfd, 8, 0),
            Write(left, self._bytes(1)),
            Close(left),
        ]

    def _rearm(self, epolls: list[Number], spare: list[Number]) -> list[Call]:
        """One that has been reported and is silent; MOD makes it speak."""
        epfd, event = self._one(epolls), spare[0]
        mask = IN | self._one((EDGE, ONESHOT, EDGE | ONESHOT))
        self._serial += 1
        again = EpollControl(epfd, Control.MOD, event, Mask(mask), data=self._serial)
        return [
            OpenEvent(1, nonblocking=True),
            self._add(epfd, event, mask),
            EpollWait(epfd, 8, 0),
            EpollWait(epfd, 8, 0),
            again,
            EpollWait(epfd, 8, 0),
            EpollWait(epfd, 8, 0),
            again,
        ]

    def _faults(self, epolls: list[Number], spare: list[Number]) -> list[Call]:
        """One fault each: a regular file, a key twice, a key that is not there, a closed number."""
        epfd, regular, event, closed = self._one(epolls), *spare[:2], spare[3]
        return [
            OpenFile(b"regular", nonblocking=self.random.random() < 0.5),
            self._add(epfd, regular, IN),
            OpenEvent(0, nonblocking=True),
            self._add(epfd, event, IN),
            self._add(epfd, event, IN | EDGE),
            EpollControl(epfd, Control.DEL, event),
            EpollControl(epfd, self._one((Control.DEL, Control.MOD)), event),
            EpollControl(epfd, self._one(tuple(Control)), closed, IN),
            EpollControl(closed, self._one(tuple(Control)), event, IN),
        ]

    def _half_close(self, epolls: list[Number], spare: list[Number]) -> list[Call]:
        """One direction ends, the other goes on."""
        epfd, (a, b) = self._one(epolls), spare[:2]
        return [
            OpenPair(nonblocking=True),
            self._add(epfd, a, IN | RDHUP),
            Write(b, self._bytes(1)),
            Shutdown(b, How.WR),
            EpollWait(epfd, 8, 0),
            Write(a, self._bytes(1)),
            Read(a, 1),
            Read(b, 1),
            Write(a, self._bytes(1)),
            Read(b, 1),
            Read(a, 1),
        ]

    def _sleep(self, _: list[Number], spare: list[Number]) -> list[Call]:
        """A wait with nothing to report."""
        wait = EpollWait(spare[0], 1, SHORT, thread=self.workers[0])
        return [OpenEpoll(), wait, Advance(self._now + SHORT)]

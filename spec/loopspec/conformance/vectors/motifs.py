"""Motifs of who waits: short runs of calls in which somebody is suspended and another lets him go on.

Random calls meet this too seldom to be worth a vector. Each motif opens what it needs, at the numbers that
are free, and closes most of it: what random calls do between and after them is theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from loopspec.conformance.drawing import CHILD, DRIVER
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
    OpenPair,
    OpenPipe,
    OpenSocket,
    OpenTimer,
    Read,
    SetTimer,
    Shutdown,
    Write,
)
from loopspec.kernel.fd import names_of
from loopspec.kernel.state import EDGE, IN, ONESHOT, OUT, RDHUP, EpollSet, Mask, Number, State, ThreadId

WORKER = ThreadId(1)

_AFTER = 1_000
_FREE = 6
"""How many numbers a motif may need."""

_NOBODY = 7
"""A port at which nobody listens."""


class Motifs:
    """Draws motifs with ``random``."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._serial = 1 << 20  # of cookies: far from those of the drawer
        self._motifs: tuple[Callable[[State, list[Number]], list[Call]], ...] = (
            self._ready_wakes,
            self._add_wakes,
            self._reader,
            self._writer,
            self._one_shot,
            self._close_wakes_nobody,
            self._timer,
            self._inherited,
            self._child_adds,
            self._connections,
            self._refused,
            self._acceptor,
            self._stream_reader,
        )

    def next(self, state: State) -> list[Call]:
        """A motif, or what lets one who still waits go on; nothing if there is no room."""
        names = names_of(state, DRIVER)
        spare = [Number(n) for n in range(state.limits.numbers) if n not in names]
        if len(spare) < _FREE:
            return [Close(self._random.choice(sorted(names)))]
        if state.threads[WORKER].suspended:
            return self._release(state, spare)
        calls = self._random.choice(self._motifs)(state, spare)
        return [*calls, *(Close(number) for number in spare[:_FREE] if self._random.random() < 0.85)]

    def _release(self, state: State, spare: list[Number]) -> list[Call]:
        epolls = [
            n for n, id in names_of(state, DRIVER).items() if isinstance(state.files[id].kind, EpollSet)
        ]
        if not epolls:
            return []
        return [OpenEvent(1, nonblocking=True), *(self._add(n, spare[0], IN) for n in sorted(epolls))]

    def _control(self, op: Control, epfd: Number, fd: Number, mask: int) -> EpollControl:
        self._serial += 1
        return EpollControl(epfd, op, fd, Mask(mask), data=self._serial)

    def _add(self, epfd: Number, fd: Number, mask: int) -> EpollControl:
        return self._control(Control.ADD, epfd, fd, mask)

    def _mode(self) -> int:
        return self._random.choice((0, 0, EDGE))

    def _data(self, size: int = 1) -> bytes:
        return bytes(self._random.randrange(1, 256) for _ in range(size))

    # -- what wakes a wait

    def _ready_wakes(self, _: State, spare: list[Number]) -> list[Call]:
        """What becomes ready wakes the wait; what stays ready is reported again, or not."""
        epfd, a, b = spare[:3]
        wait = EpollWait(epfd, 4, None, thread=WORKER)
        return [
            OpenEpoll(),
            OpenPair(nonblocking=True),
            self._add(epfd, a, IN | RDHUP | self._mode()),
            wait,
            Write(b, self._data()),
            wait,
            Read(a, 1),
            Write(b, self._data(2)),
            wait,
            Shutdown(b, How.WR),
            EpollWait(epfd, 4, 0),
        ]

    def _add_wakes(self, _: State, spare: list[Number]) -> list[Call]:
        """A wait under way sees what is registered meanwhile, and what a modified mask lets through."""
        epfd, event = spare[:2]
        wait = EpollWait(epfd, 1, None, thread=WORKER)
        return [
            OpenEpoll(),
            OpenEvent(1, nonblocking=True),
            wait,
            self._add(epfd, event, IN | self._mode()),
            self._control(Control.MOD, epfd, event, 0),
            wait,
            self._control(Control.MOD, epfd, event, IN),
        ]

    def _one_shot(self, _: State, spare: list[Number]) -> list[Call]:
        """One report, then silence until the registration is modified."""
        epfd, a, b = spare[:3]
        wait = EpollWait(epfd, 4, None, thread=WORKER)
        mask = IN | ONESHOT | self._mode()
        return [
            OpenEpoll(),
            OpenPair(nonblocking=True),
            self._add(epfd, a, mask),
            wait,
            Write(b, self._data()),
            wait,
            Write(b, self._data()),
            self._control(Control.MOD, epfd, a, mask),
        ]

    def _close_wakes_nobody(self, _: State, spare: list[Number]) -> list[Call]:
        """A close ends a registration if no duplicate is left, and wakes no wait."""
        epfd, a, b, copy = spare[:4]
        duplicated: list[Call] = [Dup(a)] if self._random.random() < 0.5 else []
        return [
            OpenEpoll(),
            OpenPair(nonblocking=True),
            self._add(epfd, a, IN),
            *duplicated,
            EpollWait(epfd, 4, None, thread=WORKER),
            Close(a),
            Write(b, self._data()),
            OpenEvent(1, nonblocking=True),
            self._add(epfd, a, IN),
            EpollWait(epfd, 4, 0),
            Close(copy),
        ]

    def _timer(self, state: State, spare: list[Number]) -> list[Call]:
        epfd, timer = spare[:2]
        return [
            OpenEpoll(),
            OpenTimer(nonblocking=True),
            self._add(epfd, timer, IN | self._mode()),
            SetTimer(timer, _AFTER),
            EpollWait(epfd, 1, None, thread=WORKER),
            Advance(state.now + _AFTER),
            Read(timer, 8),
        ]

    # -- what wakes a read or a write

    def _reader(self, _: State, spare: list[Number]) -> list[Call]:
        a, b = spare[:2]
        opener: Call = self._random.choice((OpenPipe(), OpenPair()))
        read = Read(a, 2, thread=WORKER)
        return [opener, read, Write(b, self._data()), read, Write(b, self._data(3)), read, read, Close(b)]

    def _writer(self, _: State, spare: list[Number]) -> list[Call]:
        """A full pipe: room lets a writer go on, and the end of the readers ends him."""
        reader, writer = spare[:2]
        full = Write(writer, self._data(4), thread=WORKER)
        more = Write(writer, self._data(2), thread=WORKER)
        ends: Call = self._random.choice((Close(reader), Read(reader, 8)))
        return [OpenPipe(), full, more, Read(reader, 4), full, ends]

    # -- processes

    def _inherited(self, _: State, spare: list[Number]) -> list[Call]:
        """A child's copy of a number keeps the open file description, and its registration, alive."""
        epfd, a, b = spare[:3]
        return [
            OpenEpoll(),
            OpenPair(nonblocking=True),
            self._add(epfd, a, IN | self._mode()),
            Fork(CHILD),
            Close(a),
            Write(b, self._data()),
            EpollWait(epfd, 4, 0),
            self._control(Control.DEL, epfd, a, 0),
            EpollWait(epfd, 4, 0, thread=CHILD),
            Close(a, thread=CHILD),
            EpollWait(epfd, 4, 0),
            Write(b, self._data()),
            Exit(thread=CHILD),
        ]

    def _child_adds(self, _: State, spare: list[Number]) -> list[Call]:
        """An epoll instance is one, whoever holds a number of it: a child's registration wakes the parent."""
        epfd, event = spare[:2]
        return [
            OpenEpoll(),
            OpenEvent(1, nonblocking=True),
            Fork(CHILD),
            EpollWait(epfd, 4, None, thread=WORKER),
            EpollControl(epfd, Control.ADD, event, IN, data=self._serial, thread=CHILD),
            self._add(epfd, event, IN),
            Close(event, thread=CHILD),
            EpollWait(epfd, 4, 0),
            Exit(thread=CHILD),
            EpollWait(epfd, 4, 0),
        ]

    # -- the network

    def _connections(self, _: State, spare: list[Number]) -> list[Call]:
        """A listener, a connection, its bytes, and its end: in order, or by a reset."""
        epfd, listener, client, server = spare[:4]
        ends: Call = self._random.choice((Close(client), Abort(client), Shutdown(client, How.WR)))
        return [
            OpenEpoll(),
            OpenSocket(nonblocking=True),
            Listen(listener, 1),
            self._add(epfd, listener, IN | self._mode()),
            OpenSocket(nonblocking=True),
            self._add(epfd, client, OUT | ONESHOT),
            Connect(client, 1),
            EpollWait(epfd, 4, 0),
            Accept(listener, nonblocking=True),
            Accept(listener, nonblocking=True),
            self._add(epfd, server, IN | RDHUP | self._mode()),
            EpollWait(epfd, 4, None, thread=WORKER),
            Write(client, self._data(2)),
            Read(server, 4),
            EpollWait(epfd, 4, None, thread=WORKER),
            ends,
            Read(server, 4),
            Write(server, self._data()),
        ]

    def _refused(self, _: State, spare: list[Number]) -> list[Call]:
        epfd, client = spare[:2]
        return [
            OpenEpoll(),
            OpenSocket(nonblocking=True),
            self._add(epfd, client, OUT | self._mode()),
            EpollWait(epfd, 4, 0),
            Connect(client, _NOBODY),
            EpollWait(epfd, 4, 0),
            GetError(client),
            GetError(client),
        ]

    def _acceptor(self, _: State, spare: list[Number]) -> list[Call]:
        """One who waits in accept is given the connection when it comes."""
        listener, client = spare[:2]
        return [
            OpenSocket(),
            Listen(listener, 1),
            Accept(listener, nonblocking=True, thread=WORKER),
            OpenSocket(nonblocking=True),
            Connect(client, 1),
        ]

    def _stream_reader(self, _: State, spare: list[Number]) -> list[Call]:
        """One who waits in read of a connection is given bytes, the end, or the reset."""
        listener, client, server = spare[:3]
        read = Read(server, 2, thread=WORKER)
        ends: Call = self._random.choice((Close(client), Abort(client), Shutdown(client, How.WR)))
        return [
            OpenSocket(nonblocking=True),
            Listen(listener, 1),
            OpenSocket(nonblocking=True),
            Connect(client, 1),
            Accept(listener),
            read,
            Write(client, self._data(3)),
            read,
            read,
            ends,
        ]

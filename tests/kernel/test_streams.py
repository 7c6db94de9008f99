"""Two ends of a stream, and every short story of what is done to them, told to kernel and model.

A story is two calls (three, in the full suite), of all that can be done to either end. After each of them an
edge-triggered wait says what is news, and at the end both ends are armed anew, read dry and written to. The
kernel's result must be one that the model allows; and the model must be sure, but for what the world may
choose: whether there is room in a buffer, and whether what held already is news.

What a live kernel cannot show is asked of the model alone: that the clauses which a result names are those
at work, that a state holds nothing but what matters, and what a buffer of a few units does when it is full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import chain, product
from typing import TypeAlias

import pytest

import loopspec.epoll
import loopspec.fd  # noqa: F401  # fill the register
from loopspec.conformance.live import Report, Run
from loopspec.conformance.machine import Ask, Machine
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
    Data,
    Dup,
    EpollWait,
    Failed,
    Fork,
    GetError,
    Handshake,
    How,
    Listen,
    OpenEpoll,
    OpenEvent,
    OpenPair,
    OpenPipe,
    OpenSocket,
    OpenTimer,
    Outcome,
    Read,
    Result,
    Resume,
    SetNonblocking,
    SetTimer,
    Shutdown,
    Write,
)
from loopspec.kernel.fd import names_of
from loopspec.kernel.law import NotModelledError
from loopspec.kernel.readiness import poll
from loopspec.kernel.state import (
    EDGE,
    ERR,
    EXCLUSIVE,
    HUP,
    IN,
    NOTHING,
    OUT,
    RDHUP,
    Buffer,
    Errno,
    FreshSocket,
    Limits,
    Number,
    ObjectId,
    Pipe,
    SocketEnd,
    State,
    initial,
)
from loopspec.kernel.step import step
from loopspec.kernel.stream import connection
from tests.kernel.asking import CHILD, WORKER, Claim, add, events, failed, mod, n, opened, wait
from tests.kernel.search import explore
from tests.kernel.search import opened as after


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine(1) as ready:
        yield ready


def allowed(run: Run, call: Call) -> frozenset[Outcome]:
    """All that the model allows of ``call``, in any state that the run may be in."""
    return frozenset(outcome for state in run.states for outcome in step(state, call))


def results(outcomes: frozenset[Outcome]) -> set[Result]:
    return {outcome.result for outcome in outcomes}


# --- every story of two calls -----------------------------------------------------------------------------

WATCHED = IN | OUT | RDHUP | EDGE
SOCKET = OpenSocket(nonblocking=True)


Doing: TypeAlias = Read | Write | Shutdown | Close | GetError | Abort | Connect


@dataclass(frozen=True)
class Stream:
    """How to come by a stream beside an epoll, which is number 0, and the numbers of its two ends."""

    opens: tuple[Call, ...]
    a: int
    b: int

    @property
    def ends(self) -> tuple[int, int]:
        return self.a, self.b

    def peer(self, fd: int) -> int:
        return self.b if fd == self.a else self.a


UNIX = Stream((OpenPair(nonblocking=True),), 1, 2)
TCP = Stream(
    (
        SOCKET,
        Listen(n(1), port=1),
        SOCKET,
        Connect(n(2), port=1),
        Accept(n(1), nonblocking=True),
        Close(n(1)),
    ),
    2,
    3,
)
STREAMS = {"unix": UNIX, "tcp": TCP}


def doings(stream: Stream) -> list[Doing]:
    """All that can be done to either end."""
    calls: list[Doing] = []
    for end in map(n, stream.ends):
        calls += [Read(end, 8), Write(end, b"ab"), *(Shutdown(end, how) for how in How), Close(end)]
        calls += [GetError(end)]
        calls += [Abort(end)] if stream is TCP else []
    return [*calls, Connect(n(TCP.a), port=1)] if stream is TCP else calls


def ending(stream: Stream) -> Iterator[Call]:
    """What shows the state that a story has led to."""
    for fd in stream.ends:
        yield mod(0, fd, WATCHED)
    yield wait(0)
    for fd in stream.ends:
        yield from (Read(n(fd), 8), Read(n(fd), 8), Write(n(fd), b"z"), Write(n(fd), b"z"), wait(0))


class Ended:
    """Which directions of a stream have ended by a shutdown or a close: by the end that sent in them."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._directions: set[int] = set()

    def learn(self, call: Call) -> None:
        match call:
            case Shutdown(fd=fd, how=how):
                sends, reads = how is not How.RD, how is not How.WR
            case Close(fd=fd):
                sends, reads = True, True
            case _:
                return
        self._directions |= {fd} if sends else set()
        # TCP has no word for "I shall not read any more": the peer is not told.
        self._directions |= {self._stream.peer(fd)} if reads and self._stream is UNIX else set()

    def clauses(self, call: Call, result: Result) -> set[str]:
        """Those that are at work when ``call`` moves bytes."""
        match call, result:
            case Read(fd=fd), Data(data=data) if data:
                return {"STREAM.HALF_CLOSE.ONE_WAY"} if fd in self._directions else set()
            case Write(fd=fd), Count():
                one_way = (
                    {"STREAM.HALF_CLOSE.ONE_WAY"} if self._stream.peer(fd) in self._directions else set()
                )
                return {"STREAM.WRITE.PARTIAL"} | one_way
            case Write(), Failed(errno=Errno.EAGAIN):
                return {"STREAM.WRITE.PARTIAL"}
            case _:
                return set()


def is_sure(stream: Stream, call: Call, before: Call) -> bool:
    """Whether the world has nothing to choose: room in a Unix stream's buffer, or news of what held."""
    if isinstance(call, EpollWait):
        return not isinstance(before, Write | Shutdown)
    return stream is TCP or not isinstance(call, Write)


def is_unmodelled(run: Run, call: Call) -> bool:
    """Whether this is a shutdown(2) of a TCP end that is past that, of which the model says nothing."""
    if not isinstance(call, Shutdown) or call.fd not in names_of(run.state, call.thread):
        return False
    kind = run.state.files[names_of(run.state, call.thread)[call.fd]].kind
    return isinstance(kind, FreshSocket) or (
        isinstance(kind, SocketEnd) and connection(run.state, kind.connection).ends[kind.side].dead
    )


def tell(machine: Machine, stream: Stream, story: Sequence[Call]) -> None:
    """Tell it, and hold what comes of it against what is claimed of every story."""
    run, ended = Run(machine, Report()), Ended(stream)
    for call in (OpenEpoll(), *stream.opens, *(add(0, fd, WATCHED) for fd in stream.ends), wait(0)):
        run.make(call)
    for call in (*chain.from_iterable((each, wait(0)) for each in story), *ending(stream)):
        if is_unmodelled(run, call):
            return
        outcomes, where = allowed(run, call), f"{call} at the end of {run.made}"
        assert len(results(outcomes)) == 1 or not is_sure(stream, call, run.made[-1]), where
        for outcome in outcomes:
            others = {id for id in outcome.clauses if id.startswith(("CALL.", "EPOLL.", "FD."))}
            assert outcome.clauses - others == ended.clauses(call, outcome.result), where
        run.make(call)
        ended.learn(call)
        assert [fault for state in run.states for fault in faults(state)] == [], where
    for call in (Shutdown(n(fd), How.RD) for fd in stream.ends):
        if is_unmodelled(run, call):
            with pytest.raises(NotModelledError):
                allowed(run, call)
            assert machine.make(Ask(call)).result == failed(Errno.ENOTCONN)
        else:
            run.make(call)


def faults(state: State) -> Iterator[str]:
    """What is wrong with a state that a story has led to."""
    held = {file.kind.connection for file in state.files.values() if isinstance(file.kind, SocketEnd)}
    if held != set(state.objects):
        yield f"of {set(state.objects)} only {held} are held"
    for id in state.objects:
        for side, end in enumerate(connection(state, id).ends):
            if end.closed and (end.file is not None or end.inbox):
                yield f"{end} is held by nobody"
            if end.file is not None and state.files[end.file].kind != SocketEnd(id, side):
                yield f"{end} is not that of its file"
            if end.dead and not end.closed and not (end.no_more_in and end.no_more_out):
                yield f"{end} is dead and goes on"


def named(call: Doing) -> str:
    return f"{type(call).__name__}{call.how.name if isinstance(call, Shutdown) else ''}{call.fd}"


@pytest.mark.clause("STREAM.HALF_CLOSE.ONE_WAY", "cc9b8839")
@pytest.mark.parametrize(
    ("stream", "story"),
    [
        pytest.param(stream, (first, second), id=f"{name}-{named(first)}-{named(second)}")
        for name, stream in STREAMS.items()
        for first, second in product(doings(stream), repeat=2)
        if first.fd == stream.a
    ],
)
def test_a_story_of_two_calls(machine: Machine, stream: Stream, story: tuple[Doing, ...]) -> None:
    tell(machine, stream, story)


@pytest.mark.full
@pytest.mark.parametrize("name", STREAMS)
def test_a_story_of_three_calls(machine: Machine, name: str) -> None:
    stream = STREAMS[name]
    for story in product(doings(stream), repeat=3):
        if story[0].fd == stream.a:
            tell(machine, stream, story)


# --- what is news -----------------------------------------------------------------------------------------
#
# Number 0 is an epoll, which has reported what held before the call. SURELY: the call is an edge. PERHAPS: it
# may be, and nothing may rely on either. NEVER: it is none.


class News(Enum):
    SURELY = "surely"
    PERHAPS = "perhaps"
    NEVER = "never"


SURELY, PERHAPS, NEVER = News
ONE = (1).to_bytes(8, "little")
MOST = ((1 << 64) - 2).to_bytes(8, "little")
PIPE = OpenPipe(nonblocking=True)
FULL_PIPE = (PIPE, Write(n(2), b"abcd"))
TWO_SOCKETS = (SOCKET, SOCKET, SOCKET, Listen(n(1), port=1))
SHUT = Shutdown(n(TCP.a), How.WR)
SHUT_RD = Shutdown(n(TCP.a), How.RD)


def eventfd(count: int) -> OpenEvent:
    return OpenEvent(count, nonblocking=True)


#: What is there, what is done, who is watched for what, what is said of it, and whether that is news.
EDGES: dict[str, tuple[Sequence[Call], Call, int, int, int, News]] = {
    "pipe: first data": ([PIPE], Write(n(2), b"a"), 1, IN, IN, SURELY),
    "pipe: more data": ([PIPE, Write(n(2), b"a")], Write(n(2), b"b"), 1, IN, IN, PERHAPS),
    "pipe: no room for more": (FULL_PIPE, Write(n(2), b"e"), 1, IN, IN, PERHAPS),
    "pipe: room again": (FULL_PIPE, Read(n(1), 4), 2, OUT, OUT, SURELY),
    "pipe: more room": ([PIPE, Write(n(2), b"a")], Read(n(1), 1), 2, OUT, OUT, PERHAPS),
    "pipe: no writer": ([PIPE], Close(n(2)), 1, IN, HUP, SURELY),
    "pipe: no reader": ([PIPE], Close(n(1)), 2, OUT, OUT | ERR, SURELY),
    "unix: first data": (UNIX.opens, Write(n(2), b"a"), 1, IN, IN, SURELY),
    "unix: more data": ((*UNIX.opens, Write(n(2), b"a")), Write(n(2), b"b"), 1, IN, IN, PERHAPS),
    "unix: room again": ((*UNIX.opens, Write(n(2), b"ab")), Read(n(1), 2), 2, OUT, OUT, SURELY),
    "unix: half-close": (UNIX.opens, Shutdown(n(2), How.WR), 1, IN, IN, SURELY),
    "unix: half-close, its own end": (UNIX.opens, Shutdown(n(2), How.RD), 2, IN, IN, SURELY),
    "unix: half-close again": (
        (*UNIX.opens, Shutdown(n(2), How.WR)), Shutdown(n(2), How.WR), 1, IN, IN, PERHAPS,
    ),
    "unix: half-close again, its own end": (
        (*UNIX.opens, Shutdown(n(2), How.RD)), Shutdown(n(2), How.RD), 2, IN, IN, PERHAPS,
    ),
    "unix: close": (UNIX.opens, Close(n(2)), 1, IN, IN | HUP, SURELY),
    "tcp: first data": (TCP.opens, Write(n(3), b"a"), 2, IN, IN, SURELY),
    "tcp: more data": ((*TCP.opens, Write(n(3), b"a")), Write(n(3), b"b"), 2, IN, IN, PERHAPS),
    "tcp: more room": ((*TCP.opens, Write(n(3), b"a")), Read(n(2), 1), 3, OUT, OUT, NEVER),
    "tcp: half-close": (TCP.opens, SHUT, 3, IN, IN, SURELY),
    "tcp: half-close, its own end": (TCP.opens, SHUT, 2, OUT, OUT, SURELY),
    "tcp: half-close again": ((*TCP.opens, SHUT), SHUT, 3, IN, IN, NEVER),
    "tcp: half-close again, its own end": ((*TCP.opens, SHUT), SHUT, 2, OUT, OUT, PERHAPS),
    "tcp: no more reading": (TCP.opens, SHUT_RD, 2, IN, IN, SURELY),
    "tcp: no more reading, its peer": (TCP.opens, SHUT_RD, 3, OUT, OUT, NEVER),
    "tcp: no more reading again": ((*TCP.opens, SHUT_RD), SHUT_RD, 2, IN, IN, PERHAPS),
    "tcp: close": (TCP.opens, Close(n(2)), 3, IN, IN, SURELY),
    "tcp: reset": (TCP.opens, Abort(n(2)), 3, IN, IN | ERR | HUP, SURELY),
    "tcp: refused": ([SOCKET], Connect(n(1), port=7), 1, OUT, OUT | ERR | HUP, SURELY),
    "tcp: refusal told": (
        [SOCKET, Connect(n(1), port=7)], Connect(n(1), port=7), 1, OUT, OUT | HUP, SURELY,
    ),
    "tcp: connected": (TWO_SOCKETS, Connect(n(2), port=1), 2, OUT, OUT, SURELY),
    "tcp: first in the queue": (TWO_SOCKETS, Connect(n(2), port=1), 1, IN, IN, SURELY),
    "tcp: second in the queue": (
        (*TWO_SOCKETS, Connect(n(2), port=1)), Connect(n(3), port=1), 1, IN, IN, PERHAPS,
    ),
    "eventfd: above 0": ([eventfd(0)], Write(n(1), ONE), 1, IN, IN, SURELY),
    "eventfd: further above 0": ([eventfd(1)], Write(n(1), ONE), 1, IN, IN, PERHAPS),
    "eventfd: room again": ([eventfd(0), Write(n(1), MOST)], Read(n(1), 8), 1, OUT, OUT, SURELY),
    "eventfd: more room": ([eventfd(1)], Read(n(1), 8), 1, OUT, OUT, PERHAPS),
    "timerfd: expiry": (
        [OpenTimer(nonblocking=True), SetTimer(n(1), 1_000)], Advance(1_000), 1, IN, IN, SURELY,
    ),
}  # fmt: skip


@pytest.mark.clause("EPOLL.ET.EMPTY_TO_READY_IS_EDGE", "dd5cc323")
@pytest.mark.parametrize("name", EDGES)
def test_what_begins_to_hold_is_news_and_more_of_it_may_be(machine: Machine, name: str) -> None:
    opens, call, fd, asked, said, news = EDGES[name]
    run = Run(machine, Report())
    for each in (OpenEpoll(), *opens, add(0, fd, asked | EDGE), wait(0), call):
        run.make(each)
    told, silent = events((fd, said)), events()
    assert (
        results(allowed(run, wait(0)))
        == {
            SURELY: {told},
            PERHAPS: {told, silent},
            NEVER: {silent},
        }[news]
    )
    run.make(wait(0))


#: What is for one of those who wait: bytes, room for them, a connection. The rest is for everyone.
FOR_ONE = {
    name for name in EDGES if any(word in name for word in ("data", "room", "queue", "0", "expiry", "told"))
}


@pytest.mark.clause("EPOLL.EXCLUSIVE.AT_LEAST_ONE", "6a7abbdc")
@pytest.mark.parametrize("name", [name for name, (*_, news) in EDGES.items() if news is SURELY])
def test_an_end_is_told_to_every_exclusive_registration_and_bytes_to_one_at_least(
    machine: Machine, name: str
) -> None:
    """Three epolls watch, two of them EXCLUSIVE; the third is told whatever becomes of these."""
    opens, call, fd, asked, said, _ = EDGES[name]
    run = Run(machine, Report())
    for each in (OpenEpoll(), *opens):
        run.make(each)
    before = numbers(run.state)
    run.make(OpenEpoll())
    run.make(OpenEpoll())
    epolls = (0, *sorted(numbers(run.state) - before))
    for epoll, mode in zip(epolls, (EXCLUSIVE, EXCLUSIVE, NOTHING), strict=True):
        run.make(add(epoll, fd, asked | EDGE | mode))
        run.make(wait(epoll))
    run.make(call)
    told = {
        tuple(result == events((fd, said)) for result in seen)
        for state in run.states
        for seen in batches(state, [wait(epoll) for epoll in epolls])
    }
    every = {(True, True, True)}
    assert told == (every | {(True, False, True), (False, True, True)} if name in FOR_ONE else every)
    for epoll in epolls:
        run.make(wait(epoll))


def batches(state: State, calls: Sequence[Call]) -> Iterator[tuple[Result, ...]]:
    """What these calls may come to, one after the other."""
    if not calls:
        yield ()
        return
    for outcome in step(state, calls[0]):
        for rest in batches(outcome.state, calls[1:]):
            yield (outcome.result, *rest)


# --- connect(2) -------------------------------------------------------------------------------------------

QUEUE_OF_ONE: list[Claim] = [
    (SOCKET, opened(0)),
    (Listen(n(0), port=1, backlog=0), DONE),
    (SOCKET, opened(1)),
    (Connect(n(1), port=1), failed(Errno.EINPROGRESS)),
]
CONNECTED: list[Claim] = [
    (SOCKET, opened(0)),
    (Listen(n(0), port=1), DONE),
    (SOCKET, opened(1)),
    (Connect(n(1), port=1), failed(Errno.EINPROGRESS)),
    (Accept(n(0), nonblocking=True), opened(2)),
]
REFUSED: list[Claim] = [(SOCKET, opened(0)), (Connect(n(0), port=7), failed(Errno.EINPROGRESS))]
FRESH: list[Claim] = [(GetError(n(1)), Count(0)), (Connect(n(1), port=7), failed(Errno.EINPROGRESS))]
ASLEEP = OpenSocket(nonblocking=False)

#: What is asked of a kernel and of the model, which is to allow this and nothing else.
CONNECTS: dict[str, list[Claim]] = {
    "a handshake that nobody waited for is told once": [
        *CONNECTED,
        (Connect(n(1), port=1), DONE),
        (Connect(n(1), port=1), failed(Errno.EISCONN)),
        (Connect(n(1), port=1), failed(Errno.EISCONN)),
    ],
    "a handshake that was waited for is told": [
        *CONNECTED[:2],
        (ASLEEP, opened(1)),
        (Connect(n(1), port=1, thread=WORKER), DONE),
        (Connect(n(1), port=1, thread=WORKER), failed(Errno.EISCONN)),
    ],
    "the end that was accepted is connected": [*CONNECTED, (Connect(n(2), port=1), failed(Errno.EISCONN))],
    "the end that was accepted stays so after a reset": [
        *CONNECTED,
        (Abort(n(1)), DONE),
        (Connect(n(2), port=1), failed(Errno.EISCONN)),
    ],
    "after a shutdown there is nothing to tell": [
        *CONNECTED,
        (Shutdown(n(1), How.RD), DONE),
        (Connect(n(1), port=1), failed(Errno.EISCONN)),
    ],
    "the peer's shutdown changes nothing": [
        *CONNECTED,
        (Shutdown(n(2), How.RDWR), DONE),
        (Connect(n(1), port=1), DONE),
        (Connect(n(1), port=1), failed(Errno.EISCONN)),
    ],
    "a refusal is told, and the socket is fresh": [
        *REFUSED,
        (Connect(n(0), port=7), failed(Errno.ECONNREFUSED)),
        (GetError(n(0)), Count(0)),
        (Read(n(0), 1), failed(Errno.ENOTCONN)),
        (Listen(n(0), port=1), DONE),
    ],
    "a refusal that was told is ECONNABORTED": [
        *REFUSED,
        (GetError(n(0)), Count(Errno.ECONNREFUSED)),
        (Connect(n(0), port=7), failed(Errno.ECONNABORTED)),
        *REFUSED[1:],
    ],
    "a refusal is told to one who waited": [
        (ASLEEP, opened(0)),
        (Connect(n(0), port=7, thread=WORKER), failed(Errno.ECONNREFUSED)),
        (Connect(n(0), port=7, thread=WORKER), failed(Errno.ECONNREFUSED)),
    ],
    "a refused end reads nothing, after its error, and writes nothing": [
        *REFUSED,
        (Read(n(0), 1), failed(Errno.ECONNREFUSED)),
        (Read(n(0), 1), Data(b"")),
        (Write(n(0), b"a"), failed(Errno.EPIPE)),
    ],
    "a reset is told, and the socket is fresh": [
        *CONNECTED,
        (Abort(n(2)), DONE),
        (Connect(n(1), port=1), failed(Errno.ECONNRESET)),
        *FRESH,
    ],
    "a reset that was told is ECONNABORTED": [
        *CONNECTED,
        (Abort(n(2)), DONE),
        (Read(n(1), 1), failed(Errno.ECONNRESET)),
        (Connect(n(1), port=1), failed(Errno.ECONNABORTED)),
        *FRESH,
    ],
    "a reset after a FIN is EPIPE": [
        *CONNECTED,
        (Close(n(2)), DONE),
        (Write(n(1), b"a"), Count(1)),
        (Connect(n(1), port=1), failed(Errno.EPIPE)),
        *FRESH,
    ],
    "a peer that is reset too keeps its end": [
        *CONNECTED,
        (Shutdown(n(2), How.RDWR), DONE),
        (Write(n(1), b"a"), Count(1)),
        (Connect(n(1), port=1), failed(Errno.EPIPE)),
        (GetError(n(2)), Count(Errno.ECONNRESET)),
        (Read(n(2), 1), Data(b"")),
        *FRESH,
    ],
    "a port that is listened on is taken": [
        *CONNECTED[:3],
        (Listen(n(1), port=1), failed(Errno.EADDRINUSE)),
        (Connect(n(1), port=1), failed(Errno.EINPROGRESS)),
    ],
    "what is connected cannot listen": [*CONNECTED, (Listen(n(1), port=1), failed(Errno.EINVAL))],
    "what was connected cannot, and lacks a port": [
        *CONNECTED,
        (Abort(n(2)), DONE),
        (Listen(n(1), port=1), failed(Errno.EADDRINUSE)),
        (Listen(n(1), port=2), failed(Errno.EINVAL)),
    ],
    "a handshake that finds no room goes on": [
        *QUEUE_OF_ONE,
        (SOCKET, opened(2)),
        (Connect(n(2), port=1), failed(Errno.EINPROGRESS)),
        (Connect(n(2), port=1), failed(Errno.EALREADY)),
        (GetError(n(2)), Count(0)),
        (Read(n(2), 1), failed(Errno.EAGAIN)),
        (Write(n(2), b"a"), failed(Errno.EAGAIN)),
        (Close(n(2)), DONE),
        (SOCKET, opened(2)),
    ],
    "a handshake that finds no room is broken off": [
        *QUEUE_OF_ONE,
        (SOCKET, opened(2)),
        (Connect(n(2), port=1), failed(Errno.EINPROGRESS)),
        (Abort(n(2)), DONE),
        (SOCKET, opened(2)),
    ],
    "a handshake that finds no room is waited for": [
        *QUEUE_OF_ONE,
        (ASLEEP, opened(2)),
        (Connect(n(2), port=1, thread=WORKER), SLEEPS),
    ],
    "whoever is in the queue of a listener that is closed is reset": [
        *CONNECTED[:4],
        (SOCKET, opened(2)),
        (Connect(n(2), port=1), failed(Errno.EINPROGRESS)),
        (Close(n(0)), DONE),
        (GetError(n(1)), Count(Errno.ECONNRESET)),
        (GetError(n(2)), Count(Errno.ECONNRESET)),
    ],
    "whoever is accepted keeps to the flag that accept4 was given": [
        *CONNECTED[:4],
        (Accept(n(0), nonblocking=False), opened(2)),
        (Read(n(2), 1, thread=WORKER), SLEEPS),
    ],
}


@pytest.mark.parametrize("claims", [pytest.param(claims, id=name) for name, claims in CONNECTS.items()])
def test_connect_does_this_and_nothing_else(machine: Machine, claims: list[Claim]) -> None:
    run = Run(machine, Report())
    for call, claimed in claims:
        # A worker's call that returns may sleep first: that is looked at later.
        sleeps = {SLEEPS} if call.thread == WORKER else set()
        assert results(allowed(run, call)) | sleeps == {claimed} | sleeps, call
        assert run.make(call) == claimed, call


def test_a_handshake_to_nobody_is_refused_when_it_arrives() -> None:
    """Given one that found no room, when the listener is gone before it is tried again."""
    state = after(
        initial(2, Limits()),
        *(SOCKET, Listen(n(0), port=1, backlog=0), SOCKET, Connect(n(1), port=1), Handshake(ObjectId(0))),
        *(SOCKET, Connect(n(2), port=1)),
    )
    assert step(state, Handshake(ObjectId(1))) == frozenset()
    state = after(state, Close(n(0)), Handshake(ObjectId(1)))
    assert results(step(state, GetError(n(2)))) == {Count(Errno.ECONNREFUSED)}


def test_a_handshake_that_is_given_up_does_not_arrive() -> None:
    """Given one that found no room, when its socket is closed before it is tried again."""
    state = after(
        initial(2, Limits()),
        *(SOCKET, Listen(n(0), port=1, backlog=0), SOCKET, Connect(n(1), port=1), Handshake(ObjectId(0))),
        *(SOCKET, Connect(n(2), port=1)),
    )
    for gone in (Close(n(2)), Abort(n(2))):
        room = after(state, gone, Accept(n(0)))
        assert set(room.objects) == {ObjectId(0)}
        assert step(room, Handshake(ObjectId(1))) == frozenset()


@pytest.mark.parametrize("other", [Dup(n(TCP.a)), Fork(CHILD), Read(n(TCP.a), 1, thread=WORKER)], ids=str)
def test_of_a_reset_by_one_of_several_references_the_model_says_nothing(other: Call) -> None:
    state = after(small("tcp"), SetNonblocking(n(TCP.a), nonblocking=False), other)
    with pytest.raises(NotModelledError):
        step(state, Abort(n(TCP.a)))


def test_a_connect_that_waits_goes_on_when_there_is_room() -> None:
    asleep = Connect(n(2), port=1, thread=WORKER)
    full = after(
        initial(2, Limits()),
        *(SOCKET, Listen(n(0), port=1, backlog=0), SOCKET, Connect(n(1), port=1), Handshake(ObjectId(0))),
        *(ASLEEP, asleep),
    )
    assert step(full, Resume(thread=WORKER)) == step(full, Handshake(ObjectId(1))) == frozenset()
    room = after(full, Accept(n(0)), Handshake(ObjectId(1)))
    assert results(step(room, Resume(thread=WORKER))) == {DONE}
    refused = after(full, Close(n(0)), Handshake(ObjectId(1)))
    assert results(step(refused, Resume(thread=WORKER))) == {failed(Errno.ECONNREFUSED)}


# --- a buffer of three units ------------------------------------------------------------------------------

SMALL = Buffer(sure=1, most=3)
BUFFERED: dict[str, tuple[Sequence[Call], int, int]] = {
    "pipe": ([PIPE], 2, 1),
    "unix": (UNIX.opens, 1, 2),
    "tcp": ((*TCP.opens[:4], Handshake(ObjectId(0)), *TCP.opens[4:]), 2, 3),
}
"""How to come by a stream beside an epoll, which is number 0; who writes, who reads."""


def small(kind: str, *calls: Call, short: bool = False) -> State:
    """A stream of ``kind`` whose buffers are small, after ``calls``."""
    opens, _, _ = BUFFERED[kind]
    limits = Limits(pipe=SMALL, unix=SMALL, tcp=SMALL, short=short)
    return after(initial(2, limits), OpenEpoll(), *opens, *calls)


def unread(state: State, reader: int) -> int:
    """Units that are on their way to ``reader``."""
    (names,) = state.numbers.values()
    kind = state.files[names[n(reader)]].kind
    (found,) = state.objects.values()
    if isinstance(found, Pipe):
        return len(found.data)
    assert isinstance(kind, SocketEnd)
    return len(found.ends[kind.side].inbox)


def is_writable(state: State, writer: int) -> bool:
    (names,) = state.numbers.values()
    _, mask, _ = poll(state, names[n(writer)])
    return bool(mask & OUT)


@pytest.mark.parametrize("kind", BUFFERED)
def test_a_buffer_is_writable_within_its_bounds_and_the_world_chooses_between(kind: str) -> None:
    """It comes back only while the buffer empties, and goes only while it fills."""
    _, writer, reader = BUFFERED[kind]
    moves: list[Call] = [
        Write(n(writer), b"x"),
        Write(n(writer), b"xy"),
        Read(n(reader), 1),
        Read(n(reader), 2),
    ]
    reached = explore([small(kind)], lambda _: moves, depth=8)
    assert reached.complete
    shown = {(unread(state, reader), is_writable(state, writer)) for state in reached.edges}
    assert shown == {(0, True), (1, True), (2, True), (2, False), (3, False)}
    for state, call, outcome in reached.outcomes():
        before, now = unread(state, reader), unread(outcome.state, reader)
        turned = is_writable(outcome.state, writer) - is_writable(state, writer)
        assert turned == 0 or (turned < 0) == (now > before), (call, before, now)
        assert now - before == {Count: +1, Data: -1, Failed: 0}[type(outcome.result)] * moved(outcome.result)


def moved(result: Result) -> int:
    """How many units a call has moved."""
    match result:
        case Count(value=units):
            return units
        case Data(data=data):
            return len(data)
        case _:
            assert result == failed(Errno.EAGAIN)
            return 0


@pytest.mark.clause("STREAM.WRITE.PARTIAL", "a91f20a8")
@pytest.mark.parametrize("kind", BUFFERED)
@pytest.mark.parametrize(
    ("held", "size", "short", "taken"),
    [
        (0, 1, False, {1}),
        (0, 3, False, {2, 3}),
        (0, 3, True, {1, 2, 3}),
        (0, 4, False, {2, 3}),
        (1, 1, False, {1}),
        (1, 3, False, {1, 2}),
        (2, 2, False, {1, 0}),
        (3, 1, False, {0}),
        (3, 2, False, {0}),
    ],
)
def test_a_write_takes_what_there_is_room_for(
    kind: str, held: int, size: int, short: bool, taken: set[int]
) -> None:
    """No more than fits, no less than is promised, and none only where there is no room for sure."""
    _, writer, _ = BUFFERED[kind]
    outcomes = {
        outcome
        for state in filled(small(kind, short=short), writer, held)
        for outcome in step(state, Write(n(writer), b"wxyz"[:size]))
    }
    assert {moved(outcome.result) for outcome in outcomes} == taken
    clause = "STREAM.WRITE.PIPE_BUF_ATOMIC" if kind == "pipe" and size == 1 else "STREAM.WRITE.PARTIAL"
    for outcome in outcomes:
        waits = set() if moved(outcome.result) else {"CALL.EAGAIN.INSTEAD_OF_SUSPENSION"}
        assert outcome.clauses == {clause} | waits


def filled(state: State, writer: int, units: int) -> Iterator[State]:
    """Every state in which the buffer holds so many units, written one at a time."""
    if not units:
        yield state
        return
    for outcome in step(state, Write(n(writer), b"x")):
        if moved(outcome.result):
            yield from filled(outcome.state, writer, units - 1)


@pytest.mark.parametrize("kind", BUFFERED)
def test_a_full_buffer_that_is_emptied_is_news_to_the_writer(kind: str) -> None:
    _, writer, reader = BUFFERED[kind]
    for full in filled(small(kind, add(0, writer, OUT | EDGE), wait(0)), writer, SMALL.most):
        for emptied in step(full, Read(n(reader), SMALL.most)):
            assert results(step(emptied.state, wait(0))) == {events((writer, OUT))}


@pytest.mark.parametrize(("kind", "news"), [("pipe", PERHAPS), ("unix", PERHAPS), ("tcp", NEVER)])
def test_more_room_may_be_news_to_the_writer_but_of_tcp(kind: str, news: News) -> None:
    _, writer, reader = BUFFERED[kind]
    (held,) = filled(small(kind, add(0, writer, OUT | EDGE)), writer, SMALL.sure)
    told = {
        result
        for emptied in step(after(held, wait(0)), Read(n(reader), SMALL.sure))
        for result in results(step(emptied.state, wait(0)))
    }
    assert told == {events(), *([events((writer, OUT))] if news is PERHAPS else [])}


@pytest.mark.parametrize("kind", BUFFERED)
@pytest.mark.parametrize(
    ("size", "short", "given"),
    [(1, False, {1}), (2, False, {2}), (9, False, {2}), (1, True, {1}), (9, True, {1, 2})],
)
def test_a_read_gives_what_is_there_or_less_where_transfers_fall_short(
    kind: str, size: int, short: bool, given: set[int]
) -> None:
    _, writer, reader = BUFFERED[kind]
    reads = {
        outcome.result
        for state in filled(small(kind, short=short), writer, 2)
        for outcome in step(state, Read(n(reader), size))
    }
    assert reads == {Data(b"xx"[:units]) for units in given}


def numbers(state: State) -> set[Number]:
    return {number for names in state.numbers.values() for number in names}


def outcomes_of(state: State, calls: Sequence[Call]) -> Iterator[Outcome]:
    return chain.from_iterable(step(state, call) for call in calls)


Program: TypeAlias = tuple[State, bool, bool]
"""The kernel, and whether writer and reader have been told, and not met EAGAIN since."""


@pytest.mark.clause("EPOLL.ET.EMPTY_TO_READY_IS_EDGE", "dd5cc323")
@pytest.mark.parametrize("kind", BUFFERED)
def test_who_goes_on_until_eagain_never_sleeps_with_bytes_to_read_or_room_to_write(kind: str) -> None:
    """Writer and reader wait for edges, each on an epoll of its own, whatever the world chooses."""
    _, writer, reader = BUFFERED[kind]
    (other,) = numbers(small(kind, OpenEpoll())) - numbers(small(kind))
    armed = small(kind, OpenEpoll(), add(0, writer, OUT | EDGE), add(other, reader, IN | EDGE))
    writing: list[Call] = [Write(n(writer), b"x"), Write(n(writer), b"xy")]
    reading: list[Call] = [Read(n(reader), 1), Read(n(reader), 2)]

    def turns(program: Program) -> Iterator[Program]:
        state, writes, reads = program
        for outcome in outcomes_of(state, writing if writes else [wait(0)]):
            yield outcome.state, goes_on(outcome.result), reads
        for outcome in outcomes_of(state, reading if reads else [wait(other)]):
            yield outcome.state, writes, goes_on(outcome.result)

    seen: set[Program] = {(armed, False, False)}
    news = list(seen)
    while news:
        state, writes, reads = program = news.pop()
        if not writes and unread(state, reader) <= SMALL.sure:
            assert results(step(state, wait(0))) == {events((writer, OUT))}
        if not reads and unread(state, reader):
            assert results(step(state, wait(other))) == {events((reader, IN))}
        following = set(turns(program)) - seen
        seen |= following
        news += following
    assert {(writes, reads) for _, writes, reads in seen} == set(product((True, False), repeat=2))


def goes_on(result: Result) -> bool:
    """Whether this was neither EAGAIN nor a wait that reported nothing."""
    return result not in (failed(Errno.EAGAIN), events())

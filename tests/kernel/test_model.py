"""The model as a value: hashable, exact in JSON, and the same object after a refusal."""

from __future__ import annotations

import errno
import select
from collections import Counter
from collections.abc import Iterator
from dataclasses import is_dataclass
from random import Random

import pytest

from loopspec.conformance.drawing import Drawer
from loopspec.kernel import codec
from loopspec.kernel.calls import (
    DONE,
    SLEEPS,
    Accept,
    Advance,
    Control,
    Done,
    EpollControl,
    EpollWait,
    Events,
    Failed,
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
    Result,
    Sleeps,
    Write,
)
from loopspec.kernel.law import NotModelledError
from loopspec.kernel.state import (
    EDGE,
    ERR,
    EXCLUSIVE,
    HUP,
    IN,
    MODES,
    NOTHING,
    ONESHOT,
    OUT,
    RDHUP,
    Buffer,
    Connection,
    End,
    EpollSet,
    Errno,
    EventCounter,
    FileId,
    FreshSocket,
    Interest,
    Limits,
    Listener,
    Number,
    Pipe,
    PipeEnd,
    ProcessId,
    Regular,
    SocketEnd,
    State,
    Suspended,
    Table,
    Thread,
    ThreadId,
    Timer,
    initial,
)
from loopspec.kernel.step import step
from tests.kernel.asking import add, n, wait
from tests.kernel.search import opened

SEED = 7
SEQUENCES = 60


def wander(random: Random) -> Iterator[tuple[State, State]]:
    """States along drawn calls, with the state before each; the world's choices are drawn too."""
    state = initial(3, Limits(short=True))
    drawer = Drawer(random, (ThreadId(1), ThreadId(2)))
    for _ in range(40):
        for call in drawer.next(state):
            try:
                outcomes = sorted(step(state, call), key=repr)
            except NotModelledError:
                break
            if not outcomes:
                break
            outcome = outcomes[random.randrange(len(outcomes))]
            yield state, outcome.state
            state = outcome.state


@pytest.fixture(scope="module")
def states() -> list[State]:
    random = Random(SEED)
    return [after for _ in range(SEQUENCES) for _, after in wander(random)]


def parts(value: object) -> Iterator[object]:
    """``value`` and everything in it."""
    yield value
    if isinstance(value, Table):
        for key in value:
            yield from parts(key)
            yield from parts(value[key])
    elif isinstance(value, tuple):
        for item in value:
            yield from parts(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for name in value.__dataclass_fields__:
            yield from parts(getattr(value, name))


@pytest.mark.full
def test_a_state_is_hashable_all_the_way_down(states: list[State]) -> None:
    met = Counter(type(part) for state in states for part in parts(state))
    kinds = {PipeEnd, SocketEnd, FreshSocket, Listener, EventCounter, Timer, Regular, EpollSet, Suspended}
    assert kinds <= met.keys(), "one of each type"
    for state in states:
        for part in parts(state):
            hash(part)


def test_equal_states_have_one_hash_however_they_came_about() -> None:
    table = Table([("a", 1), ("b", 2)])
    assert Table([("b", 2), ("c", 3)]).without("c").put("a", 1) == table
    assert hash(Table([("b", 2), ("a", 1)])) == hash(table)


def test_a_table_is_equal_to_itself_and_to_none_that_differs() -> None:
    table = Table([("a", 1), ("b", 2)])
    assert table == table
    others = [Table(), table.put("b", 3), table.put("c", 3), table.without("a")]
    assert all(other != table and hash(other) != hash(table) for other in others)
    assert table != {"a": 1, "b": 2}


@pytest.mark.full
def test_a_state_survives_json_exactly(states: list[State]) -> None:
    for state in states[::4]:
        text = codec.encode(state)
        again = codec.decode(text)
        assert again == state
        assert repr(again) == repr(state), "types too: True is not 1"
        assert codec.encode(again) == text


@pytest.mark.parametrize("text", ["", "1", "[]", '["State"]', '["Nothing", 1]', '["bytes", "a"]', "[[1]]"])
def test_what_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(codec.CodecError):
        codec.decode(text)


# --- values -----------------------------------------------------------------------------------------------


def test_bits_and_errors_have_the_numbers_of_linux() -> None:
    bits = {IN: "IN", OUT: "OUT", ERR: "ERR", HUP: "HUP", RDHUP: "RDHUP"}
    modes = {EDGE: "ET", ONESHOT: "ONESHOT", EXCLUSIVE: "EXCLUSIVE"}
    assert all(bit == getattr(select, f"EPOLL{name}") for bit, name in (bits | modes).items())
    wakeup = 1 << 29  # EPOLLWAKEUP, for which Python has no name
    assert sum(modes) + wakeup == MODES
    assert NOTHING == 0
    assert all(each == getattr(errno, each.name) for each in Errno)


#: Each thing as it is when nothing else is said of it, and in full.
UNLESS_SAID: list[tuple[object, object]] = [
    (OpenPipe(), OpenPipe(nonblocking=False, thread=ThreadId(0))),
    (OpenPair(), OpenPair(nonblocking=False, thread=ThreadId(0))),
    (OpenSocket(), OpenSocket(nonblocking=False)),
    (OpenEvent(), OpenEvent(count=0, nonblocking=False)),
    (OpenTimer(), OpenTimer(nonblocking=False)),
    (OpenFile(), OpenFile(data=b"", nonblocking=False)),
    (Listen(n(1), 7), Listen(n(1), 7, backlog=8)),
    (Accept(n(1)), Accept(n(1), nonblocking=False)),
    (
        EpollControl(n(1), Control.ADD, n(2)),
        EpollControl(n(1), Control.ADD, n(2), mask=NOTHING, data=0, readable=True),
    ),
    (EpollWait(n(1), 2), EpollWait(n(1), 2, timeout=0)),
    (Outcome(initial(), DONE), Outcome(initial(), Done(), clauses=frozenset())),
    (SLEEPS, Sleeps()),
    (Listener(7, 8), Listener(7, 8, queue=())),
    (Timer(), Timer(expires=None, ticks=0)),
    (Regular(b"a"), Regular(b"a", offset=0)),
    (Pipe(b"", None, None), Pipe(b"", None, None, writable=True)),
    (
        End(),
        End(
            file=None,
            inbox=b"",
            no_more_in=False,
            no_more_out=False,
            finished=False,
            sent_fin=False,
            dead=False,
            closed=False,
            error=None,
            writable=True,
        ),
    ),
    (Connection((End(), End())), Connection((End(), End()), port=None, under_way=False, noticed=False)),
    (Interest(), Interest(registrations=Table(), ready=())),
    (
        Suspended(Read(n(1), 1), FileId(0)),
        Suspended(Read(n(1), 1), FileId(0), deadline=None, done=0, reserved=None),
    ),
    (Thread(ProcessId(0)), Thread(ProcessId(0), suspended=None)),
    (Buffer(0, 2), Buffer(0, 2, atomic=1)),
    (
        Limits(),
        Limits(
            numbers=16,
            pipe=Buffer(0, 4, 2),
            unix=Buffer(0, 2, 1),
            tcp=Buffer(65_536, 131_072, 1),
            nesting=5,
            short=False,
        ),
    ),
    (initial(), initial(threads=1, limits=Limits())),
    (initial().now, 0),
]


@pytest.mark.parametrize(
    ("short", "full"), UNLESS_SAID, ids=[type(short).__name__ for short, _ in UNLESS_SAID]
)
def test_what_holds_of_each_thing_unless_it_is_said(short: object, full: object) -> None:
    assert short == full


# --- refusals ---------------------------------------------------------------------------------------------

AGAIN = Failed(Errno.EAGAIN)

#: What is told once, and so is gone afterwards; a connect that goes on; and a refused write to a pipe may be
#: an edge to its reader, although no byte has moved.
SPENDS = {
    Errno.ECONNRESET,
    Errno.EPIPE,
    Errno.ECONNREFUSED,
    Errno.ECONNABORTED,
    Errno.EINPROGRESS,
}


def test_a_refused_call_returns_the_very_state() -> None:
    random = Random(SEED)
    state = initial(3)
    drawer = Drawer(random, (ThreadId(1), ThreadId(2)))
    refused = 0
    for _ in range(600):
        for call in drawer.next(state):
            try:
                outcomes = step(state, call)
            except NotModelledError:
                break
            for outcome in outcomes:
                result = outcome.result
                if isinstance(result, Failed) and result.errno not in SPENDS:
                    assert outcome.state is state or (result == AGAIN and isinstance(call, Write)), call
                    refused += 1
            state = next(iter(outcomes)).state if outcomes else state
    assert refused > 60


def test_a_thread_that_is_suspended_cannot_call() -> None:
    state = initial(1)
    (opened,) = step(state, OpenPair())
    (asleep,) = step(opened.state, Read(Number(0), 1))
    with pytest.raises(NotModelledError):
        step(asleep.state, OpenPair())


def test_time_may_stand_still_and_does_not_run_backwards() -> None:
    (later,) = step(initial(1), Advance(5))
    assert {outcome.state for outcome in step(later.state, Advance(5))} == {later.state}
    with pytest.raises(NotModelledError, match="from 5 to 4"):
        step(later.state, Advance(4))


# --- ready lists ------------------------------------------------------------------------------------------

EPOLL, OUTER = n(0), n(1)
FIRST, SECOND = n(2), n(3)
ONE = (1).to_bytes(8, "little")


@pytest.fixture
def watched() -> State:
    """An epoll that watches two eventfds, and is watched by another."""
    events = [OpenEvent(nonblocking=True)] * 2
    adds = [add(0, 2, IN), add(0, 3, IN), add(1, 0, IN)]
    return opened(initial(2), OpenEpoll(), OpenEpoll(), *events, *adds)


def test_whoever_waits_has_looked_at_the_ready_list(watched: State) -> None:
    """What was ready and is not any more, before anybody woke, leaves no trace."""
    asleep = opened(watched, EpollWait(EPOLL, 1, None, thread=ThreadId(1)))
    assert opened(asleep, Write(FIRST, ONE)) != asleep
    after = opened(asleep, Write(FIRST, ONE), Read(FIRST, 8))
    assert after.epolls[FileId(0)] == asleep.epolls[FileId(0)]


def test_to_look_at_an_epoll_tidies_its_ready_list(watched: State) -> None:
    """What is not ready any more falls off, up to the first that is."""
    assert opened(watched, Write(FIRST, ONE), Read(FIRST, 8), wait(OUTER)) == watched
    one = opened(watched, Write(SECOND, ONE), wait(OUTER))
    both = opened(watched, Write(FIRST, ONE), Write(SECOND, ONE))
    assert opened(both, Read(FIRST, 8), wait(OUTER)) == one
    first = opened(watched, Write(FIRST, ONE), wait(OUTER)).epolls[FileId(0)].ready
    assert opened(both, Read(SECOND, 8), wait(OUTER)).epolls[FileId(0)].ready[:1] == first


@pytest.mark.clause("EPOLL.WAIT.ZERO_NEVER_SUSPENDS", "76943cdd")
@pytest.mark.parametrize(("timeout", "result"), [(0, Events(())), (1, SLEEPS), (None, SLEEPS)])
def test_of_all_waits_only_one_of_nought_never_suspends(
    watched: State, timeout: int | None, result: Result
) -> None:
    assert {outcome.result for outcome in step(watched, EpollWait(EPOLL, 1, timeout))} == {result}


def test_a_buffer_that_is_surely_writable_has_room() -> None:
    with pytest.raises(ValueError, match="room"):
        Buffer(sure=3, most=4, atomic=2)
    with pytest.raises(ValueError, match="room"):
        Buffer(sure=-1, most=4)
    assert Buffer(sure=2, most=4, atomic=2).most == 4, "which is enough"

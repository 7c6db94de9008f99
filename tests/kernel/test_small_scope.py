"""At small scope the model is searched to the end: what holds in every state, and on every path.

Two epolls, three Unix stream pairs that hold two units a direction, every order of the calls of the scope.
What the world may choose (when a buffer is writable again, whether more data is an edge) is chosen in every
way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product

import pytest

import loopspec.epoll  # noqa: F401  # fill the register
from loopspec.kernel.calls import (
    Call,
    Close,
    Control,
    EpollControl,
    EpollWait,
    Events,
    Failed,
    How,
    OpenEpoll,
    OpenEvent,
    OpenPair,
    Outcome,
    Read,
    Shutdown,
    Write,
)
from loopspec.kernel.readiness import poll
from loopspec.kernel.state import (
    EDGE,
    EXCLUSIVE,
    IN,
    MODES,
    ONESHOT,
    OUT,
    Buffer,
    EventCounter,
    Limits,
    Mask,
    Number,
    PipeEnd,
    SocketEnd,
    State,
    initial,
)
from loopspec.kernel.step import step
from loopspec.kernel.stream import connection
from tests.kernel.search import Reached, explore, opened

EPOLLS = (Number(0), Number(1))
#: (ours, theirs) of each stream.
STREAMS = ((Number(2), Number(3)), (Number(4), Number(5)), (Number(6), Number(7)))
LIMITS = Limits(numbers=8, unix=Buffer(sure=0, most=2))


def start(streams: int = 3) -> State:
    return opened(
        initial(1, LIMITS),
        OpenEpoll(),
        OpenEpoll(),
        *[OpenPair(nonblocking=True)] * streams,
    )


def add(epfd: Number, fd: Number, mask: int, op: Control = Control.ADD) -> EpollControl:
    return EpollControl(epfd, op, fd, Mask(mask), data=fd)


# --- invariants -----------------------------------------------------------------------------------------

BROAD: tuple[Call, ...] = (
    *(Write(theirs, b"x") for _, theirs in STREAMS),
    *(Read(ours, 1) for ours, _ in STREAMS),
    *(EpollWait(epfd, 2, 0) for epfd in EPOLLS),
    add(EPOLLS[0], STREAMS[0][0], IN | OUT),
    add(EPOLLS[0], STREAMS[1][0], IN | EDGE),
    add(EPOLLS[0], STREAMS[2][0], IN | ONESHOT, Control.MOD),
    add(EPOLLS[0], STREAMS[2][0], IN | ONESHOT),
    add(EPOLLS[1], STREAMS[0][0], IN | EXCLUSIVE),
    add(EPOLLS[1], EPOLLS[0], IN | EDGE),
    EpollControl(EPOLLS[0], Control.DEL, STREAMS[0][0]),
    Shutdown(STREAMS[0][1], How.WR),
    Close(STREAMS[1][1]),
    Close(STREAMS[2][0]),
)


def ready_lists_hold_registrations_once(state: State) -> bool:
    return all(
        len(set(interest.ready)) == len(interest.ready)
        and set(interest.ready) <= interest.registrations.keys()
        for interest in state.epolls.values()
    )


def registrations_name_descriptions_that_live(state: State) -> bool:
    return all(
        key.file in state.files for interest in state.epolls.values() for key in interest.registrations
    )


def level_and_ready_is_on_the_list(state: State) -> bool:
    """Whoever is level-triggered, not rationed and ready will be found by the next wait."""
    for interest in state.epolls.values():
        for key, registration in interest.registrations.items():
            if registration.mask & (EDGE | EXCLUSIVE) or not registration.mask & ~MODES:
                continue
            _, holds, _ = poll(state, key.file)
            if holds & registration.mask and key not in interest.ready:
                return False
    return True


def buffers_keep_their_bounds(state: State) -> bool:
    ends = (end for id in state.objects for end in connection(state, id).ends)
    return all(len(end.inbox) <= state.limits.unix.most for end in ends)


def every_description_is_referred_to(state: State) -> bool:
    named = {file for names in state.numbers.values() for file in names.values()}
    return named == set(state.files)


def every_object_has_an_end(state: State) -> bool:
    held = {file.kind.connection for file in state.files.values() if isinstance(file.kind, SocketEnd)}
    held |= {file.kind.pipe for file in state.files.values() if isinstance(file.kind, PipeEnd)}
    return held == set(state.objects)


INVARIANTS: tuple[Callable[[State], bool], ...] = (
    ready_lists_hold_registrations_once,
    registrations_name_descriptions_that_live,
    level_and_ready_is_on_the_list,
    buffers_keep_their_bounds,
    every_description_is_referred_to,
    every_object_has_an_end,
)


@pytest.fixture(scope="module")
def broad() -> Reached:
    reached = explore([start()], lambda _: BROAD, depth=5)
    print(f"broad scope: {reached}")  # noqa: T201  # with -s, or when something fails
    return reached


@pytest.mark.full
@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda rule: rule.__name__)
def test_in_every_reachable_state(broad: Reached, invariant: Callable[[State], bool]) -> None:
    assert [broad.path(state) for state in broad.edges if not invariant(state)][:1] == []


@pytest.mark.full
def test_an_error_leaves_the_very_state(broad: Reached) -> None:
    spends = ("ECONNRESET",)
    refused = [
        (state, call, outcome)
        for state, call, outcome in broad.outcomes()
        if isinstance(outcome.result, Failed) and outcome.result.errno.name not in spends
    ]
    assert refused
    assert all(outcome.state is state for state, _, outcome in refused)


@pytest.mark.full
def test_no_call_of_the_scope_suspends(broad: Reached) -> None:
    """Every descriptor is nonblocking and every wait has timeout 0, so nothing can: a theorem of the
    model."""
    assert all(not t.suspended for s in broad.edges for t in s.threads.values())


# --- no edge is lost ------------------------------------------------------------------------------------
#
# An edge-triggered reader that has been told of a stream reads it until EAGAIN before it waits again. Then it
# never sleeps with unread bytes, whatever the writers do meanwhile and however the world chooses. The reader
# is a program: whom it still has to drain is its state, beside the kernel's.

Reader = tuple[State, frozenset[Number]]

OURS = tuple(ours for ours, _ in STREAMS)


def writers(state: State) -> Iterator[State]:
    for _, theirs in STREAMS:
        for call in (Write(theirs, b"x"), Write(theirs, b"xy")):
            for outcome in step(state, call):
                yield outcome.state


def reads(reader: Reader, until_dry: bool) -> Iterator[Reader]:
    state, due = reader
    for fd in due:
        for outcome in step(state, Read(fd, 1)):
            dry = isinstance(outcome.result, Failed) or not until_dry
            yield outcome.state, due - {fd} if dry else due


def waits(reader: Reader) -> Iterator[tuple[Reader, bool]]:
    """The waits, and whether the reader would sleep in them."""
    state, due = reader
    if due:
        return
    for outcome in step(state, EpollWait(EPOLLS[0], 2, 0)):
        assert isinstance(outcome.result, Events)
        told = frozenset(Number(data) for data, _ in outcome.result.batch)
        yield (outcome.state, told), not told


def unread(state: State) -> int:
    return sum(len(connection(state, id).ends[0].inbox) for id in state.objects)


def sleeps_with_bytes(until_dry: bool) -> tuple[int, int, list[State]]:
    """Readers, edges, and the states in which the reader goes to sleep although there is something to
    read."""
    armed = opened(start(), *(add(EPOLLS[0], fd, IN | EDGE) for fd in OURS))
    seen: set[Reader] = {(armed, frozenset())}
    news, edges, lost = list(seen), 0, []
    while news:
        reader = news.pop()
        following = [(after, reader[1]) for after in writers(reader[0])]
        following += reads(reader, until_dry)
        for after, sleeps in waits(reader):
            following.append(after)
            if sleeps and unread(after[0]):
                lost.append(after[0])
        edges += len(following)
        fresh = set(following) - seen
        seen |= fresh
        news += fresh
    return len(seen), edges, lost


@pytest.mark.full
@pytest.mark.clause("EPOLL.ET.EMPTY_TO_READY_IS_EDGE", "dd5cc323")
def test_a_reader_that_drains_never_sleeps_with_unread_bytes() -> None:
    readers, edges, lost = sleeps_with_bytes(until_dry=True)
    print(f"no lost edge: {readers} states, {edges} edges, all there are")  # noqa: T201
    assert lost == []
    assert readers > 1_000


@pytest.mark.full
def test_a_reader_that_does_not_drain_sleeps_with_unread_bytes() -> None:
    assert sleeps_with_bytes(until_dry=False)[2]


# --- rotation -------------------------------------------------------------------------------------------


@pytest.mark.clause("EPOLL.LT.ROTATES", "f9e204dc")
@pytest.mark.parametrize(("count", "most"), [(n, m) for n in range(1, 6) for m in range(1, n + 1)])
def test_each_that_stays_ready_is_reported_once_in_every_n_over_m_waits(count: int, most: int) -> None:
    """From every order of the ready list, on every path of waits and of calls that change nobody's
    readiness."""
    epoll, spare = Number(0), Number(count + 1)
    events = [Number(1 + place) for place in range(count)]
    state = opened(
        initial(1, Limits(numbers=count + 2)),
        OpenEpoll(),
        *[OpenEvent(1, nonblocking=True)] * (count + 1),
        *(add(epoll, fd, IN) for fd in events),
    )
    one = (1).to_bytes(8, "little")
    meanwhile: tuple[Call, ...] = (Write(spare, one), Read(spare, 8), *(Write(fd, one) for fd in events[:1]))
    window = -(-count // most)
    told = batches_in_every_window(state, EpollWait(epoll, most, 0), meanwhile, window)
    assert told
    assert all(set().union(*batches) == set(events) for batches in told)


def batches_in_every_window(
    state: State, wait: Call, meanwhile: Iterable[Call], window: int
) -> list[tuple[frozenset[int], ...]]:
    """The batches of ``window`` waits in a row, from each state that can be come to; counters stay small."""

    def moves(now: State) -> Iterable[Call]:
        return (wait, *meanwhile) if _small(now) else (wait,)

    reached = explore([state], moves, depth=6)
    paths: list[tuple[State, tuple[frozenset[int], ...]]] = [(each, ()) for each in reached.edges]
    for _ in range(window):
        paths = [
            (outcome.state, (*batches, _reported(outcome)))
            for each, batches in paths
            for outcome in step(each, wait)
        ]
    return [batches for _, batches in paths]


def _small(state: State) -> bool:
    return all(not isinstance(f.kind, EventCounter) or f.kind.count < 3 for f in state.files.values())


def _reported(outcome: Outcome) -> frozenset[int]:
    assert isinstance(outcome.result, Events)
    return frozenset(data for data, _ in outcome.result.batch)


# --- the search itself ----------------------------------------------------------------------------------


def test_the_search_finds_what_can_be_found() -> None:
    """Four units are written two at a time into a buffer of two: every fill of both directions is met."""
    state = opened(initial(1, LIMITS), OpenPair(nonblocking=True))
    calls: list[Call] = [Write(Number(0), b"x"), Read(Number(1), 1)]
    reached = explore([state], lambda _: calls, depth=9)
    assert reached.complete
    fills = {len(connection(each, id).ends[1].inbox) for each in reached.edges for id in each.objects}
    assert fills == {0, 1, 2}
    assert len(reached.edges) == len(set(product(fills, (True, False)))) - 2, "0 is writable, 2 is not"

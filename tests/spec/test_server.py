"""The rules of SERVER on hand-written traces: whom they bind, what keeps them, and what breaks them."""

from __future__ import annotations

import pytest

from loopspec.server import COUNTED, FILES, answer, backend, unlike, waits_for
from loopspec.trace import (
    AtRest,
    Connect,
    Crash,
    Event,
    Free,
    HalfClose,
    Hold,
    Leave,
    Receive,
    Send,
    Serves,
    StopReading,
)
from tests.spec.judging import exercised, refused

A, B = Connect(0, False), Connect(1, False)
ASKS, ANSWERED = Send(1, b"echo b\n"), Receive(1, b"b\n")
HELD, SLOW, FREED = Hold("lock"), Send(0, b"slow gate\n"), Free("lock")


def rest(main: str = "epoll_wait", on: int | None = None, *, processes: int = 1, threads: int = 1) -> AtRest:
    return AtRest(processes, threads, 6, main, on, ())


WAITS, EMPTY = rest(), rest()
IN_RECV = rest("recv", 0)


@pytest.mark.parametrize(
    ("id", "architecture", "trace"),
    [
        ("SEQUENTIAL.STARVES", "sequential", (A, IN_RECV, B, ASKS, IN_RECV)),
        ("PROCESS.ISOLATES", "process", (A, B, ASKS, ANSWERED, rest("accept", processes=3))),
        ("PROCESS.ISOLATES", "process", (A, B, Crash(0), ASKS, ANSWERED, rest("accept", processes=2))),
        ("THREAD.SHARES", "thread", (A, B, ASKS, ANSWERED, rest("accept", threads=3))),
        ("LOOP.ONE_THREAD", "event_loop", (A, B, ASKS, ANSWERED, WAITS)),
        ("LOOP.BLOCKING_HANDLER_STOPS_ALL", "event_loop", (HELD, A, SLOW, B, ASKS, rest("flock"))),
        ("REACTOR.HANDLERS_ON_WORKERS", "reactor", (HELD, A, SLOW, WAITS, B, ASKS, ANSWERED, WAITS)),
        ("COROUTINE.LOOKS_SYNCHRONOUS", "coroutine", (A, B, ASKS, ANSWERED, WAITS)),
        ("ALL.SAME_ANSWERS", "reactor", (A, B, ASKS, ANSWERED, WAITS)),
        ("ALL.LEAKS_NOTHING", "reactor", (EMPTY, A, rest(threads=5), Leave(0), EMPTY)),
    ],
)
def test_what_keeps_a_clause(id: str, architecture: str, trace: tuple[Event, ...]) -> None:
    assert exercised(f"SERVER.{id}", Serves(architecture), *trace) == 1
    assert exercised(f"SERVER.{id}", Serves("another"), *trace) == 0


@pytest.mark.parametrize(
    ("id", "architecture", "trace", "observed"),
    [
        ("SEQUENTIAL.STARVES", "sequential", (A, B, ASKS, ANSWERED, IN_RECV), "client 1 has been served"),
        ("SEQUENTIAL.STARVES", "sequential", (A, B, ASKS, WAITS), "it is in epoll_wait"),
        (
            "PROCESS.ISOLATES",
            "process",
            (A, B, ASKS, rest(processes=3)),
            "client 1 is owed one, and client 0",
        ),
        ("PROCESS.ISOLATES", "process", (A, B, Crash(0), rest(processes=1)), "there are 1"),
        ("THREAD.SHARES", "thread", (A, B, rest(threads=2)), "there are 2"),
        ("THREAD.SHARES", "thread", (A, B, rest(threads=3, processes=2)), "there are 2"),
        ("LOOP.ONE_THREAD", "event_loop", (A, rest(threads=2)), "there are 2"),
        ("LOOP.ONE_THREAD", "event_loop", (A, B, ASKS, WAITS), "client 1 is owed one, and client 0"),
        (
            "LOOP.BLOCKING_HANDLER_STOPS_ALL",
            "event_loop",
            (HELD, A, SLOW, rest("flock"), B, ASKS, ANSWERED, rest("flock")),
            "1 answers are given",
        ),
        ("LOOP.BLOCKING_HANDLER_STOPS_ALL", "event_loop", (HELD, A, SLOW, WAITS), "it is in epoll_wait"),
        ("REACTOR.HANDLERS_ON_WORKERS", "reactor", (HELD, A, SLOW, rest("flock")), "it is in flock"),
        ("REACTOR.HANDLERS_ON_WORKERS", "reactor", (HELD, A, SLOW, B, ASKS, WAITS), "client 1 is owed one"),
        ("COROUTINE.LOOKS_SYNCHRONOUS", "coroutine", (A, B, ASKS, WAITS), "client 1 is owed one"),
        ("COROUTINE.LOOKS_SYNCHRONOUS", "coroutine", (A, rest("flock")), "it is in flock"),
        ("ALL.SAME_ANSWERS", "thread", (B, ASKS, Receive(1, b"c")), "client 1 receives 'c', not 'b'"),
        (
            "ALL.SAME_ANSWERS",
            "thread",
            (B, ASKS, Receive(1, b"c\n")),
            "to 'echo b' client 1 receives 'c', not 'b'",
        ),
        (
            "ALL.SAME_ANSWERS",
            "thread",
            (A, Receive(0, b"b\n")),
            "client 0 receives 'b', and has asked nothing",
        ),
        (
            "ALL.SAME_ANSWERS",
            "sequential",
            (A, Receive(0, b"")),
            "client 0 is dismissed, and has not finished",
        ),
        ("ALL.SAME_ANSWERS", "thread", (B, HalfClose(1), rest("accept")), "client 1 is owed one, and nobody"),
        ("ALL.LEAKS_NOTHING", "thread", (EMPTY, A, Leave(0), rest(threads=2)), "2 threads"),
    ],
)
def test_what_breaks_a_clause(id: str, architecture: str, trace: tuple[Event, ...], observed: str) -> None:
    violation = refused(f"SERVER.{id}", Serves(architecture), *trace)
    assert violation.event == trace[-1]
    assert observed in violation.observed


@pytest.mark.parametrize(
    ("id", "architecture", "trace"),
    [
        # Served to its end, and here only since it does not look.
        (
            "SEQUENTIAL.STARVES",
            "sequential",
            (A, StopReading(0), HalfClose(0), B, ASKS, ANSWERED, rest("accept")),
        ),
        # Answered before the lock was held, and it does not look.
        ("LOOP.BLOCKING_HANDLER_STOPS_ALL", "event_loop", (A, StopReading(0), SLOW, HELD, WAITS)),
    ],
)
def test_a_client_that_does_not_read_accuses_nobody(
    id: str, architecture: str, trace: tuple[Event, ...]
) -> None:
    assert exercised(f"SERVER.{id}", Serves(architecture), *trace) == 0


COUNT = b"ask count\n"


def test_numbers_that_some_order_explains_are_kept() -> None:
    """Two ask side by side, and the second is counted first."""
    trace = A, B, Send(0, COUNT), Send(1, COUNT), Receive(0, b"2\n"), Receive(1, b"1\n"), WAITS
    assert exercised("SERVER.ALL.ONE_AT_A_TIME", Serves("thread"), *trace) == 1


@pytest.mark.parametrize(
    ("trace", "observed"),
    [
        ((Send(0, COUNT), Send(1, COUNT), Receive(0, b"1\n"), Receive(1, b"1\n")), "had been given before"),
        ((Send(0, COUNT), Receive(0, b"1\n"), Send(1, COUNT), Receive(1, b"3\n")), "counts more than the 2"),
        (
            (Send(0, COUNT * 2), Receive(0, b"2\n"), Send(1, COUNT), Receive(1, b"1\n")),
            "is not above 2, which was there before it asked",
        ),
    ],
)
def test_numbers_that_no_order_explains_are_refused(trace: tuple[Event, ...], observed: str) -> None:
    violation = refused("SERVER.ALL.ONE_AT_A_TIME", Serves("thread"), A, B, *trace)
    assert observed in violation.observed


BIG = Send(0, b"file big\n")


def test_whoever_does_not_read_is_owed_nothing_and_delays_nobody() -> None:
    trace = A, StopReading(0), BIG, B, ASKS
    kept = "FAIR.SLOW_READER.DELAYS_NOBODY"
    assert exercised(kept, Serves("reactor"), *trace, ANSWERED, WAITS) == 1
    assert exercised(kept, Serves("sequential"), *trace, WAITS) == 0
    assert "client 1 is owed one" in refused(kept, Serves("reactor"), *trace, WAITS).observed


@pytest.mark.parametrize(
    ("line", "answered"),
    [
        (b"echo", b""),
        (b"echo  a ", b" a "),
        (b"sum", b"0"),
        (b"sum 1 -3", b"-2"),
        (b"sum 1_0", b"error: a sum is of integers"),
        (b"slow gate", b"gate is free"),
        (b"slow none", b"error: No such file or directory"),
        (b"file small", FILES[b"small"]),
        (b"file ..", b"error: no name of a file"),
        (b"ask ab", b"ba"),
        (b"ask count", COUNTED),
        (b"ECHO a", b"error: no such request"),
    ],
)
def test_the_protocol(line: bytes, answered: object) -> None:
    assert answer(line) == answered


def test_what_a_request_waits_for() -> None:
    assert [waits_for(line) for line in (b"slow gate", b"ask x", b"slow x", b"echo")] == [
        "lock",
        "backend",
        None,
        None,
    ]
    assert backend(b"count") is COUNTED


@pytest.mark.parametrize(
    ("coroutine", "differ"),
    [
        ("async def f(a: A) -> B:\n  async with g(a) as b:\n    return await h(b)", set()),
        ("async def f(a: A) -> B:\n  with await g(a) as b:\n    return await h(b)", set()),
        ("async def f(a):\n  with g(a) as b:\n    return await h(a)", {"f"}),
        ("async def f(a):\n  with g(a) as b:\n    await h(b)", {"f"}),
        ("async def e(a):\n  pass", {"e", "f"}),
    ],
)
def test_two_sources_are_compared_without_await(coroutine: str, differ: set[str]) -> None:
    assert unlike("def f(a: int):\n  with g(a) as b:\n    return h(b)", coroutine) == differ

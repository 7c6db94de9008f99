"""The rules of SERVER on hand-written traces: whom they bind, what keeps them, and what breaks them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loopspec.server import COUNTED, answer, backend, unlike, waits_for
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
    Reset,
    Send,
    Serves,
    StopReading,
)
from tests.spec.judging import exercised, judge, refusal, refused

A, B, C = Connect(0, False), Connect(1, False), Connect(2, False)
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


ANSWERS = "an answer to everyone who reads"
BEHIND_0 = "client 1 is owed one, and client 0 is in the way"
PROTOCOL = "what the protocol says"


@pytest.mark.parametrize(
    ("id", "architecture", "trace", "allowed", "observed"),
    [
        (
            "SEQUENTIAL.STARVES",
            "sequential",
            (A, B, ASKS, ANSWERED, IN_RECV),
            "nobody served behind client 0, who is here",
            "client 1 has been served",
        ),
        (
            "SEQUENTIAL.STARVES",
            "sequential",
            (A, StopReading(0), B, C, ASKS, ANSWERED, Send(2, b"sum\n"), Receive(2, b"0\n"), IN_RECV),
            "nobody served behind client 0, who is here",
            "client 1, client 2 has been served",
        ),
        (
            "SEQUENTIAL.STARVES",
            "sequential",
            (A, HalfClose(0), B, ASKS, ANSWERED, IN_RECV),
            "nobody served behind client 0, who is here",
            "client 1 has been served",
        ),
        (
            "SEQUENTIAL.STARVES",
            "sequential",
            (A, B, ASKS, WAITS),
            "the server in recv of client 0, who is silent",
            "it is in epoll_wait",
        ),
        (
            "SEQUENTIAL.STARVES",
            "sequential",
            (A, B, ASKS, rest("recv", 1)),
            "the server in recv of client 0, who is silent",
            "it is in recv",
        ),
        ("PROCESS.ISOLATES", "process", (A, B, ASKS, rest(processes=3)), ANSWERS, BEHIND_0),
        ("PROCESS.ISOLATES", "process", (A, B, Crash(0), rest(processes=1)), "2 processes", "there are 1"),
        ("THREAD.SHARES", "thread", (A, B, ASKS, rest(threads=3)), ANSWERS, BEHIND_0),
        ("THREAD.SHARES", "thread", (A, B, rest(threads=2)), "3 threads", "there are 2"),
        ("THREAD.SHARES", "thread", (A, B, rest(threads=3, processes=2)), "1 processes", "there are 2"),
        ("LOOP.ONE_THREAD", "event_loop", (A, rest(threads=2)), "1 threads", "there are 2"),
        ("LOOP.ONE_THREAD", "event_loop", (A, B, ASKS, WAITS), ANSWERS, BEHIND_0),
        (
            "LOOP.BLOCKING_HANDLER_STOPS_ALL",
            "event_loop",
            (HELD, A, SLOW, rest("flock"), B, ASKS, ANSWERED, rest("flock")),
            "nobody served while a handler blocks",
            "1 answers are given",
        ),
        (
            "LOOP.BLOCKING_HANDLER_STOPS_ALL",
            "event_loop",
            (HELD, A, SLOW, WAITS),
            "the loop's thread in the handler's call",
            "it is in epoll_wait",
        ),
        (
            "REACTOR.HANDLERS_ON_WORKERS",
            "reactor",
            (HELD, A, SLOW, rest("flock")),
            "the loop's thread in its wait",
            "it is in flock",
        ),
        ("REACTOR.HANDLERS_ON_WORKERS", "reactor", (HELD, A, SLOW, B, ASKS, WAITS), ANSWERS, BEHIND_0),
        ("COROUTINE.LOOKS_SYNCHRONOUS", "coroutine", (A, B, ASKS, WAITS), ANSWERS, BEHIND_0),
        (
            "COROUTINE.LOOKS_SYNCHRONOUS",
            "coroutine",
            (A, rest("flock")),
            "the loop's thread in its wait",
            "it is in flock",
        ),
        ("COROUTINE.LOOKS_SYNCHRONOUS", "coroutine", (A, rest(processes=2)), "1 processes", "there are 2"),
        (
            "ALL.SAME_ANSWERS",
            "thread",
            (B, ASKS, Receive(1, b"c")),
            PROTOCOL,
            "client 1 receives 'c', not 'b'",
        ),
        (
            "ALL.SAME_ANSWERS",
            "thread",
            (B, ASKS, Receive(1, b"c\n")),
            PROTOCOL,
            "to 'echo b' client 1 receives 'c', not 'b'",
        ),
        (
            "ALL.SAME_ANSWERS",
            "thread",
            (A, Receive(0, b"b\n")),
            PROTOCOL,
            "client 0 receives 'b', and has asked nothing",
        ),
        (
            "ALL.SAME_ANSWERS",
            "thread",
            (A, Receive(0, b"b")),
            PROTOCOL,
            "client 0 receives 'b', and has asked nothing",
        ),
        (
            "ALL.SAME_ANSWERS",
            "thread",
            (A, Send(0, b"ask count\n"), Receive(0, b"01\n")),
            PROTOCOL,
            "client 0 receives '01', which is no number",
        ),
        (
            "ALL.SAME_ANSWERS",
            "thread",
            (A, Send(0, b"file big\n"), Receive(0, bytes(25) + b"\n")),
            PROTOCOL,
            "to 'file big' client 0 receives 25 bytes, not 524288 bytes",
        ),
        (
            "ALL.SAME_ANSWERS",
            "thread",
            (A, Send(0, b"file big\n"), Receive(0, b"y" * 24 + b"\n")),
            PROTOCOL,
            f"to 'file big' client 0 receives '{'y' * 24}', not 524288 bytes",
        ),
        (
            "ALL.SAME_ANSWERS",
            "sequential",
            (A, Receive(0, b"")),
            PROTOCOL,
            "client 0 is dismissed, and has not finished",
        ),
        (
            "ALL.SAME_ANSWERS",
            "sequential",
            (A, SLOW, HalfClose(0), Receive(0, b"")),
            PROTOCOL,
            "client 0 is dismissed, and has not finished",
        ),
        (
            "ALL.SAME_ANSWERS",
            "thread",
            (B, HalfClose(1), rest("accept")),
            ANSWERS,
            "client 1 is owed one, and nobody is in the way",
        ),
        (
            "ALL.LEAKS_NOTHING",
            "thread",
            (EMPTY, A, Leave(0), rest(threads=2)),
            "1 processes, 1 threads, 6 descriptors",
            "1 processes, 2 threads, 6 descriptors",
        ),
        (
            "ALL.LEAKS_NOTHING",
            "process",
            (EMPTY, A, Leave(0), rest(processes=2)),
            "1 processes, 1 threads, 6 descriptors",
            "2 processes, 1 threads, 6 descriptors",
        ),
        (
            "ALL.LEAKS_NOTHING",
            "process",
            (EMPTY, A, Leave(0), replace(EMPTY, descriptors=7)),
            "1 processes, 1 threads, 6 descriptors",
            "1 processes, 1 threads, 7 descriptors",
        ),
    ],
)
def test_what_breaks_a_clause(
    id: str, architecture: str, trace: tuple[Event, ...], allowed: str, observed: str
) -> None:
    run = Serves(architecture), *trace
    wanted = refusal(f"SERVER.{id}", run, len(trace), allowed, observed)
    assert refused(f"SERVER.{id}", *run) == wanted


@pytest.mark.parametrize(
    ("acts", "least", "most"),
    [
        ((), 0, 0),
        ((A, B), 2, 2),
        ((A, B, Leave(0)), 1, 1),
        ((A, B, Reset(1)), 1, 1),
        ((A, B, Crash(0)), 1, 1),
        ((A, StopReading(0)), 1, 1),
        ((HELD, A, SLOW), 1, 1),
        # Whoever goes while the handler waits may leave it behind, for as long as it waits.
        ((HELD, A, SLOW, B, Leave(0)), 1, 2),
        ((HELD, A, SLOW, SLOW, Leave(0), FREED), 0, 0),
        ((Hold("backend"), A, SLOW, Leave(0)), 0, 0),
        ((Hold("backend"), A, Send(0, b"echo\nask x\n"), Leave(0)), 0, 1),
        # Who does not read may not have been told the end.
        ((A, StopReading(0), HalfClose(0), B), 1, 2),
        # Told the end, it is gone.
        ((A, HalfClose(0), Receive(0, b"")), 0, 0),
    ],
)
def test_there_is_a_handler_for_each_client_that_is_here(
    acts: tuple[Event, ...], least: int, most: int
) -> None:
    """Each number of processes, and of threads, is held against what there ought to be beside the first."""
    allowed = f"{1 + least}" if least == most else f"{1 + least} to {1 + most}"
    for count in range(5):
        kept = 1 + least <= count <= 1 + most
        for id, architecture, of, found in (
            ("SERVER.PROCESS.ISOLATES", "process", "processes", rest("accept", processes=count)),
            ("SERVER.THREAD.SHARES", "thread", "threads", rest("accept", threads=count)),
        ):
            run = Serves(architecture), *acts, found
            wanted = refusal(id, run, len(acts) + 1, f"{allowed} {of}", f"there are {count}")
            assert judge(id, *run).violations == ([] if kept else [wanted])


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


@pytest.mark.parametrize(
    "trace",
    [
        (A, HalfClose(0), Receive(0, b"")),
        (A, Send(0, b"echo b\n"), HalfClose(0), Receive(0, b"b\n"), Receive(0, b"")),
        (A, Crash(0), Receive(0, b"")),
        (A, SLOW, Crash(0), Receive(0, b"")),
    ],
    ids=["it had finished", "and been answered", "its server was killed", "while it was owed an answer"],
)
def test_whoever_has_finished_or_lost_its_server_is_rightly_told_the_end(trace: tuple[Event, ...]) -> None:
    assert judge("SERVER.ALL.SAME_ANSWERS", Serves("process"), *trace).violations == []


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
        (b"slow .", b"error: no name of a file"),
        (b"file gate", b""),
        (b"file small", b"a small file"),
        (b"file big", b"x" * 524_288),
        (b"file none", b"error: No such file or directory"),
        (b"file", b"error: no name of a file"),
        (b"file .", b"error: no name of a file"),
        (b"file ..", b"error: no name of a file"),
        (b"file ./small", b"error: no name of a file"),
        (b"file small\0", b"error: no name of a file"),
        (b"ask ab", b"ba"),
        (b"ask count", COUNTED),
        (b"ECHO a", b"error: no such request"),
    ],
)
def test_the_protocol(line: bytes, answered: object) -> None:
    assert answer(line) == answered


def test_what_a_request_waits_for() -> None:
    lines = b"slow gate", b"ask x", b"ask x y", b"slow x", b"slow", b"echo", b"echo gate"
    assert [waits_for(line) for line in lines] == ["lock", "backend", "backend", None, None, None, None]
    assert backend(b"count") is COUNTED


@pytest.mark.parametrize(
    ("coroutine", "differ"),
    [
        ("async def f(a: A) -> B:\n  async with g(a) as b:\n    return await h(b)", set()),
        ("async def f(a: A) -> B:\n  with await g(a) as b:\n    return await h(b)", set()),
        ("async def f(a):\n  with g(a) as b:\n    return await h(a)", {"f"}),
        ("async def f(a):\n  with g(a) as b:\n    await h(b)", {"f"}),
        ("async def e(a):\n  pass", {"e", "f"}),
        ("async def f(a: A) -> B:\n  async for b in g(a):\n    return h(b)", {"f"}),
    ],
)
def test_two_sources_are_compared_without_await(coroutine: str, differ: set[str]) -> None:
    assert unlike("def f(a: int):\n  with g(a) as b:\n    return h(b)", coroutine) == differ


@pytest.mark.parametrize(
    ("sequential", "coroutine"),
    [
        ("def f(a):\n  for b in a: g(b)", "async def f(a):\n  async for b in a: g(b)"),
        ("def f(a):\n  for b in a: g(b)", "async def f(a):\n  async for b in a: await g(b)"),
        ("class C:\n  def f(self): g()", "class C:\n  async def f(self): await g()"),
        ("f = 1", "f = 2"),
    ],
)
def test_only_functions_and_classes_are_compared_and_whatever_is_async_by_what_it_does(
    sequential: str, coroutine: str
) -> None:
    assert unlike(sequential, coroutine) == set()

"""The servers, as processes under drawn scripts: what each architecture promises, and that the rules bite."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from loopspec.clause import select
from loopspec.conformance import campaign as campaigns
from loopspec.conformance import servers
from loopspec.conformance.result import UsageError
from loopspec.conformance.servers import SHOWS, Play, Script, Server
from loopspec.judge import Judge, Verdict
from loopspec.server import ARCHITECTURES, EVENT_LOOP, STARVE_NOBODY, unlike
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
    StopReading,
)
from tests.mutants.hunt import ROOT, mutate
from tests.mutants.server import SERVER_MUTANTS, ServerMutant

EXAMPLES = 60
SEED = 1

CLAUSES = select(["SERVER", "FAIR.SLOW_READER", "ENV.PEER"])
OF_ALL = {
    "SERVER.ALL.SAME_ANSWERS",
    "SERVER.ALL.ONE_AT_A_TIME",
    "SERVER.ALL.LEAKS_NOTHING",
    "ENV.PEER.ARBITRARY",
}
OF_ONE: Mapping[str, set[str]] = {
    "sequential": {"SERVER.SEQUENTIAL.STARVES"},
    "process": {"SERVER.PROCESS.ISOLATES", "FAIR.SLOW_READER.DELAYS_NOBODY"},
    "thread": {"SERVER.THREAD.SHARES", "FAIR.SLOW_READER.DELAYS_NOBODY"},
    "event_loop": {
        "SERVER.LOOP.ONE_THREAD",
        "SERVER.LOOP.BLOCKING_HANDLER_STOPS_ALL",
        "FAIR.SLOW_READER.DELAYS_NOBODY",
    },
    "reactor": {"SERVER.REACTOR.HANDLERS_ON_WORKERS", "FAIR.SLOW_READER.DELAYS_NOBODY"},
    "coroutine": {"SERVER.COROUTINE.LOOKS_SYNCHRONOUS", "FAIR.SLOW_READER.DELAYS_NOBODY"},
}


def server(architecture: str, implementation: Path = ROOT / "impl") -> Server:
    command = (sys.executable, "-m", "refloop.servers", architecture)
    return Server(architecture, command, {**os.environ, "PYTHONPATH": str(implementation)})


@pytest.fixture(scope="module", params=ARCHITECTURES)
def running(request: pytest.FixtureRequest) -> Iterator[Server]:
    with server(request.param) as one:
        yield one
    assert one.status == 0


@contextmanager
def mutated(mutant: ServerMutant, directory: Path) -> Iterator[Server]:
    mutate(mutant, directory)
    with server(mutant.architecture, directory) as one:
        yield one


def played(server: Server, script: Script) -> list[Event]:
    events: list[Event] = []
    Play(server, events.append).run(script)
    return events


def received(events: list[Event]) -> dict[int, bytes]:
    """What each client has received."""
    said: dict[int, bytes] = {}
    for event in events:
        match event:
            case Connect(stream=stream):
                said[stream] = b""
            case Receive(stream=stream, data=data):
                said[stream] += data
            case _:
                pass
    return said


@pytest.mark.full
@pytest.mark.clause("FAIR.SLOW_READER.DELAYS_NOBODY", "be19d9a8")
@pytest.mark.clause("SERVER.SEQUENTIAL.STARVES", "da0f8f67")
@pytest.mark.clause("SERVER.PROCESS.ISOLATES", "545c5001")
@pytest.mark.clause("SERVER.THREAD.SHARES", "81f7cf54")
@pytest.mark.clause("SERVER.LOOP.ONE_THREAD", "a28d2663")
@pytest.mark.clause("SERVER.LOOP.BLOCKING_HANDLER_STOPS_ALL", "5404f17c")
@pytest.mark.clause("SERVER.REACTOR.HANDLERS_ON_WORKERS", "e390e149")
@pytest.mark.clause("SERVER.COROUTINE.LOOKS_SYNCHRONOUS", "d0566d7b")
@pytest.mark.clause("SERVER.ALL.SAME_ANSWERS", "b4c1abe3")
@pytest.mark.clause("SERVER.ALL.ONE_AT_A_TIME", "bb1f7b9f")
@pytest.mark.clause("SERVER.ALL.LEAKS_NOTHING", "012257d1")
@pytest.mark.clause("ENV.PEER.ARBITRARY", "a3a0344d")
def test_what_an_architecture_promises_is_kept_under_drawn_scripts(running: Server) -> None:
    judge = Judge(CLAUSES, SHOWS)
    assert list(servers.look(running, judge, EXAMPLES, SEED)) == []
    kept = {id for id, finding in judge.findings.items() if finding.verdict is Verdict.PASS}
    assert kept == OF_ALL | OF_ONE[running.architecture]
    assert running.complaints() == ""


@pytest.mark.full
@pytest.mark.parametrize("mutant", SERVER_MUTANTS, ids=lambda mutant: mutant.name)
def test_the_scripts_kill(mutant: ServerMutant, tmp_path: Path) -> None:
    judge = Judge(select([mutant.clause]), SHOWS)
    with mutated(mutant, tmp_path) as one:
        found = next(servers.look(one, judge, 10 * EXAMPLES, SEED), None)
    assert found is not None
    with server(mutant.architecture) as sound:
        again = Judge(select([mutant.clause]), SHOWS)
        for event in played(sound, found.script):
            again.after(event)
    assert again.violations == []


# --- the story, one script a claim ------------------------------------------------------------------------


def at_the_end(events: list[Event]) -> AtRest:
    """The last rest before somebody leaves or something is freed."""
    rests = []
    for event in events:
        if isinstance(event, (Leave, Free)):
            break
        if isinstance(event, AtRest):
            rests.append(event)
    return rests[-1]


def until_freed(events: list[Event]) -> list[Event]:
    """The trace up to where something is freed or somebody leaves."""
    ends = [place for place, event in enumerate(events) if isinstance(event, (Free, Leave))]
    return events[: ends[0]]


SILENT: Script = (Connect(0, False), Connect(1, False), Send(1, b"echo hello\n"))
BLOCKED: Script = (
    Hold("lock"),
    Connect(0, False),
    Send(0, b"slow gate\n"),
    Connect(1, False),
    Send(1, b"echo hello\n"),
)


@pytest.mark.clause("SERVER.SEQUENTIAL.STARVES", "da0f8f67", witness=True)
def test_the_sequential_server_waits_for_the_silent_client_and_for_nobody_else() -> None:
    with server("sequential") as one:
        events = played(one, SILENT)
    rest = at_the_end(events)
    assert (rest.main, rest.on, rest.threads) == ("recv", 0, 1)
    assert received(until_freed(events)) == {0: b"", 1: b""}
    assert received(events) == {0: b"", 1: b"hello\n"}  # once the first has left


@pytest.mark.clause("SERVER.LOOP.BLOCKING_HANDLER_STOPS_ALL", "5404f17c", witness=True)
def test_one_handler_that_blocks_stops_the_loop_for_everybody() -> None:
    with server(EVENT_LOOP) as one:
        events = played(one, BLOCKED)
    assert at_the_end(events).main == "flock"
    assert received(until_freed(events)) == {0: b"", 1: b""}
    assert received(events) == {0: b"gate is free\n", 1: b"hello\n"}


@pytest.mark.parametrize("architecture", sorted(STARVE_NOBODY))
def test_the_others_serve_whoever_does_not_wait_himself(architecture: str) -> None:
    with server(architecture) as one:
        for script in (SILENT, BLOCKED):
            assert received(until_freed(played(one, script)))[1] == b"hello\n"


def test_a_crash_ends_the_conversation_of_one_client_only() -> None:
    script: Script = (
        Connect(0, False),
        Connect(1, False),
        Send(0, b"echo a\n"),
        Crash(0),
        Send(1, b"echo b\n"),
    )
    with server("process") as one:
        events = played(one, script)
    assert Crash(0) in events
    assert Receive(0, b"") in events
    assert received(events) == {0: b"a\n", 1: b"b\n"}


EVERYTHING: Script = (
    Connect(0, False),
    Send(0, b"echo a\nsum 1 "),
    Connect(1, False),
    Send(0, b"2\nfile small\n"),
    Send(1, b"ask abc\nslow gate\nfile none\nwhat\n\nsum 1 x\nsum\nfile /etc/passwd\n"),
    HalfClose(0),
    HalfClose(1),
    Connect(2, False),
    Send(2, b"echo cut"),
    Reset(2),
    Connect(3, False),
    Send(3, b"echo\n"),
    StopReading(3),
    Send(3, b"file big\n"),
)


@pytest.mark.full
def test_no_architecture_can_be_told_from_another_by_what_its_clients_receive() -> None:
    """All of them, those included that would starve somebody in another script."""
    said = {}
    for architecture in ARCHITECTURES:
        with server(architecture) as one:
            said[architecture] = received(played(one, EVERYTHING))
    first = said["sequential"]
    assert first[0] == b"a\n3\na small file\n"
    assert all(other == first for other in said.values())


@pytest.mark.full
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_script_gives_the_same_trace(architecture: str) -> None:
    with server(architecture) as one:
        first = played(one, EVERYTHING)
        assert all(played(one, EVERYTHING) == first for _ in range(20))


@pytest.mark.clause("SERVER.COROUTINE.LOOKS_SYNCHRONOUS", "d0566d7b")
def test_the_coroutine_server_is_the_sequential_servers_code_with_await() -> None:
    """All of it but the accepting: who waits for the end of a conversation is what differs."""
    sequential, coroutine = (
        (ROOT / "impl/refloop/servers" / f"{name}.py").read_text() for name in ("sequential", "coroutine")
    )
    assert unlike(sequential, coroutine) == {"serve", "_serve"}
    otherwise = coroutine.replace("not data or", "not data and")
    assert unlike(sequential, otherwise) == {"serve", "_serve", "Lines"}


# --- as a campaign tells of it ----------------------------------------------------------------------------


@pytest.mark.full
def test_what_breaks_a_clause_is_made_small_and_replays(tmp_path: Path) -> None:
    """Given a server that loses pieces, then a line in two pieces shows it, and nothing else is left."""
    mutant = next(each for each in SERVER_MUTANTS if each.name == "server-pieces-are-lost")
    (clause,) = select([mutant.clause])
    with mutated(mutant, tmp_path) as one:
        found = next(servers.look(one, Judge([clause], SHOWS), 10 * EXAMPLES, SEED))
        smallest = servers.made_small(one, found, clause)
    assert smallest is not None
    assert len(smallest.script) == 3  # connect, a piece, another
    assert smallest.events[smallest.violation.position] == smallest.violation.event
    token = servers.token_of(mutant.architecture, smallest.script)
    assert servers.script_of(token) == (mutant.architecture, smallest.script)


@pytest.mark.parametrize(
    "token", ["server-", "server-reactor-x", "server-thread-!!!!", "server-what-eJwDAAAAAAE"]
)
def test_a_damaged_token_is_refused(token: str) -> None:
    with pytest.raises(UsageError, match=r"^replay token .* (is damaged|tells no script)"):
        servers.script_of(token)


@pytest.mark.full
def test_a_script_replays_on_the_servers_of_an_adapter() -> None:
    token = servers.token_of("thread", EVERYTHING)
    results = campaigns.replay(["refloop"], token, select(["SERVER"]))
    assert results["refloop"].trouble is None
    assert not any(result.broken for result in results["refloop"].clauses.values())

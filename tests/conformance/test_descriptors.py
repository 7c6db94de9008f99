"""What a scenario does to one descriptor: readiness told once, connects, a listener without descriptors, and
buffers."""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Iterator
from typing import TypeVar

import pytest

from loopspec import trace
from loopspec.conformance import scenario as s
from loopspec.conformance.buffering import MARK
from loopspec.conformance.campaign import MakeLoop
from loopspec.conformance.listening import ToldListener
from loopspec.conformance.lockstep import Hand, Lockstep, hand
from loopspec.conformance.loops.asyncio import AsyncioLoop
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.scenario import At, Scenario
from loopspec.trace import Event

LOOPS = (RefloopLoop, AsyncioLoop)
E = TypeVar("E", bound=Event)


@pytest.fixture
def other() -> Iterator[Hand]:
    with hand() as made:
        yield made


def run(other: Hand, make: MakeLoop, scenario: Scenario) -> list[Event]:
    events: list[Event] = []
    Lockstep(other, scenario, events.append).run(make)
    return events


def of(events: list[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def act(act: s.Act) -> At:
    return At(0, False, act)


# --- modes --------------------------------------------------------------------------------------------


def watch(direction: trace.Direction, trigger: trace.Trigger, *body: s.Do) -> s.Watch:
    return s.Watch(0, direction, 9, body, trigger)


def test_an_edge_triggered_handler_that_has_seen_eagain_is_left_and_another_re_arms(other: Hand) -> None:
    drains = Scenario(1, False, False, (watch("read", "edge", s.Take(0, 9), s.Take(0, 9)),), ())
    sends = (act(s.Send(0, 3)),)
    events = run(other, RefloopLoop, Scenario(1, False, False, drains.program, sends))
    assert (len(of(events, trace.Drained)), len(of(events, trace.Rearm))) == (1, 0)
    takes_one = (watch("read", "edge", s.Take(0, 1)),)
    events = run(other, RefloopLoop, Scenario(1, False, False, takes_one, sends))
    assert [event.data for event in of(events, trace.Read)] == [b"a", b"b", b"c"]
    assert (len(of(events, trace.Drained)), len(of(events, trace.Rearm))) == (0, 3)


def test_a_one_shot_writer_has_had_its_turn_and_the_reader_is_armed_by_the_kernel_s_account(
    other: Hand,
) -> None:
    program = (watch("read", "one-shot", s.Take(0, 9)), watch("write", "one-shot"))
    events = run(other, RefloopLoop, Scenario(1, False, False, program, ()))
    assert [event.registration for event in of(events, trace.Dispatch)] == [1]
    (interest,) = of(events, trace.Interest)
    assert (bool(interest.mask & 1), bool(interest.mask & 4)) == (True, False)


def test_a_loop_without_modes_is_asked_for_none(other: Hand) -> None:
    events = run(other, AsyncioLoop, Scenario(1, False, False, (watch("read", "edge"),), ()))
    assert of(events, trace.Arm) == []
    assert of(events, trace.Triggered) == []


# --- connects -----------------------------------------------------------------------------------------


def opens(host: s.Host, *script: At) -> Scenario:
    return Scenario(0, False, False, (s.Spawn((s.Open(host),)),), script)


@pytest.mark.parametrize("make", LOOPS)
@pytest.mark.parametrize(
    ("host", "how", "settled"),
    [
        ("listening", None, [("value", None)]),
        ("listening", "send", [("value", None)]),
        ("listening", "leave", [("value", None)]),
        ("listening", "reset", [("error", "ECONNRESET")]),
        ("refusing", None, [("error", "ECONNREFUSED")]),
        ("silent", None, []),
    ],
)
def test_a_connect_ends_as_its_host_has_it(
    other: Hand,
    make: MakeLoop,
    host: s.Host,
    how: s.Welcome | None,
    settled: list[tuple[str, str | None]],
) -> None:
    """Given what a host does, when it does so between the answer and the loop's look, wherever that is, then
    so the connect ends."""
    program = (s.Spawn((s.Open(host),)),)
    scripts = [() if how is None else (At(gap, False, s.Greet(0, how)),) for gap in range(6)]
    runs = [run(other, make, Scenario(0, False, False, program, script)) for script in scripts]
    assert settled in [
        [(event.outcome, event.error) for event in of(events, trace.DialSettle)] for events in runs
    ]


# --- a listener without descriptors -------------------------------------------------------------------


def test_a_listener_without_descriptors_says_what_the_kernel_says_and_its_clients_wait() -> None:
    told: list[str | None] = []
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ToldListener(told.append, roomy=False) as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(listener.getsockname())
        listener.exhausted = True
        with pytest.raises(OSError, match="Too many open files") as failure:
            listener.accept()
        assert failure.value.errno == errno.EMFILE
        rests = listener.resting
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
        listener.exhausted = False
        connection, _ = listener.accept()
        connection.close()
        with pytest.raises(BlockingIOError):
            listener.accept()
        assert (rests, listener.resting) == (True, False)
    assert told == ["EMFILE", None, "EAGAIN"]


@pytest.mark.parametrize("make", LOOPS)
def test_every_shortage_ends_and_who_has_waited_is_served(other: Hand, make: MakeLoop) -> None:
    script = (act(s.Exhaust()), act(s.Connect()), act(s.Send(0, 3)))
    events = run(other, make, Scenario(0, False, True, (), script))
    errors = [event.error for event in of(events, trace.Accept)]
    assert errors[0] == "EMFILE"
    assert None in errors
    assert len(of(events, trace.Exhausted)) == len(of(events, trace.Relieved)) == 1
    assert trace.Receive(0, b"abc") in events


@pytest.mark.parametrize("make", LOOPS)
def test_a_flood_passes_the_cap_of_a_turn_and_comes_back_whole(other: Hand, make: MakeLoop) -> None:
    events = run(other, make, Scenario(1, False, True, (), (act(s.Flood(0, 400_000)),)))
    (sent,) = of(events, trace.Send)
    assert len(sent.data) > 262_144
    assert b"".join(event.data for event in of(events, trace.Receive)) == sent.data


# --- buffers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", LOOPS)
def test_what_a_loop_holds_is_what_the_kernel_has_not_been_given(other: Hand, make: MakeLoop) -> None:
    """Given a client that reads nothing, when more is written than its socket holds, then the loop holds the
    rest, and the next write is not accepted."""
    writes = s.Spawn((s.WriteBuffered(0, 9_000), s.WriteBuffered(0, 9_000)))
    events = run(other, make, Scenario(1, False, False, (writes,), (act(s.StopReading(0)),)))
    assert [event.mark for event in of(events, trace.HighWater)] == [MARK]
    (write,) = of(events, trace.Write)
    held = {event.held for event in of(events, trace.Buffered)}
    assert len(held) == 1
    assert MARK < held.pop() < len(write.data)

"""Lockstep: the same scenario gives the same trace, and of the kernel it tells the kernel's own account."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loopspec import trace
from loopspec.conformance import scenario as s
from loopspec.conformance.adapter import World
from loopspec.conformance.campaign import MakeLoop
from loopspec.conformance.families import FAMILIES
from loopspec.conformance.lockstep import Hand, Lockstep, hand
from loopspec.conformance.loops.asyncio import AsyncioLoop
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.scenario import At, Scenario
from loopspec.trace import Event
from tests.conformance.drawn import drawn

LOOPS = (RefloopLoop, AsyncioLoop)


@pytest.fixture
def other() -> Iterator[Hand]:
    with hand() as made:
        yield made


def run(other: Hand, make: MakeLoop, scenario: Scenario) -> list[Event]:
    events: list[Event] = []
    Lockstep(other, scenario, events.append).run(make)
    return events


def asleep(act: s.Act) -> At:
    return At(0, True, act)


@pytest.mark.full
@pytest.mark.parametrize("make", LOOPS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_scenario_gives_the_same_trace(other: Hand, make: MakeLoop, family: str) -> None:
    """But for asyncio's threads: whether starting one suspends its loop is the scheduler's affair."""
    by_chance = (
        trace.Suspend("loop") if make is AsyncioLoop and "WORK" in FAMILIES[family].exercises else None
    )

    def steady(scenario: Scenario) -> list[Event]:
        return [event for event in run(other, make, scenario) if event != by_chance]

    for scenario in drawn(FAMILIES[family].scenarios, 12, seed=5):
        first = steady(scenario)
        assert all(steady(scenario) == first for _ in range(3)), s.token_of(scenario)


@pytest.mark.full
@pytest.mark.parametrize("make", LOOPS)
def test_every_run_gives_back_descriptors_threads_and_memory_of_streams(other: Hand, make: MakeLoop) -> None:
    scenarios = [each for family in FAMILIES.values() for each in drawn(family.scenarios, 8, seed=6)]
    run(other, make, scenarios[0])
    gc.collect()
    held = open_descriptors(), threading.active_count()
    for scenario in scenarios:
        run(other, make, scenario)
    gc.collect()
    assert (open_descriptors(), threading.active_count()) == held


def test_threads_that_were_there_before_are_not_the_loops() -> None:
    """A test runner has some, for one that runs tests on several processors."""
    (scenario,) = drawn(FAMILIES["wakeups"].scenarios, 1, seed=7)
    leave = threading.Event()
    stranger = threading.Thread(target=leave.wait)
    stranger.start()
    try:
        with hand() as made:
            told = run(made, RefloopLoop, scenario)
    finally:
        leave.set()
        stranger.join()
    assert {event.threads for event in told if isinstance(event, trace.Threads)} == {2}


@pytest.mark.parametrize("make", LOOPS)
def test_an_act_while_the_loop_sleeps_falls_into_a_sleep_of_its_thread(other: Hand, make: MakeLoop) -> None:
    """Given a loop with nothing to do, when a post is set for its sleep, then the thread was switched out."""
    before = suspensions()
    events = run(other, make, Scenario(0, False, False, (), (asleep(s.Post(1, ())),)))
    assert suspensions() > before
    posted = next(place for place, event in enumerate(events) if isinstance(event, trace.Post))
    assert isinstance(events[posted - 3], trace.Suspend)
    assert trace.Run(events[posted + 1].turn, 1) in events  # type: ignore[union-attr]


def test_an_act_that_wakes_nobody_leaves_the_loop_asleep(other: Hand) -> None:
    """Given a stream nobody waits for, when its client sends, then the loop is told to sleep on."""
    events = run(other, RefloopLoop, Scenario(1, False, False, (), (asleep(s.Send(0, 1)),)))
    sent = events.index(trace.Send(0, b"a"))
    assert events[sent - 1] == events[sent + 1] == trace.Suspend("loop")


class _Interfered(RefloopLoop):
    """refloop, in whose callbacks something happens that the loop's thread may not do."""

    @staticmethod
    def interfere() -> None:
        raise NotImplementedError

    def __init__(self, world: World) -> None:
        super().__init__(world)
        queue = self.call_soon

        def call_soon(callback: Callable[[], None]) -> object:
            return queue(self._first(callback))

        self.call_soon = call_soon  # type: ignore[assignment]

    def _first(self, callback: Callable[[], None]) -> Callable[[], None]:
        def both() -> None:
            self.interfere()
            callback()

        return both


SOON = Scenario(0, False, False, (s.Soon(()),), ())


def test_a_callback_that_is_suspended_is_told_of(other: Hand) -> None:
    class Suspended(_Interfered):
        @staticmethod
        def interfere() -> None:
            threading.Event().wait(0.0001)

    events = run(other, Suspended, SOON)
    told = events.index(trace.Suspend("loop"))
    assert isinstance(events[told + 1], trace.WaitBegin)
    assert trace.Suspend("loop") not in run(other, RefloopLoop, SOON)[: told + 1]


@pytest.mark.full
def test_a_callback_that_is_suspended_for_ever_is_broken_off(other: Hand) -> None:
    ours, theirs = socket.socketpair()

    class Blocked(_Interfered):
        @staticmethod
        def interfere() -> None:
            ours.recv(1)

    with ours, theirs:
        events = run(other, Blocked, SOON)
    assert events[-2:] == [trace.Suspend("loop"), trace.Hang("loop")]
    assert not any(isinstance(event, trace.Quiescent) for event in events)


def test_time_passes_only_by_what_the_loop_asks_for_or_a_handler_works(other: Hand) -> None:
    program = (s.Later(3, ()), s.Work(1))
    events = run(other, RefloopLoop, Scenario(0, False, False, program, ()))
    (fired,) = (event for event in events if isinstance(event, trace.TimerFire))
    (armed,) = (event for event in events if isinstance(event, trace.TimerArm))
    waits = [event for event in events if isinstance(event, trace.WaitBegin)]
    assert armed.deadline == armed.at + 3 * s.TICK
    # Two ticks are left, which are less than four milliseconds: what the poller's unit rounds them up to.
    assert waits[1].timeout == 4_000_000
    assert fired.at == armed.at + s.TICK + 4_000_000


def open_descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def suspensions() -> int:
    status = Path(f"/proc/self/task/{threading.get_native_id()}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


@pytest.mark.full
def test_a_post_that_is_suspended_for_ever_is_broken_off_and_told_of_the_poster(other: Hand) -> None:
    ours, theirs = socket.socketpair()

    class Blocked(RefloopLoop):
        def __init__(self, world: World) -> None:
            super().__init__(world)

            def post(_: Callable[[], None]) -> object:
                return ours.recv(1)

            self.post = post  # type: ignore[assignment]

    before = set(threading.enumerate())
    with ours, theirs:
        events = run(other, Blocked, Scenario(0, False, False, (), (At(0, False, s.Post(1, ())),)))
        assert events[-2:] == [trace.Suspend("hand"), trace.Hang("hand")]
        assert run(other, RefloopLoop, SOON)[-1] == trace.Quiescent(2)
    for abandoned in before - {threading.current_thread()}:
        abandoned.join()

"""The crew: who rests and who does not is the kernel's word, and workers go on when they are told to."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopspec import trace
from loopspec.conformance import scenario as s
from loopspec.conformance.campaign import MakeLoop
from loopspec.conformance.crew import settle
from loopspec.conformance.lockstep import Hand, Lockstep, hand
from loopspec.conformance.loops.asyncio import AsyncioLoop
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.scenario import At, Scenario
from loopspec.trace import Event

LOOPS = (RefloopLoop, AsyncioLoop)
HELD = s.Spawn((s.ToThread((s.Block(),)),))


@pytest.fixture
def other() -> Iterator[Hand]:
    with hand() as made:
        yield made


def run(other: Hand, make: MakeLoop, scenario: Scenario) -> list[Event]:
    events: list[Event] = []
    Lockstep(other, scenario, events.append).run(make)
    return events


def jobs(events: list[Event]) -> list[Event]:
    """What the workers do."""
    return [event for event in events if isinstance(event, (trace.JobStart, trace.JobEnd))]


@pytest.mark.parametrize("steps", [1, 2000])
@pytest.mark.parametrize("interval", [1000.0, sys.getswitchinterval()])
def test_all_that_others_have_begun_is_done_when_they_rest(steps: int, interval: float) -> None:
    """Given threads that wake each other and let go of the interpreter again and again, however long it takes
    them, then nobody is on the way any more."""
    done: list[int] = []
    gates = [threading.Semaphore(0) for _ in range(4)]

    def work(number: int) -> None:
        gates[number].acquire()
        for step in range(steps):
            Path("/").stat()
            done.append(step)
        if number + 1 < len(gates):
            gates[number + 1].release()
        threading.Semaphore.acquire(end)

    end = threading.Semaphore(0)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(gates))]
    for thread in threads:
        thread.start()
    before = sys.getswitchinterval()
    sys.setswitchinterval(interval)
    try:
        gates[0].release()
        settle()
        assert len(done) == len(gates) * steps
    finally:
        sys.setswitchinterval(before)
        end.release(len(gates))
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("make", LOOPS)
@pytest.mark.parametrize("asleep", [False, True])
def test_the_script_says_which_worker_is_done_first(other: Hand, make: MakeLoop, asleep: bool) -> None:
    script = (At(3, asleep, s.Unblock(1)), At(0, asleep, s.Unblock(0)))
    events = run(other, make, Scenario(0, False, False, (HELD, HELD), script, workers=2))
    assert jobs(events) == [
        trace.JobStart(0, "worker 0"),
        trace.JobStart(1, "worker 1"),
        trace.JobEnd(1, "worker 1", "value", "value of job 1"),
        trace.JobEnd(0, "worker 0", "value", "value of job 0"),
    ]


@pytest.mark.parametrize("make", LOOPS)
def test_a_worker_that_is_held_is_told_to_be_suspended_and_the_loop_is_not(
    other: Hand, make: MakeLoop
) -> None:
    events = run(other, make, Scenario(0, False, False, (s.Submit((s.Block(),)),), (), workers=1))
    begun = events.index(trace.JobStart(0, "worker 0"))
    assert events[begun + 1] == trace.Suspend("worker 0")
    # Only in its wait, that is; before it asyncio's is, in submitting, which is another's claim.
    first_wait = next(
        place for place in range(begun, len(events)) if isinstance(events[place], trace.WaitBegin)
    )
    first_sleep = events.index(trace.Suspend("loop"), first_wait)
    assert first_sleep < events.index(trace.Resume("worker 0"))
    assert isinstance(events[first_sleep - 1], trace.TimersHeld | trace.Objects)


@pytest.mark.parametrize("make", LOOPS)
def test_jobs_that_the_script_has_left_are_released_by_the_world(other: Hand, make: MakeLoop) -> None:
    events = run(other, make, Scenario(0, False, False, (HELD, HELD), (), workers=1))
    assert sum(isinstance(event, trace.JobEnd) for event in events) == 2
    assert isinstance(events[-1], trace.Quiescent)


def test_without_workers_nobody_works(other: Hand) -> None:
    program = (HELD, s.Submit(()), s.HandleOnWorkers(0, 1))
    assert jobs(run(other, RefloopLoop, Scenario(1, False, False, program, ()))) == []


def test_a_worker_that_dies_is_told_of(other: Hand) -> None:
    class Dies(RefloopLoop):
        """refloop, whose submit starts a thread that lets out what the job raises."""

        def submit(self, function: object, done: object) -> object:
            assert callable(function)
            thread = threading.Thread(target=function, daemon=True)
            thread.start()
            return thread

    events = run(other, Dies, Scenario(0, False, False, (s.Submit((s.Fail(),)),), (), workers=1))
    assert trace.Uncaught("worker 0", "BoomError") in events


def test_a_token_from_before_there_were_workers_still_tells_its_scenario() -> None:
    packed = s._pack(Scenario(1, False, False, (s.Soon(()),), ()))
    assert isinstance(packed, list)
    assert s._unpack(packed[:-1]) == Scenario(1, False, False, (s.Soon(()),), ())

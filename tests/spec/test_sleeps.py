"""Which suspension is the loop's sleep: one of its own thread, in a wait that has begun and not returned.

Several rules say what the loop must not sleep on. Each is shown a run in which it sleeps on that, and then
the same run with another thread suspended, with the loop's thread suspended in a turn (which is
LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT's), and with something told of between the wait's begin and the sleep.
"""

from __future__ import annotations

import pytest

from loopspec.trace import (
    Arm,
    Await,
    Close,
    Disarm,
    Dispatch,
    Event,
    HandlerEnd,
    Leave,
    Read,
    Report,
    Send,
    Signal,
    Snatch,
    StaleDisarm,
    Step,
    Suspend,
    WaitBegin,
    WaitReturn,
)
from tests.spec.judging import judge

IN = 1
ASLEEP = Suspend("loop")
WAIT = WaitBegin(1, None)
RETURN = WaitReturn(2, 0, (), 8)
ARMED = Arm(0, 0, 0, 0, "read")
SENT = Send(0, b"a")
HINT = "LOOP.DISPATCH.EVENT_IS_A_HINT"

THREE_WAIT = Await(1, 0, "read", 0), Await(1, 7, "write", 0), Await(1, 6, "read", 6)

SLEPT_ON: dict[str, tuple[Event, ...]] = {
    "LOOP.HANDLER.ERROR_CONTAINED": (
        *(
            ARMED,
            WaitReturn(1, 0, ((0, IN),), 8),
            Dispatch(1, 0, 0),
            HandlerEnd(1, "Boom"),
            Report(1, "Boom"),
        ),
        *(WAIT, SENT),
    ),
    "LOOP.WAITER.ONE_PER_DIRECTION": (Await(1, 0, "read", 0), Await(1, 1, "read", 0), WAIT),
    "LOOP.CLOSE.SETTLES_WAITERS": (*THREE_WAIT, Close(1, 0, 0), WAIT),
    "LOOP.HUP.NEVER_DISCARDS": (*THREE_WAIT, Leave(0), WAIT),
    "LOOP.DISARM.BY_REGISTRATION": (ARMED, StaleDisarm(1, 9, 0, refused=True), WAIT, SENT),
    HINT: (Snatch(1, 0, 0), WAIT, SENT),
    "WAKE.SIGNAL.NOT_LOST": (WAIT, Signal(1)),
}
"""By clause: what comes before the sleep."""

ELSEWHERE: tuple[Event, ...] = (
    Arm(1, 7, 7, 7, "read"),
    Disarm(1, 7, 7),
    Step(1, 6, 0),
    Step(1, 7, 0),
    Await(1, 7, "read", 7),
    Read(1, 7, b"a"),
    Send(7, b"a"),
)
"""What has nothing to do with it, or at most with one of two who are slept on."""


@pytest.mark.parametrize("clause", SLEPT_ON)
def test_the_loops_thread_sleeps_where_it_is_suspended_in_its_wait(clause: str) -> None:
    trace = SLEPT_ON[clause]
    assert [each.position for each in judge(clause, *trace, ASLEEP).violations] == [len(trace)]
    assert judge(clause, *trace, Suspend("another")).violations == []
    assert judge(clause, *trace, RETURN, ASLEEP).violations == []
    unbegun = [event for event in trace if event != WAIT]
    assert judge(clause, *unbegun, ASLEEP).violations == []


@pytest.mark.parametrize("clause", SLEPT_ON)
@pytest.mark.parametrize("besides", ELSEWHERE, ids=lambda event: type(event).__name__)
def test_what_is_told_of_while_the_loop_waits_does_not_end_its_wait(clause: str, besides: Event) -> None:
    if clause == HINT and isinstance(besides, Disarm):
        return  # whose wait it ends is not told
    trace = *SLEPT_ON[clause], besides, ASLEEP
    assert [each.position for each in judge(clause, *trace).violations] == [len(trace) - 1]

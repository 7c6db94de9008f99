"""LOOP: the wait, clean-up and readers that come late, ghosts, and whose the loop is."""

from __future__ import annotations

import pytest

from loopspec.trace import (
    Abandon,
    Arm,
    Await,
    CancelRequest,
    Close,
    Connect,
    Disarm,
    Dispatch,
    Enqueue,
    Event,
    Fork,
    HandlerEnd,
    Interrupted,
    Leave,
    Quiescent,
    Read,
    Refuse,
    RpcCall,
    RpcSettle,
    Run,
    ScopeCancel,
    ScopeEnter,
    ScopeExit,
    Send,
    Signal,
    Snatch,
    Spawn,
    StaleDisarm,
    Step,
    Suspend,
    TimerArm,
    TimerCancel,
    TimerFire,
    Trespass,
    WaitBegin,
    WaitReturn,
    Worked,
)
from tests.spec.judging import exercised, judge, refusal, refused

TIMEOUT = "LOOP.WAIT.TIMEOUT"
EARLY = "LOOP.WAIT.EARLY_RETURN_MOVES_NOTHING"
STALE = "LOOP.DISARM.BY_REGISTRATION"
CONSUMER = "LOOP.HUP.HAS_A_CONSUMER"
BEHIND = "LOOP.CLOSE.BEHIND_THE_BACK"
HINT = "LOOP.DISPATCH.EVENT_IS_A_HINT"
FORK = "LOOP.FORK.REFUSED"
OWNED = "LOOP.THREAD.OWNED"

MS = 1_000_000
IN, HUP = 1, 16
ASLEEP = Suspend("loop")


def timer(number: int, delay: int, *, turn: int = 1, at: int = 0) -> TimerArm:
    return TimerArm(turn, number, at, delay, at + delay)


def returned(turn: int, at: int = 0, *batch: tuple[int, int]) -> WaitReturn:
    return WaitReturn(turn, at, batch, 8)


# --- the timeout ----------------------------------------------------------------------------------------


@pytest.mark.clause(TIMEOUT, "ab1a5da0")
@pytest.mark.parametrize(
    "trace",
    [
        (WaitBegin(1, None),),
        (Enqueue(1, 0), WaitBegin(1, 0)),
        (Spawn(1, 0), WaitBegin(1, 0)),
        (Spawn(1, 0), Step(1, 0, 0), Await(1, 0, "checkpoint", 0), WaitBegin(1, 0)),
        (Spawn(1, 0), Step(1, 0, 0), Await(1, 0, "sleep", MS), WaitBegin(1, MS)),
        (timer(0, MS + 1), WaitBegin(1, 2 * MS)),
        (timer(0, MS), WaitBegin(1, 2 * MS)),
        (timer(0, 5 * MS), timer(1, 3 * MS), WaitBegin(1, 3 * MS)),
        (timer(0, 3 * MS), Worked(1, MS), WaitBegin(1, 2 * MS)),
        (timer(0, 3 * MS), Worked(1, 4 * MS), WaitBegin(1, 0)),
        (timer(0, MS), TimerCancel(1, 0, False), WaitBegin(1, None)),
        (ScopeEnter(1, 0, 0, 3 * MS), WaitBegin(1, 3 * MS)),
        (ScopeEnter(1, 0, 0, MS), ScopeExit(1, 0, 0, False, False), WaitBegin(1, None)),
        (ScopeEnter(1, 0, 0), WaitBegin(1, None)),
        (timer(0, 2**52), WaitBegin(1, (2**31 - 1) * MS)),
    ],
    ids=[
        "no timer",
        "a callback",
        "a new task",
        "a checkpoint",
        "a sleep",
        "rounded up",
        "rounded up twice",
        "the earliest",
        "time has passed",
        "overdue",
        "cancelled",
        "a scope's deadline",
        "a scope that has ended",
        "a scope without a deadline",
        "the poller's maximum",
    ],
)
def test_a_timeout_that_fits_what_is_to_come_is_kept(trace: tuple[Event, ...]) -> None:
    assert exercised(TIMEOUT, *trace) == 1


@pytest.mark.clause(TIMEOUT, "ab1a5da0")
@pytest.mark.parametrize(
    ("trace", "allowed", "observed"),
    [
        ((WaitBegin(1, MS),), "a wait without end: no timer is armed", f"a wait for {MS} ns"),
        (
            (Enqueue(1, 0), WaitBegin(1, None)),
            "a wait with timeout 0: something is ready to run",
            "a wait without end",
        ),
        (
            (timer(0, 2 * MS), WaitBegin(1, MS)),
            f"a wait for {2 * MS} ns, until the earliest timer",
            f"a wait for {MS} ns",
        ),
        (
            (timer(0, 2 * MS), WaitBegin(1, None)),
            f"a wait for {2 * MS} ns, until the earliest timer",
            "a wait without end",
        ),
        (
            (timer(0, 2 * MS), WaitBegin(1, 4 * MS)),
            f"a wait for {2 * MS} ns, until the earliest timer",
            f"a wait for {4 * MS} ns",
        ),
        (
            (Worked(1, 3 * MS), timer(0, 2 * MS), WaitBegin(1, MS)),
            "a wait with timeout 0: something is ready to run",
            f"a wait for {MS} ns",
        ),
    ],
    ids=["for nothing", "on a callback", "rounded down", "past a timer", "too far", "on a due timer"],
)
def test_a_timeout_that_does_not_fit_is_refused(
    trace: tuple[Event, ...], allowed: str, observed: str
) -> None:
    assert refused(TIMEOUT, *trace) == refusal(TIMEOUT, trace, len(trace) - 1, allowed, observed)


@pytest.mark.clause(TIMEOUT, "ab1a5da0")
def test_a_loop_may_poll_for_steps_of_its_own_and_not_for_ever() -> None:
    poll = WaitBegin(1, 0), returned(2)
    assert exercised(TIMEOUT, *poll * 8, WaitBegin(9, None)) == 1
    trace = (*poll * 8, WaitBegin(9, 0))
    assert refused(TIMEOUT, *trace) == refusal(
        TIMEOUT,
        trace,
        16,
        "a wait with a timeout: nothing is ready to run",
        "9 waits with timeout 0 in a row",
    )


POLL = WaitBegin(1, 0), returned(2)
SCOPE = ScopeEnter(1, 0, 0, 0), ScopeExit(1, 0, 0, False, False)


@pytest.mark.clause(TIMEOUT, "ab1a5da0")
@pytest.mark.parametrize(
    "between",
    [
        (Step(1, 0, 0),),
        (Step(1, 0, 1),),
        (Enqueue(1, 0), Run(1, 0)),
        (Run(1, 0),),
        (timer(0, MS), TimerCancel(1, 0, False)),
        (timer(0, MS), TimerFire(1, 0, 0)),
        (WaitBegin(1, 0), returned(2, 0, (0, IN))),
        (CancelRequest(1, 0),),
        (Signal(1),),
        (RpcCall(1, 0, 0, "coroutine", "loop", 0, MS), RpcSettle(1, 0, 0, 0, "reply", "")),
        (WaitBegin(1, None), returned(2)),
        (SCOPE[0], WaitBegin(1, 0), returned(2), SCOPE[1]),
    ],
    ids=[
        *("a step", "a step later", "a callback", "a callback not told of", "a timer cancelled", "a timer"),
        *("a report", "a request", "a signal", "a remote call", "a sleep", "a poll for what is ready"),
    ],
)
def test_what_shows_that_something_was_ready_ends_a_row_of_polls(between: tuple[Event, ...]) -> None:
    row = *POLL * 7, *between, *POLL * 8
    assert judge(TIMEOUT, *row).violations == []
    assert [each.position for each in judge(TIMEOUT, *row, *POLL * 10).violations] == [
        len(row),
        len(row) + 18,
    ]


@pytest.mark.clause(TIMEOUT, "ab1a5da0")
def test_a_row_of_polls_that_is_too_long_is_said_and_nothing_is_forgotten() -> None:
    row = timer(0, MS, at=0), *POLL * 9
    assert [each.position for each in judge(TIMEOUT, *row, WaitBegin(9, None)).violations] == [17, 19]


@pytest.mark.clause(TIMEOUT, "ab1a5da0")
@pytest.mark.parametrize(
    "trace",
    [
        (timer(0, 3 * MS), Step(1, 9, 2 * MS), WaitBegin(1, MS)),
        (Await(1, 0, "sleep", MS), Step(2, 0, 0), WaitBegin(2, None)),
        (
            RpcCall(1, 0, 0, "coroutine", "loop", 0, MS),
            RpcSettle(1, 0, 0, 0, "reply", ""),
            WaitBegin(1, None),
        ),
    ],
    ids=["a step tells the time", "a sleep is over", "a remote call is over"],
)
def test_the_wait_is_for_what_is_still_to_come(trace: tuple[Event, ...]) -> None:
    assert exercised(TIMEOUT, *trace) == 1


@pytest.mark.clause(TIMEOUT, "ab1a5da0")
def test_what_has_run_or_is_cancelled_is_waited_for_no_more() -> None:
    ran = Enqueue(1, 0), WaitBegin(1, 0), returned(2), Run(2, 0), WaitBegin(2, None)
    assert exercised(TIMEOUT, *ran) == 2
    asked = Await(1, 0, "sleep", MS), CancelRequest(1, 0), WaitBegin(1, 0)
    assert exercised(TIMEOUT, *asked) == 0
    scope = ScopeEnter(1, 0, 0, MS), ScopeCancel(1, 0, 0, due=False)
    assert exercised(TIMEOUT, *scope, WaitBegin(1, None), returned(2), WaitBegin(2, MS)) == 0


@pytest.mark.clause(TIMEOUT, "ab1a5da0")
def test_an_echo_server_may_have_timers_of_its_own() -> None:
    assert exercised(TIMEOUT, Connect(0, echo=True), WaitBegin(1, MS)) == 0


# --- the early return -----------------------------------------------------------------------------------

CUT = timer(0, 4 * MS), WaitBegin(1, 4 * MS), Interrupted(1), returned(2, 2 * MS)


@pytest.mark.clause(EARLY, "348f324e")
def test_a_wait_that_goes_on_to_the_same_instant_is_kept() -> None:
    assert exercised(EARLY, *CUT, WaitBegin(2, 2 * MS), returned(3, 4 * MS), TimerFire(3, 0, 4 * MS)) == 1
    assert exercised(EARLY, WaitBegin(1, None), Interrupted(1), returned(2), WaitBegin(2, None)) == 1


@pytest.mark.clause(EARLY, "348f324e")
@pytest.mark.parametrize("rounded", [0, 1, 2 * MS - 1, 2 * MS])
def test_a_wait_that_goes_on_may_be_rounded(rounded: int) -> None:
    assert len(judge(EARLY, *CUT, WaitBegin(2, 2 * MS + rounded)).violations) == (rounded == 2 * MS)


@pytest.mark.clause(EARLY, "348f324e")
def test_a_timer_that_is_armed_while_the_loop_waits_does_not_change_that_wait() -> None:
    assert exercised(EARLY, *CUT[:2], timer(1, 9 * MS), *CUT[2:], WaitBegin(2, 2 * MS)) == 1


@pytest.mark.clause(EARLY, "348f324e")
def test_a_wait_that_begins_anew_is_refused() -> None:
    trace = (*CUT, WaitBegin(2, 4 * MS))
    assert refused(EARLY, *trace) == refusal(
        EARLY,
        trace,
        4,
        f"after an early return a wait that reaches to {4 * MS} ns, as that one did",
        f"it reaches to {6 * MS} ns",
    )


@pytest.mark.clause(EARLY, "348f324e")
def test_a_wait_that_forgets_its_end_is_refused() -> None:
    trace = (*CUT, WaitBegin(2, None))
    assert refused(EARLY, *trace).observed == "it reaches to no instant"


@pytest.mark.clause(EARLY, "348f324e")
def test_a_timer_that_fires_because_a_wait_was_cut_short_is_refused() -> None:
    trace = (*CUT, TimerFire(2, 0, 2 * MS))
    assert refused(EARLY, *trace) == refusal(
        EARLY,
        trace,
        4,
        f"timer 0 fires no earlier than its deadline, {4 * MS} ns, although a wait was cut short",
        f"it fired at {2 * MS} ns",
    )


@pytest.mark.clause(EARLY, "348f324e")
@pytest.mark.parametrize(
    "other",
    [
        Run(2, 0),
        timer(1, MS, turn=2, at=2 * MS),
        TimerCancel(2, 0, False),
        Worked(2, 3 * MS),
        RpcSettle(2, 0, 0, 2 * MS, "timeout", ""),
    ],
    ids=["a callback", "another timer", "a cancellation", "work", "the time-out of a remote call"],
)
def test_what_happens_after_an_early_return_may_change_the_next_wait(other: Event) -> None:
    assert exercised(EARLY, *CUT, other, WaitBegin(2, MS)) == 0


# --- late disarm ----------------------------------------------------------------------------------------

FIRST, SECOND = Arm(1, 0, 0, 0, "read"), Arm(1, 1, 0, 1, "read")
SUCCEEDED = FIRST, Disarm(1, 0, 0), SECOND, StaleDisarm(1, 0, 0, refused=False)


@pytest.mark.clause(STALE, "38e42377")
def test_a_successor_that_is_served_after_a_stale_disarm_is_kept() -> None:
    assert exercised(STALE, *SUCCEEDED, WaitBegin(1, None), Send(1, b"a"), Dispatch(2, 1, 0)) == 1


@pytest.mark.clause(STALE, "38e42377")
def test_a_successor_that_a_stale_disarm_has_hit_is_refused() -> None:
    trace = (*SUCCEEDED, WaitBegin(1, None), Send(1, b"a"), ASLEEP)
    assert refused(STALE, *trace) == refusal(
        STALE,
        trace,
        6,
        "registration 1 is untouched by the stale disarm of another",
        "its client 1 has sent since, and the loop sleeps",
    )


@pytest.mark.clause(STALE, "38e42377")
@pytest.mark.parametrize(
    "end",
    [Disarm(1, 1, 0), Close(1, 0, 1), Abandon(1, 0, 1), Read(1, 1, b"a")],
    ids=["disarmed", "closed", "abandoned", "read"],
)
def test_a_successor_that_has_ended_or_has_been_read_may_be_slept_on(end: Event) -> None:
    assert exercised(STALE, *SUCCEEDED, Send(1, b"a"), end, WaitBegin(1, None), ASLEEP) == 0


@pytest.mark.clause(STALE, "38e42377")
def test_a_number_that_was_closed_has_no_successor_to_be_hit() -> None:
    stale = StaleDisarm(1, 9, 0, refused=False)
    assert exercised(STALE, FIRST, Close(1, 0, 0), stale, WaitBegin(1, None), Send(0, b"a"), ASLEEP) == 0


@pytest.mark.clause(STALE, "38e42377")
def test_each_successor_that_is_hit_is_said_once() -> None:
    other = Arm(1, 2, 2, 2, "read"), StaleDisarm(1, 9, 2, refused=False)
    sent = WaitBegin(1, None), Send(1, b"a"), Send(2, b"a")
    trace = *SUCCEEDED, *other, *sent, ASLEEP, ASLEEP, ASLEEP
    assert [each.position for each in judge(STALE, *trace).violations] == [9, 10]


# --- events without a consumer --------------------------------------------------------------------------


@pytest.mark.clause(CONSUMER, "d26c094c")
def test_a_hang_up_that_is_reported_once_is_kept() -> None:
    assert exercised(CONSUMER, returned(1, 0, (0, HUP)), WaitBegin(1, None), returned(2)) == 1


@pytest.mark.clause(CONSUMER, "d26c094c")
def test_a_hang_up_that_nobody_takes_and_that_is_reported_on_and_on_is_refused() -> None:
    trace = [returned(turn, 0, (0, HUP)) for turn in range(1, 10)]
    assert refused(CONSUMER, *trace) == refusal(
        CONSUMER,
        trace,
        8,
        "descriptor 0, whose events nobody consumes, leaves the interest set",
        "9 waits in a row have reported it",
    )


@pytest.mark.clause(CONSUMER, "d26c094c")
@pytest.mark.parametrize(
    "consumer",
    [FIRST, Step(5, 0, 0), Await(5, 0, "read", 0), Refuse(5, 0, 0, 0, "read", "E"), Close(5, 0, 0)],
    ids=["armed", "a step", "a wait", "a refusal", "closed"],
)
def test_who_comes_for_an_event_may_hear_of_it_again(consumer: Event) -> None:
    before = [returned(turn, 0, (0, HUP)) for turn in range(1, 6)]
    after = [returned(turn, 0, (0, HUP)) for turn in range(6, 11)]
    assert exercised(CONSUMER, *before, consumer, *after) == 0


@pytest.mark.clause(CONSUMER, "d26c094c")
def test_a_registration_that_is_disarmed_consumes_nothing() -> None:
    reports = [returned(turn, 0, (0, HUP)) for turn in range(1, 10)]
    assert refused(CONSUMER, FIRST, Disarm(1, 0, 0), *reports).position == 10
    assert exercised(CONSUMER, FIRST, *reports) == 0


@pytest.mark.clause(CONSUMER, "d26c094c")
def test_after_nine_reports_the_count_of_that_number_begins_anew_and_no_other() -> None:
    one = [returned(turn, 0, (0, HUP)) for turn in range(1, 5)]
    both = [returned(turn, 0, (0, HUP), (1, HUP), (2, IN)) for turn in range(5, 19)]
    trace: tuple[Event, ...] = (Arm(1, 2, 2, 2, "read"), *one, *both)
    assert [each.position for each in judge(CONSUMER, *trace).violations] == [9, 13, 18]


# --- ghosts ---------------------------------------------------------------------------------------------

GHOST = Abandon(1, 0, 0)


@pytest.mark.clause(BEHIND, "972640fd")
def test_a_descriptor_that_haunts_the_loop_twice_is_kept() -> None:
    report = returned(2, 0, (0, IN)), returned(3, 0, (0, IN))
    assert exercised(BEHIND, GHOST, *report, Quiescent(4)) == 1
    assert exercised(BEHIND, GHOST, Quiescent(4)) == 0


@pytest.mark.clause(BEHIND, "972640fd")
def test_a_descriptor_that_haunts_the_loop_on_and_on_is_refused_once() -> None:
    trace: list[Event] = [GHOST, *(returned(turn, 0, (0, 1)) for turn in range(2, 7))]
    assert refused(BEHIND, *trace) == refusal(
        BEHIND,
        trace,
        3,
        "at most 2 reports of a descriptor that has been closed",
        "turn 4 brings another",
    )


@pytest.mark.clause(BEHIND, "972640fd")
def test_a_number_that_is_used_again_is_no_ghost() -> None:
    reports = [returned(turn, 0, (0, 1)) for turn in range(2, 7)]
    assert exercised(BEHIND, GHOST, SECOND, *reports, Quiescent(7)) == 0


# --- hints ----------------------------------------------------------------------------------------------

TAKEN = Send(0, b"a"), Read(1, 0, b"a"), Snatch(1, 0, 0)


@pytest.mark.clause(HINT, "f32856a0")
def test_a_wait_that_goes_on_after_a_hint_is_kept() -> None:
    assert (
        exercised(HINT, *TAKEN, WaitBegin(2, None), ASLEEP, Send(0, b"b"), returned(3), Read(3, 0, b"b")) == 1
    )


@pytest.mark.clause(HINT, "f32856a0")
def test_a_hint_that_is_taken_for_an_error_is_refused() -> None:
    trace = (*TAKEN, Refuse(2, 0, 0, 0, "read", "BlockingIOError"))
    assert refused(HINT, *trace) == refusal(
        HINT,
        trace,
        3,
        "the wait for stream 0 goes on: what was found there has been taken by another",
        "it ended with BlockingIOError",
    )


@pytest.mark.clause(HINT, "f32856a0")
def test_a_wait_that_dies_of_a_hint_is_refused() -> None:
    trace = (*TAKEN, WaitBegin(2, None), Send(0, b"b"), ASLEEP)
    assert refused(HINT, *trace) == refusal(
        HINT,
        trace,
        5,
        "the wait is alive, and is served when more comes",
        "the client has sent, and the loop sleeps",
    )


@pytest.mark.clause(HINT, "f32856a0")
@pytest.mark.parametrize("between", [(), (WaitBegin(2, None), returned(3))], ids=["at once", "a turn later"])
def test_a_second_task_may_be_refused_and_the_first_may_not(between: tuple[Event, ...]) -> None:
    assert exercised(HINT, *TAKEN, *between, Refuse(3, 1, 0, 0, "read", "Busy")) == 0
    trace = *TAKEN, *between, Refuse(3, 0, 0, 0, "read", "Again")
    assert refused(HINT, *trace).observed == "it ended with Again"


@pytest.mark.clause(HINT, "f32856a0")
@pytest.mark.parametrize(
    "end",
    [Disarm(2, 0, 0), CancelRequest(2, 0), Close(2, 0, 0), Leave(0)],
    ids=["disarmed", "cancelled", "closed", "left"],
)
def test_a_wait_that_has_ended_owes_nothing_after_a_hint(end: Event) -> None:
    assert exercised(HINT, *TAKEN, end, WaitBegin(2, None), Send(0, b"b"), ASLEEP) == 0


# --- whose the loop is ----------------------------------------------------------------------------------


@pytest.mark.clause(FORK, "ac1363e5")
def test_a_child_that_is_refused_and_changes_nothing_is_kept() -> None:
    assert exercised(FORK, Fork(1, refused=True, unchanged=True)) == 1


@pytest.mark.clause(FORK, "ac1363e5")
@pytest.mark.parametrize(
    ("fork", "observed"),
    [
        (Fork(1, refused=False, unchanged=True), "a call was let in"),
        (Fork(1, refused=True, unchanged=False), "the interest set has changed"),
    ],
    ids=["let in", "changed"],
)
def test_a_child_that_is_let_in_or_changes_the_interest_set_is_refused(fork: Fork, observed: str) -> None:
    assert refused(FORK, fork) == refusal(
        FORK, [fork], 0, "the calls of a forked child raise and change nothing", observed
    )


@pytest.mark.clause(OWNED, "ff2c434a")
def test_a_thread_that_is_refused_is_kept() -> None:
    assert exercised(OWNED, Trespass(1, "a", "call_soon", refused=True)) == 1


@pytest.mark.clause(OWNED, "ff2c434a")
def test_a_thread_that_is_let_in_is_refused() -> None:
    trace = HandlerEnd(1, None), Trespass(1, "a", "call_soon", refused=False)
    assert refused(OWNED, *trace) == refusal(
        OWNED, trace, 1, "call_soon raises in a thread that is not the loop's", "a was let in"
    )

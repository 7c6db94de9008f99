"""TIMER: what a trace must show for each clause to be kept, and what breaks it."""

from __future__ import annotations

import pytest

from loopspec.trace import (
    HandlerEnd,
    TimerArm,
    TimerCancel,
    TimerFire,
    TimersHeld,
    WaitBegin,
    WaitReturn,
)
from tests.spec.judging import exercised, judge, refusal, refused

EARLY = "TIMER.FIRE.NEVER_EARLY"
CANCELLED = "TIMER.FIRE.NOT_AFTER_CANCEL"
ORDER = "TIMER.ORDER.DEADLINE_THEN_ARMING"
PHASE = "TIMER.PHASE.SNAPSHOT"
CLOCK = "TIMER.CLOCK.MONOTONIC_AT_CALL"
RETAINS = "TIMER.CANCEL.RETAINS_LITTLE"

END = HandlerEnd(1, None)


def armed(timer: int, deadline: int, *, turn: int = 0, at: int = 0) -> TimerArm:
    return TimerArm(turn, timer, at, deadline - at, deadline)


def waited(turn: int, at: int) -> WaitReturn:
    return WaitReturn(turn, at, (), 8)


@pytest.mark.clause(EARLY, "cbf5f962")
def test_a_timer_that_fires_in_the_first_turn_that_finds_it_due_is_kept() -> None:
    trace = armed(0, 5), waited(1, 4), WaitBegin(1, 1), waited(2, 6), TimerFire(2, 0, 6), WaitBegin(2, None)
    assert exercised(EARLY, *trace) == 1


@pytest.mark.clause(EARLY, "cbf5f962")
def test_a_timer_that_fires_before_its_deadline_is_refused() -> None:
    trace = armed(0, 5), waited(1, 4), TimerFire(1, 0, 4)
    assert refused(EARLY, *trace) == refusal(
        EARLY, trace, 2, "timer 0 fires at 5 ns or later", "it fired at 4 ns, 1 ns early"
    )


@pytest.mark.clause(EARLY, "cbf5f962")
def test_a_due_timer_that_its_turn_passes_over_is_refused_once() -> None:
    trace = armed(0, 5), waited(1, 6), WaitBegin(1, 0), waited(2, 7), WaitBegin(2, 0), TimerFire(2, 0, 7)
    assert refused(EARLY, *trace) == refusal(
        EARLY, trace, 2, "timer 0, due at 5 ns, fires in turn 1, begun at 6 ns", "the turn ended without it"
    )


@pytest.mark.clause(EARLY, "cbf5f962")
def test_a_timer_that_is_armed_due_may_wait_for_the_next_turn() -> None:
    trace = waited(1, 6), armed(0, 5, turn=1, at=6), WaitBegin(1, 0), waited(2, 6), TimerFire(2, 0, 6)
    assert exercised(EARLY, *trace) == 1


@pytest.mark.clause(EARLY, "cbf5f962")
def test_no_timer_is_late_before_a_wait_has_told_the_time() -> None:
    assert exercised(EARLY, armed(0, 1), WaitBegin(1, 0), waited(2, 1), TimerFire(2, 0, 1)) == 1


@pytest.mark.clause(EARLY, "cbf5f962")
def test_a_timer_that_fires_twice_is_refused() -> None:
    trace = armed(0, 5), waited(1, 5), TimerFire(1, 0, 5), END, TimerFire(1, 0, 5)
    assert refused(EARLY, *trace) == refusal(EARLY, trace, 4, "one firing of timer 0", "it fired again")


@pytest.mark.clause(EARLY, "cbf5f962")
def test_a_cancelled_timer_is_not_late() -> None:
    trace = armed(0, 5), TimerCancel(0, 0, retained=False), waited(1, 6), WaitBegin(1, None)
    assert exercised(EARLY, *trace) == 0


@pytest.mark.clause(CANCELLED, "df802219")
def test_silence_after_a_cancel_is_kept() -> None:
    assert exercised(CANCELLED, TimerCancel(0, 0, retained=False), TimerFire(1, 1, 5)) == 1


@pytest.mark.clause(CANCELLED, "df802219")
def test_a_cancelled_timer_that_fires_is_refused_once() -> None:
    trace = TimerCancel(0, 0, retained=False), TimerFire(1, 0, 5), TimerFire(2, 0, 6)
    assert refused(CANCELLED, *trace) == refusal(
        CANCELLED, trace, 1, "silence of timer 0, which was cancelled", "it fired in turn 1"
    )


@pytest.mark.clause(ORDER, "f0827f79")
def test_equal_deadlines_in_the_order_of_arming_are_kept() -> None:
    assert exercised(ORDER, armed(0, 5), armed(1, 5), TimerFire(1, 0, 5), TimerFire(1, 1, 5)) == 1


@pytest.mark.clause(ORDER, "f0827f79")
def test_equal_deadlines_out_of_the_order_of_arming_are_refused() -> None:
    trace = armed(0, 5), armed(1, 5), TimerFire(1, 1, 5), TimerFire(1, 0, 5)
    assert refused(ORDER, *trace) == refusal(
        ORDER,
        trace,
        2,
        "timer 0, due at 5 ns, armed earlier, fires first",
        "timer 1, due at 5 ns, fired before it",
    )


@pytest.mark.clause(ORDER, "f0827f79")
def test_a_later_deadline_that_fires_first_is_refused() -> None:
    trace = armed(0, 7), armed(1, 5), TimerFire(1, 0, 8), TimerFire(1, 1, 8)
    assert refused(ORDER, *trace) == refusal(
        ORDER, trace, 2, "timer 1, due at 5 ns, fires first", "timer 0, due at 7 ns, fired before it"
    )


@pytest.mark.clause(ORDER, "f0827f79")
def test_a_timer_of_this_turn_is_not_overtaken_in_it() -> None:
    trace = armed(0, 7), waited(1, 8), armed(1, 5, turn=1, at=8), TimerFire(1, 0, 8), TimerFire(2, 1, 8)
    assert exercised(ORDER, *trace) == 1


@pytest.mark.clause(PHASE, "6844c609")
def test_a_due_timer_that_a_timer_arms_and_that_waits_a_turn_is_kept() -> None:
    trace = TimerFire(1, 0, 5), armed(1, 5, turn=1, at=5), END, waited(2, 5), TimerFire(2, 1, 5)
    assert exercised(PHASE, *trace) == 1


@pytest.mark.clause(PHASE, "6844c609")
def test_whoever_fires_behind_the_timer_that_armed_it_takes_nothing_back() -> None:
    trace = TimerFire(1, 0, 5), armed(1, 5, turn=1, at=5), END, TimerFire(1, 2, 5), END, waited(2, 5)
    assert exercised(PHASE, *trace) == 1


@pytest.mark.clause(PHASE, "6844c609")
def test_a_timer_that_fires_in_the_phase_that_armed_it_is_refused() -> None:
    trace = TimerFire(1, 0, 5), armed(1, 5, turn=1, at=5), END, TimerFire(1, 1, 5)
    assert refused(PHASE, *trace) == refusal(
        PHASE, trace, 3, "timer 1 fires after the next wait", "it fired in turn 1, in the phase that armed it"
    )


@pytest.mark.clause(PHASE, "6844c609")
def test_a_timer_that_an_io_handler_arms_may_fire_in_that_turn() -> None:
    assert (
        exercised(PHASE, waited(1, 5), armed(1, 5, turn=1, at=5), TimerFire(1, 1, 5), END, waited(2, 5)) == 0
    )


@pytest.mark.clause(CLOCK, "0098b2a4")
def test_a_deadline_of_the_delay_after_the_call_is_kept() -> None:
    assert exercised(CLOCK, TimerArm(1, 0, 10, 5, 15), TimerArm(1, 1, 10, -3, 7)) == 2


@pytest.mark.clause(CLOCK, "0098b2a4")
def test_a_deadline_from_a_stale_clock_is_refused() -> None:
    trace = (TimerArm(1, 0, 10, 5, 12),)
    assert refused(CLOCK, *trace) == refusal(
        CLOCK, trace, 0, "timer 0 is due at 15 ns: 5 ns after the call", "its deadline is 12 ns, 3 ns early"
    )


@pytest.mark.clause(CLOCK, "0098b2a4")
def test_a_clock_that_runs_back_is_refused() -> None:
    trace = TimerArm(1, 0, 10, 5, 15), TimerArm(1, 1, 9, 5, 14)
    assert refused(CLOCK, *trace) == refusal(
        CLOCK, trace, 1, "a clock that does not run back", "10 ns, then 9 ns"
    )


@pytest.mark.clause(CLOCK, "0098b2a4")
@pytest.mark.parametrize(
    "wrong", [TimerArm(1, 1, 9, 5, 14), TimerArm(1, 1, 10, 5, 12)], ids=["back", "stale"]
)
def test_a_clock_that_has_been_wrong_is_held_to_what_it_said(wrong: TimerArm) -> None:
    trace = TimerArm(1, 0, 10, 5, 15), wrong, TimerArm(1, 2, 8, 5, 13)
    assert [each.position for each in judge(CLOCK, *trace).violations] == [1, 2]


@pytest.mark.clause(RETAINS, "08b5a080")
def test_a_cancelled_timer_that_lets_go_is_kept() -> None:
    assert (
        exercised(RETAINS, TimerCancel(1, 0, retained=False), TimersHeld(1, 128, 0), TimersHeld(1, 227, 33))
        == 1
    )


@pytest.mark.clause(RETAINS, "08b5a080")
def test_a_cancelled_timer_that_holds_its_argument_is_refused() -> None:
    trace = (TimerCancel(1, 0, retained=True),)
    assert refused(RETAINS, *trace) == refusal(
        RETAINS,
        trace,
        0,
        "timer 0 lets go of its callback and arguments when it is cancelled",
        "they are still held",
    )


@pytest.mark.clause(RETAINS, "08b5a080")
def test_a_heap_of_cancelled_timers_is_refused_once() -> None:
    trace = TimersHeld(1, 139, 3), TimersHeld(2, 140, 3)
    assert refused(RETAINS, *trace) == refusal(
        RETAINS, trace, 0, "at most 134 cancelled timers held beside 3 live ones", "136 are held"
    )

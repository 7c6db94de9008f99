"""WAKE: what a trace must show for each clause to be kept, and what breaks it."""

from __future__ import annotations

import pytest

from loopspec.trace import Call, HandlerEnd, Post, Quiescent, Return, Run, Suspend, WaitBegin, WaitReturn
from tests.spec.judging import exercised, refusal, refused

LOST = "WAKE.POST.NOT_LOST"
SUSPENDS = "WAKE.POST.NEVER_SUSPENDS"

POST = Post(1, 0, "a")
ASLEEP = Suspend("loop")
WOKEN = WaitReturn(2, 0, (), 8)


@pytest.mark.clause(LOST, "c63e2503")
def test_a_post_that_wakes_the_loop_is_kept() -> None:
    assert exercised(LOST, WaitBegin(1, None), ASLEEP, POST, WOKEN, Run(2, 0), HandlerEnd(2, None)) == 1


@pytest.mark.clause(LOST, "c63e2503")
def test_a_post_that_is_told_of_after_it_ran_is_kept() -> None:
    assert exercised(LOST, WaitBegin(1, None), WOKEN, Run(2, 0), POST, WaitBegin(2, None), ASLEEP) == 1


@pytest.mark.clause(LOST, "c63e2503")
def test_sleep_without_end_on_a_post_is_refused_once() -> None:
    trace = WaitBegin(1, None), ASLEEP, POST, ASLEEP, ASLEEP
    assert refused(LOST, *trace) == refusal(
        LOST,
        trace,
        3,
        "the loop takes what has been posted before it sleeps without end",
        "the loop sleeps without end, and callback 0 has not run",
    )


@pytest.mark.clause(LOST, "c63e2503")
def test_a_sleep_that_ends_by_itself_may_come_before_a_post_is_taken() -> None:
    assert exercised(LOST, WaitBegin(1, 5), POST, ASLEEP, WOKEN, Run(2, 0)) == 1


@pytest.mark.clause(LOST, "c63e2503")
def test_a_post_that_has_not_run_when_nothing_more_happens_is_refused() -> None:
    trace = WaitBegin(1, 5), POST, Quiescent(1)
    assert refused(LOST, *trace) == refusal(
        LOST,
        trace,
        2,
        "the loop takes what has been posted before it sleeps without end",
        "nothing more happens, and callback 0 has not run",
    )


@pytest.mark.clause(SUSPENDS, "3555a68c")
def test_a_post_that_goes_on_to_its_return_is_kept() -> None:
    trace = Call(0, "a", "post"), Suspend("b"), Return(0, "a", delivered=False), Suspend("a")
    assert exercised(SUSPENDS, *trace) == 1


@pytest.mark.clause(SUSPENDS, "3555a68c")
def test_a_post_whose_thread_is_suspended_is_refused_once() -> None:
    trace = Call(0, "a", "post"), Suspend("a"), Suspend("a"), Return(0, "a", delivered=False)
    assert refused(SUSPENDS, *trace) == refusal(
        SUSPENDS, trace, 1, "a post that goes on to its return", "thread a was suspended in it"
    )

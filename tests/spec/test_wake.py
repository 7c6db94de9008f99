"""WAKE: what a trace must show for each clause to be kept, and what breaks it."""

from __future__ import annotations

import pytest

from loopspec.trace import (
    Call,
    Caught,
    Closed,
    Closing,
    Connect,
    Event,
    HandlerEnd,
    Interrupted,
    JobEnd,
    Post,
    Quiescent,
    RefusePost,
    Return,
    Run,
    Send,
    Signal,
    Suspend,
    WaitBegin,
    WaitReturn,
)
from tests.spec.judging import exercised, judge, refusal, refused

LOST = "WAKE.POST.NOT_LOST"
SUSPENDS = "WAKE.POST.NEVER_SUSPENDS"
ONE_BIT = "WAKE.CHANNEL.ONE_BIT"
SIGNAL = "WAKE.SIGNAL.NOT_LOST"
CLOSED = "WAKE.POST.AFTER_CLOSE"

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


@pytest.mark.clause(LOST, "c63e2503")
def test_a_suspension_in_a_turn_is_no_sleep_on_a_post() -> None:
    """It is LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT's."""
    assert exercised(LOST, WaitBegin(1, None), POST, WOKEN, ASLEEP, Run(2, 0)) == 1


@pytest.mark.clause(LOST, "c63e2503")
@pytest.mark.parametrize("callback", [0, 7], ids=["a post", "another callback"])
def test_what_is_told_of_in_a_wait_without_end_does_not_end_it(callback: int) -> None:
    trace = WaitBegin(1, None), POST, Run(1, callback), Post(1, 1, "a"), ASLEEP
    assert refused(LOST, *trace).position == 4


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


# --- the channel ----------------------------------------------------------------------------------------

TWO = WaitBegin(1, None), Post(1, 0, "a"), Post(1, 1, "a"), WOKEN, Run(2, 0), Run(2, 1), WaitBegin(2, None)


@pytest.mark.clause(ONE_BIT, "0c4b8edb")
def test_a_loop_that_is_woken_once_for_two_posts_is_kept() -> None:
    assert exercised(ONE_BIT, *TWO, ASLEEP, WaitReturn(3, 0, (), 8)) == 1


@pytest.mark.clause(ONE_BIT, "0c4b8edb")
def test_a_loop_that_is_woken_again_for_posts_it_has_taken_is_refused() -> None:
    trace = (*TWO, WaitReturn(3, 0, (), 8))
    assert refused(ONE_BIT, *trace) == refusal(
        ONE_BIT,
        trace,
        7,
        "the loop sleeps, since it was woken for its 2 posts",
        "the wait returned at once, with nothing to report",
    )


@pytest.mark.clause(ONE_BIT, "0c4b8edb")
@pytest.mark.parametrize(
    "other",
    [Post(2, 2, "a"), Send(0, b"a"), Interrupted(2), Signal(2)],
    ids=["a post", "a client", "an interruption", "a signal"],
)
def test_a_wait_in_which_somebody_acts_may_return_at_once(other: Event) -> None:
    assert exercised(ONE_BIT, *TWO, other, WaitReturn(3, 0, (), 8)) == 0


@pytest.mark.clause(ONE_BIT, "0c4b8edb")
def test_a_worker_that_ends_its_job_before_the_wait_may_have_woken_it() -> None:
    ended = JobEnd(0, "worker 0", "value", "")
    assert exercised(ONE_BIT, *TWO[:-1], ended, WaitBegin(2, None), WaitReturn(3, 0, (), 8)) == 0


@pytest.mark.clause(ONE_BIT, "0c4b8edb")
def test_a_poll_or_a_report_or_an_echo_server_says_nothing_of_the_channel() -> None:
    assert exercised(ONE_BIT, *TWO[:-1], WaitBegin(2, 0), WaitReturn(3, 0, (), 8)) == 0
    assert exercised(ONE_BIT, *TWO, WaitReturn(3, 0, ((0, 1),), 8)) == 0
    assert exercised(ONE_BIT, Connect(0, echo=True), *TWO, WaitReturn(3, 0, (), 8)) == 0


@pytest.mark.clause(ONE_BIT, "0c4b8edb")
def test_a_post_of_the_turn_wakes_the_wait_behind_it() -> None:
    late = *TWO[:-1], Post(2, 2, "a"), WaitBegin(2, None), WaitReturn(3, 0, (), 8)
    assert exercised(ONE_BIT, *late) == 0
    trace = *late, Run(3, 2), WaitBegin(3, None), WaitReturn(4, 0, (), 8)
    assert refused(ONE_BIT, *trace).allowed == "the loop sleeps, since it was woken for its 1 posts"


@pytest.mark.clause(ONE_BIT, "0c4b8edb")
def test_one_post_that_wakes_the_loop_once_shows_nothing() -> None:
    assert exercised(ONE_BIT, *TWO[:2], WOKEN, WaitBegin(2, None), ASLEEP) == 0


@pytest.mark.clause(ONE_BIT, "0c4b8edb")
def test_no_other_suspension_is_the_loops_sleep() -> None:
    assert exercised(ONE_BIT, *TWO[:-1], ASLEEP) == 0
    assert refused(ONE_BIT, *TWO, Suspend("a"), WaitReturn(3, 0, (), 8)).position == 8


@pytest.mark.clause(ONE_BIT, "0c4b8edb")
def test_a_wait_that_has_returned_is_over() -> None:
    assert exercised(ONE_BIT, *TWO, WaitReturn(3, 0, ((0, 1),), 8), WaitReturn(4, 0, (), 8)) == 0


# --- signals --------------------------------------------------------------------------------------------


@pytest.mark.clause(SIGNAL, "bbbec9bf")
def test_a_signal_that_is_handled_in_the_turn_after_or_the_next_is_kept() -> None:
    delivered = WaitBegin(1, None), Signal(1), WOKEN
    assert exercised(SIGNAL, *delivered, Caught(2)) == 1
    assert exercised(SIGNAL, *delivered, WaitBegin(2, 0), WaitReturn(3, 0, (), 8), Caught(3)) == 1


@pytest.mark.clause(SIGNAL, "bbbec9bf")
def test_two_signals_may_be_handled_as_one() -> None:
    assert exercised(SIGNAL, WaitBegin(1, None), Signal(1), Signal(1), WOKEN, Caught(2), Quiescent(2)) == 1


@pytest.mark.clause(SIGNAL, "bbbec9bf")
@pytest.mark.parametrize(
    ("lost", "how"),
    [
        ((WaitBegin(1, None), Signal(1), ASLEEP), "the loop sleeps"),
        ((WaitBegin(1, None), Signal(1), WOKEN, Quiescent(2)), "nothing more happens"),
        (
            (Signal(1), WOKEN, WaitBegin(2, 0), WaitReturn(3, 0, (), 8), WaitBegin(3, 0)),
            "turn 3 has ended",
        ),
    ],
    ids=["slept on", "never", "late"],
)
def test_a_signal_that_is_lost_is_refused(lost: tuple[Event, ...], how: str) -> None:
    assert refused(SIGNAL, *lost) == refusal(
        SIGNAL,
        lost,
        len(lost) - 1,
        "the handler of the signal that was delivered in turn 1 runs in the next",
        f"{how}, and it has not run",
    )


@pytest.mark.clause(SIGNAL, "bbbec9bf")
def test_a_suspension_in_a_turn_is_no_sleep_on_a_signal() -> None:
    """It is LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT's."""
    assert exercised(SIGNAL, WaitBegin(1, None), Signal(1), WOKEN, ASLEEP, Caught(2)) == 1


@pytest.mark.clause(SIGNAL, "bbbec9bf")
def test_what_became_of_one_signal_excuses_no_sleep_on_the_next() -> None:
    handled = WaitBegin(1, None), Signal(1), Caught(1), Signal(1), ASLEEP
    lost = WaitBegin(1, None), Signal(1), ASLEEP, Signal(1), ASLEEP
    assert [each.position for each in judge(SIGNAL, *handled).violations] == [4]
    assert [each.position for each in judge(SIGNAL, *lost).violations] == [2, 4]


# --- the close ------------------------------------------------------------------------------------------


@pytest.mark.clause(CLOSED, "90240c99")
def test_a_post_that_is_refused_or_runs_before_the_end_of_the_close_is_kept() -> None:
    trace = Closing(1), Run(1, 0), Post(1, 0, "a"), RefusePost(1, 1, "a"), Closed(1), RefusePost(1, 2, "a")
    assert exercised(CLOSED, *trace) == 3


@pytest.mark.clause(CLOSED, "90240c99")
@pytest.mark.parametrize(
    ("trace", "allowed", "observed"),
    [
        ((Closed(1), Post(1, 0, "a")), "a post to a closed loop is refused", "callback 0 was let in"),
        (
            (Closing(1), Post(1, 0, "a"), Closed(1)),
            "callback 0, posted while the loop closed, runs or is refused",
            "the loop is closed, and neither has come",
        ),
        (
            (Closing(1), RefusePost(1, 0, "a"), Run(1, 0)),
            "callback 0, whose post is refused, does not run",
            "it runs all the same",
        ),
        (
            (Closing(1), Run(1, 0), RefusePost(1, 0, "a")),
            "callback 0, whose post is refused, does not run",
            "it runs all the same",
        ),
    ],
    ids=["let in", "neither", "both", "both, told late"],
)
def test_a_post_that_is_let_in_and_lost_or_refused_and_run_is_refused(
    trace: tuple[Event, ...], allowed: str, observed: str
) -> None:
    assert refused(CLOSED, *trace) == refusal(CLOSED, trace, len(trace) - 1, allowed, observed)

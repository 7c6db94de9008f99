"""LOOP: what a trace must show for each clause to be kept, and what breaks it."""

from __future__ import annotations

import pytest

from loopspec.trace import (
    Accept,
    Arm,
    Await,
    CancelRequest,
    Close,
    Connect,
    Disarm,
    Dispatch,
    End,
    Enqueue,
    Event,
    HalfClose,
    HandlerEnd,
    Leave,
    Post,
    Quiescent,
    Read,
    Receive,
    Refuse,
    Report,
    Reset,
    Run,
    Send,
    Shut,
    Step,
    StopReading,
    Suspend,
    TimerFire,
    WaitBegin,
    WaitReturn,
    Write,
)
from tests.spec.judging import exercised, judge, refusal, refused

SUSPENDS = "LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT"
SNAPSHOT = "LOOP.TURN.SNAPSHOT"
IDLE = "LOOP.IDLE.MEANS_IDLE"
LIVE = "LOOP.DISPATCH.LIVE_ONLY"
DISARMED = "LOOP.DISPATCH.NOT_AFTER_DISARM"
NESTED = "LOOP.DISPATCH.NOT_NESTED"
ERROR = "LOOP.HANDLER.ERROR_CONTAINED"
FIFO = "LOOP.CALLBACK.FIFO"
WAITER = "LOOP.WAITER.ONE_PER_DIRECTION"
CLOSE = "LOOP.CLOSE.SETTLES_WAITERS"
HUP = "LOOP.HUP.NEVER_DISCARDS"
RDHUP = "LOOP.RDHUP.ENDS_READING_ONLY"

IN = 1
ASLEEP = Suspend("loop")
END = HandlerEnd(1, None)


def armed(registration: int, *, turn: int = 0, fd: int = 0, stream: int = 0) -> Arm:
    return Arm(turn, registration, fd, stream, "read")


def wait(turn: int) -> WaitBegin:
    return WaitBegin(turn, None)


def named(turn: int, *numbers: int) -> WaitReturn:
    """A wait that reports the descriptors ``numbers`` readable."""
    return WaitReturn(turn, 0, tuple((number, IN) for number in numbers), 8)


# --- the turn -------------------------------------------------------------------------------------------


@pytest.mark.clause(SUSPENDS, "9d4423d4")
def test_a_loop_that_sleeps_in_its_wait_alone_is_kept() -> None:
    assert exercised(SUSPENDS, ASLEEP, wait(0), ASLEEP, named(1), Suspend("other"), wait(1), ASLEEP) == 1


@pytest.mark.clause(SUSPENDS, "9d4423d4")
def test_a_loop_that_sleeps_between_two_waits_is_refused() -> None:
    trace = wait(0), named(1), ASLEEP, wait(1), ASLEEP
    assert refused(SUSPENDS, *trace) == refusal(
        SUSPENDS,
        trace,
        2,
        "suspension in the multiplexing wait alone",
        "the loop's thread was suspended between two waits",
    )


@pytest.mark.clause(SNAPSHOT, "d69e857c")
def test_what_a_callback_queues_and_the_next_turn_runs_is_kept() -> None:
    assert exercised(SNAPSHOT, Run(1, 0), Enqueue(1, 1), END, wait(1), named(2), Run(2, 1)) == 1


@pytest.mark.clause(SNAPSHOT, "d69e857c")
def test_a_callback_that_runs_in_the_phase_that_queued_it_is_refused() -> None:
    trace = Run(1, 0), Enqueue(1, 1), END, Run(1, 1), END
    assert refused(SNAPSHOT, *trace) == refusal(
        SNAPSHOT,
        trace,
        3,
        "callback 1 runs after the next wait",
        "it ran in turn 1, in the phase that queued it",
    )


@pytest.mark.clause(SNAPSHOT, "d69e857c")
def test_what_an_io_handler_queues_may_run_in_the_same_turn() -> None:
    assert exercised(SNAPSHOT, Dispatch(1, 0, 0), Enqueue(1, 0), END, Run(1, 0), END, named(2)) == 0


@pytest.mark.clause(IDLE, "9309fffc")
def test_a_loop_that_waits_until_something_runs_is_kept() -> None:
    assert exercised(IDLE, wait(0), named(1), Run(1, 0), wait(1)) == 1


@pytest.mark.clause(IDLE, "9309fffc")
def test_one_idle_turn_for_each_event_and_one_more_are_kept() -> None:
    trace = wait(0), Send(0, b"a"), named(1), wait(1), named(2), wait(2), named(3), Run(3, 0), wait(3)
    assert exercised(IDLE, *trace) == 1


@pytest.mark.clause(IDLE, "9309fffc")
def test_waits_that_return_for_nothing_are_refused() -> None:
    trace = wait(0), Run(0, 0), wait(0), named(1), wait(1), named(2), wait(2)
    assert refused(IDLE, *trace) == refusal(
        IDLE,
        trace,
        6,
        "at most 1 waits that return while nothing is ready to run",
        "2 waits have returned up to turn 2, and nothing has run",
    )


@pytest.mark.clause(IDLE, "9309fffc")
def test_a_listener_without_descriptors_may_rest_and_try_again() -> None:
    rests = wait(0), Run(0, 0), wait(0), named(1), Accept(1, 0, "EMFILE"), wait(1)
    again = named(2), wait(2), named(3), wait(3), named(4), wait(4)
    assert exercised(IDLE, *rests, *again) == 1
    trace = *rests, *again, named(5), wait(5)
    assert refused(IDLE, *trace) == refusal(
        IDLE,
        trace,
        13,
        "at most 4 waits that return while nothing is ready to run",
        "5 waits have returned up to turn 5, and nothing has run",
    )


@pytest.mark.clause(IDLE, "9309fffc")
def test_what_came_while_something_ran_counts_for_the_idle_turns_behind_it() -> None:
    idle = wait(0), named(1), wait(1), named(2), wait(2)
    assert exercised(IDLE, Run(0, 0), Send(0, b"a"), *idle) == 0
    assert refused(IDLE, Run(0, 0), Send(0, b"a"), *idle, named(3), wait(3)).position == 8


@pytest.mark.clause(IDLE, "9309fffc")
def test_a_connection_that_is_accepted_is_no_cause_besides_its_client() -> None:
    trace = wait(0), Run(0, 0), wait(0), named(1), Accept(1, 0, None), wait(1), named(2), wait(2)
    assert refused(IDLE, *trace).position == 7


@pytest.mark.clause(IDLE, "9309fffc")
def test_polling_up_to_a_deadline_is_refused_but_a_few_hops_are_not() -> None:
    polls: list[Event] = [WaitBegin(0, 0)]
    for turn in range(1, 9):
        polls += [named(turn), WaitBegin(turn, 0)]
    assert exercised(IDLE, *polls) == 0
    trace = (*polls, named(9), WaitBegin(9, 0), named(10))
    assert refused(IDLE, *trace) == refusal(
        IDLE,
        trace,
        18,
        "at most 1 waits that return while nothing is ready to run",
        "9 waits have returned up to turn 9, and nothing has run",
    )


# --- dispatch -------------------------------------------------------------------------------------------


@pytest.mark.clause(LIVE, "404795ff")
def test_a_reused_number_that_waits_for_its_own_event_is_kept() -> None:
    trace = armed(0), named(1, 0), Close(1, 0, 0), armed(1, turn=1, stream=1), named(2, 0), Dispatch(2, 1, 0)
    assert exercised(LIVE, *trace) == 2


@pytest.mark.clause(LIVE, "404795ff")
def test_a_dispatch_with_nothing_that_could_go_astray_does_not_exercise() -> None:
    assert exercised(LIVE, armed(0), named(1, 0), Dispatch(1, 0, 0), END, Disarm(1, 0, 0)) == 0


@pytest.mark.clause(LIVE, "404795ff")
def test_an_event_of_the_old_number_dispatched_to_its_successor_is_refused_once() -> None:
    trace = (
        armed(0),
        named(1, 0),
        Close(1, 0, 0),
        armed(1, turn=1, stream=1),
        Dispatch(1, 1, 0),
        Dispatch(1, 1, 0),
    )
    assert refused(LIVE, *trace) == refusal(
        LIVE,
        trace,
        4,
        "dispatch in turn 1 of what was armed before it and is live still",
        "registration 1 of descriptor 0 was dispatched, armed in turn 1",
    )


@pytest.mark.clause(LIVE, "404795ff")
def test_a_dispatch_to_a_closed_descriptor_is_refused() -> None:
    trace = armed(0), named(1, 0), Close(1, 0, 0), Dispatch(1, 0, 0)
    assert refused(LIVE, *trace) == refusal(
        LIVE,
        trace,
        3,
        "dispatch in turn 1 of what was armed before it and is live still",
        "registration 0 of descriptor 0 was dispatched, which is not live",
    )


@pytest.mark.clause(DISARMED, "9d249e90")
def test_silence_after_disarm_is_kept() -> None:
    assert exercised(DISARMED, Dispatch(1, 0, 0), Disarm(1, 0, 0), Dispatch(2, 1, 0)) == 1


@pytest.mark.clause(DISARMED, "9d249e90")
def test_a_dispatch_after_disarm_is_refused_once() -> None:
    trace = Disarm(1, 0, 0), Dispatch(1, 0, 0), Dispatch(2, 0, 0)
    assert refused(DISARMED, *trace) == refusal(
        DISARMED,
        trace,
        1,
        "silence of registration 0, whose disarm has returned",
        "it was dispatched in turn 1",
    )


@pytest.mark.clause(NESTED, "678a4fbe")
def test_handlers_one_after_the_other_are_kept() -> None:
    assert exercised(NESTED, Dispatch(1, 0, 0), END, TimerFire(1, 0, 0), END, Run(1, 0), END) == 3


@pytest.mark.clause(NESTED, "678a4fbe")
@pytest.mark.parametrize(
    ("inner", "name"),
    [
        (Dispatch(1, 1, 1), "the handler of registration 1"),
        (TimerFire(1, 1, 0), "timer 1"),
        (Run(1, 1), "callback 1"),
    ],
    ids=["I/O", "timer", "callback"],
)
def test_a_handler_inside_another_is_refused(inner: Event, name: str) -> None:
    trace = Run(1, 0), inner, END, END
    assert refused(NESTED, *trace) == refusal(
        NESTED, trace, 1, "callback 0 ends first", f"{name} started inside it"
    )


# --- errors and order -----------------------------------------------------------------------------------


BOOM = HandlerEnd(1, "Boom1")
TOLD = Report(1, "Boom1")


@pytest.mark.clause(ERROR, "98956f15")
def test_an_error_reported_once_while_its_batch_runs_on_is_kept() -> None:
    trace = (
        armed(0),
        armed(1, fd=1),
        named(1, 0, 1),
        Dispatch(1, 0, 0),
        BOOM,
        TOLD,
        Dispatch(1, 1, 1),
        END,
        wait(1),
    )
    assert exercised(ERROR, *trace) == 1


@pytest.mark.clause(ERROR, "98956f15")
def test_an_error_that_is_never_reported_is_refused() -> None:
    trace = named(1), Run(1, 0), BOOM, wait(1), named(2), wait(2), named(3), wait(3)
    assert refused(ERROR, *trace) == refusal(
        ERROR,
        trace,
        5,
        "Boom1, let out in turn 1, is reported by the end of turn 2",
        "it has not been reported",
    )


@pytest.mark.clause(ERROR, "98956f15")
def test_an_error_that_is_reported_twice_is_refused() -> None:
    trace = named(1), Run(1, 0), BOOM, TOLD, TOLD
    assert refused(ERROR, *trace) == refusal(ERROR, trace, 4, "one report of Boom1", "it was reported again")


@pytest.mark.clause(ERROR, "98956f15")
def test_an_error_that_drops_the_rest_of_its_batch_is_refused() -> None:
    trace = armed(0), armed(1, fd=1), named(1, 0, 1), Dispatch(1, 0, 0), BOOM, TOLD, wait(1)
    assert refused(ERROR, *trace) == refusal(
        ERROR,
        trace,
        6,
        "the rest of the batch of turn 1 runs although a handler has failed",
        "the turn ended without a dispatch of registration 1",
    )


@pytest.mark.clause(ERROR, "98956f15")
def test_an_error_that_ends_its_registration_is_refused() -> None:
    trace = armed(0), named(1, 0), Dispatch(1, 0, 0), BOOM, TOLD, wait(1), Send(0, b"a"), ASLEEP, ASLEEP
    assert refused(ERROR, *trace) == refusal(
        ERROR,
        trace,
        7,
        "registration 0 is live after its handler has failed",
        "its client 0 has sent since, and the loop sleeps",
    )


@pytest.mark.clause(ERROR, "98956f15")
def test_a_rest_of_the_batch_that_was_disarmed_is_not_owed() -> None:
    trace = armed(0), armed(1, fd=1), named(1, 0, 1), Dispatch(1, 0, 0), Disarm(1, 1, 1), BOOM, TOLD, wait(1)
    assert exercised(ERROR, *trace) == 1


FAILED = armed(0), named(1, 0), Dispatch(1, 0, 0), BOOM, TOLD


@pytest.mark.clause(ERROR, "98956f15")
def test_a_registration_whose_client_is_silent_may_be_slept_on_after_its_handler_has_failed() -> None:
    assert exercised(ERROR, *FAILED, wait(1), ASLEEP) == 1


@pytest.mark.clause(ERROR, "98956f15")
def test_a_registration_is_suspect_until_it_is_dispatched_however_many_turns_later() -> None:
    later = wait(1), named(2), TimerFire(2, 0, 0), END, wait(2), named(3), wait(3), Send(0, b"a")
    assert (
        refused(ERROR, *FAILED, *later, ASLEEP).observed == "its client 0 has sent since, and the loop sleeps"
    )
    served = named(4, 0), Dispatch(4, 0, 0), Read(4, 0, b"a"), END, wait(4), Send(0, b"a"), ASLEEP
    assert exercised(ERROR, *FAILED, *later, *served) == 2


@pytest.mark.clause(ERROR, "98956f15")
@pytest.mark.parametrize("then", [TimerFire(1, 0, 0), Run(1, 0)], ids=["a timer", "a callback"])
def test_no_registration_is_suspect_for_the_error_of_another_handler(then: Event) -> None:
    trace = armed(0), named(1, 0), Dispatch(1, 0, 0), END, then, BOOM, TOLD, wait(1), Send(0, b"a"), ASLEEP
    assert exercised(ERROR, *trace) == 1


@pytest.mark.clause(ERROR, "98956f15")
def test_what_a_handler_arms_before_it_fails_makes_its_registration_no_less_suspect() -> None:
    trace = armed(0), named(1, 0), Dispatch(1, 0, 0), armed(1, turn=1, fd=1, stream=1), BOOM, TOLD
    assert refused(ERROR, *trace, wait(1), Send(0, b"a"), ASLEEP).position == 8


@pytest.mark.clause(ERROR, "98956f15")
def test_an_error_behind_that_of_a_handler_is_not_that_handlers() -> None:
    trace = *FAILED, Send(0, b"a"), HandlerEnd(1, "Boom2"), Report(1, "Boom2"), wait(1), ASLEEP
    assert refused(ERROR, *trace).position == 9


@pytest.mark.clause(ERROR, "98956f15")
def test_a_suspect_that_is_dispatched_excuses_no_error_that_is_not_reported() -> None:
    trace = armed(0), named(1, 0), Dispatch(1, 0, 0), BOOM, wait(1), named(2, 0), Dispatch(2, 0, 0), END
    assert refused(ERROR, *trace, wait(2)).observed == "it has not been reported"


TWO_ARMED = armed(0), armed(1, fd=1, stream=1), named(1, 0, 1), TimerFire(1, 0, 0), BOOM, TOLD


@pytest.mark.clause(ERROR, "98956f15")
def test_a_rest_of_the_batch_that_is_disarmed_after_the_error_is_not_owed() -> None:
    assert exercised(ERROR, *TWO_ARMED, Disarm(1, 0, 0), Close(1, 1, 1), wait(1)) == 1
    assert refused(ERROR, *TWO_ARMED, Disarm(1, 0, 0), wait(1)).observed == (
        "the turn ended without a dispatch of registration 1"
    )
    again = Dispatch(1, 1, 1), HandlerEnd(1, "Boom2"), Report(1, "Boom2"), wait(1)
    assert exercised(ERROR, *TWO_ARMED, Disarm(1, 0, 0), *again) == 2


@pytest.mark.clause(ERROR, "98956f15")
def test_each_registration_that_an_error_has_ended_is_said_once() -> None:
    both = armed(0), armed(1, fd=1, stream=1), named(1, 0, 1), Dispatch(1, 0, 0), BOOM, TOLD
    trace = *both, Dispatch(1, 1, 1), BOOM, wait(1), Send(0, b"a"), Send(1, b"a"), ASLEEP, ASLEEP, ASLEEP
    assert [each.position for each in judge(ERROR, *trace).violations] == [11, 12]


@pytest.mark.clause(FIFO, "c4971e1e")
def test_callbacks_in_the_order_of_their_thread_are_kept() -> None:
    trace = Enqueue(1, 0), Post(1, 1, "a"), Enqueue(1, 2), Run(2, 1), Run(2, 0), Run(2, 2)
    assert exercised(FIFO, *trace) == 1


@pytest.mark.clause(FIFO, "c4971e1e")
def test_a_callback_that_overtakes_its_elder_is_refused() -> None:
    trace = Enqueue(1, 0), Enqueue(1, 1), Run(2, 1), Run(2, 0)
    assert refused(FIFO, *trace) == refusal(
        FIFO, trace, 2, "callback 0, which thread loop queued earlier, runs first", "callback 1 ran before it"
    )


@pytest.mark.clause(FIFO, "c4971e1e")
def test_a_post_told_of_after_its_callback_ran_orders_nothing() -> None:
    assert exercised(FIFO, Run(1, 0), Post(1, 0, "a"), Post(1, 1, "a"), Run(1, 1)) == 0


# --- waiters --------------------------------------------------------------------------------------------


@pytest.mark.clause(WAITER, "74310548")
def test_a_second_waiter_that_is_refused_is_kept() -> None:
    second = Refuse(1, 0, 0, 0, "read", "Busy"), Refuse(1, 0, 0, 0, "write", "Reset")
    assert exercised(WAITER, armed(0), *second) == 1


@pytest.mark.clause(WAITER, "74310548")
def test_a_second_registration_that_is_accepted_is_refused() -> None:
    trace = armed(0), armed(1), Disarm(1, 0, 0)
    assert refused(WAITER, *trace) == refusal(
        WAITER,
        trace,
        1,
        "a second waiter to read stream 0 is refused: registration 0 waits",
        "registration 1 was let in",
    )


@pytest.mark.clause(WAITER, "74310548")
def test_two_tasks_that_wait_while_the_loop_sleeps_are_refused() -> None:
    trace = Await(1, 0, "read", 0), Await(1, 1, "read", 0), wait(1), ASLEEP, ASLEEP
    assert refused(WAITER, *trace) == refusal(
        WAITER, trace, 3, "a second waiter to read stream 0 is refused: task 0 waits", "task 1 was let in"
    )


@pytest.mark.clause(WAITER, "74310548")
def test_a_second_task_that_is_served_before_the_first_is_refused() -> None:
    trace = (
        Await(1, 0, "read", 0),
        Await(1, 1, "read", 0),
        Step(2, 1, 0),
        End(2, 1, "receive", "value"),
        wait(2),
    )
    assert refused(WAITER, *trace) == refusal(
        WAITER, trace, 4, "a second waiter to read stream 0 is refused: task 0 waits", "task 1 was let in"
    )


@pytest.mark.clause(WAITER, "74310548")
def test_two_tasks_that_leave_their_checkpoints_in_one_turn_show_nothing() -> None:
    """Given that neither has asked for anything yet, then whichever is first finds the end of the stream."""
    checkpoint = Await(1, 0, "read", 0), Await(1, 1, "read", 0)
    then = Step(2, 1, 0), End(2, 1, "receive", "value"), Step(2, 0, 0), End(2, 0, "receive", "value"), wait(2)
    assert exercised(WAITER, *checkpoint, *then) == 0


@pytest.mark.clause(WAITER, "74310548")
def test_a_second_task_that_is_refused_after_a_checkpoint_is_kept() -> None:
    checkpoint = Await(1, 0, "read", 0), Await(1, 1, "read", 0)
    then = Step(2, 1, 0), End(2, 1, "receive", "error"), Refuse(2, 0, 0, 0, "read", "Busy"), wait(2), ASLEEP
    assert exercised(WAITER, *checkpoint, *then) == 1


@pytest.mark.clause(WAITER, "74310548")
def test_the_waiters_of_a_closed_stream_are_in_nobodys_way() -> None:
    second = armed(1, turn=1), Refuse(1, 0, 0, 0, "read", "Busy")
    assert exercised(WAITER, armed(0), Close(1, 0, 0), *second) == 1


OVERTAKEN = Await(1, 0, "read", 0), Await(1, 1, "read", 0), Step(2, 1, 0), End(2, 1, "receive", "value")


@pytest.mark.clause(WAITER, "74310548")
@pytest.mark.parametrize(
    "besides",
    [Await(2, 1, "read", 1), armed(1, fd=1, stream=1), Disarm(2, 5, 5)],
    ids=["it waits for another stream", "another is armed", "another is disarmed"],
)
def test_whatever_else_begins_or_ends_in_that_turn_the_first_has_been_overtaken(besides: Event) -> None:
    trace = armed(5, fd=5, stream=5), *OVERTAKEN, besides, wait(2)
    assert refused(WAITER, *trace).position == 6


@pytest.mark.clause(WAITER, "74310548")
def test_a_registration_of_the_number_of_a_task_is_not_that_task() -> None:
    trace = *OVERTAKEN[:3], armed(1, fd=1, stream=1), OVERTAKEN[3], wait(2)
    assert refused(WAITER, *trace).position == 5


@pytest.mark.clause(WAITER, "74310548")
@pytest.mark.parametrize(
    "then",
    [
        (Step(2, 0, 0), End(2, 0, "receive", "value"), wait(2)),
        (*OVERTAKEN[2:], Step(2, 0, 0), Await(2, 0, "read", 0), wait(2)),
        (Step(2, 1, 0), Await(2, 1, "write", 1), Step(3, 1, 0), End(3, 1, "send", "value"), wait(3)),
        (Step(2, 1, 0), End(2, 1, "receive", "error"), End(2, 1, "send", "value"), wait(2)),
        (*OVERTAKEN[2:], Close(2, 0, 0), wait(2), named(3), Await(3, 0, "read", 0), wait(3)),
    ],
    ids=[
        "in order",
        "resumed in that turn",
        "for another stream",
        "by another operation",
        "closed meanwhile",
    ],
)
def test_a_second_task_that_is_not_served_before_the_first_shows_nothing(then: tuple[Event, ...]) -> None:
    assert exercised(WAITER, *OVERTAKEN[:2], *then) == 0


@pytest.mark.clause(WAITER, "74310548")
def test_of_three_that_wait_two_are_left_when_one_is_resumed() -> None:
    trace = *OVERTAKEN[:2], Await(1, 2, "read", 0), Step(2, 2, 0), wait(2), ASLEEP
    assert refused(WAITER, *trace).observed == "task 1 was let in"


@pytest.mark.clause(WAITER, "74310548")
def test_who_has_been_overtaken_is_said_once_and_the_others_wait_on() -> None:
    trace = armed(5, fd=5, stream=5), *OVERTAKEN, wait(2), named(3), wait(3), armed(6, fd=6, stream=5)
    assert [each.position for each in judge(WAITER, *trace).violations] == [5, 8]


WAITED = Await(1, 0, "read", 0)
CLOSED = Close(1, 0, 0)
ERRED = End(2, 0, "receive", "error")


@pytest.mark.clause(CLOSE, "99dc5b85")
def test_a_waiter_that_meets_an_error_in_the_turn_after_the_close_is_kept() -> None:
    assert exercised(CLOSE, WAITED, CLOSED, wait(1), named(2), Step(2, 0, 0), ERRED, wait(2), ASLEEP) == 1


@pytest.mark.clause(CLOSE, "99dc5b85")
def test_a_waiter_that_waits_on_after_the_close_is_refused_once() -> None:
    trace = WAITED, CLOSED, wait(1), named(2), wait(2), ASLEEP
    assert refused(CLOSE, *trace) == refusal(
        CLOSE,
        trace,
        4,
        "those who wait for stream 0 are resumed with an error within a turn of its close",
        "task 0 waits on",
    )


@pytest.mark.clause(CLOSE, "99dc5b85")
def test_a_loop_that_sleeps_on_the_waiter_of_a_closed_stream_is_refused() -> None:
    trace = WAITED, CLOSED, wait(1), ASLEEP, named(2), wait(2)
    assert refused(CLOSE, *trace) == refusal(
        CLOSE,
        trace,
        3,
        "those who wait for stream 0 are resumed with an error within a turn of its close",
        "task 0 waits on",
    )


@pytest.mark.clause(CLOSE, "99dc5b85")
def test_a_wait_that_had_its_value_before_the_close_keeps_it() -> None:
    assert (
        exercised(CLOSE, WAITED, CLOSED, Step(1, 0, 0), End(1, 0, "receive", "value"), wait(1), ASLEEP) == 0
    )


@pytest.mark.clause(CLOSE, "99dc5b85")
def test_a_waiter_that_is_settled_excuses_no_other() -> None:
    both = WAITED, Await(1, 1, "write", 0), CLOSED, wait(1), named(2), Step(2, 0, 0), ERRED
    assert refused(CLOSE, *both, wait(2)).observed == "task 1 waits on"


# --- the peer goes --------------------------------------------------------------------------------------


@pytest.mark.clause(HUP, "0f946362")
def test_a_server_that_reads_all_that_a_client_left_behind_is_kept() -> None:
    assert exercised(HUP, Send(0, b"ab"), Leave(0), Read(1, 0, b"ab"), Read(1, 0, b"")) == 1


@pytest.mark.clause(HUP, "0f946362")
def test_an_end_of_file_that_discards_what_a_client_left_behind_is_refused() -> None:
    trace = Send(0, b"ab"), Leave(0), Read(1, 0, b""), Read(1, 0, b"")
    assert refused(HUP, *trace) == refusal(
        HUP,
        trace,
        2,
        "all that client 0 had sent before it left is read before the end of file",
        "end of file with 2 bytes unread",
    )


@pytest.mark.clause(HUP, "0f946362")
@pytest.mark.parametrize("direction", ["read", "write"])
@pytest.mark.parametrize("end", [Leave(0), Reset(0)], ids=["left", "reset"])
def test_the_end_of_a_client_wakes_both_directions(direction: str, end: Event) -> None:
    awaited = Await(1, 0, "read" if direction == "read" else "write", 0)
    assert exercised(HUP, awaited, end, wait(1), named(2, 0), Step(2, 0, 0)) == 1
    trace = awaited, end, wait(1), ASLEEP, ASLEEP
    assert refused(HUP, *trace) == refusal(
        HUP,
        trace,
        3,
        "the end of client 0 wakes those who wait for its stream",
        "the loop sleeps, and task 0 waits on",
    )


@pytest.mark.clause(HUP, "0f946362")
@pytest.mark.parametrize(
    "trace",
    [
        (Send(0, b"ab"), Reset(0), Read(1, 0, b"")),
        (Send(0, b"ab"), Await(1, 0, "read", 0), CancelRequest(1, 0), Leave(0), Read(1, 0, b"")),
        (Await(1, 0, "read", 0), Await(1, 1, "read", 0), Step(1, 1, 0), Leave(0), wait(1), ASLEEP),
        (Await(1, 0, "read", 0), Leave(0), Close(1, 0, 0), wait(1), ASLEEP),
        (Await(1, 0, "read", 0), Close(1, 0, 0), Leave(0), wait(1), ASLEEP),
    ],
    ids=[
        "a reset discards",
        "a cancelled read may have taken it",
        "a replaced waiter",
        "the server closed",
        "the server had closed",
    ],
)
def test_what_others_answer_for_is_not_held_against_hup(trace: tuple[Event, ...]) -> None:
    assert exercised(HUP, *trace) == 0


@pytest.mark.clause(HUP, "0f946362")
def test_of_two_who_read_at_a_time_one_may_see_the_end_before_the_other_returns() -> None:
    read, rival = Await(1, 0, "read", 0), Await(1, 1, "read", 0)
    assert exercised(HUP, Send(0, b"ab"), read, rival, Leave(0), Read(2, 0, b""), Read(2, 0, b"ab")) == 0
    trace = Send(0, b"ab"), read, Leave(0), Read(2, 0, b"")
    assert refused(HUP, *trace).observed == "end of file with 2 bytes unread"


@pytest.mark.clause(HUP, "0f946362")
def test_a_client_whose_bytes_were_all_read_before_it_left_shows_nothing() -> None:
    assert exercised(HUP, Send(0, b"ab"), Read(1, 0, b"ab"), Leave(0), Read(1, 0, b"")) == 0


LOST = Read(2, 1, b"")


@pytest.mark.clause(HUP, "0f946362")
def test_a_client_that_was_read_in_full_excuses_nothing_of_another() -> None:
    sent = Send(0, b"a"), Send(1, b"ab"), Leave(0), Leave(1)
    trace = *sent, Read(1, 0, b"a"), Read(1, 0, b""), LOST
    assert refused(HUP, *trace).observed == "end of file with 2 bytes unread"


@pytest.mark.clause(HUP, "0f946362")
def test_who_is_slept_on_is_said_once_and_what_is_lost_thereafter_besides() -> None:
    both = Await(1, 0, "read", 0), Await(1, 1, "write", 0), Send(1, b"ab"), Leave(0), wait(1), ASLEEP
    judged = judge(HUP, *both, ASLEEP, Leave(1), LOST).violations
    assert [(each.position, each.observed) for each in judged] == [
        (5, "the loop sleeps, and task 0, task 1 waits on"),
        (8, "end of file with 2 bytes unread"),
    ]
    again = Send(0, b"ab"), Await(1, 0, "read", 0), Leave(0), wait(1), ASLEEP, Await(2, 1, "read", 0)
    assert [each.position for each in judge(HUP, *again, Read(2, 0, b"")).violations] == [4, 6]


@pytest.mark.clause(RDHUP, "dc9195db")
def test_what_is_written_after_a_half_close_and_arrives_is_kept() -> None:
    assert (
        exercised(RDHUP, HalfClose(0), Write(1, 0, b"ab"), Shut(1, 0), Receive(0, b"ab"), Receive(0, b""))
        == 1
    )


@pytest.mark.clause(RDHUP, "dc9195db")
def test_what_is_written_after_a_half_close_and_is_lost_is_refused() -> None:
    trace = HalfClose(0), Write(1, 0, b"ab"), Shut(1, 0), Receive(0, b"a"), Receive(0, b"")
    assert refused(RDHUP, *trace) == refusal(
        RDHUP,
        trace,
        4,
        "what the server owes its client arrives after the client's half-close",
        "the stream has ended, and 1 bytes are missing",
    )


@pytest.mark.clause(RDHUP, "dc9195db")
def test_an_echo_server_that_forgets_a_client_that_half_closed_is_refused() -> None:
    trace = Connect(0, echo=True), Send(0, b"ab"), HalfClose(0), Quiescent(1), Quiescent(1)
    assert refused(RDHUP, *trace) == refusal(
        RDHUP,
        trace,
        3,
        "what the server owes its client arrives after the client's half-close",
        "nothing more comes, and 2 bytes are missing",
    )


@pytest.mark.clause(RDHUP, "dc9195db")
@pytest.mark.parametrize(
    "end", [StopReading(0), Leave(0), Reset(0)], ids=["stopped reading", "left", "reset"]
)
def test_a_client_that_reads_no_more_is_owed_nothing(end: Event) -> None:
    assert exercised(RDHUP, Connect(0, echo=True), Send(0, b"ab"), HalfClose(0), end, Quiescent(1)) == 0


def test_a_rule_that_was_broken_goes_on_judging() -> None:
    first = Run(1, 0), Enqueue(1, 1), END, Run(1, 1), END
    again = Run(2, 2), Enqueue(2, 3), END, Run(2, 3), END
    assert [violation.position for violation in judge(SNAPSHOT, *first, *again).violations] == [3, 8]

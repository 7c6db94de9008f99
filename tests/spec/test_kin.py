"""CORO: what holds a task, what decides which runs, what groups owe their children, and that styles agree."""

from __future__ import annotations

import pytest

from loopspec.trace import (
    Alone,
    Arm,
    Await,
    Collect,
    Deadlock,
    Disarm,
    Done,
    End,
    Event,
    GroupEnter,
    GroupExit,
    GroupLeave,
    GroupStart,
    JobEnd,
    JobStart,
    Objects,
    Outcome,
    Quiescent,
    Reason,
    Rehearsal,
    Run,
    Shown,
    Spawn,
    Step,
    Submit,
    Suspend,
    TimerArm,
    TimerCancel,
    TimerFire,
    Vanish,
    WaitBegin,
    WaitReturn,
)
from tests.spec.judging import exercised, refusal, refused

HELD = "CORO.TASK.STRONGLY_HELD"
KERNEL = "CORO.SWITCH.NOT_BY_KERNEL"
PROGRAM = "CORO.ORDER.BY_PROGRAM"
DEADLOCK = "CORO.DEADLOCK.REPORTED"
GROUP = "CORO.GROUP.CHILD_WITHIN_PARENT"
STYLE = "CORO.STYLE.SAME_EFFECT"


def step(task: int, turn: int = 1) -> Step:
    return Step(turn, task, 0)


def waits(task: int, reason: Reason = "event") -> Await:
    return Await(1, task, reason, 7)


# --- held -------------------------------------------------------------------------------------------------


@pytest.mark.clause(HELD, "11cf290f")
def test_a_task_that_outlives_a_collection_is_kept() -> None:
    assert exercised(HELD, Spawn(1, 0), step(0), waits(0), Collect(1), step(0), Done(1, 0, "value", "")) == 1


@pytest.mark.clause(HELD, "11cf290f")
def test_a_collection_while_nobody_waits_shows_nothing() -> None:
    assert exercised(HELD, Spawn(1, 0), step(0), waits(0), step(0), Collect(1)) == 0


@pytest.mark.clause(HELD, "11cf290f")
def test_a_waiting_task_that_is_destroyed_is_refused() -> None:
    trace = Spawn(1, 0), step(0), waits(0), Vanish(1, 0), Collect(1)
    assert refused(HELD, *trace) == refusal(
        HELD, trace, 3, "task 0 lives until it has ended", "it was destroyed"
    )


# --- switched by no kernel ----------------------------------------------------------------------------------

TURN = WaitReturn(1, 0, (), 8)
OVER = WaitBegin(1, 0)


@pytest.mark.clause(KERNEL, "4d6a4a98")
def test_a_turn_of_switches_without_a_suspension_is_kept() -> None:
    assert exercised(KERNEL, TURN, step(0), step(1), OVER, Suspend("loop")) == 1


@pytest.mark.clause(KERNEL, "4d6a4a98")
def test_a_turn_of_switches_with_a_suspension_is_refused() -> None:
    trace = TURN, step(0), step(1), Suspend("loop"), OVER
    assert refused(KERNEL, *trace) == refusal(
        KERNEL, trace, 4, "no suspension of the thread", "2 switches and a suspension"
    )


@pytest.mark.clause(KERNEL, "4d6a4a98")
@pytest.mark.parametrize(
    "besides", [Run(1, 0), TimerFire(1, 0, 0), Submit(1, 0, 0, None), JobStart(0, "worker 0")]
)
def test_a_turn_that_does_something_else_besides_says_nothing_of_switches(besides: Event) -> None:
    assert exercised(KERNEL, TURN, step(0), step(1), besides, Suspend("loop"), OVER) == 0


@pytest.mark.clause(KERNEL, "4d6a4a98")
def test_one_task_switches_with_nobody() -> None:
    assert exercised(KERNEL, TURN, step(0), step(0), Suspend("loop"), OVER) == 0


@pytest.mark.clause(KERNEL, "4d6a4a98")
def test_more_tasks_and_as_many_descriptors_are_kept() -> None:
    assert exercised(KERNEL, Objects(1, 9, 1), Objects(2, 9, 3)) == 1
    assert exercised(KERNEL, Objects(1, 9, 3), Objects(2, 8, 1)) == 0


@pytest.mark.clause(KERNEL, "4d6a4a98")
def test_a_descriptor_for_each_task_is_refused() -> None:
    trace = Objects(1, 9, 1), Objects(2, 11, 3)
    assert refused(KERNEL, *trace) == refusal(
        KERNEL, trace, 1, "9 descriptors with 3 tasks, as with 1", "11 descriptors"
    )


# --- ordered by the program ---------------------------------------------------------------------------------


@pytest.mark.clause(PROGRAM, "99ec8d7b")
def test_the_order_of_the_rehearsal_is_kept() -> None:
    assert exercised(PROGRAM, Rehearsal((0, 1, 1, 0)), step(0), step(1), step(1), step(0), Quiescent(2)) == 2


@pytest.mark.clause(PROGRAM, "99ec8d7b")
def test_another_order_than_in_the_rehearsal_is_refused_once() -> None:
    trace = Rehearsal((0, 1, 0)), step(1), step(0), step(0)
    assert refused(PROGRAM, *trace) == refusal(
        PROGRAM, trace, 1, "a step of task 0, as before", "a step of task 1"
    )


@pytest.mark.clause(PROGRAM, "99ec8d7b")
def test_a_step_too_many_and_one_too_few_are_refused() -> None:
    assert refused(PROGRAM, Rehearsal((0,)), step(0), step(1)).allowed == "no more steps, as before"
    assert refused(PROGRAM, Rehearsal((0, 1)), step(0), Quiescent(2)).observed == "no more steps"


@pytest.mark.clause(PROGRAM, "99ec8d7b")
def test_without_a_rehearsal_any_order_is_as_good() -> None:
    assert exercised(PROGRAM, step(1), step(0), Quiescent(2)) == 0


# --- deadlock -----------------------------------------------------------------------------------------------

RING = Spawn(1, 0), Spawn(1, 1), step(0), waits(0, "join"), step(1), waits(1, "join")
ASLEEP = WaitBegin(1, None)


@pytest.mark.clause(DEADLOCK, "24fb940f")
def test_a_report_that_names_all_who_wait_is_kept() -> None:
    assert exercised(DEADLOCK, Alone(0), *RING, Deadlock(1, (0, 1))) == 1


@pytest.mark.clause(DEADLOCK, "24fb940f")
def test_a_deadlock_that_is_slept_through_is_refused() -> None:
    trace = Alone(0), *RING, ASLEEP
    assert refused(DEADLOCK, *trace) == refusal(
        DEADLOCK, trace, 7, "the deadlock of task 0, task 1 is reported", "the loop sleeps"
    )


@pytest.mark.clause(DEADLOCK, "24fb940f")
def test_a_report_that_names_another_set_is_refused() -> None:
    assert refused(DEADLOCK, Alone(0), *RING, Deadlock(1, (0,))).observed == "one of task 0"


SOMETHING: dict[str, tuple[Event, ...]] = {
    "a timer": (TimerArm(1, 0, 0, 5, 5),),
    "a registration": (Arm(1, 0, 0, 0, "read"),),
    "a job": (Submit(1, 0, None, None),),
    "a sleep": (Spawn(1, 2), step(2), waits(2, "sleep")),
    "a stream": (Spawn(1, 2), step(2), waits(2, "read")),
    "a task that is ready": (Spawn(1, 2),),
}


@pytest.mark.clause(DEADLOCK, "24fb940f")
@pytest.mark.parametrize("what", SOMETHING)
def test_a_report_while_something_else_can_come_is_refused(what: str) -> None:
    trace = Alone(0), *RING, *SOMETHING[what], Deadlock(1, (0, 1))
    assert refused(DEADLOCK, *trace).allowed == "no report: something else can come"
    assert exercised(DEADLOCK, *trace[:-1], ASLEEP) == 0


@pytest.mark.clause(DEADLOCK, "24fb940f")
@pytest.mark.parametrize(
    ("comes", "goes"),
    [
        (TimerArm(1, 0, 0, 5, 5), TimerCancel(1, 0, retained=False)),
        (Arm(1, 0, 0, 0, "read"), Disarm(1, 0, 0)),
        (Submit(1, 0, None, None), JobEnd(0, "worker 0", "value", "")),
    ],
)
def test_what_has_gone_can_come_no_more(comes: Event, goes: Event) -> None:
    assert exercised(DEADLOCK, Alone(0), *RING, comes, goes, Deadlock(1, (0, 1))) == 1


@pytest.mark.clause(DEADLOCK, "24fb940f")
def test_a_loop_that_is_not_alone_may_sleep() -> None:
    assert exercised(DEADLOCK, *RING, ASLEEP) == 0


# --- groups -------------------------------------------------------------------------------------------------


def done(task: int, outcome: Outcome = "value", value: str = "", turn: int = 2) -> Done:
    return Done(turn, task, outcome, value)


FAMILY = GroupEnter(1, 0, 0), GroupStart(1, 0, 1), GroupStart(1, 0, 2)
BLOCK_ENDS = GroupLeave(1, 0, 0, "value", "")


def ends(outcome: Outcome = "value", *errors: str) -> GroupExit:
    return GroupExit(9, 0, 0, outcome, errors)


@pytest.mark.clause(GROUP, "9a6f7157")
def test_a_group_that_ends_after_its_children_is_kept() -> None:
    assert exercised(GROUP, *FAMILY, BLOCK_ENDS, done(1), done(2), ends()) == 1


@pytest.mark.clause(GROUP, "9a6f7157")
def test_a_group_without_children_shows_nothing() -> None:
    assert exercised(GROUP, GroupEnter(1, 0, 0), BLOCK_ENDS, ends()) == 0


@pytest.mark.clause(GROUP, "9a6f7157")
def test_a_group_that_leaves_a_child_behind_is_refused() -> None:
    trace = *FAMILY, BLOCK_ENDS, done(1), ends(), done(2)
    assert refused(GROUP, *trace) == refusal(
        GROUP, trace, 5, "group 0 ends after task 2", "it ends, and leaves task 2 behind"
    )


@pytest.mark.clause(GROUP, "9a6f7157")
def test_all_errors_of_children_and_block_leave_the_group() -> None:
    fails = GroupLeave(2, 0, 0, "error", "a")
    trace = *FAMILY, fails, done(1, "error", "b"), done(2, "cancelled")
    assert exercised(GROUP, *trace, ends("error", "a", "b")) == 1
    violation = refused(GROUP, *trace, ends("error", "a"))
    assert (violation.allowed, violation.observed) == ("b leaves group 0", "a left it")
    assert refused(GROUP, *trace, ends()).observed == "no error left it"


@pytest.mark.clause(GROUP, "9a6f7157")
def test_a_sibling_that_succeeds_in_time_is_kept_and_one_that_goes_on_is_refused() -> None:
    trace = *FAMILY, BLOCK_ENDS, done(1, "error", "b", turn=2)
    rest = done(2), ends("error", "b")
    assert exercised(GROUP, *trace, End(4, 2, "sleep", "value"), *rest) == 1
    violation = refused(GROUP, *trace, End(5, 2, "sleep", "value"), done(2), ends("error", "b"))
    assert violation.allowed == "task 2 is cancelled, since its group failed in turn 2"


@pytest.mark.clause(GROUP, "9a6f7157")
def test_a_sibling_that_waits_for_ever_after_a_failure_is_refused() -> None:
    trace = *FAMILY, BLOCK_ENDS, done(1, "error", "b"), Quiescent(9)
    assert refused(GROUP, *trace) == refusal(
        GROUP,
        trace,
        5,
        "task 2 is cancelled, since a sibling has failed",
        "nothing more happens, and it waits on",
    )
    assert exercised(GROUP, *FAMILY, BLOCK_ENDS, done(1), Quiescent(9)) == 0


# --- styles -------------------------------------------------------------------------------------------------


@pytest.mark.clause(STYLE, "9815bcc9")
def test_the_same_in_all_styles_is_kept() -> None:
    styles = "coroutine", "callbacks", "thread"
    assert exercised(STYLE, *(Shown(style, 0, b"a\n", ended=True) for style in styles)) == 2


@pytest.mark.clause(STYLE, "9815bcc9")
def test_clients_are_compared_each_with_itself() -> None:
    assert exercised(STYLE, Shown("a", 0, b"x", ended=False), Shown("a", 1, b"y", ended=False)) == 0


@pytest.mark.clause(STYLE, "9815bcc9")
@pytest.mark.parametrize(
    "other", [Shown("thread", 0, b"a", ended=True), Shown("thread", 0, b"a\n", ended=False)]
)
def test_other_bytes_and_another_end_are_refused(other: Shown) -> None:
    violation = refused(STYLE, Shown("coroutine", 0, b"a\n", ended=True), other)
    assert violation.allowed == "of client 0: 'a\\n' and the end, as by coroutine"

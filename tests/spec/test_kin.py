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
from tests.spec.judging import exercised, judge, refusal, refused

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


@pytest.mark.clause(HELD, "11cf290f")
def test_a_task_that_was_destroyed_is_told_of_once_and_others_wait_on() -> None:
    trace = waits(0), waits(1), Vanish(1, 0), Collect(1), step(1), Collect(1)
    told = judge(HELD, *trace)
    assert (len(told.violations), told.findings[HELD].exercised) == (1, 2)
    assert exercised(HELD, waits(0), Done(1, 0, "value", ""), Collect(1)) == 0


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


@pytest.mark.clause(KERNEL, "4d6a4a98")
def test_each_turn_is_judged_by_itself_from_the_first_wait_on() -> None:
    switches = step(0), step(1)
    assert exercised(KERNEL, *switches, Suspend("loop"), OVER) == 0
    assert exercised(KERNEL, TURN, step(0), Suspend("loop"), OVER) == 0
    assert exercised(KERNEL, TURN, *switches, Suspend("worker 0"), OVER, TURN, *switches, OVER) == 2
    refused_once = judge(KERNEL, TURN, *switches, Suspend("loop"), OVER, TURN, *switches, OVER)
    assert (len(refused_once.violations), refused_once.findings[KERNEL].exercised) == (1, 2)
    grown = Objects(1, 9, 1), TURN, *switches, Suspend("loop"), OVER, Objects(2, 11, 3)
    assert [each.position for each in judge(KERNEL, *grown).violations] == [5, 6]
    ran_first = TURN, Run(1, 0), *switches, OVER
    assert exercised(KERNEL, *ran_first, *switches, OVER) == 0
    assert exercised(KERNEL, *ran_first, TURN, *switches, OVER) == 1
    suspended_first = TURN, Suspend("loop"), *switches, OVER
    assert refused(KERNEL, *suspended_first).observed == "2 switches and a suspension"
    assert refused(KERNEL, TURN, *switches, step(0), Suspend("loop"), OVER).observed.startswith("3 switches")


@pytest.mark.clause(KERNEL, "4d6a4a98")
@pytest.mark.parametrize(
    "between",
    [
        (),
        (TURN,),
        (OVER,),
        (TURN, step(0), step(1), OVER),
        (TURN, Run(1, 0)),
        (TURN, step(0), Suspend("loop")),
    ],
)
def test_descriptors_are_compared_with_the_sample_of_fewest_tasks_whenever_that_was(
    between: tuple[Event, ...],
) -> None:
    trace = Objects(1, 9, 3), *between, Objects(2, 9, 1), *between, Objects(3, 10, 3)
    assert refused(KERNEL, *trace) == refusal(
        KERNEL, trace, len(trace) - 1, "9 descriptors with 3 tasks, as with 1", "10 descriptors"
    )
    again = *trace, *between, Objects(4, 10, 4), Objects(4, 11, 4)
    assert [each.position for each in judge(KERNEL, *again).violations] == [len(trace) - 1, len(again) - 1]


@pytest.mark.clause(KERNEL, "4d6a4a98")
def test_as_many_tasks_with_more_descriptors_are_nobody_s_growth() -> None:
    assert exercised(KERNEL, Objects(1, 9, 1), Objects(2, 10, 1)) == 0
    assert exercised(KERNEL, Objects(1, 9, 1), Objects(2, 9, 3), Objects(3, 8, 4)) == 2


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
def test_what_is_missing_is_named_and_nothing_is_missing_of_a_whole_order() -> None:
    short = Rehearsal((0, 1)), step(0), Quiescent(2), Quiescent(3)
    assert refused(PROGRAM, *short) == refusal(
        PROGRAM, short, 2, "a step of task 1, as before", "no more steps"
    )
    assert exercised(PROGRAM, Rehearsal((0, 0, 1)), step(0), step(0), step(1), Quiescent(2)) == 1


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


@pytest.mark.clause(DEADLOCK, "24fb940f")
def test_every_report_and_every_sleep_is_judged() -> None:
    alone = Alone(0), *RING
    every = judge(DEADLOCK, *alone, ASLEEP, ASLEEP, Deadlock(1, (1, 0)), Deadlock(1, ()))
    assert [each.position for each in every.violations] == [7, 8, 10]
    violation = refused(DEADLOCK, *alone, Deadlock(1, ()))
    assert (violation.allowed, violation.observed) == ("a deadlock of task 0, task 1", "one of nobody")
    assert exercised(DEADLOCK, *alone, WaitBegin(1, 0)) == 0
    assert exercised(DEADLOCK, Alone(0), ASLEEP) == 0
    early = Alone(0), Deadlock(1, (0,)), *RING, ASLEEP
    told = judge(DEADLOCK, *early).violations
    assert [each.observed for each in told] == ["a deadlock of task 0", "the loop sleeps"]


@pytest.mark.clause(DEADLOCK, "24fb940f")
@pytest.mark.parametrize("end", [Done(1, 2, "value", ""), Vanish(1, 2)], ids=["ended", "destroyed"])
@pytest.mark.parametrize("reason", ["event", "join", "primitive", "group"])
def test_who_has_gone_waits_for_nobody(end: Event, reason: Reason) -> None:
    third = Spawn(1, 2), step(2), waits(2, reason)
    assert exercised(DEADLOCK, Alone(0), *third, *RING, Deadlock(1, (0, 1, 2))) == 1
    assert exercised(DEADLOCK, *third, Alone(0), *RING, end, Deadlock(1, (0, 1))) == 1


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
    assert refused(DEADLOCK, *trace) == refusal(
        DEADLOCK, trace, len(trace) - 1, "no report: something else can come", "a deadlock of task 0, task 1"
    )
    assert exercised(DEADLOCK, *trace[:-1], ASLEEP) == 0
    before = Alone(0), *SOMETHING[what], *RING
    assert exercised(DEADLOCK, *before, ASLEEP) == 0


@pytest.mark.clause(DEADLOCK, "24fb940f")
@pytest.mark.parametrize(
    ("comes", "goes"),
    [
        (TimerArm(1, 0, 0, 5, 5), TimerCancel(1, 0, retained=False)),
        (TimerArm(1, 0, 0, 5, 5), TimerFire(1, 0, 5)),
        (Arm(1, 0, 0, 0, "read"), Disarm(1, 0, 0)),
        (Submit(1, 0, None, None), JobEnd(0, "worker 0", "value", "")),
    ],
)
def test_what_has_gone_can_come_no_more(comes: Event, goes: Event) -> None:
    assert exercised(DEADLOCK, Alone(0), *RING, comes, goes, Deadlock(1, (0, 1))) == 1


@pytest.mark.clause(DEADLOCK, "24fb940f")
def test_what_has_gone_is_that_alone() -> None:
    there = (
        Arm(1, 0, 0, 0, "read"),
        Submit(1, 0, None, None),
        TimerArm(1, 0, 0, 5, 5),
        TimerArm(1, 1, 0, 5, 5),
    )
    gone = Disarm(1, 0, 0), JobEnd(0, "worker 0", "value", ""), TimerFire(1, 0, 5), TimerFire(1, 1, 5)
    for place in range(len(gone)):
        left = *gone[:place], *gone[place + 1 :]
        assert exercised(DEADLOCK, Alone(0), *there, *RING, *left, ASLEEP) == 0
    assert len(judge(DEADLOCK, Alone(0), *there, *RING, *gone, ASLEEP).violations) == 1


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
    assert refused(GROUP, *trace, ends("error", "a", "x")).observed == "a, x left it"


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


@pytest.mark.clause(GROUP, "9a6f7157")
def test_a_group_that_has_left_a_child_behind_has_done_with_it() -> None:
    left = *FAMILY, BLOCK_ENDS, done(1, "error", "b"), ends("error", "b")
    later = End(9, 2, "sleep", "value"), Quiescent(9), done(2, "error", "c"), ends(), Quiescent(9)
    assert refused(GROUP, *left, *later).allowed == "group 0 ends after task 2"


@pytest.mark.clause(GROUP, "9a6f7157")
def test_siblings_have_their_time_from_the_first_failure_on() -> None:
    failed = *FAMILY, GroupStart(1, 0, 3), done(1, "error", "b", turn=2), GroupLeave(4, 0, 0, "error", "a")
    assert refused(GROUP, *failed, done(3, "error", "c", turn=4), End(5, 2, "sleep", "value")) == refusal(
        GROUP,
        (*failed, done(3, "error", "c", turn=4), End(5, 2, "sleep", "value")),
        7,
        "task 2 is cancelled, since its group failed in turn 2",
        "its operation returned in turn 5",
    )
    assert exercised(GROUP, *failed, End(5, 2, "sleep", "cancelled"), End(5, 0, "sleep", "value")) == 0
    again = *failed, End(5, 2, "sleep", "value"), End(6, 2, "sleep", "value")
    assert len(judge(GROUP, *again).violations) == 2


@pytest.mark.clause(GROUP, "9a6f7157")
def test_groups_are_judged_each_by_itself() -> None:
    other = GroupEnter(1, 5, 1), GroupStart(1, 1, 6), GroupStart(1, 1, 7)
    both = *FAMILY, *other, done(6, "error", "x"), done(1)
    for end in (End(9, 2, "sleep", "value"), done(2)):
        assert judge(GROUP, *both, end).violations == []
    told = judge(GROUP, *both, Quiescent(9), Quiescent(9), done(2), ends()).violations
    assert [each.allowed for each in told] == ["task 7 is cancelled, since a sibling has failed"]
    kept = judge(GROUP, *both, Quiescent(9), Quiescent(9), done(2), ends())
    assert kept.findings[GROUP].exercised == 2
    lost = *both, done(7, "error", "y"), done(2), ends(), GroupExit(9, 5, 1, "error", ())
    assert refused(GROUP, *lost).allowed == "x, y leaves group 1"
    assert exercised(GROUP, *lost[:-1], GroupExit(9, 5, 1, "error", ("y", "x"))) == 2


@pytest.mark.clause(GROUP, "9a6f7157")
def test_a_group_that_was_not_seen_to_begin_has_the_children_that_it_starts() -> None:
    unseen = GroupStart(1, 4, 1), GroupStart(1, 4, 2), done(1)
    violation = refused(GROUP, *unseen, GroupExit(9, 0, 4, "value", ()))
    assert (violation.allowed, violation.observed) == (
        "group 4 ends after task 2",
        "it ends, and leaves task 2 behind",
    )
    assert exercised(GROUP, GroupExit(9, 0, 4, "value", ()), GroupLeave(9, 0, 4, "error", "a"), ends()) == 0


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


@pytest.mark.clause(STYLE, "9815bcc9")
def test_each_style_is_compared_with_the_first_and_of_much_the_end_is_shown() -> None:
    first = Shown("coroutine", 0, bytes(range(97, 121)), ended=False)
    longer = Shown("thread", 0, first.data + b"y", ended=True)
    told = judge(STYLE, first, longer, first, longer).violations
    assert [(each.position, each.allowed, each.observed) for each in told] == [
        (
            place,
            "of client 0: 'abcdefghijklmnopqrstuvwx', as by coroutine",
            "by thread: 25 bytes, the last b'nopqrstuvwxy' and the end",
        )
        for place in (1, 3)
    ]

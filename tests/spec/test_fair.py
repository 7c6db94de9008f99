"""FAIR: what a trace must show for each clause to be kept, and what breaks it."""

from __future__ import annotations

import pytest

from loopspec.fair import MOST_ACCEPTS, MOST_BYTES
from loopspec.trace import (
    Accept,
    Arm,
    Await,
    CancelRequest,
    Close,
    Connect,
    Disarm,
    Dispatch,
    Done,
    Enqueue,
    Event,
    Exhausted,
    HalfClose,
    HandlerEnd,
    Leave,
    Post,
    Quiescent,
    Read,
    Receive,
    Run,
    Send,
    Spawn,
    Step,
    StopReading,
    Suspend,
    TimerArm,
    TimerCancel,
    TimerFire,
    WaitBegin,
    WaitReturn,
)
from tests.spec.judging import exercised, judge, refusal, refused

WAIT = "FAIR.READY.BOUNDED_WAIT"
BYPASS = "FAIR.READY.BOUNDED_BYPASS"
STEPS = "FAIR.TASKS.STEPS_DIFFER_BY_ONE"
PHASES = "FAIR.PHASES.NONE_STARVES"
SILENT = "FAIR.SILENT_CLIENT.DELAYS_NOBODY"
CAPPED = "FAIR.DISPATCH.CAPPED"

IN, OUT, HUP = 1, 4, 16
END = HandlerEnd(1, None)


def armed(registration: int, *, turn: int = 0) -> Arm:
    """Registration, descriptor and stream of one number."""
    return Arm(turn, registration, registration, registration, "read")


def wait(turn: int) -> WaitBegin:
    return WaitBegin(turn, 0)


def named(turn: int, *numbers: int, maxevents: int = 8, at: int = 0) -> WaitReturn:
    return WaitReturn(turn, at, tuple((number, IN) for number in numbers), maxevents)


def ran(turn: int, registration: int) -> Dispatch:
    return Dispatch(turn, registration, registration)


# --- handlers -------------------------------------------------------------------------------------------


@pytest.mark.clause(WAIT, "134513ec")
def test_everything_ready_that_runs_within_the_bound_is_kept() -> None:
    ready = armed(0), Enqueue(0, 0), Post(0, 1, "a"), Spawn(0, 0)
    turn = named(1, 0), ran(1, 0), Run(1, 0), Run(1, 1), Step(1, 0, 0), wait(1), named(2), wait(2)
    assert exercised(WAIT, *ready, *turn) == 1


@pytest.mark.clause(WAIT, "134513ec")
@pytest.mark.parametrize(
    ("ready", "name"),
    [
        ((armed(0), Send(0, b"a")), "registration 0"),
        ((Send(0, b"a"), armed(0)), "registration 0"),
        ((armed(0), Leave(0)), "registration 0"),
        ((Enqueue(0, 3),), "callback 3"),
        ((Post(0, 3, "a"),), "callback 3"),
        ((Spawn(0, 4),), "task 4"),
        ((Await(0, 4, "checkpoint", 0),), "task 4"),
        ((Await(0, 4, "read", 0), Send(0, b"a")), "task 4"),
    ],
    ids=["sent", "sent before", "left", "queued", "posted", "spawned", "at a checkpoint", "reading"],
)
def test_what_is_ready_and_passed_over_is_refused_once(ready: tuple[Event, ...], name: str) -> None:
    trace = *ready, named(1), wait(1), named(2), wait(2), named(3), wait(3)
    assert refused(WAIT, *trace) == refusal(
        WAIT,
        trace,
        len(ready) + 3,
        f"{name}, ready, has run by the end of turn 2",
        "the turn ended without it",
    )


@pytest.mark.clause(WAIT, "134513ec")
def test_a_registration_in_the_batch_that_is_not_dispatched_is_refused() -> None:
    trace = armed(0), named(1, 0), wait(1), named(2), wait(2)
    assert refused(WAIT, *trace) == refusal(
        WAIT, trace, 4, "registration 0, ready, has run by the end of turn 2", "the turn ended without it"
    )


@pytest.mark.clause(WAIT, "134513ec")
def test_a_small_batch_gives_many_their_turns_one_by_one() -> None:
    many = armed(0), armed(1), armed(2), Send(0, b"a"), Send(1, b"a"), Send(2, b"a")
    turns: list[Event] = []
    for turn in range(1, 4):
        turns += [
            named(turn, turn - 1, maxevents=1),
            ran(turn, turn - 1),
            Read(turn, turn - 1, b"a"),
            wait(turn),
        ]
    assert exercised(WAIT, *many, *turns) == 2


@pytest.mark.clause(WAIT, "134513ec")
@pytest.mark.parametrize(
    "end",
    [(Disarm(0, 0, 0),), (Close(0, 0, 0),), (Read(0, 0, b"a"),)],
    ids=["disarmed", "closed", "read by another"],
)
def test_what_is_ready_no_more_is_not_owed(end: tuple[Event, ...]) -> None:
    assert exercised(WAIT, armed(0), Send(0, b"a"), *end, named(1), wait(1), named(2), wait(2)) == 0


@pytest.mark.clause(WAIT, "134513ec")
def test_bytes_that_a_cancelled_read_may_have_taken_make_nobody_ready() -> None:
    cancelled = (
        Await(0, 4, "read", 0),
        Send(0, b"a"),
        CancelRequest(0, 4),
        Step(1, 4, 0),
        Done(1, 4, "cancelled", ""),
    )
    assert exercised(WAIT, *cancelled, armed(0), named(2), wait(2), named(3), wait(3)) == 0


@pytest.mark.clause(WAIT, "134513ec")
def test_a_hang_up_makes_a_writer_ready() -> None:
    writer = Arm(0, 0, 0, 0, "write")
    hung = WaitReturn(1, 0, ((0, HUP),), 8)
    trace = writer, hung, wait(1), named(2), wait(2)
    assert refused(WAIT, *trace) == refusal(
        WAIT, trace, 4, "registration 0, ready, has run by the end of turn 2", "the turn ended without it"
    )
    assert (
        judge(WAIT, armed(0), WaitReturn(1, 0, ((0, OUT),), 8), wait(1), named(2), wait(2)).violations == []
    )


@pytest.mark.clause(BYPASS, "55fdb553")
def test_a_handler_that_is_bypassed_twice_is_kept() -> None:
    trace = armed(0), armed(1), Send(1, b"a"), ran(1, 0), ran(2, 0), ran(2, 1)
    assert exercised(BYPASS, *trace) == 1


@pytest.mark.clause(BYPASS, "55fdb553")
def test_a_handler_that_is_bypassed_three_times_is_refused() -> None:
    trace = armed(0), armed(1), named(1, 0, 1), ran(1, 0), ran(2, 0), ran(3, 0), ran(4, 0)
    assert refused(BYPASS, *trace) == refusal(
        BYPASS,
        trace,
        5,
        "registration 1, ready, is dispatched before another is for the third time",
        "registration 0 was dispatched three times meanwhile",
    )


@pytest.mark.clause(BYPASS, "55fdb553")
def test_dispatches_before_anybody_was_ready_are_no_bypass() -> None:
    trace = armed(0), armed(1), ran(1, 0), ran(2, 0), Send(1, b"a"), ran(3, 0), ran(4, 0), ran(4, 1)
    assert exercised(BYPASS, *trace) == 1


@pytest.mark.clause(BYPASS, "55fdb553")
def test_a_handler_that_has_had_its_turn_is_owed_the_next_one_too() -> None:
    """Once it waited beside another, and once when nobody else did: the table outlives both."""
    both = armed(0), armed(1), named(1, 0, 1), ran(1, 1), ran(1, 0)
    alone = named(2, 1), ran(2, 0), ran(2, 1)
    trace = *both, *alone, Send(1, b"a"), ran(3, 0), ran(4, 0), ran(5, 0), ran(5, 1)
    violation = refusal(
        BYPASS,
        trace,
        len(trace) - 2,
        "registration 1, ready, is dispatched before another is for the third time",
        "registration 0 was dispatched three times meanwhile",
    )
    judge_of = judge(BYPASS, *trace)
    assert judge_of.violations == [violation]
    assert judge_of.findings[BYPASS].exercised == 3


# --- tasks ----------------------------------------------------------------------------------------------


def spawned(*tasks: int) -> tuple[Event, ...]:
    return tuple(Spawn(0, task) for task in tasks)


def stepped(*tasks: int) -> tuple[Event, ...]:
    """Each of ``tasks`` takes one step, to a checkpoint."""
    return tuple(event for task in tasks for event in (Step(1, task, 0), Await(1, task, "checkpoint", 0)))


@pytest.mark.clause(STEPS, "ead0bb74")
@pytest.mark.parametrize("order", [(0, 1, 0, 1), (0, 1, 1, 0, 0, 1)], ids=["round robin", "by batches"])
def test_tasks_that_take_turns_are_kept(order: tuple[int, ...]) -> None:
    assert exercised(STEPS, *spawned(0, 1), *stepped(*order)) == len(order)


@pytest.mark.clause(STEPS, "ead0bb74")
def test_a_task_that_is_two_steps_ahead_is_refused() -> None:
    trace = *spawned(0, 1), *stepped(0, 1, 0, 0)
    assert refused(STEPS, *trace) == refusal(
        STEPS,
        trace,
        8,
        "task 1, ready as long as task 0, is at most one step behind it",
        "task 0 was resumed and is two steps ahead",
    )


@pytest.mark.clause(STEPS, "ead0bb74")
def test_steps_are_counted_from_when_both_are_ready() -> None:
    late = *spawned(0), *stepped(0, 0, 0), *spawned(1), *stepped(0, 1, 0, 1)
    assert exercised(STEPS, *late) == 4
    again = *spawned(0, 1), *stepped(0, 1), Step(2, 1, 0), Await(2, 1, "event", 7), *stepped(0, 0, 1, 0, 1, 0)
    assert exercised(STEPS, *again) == 6


@pytest.mark.clause(STEPS, "ead0bb74")
def test_a_favourite_is_found_among_hundreds() -> None:
    trace = *spawned(*range(300)), *stepped(7, 7)
    assert refused(STEPS, *trace).observed == "task 7 was resumed and is two steps ahead"


@pytest.mark.clause(STEPS, "ead0bb74")
@pytest.mark.parametrize(("tasks", "followed"), [(8, True), (9, False)])
def test_of_many_tasks_the_first_eight_are_followed(tasks: int, *, followed: bool) -> None:
    last = tasks - 1
    violations = judge(STEPS, *spawned(*range(tasks)), *stepped(last, last)).violations
    assert [violation.observed for violation in violations] == (
        [f"task {last} was resumed and is two steps ahead"] if followed else []
    )


# --- phases ---------------------------------------------------------------------------------------------

BUSY = armed(0), TimerArm(0, 0, 0, 5, 5), Enqueue(0, 0), named(1, 0, at=5)


@pytest.mark.clause(PHASES, "b899c437")
def test_a_turn_that_gives_every_phase_its_due_is_kept() -> None:
    assert exercised(PHASES, *BUSY, ran(1, 0), TimerFire(1, 0, 5), Run(1, 0), wait(1)) == 1


@pytest.mark.clause(PHASES, "b899c437")
@pytest.mark.parametrize(
    ("had", "starved"),
    [
        ((TimerFire(1, 0, 5), Run(1, 0)), "I/O"),
        ((ran(1, 0), Run(1, 0)), "timers"),
        ((ran(1, 0), TimerFire(1, 0, 5)), "callbacks"),
        ((), "I/O, timers, callbacks"),
    ],
)
def test_a_phase_that_a_turn_leaves_out_is_refused(had: tuple[Event, ...], starved: str) -> None:
    trace = *BUSY, *had, wait(1), named(2, 0, at=6), wait(2)
    assert refused(PHASES, *trace) == refusal(
        PHASES,
        trace,
        len(BUSY) + len(had),
        f"a phase of {starved} in turn 1: there was work when its wait returned",
        "the turn ended without it",
    )


@pytest.mark.clause(PHASES, "b899c437")
def test_a_phase_whose_work_is_gone_is_not_owed() -> None:
    gone = Disarm(1, 0, 0), TimerCancel(1, 0, retained=False), Run(1, 0), wait(1)
    assert exercised(PHASES, *BUSY, *gone) == 0


@pytest.mark.clause(PHASES, "b899c437")
def test_what_has_run_is_owed_no_more() -> None:
    ran_all = *BUSY, ran(1, 0), TimerFire(1, 0, 5), Run(1, 0), wait(1)
    assert exercised(PHASES, *ran_all, named(2, at=6), wait(2), named(3, at=7), wait(3)) == 1


@pytest.mark.clause(PHASES, "b899c437")
def test_what_comes_during_a_turn_is_owed_in_the_next() -> None:
    trace = named(1, at=5), armed(0, turn=1), TimerArm(1, 0, 5, 0, 5), Enqueue(1, 0), wait(1)
    assert exercised(PHASES, *trace) == 0


@pytest.mark.clause(PHASES, "b899c437")
@pytest.mark.parametrize(("threads", "remembered"), [(2, True), (64, True), (65, False)])
def test_callbacks_that_ran_before_their_posts_were_told_of_are_owed_nothing(
    threads: int, *, remembered: bool
) -> None:
    """Of 64 that the loop was faster with; from more threads than that no posts are expected at a time."""
    ran_first = [Run(1, callback) for callback in range(threads)]
    told = [Post(1, callback, "a") for callback in range(threads)]
    violations = judge(PHASES, named(1), *ran_first, wait(1), *told, named(3), wait(3)).violations
    assert [violation.position for violation in violations] == ([] if remembered else [2 * threads + 3])


# --- clients --------------------------------------------------------------------------------------------

ASLEEP = Suspend("loop")
QUIET = Connect(0, echo=True)
BUSY_CLIENT = Connect(1, echo=True)


@pytest.mark.clause(SILENT, "78957baf")
def test_a_client_that_is_served_beside_a_silent_one_is_kept() -> None:
    assert exercised(SILENT, QUIET, BUSY_CLIENT, Send(1, b"ab"), Receive(1, b"ab"), wait(1), ASLEEP) == 1


@pytest.mark.clause(SILENT, "78957baf")
@pytest.mark.parametrize(
    ("rest", "how"),
    [((wait(1), ASLEEP), "the server sleeps"), ((Quiescent(1),), "nothing more happens")],
    ids=["asleep", "quiescent"],
)
def test_a_client_that_waits_for_a_silent_one_is_refused_once(rest: tuple[Event, ...], how: str) -> None:
    trace = QUIET, BUSY_CLIENT, Send(1, b"ab"), Receive(1, b"a"), *rest, ASLEEP, Quiescent(1)
    assert refused(SILENT, *trace) == refusal(
        SILENT,
        trace,
        3 + len(rest),
        "what clients have sent comes back although client 0 is silent",
        f"{how}, and owes client 1 of 1 bytes",
    )


@pytest.mark.clause(SILENT, "78957baf")
@pytest.mark.parametrize(
    "trace",
    [
        (BUSY_CLIENT, Send(1, b"ab")),
        (QUIET, BUSY_CLIENT, Send(1, b"ab"), StopReading(1)),
        (QUIET, BUSY_CLIENT, Send(1, b"ab"), HalfClose(0)),
        (QUIET, Connect(1, echo=False), Send(1, b"ab")),
    ],
    ids=["nobody is silent", "it does not read", "the silent one has ended", "it is owed no echo"],
)
def test_a_delay_that_no_silent_client_makes_is_not_this_clauses(trace: tuple[Event, ...]) -> None:
    assert exercised(SILENT, *trace, wait(1), ASLEEP, Quiescent(1)) == 0


@pytest.mark.clause(SILENT, "78957baf")
def test_whoever_is_delayed_after_a_refusal_is_told_of_too() -> None:
    """All who are silent are named, and all who are delayed, each once for what it has sent."""
    first = QUIET, BUSY_CLIENT, Connect(2, echo=True), Send(1, b"ab"), wait(1), ASLEEP
    second = Connect(3, echo=True), Connect(4, echo=True), Send(3, b"a"), Send(4, b"abc"), ASLEEP
    trace = *first, *second
    assert judge(SILENT, *trace).violations == [
        refusal(
            SILENT,
            trace,
            len(first) - 1,
            "what clients have sent comes back although client 0, 2 is silent",
            "the server sleeps, and owes client 1 of 2 bytes",
        ),
        refusal(
            SILENT,
            trace,
            len(trace) - 1,
            "what clients have sent comes back although client 0, 2 is silent",
            "the server sleeps, and owes client 3 of 1 bytes, client 4 of 3 bytes",
        ),
    ]


@pytest.mark.clause(SILENT, "78957baf")
@pytest.mark.parametrize(
    "trace",
    [
        (ASLEEP,),
        (wait(1), named(2), ASLEEP),
        (wait(1), named(2), wait(2), named(3), ASLEEP),
        (wait(1), Suspend("worker")),
        (wait(1), Receive(1, b"ab"), ASLEEP),
        (wait(1), HalfClose(0), ASLEEP),
    ],
    ids=[
        "before its first wait",
        "after a wait",
        "after another",
        "another thread",
        "all came back",
        "nobody is silent any more",
    ],
)
def test_a_server_rests_only_asleep_in_its_wait(trace: tuple[Event, ...]) -> None:
    sent = QUIET, BUSY_CLIENT, Send(1, b"ab")
    assert judge(SILENT, *sent, *trace).violations == []


@pytest.mark.clause(SILENT, "78957baf")
def test_what_is_sent_while_the_server_waits_keeps_it_from_sleep() -> None:
    trace = QUIET, BUSY_CLIENT, wait(1), Send(1, b"ab"), ASLEEP
    assert refused(SILENT, *trace).observed == "the server sleeps, and owes client 1 of 2 bytes"


@pytest.mark.clause(SILENT, "78957baf")
def test_a_client_is_served_when_the_last_byte_has_come_back() -> None:
    sent = QUIET, BUSY_CLIENT, Send(1, b"abc"), Receive(1, b"a")
    assert exercised(SILENT, *sent, Receive(1, b"b")) == 0
    assert exercised(SILENT, *sent, Receive(1, b"bc")) == 1


@pytest.mark.clause(SILENT, "78957baf")
def test_whom_a_server_without_descriptors_cannot_accept_is_not_told_of_here() -> None:
    short = QUIET, Exhausted(1)
    trace = BUSY_CLIENT, Connect(2, echo=True), Send(1, b"ab"), wait(1), ASLEEP, Quiescent(1)
    assert exercised(SILENT, *short, *trace) == 0


# --- one turn of one client -----------------------------------------------------------------------------

MUCH = bytes(MOST_BYTES)


@pytest.mark.clause(CAPPED, "5b074a97")
def test_a_turn_that_leaves_the_rest_to_the_next_is_kept() -> None:
    much = Connect(0, echo=True), Send(0, MUCH + b"x"), Receive(0, MUCH), named(2), Receive(0, b"x"), named(3)
    assert exercised(CAPPED, *much) == 1
    crowd = [Connect(number, echo=True) for number in range(MOST_ACCEPTS + 1)]
    accepts = [Accept(1, 0, None)] * MOST_ACCEPTS
    assert exercised(CAPPED, *crowd, *accepts, Accept(1, 0, "EAGAIN"), named(2), Accept(2, 0, None)) == 1
    assert exercised(CAPPED, Send(9, MUCH), Receive(9, MUCH + MUCH), named(2)) == 0


@pytest.mark.clause(CAPPED, "5b074a97")
def test_a_turn_that_moves_more_for_one_client_is_refused_once() -> None:
    trace = Connect(0, echo=True), Send(0, MUCH + b"ab"), Receive(0, MUCH), Receive(0, b"a"), Receive(0, b"b")
    assert refused(CAPPED, *trace) == refusal(
        CAPPED, trace, 3, "at most 262,144 bytes of client 0 in one turn", "262,145 came back"
    )


@pytest.mark.clause(CAPPED, "5b074a97")
def test_a_turn_that_accepts_more_is_refused_once() -> None:
    trace = [Accept(1, 0, None)] * (MOST_ACCEPTS + 2)
    assert refused(CAPPED, *trace) == refusal(
        CAPPED, trace, MOST_ACCEPTS, "at most 100 connections are accepted in turn 1", "101 were"
    )


@pytest.mark.clause(CAPPED, "5b074a97")
def test_what_was_refused_in_one_turn_is_refused_in_the_next_too() -> None:
    """What clients are owed, and how many wait to be accepted, outlives a refusal and a turn."""
    sent: list[Event] = [
        *(Connect(0, echo=True), Connect(1, echo=True)),
        *(Send(0, 2 * MUCH + b"abc"), Send(1, MUCH + b"ab")),
    ]
    turns: list[Event] = [
        *(Receive(0, MUCH + b"a"), Receive(1, MUCH), named(2), Receive(0, MUCH + b"b"), Receive(1, b"a")),
        *(named(3), Receive(0, b"c"), Receive(1, b"b"), named(4)),
    ]
    several = judge(CAPPED, *sent, *turns)
    assert [violation.position for violation in several.violations] == [4, 7]
    assert several.findings[CAPPED].exercised == 4  # both refusals, and the turns that left something

    crowd: list[Event] = [Connect(number, echo=True) for number in range(2 * MOST_ACCEPTS + 3)]
    turn: list[Event] = [Accept(1, 0, None)] * (MOST_ACCEPTS + 1)
    accepting = judge(CAPPED, *crowd, *turn, named(2), *turn, named(3), Accept(3, 0, None), named(4))
    assert [violation.position for violation in accepting.violations] == [
        len(crowd) + MOST_ACCEPTS,
        len(crowd) + 2 * MOST_ACCEPTS + 2,
    ]
    assert accepting.findings[CAPPED].exercised == 4

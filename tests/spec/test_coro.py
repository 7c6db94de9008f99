"""CORO: what a trace must show for each clause to be kept, and what breaks it."""

from __future__ import annotations

import pytest

from loopspec.coro import LIFE, Happening, Refusal, State
from loopspec.trace import (
    Await,
    Begin,
    CancelRequest,
    Connect,
    Done,
    End,
    Event,
    JobStart,
    Joined,
    Quiescent,
    Read,
    ScopeCancel,
    Send,
    Settle,
    Spawn,
    Step,
    Submit,
    Threads,
)
from tests.spec.judging import exercised, judge, refusal, refused

TABLE = "CORO.LIFE.TABLE"
RUN = "CORO.RUN.ONE_AT_A_TIME"
SWITCH = "CORO.SWITCH.ONLY_AT_AWAIT"
RESUME = "CORO.RESUME.ONCE_PER_WAKE"
OUTCOME = "CORO.OUTCOME.EXACTLY_ONE"
CHECKPOINT = "CORO.CHECKPOINT.ALWAYS_OR_NEVER"
THREADS = "CORO.THREADS.INDEPENDENT_OF_TASKS"
REASON = "CORO.WAIT.ONE_REASON"

BORN = Spawn(1, 0)
STEP = Step(1, 0, 0)
YIELD = Await(1, 0, "checkpoint", 0)
WAIT = Await(1, 0, "event", 7)
CANCEL = CancelRequest(1, 0)
DONE = Done(1, 0, "value", "x")


# --- the life of a task ---------------------------------------------------------------------------------

TO: dict[State, tuple[Event, ...]] = {
    State.ABSENT: (),
    State.NEW: (BORN,),
    State.READY: (BORN, STEP, YIELD),
    State.RUNNING: (BORN, STEP),
    State.WAITING: (BORN, STEP, WAIT),
    State.DONE: (BORN, STEP, DONE),
}
"""How to come to each state."""

AS: dict[Happening, Event] = {
    Happening.SPAWN: BORN,
    Happening.STEP: STEP,
    Happening.YIELD: YIELD,
    Happening.WAIT: WAIT,
    Happening.CANCEL: CANCEL,
    Happening.END: DONE,
}
"""How a trace tells of each happening."""


@pytest.mark.clause(TABLE, "033b56de")
def test_the_table_of_life_is_total() -> None:
    assert LIFE.keys() == {(state, happening) for state in State for happening in Happening}


@pytest.mark.clause(TABLE, "033b56de")
@pytest.mark.parametrize("happening", Happening)
@pytest.mark.parametrize("state", State)
def test_a_task_moves_as_the_table_says_and_in_no_other_way(state: State, happening: Happening) -> None:
    trace = (*TO[state], AS[happening])
    to = LIFE[state, happening]
    if isinstance(to, Refusal):
        violation = refused(TABLE, *trace)
        assert (violation.position, violation.observed) == (len(trace) - 1, f"{happening.value}: {to.why}")
    else:
        ends = [event for event in trace if event is DONE]
        assert exercised(TABLE, *trace) == len(ends)


@pytest.mark.clause(TABLE, "033b56de")
def test_a_task_that_does_what_it_cannot_is_told_what_it_could() -> None:
    trace = BORN, STEP, WAIT, DONE
    assert refused(TABLE, *trace) == refusal(
        TABLE,
        trace,
        3,
        "of a task that is waiting: step, cancel",
        "end: a suspended task does nothing until it is resumed",
    )


# --- who runs -------------------------------------------------------------------------------------------

OTHER = Spawn(1, 1)
ITS_STEP = Step(1, 1, 0)
ITS_YIELD = Await(1, 1, "checkpoint", 0)


@pytest.mark.clause(RUN, "d7dc4046")
def test_two_tasks_that_take_turns_are_kept() -> None:
    assert exercised(RUN, BORN, OTHER, STEP, YIELD, ITS_STEP, ITS_YIELD) == 2


@pytest.mark.clause(RUN, "d7dc4046")
def test_a_step_inside_the_step_of_another_is_refused() -> None:
    trace = BORN, OTHER, STEP, ITS_STEP, ITS_YIELD, YIELD
    assert refused(RUN, *trace) == refusal(
        RUN,
        trace,
        3,
        "task 0 is suspended, or ends, before another runs",
        "task 1 was resumed inside its step",
    )


@pytest.mark.clause(SWITCH, "038a7145")
def test_a_step_that_nobody_breaks_into_is_kept() -> None:
    assert exercised(SWITCH, STEP, Begin(1, 0, "sleep"), YIELD, ITS_STEP, ITS_YIELD) == 1


@pytest.mark.clause(SWITCH, "038a7145")
@pytest.mark.parametrize("on", [Begin(1, 0, "sleep"), End(1, 0, "sleep", "value"), YIELD, DONE])
def test_a_task_that_goes_on_after_another_ran_is_refused(on: Event) -> None:
    trace = STEP, ITS_STEP, ITS_YIELD, on
    assert refused(SWITCH, *trace) == refusal(
        SWITCH,
        trace,
        3,
        "task 0 alone runs from its resumption to its next await",
        "another task ran in between",
    )


@pytest.mark.clause(SWITCH, "038a7145")
@pytest.mark.parametrize(
    "between",
    [
        (ITS_STEP, ITS_YIELD, Step(1, 2, 0), Await(1, 2, "checkpoint", 2)),
        (ITS_STEP, Step(1, 2, 0), Await(1, 2, "checkpoint", 2)),
    ],
    ids=["one after another", "one within another"],
)
def test_a_task_that_two_others_have_broken_into_is_refused(between: tuple[Event, ...]) -> None:
    """Given a step in which two others begin, of which the second, too, may break into the first, when the
    task goes on, then it is refused: whom the last step broke into is not all that there is."""
    trace = STEP, *between, YIELD
    assert refused(SWITCH, *trace) == refusal(
        SWITCH,
        trace,
        len(trace) - 1,
        "task 0 alone runs from its resumption to its next await",
        "another task ran in between",
    )


# --- what a resumption is owed to -----------------------------------------------------------------------


@pytest.mark.clause(RESUME, "babd379b")
@pytest.mark.parametrize(
    "trace",
    [
        (Await(1, 0, "sleep", 5), Step(2, 0, 5)),
        (WAIT, Settle(1, "event", 7), STEP),
        (Settle(1, "event", 7), WAIT, STEP),
        (Await(1, 0, "join", 1), Settle(1, "join", 1), STEP),
        (Connect(0, echo=False), Await(1, 0, "read", 0), Send(0, b"a"), STEP),
        (Connect(0, echo=False), Send(0, b"a"), Await(1, 0, "read", 0), STEP),
        (Connect(0, echo=False), Await(1, 0, "write", 0), STEP),
        (WAIT, CANCEL, STEP),
    ],
    ids=["instant", "set", "set before", "ended", "sent", "sent before", "writable", "cancelled"],
)
def test_a_resumption_with_a_cause_is_kept(trace: tuple[Event, ...]) -> None:
    assert exercised(RESUME, *trace) == 1


@pytest.mark.clause(RESUME, "babd379b")
@pytest.mark.parametrize(
    ("before", "wait", "cause"),
    [
        ((), Await(1, 0, "sleep", 5), "its instant, 5 ns, has come"),
        ((Settle(1, "event", 8),), WAIT, "event 7 is set"),
        ((), Await(1, 0, "join", 1), "task 1 has ended"),
        (
            (Connect(0, echo=False), Send(0, b"a"), Read(1, 0, b"a")),
            Await(1, 0, "read", 0),
            "stream 0 is readable",
        ),
    ],
    ids=["sleep", "event", "join", "read"],
)
def test_a_resumption_without_a_cause_is_refused(before: tuple[Event, ...], wait: Event, cause: str) -> None:
    trace = (*before, wait, STEP)
    assert refused(RESUME, *trace) == refusal(
        RESUME,
        trace,
        len(trace) - 1,
        f"task 0 is resumed when {cause}, or on cancellation",
        "it was resumed at 0 ns, and neither had come",
    )


@pytest.mark.clause(RESUME, "babd379b")
def test_a_second_resumption_for_one_wait_is_refused() -> None:
    trace = BORN, STEP, STEP
    assert refused(RESUME, *trace) == refusal(
        RESUME,
        trace,
        2,
        "task 0 is resumed once for each time that it is suspended",
        "it was resumed, and was not suspended",
    )


@pytest.mark.clause(RESUME, "babd379b")
def test_an_operation_may_begin_with_a_checkpoint_but_not_return_on_one() -> None:
    begun = Begin(1, 0, "wait"), WAIT, STEP
    assert exercised(RESUME, *begun, WAIT, Settle(1, "event", 7), STEP, End(1, 0, "wait", "value")) == 1
    trace = *begun, End(1, 0, "wait", "value")
    assert refused(RESUME, *trace) == refusal(
        RESUME,
        trace,
        3,
        "task 0 is resumed when event 7 is set, or on cancellation",
        "its operation returned, and neither had come",
    )


@pytest.mark.clause(RESUME, "babd379b")
def test_an_operation_waits_for_a_worker_before_it_waits_for_its_job() -> None:
    begun = Submit(1, 0, 0, None), Begin(1, 0, "to_thread"), WAIT, STEP, WAIT, STEP, WAIT
    ends = Settle(1, "event", 7), STEP, End(1, 0, "to_thread", "value")
    assert exercised(RESUME, *begun, JobStart(0, "worker 0"), *ends) == 1
    trace = *begun, JobStart(0, "worker 0"), STEP, WAIT, STEP
    assert refused(RESUME, *trace).position == len(trace) - 1
    early = *begun, STEP, End(1, 0, "to_thread", "value")
    assert refused(RESUME, *early).observed == "its operation returned, and neither had come"


@pytest.mark.clause(RESUME, "babd379b")
def test_one_who_left_before_his_job_began_is_resumed_for_a_cause_from_then_on() -> None:
    left = Submit(1, 0, 0, None), Begin(1, 0, "to_thread"), WAIT, End(1, 0, "to_thread", "error")
    trace = *left, Begin(1, 0, "wait"), STEP, WAIT, STEP, WAIT, STEP
    assert refused(RESUME, *trace).position == len(trace) - 1


@pytest.mark.clause(RESUME, "babd379b")
def test_a_wake_up_that_is_lost_is_refused_when_nothing_more_happens() -> None:
    trace = WAIT, Settle(1, "event", 7), Quiescent(1), Quiescent(1)
    assert refused(RESUME, *trace) == refusal(
        RESUME, trace, 2, "task 0 is resumed, since event 7 is set", "nothing more happens, and it waits on"
    )


# --- outcomes and operations ----------------------------------------------------------------------------


@pytest.mark.clause(OUTCOME, "63728540")
def test_everyone_who_joins_sees_the_one_outcome() -> None:
    assert exercised(OUTCOME, DONE, Joined(1, 1, 0, "value", "x"), Joined(1, 2, 0, "value", "x")) == 2


@pytest.mark.clause(OUTCOME, "63728540")
@pytest.mark.parametrize(
    ("trace", "allowed", "observed"),
    [
        (
            (DONE, Done(2, 0, "error", "y")),
            "one outcome of task 0: value 'x'",
            "it ended again, with error 'y'",
        ),
        ((DONE, Joined(1, 1, 0, "value", "y")), "of task 0, task 1 sees value 'x'", "it saw value 'y'"),
        (
            (BORN, Joined(1, 1, 0, "cancelled", "")),
            "of task 0, task 1 sees its end first",
            "it saw cancelled",
        ),
    ],
    ids=["two outcomes", "another outcome", "before the end"],
)
def test_a_second_outcome_is_refused(trace: tuple[Event, ...], allowed: str, observed: str) -> None:
    assert refused(OUTCOME, *trace) == refusal(OUTCOME, trace, 1, allowed, observed)


@pytest.mark.clause(OUTCOME, "63728540")
def test_of_a_task_that_ends_as_it_is_cancelled_the_first_joiner_says_how_it_ended() -> None:
    """asyncio makes a cancelled task of one that returned in the step in which it was asked to end."""
    cancelled = Joined(2, 1, 0, "cancelled", "")
    returned = CancelRequest(1, 0), DONE
    assert exercised(OUTCOME, *returned, cancelled, Joined(2, 2, 0, "cancelled", "")) == 2
    assert exercised(OUTCOME, *returned, Joined(2, 1, 0, "value", "x")) == 1
    trace = *returned, cancelled, Joined(2, 2, 0, "value", "x")
    assert refused(OUTCOME, *trace) == refusal(
        OUTCOME, trace, 3, "of task 0, task 2 sees cancelled", "it saw value 'x'"
    )
    earlier = CancelRequest(0, 0), DONE, cancelled
    assert refused(OUTCOME, *earlier) == refusal(
        OUTCOME, earlier, 2, "of task 0, task 1 sees value 'x'", "it saw cancelled"
    )


def call(*, suspends: bool, outcome: str = "value") -> tuple[Event, ...]:
    """One call of the operation ``get``."""
    inside = (YIELD, STEP) if suspends else ()
    return Begin(1, 0, "get"), *inside, End(1, 0, "get", "value" if outcome == "value" else "error")


@pytest.mark.clause(CHECKPOINT, "53557765")
@pytest.mark.parametrize("suspends", [True, False])
def test_an_operation_with_one_habit_is_kept(suspends: bool) -> None:
    assert exercised(CHECKPOINT, *call(suspends=suspends) * 3) == 2


@pytest.mark.clause(CHECKPOINT, "53557765")
def test_an_operation_that_sometimes_does_not_yield_is_refused_once() -> None:
    trace = *call(suspends=True), *call(suspends=False), *call(suspends=True), *call(suspends=False)
    assert refused(CHECKPOINT, *trace) == refusal(
        CHECKPOINT, trace, 5, "get suspends its caller, as on its first success", "this time it did not"
    )


@pytest.mark.clause(CHECKPOINT, "53557765")
def test_a_call_that_fails_has_no_habit() -> None:
    assert exercised(CHECKPOINT, *call(suspends=True), *call(suspends=False, outcome="error")) == 0


@pytest.mark.clause(THREADS, "54307cd4")
def test_as_many_threads_for_many_tasks_as_for_few_are_kept() -> None:
    assert exercised(THREADS, Threads(1, 2, 5), Threads(2, 2, 90), Threads(3, 2, 0)) == 2


@pytest.mark.clause(THREADS, "54307cd4")
def test_threads_that_grow_with_tasks_are_refused() -> None:
    trace = Threads(1, 2, 1), Threads(2, 3, 2), Threads(3, 3, 2)
    assert refused(THREADS, *trace) == refusal(
        THREADS, trace, 1, "2 threads with 2 tasks, as with 1", "3 threads"
    )


def test_threads_that_come_and_go_by_themselves_are_nobodys_fault() -> None:
    assert judge(THREADS, Threads(1, 2, 1), Threads(2, 3, 1)).violations == []


# --- one reason at a time -------------------------------------------------------------------------------

SLEEPS = Begin(1, 0, "sleep"), Await(1, 0, "sleep", 9)
CUT_SHORT = ScopeCancel(1, 0, 3, due=True), Step(2, 0, 5), End(2, 0, "sleep", "cancelled")
THEN_WAITS = Begin(2, 0, "Event.wait"), Await(2, 0, "event", 7)
RETURNS = End(4, 0, "Event.wait", "value")


@pytest.mark.clause(REASON, "cea7e5ad")
def test_a_wait_that_was_given_up_resumes_nobody() -> None:
    trace = BORN, STEP, *SLEEPS, *CUT_SHORT, *THEN_WAITS
    assert exercised(REASON, *trace, Settle(4, "event", 7), Step(4, 0, 10), RETURNS) == 1
    stale = *trace, Step(4, 0, 10), RETURNS
    assert refused(REASON, *stale) == refusal(
        REASON,
        stale,
        len(stale) - 1,
        "task 0, which no longer waits until its instant, 9 ns, has come, waits on",
        "it was resumed then, and its operation returned",
    )


@pytest.mark.clause(REASON, "cea7e5ad")
def test_an_event_that_a_task_has_turned_away_from_resumes_it_no_more() -> None:
    away = Begin(1, 0, "Event.wait"), Await(1, 0, "event", 8), *CUT_SHORT
    trace = BORN, STEP, *away, *THEN_WAITS, Settle(4, "event", 8), Step(4, 0, 7), RETURNS
    assert refused(REASON, *trace).allowed == "task 0, which no longer waits until event 8 is set, waits on"
    before = trace[:-2]
    assert exercised(REASON, *before, Settle(4, "event", 7), *trace[-2:]) == 1


@pytest.mark.clause(REASON, "cea7e5ad")
def test_a_resumption_that_leads_back_into_the_wait_accuses_nobody() -> None:
    trace = BORN, STEP, *SLEEPS, *CUT_SHORT, *THEN_WAITS, Step(4, 0, 10), Await(4, 0, "event", 7)
    assert judge(REASON, *trace, Settle(5, "event", 7), Step(5, 0, 11), RETURNS).violations == []

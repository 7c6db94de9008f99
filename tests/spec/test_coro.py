"""CORO: what a trace must show for each clause to be kept, and what breaks it."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import product

import pytest

from loopspec.coro import LIFE, Happening, Refusal, State
from loopspec.trace import (
    Abandon,
    Await,
    Begin,
    CancelRequest,
    Close,
    Connect,
    Done,
    End,
    Event,
    HalfClose,
    JobStart,
    Joined,
    Leave,
    Quiescent,
    Read,
    Reset,
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
    assert refused(TABLE, BORN, STEP, DONE, DONE).allowed == "of a task that is done: cancel"


LEADS_TO = {
    Happening.SPAWN: State.NEW,
    Happening.STEP: State.RUNNING,
    Happening.YIELD: State.READY,
    Happening.WAIT: State.WAITING,
    Happening.CANCEL: State.DONE,
    Happening.END: State.DONE,
}
"""Where a happening that cannot be is taken to have led; who is cancelled and was never seen is over."""


@pytest.mark.clause(TABLE, "033b56de")
@pytest.mark.parametrize("state", State)
def test_after_what_cannot_be_a_task_is_where_that_would_have_led(state: State) -> None:
    for happening, then in product(Happening, Happening):
        if isinstance(LIFE[state, happening], Refusal):
            again = isinstance(LIFE[LEADS_TO[happening], then], Refusal)
            told = judge(TABLE, *TO[state], AS[happening], AS[then]).violations
            assert len(told) == 1 + again, (happening, then)


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
    assert exercised(RUN, BORN, OTHER, STEP, DONE, ITS_STEP) == 1, "then there is one"
    assert exercised(RUN, BORN, STEP, YIELD, STEP) == 0
    assert [each.position for each in judge(RUN, STEP, ITS_STEP, YIELD, STEP).violations] == [1, 3]
    assert [each.position for each in judge(RUN, STEP, Done(1, 1, "value", ""), ITS_STEP).violations] == [2]
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
def test_a_task_that_was_broken_into_goes_on_from_there() -> None:
    into = STEP, Begin(1, 0, "sleep"), ITS_STEP, Begin(1, 1, "sleep"), ITS_YIELD
    assert exercised(SWITCH, *into) == 1
    for on in (Begin(1, 0, "sleep"), End(1, 0, "sleep", "value")):
        told = judge(SWITCH, *into, on, Begin(1, 0, "sleep"), YIELD)
        assert (len(told.violations), told.findings[SWITCH].exercised) == (1, 3)
    told = judge(SWITCH, *into, YIELD, YIELD, STEP, Begin(1, 0, "sleep"), YIELD)
    assert (len(told.violations), told.findings[SWITCH].exercised) == (1, 3)


@pytest.mark.clause(SWITCH, "038a7145")
def test_a_step_that_does_nothing_shows_nothing_and_who_was_not_started_ends_outside_of_any() -> None:
    assert exercised(SWITCH, STEP, YIELD) == 0
    unstarted = Done(1, 2, "cancelled", "")
    assert exercised(SWITCH, STEP, Begin(1, 0, "sleep"), unstarted, YIELD) == 1
    assert exercised(SWITCH, STEP, STEP, Begin(1, 0, "sleep"), DONE, unstarted) == 1


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


READ_UP = Connect(0, echo=False), Send(0, b"a"), Read(1, 0, b"a")


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
        (DONE, Await(1, 1, "join", 0), Step(1, 1, 0)),
        (*READ_UP, Await(1, 0, "read", 0), HalfClose(0), STEP),
        (*READ_UP, Leave(0), Await(1, 0, "read", 0), STEP),
        (*READ_UP, Await(1, 0, "read", 0), Reset(0), STEP),
        (*READ_UP, Await(1, 0, "read", 0), Close(1, 3, 0), STEP),
        (*READ_UP, Await(1, 0, "read", 0), Abandon(1, 3, 0), STEP),
        (*READ_UP, Leave(0), Send(0, b"a"), Read(1, 0, b"a"), Await(1, 0, "read", 0), STEP),
        (*READ_UP, Await(1, 0, "read", 0), Send(0, b"a"), Read(1, 0, b"a"), STEP),
        (Connect(0, echo=False), Send(0, b"ab"), Read(1, 0, b"a"), Await(1, 0, "read", 0), STEP),
        (Read(1, 5, b"a"), Await(1, 0, "read", 5), STEP),
        (Await(1, 0, "read", 0), Connect(0, echo=False), STEP),
    ],
    ids=[
        *("instant", "set", "set before", "ended", "sent", "sent before", "writable", "cancelled"),
        *("ended before", "half-closed", "left before", "reset", "closed", "abandoned", "an end stays"),
        *("sent, and read by another", "some is left", "a stream of which nothing is told", "connected"),
    ],
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
        ((Connect(0, echo=False),), Await(1, 0, "read", 0), "stream 0 is readable"),
    ],
    ids=["sleep", "event", "join", "read", "connected before"],
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
    assert judge(RESUME, Settle(1, "event", 8), WAIT, Quiescent(1)).violations == []
    joins = DONE, Await(1, 1, "join", 0), Quiescent(1)
    assert refused(RESUME, *joins).allowed == "task 1 is resumed, since task 0 has ended"
    others = Await(1, 1, "event", 8), *trace, Step(2, 1, 1)
    lost, uncaused = judge(RESUME, *others).violations
    assert (lost.position, uncaused.allowed) == (
        3,
        "task 1 is resumed when event 8 is set, or on cancellation",
    )


@pytest.mark.clause(RESUME, "babd379b")
def test_an_operation_that_returns_no_value_needs_no_cause_and_a_later_wait_does() -> None:
    gone = Begin(1, 0, "wait"), WAIT, STEP, End(1, 0, "wait", "error")
    assert exercised(RESUME, *gone, End(1, 0, "wait", "value")) == 0
    assert refused(RESUME, *gone, WAIT, STEP).position == len(gone) + 1
    set_at_last = *gone[:-1], Settle(1, "event", 7), End(1, 0, "wait", "value")
    assert exercised(RESUME, *set_at_last) == 0


# --- of several tasks -----------------------------------------------------------------------------------

SLEEPS = Begin(1, 0, "sleep"), Await(1, 0, "sleep", 9)
CUT_SHORT = ScopeCancel(1, 0, 3, due=True), Step(2, 0, 5), End(2, 0, "sleep", "cancelled")
THEN_WAITS = Begin(2, 0, "Event.wait"), Await(2, 0, "event", 7)
RETURNS = End(4, 0, "Event.wait", "value")
TURNED_AWAY = Begin(1, 0, "Event.wait"), Await(1, 0, "event", 8)
IN_TURN = Begin(1, 0, "get"), YIELD, STEP, End(1, 0, "get", "value")

STORIES: dict[str, tuple[tuple[Event, ...], ...]] = {
    RESUME: (
        (BORN, STEP, Await(1, 0, "sleep", 5), Step(2, 0, 5), Await(2, 0, "sleep", 9), Step(2, 0, 6)),
        (WAIT, Settle(1, "event", 7), STEP, Await(1, 0, "event", 8), STEP),
        (Await(1, 0, "join", 1), Settle(1, "join", 1), STEP, STEP),
        (
            *READ_UP,
            Await(1, 0, "read", 0),
            Send(0, b"a"),
            STEP,
            Read(1, 0, b"a"),
            Await(1, 0, "read", 0),
            STEP,
        ),
        (*READ_UP, Leave(0), Await(1, 0, "read", 0), STEP),
        (CANCEL, WAIT, STEP, WAIT, STEP),
        (Begin(1, 0, "sleep"), Await(1, 0, "sleep", 1), STEP, End(1, 0, "sleep", "value")),
        (Begin(1, 0, "wait"), WAIT, STEP, End(1, 0, "wait", "value"), WAIT, STEP),
        (Begin(1, 0, "wait"), WAIT, STEP, WAIT, Settle(1, "event", 7), STEP, End(1, 0, "wait", "value")),
        (
            Submit(1, 0, 0, None),
            Begin(1, 0, "to_thread"),
            WAIT,
            STEP,
            WAIT,
            STEP,
            WAIT,
            JobStart(0, "w"),
            STEP,
        ),
        (
            Submit(1, 0, 0, None),
            Begin(1, 0, "to_thread"),
            WAIT,
            End(1, 0, "to_thread", "error"),
            STEP,
            WAIT,
            STEP,
        ),
    ),
    CHECKPOINT: (
        IN_TURN * 2,
        (*IN_TURN, Begin(1, 0, "get"), End(1, 0, "get", "value"), *IN_TURN),
        (Begin(1, 0, "get"), End(1, 0, "get", "value")) * 2,
    ),
    REASON: (
        (*SLEEPS, *CUT_SHORT, *THEN_WAITS, Step(4, 0, 10), RETURNS),
        (*SLEEPS, *CUT_SHORT, *THEN_WAITS, Settle(4, "event", 7), Step(4, 0, 8), RETURNS),
        (*TURNED_AWAY, *CUT_SHORT, *THEN_WAITS, Settle(4, "event", 8), Step(4, 0, 7), RETURNS, RETURNS),
        (*TURNED_AWAY, *CUT_SHORT, *THEN_WAITS, Settle(4, "event", 8), DONE),
        (
            *TURNED_AWAY,
            *CUT_SHORT,
            *THEN_WAITS,
            *(Settle(4, "event", key) for key in (8, 7)),
            Step(4, 0, 7),
            RETURNS,
        ),
        (YIELD, STEP, YIELD, STEP),
        (
            Settle(1, "event", 7),
            YIELD,
            STEP,
            *TURNED_AWAY,
            *CUT_SHORT,
            *THEN_WAITS,
            Settle(4, "event", 8),
            Step(4, 0, 7),
        ),
    ),
}
"""What may become of a task, as one rule each sees it: kept or refused, more than once in some."""

NAMES = frozenset({"task", "stream", "key", "job", "target", "scope"})


def of_another(event: Event) -> Event:
    """``event``, with other names for all that has one. The time up to which somebody sleeps is none."""
    names = {each.name for each in fields(event)} & NAMES
    changes: dict[str, object] = {name: getattr(event, name) + 100 for name in names}
    if getattr(event, "reason", None) == "sleep":
        changes["key"] = getattr(event, "key")  # noqa: B009 -- few events have one
    if "operation" in {each.name for each in fields(event)}:
        changes["operation"] = "another's"
    made: Event = replace(event, **changes)  # type: ignore[arg-type]
    return made


def told_of(clause: str, *trace: Event) -> tuple[int, int]:
    """How often ``trace`` exercises ``clause``, and how often it breaks it."""
    told = judge(clause, *trace)
    return told.findings[clause].exercised, len(told.violations)


@pytest.mark.parametrize(
    ("clause", "number"), [(id, each) for id in STORIES for each in range(len(STORIES[id]))]
)
def test_what_is_said_of_one_task_is_said_of_it_whatever_others_do_meanwhile(
    clause: str, number: int
) -> None:
    """Given two stories of different tasks, when one is told within the other, at whichever place, then what
    is said of both together is what is said of each."""
    one = STORIES[clause][number]
    kept, broken = told_of(clause, *one)
    for other in STORIES[clause]:
        within = tuple(of_another(event) for event in other)
        too, as_well = told_of(clause, *within)
        for place in range(len(one) + 1):
            told = told_of(clause, *one[:place], *within, *one[place:])
            assert told == (kept + too, broken + as_well), (other, place)


SAID = {
    RESUME: [(2, 1), (2, 1), (2, 1), (2, 1), (1, 0), (2, 0), (1, 1), (2, 2), (1, 0), (0, 0), (1, 1)],
    CHECKPOINT: [(1, 0), (1, 1), (1, 0)],
    REASON: [(1, 1), (0, 0), (1, 1), (0, 0), (1, 0), (0, 0), (1, 0)],
}
"""Of each story, how often its clause is exercised in it, and how often broken."""


@pytest.mark.parametrize("clause", STORIES)
def test_of_each_story_is_said_what_it_is_told_for(clause: str) -> None:
    assert [told_of(clause, *story) for story in STORIES[clause]] == SAID[clause]
    others = [[of_another(event) for event in story] for story in STORIES[clause]]
    assert [told_of(clause, *story) for story in others] == SAID[clause]


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


@pytest.mark.clause(OUTCOME, "63728540")
def test_after_a_second_outcome_the_first_is_the_one() -> None:
    twice = DONE, Done(2, 0, "error", "y")
    told = judge(OUTCOME, *twice, Joined(2, 1, 0, "value", "x"), Joined(2, 2, 0, "error", "y"))
    assert (len(told.violations), told.findings[OUTCOME].exercised) == (2, 3)
    joined = CancelRequest(1, 0), DONE, Joined(2, 1, 0, "value", "x"), Joined(2, 2, 0, "cancelled", "")
    assert refused(OUTCOME, *joined).position == 3
    late = DONE, CancelRequest(1, 0), Joined(2, 1, 0, "cancelled", "")
    assert refused(OUTCOME, *late).position == 2
    unseen = Joined(1, 1, 0, "value", "x"), DONE, Joined(1, 1, 0, "value", "x")
    assert refused(OUTCOME, *unseen).position == 0


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


@pytest.mark.clause(THREADS, "54307cd4")
def test_threads_are_compared_with_the_sample_that_had_the_fewest_tasks() -> None:
    trace = Threads(1, 5, 5), Threads(2, 2, 1), Threads(3, 3, 5)
    assert refused(THREADS, *trace).allowed == "2 threads with 5 tasks, as with 1"
    again = Threads(1, 2, 1), Threads(2, 3, 2), Threads(3, 4, 3)
    assert [each.position for each in judge(THREADS, *again).violations] == [1, 2]
    assert exercised(THREADS, Threads(1, 2, 1), Threads(2, 2, 1), Threads(3, 1, 2), Threads(4, 2, 2)) == 2


def test_threads_that_come_and_go_by_themselves_are_nobodys_fault() -> None:
    assert judge(THREADS, Threads(1, 2, 1), Threads(2, 3, 1)).violations == []


# --- one reason at a time -------------------------------------------------------------------------------


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
    trace = BORN, STEP, *TURNED_AWAY, *CUT_SHORT, *THEN_WAITS, Settle(4, "event", 8), Step(4, 0, 7), RETURNS
    assert refused(REASON, *trace).allowed == "task 0, which no longer waits until event 8 is set, waits on"
    before = trace[:-2]
    assert exercised(REASON, *before, Settle(4, "event", 7), *trace[-2:]) == 1


@pytest.mark.clause(REASON, "cea7e5ad")
def test_a_resumption_that_leads_back_into_the_wait_accuses_nobody() -> None:
    trace = BORN, STEP, *SLEEPS, *CUT_SHORT, *THEN_WAITS, Step(4, 0, 10), Await(4, 0, "event", 7)
    assert judge(REASON, *trace, Settle(5, "event", 7), Step(5, 0, 11), RETURNS).violations == []


AWAY = *TURNED_AWAY, *CUT_SHORT
OLD, NEW = Settle(4, "event", 8), Settle(4, "event", 7)
RESUMED = Step(4, 0, 7)


@pytest.mark.clause(REASON, "cea7e5ad")
@pytest.mark.parametrize(
    "trace",
    [
        (*AWAY, OLD, *THEN_WAITS, NEW, RESUMED, RETURNS),
        (*AWAY, *TURNED_AWAY, OLD, RESUMED, RETURNS),
        (*AWAY, *THEN_WAITS, *CUT_SHORT, OLD, *THEN_WAITS, NEW, RESUMED, RETURNS),
        (*AWAY, *THEN_WAITS, OLD, RESUMED, Await(4, 0, "event", 7), NEW, RESUMED, RETURNS),
        (CancelRequest(1, 5), WAIT, NEW, STEP, Await(4, 0, "event", 8), NEW, OLD, RESUMED, RETURNS),
        (CancelRequest(1, 5), WAIT, STEP, Await(4, 0, "event", 8), NEW, OLD, RESUMED, RETURNS),
        (*SLEEPS, *CUT_SHORT, Begin(2, 0, "read"), Await(2, 0, "read", 3), Step(4, 0, 10), RETURNS),
        (*SLEEPS, *CUT_SHORT, *THEN_WAITS, Step(4, 0, 8), RETURNS),
    ],
    ids=[
        *(
            "it came while nobody waited",
            "it waits for it again",
            "it left two",
            "it was resumed by it before",
        ),
        *(
            "it had what it waited for",
            "nobody asked it to leave",
            "what comes is not told",
            "before its instant",
        ),
    ],
)
def test_a_reason_that_nobody_has_left_or_that_does_not_come_meanwhile_is_no_second_one(
    trace: tuple[Event, ...],
) -> None:
    assert exercised(REASON, *trace) == 0


@pytest.mark.clause(REASON, "cea7e5ad")
def test_the_instant_at_which_a_sleep_would_have_ended_is_when_it_comes() -> None:
    stale = *SLEEPS, *CUT_SHORT, *THEN_WAITS, Step(4, 0, 9), RETURNS, RETURNS
    assert refused(REASON, *stale).position == len(stale) - 2


@pytest.mark.clause(REASON, "cea7e5ad")
def test_a_request_excuses_two_resumptions_and_no_third() -> None:
    """One may be on its way already when the request is made."""
    asked = *TURNED_AWAY, CANCEL, Step(2, 0, 5), *THEN_WAITS, OLD, RESUMED
    assert exercised(REASON, *asked, RETURNS) == 0
    third = *asked, Await(4, 0, "event", 7), OLD, RESUMED, RETURNS
    assert refused(REASON, *third).position == len(third) - 1

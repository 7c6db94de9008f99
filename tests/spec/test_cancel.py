"""CANCEL: what a trace must show for each clause to be kept, and what breaks it."""

from __future__ import annotations

import pytest

from loopspec.loop import HOPS
from loopspec.trace import (
    Answer,
    Ask,
    Await,
    Begin,
    CancelRequest,
    Done,
    End,
    Event,
    GroupExit,
    Make,
    Outcome,
    Quiescent,
    Release,
    Rest,
    Run,
    ScopeCancel,
    ScopeEnter,
    ScopeExit,
    Spawn,
    Step,
    WaitBegin,
)
from tests.spec.judging import exercised, judge, refusal, refused

DELIVERY = "CANCEL.DELIVERY.AT_CHECKPOINT"
LOST = "CANCEL.REQUEST.NEVER_LOST"
EFFECT = "CANCEL.EFFECT.DONE_OR_UNDONE"
SCOPE = "CANCEL.SCOPE.OWN_ONLY"
SPIN = "CANCEL.UNDELIVERABLE.NO_SPIN"

BORN = Spawn(1, 0)
STEP = Step(1, 0, 0)
ENTERS = Begin(1, 0, "sleep")
WAITS = Await(1, 0, "sleep", 9)
ASKED = CancelRequest(1, 0)
ENDS_CANCELLED = Done(2, 0, "cancelled", "")


def leaves(outcome: Outcome) -> Event:
    return End(2, 0, "sleep", outcome)


# --- where a request is met -----------------------------------------------------------------------------


@pytest.mark.clause(DELIVERY, "c719dd00")
def test_a_cancellation_that_comes_out_of_an_operation_is_kept() -> None:
    trace = BORN, STEP, ENTERS, WAITS, ASKED, STEP, leaves("cancelled"), ENDS_CANCELLED
    assert exercised(DELIVERY, *trace) == 1


@pytest.mark.clause(DELIVERY, "c719dd00")
def test_a_task_that_is_torn_apart_between_two_operations_is_refused() -> None:
    trace = BORN, STEP, ENTERS, WAITS, STEP, leaves("value"), ASKED, ENDS_CANCELLED
    assert refused(DELIVERY, *trace) == refusal(
        DELIVERY, trace, 7, "task 0 is cancelled at a checkpoint", "it was cancelled between two of them"
    )
    at_once = BORN, STEP, ASKED, ENDS_CANCELLED
    assert refused(DELIVERY, *at_once).position == 3


@pytest.mark.clause(DELIVERY, "c719dd00")
def test_a_task_may_end_before_its_first_step() -> None:
    assert judge(DELIVERY, BORN, ASKED, STEP, ENDS_CANCELLED).violations == []
    assert judge(DELIVERY, BORN, ASKED, ENDS_CANCELLED).violations == []


@pytest.mark.clause(DELIVERY, "c719dd00")
def test_a_cancellation_that_nobody_asked_for_is_refused() -> None:
    trace = BORN, STEP, ENTERS, WAITS, STEP, leaves("cancelled")
    assert refused(DELIVERY, *trace).observed == "nobody has"
    assert exercised(DELIVERY, BORN, ScopeCancel(1, 0, 3, due=True), *trace[1:]) == 1


@pytest.mark.clause(DELIVERY, "c719dd00")
def test_a_cancellation_that_a_scope_has_absorbed_excuses_no_later_one() -> None:
    met = BORN, STEP, ASKED, ENTERS, WAITS, STEP, leaves("cancelled"), ScopeExit(2, 0, 3, True, True)
    assert refused(DELIVERY, *met, ENDS_CANCELLED).observed == "it was cancelled between two of them"


@pytest.mark.clause(DELIVERY, "c719dd00")
def test_to_leave_a_group_is_an_operation_that_may_be_cancelled() -> None:
    asked = BORN, STEP, ENTERS, WAITS, ASKED, STEP, leaves("value")
    assert judge(DELIVERY, *asked, GroupExit(2, 0, 5, "cancelled", ()), ENDS_CANCELLED).violations == []
    trace = *asked, GroupExit(2, 0, 5, "value", ()), ENDS_CANCELLED
    assert refused(DELIVERY, *trace).position == len(trace) - 1
    absorbed = *asked[:-1], leaves("cancelled"), GroupExit(2, 0, 5, "value", ()), ENDS_CANCELLED
    assert refused(DELIVERY, *absorbed).position == len(absorbed) - 1


@pytest.mark.clause(DELIVERY, "c719dd00")
def test_who_enters_another_operation_has_absorbed_the_cancellation_of_the_one_before() -> None:
    trace = BORN, STEP, ASKED, ENTERS, WAITS, STEP, leaves("cancelled"), ENTERS, ENDS_CANCELLED
    assert refused(DELIVERY, *trace).position == len(trace) - 1


LATER = Begin(2, 0, "sleep"), Await(2, 0, "sleep", 9), Step(3, 0, 9)


@pytest.mark.clause(LOST, "dcea0edd")
def test_a_request_is_met_by_the_operation_that_it_finds_or_by_the_next() -> None:
    met = BORN, STEP, ENTERS, WAITS, ASKED, STEP, leaves("cancelled"), ENDS_CANCELLED
    assert exercised(LOST, *met) == 2
    settled = BORN, STEP, ENTERS, WAITS, ASKED, STEP, leaves("value")
    assert exercised(LOST, *settled, *LATER, leaves("cancelled"), ENDS_CANCELLED) == 2
    assert exercised(LOST, *settled, Done(2, 0, "value", "x")) == 1


@pytest.mark.clause(LOST, "dcea0edd")
def test_a_value_that_erases_a_request_is_refused() -> None:
    trace = BORN, STEP, ENTERS, WAITS, ASKED, STEP, leaves("value"), *LATER, leaves("value")
    assert refused(LOST, *trace) == refusal(
        LOST,
        trace,
        10,
        "sleep, which task 0 entered after it was asked to end, does not return a value",
        "it has",
    )
    again = judge(LOST, *trace, *LATER, leaves("value"), ASKED, *LATER, leaves("value"))
    assert [each.position for each in again.violations] == [len(trace) - 1, len(trace) + 8]


@pytest.mark.clause(LOST, "dcea0edd")
def test_an_operation_that_does_not_suspend_is_no_checkpoint() -> None:
    trace = BORN, STEP, ASKED, ENTERS, leaves("value"), Done(1, 0, "value", "x")
    assert judge(LOST, *trace).violations == []
    in_a_group = BORN, STEP, ASKED, ENTERS, leaves("value"), Await(1, 0, "group", 5), STEP
    assert judge(LOST, *in_a_group, ENTERS, leaves("value")).violations == []


@pytest.mark.clause(LOST, "dcea0edd")
def test_an_operation_that_was_not_seen_to_begin_may_have_its_value_already() -> None:
    assert judge(LOST, BORN, STEP, WAITS, ASKED, STEP, leaves("value")).violations == []


@pytest.mark.clause(LOST, "dcea0edd")
def test_one_that_waits_on_is_refused_unless_it_must_have_its_lock_first() -> None:
    assert refused(LOST, BORN, STEP, ENTERS, WAITS, ASKED, Quiescent(9)).observed == "it waits on"
    lock = BORN, STEP, Ask(1, 0, 0, "wait"), ENTERS, WAITS, ASKED, Quiescent(9)
    assert judge(LOST, *lock).violations == []
    asked_before = BORN, STEP, ASKED, Ask(1, 0, 0, "wait"), ENTERS, WAITS, Quiescent(9)
    assert judge(LOST, *asked_before).violations == []


@pytest.mark.clause(LOST, "dcea0edd")
def test_of_a_scope_the_request_lasts_as_long_as_the_scope() -> None:
    scope = ScopeCancel(1, 0, 3, due=False)
    inside = BORN, STEP, scope, ENTERS, WAITS, STEP, leaves("value")
    assert refused(LOST, *inside).position == 6
    outside = BORN, STEP, scope, ScopeExit(1, 0, 3, False, False), ENTERS, WAITS, STEP, leaves("value")
    assert judge(LOST, *outside).violations == []
    due = BORN, STEP, ScopeCancel(1, 0, 3, due=True), ENTERS, WAITS, STEP, leaves("value")
    assert judge(LOST, *due).violations == []


@pytest.mark.clause(LOST, "dcea0edd")
def test_a_request_that_comes_after_the_end_is_without_effect() -> None:
    assert exercised(LOST, BORN, STEP, Done(1, 0, "value", "x"), ASKED, Quiescent(9)) == 0


# --- what it leaves behind ------------------------------------------------------------------------------

SEMAPHORE = Make(1, 0, "semaphore", 1)


def answer(outcome: Outcome, task: int = 0) -> Event:
    return Answer(2, task, 0, "acquire", outcome)


@pytest.mark.clause(EFFECT, "82540c24")
def test_a_cancelled_operation_that_has_taken_nothing_is_kept() -> None:
    trace = SEMAPHORE, Ask(1, 0, 0, "acquire"), answer("cancelled"), Rest(3, 0, 0), Rest(4, 0, 0)
    assert exercised(EFFECT, *trace) == 1


@pytest.mark.clause(EFFECT, "82540c24")
def test_a_token_that_goes_with_a_cancelled_task_is_refused() -> None:
    trace = SEMAPHORE, Ask(1, 0, 0, "acquire"), answer("cancelled"), Rest(3, 0, 1)
    assert refused(EFFECT, *trace) == refusal(
        EFFECT, trace, 3, "whether it is locked: 0, since a cancelled operation has no effect", "1"
    )


@pytest.mark.clause(EFFECT, "82540c24")
def test_a_token_too_many_is_refused() -> None:
    has = SEMAPHORE, Ask(1, 0, 0, "acquire"), answer("value")
    trace = *has, Ask(1, 1, 0, "acquire"), answer("cancelled", 1), Rest(3, 0, 0)
    assert refused(EFFECT, *trace).observed == "0"
    back = *has, Ask(1, 1, 0, "acquire"), answer("cancelled", 1), Release(2, 0, 0), Rest(3, 0, 0)
    assert exercised(EFFECT, *back) == 1


@pytest.mark.clause(EFFECT, "82540c24")
def test_a_cancelled_put_leaves_no_item() -> None:
    trace = Make(1, 0, "queue", 2), Ask(1, 0, 0, "put", 7), Answer(2, 0, 0, "put", "cancelled", 7)
    assert exercised(EFFECT, *trace, Rest(3, 0, 0)) == 1
    assert refused(EFFECT, *trace, Rest(3, 0, 1)).observed == "1"


# --- scopes ---------------------------------------------------------------------------------------------

IN = ScopeEnter(1, 0, 3)


@pytest.mark.clause(SCOPE, "3805799f")
def test_a_scope_absorbs_what_it_issued_and_lets_the_rest_through() -> None:
    assert exercised(SCOPE, IN, ScopeCancel(1, 0, 3, due=False), ScopeExit(2, 0, 3, True, True)) == 1
    assert exercised(SCOPE, IN, ASKED, ScopeExit(2, 0, 3, True, False)) == 1
    assert exercised(SCOPE, IN, ScopeExit(2, 0, 3, False, False)) == 0


@pytest.mark.clause(SCOPE, "3805799f")
def test_a_scope_that_absorbs_another_s_cancellation_is_refused() -> None:
    trace = IN, ScopeEnter(1, 0, 4), ScopeCancel(1, 0, 3, due=True), ScopeExit(2, 0, 4, True, True)
    assert refused(SCOPE, *trace) == refusal(
        SCOPE,
        trace,
        3,
        "scope 4, which nobody has cancelled, lets a cancellation through",
        "it absorbed one",
    )


# --- what cannot be met yet -----------------------------------------------------------------------------

STUCK = STEP, Begin(1, 0, "Condition.wait"), Await(1, 0, "primitive", 0), ASKED, WaitBegin(1, 0)


@pytest.mark.clause(SPIN, "9ea58b97")
def test_a_loop_that_sleeps_with_a_request_undelivered_is_kept() -> None:
    assert exercised(SPIN, *STUCK, WaitBegin(2, 5)) == 1
    assert exercised(SPIN, *STUCK, End(2, 0, "Condition.wait", "cancelled"), WaitBegin(2, 5)) == 0


def polls(turns: int, *within: Event) -> tuple[Event, ...]:
    """So many turns that do not sleep, in each of which this happens."""
    return (*within, WaitBegin(2, 0)) * turns


@pytest.mark.clause(SPIN, "9ea58b97")
@pytest.mark.parametrize("begun", [STUCK, (STUCK[1], ASKED)], ids=["in a turn that ran it", "at once"])
def test_a_loop_that_turns_while_nothing_runs_is_refused(begun: tuple[Event, ...]) -> None:
    assert judge(SPIN, *begun, *polls(HOPS)).violations == []
    trace = *begun, *polls(HOPS + 1)
    assert refused(SPIN, *trace) == refusal(
        SPIN,
        trace,
        len(trace) - 1,
        "the loop sleeps while nothing runs and a task cannot be cancelled yet",
        f"{HOPS + 1} turns in which nothing ran",
    )


@pytest.mark.clause(SPIN, "9ea58b97")
def test_a_loop_that_has_slept_may_turn_as_often_again() -> None:
    assert exercised(SPIN, *STUCK, *polls(HOPS), WaitBegin(2, 5), *polls(HOPS)) == 1


@pytest.mark.clause(SPIN, "9ea58b97")
def test_a_request_that_keeps_the_loop_running_is_told_of_once_and_another_again() -> None:
    first = *STUCK, *polls(HOPS + 1)
    assert len(judge(SPIN, *first, *polls(2 * HOPS)).violations) == 1
    assert judge(SPIN, *first, ASKED, *polls(HOPS)).violations[1:] == []
    (_, again) = judge(SPIN, *first, ASKED, *polls(HOPS + 1)).violations
    assert again.observed == f"{HOPS + 1} turns in which nothing ran"


@pytest.mark.clause(SPIN, "9ea58b97")
def test_steps_of_the_one_that_cannot_leave_are_no_work_and_those_of_others_are() -> None:
    other_ends = End(2, 1, "sleep", "value")
    for idle in ((Step(2, 0, 0),), (other_ends,)):
        assert len(judge(SPIN, *STUCK, *polls(HOPS + 1, *idle)).violations) == 1
    for work in ((Run(2, 0),), (Step(2, 1, 0), other_ends)):
        assert judge(SPIN, *STUCK, *polls(HOPS + 1, *work)).violations == []


@pytest.mark.clause(SPIN, "9ea58b97")
def test_a_request_to_one_that_is_in_no_operation_is_not_undelivered() -> None:
    assert judge(SPIN, ASKED, *polls(HOPS + 2)).violations == []

"""PRIM: what a trace must show for each clause to be kept, and what breaks it."""

from __future__ import annotations

import pytest

from loopspec.trace import (
    Answer,
    Ask,
    CancelRequest,
    Event,
    Make,
    Notify,
    Release,
    Rest,
    Verb,
)
from tests.spec.judging import exercised, judge, refusal, refused

FIFO = "PRIM.WAITERS.FIFO_NO_BARGING"
HANDOFF = "PRIM.HANDOFF.PASSES_ON"
HOLDS = "PRIM.CONDITION.HOLDS_LOCK"
CONSERVES = "PRIM.QUEUE.CONSERVES_ITEMS"

LOCK = Make(1, 0, "lock", 1)
CONDITION = Make(1, 0, "condition", 1)
QUEUE = Make(1, 0, "queue", 1)


def asks(task: int, verb: Verb, item: int | None = None) -> Event:
    return Ask(1, task, 0, verb, item)


def gets(task: int, verb: Verb, item: int | None = None, *, turn: int = 1) -> Event:
    return Answer(turn, task, 0, verb, "value", item, locked=verb == "wait")


def leaves(task: int, verb: Verb, *, locked: bool | None = None) -> Event:
    return Answer(2, task, 0, verb, "cancelled", None, verb == "wait" if locked is None else locked)


def releases(task: int) -> Event:
    return Release(1, task, 0)


# --- in order -------------------------------------------------------------------------------------------


@pytest.mark.clause(FIFO, "7d600fa7")
def test_those_who_wait_are_served_in_the_order_of_asking() -> None:
    trace = (
        *(LOCK, asks(0, "acquire"), gets(0, "acquire"), asks(1, "acquire"), asks(2, "acquire")),
        *(releases(0), gets(1, "acquire", turn=2), releases(1), gets(2, "acquire", turn=3)),
    )
    assert exercised(FIFO, *trace) == 1


@pytest.mark.clause(FIFO, "7d600fa7")
def test_a_newcomer_that_is_served_before_one_that_waits_is_refused() -> None:
    trace = (
        *(LOCK, asks(0, "acquire"), gets(0, "acquire"), asks(1, "acquire"), releases(0)),
        *(asks(0, "acquire"), gets(0, "acquire", turn=2), releases(0), gets(1, "acquire", turn=4)),
    )
    assert refused(FIFO, *trace) == refusal(
        FIFO,
        trace,
        8,
        "task 1, which asked to acquire before task 0, is served before it",
        "task 0 was served in turn 2, task 1 in turn 4",
    )


@pytest.mark.clause(FIFO, "7d600fa7")
def test_one_that_leaves_is_overtaken_by_nobody() -> None:
    trace = (
        *(LOCK, asks(0, "acquire"), gets(0, "acquire"), asks(1, "acquire"), asks(2, "acquire"), releases(0)),
        *(gets(2, "acquire", turn=2), leaves(1, "acquire")),
    )
    assert judge(FIFO, *trace).violations == []


@pytest.mark.clause(FIFO, "7d600fa7")
def test_who_runs_first_of_those_chosen_in_one_turn_is_no_matter_of_order() -> None:
    trace = (asks(1, "acquire"), asks(2, "acquire"), gets(2, "acquire", turn=3), gets(1, "acquire", turn=3))
    assert judge(FIFO, LOCK, *trace).violations == []


@pytest.mark.clause(FIFO, "7d600fa7")
def test_who_puts_does_not_stand_in_line_with_those_who_get() -> None:
    trace = (asks(1, "get"), asks(2, "put", 0), gets(2, "put", 0, turn=2), gets(1, "get", 0, turn=3))
    assert judge(FIFO, QUEUE, *trace).violations == []


# --- passed on ------------------------------------------------------------------------------------------

TWO_WAIT_FOR_A_LOCK = (LOCK, asks(0, "acquire"), gets(0, "acquire"), asks(1, "acquire"), asks(2, "acquire"))


@pytest.mark.clause(HANDOFF, "8719886f")
@pytest.mark.parametrize(
    "pair",
    [(releases(0), CancelRequest(1, 1)), (CancelRequest(1, 1), releases(0))],
    ids=["chosen, then cancelled", "cancelled, then chosen"],
)
def test_what_a_cancelled_one_was_to_have_goes_to_the_next(pair: tuple[Event, Event]) -> None:
    trace = (*TWO_WAIT_FOR_A_LOCK, *pair, leaves(1, "acquire"), gets(2, "acquire"), Rest(3, 0, 1))
    assert exercised(HANDOFF, *trace) == 1


@pytest.mark.clause(HANDOFF, "8719886f")
def test_a_lock_that_goes_with_the_one_it_was_meant_for_is_refused() -> None:
    trace = (*TWO_WAIT_FOR_A_LOCK, releases(0), CancelRequest(1, 1), leaves(1, "acquire"), Rest(3, 0, 1))
    assert refused(HANDOFF, *trace) == refusal(
        HANDOFF,
        trace,
        8,
        "what was meant for one that was cancelled passes to task 2, which asked to acquire",
        "the loop sleeps, and task 2 waits for what is there",
    )


@pytest.mark.clause(HANDOFF, "8719886f")
@pytest.mark.parametrize(
    "trace",
    [
        (asks(1, "get"), asks(2, "get"), asks(0, "put", 0), gets(0, "put", 0), leaves(1, "get")),
        (
            *(asks(0, "put", 0), gets(0, "put", 0), asks(1, "put", 1), asks(2, "put", 2)),
            *(asks(0, "get"), gets(0, "get", 0), leaves(1, "put")),
        ),
    ],
    ids=["an item", "a place"],
)
def test_items_and_places_pass_on_as_well(trace: tuple[Event, ...]) -> None:
    (violation,) = judge(HANDOFF, QUEUE, *trace, Rest(3, 0, 1)).violations
    assert violation.observed == "the loop sleeps, and task 2 waits for what is there"


def waits(task: int) -> tuple[Event, ...]:
    return asks(task, "acquire"), gets(task, "acquire"), asks(task, "wait")


NOTIFIED = (CONDITION, *waits(1), *waits(2), asks(0, "acquire"), gets(0, "acquire"), Notify(1, 0, 1))
AFTER = (releases(0), leaves(1, "wait"), releases(1))


@pytest.mark.clause(HANDOFF, "8719886f")
def test_a_notification_passes_on() -> None:
    kept = (*NOTIFIED, CancelRequest(1, 1), *AFTER, gets(2, "wait"), releases(2), Rest(3, 0, 0))
    assert exercised(HANDOFF, *kept) == 1
    lost = (*NOTIFIED, CancelRequest(1, 1), *AFTER, Rest(3, 0, 0))
    (violation,) = judge(HANDOFF, *lost).violations
    assert violation.position == len(lost) - 1


@pytest.mark.clause(HANDOFF, "8719886f")
def test_a_notification_is_owed_to_nobody_who_came_later() -> None:
    later = (CONDITION, *waits(1), asks(0, "acquire"), gets(0, "acquire"), Notify(1, 0, 1))
    trace = (
        *later,
        CancelRequest(1, 1),
        releases(0),
        *waits(2),
        leaves(1, "wait"),
        releases(1),
        Rest(3, 0, 0),
    )
    assert judge(HANDOFF, *trace).violations == []


@pytest.mark.clause(HANDOFF, "8719886f")
def test_as_many_are_served_as_were_notified_and_no_more() -> None:
    """Given four who wait and two notifications, when one of the two chosen leaves, then a third is
    served, and the fourth waits on."""
    four = (CONDITION, *waits(1), *waits(2), *waits(3), *waits(4))
    chosen = (asks(0, "acquire"), gets(0, "acquire"), Notify(1, 0, 2), CancelRequest(1, 2), releases(0))
    served = (gets(1, "wait"), releases(1), leaves(2, "wait"), releases(2))
    trace = (*four, *chosen, *served, gets(3, "wait"), releases(3), Rest(3, 0, 0))
    assert exercised(HANDOFF, *trace) == 1
    lost = (*four, *chosen, *served, Rest(3, 0, 0))
    assert refused(HANDOFF, *lost).observed == "the loop sleeps, and task 3 waits for what is there"


@pytest.mark.clause(HANDOFF, "8719886f")
def test_a_notification_is_owed_to_nobody_who_had_been_asked_to_leave() -> None:
    """Until it waits anew: what it was asked then it has met."""
    waiting = (CONDITION, *waits(1), *waits(2))
    notified = (asks(0, "acquire"), gets(0, "acquire"), Notify(1, 0, 1), CancelRequest(1, 1), *AFTER)
    asked = (*waiting, CancelRequest(1, 2), *notified, Rest(3, 0, 0))
    assert exercised(HANDOFF, *asked) == 1
    anew = (*waiting, CancelRequest(1, 2), leaves(2, "wait"), releases(2), *waits(2), *notified)
    assert refused(HANDOFF, *anew, Rest(3, 0, 0)).position == len(anew)


@pytest.mark.clause(HANDOFF, "8719886f")
def test_a_notification_that_is_lost_is_told_of_once() -> None:
    lost = (CONDITION, *waits(1), *waits(2), *waits(3), *NOTIFIED[-3:], CancelRequest(1, 1), *AFTER)
    other = (asks(0, "acquire"), gets(0, "acquire"), asks(4, "acquire"), releases(0), leaves(4, "acquire"))
    assert refused(HANDOFF, *lost, Rest(3, 0, 0), *other, Rest(4, 0, 0)).position == len(lost)


@pytest.mark.clause(HANDOFF, "8719886f")
def test_a_lock_passes_on_each_time_to_those_who_have_waited_since_before() -> None:
    line = (*TWO_WAIT_FOR_A_LOCK, asks(3, "acquire"), asks(4, "acquire"))
    once = (*line, releases(0), leaves(1, "acquire"), gets(2, "acquire"), Rest(3, 0, 1))
    again = (releases(2), leaves(3, "acquire"))
    assert exercised(HANDOFF, *once, *again, gets(4, "acquire"), Rest(4, 0, 1)) == 2
    assert refused(HANDOFF, *once, *again, Rest(4, 0, 0)).position == len(once) + len(again)


@pytest.mark.clause(HANDOFF, "8719886f")
def test_who_waits_where_nobody_was_cancelled_is_not_this_clause_s_business() -> None:
    assert judge(HANDOFF, *TWO_WAIT_FOR_A_LOCK, releases(0), Rest(3, 0, 0)).violations == []


# --- conditions -----------------------------------------------------------------------------------------


@pytest.mark.clause(HOLDS, "6f2a8be8")
def test_a_wait_that_ends_with_the_lock_is_kept_whether_it_returns_or_raises() -> None:
    assert exercised(HOLDS, CONDITION, *waits(1), gets(1, "wait"), asks(1, "wait"), leaves(1, "wait")) == 2


@pytest.mark.clause(HOLDS, "6f2a8be8")
def test_a_wait_that_ends_without_the_lock_is_refused() -> None:
    trace = (CONDITION, *waits(1), leaves(1, "wait", locked=False))
    assert refused(HOLDS, *trace) == refusal(
        HOLDS, trace, 4, "task 1 holds the lock of the condition that it waited for", "nobody holds it"
    )


@pytest.mark.clause(HOLDS, "6f2a8be8")
def test_a_wait_that_ends_while_another_holds_the_lock_is_refused() -> None:
    trace = (CONDITION, *waits(1), asks(2, "acquire"), gets(2, "acquire"), leaves(1, "wait"))
    assert refused(HOLDS, *trace).observed == "task 2 holds it"


# --- queues ---------------------------------------------------------------------------------------------

PUT = (asks(0, "put", 7), gets(0, "put", 7))


@pytest.mark.clause(CONSERVES, "0216a0cb")
def test_what_was_put_is_taken_or_there() -> None:
    taken = (asks(1, "get"), gets(1, "get", 7))
    assert exercised(CONSERVES, QUEUE, *PUT, Rest(2, 0, 1), *taken, Rest(3, 0, 0), Rest(4, 0, 0)) == 2


@pytest.mark.clause(CONSERVES, "0216a0cb")
def test_each_item_is_taken_once_and_a_put_that_waits_counts_as_none() -> None:
    two = (*PUT, asks(0, "put", 8), gets(0, "put", 8), asks(1, "get"), gets(1, "get", 7))
    assert exercised(CONSERVES, QUEUE, *two, asks(1, "get"), gets(1, "get", 8), Rest(2, 0, 0)) == 1
    assert exercised(CONSERVES, QUEUE, *PUT, asks(1, "put", 8), Rest(2, 0, 1)) == 1


@pytest.mark.clause(CONSERVES, "0216a0cb")
def test_an_item_may_be_taken_before_who_put_it_has_run_again() -> None:
    trace = (asks(1, "get"), asks(0, "put", 7), gets(1, "get", 7), gets(0, "put", 7), Rest(2, 0, 0))
    assert exercised(CONSERVES, QUEUE, *trace) == 1


@pytest.mark.clause(CONSERVES, "0216a0cb")
def test_an_item_that_is_neither_taken_nor_there_is_refused() -> None:
    trace = (QUEUE, *PUT, asks(1, "get"), leaves(1, "get"), Rest(2, 0, 0))
    assert refused(CONSERVES, *trace) == refusal(
        CONSERVES, trace, 5, "1 items in the queue, as many more were put than taken", "there are 0"
    )
    goes_on = judge(CONSERVES, *trace, *PUT, Rest(3, 0, 1))
    assert (len(goes_on.violations), goes_on.findings[CONSERVES].exercised) == (1, 2)


@pytest.mark.clause(CONSERVES, "0216a0cb")
def test_an_item_that_is_taken_twice_is_refused() -> None:
    trace = (QUEUE, *PUT, asks(1, "get"), gets(1, "get", 7), asks(2, "get"), gets(2, "get", 7))
    assert refused(CONSERVES, *trace).observed == "it got item 7"


@pytest.mark.clause(CONSERVES, "0216a0cb")
def test_a_put_that_was_cancelled_and_is_there_all_the_same_is_refused() -> None:
    cancelled = (asks(1, "put", 8), leaves(1, "put"), asks(2, "get"), gets(2, "get", 7))
    assert refused(CONSERVES, QUEUE, *PUT, *cancelled, Rest(2, 0, 1)).observed == "there are 1"

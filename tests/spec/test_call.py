"""CALL, as rules: what a run must show for each clause to be kept, and what breaks it.

The premises are exercised and the breaches made by hand-told lives of calls; that real calls lead such lives
is shown in ``tests/conformance/test_calls.py``, and what follows from the table in ``test_crosshair.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from loopspec import call
from loopspec.call import LIFE, Move, Refusal, State
from loopspec.clause import select
from loopspec.judge import Judge, Verdict
from loopspec.trace import (
    EVENTS,
    Await,
    Call,
    Deliver,
    Event,
    Quiescent,
    Resume,
    Return,
    Step,
    Suspend,
    WaitBegin,
    WaitReturn,
)

A, B, LOOP = "a", "b", "loop"
CALLED, AGAIN = Call(1, A, "f"), Call(1, A, "f")
ANSWER, PROMISE, RESULT = Return(1, A, True), Return(1, A, False), Deliver(1)
SLEEP, WAKE, REST = Suspend(A), Resume(A), Quiescent(0)


def judged(trace: Sequence[Event]) -> Judge:
    judge = Judge(select(["CALL"]), frozenset(EVENTS))
    for event in trace:
        judge.after(event)
    return judge


def broken(trace: Sequence[Event]) -> list[tuple[str, int]]:
    """Every refused event of ``trace``, as clause and position."""
    return [(violation.clause, violation.position) for violation in judged(trace).violations]


def exercised(trace: Sequence[Event]) -> set[str]:
    """The clauses that ``trace`` keeps."""
    return {id for id, finding in judged(trace).findings.items() if finding.verdict is Verdict.PASS}


# --- the definitions and the theorems -------------------------------------------------------------------


@pytest.mark.clause("CALL.BLOCKING.SUSPENDS_CALLER", "3dffd29b")
def test_a_call_whose_thread_is_suspended_inside_is_blocking() -> None:
    assert "CALL.BLOCKING.SUSPENDS_CALLER" in exercised([CALLED, SLEEP, WAKE, ANSWER])


@pytest.mark.clause("CALL.BLOCKING.SUSPENDS_CALLER", "3dffd29b")
@pytest.mark.parametrize(
    "trace",
    [
        [CALLED, ANSWER],
        [SLEEP, WAKE, CALLED, ANSWER, SLEEP, WAKE],
        [CALLED, Suspend(B), Resume(B), ANSWER],
    ],
    ids=["no suspension", "suspended before and after", "another thread suspended"],
)
def test_a_call_whose_own_thread_is_not_suspended_inside_is_not_blocking(trace: list[Event]) -> None:
    assert "CALL.BLOCKING.SUSPENDS_CALLER" not in exercised(trace)
    assert broken(trace) == []


@pytest.mark.clause("CALL.BLOCKING.SUSPENDS_CALLER", "3dffd29b")
def test_a_suspended_thread_does_not_return() -> None:
    assert broken([CALLED, SLEEP, ANSWER]) == [("CALL.BLOCKING.SUSPENDS_CALLER", 2)]


@pytest.mark.clause("CALL.BLOCKING.SUSPENDS_CALLER", "3dffd29b")
def test_a_suspension_inside_an_inner_call_is_one_of_the_outer_call_too() -> None:
    inner: list[Event] = [Call(2, A, "g"), SLEEP, WAKE, Return(2, A, True)]
    assert judged([CALLED, *inner, ANSWER]).findings["CALL.BLOCKING.SUSPENDS_CALLER"].exercised == 2


@pytest.mark.clause("CALL.NONBLOCKING.IS_COMPLEMENT", "7ffaffdf")
@pytest.mark.parametrize("inside", [(), (SLEEP, WAKE)], ids=["never suspended", "suspended"])
def test_each_returned_call_is_one_of_the_two(inside: tuple[Event, ...]) -> None:
    assert "CALL.NONBLOCKING.IS_COMPLEMENT" in exercised([CALLED, *inside, ANSWER])


@pytest.mark.clause("CALL.NONBLOCKING.IS_COMPLEMENT", "7ffaffdf")
@pytest.mark.parametrize(
    "trace",
    [[ANSWER], [CALLED, ANSWER, ANSWER], [CALLED, AGAIN]],
    ids=["never called", "twice", "called twice"],
)
def test_a_call_is_entered_once_and_returns_once(trace: list[Event]) -> None:
    assert broken(trace) == [("CALL.NONBLOCKING.IS_COMPLEMENT", len(trace) - 1)]


@pytest.mark.clause("CALL.SYNC.RESULT_AT_RETURN", "2d537ed1")
def test_a_result_that_the_return_delivers_is_not_delivered_again() -> None:
    assert "CALL.SYNC.RESULT_AT_RETURN" in exercised([CALLED, ANSWER])
    assert broken([CALLED, ANSWER, RESULT]) == [("CALL.SYNC.RESULT_AT_RETURN", 2)]


@pytest.mark.clause("CALL.ASYNC.RESULT_AFTER_RETURN", "fec18e1b")
@pytest.mark.clause("CALL.ASYNC.SETTLES_ONCE", "b7d70aa7")
def test_a_result_that_is_due_comes_before_the_world_rests() -> None:
    both = {"CALL.ASYNC.RESULT_AFTER_RETURN", "CALL.ASYNC.SETTLES_ONCE"}
    assert both <= exercised([CALLED, PROMISE, RESULT, REST])
    assert {id for id, _ in broken([CALLED, PROMISE, REST])} == both


@pytest.mark.clause("CALL.ASYNC.SETTLES_ONCE", "b7d70aa7")
def test_a_result_comes_once() -> None:
    assert broken([CALLED, PROMISE, RESULT, RESULT]) == [("CALL.ASYNC.SETTLES_ONCE", 3)]


@pytest.mark.clause("CALL.BLOCKING.IMPLIES_SYNC", "da72c879")
@pytest.mark.parametrize(
    "trace", [[CALLED, SLEEP, WAKE, ANSWER], [CALLED, PROMISE]], ids=["blocking", "asynchronous"]
)
def test_a_call_that_is_one_of_blocking_and_asynchronous_is_not_the_other(trace: list[Event]) -> None:
    assert "CALL.BLOCKING.IMPLIES_SYNC" in exercised(trace)


@pytest.mark.clause("CALL.BLOCKING.IMPLIES_SYNC", "da72c879")
def test_a_submit_that_blocks_breaks_the_promise_that_asynchronous_calls_make() -> None:
    assert broken([CALLED, SLEEP, WAKE, PROMISE, RESULT]) == [("CALL.BLOCKING.IMPLIES_SYNC", 3)]


@pytest.mark.clause("CALL.CALLBACK.NEVER_INSIDE", "fc5c2d8f")
def test_a_callback_waits_for_the_return_of_the_call_that_registers_it() -> None:
    assert "CALL.CALLBACK.NEVER_INSIDE" in exercised([CALLED, PROMISE, RESULT])
    assert broken([CALLED, RESULT, PROMISE, REST]) == [("CALL.CALLBACK.NEVER_INSIDE", 1)]


def test_a_life_that_was_refused_is_blamed_once() -> None:
    assert broken([CALLED, RESULT, PROMISE, RESULT, REST]) == [("CALL.CALLBACK.NEVER_INSIDE", 1)]


def test_a_rule_that_has_seen_enough_of_a_call_does_not_remember_it_again() -> None:
    assert call.CallbackNeverInside().after(RESULT) is None


def test_a_callback_may_run_inside_another_call() -> None:
    assert broken([CALLED, PROMISE, Call(2, A, "g"), RESULT, Return(2, A, True)]) == []


# --- coroutines ---------------------------------------------------------------------------------------------

AWAIT = Await(1, 7, "checkpoint", 0)


@pytest.mark.clause("CALL.AWAIT.SUSPENDS_TASK_ONLY", "4b501393")
@pytest.mark.parametrize(
    "next", [Step(1, 8, 0), WaitBegin(1, None)], ids=["another task runs", "the loop waits"]
)
def test_an_await_leaves_the_thread_to_others(next: Event) -> None:
    assert "CALL.AWAIT.SUSPENDS_TASK_ONLY" in exercised([AWAIT, next, Suspend(LOOP)])


@pytest.mark.clause("CALL.AWAIT.SUSPENDS_TASK_ONLY", "4b501393")
def test_an_await_that_suspends_its_thread_is_refused() -> None:
    assert broken([AWAIT, Suspend(LOOP), WaitBegin(1, None)]) == [("CALL.AWAIT.SUSPENDS_TASK_ONLY", 1)]


def test_a_suspension_of_another_thread_or_inside_the_wait_is_no_fault_of_an_await() -> None:
    assert broken([AWAIT, Suspend(A), WaitBegin(1, None), Suspend(LOOP), WaitReturn(2, 0, (), 8)]) == []


# --- the kernel's own calls -----------------------------------------------------------------------------


def kernel(name: str, error: str | None, *, on: str = "socket", delivered: bool = True) -> list[Event]:
    return [Call(1, A, name, on, nonblocking=True), Return(1, A, delivered, error)]


@pytest.mark.clause("CALL.EAGAIN.INSTEAD_OF_SUSPENSION", "f9eabb56")
@pytest.mark.parametrize(
    "trace", [kernel("recv", "EAGAIN"), [*kernel("connect", "EINPROGRESS", delivered=False), RESULT]]
)
def test_a_nonblocking_descriptor_says_eagain_or_goes_on_connecting(trace: list[Event]) -> None:
    assert "CALL.EAGAIN.INSTEAD_OF_SUSPENSION" in exercised(trace)


@pytest.mark.clause("CALL.EAGAIN.INSTEAD_OF_SUSPENSION", "f9eabb56")
def test_a_nonblocking_call_that_has_its_result_shows_nothing() -> None:
    assert "CALL.EAGAIN.INSTEAD_OF_SUSPENSION" not in exercised(kernel("recv", None))


@pytest.mark.clause("CALL.EAGAIN.INSTEAD_OF_SUSPENSION", "f9eabb56")
@pytest.mark.parametrize(
    "trace",
    [
        [Call(1, A, "recv", "socket", nonblocking=True), SLEEP],
        kernel("recv", "EAGAIN", delivered=False),
        kernel("recv", "EINPROGRESS", delivered=False),
        kernel("connect", "EINPROGRESS", delivered=True),
    ],
    ids=["it suspends", "EAGAIN goes on", "recv goes on", "connect ends"],
)
def test_a_nonblocking_call_that_does_anything_else_is_refused(trace: list[Event]) -> None:
    assert broken(trace) == [("CALL.EAGAIN.INSTEAD_OF_SUSPENSION", 1)]


@pytest.mark.clause("CALL.REGULAR_FILE.CANNOT_POLL", "4401dc8c")
@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [("read", [None, "EIO"], ["EAGAIN"]), ("epoll_ctl", ["EPERM"], [None, "EAGAIN"])],
)
def test_a_regular_file_is_never_eagain_and_is_not_registered(
    name: str, right: list[str | None], wrong: list[str | None]
) -> None:
    for error in right:
        assert "CALL.REGULAR_FILE.CANNOT_POLL" in exercised(kernel(name, error, on="regular file"))
    for error in wrong:
        assert ("CALL.REGULAR_FILE.CANNOT_POLL", 1) in broken(kernel(name, error, on="regular file"))


BLOCKING_RECV: list[Event] = [Call(2, A, "recv", "socket"), SLEEP, WAKE, Return(2, A, True)]
CONNECT: list[Event] = [*kernel("connect", "EINPROGRESS", delivered=False), RESULT]


@pytest.mark.clause("CALL.SYNC.NEED_NOT_BLOCK", "9d6533c4")
def test_a_survey_whose_synchronous_calls_all_block_has_no_witness() -> None:
    assert "CALL.SYNC.NEED_NOT_BLOCK" in exercised([*BLOCKING_RECV, *kernel("recv", None), REST])
    assert broken([*BLOCKING_RECV, *CONNECT, REST]) == [
        ("CALL.SYNC.NEED_NOT_BLOCK", 7),
        ("CALL.NONBLOCKING.NEED_NOT_BE_ASYNC", 7),
    ]


@pytest.mark.clause("CALL.NONBLOCKING.NEED_NOT_BE_ASYNC", "8786a172")
def test_a_survey_whose_nonblocking_calls_are_all_asynchronous_has_no_witness() -> None:
    assert "CALL.NONBLOCKING.NEED_NOT_BE_ASYNC" in exercised([*CONNECT, *kernel("recv", None), REST])
    assert broken([*CONNECT, REST]) == [("CALL.NONBLOCKING.NEED_NOT_BE_ASYNC", 3)]


def test_a_loop_is_no_survey_and_need_not_offer_a_witness() -> None:
    assert broken([CALLED, PROMISE, RESULT, REST]) == []


# --- the table ------------------------------------------------------------------------------------------


def test_the_table_is_total_and_every_refusal_and_state_occurs_in_it() -> None:
    assert set(LIFE) == set(itertools.product(State, Move))
    assert set(LIFE.values()) == {*State, *Refusal}


def test_each_refusal_is_the_breach_of_a_clause() -> None:
    rules = [entry.rule for entry in select(["CALL"])]
    forbidden = [rule.forbids for rule in rules if isinstance(rule, type) and issubclass(rule, call._Life)]
    assert frozenset().union(*forbidden) == frozenset(Refusal)


EVENT_OF: dict[Move, Callable[[], Event]] = {
    Move.CALL: lambda: CALLED,
    Move.SUSPEND: lambda: SLEEP,
    Move.RESUME: lambda: WAKE,
    Move.ANSWER: lambda: ANSWER,
    Move.PROMISE: lambda: PROMISE,
    Move.DELIVER: lambda: RESULT,
    Move.REST: lambda: REST,
}


@given(st.lists(st.sampled_from(Move), max_size=8))
def test_a_life_breaks_a_clause_just_if_the_table_refuses_it(moves: list[Move]) -> None:
    state, refused_at = State.NEW, None
    for place, move in enumerate(moves):
        to = LIFE[state, move]
        # Names are not used twice; a rule may forget a call that has returned, and would not notice.
        assume(not (move is Move.CALL and state in call.RETURNED))
        if isinstance(to, Refusal):
            refused_at = place
            break
        state = to
    seen = broken([EVENT_OF[move]() for move in moves])
    assert (seen[0][1] if seen else None) == refused_at


def test_every_move_within_the_table_leads_to_the_facts_that_its_state_stands_for() -> None:
    """What a life of any length comes to: it begins with no facts, and each move keeps the two together."""
    assert call.FACTS[State.NEW] == call.Facts()
    for (state, move), to in LIFE.items():
        if isinstance(to, State):
            assert call.told(call.FACTS[state], move) == call.FACTS[to], (state, move)


KINDS: dict[State, set[Callable[[call.Facts], bool]]] = {
    State.NEW: set(),
    State.RUNNING: set(),
    State.SUSPENDED: set(),
    State.WOKEN: set(),
    State.PENDING: {call.nonblocking},
    State.ANSWERED: {call.nonblocking, call.synchronous, call.finished},
    State.WAITED: {call.blocking, call.synchronous, call.finished},
    State.SETTLED: {call.nonblocking, call.asynchronous, call.finished},
}


@pytest.mark.parametrize("state", State)
def test_of_which_kinds_a_call_is_in_each_state(state: State) -> None:
    kinds = call.blocking, call.nonblocking, call.synchronous, call.asynchronous, call.finished
    assert {kind for kind in kinds if kind(call.FACTS[state])} == KINDS[state]

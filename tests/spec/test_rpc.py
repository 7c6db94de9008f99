"""RPC, as rules: what a run must show for each clause to be kept, and what breaks it.

That real calls lead such lives, in all three forms, is shown in ``tests/conformance/test_services.py`` and
``tests/refloop/test_rpc.py``; what follows from the table, in ``test_crosshair.py``.
"""

from __future__ import annotations

import pytest

from loopspec.rpc import (
    FACTS,
    LIFE,
    Facts,
    Move,
    Refusal,
    State,
    delivers_what_was_sent,
    free_is_not_awaited,
    is_free,
    live,
    settles_once,
    told,
)
from loopspec.trace import (
    Event,
    Quiescent,
    Resume,
    RpcBreak,
    RpcCall,
    RpcClose,
    RpcDropped,
    RpcForm,
    RpcOutcome,
    RpcReply,
    RpcRequest,
    RpcResult,
    RpcReturn,
    RpcSettle,
    Suspend,
    WaitBegin,
)
from tests.spec.judging import exercised, judge, refusal, refused

BLOCKING = "RPC.BLOCKING.SUSPENDS_CALLER"
ASYNC = "RPC.ASYNC.RETURNS_AT_ONCE"
ONCE = "RPC.CALL.SETTLES_ONCE"
ID = "RPC.ID.NOT_REUSED"
CLOSE = "RPC.CLOSE.SETTLES_ALL"
AGREE = "RPC.STYLES.AGREE"

SLEEP, WAKE, REST = Suspend("hand"), Resume("hand"), Quiescent(9)
LOOP_SLEEPS = Suspend("loop")
CLOSED = RpcBreak(0, "close")


def call(number: int, form: RpcForm = "callback", *, turn: int = 1, timeout: int | None = None) -> RpcCall:
    return RpcCall(turn, 0, number, form, "hand" if form == "blocking" else "loop", 100, timeout)


def request(number: int, id: int) -> RpcRequest:
    return RpcRequest(0, number, id)


def reply(number: int | None, id: int, value: str = "v") -> RpcReply:
    return RpcReply(0, number, id, value)


def settle(
    number: int, outcome: RpcOutcome = "reply", value: str = "v", *, turn: int = 2, at: int = 100
) -> RpcSettle:
    return RpcSettle(turn, 0, number, at, outcome, value if outcome in ("reply", "error") else "")


def dropped(count: int) -> RpcDropped:
    return RpcDropped(3, 0, count)


def keeps(clause: str, *trace: Event) -> bool:
    return judge(clause, *trace).violations == []


def test_the_table_is_total_and_leads_from_facts_to_facts() -> None:
    assert LIFE.keys() == {(state, move) for state in State for move in Move}
    for (state, move), to in LIFE.items():
        if not isinstance(to, Refusal):
            assert told(FACTS[state], move) == FACTS[to]


def test_what_follows_from_the_table_holds_in_every_state_and_for_every_move() -> None:
    assert Facts() == Facts(made=False, replied=False, settlements=0)
    assert [state for state in State if is_free(state)] == [State.OVER]
    assert free_is_not_awaited(State.OVER) == Facts(made=True, replied=True, settlements=1)
    for (state, move), to in LIFE.items():
        if not isinstance(to, Refusal):
            assert live(state, move) == FACTS[to]
            assert settles_once(state, move).settlements <= 1
            assert move is not Move.DELIVER or delivers_what_was_sent(state).replied


# --- RPC.BLOCKING.SUSPENDS_CALLER -----------------------------------------------------------------------


@pytest.mark.clause(BLOCKING, "119103d4")
def test_a_blocking_call_sleeps_until_its_reply_is_sent() -> None:
    slept = call(0, "blocking"), SLEEP, reply(0, 0), WAKE
    assert exercised(BLOCKING, *slept, settle(0)) == 1
    assert exercised(BLOCKING, *slept, reply(0, 0), settle(0)) == 1


@pytest.mark.clause(BLOCKING, "119103d4")
def test_a_blocking_call_sleeps_until_its_time_is_over() -> None:
    made = call(0, "blocking", timeout=5)
    assert exercised(BLOCKING, made, SLEEP, WAKE, settle(0, "timeout", at=105)) == 1
    assert not keeps(BLOCKING, made, settle(0, "timeout", at=105))


@pytest.mark.clause(BLOCKING, "119103d4")
@pytest.mark.parametrize(
    "inside",
    [(reply(0, 0),), (SLEEP, WAKE, reply(0, 0)), (reply(0, 0), SLEEP, WAKE), (SLEEP, reply(0, 0))],
    ids=["never slept", "awake when it was sent", "slept after it was sent", "went on asleep"],
)
def test_a_blocking_call_that_does_not_sleep_until_the_reply_is_refused(inside: tuple[Event, ...]) -> None:
    trace = (call(0, "blocking"), *inside, settle(0))
    assert refused(BLOCKING, *trace).position == len(trace) - 1


@pytest.mark.clause(BLOCKING, "119103d4")
def test_only_a_blocking_call_owes_a_sleep_and_only_to_a_transport_that_lives() -> None:
    assert keeps(BLOCKING, call(0), reply(0, 0), settle(0))
    assert keeps(BLOCKING, call(0, "blocking"), CLOSED, settle(0, "end"))


# --- RPC.ASYNC.RETURNS_AT_ONCE --------------------------------------------------------------------------


@pytest.mark.clause(ASYNC, "209b0760")
@pytest.mark.parametrize("form", ["callback", "coroutine"])
def test_an_asynchronous_call_returns_and_is_settled_later(form: RpcForm) -> None:
    assert exercised(ASYNC, call(0, form), RpcReturn(1, 0), LOOP_SLEEPS, reply(0, 0), settle(0)) == 1


@pytest.mark.clause(ASYNC, "209b0760")
def test_an_asynchronous_call_that_suspends_its_thread_is_refused() -> None:
    trace = (call(0), LOOP_SLEEPS)
    told_so = "the call returns, and its thread runs on", "thread loop was suspended"
    assert refused(ASYNC, *trace) == refusal(ASYNC, trace, 1, *told_so)
    assert keeps(ASYNC, call(0), SLEEP, RpcReturn(1, 0))


@pytest.mark.clause(ASYNC, "209b0760")
def test_a_callback_inside_the_call_is_refused() -> None:
    assert refused(ASYNC, call(0), settle(0, "end"), RpcReturn(1, 0)).position == 1


@pytest.mark.clause(ASYNC, "209b0760")
def test_a_blocking_call_may_suspend_its_thread() -> None:
    assert keeps(ASYNC, call(0, "blocking"), SLEEP, WAKE, settle(0))


# --- RPC.CALL.SETTLES_ONCE ------------------------------------------------------------------------------


@pytest.mark.clause(ONCE, "20b11059")
@pytest.mark.parametrize(
    "trace",
    [
        (call(0), reply(0, 0), settle(0), REST),
        (call(0), reply(0, 0), reply(0, 0), settle(0, "error"), REST),
        (call(0, timeout=5), settle(0, "timeout", at=105), reply(0, 0), REST),
        (call(0), CLOSED, settle(0, "end"), REST),
        (call(0), reply(0, 0), settle(0, "cancelled"), REST),
    ],
    ids=["reply", "error, sent twice", "time-out and late reply", "end", "cancelled when the reply was sent"],
)
def test_each_way_to_be_settled_is_one(trace: tuple[Event, ...]) -> None:
    assert exercised(ONCE, *trace) == 1


@pytest.mark.clause(ONCE, "20b11059")
@pytest.mark.parametrize(
    "trace",
    [
        (call(0, timeout=5), settle(0, "timeout", at=105), reply(0, 0), settle(0)),
        (call(0), reply(0, 0), settle(0), settle(0)),
        (call(0), reply(0, 0), settle(0), settle(0, "end")),
        (call(0), settle(0)),
        (call(0), reply(0, 0, "mine"), settle(0, value="another's")),
        (call(0, timeout=5), settle(0, "timeout", at=104)),
        (call(0), settle(0, "timeout", at=999)),
        (call(0, timeout=5), REST),
        (call(0), reply(0, 0), REST),
        (call(0), call(0)),
    ],
    ids=[
        "late reply settles too",
        "reply settles twice",
        "end settles what was replied to",
        "a reply that was not sent",
        "another call's reply",
        "timed out early",
        "timed out without a time-out",
        "time-out forgotten",
        "reply forgotten",
        "made twice",
    ],
)
def test_what_is_settled_otherwise_is_refused(trace: tuple[Event, ...]) -> None:
    assert refused(ONCE, *trace).position == len(trace) - 1


@pytest.mark.clause(ONCE, "20b11059")
def test_a_call_without_time_out_may_wait_for_ever_for_a_peer_that_is_silent() -> None:
    assert keeps(ONCE, call(0), REST)


# --- RPC.ID.NOT_REUSED ----------------------------------------------------------------------------------

TIMED_OUT = (call(0, timeout=5), request(0, 0), settle(0, "timeout", at=105))


@pytest.mark.clause(ID, "7371a25f")
def test_another_id_is_given_while_a_late_reply_can_come() -> None:
    assert exercised(ID, *TIMED_OUT, request(1, 1)) == 1


@pytest.mark.clause(ID, "7371a25f")
@pytest.mark.parametrize(
    "before",
    [
        TIMED_OUT,
        (request(0, 0),),
        (request(0, 0), reply(0, 0)),
        (settle(0, "cancelled"), request(0, 0)),
    ],
    ids=["timed out", "pending", "replied to and not settled", "cancelled before its request came"],
)
def test_an_id_that_a_reply_can_still_come_to_is_not_given_again(before: tuple[Event, ...]) -> None:
    assert refused(ID, *before, request(1, 0)).position == len(before)


@pytest.mark.clause(ID, "7371a25f")
def test_of_an_id_that_was_given_again_the_first_call_may_still_be_settled() -> None:
    """Given two calls under one id, when the second is over and then the first, then one event is refused."""
    trace = request(0, 0), request(1, 0), reply(1, 0), settle(1), settle(0)
    assert refused(ID, *trace).position == 1


@pytest.mark.clause(ID, "7371a25f")
@pytest.mark.parametrize(
    "before",
    [(request(0, 0), reply(0, 0), settle(0)), (*TIMED_OUT, reply(0, 0))],
    ids=["settled by its reply", "the late reply has come"],
)
def test_an_id_that_no_reply_can_come_to_may_be_given_again(before: tuple[Event, ...]) -> None:
    assert keeps(ID, *before, request(1, 0))


@pytest.mark.clause(ID, "7371a25f")
def test_what_becomes_of_a_call_whose_id_was_taken_from_it_is_no_news() -> None:
    before = (request(0, 0), request(1, 0), reply(1, 0), settle(1))
    assert refused(ID, *before, settle(0)).position == 1


@pytest.mark.clause(ID, "7371a25f")
@pytest.mark.parametrize(
    "superfluous",
    [
        (*TIMED_OUT, reply(0, 0)),
        (request(0, 0), reply(0, 0), settle(0), reply(0, 0)),
        (request(0, 0), reply(0, 0), reply(0, 0), settle(0)),
        (request(0, 0), reply(None, 77)),
        (request(0, 0), reply(0, 0), settle(0, "timeout", at=105)),
    ],
    ids=["late", "twice, late", "twice at once", "unknown", "sent, and not read in time"],
)
def test_a_reply_to_no_pending_call_is_counted(superfluous: tuple[Event, ...]) -> None:
    assert exercised(ID, *superfluous, dropped(1)) == 1
    assert not keeps(ID, *superfluous, dropped(0))
    assert not keeps(ID, *superfluous, dropped(2))


@pytest.mark.clause(ID, "7371a25f")
def test_the_reply_to_a_call_that_was_cancelled_when_it_came_counts_either_way() -> None:
    before = (request(0, 0), reply(0, 0), settle(0, "cancelled"))
    assert keeps(ID, *before, dropped(0))
    assert keeps(ID, *before, dropped(1))
    assert not keeps(ID, *before, dropped(2))


@pytest.mark.clause(ID, "7371a25f")
def test_what_a_broken_transport_leaves_unread_need_not_be_counted() -> None:
    assert keeps(ID, *TIMED_OUT, CLOSED, reply(0, 0), dropped(0))


# --- RPC.CLOSE.SETTLES_ALL ------------------------------------------------------------------------------


@pytest.mark.clause(CLOSE, "fa5418b9")
def test_the_end_settles_all_in_the_order_of_issue() -> None:
    assert exercised(CLOSE, call(0), call(1), CLOSED, settle(0, "end"), settle(1, "end"), LOOP_SLEEPS) == 2


@pytest.mark.clause(CLOSE, "fa5418b9")
def test_a_call_that_a_callback_of_the_close_makes_is_settled_by_the_next_turn() -> None:
    before = (call(0), RpcClose(1, 0), settle(0, "end"), call(1, turn=2))
    assert exercised(CLOSE, *before, WaitBegin(2, 0), settle(1, "end", turn=3), WaitBegin(3, None)) == 1
    assert refused(CLOSE, *before, WaitBegin(2, 0), WaitBegin(3, 0)).position == len(before) + 1


@pytest.mark.clause(CLOSE, "fa5418b9")
@pytest.mark.parametrize(
    "trace",
    [
        (call(0), call(1), CLOSED, settle(1, "end")),
        (call(0), call(1), CLOSED, settle(0, "end"), reply(1, 1), settle(1)),
        (call(0), CLOSED, LOOP_SLEEPS),
        (call(0), RpcClose(1, 0), LOOP_SLEEPS),
        (call(0), settle(0, "end")),
        (call(0), RpcBreak(0, "deaf"), call(1), request(0, 0), REST),
    ],
    ids=["youngest first", "reply after the end", "peer gone", "closed here", "no end", "send that failed"],
)
def test_an_end_that_does_otherwise_is_refused(trace: tuple[Event, ...]) -> None:
    assert refused(CLOSE, *trace).position == len(trace) - 1


@pytest.mark.clause(CLOSE, "fa5418b9")
def test_a_loop_that_sleeps_over_an_end_is_told_whom_it_has_forgotten() -> None:
    trace = call(0), call(1), CLOSED, LOOP_SLEEPS, LOOP_SLEEPS
    assert refused(CLOSE, *trace) == refusal(
        CLOSE, trace, 3, "the end of the transport settles 0, 1", "the loop sleeps without it"
    )


@pytest.mark.clause(CLOSE, "fa5418b9")
def test_the_next_turn_is_that_after_the_first_was_settled() -> None:
    first = call(0), call(1), call(2), CLOSED, settle(0, "end", turn=2), WaitBegin(2, 0)
    assert refused(CLOSE, *first, settle(1, "end", turn=3), WaitBegin(3, 0)).position == len(first) + 1


@pytest.mark.clause(CLOSE, "fa5418b9")
def test_what_was_replied_or_cancelled_before_the_end_is_none_of_its() -> None:
    trace = (
        call(0),
        call(1),
        call(2),
        reply(0, 0),
        CLOSED,
        settle(0),
        settle(1, "end"),
        settle(2, "cancelled"),
    )
    assert keeps(CLOSE, *trace, LOOP_SLEEPS)


@pytest.mark.clause(CLOSE, "fa5418b9")
def test_a_deaf_peer_may_still_reply_to_what_it_has_heard() -> None:
    assert keeps(
        CLOSE, call(0), request(0, 0), RpcBreak(0, "deaf"), LOOP_SLEEPS, reply(0, 0), settle(0), REST
    )


# --- RPC.STYLES.AGREE -----------------------------------------------------------------------------------

RESULT = RpcResult(1, 0, "blocking", ("0?x", "1?a(x)"), "b(a(x))")


@pytest.mark.clause(AGREE, "88f648f2")
def test_forms_that_do_the_same_agree() -> None:
    others = (RpcResult(2, 0, "callback", *RESULT_OF), RpcResult(3, 0, "coroutine", *RESULT_OF))
    assert exercised(AGREE, RESULT, *others) == 2
    assert keeps(AGREE, RESULT, RpcResult(2, 1, "callback", (), "another program's"))


RESULT_OF = (RESULT.calls, RESULT.result)


@pytest.mark.clause(AGREE, "88f648f2")
@pytest.mark.parametrize(
    ("calls", "result"),
    [(RESULT.calls, "a(x)"), (("0?x",), RESULT.result), (RESULT.calls[::-1], RESULT.result)],
    ids=["another result", "fewer calls", "another order"],
)
def test_a_form_that_does_otherwise_is_refused(calls: tuple[str, ...], result: str) -> None:
    assert refused(AGREE, RESULT, RpcResult(2, 0, "callback", calls, result)).position == 1

"""LOOP: readiness that is told once, connects, and accepts without descriptors."""

from __future__ import annotations

import pytest

from loopspec.descriptors import LEAST_BACK_OFF
from loopspec.trace import (
    Abandon,
    Accept,
    Close,
    Connect,
    Dial,
    Dialed,
    DialSettle,
    Disarm,
    Dispatch,
    Drained,
    Event,
    Exhausted,
    HalfClose,
    Interest,
    Leave,
    Quiescent,
    Read,
    Rearm,
    Receive,
    Relieved,
    Send,
    StopReading,
    Suspend,
    Triggered,
    WaitBegin,
    WaitReturn,
)
from tests.spec.judging import exercised, judge, refusal, refused

EDGE = "LOOP.ET.DRAIN_OR_REARM"
ONE_SHOT = "LOOP.ONESHOT.REARM_ALL_DIRECTIONS"
CONNECT = "LOOP.CONNECT.BY_SO_ERROR"
SHORT = "LOOP.ACCEPT.OUT_OF_DESCRIPTORS"

ASLEEP = WaitBegin(1, None), Suspend("loop")
AWAKE = WaitReturn(2, 0, (), 8)
READER = Triggered(0, 0, 3, 5, "read", "edge")
ONE_SHOT_READER = Triggered(0, 0, 3, 5, "read", "one-shot")
ONE_SHOT_WRITER = Triggered(0, 1, 3, 5, "write", "one-shot")
REPORTED = Dispatch(1, 0, 3)
IN, OUT = 1, 4

# --- edge-triggered -----------------------------------------------------------------------------------


@pytest.mark.clause(EDGE, "41905ab5")
def test_a_handler_that_has_drained_or_re_armed_may_sleep() -> None:
    drained = READER, Send(5, b"ab"), REPORTED, Read(1, 5, b"ab"), Drained(1, 0, 3), *ASLEEP
    assert exercised(EDGE, *drained) == 1
    again = AWAKE, Send(5, b"ab"), REPORTED, Read(2, 5, b"ab"), Rearm(2, 0, 3), *ASLEEP
    assert exercised(EDGE, *drained, *again) == 2
    assert exercised(EDGE, *drained, AWAKE, *ASLEEP) == 1


@pytest.mark.clause(EDGE, "41905ab5")
def test_a_handler_that_has_done_neither_is_refused_once() -> None:
    trace = READER, Send(5, b"ab"), REPORTED, Read(1, 5, b"a"), *ASLEEP, AWAKE, *ASLEEP
    assert refused(EDGE, *trace) == refusal(
        EDGE,
        trace,
        5,
        "the handler of registration 0 has seen EAGAIN, or has re-armed",
        "the loop sleeps, and it has done neither",
    )


@pytest.mark.clause(EDGE, "41905ab5")
@pytest.mark.parametrize("left", [Send(5, b"c"), HalfClose(5), Leave(5)], ids=["data", "half-close", "end"])
def test_to_re_arm_that_the_kernel_does_not_hear_of_is_refused(left: Event) -> None:
    trace = READER, Send(5, b"ab"), left, REPORTED, Read(1, 5, b"ab"), Rearm(1, 0, 3), *ASLEEP
    assert refused(EDGE, *trace) == refusal(
        EDGE, trace, 7, "registration 0, re-armed with data unread, is reported again", "the loop sleeps"
    )


@pytest.mark.clause(EDGE, "41905ab5")
@pytest.mark.parametrize(
    "end", [Disarm(1, 0, 3), Close(1, 3, 5), Abandon(1, 3, 5)], ids=["disarmed", "closed", "abandoned"]
)
def test_nothing_is_asked_of_an_edge_triggered_registration_that_has_ended(end: Event) -> None:
    assert exercised(EDGE, READER, Send(5, b"ab"), REPORTED, end, *ASLEEP) == 0


@pytest.mark.clause(EDGE, "41905ab5")
def test_a_registration_that_was_not_reported_owes_nothing() -> None:
    assert exercised(EDGE, READER, Send(5, b"ab"), *ASLEEP) == 0


@pytest.mark.clause(EDGE, "41905ab5")
def test_what_comes_when_it_has_drained_is_the_next_report_s() -> None:
    drained = READER, Send(5, b"ab"), REPORTED, Read(1, 5, b"ab"), Drained(1, 0, 3)
    assert exercised(EDGE, *drained, Send(5, b"c"), *ASLEEP) == 1


@pytest.mark.clause(EDGE, "41905ab5")
@pytest.mark.parametrize("meanwhile", [Send(5, b"c"), Read(1, 5, b"b"), Read(1, 5, b"")])
def test_the_loop_sleeps_where_it_is_suspended_in_its_wait_whatever_happens_meanwhile(
    meanwhile: Event,
) -> None:
    wait, suspended = ASLEEP
    owing = READER, Send(5, b"ab"), REPORTED, Read(1, 5, b"a")
    elsewhere = *owing, suspended, Drained(1, 0, 3), *ASLEEP, AWAKE, REPORTED, suspended
    assert exercised(EDGE, *elsewhere) == 1
    assert refused(EDGE, *owing, wait, meanwhile, suspended).position == len(owing) + 2


@pytest.mark.clause(EDGE, "41905ab5")
@pytest.mark.parametrize("did", [(), (Rearm(1, 0, 3), Rearm(1, 1, 3))], ids=["neither", "re-armed"])
def test_each_registration_that_sleeps_so_is_told_of_once(did: tuple[Event, ...]) -> None:
    other = Triggered(0, 1, 3, 5, "read", "edge")
    trace = READER, other, Send(5, b"ab"), REPORTED, Dispatch(1, 1, 3), *did, *ASLEEP, AWAKE, *ASLEEP
    told = judge(EDGE, *trace, AWAKE, *ASLEEP).violations
    assert [each.position for each in told] == [len(trace) - 4, len(trace) - 1]
    assert ["registration 0" in told[0].allowed, "registration 1" in told[1].allowed] == [True, True]


# --- one-shot -----------------------------------------------------------------------------------------


@pytest.mark.clause(ONE_SHOT, "c067120f")
def test_the_direction_that_was_not_reported_is_armed_when_the_loop_sleeps() -> None:
    writer_had_its_turn = ONE_SHOT_READER, ONE_SHOT_WRITER, Dispatch(1, 1, 3), Interest(1, 3, IN)
    assert exercised(ONE_SHOT, *writer_had_its_turn) == 1
    both = ONE_SHOT_READER, ONE_SHOT_WRITER, REPORTED, Rearm(1, 0, 3), Interest(1, 3, IN | OUT)
    assert exercised(ONE_SHOT, *both, Interest(2, 3, IN | OUT)) == 1
    assert refused(ONE_SHOT, *both, Interest(2, 3, IN)).position == len(both)
    alone = ONE_SHOT_READER, REPORTED, Interest(1, 3, 0)
    assert exercised(ONE_SHOT, *alone) == 0


@pytest.mark.clause(ONE_SHOT, "c067120f")
def test_a_waiting_direction_that_the_report_has_silenced_is_refused() -> None:
    trace = ONE_SHOT_READER, ONE_SHOT_WRITER, Dispatch(1, 1, 3), Interest(1, 3, 1 << 30), Interest(2, 3, 0)
    assert refused(ONE_SHOT, *trace) == refusal(
        ONE_SHOT,
        trace,
        3,
        "descriptor 3, which has a waiter to read, is armed for that",
        "the loop sleeps, and by the kernel's account the interest is 0x40000000",
    )


@pytest.mark.clause(ONE_SHOT, "c067120f")
@pytest.mark.parametrize("end", [Disarm(1, 0, 3), Close(1, 3, 5), Abandon(1, 3, 5)])
def test_a_one_shot_waiter_that_has_gone_need_not_be_armed(end: Event) -> None:
    assert (
        exercised(ONE_SHOT, ONE_SHOT_READER, ONE_SHOT_WRITER, Dispatch(1, 1, 3), end, Interest(1, 3, 0)) == 0
    )


# --- connects -----------------------------------------------------------------------------------------

DIAL = Dial(1, 0, 0)


@pytest.mark.clause(CONNECT, "3a72e446")
def test_a_connect_that_ends_as_so_error_says_is_kept() -> None:
    assert exercised(CONNECT, DIAL, Dialed(0, None), DialSettle(2, 0, "value", None)) == 1
    assert exercised(CONNECT, DIAL, Dialed(0, "ECONNREFUSED"), DialSettle(2, 0, "error", "ECONNREFUSED")) == 1
    reset = DIAL, Dialed(0, None), Dialed(0, "ECONNRESET"), DialSettle(2, 0, "error", "ECONNRESET")
    assert exercised(CONNECT, *reset) == 1


@pytest.mark.clause(CONNECT, "3a72e446")
def test_a_connect_that_is_cancelled_or_under_way_is_settled_by_nobody() -> None:
    assert exercised(CONNECT, DIAL, DialSettle(2, 0, "cancelled", None)) == 0
    assert exercised(CONNECT, DIAL, Quiescent(2)) == 0


@pytest.mark.clause(CONNECT, "3a72e446")
@pytest.mark.parametrize(
    ("kernel", "loop", "allowed", "observed"),
    [
        ((Dialed(0, "ECONNREFUSED"),), None, "by SO_ERROR, which is ECONNREFUSED", "success"),
        ((Dialed(0, None),), "EPIPE", "by SO_ERROR, which is 0", "EPIPE"),
        ((), None, "when it is writable, and it is not", "success"),
        ((), "EINPROGRESS", "when it is writable, and it is not", "EINPROGRESS"),
    ],
    ids=["refused", "come about", "too early", "no error yet"],
)
def test_a_connect_that_is_settled_by_anything_else_is_refused(
    kernel: tuple[Event, ...], loop: str | None, allowed: str, observed: str
) -> None:
    trace = DIAL, *kernel, DialSettle(2, 0, "value" if loop is None else "error", loop)
    assert refused(CONNECT, *trace) == refusal(
        CONNECT, trace, len(trace) - 1, f"the connect is settled {allowed}", f"it was settled by {observed}"
    )


@pytest.mark.clause(CONNECT, "3a72e446")
def test_a_connect_that_has_ended_and_is_never_settled_is_refused() -> None:
    trace = DIAL, Dialed(0, "ECONNREFUSED"), Quiescent(2), Quiescent(3)
    assert refused(CONNECT, *trace) == refusal(
        CONNECT,
        trace,
        2,
        "the connect is settled: it is writable, and SO_ERROR is ECONNREFUSED",
        "nothing more happens, and it has not been",
    )


# --- out of descriptors -------------------------------------------------------------------------------

SERVED = Connect(0, echo=True), Accept(1, 0, None)
FAILS = Exhausted(1), Connect(1, echo=True), Accept(2, 0, "EMFILE")


@pytest.mark.clause(SHORT, "14db2ba6")
def test_a_listener_that_rests_and_serves_those_it_has_is_kept() -> None:
    served = Send(0, b"ab"), Receive(0, b"ab"), *ASLEEP
    assert exercised(SHORT, *SERVED, *FAILS, *served) == 2
    again = AWAKE, Accept(3, LEAST_BACK_OFF, "EMFILE"), Relieved(3), Accept(4, LEAST_BACK_OFF, None)
    assert exercised(SHORT, *SERVED, *FAILS, *served, *again, Quiescent(4)) == 3


@pytest.mark.clause(SHORT, "14db2ba6")
def test_the_back_off_ends_with_the_shortage() -> None:
    once_more = Relieved(3), Exhausted(3), Accept(3, 1, "EMFILE")
    assert exercised(SHORT, *SERVED, *FAILS, *once_more) == 2


@pytest.mark.clause(SHORT, "14db2ba6")
def test_others_are_looked_at_where_the_loop_sleeps_and_an_accept_has_failed() -> None:
    owed, suspended = Send(0, b"ab"), ASLEEP[1]
    assert exercised(SHORT, *SERVED, Exhausted(1), owed, *ASLEEP) == 0
    assert exercised(SHORT, *SERVED, *FAILS, owed, suspended) == 1
    assert exercised(SHORT, *SERVED, *FAILS, *ASLEEP, AWAKE, owed, suspended) == 2
    assert exercised(SHORT, *SERVED, *FAILS, owed, Relieved(3), *ASLEEP) == 1


@pytest.mark.clause(SHORT, "14db2ba6")
def test_a_listener_that_retries_within_the_back_off_is_refused() -> None:
    trace = *SERVED, *FAILS, Accept(3, LEAST_BACK_OFF - 1, "EMFILE")
    assert refused(SHORT, *trace) == refusal(
        SHORT,
        trace,
        5,
        "no accept before 10000000 ns: there are no descriptors",
        "it was tried again at 9999999 ns",
    )
    (_, again) = judge(SHORT, *trace, Accept(4, 2 * LEAST_BACK_OFF - 2, "EMFILE")).violations
    assert again.allowed == "no accept before 19999999 ns: there are no descriptors"
    slept = *SERVED, *FAILS, *ASLEEP, AWAKE, Accept(3, LEAST_BACK_OFF - 1, "EMFILE")
    assert refused(SHORT, *slept).position == len(slept) - 1


@pytest.mark.clause(SHORT, "14db2ba6")
def test_another_client_that_is_not_served_meanwhile_is_refused() -> None:
    trace = *SERVED, *FAILS, Send(0, b"ab"), Receive(0, b"a"), *ASLEEP
    assert refused(SHORT, *trace) == refusal(
        SHORT,
        trace,
        8,
        "client 0, accepted before, is served although there are no descriptors",
        "the loop sleeps, and 1 bytes are missing",
    )
    told = *trace, AWAKE, *ASLEEP
    assert len(judge(SHORT, *told).violations) == 1
    assert len(judge(SHORT, *told, AWAKE, Send(0, b"c"), *ASLEEP).violations) == 2


@pytest.mark.clause(SHORT, "14db2ba6")
@pytest.mark.parametrize("act", [Send(1, b"ab"), StopReading(0), Leave(0)], ids=["waits", "deaf", "gone"])
def test_a_client_that_is_not_accepted_or_reads_no_more_is_owed_nothing(act: Event) -> None:
    owed = Send(0, b"ab") if act != Send(1, b"ab") else Receive(0, b"")
    assert exercised(SHORT, *SERVED, *FAILS, owed, act, *ASLEEP) == 2
    assert exercised(SHORT, *SERVED, *FAILS, act, owed, *ASLEEP) == 2


@pytest.mark.clause(SHORT, "14db2ba6")
def test_a_listener_that_never_tries_again_is_refused() -> None:
    trace = *SERVED, *FAILS, Relieved(3), Quiescent(3), Quiescent(4)
    assert refused(SHORT, *trace) == refusal(
        SHORT,
        trace,
        6,
        "the 1 connections that wait are accepted: there are descriptors",
        "nothing more happens, and the listener has not tried",
    )
    (_, then) = judge(SHORT, *trace, *FAILS, Send(0, b"ab"), *ASLEEP).violations
    assert then.observed == "the loop sleeps, and 2 bytes are missing"

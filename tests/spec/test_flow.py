"""FLOW: what a trace must show for each clause to be kept, and what breaks it."""

from __future__ import annotations

import pytest

from loopspec.flow import HandedOver
from loopspec.judge import Kept
from loopspec.trace import (
    Await,
    Buffered,
    CancelRequest,
    Close,
    Connect,
    Event,
    HighWater,
    Leave,
    Receive,
    Refuse,
    Reset,
    Room,
    StopReading,
    Write,
)
from tests.spec.judging import exercised, refusal, refused

SUFFIX = "FLOW.WRITE.KEEPS_SUFFIX"
HANDED = "FLOW.WRITE.HANDED_OVER"
BOUNDED = "FLOW.BUFFER.BOUNDED"

WAITS = Await(1, 0, "write", 0)
PARTIAL = Write(1, 0, b"abcd"), WAITS, Receive(0, b"ab")


@pytest.mark.clause(SUFFIX, "b8b61843")
def test_a_write_that_goes_on_where_it_stopped_is_kept() -> None:
    assert exercised(SUFFIX, *PARTIAL, Receive(0, b"cd"), Write(2, 0, b"e"), Receive(0, b"e")) == 2


@pytest.mark.clause(SUFFIX, "b8b61843")
@pytest.mark.parametrize("data", [b"ab", b"d", b"dc"], ids=["again", "with a gap", "out of order"])
def test_a_write_that_goes_on_elsewhere_is_refused_once(data: bytes) -> None:
    again = Write(2, 0, b"efgh"), WAITS, Receive(0, data), Receive(0, data)
    trace = *PARTIAL, Receive(0, data), *again
    assert refused(SUFFIX, *trace) == refusal(
        SUFFIX,
        trace,
        3,
        "the 2 bytes that were left of the write, in order: b'cd'…",
        f"{len(data)} bytes that are not: {data!r}…",
    )


@pytest.mark.clause(SUFFIX, "b8b61843")
def test_a_write_that_was_not_partial_is_not_this_clause_s() -> None:
    strays = Write(1, 0, b"ab"), Receive(0, b"x")
    assert exercised(SUFFIX, *strays, WAITS, Receive(0, b"y")) == 0
    assert exercised(SUFFIX, *strays, *PARTIAL) == 0
    assert exercised(SUFFIX, Connect(0, echo=True), WAITS, Receive(0, b"x")) == 0


@pytest.mark.clause(SUFFIX, "b8b61843")
def test_of_many_bytes_the_refusal_shows_the_first_sixteen() -> None:
    trace = Write(1, 0, b"0123456789abcdefgh"), WAITS, Receive(0, b"xxxxxxxxxxxxxxxxxxxx")
    assert refused(SUFFIX, *trace) == refusal(
        SUFFIX,
        trace,
        2,
        "the 18 bytes that were left of the write, in order: b'0123456789abcdef'…",
        "20 bytes that are not: b'xxxxxxxxxxxxxxxx'…",
    )


@pytest.mark.clause(HANDED, "f050e18b")
def test_what_the_client_has_received_has_been_handed_over() -> None:
    assert exercised(HANDED, Write(1, 0, b"ab"), Receive(0, b"ab"), Room(1, 0)) == 1
    assert HandedOver(2).after(Receive(0, b"ab")) == Kept(None), "nothing of it needs to be remembered"


@pytest.mark.clause(HANDED, "f050e18b")
def test_sleep_on_bytes_for_which_there_is_room_is_refused() -> None:
    trace = Write(1, 0, b"ab"), Receive(0, b"a"), Room(1, 0), Room(1, 0)
    assert refused(HANDED, *trace) == refusal(
        HANDED,
        trace,
        2,
        "what has been accepted for stream 0 is with the kernel: there is room",
        "the loop sleeps, and 1 bytes are missing",
    )


@pytest.mark.clause(HANDED, "f050e18b")
@pytest.mark.parametrize(
    "end",
    [
        CancelRequest(1, 0),
        Refuse(1, 0, 0, 0, "write", "E"),
        Close(1, 0, 0),
        StopReading(0),
        Leave(0),
        Reset(0),
    ],
    ids=["cancelled", "failed", "closed", "not read", "left", "reset"],
)
def test_a_write_that_has_come_to_nothing_is_not_asked_for(end: Event) -> None:
    assert exercised(HANDED, Write(1, 0, b"ab"), end, Room(1, 0)) == 0


MARKED = HighWater(0, 0, 10)


@pytest.mark.clause(BOUNDED, "936835ff")
def test_a_buffer_that_holds_the_mark_and_one_write_is_kept() -> None:
    assert exercised(BOUNDED, MARKED, Write(1, 0, b"abc"), Buffered(1, 0, 10)) == 0
    assert exercised(BOUNDED, MARKED, Write(1, 0, b"abc"), Buffered(1, 0, 13), Buffered(2, 0, 11)) == 2


@pytest.mark.clause(BOUNDED, "936835ff")
def test_a_buffer_that_holds_a_second_write_above_the_mark_is_refused_once() -> None:
    above = MARKED, Write(1, 0, b"abc"), Buffered(1, 0, 12)
    trace = *above, Write(2, 0, b"ab"), Buffered(2, 0, 14), Buffered(3, 0, 14)
    assert refused(BOUNDED, *trace) == refusal(
        BOUNDED, trace, 4, "at most 10 + 3 bytes are held for stream 0", "14 are held"
    )


@pytest.mark.clause(BOUNDED, "936835ff")
def test_what_was_written_before_the_mark_was_kept_again_allows_nothing() -> None:
    drained = MARKED, Write(1, 0, b"abcdef"), Buffered(1, 0, 16), Buffered(2, 0, 10)
    trace = *drained, Write(3, 0, b"ab"), Buffered(3, 0, 13)
    assert refused(BOUNDED, *trace) == refusal(
        BOUNDED, trace, 5, "at most 10 + 2 bytes are held for stream 0", "13 are held"
    )


@pytest.mark.clause(BOUNDED, "936835ff")
def test_of_a_stream_without_a_buffer_nothing_is_asked() -> None:
    assert exercised(BOUNDED, Write(1, 0, b"abc"), Buffered(1, 0, 1 << 20), Buffered(1, 1, 1 << 20)) == 0

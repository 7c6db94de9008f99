"""STREAM: what a trace must show for each clause to be kept, and what breaks it."""

from __future__ import annotations

import pytest

from loopspec.stream import MANY
from loopspec.trace import Await, Connect, Event, HalfClose, Leave, Read, Receive, Reset, Send, Shut, Write
from tests.spec.judging import exercised, judge, refusal, refused

PREFIX = "STREAM.BYTES.PREFIX"
EOF = "STREAM.EOF.AFTER_DATA"

RIVALS = Await(1, 0, "read", 0), Await(1, 1, "read", 0)
"""Two tasks read one stream at a time."""


@pytest.mark.clause(PREFIX, "23343ca0")
def test_bytes_in_order_in_both_directions_are_kept() -> None:
    trace: tuple[Event, ...] = (
        Send(0, b"ab"),
        Read(1, 0, b"a"),
        Write(1, 0, b"xy"),
        Receive(0, b"xy"),
        Read(1, 0, b"b"),
    )
    assert exercised(PREFIX, *trace) == 3


@pytest.mark.clause(PREFIX, "23343ca0")
def test_a_byte_that_is_skipped_is_refused_once() -> None:
    trace = Send(0, b"abc"), Read(1, 0, b"b"), Read(1, 0, b"c")
    assert refused(PREFIX, *trace) == refusal(
        PREFIX, trace, 1, "the server receives what was sent next: b'abc'", "it received b'b'"
    )


@pytest.mark.clause(PREFIX, "23343ca0")
def test_two_who_read_at_a_time_return_in_any_order_and_no_byte_comes_twice() -> None:
    rivals = Send(0, b"abcd"), Await(1, 0, "read", 0), Await(1, 1, "read", 0)
    assert exercised(PREFIX, *rivals, Read(2, 0, b"c"), Read(2, 0, b"ab"), Read(3, 0, b"d")) == 3
    twice = *rivals, Read(2, 0, b"c"), Read(2, 0, b"bc")
    assert refused(PREFIX, *twice) == refusal(
        PREFIX, twice, 4, "the server receives what was sent next: b'ab' … b'd'", "it received b'bc'"
    )


@pytest.mark.clause(PREFIX, "23343ca0")
def test_rivals_are_rivals_until_all_is_read() -> None:
    reads = Read(2, 0, b"d"), Read(2, 0, b"b"), Read(2, 0, b"a"), Read(2, 0, b"c")
    assert exercised(PREFIX, Send(0, b"abcd"), *RIVALS, *reads) == 4


@pytest.mark.clause(PREFIX, "23343ca0")
@pytest.mark.parametrize(
    ("sent", "reads"),
    [
        ("aba", ("a", "ba")),  # whichever of the two was first
        ("aba", ("a", "ab")),
        ("aaab", ("aa", "ab")),
        ("abcabd", ("ab", "abd", "c")),
        ("abcabd", ("ab", "abc", "d")),
    ],
)
def test_where_bytes_come_twice_either_may_have_been_read(sent: str, reads: tuple[str, ...]) -> None:
    read = [Read(2, 0, data.encode()) for data in reads]
    assert exercised(PREFIX, Send(0, sent.encode()), *RIVALS, *read) == len(reads)
    # With an end of file between any two, and what is sent later behind all that.
    ends = [event for each in read[:-1] for event in (each, Read(3, 0, b""))]
    later = Send(0, b"z"), read[-1], Read(5, 0, b"z")
    assert exercised(PREFIX, Send(0, sent.encode()), *RIVALS, *ends, *later) == len(reads) + 1


@pytest.mark.clause(PREFIX, "23343ca0")
@pytest.mark.parametrize(
    ("sent", "reads"),
    [
        ("abcd", ("bc", "ad")),  # what was around the bytes that are gone is not one piece
        ("abab", ("ab", "ba")),
        ("aba", ("a", "a", "a")),
        ("abcabc", ("abc", "ab", "b")),
    ],
)
def test_no_byte_comes_twice_or_with_what_was_not_beside_it(sent: str, reads: tuple[str, ...]) -> None:
    read = [Read(2, 0, data.encode()) for data in reads]
    trace: tuple[Event, ...] = Send(0, sent.encode()), *RIVALS, *read
    violation = refused(PREFIX, *trace)
    assert violation.observed == f"it received b'{reads[-1]}'"
    assert judge(PREFIX, *trace, Read(4, 0, b"x")).violations == [violation]


@pytest.mark.clause(PREFIX, "23343ca0")
def test_what_is_sent_comes_behind_every_piece_that_is_left() -> None:
    reads = [Read(2, 0, data) for data in (b"b", b"d")]
    later = [Read(3, 0, data) for data in (b"c", b"ef", b"a")]
    assert exercised(PREFIX, Send(0, b"abcde"), *RIVALS, *reads, Send(0, b"f"), *later) == 5


@pytest.mark.clause(PREFIX, "23343ca0")
@pytest.mark.parametrize(
    ("between", "refusals"),
    [
        ((Read(2, 0, b"x"),), 2),
        ((*RIVALS, Read(2, 0, b"x")), 2),
        ((*RIVALS, Read(2, 0, b"c")), 1),
        ((*RIVALS, Send(0, b"e")), 1),
    ],
)
def test_whatever_is_read_what_is_written_is_held_to_its_order(
    between: tuple[Event, ...], refusals: int
) -> None:
    trace = Write(1, 0, b"12"), Send(0, b"abcd"), *between, Receive(0, b"2")
    violations = judge(PREFIX, *trace).violations
    assert len(violations) == refusals
    assert violations[-1].observed == "it received b'2'"


@pytest.mark.clause(PREFIX, "23343ca0")
@pytest.mark.parametrize(("alike", "refusals"), [(MANY, 1), (MANY + 1, 0)])
def test_of_more_ways_than_many_no_account_is_kept(alike: int, refusals: int) -> None:
    trace = Send(0, b"a" * alike), *RIVALS, Read(2, 0, b"a"), Read(2, 0, b"b")
    assert len(judge(PREFIX, *trace).violations) == refusals


@pytest.mark.clause(PREFIX, "23343ca0")
@pytest.mark.parametrize(
    ("sent", "shown"), [(b"a" * 40, repr(b"a" * 40)), (b"a" * 41, repr(b"a" * 37 + b"..."))]
)
def test_what_is_long_is_told_of_in_part(sent: bytes, shown: str) -> None:
    trace = Send(0, sent), Read(1, 0, b"b")
    assert refused(PREFIX, *trace).allowed == f"the server receives what was sent next: {shown}"


@pytest.mark.clause(PREFIX, "23343ca0")
@pytest.mark.parametrize("between", [(Await(1, 0, "read", 0),), (Await(1, 1, "checkpoint", 0),), ()])
def test_one_who_reads_alone_is_held_to_the_order(between: tuple[Event, ...]) -> None:
    trace = Send(0, b"ab"), Await(1, 0, "read", 0), *between, Read(2, 0, b"b")
    assert refused(PREFIX, *trace).observed == "it received b'b'"


@pytest.mark.clause(PREFIX, "23343ca0")
@pytest.mark.parametrize("task", [0, 1])
def test_those_who_had_all_are_rivals_no_more(task: int) -> None:
    had = Send(0, b"ab"), Await(1, 0, "read", 0), Await(1, 1, "read", 0), Read(2, 0, b"b"), Read(2, 0, b"a")
    trace = *had, Send(0, b"cd"), Await(3, task, "read", 0), Read(4, 0, b"d")
    assert refused(PREFIX, *trace).observed == "it received b'd'"


BETWEEN: tuple[tuple[Event, ...], ...] = (
    (Send(0, b"c"),),
    (Write(1, 0, b"c"),),
    (Write(1, 0, b"c"), Receive(0, b"c")),
    (Read(1, 0, b"a"),),
)
"""What may come before the last byte that two who read at a time are to have."""


@pytest.mark.clause(PREFIX, "23343ca0")
@pytest.mark.parametrize("between", BETWEEN)
def test_whatever_comes_between_two_are_rivals_who_read_before_all_is_read(
    between: tuple[Event, ...],
) -> None:
    first, second = Await(1, 0, "read", 0), Await(1, 1, "read", 0)
    sent, received = Send(0, b"abd"), Read(2, 0, b"d")
    assert judge(PREFIX, sent, first, *between, second, received).violations == []
    assert judge(PREFIX, sent, first, second, *between, received).violations == []


@pytest.mark.clause(PREFIX, "23343ca0")
def test_a_write_whose_rest_goes_twice_is_refused() -> None:
    trace = Write(1, 0, b"abc"), Receive(0, b"ab"), Receive(0, b"bc")
    assert refused(PREFIX, *trace) == refusal(
        PREFIX, trace, 2, "client 0 receives what was sent next: b'c'", "it received b'bc'"
    )


@pytest.mark.clause(PREFIX, "23343ca0")
def test_an_echo_is_held_to_what_its_client_sent() -> None:
    trace = Connect(0, echo=True), Send(0, b"ab"), Receive(0, b"a"), Receive(0, b"c")
    assert refused(PREFIX, *trace) == refusal(
        PREFIX, trace, 3, "client 0 receives what was sent next: b'b'", "it received b'c'"
    )


@pytest.mark.clause(EOF, "8fffee6d")
def test_an_end_of_file_behind_all_data_is_kept() -> None:
    inbound = Send(0, b"ab"), HalfClose(0), Read(1, 0, b"ab"), Read(1, 0, b"")
    outbound = Write(1, 1, b"ab"), Shut(1, 1), Receive(1, b"ab"), Receive(1, b"")
    assert exercised(EOF, *inbound, *outbound) == 2


@pytest.mark.clause(EOF, "8fffee6d")
def test_the_end_of_file_of_one_of_two_who_read_at_a_time_overtakes_nothing() -> None:
    sent = Send(0, b"ab"), HalfClose(0), Await(1, 0, "read", 0)
    assert exercised(EOF, *sent, Await(1, 1, "read", 0), Read(2, 0, b""), Read(2, 0, b"ab")) == 0
    had = Send(0, b"a"), Await(1, 1, "read", 0), Read(2, 0, b"a")
    assert refused(EOF, *had, *sent, Read(2, 0, b"")).observed == "2 bytes are missing"


@pytest.mark.clause(EOF, "8fffee6d")
@pytest.mark.parametrize("between", [*BETWEEN, (Read(2, 0, b""),)])
def test_whatever_comes_between_nothing_is_asked_of_two_who_read_at_a_time(
    between: tuple[Event, ...],
) -> None:
    alone = Send(0, b"ab"), HalfClose(0), Await(1, 0, "read", 0), *between
    before = len(judge(EOF, *alone).violations)
    rivals = *alone, Send(0, b"d"), Await(1, 1, "read", 0), Read(2, 0, b"")
    assert len(judge(EOF, *rivals).violations) == before


@pytest.mark.clause(EOF, "8fffee6d")
def test_who_waits_a_second_time_is_no_second_reader_and_two_who_read_excuse_no_writer() -> None:
    again = Send(0, b"ab"), HalfClose(0), Await(1, 0, "read", 0), Await(2, 0, "read", 0), Read(2, 0, b"")
    assert refused(EOF, *again).observed == "2 bytes are missing"
    written = Write(1, 0, b"ab"), Shut(1, 0), Await(1, 0, "read", 0), Await(1, 1, "read", 0), Receive(0, b"")
    assert refused(EOF, *written).observed == "2 bytes are missing"


@pytest.mark.clause(EOF, "8fffee6d")
def test_an_end_of_file_that_overtakes_what_a_client_sent_is_refused() -> None:
    trace = Send(0, b"ab"), HalfClose(0), Read(1, 0, b"a"), Read(1, 0, b"")
    assert refused(EOF, *trace) == refusal(
        EOF, trace, 3, "the server receives every byte before the end of file", "1 bytes are missing"
    )


@pytest.mark.clause(EOF, "8fffee6d")
def test_an_end_of_file_that_overtakes_what_the_server_wrote_is_refused() -> None:
    trace = Write(1, 0, b"ab"), Shut(1, 0), Receive(0, b"")
    assert refused(EOF, *trace) == refusal(
        EOF, trace, 2, "client 0 receives every byte before the end of file", "2 bytes are missing"
    )


@pytest.mark.clause(EOF, "8fffee6d")
@pytest.mark.parametrize(
    "trace",
    [
        (Send(0, b"ab"), Leave(0), Read(1, 0, b"")),
        (Send(0, b"ab"), HalfClose(0), Reset(0), Read(1, 0, b"")),
        (Write(1, 0, b"ab"), Receive(0, b"")),
    ],
    ids=["the client left", "the client reset", "the server never shut its end in good order"],
)
def test_where_no_half_close_promised_the_data_nothing_is_claimed(trace: tuple[Event, ...]) -> None:
    assert exercised(EOF, *trace) == 0

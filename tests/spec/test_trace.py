"""Trace files: what is written is read again, and what cannot be read is named by its line."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopspec.trace import (
    EVENTS,
    FORMAT,
    Event,
    Header,
    Read,
    TraceError,
    WaitReturn,
    decode,
    encode,
    read,
    write,
)

HEAD = '{"loopspec-trace": 1, "loop": "some", "shows": ["Run"]}\n'


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_of_every_type_is_read_as_it_was_written(name: str) -> None:
    @settings(max_examples=20)  # of each type
    @given(st.from_type(EVENTS[name]))
    def round_trip(event: Event) -> None:
        line = encode(event)
        assert "\n" not in line
        assert decode(line) == event

    round_trip()


@given(
    st.builds(Header, st.text(), st.frozensets(st.sampled_from(sorted(EVENTS)))),
    st.lists(st.one_of(*map(st.from_type, EVENTS.values()))),
)
def test_a_file_is_read_as_it_was_written(header: Header, events: list[Event]) -> None:
    file = io.StringIO()
    write(file, header, events)
    file.seek(0)
    told, rest = read(file)
    assert (told, list(rest)) == (header, events)


def test_bytes_stay_legible_and_batches_are_tuples_again() -> None:
    assert encode(Read(1, 2, b"ab\xff")) == '{"event":"Read","turn":1,"stream":2,"data":"abÿ"}'
    assert decode(encode(WaitReturn(1, 2, ((3, 4),), 5))) == WaitReturn(1, 2, ((3, 4),), 5)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "no JSON object"),
        ('{"turn":1}', "None is no event of format"),
        ('{"event":"Nap"}', "'Nap' is no event of format"),
        ('{"event":["Run"]}', "['Run'] is no event of format"),
        ('{"event":"Run","turn":1}', "Run has wrong or missing fields: callback"),
        ('{"event":"Run","turn":1,"callback":2,"at":3}', "Run has wrong or missing fields: at"),
        ('{"event":"Run","turn":1,"callback":"2"}', "Run: '2' is no int"),
        ('{"event":"Run","turn":1,"callback":true}', "Run: True is no int"),
        ('{"event":"Run","turn":1,"callback":2.0}', "Run: 2.0 is no int"),
        ('{"event":"Send","stream":1,"data":"\\u0100"}', "Send: "),
        ('{"event":"WaitReturn","turn":1,"at":2,"batch":[[1]],"maxevents":3}', "WaitReturn: [1] is no tuple"),
        ('{"event":"Arm","turn":1,"registration":2,"fd":3,"stream":4,"direction":"up"}', "Arm: 'up' is no "),
    ],
)
def test_a_broken_line_is_named_with_what_is_wrong(line: str, complaint: str) -> None:
    _, events = read(io.StringIO(HEAD + '{"event":"Run","turn":1,"callback":2}\n' + line + "\n"))
    with pytest.raises(TraceError) as raised:
        list(events)
    assert str(raised.value).startswith(f"line 3: {complaint}")


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        ("", "line 1: no loopspec trace header"),
        ("{}\n", "line 1: no loopspec trace header"),
        ("nonsense\n", "line 1: no loopspec trace header"),
        (
            '{"loopspec-trace": 99, "loop": "some", "shows": []}\n',
            (
                f"line 1: trace format 99, this version reads format {FORMAT}: "
                "record the trace again, or judge it with the version that wrote it"
            ),
        ),
        (
            '{"loopspec-trace": 1, "loop": "some"}\n',
            "line 1: the header wants `loop`, a name, and `shows`, a list of event names",
        ),
        (
            '{"loopspec-trace": 1, "loop": "some", "shows": ["Nap"]}\n',
            "line 1: the header wants `loop`, a name, and `shows`, a list of event names",
        ),
        (
            '{"loopspec-trace": 1, "loop": "some", "shows": [["Run"]]}\n',
            "line 1: the header wants `loop`, a name, and `shows`, a list of event names",
        ),
    ],
)
def test_a_file_with_another_header_is_refused_at_once(head: str, complaint: str) -> None:
    with pytest.raises(TraceError) as raised:
        read(io.StringIO(head))
    assert str(raised.value) == complaint

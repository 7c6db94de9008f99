"""What is ready: who waits for its turn after which events, and since which of them."""

from __future__ import annotations

import select

import pytest

from loopspec.ready import Thing, Waiting
from loopspec.trace import (
    Abandon,
    Arm,
    Await,
    CancelRequest,
    Close,
    Disarm,
    Dispatch,
    Done,
    Enqueue,
    Event,
    HalfClose,
    Leave,
    Post,
    Read,
    Reset,
    Run,
    Send,
    Spawn,
    Step,
    WaitReturn,
)

IN, OUT, RDHUP, HUP, ERR = (getattr(select, f"EPOLL{name}") for name in ("IN", "OUT", "RDHUP", "HUP", "ERR"))

R0: Thing = ("registration", 0)
R1: Thing = ("registration", 1)
C3: Thing = ("callback", 3)
T4: Thing = ("task", 4)
T5: Thing = ("task", 5)

READER = Arm(0, 0, 0, 0, "read")
WRITER = Arm(0, 1, 0, 0, "write")
BY_ANOTHER_NUMBER = Arm(0, 1, 1, 0, "read")
READS, OTHER_READS = Await(0, 4, "read", 0), Await(0, 5, "read", 0)
SENT, ALL = Send(0, b"ab"), Read(1, 0, b"ab")
GONE = Disarm(0, 0, 0)
POSTED, RAN = Post(0, 3, "a"), Run(1, 3)
LATE = Run(1, 9)


def batch(*reports: tuple[int, int]) -> WaitReturn:
    return WaitReturn(1, 0, reports, 8)


def after(*trace: Event) -> Waiting:
    """Who waits after ``trace``, each event of which stamps with its place."""
    waiting = Waiting()
    for place, event in enumerate(trace):
        waiting = waiting.after(event, place)
    return waiting


@pytest.mark.parametrize(
    ("trace", "ready"),
    [
        # A stream is readable while something is unread, whoever is there first.
        ((READER, SENT), {R0: 1}),
        ((SENT, READER), {R0: 1}),
        ((SENT, READS), {T4: 1}),
        ((READER, SENT, SENT), {R0: 1}),
        ((READER, SENT, ALL), {}),
        ((READER, SENT, Send(0, b"c"), ALL), {R0: 1}),
        ((READER, SENT, Send(0, b"c"), ALL, ALL), {}),
        ((READER, Send(1, b"a")), {}),
        ((WRITER, SENT), {}),
        ((READER, ALL), {}),
        # Its end is one more thing to be read.
        ((READER, HalfClose(0)), {R0: 1}),
        ((READER, Leave(0)), {R0: 1}),
        ((READER, Reset(0)), {R0: 1}),
        ((READER, SENT, HalfClose(0), ALL), {R0: 1}),
        ((READER, SENT, HalfClose(0), ALL, Read(1, 0, b"")), {}),
        # A dispatch is a turn; what its handler has not read makes it ready again.
        ((READER, SENT, Dispatch(1, 0, 0)), {R0: 2}),
        ((READER, SENT, Dispatch(1, 0, 0), ALL), {}),
        ((READER, SENT, Dispatch(1, 0, 9)), {}),
        ((READER, batch((0, IN)), Dispatch(1, 0, 0)), {}),
        ((WRITER, SENT, batch((0, OUT)), Dispatch(1, 1, 0)), {}),
        # A batch wakes the directions that its events are of.
        ((READER, WRITER, batch((0, IN))), {R0: 2}),
        ((READER, WRITER, batch((0, RDHUP))), {R0: 2}),
        ((READER, WRITER, batch((0, OUT))), {R1: 2}),
        ((READER, WRITER, batch((0, HUP))), {R0: 2, R1: 2}),
        ((READER, WRITER, batch((0, ERR))), {R0: 2, R1: 2}),
        ((READER, batch((1, IN)), batch()), {}),
        ((READER, batch((0, IN)), batch((0, IN))), {R0: 1}),
        # Whoever is disarmed is ready no more, and never again; others are not touched.
        ((READER, SENT, GONE), {}),
        ((READER, GONE, SENT), {}),
        ((READER, WRITER, GONE, SENT, batch((0, HUP))), {R1: 4}),
        ((READER, Disarm(0, 9, 0), SENT), {R0: 2}),
        ((READER, Disarm(0, 0, 9), SENT), {R0: 2}),
        ((READER, BY_ANOTHER_NUMBER, GONE, SENT), {R1: 3}),
        ((READER, Arm(0, 1, 0, 0, "read"), batch((0, IN))), {R1: 2}),
        # What is closed takes with it whoever waits for it, and what was unread.
        ((READER, WRITER, batch((0, HUP)), Close(0, 0, 0)), {}),
        ((READER, SENT, Abandon(0, 0, 0)), {}),
        ((READER, Close(0, 0, 0), SENT, batch((0, IN))), {}),
        ((SENT, Close(0, 0, 0), READER), {}),
        ((READS, SENT, Close(0, 0, 0)), {}),
        ((READER, SENT, Close(0, 1, 1)), {R0: 1}),
        # Tasks wait in their reads as registrations do, until they are resumed.
        ((READS, SENT), {T4: 1}),
        ((READS, SENT, Step(1, 4, 0)), {}),
        ((READS, Step(1, 4, 0), SENT), {}),
        ((READS, OTHER_READS, Step(1, 4, 0), SENT), {T5: 3}),
        ((READS, SENT, OTHER_READS), {T5: 2}),
        # A read that is cancelled counts as having taken all that is there.
        ((READS, SENT, CancelRequest(1, 4)), {}),
        ((READS, SENT, CancelRequest(1, 4), Step(1, 4, 0), READER), {}),
        ((READS, Step(1, 4, 0), READER, SENT, CancelRequest(1, 4)), {R0: 3}),
        # Tasks and callbacks that wait for nothing but their turn.
        ((Spawn(0, 4),), {T4: 0}),
        ((Spawn(0, 4), Step(1, 4, 0)), {}),
        ((Spawn(0, 4), Done(1, 4, "value", "")), {}),
        ((Spawn(0, 4), Done(1, 5, "value", "")), {T4: 0}),
        ((Await(0, 4, "checkpoint", 0),), {T4: 0}),
        ((Await(0, 4, "sleep", 0),), {}),
        ((Enqueue(0, 3),), {C3: 0}),
        ((POSTED,), {C3: 0}),
        ((POSTED, RAN), {}),
        ((POSTED, Run(1, 4)), {C3: 0}),
        # A loop may be faster than the thread that tells of its post.
        ((RAN, POSTED), {}),
        ((RAN, LATE, POSTED), {}),
    ],
)
def test_who_is_ready_and_since_when(trace: tuple[Event, ...], ready: dict[Thing, int]) -> None:
    assert dict(after(*trace).ready.items()) == ready


@pytest.mark.parametrize(
    "between",
    [
        (SENT,),
        (READER, SENT, ALL),
        (READER, batch((0, IN))),
        (READER, GONE),
        (READER, Close(0, 0, 0)),
        (WRITER,),
        (READS, Step(1, 4, 0)),
        (SENT, READS),
        (Spawn(0, 4), Step(1, 4, 0)),
        (POSTED, RAN),
    ],
)
def test_a_callback_that_ran_before_its_post_was_told_of_is_remembered(between: tuple[Event, ...]) -> None:
    assert after(LATE, *between, Post(0, 9, "a")).ready == after(LATE, *between).ready


@pytest.mark.parametrize(("since", "remembered"), [(63, True), (64, False)])
def test_of_those_the_latest_64_are(since: int, *, remembered: bool) -> None:
    later = (Run(1, 10 + number) for number in range(since))
    assert (not after(LATE, *later, Post(0, 9, "a")).ready) == remembered

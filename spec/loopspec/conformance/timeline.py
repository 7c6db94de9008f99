"""A run laid out in time: who did what, in which lane, and what lasted how long.

The terminal shows a run as a table, an event a row. What is drawn can show one thing more, and it is the
thing that interleavings are about: *extent*. A handler runs from its start to its end, a wait from its entry
to its return, and what a wait has reported stays to be served until the next one begins. Here the events of a
trace become marks and spans, in lanes; a page draws them, and so does a tracing tool, and neither has to know
what an event means.

The axis is the order of the events, one step each. A scenario's clock stands still while its handlers run and
jumps while the loop waits, so that a picture to scale would be one point beside another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from loopspec.conformance.interleaving import LOOP, LOOP_THREAD, Lane, batch_in_words, lane, printable, told
from loopspec.trace import (
    Await,
    Caught,
    Dispatch,
    Done,
    Event,
    HandlerEnd,
    Interrupted,
    JobEnd,
    JobStart,
    Resume,
    Run,
    Step,
    Suspend,
    TimerFire,
    WaitBegin,
    WaitReturn,
)

READY_LIST = "ready list"
"""The lane of the kernel, as far as a trace shows it: what each wait has reported."""


class What(Enum):
    """What it is that lasts."""

    WAIT = "wait"
    READY = "ready"
    HANDLER = "handler"
    STEP = "step"
    JOB = "job"
    SUSPENDED = "suspended"


@dataclass(frozen=True)
class Mark:
    """One event: its place in the trace, its lane, its words, and whether the clause breaks there."""

    position: int
    lane: int
    words: str
    refused: bool
    opens_turn: bool = False


@dataclass(frozen=True)
class Span:
    """What lasts from event ``begin`` to event ``end``; ``ended`` is False if the run shows no end of it."""

    what: What
    lane: int
    begin: int
    end: int
    words: str
    ended: bool = True


@dataclass(frozen=True)
class Timeline:
    """Lanes by name, in order; marks by place; spans by their beginning."""

    lanes: tuple[str, ...]
    marks: tuple[Mark, ...]
    spans: tuple[Span, ...]


def timeline(events: Sequence[Event], refused: int) -> Timeline:
    """The run up to ``events[refused]``, where the clause is broken whatever comes after."""
    shown = events[: refused + 1]
    acting = [lane(event) for event in shown]
    present = sorted({*acting, LOOP})
    # The ready list stands where it belongs, between those who fill it and the one who reads it.
    before = [entry.label for entry in present if entry < LOOP]
    names = (*before, READY_LIST, *(entry.label for entry in present if entry >= LOOP))
    place = {entry: names.index(entry.label) for entry in present}
    marks = tuple(
        Mark(position, place[who], told(event), position == refused, isinstance(event, WaitReturn))
        for position, (event, who) in enumerate(zip(shown, acting, strict=True))
    )
    return Timeline(names, marks, tuple(_spans(shown, place, names.index(READY_LIST))))


@dataclass(frozen=True)
class _Open:
    """A span that has begun; ``key`` tells it from others of its sort."""

    what: What
    lane: int
    begin: int
    words: str
    key: object = None


def _spans(events: Sequence[Event], place: dict[Lane, int], ready: int) -> Iterator[Span]:
    begun: list[_Open] = []
    finished: list[Span] = []
    for position, event in enumerate(events):
        for one in [each for each in begun if _ends(each, event)]:
            begun.remove(one)
            finished.append(Span(one.what, one.lane, one.begin, position, one.words))
        begun += _begin(event, position, place[lane(event)], ready)
    last = len(events) - 1
    finished += [Span(one.what, one.lane, one.begin, last, one.words, ended=False) for one in begun]
    yield from sorted(finished, key=lambda span: (span.begin, -span.end))


def _begin(event: Event, position: int, where: int, ready: int) -> Iterator[_Open]:
    """What begins with ``event``. The other kinds of event are moments, and open nothing."""
    words = told(event)
    if isinstance(event, WaitBegin):
        yield _Open(What.WAIT, where, position, words)
    elif isinstance(event, WaitReturn) and event.batch:
        yield _Open(What.READY, ready, position, batch_in_words(event.batch))
    elif isinstance(event, Dispatch | Run | TimerFire | Caught):
        yield _Open(What.HANDLER, where, position, words)
    elif isinstance(event, Step):
        yield _Open(What.STEP, where, position, words, event.task)
    elif isinstance(event, JobStart):
        yield _Open(What.JOB, where, position, f"job {event.job}", event.job)
    elif isinstance(event, Suspend) and event.thread != LOOP_THREAD:
        yield _Open(What.SUSPENDED, where, position, f"{printable(event.thread)} is suspended", event.thread)


def _ends(one: _Open, event: Event) -> bool:
    match one.what:
        case What.WAIT:
            return isinstance(event, WaitReturn | Interrupted)
        case What.READY:
            return isinstance(event, WaitBegin)
        case What.HANDLER:
            return isinstance(event, HandlerEnd | WaitBegin)
        case What.STEP:
            return isinstance(event, Step | WaitBegin | Dispatch | Run | TimerFire) or (
                isinstance(event, Await | Done) and event.task == one.key
            )
        case What.JOB:
            return isinstance(event, JobEnd) and event.job == one.key
        case What.SUSPENDED:
            return isinstance(event, Resume) and event.thread == one.key

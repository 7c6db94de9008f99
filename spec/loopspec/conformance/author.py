"""The adapter under judgement: what its author has forgotten, or declared wrongly, in words.

A verdict is worth what the adapter is worth. So an adapter is looked at for itself, in two ways: what it
*says*, operation by operation against :class:`~loopspec.conformance.adapter.Adapter`; and what it
*does*, on drawn scenarios of every family: which events it shows, whose clock its loop reads, where it
waits, and what it leaves behind.

A :class:`Complaint` is wrong and has to be mended, or is worth a look and can be meant: an event that is
shown and not declared may be the harness's telling of what the adapter, and not the loop, has done.
"""

from __future__ import annotations

import gc
import inspect
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

from loopspec.clause import register
from loopspec.conformance.adapter import Adapter, Deviation
from loopspec.conformance.campaign import MakeLoop, drawn
from loopspec.conformance.isolation import in_one_line
from loopspec.conformance.lockstep import Hand, Lockstep, hand
from loopspec.conformance.scenario import Scenario, token_of
from loopspec.trace import EVENTS, Event, TimerArm, WaitBegin

EXAMPLES = 200
"""Scenarios that are drawn: enough for refloop to show all that it declares."""

_TOLERANCE = 2_000_000_000
#: What an operation of the adapter leads to, if it is there. Other events are the script's chance.
_LED_TO: Mapping[str, str] = {
    "Enqueue": "call_soon",
    "Post": "post",
    "TimerArm": "call_later",
    "TimerFire": "call_later",
    "TimerCancel": "the timer's cancel",
    "TimersHeld": "timers_held",
    "Arm": "arm",
    "Dispatch": "arm",
    "Disarm": "disarm",
    "Report": "world.report, which the loop is to tell what a handler lets out,",
    "Spawn": "spawn",
    "Step": "spawn",
    "Await": "checkpoint, sleep or receive",
    "Joined": "the task's join",
    "Make": "primitives",
    "ScopeEnter": "scope",
    "JobStart": "to_thread or submit",
    "Handle": "handle_on_workers",
}
#: Events that the harness tells of by itself, of clients and the thread: no loop can do without them.
_ALWAYS = frozenset({"WaitBegin", "WaitReturn", "Run", "HandlerEnd", "Call", "Return", "Suspend"})


@dataclass(frozen=True, slots=True)
class Complaint:
    """``wrong``, or only worth a look; what it is, and how to mend it."""

    wrong: bool
    words: str


class _Overseen(Lockstep):
    """A run that knows how often the loop has looked at the clock, and asked for a place to wait."""

    asked_time = 0
    pollers = 0

    def now(self) -> int:
        self.asked_time += 1
        return super().now()

    def poller(self):  # type: ignore[no-untyped-def] # what Lockstep.poller gives is Lockstep's own affair
        self.pollers += 1
        return super().poller()


def look(entry: EntryPoint, examples: int = EXAMPLES, seed: int = 1) -> Iterator[Complaint]:
    """Everything that is to be said of the adapter ``entry``; to be run on the main thread."""
    try:
        make: MakeLoop = entry.load()
    except Exception as error:
        yield Complaint(True, f"{entry.value} cannot be loaded: {in_one_line(error)}")
        return
    declared = list(_declared(make))
    yield from declared
    if not any(complaint.wrong for complaint in declared):
        with hand() as other:
            yield from _done(make, other, examples, seed)


# --- what it says -----------------------------------------------------------------------------------------


def _declared(make: MakeLoop) -> Iterator[Complaint]:
    version, shows = getattr(make, "version", None), getattr(make, "shows", None)
    if not isinstance(version, str) or not version:
        yield Complaint(True, "version is missing: the name and version of the loop, as one would cite it")
    if not isinstance(shows, frozenset):
        yield Complaint(
            True, "shows is missing: a frozenset of the names of the events that the loop can show"
        )
        shows = frozenset()
    for name in sorted(shows - frozenset(EVENTS)):
        yield Complaint(True, f"shows names {name!r}, and no event is called so: see loopspec.trace")
    for name in sorted(_ALWAYS - shows) if shows else ():
        yield Complaint(True, f"shows leaves out {name}, which every loop shows: add it")
    # A method may be given by __init__, as an attribute of the instance.
    source = ""
    bases: tuple[type, ...] = getattr(make, "__mro__", ())
    for base in bases:
        with suppress(OSError, TypeError):
            source += inspect.getsource(base)
    for name, method in inspect.getmembers(Adapter, inspect.isfunction):
        if not name.startswith("_") and not hasattr(make, name) and f"self.{name}" not in source:
            first = (inspect.getdoc(method) or "").partition("\n\n")[0]
            yield Complaint(True, f"{name} is missing: {' '.join(first.split())}")
    deviations: Mapping[str, Deviation] = getattr(make, "deviations", {})
    for id, deviation in deviations.items():
        if id not in register():
            yield Complaint(
                True, f"deviations names {id!r}, and no clause is called so: see `loopspec clauses`"
            )
        if not deviation.link.startswith(("https://", "http://")):
            yield Complaint(True, f"the deviation from {id} has no link to where the loop says so")


# --- what it does -----------------------------------------------------------------------------------------


def _done(make: MakeLoop, other: Hand, examples: int, seed: int) -> Iterator[Complaint]:
    shown: set[str] = set()
    said: set[str] = set()
    count = asked = 0
    for scenario in drawn(examples, seed):
        count += 1
        run, events, left = _played(make, other, scenario)
        asked += run.asked_time
        shown |= {type(event).__name__ for event in events}
        for words in (*left, *_surroundings(run, events)):
            kind = words.partition(":")[0]
            if kind not in said:
                said.add(kind)
                yield Complaint(True, f"{words}; the scenario is {token_of(scenario)}")
    if not asked:
        yield Complaint(True, "a clock of its own: the loop never asks world.now for the time")
    for name in sorted(make.shows & frozenset(_LED_TO) - shown):
        yield Complaint(
            True,
            f"{name} is declared and was not shown in {count} scenarios: {_LED_TO[name]} does not lead to "
            "it. If the loop has no such thing, leave it out of shows",
        )
    for name in sorted(shown - make.shows):
        yield Complaint(
            False,
            f"{name} is shown and not declared: the clauses that need it are not observed. Declare it, or "
            "say in the docstring why it is the adapter's doing",
        )


def _played(
    make: MakeLoop, other: Hand, scenario: Scenario
) -> tuple[_Overseen, list[Event], tuple[str, ...]]:
    """A run, its trace, and what it has left behind or let out."""
    before, threads = _descriptors(), set(threading.enumerate())
    events: list[Event] = []
    run = _Overseen(other, scenario, events.append)
    words = []
    try:
        run.run(make)
    except Exception as error:
        words.append(f"an exception is let out: {in_one_line(error)}")
    gc.collect()
    new = {number: to for number, to in _descriptors().items() if before.get(number) != to}
    if new:
        words.append(f"a descriptor is left behind: close() does not close {', '.join(sorted(new.values()))}")
    if set(threading.enumerate()) - threads:
        words.append("a thread is left behind: close() does not end it")
    return run, events, tuple(words)


def _surroundings(run: _Overseen, events: list[Event]) -> Iterator[str]:
    waits = sum(isinstance(event, WaitBegin) for event in events)
    if not run.pollers or not waits:
        yield "a wait of its own: the loop does not wait with world.poller(), and nothing can be told of it"
    for event in events:
        if isinstance(event, TimerArm) and abs(event.deadline - event.at - event.delay) > _TOLERANCE:
            yield (
                f"a clock of its own: a timer armed at {event.at} ns for {event.delay} ns has the deadline "
                f"{event.deadline} ns; the loop is to read world.now, and the deadline is in nanoseconds"
            )
            return


def _descriptors() -> dict[int, str]:
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that this reads them by
            found[int(link.name)] = str(link.readlink())
    return found

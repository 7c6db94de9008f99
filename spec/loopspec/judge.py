"""The judge: reads a trace, and says of every clause whether this run kept it.

A trace rule is a *monitor*: a frozen value with one method, ``after(event)``, that gives the monitor's
next state, or the news that the clause was kept, or that it was broken. It is a fold and nothing else, so
the same rule runs over a live stream, over a file of a million events, and inside a search of states.

Most clauses speak of one timer, one task, one registration. Such a rule is written for *one*, and the judge
slices the trace: ``watches`` of the clause maps each type of event to the attribute that names the slice
it belongs to, and each slice has a monitor of its own. A slice named None is the whole trace; an attribute
of ``"*"`` sends the event to every slice that is open; and where an event names many, as the return of a
wait does, a function of the event gives them. A monitor that answers None has seen all
that it will ever need, and is dropped: the judge holds what is alive and no more. Rules stay small
enough to be proved that way, and their cost does not grow with the length of the trace.

Rules know nothing of each other, so it is all one in which order they read. A live stream is read event by
event (:meth:`Judge.after`), a trace that is there already rule by rule (:meth:`Judge.read`): each reads all
that it watches in a row, for a processor that turns to another rule at every step takes half as long again.
And a rule that nothing in the trace concerns (``opens`` of the clause) is not turned to at all. Both say the
same.

Whether a clause was *exercised* is the rule's own business: it answers :class:`Kept` when the premise of
the clause came true and the clause held. A clause whose premise never came true has shown nothing, and
its verdict says so. After a violation the judge goes on, from the state that the rule gave for it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from operator import attrgetter, length_hint
from typing import NamedTuple, Protocol, TypeAlias, final

from loopspec.clause import Clause, Level, Slice
from loopspec.frozen import value
from loopspec.trace import EVENTS, Event

EVERY = "*"
"""As the slice of an event in ``watches``: the event concerns every slice that is open."""


class Monitor(Protocol):
    """One slice of one trace rule, as far as the trace has been read."""

    def after(self, event: Event, /) -> Progress:
        """What ``event``, which is of a type that the clause watches, makes of this state."""
        ...


@final
@value
class Kept:
    """The premise came true and the clause held; ``next`` goes on, None has seen enough."""

    next: Monitor | None


@final
@value
class Broken:
    """The clause does not hold here: what it allowed, what was seen, and the state to recover from."""

    allowed: str
    observed: str
    next: Monitor | None


Progress: TypeAlias = Monitor | Kept | Broken | None


class Verdict(Enum):
    """What one run, or many, say of one clause. Only the first counts as pass."""

    PASS = "pass"
    LOOSE = "loose"  #: a SHOULD is broken
    FAIL = "fail"  #: a MUST is broken
    NOT_EXERCISED = "not exercised"  #: the premise never came true
    NOT_OBSERVED = "not observed"  #: this loop cannot show the events that the clause needs


@dataclass(frozen=True)
class Violation:
    """One refused event: ``position`` counts events from 0: it is also the length of the accepted prefix."""

    clause: str
    position: int
    event: Event
    allowed: str
    observed: str


@dataclass
class Finding:
    """What has been seen of one clause: how often its premise came true, how often it was broken."""

    clause: Clause
    observable: bool
    exercised: int = 0
    broken: int = 0
    first: Violation | None = None

    @property
    def verdict(self) -> Verdict:
        """The five verdicts, worst first."""
        if self.broken:
            return Verdict.FAIL if self.clause.level is Level.MUST else Verdict.LOOSE
        if not self.observable:
            return Verdict.NOT_OBSERVED
        return Verdict.PASS if self.exercised else Verdict.NOT_EXERCISED


Key: TypeAlias = Callable[[Event], object]
Keys: TypeAlias = Callable[[Event], Iterable[object]]


@dataclass(slots=True)
class _Slices:
    """One clause as it is read: ``whole`` is the state of a rule for the whole trace; of others, ``open``
    holds by key the slices whose state is another than the first, which all share. What slices an event
    concerns ``one`` and ``many`` say, by its type: of all types that the rule reads, or of none. ``queue`` is
    what is to be read in a row, and shared by all rules that read the same types."""

    finding: Finding
    first: Monitor
    whole: Monitor
    queue: list[Event]
    open: dict[object, Monitor] = field(default_factory=dict)
    one: dict[type, Key] = field(default_factory=dict)
    many: dict[type, Keys] = field(default_factory=dict)

    def asleep(self, kinds: set[type]) -> bool:
        """Whether events of these types leave everything as it is."""
        opens = self.finding.clause.opens
        return opens is not None and opens.isdisjoint(kinds) and self.whole is self.first and not self.open


class _Refused(NamedTuple):
    """A violation, before all rules have read: in the order in which they are told."""

    position: int
    kind: int  # which of the three ways in which :meth:`Judge.after` reads
    rank: int  # which clause
    event: Event
    news: Broken


_attribute: Callable[[str], Key] = cache(attrgetter)
"""What gives an attribute of an event; the same object for the same attribute."""


def _keys(slices: _Slices, slice: Slice) -> Keys:
    """The slices that an event concerns, where it may be any number of them."""
    if slice == EVERY:
        return lambda event: tuple(slices.open)  # noqa: ARG005
    assert callable(slice)
    return slice


class Judge:
    """Reads events one by one with :meth:`after`, or many with :meth:`read`; :attr:`findings` is at every
    moment what has been seen.

    ``clauses`` that read no trace are passed over. ``shows`` names the types of events that the run's loop
    can show; a clause that cannot do without another is *not observed*. To judge many runs under one set of
    findings, call :meth:`restart` between them.
    """

    def __init__(self, clauses: Iterable[Clause], shows: frozenset[str]) -> None:
        self.position = 0
        self.violations: list[Violation] = []
        self._slices: list[_Slices] = []
        self._queues: dict[frozenset[type], list[Event]] = {}
        self._queued: dict[type, list[list[Event]]] = {cls: [] for cls in EVENTS.values()}
        self._whole: dict[type, list[_Slices]] = {cls: [] for cls in EVENTS.values()}
        self._one: dict[type, list[tuple[_Slices, Key]]] = {cls: [] for cls in EVENTS.values()}
        self._many: dict[type, list[tuple[_Slices, Keys]]] = {cls: [] for cls in EVENTS.values()}
        for entry in clauses:
            if not entry.watches:
                continue
            observable = all(cls.__name__ in shows for cls in entry.watches)
            first: Monitor = entry.rule()  # type: ignore[assignment]
            reads = {**entry.watches, **entry.also} if observable else {}
            slices = _Slices(Finding(entry, observable), first, first, self._queue(frozenset(reads)))
            self._slices.append(slices)
            for cls, slice in reads.items():
                self._subscribe(slices, cls, slice)

    def _queue(self, reads: frozenset[type]) -> list[Event]:
        queue = self._queues.get(reads)
        if queue is None:
            queue = self._queues[reads] = []
            for cls in reads:
                self._queued[cls].append(queue)
        return queue

    def _subscribe(self, slices: _Slices, cls: type, slice: Slice) -> None:
        if slice is None:
            self._whole[cls].append(slices)
        elif isinstance(slice, str) and slice != EVERY:
            slices.one[cls] = _attribute(slice)
            self._one[cls].append((slices, slices.one[cls]))
        else:
            slices.many[cls] = _keys(slices, slice)
            self._many[cls].append((slices, slices.many[cls]))

    @property
    def findings(self) -> dict[str, Finding]:
        """What has been seen of each clause, by id."""
        return {slices.finding.clause.id: slices.finding for slices in self._slices}

    def restart(self) -> None:
        """Forget the run, keep the findings: the next event is the first of another run."""
        self.position = 0
        self.violations = []
        for slices in self._slices:
            slices.whole = slices.first
            slices.open.clear()

    def after(self, event: Event) -> None:
        """Read one event."""
        cls = type(event)
        # The inner loop. What most rules make of most events is the same state, or another, or that a clause
        # was kept, and that is seen to on the spot: :meth:`_read` says the same with a call or two more.
        for slices in self._whole[cls]:
            before = slices.whole
            progress = before.after(event)
            if progress is before:
                continue
            if type(progress) is Kept:
                slices.finding.exercised += 1
                progress = progress.next
            elif type(progress) is Broken:
                progress = self._news(slices.finding, event, progress)
            slices.whole = slices.first if progress is None else progress
        for slices, key_of in self._one[cls]:
            key, open = key_of(event), slices.open
            before = open.get(key, slices.first)
            progress = before.after(event)
            if progress is before:
                continue
            if type(progress) is Kept:
                slices.finding.exercised += 1
                progress = progress.next
            elif type(progress) is Broken:
                progress = self._news(slices.finding, event, progress)
            if progress is None:
                open.pop(key, None)
            else:
                open[key] = progress
        for slices, keys_of in self._many[cls]:
            for key in keys_of(event):
                self._read(slices, key, event)
        self.position += 1

    def _read(self, slices: _Slices, key: object, event: Event) -> None:
        before = slices.open.get(key, slices.first)
        progress = before.after(event)
        if progress is before:
            return
        if type(progress) is Kept or type(progress) is Broken:
            progress = self._news(slices.finding, event, progress)
        if progress is None:
            slices.open.pop(key, None)
        else:
            slices.open[key] = progress

    def read(self, events: Iterable[Event]) -> None:
        """Read ``events``, which are held together meanwhile, rule by rule: as :meth:`after` reads them."""
        trace = tuple(events)
        with _uncollected():
            refused = self._read_in_rows(trace)
        refused.sort(key=lambda each: each[:3])
        for each in refused:
            self._refuse(self._slices[each.rank].finding, each.position, each.event, each.news)
        self.position += len(trace)

    def _read_in_rows(self, trace: Sequence[Event]) -> list[_Refused]:
        for event in trace:
            for queue in self._queued[type(event)]:
                queue.append(event)
        kinds = set(map(type, trace))
        refused: list[_Refused] = []
        for rank, slices in enumerate(self._slices):
            if slices.queue and not slices.asleep(kinds):
                refused += self._refused(slices, rank, trace)
        for queue in self._queues.values():
            queue.clear()
        return refused

    def _refused(self, slices: _Slices, rank: int, trace: Sequence[Event]) -> list[_Refused]:
        """Have one rule read its queue, which is of ``trace``; what it refuses."""
        found = _read_slices(slices) if slices.one or slices.many else _read_whole(slices)
        if not found:
            return []
        reads = {**slices.finding.clause.watches, **slices.finding.clause.also}
        places = [place for place, event in enumerate(trace, self.position) if type(event) in reads]
        return [
            _Refused(
                places[place],
                (type(event) in slices.one) + 2 * (type(event) in slices.many),
                rank,
                event,
                news,
            )
            for place, event, news in found
        ]

    def _news(self, finding: Finding, event: Event, news: Kept | Broken) -> Monitor | None:
        """Write down the news; gives the state to go on from."""
        finding.exercised += 1
        if isinstance(news, Broken):
            self._refuse(finding, self.position, event, news)
        return news.next

    def _refuse(self, finding: Finding, position: int, event: Event, news: Broken) -> None:
        violation = Violation(finding.clause.id, position, event, news.allowed, news.observed)
        self.violations.append(violation)
        finding.broken += 1
        if finding.first is None:
            finding.first = violation


# --- many events in a row -----------------------------------------------------------------------------


@contextmanager
def _uncollected() -> Iterator[None]:
    """What a rule makes is let go of at once, and has no cycles: a collector that goes by how much is made
    would look through the trace again and again, and find nothing."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


_Found: TypeAlias = list[tuple[int, Event, Broken]]
"""What a rule has refused of its queue: the place there, the event, and why."""


def _read_whole(slices: _Slices) -> _Found:
    """Have a rule of the whole trace read its queue."""
    found: _Found = []
    state, first, exercised = slices.whole, slices.first, 0
    left = iter(slices.queue)
    for event in left:
        progress = state.after(event)
        if progress is state:
            continue
        if type(progress) is Kept:
            exercised += 1
            progress = progress.next
        elif type(progress) is Broken:
            exercised += 1
            found.append((len(slices.queue) - length_hint(left) - 1, event, progress))
            progress = progress.next
        state = first if progress is None else progress
    slices.whole = state
    slices.finding.exercised += exercised
    return found


def _read_slices(slices: _Slices) -> _Found:
    """Have a rule of slices read its queue."""
    found: _Found = []
    first, exercised, open = slices.first, 0, slices.open
    left = iter(slices.queue)
    for key, event in _keyed(slices, left):
        state = open.get(key, first)
        progress = state.after(event)
        if progress is state:
            continue
        if type(progress) is Kept:
            exercised += 1
            progress = progress.next
        elif type(progress) is Broken:
            exercised += 1
            found.append((len(slices.queue) - length_hint(left) - 1, event, progress))
            progress = progress.next
        if progress is None:
            open.pop(key, None)
        else:
            open[key] = progress
    slices.finding.exercised += exercised
    return found


def _keyed(slices: _Slices, left: Iterator[Event]) -> Iterator[tuple[object, Event]]:
    """The events ``left`` of a rule's queue, each with the key of a slice that it concerns: the next is taken
    when the one before has been read, since which slices are open may depend on it."""
    one, many = slices.one, slices.many
    if not many:
        keys = {*one.values()}
        if len(keys) == 1:
            return zip(map(keys.pop(), slices.queue), left, strict=True)
        return zip([one[type(event)](event) for event in slices.queue], left, strict=True)
    return (
        (key, event)
        for event in left
        for key in ((one[type(event)](event),) if type(event) in one else many[type(event)](event))
    )

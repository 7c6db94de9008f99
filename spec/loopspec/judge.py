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

Whether a clause was *exercised* is the rule's own business: it answers :class:`Kept` when the premise of
the clause came true and the clause held. A clause whose premise never came true has shown nothing, and
its verdict says so. After a violation the judge goes on, from the state that the rule gave for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from typing import NamedTuple, Protocol, TypeAlias

from loopspec.clause import Clause, Level, Slice
from loopspec.trace import EVENTS, Event

EVERY = "*"
"""As the slice of an event in ``watches``: the event concerns every slice that is open."""


class Monitor(Protocol):
    """One slice of one trace rule, as far as the trace has been read."""

    def after(self, event: Event, /) -> Progress:
        """What ``event``, which is of a type that the clause watches, makes of this state."""
        ...


class Kept(NamedTuple):
    """The premise came true and the clause held; ``next`` goes on, None has seen enough."""

    next: Monitor | None


class Broken(NamedTuple):
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


class _Slices:
    """The open slices of one clause, and the readers that feed them."""

    __slots__ = ("finding", "judge", "open", "start")

    def __init__(self, judge: Judge, finding: Finding, start: Callable[[], Monitor]) -> None:
        self.judge = judge
        self.finding = finding
        self.start = start
        self.open: dict[object, Monitor] = {}

    def reader(self, slice: Slice) -> Callable[[Event], None]:
        """What to call with each event whose slices are told by ``slice``.

        A closure for each of the four ways: this is the judge's inner loop, and it asks nothing twice.
        """
        advance = self.advance
        if slice is None:
            return lambda event: advance(None, event)
        if slice == EVERY:
            return self._advance_every
        if isinstance(slice, str):
            key_of = attrgetter(slice)
            return lambda event: advance(key_of(event), event)
        keys_of = slice

        def advance_many(event: Event) -> None:
            for key in keys_of(event):
                advance(key, event)

        return advance_many

    def _advance_every(self, event: Event) -> None:
        for key in tuple(self.open):
            self.advance(key, event)

    def advance(self, key: object, event: Event) -> None:
        """Feed ``event`` to the slice ``key``, which it opens if it is not open."""
        before = self.open.get(key)
        progress = (self.start() if before is None else before).after(event)
        if isinstance(progress, Kept):
            self.finding.exercised += 1
            progress = progress.next
        elif isinstance(progress, Broken):
            self.judge.record(self.finding, event, progress)
            progress = progress.next
        if progress is before:
            return
        if progress is None:
            del self.open[key]
        else:
            self.open[key] = progress


class Judge:
    """Reads events one by one with :meth:`after`; :attr:`findings` is at every moment what has been seen.

    ``clauses`` that read no trace are passed over. ``shows`` names the types of events that the run's loop
    can show; a clause that cannot do without another is *not observed*. To judge many runs under one set of
    findings, call :meth:`restart` between them.
    """

    def __init__(self, clauses: Iterable[Clause], shows: frozenset[str]) -> None:
        self.position = 0
        self.violations: list[Violation] = []
        self._slices: list[_Slices] = []
        self._readers: dict[type, list[Callable[[Event], None]]] = {cls: [] for cls in EVENTS.values()}
        for entry in clauses:
            if not entry.watches:
                continue
            observable = all(cls.__name__ in shows for cls in entry.watches)
            slices = _Slices(self, Finding(entry, observable), entry.rule)  # type: ignore[arg-type]
            self._slices.append(slices)
            if observable:
                for cls, slice in {**entry.watches, **entry.also}.items():
                    self._readers[cls].append(slices.reader(slice))

    @property
    def findings(self) -> dict[str, Finding]:
        """What has been seen of each clause, by id."""
        return {slices.finding.clause.id: slices.finding for slices in self._slices}

    def restart(self) -> None:
        """Forget the run, keep the findings: the next event is the first of another run."""
        self.position = 0
        self.violations = []
        for slices in self._slices:
            slices.open.clear()

    def after(self, event: Event) -> None:
        """Read one event."""
        for read in self._readers[type(event)]:
            read(event)
        self.position += 1

    def record(self, finding: Finding, event: Event, broken: Broken) -> None:
        """Enter a violation at ``event``, the one that is being read."""
        violation = Violation(finding.clause.id, self.position, event, broken.allowed, broken.observed)
        self.violations.append(violation)
        finding.exercised += 1
        finding.broken += 1
        if finding.first is None:
            finding.first = violation

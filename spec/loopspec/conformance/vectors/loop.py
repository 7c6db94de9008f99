"""Loop vectors: schedules, the trace of each, and the same trace spoilt.

The trace is refloop's, run in lockstep on the kernel at hand, and judged: it is *one* that keeps every
clause. Another loop may order what the clauses leave open as it likes; what it owes is a trace that the
clauses keep, and so the expected set is all those, of which each vector shows one member, and some that are
near and not in it. These are the trace without one event, or with two neighbours exchanged: the judge says
which of them break which clause, and where."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources

import loopspec
from loopspec.clause import Clause, register
from loopspec.conformance.adapter import Adapter, World
from loopspec.conformance.lockstep import Hand, Lockstep, hand
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.scenario import in_words, plain, scenario_of
from loopspec.judge import Judge, Violation
from loopspec.trace import Event, encode

FORMAT = 1
"""The version of the file's format. It grows when a runner of the old one would misread the new."""

SCHEDULES = "schedules.txt"
"""A schedule a line: the family that it was drawn from, and its token."""

ALTERED = 8
"""At most so many spoilt traces a vector, spread over the clauses that they break."""

Json = Mapping[str, object]


def document() -> Json:
    """The whole file, as JSON takes it. To be called on the main thread: the loop runs there."""
    with hand() as other:
        vectors = [vector(number, *schedule, other) for number, schedule in enumerate(schedules())]
    return {
        "loopspec-loop-vectors": FORMAT,
        "loopspec": loopspec.__version__,
        "shows": sorted(RefloopLoop.shows),
        "clauses": {entry.id: entry.digest for entry in _clauses()},
        "vectors": vectors,
    }


def schedules() -> list[tuple[str, str]]:
    """The families and tokens that this version was packaged with."""
    text = resources.files("loopspec.conformance.vectors").joinpath(SCHEDULES).read_text(encoding="utf-8")
    pairs = (line.rsplit(maxsplit=1) for line in text.splitlines())
    return [(family, token) for family, token in pairs]


def _clauses() -> tuple[Clause, ...]:
    return tuple(entry for entry in register().values() if entry.watches)


def vector(number: int, family: str, token: str, other: Hand) -> Json:
    """The vector of one schedule."""
    scenario = scenario_of(token)
    events: list[Event] = []
    make: Callable[[World], Adapter] = RefloopLoop
    Lockstep(other, scenario, events.append).run(make)
    violations, exercised = _judged(events)
    assert not violations, f"refloop breaks {violations[0].clause} in {token}"
    return {
        "name": f"{family}-{number}",
        "token": token,
        "words": list(in_words(scenario)),
        "schedule": plain(scenario),
        "exercises": exercised,
        "trace": [json.loads(encode(event)) for event in events],
        "altered": list(_altered(events)),
    }


def _judged(events: Sequence[Event]) -> tuple[list[Violation], list[str]]:
    judge = Judge(_clauses(), RefloopLoop.shows)
    judge.read(events)
    exercised = [id for id, finding in judge.findings.items() if finding.exercised]
    return judge.violations, exercised


def _altered(events: Sequence[Event]) -> Iterator[Json]:
    """Alterations that break a clause, each of which breaks one that none before it has broken."""
    known: set[str] = set()
    for how, place, spoilt in _spoilt(events):
        if len(known) >= ALTERED:
            return
        broken, _ = _judged(spoilt)
        news = {violation.clause for violation in broken} - known
        if news:
            known |= news
            yield {how: place, "refused": [[found.clause, found.position] for found in broken]}


def _spoilt(events: Sequence[Event]) -> Iterator[tuple[str, int, list[Event]]]:
    for place in range(len(events)):
        yield "without", place, [*events[:place], *events[place + 1 :]]
    for place in range(len(events) - 1):
        yield "exchanged", place, [*events[:place], events[place + 1], events[place], *events[place + 2 :]]

"""Making a failure small, and showing what it hangs on.

A failure is a case: script, program, kernel and schedule, and they are made small together, since a schedule
that needs an act is not smaller without it. Every *step* takes away one piece or makes one number smaller. A
step is kept if what is left still fails. Where a piece of the scenario is taken away the answers behind it
may belong to other questions, so a step also tries the tape without one of its answers, and a few calm ones.
When no step is left that could be kept, every remaining piece is needed: the case is 1-minimal.

What the failure hangs on shows beside the run that is nearest to it and passes: the one that differs in a
single choice, or if there is none in a single piece, and that goes the same way for longest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

from loopspec.conformance.explorer import DelayBounded
from loopspec.conformance.modelled import Case, Taped, without_calm_end
from loopspec.conformance.scenario import At, Scenario
from loopspec.trace import Event

Fails = Callable[[Case], bool]
Run = Callable[[Case, Taped], tuple[Event, ...]]
"""Plays a case under a schedule; its trace."""

RETRIES = 24
"""So many other tapes, the calmest first, are tried where a piece of the scenario is gone."""


def made_small(case: Case, fails: Fails, play: Callable[[Case, Taped], object]) -> Case:
    """The smallest case that steps from ``case`` lead to, and that fails still."""
    case = replace(case, tape=without_calm_end(case.tape))
    while True:
        smaller = next(
            (each for step in steps(case) if (each := _failing(step, case, fails, play)) is not None), None
        )
        if smaller is None:
            return case
        case = smaller


def _failing(step: Case, before: Case, fails: Fails, play: Callable[[Case, Taped], object]) -> Case | None:
    if fails(step):
        return step
    if (step.scenario, step.kernel) == (before.scenario, before.kernel):
        return None
    for place in range(len(step.tape)):
        shorter = replace(step, tape=without_calm_end(step.tape[:place] + step.tape[place + 1 :]))
        if fails(shorter):
            return shorter
    for tape in _calm_tapes(step, len(step.tape), sum(step.tape), play):
        other = replace(step, tape=tape)
        if fails(other):
            return other
    return None


def _calm_tapes(
    step: Case, length: int, cost: int, play: Callable[[Case, Taped], object]
) -> Iterator[tuple[int, ...]]:
    """Tapes that are no longer and cost no more: what they lead to is a smaller case, or none."""
    strategy = DelayBounded()
    for _ in range(RETRIES):
        schedule = strategy.next()
        if schedule is None:
            return
        play(step, schedule)
        strategy.played(schedule)
        tape = without_calm_end(schedule.taken)
        if len(tape) <= length and sum(tape) <= cost:
            yield tape


# --- steps ------------------------------------------------------------------------------------------------


def steps(case: Case) -> Iterator[Case]:
    """Every case that is ``case`` without one piece, or with one number smaller."""
    tape = case.tape
    for scenario in _simpler(case.scenario):
        assert isinstance(scenario, Scenario)
        yield replace(case, scenario=scenario)
    if case.kernel != "calm":
        yield replace(case, kernel="calm")
    for length in range(len(tape)):
        yield replace(case, tape=without_calm_end(tape[:length]))
    for place, chosen in enumerate(tape):
        yield replace(case, tape=without_calm_end(tape[:place] + tape[place + 1 :]))
        for less in range(chosen):
            yield replace(case, tape=without_calm_end((*tape[:place], less, *tape[place + 1 :])))


def _simpler(value: object) -> Iterator[object]:
    if isinstance(value, tuple):
        yield from _simpler_tuple(value)
    elif isinstance(value, bool):
        if value:
            yield False
    elif isinstance(value, int):
        if value > 0:
            yield from dict.fromkeys((0, value // 2, value - 1))
    elif hasattr(value, "__dataclass_fields__"):
        for entry in fields(value):  # type: ignore[arg-type]  # it is a dataclass
            for each in _simpler(getattr(value, entry.name)):
                if _makes_sense(entry.name, each):
                    yield replace(value, **{entry.name: each})  # type: ignore[type-var]  # ditto


def _simpler_tuple(values: tuple[object, ...]) -> Iterator[object]:
    if len(values) > 2:
        yield values[: len(values) // 2]
        yield values[len(values) // 2 :]
    for place, value in enumerate(values):
        before, after = values[:place], values[place + 1 :]
        yield (*before, *after)
        body = getattr(value, "body", None)
        if body and not isinstance(value, At):
            yield (*before, *body, *after)
        for each in _simpler(value):
            yield (*before, each, *after)


_AT_LEAST_ONE = frozenset({"size", "count", "times"})


def _makes_sense(name: str, value: object) -> bool:
    """A transfer of nothing, or a dialogue without questions, is another thing and not a smaller one."""
    return not (name in _AT_LEAST_ONE and value == 0) and not (name in ("questions", "plans") and not value)


# --- beside the nearest run that passes ---------------------------------------------------------------------


@dataclass(frozen=True)
class Parting:
    """Two runs that go the same way for ``common`` events: what the failing one does then, and what the other
    one, which passes, does instead; None is that it is over."""

    passing: Case
    common: int
    fails: Event | None
    passes: Event | None


def nearest_passing(case: Case, fails: Fails, run: Run) -> Parting | None:
    """The run that passes and is like that of ``case`` for longest; None if every neighbour fails too."""
    schedule = Taped(case.tape)
    events = run(case, schedule)
    best: Parting | None = None
    for neighbour in (*_one_choice_apart(case, schedule), *steps(case)):
        if best is not None and neighbour.scenario != case.scenario:
            break  # a run of the same scenario is nearer than any of another
        if fails(neighbour):
            continue
        other = run(neighbour, Taped(neighbour.tape))
        common = _common(events, other)
        if best is None or common > best.common:
            best = Parting(neighbour, common, _at(events, common), _at(other, common))
    return best


def _one_choice_apart(case: Case, schedule: Taped) -> Iterator[Case]:
    taken = tuple(schedule.taken)
    for place in range(len(taken) - 1, -1, -1):
        for other in range(min(schedule.asked[place], 8)):
            if other != taken[place]:
                yield replace(case, tape=(*taken[:place], other, *taken[place + 1 :]))


def _common(events: tuple[Event, ...], other: tuple[Event, ...]) -> int:
    same = 0
    for one, two in zip(events, other, strict=False):
        if one != two:
            break
        same += 1
    return same


def _at(events: tuple[Event, ...], place: int) -> Event | None:
    return events[place] if place < len(events) else None

"""Exploring a loop: the explorer, the scopes and the judge put together, and what is told of it.

A search goes on until its budget is spent, nothing is left, somebody presses Ctrl-C, or a schedule fails: it
breaks a clause, or the loop lets an exception out. Whatever ends it, it can be saved and gone on with. What
failed is made small and told with the token that replays it.
"""

from __future__ import annotations

import gc
import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from loopspec.clause import Clause, Level, select
from loopspec.conformance.campaign import MakeLoop
from loopspec.conformance.explorer import DAMAGED, Budget, Met, Play, Search
from loopspec.conformance.lockstep import Stuck
from loopspec.conformance.modelled import (
    NOT_SHOWN,
    Case,
    Modelled,
    Taped,
    Untraced,
    case_of,
    case_token,
    fitted,
    without_calm_end,
)
from loopspec.conformance.result import UsageError
from loopspec.conformance.scopes import Scope
from loopspec.conformance.shrinking import Parting, made_small, nearest_passing
from loopspec.judge import Judge, Violation
from loopspec.trace import Event

_FORMAT = 1
_COLLECT_EVERY = 4
"""A collection costs something by itself, and what four runs leave is still in the processor's cache."""
_COLLECT_ALL_EVERY = 20_000
_TELL_EVERY = 0.25
_PATIENCE = 3
"""Seconds of processor time for one run, which takes a thousandth of that."""


_KNOWN_AT_MOST = 1_000_000


class Bench:
    """Plays cases on one loop, and has them judged; a run fails by a MUST, or with ``shoulds`` by a SHOULD as
    well.

    A verdict hangs on the trace alone, and many schedules come to the same trace: so one that has been judged
    is not judged again, it is known by 64 bits of its events.
    """

    def __init__(self, make: MakeLoop, clauses: Sequence[Clause], *, shoulds: bool = False) -> None:
        self._make = make
        self._shows = make.shows - NOT_SHOWN
        self._failing = {entry.id for entry in clauses if shoulds or entry.level is Level.MUST}
        self._judge = Judge(clauses, self._shows)
        self._known: dict[int, dict[str, Violation | None]] = {}

    def play(self, case: Case, schedule: Taped) -> tuple[tuple[Event, ...], str | None]:
        """The trace of ``case`` under ``schedule``, and what went wrong beside it: the loop has let an
        exception out, or had to be broken off."""
        events: list[Event] = []
        run = Modelled(fitted(case.scenario, case.kernel), case.kernel, schedule, events.append)
        try:
            run.run(self._make)
        except Exception as error:
            return tuple(events), f"the loop raised {type(error).__name__}: {' '.join(str(error).split())}"
        return tuple(events), _cut_short(run)

    def untraced(self, case: Case, schedule: Taped) -> str | None:
        """What goes wrong in a run of which nobody is told: the same as beside a trace."""
        run = Untraced(case.scenario, case.kernel, schedule, _nothing)
        try:
            run.run(self._make)
        except Exception as error:
            return f"the loop raised {type(error).__name__}"
        return _cut_short(run)

    def broken(self, case: Case, schedule: Taped) -> dict[str, Violation | None]:
        """What a run fails by: the clauses that it breaks, or the exception."""
        events, raised = self.play(case, schedule)
        found = self.judged(events)
        if raised is not None and not found:
            return {raised: None}
        return found

    def judged(self, events: tuple[Event, ...]) -> dict[str, Violation | None]:
        """What a run with this trace fails by."""
        known = hash((*map(type, events), *events))  # events of two kinds may have the same fields
        found = self._known.get(known)
        if found is None:
            self._judge.restart()
            self._judge.read(events)
            found = {}
            for violation in self._judge.violations:
                if violation.clause in self._failing:
                    found.setdefault(violation.clause, violation)
            if len(self._known) >= _KNOWN_AT_MOST:
                self._known.clear()
            self._known[known] = found
        return found

    @property
    def exercised(self) -> tuple[int, int]:
        """How many clauses have been exercised, of how many that can be observed."""
        observable = [each for each in self._judge.findings.values() if each.observable]
        return sum(1 for each in observable if each.exercised), len(observable)


def _cut_short(run: Modelled) -> str | None:
    return None if run.cut_short is None else f"the loop {run.cut_short}"


def _nothing(event: Event) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class Failure:
    """A case that fails by ``what``, a clause or an exception, made small; ``parting`` is where the nearest
    run that passes takes another way."""

    what: str
    case: Case
    violation: Violation | None
    events: tuple[Event, ...]
    parting: Parting | None
    found_after: int

    @property
    def token(self) -> str:
        """What replays it."""
        return case_token(self.case)


@dataclass
class Explored:
    """What a search has come to; ``ended`` is the word for why it stopped. ``seconds`` is processor time."""

    scope: Scope
    met: Met
    ended: str
    seconds: float
    played: int
    exercised: tuple[int, int]
    lines: dict[str, int]
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class Told:
    """The progress of a search; ``rate`` is new states a second since it was last told."""

    schedules: int
    states: int
    rate: float
    exercised: tuple[int, int]


@dataclass(frozen=True)
class Request:
    """What is to be explored; ``untraced`` leaves out trace and judge."""

    scope: Scope
    strategies: tuple[str, ...]
    seed: int
    clauses: tuple[Clause, ...]
    untraced: bool = False


def explore(
    make: MakeLoop,
    request: Request,
    budget: Budget,
    *,
    resume: Path | None = None,
    on_progress: Callable[[Told], None] = lambda _: None,
) -> Explored:
    """Search, from the beginning or from where ``resume`` was left; what was reached is written there."""
    bench = Bench(make, request.clauses)
    found: list[dict[str, Violation | None]] = [{}]
    search = Search(
        [_system(bench, case, request.untraced, found) for case in request.scope.cases],
        request.strategies,
        request.seed,
        counts=not request.untraced,
    )
    if resume is not None and resume.exists():
        _load(resume, request, search)
    before, begun = search.met.schedules, time.process_time()
    ended, failed = "exhausted", None
    told, states = time.monotonic(), len(search.met.states)
    with _interruptible() as interrupted, _collecting_by_hand(), attended(lambda: search.met.schedules):
        for place, schedule in search.schedules():
            if found[0]:
                ended, failed = "failed", (place, schedule)
                break
            if interrupted() or budget.is_spent(search.met.schedules):
                ended = "interrupted" if interrupted() else "stopped"
                break
            if search.met.schedules % _COLLECT_EVERY == 0:
                gc.collect(0 if search.met.schedules % _COLLECT_ALL_EVERY else 2)
            now = time.monotonic()
            if now - told >= _TELL_EVERY:
                met = search.met
                rate = (len(met.states) - states) / (now - told)
                on_progress(Told(met.schedules, len(met.states), rate, bench.exercised))
                told, states = now, len(met.states)
    if ended == "stopped" and search.over:
        ended = "exhausted"
    seconds = time.process_time() - begun
    if resume is not None:
        _save(resume, request, search)
    lines: dict[str, int] = {}
    for line in search.lines:
        lines[line.name] = lines.get(line.name, 0) + line.schedules
    exercised, played = bench.exercised, search.met.schedules - before
    explored = Explored(request.scope, search.met, ended, seconds, played, exercised, lines)
    if failed is not None:
        place, schedule = failed
        case = replace(request.scope.cases[place], tape=without_calm_end(schedule.taken))
        broken = found[0]
        if request.untraced:  # with its trace, it can be said what is wrong
            broken = bench.broken(case, Taped(case.tape)) or broken
        explored.failures = tuple(shown_small(bench, case, what, search.met.schedules) for what in broken)
    return explored


def _system(bench: Bench, case: Case, untraced: bool, found: list[dict[str, Violation | None]]) -> Play:
    def play(schedule: Taped) -> None:
        found[0] = bench.broken(case, schedule)

    def play_untraced(schedule: Taped) -> None:
        wrong = bench.untraced(case, schedule)
        if wrong is not None:
            found[0] = {wrong: None}

    return play_untraced if untraced else play


def shown_small(bench: Bench, case: Case, what: str, after: int) -> Failure:
    """``case``, which fails by ``what``, made small, and the nearest run that passes."""

    def fails(step: Case) -> bool:
        return what in bench.broken(step, Taped(step.tape))

    smallest = made_small(case, fails, bench.play) if fails(case) else case
    parting = nearest_passing(smallest, fails, lambda step, schedule: bench.play(step, schedule)[0])
    events, _ = bench.play(smallest, Taped(smallest.tape))
    violation = bench.broken(smallest, Taped(smallest.tape)).get(what)
    return Failure(what, smallest, violation, events, parting, after)


def replay(make: MakeLoop, token: str, clauses: tuple[Clause, ...]) -> tuple[Case, tuple[Failure, ...]]:
    """What the case of ``token`` breaks, as it is. Raises :class:`UsageError` if it tells none."""
    case, bench = case_of(token), Bench(make, clauses)
    broken = bench.broken(case, Taped(case.tape))
    events, _ = bench.play(case, Taped(case.tape))
    return case, tuple(Failure(what, case, found, events, None, 1) for what, found in broken.items())


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C ends the search between two schedules; a second one strikes at once."""
    pressed = False

    def press(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def attended(played: Callable[[], int]) -> Iterator[None]:
    """Break a run off that takes more than :data:`_PATIENCE` of processor time: a loop may be caught in a
    circle of its own, where it asks the kernel for nothing. ``played`` counts the runs that are over."""
    before, ticks = -1, 0

    def look(_number: int, _frame: FrameType | None) -> None:
        nonlocal before, ticks
        now = played()
        ticks = ticks + 1 if now == before else 0
        before = now
        if ticks >= _PATIENCE:
            ticks = 0
            raise Stuck(None)

    earlier = signal.signal(signal.SIGVTALRM, look)
    signal.setitimer(signal.ITIMER_VIRTUAL, 1.0, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, earlier)


@contextmanager
def _collecting_by_hand() -> Iterator[None]:
    """Every run leaves a loop's worth of cycles and keeps nothing: so they are let go of between runs,
    while they are still in the processor's cache, and what was there before is not looked at again."""
    before = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if before:
            gc.enable()


# --- a file to resume from ----------------------------------------------------------------------------------


def _identity(request: Request) -> dict[str, object]:
    return {
        "format": _FORMAT,
        "strategies": list(request.strategies),
        "seed": request.seed,
        "cases": [case_token(case) for case in request.scope.cases],
    }


def _save(file: Path, request: Request, search: Search) -> None:
    told = json.dumps({**_identity(request), "search": search.save()})
    beside = file.with_name(file.name + ".new")
    beside.write_text(told + "\n", encoding="utf-8")
    beside.replace(file)


def _load(file: Path, request: Request, search: Search) -> None:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UsageError(DAMAGED) from None
    if not isinstance(told, dict):
        raise UsageError(DAMAGED)
    for name, value in _identity(request).items():
        if told.get(name) != value:
            raise UsageError(
                f"{file} is of another search, its {name} differ: give the scope, the strategy and the seed "
                "that it was begun with, or another file"
            )
    search.restore(told.get("search", {}))


def clauses_for(selectors: Sequence[str]) -> tuple[Clause, ...]:
    """Those of the clauses that a trace can be judged by."""
    return tuple(entry for entry in select(selectors) if entry.watches)

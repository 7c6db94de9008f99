"""The hunt by the explorer: which mutants of refloop its schedules kill, and how soon.

As in :mod:`tests.mutants.hunt` each mutant has a process of its own, nothing that is searched knows of the
mutant, and what kills it has to spare refloop as it is. What is searched are the small scopes, to their end,
and the families that are for the clause's area, few scenarios of each by many schedules and many by few, all
on the simulated kernel. What kills is made small.

Why one is missed is found out and not judged: its clause may be of what the model does not show; the scenario
that kills it may need what only the real kernel has, or be kept on the model, so that the breakage lies
outside of what a kernel decides. What is left is that no program of the scopes has it.

``python -m tests.mutants.explored [NAME ...]`` prints what the hunts find.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

import click

from loopspec.clause import select
from loopspec.conformance import explorer, scopes
from loopspec.conformance.campaign import MakeLoop
from loopspec.conformance.exploration import Bench, attended
from loopspec.conformance.explorer import Search
from loopspec.conformance.families import FAMILIES
from loopspec.conformance.kills import EXPLORER, Kill
from loopspec.conformance.modelled import (
    ELSEWHERE,
    NOT_SHOWN,
    Case,
    Taped,
    case_of,
    case_token,
    fitted,
    kinds_for,
    nodes,
    without_calm_end,
)
from loopspec.conformance.scenario import scenario_of
from loopspec.conformance.shrinking import made_small
from tests.mutants.hunt import AGAIN, PACKAGE, ROOT, Hunted, Hunter, adapter_of, hunted_by_scenarios, hunts
from tests.mutants.mutant import Mutant

SEED = 1
SCHEDULES = 6000
"""How many schedules a mutant has to survive; some ten seconds."""

WITH_THREADS = 20
"""For so many of them one counts whose jobs are on threads of their own: that is what it costs."""

MANY = 60
"""How many scenarios of a family are searched by few schedules each."""

ON_THE_MODEL = 200
"""How many schedules of the scenario that kills elsewhere a mutant has to survive on the model."""

SEARCHES = 3


def searched(clause: str) -> Iterator[tuple[scopes.Scope, tuple[str, ...]]]:
    """What is searched for a run that breaks ``clause``, and by which strategies; :data:`SEARCHES` of them,
    each drawn when it is come to."""
    area = clause.partition(".")[0]
    families = tuple(name for name, family in FAMILIES.items() if area in family.exercises)
    yield scopes.named(tuple(scopes.SMALL), SEED), ("exhaustive",)
    yield scopes.named(families, SEED), ()
    many = [scopes.drawn(name, SEED + 1, MANY) for name in families]
    yield scopes.together("many", many), ("delay", "random")


def first_kill(make: MakeLoop, clause: str) -> tuple[int, Case | None]:
    """How many schedules it took, and the case that breaks ``clause``; None if none does."""
    bench = Bench(make, select([clause]), shoulds=True)
    broken, before, spent = False, 0, 0

    def system(case: Case) -> explorer.Play:
        def play(schedule: Taped) -> None:
            nonlocal broken, spent
            broken = clause in bench.broken(case, schedule)
            spent += WITH_THREADS if case.scenario.workers else 1

        return play

    for place, (scope, strategies) in enumerate(searched(clause)):
        most = SCHEDULES * (place + 1) // SEARCHES  # each has a share, and what the ones before it left
        search = Search([system(case) for case in scope.cases], strategies, SEED, counts=False)
        with attended(lambda played=search.met: played.schedules):  # type: ignore[misc]  # bound here
            for number, schedule in search.schedules():
                if broken:
                    case = scope.cases[number]
                    tape = without_calm_end(schedule.taken)
                    return before + search.met.schedules, Case(case.scenario, case.kernel, tape)
                if spent >= most:
                    break
        before += search.met.schedules
    return before, None


def _hunt(clause: str, directory: Path, tell: Connection) -> None:
    def played() -> Hunted:
        make = adapter_of(directory)
        after, case = first_kill(make, clause)
        if case is None:
            return Hunted(after)
        bench = Bench(make, select([clause]), shoulds=True)

        def fails(step: Case) -> bool:
            return clause in bench.broken(step, Taped(step.tape))

        small = made_small(case, fails, bench.play) if fails(case) else case
        every = Bench(make, [entry for entry in select() if entry.watches], shoulds=True)
        breaks = tuple(sorted(every.broken(small, Taped(small.tape))))
        return Hunted(after, case_token(small), _spares(small, clause), size=size(small), breaks=breaks)

    _told_of(played, tell)


def _spares(case: Case, clause: str) -> bool:
    """Whether refloop as it is keeps the clause there."""
    original = Bench(adapter_of(ROOT / Path(PACKAGE).parent), select([clause]), shoulds=True)
    return not original.broken(case, Taped(case.tape))


def again(tokens: Mapping[str, str]) -> Hunter:
    """A hunter that plays the case which has killed a mutant before: ``tokens`` has it by the name."""
    return partial(_play_again, tokens)


def _play_again(tokens: Mapping[str, str], clause: str, directory: Path, tell: Connection) -> None:
    case = case_of(tokens[directory.name])

    def played() -> Hunted:
        bench = Bench(adapter_of(directory), select([clause]), shoulds=True)
        for tried in range(1, 1 + AGAIN):
            if clause in bench.broken(case, Taped(case.tape)):
                return Hunted(tried, tokens[directory.name], _spares(case, clause))
        return Hunted(AGAIN)

    _told_of(played, tell)


def on_the_model_too(tokens: Mapping[str, str]) -> Hunter:
    """A hunter that plays the scenario which has killed a mutant on the real kernel on the model."""
    return partial(_play_on_the_model, tokens)


def _play_on_the_model(tokens: Mapping[str, str], clause: str, directory: Path, tell: Connection) -> None:
    scenario = scenario_of(tokens[directory.name])

    def played() -> Hunted:
        bench, broken = Bench(adapter_of(directory), select([clause]), shoulds=True), False

        def system(case: Case) -> explorer.Play:
            def play(schedule: Taped) -> None:
                nonlocal broken
                broken = clause in bench.broken(case, schedule)

            return play

        cases = [Case(fitted(scenario, kind), kind) for kind in kinds_for(scenario)]
        search = Search([system(case) for case in cases], (), SEED, counts=False)
        with attended(lambda: search.met.schedules):
            for _ in islice(search.schedules(), ON_THE_MODEL):
                if broken:
                    return Hunted(search.met.schedules, tokens[directory.name])
        return Hunted(search.met.schedules)

    _told_of(played, tell)


def _told_of(played: Callable[[], Hunted], tell: Connection) -> None:
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None
    sys.dont_write_bytecode = True
    try:
        tell.send(played())
    except Exception as error:
        tell.send(Hunted(0, trouble=f"{type(error).__name__}: {error}"))


def beyond(mutant: Mutant, token: str | None) -> str | None:
    """What of ``mutant``, or of the scenario of ``token`` that kills it, the model does not have; None if it
    has all."""
    if mutant not in hunted_by_scenarios():
        return "is none of the loop"
    (entry,) = select([mutant.clause])
    unseen = {cls.__name__ for cls in entry.watches} & NOT_SHOWN
    if unseen:
        return f"the model shows no {', '.join(sorted(unseen))}"
    scenario = scenario_of(token) if token is not None else None
    needed = {type(node).__name__ for node in nodes(scenario) if isinstance(node, ELSEWHERE)}
    return f"the model has no {', '.join(sorted(needed))}" if needed else None


def explored(mutants: Iterable[Mutant], tokens: Mapping[str, str]) -> Iterator[tuple[Mutant, Kill | str]]:
    """What the explorer kills each of ``mutants`` with, or why it does not; ``tokens`` are the scenarios that
    kill them on the real kernel."""
    sought: list[Mutant] = []
    for mutant in mutants:
        why = beyond(mutant, None)
        if why is None:
            sought.append(mutant)
        else:
            yield mutant, why
    missed: list[Mutant] = []
    for mutant, hunted in hunts(sought, _hunt):
        tried, token = hunted.scenarios, hunted.token
        if hunted.trouble is not None:
            yield mutant, f"its hunt came to nothing: {hunted.trouble}"
        elif token is None:
            missed.append(mutant)
        elif hunted.spares:
            yield mutant, Kill(EXPLORER, "schedules", tried, hunted.size, token, hunted.breaks)
        else:
            yield mutant, "what would kill it breaks refloop as it is"
    outside = [mutant for mutant in missed if beyond(mutant, tokens.get(mutant.name)) is None]
    kept = dict(hunts([each for each in outside if each.name in tokens], on_the_model_too(tokens)))
    for mutant in missed:
        why = beyond(mutant, tokens.get(mutant.name))
        if why is None:
            on_it = mutant in kept and kept[mutant].token is not None
            why = "no scope has the program" if on_it else "what kills it is kept on the model"
        yield mutant, why


def size(case: Case) -> int:
    """How many pieces a case has: steps, acts, and choices that are not the usual ones."""
    pieces = sum(1 for node in nodes(case.scenario) if type(node).__name__ not in ("At", "Scenario"))
    return pieces + sum(map(bool, case.tape))


def _told(hunted: Hunted) -> str:
    if hunted.trouble is not None:
        return hunted.trouble
    if hunted.token is None:
        return "survives"
    return ("" if hunted.spares else "breaks refloop itself, too: ") + f"size {size(case_of(hunted.token))}"


def on_the_model(clause: str) -> bool:
    """Whether ``clause`` can be observed on the simulated kernel."""
    (entry,) = select([clause])
    return not {cls.__name__ for cls in entry.watches} & NOT_SHOWN


def main(names: list[str]) -> None:
    """Print the table of the mutants ``names``, or of all: schedules up to the first kill, and the size of
    what is left when it is made small."""
    mutants = [
        mutant
        for mutant in hunted_by_scenarios()
        if on_the_model(mutant.clause) and (not names or mutant.name in names)
    ]
    click.echo(f"seed {SEED}, at most {SCHEDULES} schedules")
    killed = 0
    for mutant, hunted in hunts(mutants, _hunt):
        killed += hunted.token is not None and hunted.spares
        click.echo(f"{mutant.name:45} {mutant.clause:34} {hunted.scenarios:6} {_told(hunted)}")
    click.echo(f"{killed} of {len(mutants)} killed")


if __name__ == "__main__":
    main(sys.argv[1:])

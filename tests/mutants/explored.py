"""The hunt by the explorer: which mutants of refloop its schedules kill, and how soon.

As in :mod:`tests.mutants.hunt` each mutant has a process of its own, nothing that is searched knows of the
mutant, and what kills it has to spare refloop as it is. What is searched are the small scopes, to their end,
and the families that are for the clause's area, all on the simulated kernel, by all strategies in turn. What
kills is made small.

``python -m tests.mutants.explored [NAME ...]`` prints what the hunts find.
"""

from __future__ import annotations

import sys
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

import click

from loopspec.clause import select
from loopspec.conformance import explorer, scopes
from loopspec.conformance.campaign import MakeLoop
from loopspec.conformance.exploration import Bench, Failure, attended, shown_small
from loopspec.conformance.explorer import Search
from loopspec.conformance.families import FAMILIES
from loopspec.conformance.modelled import NOT_SHOWN, Case, Taped, case_of, nodes, without_calm_end
from tests.mutants.hunt import PACKAGE, ROOT, Hunted, adapter_of, hunted_by_scenarios, hunts

SEED = 1
SCHEDULES = 6000
"""How many schedules a mutant has to survive; about half a minute."""


def searched(clause: str) -> tuple[tuple[scopes.Scope, tuple[str, ...]], ...]:
    """What is searched for a run that breaks ``clause``, and by which strategies."""
    area = clause.partition(".")[0]
    families = tuple(name for name, family in FAMILIES.items() if area in family.exercises)
    return (
        (scopes.named(tuple(scopes.SMALL), SEED), ("exhaustive",)),
        (scopes.named(families, SEED), ()),
    )


def first_kill(make: MakeLoop, clause: str) -> tuple[int, Case | None]:
    """How many schedules it took, and the case that breaks ``clause``; None if none does."""
    bench = Bench(make, select([clause]), shoulds=True)
    broken, before = False, 0

    def system(case: Case) -> explorer.Play:
        def play(schedule: Taped) -> None:
            nonlocal broken
            broken = clause in bench.broken(case, schedule)

        return play

    for scope, strategies in searched(clause):
        search = Search([system(case) for case in scope.cases], strategies, SEED, counts=False)
        with attended(lambda played=search.met: played.schedules):  # type: ignore[misc]  # bound here
            for place, schedule in search.schedules():
                if broken:
                    case = scope.cases[place]
                    tape = without_calm_end(schedule.taken)
                    return before + search.met.schedules, Case(case.scenario, case.kernel, tape)
                if before + search.met.schedules >= SCHEDULES:
                    break
        before += search.met.schedules
    return before, None


def _hunt(clause: str, directory: Path, tell: Connection) -> None:
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None
    sys.dont_write_bytecode = True
    make = adapter_of(directory)
    try:
        after, case = first_kill(make, clause)
        if case is None:
            tell.send(Hunted(after))
            return
        smallest = _small(make, case, clause)
    except Exception as error:
        tell.send(Hunted(0, trouble=f"{type(error).__name__}: {error}"))
        return
    original = Bench(adapter_of(ROOT / Path(PACKAGE).parent), select([clause]), shoulds=True)
    spares = not original.broken(smallest.case, Taped(smallest.case.tape))
    tell.send(Hunted(after, smallest.token, spares))


def _small(make: MakeLoop, case: Case, clause: str) -> Failure:
    return shown_small(Bench(make, select([clause]), shoulds=True), case, clause, 0)


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

"""A hundred thousand schedules of refloop, by all strategies, and not one of them breaks a clause.

They are of two kinds. Every small scope on every kernel is a scope that is too large to be exhausted, and has
most of them; so the rare orders of few steps are met. The families have the rest, many programs with few
schedules each. Left out are the families whose jobs run on real threads, which cost a hundred times as much.

Two processes have half of the cases each. What they come to is told at the end of the run, with the seed;
what fails is shown with the token that plays it again.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection

import pytest

from loopspec.conformance import scopes
from loopspec.conformance.exploration import Explored, Request, clauses_for, explore
from loopspec.conformance.explorer import Budget
from loopspec.conformance.families import FAMILIES
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.scopes import Scope
from tests.conftest import TOLD

SEED = 1
HALVES = 2
SCHEDULES = {"wide": 90_000, "families": 10_000}

FLOORS = {"wide": (3_000, 50), "families": (5_000, 60)}
"""How many states have to be met, and how many clauses exercised, by each half: less is another search."""


def searched() -> tuple[Scope, ...]:
    """What is searched."""
    without_threads = [
        scopes.drawn(name, SEED) for name, family in FAMILIES.items() if "WORK" not in family.exercises
    ]
    return scopes.WIDE, scopes.together("families", without_threads)


def half(place: int, tell: Connection) -> None:
    """What one process does: every second case, of each scope its share."""
    for scope in searched():
        cases = replace(scope, cases=scope.cases[place::HALVES])
        budget = Budget(None, SCHEDULES[scope.name] // HALVES)
        found = explore(RefloopLoop, Request(cases, (), SEED, clauses_for(())), budget)
        tell.send(found)


@pytest.mark.full
def test_a_hundred_thousand_schedules_break_nothing(record_property: Callable[[str, object], None]) -> None:
    context = multiprocessing.get_context("fork")
    out = []
    for place in range(HALVES):
        hear, tell = context.Pipe(duplex=False)
        process = context.Process(target=half, args=(place, tell), daemon=True)
        process.start()
        tell.close()
        out.append((hear, process))
    found: list[Explored] = [hear.recv() for hear, _ in out for _ in SCHEDULES]
    for hear, process in out:
        process.join()
        hear.close()
    for each in found:
        met, (exercised, observable) = each.met, each.exercised
        record_property(
            TOLD,
            f"seed {SEED}, {each.scope.name}: {met.schedules:,} schedules, {len(met.states):,} states, "
            f"{len(met.transitions):,} transitions, {exercised} of {observable} clauses, "
            f"{each.seconds:.0f} s of processor time",
        )
    assert [(failure.what, failure.token) for each in found for failure in each.failures] == []
    assert sum(each.met.schedules for each in found) == sum(SCHEDULES.values())
    for each in found:
        states, clauses = FLOORS[each.scope.name]
        assert len(each.met.states) >= states
        assert each.exercised[0] >= clauses

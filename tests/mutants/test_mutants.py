"""Each mutant of refloop is killed by the campaign's own scenarios, and refloop itself is not.

The campaign hunts a few of them here, whose hunts are short. Of all of them the gate plays the scenario again
that killed it when it was hunted, as the table of kills has it; to hunt them all anew is ``make kills``.

(Mutants of the survey are killed where the survey is tested, in tests/conformance/test_calls.py.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from loopspec.conformance import kills
from loopspec.consequences import alone
from tests.mutants.hunt import CONTROL, SEED, Hunted, Hunter, again, control, hunted_by_scenarios, hunts
from tests.mutants.mutant import Mutant
from tests.mutants.table import MUTANTS

OF_REFLOOP = hunted_by_scenarios()

QUICK = frozenset(
    {
        "loop-runs-until-nothing-is-ready",
        "timer-early-by-the-resolution",
        "wake-bit-never-cleared",
        "work-submit-starts-thread",
    }
)
"""Some whose hunts are short: they are in the quick suite, so that the hunt itself is."""

TOKENS = {
    row.name: kill.token
    for row in kills.packaged()
    for kill in row.kills
    if kill.detector == "scenarios" and kill.token is not None
}
"""The scenario that killed each, when it was hunted."""

SHOWN_ALONE = frozenset(
    row.name for row in kills.packaged() for kill in row.kills if kills.breaks_alone(row, kill)
)
"""Those that broke their clause and no other there."""

Find: TypeAlias = Callable[[Mutant], Hunted]


def finds(request: pytest.FixtureRequest, test: str, hunter: Hunter | None) -> Iterator[Find]:
    """What the hunt of a mutant comes to. The hunts of all that are asked for go on side by side."""
    asked = {item.name for item in request.session.items if item.path == request.path}
    over: dict[str, Hunted] = {}
    running = hunts((mutant for mutant in OF_REFLOOP if f"{test}[{mutant.name}]" in asked), hunter)

    def find(mutant: Mutant) -> Hunted:
        while mutant.name not in over:
            other, hunted = next(running)
            over[other.name] = hunted
        return over[mutant.name]

    yield find
    running.close()


@pytest.fixture(scope="module")
def find(request: pytest.FixtureRequest) -> Iterator[Find]:
    yield from finds(request, "test_the_scenarios_kill", None)


@pytest.fixture(scope="module")
def find_again(request: pytest.FixtureRequest) -> Iterator[Find]:
    yield from finds(request, "test_what_killed_it_kills_it_again", again(TOKENS, SHOWN_ALONE))


def killed(hunted: Hunted, mutant: Mutant) -> None:
    assert hunted.trouble is None
    seen = f"{hunted.scenarios} scenarios from seed {SEED} on"
    assert hunted.token is not None, f"{seen}, and none breaks {mutant.clause}: run `make kills`"
    assert hunted.spares, "the scenario breaks the clause on refloop as it is, too"


@pytest.mark.parametrize("name", sorted(QUICK))
def test_the_scenarios_kill(name: str, find: Find) -> None:
    (mutant,) = (each for each in OF_REFLOOP if each.name == name)
    killed(find(mutant), mutant)


@pytest.mark.full
@pytest.mark.parametrize("mutant", OF_REFLOOP, ids=lambda mutant: mutant.name)
def test_what_killed_it_kills_it_again(mutant: Mutant, find_again: Find) -> None:
    """And what it broke alone it breaks alone again."""
    found = find_again(mutant)
    killed(found, mutant)
    assert mutant.name not in SHOWN_ALONE or alone(mutant.clause, found.breaks)


@pytest.mark.full
def test_refloop_itself_survives() -> None:
    broken, exercised = control()
    assert broken == {}, f"in {CONTROL} scenarios from seed {SEED} on"
    assert {mutant.clause for mutant in OF_REFLOOP if not exercised[mutant.clause]} == set()


def test_mutants_have_names_of_their_own() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert sorted(set(names)) == sorted(names)

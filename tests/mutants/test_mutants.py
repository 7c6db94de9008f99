"""Each mutant of refloop is killed by the campaign's own scenarios, and refloop itself is not.

(Mutants of the survey are killed where the survey is tested, in tests/conformance/test_calls.py.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from tests.mutants.hunt import CONTROL, SEED, Hunted, control, hunted_by_scenarios, hunts
from tests.mutants.mutant import Mutant
from tests.mutants.table import MUTANTS

OF_REFLOOP = hunted_by_scenarios()

QUICK = frozenset(
    {
        "loop-runs-until-nothing-is-ready",
        "timer-early-by-the-resolution",
        "wake-bit-never-cleared",
        "work-submit-starts-thread",
        "coro-spawn-takes-the-first-step",
        "prim-cancelled-without-the-lock",
        "fair-one-callback-a-turn",
    }
)
"""Some whose hunts are short: they are in the quick suite, so that the hunt itself is."""

Find: TypeAlias = Callable[[Mutant], Hunted]


@pytest.fixture(scope="module")
def find(request: pytest.FixtureRequest) -> Iterator[Find]:
    """What the hunt of a mutant comes to. The hunts of all that are asked for go on side by side."""
    asked = {item.name for item in request.session.items if item.path == request.path}
    over: dict[str, Hunted] = {}
    running = hunts(mutant for mutant in OF_REFLOOP if f"test_the_scenarios_kill[{mutant.name}]" in asked)

    def find(mutant: Mutant) -> Hunted:
        while mutant.name not in over:
            other, hunted = next(running)
            over[other.name] = hunted
        return over[mutant.name]

    yield find
    running.close()


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(mutant, id=mutant.name, marks=() if mutant.name in QUICK else pytest.mark.full)
        for mutant in OF_REFLOOP
    ],
)
def test_the_scenarios_kill(mutant: Mutant, find: Find) -> None:
    hunted = find(mutant)
    assert hunted.trouble is None
    seen = f"{hunted.scenarios} scenarios from seed {SEED} on"
    assert hunted.token is not None, f"{seen}, and none breaks {mutant.clause}"
    assert hunted.spares, "the scenario breaks the clause on refloop as it is, too"


@pytest.mark.full
def test_refloop_itself_survives() -> None:
    broken, exercised = control()
    assert broken == {}, f"in {CONTROL} scenarios from seed {SEED} on"
    assert {mutant.clause for mutant in OF_REFLOOP if not exercised[mutant.clause]} == set()


def test_mutants_have_names_of_their_own() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert sorted(set(names)) == sorted(names)
    assert [name for name in QUICK if name not in names] == []

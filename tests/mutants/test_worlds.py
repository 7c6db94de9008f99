"""Each assumption about the world is needed: drop it, and another clause fails, on the loop as it is."""

from __future__ import annotations

import pytest

from tests.mutants.env import WORLD_MUTANTS, WorldMutant
from tests.mutants.worlds import dropped


@pytest.mark.full
@pytest.mark.clause("ENV.CLOCK.MONOTONIC", "56e073e3")
@pytest.mark.clause("ENV.HANDLER.TERMINATES", "35455748")
@pytest.mark.clause("ENV.KERNEL.REPORTS", "ed26409e")
@pytest.mark.clause("ENV.WORKER.PROGRESSES", "f13a5b81")
@pytest.mark.parametrize("mutant", WORLD_MUTANTS, ids=lambda mutant: mutant.name)
def test_without_an_assumption_another_clause_fails(mutant: WorldMutant) -> None:
    found = dropped(mutant)
    assert found.trouble is None
    assert found.kill is not None, f"no scenario breaks {mutant.clause}"
    assert found.witness is not None, f"no scenario breaks {mutant.needed_by} along with it"
    assert found.spares, "the scenario breaks a clause in the world as it is, too"


def test_every_assumption_about_the_world_is_dropped_once() -> None:
    assumed = {mutant.clause for mutant in WORLD_MUTANTS}
    assert assumed == {
        "ENV.CLOCK.MONOTONIC",
        "ENV.HANDLER.TERMINATES",
        "ENV.KERNEL.REPORTS",
        "ENV.WORKER.PROGRESSES",
    }

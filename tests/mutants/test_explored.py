"""The second detector: what the explorer has killed a mutant with kills it again, and the rest has a reason.

To hunt them anew is ``python -m tests.mutants.kills --explorer``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loopspec.conformance import kills
from loopspec.conformance.kills import EXPLORER, Row
from loopspec.conformance.modelled import case_of
from tests.mutants.explored import again, beyond, size
from tests.mutants.hunt import Hunted, hunts
from tests.mutants.table import MUTANTS

ROWS = {row.name: row for row in kills.packaged()}
TOKENS = {
    row.name: kill.token
    for row in ROWS.values()
    if (kill := row.kill(EXPLORER)) is not None and kill.token is not None
}
KILLED = [mutant for mutant in MUTANTS if mutant.name in TOKENS]
MISSED = [mutant for mutant in MUTANTS if mutant.name in ROWS and mutant.name not in TOKENS]

MOST_MISSED = 14
"""So many mutants of what the model has the explorer may miss: if a scope becomes poorer, there are more."""


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, Hunted]]:
    running = hunts(KILLED, again(TOKENS))
    yield {mutant.name: hunted for mutant, hunted in running}
    running.close()


@pytest.mark.full
def test_what_the_explorer_killed_with_kills_again(found: dict[str, Hunted]) -> None:
    lost = {
        name: hunted.trouble or "survives, or refloop itself does not keep the clause there"
        for name, hunted in found.items()
        if hunted.token is None or not hunted.spares
    }
    assert lost == {}


def test_a_kill_is_as_large_as_its_case() -> None:
    told = {row.name: kill for row in ROWS.values() if (kill := row.kill(EXPLORER)) is not None}
    assert {name: size(case_of(TOKENS[name])) for name in told} == {
        name: kill.size for name, kill in told.items()
    }


def scenario_token(row: Row) -> str | None:
    kill = row.kill("scenarios")
    return None if kill is None else kill.token


def test_few_are_missed_of_what_the_model_has() -> None:
    within = [mutant.name for mutant in MISSED if beyond(mutant, scenario_token(ROWS[mutant.name])) is None]
    assert len(within) <= MOST_MISSED, within
    assert {ROWS[name].unexplored for name in within} <= {
        "no scope has the program",
        "what kills it is kept on the model",
    }


def test_of_the_others_the_table_says_what_the_model_lacks() -> None:
    told = {mutant.name: beyond(mutant, scenario_token(ROWS[mutant.name])) for mutant in MISSED}
    assert {name: ROWS[name].unexplored for name, why in told.items() if why is not None} == {
        name: why for name, why in told.items() if why is not None
    }

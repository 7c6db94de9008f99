"""The table of kills that is shipped tells of the mutants as they are, and that each has been killed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from loopspec.conformance import kills
from loopspec.conformance.cli import main
from loopspec.conformance.kills import Kill, Row
from tests.mutants.mutant import Mutant
from tests.mutants.table import MUTANTS

A = Mutant("a", "TIMER.FIRE.NEVER_EARLY", "a.py", "old", "new", "A story.")
KILL = Kill("scenarios", "scenarios", 7, 2, "1-token", ("TIMER.FIRE.NEVER_EARLY",))


def test_the_shipped_table_tells_of_every_mutant_as_it_is() -> None:
    assert list(kills.stale(kills.packaged(), MUTANTS)) == []


def test_every_kill_breaks_the_clause_that_the_mutant_is_of() -> None:
    """But for the kernel's, which says by which clauses the model had allowed what it does not do."""
    rows = [(row, kill) for row in kills.packaged() for kill in row.kills if kill.detector != "kernel"]
    assert [row.name for row, kill in rows if row.clause not in kill.breaks] == []


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ((), "a is in no row"),
        ((kills.row(replace(A, new="other"), [KILL]),), "a has changed since it was hunted"),
        (
            (kills.row(replace(A, clause="TIMER.PHASE.SNAPSHOT"), [KILL]),),
            "a has changed since it was hunted",
        ),
        ((kills.row(A, []),), "a has been killed by nothing"),
        ((kills.row(A, [KILL]), kills.row(replace(A, name="b"), [KILL])), "b has a row and is no mutant"),
    ],
)
def test_a_table_that_tells_of_other_mutants_is_found_out(rows: tuple[Row, ...], complaint: str) -> None:
    (line,) = kills.stale(rows, [A])
    assert line.startswith(complaint)


def test_a_table_reads_back_as_it_was_written() -> None:
    rows = (kills.row(A, [KILL]),)
    assert kills.parse(kills.dump(rows)) == rows


def test_the_command_shows_the_mutants_of_the_clauses_that_are_named() -> None:
    ran = CliRunner().invoke(main, ["mutants", "TIMER.PHASE"], env={"COLUMNS": "200"})
    assert ran.exit_code == 0
    named = [mutant.name for mutant in MUTANTS if mutant.clause.startswith("TIMER.PHASE.")]
    assert named
    assert all(name in ran.output for name in named)
    assert f"{len(named)} mutants" in ran.output

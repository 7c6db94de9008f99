"""The table of kills that is shipped tells of the mutants as they are, and that each has been killed."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from click.testing import CliRunner
from rich.console import Console

from loopspec.clause import register
from loopspec.conformance import kills, report
from loopspec.conformance.cli import main
from loopspec.conformance.kills import RUNS, Kill, Row
from loopspec.consequences import CONSEQUENCES, Consequence, alone, complaints, consequences_of
from tests.mutants.mutant import Mutant
from tests.mutants.table import MUTANTS

A = Mutant("a", "TIMER.FIRE.NEVER_EARLY", "a.py", "old", "new", "A story.")
KILL = Kill("scenarios", "scenarios", 7, 2, "1-token", ("TIMER.FIRE.NEVER_EARLY",))
EXPLORED = Kill("explorer", "schedules", 11, 4, "case:2:x:1-token", ("TIMER.FIRE.NEVER_EARLY",))
MISSED = "is none of the loop"


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
        (
            (kills.row(A, [KILL], MISSED), kills.row(replace(A, name="b"), [KILL], MISSED)),
            "b has a row and is no mutant",
        ),
        ((kills.row(A, [KILL]),), "a is either killed by the explorer or missed for a reason"),
        ((kills.row(A, [KILL, EXPLORED], MISSED),), "a is either killed by the explorer"),
    ],
)
def test_a_table_that_tells_of_other_mutants_is_found_out(rows: tuple[Row, ...], complaint: str) -> None:
    (line,) = kills.stale(rows, [A])
    assert line.startswith(complaint)


def test_a_table_reads_back_as_it_was_written() -> None:
    rows = (kills.row(A, [KILL, EXPLORED]), kills.row(A, [KILL], MISSED))
    assert kills.parse(kills.dump(rows)) == rows


def test_a_row_that_is_killed_or_missed_by_the_explorer_is_not_stale() -> None:
    for row in (kills.row(A, [KILL, EXPLORED]), kills.row(A, [KILL], MISSED)):
        assert list(kills.stale([row], [A])) == []


def test_the_explorer_has_a_column_of_its_own_with_its_figures_or_the_reason() -> None:
    rows = (kills.row(A, [KILL, EXPLORED]), kills.row(replace(A, name="b"), [KILL], MISSED))
    told = Console(width=160, record=True, file=StringIO())
    told.print(report.mutants_table(rows))
    killed, missed = (line for line in told.export_text().splitlines() if " scenarios " in line)
    assert killed.split()[-2:] == ["11", "4"]
    assert MISSED in missed


# --- what each clause adds ----------------------------------------------------------------------------------

RUNS_BY_CLAUSE = {
    id: [
        kill.breaks
        for row in kills.packaged()
        if row.clause == id
        for kill in row.kills
        if kill.detector in RUNS
    ]
    for id in register()
}


def test_each_clause_that_a_run_can_break_is_broken_alone() -> None:
    assert list(kills.not_alone(register(), kills.packaged())) == []


def test_each_consequence_is_shown_and_none_is_contradicted() -> None:
    assert list(complaints(register(), RUNS_BY_CLAUSE)) == []


def test_a_clause_that_nothing_breaks_alone_is_named() -> None:
    rows = [row for row in kills.packaged() if row.clause != "TIMER.PHASE.SNAPSHOT"]
    (line,) = kills.not_alone(register(), rows)
    assert line.startswith("TIMER.PHASE.SNAPSHOT is broken by no run alone")


def test_consequences_have_consequences() -> None:
    chain = [Consequence("A", "B", "it does"), Consequence("B", "C", "it does")]
    assert consequences_of("A", chain) == {"B", "C"}
    assert consequences_of("C", chain) == frozenset()


def test_alone_is_with_consequences_and_with_nothing_else() -> None:
    cause, effect, *_ = CONSEQUENCES[0]
    assert alone(cause, {cause})
    assert alone(cause, {cause, effect})
    assert not alone(cause, {effect})
    assert not alone(cause, {cause, effect, "TIMER.PHASE.SNAPSHOT"})


@pytest.mark.parametrize(
    ("told", "runs", "complaint"),
    [
        ([Consequence("A", "X", "")], {"A": [{"A", "X"}]}, "A breaks X: one of them is no clause"),
        (
            [Consequence("A", "B", ""), Consequence("B", "A", "")],
            {"A": [{"A", "B"}], "B": [{"A", "B"}]},
            "A is a consequence of itself",
        ),
        (
            [Consequence("A", "B", "")],
            {"A": [{"A"}], "B": [{"A", "B"}]},
            "A breaks B: no mutant of A shows it",
        ),
        (
            [Consequence("A", "B", "", strict=True)],
            {"A": [{"A", "B"}], "C": [{"A", "C"}]},
            "A always breaks B: a run has broken the one and kept the other",
        ),
    ],
)
def test_a_consequence_that_is_wrong_is_found_out(
    told: list[Consequence], runs: dict[str, list[set[str]]], complaint: str
) -> None:
    assert complaint in list(complaints({"A", "B", "C"}, runs, told))


def test_the_command_shows_the_mutants_of_the_clauses_that_are_named() -> None:
    ran = CliRunner().invoke(main, ["mutants", "TIMER.PHASE"], env={"COLUMNS": "200"})
    assert ran.exit_code == 0
    named = [mutant.name for mutant in MUTANTS if mutant.clause.startswith("TIMER.PHASE.")]
    assert named
    assert all(name in ran.output for name in named)
    assert f"{len(named)} mutants" in ran.output

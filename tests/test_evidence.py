"""Evidence is checked by values, and the suite by running a small one."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import loopspec
from loopspec.clause import Clause, Kind, Level, Profile, register
from loopspec.conformance.evidence import (
    Citation,
    Evidence,
    Killed,
    dump,
    gaps,
    gather,
    misquotes,
    packaged,
    parse,
)
from tests.conftest import CITATIONS, WHOLE
from tests.mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).parent.parent

A = Clause("AN.INV.ONE", Level.MUST, Kind.INV, Profile.LOOP, "It holds.", "", print)
W = Clause("AN.WITNESS.ONE", Level.MUST, Kind.WITNESS, Profile.LOOP, "Such a thing exists.", "", print)
BREAKS_A = Mutant("slip", A.id, "a.py", "x", "y", "Somebody slipped.", "https://example.org/1")
BREAKS_W = replace(BREAKS_A, name="slide", clause=W.id)
TESTS_A = Citation("t.py::test_a", A.id, A.digest)
SHOWS_W = Citation("t.py::test_w", W.id, W.digest, witness=True)
REGISTER = {A.id: A, W.id: W}


def test_sound_evidence_has_no_complaint() -> None:
    assert list(misquotes(REGISTER, [TESTS_A, SHOWS_W])) == []
    assert list(gaps(REGISTER, [TESTS_A, SHOWS_W], [BREAKS_A, BREAKS_W])) == []


def test_a_citation_of_no_clause_is_named() -> None:
    (line,) = misquotes(REGISTER, [replace(TESTS_A, clause="AN.INV.TWO")])
    assert line.startswith("t.py::test_a cites AN.INV.TWO, which is no clause")


def test_a_stale_citation_is_named_with_the_present_one() -> None:
    (line,) = misquotes({A.id: replace(A, sentence="It holds, mostly.")}, [TESTS_A])
    assert TESTS_A.digest != replace(A, sentence="It holds, mostly.").digest
    assert f"cites {A.citation}" in line
    assert replace(A, sentence="It holds, mostly.").citation in line


def test_a_clause_without_a_test_is_named_with_the_mark_to_use() -> None:
    (line,) = gaps(REGISTER, [SHOWS_W], [BREAKS_A, BREAKS_W])
    assert line == f'{A.id} has no test: mark one with @pytest.mark.clause("{A.id}", "{A.digest}")'


def test_a_clause_without_a_mutant_is_named() -> None:
    (line,) = gaps(REGISTER, [TESTS_A, SHOWS_W], [BREAKS_A])
    assert line.startswith(f"{W.id} has no mutant")


def test_a_witness_clause_without_its_witness_is_named() -> None:
    (line,) = gaps(REGISTER, [TESTS_A, replace(SHOWS_W, witness=False)], [BREAKS_A, BREAKS_W])
    assert line.startswith(f"{W.id} has no witness")


def test_a_mutant_of_no_clause_is_named() -> None:
    (line,) = gaps(REGISTER, [TESTS_A, SHOWS_W], [BREAKS_A, BREAKS_W, replace(BREAKS_A, clause="AN.INV.TWO")])
    assert line.startswith("mutant slip breaks AN.INV.TWO, which is no clause")


def test_evidence_survives_its_file() -> None:
    gathered = gather([SHOWS_W, TESTS_A, TESTS_A], [BREAKS_A])
    assert gathered == {
        A.id: Evidence(("t.py::test_a",), (Killed("slip", "Somebody slipped.", "https://example.org/1"),)),
        W.id: Evidence(("t.py::test_w",), ()),
    }
    assert parse(dump(gathered)) == gathered


def test_the_packaged_evidence_is_that_of_this_suite(request: pytest.FixtureRequest) -> None:
    """Run `make evidence` if this fails. Of a part of the suite, each citation is looked for."""
    citations = request.config.stash[CITATIONS]
    gathered = gather(citations, MUTANTS)
    on_file = packaged()
    if request.config.stash[WHOLE]:
        assert gathered == on_file
    for id, entry in gathered.items():
        assert set(entry.tests) <= set(on_file.get(id, Evidence()).tests)
        assert entry.mutants == on_file.get(id, Evidence()).mutants


def test_a_mutant_changes_exactly_one_place() -> None:
    changed = {mutant.name: (ROOT / mutant.path).read_text().count(mutant.old) for mutant in MUTANTS}
    assert {name: places for name, places in changed.items() if places != 1} == {}
    assert [mutant.name for mutant in MUTANTS if mutant.old == mutant.new] == []


# --- the suite itself, in the small -------------------------------------------------------------------


def small_suite(directory: Path, body: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with this project's conftest over one file of tests."""
    tests = directory / "tests"
    (tests / "mutants").mkdir(parents=True)
    (directory / "pytest.ini").write_text("[pytest]\ntestpaths = tests\npythonpath = .\n")
    for name in ("conftest.py", "compiled.py"):
        (tests / name).write_text((ROOT / "tests" / name).read_text())
    (tests / "mutants" / "table.py").write_text("MUTANTS = ()\n")
    (tests / "test_it.py").write_text("import pytest\n" + body)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider", *options],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.full
@pytest.mark.parametrize(
    ("mark", "complaint"),
    [
        ('"NO.SUCH.CLAUSE", "00000000"', "cites NO.SUCH.CLAUSE, which is no clause"),
        ('"TIMER.FIRE.NOT_AFTER_CANCEL", "00000000"', "which has changed: read its sentence again"),
        ('"TIMER.FIRE.NOT_AFTER_CANCEL"', "a citation is clause("),
    ],
    ids=["unknown id", "stale digest", "no digest"],
)
def test_a_wrong_citation_stops_even_a_partial_run(tmp_path: Path, mark: str, complaint: str) -> None:
    body = f"@pytest.mark.clause({mark})\ndef test_a() -> None: print('it has run')\n"
    run = small_suite(tmp_path, body, "-s", "tests/test_it.py")
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert complaint in run.stderr
    assert "it has run" not in run.stdout


@pytest.mark.full
def test_a_clause_without_evidence_stops_the_whole_run_and_not_a_partial_one(tmp_path: Path) -> None:
    whole = small_suite(tmp_path / "whole", "def test_a() -> None: pass\n")
    assert whole.returncode == pytest.ExitCode.USAGE_ERROR
    assert "TIMER.FIRE.NOT_AFTER_CANCEL has no test" in whole.stderr
    part = small_suite(tmp_path / "part", "def test_a() -> None: pass\n", "-k", "test_a")
    assert part.returncode == pytest.ExitCode.OK


@pytest.mark.full
@pytest.mark.parametrize(("options", "outcome"), [((), "1 deselected"), (("--full",), "1 passed")])
def test_full_tests_run_only_when_asked_for(tmp_path: Path, options: tuple[str, ...], outcome: str) -> None:
    body = "@pytest.mark.full\ndef test_a() -> None: pass\n"
    run = small_suite(tmp_path, body, "-k", "test", *options)
    assert outcome in run.stdout.splitlines()[-1]


# --- what the documents say of clauses and versions ---------------------------------------------------


@pytest.mark.parametrize("document", ["README.md", "CITATION.cff", "CHANGELOG.md"])
def test_citations_in_the_documents_stand(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    entries = register()
    for id, digest in re.findall(r"([A-Z_]+(?:\.[A-Z_]+){2})@([0-9a-f]{8})", text):
        assert entries[id].digest == digest


@pytest.mark.parametrize("document", ["README.md", "CITATION.cff"])
def test_the_version_in_the_documents_is_the_packages(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    versions = set(re.findall(r"(?:loopspec |^version: )(\d+\.\d+\.\d+)", text, re.MULTILINE))
    assert versions == {loopspec.__version__}

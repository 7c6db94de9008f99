"""The evidence: which tests show that a clause holds, and which mutants show that it can fail.

A clause is worth its tests, and a test is worth what it can catch. So every clause is cited by at least
one test, which pins the sentence it was written against by its digest, and is broken by at least one
named mutant; a clause that says "such a thing exists" has a test that shows one, its witness. Whether
that is so is decided here, by functions of plain values: the test suite gathers the values when it is
collected, and does not start while a complaint stands.

The suite is not installed with the package, but what it found is: ``evidence.json``, written by
``make evidence`` and read by ``loopspec explain``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Protocol

from loopspec.clause import Clause, Kind

FILE = "evidence.json"
"""Inside the package :mod:`loopspec`."""


@dataclass(frozen=True, order=True)
class Citation:
    """Test ``test`` (a pytest node id without parameters) cites a clause; ``witness``: it shows that the
    thing exists of which the clause says so."""

    test: str
    clause: str
    digest: str
    witness: bool = False


class Mutant(Protocol):
    """A named change of the code that breaks ``clause``: what it does and, if there is one, where it
    happened to somebody (``report``, a link)."""

    @property
    def name(self) -> str: ...
    @property
    def clause(self) -> str: ...
    @property
    def story(self) -> str: ...
    @property
    def report(self) -> str | None: ...


@dataclass(frozen=True)
class Killed:
    """A mutant as ``explain`` tells of it."""

    name: str
    story: str
    report: str | None


@dataclass(frozen=True)
class Evidence:
    """What stands behind one clause."""

    tests: tuple[str, ...] = ()
    mutants: tuple[Killed, ...] = ()


# --- what is wrong with it ----------------------------------------------------------------------------


def misquotes(register: Mapping[str, Clause], citations: Iterable[Citation]) -> Iterator[str]:
    """A line for each citation of no clause, or of a clause as it no longer stands."""
    for cited in sorted(set(citations)):
        entry = register.get(cited.clause)
        if entry is None:
            yield f"{cited.test} cites {cited.clause}, which is no clause: `loopspec clauses` lists them all"
        elif cited.digest != entry.digest:
            yield (
                f"{cited.test} cites {cited.clause}@{cited.digest}, which has changed: "
                f"read its sentence again, then cite {entry.citation}"
            )


def gaps(
    register: Mapping[str, Clause], citations: Iterable[Citation], mutants: Iterable[Mutant]
) -> Iterator[str]:
    """A line for each clause without a test, a mutant or its witness, and each mutant of no clause."""
    cited = set(citations)
    tested = {entry.clause for entry in cited}
    shown = {entry.clause for entry in cited if entry.witness}
    broken = {mutant.clause: mutant.name for mutant in mutants}
    for id, entry in register.items():
        if id not in tested:
            mark = f'@pytest.mark.clause("{id}", "{entry.digest}")'
            yield f"{id} has no test: mark one with {mark}"
        elif entry.kind is Kind.WITNESS and id not in shown:
            yield f"{id} has no witness: mark the test that shows one with witness=True"
        if id not in broken:
            yield f"{id} has no mutant: add one that breaks it to tests/mutants/table.py"
    for id, name in broken.items():
        if id not in register:
            yield f"mutant {name} breaks {id}, which is no clause: `loopspec clauses` lists them all"


# --- what it is, on file ------------------------------------------------------------------------------


def gather(citations: Iterable[Citation], mutants: Iterable[Mutant]) -> dict[str, Evidence]:
    """What stands behind each clause that anything stands behind, in alphabetical order."""
    tests: dict[str, set[str]] = {}
    kills: dict[str, list[Killed]] = {}
    for cited in citations:
        tests.setdefault(cited.clause, set()).add(cited.test)
    for mutant in mutants:
        kills.setdefault(mutant.clause, []).append(Killed(mutant.name, mutant.story, mutant.report))
    return {
        id: Evidence(tuple(sorted(tests.get(id, ()))), tuple(kills.get(id, ())))
        for id in sorted(tests.keys() | kills.keys())
    }


def dump(evidence: Mapping[str, Evidence]) -> str:
    """``evidence`` as the text of the file, which :func:`parse` reads back exactly."""
    return (
        json.dumps({id: asdict(entry) for id, entry in evidence.items()}, indent=1, ensure_ascii=False) + "\n"
    )


def parse(text: str) -> dict[str, Evidence]:
    """The evidence that a file's ``text`` holds."""
    return {
        id: Evidence(tuple(entry["tests"]), tuple(Killed(**mutant) for mutant in entry["mutants"]))
        for id, entry in json.loads(text).items()
    }


def packaged() -> dict[str, Evidence]:
    """The evidence that this version was packaged with."""
    return parse(resources.files("loopspec").joinpath(FILE).read_text(encoding="utf-8"))

"""The CrossHair gate: what the specification claims to have proved is proved, and could have failed.

CrossHair's exit status does not separate a proof from the lack of one, and it passes over in silence what it
does not find. So the gate reads what it says, line by line, and demands the one sentence that is a proof for
each contract that ``proofs.toml`` lists; everything else is a failure: another sentence, silence, a
precondition that nothing meets, a contract that nobody listed. And a proof of something that cannot be false
is worth nothing, so each contract has mutants of the module that it is about, in which a counterexample must
refute it.

What is to be proved is not left to the list: every life-cycle table that there is, and the step of every rule
that reads traces, has a contract.
"""

from __future__ import annotations

import ast
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

import pytest

from loopspec.clause import register
from tests.spec.prover import Question, asked

ROOT = Path(__file__).parent.parent.parent
PROOF = "Confirmed over all paths."
REMARK = re.compile(r"^.*?:(?P<line>\d+): (?P<level>\w+): (?P<text>.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """Replace ``old`` by ``new`` in the module ``of``, and the contract is false."""

    name: str
    old: str
    new: str
    of: str

    def source(self) -> str:
        """The source of the module with the mutant in it."""
        source = text_of(self.of)
        assert source.count(self.old) == 1, "what the mutant changes must occur exactly once"
        return source.replace(self.old, self.new)


@dataclass(frozen=True)
class Contract:
    """The contract in the docstring of ``module.function``, about the rules of ``clauses``."""

    module: str
    function: str
    clauses: tuple[str, ...]
    mutants: tuple[Mutant, ...]


def listed() -> tuple[Contract, ...]:
    """The contracts of ``proofs.toml``."""
    entries = tomllib.loads((Path(__file__).parent / "proofs.toml").read_text())["contract"]
    return tuple(
        Contract(
            entry["module"],
            entry["function"],
            tuple(entry.get("clauses", ())),
            tuple(Mutant(**{"of": entry["module"], **mutant}) for mutant in entry.get("mutant", ())),
        )
        for entry in entries
    )


CONTRACTS = listed()
MODULES = sorted({contract.module for contract in CONTRACTS})


def source_of(module: str) -> Path:
    """The source file of ``module``, relative to the folder that its package lies in."""
    return Path(*module.split(".")).with_suffix(".py")


def folder_of(module: str) -> Path:
    """The folder that the package of ``module`` lies in."""
    return next(folder for folder in (ROOT / "spec", ROOT / "impl") if (folder / source_of(module)).exists())


def text_of(module: str) -> str:
    """The source of ``module``."""
    return (folder_of(module) / source_of(module)).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Found:
    """A contract in a source: the lines that its function takes, and how many postconditions it has."""

    lines: range
    posts: int


def contracts_in(source: str) -> dict[str, Found]:
    """The functions of ``source`` that have a contract."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            posts = len(re.findall(r"^ *post: ", ast.get_docstring(node) or "", re.MULTILINE))
            found[node.name] = Found(range(node.lineno, (node.end_lineno or node.lineno) + 1), posts)
    return {name: contract for name, contract in found.items() if contract.posts}


def complaints(said: str, source: str, wanted: set[str]) -> Iterator[str]:
    """What keeps ``said``, of a module with this ``source``, from being a proof of all ``wanted``."""
    found = contracts_in(source)
    yield from (f"{name} has a contract that proofs.toml does not list" for name in found.keys() - wanted)
    yield from (f"{name} is listed and has no contract" for name in wanted - found.keys())
    remarks = [(int(remark["line"]), remark["text"]) for remark in REMARK.finditer(said)]
    for name in sorted(wanted & found.keys()):
        texts = [text for line, text in remarks if line in found[name].lines]
        if texts != [PROOF] * found[name].posts:
            yield f"{name} is not proved: {texts or 'silence'}"
    if not remarks:
        yield f"CrossHair said nothing that can be read:\n{said}"


Asked: TypeAlias = tuple[str, Question]
"""A question, and the id of the test that asks it."""


def questions_of_contracts() -> tuple[Asked, ...]:
    """One for each module with contracts."""
    return tuple((module, Question(module)) for module in MODULES)


def questions_of_mutants() -> tuple[Asked, ...]:
    """One for each mutant."""
    return tuple(
        (
            f"{contract.function}: {mutant.name}",
            Question(f"{contract.module}.{contract.function}", mutant.of, mutant.source()),
        )
        for contract in CONTRACTS
        for mutant in contract.mutants
    )


Say: TypeAlias = Callable[[str], str]


def prover(request: pytest.FixtureRequest, questions: tuple[Asked, ...]) -> Iterator[Say]:
    """What CrossHair says to the question of a test; those of all tests that run are answered side by
    side."""
    running = {item.name for item in request.session.items if item.path == request.path}
    wanted = [(id, question) for id, question in questions if any(f"[{id}]" in name for name in running)]
    command, pipe = [sys.executable, "-m", "tests.spec.prover"], subprocess.PIPE
    over: dict[str, str] = {}
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(asked([question for _, question in wanted]))
        process.stdin.close()
        answers = iter(process.stdout)

        def say(id: str) -> str:
            while id not in over:
                place, said = json.loads(next(answers))
                over[wanted[place][0]] = said
            return over[id]

        yield say
        for _ in answers:
            pass


@pytest.fixture(scope="module")
def proof(request: pytest.FixtureRequest) -> Iterator[Say]:
    yield from prover(request, questions_of_contracts())


@pytest.fixture(scope="module")
def refutation(request: pytest.FixtureRequest) -> Iterator[Say]:
    yield from prover(request, questions_of_mutants())


#: Modules whose proofs are quick: they are in the quick suite, so that the gate itself is.
QUICK = frozenset({"loopspec.call", "loopspec.rpc", "loopspec.kernel.proofs", "loopspec.proofs.timer"})


@pytest.mark.parametrize(
    "module",
    [pytest.param(each, marks=() if each in QUICK else pytest.mark.full, id=each) for each in MODULES],
)
def test_each_listed_contract_is_confirmed_over_all_paths(module: str, proof: Say) -> None:
    wanted = {contract.function for contract in CONTRACTS if contract.module == module}
    assert not list(complaints(proof(module), text_of(module), wanted))


def test_each_mutant_changes_exactly_one_place() -> None:
    places = {
        f"{contract.function}: {mutant.name}": text_of(mutant.of).count(mutant.old)
        for contract in CONTRACTS
        for mutant in contract.mutants
    }
    assert {name: count for name, count in places.items() if count != 1} == {}


def test_each_contract_has_a_mutant() -> None:
    assert [contract.function for contract in CONTRACTS if not contract.mutants] == []


@pytest.mark.full
@pytest.mark.parametrize(
    ("contract", "mutant"),
    [
        pytest.param(contract, mutant, id=f"{contract.function}: {mutant.name}")
        for contract in CONTRACTS
        for mutant in contract.mutants
    ],
)
def test_each_mutant_is_refuted_by_a_counterexample(
    contract: Contract, mutant: Mutant, refutation: Say
) -> None:
    said = refutation(f"{contract.function}: {mutant.name}")
    assert re.search(rf"error: .* when calling {contract.function}\(", said), said


# --- nothing is left out ------------------------------------------------------------------------------------


READERS = ("loopspec.conformance", "loopspec.proofs")
"""Packages that read tables and have none."""


def tables() -> Iterator[str]:
    """The modules with a life-cycle table: what a move makes of a state, both of them words for it."""
    for package in ("loopspec", "refloop"):
        for each in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
            if each.name.startswith(READERS) or each.name.endswith("__main__"):
                continue
            for value in vars(import_module(each.name)).values():
                if isinstance(value, Mapping) and value and all(map(_is_move, value)):
                    yield each.name


def _is_move(key: object) -> bool:
    return isinstance(key, tuple) and len(key) == 2 and all(isinstance(part, Enum) for part in key)


def test_the_step_of_each_rule_that_reads_traces_has_a_contract() -> None:
    proved = {clause for contract in CONTRACTS for clause in contract.clauses}
    rules = {id for id, entry in register().items() if entry.watches}
    assert rules - proved == set()
    assert proved - rules == set()


def test_each_contract_of_a_rule_has_a_mutant_that_changes_it_or_what_it_reads() -> None:
    entries = register()
    for contract in CONTRACTS:
        of = {entries[clause].rule.__module__ for clause in contract.clauses}
        read = {"loopspec.server", "loopspec.stock"}
        assert not of or {mutant.of for mutant in contract.mutants} <= of | read, contract


def test_each_life_cycle_table_has_a_contract() -> None:
    """It stands beside the table, or, of a table of the specification, among the proofs of its area."""
    proved = {(contract.module, contract.function) for contract in CONTRACTS}
    found = set(tables())
    assert {"loopspec.call", "loopspec.rpc", "loopspec.coro", "refloop.tasks", "refloop.rpc.calls"} <= found
    bare = {
        module
        for module in found
        if not {(module, "total"), (module.replace("loopspec.", "loopspec.proofs."), "total")} & proved
    }
    assert bare == set()


# --- the gate itself ----------------------------------------------------------------------------------------

SOURCE = '''
def f(x: bool) -> bool:
    """F.

    post: _ or not _
    """
    return x
'''


def test_a_proof_is_taken_for_one() -> None:
    assert list(complaints(f"m.py:5: info: {PROOF}\n", SOURCE, {"f"})) == []


@pytest.mark.parametrize(
    "said",
    [
        "",
        "m.py:5: warning: Not confirmed.\n",
        "m.py:5: warning: Unable to meet precondition.\n",
        "m.py:5: error: false when calling f(True)\n",
        f"m.py:9: info: {PROOF}\n",
        "Traceback (most recent call last):\n",
    ],
)
def test_anything_but_a_proof_is_a_complaint(said: str) -> None:
    assert list(complaints(said, SOURCE, {"f"}))


def test_a_contract_that_nobody_listed_is_a_complaint() -> None:
    assert list(complaints(f"m.py:5: info: {PROOF}\n", SOURCE, set()))


def test_a_listed_function_without_contract_is_a_complaint() -> None:
    assert list(complaints(f"m.py:5: info: {PROOF}\n", SOURCE, {"f", "g"}))

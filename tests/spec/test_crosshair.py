"""The CrossHair gate: what the specification claims to have proved is proved, and could have failed.

CrossHair's exit status does not separate a proof from the lack of one, and it passes over in silence what it
does not find. So the gate reads what it says, line by line, and demands the one sentence that is a proof for
each contract that ``proofs.toml`` lists; everything else is a failure: another sentence, silence, a
precondition that nothing meets, a contract that nobody listed. And a proof of something that cannot be false
is worth nothing, so each contract has mutants of its module, in which a counterexample must refute it.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PROOF = "Confirmed over all paths."
REMARK = re.compile(r"^.*?:(?P<line>\d+): (?P<level>\w+): (?P<text>.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """Replace ``old`` by ``new``, and the contract is false."""

    name: str
    old: str
    new: str


@dataclass(frozen=True)
class Contract:
    """The contract in the docstring of ``module.function``."""

    module: str
    function: str
    mutants: tuple[Mutant, ...]


def listed() -> tuple[Contract, ...]:
    """The contracts of ``proofs.toml``."""
    entries = tomllib.loads((Path(__file__).parent / "proofs.toml").read_text())["contract"]
    return tuple(
        Contract(
            entry["module"],
            entry["function"],
            tuple(Mutant(**mutant) for mutant in entry.get("mutant", ())),
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


def crosshair(target: str, folder: Path) -> str:
    """What CrossHair says of ``target``, a module or a function, as found in ``folder``."""
    command = [sys.executable, "-m", "crosshair", "check", "--report_all", "--per_condition_timeout", "30"]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONHASHSEED": "0"}
    ended = subprocess.run(
        [*command, target], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return ended.stdout + ended.stderr


def contracts_in(source: str) -> dict[str, range]:
    """The functions of ``source`` that have a contract, each with the lines that it takes."""
    return {
        node.name: range(node.lineno, (node.end_lineno or node.lineno) + 1)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and re.search(r"^ *post: ", ast.get_docstring(node) or "", re.M)
    }


def complaints(said: str, source: str, wanted: set[str]) -> Iterator[str]:
    """What keeps ``said``, of a module with this ``source``, from being a proof of all ``wanted``."""
    found = contracts_in(source)
    yield from (f"{name} has a contract that proofs.toml does not list" for name in found.keys() - wanted)
    yield from (f"{name} is listed and has no contract" for name in wanted - found.keys())
    remarks = [(int(remark["line"]), remark["text"]) for remark in REMARK.finditer(said)]
    for name in sorted(wanted & found.keys()):
        texts = [text for line, text in remarks if line in found[name]]
        if texts != [PROOF]:
            yield f"{name} is not proved: {texts or 'silence'}"
    if not remarks:
        yield f"CrossHair said nothing that can be read:\n{said}"


@pytest.mark.parametrize("module", MODULES)
def test_each_listed_contract_is_confirmed_over_all_paths(module: str) -> None:
    wanted = {contract.function for contract in CONTRACTS if contract.module == module}
    folder = folder_of(module)
    said = crosshair(module, folder)
    assert not list(complaints(said, (folder / source_of(module)).read_text(), wanted))


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
    contract: Contract, mutant: Mutant, tmp_path: Path
) -> None:
    package = contract.module.partition(".")[0]
    unwanted = shutil.ignore_patterns("__pycache__", "conformance")
    shutil.copytree(folder_of(contract.module) / package, tmp_path / package, ignore=unwanted)
    file = tmp_path / source_of(contract.module)
    source = file.read_text()
    assert source.count(mutant.old) == 1, "what the mutant changes must occur exactly once"
    file.write_text(source.replace(mutant.old, mutant.new))
    said = crosshair(f"{contract.module}.{contract.function}", tmp_path)
    assert re.search(rf"error: .* when calling {contract.function}\(", said), said


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

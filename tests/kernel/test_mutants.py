"""Every clause of the kernel could be wrong, and the live kernel would say so.

Each mutant is a copy of the specification with one rule changed, and is compared with the kernel in a process
of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loopspec.clause import Clause, Profile, register
from tests.kernel.mutants import KERNEL_MODEL_MUTANTS
from tests.mutants.mutant import Mutant

ROOT = Path(__file__).parent.parent.parent
CALLS = 20_000

COMPARE = """
import json, sys
from loopspec.conformance.live import compare
found = compare(int(sys.argv[1]), int(sys.argv[2])).disagreement
print(json.dumps(found and [len(found.calls), found.observed]))
"""


def outcome(mutant: Mutant, folder: Path) -> tuple[int, str] | None:
    """How many calls show that ``mutant`` is wrong, and what was seen; None if nothing does."""
    shutil.copytree(ROOT / "spec", folder / "spec", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / mutant.path
    source = file.read_text()
    assert source.count(mutant.old) == 1, "what the mutant changes must occur exactly once"
    file.write_text(source.replace(mutant.old, mutant.new))
    ended = subprocess.run(
        [sys.executable, "-c", COMPARE, str(CALLS), "20261"],
        env=os.environ | {"PYTHONPATH": str(folder / "spec")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    return (int(found[0]), str(found[1])) if found else None


#: Half a second each: the first few on every run, all of them in the gate.
HUNTED = [
    pytest.param(mutant, id=mutant.name, marks=() if place < 4 else pytest.mark.full)
    for place, mutant in enumerate(KERNEL_MODEL_MUTANTS)
]


@pytest.mark.parametrize("mutant", HUNTED)
def test_the_live_kernel_refutes_each_mutant_of_the_model(mutant: Mutant, tmp_path: Path) -> None:
    assert outcome(mutant, tmp_path) is not None, mutant.story


def model_clauses() -> list[Clause]:
    """The clauses whose rule is a rule of the kernel model."""
    return [
        entry
        for entry in register().values()
        if entry.profile is Profile.KERNEL and entry.rule.__module__.startswith("loopspec.kernel.")
    ]


def test_each_clause_of_the_model_has_a_mutant() -> None:
    broken = {mutant.clause for mutant in KERNEL_MODEL_MUTANTS}
    assert {entry.id for entry in model_clauses()} - broken == set()

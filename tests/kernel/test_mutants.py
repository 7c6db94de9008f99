"""Every clause of the kernel could be wrong, and the live kernel would say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from loopspec.clause import Clause, Profile, register
from tests.kernel.hunt import compared
from tests.kernel.mutants import KERNEL_MODEL_MUTANTS
from tests.mutants.mutant import Mutant

#: Half a second each: the first few on every run, all of them in the gate.
HUNTED = [
    pytest.param(mutant, id=mutant.name, marks=() if place < 4 else pytest.mark.full)
    for place, mutant in enumerate(KERNEL_MODEL_MUTANTS)
]


@pytest.mark.parametrize("mutant", HUNTED)
def test_the_live_kernel_refutes_each_mutant_of_the_model(mutant: Mutant, tmp_path: Path) -> None:
    assert compared(mutant, tmp_path) is not None, mutant.story


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

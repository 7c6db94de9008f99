"""What every rule makes of strange runs, as it stands written in ``verdicts.json``.

The tests of each clause show that its rule refuses what it ought to, and seldom how it goes on then. Here
it is held to all that it says of many runs in which nearly everything is broken: when its premise comes true,
what it refuses, and in which words. A change of a rule, or of the judge, that is meant to change none of this
changes nothing here; one that is meant to is looked at, and written down by
``python -m tests.spec.test_verdicts``.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

import pytest

from loopspec.clause import Clause, register
from loopspec.judge import Judge
from loopspec.trace import EVENTS
from tests.spec.strange import strange

FILE = Path(__file__).with_name("verdicts.json")
RUNS = 24
EVENTS_A_RUN = 48

RULES = [entry for entry in register().values() if entry.watches]


def verdicts(entry: Clause) -> str:
    """The digest of all that the rule of ``entry`` says of the runs that are drawn for it."""
    types = sorted({*entry.watches, *entry.also}, key=lambda cls: cls.__name__)
    said = hashlib.sha256()
    judge = Judge([entry], frozenset(EVENTS))
    finding = judge.findings[entry.id]
    for run in range(RUNS):
        judge.restart()
        for event in strange(types, EVENTS_A_RUN, zlib.crc32(f"{entry.id} {run}".encode())):
            judge.after(event)
            said.update(finding.exercised.to_bytes(4, "big"))
        for broken in judge.violations:
            said.update(f"{broken.position} {broken.allowed} {broken.observed}\n".encode())
    return said.hexdigest()[:16]


def written() -> dict[str, str]:
    told: dict[str, str] = json.loads(FILE.read_text(encoding="utf-8"))
    return told


@pytest.mark.parametrize("entry", RULES, ids=lambda entry: entry.id)
def test_what_a_rule_says_of_strange_runs_is_what_stands_written(entry: Clause) -> None:
    assert verdicts(entry) == written().get(entry.id), "see the docstring of this module"


def test_nothing_stands_written_of_a_rule_that_is_gone() -> None:
    assert written().keys() <= {entry.id for entry in RULES}


if __name__ == "__main__":
    FILE.write_text(
        json.dumps({entry.id: verdicts(entry) for entry in RULES}, indent=1) + "\n", encoding="utf-8"
    )

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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypedDict

import pytest

from loopspec.clause import Clause, register
from loopspec.judge import Judge
from loopspec.server import ServerRule
from loopspec.trace import EVENTS, Event
from tests.spec.strange import strange
from tests.spec.strange_servers import strange_server

FILE = Path(__file__).with_name("verdicts.json")
EVENTS_A_RUN = 64

ALWAYS = 12
MOST = 8
CANDIDATES = 250
"""For each rule the first runs are kept, and of so many candidates those in which it has most to say."""

RULES = [entry for entry in register().values() if entry.watches]


class Stands(TypedDict):
    """What stands written of a rule: the seeds of its runs, and the digest of what it says of them."""

    runs: list[int]
    said: str


def run_for(entry: Clause, seed: int) -> Iterator[Event]:
    """The run that ``seed`` draws for the rule of ``entry``."""
    if isinstance(first := entry.rule(), ServerRule):
        return strange_server(sorted(first.binds), EVENTS_A_RUN, seed)
    types = sorted({*entry.watches, *entry.also}, key=lambda cls: cls.__name__)
    return strange(types, EVENTS_A_RUN, seed)


def judged(entry: Clause, seed: int) -> Iterator[str]:
    """All that the rule of ``entry`` says of the run that ``seed`` draws."""
    judge = Judge([entry], frozenset(EVENTS))
    finding = judge.findings[entry.id]
    for event in run_for(entry, seed):
        before = finding.exercised
        judge.after(event)
        yield "." * (finding.exercised - before)
    for broken in judge.violations:
        yield f"{broken.position} {broken.allowed} {broken.observed}"


def said(entry: Clause, runs: Iterable[int]) -> str:
    """The digest of what the rule of ``entry`` says of ``runs``."""
    told = "\n".join(line for seed in runs for line in judged(entry, seed))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def written() -> dict[str, Stands]:
    told: dict[str, Stands] = json.loads(FILE.read_text(encoding="utf-8"))
    return told


@pytest.mark.parametrize("id", [entry.id for entry in RULES])
def test_what_a_rule_says_of_strange_runs_is_what_stands_written(id: str) -> None:
    stands = written().get(id, Stands(runs=[], said="nothing"))
    assert said(register()[id], stands["runs"]) == stands["said"], "see the docstring of this module"


def test_nothing_stands_written_of_a_rule_that_is_gone() -> None:
    assert written().keys() <= {entry.id for entry in RULES}


# --- writing it down ------------------------------------------------------------------------------------


def telling(entry: Clause) -> list[int]:
    """The seeds of the runs that are kept for the rule of ``entry``."""
    most = sorted(range(ALWAYS, CANDIDATES), key=lambda seed: -_news(entry, seed))[:MOST]
    return [*range(ALWAYS), *sorted(most)]


def _news(entry: Clause, seed: int) -> int:
    """How much the rule of ``entry`` says, most of all where it says both that its clause is kept and that it
    is broken.
    """
    lines = list(judged(entry, seed))
    broken = len(lines) - EVENTS_A_RUN
    kept = sum(map(len, lines[:EVENTS_A_RUN])) - broken
    return 10 * min(kept, broken) + kept + broken


if __name__ == "__main__":
    stand = {}
    for entry in RULES:
        runs = telling(entry)
        stand[entry.id] = Stands(runs=runs, said=said(entry, runs))
    lines = (f" {json.dumps(id)}: {json.dumps(each)}" for id, each in stand.items())
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")

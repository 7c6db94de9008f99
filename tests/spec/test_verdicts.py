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
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TypedDict

import pytest

from loopspec.clause import Clause, register
from loopspec.judge import Judge
from loopspec.trace import EVENTS
from tests.spec.strange import strange

if TYPE_CHECKING:
    from _typeshed import TraceFunction

FILE = Path(__file__).with_name("verdicts.json")
EVENTS_A_RUN = 48

ALWAYS = 16
CANDIDATES = 100
"""The first runs are kept, and of so many those in which a rule goes a way that it has not gone before."""

RULES = [entry for entry in register().values() if entry.watches]


class Stands(TypedDict):
    """What stands written of a rule: the seeds of its runs, and the digest of what it says of them."""

    runs: list[int]
    said: str


def judged(entry: Clause, seed: int) -> Iterator[str]:
    """All that the rule of ``entry`` says of the run that ``seed`` draws."""
    types = sorted({*entry.watches, *entry.also}, key=lambda cls: cls.__name__)
    judge = Judge([entry], frozenset(EVENTS))
    finding = judge.findings[entry.id]
    for event in strange(types, EVENTS_A_RUN, seed):
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
    gone: set[tuple[str, int, int]] = set()
    runs = []
    for seed in range(CANDIDATES):
        ways = _ways(entry, seed)
        if seed < ALWAYS or not ways <= gone:
            gone |= ways
            runs.append(seed)
    return runs


def _ways(entry: Clause, seed: int) -> set[tuple[str, int, int]]:
    """From which line to which a rule has gone, by file."""
    ways: set[tuple[str, int, int]] = set()

    def trace(frame: FrameType, what: str, _argument: object) -> TraceFunction | None:
        file = frame.f_code.co_filename
        if Path(file).parent.name != "loopspec" or file.endswith(("judge.py", "trace.py")):
            return None
        line = 0

        def within(frame: FrameType, _what: str, _argument: object) -> TraceFunction:
            nonlocal line
            ways.add((file, line, frame.f_lineno))
            line = frame.f_lineno
            return within

        return within(frame, what, None)

    sys.settrace(trace)
    try:
        for _ in judged(entry, seed):
            pass
    finally:
        sys.settrace(None)
    return ways


if __name__ == "__main__":
    stand = {}
    for entry in RULES:
        runs = telling(entry)
        stand[entry.id] = Stands(runs=runs, said=said(entry, runs))
    lines = (f" {json.dumps(id)}: {json.dumps(each)}" for id, each in stand.items())
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")

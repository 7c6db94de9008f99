"""What every rule makes of crowded runs, as it stands written in ``crowded.json``.

As :mod:`tests.spec.test_verdicts` holds every rule to what it says of strange runs, so it is held here to
what it says of crowded ones, in which it comes further: to the second violation, or to what it makes of a
name that is used again. What is meant to be other is looked at, and written down by
``python -m tests.spec.test_crowded``; with ``anew`` behind it, of other runs where that shows more.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import pytest

import loopspec
from loopspec.clause import Clause, register
from loopspec.judge import Judge
from loopspec.trace import EVENTS
from tests.spec.crowded import crowded
from tests.spec.test_verdicts import RULES, Stands

if TYPE_CHECKING:
    from _typeshed import TraceFunction

RULES_ARE_IN = str(Path(loopspec.__file__).parent)
FILE = Path(__file__).with_name("crowded.json")
EVENTS_A_RUN = 64

CANDIDATES = 300
MOST = 16
"""Of so many runs, for each rule, those few are kept that take it other ways than those before."""


def judged(entry: Clause, seed: int) -> Iterator[tuple[str, str]]:
    """Each event of the run that ``seed`` draws, by its kind, and what the rule of ``entry`` says to it."""
    types = sorted({*entry.watches, *entry.also}, key=lambda cls: cls.__name__)
    judge = Judge([entry], frozenset(EVENTS))
    finding = judge.findings[entry.id]
    for event in crowded(types, EVENTS_A_RUN, seed):
        kept, broken = finding.exercised, len(judge.violations)
        judge.after(event)
        told = [f"{each.allowed}: {each.observed}" for each in judge.violations[broken:]]
        yield type(event).__name__, " | ".join(["." * (finding.exercised - kept), *told])


def said(entry: Clause, runs: Iterable[int]) -> str:
    """The digest of what the rule of ``entry`` says of ``runs``."""
    told = "\n".join(" ".join(each) for seed in runs for each in judged(entry, seed))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def written() -> dict[str, Stands]:
    told: dict[str, Stands] = json.loads(FILE.read_text(encoding="utf-8"))
    return told


@pytest.mark.parametrize("id", [entry.id for entry in RULES])
def test_what_a_rule_says_of_crowded_runs_is_what_stands_written(id: str) -> None:
    stands = written().get(id, Stands(runs=[], said="nothing"))
    assert said(register()[id], stands["runs"]) == stands["said"], "see the docstring of this module"


def test_nothing_stands_written_of_a_rule_that_is_gone() -> None:
    assert written().keys() <= {entry.id for entry in RULES}


# --- writing it down ------------------------------------------------------------------------------------

Way = tuple[int, ...]
"""The lines of the rules that one event has run."""


def telling(entry: Clause) -> list[int]:
    """The seeds of the runs that are kept for the rule of ``entry``: always the one with most that is new."""
    news = {seed: _news(entry, seed) for seed in range(CANDIDATES)}
    chosen: list[int] = []
    known: set[tuple[Way, Way]] = set()
    while len(chosen) < MOST:
        best = max(news, key=lambda seed: len(news[seed] - known))
        if not news[best] - known:
            break
        known |= news[best]
        chosen.append(best)
    return sorted(chosen)


def _news(entry: Clause, seed: int) -> set[tuple[Way, Way]]:
    """Which ways through the rule of ``entry`` two events of a run take that are neighbours in it."""
    lines: list[int] = []

    def trace(frame: FrameType, what: str, _: object) -> TraceFunction | None:
        if not frame.f_code.co_filename.startswith(RULES_ARE_IN) or "judge" in frame.f_code.co_filename:
            return None
        if what == "line":
            lines.append(frame.f_lineno)
        return trace

    ways: list[Way] = []
    sys.settrace(trace)
    try:
        for _ in judged(entry, seed):
            ways.append(tuple(lines))
            lines.clear()
    finally:
        sys.settrace(None)
    return set(pairwise(ways))


if __name__ == "__main__":
    stand = {}
    kept = {} if sys.argv[1:] == ["anew"] else written()
    for entry in RULES:
        runs = kept[entry.id]["runs"] if entry.id in kept else telling(entry)
        stand[entry.id] = Stands(runs=runs, said=said(entry, runs))
    lines = (f" {json.dumps(id)}: {json.dumps(each)}" for id, each in stand.items())
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")

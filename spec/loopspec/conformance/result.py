"""What a campaign found out about one loop: the contract between what runs and what tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from loopspec.conformance.adapter import Deviation
from loopspec.judge import Verdict, Violation
from loopspec.trace import Event

FLOOR = 0.01
"""The share of scenarios, in one family at least, that are to exercise a clause."""

INTERRUPTED = "interrupted"
"""The ``trouble`` of a loop whose campaign was cut short from the keyboard: what it has so far stands."""


@dataclass(frozen=True)
class Counterexample:
    """The smallest run that was found to break a clause.

    ``events`` is its whole trace, in which ``violation.position`` is the refused event; ``token`` replays
    it (``loopspec check LOOP --replay TOKEN``); ``scenario`` is its script in words, a line each.
    """

    violation: Violation
    events: tuple[Event, ...]
    token: str
    scenario: tuple[str, ...]


@dataclass(frozen=True)
class ClauseResult:
    """The verdict on one clause, how often its premise came true, in how many runs it was broken.

    ``share`` is that of the scenarios in which its premise came true, in the family where it does so most
    often; None for what scenarios do not show.
    """

    clause: str
    verdict: Verdict
    exercised: int
    broken: int
    counterexample: Counterexample | None = None
    deviation: Deviation | None = None  #: what its adapter declares, if the clause is broken
    share: float | None = None

    @property
    def thin(self) -> bool:
        """Whether the premise comes true so seldom in every family that a pass says little."""
        return self.verdict is Verdict.PASS and self.share is not None and self.share < FLOOR


@dataclass(frozen=True)
class Accident:
    """The loop hung, spun, raised, crashed or ended its process, in ``count`` scenarios: ``words`` says
    which, ``token`` replays the first, and ``scenario`` is its script in words."""

    words: str
    count: int
    token: str
    scenario: tuple[str, ...]


@dataclass
class LoopResult:
    """One column of the table. ``trouble`` is one line if the campaign on this loop could not be finished;
    ``unrepeated`` counts by clause the violations that were seen once and not again: they make no verdict.
    ``absent`` is one line if the loop is not installed, how to have it, or cannot run on this interpreter,
    why: that is no error."""

    loop: str
    version: str
    scenarios: int = 0
    clauses: dict[str, ClauseResult] = field(default_factory=dict)
    trouble: str | None = None
    unrepeated: Mapping[str, int] = field(default_factory=dict)
    absent: str | None = None
    accidents: tuple[Accident, ...] = ()


@dataclass(frozen=True)
class Progress:
    """How far one loop's campaign is: ``done`` of ``total`` scenarios; ``phase`` says what it does now."""

    loop: str
    phase: str
    done: int
    total: int


class UsageError(ValueError):
    """Something a user gave that cannot be used: one line that says what, and the way out."""


Results = Mapping[str, LoopResult]

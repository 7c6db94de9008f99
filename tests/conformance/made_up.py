"""Results made up by hand, as a campaign would give them: reports and command line are held to these."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from loopspec.clause import Clause, Kind, Level, Profile
from loopspec.conformance.result import ClauseResult, Counterexample, LoopResult
from loopspec.judge import Broken, Kept, Progress, Verdict, Violation
from loopspec.trace import (
    Arm,
    Connect,
    Dispatch,
    Event,
    HandlerEnd,
    Leave,
    Post,
    Send,
    TimerArm,
    TimerCancel,
    TimerFire,
    WaitBegin,
    WaitReturn,
)


def clause(id: str, level: Level, sentence: str) -> Clause:
    return Clause(id, level, Kind.INV, Profile.LOOP, sentence, "made up", print, {TimerFire: None})


EARLY = clause("TIMER.FIRE.NEVER_EARLY", Level.MUST, "A timer never fires before its deadline.")
ORDER = clause("TIMER.ORDER.DEADLINE_THEN_ARMING", Level.SHOULD, "Timers fire by deadline, then by arming.")
POSTS = clause("WAKE.POST.NOT_LOST", Level.MUST, "No post is lost.")
NESTED = clause("LOOP.DISPATCH.NOT_NESTED", Level.MUST, "No handler starts while another runs.")
CLAUSES = (NESTED, EARLY, ORDER, POSTS)


class Silence(NamedTuple):
    """What was cancelled keeps silent."""

    cancelled: bool = False

    def after(self, event: Event) -> Progress:
        if isinstance(event, TimerCancel):
            return Kept(Silence(cancelled=True))
        return Broken("silence", "a timer fired", None) if self.cancelled else None


SILENT = replace(
    clause("CANCEL.INV.SILENT", Level.MUST, "What was cancelled keeps silent."),
    rule=Silence,
    watches={TimerCancel: "timer", TimerFire: "timer"},
)

EVENTS: tuple[Event, ...] = (
    WaitBegin(0, None),
    Connect(1, echo=True),
    WaitReturn(1, 0, ((7, 0x1 | 0x2000),), 64),
    Arm(1, 3, 8, 1, "read"),
    TimerArm(1, 1, 0, 1_500_000, 1_500_000),
    WaitBegin(1, 1_500_000),
    Connect(2, echo=False),
    Send(1, b"ping\x1b[2J pong and then some more"),
    Post(1, 4, "t1"),
    WaitReturn(2, 1_000_000, (), 64),
    Dispatch(2, 3, 8),
    HandlerEnd(2, "ValueError"),
    Leave(2),
    TimerFire(2, 1, 1_000_000),
    TimerCancel(2, 1, retained=False),
)
REFUSED = 13
COUNTEREXAMPLE = Counterexample(
    Violation(EARLY.id, REFUSED, EVENTS[REFUSED], "1500000 ns or later", "1000000 ns"),
    EVENTS,
    "4f00aa",
    ("client 1 connects and sends 30 bytes", "a timer of 1.5 ms"),
)


def results() -> dict[str, LoopResult]:
    """Two loops with all five verdicts between them."""
    return {
        "good": LoopResult(
            "good",
            "1.0",
            400,
            {
                NESTED.id: ClauseResult(NESTED.id, Verdict.PASS, 12345, 0),
                EARLY.id: ClauseResult(EARLY.id, Verdict.PASS, 321, 0),
                ORDER.id: ClauseResult(ORDER.id, Verdict.NOT_EXERCISED, 0, 0),
                POSTS.id: ClauseResult(POSTS.id, Verdict.PASS, 9, 0),
            },
        ),
        "bad": LoopResult(
            "bad",
            "bad 0.9",
            380,
            {
                NESTED.id: ClauseResult(NESTED.id, Verdict.NOT_OBSERVED, 0, 0),
                EARLY.id: ClauseResult(EARLY.id, Verdict.FAIL, 70, 3, COUNTEREXAMPLE),
                ORDER.id: ClauseResult(ORDER.id, Verdict.LOOSE, 50, 1),
                POSTS.id: ClauseResult(POSTS.id, Verdict.PASS, 4, 0),
            },
        ),
    }

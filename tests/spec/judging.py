"""How the tests of the trace rules judge a hand-written trace: by one clause, with every event shown."""

from __future__ import annotations

from collections.abc import Sequence

from loopspec.clause import register
from loopspec.judge import Judge, Violation
from loopspec.trace import EVENTS, Event


def judge(clause: str, *trace: Event) -> Judge:
    """The judge of ``clause`` after ``trace``."""
    one = Judge([register()[clause]], frozenset(EVENTS))
    for event in trace:
        one.after(event)
    return one


def exercised(clause: str, *trace: Event) -> int:
    """How often ``trace``, which keeps ``clause``, makes its premise come true."""
    one = judge(clause, *trace)
    assert one.violations == []
    return one.findings[clause].exercised


def refused(clause: str, *trace: Event) -> Violation:
    """The one refused event of ``trace``."""
    (violation,) = judge(clause, *trace).violations
    return violation


def refusal(clause: str, trace: Sequence[Event], position: int, allowed: str, observed: str) -> Violation:
    """What the judge ought to say: event ``position`` of ``trace`` is refused."""
    return Violation(clause, position, trace[position], allowed, observed)

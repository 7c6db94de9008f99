"""TIMER: what a loop owes the timers it is given.

The deadline of a timer is a promise about the earliest moment, never about the latest: that one follows from
FAIR. Every rule here but the order of firing is written for one timer and keeps at most its deadline.
"""

from __future__ import annotations

from typing import NamedTuple

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.judge import Broken, Kept, Progress
from loopspec.trace import Event, TimerCancel, TimerFire


@clause(
    "TIMER.FIRE.NOT_AFTER_CANCEL",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="trio Cancelled timers; history of the reactor",
    watches={TimerCancel: "timer", TimerFire: "timer"},
)
class NotAfterCancel(NamedTuple):
    """A cancelled timer never fires."""

    cancelled: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case TimerCancel():
                return Kept(NotAfterCancel(cancelled=True))
            case TimerFire(timer=timer) if self.cancelled:
                return Broken("silence", f"timer {timer} fired", None)
            case _:
                return None

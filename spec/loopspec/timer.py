"""TIMER: what a loop owes the timers it is given.

The deadline of a timer is a promise about the earliest moment and, through the turn, about the latest: the
first timer phase that finds it due. Rules about one timer are written for one; those about order and
lateness need all that are armed, and keep them as the loop would, in the order in which they ought to fire.
"""

from __future__ import annotations

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import value
from loopspec.judge import Broken, Kept, Progress
from loopspec.ready import Agenda, Due
from loopspec.trace import (
    Event,
    HandlerEnd,
    TimerArm,
    TimerCancel,
    TimerFire,
    TimersHeld,
    WaitBegin,
    WaitReturn,
)

_REMEMBERED = 32
"""How many fired timers are remembered, to find one that fires twice."""


@clause(
    "TIMER.FIRE.NEVER_EARLY",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="libuv issue 4773; CPython issue 127859",
    watches={TimerArm: None, TimerFire: None, WaitBegin: None, WaitReturn: None},
    also={TimerCancel: None},
)
@value
class NeverEarly:
    """A timer fires at the first timer phase at or after its deadline, never before it, at most once."""

    # The deadline is the instant that was asked for, or the loop's own if that is later: a loop reads its
    # clock after the caller did. The phase is told by the instant at which the wait returned: a timer that
    # was due then, and armed in an earlier turn, fires in that turn.

    agenda: Agenda = Agenda()
    now: int = -1
    fired: tuple[int, ...] = ()

    def after(self, event: Event) -> Progress:
        match event:
            case TimerArm():
                due = Due(max(event.at + event.delay, event.deadline), event.timer, event.turn)
                return NeverEarly(self.agenda.put(due), self.now, self.fired)
            case TimerFire():
                return self._fires(event.timer, event.at)
            case TimerCancel():
                return NeverEarly(self.agenda.drop(event.timer), self.now, self.fired)
            case WaitReturn():
                return NeverEarly(self.agenda, event.at, self.fired)
            case WaitBegin(turn=turn):
                first = self.agenda.first
                return self if first is None or first.deadline > self.now else self._turn_ends(turn)
            case _:
                return self

    def _fires(self, timer: int, at: int) -> Progress:
        due = self.agenda.members.get(timer)
        if due is None:
            if timer not in self.fired:
                return self  # cancelled: TIMER.FIRE.NOT_AFTER_CANCEL's
            others = tuple(other for other in self.fired if other != timer)
            return Broken(
                f"one firing of timer {timer}", "it fired again", NeverEarly(self.agenda, self.now, others)
            )
        fired = (*self.fired[1 - _REMEMBERED :], timer)
        after = NeverEarly(self.agenda.drop(timer), self.now, fired)
        if at >= due.deadline:
            return Kept(after)
        return Broken(
            f"timer {timer} fires at {due.deadline} ns or later",
            f"it fired at {at} ns, {due.deadline - at} ns early",
            after,
        )

    def _turn_ends(self, turn: int) -> Progress:
        late = [due for due in self.agenda.entries if due.deadline <= self.now and due.armed < turn]
        if not late:
            return self
        agenda = self.agenda
        for due in late:
            agenda = agenda.drop(due.timer)
        first = late[0]
        return Broken(
            f"timer {first.timer}, due at {first.deadline} ns, fires in turn {turn}, begun at {self.now} ns",
            "the turn ended without it",
            NeverEarly(agenda, self.now, self.fired),
        )


@clause(
    "TIMER.FIRE.NOT_AFTER_CANCEL",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="history of the reactor; asyncio TimerHandle.cancel",
    watches={TimerCancel: "timer", TimerFire: "timer"},
)
@value
class NotAfterCancel:
    """A cancelled timer never fires."""

    cancelled: bool = False
    said: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case TimerCancel() if not self.cancelled:
                return Kept(NotAfterCancel(cancelled=True))
            case TimerFire(timer=timer, turn=turn) if self.cancelled and not self.said:
                return Broken(
                    f"silence of timer {timer}, which was cancelled",
                    f"it fired in turn {turn}",
                    NotAfterCancel(cancelled=True, said=True),
                )
            case _:
                return self if self.cancelled else None


@clause(
    "TIMER.ORDER.DEADLINE_THEN_ARMING",
    Level.SHOULD,
    Kind.INV,
    Profile.LOOP,
    source="tornado pull request 1069; Twisted issue 6718",
    watches={TimerArm: None, TimerFire: None},
    also={TimerCancel: None},
)
@value
class DeadlineThenArming:
    """Timers fire by deadline, and equal deadlines in the order of arming."""

    # Between timers that could fire in the same phase: one that was armed in this very turn may have to wait
    # for the next phase, and nobody overtakes it by firing in this one. The premise is that two were due.

    agenda: Agenda = Agenda()

    def after(self, event: Event) -> Progress:
        match event:
            case TimerArm():
                return DeadlineThenArming(self.agenda.put(Due(event.deadline, event.timer, event.turn)))
            case TimerFire():
                return self._fires(event.turn, event.timer, event.at)
            case TimerCancel():
                return DeadlineThenArming(self.agenda.drop(event.timer))
            case _:
                return self

    def _fires(self, turn: int, timer: int, at: int) -> Progress:
        fired = self.agenda.members.get(timer)
        if fired is None:
            return self
        overtaken = [due for due in self.agenda.before(fired) if due.armed < turn]
        agenda = self.agenda.drop(timer)
        if not overtaken:
            following = agenda.first
            contended = following is not None and following.deadline <= at
            return Kept(DeadlineThenArming(agenda)) if contended else DeadlineThenArming(agenda)
        for due in overtaken:
            agenda = agenda.drop(due.timer)
        first = overtaken[0]
        tie = ", armed earlier" if first.deadline == fired.deadline else ""
        return Broken(
            f"timer {first.timer}, due at {first.deadline} ns{tie}, fires first",
            f"timer {timer}, due at {fired.deadline} ns, fired before it",
            DeadlineThenArming(agenda),
        )


@clause(
    "TIMER.PHASE.SNAPSHOT",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="Node timers; libuv uv__run_timers",
    watches={TimerArm: None, TimerFire: None, HandlerEnd: None, WaitReturn: None},
)
@value
class PhaseSnapshot:
    """A timer armed in a timer phase does not fire in that phase."""

    # The premise is that such a timer was due when its arming callback ran: it could have fired.

    running: bool = False
    young: tuple[int, ...] = ()
    could: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case TimerFire(turn=turn, timer=timer):
                if timer not in self.young:
                    return self if self.running else PhaseSnapshot(True, self.young, self.could)
                others = tuple(other for other in self.young if other != timer)
                return Broken(
                    f"timer {timer} fires after the next wait",
                    f"it fired in turn {turn}, in the phase that armed it",
                    PhaseSnapshot(True, others, self.could),
                )
            case HandlerEnd():
                return PhaseSnapshot(False, self.young, self.could) if self.running else self
            case TimerArm(timer=timer, at=at, deadline=deadline) if self.running:
                return PhaseSnapshot(True, (*self.young, timer), self.could or deadline <= at)
            case WaitReturn() if self.young:
                return Kept(PhaseSnapshot()) if self.could else PhaseSnapshot()
            case _:
                return self


@clause(
    "TIMER.CLOCK.MONOTONIC_AT_CALL",
    Level.SHOULD,
    Kind.INV,
    Profile.LOOP,
    source="libuv issue 678; gevent issue 97; redis issue 416",
    watches={TimerArm: None},
)
@value
class MonotonicAtCall:
    """A deadline is computed from a monotonic clock read at the call."""

    latest: int = 0

    def after(self, event: Event) -> Progress:
        match event:
            case TimerArm():
                timer, at, delay, deadline = event.timer, event.at, event.delay, event.deadline
                after = MonotonicAtCall(at)
                if at < self.latest:
                    return Broken("a clock that does not run back", f"{self.latest} ns, then {at} ns", after)
                if deadline == at + delay:
                    return Kept(after)
                return Broken(
                    f"timer {timer} is due at {at + delay} ns: {delay} ns after the call",
                    f"its deadline is {deadline} ns, {abs(deadline - at - delay)} ns "
                    + ("early" if deadline < at + delay else "late"),
                    after,
                )
            case _:
                return self


CONSTANT = 2
"""How many cancelled timers may be held for each live one. A heap that drops its cancelled entries when they
outnumber the rest stays within 1."""

SLACK = 128
"""How many cancelled timers may be held besides, so that a loop need not rebuild a small heap. asyncio
rebuilds from 100 entries on."""


@clause(
    "TIMER.CANCEL.RETAINS_LITTLE",
    Level.SHOULD,
    Kind.BOUND,
    Profile.LOOP,
    source="brpc issue 3383; asyncio issue 186; uvloop pull request 240",
    watches={TimerCancel: None},
    also={TimersHeld: None},
)
@value
class RetainsLittle:
    """The cancelled timers held are at most a constant times the live ones plus a constant, and hold no
    reference to callback or arguments."""

    said: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case TimerCancel(timer=timer, retained=retained):
                if not retained:
                    return Kept(self)
                return Broken(
                    f"timer {timer} lets go of its callback and arguments when it is cancelled",
                    "they are still held",
                    self,
                )
            case TimersHeld(held=held, live=live):
                dead, most = held - live, CONSTANT * live + SLACK
                if dead <= most:
                    return RetainsLittle() if self.said else self
                if self.said:
                    return self
                return Broken(
                    f"at most {most} cancelled timers held beside {live} live ones",
                    f"{dead} are held",
                    RetainsLittle(said=True),
                )
            case _:
                return self

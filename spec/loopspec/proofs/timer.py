"""The steps of the rules of TIMER."""

from __future__ import annotations

from enum import Enum

from loopspec.proofs import Seen, after
from loopspec.timer import (
    CONSTANT,
    SLACK,
    DeadlineThenArming,
    MonotonicAtCall,
    NeverEarly,
    NotAfterCancel,
    PhaseSnapshot,
    RetainsLittle,
)
from loopspec.trace import (
    HandlerEnd,
    TimerArm,
    TimerCancel,
    TimerFire,
    TimersHeld,
    WaitBegin,
    WaitReturn,
)


def never_early(at: int, delay: int, deadline: int, fires: int) -> Seen[NeverEarly]:
    """A firing is refused exactly if it comes before the deadline that was asked for, or the loop's own.

    post: _.breaks == (fires < max(at + delay, deadline))
    """
    return after(NeverEarly(), TimerArm(1, 0, at, delay, deadline), TimerFire(1, 0, fires))


def never_late(deadline: int, now: int, born: int, turn: int) -> Seen[NeverEarly]:
    """The end of a turn is refused exactly if a timer armed before it was due when it began.

    post: _.breaks == (deadline <= now and born < turn)
    """
    arm = TimerArm(born, 0, deadline, 0, deadline)
    return after(NeverEarly(), arm, WaitReturn(turn, now, (), 1), WaitBegin(turn, None))


def at_most_once(deadline: int, fires: int, again: int) -> Seen[NeverEarly]:
    """Whenever a timer has fired, its next firing is refused.

    post: _.breaks
    """
    arm = TimerArm(1, 0, deadline, 0, deadline)
    return after(NeverEarly(), arm, TimerFire(1, 0, fires), TimerFire(1, 0, again))


def not_after_cancel(cancelled: bool, said: bool, fires: bool) -> Seen[NotAfterCancel]:
    """A firing is refused exactly if the timer was cancelled, and once; nothing makes it live again.

    pre: cancelled or not said
    post: _.breaks == (fires and cancelled and not said)
    post: _.next.cancelled == (cancelled or not fires)
    """
    return after(NotAfterCancel(cancelled, said), TimerFire(1, 0, 0) if fires else TimerCancel(1, 0, False))


def deadline_then_arming(first: int, second: int, born: int, turn: int, at: int) -> Seen[DeadlineThenArming]:
    """The later armed of two timers is refused exactly if it overtakes one that could fire in that phase.

    post: _.breaks == (first <= second and born < turn)
    """
    one, two = TimerArm(born, 0, first, 0, first), TimerArm(born, 1, second, 0, second)
    return after(DeadlineThenArming(), one, two, TimerFire(turn, 1, at))


class InPhase(Enum):
    """What can happen in and after a timer phase."""

    FIRES = TimerFire(1, 0, 0)
    ARMS = TimerArm(1, 0, 0, 0, 0)
    ENDS = HandlerEnd(1, None)
    WAITS = WaitReturn(2, 0, (), 1)


def phase_snapshot(running: bool, young: bool, could: bool, event: InPhase) -> Seen[PhaseSnapshot]:
    """What fires is refused exactly if it was armed by a timer since the last wait.

    pre: young or not could
    post: _.breaks == (event is InPhase.FIRES and young)
    post: _.shows == (event is InPhase.WAITS and could)
    post: event is not InPhase.ARMS or not running or 0 in _.next.young
    """
    return after(PhaseSnapshot(running, (0,) if young else (), could), event.value)


def monotonic_at_call(latest: int, at: int, delay: int, deadline: int) -> Seen[MonotonicAtCall]:
    """An arming is refused exactly if the clock ran back, or the deadline is not the call's instant plus the
    delay; the clock that is remembered is the call's.

    post: _.breaks == (at < latest or deadline != at + delay)
    post: _.next.latest == at
    """
    return after(MonotonicAtCall(latest), TimerArm(1, 0, at, delay, deadline))


def retains_little(said: bool, held: int, live: int) -> Seen[RetainsLittle]:
    """What is held is refused exactly if it is more than a constant times the live and a constant.

    pre: 0 <= live <= held
    post: _.breaks == (not said and held - live > CONSTANT * live + SLACK)
    """
    seen = after(RetainsLittle(said), TimersHeld(1, held, live))
    assert seen.next.said == (held - live > CONSTANT * live + SLACK)
    return seen

"""The steps of the rules of CANCEL."""

from __future__ import annotations

from enum import Enum

from loopspec.cancel import AtCheckpoint, DoneOrUndone, NeverLost, NoSpin, OwnOnly
from loopspec.loop import HOPS
from loopspec.proofs import Seen, after, has
from loopspec.stock import Asking, Stock
from loopspec.trace import (
    Answer,
    Await,
    Begin,
    CancelRequest,
    Done,
    End,
    Quiescent,
    Rest,
    Run,
    ScopeCancel,
    ScopeExit,
    Step,
    WaitBegin,
)


class AtTask(Enum):
    """What can happen to a task that may have been asked to end."""

    ASKED = CancelRequest(1, 0)
    STEPS = Step(1, 0, 0)
    BEGINS = Begin(1, 0, "op")
    MEETS = End(1, 0, "op", "cancelled")
    RETURNS = End(1, 0, "op", "value")
    ABSORBS = ScopeExit(1, 0, 0, True, True)
    CANCELLED = Done(1, 0, "cancelled", "")
    ENDS = Done(1, 0, "value", "")


def at_checkpoint(asked: bool, begun: bool, unrun: bool, met: bool, event: AtTask) -> Seen[AtCheckpoint]:
    """An operation is refused exactly if it ends cancelled and nobody has asked, and a task if it ends
    cancelled out of none that did.

    pre: asked or not (unrun or met)
    post: _.breaks == _torn(event, asked, begun, unrun or met)
    post: _.next.asked or not (_.next.unrun or _.next.met) or not asked
    """
    return after(AtCheckpoint(asked, begun, unrun, met), event.value)


def _torn(event: AtTask, asked: bool, begun: bool, excused: bool) -> bool:
    match event:
        case AtTask.MEETS:
            return not asked
        case AtTask.CANCELLED:
            return begun and not excused
        case _:
            return False


class Owed(Enum):
    """What can happen to a task while it may owe its end."""

    ASKED = CancelRequest(1, 0)
    BEGINS = Begin(1, 0, "op")
    AWAITS = Await(1, 0, "event", 0)
    RETURNS = End(1, 0, "op", "value")
    MEETS = End(1, 0, "op", "cancelled")
    RESTS = Quiescent(1)
    ENDS = Done(1, 0, "value", "")


def never_lost(
    pending: bool, late: bool, suspended: bool, may_stay: bool, over: bool, event: Owed
) -> Seen[NeverLost]:
    """A value is refused exactly if its operation was entered after a request, and was suspended; and the
    end, if the task waits on and may not.

    pre: not over or not pending
    post: _.breaks == _erased(event, pending, late and suspended, may_stay)
    post: event is not Owed.ASKED or over or _.next.pending
    post: event is not Owed.BEGINS or over or _.next.late == pending
    """
    return after(NeverLost(has(pending, -1), late, suspended, may_stay, over), event.value)


def _erased(event: Owed, pending: bool, checkpoint: bool, may_stay: bool) -> bool:
    returns = event is Owed.RETURNS and checkpoint
    return pending and (returns or (event is Owed.RESTS and not may_stay))


def done_or_undone(held: int, shown: int, cancelled: bool, waits: bool) -> Seen[DoneOrUndone]:
    """What a queue holds at rest is refused exactly if one has been cancelled, nobody waits for what is
    there, and it is not what the tasks were told; and afterwards it is taken to be so.

    pre: 0 <= held
    post: _.breaks == (cancelled and not (waits and held > 0) and held != shown)
    post: not cancelled or (waits and held > 0) or _.next.stock.held == shown
    """
    asking = (Asking(0, "get"),) if waits else ()
    state = DoneOrUndone(Stock("queue", 9, held, asking), cancelled)
    return after(state, Rest(1, 0, shown))


def lock_is_held_or_not(held: bool, shown: bool, cancelled: bool) -> Seen[DoneOrUndone]:
    """The same of a lock.

    post: _.breaks == (cancelled and held != shown)
    """
    return after(DoneOrUndone(Stock("lock", 1, int(held)), cancelled), Rest(1, 0, int(shown)))


def answers_are_counted(held: int, takes: bool, served: bool, cancelled: bool) -> Seen[DoneOrUndone]:
    """A queue grows by one for who has put and shrinks by one for who has taken, and for nobody else.

    post: _.next.stock.held == held + (0 if not served else -1 if takes else 1)
    post: _.next.cancelled == (cancelled or not served)
    """
    asking = (Asking(0, "get" if takes else "put"),)
    answer = Answer(1, 0, 0, "get" if takes else "put", "value" if served else "cancelled")
    return after(DoneOrUndone(Stock("queue", 9, held, asking), cancelled), answer)


def own_only(cancelled: bool, cut: bool, caught: bool) -> Seen[OwnOnly]:
    """An absorbed cancellation is refused exactly if nobody has cancelled the scope.

    post: _.breaks == (caught and not cancelled)
    """
    asks = (ScopeCancel(1, 0, 0, False),) if cancelled else ()
    return after(OwnOnly(), *asks, ScopeExit(1, 0, 0, cut, caught))


class Spinning(Enum):
    """What can happen in a turn that may be spent on a cancellation."""

    ITS_STEP = Step(1, 0, 0)
    ANOTHERS_STEP = Step(1, 1, 0)
    RUNS = Run(1, 0)
    POLLS = WaitBegin(1, 0)
    SLEEPS = WaitBegin(1, None)
    LEAVES = End(1, 0, "wait", "cancelled")


def _counted(polls: int) -> bool:
    return 0 <= polls <= HOPS


def _one_more(polls: int, spins: bool) -> int:
    return polls + 1 if spins else 0


def no_spin(pending: bool, polls: int, busy: bool, event: Spinning) -> Seen[NoSpin]:
    """A poll is refused exactly if a cancellation is all that there is, and it is one too many in a row.

    pre: _counted(polls)
    post: _.breaks == (event is Spinning.POLLS and pending and not busy and not _counted(polls + 1))
    post: _counted(_.next.polls)
    post: _.breaks or event is not Spinning.POLLS or _.next.polls == _one_more(polls, pending and not busy)
    post: event is not Spinning.ITS_STEP or not pending or _.next.busy == busy
    """
    return after(NoSpin(has(pending), has(pending), polls, busy), event.value)

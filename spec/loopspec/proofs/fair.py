"""The steps of the countdowns of FAIR: what is ready has a bound, a stamp or a count, and the step that goes
past it is refused. That the bound is kept by those who serve is what the ranks say
(:func:`loopspec.starvation.place_after`, :func:`loopspec.kernel.proofs.place_after_wait`)."""

from __future__ import annotations

import select
from enum import Enum

from loopspec.fair import (
    MOST_ACCEPTS,
    MOST_BYTES,
    BoundedBypass,
    BoundedWait,
    Capped,
    NoneStarves,
    SilentClientDelaysNobody,
    StepsDifferByOne,
    _Runner,
)
from loopspec.frozen import Map
from loopspec.proofs import Seen, after, has
from loopspec.ready import Thing, Waiting
from loopspec.trace import (
    Accept,
    Arm,
    Await,
    Connect,
    Dispatch,
    Done,
    Enqueue,
    Exhausted,
    Leave,
    Post,
    Quiescent,
    Receive,
    Run,
    Send,
    Spawn,
    Step,
    Suspend,
    TimerArm,
    TimerFire,
    WaitBegin,
    WaitReturn,
)

# --- handlers -----------------------------------------------------------------------------------------

_CALLBACK: Thing = ("callback", 0)
_OTHER: Thing = ("callback", 1)


def bounded_wait(bound: int, turn: int) -> Seen[BoundedWait]:
    """The end of a turn is refused exactly if the bound of something that is ready has come; then it is said.

    post: _.breaks == (bound <= turn)
    post: not _.breaks or not _.next.waiting.ready
    """
    return after(BoundedWait(Waiting(Map({_CALLBACK: bound}))), WaitBegin(turn, None))


def bound_is_given_once(turn: int, maxevents: int, old: int, two: bool) -> Seen[BoundedWait]:
    """What is ready when a wait returns is given the turn plus ⌈ready/maxevents⌉, and keeps what it was
    given.

    pre: 0 < maxevents and old < 1 << 62
    post: _.next.waiting.ready[("callback", 0)] == old
    post: not two or turn < _.next.waiting.ready[("callback", 1)] <= turn + 2
    post: not two or (_.next.waiting.ready[("callback", 1)] == turn + 1) == (maxevents >= 2)
    """
    more = (Enqueue(0, 1),) if two else ()
    return after(BoundedWait(Waiting(Map({_CALLBACK: old}))), *more, WaitReturn(turn, 0, (), maxevents))


def bounded_bypass(dispatches: int, since: int, runs: int) -> Seen[BoundedBypass]:
    """A dispatch of another is refused exactly if it is the third since one became ready.

    pre: 0 <= since <= dispatches and 0 < runs < dispatches
    post: _.breaks == (since < runs)
    """
    # The other has been dispatched twice while somebody waited: as number ``runs``, and last.
    waiting = Waiting(Map({("registration", 0): since}))
    return after(BoundedBypass(waiting, dispatches, Map({1: (runs, dispatches)})), Dispatch(1, 1, 1))


def bypass_counts_the_latest(dispatches: int, first: int, second: int) -> Seen[BoundedBypass]:
    """Of each that is dispatched while one waits the latest dispatches are kept, and the one that is waited
    for is dispatched at any time.

    pre: 0 < first < second <= dispatches
    post: _.next.dispatches == dispatches + 1
    post: _.next.runs[1] == (first, second, dispatches + 1)
    """
    waiting = Waiting(Map({("registration", 0): dispatches}))
    return after(BoundedBypass(waiting, dispatches, Map({1: (0, first, second)})), Dispatch(1, 1, 1))


# --- tasks --------------------------------------------------------------------------------------------


def steps_differ_by_one(mine: int, its: int, since: int) -> Seen[StepsDifferByOne]:
    """A step is refused exactly if it makes its task two steps ahead of another that is as long ready.

    pre: 0 <= since <= mine and 0 <= its and mine - since - its <= 1
    post: _.breaks == (mine - since - its == 1)
    post: _.breaks or _.next.runners[0].steps - since - its <= 1
    """
    # Task 1 was first followed when task 0 had made ``since`` steps.
    runners = Map({0: _Runner(mine, Map()), 1: _Runner(its, Map({0: since}))})
    return after(StepsDifferByOne(runners), Step(1, 0, 0))


class Ready(Enum):
    """What can happen to the second of two tasks that are always ready."""

    YIELDS = Await(1, 1, "checkpoint", 0)
    WAITS = Await(1, 1, "event", 0)
    ENDS = Done(1, 1, "value", "")
    SPAWNED = Spawn(1, 1)


def followed_while_ready(steps: int, known: bool, event: Ready) -> Seen[StepsDifferByOne]:
    """A task is followed from the moment since which it is ready, and no longer; nobody is ahead of it then.

    pre: 0 <= steps
    post: (1 in _.next.runners) == (event in (Ready.YIELDS, Ready.SPAWNED))
    post: known or 1 not in _.next.runners or _.next.runners[1].ahead[0] == steps
    """
    second = {1: _Runner(0, Map({0: steps}))} if known else {}
    return after(StepsDifferByOne(Map({0: _Runner(steps, Map()), **second})), event.value)


# --- phases -------------------------------------------------------------------------------------------


def io_has_its_phase(born: int, turn: int, had: bool) -> Seen[NoneStarves]:
    """The end of a turn is refused exactly if its batch named what was armed before it, and no handler ran.

    post: _.breaks == (born < turn and not had)
    """
    armed = (Arm(born, 0, 0, 0, "read"), WaitReturn(turn, 0, ((0, select.EPOLLIN),), 1))
    return after(NoneStarves(), *armed, *((Dispatch(turn, 0, 0),) if had else ()), WaitBegin(turn, None))


def timers_have_their_phase(deadline: int, now: int, armed: int, turn: int, had: bool) -> Seen[NoneStarves]:
    """The end of a turn is refused exactly if a timer armed before it was due when it began, and none fired.

    post: _.breaks == (deadline <= now and armed < turn and not had)
    """
    arms = (TimerArm(armed, 0, deadline, 0, deadline), WaitReturn(turn, now, (), 1))
    return after(NoneStarves(), *arms, *((TimerFire(turn, 1, now),) if had else ()), WaitBegin(turn, None))


def callbacks_have_their_phase(queued: int, posted: bool, turn: int, had: bool) -> Seen[NoneStarves]:
    """The end of a turn is refused exactly if a callback was queued before it, or posted in time, and none
    ran.

    post: _.breaks == (queued + posted < turn and not had)
    """
    queues = Post(queued, 0, "worker") if posted else Enqueue(queued, 0)
    ran = (Run(turn, 1),) if had else ()
    return after(NoneStarves(), queues, WaitReturn(turn, 0, (), 1), *ran, WaitBegin(turn, None))


# --- clients ------------------------------------------------------------------------------------------


class AtServer(Enum):
    """What can happen to client 0, who speaks, client 1, who may be silent, and their server."""

    SPEAKS = Send(0, b"a")
    RECEIVES = Receive(0, b"a")
    LEAVES = Leave(0)
    SILENT_SPEAKS = Send(1, b"a")
    SHORT = Exhausted(1)
    SLEEPS = Suspend("loop")
    RESTS = Quiescent(1)


def silent_client_delays_nobody(
    silent: bool, owed: int, waiting: bool, event: AtServer
) -> Seen[SilentClientDelaysNobody]:
    """Sleep, and the end, is refused exactly if there is a silent client and another is owed something.

    post: _.breaks == (silent and owed > 0 and _ceases(event, waiting))
    post: event is not AtServer.SPEAKS or _.next.owed[0] == owed + 1
    post: event is not AtServer.RECEIVES or _.next.owed[0] == owed - 1
    """
    return after(SilentClientDelaysNobody(has(silent, 1), Map({0: owed, 1: 0}), waiting), event.value)


def _ceases(event: AtServer, waiting: bool) -> bool:
    return event is AtServer.RESTS or (event is AtServer.SLEEPS and waiting)


# --- one turn of one client -----------------------------------------------------------------------------


def _is_too_much(moved: int = 0, accepted: int = 0) -> bool:
    return moved > MOST_BYTES or accepted > MOST_ACCEPTS


def capped(moved: int, owed: int, said: bool) -> Seen[Capped]:
    """What comes back is refused exactly if the turn has moved more than B of it, and once.

    pre: 0 <= moved
    post: _.breaks == (_is_too_much(moved=moved + 3) and not said)
    post: _.next.moved[0] == moved + 3 and _.next.owed[0] == owed - 3
    """
    return after(Capped(Map({0: owed}), Map({0: moved}), said=said), Receive(0, b"abc"))


def accepts_are_capped(accepted: int, pending: int, said: bool) -> Seen[Capped]:
    """A connection is refused exactly if it is more than the Ath of its turn, and once.

    pre: 0 <= accepted
    post: _.breaks == (_is_too_much(accepted=accepted + 1) and not said)
    post: _.next.accepted == accepted + 1 and _.next.pending == pending - 1
    """
    return after(Capped(accepted=accepted, pending=pending, said=said), Accept(1, 0, None))


def turn_begins_anew(moved: int, accepted: int, connects: bool) -> Seen[Capped]:
    """Nothing has been moved when a wait returns, and nobody accepted.

    post: not _.next.moved and _.next.accepted == 0 and not _.next.said
    """
    more = (Connect(1, True),) if connects else ()
    state = Capped(Map({0: 1}), Map({0: moved}), accepted, 1, said=True)
    return after(state, *more, WaitReturn(1, 0, (), 1))

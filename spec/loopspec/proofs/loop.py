"""The steps of the rules of LOOP."""

from __future__ import annotations

import select
from enum import Enum

from loopspec.descriptors import (
    LEAST_BACK_OFF,
    BySoError,
    DrainOrRearm,
    OutOfDescriptors,
    RearmAllDirections,
)
from loopspec.frozen import Map
from loopspec.loop import (
    GHOSTLY,
    HOPS,
    POLLER_MAXIMUM,
    POLLER_UNIT,
    CallbackFifo,
    CloseBehindTheBack,
    CloseSettlesWaiters,
    DisarmByRegistration,
    EarlyReturnMovesNothing,
    ErrorContained,
    EventIsAHint,
    ForkRefused,
    HupHasAConsumer,
    HupNeverDiscards,
    IdleMeansIdle,
    LiveOnly,
    NotAfterDisarm,
    NotNested,
    OneWaiterPerDirection,
    RdhupEndsReadingOnly,
    SuspendsOnlyInWait,
    ThreadOwned,
    TurnSnapshot,
    WaitTimeout,
)
from loopspec.proofs import Seen, after, has
from loopspec.trace import (
    Abandon,
    Accept,
    Arm,
    Await,
    Close,
    Connect,
    Dial,
    Dialed,
    DialSettle,
    Disarm,
    Dispatch,
    Drained,
    End,
    Enqueue,
    Exhausted,
    Fork,
    HalfClose,
    HandlerEnd,
    Interest,
    Interrupted,
    Leave,
    Post,
    Quiescent,
    Read,
    Rearm,
    Receive,
    Refuse,
    Relieved,
    Report,
    Run,
    Send,
    Shut,
    Snatch,
    StaleDisarm,
    Step,
    Suspend,
    TimerArm,
    TimerFire,
    Trespass,
    Triggered,
    WaitBegin,
    WaitReturn,
    Write,
)

_SLEEPS = (WaitBegin(9, None), Suspend("loop"))

# --- the turn -----------------------------------------------------------------------------------------


class InTurn(Enum):
    """What a loop's thread can do."""

    WAITS = WaitBegin(1, None)
    RETURNS = WaitReturn(2, 0, (), 1)
    SLEEPS = Suspend("loop")
    ANOTHER_SLEEPS = Suspend("worker")


def suspends_only_in_wait(in_turn: bool, event: InTurn) -> Seen[SuspendsOnlyInWait]:
    """A suspension is refused exactly if it is the loop's thread's, and between two waits.

    post: _.breaks == (in_turn and event is InTurn.SLEEPS)
    post: event is not InTurn.RETURNS or _.next.in_turn
    """
    return after(SuspendsOnlyInWait(in_turn), event.value)


class InCallbacks(Enum):
    """What can happen in and after a phase of callbacks."""

    RUNS = Run(1, 0)
    QUEUES = Enqueue(1, 0)
    ENDS = HandlerEnd(1, None)
    RETURNS = WaitReturn(2, 0, (), 1)


def turn_snapshot(running: bool, young: bool, event: InCallbacks) -> Seen[TurnSnapshot]:
    """What runs is refused exactly if a callback has queued it since the last wait.

    post: _.breaks == (event is InCallbacks.RUNS and young)
    post: event is not InCallbacks.QUEUES or not running or 0 in _.next.young
    post: event is not InCallbacks.RETURNS or not _.next.young
    """
    return after(TurnSnapshot(running, (0,) if young else ()), event.value)


class Idle(Enum):
    """What can happen to a loop that may be idle."""

    SENT = Send(0, b"a")
    RUNS = Run(1, 0)
    RETURNS = WaitReturn(2, 0, (), 1)
    WAITS = WaitBegin(2, None)
    POLLS = WaitBegin(2, 0)


def counted(state: IdleMeansIdle) -> bool:
    """No more waits than there were causes, and no more polls than each cause is good for."""
    within = 0 <= state.sleeps <= state.causes and 0 <= state.polls <= HOPS * state.causes
    return within and 0 <= state.recent < state.causes


def idle_means_idle(
    causes: int, recent: int, sleeps: int, polls: int, poll: bool, busy: bool, event: Idle
) -> Seen[IdleMeansIdle]:
    """The waits of an idle loop are counted, and the one too many is refused.

    pre: counted(IdleMeansIdle(causes, recent, sleeps, polls, poll, busy))
    post: counted(_.next)
    post: not _.breaks or (not busy and (sleeps == causes if not poll else polls == HOPS * causes))
    """
    return after(IdleMeansIdle(causes, recent, sleeps, polls, poll, busy), event.value)


def idle_is_found_out(causes: int, sleeps: int, polls: int, poll: bool) -> Seen[IdleMeansIdle]:
    """The end of a turn in which nothing ran is refused exactly if its wait was one too many.

    pre: counted(IdleMeansIdle(causes, 0, sleeps, polls, poll, False))
    post: _.breaks == (sleeps + (not poll) > causes or polls + poll > HOPS * causes)
    """
    return after(IdleMeansIdle(causes, 0, sleeps, polls, poll, False), WaitBegin(2, None))


# --- dispatch -----------------------------------------------------------------------------------------


def live_only(live: bool, born: int, turn: int) -> Seen[LiveOnly]:
    """A dispatch is refused exactly if its registration is not live, or was armed in that turn or later.

    post: _.breaks == (not live or born >= turn)
    """
    armed = Arm(born, 0, 0, 0, "read")
    return after(LiveOnly(), *((armed,) if live else ()), Dispatch(turn, 0, 0))


def not_after_disarm(disarmed: bool, said: bool, dispatches: bool) -> Seen[NotAfterDisarm]:
    """A dispatch is refused exactly if its registration was disarmed, and once; nothing makes it live again.

    pre: disarmed or not said
    post: _.breaks == (dispatches and disarmed and not said)
    post: _.next.disarmed == (disarmed or not dispatches)
    """
    return after(NotAfterDisarm(disarmed, said), Dispatch(1, 0, 0) if dispatches else Disarm(1, 0, 0))


class Handler(Enum):
    """The beginnings of a handler, and its end."""

    DISPATCH = Dispatch(1, 0, 0)
    TIMER = TimerFire(1, 0, 0)
    CALLBACK = Run(1, 0)
    END = HandlerEnd(1, None)


def not_nested(runs: Handler, event: Handler) -> Seen[NotNested]:
    """A beginning is refused exactly if nothing has ended the one before.

    post: _.breaks == (runs is not Handler.END and event is not Handler.END)
    post: (_.next.running is None) == (event is Handler.END)
    """
    return after(NotNested(), runs.value, event.value)


# --- errors and order ---------------------------------------------------------------------------------


def error_is_reported(let_out: int, turn: int) -> Seen[ErrorContained]:
    """The end of a turn is refused exactly if an error that an earlier turn let out is not reported.

    post: _.breaks == (let_out < turn)
    """
    return after(ErrorContained(), HandlerEnd(let_out, "oops"), WaitBegin(turn, None))


def error_is_reported_once(reported: bool) -> Seen[ErrorContained]:
    """A second report of one error is refused.

    post: _.breaks == reported
    """
    report = Report(1, "oops")
    return after(ErrorContained(), HandlerEnd(1, "oops"), *((report,) if reported else ()), report)


def rest_of_batch_runs(born: int, turn: int, dispatched: bool) -> Seen[ErrorContained]:
    """The end of a turn in which a handler failed is refused exactly if one that the batch names, and that
    was armed in time, was not dispatched.

    post: _.breaks == (born < turn and not dispatched)
    """
    armed = (Arm(born, 0, 0, 0, "read"), WaitReturn(turn, 0, ((0, select.EPOLLIN),), 1))
    failed = (HandlerEnd(turn, "oops"), Report(turn, "oops"))
    dispatch = (Dispatch(turn, 0, 0),) if dispatched else ()
    return after(ErrorContained(), *armed, *dispatch, *failed, WaitBegin(turn, None))


def tables_are_as_before(fails: bool, sends: bool) -> Seen[ErrorContained]:
    """Sleep is refused exactly if a handler has failed and its client has sent since.

    post: _.breaks == (fails and sends)
    """
    ran = (Arm(0, 0, 0, 0, "read"), Dispatch(1, 0, 0), HandlerEnd(1, "oops" if fails else None))
    told = (Report(1, "oops"),) if fails else ()
    sent = (Send(0, b"a"),) if sends else ()
    return after(ErrorContained(), *ran, *told, *sent, WaitBegin(1, None), Suspend("loop"))


def callback_fifo(first: int, second: int, place: int, posted: bool) -> Seen[CallbackFifo]:
    """Of two callbacks of one thread the later one is refused exactly if the other has not run; what another
    thread has posted it may overtake. The places that are given grow.

    pre: first < place and second < place and first != second
    post: _.breaks == (first < second and not posted)
    post: _.next.place == place
    """
    queued = Map({0: (first, "worker" if posted else "loop"), 1: (second, "loop")})
    return after(CallbackFifo(queued, (), place), Run(1, 1))


def callback_fifo_places(place: int, other: int, posts: bool) -> Seen[CallbackFifo]:
    """Who is queued gets a place behind all others.

    pre: other <= place
    post: _.next.queued[1][0] > other and _.next.place >= _.next.queued[1][0]
    """
    queued = Map({0: (other, "loop")})
    return after(CallbackFifo(queued, (), place), Post(1, 1, "worker") if posts else Enqueue(1, 1))


# --- waiters ------------------------------------------------------------------------------------------


def one_waiter_per_direction(handlers: bool, same: bool, resumed: bool) -> Seen[OneWaiterPerDirection]:
    """What is refused is a second handler for one direction, and to sleep on two tasks that wait for it.

    post: _.breaks == (same and (handlers or not resumed))
    """
    if handlers:
        return after(
            OneWaiterPerDirection(), Arm(1, 0, 0, 0, "read"), Arm(1, 1, 0, 0, "read" if same else "write")
        )
    tasks = (Await(1, 0, "read", 0), Await(1, 1, "read" if same else "write", 0))
    ended = (Step(1, 1, 0),) if resumed else ()
    return after(OneWaiterPerDirection(), *tasks, *ended, *_SLEEPS)


def close_settles_waiters(owed: bool, closed: int, turn: int) -> Seen[CloseSettlesWaiters]:
    """The end of a turn is refused exactly if a close of an earlier one has left somebody waiting.

    post: _.breaks == (owed and closed < turn)
    """
    state = CloseSettlesWaiters(Map({0: 0}), Map({0: closed}) if owed else Map())
    return after(state, WaitBegin(turn, None))


class Closing(Enum):
    """What can happen to who waits for a stream that was closed."""

    RESUMED = Step(1, 0, 0)
    RETURNS = WaitReturn(2, 0, (), 1)
    SLEEPS = Suspend("loop")
    FAILS = End(1, 0, "recv", "error")
    SUCCEEDS = End(1, 0, "recv", "value")
    ANOTHER_CLOSES = Close(1, 1, 1)


def waiters_of_closed(owed: bool, settled: bool, waiting: bool, event: Closing) -> Seen[CloseSettlesWaiters]:
    """Sleep is refused exactly if somebody waits for a stream that was closed; an error alone shows anything.

    pre: not (owed and settled)
    post: _.breaks == (owed and waiting and event is Closing.SLEEPS)
    post: _.shows == (settled and event is Closing.FAILS)
    post: event is not Closing.RESUMED or 0 not in _.next.owed
    post: event is not Closing.RESUMED or (0 in _.next.settled) == (owed or settled)
    """
    waits = Map({0: 0}) if owed else Map[int, int]()
    state = CloseSettlesWaiters(waits, Map({0: 1}) if owed else Map(), has(settled), waiting)
    return after(state, event.value)


# --- the peer goes ------------------------------------------------------------------------------------


def hup_never_discards(unread: int, owed: bool) -> Seen[HupNeverDiscards]:
    """End of file is refused exactly if a client has left and what it sent is unread.

    pre: 0 <= unread
    post: _.breaks == (owed and unread > 0)
    """
    state = HupNeverDiscards(Map({0: unread}) if unread else Map(), Map({0: owed}))
    return after(state, Read(1, 0, b""))


def hup_wakes(left: bool, waits: bool, writes: bool) -> Seen[HupNeverDiscards]:
    """Sleep is refused exactly if a task waits, in either direction, for a client who has left.

    post: _.breaks == (left and waits)
    """
    awaits = (Await(1, 0, "write" if writes else "read", 0),) if waits else ()
    return after(HupNeverDiscards(), *((Leave(0),) if left else ()), *awaits, *_SLEEPS)


class HalfClosed(Enum):
    """What can happen to a stream whose client may have half-closed."""

    HALF_CLOSES = HalfClose(0)
    WRITES = Write(1, 0, b"a")
    SENDS = Send(0, b"a")
    RECEIVES = Receive(0, b"a")
    END_OF_FILE = Receive(0, b"")
    SHUTS = Shut(1, 0)
    ENDS = Quiescent(1)


def rdhup_ends_reading_only(
    echo: bool, half: bool, shut: bool, owed: int, event: HalfClosed
) -> Seen[RdhupEndsReadingOnly]:
    """To a client that has half-closed an end is refused exactly if something is owed: what an echo server
    was sent, or what another had written before it shut its end.

    post: _.breaks == (half and owed > 0 and _tells(event, echo=echo, shut=shut))
    post: event is not HalfClosed.RECEIVES or _.next.owed == owed - 1
    """
    return after(RdhupEndsReadingOnly(echo, half, shut, owed), event.value)


def _tells(event: HalfClosed, *, echo: bool, shut: bool) -> bool:
    ends = event is HalfClosed.END_OF_FILE and (shut or echo)
    return ends or (event is HalfClosed.ENDS and echo)


# --- the wait -----------------------------------------------------------------------------------------


def wait_timeout(queued: bool, instant: int, now: int, timeout: int) -> Seen[WaitTimeout]:
    """A finite wait is refused exactly if something is ready, or it does not reach to the earliest instant,
    rounded up.

    pre: timeout > 0
    post: _.breaks == (queued or instant <= now or not _reaches(timeout, instant - now))
    """
    return after(WaitTimeout(sleepers=Map({0: instant}), queued=has(queued), now=now), WaitBegin(1, timeout))


def _reaches(timeout: int, least: int) -> bool:
    capped = min(least, POLLER_MAXIMUM)
    return capped <= timeout < capped + 2 * POLLER_UNIT


def wait_without_end(queued: bool, timed: bool, instant: int, now: int) -> Seen[WaitTimeout]:
    """A wait without end is refused exactly if something is ready, or will be at some instant.

    post: _.breaks == (queued or timed)
    """
    sleepers = Map({0: instant}) if timed else Map[int, int]()
    return after(WaitTimeout(sleepers=sleepers, queued=has(queued), now=now), WaitBegin(1, None))


def poll_is_for_something(ready: bool, polls: int) -> Seen[WaitTimeout]:
    """A poll is refused exactly if nothing is ready and there were as many in a row as are allowed; they are
    counted until then.

    pre: 0 <= polls <= HOPS
    post: _.breaks == (not ready and polls == HOPS)
    post: _.next.polls == (0 if ready or _.breaks else polls + 1)
    """
    return after(WaitTimeout(queued=has(ready), polls=polls), WaitBegin(1, 0))


def early_return_moves_nothing(
    end: int, now: int, timeout: int, early: bool, moved: bool
) -> Seen[EarlyReturnMovesNothing]:
    """A wait is refused exactly if the one before was cut short, nothing has happened since, and it reaches
    further or less far by more than rounding.

    post: _.breaks == (early and not moved and timeout != 0 and abs(end - (now + timeout)) >= 2 * POLLER_UNIT)
    post: _.next.end == now + timeout
    """
    state = EarlyReturnMovesNothing(now=now, end=end, early=early, moved=moved)
    return after(state, WaitBegin(1, timeout))


def early_return_fires_nothing(deadline: int, at: int, interrupted: bool) -> Seen[EarlyReturnMovesNothing]:
    """After a wait that was cut short a firing is refused exactly if it is early.

    post: _.breaks == (interrupted and at < deadline)
    """
    cut = (Interrupted(1),) if interrupted else ()
    arm = TimerArm(1, 0, deadline, 0, deadline)
    return after(EarlyReturnMovesNothing(), arm, *cut, TimerFire(1, 0, at))


# --- clean-up that comes late -------------------------------------------------------------------------


class Stale(Enum):
    """What can happen to the successor of a registration that was disarmed too late."""

    SENDS = Send(0, b"a")
    READS = Read(1, 0, b"a")
    DISPATCHED = Dispatch(1, 0, 0)
    DISARMED = Disarm(1, 0, 0)
    STALE = StaleDisarm(1, 1, 0, True)
    SLEEPS = Suspend("loop")


def disarm_by_registration(
    successor: bool, sent: bool, waiting: bool, event: Stale
) -> Seen[DisarmByRegistration]:
    """Sleep is refused exactly on a successor whose client has sent; a stale disarm makes no claim that a
    dispatch does not end.

    post: _.breaks == (successor and sent and waiting and event is Stale.SLEEPS)
    post: event is not Stale.DISPATCHED or (not _.next.successors and _.shows == successor)
    """
    successors = Map({0: (0, sent)}) if successor else Map[int, tuple[int, bool]]()
    return after(DisarmByRegistration(successors=successors, waiting=waiting), event.value)


def hup_has_a_consumer(armed: bool, reported: int) -> Seen[HupHasAConsumer]:
    """A report is refused exactly if nobody is there to take it, and it is one too many in a row.

    pre: 0 < reported <= HOPS
    post: _.breaks == (not armed and reported == HOPS)
    post: all(0 < times <= HOPS for times in _.next.reported.values())
    """
    table = after(HupHasAConsumer(), Arm(0, 0, 0, 0, "read")).next.table if armed else Map()
    return after(HupHasAConsumer(table, Map({0: reported})), WaitReturn(1, 0, ((0, select.EPOLLHUP),), 1))


class Ghost(Enum):
    """What can happen to a descriptor that may have been closed behind the loop's back."""

    ABANDONED = Abandon(1, 0, 0)
    REPORTED = WaitReturn(2, 0, ((0, 1),), 1)
    REUSED = Arm(1, 1, 0, 1, "read")
    ENDS = Quiescent(2)


def _within(reports: int) -> bool:
    return -1 <= reports <= GHOSTLY


def close_behind_the_back(reports: int, event: Ghost) -> Seen[CloseBehindTheBack]:
    """A report is refused exactly if it is one too many; they are counted, and no more than are allowed.

    pre: _within(reports)
    post: _.breaks == (event is Ghost.REPORTED and not _within(reports + 1))
    post: _within(_.next.reports)
    """
    return after(CloseBehindTheBack(reports), event.value)


class Hinted(Enum):
    """What can happen to a stream that another has read."""

    SNATCHED = Snatch(1, 0, 0)
    SENDS = Send(0, b"a")
    READS = Read(1, 0, b"a")
    FAILS = Refuse(1, 0, 0, 0, "read", "EAGAIN")
    ANOTHER_IS_REFUSED = Refuse(1, 1, 0, 0, "read", "busy")
    WAITS = WaitBegin(1, None)
    RETURNS = WaitReturn(2, 0, (), 1)
    SLEEPS = Suspend("loop")


def event_is_a_hint(hinted: bool, unread: bool, waiting: bool, event: Hinted) -> Seen[EventIsAHint]:
    """Of a wait that found nothing, an error is refused, and to sleep when more has come.

    pre: hinted or not (unread or waiting)
    post: _.breaks == (hinted and (event is Hinted.FAILS or (event is Hinted.SLEEPS and waiting and unread)))
    post: _.shows == (unread and event is Hinted.READS)
    """
    return after(EventIsAHint(0 if hinted else None, hinted, unread, waiting), event.value)


# --- whose the loop is --------------------------------------------------------------------------------


def fork_refused(refused: bool, unchanged: bool) -> Seen[ForkRefused]:
    """A child is refused exactly if it was let in, or has changed the interest set.

    post: _.breaks == (not refused or not unchanged) and _.shows != _.breaks
    """
    return after(ForkRefused(), Fork(1, refused, unchanged))


def thread_owned(refused: bool) -> Seen[ThreadOwned]:
    """A call from another thread is refused exactly if the loop let it in.

    post: _.breaks == (not refused) and _.shows != _.breaks
    """
    return after(ThreadOwned(), Trespass(1, "worker", "arm", refused))


# --- modes --------------------------------------------------------------------------------------------


class Edge(Enum):
    """What the handler of an edge-triggered registration can do in a turn."""

    STOPS_SHORT = (Dispatch(1, 0, 0),)
    DRAINS = (Dispatch(1, 0, 0), Drained(1, 0, 0))
    REARMS = (Dispatch(1, 0, 0), Rearm(1, 0, 0))
    DISARMS = (Dispatch(1, 0, 0), Disarm(1, 0, 0))
    IS_SILENT = ()


def drain_or_rearm(handler: Edge, unread: bool, writes: bool) -> Seen[DrainOrRearm]:
    """Sleep is refused exactly if a handler has stopped short of EAGAIN, or has re-armed to read what is
    there and is not reported.

    post: _.breaks == (handler is Edge.STOPS_SHORT or (handler is Edge.REARMS and unread and not writes))
    """
    triggered = Triggered(1, 0, 0, 0, "write" if writes else "read", "edge")
    sent = (Send(0, b"a"),) if unread else ()
    return after(DrainOrRearm(), triggered, *sent, *handler.value, *_SLEEPS)


def rearm_all_directions(reads: bool, writes: bool, is_in: bool, is_out: bool) -> Seen[RearmAllDirections]:
    """Sleep is refused exactly if a direction that has a waiter is not in the kernel's account.

    post: _.breaks == ((reads and not is_in) or (writes and not is_out))
    """
    both = (
        *((Triggered(1, 0, 0, 0, "read", "one-shot"),) if reads else ()),
        *((Triggered(1, 1, 0, 0, "write", "one-shot"),) if writes else ()),
    )
    mask = (select.EPOLLIN if is_in else 0) + (select.EPOLLOUT if is_out else 0)
    return after(RearmAllDirections(), *both, Interest(1, 0, mask))


# --- connections --------------------------------------------------------------------------------------


class Dialling(Enum):
    """How a connect may end, by the kernel's word or the loop's."""

    NOT = None
    CONNECTED = "connected"
    REFUSED = "ECONNREFUSED"

    def error(self) -> str | None:
        """The error of it."""
        return self.value if self is Dialling.REFUSED else None


def by_so_error(kernel: Dialling, loop: Dialling, cancelled: bool) -> Seen[BySoError]:
    """A settlement is refused exactly if it is not what the kernel said last, and the end without one if the
    kernel has said something.

    post: _.breaks == (not cancelled and kernel is not loop)
    """
    said = () if kernel is Dialling.NOT else (Dialed(0, kernel.error()),)
    if cancelled:
        return after(BySoError(), Dial(1, 0, 0), *said, DialSettle(1, 0, "cancelled", None))
    if loop is Dialling.NOT:
        return after(BySoError(), Dial(1, 0, 0), *said, Quiescent(1))
    return after(BySoError(), Dial(1, 0, 0), *said, _settled(loop))


def _settled(loop: Dialling) -> DialSettle:
    return DialSettle(1, 0, "value" if loop is Dialling.CONNECTED else "error", loop.error())


def out_of_descriptors(failed: int, at: int, relieved: bool) -> Seen[OutOfDescriptors]:
    """A second failure is refused exactly if it comes within a back-off of the first and there were none
    meanwhile.

    post: _.breaks == (not relieved and not _rested(failed, at))
    """
    lacks = (Exhausted(1), Accept(1, failed, "EMFILE"))
    again = (Relieved(1), Exhausted(1)) if relieved else ()
    return after(OutOfDescriptors(), *lacks, *again, Accept(1, at, "EMFILE"))


def _rested(failed: int, at: int) -> bool:
    return at >= failed + LEAST_BACK_OFF


class Scarce(Enum):
    """What can happen to a listener and to a client that it has accepted."""

    SENDS = Send(0, b"a")
    RECEIVES = Receive(0, b"a")
    CONNECTS = Connect(1, True)
    ACCEPTS = Accept(1, 0, None)
    SLEEPS = Suspend("loop")
    ENDS = Quiescent(1)


def others_are_unaffected(
    exhausted: bool, waiting: bool, owed: int, connected: int, accepted: int, event: Scarce
) -> Seen[OutOfDescriptors]:
    """Without descriptors sleep is refused exactly if an accepted client is owed something; with them the end
    is, if somebody waits to be accepted.

    pre: 0 < owed and 0 <= accepted <= connected
    post: _.breaks == _neglects(event, exhausted, waiting, connected, accepted)
    post: all(left > 0 for left in _.next.owed.values())
    """
    state = OutOfDescriptors(exhausted, None, connected, accepted, Map({0: owed}), waiting=waiting)
    return after(state, event.value)


def _neglects(event: Scarce, exhausted: bool, waiting: bool, connected: int, accepted: int) -> bool:
    sleeps = event is Scarce.SLEEPS and exhausted and waiting and accepted > 0
    return sleeps or (event is Scarce.ENDS and not exhausted and connected > accepted)

"""LOOP: the turn, its phases, and what may be dispatched in it.

A loop is judged from outside: what it waits for, what that wait reports, and which handlers start when. The
rules about identity (is this the registration that the event was for?) are written for one descriptor
number or one registration, the others for the whole trace; those remember only what is outstanding.

Where a sentence admits several readings, the rule takes the one that no correct loop breaks, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias, assert_never

from loopspec import descriptors
from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import Map, replace, value
from loopspec.judge import EVERY, Broken, Kept, Progress
from loopspec.ready import Agenda, Armed, Due, Table, armed, disarmed, found, named
from loopspec.trace import (
    Abandon,
    Accept,
    Arm,
    Await,
    CancelRequest,
    Close,
    Connect,
    Direction,
    Disarm,
    Dispatch,
    End,
    Enqueue,
    Event,
    Fork,
    HalfClose,
    HandlerEnd,
    Interrupted,
    JobAsk,
    JobEnd,
    JobStart,
    Leave,
    Post,
    Quiescent,
    Read,
    Receive,
    Refuse,
    Report,
    Reset,
    RpcBreak,
    RpcCall,
    RpcPart,
    RpcReply,
    RpcSettle,
    Run,
    ScopeCancel,
    ScopeEnter,
    ScopeExit,
    Send,
    Shut,
    Signal,
    Snatch,
    Spawn,
    StaleDisarm,
    Step,
    StopReading,
    Suspend,
    TimerArm,
    TimerCancel,
    TimerFire,
    Trespass,
    WaitBegin,
    WaitReturn,
    Worked,
    Write,
)

LOOP_THREAD = "loop"
"""What a trace calls the thread that the loop runs on."""

RULES = (descriptors,)
"""The modules with rules of LOOP besides this one."""


# --- the turn -----------------------------------------------------------------------------------------


@clause(
    "LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="event loop and I/O",
    watches={WaitBegin: None, WaitReturn: None, Suspend: None},
)
@value
class SuspendsOnlyInWait:
    """The loop thread is suspended only inside its one multiplexing wait."""

    # What happens before the first wait is over belongs to no turn: a loop may start as it likes.

    in_turn: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case WaitReturn():
                return SuspendsOnlyInWait(in_turn=True)
            case WaitBegin():
                return Kept(SuspendsOnlyInWait()) if self.in_turn else self
            case Suspend(thread=thread) if thread == LOOP_THREAD and self.in_turn:
                return Broken(
                    "suspension in the multiplexing wait alone",
                    "the loop's thread was suspended between two waits",
                    SuspendsOnlyInWait(),
                )
            case _:
                return self


@clause(
    "LOOP.TURN.SNAPSHOT",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="starvation by call_soon",
    watches={Run: None, HandlerEnd: None, Enqueue: None, WaitReturn: None},
)
@value
class TurnSnapshot:
    """A phase runs what was queued before the phase began, and nothing queued by it."""

    # Told of the callbacks; TIMER.PHASE.SNAPSHOT tells it of the timers. Only what a callback queues is
    # queued by the phase of callbacks: an I/O handler or a timer may come before that phase in its turn.

    running: bool = False
    young: tuple[int, ...] = ()

    def after(self, event: Event) -> Progress:
        match event:
            case Run(turn=turn, callback=callback):
                if callback not in self.young:
                    return self if self.running else TurnSnapshot(True, self.young)
                others = tuple(other for other in self.young if other != callback)
                return Broken(
                    f"callback {callback} runs after the next wait",
                    f"it ran in turn {turn}, in the phase that queued it",
                    TurnSnapshot(True, others),
                )
            case HandlerEnd():
                return TurnSnapshot(False, self.young) if self.running else self
            case Enqueue(callback=callback) if self.running:
                return TurnSnapshot(True, (*self.young, callback))
            case WaitReturn() if self.young:
                return Kept(TurnSnapshot())
            case _:
                return self


@clause(
    "LOOP.IDLE.MEANS_IDLE",
    Level.MUST,
    Kind.BOUND,
    Profile.LOOP,
    source='every "100 % CPU" bug; asyncio issue 106; libuv issue 1148',
    watches={WaitBegin: None, WaitReturn: None},
    also={
        Dispatch: None,
        TimerFire: None,
        Run: None,
        Step: None,
        Post: None,
        ScopeCancel: None,
        Connect: None,
        Send: None,
        Receive: None,
        HalfClose: None,
        Leave: None,
        Reset: None,
        RpcPart: None,
        RpcReply: None,
        RpcBreak: None,
        RpcSettle: None,
        JobStart: None,
        JobAsk: None,
        JobEnd: None,
        Abandon: None,
        Interrupted: None,
        Signal: None,
        Trespass: None,
        Accept: None,
    },
)
@value
class IdleMeansIdle:
    """While nothing is ready to run, the number of waits is at most the number of external events, due timers
    and posts, plus one."""

    # An idle turn is one in which nothing ran that a trace shows. A due timer is shown by firing, so what is
    # counted are external events, posts and deadlines of scopes, ``causes``. One that came while something
    # was still running may wake the loop after it, so the causes of the stretch that was busy last
    # (``recent``) count for the idle one behind it.
    #
    # A loop may pass a result on through queued steps of its own, which a trace does not show: it then polls
    # with timeout 0, and is not idle by its own account. Each cause is good for HOPS such polls. A loop that
    # polls its way to a deadline, or spins on a descriptor that nobody reads, needs thousands.

    causes: int = 1
    recent: int = 0
    sleeps: int = 0
    polls: int = 0
    poll: bool = True  # whether the wait that opened this turn had timeout 0
    busy: bool = True

    def after(self, event: Event) -> Progress:
        match event:
            case Send() | Receive():
                return self._caused()
            case Accept(error=error):
                return self._caused(RETRY) if error == "EMFILE" else self
            case Step() | Dispatch() | Run() | TimerFire() | RpcSettle():
                if self.busy:
                    return self
                return IdleMeansIdle(self.causes, self.recent, self.sleeps, self.polls, self.poll, True)
            case WaitReturn():
                return IdleMeansIdle(self.causes, self.recent, self.sleeps, self.polls, self.poll, False)
            case WaitBegin(turn=turn, timeout=timeout):
                return self._turn_ends(turn, poll=timeout == 0)
            case _:
                return self._caused()

    def _caused(self, count: int = 1) -> IdleMeansIdle:
        causes, recent = self.causes + count, self.recent + count
        return IdleMeansIdle(causes, recent, self.sleeps, self.polls, self.poll, self.busy)

    def _turn_ends(self, turn: int, *, poll: bool) -> Progress:
        if self.busy:
            rested = IdleMeansIdle(causes=1 + self.recent, poll=poll)
            return rested if self.poll else Kept(rested)
        sleeps, polls = self.sleeps + (not self.poll), self.polls + self.poll
        if sleeps <= self.causes and polls <= HOPS * self.causes:
            return IdleMeansIdle(self.causes, self.recent, sleeps, polls, poll, False)
        return Broken(
            f"at most {self.causes} waits that return while nothing is ready to run",
            f"{sleeps + polls} waits have returned up to turn {turn}, and nothing has run",
            IdleMeansIdle(poll=poll),
        )


RETRY = 3
"""What a listener costs that found no descriptor, and that a trace does not show: the timer that ends its
rest, the report of what waits for it still, and one report that comes before it has left the interest set."""

HOPS = 8
"""How many turns a loop may take to pass one event on through steps of its own. asyncio takes four from a
connection that comes in to the handler that reads it; as many again is room for others."""


# --- dispatch -----------------------------------------------------------------------------------------


def _numbers(event: WaitReturn) -> Iterable[int]:
    return [fd for fd, _ in event.batch]


@clause(
    "LOOP.DISPATCH.LIVE_ONLY",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="epoll(7) Q6; trio issue 661; Go issue 59545",
    watches={Arm: "fd", Disarm: "fd", Dispatch: "fd", WaitReturn: _numbers},
    also={Close: "fd"},
)
@value
class LiveOnly:
    """An event of turn k is dispatched only to a registration that was live when the wait of turn k returned,
    and is live still."""

    # Written for one descriptor number. The premise is that a batch names the number and that, in that turn,
    # a registration ends before its dispatch, or another begins: then the event could go astray.

    live: tuple[Armed, ...] = ()
    batch: int = -1  # the latest turn whose batch named this number
    done: tuple[int, ...] = ()  # dispatched in that turn
    astray: tuple[int, ...] = ()  # dispatched when they should not have been: said once

    def after(self, event: Event) -> Progress:
        match event:
            case WaitReturn(turn=turn):
                return LiveOnly(self.live, turn, (), self.astray) if self.live else None
            case Dispatch():
                return self._dispatched(event)
            case Arm(turn=turn, registration=registration, stream=stream, direction=direction):
                entry = Armed(registration, stream, direction, turn)
                after = LiveOnly((*self.live, entry), self.batch, self.done, self.astray)
                return Kept(after) if self.batch == turn else after
            case Disarm(turn=turn, registration=registration):
                return self._ended(turn, [entry for entry in self.live if entry.registration == registration])
            case Close(turn=turn):
                return self._ended(turn, self.live)
            case _:
                return self

    def _ended(self, turn: int, ended: Iterable[Armed]) -> Progress:
        left = tuple(entry for entry in self.live if entry not in ended)
        after = LiveOnly(left, self.batch, self.done, self.astray)
        undone = any(entry.born < turn and entry.registration not in self.done for entry in ended)
        return Kept(after) if undone and self.batch == turn else after

    def _dispatched(self, event: Dispatch) -> Progress:
        registration = event.registration
        if self.astray and registration in self.astray:
            return self
        born = [entry.born for entry in self.live if entry.registration == registration]
        if born and born[0] < event.turn:
            return LiveOnly(self.live, self.batch, (*self.done, registration), self.astray)
        return Broken(
            f"dispatch in turn {event.turn} of what was armed before it and is live still",
            f"registration {registration} of descriptor {event.fd} was dispatched, "
            + (f"armed in turn {born[0]}" if born else "which is not live"),
            replace(self, astray=(*self.astray, registration)),
        )


@clause(
    "LOOP.DISPATCH.NOT_AFTER_DISARM",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="muduo EventLoop::removeChannel; Redis ae.c",
    watches={Disarm: "registration", Dispatch: "registration"},
)
@value
class NotAfterDisarm:
    """Once disarm has returned, that registration is never dispatched again, not even in the same turn."""

    disarmed: bool = False
    said: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Disarm() if not self.disarmed:
                return Kept(NotAfterDisarm(disarmed=True))
            case Dispatch(registration=registration) if self.disarmed and not self.said:
                return Broken(
                    f"silence of registration {registration}, whose disarm has returned",
                    f"it was dispatched in turn {event.turn}",
                    NotAfterDisarm(disarmed=True, said=True),
                )
            case _:
                return self if self.disarmed else None


@clause(
    "LOOP.DISPATCH.NOT_NESTED",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="event handler",
    watches={HandlerEnd: None},
    also={Dispatch: None, TimerFire: None, Run: None},
)
@value
class NotNested:
    """No handler starts while another runs on the same loop thread."""

    running: Dispatch | TimerFire | Run | None = None

    def after(self, event: Event) -> Progress:
        match event:
            case HandlerEnd():
                return _ENDED if self.running else self
            case Dispatch() | TimerFire() | Run():
                if self.running is None:
                    return NotNested(event)
                return Broken(
                    f"{_handler(self.running)} ends first",
                    f"{_handler(event)} started inside it",
                    NotNested(event),
                )
            case _:
                return self


_ENDED = Kept(NotNested())


def _handler(start: Dispatch | TimerFire | Run) -> str:
    match start:
        case Dispatch(registration=registration):
            return f"the handler of registration {registration}"
        case TimerFire(timer=timer):
            return f"timer {timer}"
        case Run(callback=callback):
            return f"callback {callback}"
        case _:
            assert_never(start)


# --- errors and order ---------------------------------------------------------------------------------

_REMEMBERED = 32
"""How many reported errors are remembered, to find one that is reported twice."""


class _Failure(NamedTuple):
    """An error that a handler let out in ``turn`` and that has not been reported yet."""

    error: str
    turn: int


@clause(
    "LOOP.HANDLER.ERROR_CONTAINED",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="Twisted issue 8907",
    watches={HandlerEnd: None, Report: None, WaitBegin: None},
    also={
        WaitReturn: None,
        Dispatch: None,
        TimerFire: None,
        Run: None,
        Arm: None,
        Disarm: None,
        Close: None,
        Abandon: None,
        Send: None,
        Read: None,
        Suspend: None,
    },
)
@value
class ErrorContained:
    """An exception in a handler is reported once; the rest of its batch runs, and the loop's tables are as
    before."""

    # "Reported": by the end of the next turn, so that a loop may report in a phase of its own. "Tables as
    # before": the registration whose handler failed is live, so when its client sends, the loop does not
    # sleep before it has dispatched it (``suspects``: by stream, with whether there is anything to read).

    table: Table = Map()
    batch: tuple[tuple[int, int], ...] = ()
    dispatched: tuple[int, ...] = ()
    running: Armed | None = None
    owed: tuple[int, ...] = ()
    failures: tuple[_Failure, ...] = ()
    reported: tuple[str, ...] = ()
    suspects: Map[int, tuple[int, bool]] = Map()
    waiting: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Send() | Read():
                suspect = self.suspects.get(event.stream)
                return self if suspect is None else self._stirred(event, suspect[0])
            case HandlerEnd():
                return self if event.error is None else self._fails(event.turn, event.error)
            case Dispatch():
                return self._starts(event)
            case TimerFire() | Run():
                return self if self.running is None else replace(self, running=None)
            case WaitReturn(batch=batch):
                return self._in_turn(batch, (), None)
            case WaitBegin(turn=turn):
                if self.owed or self.failures or self.suspects:
                    return self._turn_ends(turn)
                return self
            case Report(error=error):
                return self._told(error)
            case Arm():
                return self._with(armed(self.table, event))
            case Disarm(registration=registration):
                return self._gone(disarmed(self.table, event), (registration,))
            case Close(fd=fd) | Abandon(fd=fd):
                gone = tuple(entry.registration for entry in self.table.get(fd, ()))
                return self._gone(self.table.drop(fd), gone)
            case Suspend(thread=thread) if thread == LOOP_THREAD and self.waiting:
                return self._sleeps()
            case _:
                return self

    def _stirred(self, event: Send | Read, registration: int) -> ErrorContained:
        suspect = (registration, isinstance(event, Send))
        return replace(self, suspects=self.suspects.put(event.stream, suspect))

    def _with(self, table: Table) -> ErrorContained:
        return ErrorContained(
            table,
            self.batch,
            self.dispatched,
            self.running,
            self.owed,
            self.failures,
            self.reported,
            self.suspects,
            self.waiting,
        )

    def _in_turn(
        self, batch: tuple[tuple[int, int], ...], dispatched: tuple[int, ...], running: Armed | None
    ) -> ErrorContained:
        return ErrorContained(
            self.table,
            batch,
            dispatched,
            running,
            self.owed,
            self.failures,
            self.reported,
            self.suspects,
            waiting=False,
        )

    def _starts(self, event: Dispatch) -> Progress:
        entry = found(self.table, event.fd, event.registration)
        after = self._in_turn(self.batch, (*self.dispatched, event.registration), entry)
        if self.owed:
            after = replace(after, owed=tuple(owed for owed in self.owed if owed != event.registration))
        suspect = None if entry is None else self.suspects.get(entry.stream)
        if entry is None or suspect is None or suspect[0] != entry.registration:
            return after
        return Kept(replace(after, suspects=self.suspects.drop(entry.stream)))

    def _fails(self, turn: int, error: str) -> Progress:
        rest = [entry for entry in named(self.table, self.batch) if entry.born < turn]
        owed = tuple(entry.registration for entry in rest if entry.registration not in self.dispatched)
        suspects, failed = self.suspects, self.running
        if failed is not None and found_anywhere(self.table, failed) and failed.direction == "read":
            suspects = suspects.put(failed.stream, (failed.registration, False))
        return replace(
            self, owed=owed, suspects=suspects, failures=(*self.failures, _Failure(error, turn)), running=None
        )

    def _told(self, error: str) -> Progress:
        left = tuple(failure for failure in self.failures if failure.error != error)
        if len(left) < len(self.failures):
            told = (*self.reported[1 - _REMEMBERED :], error)
            return Kept(replace(self, failures=left, reported=told))
        if error not in self.reported:
            return self
        once = tuple(other for other in self.reported if other != error)
        return Broken(f"one report of {error}", "it was reported again", replace(self, reported=once))

    def _gone(self, table: Table, registrations: tuple[int, ...]) -> Progress:
        suspects = self.suspects
        if not suspects and not self.owed:
            return self._with(table)
        gone = [stream for stream, (registration, _) in suspects.items() if registration in registrations]
        suspects = suspects.drop_all(gone)
        owed = tuple(owed for owed in self.owed if owed not in registrations)
        return replace(self, table=table, owed=owed, suspects=suspects)

    def _turn_ends(self, turn: int) -> Progress:
        after = replace(self, owed=(), waiting=True)
        if self.owed:
            names = ", ".join(str(registration) for registration in self.owed)
            return Broken(
                f"the rest of the batch of turn {turn} runs although a handler has failed",
                f"the turn ended without a dispatch of registration {names}",
                after,
            )
        late = tuple(failure for failure in self.failures if failure.turn < turn)
        if late:
            kept = tuple(failure for failure in self.failures if failure.turn >= turn)
            return Broken(
                f"{late[0].error}, let out in turn {late[0].turn}, is reported by the end of turn {turn}",
                "it has not been reported",
                replace(after, failures=kept),
            )
        return after

    def _sleeps(self) -> Progress:
        for stream, (registration, sent) in self.suspects.items():
            if sent:
                return Broken(
                    f"registration {registration} is live after its handler has failed",
                    f"its client {stream} has sent since, and the loop sleeps",
                    replace(self, suspects=self.suspects.drop(stream)),
                )
        return self


def found_anywhere(table: Table, entry: Armed) -> bool:
    """Whether a registration is live under any number."""
    return any(entry in entries for entries in table.values())


@clause(
    "LOOP.CALLBACK.FIFO",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="asyncio call_soon and call_soon_threadsafe",
    watches={Enqueue: None, Run: None},
    also={Post: None},
)
@value
class CallbackFifo:
    """Callbacks queued from one thread run in the order in which they were queued."""

    # The premise: when one runs, another of the same thread is queued behind it. A post that is told of only
    # after its callback has run leaves nothing to order, and is remembered for that moment alone.

    queued: Map[int, tuple[int, str]] = Map()  # by callback: its place in the order of all, and its thread
    told_late: tuple[int, ...] = ()
    place: int = 0

    def after(self, event: Event) -> Progress:
        match event:
            case Enqueue():
                return self._queue(event.callback, LOOP_THREAD)
            case Run():
                return self._runs(event.callback)
            case Post():
                return self._queue(event.callback, event.thread)
            case _:
                return self

    def _queue(self, callback: int, thread: str) -> Progress:
        if callback in self.told_late:
            return self
        place = self.place + 1
        return CallbackFifo(self.queued.put(callback, (place, thread)), self.told_late, place)

    def _runs(self, callback: int) -> Progress:
        if callback not in self.queued:
            late = (*self.told_late[1 - _REMEMBERED :], callback)
            return CallbackFifo(self.queued, late, self.place)
        place, thread = self.queued[callback]
        mates = {its: other for other, (its, whose) in self.queued.items() if whose == thread}
        first = min(mates)
        if first == place:
            left = CallbackFifo(self.queued.drop(callback), self.told_late, self.place)
            return Kept(left) if len(mates) > 1 else left
        gone = [other for its, other in mates.items() if its <= place]
        return Broken(
            f"callback {mates[first]}, which thread {thread} queued earlier, runs first",
            f"callback {callback} ran before it",
            CallbackFifo(self.queued.drop_all(gone), self.told_late, self.place),
        )


# --- waiters ------------------------------------------------------------------------------------------


_Waiter: TypeAlias = tuple[Literal["registration", "task"], int]
"""Who waits: a registration's handler, or a task."""

Channel: TypeAlias = tuple[int, Direction]


@clause(
    "LOOP.WAITER.ONE_PER_DIRECTION",
    Level.SHOULD,
    Kind.INV,
    Profile.LOOP,
    source="silent replacement: CPython issue 91780; trio BusyResourceError",
    watches={Refuse: None},
    also={
        Arm: None,
        Disarm: None,
        Close: None,
        Abandon: None,
        Await: None,
        Step: None,
        End: None,
        WaitBegin: None,
        WaitReturn: None,
        Suspend: None,
    },
)
@value
class OneWaiterPerDirection:
    """A descriptor has at most one waiter per direction; a second one is refused, and the first
    undisturbed."""

    # A second handler has been let in when its arming is accepted. A task may be suspended in its operation
    # before it asks for anything, at a checkpoint; so a second task has been let in when the loop sleeps
    # while both wait, or when the second is served and the first has not been resumed by the end of that turn
    # (``ahead``). That the first is undisturbed shows in its being served: that is FAIR.READY.BOUNDED_WAIT's.

    waiters: Map[Channel, tuple[_Waiter, ...]] = Map()  # in the order in which they came
    channels: Map[_Waiter, Channel] = Map()
    crowded: Map[Channel, None] = Map()  # those with more than one waiter
    resumed: Map[int, Channel] = Map()  # tasks that came second, and are out of their wait
    asleep: bool = False
    ahead: tuple[Channel, _Waiter, _Waiter] | None = None

    def after(self, event: Event) -> Progress:
        match event:
            case Step():
                return self._steps(("task", event.task))
            case Await():
                match event.reason:
                    case "read" | "write" as direction:
                        return self._with((event.key, direction), ("task", event.task))
                    case _:
                        return self
            case End():
                if self.resumed.get(event.task) is None:
                    return self
                return self._ends(event.task, served=event.outcome == "value")
            case WaitBegin():
                return self._begins()
            case WaitReturn():
                return replace(self, asleep=False) if self.asleep else self
            case Arm():
                channel = event.stream, event.direction
                return self._arms(channel, ("registration", event.registration))
            case Disarm(registration=registration):
                return self._without(("registration", registration))
            case Refuse(stream=stream, direction=direction):
                return Kept(self) if (stream, direction) in self.waiters else self
            case Close(stream=stream) | Abandon(stream=stream):
                channels: tuple[Channel, ...] = ((stream, "read"), (stream, "write"))
                return self._closed(channels)
            case Suspend(thread=thread) if thread == LOOP_THREAD and self.asleep:
                return self._sleeps()
            case _:
                return self

    def _with(self, channel: Channel, waiter: _Waiter) -> OneWaiterPerDirection:
        others = self.waiters.get(channel, ())
        return OneWaiterPerDirection(
            self.waiters.put(channel, (*others, waiter)),
            self.channels.put(waiter, channel),
            self.crowded.put(channel, None) if others else self.crowded,
            self.resumed if waiter[0] == "registration" else self.resumed.drop(waiter[1]),
            self.asleep,
            self.ahead,
        )

    def _without(self, waiter: _Waiter) -> OneWaiterPerDirection:
        channel = self.channels.get(waiter)
        if channel is None:
            return self
        left = tuple([other for other in self.waiters[channel] if other != waiter])
        return OneWaiterPerDirection(
            self.waiters.put(channel, left) if left else self.waiters.drop(channel),
            self.channels.drop(waiter),
            self.crowded if len(left) > 1 else self.crowded.drop(channel),
            self.resumed,
            self.asleep,
            self.ahead,
        )

    def _arms(self, channel: Channel, waiter: _Waiter) -> Progress:
        first = [other for other in self.waiters.get(channel, ()) if other[0] == "registration"]
        if not first:
            return self._with(channel, waiter)
        after = self._without(first[0])._with(channel, waiter)
        return _let_in(channel, first[0], waiter, after)

    def _steps(self, waiter: _Waiter) -> Progress:
        channel = self.channels.get(waiter)
        if channel is None:
            return self
        first = self.waiters[channel][0] == waiter
        after = self._without(waiter)
        if self.ahead is not None and self.ahead[1] == waiter:
            after = replace(after, ahead=None)
        if first:
            return after
        return replace(after, resumed=self.resumed.put(waiter[1], channel))

    def _ends(self, task: int, *, served: bool) -> Progress:
        channel = self.resumed[task]
        after = replace(self, resumed=self.resumed.drop(task))
        first = self.waiters.get(channel)
        if not served or first is None:
            return after
        return replace(after, ahead=(channel, first[0], ("task", task)))

    def _begins(self) -> Progress:
        after = replace(self, asleep=True) if self.crowded else self
        if self.ahead is None:
            return after
        channel, first, second = self.ahead
        after = replace(after, ahead=None)
        if first not in self.waiters.get(channel, ()):
            return after
        return _let_in(channel, first, second, after._without(first))

    def _closed(self, channels: tuple[Channel, ...]) -> OneWaiterPerDirection:
        gone = [waiter for channel in channels for waiter in self.waiters.get(channel, ())]
        return replace(
            self,
            waiters=self.waiters.drop_all(channels),
            channels=self.channels.drop_all(gone),
            crowded=self.crowded.drop_all(channels),
        )

    def _sleeps(self) -> Progress:
        channel = next(iter(self.crowded), None)
        if channel is None:
            return self
        first, second, *_ = self.waiters[channel]
        return _let_in(channel, first, second, self._without(first))


def _let_in(channel: Channel, first: _Waiter, second: _Waiter, after: OneWaiterPerDirection) -> Broken:
    stream, direction = channel
    return Broken(
        f"a second waiter to {direction} stream {stream} is refused: {first[0]} {first[1]} waits",
        f"{second[0]} {second[1]} was let in",
        after,
    )


@clause(
    "LOOP.CLOSE.SETTLES_WAITERS",
    Level.SHOULD,
    Kind.BOUND,
    Profile.LOOP,
    source="trio pull request 460; asyncio sock_recv after close",
    watches={Await: None, Step: None, Close: None, WaitBegin: None},
    also={WaitReturn: None, Suspend: None, End: None},
)
@value
class CloseSettlesWaiters:
    """Closing a resource settles its waiters with an error within one turn, and no later system call uses
    that number for them."""

    # "Within one turn": by the end of the turn after the close, or before the loop sleeps if that is earlier.
    # A wait that had its value before the close keeps it: ``stream`` had become ready in the same turn.
    # So an outcome is held against nobody, but only an error exercises the clause.

    waits: Map[int, int] = Map()
    owed: Map[int, int] = Map()  # task: the turn of the close
    settled: Map[int, None] = Map()  # resumed after a close, and not yet out of the operation
    waiting: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Step():
                return self._resumed(event.task)
            case Await():
                if event.reason not in ("read", "write"):
                    return self
                waits = self.waits.put(event.task, event.key)
                return CloseSettlesWaiters(waits, self.owed, self.settled, self.waiting)
            case End():
                settled = self.settled.drop(event.task)
                if settled is self.settled:
                    return self
                after = replace(self, settled=settled)
                return Kept(after) if event.outcome == "error" else after
            case Close(turn=turn, stream=stream):
                tasks = [task for task, awaited in self.waits.items() if awaited == stream]
                return replace(self, owed=self.owed.add(tasks, turn)) if tasks else self
            case WaitBegin(turn=turn):
                late = [task for task, closed in self.owed.items() if closed < turn]
                after = CloseSettlesWaiters(self.waits, self.owed, self.settled, True)
                return after._late(late) if late else after
            case WaitReturn():
                return CloseSettlesWaiters(self.waits, self.owed, self.settled, False)
            case Suspend(thread=thread) if thread == LOOP_THREAD and self.waiting and self.owed:
                return self._late(list(self.owed))
            case _:
                return self

    def _resumed(self, task: int) -> Progress:
        waits, owed = self.waits.drop(task), self.owed.drop(task)
        if owed is not self.owed:
            return CloseSettlesWaiters(waits, owed, self.settled.put(task, None), self.waiting)
        if waits is self.waits:
            return self
        return CloseSettlesWaiters(waits, self.owed, self.settled, self.waiting)

    def _late(self, tasks: list[int]) -> Progress:
        waited = ", ".join(f"task {task}" for task in tasks)
        stream = self.waits[tasks[0]]
        return Broken(
            f"those who wait for stream {stream} are resumed with an error within a turn of its close",
            f"{waited} waits on",
            replace(self, owed=self.owed.drop_all(tasks), waits=self.waits.drop_all(tasks)),
        )


# --- the peer goes ------------------------------------------------------------------------------------


@clause(
    "LOOP.HUP.NEVER_DISCARDS",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="epoll_ctl(2) EPOLLHUP, EPOLLERR",
    watches={Send: None, Leave: None, Read: None},
    also={
        Reset: None,
        Await: None,
        Step: None,
        CancelRequest: None,
        Close: None,
        Abandon: None,
        WaitBegin: None,
        WaitReturn: None,
        Suspend: None,
    },
)
@value
class HupNeverDiscards:
    """HUP, RDHUP and ERR wake both directions, and never discard unread data."""

    # A reset does discard, in the kernel; of a client that left in good order the server reads all. Which of
    # two that read at a time has some of it already is not told before they return. Waking shows in tasks:
    # once the client is gone, none that waits for it, to read or to write, sees the loop sleep.
    # (Registrations that a batch names are FAIR.READY.BOUNDED_WAIT's.)

    unread: Map[int, int] = Map()
    gone: Map[int, bool] = Map()  # stream: with unread data, which are owed
    waits: Map[int, Channel] = Map()
    waiters: Map[Channel, int] = Map()  # a second one replaces the first: that is LOOP.WAITER's, once
    waiting: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Step():
                channel = self.waits.get(event.task)
                return self if channel is None else self._resumed(event.task, channel)
            case Await():
                match event.reason:
                    case "read" | "write" as direction:
                        return self._waits((event.key, direction), event.task)
                    case _:
                        return self
            case Send():
                stream = event.stream
                unread = self.unread.put(stream, self.unread.get(stream, 0) + len(event.data))
                return HupNeverDiscards(unread, self.gone, self.waits, self.waiters, self.waiting)
            case Read():
                return self._read(event.stream, len(event.data))
            case WaitBegin():
                return replace(self, waiting=True) if self.gone else self
            case WaitReturn():
                return replace(self, waiting=False) if self.waiting else self
            case Suspend(thread=thread) if thread == LOOP_THREAD and self.waiting:
                return self._sleeps()
            case Leave(stream=stream):
                return replace(self, gone=self.gone.put(stream, stream in self.unread))
            case Reset(stream=stream):
                return replace(self, gone=self.gone.put(stream, False), unread=self.unread.drop(stream))
            case CancelRequest(task=task) if task in self.waits:
                # Whether a read that was cancelled has taken its bytes is CANCEL's question.
                return replace(self, unread=self.unread.drop(self.waits[task][0]))
            case Close(stream=stream) | Abandon(stream=stream):
                return self._closed(stream)
            case _:
                return self

    def _closed(self, stream: int) -> HupNeverDiscards:
        """Who waits for it now is LOOP.CLOSE's."""
        gone: tuple[Channel, ...] = ((stream, "read"), (stream, "write"))
        waits = self.waits.drop_all(self.waiters[channel] for channel in gone if channel in self.waiters)
        return HupNeverDiscards(
            self.unread.drop(stream), self.gone.drop(stream), waits, self.waiters.drop_all(gone), self.waiting
        )

    def _resumed(self, task: int, channel: Channel) -> Progress:
        waits, waiters = self.waits.drop(task), self.waiters.drop(channel)
        after = HupNeverDiscards(self.unread, self.gone, waits, waiters, self.waiting)
        return after if self.gone.get(channel[0]) is None else Kept(after)

    def _waits(self, channel: Channel, task: int) -> HupNeverDiscards:
        first = self.waiters.get(channel)
        waits = self.waits if first is None else self.waits.drop(first)
        waiters = self.waiters.put(channel, task)
        unread = self.unread
        if first is not None and first != task and channel[1] == "read":
            unread = unread.drop(channel[0])
        return HupNeverDiscards(unread, self.gone, waits.put(task, channel), waiters, self.waiting)

    def _read(self, stream: int, size: int) -> Progress:
        if size:
            left = self.unread.get(stream, 0) - size
            unread = self.unread.put(stream, left) if left > 0 else self.unread.drop(stream)
            return HupNeverDiscards(unread, self.gone, self.waits, self.waiters, self.waiting)
        if not self.gone.get(stream):
            return self
        after = replace(self, unread=self.unread.drop(stream), gone=self.gone.put(stream, False))
        lost = self.unread.get(stream)
        if not lost:
            return Kept(after)
        return Broken(
            f"all that client {stream} had sent before it left is read before the end of file",
            f"end of file with {lost} bytes unread",
            after,
        )

    def _sleeps(self) -> Progress:
        left = [task for task, (stream, _) in self.waits.items() if stream in self.gone]
        if not left:
            return self
        return Broken(
            f"the end of client {self.waits[left[0]][0]} wakes those who wait for its stream",
            f"the loop sleeps, and {', '.join(f'task {task}' for task in left)} waits on",
            replace(self, waits=self.waits.drop_all(left), waiters=Map()),
        )


@clause(
    "LOOP.RDHUP.ENDS_READING_ONLY",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="shutdown(2); mio pull request 933",
    watches={HalfClose: "stream", Receive: "stream"},
    also={
        Connect: "stream",
        Send: "stream",
        Write: "stream",
        Shut: "stream",
        StopReading: "stream",
        Close: "stream",
        Leave: "stream",
        Reset: "stream",
        Quiescent: "*",
    },
)
@value
class RdhupEndsReadingOnly:
    """A peer's half-close ends reading; writing goes on."""

    # Judged at the client, which has half-closed and goes on to read: an echo server owes it every byte it
    # has sent, any other what was written before it shut its end in good order. Said at the end of file, or
    # when nothing more happens.

    echo: bool = False
    half: bool = False
    shut: bool = False
    owed: int = 0

    def after(self, event: Event) -> Progress:
        match event:
            case Send():
                return self._owing(len(event.data)) if self.echo else self
            case Write():
                return self if self.echo else self._owing(len(event.data))
            case Receive() if event.data:
                after = self._owing(-len(event.data))
                return Kept(after) if self.half else after
            case Receive():
                if not self.half:
                    return self
                return self._ends("the stream has ended") if self.shut or self.echo else None
            case Connect(echo=echo):
                return self if echo is self.echo else replace(self, echo=echo)
            case HalfClose():
                return replace(self, half=True)
            case Shut():
                return replace(self, shut=True)
            case Quiescent():
                return self._ends("nothing more comes") if self.half and self.echo else self
            case Leave() | Reset() | StopReading():
                return RdhupEndsReadingOnly()
            case _:
                return self

    def _owing(self, more: int) -> RdhupEndsReadingOnly:
        return RdhupEndsReadingOnly(self.echo, self.half, self.shut, self.owed + more)

    def _ends(self, how: str) -> Progress:
        if self.owed <= 0:
            return None
        return Broken(
            "what the server owes its client arrives after the client's half-close",
            f"{how}, and {self.owed} bytes are missing",
            None,
        )


# --- the wait -----------------------------------------------------------------------------------------

POLLER_UNIT = 1_000_000
"""What a poller counts in, in nanoseconds (epoll_wait(2))."""

POLLER_MAXIMUM = (2**31 - 1) * POLLER_UNIT
"""The longest finite wait: the timeout of epoll_wait(2) is an ``int``."""

_ROUNDING = 2 * POLLER_UNIT
"""How far a wait may reach beyond the instant it is for. A loop that keeps seconds in floats rounds up to the
unit twice, once by itself and once in the call."""


@clause(
    "LOOP.WAIT.TIMEOUT",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="timeouts rounded down spin: asyncio issue 106; capped ones poll",
    watches={WaitBegin: None, WaitReturn: None, TimerArm: None, Worked: None},
    also={
        TimerCancel: None,
        TimerFire: None,
        Enqueue: None,
        Post: None,
        Run: None,
        Await: None,
        Step: None,
        Spawn: None,
        CancelRequest: None,
        ScopeEnter: None,
        ScopeCancel: None,
        ScopeExit: None,
        Connect: None,
        Signal: None,
        RpcCall: None,
        RpcSettle: None,
    },
)
@value
class WaitTimeout:
    """The wait's timeout is 0 iff something is ready to run; else it reaches to the earliest timer, rounded
    up to the poller's unit and capped only by the poller's maximum; with no timer it is infinite."""

    # What is ready: queued callbacks, tasks at a checkpoint or unstarted, timers that are due. A loop may
    # have steps of its own queued, of which a trace does not tell; it then polls with timeout 0, as
    # LOOP.IDLE.MEANS_IDLE allows it, and no more often than that. An echo server may have timers of its own.
    # A task whose cancellation has been asked for waits for no instant any more, and what becomes of
    # the timer of a scope between its cancellation and its end is the loop's business.

    agenda: Agenda = Agenda()
    sleepers: Map[int, int] = Map()
    scopes: Map[int, int | None] = Map()  # by scope: its deadline, None once it is cancelled
    calls: Map[int, int] = Map()  # by remote call: the instant after which it waits no longer
    queued: Map[int, None] = Map()
    tasks: Map[int, None] = Map()  # those that wait for their turn alone
    told_late: tuple[int, ...] = ()
    now: int = 0
    polls: int = 0
    known: bool = True

    def after(self, event: Event) -> Progress:
        match event:
            case Step():
                at, sleepers, tasks = event.at, self.sleepers.drop(event.task), self.tasks.drop(event.task)
                if at == self.now and not self.polls and tasks is self.tasks and sleepers is self.sleepers:
                    return self  # whatever it has waited for, it was ready when the loop polled
                return replace(self, sleepers=sleepers, tasks=tasks, now=at, polls=0)
            case Await():
                match event.reason:
                    case "checkpoint":
                        return replace(self, tasks=self.tasks.put(event.task, None))
                    case "sleep":
                        return replace(self, sleepers=self.sleepers.put(event.task, event.key))
                    case _:
                        return self
            case TimerArm():
                return replace(self, agenda=self.agenda.put(Due(event.deadline, event.timer, event.turn)))
            case Enqueue() | Post():
                if event.callback in self.told_late:
                    return self
                return self._queueing(self.queued.put(event.callback, None), self.told_late)
            case Run():
                queued = self.queued.drop(event.callback)
                if queued is not self.queued:
                    return self._queueing(queued, self.told_late)
                return self._queueing(queued, (*self.told_late[1 - _REMEMBERED :], event.callback))
            case TimerCancel(timer=timer) | TimerFire(timer=timer):
                return replace(self, agenda=self.agenda.drop(timer), polls=0)
            case WaitReturn(at=at, batch=batch):
                return replace(self, now=at, polls=0 if batch else self.polls)
            case WaitBegin(timeout=timeout) if self.known:
                return self._waits(timeout)
            case Spawn(task=task):
                return replace(self, tasks=self.tasks.put(task, None))
            case CancelRequest(task=task):
                return replace(self, sleepers=self.sleepers.drop(task), tasks=self.tasks.drop(task), polls=0)
            case Worked(at=at):
                return replace(self, now=at)
            case ScopeEnter(scope=scope, deadline=int(deadline)):
                return replace(self, scopes=self.scopes.put(scope, deadline))
            case ScopeCancel(scope=scope) if scope in self.scopes:
                return replace(self, scopes=self.scopes.put(scope, None))
            case ScopeExit(scope=scope):
                return replace(self, scopes=self.scopes.drop(scope))
            case Connect(echo=True):
                return replace(self, known=False)
            case Signal():
                return replace(self, polls=0)
            case RpcCall(call=call, thread=thread, at=at, timeout=int(patience)) if thread == LOOP_THREAD:
                return replace(self, calls=self.calls.put(call, at + patience))
            case RpcSettle(call=call):
                return replace(self, calls=self.calls.drop(call), polls=0)
            case _:
                return self

    def _queueing(self, queued: Map[int, None], told_late: tuple[int, ...]) -> WaitTimeout:
        return WaitTimeout(
            self.agenda,
            self.sleepers,
            self.scopes,
            self.calls,
            queued,
            self.tasks,
            told_late,
            self.now,
            0,
            self.known,
        )

    def _next(self) -> int | None:
        first = self.agenda.first
        deadlines = [deadline for deadline in self.scopes.values() if deadline is not None]
        instants = [*self.sleepers.values(), *deadlines, *self.calls.values()]
        if first is not None:
            instants.append(first.deadline)
        return min(instants) if instants else None

    def _waits(self, timeout: int | None) -> Progress:
        instant = self._next()
        ready = bool(self.queued or self.tasks) or (instant is not None and instant <= self.now)
        if timeout == 0:
            if ready:
                return Kept(replace(self, polls=0))
            if self.polls < HOPS:
                return replace(self, polls=self.polls + 1)
            return Broken(
                "a wait with a timeout: nothing is ready to run",
                f"{self.polls + 1} waits with timeout 0 in a row",
                replace(self, polls=0),
            )
        after = replace(self, polls=0)
        if ready:
            return Broken("a wait with timeout 0: something is ready to run", _for(timeout), after)
        if None in self.scopes.values():
            return after
        if instant is None:
            if timeout is None:
                return Kept(after)
            return Broken("a wait without end: no timer is armed", _for(timeout), after)
        least = min(instant - self.now, POLLER_MAXIMUM)
        if timeout is not None and least <= timeout < least + _ROUNDING:
            return Kept(after)
        return Broken(f"a wait for {least} ns, until the earliest timer", _for(timeout), after)


def _for(timeout: int | None) -> str:
    return "a wait without end" if timeout is None else f"a wait for {timeout} ns"


@clause(
    "LOOP.WAIT.EARLY_RETURN_MOVES_NOTHING",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="EINTR: PEP 475; timeouts clamped by the poller",
    watches={Interrupted: None, WaitBegin: None, WaitReturn: None},
    also={
        TimerArm: None,
        TimerCancel: None,
        TimerFire: None,
        Worked: None,
        Step: None,
        Run: None,
        Dispatch: None,
        RpcSettle: None,
    },
)
@value
class EarlyReturnMovesNothing:
    """A wait that returns early and empty moves no deadline."""

    # A deadline has moved forth if its timer fires before it, and back or away if the next wait, before which
    # nothing else has run, reaches to another instant than the interrupted one did.

    deadlines: Map[int, int] = Map()
    now: int = 0
    end: int | None = None  # the instant that the wait reaches to
    early: bool = False
    moved: bool = False  # whether anything ran since, which may change what the next wait is for

    def after(self, event: Event) -> Progress:
        match event:
            case Dispatch() | Step() | Run() | RpcSettle():
                return replace(self, moved=True) if self.early and not self.moved else self
            case WaitReturn():
                return replace(self, now=event.at, moved=bool(event.batch))
            case WaitBegin():
                return self._waits(event.timeout)
            case Interrupted():
                return replace(self, early=True)
            case TimerArm():
                return self._moved(self.deadlines.put(event.timer, event.deadline))
            case TimerCancel(timer=timer):
                return self._moved(self.deadlines.drop(timer))
            case TimerFire(timer=timer, at=at):
                return self._fires(timer, at)
            case Worked(at=at):
                return replace(self, now=at, moved=True)
            case _:
                return self

    def _moved(self, deadlines: Map[int, int]) -> EarlyReturnMovesNothing:
        return EarlyReturnMovesNothing(deadlines, self.now, self.end, self.early, moved=True)

    def _waits(self, timeout: int | None) -> Progress:
        end = None if timeout is None else self.now + timeout
        after = replace(self, end=end, early=False, moved=False)
        if not self.early or self.moved or timeout == 0:
            return after
        if self.end == end or (self.end is not None and end is not None and abs(self.end - end) < _ROUNDING):
            return Kept(after)
        return Broken(
            f"after an early return a wait that reaches to {_instant(self.end)}, as that one did",
            f"it reaches to {_instant(end)}",
            after,
        )

    def _fires(self, timer: int, at: int) -> Progress:
        deadline = self.deadlines.get(timer)
        after = self._moved(self.deadlines.drop(timer))
        if not self.early or deadline is None or deadline <= at:
            return after
        return Broken(
            f"timer {timer} fires no earlier than its deadline, {deadline} ns, although a wait was cut short",
            f"it fired at {at} ns",
            after,
        )


def _instant(end: int | None) -> str:
    return "no instant" if end is None else f"{end} ns"


# --- clean-up that comes late -------------------------------------------------------------------------


@clause(
    "LOOP.DISARM.BY_REGISTRATION",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="late clean-up: a number reused before its old owner lets go",
    watches={StaleDisarm: None, Arm: None, Disarm: None, Dispatch: None, WaitBegin: None},
    also={
        Send: None,
        Read: None,
        Close: None,
        Abandon: None,
        WaitReturn: None,
        Suspend: None,
        HalfClose: None,
        Leave: None,
        Reset: None,
    },
)
@value
class DisarmByRegistration:
    """Disarm names a registration, not a number: a stale one is refused or ignored, and never hits its
    successor."""

    # The successor, a registration of the same number that was live at the stale disarm, is hit if its client
    # sends and the loop sleeps on it.

    table: Table = Map()
    successors: Map[int, tuple[int, bool]] = Map()  # by stream: the registration, and whether bytes wait
    waiting: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Send() | Read():
                successor = self.successors.get(event.stream)
                return self if successor is None else self._stirred(event, successor[0])
            case Dispatch(registration=registration):
                left = self._without(registration)
                return self if left is self.successors else Kept(replace(self, successors=left))
            case Arm():
                return DisarmByRegistration(armed(self.table, event), self.successors, self.waiting)
            case Disarm(registration=registration):
                table = disarmed(self.table, event)
                return DisarmByRegistration(table, self._without(registration), self.waiting)
            case Close(fd=fd, stream=stream) | Abandon(fd=fd, stream=stream):
                return replace(self, table=self.table.drop(fd), successors=self.successors.drop(stream))
            case StaleDisarm(registration=stale, fd=fd):
                successors = self.successors
                for entry in self.table.get(fd, ()):
                    if entry.direction == "read" and entry.registration != stale:
                        successors = successors.put(entry.stream, (entry.registration, False))
                return self if successors is self.successors else replace(self, successors=successors)
            case WaitBegin():
                return replace(self, waiting=True) if self.successors else self
            case WaitReturn():
                return replace(self, waiting=False) if self.waiting else self
            case Suspend(thread=thread) if thread == LOOP_THREAD and self.waiting:
                return self._sleeps()
            case _:
                return self

    def _stirred(self, event: Send | Read, registration: int) -> DisarmByRegistration:
        successor = (registration, isinstance(event, Send))
        return replace(self, successors=self.successors.put(event.stream, successor))

    def _without(self, ended: int) -> Map[int, tuple[int, bool]]:
        if not self.successors:
            return self.successors
        gone = [stream for stream, (registration, _) in self.successors.items() if registration == ended]
        return self.successors.drop_all(gone)

    def _sleeps(self) -> Progress:
        for stream, (registration, sent) in self.successors.items():
            if sent:
                return Broken(
                    f"registration {registration} is untouched by the stale disarm of another",
                    f"its client {stream} has sent since, and the loop sleeps",
                    replace(self, successors=self.successors.drop(stream)),
                )
        return self


@clause(
    "LOOP.HUP.HAS_A_CONSUMER",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="mask 0 spins: epoll_ctl(2) EPOLLHUP; libuv issue 1148",
    watches={WaitReturn: None, Arm: None, Disarm: None},
    also={Dispatch: None, Await: None, Close: None, Abandon: None, Step: None, Refuse: None},
)
@value
class HupHasAConsumer:
    """An event that nobody consumes changes the interest set."""

    # Nobody: no registration is armed for the number, and no task is resumed in the turns that report it. A
    # loop may take a few turns to let go of what it had asked for on behalf of a task (see HOPS).

    table: Table = Map()
    reported: Map[int, int] = Map()  # by number: how often in a row, with nobody there

    def after(self, event: Event) -> Progress:
        match event:
            case Step() | Await():
                return replace(self, reported=Map()) if self.reported else self
            case Dispatch() | Refuse():
                reported = self.reported.drop(event.fd)
                return self if reported is self.reported else HupHasAConsumer(self.table, reported)
            case WaitReturn(batch=batch):
                return self._returned(batch)
            case Arm(fd=fd):
                return HupHasAConsumer(armed(self.table, event), self.reported.drop(fd))
            case Disarm():
                return HupHasAConsumer(disarmed(self.table, event), self.reported)
            case Close(fd=fd) | Abandon(fd=fd):
                return HupHasAConsumer(self.table.drop(fd), self.reported.drop(fd))
            case _:
                return self

    def _returned(self, batch: tuple[tuple[int, int], ...]) -> Progress:
        alone = [fd for fd, _ in batch if self.table.get(fd) is None]
        if not alone and not self.reported:
            return self
        ceased = any(fd not in alone for fd in self.reported)
        reported = Map({fd: self.reported.get(fd, 0) + 1 for fd in alone})
        spinning = [fd for fd, times in reported.items() if times > HOPS]
        if not spinning:
            after = replace(self, reported=reported)
            return Kept(after) if ceased else after
        return Broken(
            f"descriptor {spinning[0]}, whose events nobody consumes, leaves the interest set",
            f"{HOPS + 1} waits in a row have reported it",
            replace(self, reported=reported.drop_all(spinning)),
        )


GHOSTLY = 2
"""How often a descriptor that was closed behind the loop's back may be reported: the report that tells
its waiter, and one that is spurious."""


@clause(
    "LOOP.CLOSE.BEHIND_THE_BACK",
    Level.SHOULD,
    Kind.BOUND,
    Profile.LOOP,
    source="dup and close: epoll(7) Q6",
    watches={Abandon: "fd", WaitReturn: _numbers},
    also={Arm: "fd", Refuse: "fd", Quiescent: EVERY},
    opens={Abandon},
)
@value
class CloseBehindTheBack:
    """A descriptor closed behind the loop's back costs at most one spurious wake-up, and never a busy
    loop."""

    # Written for one number, until it is used again. A report that tells a waiter is not spurious, once.

    reports: int = -1

    def after(self, event: Event) -> Progress:
        match event:
            case Abandon():
                return CloseBehindTheBack(0)
            case WaitReturn() if self.reports >= 0:
                if self.reports < GHOSTLY:
                    return CloseBehindTheBack(self.reports + 1)
                return Broken(
                    f"at most {GHOSTLY} reports of a descriptor that has been closed",
                    f"turn {event.turn} brings another",
                    None,
                )
            case Quiescent() if self.reports > 0:
                return Kept(None)
            case _:
                return None


@clause(
    "LOOP.DISPATCH.EVENT_IS_A_HINT",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="epoll(7), spurious readiness; select(2) BUGS",
    watches={Snatch: "stream", Send: "stream", Read: "stream", WaitBegin: EVERY},
    also={
        Refuse: "stream",
        Disarm: EVERY,
        CancelRequest: EVERY,
        Close: "stream",
        Abandon: "stream",
        HalfClose: "stream",
        Leave: "stream",
        Reset: "stream",
        WaitReturn: EVERY,
        Suspend: EVERY,
    },
    opens={Snatch},
)
@value
class EventIsAHint:
    """EAGAIN after a dispatch is no error and keeps the wait alive."""

    # Written for one stream, from the moment when another reader has taken what the wait had found there.
    # That the wait is alive shows when the client sends again: the loop does not sleep before it is read. A
    # second task may be refused, for being the second.

    task: int | None = None
    hinted: bool = False
    unread: bool = False
    waiting: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Snatch(task=task):
                return EventIsAHint(task, hinted=True)
            case _ if not self.hinted:
                return None
            case Send():
                return EventIsAHint(self.task, True, True, self.waiting)
            case Read():
                return Kept(None) if self.unread else self
            case Refuse(task=task) if task is None or task != self.task:
                return self
            case Refuse(stream=stream, error=error):
                return Broken(
                    f"the wait for stream {stream} goes on: what was found there has been taken by another",
                    f"it ended with {error}",
                    None,
                )
            case WaitBegin():
                return EventIsAHint(self.task, True, self.unread, True)
            case WaitReturn():
                return EventIsAHint(self.task, True, self.unread, False)
            case Suspend(thread=thread):
                if thread != LOOP_THREAD or not self.waiting or not self.unread:
                    return self
                return Broken(
                    "the wait is alive, and is served when more comes",
                    "the client has sent, and the loop sleeps",
                    None,
                )
            case _:
                return None


# --- whose the loop is --------------------------------------------------------------------------------


@clause(
    "LOOP.FORK.REFUSED",
    Level.SHOULD,
    Kind.INV,
    Profile.LOOP,
    source="epoll(7) Q6: a child shares the interest set; CPython issue 66197",
    watches={Fork: None},
)
@value
class ForkRefused:
    """A forked child that touches the inherited loop gets an error, and the parent's interest set is
    unchanged."""

    def after(self, event: Event) -> Progress:
        match event:
            case Fork(refused=True, unchanged=True):
                return Kept(self)
            case Fork(refused=refused):
                observed = "the interest set has changed" if refused else "a call was let in"
                return Broken("the calls of a forked child raise and change nothing", observed, self)
            case _:
                return self


@clause(
    "LOOP.THREAD.OWNED",
    Level.SHOULD,
    Kind.INV,
    Profile.LOOP,
    source="muduo EventLoop::assertInLoopThread",
    watches={Trespass: None},
)
@value
class ThreadOwned:
    """Only the thread-safe post may be called from another thread; any other call from there is refused."""

    def after(self, event: Event) -> Progress:
        match event:
            case Trespass(refused=True):
                return Kept(self)
            case Trespass(name=name, thread=thread):
                return Broken(
                    f"{name} raises in a thread that is not the loop's", f"{thread} was let in", self
                )
            case _:
                return self

"""FAIR: no handler starves, no client drowns another.

Starvation is liveness made finite: what is ready has run after so many turns, or after so many dispatches of
others. So each rule is a countdown, and a starved handler is always a finite trace. What is ready, and since
when, is :mod:`loopspec.ready`'s to say; timers are not counted here, since TIMER.FIRE.NEVER_EARLY holds
each to the very turn that finds it due.
"""

from __future__ import annotations

from loopspec import server
from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import Map, replace, value
from loopspec.judge import Broken, Kept, Progress
from loopspec.loop import LOOP_THREAD
from loopspec.ready import Agenda, Armed, Due, Table, Thing, Waiting, armed, disarmed, named
from loopspec.trace import (
    Abandon,
    Accept,
    Arm,
    AtRest,
    Await,
    CancelRequest,
    Close,
    Connect,
    Disarm,
    Dispatch,
    Done,
    Enqueue,
    Event,
    Exhausted,
    HalfClose,
    Leave,
    Post,
    Quiescent,
    Read,
    Receive,
    Reset,
    Run,
    Send,
    Spawn,
    Step,
    StopReading,
    Suspend,
    TimerArm,
    TimerCancel,
    TimerFire,
    WaitBegin,
    WaitReturn,
)

# --- handlers -----------------------------------------------------------------------------------------

_FRESH = 1 << 62
"""The bound of what became ready after the last wait returned: it gets one when the next wait returns."""


@clause(
    "FAIR.READY.BOUNDED_WAIT",
    Level.MUST,
    Kind.BOUND,
    Profile.LOOP,
    source="epoll(7), starvation; epoll_wait(2) NOTES",
    watches={WaitBegin: None, WaitReturn: None},
    also={
        Arm: None,
        Disarm: None,
        Close: None,
        Abandon: None,
        Dispatch: None,
        Enqueue: None,
        Post: None,
        Run: None,
        Spawn: None,
        Step: None,
        Await: None,
        Done: None,
        CancelRequest: None,
        Send: None,
        HalfClose: None,
        Leave: None,
        Reset: None,
        Read: None,
    },
)
@value
class BoundedWait:
    """What is ready at the start of turn k has run by the end of turn k + ⌈ready/maxevents⌉."""

    # The premise is contention: two things at least are ready at the start of a turn.

    waiting: Waiting = Waiting()
    contended: bool = False

    def after(self, event: Event) -> Progress:
        if type(event) is WaitBegin:
            return self._turn_ends(event.turn)
        waiting = self.waiting.after(event, _FRESH)
        if type(event) is WaitReturn:
            return self._turn_begins(waiting, event)
        return self if waiting is self.waiting else BoundedWait(waiting, self.contended)

    def _turn_begins(self, waiting: Waiting, event: WaitReturn) -> BoundedWait:
        count = len(waiting.ready)
        if not count:
            return BoundedWait(waiting)
        last = event.turn - count // -max(1, event.maxevents)
        return BoundedWait(_bounded(waiting, last), count > 1)

    def _turn_ends(self, turn: int) -> Progress:
        ready = self.waiting.ready
        if ready and min(ready.values()) <= turn:
            return self._starved(turn)
        return Kept(BoundedWait(self.waiting)) if self.contended else self

    def _starved(self, turn: int) -> Progress:
        starved = [thing for thing, bound in self.waiting.ready.items() if bound <= turn]
        left = self.waiting.but(self.waiting.ready.drop_all(starved))
        return Broken(
            f"{_names(starved)}, ready, has run by the end of turn {turn}",
            "the turn ended without it",
            BoundedWait(left),
        )


def _bounded(waiting: Waiting, bound: int) -> Waiting:
    """Everything that has no bound yet gets ``bound``."""
    bounds = {thing: bound if old == _FRESH else old for thing, old in waiting.ready.items()}
    return waiting.but(Map(bounds))


def _names(things: list[Thing]) -> str:
    return ", ".join(f"{kind} {number}" for kind, number in things)


_BYPASS = 2
"""How often another handler may be dispatched while one waits: once because it was before it in the batch,
and once because it was ready again before its turn came."""


@clause(
    "FAIR.READY.BOUNDED_BYPASS",
    Level.MUST,
    Kind.BOUND,
    Profile.LOOP,
    source="epoll(7), starvation; systemd issue 13236",
    watches={Arm: None, Dispatch: None, WaitReturn: None},
    also={
        Disarm: None,
        Close: None,
        Abandon: None,
        Send: None,
        HalfClose: None,
        Leave: None,
        Reset: None,
        Read: None,
    },
)
@value
class BoundedBypass:
    """While a handler is ready and waits its turn, no other handler is dispatched more than twice."""

    # Who becomes ready is stamped with how many dispatches there had been. Of each registration that was
    # dispatched while somebody waited, ``runs`` holds the latest dispatches: the third of one, all after the
    # stamp of another, is one too many.

    waiting: Waiting = Waiting()
    dispatches: int = 0
    runs: Map[int, tuple[int, ...]] = Map()

    def after(self, event: Event) -> Progress:
        if isinstance(event, Dispatch):
            return self._dispatched(event)
        waiting = self.waiting.after(event, self.dispatches)
        return self if waiting is self.waiting else BoundedBypass(waiting, self.dispatches, self.runs)

    def _dispatched(self, event: Dispatch) -> Progress:
        dispatched: Thing = ("registration", event.registration)
        now = self.dispatches + 1
        waited = self.waiting.ready.get(dispatched, now) < self.dispatches
        waiting = self.waiting.after(event, now)
        if not waiting.ready:
            after = BoundedBypass(waiting)
            return Kept(after) if waited else after
        runs = (*self.runs.get(event.registration, ())[-_BYPASS:], now)
        after = BoundedBypass(waiting, now, self.runs.put(event.registration, runs))
        if len(runs) > _BYPASS:
            starved = [thing for thing, since in waiting.ready.items() if since < runs[0]]
            if starved:
                return after._starved(starved, event.registration)
        return Kept(after) if waited else after

    def _starved(self, starved: list[Thing], registration: int) -> Progress:
        left = self.waiting.but(self.waiting.ready.drop_all(starved))
        return Broken(
            f"{_names(starved)}, ready, is dispatched before another is for the third time",
            f"registration {registration} was dispatched three times meanwhile",
            replace(self, waiting=left),
        )


# --- tasks --------------------------------------------------------------------------------------------

_FOLLOWED = 8
"""How many tasks that are always ready are followed at a time. Every pair of them is compared, so the rule
would be quadratic in all; and a scheduler that favours one of hundreds favours one of eight."""


@value
class _Runner:
    """A task that has been ready ever since it was first followed, and its steps since then.

    ``ahead`` holds, for each runner that was followed before it, how many steps that one had then.
    """

    steps: int
    ahead: Map[int, int]


@clause(
    "FAIR.TASKS.STEPS_DIFFER_BY_ONE",
    Level.MUST,
    Kind.BOUND,
    Profile.ASYNC,
    source="tokio pull request 5223; smol issue 159",
    watches={Spawn: None, Step: None, Await: None, Done: None},
)
@value
class StepsDifferByOne:
    """The steps of two tasks that are always ready differ by at most one, at every point."""

    # Counted for each pair from the moment since which both are ready: at a checkpoint, or not yet started.

    runners: Map[int, _Runner] = Map()

    def after(self, event: Event) -> Progress:
        match event:
            case Step():
                return self._steps(event.task) if self.runners.get(event.task) else self
            case Await() if event.reason != "checkpoint":
                return self._without(event.task) if event.task in self.runners else self
            case Await() | Spawn():
                return self._follows(event.task)
            case Done(task=task):
                return self._without(task) if task in self.runners else self
            case _:
                return self

    def _follows(self, task: int) -> StepsDifferByOne:
        if task in self.runners or len(self.runners) >= _FOLLOWED:
            return self
        ahead = Map({other: runner.steps for other, runner in self.runners.items()})
        return StepsDifferByOne(self.runners.put(task, _Runner(0, ahead)))

    def _without(self, task: int) -> StepsDifferByOne:
        left = {
            other: _Runner(runner.steps, runner.ahead.drop(task))
            for other, runner in self.runners.items()
            if other != task
        }
        return StepsDifferByOne(Map(left))

    def _steps(self, task: int) -> Progress:
        runner = self.runners[task]
        stepped = _Runner(runner.steps + 1, runner.ahead)
        after = StepsDifferByOne(self.runners.put(task, stepped))
        if len(self.runners) == 1:
            return after
        for other, its in self.runners.items():
            if other != task and _lead(task, stepped, other, its) > 1:
                return Broken(
                    f"task {other}, ready as long as task {task}, is at most one step behind it",
                    f"task {task} was resumed and is two steps ahead",
                    after._without(other),
                )
        return Kept(after)


def _lead(task: int, runner: _Runner, other: int, its: _Runner) -> int:
    """How many steps ``task`` is ahead of ``other`` since both are followed."""
    return (runner.steps - its.ahead.get(task, 0)) - (its.steps - runner.ahead.get(other, 0))


# --- phases -------------------------------------------------------------------------------------------


@clause(
    "FAIR.PHASES.NONE_STARVES",
    Level.MUST,
    Kind.BOUND,
    Profile.LOOP,
    source="libuv issue 154; curio issue 112; Node pull request 4936; eio sched.ml",
    watches={WaitBegin: None, WaitReturn: None, Dispatch: None, TimerFire: None, Run: None},
    also={
        Arm: None,
        Disarm: None,
        Close: None,
        Abandon: None,
        TimerArm: None,
        TimerCancel: None,
        Enqueue: None,
        Post: None,
    },
)
@value
class NoneStarves:
    """I/O, timers and callbacks each get their phase in every turn, whatever the load of the others."""

    # A phase is owed in a turn if it had work when the wait returned, and was given if one piece of that
    # work ran. The premise is that two phases are owed. A post may come while the loop is between two
    # looks at its queue, and is owed a turn later: ``queued`` holds the turn after which each is owed.

    table: Table = Map()
    agenda: Agenda = Agenda()
    queued: Map[int, int] = Map()
    told_late: tuple[int, ...] = ()
    batch: tuple[tuple[int, int], ...] = ()
    now: int = -1
    io: bool = False  # had in this turn
    timers: bool = False
    callbacks: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Dispatch():
                return self if self.io else replace(self, io=True)
            case Run():
                return self._ran(event.callback)
            case TimerArm():
                due = Due(max(event.at + event.delay, event.deadline), event.timer, event.turn)
                return self._with(self.table, self.agenda.put(due), self.queued)
            case Enqueue():
                return self._queue(event.callback, event.turn)
            case Post():
                return self._queue(event.callback, event.turn + 1)
            case TimerFire(timer=timer):
                return replace(self, agenda=self.agenda.drop(timer), timers=True)
            case TimerCancel():
                return self._with(self.table, self.agenda.drop(event.timer), self.queued)
            case Arm():
                return self._with(armed(self.table, event), self.agenda, self.queued)
            case Disarm():
                return self._with(disarmed(self.table, event), self.agenda, self.queued)
            case Close(fd=fd) | Abandon(fd=fd):
                return self._with(self.table.drop(fd), self.agenda, self.queued)
            case WaitReturn(at=at, batch=batch):
                return NoneStarves(self.table, self.agenda, self.queued, self.told_late, batch, at)
            case WaitBegin(turn=turn):
                return self._turn_ends(turn)
            case _:
                return self

    def _with(self, table: Table, agenda: Agenda, queued: Map[int, int]) -> NoneStarves:
        told = self.told_late
        return NoneStarves(
            table, agenda, queued, told, self.batch, self.now, self.io, self.timers, self.callbacks
        )

    def _queue(self, callback: int, turn: int) -> Progress:
        if callback in self.told_late:
            return self
        return self._with(self.table, self.agenda, self.queued.put(callback, turn))

    def _ran(self, callback: int) -> Progress:
        queued = self.queued.drop(callback)
        told = self.told_late if queued is not self.queued else (*self.told_late[-63:], callback)
        return NoneStarves(
            self.table, self.agenda, queued, told, self.batch, self.now, self.io, self.timers, callbacks=True
        )

    def _turn_ends(self, turn: int) -> Progress:
        if self.io and self.timers and self.callbacks:
            return Kept(self)
        due = self.agenda.first
        starved = {
            "I/O": not self.io and self._io_owed(turn),
            "timers": not self.timers and due is not None and due.deadline <= self.now and due.armed < turn,
            "callbacks": not self.callbacks and any(queued < turn for queued in self.queued.values()),
        }
        phases = [phase for phase, owed in starved.items() if owed]
        if not phases:
            return Kept(self) if self.io + self.timers + self.callbacks > 1 else self
        return Broken(
            f"a phase of {', '.join(phases)} in turn {turn}: there was work when its wait returned",
            "the turn ended without it",
            self._with(self.table.drop_all(fd for fd, _ in self.batch), Agenda(), Map()),
        )

    def _io_owed(self, turn: int) -> bool:
        entries: list[Armed] = named(self.table, self.batch)
        return any(entry.born < turn for entry in entries)


# --- clients ------------------------------------------------------------------------------------------


@clause(
    "FAIR.SILENT_CLIENT.DELAYS_NOBODY",
    Level.MUST,
    Kind.INV,
    Profile.SERVER,
    source="recv(fd1), recv(fd2), …",
    watches={Connect: None, Send: None, Receive: None},
    also={
        HalfClose: None,
        Leave: None,
        Reset: None,
        StopReading: None,
        WaitBegin: None,
        WaitReturn: None,
        Suspend: None,
        Quiescent: None,
        Exhausted: None,
    },
)
@value
class SilentClientDelaysNobody:
    """A client that connects and says nothing delays no other client."""

    # Seen from the clients of an echo server: when it sleeps, or nothing more happens, everyone who reads has
    # got back what it sent. Held against the clause only while there is a silent client. Of a server that has
    # been out of descriptors LOOP.ACCEPT.OUT_OF_DESCRIPTORS tells: whom it has not accepted it cannot serve.

    silent: Map[int, None] = Map()
    owed: Map[int, int] = Map()  # by client that echoes and reads: bytes on their way back
    waiting: bool = False
    short: bool = False  # of descriptors, once

    def after(self, event: Event) -> Progress:
        match event:
            case Send():
                return self._sends(event.stream, len(event.data))
            case Receive():
                return self._receives(event.stream, len(event.data))
            case WaitBegin():
                return replace(self, waiting=True) if self.silent else self
            case WaitReturn():
                return replace(self, waiting=False) if self.waiting else self
            case Suspend(thread=thread) if thread == LOOP_THREAD and self.waiting and self.silent:
                return self._rests("the server sleeps")
            case Quiescent() if self.silent:
                return self._rests("nothing more happens")
            case Exhausted():
                return SilentClientDelaysNobody(short=True)
            case Connect(stream=stream, echo=True) if not self.short:
                return replace(self, silent=self.silent.put(stream, None), owed=self.owed.put(stream, 0))
            case HalfClose(stream=stream):
                return replace(self, silent=self.silent.drop(stream))
            case Leave(stream=stream) | Reset(stream=stream) | StopReading(stream=stream):
                return replace(self, silent=self.silent.drop(stream), owed=self.owed.drop(stream))
            case _:
                return self

    def _sends(self, stream: int, size: int) -> Progress:
        if stream not in self.owed:
            return self
        owed = self.owed.put(stream, self.owed[stream] + size)
        return SilentClientDelaysNobody(self.silent.drop(stream), owed, self.waiting)

    def _receives(self, stream: int, size: int) -> Progress:
        if stream not in self.owed or not size:
            return self
        left = self.owed[stream] - size
        after = replace(self, owed=self.owed.put(stream, left))
        return Kept(after) if self.silent and left <= 0 else after

    def _rests(self, how: str) -> Progress:
        delayed = {stream: owed for stream, owed in self.owed.items() if owed > 0}
        if not delayed:
            return self
        clients = ", ".join(f"client {stream} of {owed} bytes" for stream, owed in delayed.items())
        silent = ", ".join(str(stream) for stream in self.silent)
        return Broken(
            f"what clients have sent comes back although client {silent} is silent",
            f"{how}, and owes {clients}",
            replace(self, owed=self.owed.drop_all(delayed)),
        )


@clause(
    "FAIR.SLOW_READER.DELAYS_NOBODY",
    Level.MUST,
    Kind.INV,
    Profile.SERVER,
    source="",
    watches=server.WATCHES,
    also=server.ALSO,
    opens=server.OPENS,
)
class SlowReaderDelaysNobody(server.ServerRule):
    """A client that does not read delays no other client."""

    # Held against those architectures that promise it; a sequential server waits for whoever is first.

    binds = server.STARVE_NOBODY | {server.EVENT_LOOP}

    def broken(self, rest: AtRest) -> tuple[str, str] | None:  # noqa: ARG002
        return self.delayed() if self._slow() and not self.may_starve() else None

    def exercised(self) -> bool:
        return self.world.answered > self.answered and self._slow()

    def _slow(self) -> bool:
        """Whether somebody who does not read has asked for something."""
        return any(client.asked and not client.reading for _, client in self.world.here())


# --- one turn of one client -----------------------------------------------------------------------------

MOST_BYTES = 262_144
"""B, how many bytes of one client a turn moves at most: what asyncio takes in one receive, the most among the
loops that take a fixed amount (trio, curio, refloop: 65,536; libuv takes that up to 32 times)."""

MOST_ACCEPTS = 100
"""A, how many connections a turn accepts at most: as many as asyncio does with its own backlog. Others take
one (trio, nginx), ten (Redis), or sixteen (refloop)."""


@clause(
    "FAIR.DISPATCH.CAPPED",
    Level.SHOULD,
    Kind.BOUND,
    Profile.LOOP,
    source="nginx sendfile_max_chunk; Redis NET_MAX_WRITES_PER_EVENT; CPython issue 72093",
    watches={Connect: None, Receive: None, WaitReturn: None},
    also={Accept: None, Send: None},
)
@value
class Capped:
    """One dispatch moves at most B bytes, or accepts at most A connections, before others run."""

    # Seen from the clients of an echo server, to whom comes back between two waits what a dispatch moved.
    # The premise is that a turn left something undone: a client that has more to get back, or a connection
    # that waits on.

    owed: Map[int, int] = Map()
    moved: Map[int, int] = Map()  # in this turn
    accepted: int = 0  # in this turn
    pending: int = 0
    said: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Send():
                owed = self.owed.get(event.stream)
                if owed is None:
                    return self
                return replace(self, owed=self.owed.put(event.stream, owed + len(event.data)))
            case Receive():
                owed = self.owed.get(event.stream)
                return self if owed is None or not event.data else self._moves(event.stream, len(event.data))
            case Connect(stream=stream, echo=True):
                return replace(self, owed=self.owed.put(stream, 0), pending=self.pending + 1)
            case Accept(turn=turn, error=None):
                return self._accepts(turn)
            case WaitReturn():
                return self._turns()
            case _:
                return self

    def _turns(self) -> Progress:
        if not self.moved and not self.accepted:
            return self
        left = [stream for stream in self.moved if self.owed[stream] > 0]
        after = Capped(self.owed, pending=self.pending)
        return Kept(after) if left or (self.accepted and self.pending > 0) else after

    def _moves(self, stream: int, size: int) -> Progress:
        moved = self.moved.get(stream, 0) + size
        owed = self.owed.put(stream, self.owed[stream] - size)
        after = replace(self, owed=owed, moved=self.moved.put(stream, moved))
        if moved <= MOST_BYTES or self.said:
            return after
        return Broken(
            f"at most {MOST_BYTES:,} bytes of client {stream} in one turn",
            f"{moved:,} came back",
            replace(after, said=True),
        )

    def _accepts(self, turn: int) -> Progress:
        after = replace(self, accepted=self.accepted + 1, pending=self.pending - 1)
        if after.accepted <= MOST_ACCEPTS or self.said:
            return after
        return Broken(
            f"at most {MOST_ACCEPTS} connections are accepted in turn {turn}",
            f"{after.accepted} were",
            replace(after, said=True),
        )

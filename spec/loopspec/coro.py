"""CORO: tasks, as their coroutines see themselves driven.

Whoever drives a coroutine is judged by what the coroutine can tell: when it was resumed, what it waited for,
how it ended. The life cycle is a total table, :data:`LIFE`, and everything a task may go through is in it;
the other rules say what the table cannot, who else runs meanwhile, and whether a resumption had a cause.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TypeAlias

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import Map, replace, value
from loopspec.judge import Broken, Kept, Progress
from loopspec.trace import (
    Abandon,
    Alone,
    Arm,
    Await,
    Begin,
    CancelRequest,
    Close,
    Collect,
    Connect,
    Deadlock,
    Disarm,
    Dispatch,
    Done,
    End,
    Event,
    GroupEnter,
    GroupExit,
    GroupLeave,
    GroupStart,
    HalfClose,
    JobEnd,
    JobStart,
    Joined,
    Leave,
    Objects,
    Outcome,
    Quiescent,
    Read,
    Reason,
    Rehearsal,
    Reset,
    Run,
    ScopeCancel,
    Send,
    Settle,
    Shown,
    Spawn,
    Step,
    Submit,
    Suspend,
    Threads,
    TimerArm,
    TimerCancel,
    TimerFire,
    Vanish,
    WaitBegin,
    WaitReturn,
)

# --- the life of a task -------------------------------------------------------------------------------


class State(Enum):
    """Where a task is in its life."""

    __hash__ = object.__hash__  # Enum's own asks the name for its own, in Python, at every step of every task

    ABSENT = "absent"  #: there is no such task yet
    NEW = "new"  #: spawned, and has not run
    READY = "ready"  #: suspended at a checkpoint: waits for nothing but its turn
    RUNNING = "running"
    WAITING = "waiting"  #: suspended, for a reason
    DONE = "done"


class Happening(Enum):
    """What can happen to a task."""

    __hash__ = object.__hash__

    SPAWN = "spawn"
    STEP = "step"  #: it is resumed, or started
    YIELD = "yield"  #: it suspends itself at a checkpoint
    WAIT = "wait"  #: it suspends itself for a reason
    CANCEL = "cancel"  #: somebody asks for it to be cancelled
    END = "end"


class Refusal(NamedTuple):
    """Why a happening is impossible in a state."""

    why: str


_UNBORN = Refusal("there is no such task")
_BORN = Refusal("the task exists already")
_RUNS = Refusal("the task runs already")
_SUSPENDED = Refusal("a suspended task does nothing until it is resumed")
_UNSTARTED = Refusal("the task has not been started")
_OVER = Refusal("the task has ended")

LIFE: dict[tuple[State, Happening], State | Refusal] = {
    (State.ABSENT, Happening.SPAWN): State.NEW,
    (State.ABSENT, Happening.STEP): _UNBORN,
    (State.ABSENT, Happening.YIELD): _UNBORN,
    (State.ABSENT, Happening.WAIT): _UNBORN,
    (State.ABSENT, Happening.CANCEL): _UNBORN,
    (State.ABSENT, Happening.END): _UNBORN,
    (State.NEW, Happening.SPAWN): _BORN,
    (State.NEW, Happening.STEP): State.RUNNING,
    (State.NEW, Happening.YIELD): _UNSTARTED,
    (State.NEW, Happening.WAIT): _UNSTARTED,
    (State.NEW, Happening.CANCEL): State.NEW,
    # A task that is cancelled before its first step may end without one: its coroutine is closed unrun.
    (State.NEW, Happening.END): State.DONE,
    (State.READY, Happening.SPAWN): _BORN,
    (State.READY, Happening.STEP): State.RUNNING,
    (State.READY, Happening.YIELD): _SUSPENDED,
    (State.READY, Happening.WAIT): _SUSPENDED,
    (State.READY, Happening.CANCEL): State.READY,
    (State.READY, Happening.END): _SUSPENDED,
    (State.RUNNING, Happening.SPAWN): _BORN,
    (State.RUNNING, Happening.STEP): _RUNS,
    (State.RUNNING, Happening.YIELD): State.READY,
    (State.RUNNING, Happening.WAIT): State.WAITING,
    (State.RUNNING, Happening.CANCEL): State.RUNNING,
    (State.RUNNING, Happening.END): State.DONE,
    (State.WAITING, Happening.SPAWN): _BORN,
    # Whether there was a cause is CORO.RESUME.ONCE_PER_WAKE's.
    (State.WAITING, Happening.STEP): State.RUNNING,
    (State.WAITING, Happening.YIELD): _SUSPENDED,
    (State.WAITING, Happening.WAIT): _SUSPENDED,
    (State.WAITING, Happening.CANCEL): State.WAITING,
    (State.WAITING, Happening.END): _SUSPENDED,
    (State.DONE, Happening.SPAWN): _OVER,
    (State.DONE, Happening.STEP): _OVER,
    (State.DONE, Happening.YIELD): _OVER,
    (State.DONE, Happening.WAIT): _OVER,
    # To cancel a task that has ended is no fault, and without effect.
    (State.DONE, Happening.CANCEL): State.DONE,
    (State.DONE, Happening.END): _OVER,
}
"""The life of a task: what each happening makes of each state, or why it cannot be. Total."""


def _happening(event: Event) -> Happening | None:
    match event:
        case Step():
            return Happening.STEP
        case Await():
            return Happening.YIELD if event.reason == "checkpoint" else Happening.WAIT
        case Spawn():
            return Happening.SPAWN
        case Done():
            return Happening.END
        case CancelRequest():
            return Happening.CANCEL
        case _:
            return None


def _after_refusal(happening: Happening) -> State:
    """The state to go on from after a refused happening: where it would have led."""
    states = [to for (_, same), to in LIFE.items() if same is happening and isinstance(to, State)]
    return State.DONE if happening is Happening.CANCEL else states[0]


@clause(
    "CORO.LIFE.TABLE",
    Level.MUST,
    Kind.STEP,
    Profile.ASYNC,
    source="trio Task; asyncio Task",
    watches={Spawn: "task", Step: "task", Await: "task", Done: "task"},
    also={CancelRequest: "task"},
)
@value
class LifeTable:
    """A task moves only along its life-cycle table (new, ready, running, waiting, done)."""

    state: State = State.ABSENT

    def after(self, event: Event) -> Progress:
        happening = _happening(event)
        if happening is None:
            return self
        to = LIFE[self.state, happening]
        if isinstance(to, State):
            return Kept(_LIVES[to]) if happening is Happening.END else _LIVES[to]
        allowed = [str(other.value) for other in Happening if isinstance(LIFE[self.state, other], State)]
        return Broken(
            f"of a task that is {self.state.value}: {', '.join(allowed)}",
            f"{happening.value}: {to.why}",
            _LIVES[_after_refusal(happening)],
        )


_LIVES = {state: LifeTable(state) for state in State}


# --- who runs -----------------------------------------------------------------------------------------


@clause(
    "CORO.RUN.ONE_AT_A_TIME",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="user-state threads",
    watches={Step: None, Await: None, Done: None},
    also={Spawn: None},
)
@value
class OneAtATime:
    """At most one task runs on a thread at a time."""

    # The premise is that there are two.

    running: int | None = None
    alive: int = 0

    def after(self, event: Event) -> Progress:
        match event:
            case Step():
                task = event.task
                after = OneAtATime(task, self.alive)
                if self.running is None or self.running == task:
                    return Kept(after) if self.alive > 1 else after
                return Broken(
                    f"task {self.running} is suspended, or ends, before another runs",
                    f"task {task} was resumed inside its step",
                    after,
                )
            case Await():
                return OneAtATime(None, self.alive) if event.task == self.running else self
            case Spawn():
                return OneAtATime(self.running, self.alive + 1)
            case Done(task=task):
                return OneAtATime(None if task == self.running else self.running, self.alive - 1)
            case _:
                return self


@clause(
    "CORO.SWITCH.ONLY_AT_AWAIT",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="coroutines",
    watches={Step: None, Await: None, Done: None, Begin: None},
    also={End: None},
)
@value
class OnlyAtAwait:
    """Between two awaits no other task of that thread runs."""

    # A step is a block: what a task does from being resumed to its next suspension is not broken by what
    # another task does. That a second step starts inside it is CORO.RUN.ONE_AT_A_TIME's; here it shows when
    # the first goes on. The premise is that the step did something in between.

    running: int | None = None
    active: bool = False
    broken_into: tuple[int, ...] = ()  # those in whose step another has begun, and who have not gone on yet

    def after(self, event: Event) -> Progress:
        match event:
            case Step():
                return self._begins(event.task)
            case Await() | Done():
                return self._acts(event.task, last=True)
            case Begin() | End():
                return self._acts(event.task, last=False)
            case _:
                return self

    def _begins(self, task: int) -> OnlyAtAwait:
        broken_into = self._without(task)
        if self.running is not None and self.running != task:
            broken_into = (*broken_into, self.running)
        return OnlyAtAwait(task, False, broken_into)

    def _acts(self, task: int, *, last: bool) -> Progress:
        if task == self.running:
            if not last:
                return self if self.active else OnlyAtAwait(task, True, self.broken_into)
            after = OnlyAtAwait(None, False, self.broken_into)
            return Kept(after) if self.active else after
        if task not in self.broken_into:
            return self  # one that was never started ends outside of any step
        return Broken(
            f"task {task} alone runs from its resumption to its next await",
            "another task ran in between",
            OnlyAtAwait(None if last else task, False, self._without(task)),
        )

    def _without(self, task: int) -> tuple[int, ...]:
        if not self.broken_into:
            return ()
        return tuple(other for other in self.broken_into if other != task)


# --- what a resumption is owed to ---------------------------------------------------------------------


@value
class _Wait:
    """What a task waits for; ``stamp`` is how much had happened on the stream at that time."""

    reason: Reason
    key: int
    stamp: int = 0
    first: bool = False  #: the first suspension of an operation


@value
class _Stream:
    """What can make a stream readable: bytes and the end, and how many things have happened on it."""

    unread: int = 0
    ended: bool = False
    stamp: int = 0


_UNKNOWN = _Stream()


@clause(
    "CORO.RESUME.ONCE_PER_WAKE",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="asyncio Task.__wakeup; trio reschedule",
    watches={Spawn: None, Step: None, Await: None},
    also={
        Begin: None,
        End: None,
        Submit: None,
        JobStart: None,
        Done: None,
        Settle: None,
        CancelRequest: None,
        ScopeCancel: None,
        Connect: None,
        Send: None,
        Read: None,
        HalfClose: None,
        Leave: None,
        Reset: None,
        Close: None,
        Abandon: None,
        Quiescent: None,
    },
)
@value
class OncePerWake:
    """A task is resumed once for each settled wait, and never while it waits."""

    # Causes: for a sleep, its instant; for an event or a task, that it is settled, be it before the wait;
    # for a read, anything the client did on the stream since, or bytes that lie there; for all, a request to
    # cancel, which stands until the task has ended. What makes a buffer writable is not all told, so a
    # write has always a cause, and so has a read of a stream of which nothing is told, a listener. What a
    # primitive passes from task to task is PRIM's, and what settles a remote call RPC's.
    #
    # An operation may begin with a checkpoint, which from outside looks like the wait itself. So the first
    # suspension of an operation may end without a cause, but then the operation does not return a value
    # before there is one (``unsure``). One that hands a job to a worker waits for the worker first, and
    # has begun when the job has (``queued``). And a wait that is settled and never resumed shows when nothing
    # more happens.

    waits: Map[int, _Wait] = Map()
    settled: Map[int, None] = Map()  # events
    ended: Map[int, None] = Map()  # tasks
    cancelled: Map[int, None] = Map()  # tasks that were asked to end
    streams: Map[int, _Stream] = Map()
    entered: Map[int, None] = Map()  # tasks that entered an operation and have not been suspended since
    unsure: Map[int, _Wait] = Map()
    queued: Map[int, int] = Map()  # tasks, with the job that no worker has begun

    def after(self, event: Event) -> Progress:
        match event:
            case Send():
                return self._stirred(event.stream, len(event.data))
            case Read():
                return self._read(event.stream, len(event.data))
            case Step():
                return self._resumed(event.task, event.at)
            case Await():
                return self._suspended(event.task, event.reason, event.key)
            case Begin():
                return self._enters(event.task)
            case End():
                return self._returns(event.task, event.outcome)
            case Submit(job=job, task=int(task)):
                return replace(self, queued=self.queued.put(task, job))
            case JobStart(job=job):
                begun = [task for task, queued in self.queued.items() if queued == job]
                return self._begun(begun[0]) if begun else self
            case Connect(stream=stream):
                return self._stirred(stream)
            case (
                HalfClose(stream=stream)
                | Leave(stream=stream)
                | Reset(stream=stream)
                | Close(stream=stream)
                | Abandon(stream=stream)
            ):
                return self._stirred(stream, ended=True)
            case Spawn(task=task):
                return replace(self, waits=self.waits.put(task, _Wait("checkpoint", task)))
            case Settle(reason="event", key=key):
                return replace(self, settled=self.settled.put(key, None))
            case Settle(reason="join", key=key) | Done(task=key):
                return replace(self, ended=self.ended.put(key, None), waits=self.waits.drop(key))
            case CancelRequest(task=task) | ScopeCancel(task=task):
                return replace(self, cancelled=self.cancelled.put(task, None))
            case Quiescent():
                return self._ends()
            case _:
                return self

    def _enters(self, task: int) -> OncePerWake:
        return OncePerWake(
            self.waits,
            self.settled,
            self.ended,
            self.cancelled,
            self.streams,
            self.entered.put(task, None),
            self.unsure,
            self.queued,
        )

    def _suspended(self, task: int, reason: Reason, key: int) -> OncePerWake:
        stream = self.streams.get(key) if reason == "read" else None
        entered = self.entered.drop(task)
        wait = _Wait(reason, key, 0 if stream is None else stream.stamp, entered is not self.entered)
        return OncePerWake(
            self.waits.put(task, wait),
            self.settled,
            self.ended,
            self.cancelled,
            self.streams,
            entered if self.queued.get(task) is None else self.entered,
            self.unsure.drop(task),
            self.queued,
        )

    def _stirred(self, stream: int, more: int = 0, *, ended: bool = False) -> OncePerWake:
        known = self.streams.get(stream, _UNKNOWN)
        return self._stream(stream, _Stream(known.unread + more, known.ended or ended, known.stamp + 1))

    def _read(self, stream: int, size: int) -> OncePerWake:
        known = self.streams.get(stream)
        if known is None or not size:
            return self
        return self._stream(stream, _Stream(known.unread - size, known.ended, known.stamp))

    def _stream(self, stream: int, known: _Stream) -> OncePerWake:
        return OncePerWake(
            self.waits,
            self.settled,
            self.ended,
            self.cancelled,
            self.streams.put(stream, known),
            self.entered,
            self.unsure,
            self.queued,
        )

    def _resumed(self, task: int, at: int) -> Progress:
        wait = self.waits.get(task)
        if wait is None:
            return Broken(
                f"task {task} is resumed once for each time that it is suspended",
                "it was resumed, and was not suspended",
                self,
            )
        after = OncePerWake(
            self.waits.drop(task),
            self.settled,
            self.ended,
            self.cancelled,
            self.streams,
            self.entered,
            self.unsure,
            self.queued,
        )
        if wait.reason == "checkpoint":
            return after
        if self._caused(wait, at) or task in self.cancelled:
            return Kept(after)
        if wait.first:
            return replace(after, unsure=self.unsure.put(task, wait))
        return _uncaused(task, wait, f"it was resumed at {at} ns, and neither had come", after)

    def _begun(self, task: int) -> OncePerWake:
        return replace(self, queued=self.queued.drop(task), entered=self.entered.drop(task))

    def _returns(self, task: int, outcome: Outcome) -> Progress:
        before = self if self.queued.get(task) is None else self._begun(task)
        wait = self.unsure.get(task)
        if wait is None:
            return before
        after = replace(before, unsure=self.unsure.drop(task))
        if outcome != "value" or self._caused(wait, -1):
            return after
        return _uncaused(task, wait, "its operation returned, and neither had come", after)

    def _caused(self, wait: _Wait, at: int) -> bool:
        match wait.reason:
            case "sleep":
                return at >= wait.key
            case "event":
                return wait.key in self.settled
            case "join":
                return wait.key in self.ended
            case "read":
                stream = self.streams.get(wait.key)
                return stream is None or stream.unread > 0 or stream.ended or stream.stamp > wait.stamp
            case "write" | "checkpoint" | "primitive" | "rpc" | "room" | "group":
                return True

    def _ends(self) -> Progress:
        lost = [
            task
            for task, wait in self.waits.items()
            if wait.reason in ("event", "join") and self._caused(wait, -1)
        ]
        if not lost:
            return self
        wait = self.waits[lost[0]]
        return Broken(
            f"task {lost[0]} is resumed, since {_CAUSE[wait.reason].format(key=wait.key)}",
            "nothing more happens, and it waits on",
            replace(self, waits=self.waits.drop_all(lost)),
        )


def _uncaused(task: int, wait: _Wait, observed: str, after: OncePerWake) -> Broken:
    cause = _CAUSE[wait.reason].format(key=wait.key)
    return Broken(f"task {task} is resumed when {cause}, or on cancellation", observed, after)


_CAUSE: dict[Reason, str] = {
    "checkpoint": "its turn has come",
    "sleep": "its instant, {key} ns, has come",
    "read": "stream {key} is readable",
    "write": "stream {key} is writable",
    "room": "there is room in the buffer of stream {key}",
    "event": "event {key} is set",
    "join": "task {key} has ended",
    "primitive": "primitive {key} has what it waits for",
    "rpc": "call {key} is settled",
    "group": "the children of group {key} have ended",
}


# --- one reason at a time -----------------------------------------------------------------------------

_Cause: TypeAlias = tuple[Reason, int]

_KNOWN: frozenset[Reason] = frozenset(("sleep", "event", "join"))
"""The reasons of which a trace shows whether they have come."""


@clause(
    "CORO.WAIT.ONE_REASON",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="curio traps; trio abort functions",
    watches={Step: None, Await: None, End: None, Settle: None, CancelRequest: None},
    also={ScopeCancel: None, Done: None},
)
@value
class OneReason:
    """A suspended task has exactly one reason to wait."""

    # The second reason is one that the task has been taken out of by a cancellation, and whose wait was not
    # undone: it comes, and resumes the task, which waits for something else by now. The operation that it is
    # in then returns without what it waited for; resumed it may be for reasons of its own. A request excuses
    # two resumptions, since one may be on its way already, or those until it is met.

    waits: Map[int, _Cause] = Map()
    settled: Map[_Cause, None] = Map()
    left: Map[tuple[int, _Cause], None] = Map()  # waits that a cancellation has ended
    stirred: Map[int, _Cause] = Map()  # tasks for which such a reason came while they waited for another
    suspects: Map[int, _Cause] = Map()  # those of them that have been resumed
    excused: Map[int, int] = Map()

    def after(self, event: Event) -> Progress:
        match event:
            case Step():
                wait = self.waits.get(event.task)
                return self if wait is None else self._resumed(event.task, wait, event.at)
            case Await():
                return self._suspended(event)
            case End():
                return self._returns(event.task, event.outcome)
            case Settle(reason=reason, key=key):
                return self._settles((reason, key))
            case CancelRequest(task=task) | ScopeCancel(task=task):
                return replace(self, excused=self.excused.put(task, 2))
            case Done(task=task):
                left = self.left.drop_all([entry for entry in self.left if entry[0] == task])
                return replace(self, waits=self.waits.drop(task), left=left, stirred=self.stirred.drop(task))
            case _:
                return self

    def _returns(self, task: int, outcome: Outcome) -> Progress:
        if outcome == "cancelled" and task in self.excused:
            return replace(self, excused=self.excused.drop(task))
        if outcome != "value" or task not in self.suspects:
            return self
        reason, key = self.suspects[task]
        return Broken(
            f"task {task}, which no longer waits until {_CAUSE[reason].format(key=key)}, waits on",
            "it was resumed then, and its operation returned",
            replace(self, suspects=self.suspects.drop(task)),
        )

    def _suspended(self, event: Await) -> OneReason:
        waits = self.waits.put(event.task, (event.reason, event.key))
        suspects = self.suspects.drop(event.task)
        return OneReason(waits, self.settled, self.left, self.stirred, suspects, self.excused)

    def _settles(self, cause: _Cause) -> OneReason:
        stirred = self.stirred
        for task, left in self.left:
            if left == cause and self.waits.get(task, cause) != cause:
                stirred = stirred.put(task, cause)
        return replace(self, settled=self.settled.put(cause, None), stirred=stirred)

    def _resumed(self, task: int, wait: _Cause, at: int) -> Progress:
        if not (self.left or self.stirred or self.excused):  # nobody has been taken out of a wait
            return OneReason(
                self.waits.drop(task), self.settled, self.left, self.stirred, self.suspects, self.excused
            )
        # Of its own alone: that another task is resumed first says nothing of what this one has left.
        passed = [(who, cause) for who, cause in self.left if who == task and _has_passed(cause, at)]
        other = self.stirred.get(task) or next((cause for _, cause in passed), None)
        excused = self.excused.get(task, 0)
        came = wait in self.settled or _has_passed(wait, at)
        left = self.left if came or not excused else self.left.put((task, wait), None)
        after = replace(
            self,
            waits=self.waits.drop(task),
            left=left.drop_all(passed),
            stirred=self.stirred.drop(task),
            excused=self.excused.put(task, excused - 1) if excused else self.excused,
        )
        if other is None or wait[0] not in _KNOWN or excused:
            return after
        return Kept(after) if came else replace(after, suspects=self.suspects.put(task, other))


def _has_passed(cause: _Cause, at: int) -> bool:
    reason, key = cause
    return reason == "sleep" and key <= at


# --- outcomes and operations --------------------------------------------------------------------------


@clause(
    "CORO.OUTCOME.EXACTLY_ONE",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="structured concurrency",
    watches={Done: "task", Joined: "target"},
    also={CancelRequest: "task"},
)
@value
class ExactlyOne:
    """A task has exactly one outcome, and everyone who joins it sees that one."""

    # A trace tells how the coroutine ended. Of one that is asked to end and ends in the same turn a loop may
    # make a cancelled task, whatever it returned: then the first who joins says which it was.

    ended: tuple[Outcome, str] | None = None
    asked: int | None = None  # the turn of the last request to cancel it
    open: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case CancelRequest(turn=turn):
                return self if self.ended else ExactlyOne(asked=turn)
            case Done(turn=turn, task=task, outcome=outcome, value=value):
                if self.ended is None:
                    return ExactlyOne((outcome, value), open=self.asked == turn)
                return Broken(
                    f"one outcome of task {task}: {_told(self.ended)}",
                    f"it ended again, with {_told((outcome, value))}",
                    self,
                )
            case Joined(task=task, target=target, outcome=outcome, value=value):
                if self.ended == (outcome, value) or (self.open and outcome == "cancelled"):
                    return Kept(ExactlyOne((outcome, value)))
                ended = "its end first" if self.ended is None else _told(self.ended)
                return Broken(
                    f"of task {target}, task {task} sees {ended}",
                    f"it saw {_told((outcome, value))}",
                    self,
                )
            case _:
                return self


def _told(ended: tuple[Outcome, str]) -> str:
    outcome, value = ended
    return f"{outcome} {value!r}" if value else outcome


@clause(
    "CORO.CHECKPOINT.ALWAYS_OR_NEVER",
    Level.SHOULD,
    Kind.INV,
    Profile.ASYNC,
    source="fast paths that never yield: curio issue 106, gevent issue 892; trio checkpoints",
    watches={Begin: None, Await: None, End: None},
)
@value
class AlwaysOrNever:
    """A public async operation is a checkpoint on every successful call, or on none."""

    # Each operation is held to what its first successful call did, and is exercised by a second one.

    suspended: Map[int, None] = Map()  # tasks that were suspended since they entered their operation
    habits: Map[str, bool | None] = Map()  # whether it suspends; None once it has done both

    def after(self, event: Event) -> Progress:
        match event:
            case Await():
                return AlwaysOrNever(self.suspended.put(event.task, None), self.habits)
            case Begin():
                return AlwaysOrNever(self.suspended.drop(event.task), self.habits)
            case End():
                if event.outcome != "value":
                    return self
                return self._succeeds(event.operation, suspended=event.task in self.suspended)
            case _:
                return self

    def _succeeds(self, operation: str, *, suspended: bool) -> Progress:
        habit = self.habits.get(operation)
        if habit is suspended:
            return Kept(self)
        if operation not in self.habits:
            return AlwaysOrNever(self.suspended, self.habits.put(operation, suspended))
        if habit is None:
            return self
        return Broken(
            f"{operation} {'suspends' if habit else 'never suspends'} its caller, as on its first success",
            f"this time it {'did' if suspended else 'did not'}",
            AlwaysOrNever(self.suspended, self.habits.put(operation, None)),
        )


@clause(
    "CORO.THREADS.INDEPENDENT_OF_TASKS",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="CPU, thread, coroutine",
    watches={Threads: None},
)
@value
class ThreadsIndependentOfTasks:
    """The number of kernel threads does not depend on the number of coroutines."""

    # Compared with the sample that had the fewest tasks: more threads, where there are more tasks, is growth.

    fewest: tuple[int, int] | None = None  # tasks, threads

    def after(self, event: Event) -> Progress:
        match event:
            case Threads(threads=threads, tasks=tasks):
                sample = (tasks, threads)
                if self.fewest is None:
                    return ThreadsIndependentOfTasks(sample)
                before, base = self.fewest
                after = ThreadsIndependentOfTasks(min(sample, self.fewest))
                if tasks == before:
                    return after
                if tasks > before and threads > base:
                    return Broken(
                        f"{base} threads with {tasks} tasks, as with {before}",
                        f"{threads} threads",
                        ThreadsIndependentOfTasks(sample),
                    )
                return Kept(after)
            case _:
                return self


# --- threads, and what decides ------------------------------------------------------------------------


@clause(
    "CORO.SWITCH.NOT_BY_KERNEL",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="CPU, thread, coroutine",
    watches={Step: None, Suspend: None, WaitBegin: None, WaitReturn: None, Objects: None},
    also=dict.fromkeys((Dispatch, TimerFire, Run, Submit, JobStart)),
)
@value
class NotByKernel:
    """Switching coroutines switches no thread: a thread's voluntary suspensions do not grow with its
    coroutine switches, and making coroutines makes no kernel object."""

    # Held to this is a turn that does nothing but switch: in one with a handler it might be that one who had
    # the thread suspended, and a job that is submitted, or begins a turn later, may make a thread. Threads
    # are kernel objects, too, and CORO.THREADS.INDEPENDENT_OF_TASKS's; here it is descriptors, compared with
    # the sample of fewest tasks.

    running: int | None = None
    switches: int = 0
    besides: bool = True  # something else than switching has happened since the wait
    suspended: bool = False
    fewest: tuple[int, int] | None = None  # tasks, descriptors

    def after(self, event: Event) -> Progress:
        match event:
            case Step():
                if event.task == self.running:
                    return self
                return NotByKernel(event.task, self.switches + 1, self.besides, self.suspended, self.fewest)
            case Dispatch() | Run() | TimerFire() | Submit() | JobStart():
                return self if self.besides else replace(self, besides=True)
            case WaitReturn():
                return NotByKernel(fewest=self.fewest, besides=False)
            case Suspend(thread="loop"):
                return replace(self, suspended=True)
            case WaitBegin():
                return self._turn_over()
            case Objects(descriptors=descriptors, tasks=tasks):
                return self._sample(tasks, descriptors)
            case _:
                return self

    def _turn_over(self) -> Progress:
        # What is told while it waits is the wait's.
        after = NotByKernel(fewest=self.fewest)
        if self.besides or self.switches < 2:
            return after
        if self.suspended:
            return Broken("no suspension of the thread", f"{self.switches} switches and a suspension", after)
        return Kept(after)

    def _sample(self, tasks: int, descriptors: int) -> Progress:
        sample = (tasks, descriptors)
        if self.fewest is None:
            return replace(self, fewest=sample)
        before, base = self.fewest
        if tasks > before and descriptors > base:
            return Broken(
                f"{base} descriptors with {tasks} tasks, as with {before}",
                f"{descriptors} descriptors",
                replace(self, fewest=sample),
            )
        after = replace(self, fewest=min(sample, self.fewest))
        return Kept(after) if tasks > before else after


@clause(
    "CORO.ORDER.BY_PROGRAM",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="CPU, thread, coroutine",
    watches={Rehearsal: None, Step: None},
    also={Quiescent: None},
    opens={Rehearsal},
)
@value
class OrderByProgram:
    """Within a thread's time the program, not the kernel, decides which coroutine runs: the same schedule
    gives the same order."""

    # The premise is that there was a choice: a step of another task than the one before.

    before: tuple[int, ...] | None = None
    place: int = 0

    def after(self, event: Event) -> Progress:
        match event:
            case Rehearsal(steps=steps):
                return OrderByProgram(steps)
            case Step(task=task) if self.before is not None:
                return self._stepped(self.before, task)
            case Quiescent() if self.before is not None and self.place < len(self.before):
                return Broken(f"a step of task {self.before[self.place]}, as before", "no more steps", None)
            case _:
                return self

    def _stepped(self, before: tuple[int, ...], task: int) -> Progress:
        then = before[self.place] if self.place < len(before) else None
        if then != task:
            allowed = "no more steps" if then is None else f"a step of task {then}"
            # One difference brings about others, and they say no more.
            return Broken(f"{allowed}, as before", f"a step of task {task}", None)
        after = OrderByProgram(before, self.place + 1)
        return Kept(after) if self.place and before[self.place - 1] != task else after


# --- what holds a task, and what nothing will wake -----------------------------------------------------


@clause(
    "CORO.TASK.STRONGLY_HELD",
    Level.SHOULD,
    Kind.INV,
    Profile.ASYNC,
    source="vanishing tasks: cpython issue 91887",
    watches={Spawn: None, Await: None, Collect: None, Vanish: None},
    also={Step: None, Done: None},
)
@value
class StronglyHeld:
    """A live task is strongly held by its scheduler or its waiter."""

    # Who waits for a future holds it, and the future holds who waits; if nobody holds one of the two, a
    # garbage collector takes both. The premise is that it runs while a task waits.

    waits: Map[int, None] = Map()

    def after(self, event: Event) -> Progress:
        match event:
            case Await():
                return StronglyHeld(self.waits.put(event.task, None))
            case Step() | Done():
                return StronglyHeld(self.waits.drop(event.task))
            case Collect():
                return Kept(self) if self.waits else self
            case Vanish(task=task):
                return Broken(
                    f"task {task} lives until it has ended",
                    "it was destroyed",
                    StronglyHeld(self.waits.drop(task)),
                )
            case _:
                return self


_MUTUAL: frozenset[Reason] = frozenset(("event", "join", "primitive", "group"))
"""The reasons that only another task, a callback, or somebody else can bring about."""


@clause(
    "CORO.DEADLOCK.REPORTED",
    Level.SHOULD,
    Kind.BOUND,
    Profile.ASYNC,
    source="trio's and Go's reports of a deadlock",
    watches={Alone: None, Spawn: None, Await: None, WaitBegin: None},
    also=dict.fromkeys(
        (Deadlock, Step, Done, TimerArm, TimerFire, TimerCancel, Arm, Disarm, Submit, JobEnd, Vanish)
    ),
)
@value
class DeadlockReported:
    """When nothing is ready, no timer is armed and no descriptor or thread is waited for, the runtime reports
    the deadlock and its waiters."""

    # That nothing is ready and no timer armed is what a wait without end says, by the loop's own account. A
    # report is held to the trace's: what it names is who waits, and nothing else could come.

    alone: bool = False
    tasks: Map[int, Reason | None] = Map()  # live ones, and what each waits for
    others: Map[tuple[str, int], None] = Map()  # timers, registrations, jobs

    def after(self, event: Event) -> Progress:
        match event:
            case Step() | Spawn():
                return self._with(event.task, None)
            case Await():
                return self._with(event.task, event.reason)
            case Alone():
                return replace(self, alone=True)
            case Done(task=task) | Vanish(task=task):
                return replace(self, tasks=self.tasks.drop(task))
            case TimerArm(timer=number):
                return self._has("timer", number)
            case TimerFire(timer=number) | TimerCancel(timer=number):
                return self._has_not("timer", number)
            case Arm(registration=number):
                return self._has("registration", number)
            case Disarm(registration=number):
                return self._has_not("registration", number)
            case Submit(job=number):
                return self._has("job", number)
            case JobEnd(job=number):
                return self._has_not("job", number)
            case WaitBegin(timeout=None) if self.alone and self._deadlock():
                return Broken(
                    f"the deadlock of {_listed(self._waiters())} is reported", "the loop sleeps", self
                )
            case Deadlock(tasks=named):
                return self._reported(named)
            case _:
                return self

    def _with(self, task: int, reason: Reason | None) -> DeadlockReported:
        return DeadlockReported(self.alone, self.tasks.put(task, reason), self.others)

    def _has(self, kind: str, number: int) -> DeadlockReported:
        return DeadlockReported(self.alone, self.tasks, self.others.put((kind, number), None))

    def _has_not(self, kind: str, number: int) -> DeadlockReported:
        return DeadlockReported(self.alone, self.tasks, self.others.drop((kind, number)))

    def _waiters(self) -> tuple[int, ...]:
        return tuple(sorted(self.tasks))

    def _deadlock(self) -> bool:
        waits = all(reason in _MUTUAL for reason in self.tasks.values())
        return bool(self.tasks) and waits and not self.others

    def _reported(self, named: tuple[int, ...]) -> Progress:
        if not self._deadlock():
            return Broken("no report: something else can come", f"a deadlock of {_listed(named)}", self)
        if tuple(sorted(named)) != self._waiters():
            return Broken(f"a deadlock of {_listed(self._waiters())}", f"one of {_listed(named)}", self)
        return Kept(self)


def _listed(tasks: tuple[int, ...]) -> str:
    return ", ".join(f"task {task}" for task in tasks) or "nobody"


# --- task groups --------------------------------------------------------------------------------------

_TURNS_TO_CANCEL = 2
"""So many turns after the failure of one a group's other children may still succeed in what they do: a loop
may tell the group of it by a callback, and that may have to wait its turn."""


@value
class _Group:
    """A task group that has not ended: its live children, and what has failed in it since which turn."""

    live: Map[int, None] = Map()
    children: int = 0
    errors: Map[str, None] = Map()
    failed: int | None = None

    def fails(self, turn: int, error: str) -> _Group:
        failed = turn if self.failed is None else self.failed
        return replace(self, errors=self.errors.put(error, None), failed=failed)


@clause(
    "CORO.GROUP.CHILD_WITHIN_PARENT",
    Level.SHOULD,
    Kind.INV,
    Profile.ASYNC,
    source="structured concurrency: trio nurseries; PEP 654",
    watches=dict.fromkeys((GroupEnter, GroupStart, GroupLeave, GroupExit, Done)),
    also={End: None, Quiescent: None},
    opens={GroupEnter, GroupStart},
)
@value
class ChildWithinParent:
    """A task group ends after all of its children; a failing child cancels its siblings, and no error is
    lost."""

    groups: Map[int, _Group] = Map()
    homes: Map[int, int] = Map()  # of live children: their group

    def after(self, event: Event) -> Progress:
        match event:
            case GroupEnter(group=group):
                return replace(self, groups=self.groups.put(group, _Group()))
            case GroupStart(group=group, task=task):
                known = self.groups.get(group, _Group())
                known = replace(known, live=known.live.put(task, None), children=known.children + 1)
                return ChildWithinParent(self.groups.put(group, known), self.homes.put(task, group))
            case GroupLeave(turn=turn, group=group, outcome="error", value=value) if group in self.groups:
                return self._with(group, self.groups[group].fails(turn, value))
            case Done(turn=turn, task=task, outcome=outcome, value=value) if task in self.homes:
                return self._child_ends(turn, task, outcome, value)
            case End(turn=turn, task=task, outcome="value"):
                home = self.homes.get(task)
                own = None if home is None else self.groups.get(home)
                return self if own is None else self._succeeds(turn, task, own.failed)
            case GroupExit(group=group, errors=errors) if group in self.groups:
                return self._ends(group, self.groups[group], errors)
            case Quiescent():
                return self._rests()
            case _:
                return self

    def _with(self, group: int, known: _Group) -> ChildWithinParent:
        return replace(self, groups=self.groups.put(group, known))

    def _child_ends(self, turn: int, task: int, outcome: Outcome, value: str) -> ChildWithinParent:
        group = self.homes[task]
        after = replace(self, homes=self.homes.drop(task))
        known = self.groups.get(group)
        if known is None:  # it has ended without this child, and that has been said
            return after
        known = replace(known, live=known.live.drop(task))
        return after._with(group, known.fails(turn, value) if outcome == "error" else known)

    def _succeeds(self, turn: int, task: int, failed: int | None) -> Progress:
        if failed is None or turn <= failed + _TURNS_TO_CANCEL:
            return self
        return Broken(
            f"task {task} is cancelled, since its group failed in turn {failed}",
            f"its operation returned in turn {turn}",
            self,
        )

    def _ends(self, group: int, known: _Group, errors: tuple[str, ...]) -> Progress:
        gone = [task for task, home in self.homes.items() if home == group]
        after = ChildWithinParent(self.groups.drop(group), self.homes.drop_all(gone))
        if known.live:
            left = _listed(tuple(sorted(known.live)))
            return Broken(f"group {group} ends after {left}", f"it ends, and leaves {left} behind", after)
        lost = sorted(error for error in known.errors if error not in errors)
        if lost:
            told = ", ".join(errors) or "no error"
            return Broken(f"{', '.join(lost)} leaves group {group}", f"{told} left it", after)
        return Kept(after) if known.children else after

    def _rests(self) -> Progress:
        failed = [group for group, known in self.groups.items() if known.failed is not None and known.live]
        if not failed:
            return self
        left = _listed(tuple(sorted(self.groups[failed[0]].live)))
        return Broken(
            f"{left} is cancelled, since a sibling has failed",
            "nothing more happens, and it waits on",
            replace(self, groups=self.groups.drop_all(failed)),
        )


# --- coroutines, callbacks, threads -------------------------------------------------------------------


@clause(
    "CORO.STYLE.SAME_EFFECT",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="coroutines: asynchronous programming in synchronous style",
    watches={Shown: "stream"},
)
@value
class SameEffect:
    """A handler written as a coroutine shows every client what the same handler shows when written with
    callbacks or with a thread."""

    # The same script is played to each, and each tells of each client in turn.

    first: Shown | None = None

    def after(self, event: Event) -> Progress:
        match event:
            case Shown() if self.first is None:
                return SameEffect(event)
            case Shown(style=style, stream=stream, data=data, ended=ended) if self.first is not None:
                if (data, ended) == (self.first.data, self.first.ended):
                    return Kept(self)
                return Broken(
                    f"of client {stream}: {_shown(self.first.data, ended=self.first.ended)}, as by "
                    f"{self.first.style}",
                    f"by {style}: {_shown(data, ended=ended)}",
                    self,
                )
            case _:
                return self


def _shown(data: bytes, *, ended: bool) -> str:
    told = repr(data)[1:] if len(data) <= 24 else f"{len(data)} bytes, the last {data[-12:]!r}"
    return told + (" and the end" if ended else "")

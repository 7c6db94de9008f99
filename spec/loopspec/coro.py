"""CORO: tasks, as their coroutines see themselves driven.

Whoever drives a coroutine is judged by what the coroutine can tell: when it was resumed, what it waited for,
how it ended. The life cycle is a total table, :data:`LIFE`, and everything a task may go through is in it;
the other rules say what the table cannot, who else runs meanwhile, and whether a resumption had a cause.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import NamedTuple, TypeAlias

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import Map, value
from loopspec.judge import Broken, Kept, Progress
from loopspec.trace import (
    Abandon,
    Await,
    Begin,
    CancelRequest,
    Close,
    Connect,
    Done,
    End,
    Event,
    HalfClose,
    Joined,
    Leave,
    Outcome,
    Quiescent,
    Read,
    Reason,
    Reset,
    ScopeCancel,
    Send,
    Settle,
    Spawn,
    Step,
    Threads,
)

# --- the life of a task -------------------------------------------------------------------------------


class State(Enum):
    """Where a task is in its life."""

    ABSENT = "absent"  #: there is no such task yet
    NEW = "new"  #: spawned, and has not run
    READY = "ready"  #: suspended at a checkpoint: waits for nothing but its turn
    RUNNING = "running"
    WAITING = "waiting"  #: suspended, for a reason
    DONE = "done"


class Happening(Enum):
    """What can happen to a task."""

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
        case Await(reason="checkpoint"):
            return Happening.YIELD
        case Await():
            return Happening.WAIT
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
            f"of a task that is {self.state.value}: {', '.join(allowed) or 'nothing'}",
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
            case Step(task=task):
                after = OneAtATime(task, self.alive)
                if self.running is None or self.running == task:
                    return Kept(after) if self.alive > 1 else after
                return Broken(
                    f"task {self.running} is suspended, or ends, before another runs",
                    f"task {task} was resumed inside its step",
                    after,
                )
            case Await(task=task):
                return OneAtATime(None, self.alive) if task == self.running else self
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
    before: int | None = None  # whom the running one broke into

    def after(self, event: Event) -> Progress:
        match event:
            case Step(task=task):
                broken_into = self.running if self.running != task else None
                return OnlyAtAwait(task, False, broken_into)
            case Await(task=task):
                return self._acts(task, last=True)
            case Begin(task=task) | End(task=task):
                return self._acts(task, last=False)
            case Done(task=task):
                # A task that was never started ends outside of any step.
                return self._acts(task, last=True) if task in (self.running, self.before) else self
            case _:
                return self

    def _acts(self, task: int, *, last: bool) -> Progress:
        if task == self.running:
            if not last:
                return self if self.active else OnlyAtAwait(task, True, self.before)
            after = OnlyAtAwait(None, False, self.before)
            return Kept(after) if self.active else after
        if task != self.before:
            return self
        return Broken(
            f"task {task} alone runs from its resumption to its next await",
            "another task ran in between",
            OnlyAtAwait(None if last else task, False),
        )


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
    # before there is one (``unsure``). And a wait that is settled and never resumed shows when
    # nothing more happens.

    waits: Map[int, _Wait] = Map()
    settled: Map[int, None] = Map()  # events
    ended: Map[int, None] = Map()  # tasks
    cancelled: Map[int, None] = Map()  # tasks that were asked to end
    streams: Map[int, _Stream] = Map()
    entered: Map[int, None] = Map()  # tasks that entered an operation and have not been suspended since
    unsure: Map[int, _Wait] = Map()

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
                return self._returns(event.task, event.outcome) if event.task in self.unsure else self
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
        )

    def _suspended(self, task: int, reason: Reason, key: int) -> OncePerWake:
        stamp = self.streams[key].stamp if reason == "read" and key in self.streams else 0
        wait = _Wait(reason, key, stamp, task in self.entered)
        return OncePerWake(
            self.waits.put(task, wait),
            self.settled,
            self.ended,
            self.cancelled,
            self.streams,
            self.entered.drop(task),
            self.unsure.drop(task),
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
        )
        if wait.reason == "checkpoint":
            return after
        if self._caused(wait, at) or task in self.cancelled:
            return Kept(after)
        if wait.first:
            return replace(after, unsure=self.unsure.put(task, wait))
        return _uncaused(task, wait, f"it was resumed at {at} ns, and neither had come", after)

    def _returns(self, task: int, outcome: Outcome) -> Progress:
        wait = self.unsure[task]
        after = replace(self, unsure=self.unsure.drop(task))
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
            case "read" if wait.key in self.streams:
                stream = self.streams[wait.key]
                return stream.unread > 0 or stream.ended or stream.stamp > wait.stamp
            case "read" | "write" | "checkpoint" | "primitive" | "rpc" | "room":
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
            case Await(task=task, reason=reason, key=key):
                return replace(
                    self, waits=self.waits.put(task, (reason, key)), suspects=self.suspects.drop(task)
                )
            case Step(task=task, at=at) if task in self.waits:
                return self._resumed(task, self.waits[task], at)
            case Settle(reason=reason, key=key):
                return self._settles((reason, key))
            case CancelRequest(task=task) | ScopeCancel(task=task):
                return replace(self, excused=self.excused.put(task, 2))
            case End(task=task, outcome="value") if task in self.suspects:
                reason, key = self.suspects[task]
                return Broken(
                    f"task {task}, which no longer waits until {_CAUSE[reason].format(key=key)}, waits on",
                    "it was resumed then, and its operation returned",
                    replace(self, suspects=self.suspects.drop(task)),
                )
            case End(task=task, outcome="cancelled") if task in self.excused:
                return replace(self, excused=self.excused.drop(task))
            case Done(task=task):
                return replace(self, waits=self.waits.drop(task), stirred=self.stirred.drop(task))
            case _:
                return self

    def _settles(self, cause: _Cause) -> OneReason:
        stirred = self.stirred
        for task, left in self.left:
            if left == cause and self.waits.get(task, cause) != cause:
                stirred = stirred.put(task, cause)
        return replace(self, settled=self.settled.put(cause, None), stirred=stirred)

    def _resumed(self, task: int, wait: _Cause, at: int) -> Progress:
        passed = [entry for entry in self.left if entry[1][0] == "sleep" and entry[1][1] <= at]
        other = self.stirred.get(task) or next((cause for who, cause in passed if who == task), None)
        excused = self.excused.get(task, 0)
        came = wait in self.settled or (wait[0] == "sleep" and wait[1] <= at)
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
            case End(outcome="value"):
                return self._succeeds(event.operation, suspended=event.task in self.suspended)
            case _:
                return self

    def _succeeds(self, operation: str, *, suspended: bool) -> Progress:
        if operation not in self.habits:
            return AlwaysOrNever(self.suspended, self.habits.put(operation, suspended))
        habit = self.habits[operation]
        if habit is suspended:
            return Kept(self)
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

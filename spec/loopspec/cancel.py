"""CANCEL: requests, where they are met, and what they leave behind.

A request asks for a task as a whole, or for what it does inside one scope. Whether it was met is seen at the
operations of the task: one that ends cancelled has met it. What a scope's deadline asks for is a request from
the moment on at which the loop has found out; so it excuses a cancellation, and demands none.
"""

from __future__ import annotations

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import Map, replace, value
from loopspec.judge import Broken, Kept, Progress
from loopspec.loop import HOPS
from loopspec.stock import Stock
from loopspec.trace import (
    Answer,
    Ask,
    Await,
    Begin,
    CancelRequest,
    Dispatch,
    Done,
    End,
    Event,
    GroupEnter,
    GroupExit,
    GroupStart,
    Make,
    Quiescent,
    Release,
    Rest,
    Run,
    ScopeCancel,
    ScopeEnter,
    ScopeExit,
    Step,
    TimerFire,
    WaitBegin,
)

# --- where a request is met ---------------------------------------------------------------------------


@clause(
    "CANCEL.DELIVERY.AT_CHECKPOINT",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="trio checkpoints; trio issue 2973",
    watches={CancelRequest: "task", Begin: "task", End: "task", Done: "task"},
    also=dict.fromkeys((ScopeCancel, ScopeExit, Step, GroupEnter, GroupStart, GroupExit), "task"),
)
@value
class AtCheckpoint:
    """Cancellation is delivered at a checkpoint, before the operation has its effect."""

    # A checkpoint is an asynchronous operation: what is between two of them is not torn apart. So a task ends
    # cancelled only out of an operation that did, or before its first step, and an operation only if
    # somebody has asked for it. A task group asks for itself when one of its tasks fails, which is another
    # task's slice: who is in a group may be asked at any time. To leave a group is an operation, too. Whether
    # a cancelled one has left an effect, CANCEL.EFFECT counts.

    asked: bool = False
    begun: bool = False
    unrun: bool = False  # somebody asked before the first step, and no operation has been entered
    met: bool = False  # the last operation ended cancelled, and nothing has absorbed that

    def after(self, event: Event) -> Progress:
        match event:
            case Step():
                return self if self.begun else replace(self, begun=True)
            case Begin():
                return replace(self, met=False, unrun=False) if self.met or self.unrun else self
            case End() if event.outcome == "cancelled":
                return self._is_met(event.task, event.operation)
            case CancelRequest() | ScopeCancel() | GroupStart() | GroupEnter():
                return replace(self, asked=True, unrun=self.unrun or not self.begun)
            case GroupExit(outcome=outcome):
                return replace(self, met=outcome == "cancelled")
            case ScopeExit(caught=True) | End():
                return replace(self, met=False, unrun=False) if self.met or self.unrun else self
            case Done(task=task, outcome="cancelled") if self.begun and not self.met and not self.unrun:
                return Broken(
                    f"task {task} is cancelled at a checkpoint", "it was cancelled between two of them", None
                )
            case Done():
                return None
            case _:
                return self

    def _is_met(self, task: int, operation: str) -> Progress:
        after = replace(self, met=True)
        if self.asked:
            return Kept(after)
        return Broken(f"{operation} of task {task} ends cancelled if somebody asks", "nobody has", after)


_WHOLE = -1
"""Among the scopes that a task is asked to leave, the task itself."""


@clause(
    "CANCEL.REQUEST.NEVER_LOST",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="CPython issues 81839 and 116720",
    watches={CancelRequest: "task", Begin: "task", Await: "task", End: "task", Done: "task"},
    also={ScopeCancel: "task", ScopeExit: "task", Ask: "task", Quiescent: "*"},
)
@value
class NeverLost:
    """After a cancel request the task ends, or meets it at its next checkpoint; a value settled in the same
    turn does not erase it."""

    # The operation that the task is in when the request comes may have its value already. One that it enters
    # afterwards, and in which it is suspended, is the next checkpoint. Until it ends, the task may go on
    # waiting only for the lock of a condition, without which it may not leave.

    pending: Map[int, None] = Map()
    late: bool = False  # the operation was entered after a request
    suspended: bool = False
    may_stay: bool = False
    over: bool = False  # whoever asks now comes too late

    def after(self, event: Event) -> Progress:
        match event:
            case _ if self.over:
                return self
            case Begin():
                late = bool(self.pending)
                if late is self.late and not self.suspended:
                    return self
                return NeverLost(self.pending, late, False, self.may_stay)
            case Await():
                return self if self.suspended else NeverLost(self.pending, self.late, True, self.may_stay)
            case End():
                return self._ends(event.task, event.operation, met=event.outcome != "value")
            case CancelRequest():
                return replace(self, pending=self.pending.put(_WHOLE, None))
            case ScopeCancel(scope=scope, due=False):
                return replace(self, pending=self.pending.put(scope, None))
            case ScopeExit(scope=scope):
                return replace(self, pending=self.pending.drop(scope))
            case Ask(verb=verb):
                return replace(self, may_stay=verb == "wait")
            case Quiescent() if self.pending and not self.may_stay:
                return Broken("the task ends, or meets the request to", "it waits on", _OVER)
            case Done():
                return Kept(_OVER) if self.pending else _OVER
            case _:
                return self

    def _ends(self, task: int, operation: str, *, met: bool) -> Progress:
        after = NeverLost(self.pending)
        if not self.pending:
            return after
        if met:
            return Kept(after)
        if not (self.late and self.suspended):
            return after
        return Broken(
            f"{operation}, which task {task} entered after it was asked to end, does not return a value",
            "it has",
            None,
        )


_OVER = NeverLost(over=True)


# --- what it leaves behind ----------------------------------------------------------------------------


@clause(
    "CANCEL.EFFECT.DONE_OR_UNDONE",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="CPython issue 90155; tornado issue 2826",
    watches={Make: "primitive", Ask: "primitive", Answer: "primitive", Rest: "primitive"},
    also={Release: "primitive"},
)
@value
class DoneOrUndone:
    """An operation that has had its effect is reported done, or its effect is undone."""

    # When the loop sleeps, a primitive holds what the tasks were told that they put into it, and lacks
    # what they were told that they have. Where somebody waits for what is there, PRIM.HANDOFF speaks.

    stock: Stock = Stock()
    cancelled: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Rest():
                return self._rests(event)
            case Answer(outcome="cancelled"):
                return DoneOrUndone(self.stock.after(event), cancelled=True)
            case _:
                return DoneOrUndone(self.stock.after(event), self.cancelled)

    def _rests(self, event: Rest) -> Progress:
        stock = self.stock
        if not self.cancelled or any(stock.has(each.verb) for each in stock.asking):
            return self
        after = DoneOrUndone(stock.corrected(event))
        if stock.shown() == event.held:
            return Kept(after)
        what = "so many items are in it" if stock.kind == "queue" else "whether it is locked"
        return Broken(
            f"{what}: {stock.shown()}, since a cancelled operation has no effect",
            f"{event.held}",
            after,
        )


# --- scopes -------------------------------------------------------------------------------------------


@clause(
    "CANCEL.SCOPE.OWN_ONLY",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="CPython issues 116720 and 155433",
    watches={ScopeEnter: "scope", ScopeCancel: "scope", ScopeExit: "scope"},
)
@value
class OwnOnly:
    """A scope absorbs only the cancellation that it issued."""

    cancelled: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case ScopeCancel():
                return OwnOnly(cancelled=True)
            case ScopeExit(scope=scope, caught=True) if not self.cancelled:
                return Broken(
                    f"scope {scope}, which nobody has cancelled, lets a cancellation through",
                    "it absorbed one",
                    None,
                )
            case ScopeExit(cut=cut):
                return Kept(None) if cut else None
            case _:
                return self


# --- what cannot be met yet ---------------------------------------------------------------------------


@clause(
    "CANCEL.UNDELIVERABLE.NO_SPIN",
    Level.MUST,
    Kind.BOUND,
    Profile.ASYNC,
    source="anyio issue 695",
    watches={CancelRequest: None, Begin: None, End: None, WaitBegin: None},
    also={ScopeCancel: None, Step: None, Run: None, TimerFire: None, Dispatch: None},
)
@value
class NoSpin:
    """A cancellation that cannot be delivered yet does not keep the loop running."""

    # It cannot be delivered while the task is in an operation that it may not leave, as without the lock of
    # its condition. Turns in which nothing else runs are then few: HOPS, for steps that are not shown.

    inside: Map[int, None] = Map()  # tasks that are in an operation
    pending: Map[int, None] = Map()  # those of them that were asked to leave it
    polls: int = 0
    busy: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Begin():
                return NoSpin(self.inside.put(event.task, None), self.pending, self.polls, self.busy)
            case End():
                inside, pending = self.inside.drop(event.task), self.pending.drop(event.task)
                return NoSpin(inside, pending, self.polls, self.busy)
            case Step() if self.pending and event.task in self.pending:
                return self
            case Step() | Run() | TimerFire() | Dispatch():
                return self if self.busy else replace(self, busy=True)
            case CancelRequest(task=task) | ScopeCancel(task=task) if task in self.inside:
                return replace(self, pending=self.pending.put(task, None))
            case WaitBegin(timeout=timeout):
                return self._turn_ends(asleep=timeout != 0)
            case _:
                return self

    def _turn_ends(self, *, asleep: bool) -> Progress:
        if asleep or self.busy or not self.pending:
            after = replace(self, polls=0, busy=False)
            return Kept(after) if asleep and self.pending else after
        if self.polls < HOPS:
            return replace(self, polls=self.polls + 1)
        return Broken(
            "the loop sleeps while nothing runs and a task cannot be cancelled yet",
            f"{self.polls + 1} turns in which nothing ran",
            replace(self, pending=Map(), polls=0),
        )

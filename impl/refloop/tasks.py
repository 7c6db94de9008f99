"""Tasks: coroutines, and the one door between them and the scheduler.

A coroutine gives up the thread by yielding a :class:`Trap`, and nothing else is ever yielded. A trap is what
the task waits for, and knows two things: how to *arm* the wait, so that somebody will call :meth:`Task.wake`,
and how to *abort* it as though it had never been armed. That undo is all that cancellation needs to know of
an operation. One trap stands for no wait at all, :data:`CHECKPOINT`: it lets the others run.

Every public operation waits first and acts then, on every successful call. So it is a checkpoint always, and
a cancellation comes before the effect or not at all.

A task's life is the table :data:`LIFE`, which is total: what it does not allow raises, and changes nothing.
The steps of tasks are entries of the reactor's ready queue like any callback, one step a turn each; the queue
or the trap holds the task, and its home does, so that none is collected while it lives.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import copy_context
from enum import Enum
from itertools import repeat
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from refloop.cancel import CancelScope
from refloop.errors import TaskCancelledError
from refloop.outcomes import Cancelled, Outcome, Raised, Returned, WasCancelled
from refloop.reactor import Entry

if TYPE_CHECKING:
    from refloop.runtime import Runtime

T_co = TypeVar("T_co", covariant=True)


class State(Enum):
    """Where a task is in its life."""

    NEW = "new"  #: spawned, and queued for its first step
    READY = "ready"  #: woken, and queued for its next step
    RUNNING = "running"  #: in a step, the only task of its thread that is
    WAITING = "waiting"  #: suspended for one reason, its trap
    DONE = "done"  #: it has its outcome


class Move(Enum):
    """What can happen to a task."""

    STEP = "step"  #: the scheduler resumes it
    YIELD = "yield"  #: it lets others run and waits for nothing
    AWAIT = "await"  #: it waits for its trap
    WAKE = "wake"  #: what it waits for has come, failed, or been cancelled
    END = "end"  #: it returns or raises


_ALLOWED: Final = {
    (State.NEW, Move.STEP): State.RUNNING,
    (State.READY, Move.STEP): State.RUNNING,
    (State.RUNNING, Move.YIELD): State.READY,
    (State.RUNNING, Move.AWAIT): State.WAITING,
    (State.WAITING, Move.WAKE): State.READY,
    (State.RUNNING, Move.END): State.DONE,
}

LIFE: Final[dict[tuple[State, Move], State | None]] = {
    (state, move): _ALLOWED.get((state, move)) for state in State for move in Move
}
"""The life cycle of a task: the next state for each state and move, None where the move is refused."""

NEW: Final = State.NEW
READY: Final = State.READY
RUNNING: Final = State.RUNNING
WAITING: Final = State.WAITING
DONE: Final = State.DONE


def total(state: State, move: Move) -> State | None:
    """The table answers every move in every state.

    post: _ is None or isinstance(_, State)
    """
    return LIFE[state, move]


def ends_in_its_step(state: State, move: Move) -> State | None:
    """A task ends in a step of its own, and nothing else leads to its end.

    pre: state is not State.RUNNING or move is not Move.END
    post: _ is not State.DONE
    """
    return LIFE[state, move]


def done_for_good(move: Move) -> State | None:
    """Nothing happens any more to a task that has its outcome.

    post: _ is None
    """
    return LIFE[State.DONE, move]


def woken_once(state: State) -> tuple[State | None, State | None]:
    """Who is woken is not woken again, and runs next.

    pre: LIFE[state, Move.WAKE] is not None
    post: _ == (None, State.RUNNING)
    """
    woken = LIFE[state, Move.WAKE]
    assert woken is not None
    return LIFE[woken, Move.WAKE], LIFE[woken, Move.STEP]


class Trap(ABC):
    """What a task waits for: the value of its ``yield``. ``reason`` says it in a word."""

    __slots__ = ()
    reason: str

    @abstractmethod
    def arm(self, task: Task[object], /) -> None:
        """See to it that ``task.wake()`` is called once; or raise, and have changed nothing."""

    @abstractmethod
    def abort(self, task: Task[object], /) -> None:
        """Undo :meth:`arm`: ``task`` will not be woken, and what it waited for goes to the next."""

    def __await__(self) -> Generator[Trap, None, None]:
        # A task that waits holds this, and a generator would be five times as large.
        return repeat(self, 1)  # type: ignore[return-value]  # PEP 492 asks for an iterator and no more

    def describe(self) -> str:
        """The reason and its object, for reports."""
        return self.reason


class Yielded(Protocol):
    """A :class:`Trap`, one hopes; what a coroutine of another loop's yields has none of this."""

    @property
    def reason(self) -> str: ...
    def arm(self, task: Task[object], /) -> None: ...
    def abort(self, task: Task[object], /) -> None: ...
    def describe(self) -> str: ...


class _NoWait(Trap):
    """A trap that only lets others run."""

    __slots__ = ()
    reason = "checkpoint"

    def arm(self, task: Task[object], /) -> None:
        """Wake at once; a task spares itself this call."""
        task.wake()

    def abort(self, _task: Task[object], /) -> None:
        """Nothing to undo: the task was ready at once."""


CHECKPOINT: Final[Trap] = _NoWait()
"""Lets every other ready task run, and delivers cancellation."""


def suspend(trap: Trap) -> Awaitable[None]:
    """Give up the thread until ``trap`` lets go; raises what the wait was ended with."""
    return trap


class ParkingLot(Trap):
    """Tasks that wait for the same thing, first come first served: the one thing beneath every primitive.

    What there is to be had, and how it is handed over, is :meth:`admit`. What comes is handed at once to
    those who wait, in the order of arrival, so that a newcomer finds nothing to barge in for; one who finds
    something, and so nobody before it, has it and only lets the others run. Either way a task is woken with
    what it came for in its hands: a cancellation that comes after that is met at the next checkpoint, and so
    nothing can be lost on the way. One that comes before takes it out of the lot, and the next is the first.
    """

    __slots__ = ("key", "parked", "reason")

    def __init__(self, reason: str, key: object) -> None:
        self.reason = reason
        self.key = key
        self.parked: dict[Task[object], None] = {}

    def admit(self, _task: Task[object], /) -> bool:
        """Hand over what ``task`` waits for, if it is there, and say whether it was.

        Here nothing ever is: a plain lot is left by being woken.
        """
        return False

    def arm(self, task: Task[object], /) -> None:
        if self.admit(task):
            task.wake()
        else:
            self.parked[task] = None

    def abort(self, task: Task[object], /) -> None:
        del self.parked[task]

    def let_in(self) -> None:
        """Something may have come: wake those who can now be served, in the order of arrival."""
        while self.parked:
            first = next(iter(self.parked))
            if not self.admit(first):
                return
            del self.parked[first]
            first.wake()

    def wake_first(self, count: int) -> None:
        """Wake the ``count`` that have waited longest, or all there are."""
        for task in list(self.parked)[:count]:
            del self.parked[task]
            task.wake()

    def wake_all(self) -> None:
        """Wake everybody, in the order of arrival."""
        parked, self.parked = self.parked, {}
        for task in parked:
            task.wake()

    def describe(self) -> str:
        return f"{self.reason} of {self.key!r}"


class Home:
    """Where tasks live: the scope that they were spawned in, and the ``members`` that have not ended."""

    __slots__ = ("members", "scope")

    def __init__(self) -> None:
        self.scope = CancelScope()
        self.scope.home = self
        self.members: dict[Task[object], None] = {}

    def ended(self, task: Task[object]) -> None:
        """``task`` has its outcome; it is a member no more."""


class Task(Entry, Generic[T_co]):
    """A coroutine in the care of a runtime; made by ``start_soon`` and :meth:`Runtime.spawn`."""

    __slots__ = (
        "__weakref__",
        "_context",
        "_coroutine",
        "_error",
        "_joiners",
        "_name",
        "_own_scope",
        "_send",
        "_value",
        "home",
        "runtime",
        "scope",
        "state",
        "trap",
    )

    def __init__(
        self, coroutine: Coroutine[Trap, None, T_co], name: str | None, home: Home, runtime: Runtime
    ) -> None:
        try:
            # Not the bound method: that would be one more object a step.
            self._send: Callable[[Coroutine[Trap, None, T_co], None], Yielded] = type(coroutine).send
        except AttributeError:
            raise TypeError(
                f"a task runs an async function, and the one given returned {coroutine!r}"
            ) from None
        self._coroutine = coroutine
        self._context = copy_context()  # of its own, in which is what its maker had
        self._name = name
        self.home = home
        self.runtime = runtime
        self.scope: CancelScope = home.scope  # the innermost
        self.state = NEW
        self.trap: Yielded = CHECKPOINT  # the last one; what it waits for while it waits
        self._error: BaseException | None = None  # what the next step raises; at the end the error, if any
        self._value: T_co | None = None
        self._joiners: ParkingLot | None = None
        self._own_scope: CancelScope | None = None

    # --- the step -----------------------------------------------------------------------------------

    def run(self) -> None:
        """One step: resume the coroutine, and arm what it waits for next."""
        runtime = self.runtime
        trap: Yielded
        runtime.current = self
        self.state = RUNNING
        try:
            if self._error is None:
                trap = self._context.run(self._send, self._coroutine, None)
            else:
                trap = self._context.run(self._coroutine.throw, self._take_error())
        except StopIteration as stop:
            self._end(stop.value, None)
        except BaseException as failure:
            self._end(None, failure)
            if isinstance(failure, (KeyboardInterrupt, SystemExit)):
                raise  # they end the run, wherever they strike
        else:
            self.trap = trap
            if self.scope.effective:
                self.state = WAITING
                self.wake(Cancelled(self.scope.source()))
            elif trap is CHECKPOINT:
                self.state = READY
                runtime.ready.append(self)
            else:
                self.state = WAITING
                try:
                    trap.arm(self)
                except Exception as refusal:
                    self.wake(_refused(trap, refusal))
        finally:
            runtime.current = None

    def _take_error(self) -> BaseException:
        # No variable of run's may hold it: the traceback of the error will hold run's frame.
        error, self._error = self._error, None
        assert error is not None
        return error

    def wake(self, error: BaseException | None = None) -> None:
        """End the wait: the task's next step, in the next ready phase, goes on or raises ``error``."""
        if self.state is not WAITING:
            raise RuntimeError(f"task {self.name} is {self.state.value}, and only a waiting one is woken")
        self.state = READY
        self._error = error
        self.runtime.ready.append(self)

    def interrupt(self) -> None:
        """If the task is cancelled, and waits or is at a checkpoint: undo that, and have its next step
        raise."""
        if not self.scope.effective:
            return
        if self.state is WAITING:
            self.trap.abort(self)
            self.wake(Cancelled(self.scope.source()))
        elif self.state is READY and self.trap is CHECKPOINT:
            self._error = Cancelled(self.scope.source())

    def _end(self, value: T_co | None, error: BaseException | None) -> None:
        self.state = DONE
        self._value = value
        self._error = error
        del self.home.members[self]
        self.home.ended(self)
        if self._joiners is not None:
            self._joiners.wake_all()

    # --- for everybody ------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name it was given, or its function's."""
        return self._name or str(getattr(self._coroutine, "__qualname__", self._coroutine))

    @property
    def outcome(self) -> Outcome[T_co] | None:
        """How the task ended, None as long as it has not."""
        if self.state is not DONE:
            return None
        if isinstance(self._error, Cancelled):
            return WasCancelled()
        if self._error is not None:
            return Raised(self._error)
        return Returned(self._value)  # type: ignore[arg-type]  # a T_co, since there is no error

    @property
    def waits_for(self) -> str:
        """What a waiting task waits for, in words; else its state."""
        return self.trap.describe() if self.state is WAITING else self.state.value

    def cancel(self) -> None:
        """Cancel the whole task: from now on every checkpoint in it raises. Idempotent."""
        if self.state is DONE:
            return
        if self._own_scope is None:
            self._own_scope = CancelScope()
            self._own_scope.slip_under(self)
        self._own_scope.cancel()

    async def join(self) -> T_co:
        """Wait for the end of the task: return its value or raise its error.

        Raises :class:`TaskCancelledError` if it was cancelled, and RuntimeError in the task itself. Everybody
        who joins sees the same outcome.
        """
        if self.runtime.current is self:
            raise RuntimeError("a task that joins itself would wait for ever")
        if self.state is DONE:
            await suspend(CHECKPOINT)
        else:
            if self._joiners is None:
                self._joiners = ParkingLot("join", self)
            await suspend(self._joiners)
        match self.outcome:
            case Returned(value):
                return value
            case Raised(error):
                raise error
            case WasCancelled():
                raise TaskCancelledError(f"task {self.name} was cancelled")
            case None:
                raise AssertionError("joiners are woken by the end of the task")

    @property
    def error(self) -> BaseException | None:
        """What a task that is done let out: an error, or the :class:`Cancelled` that ended it."""
        return self._error if self.state is DONE else None

    @property
    def cancelled_alone(self) -> bool:
        """Whether it was ended by its own :meth:`cancel`, and not by that of a scope around it."""
        return isinstance(self._error, Cancelled) and self._error.scope is self._own_scope

    def abandon(self) -> None:
        """End a task that nothing will resume: undo its wait, or take back its next step, and close its
        coroutine."""
        if self.state is WAITING:
            self.trap.abort(self)
        else:
            with suppress(ValueError):  # Ctrl-C has struck when it was taken and had not begun
                self.runtime.ready.remove(self)
        try:
            self._context.run(self._coroutine.close)
        except Exception as error:
            self.runtime.reactor.on_error(error)
        self._end(None, Cancelled(self.scope))

    @property
    def joined(self) -> bool:
        """Whether anybody is waiting for the end of the task."""
        return self._joiners is not None and bool(self._joiners.parked)

    def __repr__(self) -> str:
        # Without the object that it waits for: that may be a task, which waits for this one.
        return f"<task {self.name}: {self.trap.reason if self.state is WAITING else self.state.value}>"


def _refused(trap: object, refusal: Exception) -> Exception:
    if isinstance(trap, Trap):
        return refusal
    return TypeError(f"{trap!r} was awaited, and is no wait of refloop's: is it from another loop?")

"""The runtime: tasks on top of a reactor, and :func:`run`, which puts both together and takes them apart.

It adds nothing to the turn. A task's step is an entry of the reactor's ready queue, a sleep is a timer, a
wait for a descriptor is a holder of its slot; the runtime spawns, remembers who is running, and looks after
the end.

**Deadlock.** When nothing is ready, no timer is armed and no descriptor is waited for, only another thread or
a signal handler could still post. If there is neither, the tasks that are left wait for each other for ever,
and the runtime says so with their names and reasons rather than sleep. A worker without a job will not post.
A program that has other threads or handlers, and knows that they will not, says so: ``alone``.

**Ctrl-C** could strike between any two instructions of the loop itself. :func:`run` therefore takes SIGINT,
where Python's own handler has it: the first one cancels every task, and ``KeyboardInterrupt`` is raised when
they have unwound; a second one, for code that does not let go, strikes at once.

**Observation** costs nothing while nobody observes: the tasks of a runtime with instruments are of another
class, whose two methods, step and wake, tell of themselves.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import FrameType
from typing import Final, TypeVar, TypeVarTuple

from refloop.errors import DeadlockError
from refloop.here import here
from refloop.kernel import LINUX, Kernel
from refloop.outcomes import Returned
from refloop.reactor import Reactor
from refloop.tasks import DONE, Home, Task, Trap
from refloop.workers import WORKERS, Worker, Workers

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Instrument:
    """What an observer of tasks may override; every method is called on the loop's thread.

    In each, ``task.state``, ``task.trap`` and ``task.outcome`` tell the rest.
    """

    def task_spawned(self, task: Task[object]) -> None:
        """``task`` is new, and queued for its first step."""

    def task_scheduled(self, task: Task[object]) -> None:
        """``task`` has been woken, and is queued for its next step."""

    def before_task_step(self, task: Task[object]) -> None:
        """``task`` is about to be resumed."""

    def after_task_step(self, task: Task[object]) -> None:
        """``task`` has given up the thread: it waits, is ready again, or is done."""

    def task_exited(self, task: Task[object]) -> None:
        """``task`` has its outcome."""


class _ObservedTask(Task[T]):
    __slots__ = ()

    def run(self) -> None:
        instruments = self.runtime.instruments
        for instrument in instruments:
            instrument.before_task_step(self)
        try:
            super().run()
        finally:
            for instrument in instruments:
                instrument.after_task_step(self)
                if self.state is DONE:
                    instrument.task_exited(self)

    def wake(self, error: BaseException | None = None) -> None:
        super().wake(error)
        for instrument in self.runtime.instruments:
            instrument.task_scheduled(self)


class _Root(Home):
    """The home of the tasks that no group answers for."""

    __slots__ = ("_runtime",)

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime

    def ended(self, task: Task[object]) -> None:
        error = task.error
        if isinstance(error, Exception) and not task.joined and task is not self._runtime.main:
            self._runtime.reactor.on_error(error)


class Runtime:
    """Coroutines on ``reactor``, in the thread that owns it; a thread has at most one runtime that is open.

    ``instruments`` observe its tasks; for blocking calls there are at most ``workers`` threads. ``alone``,
    which may be changed, promises that no other thread and no handler of a signal will post: a deadlock is
    then one whatever there is of these. ``current`` is the task that is running, None between steps.
    """

    def __init__(
        self,
        reactor: Reactor,
        instruments: Sequence[Instrument] = (),
        *,
        workers: int = WORKERS,
        alone: bool = False,
    ) -> None:
        if here.runtime is not None:
            raise RuntimeError(
                "this thread has a refloop runtime already, and a loop in a loop would stop it"
            )
        self.reactor = reactor
        self.instruments = tuple(instruments)
        self.alone = alone
        self.current: Task[object] | None = None
        self.main: Task[object] | None = None
        self.ready: Final = reactor.ready
        self._root = _Root(self)
        self._make = _ObservedTask if self.instruments else Task
        self.workers: Final = Workers(reactor, workers)
        here.runtime = self

    def spawn(
        self, function: Callable[[*Ts], Coroutine[Trap, None, T]], *args: *Ts, name: str | None = None
    ) -> Task[T]:
        """A new task that runs ``await function(*args)``, with its first step in the next ready phase.

        It may be called from callbacks. Nobody answers for the task: if it raises while nobody joins it, the
        reactor's ``on_error`` is told.
        """
        return self.spawn_in(self._root, function, args, name)

    def spawn_in(
        self,
        home: Home,
        function: Callable[[*Ts], Coroutine[Trap, None, T]],
        args: tuple[*Ts],
        name: str | None,
    ) -> Task[T]:
        """A new task in ``home``: what ``spawn`` and ``start_soon`` share."""
        self.reactor._mine()
        task = self._make(function(*args), name, home, self)
        home.members[task] = None
        self.ready.append(task)
        for instrument in self.instruments:
            instrument.task_spawned(task)
        return task

    def tasks(self) -> list[Task[object]]:
        """All tasks that have not ended, those of a group after the one that owns the group."""
        found = list(self._root.members)
        for task in found:
            scope = task.scope
            while scope is not task.home.scope:
                if scope.home is not None:
                    found.extend(scope.home.members)
                assert scope.parent is not None
                scope = scope.parent
        return found

    def run_until_done(self, task: Task[T]) -> T:
        """Turn until ``task`` is done; return its value or raise its error.

        Raises :class:`DeadlockError`, with ``task`` and all the others as they were, if it never can be.
        """
        before, self.main = self.main, task
        turn, self.reactor.on_stall = self.reactor.turn, self._stalled
        try:
            while task.state is not DONE:
                turn()
        finally:
            self.main = before
            self.reactor.on_stall = None
        match task.outcome:
            case Returned(value):
                return value
            case _:
                assert task.error is not None
                raise task.error

    def cancel_all(self) -> None:
        """Cancel every task that there is or will be."""
        self._root.scope.cancel()

    def close(self) -> None:
        """Cancel all tasks, turn until they are done, close the pool of workers (which waits for the jobs
        that have been begun), and release the thread. Idempotent.

        A task that will not end after a cancellation, because it waits behind a shield for what never comes,
        is reported by :class:`DeadlockError`, and its coroutine closed.
        """
        if here.runtime is not self:
            return
        self.cancel_all()
        self.reactor.on_stall = self._stalled
        try:
            while self._root.members:
                self.reactor.turn()
        finally:
            self.reactor.on_stall = None
            try:
                self.workers.close()
            finally:
                for task in reversed(self.tasks()):
                    task.abandon()
                here.runtime = None

    def _stalled(self) -> None:
        tasks = self.tasks()
        if tasks and not self.workers.busy and (self.alone or not _somebody_may_post(self.workers)):
            raise DeadlockError(tasks)


def _somebody_may_post(idle: Workers) -> bool:
    """Whether another thread, but for those of ``idle``, or a handler of signals exists that could still make
    something ready."""
    ours = [each for each in threading.enumerate() if isinstance(each, Worker) and each.workers is idle]
    if threading.active_count() - len(ours) > 1:
        return True
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    return any(callable(handler) and not _only_interrupts(handler) for handler in handlers)


def _only_interrupts(handler: object) -> bool:
    return handler is signal.default_int_handler or isinstance(handler, _Interrupt)


class _Interrupt:
    """The handler of SIGINT while :func:`run` runs; in other threads, and where somebody else has it,
    nothing."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._struck = False
        self._installed = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if self._struck:
            raise KeyboardInterrupt
        self._struck = True
        self._runtime.reactor.call_soon_threadsafe(self._runtime.cancel_all)

    def __enter__(self) -> None:
        ours = threading.current_thread() is threading.main_thread()
        if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._runtime.reactor.wake_on_signals()
            signal.signal(signal.SIGINT, self)
            self._installed = True

    def __exit__(self, *_exception: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._struck:
            raise KeyboardInterrupt


def run(
    function: Callable[[*Ts], Coroutine[Trap, None, T]],
    *args: *Ts,
    kernel: Kernel = LINUX,
    instruments: Sequence[Instrument] = (),
    workers: int = WORKERS,
    alone: bool = False,
) -> T:
    """Run ``await function(*args)`` on a reactor of its own; return its value or raise its error.

    At most ``workers`` threads are there for blocking calls; ``alone`` is as in :class:`Runtime`. Tasks that
    are left when it ends are cancelled and waited for, as are jobs that have been begun. Ctrl-C cancels
    everything, waits for it to unwind, and raises ``KeyboardInterrupt``.
    """
    reactor = Reactor(kernel)
    try:
        runtime = Runtime(reactor, instruments, workers=workers, alone=alone)
        with _Interrupt(runtime):
            try:
                return runtime.run_until_done(runtime.spawn(function, *args))
            finally:
                runtime.close()
    finally:
        reactor.close()

"""Workers: the threads on which blocking calls run, and the ways from the loop to them and back.

A regular file is always ready and a name server answers when it likes: such calls suspend their thread, and
the loop's thread may be suspended in its wait only. So they go to a bounded pool of threads, and what they
give comes back through the one door that the reactor has for other threads.

**Who knows what.** All accounts of the pool belong to the loop's thread: which jobs are open, how many
threads there are, who waits for whom. A worker reads one queue and posts each job that it has ended; it
shares no lock with the loop, since a lock can suspend. What both want to decide is one thing only: whether a
queued job is begun or taken back. The job's *claim* says that, an item that one of them gets.

**Submitting never suspends.** Putting into the queue does not, but starting a thread does:
``threading.Thread.start`` waits until the new thread runs. So a thread of no account is let loose to start
the worker and to wait for it. Threads come when there are more open jobs than threads, up to the bound; they
stay.

**Cancellation ends the wait, never the job.** Nobody can take a thread out of a blocking call. A job that no
worker has begun is taken back; one that has been begun goes on, its worker is as busy as before, its
limiter's token is still out, and its result finds nobody and is dropped.

**The way back** is :func:`from_thread`: a job has the loop call a function, or run a coroutine, and waits for
it. Such a job holds its worker while it waits. If that coroutine submits a job in its turn, and *every*
worker is held so, then nobody is left to run the new one: it would wait for a worker that waits for it. So
the pool refuses it (:class:`WorkerDeadlockError`), at the moment at which the last worker begins to wait or
at which the job comes.

**The end** waits for the jobs that have been begun, with the loop still turning, so that they can come back
through it; those that have not are refused. Workers are daemons: a process that leaves without closing its
pool does not hang in a call that never returns.

**A reactor with workers** is :meth:`Workers.register`: readiness is found by the loop, handled by a worker.
The registration is one-shot and armed again by the end of its handler, so that one connection is handled by
one worker at a time, and in order.
"""

from __future__ import annotations

import os
import socket
from _thread import start_new_thread
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread, local
from types import TracebackType
from typing import Final, Generic, TypeAlias, TypeVar, TypeVarTuple, overload

from refloop.cancel import CancelScope
from refloop.errors import (
    BusyResourceError,
    ClosedReactorError,
    ClosedResourceError,
    TaskCancelledError,
    WorkerDeadlockError,
)
from refloop.here import current_runtime, current_task, here
from refloop.kernel import Resource
from refloop.reactor import Direction, Mode, Reactor, Registration
from refloop.tasks import CHECKPOINT, ParkingLot, Task, Trap, suspend

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Ts = TypeVarTuple("Ts")

WORKERS: Final = min(32, (os.cpu_count() or 1) + 4)
"""How many workers a pool has at most if nobody says: what concurrent.futures takes for jobs that wait."""


# --- the pool -----------------------------------------------------------------------------------------


class Job(Generic[T_co]):
    """A function that a worker is to call; made by :meth:`Workers.submit`."""

    __slots__ = ("_claim", "_done", "_error", "_run", "_value", "workers")

    def __init__(
        self, workers: Workers, run: Callable[[], T_co], done: Callable[[Job[T_co]], object]
    ) -> None:
        self.workers = workers
        self._run = run
        self._done = done
        self._claim = [None]
        self._value: T_co | None = None
        self._error: BaseException | None = None

    def claim(self) -> bool:
        """Get the right to begin the job, or to take it back: the first who asks has it, from any thread."""
        try:
            self._claim.pop()
        except IndexError:
            return False
        return True

    def run(self) -> None:
        """Call the function; on the worker that has claimed the job."""
        try:
            self._value = self._run()
        except BaseException as error:
            self._error = error
            del self  # which is in the error's traceback, and holds the error

    def end(self, error: Exception | None = None) -> None:
        """Tell the one who submitted it that it is over, in place of its own outcome by ``error`` if given;
        on the loop's thread."""
        if error is not None:
            self._error = error
        self._done(self)

    def withdraw(self) -> bool:
        """Take the job back, and ``done`` will not be called; False, and no change, if a worker has begun
        it."""
        self.workers.reactor._mine()
        if not self.claim():
            return False
        self.workers.forget(self)
        return True

    def take(self) -> T_co:
        """The value that the function returned, or raise what it raised with its traceback; once, in ``done``
        or after it."""
        error, self._error = self._error, None
        if error is None:
            return self._value  # type: ignore[return-value]  # a T_co, since there is no error
        try:
            raise error
        finally:
            del error, self


class Worker(Thread):
    """One thread of a pool."""

    def __init__(self, workers: Workers, number: int) -> None:
        # Given and not inherited: asking the present thread, which is none of threading's, would make it one.
        super().__init__(name=f"refloop worker {number}", daemon=True)
        self.workers = workers

    def run(self) -> None:
        self.workers.work()


Started: TypeAlias = SimpleQueue[Worker | None]
"""Where the worker is put that has been started; None if it could not be."""


class _OnWorker(local):
    job: Job[object] | None = None


_on_worker = _OnWorker()


class Workers:
    """A pool of at most ``size`` threads for ``reactor``, which start when there is something to do.

    Jobs are begun in the order in which they were submitted. Every method is for the loop's thread.
    """

    def __init__(self, reactor: Reactor, size: int = WORKERS) -> None:
        if size < 1:
            raise ValueError(f"a pool of {size} workers runs nothing: it has one or more")
        self.reactor = reactor
        self.size = size
        self.closed = False
        self.resolving: Final = CapacityLimiter(max(1, size // 2))
        self.handling: Final[dict[Resource, WorkerRegistration]] = {}
        self._queue: SimpleQueue[Job[object] | None] = SimpleQueue()
        self._starts: dict[Started, None] = {}
        self._open: dict[Job[object], None] = {}
        self._asking: dict[CancelScope, None] = {}  # of what jobs have the loop run, and wait for
        self._asked_for: dict[Job[object], None] = {}  # jobs that such jobs wait for

    @property
    def threads(self) -> int:
        """How many workers there are, those that are being started included."""
        return len(self._starts)

    @property
    def busy(self) -> bool:
        """Whether a job is queued or has been begun, as far as the loop has heard."""
        return bool(self._open)

    def submit(self, function: Callable[[*Ts], T], *args: *Ts, done: Callable[[Job[T]], object]) -> Job[T]:
        """Have a worker call ``function(*args)``, and then the loop call ``done(job)``, once; never suspends.

        :meth:`Job.take` gives the outcome. Raises :class:`WorkerDeadlockError` if every worker waits for the
        loop and one of them for this job, :class:`ClosedResourceError` if the pool is closed.
        """
        self.reactor._mine()
        if self.closed:
            raise ClosedResourceError("the pool of workers is closed")
        job: Job[T] = Job(self, partial(function, *args), done)
        asked_for = bool(self._asking) and self._is_asked_for()
        if asked_for:
            if len(self._asking) >= self.size:
                raise _deadlock(self.size)
            self._asked_for[job] = None
        self._open[job] = None
        self._queue.put(job)
        if self.threads < min(len(self._open), self.size):
            self._start()
        return job

    def forget(self, job: Job[object]) -> None:
        """``job`` is over."""
        del self._open[job]
        self._asked_for.pop(job, None)

    def close(self) -> None:
        """End: refuse what no worker has begun, turn until the rest has ended, and join the threads.
        Idempotent.

        To be called before the reactor is closed, and not within a turn (RuntimeError). A job that never ends
        keeps the close waiting; the interpreter is not kept.
        """
        if self.closed:
            return
        self.reactor._mine()
        if self.reactor._turning:
            self.reactor._refuse()
        self.closed = True
        self._refuse(self._open, ClosedResourceError("the pool was closed before the job was begun"))
        while self._open:
            self.reactor.turn()
        for _ in self._starts:
            self._queue.put(None)
        while self._starts:
            started, _ = self._starts.popitem()
            worker = started.get()
            if worker is not None:
                worker.join()

    # --- threads ------------------------------------------------------------------------------------

    def _start(self) -> None:
        started: Started = SimpleQueue()
        self._starts[started] = None
        start_new_thread(self._start_worker, (self.threads, started))

    def _start_worker(self, number: int, started: Started) -> None:
        """On a thread of no account, which may be suspended until the worker runs."""
        worker = Worker(self, number)
        try:
            worker.start()
        except RuntimeError as error:  # the process may have no more threads
            with suppress(ClosedReactorError):
                self.reactor.call_soon_threadsafe(self._not_started, started, error)
            started.put(None)
        else:
            started.put(worker)

    def _not_started(self, started: Started, error: RuntimeError) -> None:
        if started in self._starts:  # and has not been waited for by the close
            del self._starts[started]
            started.get()
            if not self._starts:
                self._refuse(self._open, error)

    def work(self) -> None:
        """What a worker does: claim, run, post, until it is sent home."""
        while True:
            job = self._queue.get()
            if job is None:
                return
            if job.claim():
                _on_worker.job = job
                job.run()
                with suppress(ClosedReactorError):  # nobody is left who could want the result
                    self.reactor.call_soon_threadsafe(self._ended, job)
            _on_worker.job = job = None  # an idle worker holds on to nothing

    def _refuse(self, jobs: Iterable[Job[object]], error: Exception) -> None:
        """Those of ``jobs`` that nobody has begun end with ``error``."""
        for job in jobs:
            if job.claim():
                self.reactor.call_soon(self._ended, job, error)

    def _ended(self, job: Job[object], error: Exception | None = None) -> None:
        self.forget(job)
        job.end(error)

    # --- who waits for whom -------------------------------------------------------------------------

    def asks(self, scope: CancelScope) -> None:
        """A job waits for what the loop runs in ``scope``. If it is the last worker that was left, what such
        jobs wait for and nobody has begun never will be: it is refused."""
        self._asking[scope] = None
        if len(self._asking) >= self.size:
            self._refuse(self._asked_for, _deadlock(self.size))

    def answered(self, scope: CancelScope) -> None:
        """The wait for ``scope`` is over."""
        del self._asking[scope]

    def _is_asked_for(self) -> bool:
        """Whether the running task was started, by whatever detours, by what a job waits for."""
        task = None if here.runtime is None else here.runtime.current
        scope = None if task is None else task.scope
        while scope is not None:
            if scope in self._asking:
                return True
            scope = scope.parent
        return False

    # --- the reactor with workers -------------------------------------------------------------------

    def register(
        self, resource: Resource, direction: Direction, handler: Callable[[int], object]
    ) -> WorkerRegistration:
        """Have a worker call ``handler(events)`` whenever ``resource`` is ready, once it is done with the
        last time: one worker at a time, in the order of events.

        Raises :class:`BusyResourceError` if a handler of an earlier registration of ``resource`` is still on
        its worker, and what :meth:`Reactor.register` raises.
        """
        if resource in self.handling:
            raise BusyResourceError("a worker is still in a handler of this descriptor")
        return WorkerRegistration(self, resource, direction, handler)


def _deadlock(size: int) -> WorkerDeadlockError:
    return WorkerDeadlockError(
        f"all {size} workers are in jobs that wait for the loop, and one of them for this job: "
        "it could never be begun; give the pool more workers, or let the job not wait"
    )


class WorkerRegistration:
    """A handler on workers, armed for one direction of a descriptor; made by :meth:`Workers.register`."""

    __slots__ = ("_handler", "_registration", "_resource", "_workers")

    def __init__(
        self, workers: Workers, resource: Resource, direction: Direction, handler: Callable[[int], object]
    ) -> None:
        self._workers = workers
        self._resource = resource
        self._handler = handler
        self._registration: Registration = workers.reactor.register(
            resource, direction, self._fire, Mode.ONE_SHOT
        )

    @property
    def live(self) -> bool:
        """Whether it is armed, or will be when its handler has ended."""
        return self._registration.live

    def disarm(self) -> None:
        """Begin no handler any more; one that has been begun goes on. Idempotent."""
        self._registration.disarm()

    def _fire(self, events: int) -> None:
        self._workers.submit(self._handler, events, done=self._handled)
        self._workers.handling[self._resource] = self

    def _handled(self, job: Job[object]) -> None:
        del self._workers.handling[self._resource]
        if self._registration.live:
            self._registration.rearm()
        job.take()


# --- the ways across, for coroutines ----------------------------------------------------------------------


class _Tokens(ParkingLot):
    """The tokens of a limiter, and those who wait for one."""

    __slots__ = ("borrowed", "total")

    def __init__(self, limiter: CapacityLimiter, total: int) -> None:
        super().__init__("limiter", limiter)
        self.total = total
        self.borrowed = 0

    def admit(self, _task: Task[object], /) -> bool:
        if self.borrowed == self.total:
            return False
        self.borrowed += 1
        return True


class CapacityLimiter:
    """At most ``total`` at a time: tokens that are borrowed and given back, first come first served.

    Whoever gives one back need not be the one who borrowed it; more than were borrowed are not taken. ``async
    with limiter:`` borrows one for the block. Raises ValueError for a ``total`` that lets nobody in.
    """

    __slots__ = ("_lot",)

    def __init__(self, total: int) -> None:
        if total < 1:
            raise ValueError(f"a limit of {total} lets nobody in: it is one or more")
        self._lot = _Tokens(self, total)

    @property
    def total(self) -> int:
        """How many tokens there are."""
        return self._lot.total

    @property
    def borrowed(self) -> int:
        """How many tokens are out."""
        return self._lot.borrowed

    @property
    def available(self) -> int:
        """How many tokens are there to be borrowed."""
        return self._lot.total - self._lot.borrowed

    async def acquire(self) -> None:
        """Borrow a token, waiting for one if need be; a checkpoint also if there is one."""
        await suspend(self._lot)

    def release(self) -> None:
        """Give a token back: to the one who has waited longest, or for the next. Raises RuntimeError if none
        is out."""
        if not self._lot.borrowed:
            raise RuntimeError("a token is given back that nobody has borrowed")
        self._lot.borrowed -= 1
        self._lot.let_in()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class _JobEnd(Trap):
    """That a job has ended; ``limiter``'s token is out until then, whoever waits."""

    __slots__ = ("_job", "_limiter", "_task")
    reason = "thread"

    def __init__(self, limiter: CapacityLimiter | None) -> None:
        self._limiter = limiter
        self._job: Job[object] | None = None
        self._task: Task[object] | None = None

    def arm(self, task: Task[object], /) -> None:
        self._task = task

    def abort(self, _task: Task[object], /) -> None:
        self._task = None
        if self._job is not None and self._job.withdraw():
            self._job = None
            self._give_back()

    def of(self, job: Job[T]) -> Job[T]:
        """Wait for ``job``."""
        self._job = job
        return job

    def come(self, _job: object) -> None:
        """The job has ended: wake the one who waits, if there still is one."""
        self._job = None  # which holds this, and what it was called with
        self._give_back()
        if self._task is not None:
            self._task.wake()

    def _give_back(self) -> None:
        if self._limiter is not None:
            self._limiter.release()


async def to_thread(function: Callable[[*Ts], T], *args: *Ts, limiter: CapacityLimiter | None = None) -> T:
    """Have a worker call ``function(*args)``, and suspend until it has: return its value or raise its error.

    If the task is cancelled while it waits, a job that no worker has begun is taken back, and one that has
    been begun goes on without anybody who waits for it. With ``limiter`` a token of it is out from before the
    job is submitted until it has ended. Raises :class:`WorkerDeadlockError` if a job would wait for this one,
    and no other worker is left.
    """
    task, runtime = current_task(), current_runtime()
    if limiter is not None:
        await limiter.acquire()
    try:
        if task.scope.effective:
            await suspend(CHECKPOINT)
        end = _JobEnd(limiter)
        job = end.of(runtime.workers.submit(function, *args, done=end.come))
    except BaseException:
        if limiter is not None:
            limiter.release()
        raise
    await suspend(end)
    return job.take()


class _Question(Generic[T]):
    """What a job has the loop do; ``_answered`` is released when it is done."""

    __slots__ = ("_answered", "_error", "_function", "_value", "_workers")

    def __init__(self, workers: Workers, function: Callable[[], Coroutine[Trap, None, T] | T]) -> None:
        self._workers = workers
        self._function = function
        self._answered = Lock()
        self._answered.acquire()
        self._value: T | None = None
        self._error: BaseException | None = TaskCancelledError("the loop has ended what this job waited for")

    def wait(self) -> T:
        self._answered.acquire()
        error, self._error = self._error, None  # in whose traceback this is
        if error is None:
            return self._value  # type: ignore[return-value]  # a T, since there is no error
        try:
            raise error
        finally:
            del error, self

    def ask(self) -> None:
        """On the loop's thread: call the function, and run what it gives if that is a coroutine."""
        try:
            given = self._function()
            if isinstance(given, Coroutine):
                self._spawn(given)
                return
            self._value, self._error = given, None
        except Exception as error:
            self._error = error
        except BaseException:
            self._answered.release()
            raise
        self._answered.release()

    def _spawn(self, coroutine: Coroutine[Trap, None, T]) -> None:
        try:
            current_runtime().spawn(self._run, coroutine)
        except BaseException:
            coroutine.close()
            raise

    async def _run(self, coroutine: Coroutine[Trap, None, T]) -> None:
        with CancelScope() as scope:
            self._workers.asks(scope)
            try:
                self._value, self._error = await coroutine, None
            except Exception as error:
                self._error = error
            finally:
                self._workers.answered(scope)
                self._answered.release()


@overload
def from_thread(function: Callable[[*Ts], Coroutine[Trap, None, T]], *args: *Ts) -> T: ...
@overload
def from_thread(function: Callable[[*Ts], T], *args: *Ts) -> T: ...
def from_thread(function: Callable[[*Ts], Coroutine[Trap, None, T] | T], *args: *Ts) -> T:
    """In a job: have the loop call ``function(*args)``, and wait: return its value or raise its error.

    An async function is run as a task of its own. Raises :class:`TaskCancelledError` if that task is
    cancelled, :class:`ClosedReactorError` if the loop has ended, and RuntimeError anywhere but in a job.
    """
    job = _on_worker.job
    if job is None:
        raise RuntimeError("from_thread is for jobs: this thread is no worker, or is in none")
    question = _Question(job.workers, partial(function, *args))
    job.workers.reactor.call_soon_threadsafe(question.ask)
    return question.wait()


# --- what belongs on a worker -----------------------------------------------------------------------------


Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
AddressInfo: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, Address]


def getaddrinfo(
    host: str | None,
    port: str | int | None,
    *,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> Awaitable[list[AddressInfo]]:
    """``socket.getaddrinfo`` on a worker. Of all workers at most half resolve names at a time: a name server
    that does not answer leaves the others to files (libuv pull request 1845)."""

    def resolve() -> list[AddressInfo]:
        found = socket.getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)
        return [(family, kind, protocol, name, address) for family, kind, protocol, name, address in found]

    return to_thread(resolve, limiter=current_runtime().workers.resolving)


def read_file(path: str | os.PathLike[str]) -> Awaitable[bytes]:
    """All bytes of the file at ``path``, read on a worker; raises the OSError of ``open(2)`` and
    ``read(2)``."""
    return to_thread(Path(path).read_bytes)

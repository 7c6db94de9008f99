"""WORK: an event loop and its worker threads.

A job is a function that a worker thread calls for the loop, because it may block. Its life is told from both
sides: the loop's thread tells of submitting and of what it gets, the worker of beginning and ending. What
lies between is the pool's own affair, so that any pool can be judged. A job that asks the loop to run
something, and waits for it, holds its worker all the while; a handler of a connection is a job like any
other.

The rules count jobs that have begun and not ended, whoever waits for them or has ceased to.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import Map
from loopspec.judge import EVERY, Broken, Kept, Progress
from loopspec.loop import LOOP_THREAD
from loopspec.trace import (
    Call,
    CancelRequest,
    Event,
    Handle,
    Handled,
    JobAbandon,
    JobEnd,
    JobRefuse,
    JobResult,
    JobStart,
    Pool,
    Quiescent,
    Return,
    Submit,
    Suspend,
    Uncaught,
)

SUBMIT: Final = "submit"
"""What a trace calls the handing over of a job, as the name of a call."""


@clause(
    "WORK.BLOCKING.ONLY_ON_WORKERS",
    Level.MUST,
    Kind.INV,
    Profile.POOL,
    source="event loop and I/O",
    watches={JobStart: "thread", JobEnd: "thread", Suspend: "thread"},
)
class OnlyOnWorkers(NamedTuple):
    """A blocking call runs on a worker thread, never on the loop thread."""

    # A job is what may block. That it did, and where, is the kernel's account: its thread was suspended.

    job: int | None = None

    def after(self, event: Event) -> Progress:
        match event:
            case JobStart(job=job, thread=thread):
                if thread != LOOP_THREAD:
                    return OnlyOnWorkers(job)
                return Broken(f"job {job} on a worker", "it began on the loop's thread", None)
            case Suspend() if self.job is not None:
                return Kept(None)
            case JobEnd():
                return None
            case _:
                return self


@clause(
    "WORK.RESULT.ON_LOOP_THREAD",
    Level.MUST,
    Kind.INV,
    Profile.POOL,
    source="reactor",
    watches={Submit: "job", JobEnd: "job", JobResult: "job", Quiescent: EVERY},
    also={JobAbandon: "job"},
)
class ResultOnLoopThread(NamedTuple):
    """A job's outcome is delivered once, on the loop thread."""

    # A handler of a connection is a job that nobody has submitted, and nobody waits for.

    submitted: bool = False
    ended: int | None = None
    delivered: bool = False
    abandoned: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Submit():
                return ResultOnLoopThread(submitted=True)
            case JobEnd(job=job) if self.submitted:
                return self._replace(ended=job)
            case JobAbandon():
                return self._replace(abandoned=True)
            case JobResult(job=job, thread=thread):
                return self._delivers(job, thread)
            case Quiescent() if self.ended is not None and not self.delivered and not self.abandoned:
                allowed = f"the outcome of job {self.ended} is delivered"
                return Broken(allowed, "nothing more happens, and it never was", None)
            case _:
                return self

    def _delivers(self, job: int, thread: str) -> Progress:
        after = self._replace(delivered=True)
        if self.delivered:
            return Broken(f"one outcome of job {job}", "it was delivered once more", after)
        if self.ended is None:
            return Broken(
                f"the outcome of job {job} once it has one", "it was delivered, and none was there", after
            )
        if thread != LOOP_THREAD:
            return Broken(
                f"the outcome of job {job} on the loop's thread", f"it came on thread {thread}", after
            )
        return Kept(after)


@clause(
    "WORK.SUBMIT.NEVER_SUSPENDS",
    Level.MUST,
    Kind.INV,
    Profile.POOL,
    source="concurrent.futures, whose submit starts threads and waits until they run",
    watches={Call: None, Return: None, Suspend: None},
)
class SubmitNeverSuspends(NamedTuple):
    """Submitting a job does not suspend the loop thread, however many jobs are queued."""

    call: int | None = None

    def after(self, event: Event) -> Progress:
        match event:
            case Call() if event.name == SUBMIT and event.thread == LOOP_THREAD:
                return SubmitNeverSuspends(event.call)
            case _ if self.call is None:
                return self
            case Return() if event.call == self.call:
                return Kept(SubmitNeverSuspends())
            case Suspend() if event.thread == LOOP_THREAD:
                return Broken(
                    "a job that is submitted and waits for its worker alone",
                    "the loop's thread was suspended in submitting it",
                    SubmitNeverSuspends(),
                )
            case _:
                return self


@clause(
    "WORK.HANDLER.ONE_PER_CONNECTION",
    Level.MUST,
    Kind.INV,
    Profile.POOL,
    source="reactor with worker threads; Boost.Asio issue 300",
    watches={Handle: "stream", Handled: "stream"},
)
class OnePerConnection(NamedTuple):
    """At most one worker runs a handler of a given connection at a time, and its events keep their order."""

    # Handlers that follow each other take what comes in the order in which it came: a stream has no other.
    # That they took it so is STREAM.BYTES.PREFIX's, which reads the same trace, and costs each byte of it
    # once only.

    running: int | None = None
    before: int | None = None

    def after(self, event: Event) -> Progress:
        match event:
            case Handle(stream=stream, job=job):
                after = OnePerConnection(job)
                if self.running is None:
                    return after if self.before is None else Kept(after)
                return Broken(
                    f"job {self.running} ends before another worker handles stream {stream}",
                    f"job {job} began",
                    after,
                )
            case Handled(job=job):
                return OnePerConnection(None, job) if job == self.running else self
            case _:
                return self


class _Queued(NamedTuple):
    job: int
    task: int | None
    waits: bool  #: no worker was free when it came


@clause(
    "WORK.POOL.BOUNDED",
    Level.MUST,
    Kind.INV,
    Profile.POOL,
    source="concurrent.futures",
    watches={Pool: None, Submit: None, JobStart: None, JobEnd: None},
    also={CancelRequest: None, JobAbandon: None, JobRefuse: None},
)
class PoolBounded(NamedTuple):
    """Never more jobs run than there are workers; the rest wait in order."""

    # A job of a task that is asked to end may not be handed over at all, or be taken back.

    size: int = 0
    running: Map[int, None] = Map()
    queued: tuple[_Queued, ...] = ()
    cancelled: Map[int | None, None] = Map()

    def after(self, event: Event) -> Progress:
        match event:
            case Pool(size=size):
                return self._replace(size=size)
            case Submit(job=job, task=task):
                waits = len(self.running) >= self.size
                return self._replace(queued=(*self.queued, _Queued(job, task, waits)))
            case CancelRequest(task=task):
                return self._replace(cancelled=self.cancelled.put(task, None))
            case JobAbandon(job=job) | JobRefuse(job=job):
                return self._without(job)
            case JobStart(job=job):
                return self._starts(job)
            case JobEnd(job=job):
                return self._replace(running=self.running.drop(job))
            case _:
                return self

    def _without(self, job: int) -> PoolBounded:
        return self._replace(queued=tuple(each for each in self.queued if each.job != job))

    def _starts(self, job: int) -> Progress:
        before = len(self.running)
        after = self._without(job)._replace(running=self.running.put(job, None))
        if before >= self.size:
            return Broken(f"{self.size} running jobs", f"job {job} began, and {before} were running", after)
        earlier = [each.job for each in self.queued if each.job < job and each.task not in self.cancelled]
        place = next((each for each in self.queued if each.job == job), None)
        if place is None:
            return after
        if earlier:
            return Broken(f"job {earlier[0]}, which came first", f"job {job} began before it", after)
        return Kept(after) if place.waits else after


@clause(
    "WORK.POOL.NO_SELF_DEADLOCK",
    Level.MUST,
    Kind.INV,
    Profile.POOL,
    source="concurrent.futures, ThreadPoolExecutor: deadlocks can occur when a job waits for another",
    watches={Pool: None, Submit: None, JobStart: None, JobEnd: None, Quiescent: None},
    also={JobAbandon: None, JobRefuse: None},
)
class NoSelfDeadlock(NamedTuple):
    """No job waits for a job that can run only on the worker it occupies: it is refused, or the pool
    grows."""

    # Of all jobs that another waits for, those that came when no worker was free. Such a job may be begun in
    # the end, since a job on another worker may end; what may not be is that nothing more happens before.

    size: int = 0
    running: Map[int, None] = Map()
    owed: Map[int, int] = Map()  # a job that has not been begun, and the one that waits for it

    def after(self, event: Event) -> Progress:
        match event:
            case Pool(size=size):
                return self._replace(size=size)
            case Submit(job=job, asker=int(asker)) if len(self.running) >= self.size:
                return self._replace(owed=self.owed.put(job, asker))
            case JobStart(job=job):
                after = self._replace(running=self.running.put(job, None), owed=self.owed.drop(job))
                return Kept(after) if job in self.owed else after
            case JobRefuse(job=job):
                after = self._replace(owed=self.owed.drop(job))
                return Kept(after) if job in self.owed else after
            case JobAbandon(job=job):
                return self._replace(owed=self.owed.drop(job))
            case JobEnd(job=job):
                return self._replace(running=self.running.drop(job))
            case Quiescent() if self.owed:
                job, asker = next(iter(self.owed.items()))
                return Broken(
                    f"job {job} is begun, or refused",
                    f"nothing more happens: it waits for a worker, and job {asker}, on a worker, for it",
                    self._replace(owed=Map()),
                )
            case _:
                return self


@clause(
    "WORK.CANCEL.KEEPS_WORKER_BUSY",
    Level.MUST,
    Kind.INV,
    Profile.POOL,
    source="CPython issue 107505; asyncio issue 123",
    watches={Pool: None, JobStart: None, JobEnd: None, JobAbandon: None, Uncaught: None},
    also={JobResult: None},
)
class CancelKeepsWorkerBusy(NamedTuple):
    """Cancelling the wait does not free the worker; a result that comes later is dropped without an error in
    the worker."""

    size: int = 0
    running: Map[int, str] = Map()
    abandoned: Map[int, None] = Map()
    dropping: Map[str, int] = Map()  # by thread: the job that nobody waits for, and which ended there last

    def after(self, event: Event) -> Progress:
        match event:
            case Pool(size=size):
                return self._replace(size=size)
            case JobStart(job=job, thread=thread):
                return self._starts(job, thread)
            case JobEnd(job=job, thread=thread):
                after = self._replace(running=self.running.drop(job))
                if job not in self.abandoned:
                    return after
                return Kept(after._replace(dropping=self.dropping.put(thread, job)))
            case JobAbandon(job=job):
                return self._replace(abandoned=self.abandoned.put(job, None))
            case JobResult(job=job) if job in self.abandoned:
                return Broken(f"the result of job {job} is dropped", "it was delivered", self)
            case Uncaught(thread=thread, error=error) if thread in self.dropping:
                return Broken(
                    f"the result of job {self.dropping[thread]} is dropped in silence",
                    f"its worker, thread {thread}, ended by {error}",
                    self._replace(dropping=self.dropping.drop(thread)),
                )
            case _:
                return self

    def _starts(self, job: int, thread: str) -> Progress:
        after = self._replace(running=self.running.put(job, thread), dropping=self.dropping.drop(thread))
        if len(self.running) < self.size:
            return after
        held = [other for other in self.running if other in self.abandoned]
        if not held:
            return after
        allowed = f"the worker of job {held[0]}, for which nobody waits, is busy until that job ends"
        return Broken(allowed, f"job {job} began in its place", after)


@clause(
    "WORK.ERROR.PROPAGATES",
    Level.MUST,
    Kind.INV,
    Profile.POOL,
    source="concurrent.futures, Future.exception",
    watches={JobEnd: "job", JobResult: "job"},
)
class ErrorPropagates(NamedTuple):
    """A job's exception reaches the one who waits, with its traceback."""

    error: str | None = None

    def after(self, event: Event) -> Progress:
        match event:
            case JobEnd(outcome="error", value=value):
                return ErrorPropagates(value)
            case JobResult(job=job, outcome=outcome, value=value, traced=traced) if self.error is not None:
                if (outcome, value, traced) == ("error", self.error, True):
                    return Kept(None)
                seen = f"{outcome} {value}".rstrip() + (
                    "" if traced else ", without a traceback into the job"
                )
                return Broken(f"error {self.error} of job {job}, with its traceback", seen, None)
            case _:
                return self

"""The steps of the rules of ENV; those that read a server are with SERVER's."""

from __future__ import annotations

from enum import Enum

from loopspec.env import ClockMonotonic, HandlerTerminates, KernelReports, WorkerProgresses
from loopspec.frozen import Map
from loopspec.proofs import Seen, after
from loopspec.trace import (
    Dispatch,
    HandlerEnd,
    Hang,
    JobAsk,
    JobEnd,
    JobStart,
    Polled,
    Quiescent,
    Run,
    Uncaught,
    WaitReturn,
    Worked,
)


def clock_monotonic(latest: int | None, at: int) -> Seen[ClockMonotonic]:
    """An instant is refused exactly if it lies before the latest, and is the latest from then on.

    post: _.breaks == (latest is not None and at < latest)
    post: _.next.latest == at
    """
    return after(ClockMonotonic(latest), Worked(1, at))


class Within(Enum):
    """What can happen to a handler."""

    BEGINS = Dispatch(1, 0, 0)
    ENDS = HandlerEnd(1, None)
    HANGS = Hang("loop")
    ANOTHER_HANGS = Hang("worker")


def handler_terminates(within: bool, event: Within) -> Seen[HandlerTerminates]:
    """That the loop's thread does not go on is refused exactly if it is in a handler.

    post: _.breaks == (within and event is Within.HANGS)
    post: _.shows == (event is Within.ENDS)
    """
    return after(HandlerTerminates(Run(1, 0) if within else None), event.value)


def kernel_reports(is_in: bool, is_out: bool, found_in: bool, found_out: bool) -> Seen[KernelReports]:
    """A batch is refused exactly if it lacks something that was ready.

    post: _.breaks == ((is_in and not found_in) or (is_out and not found_out))
    """
    ready, found = is_in + 4 * is_out, found_in + 4 * found_out
    batch = ((0, found),) if found else ()
    return after(KernelReports(), Polled(1, ((0, ready),)), WaitReturn(1, 0, batch, 1))


class Job(Enum):
    """What can happen to a job, and that nothing more happens."""

    ENDS = JobEnd(0, "worker", "value", "")
    ASKS = JobAsk(0, "worker")
    WORKER_DIES = Uncaught("worker", "E")
    ANOTHER_DIES = Uncaught("another", "E")
    ANOTHER_BEGINS = JobStart(1, "another")
    RESTS = Quiescent(1)


def worker_progresses(running: bool, event: Job) -> Seen[WorkerProgresses]:
    """The end is refused exactly if a job runs; one that asks the loop does not, nor one whose worker is
    lost.

    post: _.breaks == (running and event is Job.RESTS)
    post: (0 in _.next.running) == (running and event in (Job.ANOTHER_DIES, Job.ANOTHER_BEGINS))
    """
    return after(WorkerProgresses(Map({0: "worker"}) if running else Map()), event.value)

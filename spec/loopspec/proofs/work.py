"""The steps of the rules of WORK."""

from __future__ import annotations

from enum import Enum

from loopspec.frozen import Map
from loopspec.proofs import Seen, after, has
from loopspec.trace import (
    Call,
    CancelRequest,
    Handle,
    Handled,
    JobAbandon,
    JobEnd,
    JobRefuse,
    JobResult,
    JobStart,
    Quiescent,
    Return,
    Submit,
    Suspend,
    Uncaught,
)
from loopspec.work import (
    SUBMIT,
    CancelKeepsWorkerBusy,
    ErrorPropagates,
    NoSelfDeadlock,
    OnePerConnection,
    OnlyOnWorkers,
    PoolBounded,
    ResultOnLoopThread,
    SubmitNeverSuspends,
)


class Working(Enum):
    """What can happen on a thread that may be in a job."""

    STARTS = JobStart(0, "worker")
    STARTS_ON_LOOP = JobStart(0, "loop")
    SLEEPS = Suspend("worker")
    ENDS = JobEnd(0, "worker", "value", "")


def only_on_workers(inside: bool, event: Working) -> Seen[OnlyOnWorkers]:
    """A beginning is refused exactly if it is on the loop's thread; what shows anything is a suspension
    inside.

    post: _.breaks == (event is Working.STARTS_ON_LOOP)
    post: _.shows == (inside and event is Working.SLEEPS)
    """
    return after(OnlyOnWorkers(0 if inside else None), event.value)


class Delivering(Enum):
    """What can happen to a job's outcome."""

    ENDS = JobEnd(0, "worker", "value", "")
    ABANDONED = JobAbandon(1, 0)
    DELIVERED = JobResult(1, 0, "loop", "value", "", False)
    DELIVERED_THERE = JobResult(1, 0, "worker", "value", "", False)
    RESTS = Quiescent(1)


def result_on_loop_thread(
    ended: bool, delivered: bool, abandoned: bool, event: Delivering
) -> Seen[ResultOnLoopThread]:
    """A delivery is refused exactly if it is the second, or on another thread, or of nothing; and the end if
    an outcome that somebody waits for has not come.

    pre: ended or not delivered
    post: _.breaks == (_misdelivers(event, ended, delivered) or _forgets(event, ended, delivered, abandoned))
    post: _.next.delivered or event not in (Delivering.DELIVERED, Delivering.DELIVERED_THERE)
    """
    state = ResultOnLoopThread(True, 0 if ended else None, delivered, abandoned)
    return after(state, event.value)


def _misdelivers(event: Delivering, ended: bool, delivered: bool) -> bool:
    if event is Delivering.DELIVERED:
        return delivered or not ended
    return event is Delivering.DELIVERED_THERE


def _forgets(event: Delivering, ended: bool, delivered: bool, abandoned: bool) -> bool:
    return event is Delivering.RESTS and ended and not delivered and not abandoned


class Submitting(Enum):
    """What can happen to the loop's thread, which may be in a submit."""

    SUBMITS = Call(0, "loop", SUBMIT)
    RETURNS = Return(0, "loop", False)
    SLEEPS = Suspend("loop")
    ANOTHER_SLEEPS = Suspend("worker")


def submit_never_suspends(inside: bool, event: Submitting) -> Seen[SubmitNeverSuspends]:
    """A suspension is refused exactly if it is the loop's thread's, inside a submit, which has then been
    spoken of.

    post: _.breaks == (inside and event is Submitting.SLEEPS)
    post: _.shows == (inside and event is Submitting.RETURNS)
    post: not _.breaks or _.next == SubmitNeverSuspends()
    """
    return after(SubmitNeverSuspends(0 if inside else None), event.value)


class Handling(Enum):
    """What can happen to the handlers of a connection."""

    BEGINS = Handle(0, 1)
    ENDS = Handled(0, 0)


def one_per_connection(running: bool, event: Handling) -> Seen[OnePerConnection]:
    """A handler is refused exactly if the one before it has not ended.

    post: _.breaks == (running and event is Handling.BEGINS)
    post: (_.next.running is None) == (event is Handling.ENDS)
    """
    return after(OnePerConnection(0 if running else None), event.value)


def pool_bounded(size: int, busy: bool, queued: bool, cancelled: bool) -> Seen[PoolBounded]:
    """A beginning is refused exactly if all workers are busy, or an earlier job that somebody waits for has
    not begun.

    pre: 0 < size
    post: _.breaks == ((busy and size == 1) or (queued and not cancelled))
    """
    state = PoolBounded(size, has(busy))
    asked = (CancelRequest(1, 7),) if cancelled else ()
    first = (Submit(1, 1, 7, None),) if queued else ()
    return after(state, *asked, *first, Submit(1, 2, 8, None), JobStart(2, "worker"))


class Waiting(Enum):
    """What can happen to a job that another one waits for."""

    BEGINS = JobStart(1, "worker")
    REFUSED = JobRefuse(1, 1, "full")
    ABANDONED = JobAbandon(1, 1)
    ANOTHER_ENDS = JobEnd(0, "worker", "value", "")
    RESTS = Quiescent(1)


def no_self_deadlock(size: int, busy: bool, asked: bool, event: Waiting) -> Seen[NoSelfDeadlock]:
    """The end is refused exactly if a job was submitted by one on a worker when no worker was free, and has
    been neither begun nor refused.

    pre: 0 < size
    post: _.breaks == (busy and size == 1 and asked and event is Waiting.RESTS)
    post: event is Waiting.ANOTHER_ENDS or 1 not in _.next.owed
    """
    submitted = Submit(1, 1, None, 0 if asked else None)
    return after(NoSelfDeadlock(size, has(busy)), submitted, event.value)


def cancel_keeps_worker_busy(size: int, busy: bool, abandoned: bool) -> Seen[CancelKeepsWorkerBusy]:
    """A beginning is refused exactly if the workers are busy, one of them with a job that nobody waits for.

    pre: 0 < size
    post: _.breaks == (busy and abandoned and size == 1)
    """
    running = Map({0: "worker"}) if busy else Map[int, str]()
    return after(CancelKeepsWorkerBusy(size, running, has(abandoned)), JobStart(1, "worker"))


class Dropping(Enum):
    """What can become of a job's outcome."""

    DELIVERED = JobResult(1, 0, "loop", "value", "", False)
    WORKER_DIES = Uncaught("worker", "InvalidStateError")
    ANOTHER_DIES = Uncaught("another", "InvalidStateError")


def dropped_in_silence(abandoned: bool, event: Dropping) -> Seen[CancelKeepsWorkerBusy]:
    """Of a job that nobody waits for neither a result is allowed nor the end of its worker.

    post: _.breaks == (abandoned and event is not Dropping.ANOTHER_DIES)
    """
    ended = JobEnd(0, "worker", "value", "")
    state = CancelKeepsWorkerBusy(1, Map({0: "worker"}), has(abandoned))
    return after(state, ended, event.value)


def error_propagates(fails: bool, tells: bool, same: bool, traced: bool) -> Seen[ErrorPropagates]:
    """A result is refused exactly if its job has failed, and it is not that error with its traceback.

    post: _.breaks == (fails and not (tells and same and traced))
    """
    ended = JobEnd(0, "worker", "error" if fails else "value", "E")
    told = JobResult(1, 0, "loop", "error" if tells else "value", "E" if same else "F", traced)
    return after(ErrorPropagates(), ended, told)

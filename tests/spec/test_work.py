"""WORK: what a trace must show for each clause to be kept, and what breaks it."""

from __future__ import annotations

import pytest

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
    Outcome,
    Pool,
    Quiescent,
    Return,
    Submit,
    Suspend,
    Uncaught,
)
from tests.spec.judging import exercised, refusal, refused

ONLY = "WORK.BLOCKING.ONLY_ON_WORKERS"
RESULT = "WORK.RESULT.ON_LOOP_THREAD"
SUBMIT = "WORK.SUBMIT.NEVER_SUSPENDS"
HANDLER = "WORK.HANDLER.ONE_PER_CONNECTION"
BOUNDED = "WORK.POOL.BOUNDED"
DEADLOCK = "WORK.POOL.NO_SELF_DEADLOCK"
CANCEL = "WORK.CANCEL.KEEPS_WORKER_BUSY"
ERROR = "WORK.ERROR.PROPAGATES"

A, B = "worker 0", "worker 1"


def submit(job: int, *, task: int | None = None, asker: int | None = None) -> Submit:
    return Submit(0, job, task, asker)


def end(job: int, thread: str = A, outcome: Outcome = "value", value: str = "") -> JobEnd:
    return JobEnd(job, thread, outcome, value)


def result(
    job: int, thread: str = "loop", outcome: Outcome = "value", value: str = "", *, traced: bool = False
) -> JobResult:
    return JobResult(1, job, thread, outcome, value, traced)


# --- where jobs run -----------------------------------------------------------------------------------


@pytest.mark.clause(ONLY, "6eb352cf")
def test_a_job_that_suspends_its_worker_is_kept() -> None:
    assert exercised(ONLY, JobStart(0, A), Suspend(A), Suspend(A), end(0), Suspend(A)) == 1


@pytest.mark.clause(ONLY, "6eb352cf")
def test_a_job_that_suspends_nobody_shows_nothing() -> None:
    assert exercised(ONLY, Suspend("loop"), JobStart(0, A), Suspend("loop"), Suspend(B), end(0)) == 0


@pytest.mark.clause(ONLY, "6eb352cf")
def test_a_job_on_the_loops_thread_is_refused() -> None:
    trace = JobStart(0, A), JobStart(1, "loop"), end(1, "loop")
    assert refused(ONLY, *trace) == refusal(
        ONLY, trace, 1, "job 1 on a worker", "it began on the loop's thread"
    )


# --- what comes back ----------------------------------------------------------------------------------


@pytest.mark.clause(RESULT, "a9f2cea0")
def test_an_outcome_that_is_delivered_once_on_the_loops_thread_is_kept() -> None:
    assert exercised(RESULT, submit(0), end(0), result(0), Quiescent(1)) == 1


@pytest.mark.clause(RESULT, "a9f2cea0")
@pytest.mark.parametrize(
    ("trace", "position", "allowed", "observed"),
    [
        (
            (submit(0), end(0), result(0, A)),
            2,
            "the outcome of job 0 on the loop's thread",
            "it came on thread worker 0",
        ),
        ((submit(0), end(0), result(0), result(0)), 3, "one outcome of job 0", "it was delivered once more"),
        (
            (submit(0), result(0), end(0)),
            1,
            "the outcome of job 0 once it has one",
            "it was delivered, and none was there",
        ),
        (
            (submit(0), submit(1), end(0), Quiescent(1)),
            3,
            "the outcome of job 0 is delivered",
            "nothing more happens, and it never was",
        ),
    ],
    ids=["by the worker", "twice", "before the end", "never"],
)
def test_any_other_delivery_is_refused(
    trace: tuple[Event, ...], position: int, allowed: str, observed: str
) -> None:
    assert refused(RESULT, *trace) == refusal(RESULT, trace, position, allowed, observed)


@pytest.mark.clause(RESULT, "a9f2cea0")
def test_nobody_is_owed_the_outcome_of_an_abandoned_job_or_of_a_handler() -> None:
    assert exercised(RESULT, submit(0), JobAbandon(1, 0), end(0), end(1), Quiescent(1)) == 0


@pytest.mark.clause(ERROR, "60297edb")
def test_an_error_that_comes_whole_is_kept() -> None:
    trace = end(0, A, "error", "Boom1"), result(0, "loop", "error", "Boom1", traced=True)
    assert exercised(ERROR, *trace, end(1), result(1)) == 1


@pytest.mark.clause(ERROR, "60297edb")
@pytest.mark.parametrize(
    ("seen", "observed"),
    [
        (result(0, "loop", "error", "Boom1"), "error Boom1, without a traceback into the job"),
        (result(0, "loop", "error", "Boom2", traced=True), "error Boom2"),
        (result(0, "loop", "value", "", traced=True), "value"),
    ],
    ids=["without traceback", "another", "swallowed"],
)
def test_an_error_that_comes_otherwise_is_refused(seen: JobResult, observed: str) -> None:
    trace = end(0, A, "error", "Boom1"), seen
    assert refused(ERROR, *trace) == refusal(
        ERROR, trace, 1, "error Boom1 of job 0, with its traceback", observed
    )


# --- submitting ---------------------------------------------------------------------------------------


@pytest.mark.clause(SUBMIT, "c9637a44")
def test_a_submit_that_goes_on_to_its_return_is_kept() -> None:
    trace = Call(0, "loop", "submit"), Suspend(A), Return(0, "loop", delivered=False), Suspend("loop")
    assert exercised(SUBMIT, *trace) == 1


@pytest.mark.clause(SUBMIT, "c9637a44")
def test_a_worker_may_be_suspended_in_submitting() -> None:
    assert exercised(SUBMIT, Call(0, A, "submit"), Suspend(A), Return(0, A, delivered=False)) == 0


@pytest.mark.clause(SUBMIT, "c9637a44")
def test_a_submit_that_suspends_the_loops_thread_is_refused_once() -> None:
    trace = (
        Call(0, "loop", "submit"),
        Suspend("loop"),
        Suspend("loop"),
        Return(0, "loop", delivered=False),
    )
    assert refused(SUBMIT, *trace) == refusal(
        SUBMIT,
        trace,
        1,
        "a job that is submitted and waits for its worker alone",
        "the loop's thread was suspended in submitting it",
    )


# --- the bound and the order --------------------------------------------------------------------------


@pytest.mark.clause(BOUNDED, "dd3119c7")
def test_a_job_that_waits_for_its_worker_and_its_turn_is_kept() -> None:
    trace = submit(0), JobStart(0, A), submit(1), submit(2), end(0), JobStart(1, A), end(1), JobStart(2, A)
    assert exercised(BOUNDED, Pool(1), *trace) == 2


@pytest.mark.clause(BOUNDED, "dd3119c7")
def test_more_running_jobs_than_workers_are_refused() -> None:
    trace = Pool(1), submit(0), JobStart(0, A), submit(1), JobStart(1, B)
    assert refused(BOUNDED, *trace) == refusal(
        BOUNDED, trace, 4, "1 running jobs", "job 1 began, and 1 were running"
    )


@pytest.mark.clause(BOUNDED, "dd3119c7")
def test_a_job_that_overtakes_another_is_refused() -> None:
    trace = Pool(1), submit(0), submit(1), JobStart(1, A)
    assert refused(BOUNDED, *trace) == refusal(
        BOUNDED, trace, 3, "job 0, which came first", "job 1 began before it"
    )


@pytest.mark.clause(BOUNDED, "dd3119c7")
@pytest.mark.parametrize("gone", [JobAbandon(1, 0), JobRefuse(1, 0, "Refused"), CancelRequest(1, 7)])
def test_a_job_that_will_not_be_begun_is_passed_over(gone: Event) -> None:
    assert exercised(BOUNDED, Pool(1), submit(0, task=7), submit(1), gone, JobStart(1, A)) == 0
    assert refused(BOUNDED, Pool(1), submit(0, task=7), submit(1), JobStart(1, A), gone).position == 3


# --- jobs that wait for jobs --------------------------------------------------------------------------


@pytest.mark.clause(DEADLOCK, "63ed2ae1")
@pytest.mark.parametrize("resolved", [JobStart(1, B), JobRefuse(1, 1, "Refused")])
def test_a_job_that_another_waits_for_and_that_is_begun_or_refused_is_kept(resolved: Event) -> None:
    assert exercised(DEADLOCK, Pool(1), JobStart(0, A), submit(1, asker=0), resolved, Quiescent(1)) == 1


@pytest.mark.clause(DEADLOCK, "63ed2ae1")
def test_a_job_that_waits_for_the_worker_that_waits_for_it_is_refused() -> None:
    trace = Pool(1), JobStart(0, A), submit(1, asker=0), Quiescent(1)
    assert refused(DEADLOCK, *trace) == refusal(
        DEADLOCK,
        trace,
        3,
        "job 1 is begun, or refused",
        "nothing more happens: it waits for a worker, and job 0, on a worker, for it",
    )


@pytest.mark.clause(DEADLOCK, "63ed2ae1")
def test_nothing_is_shown_where_a_worker_is_free_or_nobody_waits() -> None:
    free = Pool(2), JobStart(0, A), submit(1, asker=0), JobStart(1, B), end(1), end(0)
    nobody = JobStart(2, A), JobStart(3, B), submit(4), submit(5, asker=2), JobAbandon(1, 5), Quiescent(1)
    assert exercised(DEADLOCK, *free, *nobody) == 0


# --- cancelled waits ----------------------------------------------------------------------------------


@pytest.mark.clause(CANCEL, "4ba8a8f4")
def test_a_worker_that_ends_its_abandoned_job_and_takes_another_is_kept() -> None:
    trace = Pool(1), JobStart(0, A), JobAbandon(1, 0), end(0), JobStart(1, A), Uncaught(A, "Boom"), end(1)
    assert exercised(CANCEL, *trace) == 1


@pytest.mark.clause(CANCEL, "4ba8a8f4")
def test_a_job_in_the_place_of_an_abandoned_one_is_refused() -> None:
    trace = Pool(1), JobStart(0, A), JobAbandon(1, 0), JobStart(1, B)
    assert refused(CANCEL, *trace) == refusal(
        CANCEL,
        trace,
        3,
        "the worker of job 0, for which nobody waits, is busy until that job ends",
        "job 1 began in its place",
    )


@pytest.mark.clause(CANCEL, "4ba8a8f4")
def test_a_job_beside_an_abandoned_one_is_no_breach() -> None:
    assert exercised(CANCEL, Pool(2), JobStart(0, A), JobAbandon(1, 0), JobStart(1, B)) == 0
    assert exercised(CANCEL, Pool(1), JobStart(0, A), JobStart(1, B)) == 0  # that is another clause's


@pytest.mark.clause(CANCEL, "4ba8a8f4")
def test_a_worker_that_dies_of_a_dropped_result_is_refused() -> None:
    trace = Pool(1), JobStart(0, A), JobAbandon(1, 0), end(0), Uncaught(A, "InvalidStateError")
    assert refused(CANCEL, *trace) == refusal(
        CANCEL,
        trace,
        4,
        "the result of job 0 is dropped in silence",
        "its worker, thread worker 0, ended by InvalidStateError",
    )


@pytest.mark.clause(CANCEL, "4ba8a8f4")
def test_a_dropped_result_that_is_delivered_is_refused() -> None:
    trace = Pool(1), JobStart(0, A), JobAbandon(1, 0), end(0), result(0)
    assert refused(CANCEL, *trace) == refusal(
        CANCEL, trace, 4, "the result of job 0 is dropped", "it was delivered"
    )


# --- handlers -----------------------------------------------------------------------------------------


@pytest.mark.clause(HANDLER, "9224464c")
def test_a_handler_that_begins_when_the_one_before_has_ended_is_kept() -> None:
    trace = Handle(0, 0), Handle(1, 1), Handled(0, 0), Handle(0, 2), Handled(0, 2)
    assert exercised(HANDLER, *trace) == 1


@pytest.mark.clause(HANDLER, "9224464c")
def test_a_handler_beside_another_of_its_connection_is_refused() -> None:
    trace = Handle(0, 0), Handle(0, 1), Handled(0, 0), Handled(0, 1)
    assert refused(HANDLER, *trace) == refusal(
        HANDLER, trace, 1, "job 0 ends before another worker handles stream 0", "job 1 began"
    )

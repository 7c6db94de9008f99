"""ENV: what a trace must show for the world to have kept what is asked of it."""

from __future__ import annotations

import select

import pytest

from loopspec.server import ARCHITECTURES
from loopspec.trace import (
    AtRest,
    Await,
    Connect,
    Dispatch,
    Done,
    Event,
    HalfClose,
    HandlerEnd,
    Hang,
    JobAsk,
    JobEnd,
    JobStart,
    Leave,
    Polled,
    Quiescent,
    Receive,
    Reset,
    Run,
    Send,
    Serves,
    Step,
    StopReading,
    TimerArm,
    TimerFire,
    Uncaught,
    WaitReturn,
    Worked,
)
from tests.spec.judging import exercised, judge, refusal, refused

CLOCK = "ENV.CLOCK.MONOTONIC"
HANDLER = "ENV.HANDLER.TERMINATES"
KERNEL = "ENV.KERNEL.REPORTS"
WORKER = "ENV.WORKER.PROGRESSES"
PEER = "ENV.PEER.ARBITRARY"

IN, OUT, HUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP


# --- the clock --------------------------------------------------------------------------------------------


def instants(at: int) -> tuple[Event, ...]:
    return (
        *(WaitReturn(1, at, (), 8), TimerArm(1, 0, at, 5, at + 5), TimerFire(1, 0, at)),
        *(Step(1, 0, at), Worked(1, at)),
    )


@pytest.mark.clause(CLOCK, "56e073e3")
def test_a_clock_that_runs_or_stands_is_kept() -> None:
    assert exercised(CLOCK, *instants(5), *instants(5)) == 0
    assert exercised(CLOCK, *instants(5), *instants(6)) == 1


@pytest.mark.clause(CLOCK, "56e073e3")
@pytest.mark.parametrize("later", instants(4), ids=lambda event: type(event).__name__)
def test_an_earlier_instant_is_refused(later: Event) -> None:
    trace = WaitReturn(1, 5, (), 8), later
    assert refused(CLOCK, *trace) == refusal(CLOCK, trace, 1, "an instant from 5 ns on", "it is 4 ns")


@pytest.mark.clause(CLOCK, "56e073e3")
def test_an_instant_is_held_against_the_latest_even_if_that_was_refused() -> None:
    instants = [WaitReturn(1, at, (), 8) for at in (5, 4, 4, 3, 4)]
    judge_of = judge(CLOCK, *instants)
    assert [violation.position for violation in judge_of.violations] == [1, 3]
    assert judge_of.findings[CLOCK].exercised == 3  # both refusals, and the last


# --- handlers ---------------------------------------------------------------------------------------------

STARTS: dict[str, Event] = {
    "the handler of registration 3": Dispatch(1, 3, 0),
    "the handler of timer 3": TimerFire(1, 3, 0),
    "callback 3": Run(1, 3),
    "the step of task 3": Step(1, 3, 0),
}


@pytest.mark.clause(HANDLER, "35455748")
@pytest.mark.parametrize("end", [HandlerEnd(1, None), Await(1, 3, "sleep", 9), Done(1, 3, "value", "")])
def test_a_handler_that_ends_or_suspends_is_kept(end: Event) -> None:
    assert exercised(HANDLER, Run(1, 3), end) == 1


@pytest.mark.clause(HANDLER, "35455748")
@pytest.mark.parametrize("named", STARTS)
def test_a_handler_that_does_not_end_is_refused(named: str) -> None:
    trace = STARTS[named], Hang("loop")
    assert refused(HANDLER, *trace) == refusal(HANDLER, trace, 1, f"{named} ends", "it does not")


@pytest.mark.clause(HANDLER, "35455748")
def test_what_hangs_outside_of_a_handler_is_none() -> None:
    assert exercised(HANDLER, Hang("loop")) == 0
    assert exercised(HANDLER, Run(1, 3), Hang("hand")) == 0


# --- the kernel -------------------------------------------------------------------------------------------


@pytest.mark.clause(KERNEL, "ed26409e")
@pytest.mark.parametrize("batch", [((0, IN),), ((0, IN | HUP), (1, OUT)), ((0, OUT), (0, IN))])
def test_a_wait_that_reports_what_is_ready_is_kept(batch: tuple[tuple[int, int], ...]) -> None:
    assert exercised(KERNEL, Polled(1, ((0, IN),)), WaitReturn(2, 0, batch, 8)) == 1


@pytest.mark.clause(KERNEL, "ed26409e")
@pytest.mark.parametrize(
    ("batch", "observed"),
    [((), "there is none"), (((1, IN),), "there is none"), (((0, OUT),), "with mask 0x4")],
)
def test_a_wait_that_leaves_out_what_is_ready_is_refused(
    batch: tuple[tuple[int, int], ...], observed: str
) -> None:
    trace = Polled(1, ((0, IN | OUT),)), WaitReturn(2, 0, batch, 8)
    assert refused(KERNEL, *trace) == refusal(
        KERNEL, trace, 1, "a report of fd 0 with mask 0x5: it is ready", observed
    )


@pytest.mark.clause(KERNEL, "ed26409e")
def test_a_wait_with_nothing_ready_shows_nothing() -> None:
    assert exercised(KERNEL, Polled(1, ()), WaitReturn(2, 0, (), 8)) == 0
    assert exercised(KERNEL, WaitReturn(2, 0, (), 8)) == 0


# --- workers ----------------------------------------------------------------------------------------------

BEGINS = JobStart(0, "worker 0")


@pytest.mark.clause(WORKER, "f13a5b81")
def test_a_job_that_ends_is_kept() -> None:
    assert exercised(WORKER, BEGINS, JobEnd(0, "worker 0", "value", ""), Quiescent(9)) == 1


@pytest.mark.clause(WORKER, "f13a5b81")
@pytest.mark.parametrize("excuse", [Uncaught("worker 0", "SystemExit"), JobAsk(0, "worker 0")])
def test_a_job_whose_worker_is_lost_or_that_waits_for_the_loop_is_excused(excuse: Event) -> None:
    assert exercised(WORKER, BEGINS, excuse, Quiescent(9)) == 0


@pytest.mark.clause(WORKER, "f13a5b81")
def test_a_job_that_runs_when_nothing_more_happens_is_refused() -> None:
    trace = BEGINS, Uncaught("worker 1", "SystemExit"), Quiescent(9)
    assert refused(WORKER, *trace) == refusal(
        WORKER, trace, 2, "all jobs have ended", "nothing more happens, and job 0 on worker 0 runs"
    )


# --- peers ------------------------------------------------------------------------------------------------

REST = AtRest(1, 1, 5, "epoll_wait", None, ())
ENDED = AtRest(0, 0, 0, "ended", None, ())
HERE = Connect(0, echo=False), Connect(1, echo=False), REST


@pytest.mark.clause(PEER, "a3a0344d")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    "act", [Send(0, b"echo"), StopReading(0), Leave(0), Reset(0)], ids=lambda event: type(event).__name__
)
def test_a_server_that_goes_on_after_anything_is_kept(architecture: str, act: Event) -> None:
    assert exercised(PEER, Serves(architecture), *HERE, act, REST, REST) == 1


@pytest.mark.clause(PEER, "a3a0344d")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_server_that_a_client_brings_to_its_end_is_refused(architecture: str) -> None:
    trace = Serves(architecture), *HERE, Reset(0), ENDED
    assert refused(PEER, *trace) == refusal(
        PEER, trace, 5, "a server that goes on, whatever clients do", "it has ended"
    )


@pytest.mark.clause(PEER, "a3a0344d")
def test_a_server_that_serves_nobody_after_an_act_of_one_is_refused() -> None:
    trace = Serves("coroutine"), *HERE, StopReading(0), Send(1, b"echo a\n"), REST
    assert refused(PEER, *trace).position == len(trace) - 1


@pytest.mark.clause(PEER, "a3a0344d")
def test_a_server_that_dismisses_a_client_for_its_half_close_is_refused() -> None:
    trace = Serves("coroutine"), *HERE, Send(0, b"echo a\n"), HalfClose(0), Receive(0, b"")
    assert refused(PEER, *trace).position == len(trace) - 1

"""The survey of real calls, on the live kernel: what falls where, and what the rules of CALL say of it."""

from __future__ import annotations

import io
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from loopspec.clause import Profile, select
from loopspec.conformance import calls
from loopspec.conformance.calls import Measured
from loopspec.judge import Judge, Verdict
from tests.mutants.call import SURVEY_MUTANTS
from tests.mutants.table import Mutant

ROOT = Path(__file__).parent.parent.parent
KERNEL = [entry for entry in select(["CALL"]) if entry.profile is Profile.KERNEL]


@pytest.fixture(scope="module")
def survey() -> tuple[Measured, ...]:
    return calls.measure()


def named(survey: tuple[Measured, ...], title: str) -> Measured:
    (one,) = (one for one in survey if one.title == title)
    return one


def judged(survey: tuple[Measured, ...]) -> Judge:
    judge = Judge(KERNEL, calls.SHOWS)
    for event in calls.events(survey):
        judge.after(event)
    return judge


@pytest.mark.clause("CALL.BLOCKING.SUSPENDS_CALLER", "3dffd29b")
@pytest.mark.clause("CALL.NONBLOCKING.IS_COMPLEMENT", "7ffaffdf")
@pytest.mark.clause("CALL.EAGAIN.INSTEAD_OF_SUSPENSION", "f9eabb56")
@pytest.mark.clause("CALL.REGULAR_FILE.CANNOT_POLL", "4401dc8c")
@pytest.mark.clause("CALL.SYNC.NEED_NOT_BLOCK", "9d6533c4")
@pytest.mark.clause("CALL.NONBLOCKING.NEED_NOT_BE_ASYNC", "8786a172")
def test_this_kernel_keeps_every_clause_that_binds_it(survey: tuple[Measured, ...]) -> None:
    judge = judged(survey)
    assert judge.violations == []
    assert {finding.verdict for finding in judge.findings.values()} == {Verdict.PASS}


def test_no_call_of_the_kernel_is_blocking_and_asynchronous(survey: tuple[Measured, ...]) -> None:
    assert [one.title for one in survey if one.on and calls.breaches(one)] == []
    kept = [one for one in survey if not calls.breaches(one)]
    assert {(one.blocking, one.delivered) for one in kept} == {(True, True), (False, True), (False, False)}


@pytest.mark.clause("CALL.SYNC.NEED_NOT_BLOCK", "9d6533c4", witness=True)
@pytest.mark.clause("CALL.NONBLOCKING.NEED_NOT_BE_ASYNC", "8786a172", witness=True)
def test_recv_on_a_blocking_socket_with_data_is_nonblocking_and_synchronous(
    survey: tuple[Measured, ...],
) -> None:
    one = named(survey, "recv: data there")
    assert (one.nonblocking_mode, one.blocking, one.delivered) == (False, False, True)


@pytest.mark.parametrize(
    "title",
    [
        "recv: no data",
        "send: no room",
        "accept: no client",
        "connect: Unix, backlog full",
        "read: empty pipe",
        "write: full pipe",
        "epoll_wait: no time-out, nothing ready",
        "read: eventfd at 0",
        "Lock.acquire: held",
    ],
)
def test_two_accounts_agree_that_a_released_call_slept(survey: tuple[Measured, ...], title: str) -> None:
    one = named(survey, title)
    assert one.seen is not None
    assert one.blocking


def test_a_nonblocking_connect_goes_on_and_is_settled_by_so_error(survey: tuple[Measured, ...]) -> None:
    one = named(survey, "connect: TCP, nonblocking")
    assert (one.error, one.delivered, one.inside, one.later) == ("EINPROGRESS", False, 0, 1)


def test_the_survey_finds_the_callback_that_runs_inside(survey: tuple[Measured, ...]) -> None:
    one = named(survey, "Future.add_done_callback: future is done")
    assert calls.breaches(one) == ("CALL.CALLBACK.NEVER_INSIDE",)


@pytest.mark.clause("CALL.BLOCKING.IMPLIES_SYNC", "da72c879")
def test_a_submit_that_starts_its_worker_breaks_the_law_whenever_it_is_suspended(
    survey: tuple[Measured, ...],
) -> None:
    """It waits for the new thread to run: whether it is suspended for that is the scheduler's affair."""
    one = named(survey, "executor.submit: worker to be started, callback")
    assert not one.delivered
    assert calls.breaches(replace(one, suspensions=(1,) * 5)) == ("CALL.BLOCKING.IMPLIES_SYNC",)
    assert calls.breaches(replace(one, suspensions=(0,) * 5)) == ()


def held() -> tuple[int, int]:
    """How many threads and descriptors this process has."""
    return threading.active_count(), sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_survey_leaves_no_thread_and_no_descriptor_behind(survey: tuple[Measured, ...]) -> None:
    before = held()
    calls.measure()
    assert held() == before


def test_the_table_shows_every_call_and_says_why_one_quadrant_is_empty(survey: tuple[Measured, ...]) -> None:
    out = io.StringIO()
    Console(file=out, width=400).print(calls.render(survey))
    text = out.getvalue()
    assert [one.title for one in survey if one.title not in text] == []
    assert "empty: whoever is suspended" in text


@pytest.mark.parametrize("mutant", SURVEY_MUTANTS, ids=lambda mutant: mutant.name)
def test_a_wrong_account_of_a_call_breaks_its_clause(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (ROOT / mutant.path).read_text()
    assert source.count(mutant.old) == 1, "what the mutant changes must occur exactly once"
    module = ModuleType("mutated_calls")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(source.replace(mutant.old, mutant.new), mutant.path, "exec"), module.__dict__)
    judge = Judge(select([mutant.clause]), calls.SHOWS)
    for event in module.events(module.measure()):
        judge.after(event)
    assert judge.findings[mutant.clause].verdict is Verdict.FAIL

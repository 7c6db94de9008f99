"""Accuracy on the corpus, on each loop: by counts and lines, never by the time that something took."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from loopspec.watching.steps import Step, Verdict
from tests.watching.corpus import CASES, Case
from tests.watching.runs import LOOPS, Outcome, outcome

pytestmark = [pytest.mark.full, pytest.mark.parametrize("loop", LOOPS)]


@cache
def first(loop: str) -> Outcome:
    return outcome(loop, CASES)


@cache
def second(loop: str) -> Outcome:
    """A run with calls located of the cases that were too short to be looked at."""
    steps = first(loop).steps
    return outcome(
        loop, [case for case in CASES if case.name in steps and not steps[case.name].stack], locating=True
    )


def of(sort: str) -> list[Case]:
    return [case for case in CASES if case.sort == sort]


def verdicts(loop: str, *sorts: str) -> dict[str, Verdict]:
    steps = first(loop).steps
    return {
        case.name: steps[case.name].verdict if case.name in steps else Verdict.RAN
        for sort in sorts
        for case in of(sort)
    }


def blamed(loop: str) -> Iterator[tuple[Case, Step]]:
    """Every blocking case with its step, from the run in which the place is known."""
    steps, again = first(loop).steps, second(loop).steps
    for case in of("blocks"):
        if case.name in steps:
            step = steps[case.name]
            yield case, step if step.stack else again.get(case.name, step)


def test_the_corpus_is_large_enough(loop: str) -> None:
    assert len(CASES) >= 50
    assert {case.sort for case in CASES} == {"blocks", "fine", "computes", "contends"}


@pytest.mark.clause("LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT", "9d4423d4")
def test_every_blocking_case_is_found(loop: str) -> None:
    """A case counts that the kernel says was suspended: a sleep that is preempted as it begins is none, nor
    is a read from a disk that was quicker than its reader. A short one in which the lock happened to change
    hands, because the onlooker had something to tell of the step before, is known by the second run."""
    found, counts, again = verdicts(loop, "blocks"), first(loop).counts, second(loop).steps
    suspended = {name: verdict for name, verdict in found.items() if counts[name].usage}
    missed = {
        name: verdict
        for name, verdict in suspended.items()
        if verdict is not Verdict.BLOCKED
        and not (name in again and again[name].verdict is Verdict.BLOCKED and again[name].located)
    }
    assert missed == {}
    assert len(suspended) >= len(found) - 3


@pytest.mark.clause("LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT", "9d4423d4")
def test_no_fine_case_and_no_computing_one_is_accused(loop: str) -> None:
    found = verdicts(loop, "fine", "computes", "contends")
    assert {name: verdict for name, verdict in found.items() if verdict is Verdict.BLOCKED} == {}


def test_the_ring_and_the_count_of_the_kernel_agree_on_every_step(loop: str) -> None:
    counts = first(loop).counts
    assert len(counts) == len(CASES)
    assert {name: both for name, both in counts.items() if both.ring != both.usage} == {}


def test_a_step_is_told_exactly_if_the_count_has_moved(loop: str) -> None:
    found = first(loop)
    for case in CASES:
        if found.counts[case.name].usage:
            assert found.steps[case.name].times >= found.counts[case.name].usage, case.name


def test_the_right_line_is_blamed(loop: str) -> None:
    lines = first(loop).lines
    wrong = {
        case.name: step.place
        for case, step in blamed(loop)
        if step.place is None or (step.place.file, step.place.line) != (CASES_FILE, lines[case.name])
    }
    assert len(wrong) <= 0.1 * len(of("blocks")), wrong


def test_the_right_system_call_is_named_of_what_lasts(loop: str) -> None:
    long = [case for case in of("blocks") if case.calls]
    steps = first(loop).steps
    wrong = {
        case.name: [str(sample) for sample in steps[case.name].samples]
        for case in long
        if not any(sample.call in case.calls for sample in steps[case.name].samples)
    }
    assert len(wrong) <= 0.1 * len(long), wrong


CASES_FILE = CASES[0].prepare.__code__.co_filename

"""What counts and samples come to, as one table; and how steps are grouped, allowed and told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loopspec.conformance import watch_report
from loopspec.watching.steps import CLAUSE, MS, Frame, Located, Sample, Seen, Step, Verdict, grouped

STEP = Step("asyncio", "task", "Task-1 f", 1, 10, 5 * MS, 0, 0, 0, handed=False)
SLEEP = Sample("clock_nanosleep", "", "hrtimer_nanosleep", False)
LOCK = Sample("futex", "", "futex_do_wait", True)
RUNNING = Sample(None, "", "", False)
FRAME = Frame("/app/handler.py", 7, "app.handler")
DEEP = Frame("/app/deep.py", 9, "app.deep.inner")


@pytest.mark.parametrize(
    ("times", "handed", "samples", "verdict"),
    [
        (0, False, (), Verdict.RAN),
        (0, True, (RUNNING,), Verdict.RAN),
        (1, False, (), Verdict.BLOCKED),
        (1, True, (), Verdict.UNKNOWN),
        (1, None, (), Verdict.UNKNOWN),
        (1, True, (SLEEP,), Verdict.BLOCKED),
        (1, True, (LOCK,), Verdict.GIL),
        (2, True, (LOCK, SLEEP), Verdict.BLOCKED),
        (3, True, (RUNNING,), Verdict.RAN),
        (4, True, (RUNNING,), Verdict.UNKNOWN),
        (1, False, (RUNNING,), Verdict.BLOCKED),
    ],
)
def test_the_verdict(times: int, handed: bool | None, samples: tuple[Sample, ...], verdict: Verdict) -> None:
    step = replace(STEP, times=times, handed=handed, samples=samples, looks=len(samples))
    assert step.verdict is verdict


def test_preemption_is_no_suspension_and_no_processor_time() -> None:
    step = replace(STEP, held=200 * MS, preempted=150 * MS)
    assert (step.verdict, step.cpu, step.holds) == (Verdict.RAN, 50 * MS, True)


def test_a_step_that_blocks_does_not_hold() -> None:
    assert not replace(STEP, held=200 * MS, times=1, suspended=190 * MS).holds


def test_a_step_is_allowed_by_any_function_around_it() -> None:
    step = replace(STEP, times=1, stack=(FRAME, DEEP))
    assert step.allowed(["app.handler"])
    assert step.allowed(["app.deep.*"])
    assert not step.allowed(["app"])


def test_a_step_that_nobody_looked_at_is_allowed_by_nothing() -> None:
    assert not replace(STEP, times=1).allowed(["*"])


def test_a_step_with_one_call_that_is_not_allowed_is_not() -> None:
    located = (Located("time.sleep", (FRAME,), 1, 1), Located("os.fsync", (DEEP,), 1, 1))
    step = replace(STEP, times=2, located=located)
    assert not step.allowed(["app.handler"])
    assert step.allowed(["app.handler", "os.fsync"])


def test_groups_are_by_place_and_the_costliest_first() -> None:
    cheap = replace(STEP, times=1, suspended=MS, stack=(FRAME,), samples=(SLEEP,))
    dear = replace(cheap, suspended=9 * MS, stack=(DEEP,))
    groups = grouped([cheap, dear, cheap], "blocked")
    assert [(group.place, len(group.steps), group.total) for group in groups] == [
        (DEEP, 1, 9 * MS),
        (FRAME, 2, 2 * MS),
    ]


def test_the_report_names_the_clause_the_sensor_the_call_and_the_way_out() -> None:
    step = replace(STEP, times=1, suspended=3 * MS, stack=(FRAME,), samples=(SLEEP,))
    text = "\n".join(watch_report.lines(Seen("clock", ("no ring (x): y",), (step,))))
    assert f"{CLAUSE}@{watch_report.citation().partition('@')[2]}" in text
    for part in (
        "sensor clock, a guess",
        "lost: no ring (x): y",
        "handler.py:7",
        "3 ms",
        "clock_nanosleep()",
    ):
        assert part in text
    assert "instead: await asyncio.sleep()" in text


def test_the_page_escapes_what_the_program_calls_its_tasks() -> None:
    step = replace(STEP, name="<script>", times=1, suspended=MS)
    text = watch_report.page(Seen("ring", (), (step,)), "a & b")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert text.count("<rect") == 1

"""What a rule remembers of what is over: so many, and no more, so that a trace may be of any length.

Each such rule is shown as many as it remembers, and one more, and is then told again of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from loopspec.ready import Waiting
from loopspec.trace import (
    Enqueue,
    Event,
    HandlerEnd,
    Post,
    Quiescent,
    Report,
    Run,
    TimerArm,
    TimerFire,
    WaitBegin,
)
from tests.spec.judging import judge

FIRED, TOLD_LATE = 32, 64

Trace = tuple[Event, ...]


def after(count: int, one: Callable[[int], Iterable[Event]], *then: Event) -> Trace:
    return (*(event for number in range(count) for event in one(number)), *then)


def fired(timer: int) -> Iterable[Event]:
    return TimerArm(0, timer, 0, 0, 0), TimerFire(1, timer, 0)


def reported(error: int) -> Iterable[Event]:
    return HandlerEnd(1, f"Boom{error}"), Report(1, f"Boom{error}")


def ran(callback: int) -> Iterable[Event]:
    return (Run(1, callback),)


@pytest.mark.parametrize(
    ("clause", "remembered", "one", "then"),
    [
        ("TIMER.FIRE.NEVER_EARLY", FIRED, fired, [TimerFire(1, 0, 0)]),
        ("LOOP.HANDLER.ERROR_CONTAINED", FIRED, reported, [Report(1, "Boom0")]),
    ],
)
def test_what_comes_a_second_time_is_refused_while_the_first_is_remembered(
    clause: str, remembered: int, one: Callable[[int], Iterable[Event]], then: list[Event]
) -> None:
    assert len(judge(clause, *after(remembered, one, *then)).violations) == 1
    assert judge(clause, *after(remembered + 1, one, *then)).violations == []


@pytest.mark.parametrize(
    ("clause", "remembered", "then"),
    [
        ("LOOP.CALLBACK.FIFO", FIRED, [Post(1, 0, "loop"), Enqueue(1, -1), Run(1, -1)]),
        ("LOOP.WAIT.TIMEOUT", FIRED, [Post(1, 0, "a"), WaitBegin(1, None)]),
        ("WAKE.POST.NOT_LOST", TOLD_LATE, [Post(1, 0, "a"), Quiescent(1)]),
    ],
)
def test_a_post_that_is_told_of_late_waits_for_nothing_while_its_run_is_remembered(
    clause: str, remembered: int, then: list[Event]
) -> None:
    assert judge(clause, *after(remembered, ran, *then)).violations == []
    assert len(judge(clause, *after(remembered + 1, ran, *then)).violations) == 1


def test_what_is_ready_knows_of_as_many_posts_that_are_told_of_late() -> None:
    def ready(count: int) -> int:
        waiting = Waiting()
        for event in after(count, ran, Post(1, 0, "a")):
            waiting = waiting.after(event, 0)
        return len(waiting.ready)

    assert (ready(TOLD_LATE), ready(TOLD_LATE + 1)) == (0, 1)

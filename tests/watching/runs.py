"""Runs acts as steps of their own, on each loop, and gives what was seen of each by its name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack, suppress
from resource import RUSAGE_THREAD, getrusage
from typing import NamedTuple

import trio
import uvloop

from loopspec.watching.sensors import Ring
from loopspec.watching.session import acquire, release
from loopspec.watching.steps import Step
from tests.watching.corpus import Act, Case

Run = Callable[[Callable[[str, Act], Awaitable[None]]], Awaitable[None]]


class Counts(NamedTuple):
    """What two sensors say of one act, both asked around it."""

    ring: int
    usage: int


class Outcome(NamedTuple):
    """The steps that were noted, by the name of the act; what the sensors counted; the line of each act."""

    steps: dict[str, Step]
    counts: dict[str, Counts]
    lines: dict[str, int]


LOOPS = ("asyncio", "uvloop", "trio")


def pause() -> None:
    """Be suspended, for the shortest time there is.

    A sleep that is preempted as it begins may be over before it is resumed, and was then no suspension.
    """
    before = getrusage(RUSAGE_THREAD).ru_nvcsw
    while getrusage(RUSAGE_THREAD).ru_nvcsw == before:
        time.sleep(1e-9)


async def _step(act: Act) -> None:
    with suppress(Exception):
        act()


async def _on_asyncio(name: str, act: Act) -> None:
    await asyncio.create_task(_step(act), name=name)


async def _on_trio(name: str, act: Act) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_step, act, name=name)


def run_on(loop: str, program: Run) -> None:
    """Run ``program`` on ``loop``; it is given what runs an act as a step."""
    match loop:
        case "asyncio":
            asyncio.run(_made(program, _on_asyncio))
        case "uvloop":
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_made(program, _on_asyncio))
        case _:
            trio.run(program, _on_trio)


async def _made(program: Run, step: Callable[[str, Act], Awaitable[None]]) -> None:
    await program(step)


def outcome(loop: str, cases: Iterable[Case], *, locating: bool = False) -> Outcome:
    """Run every one of ``cases`` on ``loop``, each as a step by the case's name."""
    session = acquire()
    session.locating = locating
    mark = session.mark()
    counts: dict[str, Counts] = {}
    lines: dict[str, int] = {}
    ring = Ring()

    def counted(name: str, act: Act) -> Act:
        def both() -> None:
            head, usage = ring.read(), getrusage(RUSAGE_THREAD).ru_nvcsw
            try:
                act()
            finally:
                now = getrusage(RUSAGE_THREAD).ru_nvcsw
                counts[name] = Counts(ring.since(head, ring.read()).times, now - usage)

        return both

    async def program(step: Callable[[str, Act], Awaitable[None]]) -> None:
        for case in cases:
            with ExitStack() as stack:
                act = case.prepare(stack)
                lines[case.name] = act.__code__.co_firstlineno
                await step(case.name, counted(case.name, act))

    try:
        run_on(loop, program)
        steps = {step.name.split()[0]: step for step in session.since(mark).steps}
    finally:
        session.forget(mark)
        release(session)
        ring.close()
    return Outcome(steps, counts, lines)

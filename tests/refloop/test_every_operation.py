"""What every public asynchronous operation keeps, whichever it is: called ready and not ready, cancelled at
each of its checkpoints, before and after what it waits for has come, in the same turn."""

from __future__ import annotations

import gc
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, suppress
from typing import NamedTuple

import pytest

from refloop import (
    Instrument,
    Reactor,
    Returned,
    Runtime,
    State,
    Task,
    TaskCancelledError,
    Trap,
    WasCancelled,
    checkpoint,
    current_runtime,
)
from refloop.workers import Worker
from tests.refloop.fake_kernel import FakeKernel, open_descriptors
from tests.refloop.operations import BESIDES, CLOSABLE, OPERATIONS, READY_FROM_THE_START, Make, Site, public

MOST_CHECKPOINTS = 12
"""More than any operation has: a bound, so that a loop without end is a failure and not a hang."""


class Suspensions(Instrument):
    """Counts how often ``task`` has been suspended, and calls ``then`` at the ``at``-th time."""

    def __init__(self) -> None:
        self.task: Task[object] | None = None
        self.count = 0
        self.at = 0
        self.then: Callable[[], object] = lambda: None

    def after_task_step(self, task: Task[object]) -> None:
        if task is self.task and task.state is not State.DONE:
            self.count += 1
            if self.count == self.at:
                self.then()


@pytest.fixture
def suspensions() -> Suspensions:
    return Suspensions()


@pytest.fixture
def runtime(reactor: Reactor, suspensions: Suspensions) -> Iterator[Runtime]:
    runtime = Runtime(reactor, [suspensions])
    yield runtime
    runtime.close()


async def call(site: Site) -> None:
    await site.call()


async def settle() -> None:
    """Let everybody come to where they wait."""
    for _ in range(6):
        await checkpoint()


def run(runtime: Runtime, make: Make, main: Callable[[Site], Awaitable[None]]) -> None:
    async def started() -> None:
        with ExitStack() as stack:
            site = make(stack)
            await settle()
            await main(site)

    runtime.run_until_done(runtime.spawn(started))


every_operation = pytest.mark.parametrize("name", sorted(OPERATIONS))


def test_every_public_operation_is_among_them() -> None:
    """A new one joins by being public: say in tests/refloop/operations.py how it is made ready."""
    assert set(OPERATIONS) == public() | BESIDES


@every_operation
def test_each_successful_call_lets_the_others_run(runtime: Runtime, name: str) -> None:
    steps = 0

    async def sibling() -> None:
        nonlocal steps
        while True:
            steps += 1
            await checkpoint()

    async def main(site: Site) -> None:
        task = runtime.spawn(sibling)
        for _ in range(4):
            site.ready()
            before = steps
            await site.call()
            assert steps > before
        task.cancel()

    run(runtime, OPERATIONS[name], main)


@every_operation
def test_a_call_that_is_not_ready_waits_until_it_is(runtime: Runtime, name: str) -> None:
    async def main(site: Site) -> None:
        task = runtime.spawn(call, site)
        await settle()
        if name not in READY_FROM_THE_START:  # of those a worker may have ended one that has not run since
            assert task.state is State.WAITING
            site.ready()
        await task.join()

    run(runtime, OPERATIONS[name], main)


@every_operation
@pytest.mark.parametrize("acts", ["cancel", "ready, cancel", "cancel, ready"])
def test_cancelled_at_any_checkpoint_it_is_done_or_undone_and_the_next_is_served(
    kernel: FakeKernel, name: str, acts: str
) -> None:
    """Given two calls, when the first is cancelled at its n-th checkpoint, then it has its effect or none,
    and the second is served: with what the first did not take, or with what comes next. For each n."""
    for at in range(1, MOST_CHECKPOINTS):
        if not _cancelled_at(kernel, name, acts.split(", "), at):
            assert at > 1
            return
    pytest.fail(f"{name} has more than {MOST_CHECKPOINTS} checkpoints")


def _cancelled_at(kernel: FakeKernel, name: str, acts: list[str], at: int) -> bool:
    """Whether the operation came to its ``at``-th checkpoint at all."""
    suspensions = Suspensions()
    reactor = Reactor(kernel)
    runtime = Runtime(reactor, [suspensions])
    reported: list[Exception] = []
    reactor.on_error = reported.append
    try:
        run(runtime, OPERATIONS[name], lambda site: _two_calls(runtime, suspensions, site, acts, at))
    finally:
        runtime.close()
        reactor.close()
    assert reported == []
    return suspensions.count >= at


async def _two_calls(
    runtime: Runtime, suspensions: Suspensions, site: Site, acts: list[str], at: int
) -> None:
    first = runtime.spawn(call, site)

    def act() -> None:
        for each in acts:
            (site.ready if each == "ready" else first.cancel)()

    suspensions.task, suspensions.at, suspensions.then = first, at, act
    await settle()
    if suspensions.count < at and first.state is not State.DONE:
        site.ready()  # there may be checkpoints behind the wait
    with suppress(TaskCancelledError):
        await first.join()
    assert first.outcome in (Returned(None), WasCancelled())
    if site.left is not None:
        brought = "ready" in acts or suspensions.count < at
        assert site.left() == (brought and first.outcome == WasCancelled())
    if site.left is None or not site.left():
        site.ready()
    second = runtime.spawn(call, site)
    await second.join()


# --- the account ------------------------------------------------------------------------------------------


class Account(NamedTuple):
    """What a runtime holds on to, at a point where nothing is on its way."""

    descriptors: frozenset[int]
    registrations: int
    tasks: int
    timers: int
    threads: int


def account(runtime: Runtime) -> Account:
    """Of threads, those that no pool keeps: a worker stays when its job is over, for the next."""
    reactor = runtime.reactor
    return Account(
        frozenset(open_descriptors()),
        sum(1 for slot in reactor._slots.values() for _ in slot.holders()),
        len(runtime.tasks()),
        reactor.timers.live,
        threading.active_count() - sum(isinstance(each, Worker) for each in threading.enumerate()),
    )


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "end"),
    [(name, end) for name in sorted(OPERATIONS) for end in ("done", "cancelled")]
    + [(name, "closed") for name in sorted(CLOSABLE)],
)
def test_at_every_quiescent_point_all_is_accounted_for(runtime: Runtime, name: str, end: str) -> None:
    """Given an operation that was called, waited, and came to an end, then nothing of it is left: not when it
    was closed under its caller, either."""

    async def main() -> None:
        await settle()
        before = account(runtime)
        with ExitStack() as stack:
            site = OPERATIONS[name](stack)
            await settle()
            task = runtime.spawn(call, site)
            await settle()
            if end == "done" or name in READY_FROM_THE_START:
                site.ready()
            elif end == "cancelled":
                task.cancel()
                await settle()
                site.ready()  # what a site has besides the call, somebody who holds a lock for one, ends too
            else:
                assert site.close is not None
                site.close()
            with suppress(Exception):
                await task.join()
            await settle()
        while runtime.workers.busy:  # a job that was begun goes on, whoever has been cancelled
            await checkpoint()
        await settle()
        gc.collect()
        assert account(runtime) == before

    runtime.run_until_done(runtime.spawn(main))


@pytest.mark.full
@every_operation
def test_a_runtime_that_is_closed_under_it_keeps_nothing(kernel: FakeKernel, name: str) -> None:
    """Given a call that waits when the run ends, then the task has been cancelled, and no descriptor, thread,
    registration or timer of it is left."""
    threads = set(threading.enumerate())
    reactor = Reactor(kernel)
    reactor.on_error = lambda _: None
    tasks: list[Task[None]] = []

    async def main() -> None:
        site = OPERATIONS[name](stack)
        await settle()
        tasks.append(current_runtime().spawn(call, site))
        await settle()
        if name == "to_thread":
            site.ready()  # the end of a run waits for a job that has begun: let it end

    with ExitStack() as stack:
        _run_and_close(reactor, main)
        (task,) = tasks
        assert task.outcome == WasCancelled() or name in READY_FROM_THE_START or name == "to_thread"
        assert reactor.timers.live == 0
        assert set(threading.enumerate()) == threads
        runtime = Runtime(reactor)  # for what the site has closed by the way, which asks for one
    runtime.close()
    assert not any(True for slot in reactor._slots.values() for _ in slot.holders())
    reactor.close()


def _run_and_close(reactor: Reactor, main: Callable[[], Coroutine[Trap, None, None]]) -> None:
    runtime = Runtime(reactor)
    try:
        runtime.run_until_done(runtime.spawn(main))
    finally:
        runtime.close()
    assert runtime.tasks() == []

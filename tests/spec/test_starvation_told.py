"""The finite models as traces: what the countdown says of a run is what the search says of the model.

A walk through a model is told as the events of a run, and judged by the clause that bounds the wait. Every
walk through a model in which nobody starves keeps it; through each flawed sister there are walks that do not.
So the three say the same of each discipline: no fair cycle, a rank that falls (see
:mod:`tests.spec.test_starvation`), and a bound that the traces keep.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from itertools import count
from random import Random
from typing import TypeVar

import pytest

from loopspec import trace as t
from loopspec.starvation import Lock, Model, Pool, Reactor, Scheduler, Step, lock, pool, reactor, scheduler
from loopspec.trace import Event
from tests.spec.judging import judge

S = TypeVar("S", bound=Hashable)
Walk = list[tuple[S, Step[S]]]

STEPS, WALKS = 120, 12
IN = 1


def walk(model: Model[S], seed: int) -> Walk[S]:
    """A walk through ``model``, each step with the state that it leaves."""
    random, state, taken = Random(seed), model.start, list[tuple[S, Step[S]]]()
    for _ in range(STEPS):
        step = random.choice(list(model.steps(state)))
        taken.append((state, step))
        state = step.to
    return taken


def told_of_reactor(taken: Walk[Reactor], descriptors: int, most: int) -> Iterator[Event]:
    """Each descriptor is a stream with a registration that is armed all along."""
    for fd in range(descriptors):
        yield t.Connect(fd, echo=False)
        yield t.Arm(0, fd, fd, fd, "read")
    turn = 0
    for state, step in taken:
        if step.served is not None:
            yield t.Dispatch(turn, step.served, step.served)
            if step.served not in step.to.listed:
                yield t.Read(turn, step.served, b"a")
            yield t.HandlerEnd(turn, None)
        elif step.label.startswith("wait"):
            yield t.WaitBegin(turn, None)
            turn += 1
            yield t.WaitReturn(turn, 0, tuple((fd, IN) for fd in step.to.batch), most)
        else:
            (fd,) = set(step.to.listed) - set(state.listed)
            yield t.Send(fd, b"a")


def told_of_scheduler(taken: Walk[Scheduler]) -> Iterator[Event]:
    """Each time that a task comes into the queue it is a callback of its own."""
    numbers, turn, queued = count(), 0, dict[int, int]()
    for _, step in taken:
        if step.served is not None and step.served >= 0:
            yield t.Run(turn, queued.pop(step.served))
            yield t.HandlerEnd(turn, None)
        elif step.label == "wait":
            yield t.WaitBegin(turn, 0)
            turn += 1
            yield t.WaitReturn(turn, 0, (), 1)
        for task in step.to.queue:
            if task not in queued:
                queued[task] = next(numbers)
                yield t.Enqueue(turn, queued[task])


def told_of_lock(taken: Walk[Lock]) -> Iterator[Event]:
    """Who acquires at once has asked, and is answered, in one turn."""
    yield t.Make(0, 0, "lock", 1)
    for turn, (state, step) in enumerate(taken):
        asks = [task for task in step.to.waiting if task not in state.waiting]
        if step.served is not None and step.served not in state.waiting:
            asks.append(step.served)
        for task in asks:
            yield t.Ask(turn, task, 0, "acquire")
        if step.served is not None:
            yield t.Answer(turn, step.served, 0, "acquire", "value")


def told_of_pool(taken: Walk[Pool], workers: int) -> Iterator[Event]:
    """Each time that a job is submitted it is another."""
    yield t.Pool(workers)
    numbers, jobs = count(), dict[int, int]()
    for turn, (state, step) in enumerate(taken):
        for job in set(step.to.queue) - set(state.queue):
            jobs[job] = next(numbers)
            yield t.Submit(turn, jobs[job], None, None)
        if step.served is not None:
            yield t.JobStart(jobs[step.served], "worker")
        for job in state.begun - step.to.begun:
            yield t.JobEnd(jobs[job], "worker", "value", "")


WAIT, LINE, QUEUE = "FAIR.READY.BOUNDED_WAIT", "PRIM.WAITERS.FIFO_NO_BARGING", "WORK.POOL.BOUNDED"

Told = Callable[[int], Iterator[Event]]

SOUND: dict[str, tuple[str, Told]] = {
    "reactor, batches of 1": (WAIT, lambda seed: told_of_reactor(walk(reactor(3, 1), seed), 3, 1)),
    "reactor, batches of 2": (WAIT, lambda seed: told_of_reactor(walk(reactor(4, 2), seed), 4, 2)),
    "scheduler": (WAIT, lambda seed: told_of_scheduler(walk(scheduler(4), seed))),
    "lock": (LINE, lambda seed: told_of_lock(walk(lock(4), seed))),
    "pool": (QUEUE, lambda seed: told_of_pool(walk(pool(5, 2), seed), 2)),
}

FLAWED: dict[str, tuple[str, Told]] = {
    "reactor, without rotation": (
        WAIT,
        lambda seed: told_of_reactor(walk(reactor(4, 1, rotates=False), seed), 4, 1),
    ),
    "scheduler, last in first out": (
        WAIT,
        lambda seed: told_of_scheduler(walk(scheduler(4, fifo=False), seed)),
    ),
    "lock, with barging": (LINE, lambda seed: told_of_lock(walk(lock(4, hands_over=False), seed))),
    "pool, last in first out": (QUEUE, lambda seed: told_of_pool(walk(pool(5, 2, fifo=False), seed), 2)),
}


@pytest.mark.parametrize("name", SOUND)
def test_where_nobody_starves_every_walk_keeps_the_bound(name: str) -> None:
    clause, told = SOUND[name]
    exercised = 0
    for seed in range(WALKS):
        judged = judge(clause, *told(seed))
        assert judged.violations == []
        exercised += judged.findings[clause].exercised
    assert exercised > WALKS


@pytest.mark.parametrize("name", FLAWED)
def test_where_somebody_starves_there_are_walks_that_break_it(name: str) -> None:
    clause, told = FLAWED[name]
    assert any(judge(clause, *told(seed)).violations for seed in range(WALKS))

"""Starvation as a fair cycle: finite models of those who serve, searched to the end.

A bound on traces says of one run that nothing waited too long in it. That nothing *can* wait for ever is a
statement about all runs, endless ones included, and where what serves has finitely many states it can be
decided: a starvation is a cycle that can be come to, on which something stays ready and is never served. Not
every such cycle is one, though. If the loop never runs again, or a holder never lets go, then that is to
blame. So a model names what the world owes, its *fairness*, and a cycle counts only if on it everything that
is owed happens.

Handlers are data here: what one does is a choice of the world's (it reads all or leaves something, asks to
run again or waits), so a state can be hashed and a graph drawn. The models are the disciplines themselves, as
small as they can be said: a reactor that dispatches batches of a ready list, a scheduler that runs a queue in
phases between two waits, a lock that is handed over, a pool that begins jobs. Each has a flawed sister, a
slip that real loops have made, in which the search must find the cycle; a search that could not fail would
say nothing.

For each the longest wait is told as well, counted in services of others: the bound that a clause can demand
of traces. And each has a *rank*, how many others are served before one at most (:func:`rank_of_descriptor`
and its sisters): it never rises, and each service of another lowers it. What one step makes of a rank is
arithmetic that is proved (:func:`place_after`, :func:`left_after`, :func:`rank_after_wait`); that the models
do that arithmetic, and that the largest rank is the longest wait, is seen on their whole graphs.

A state is hashed when it is come to. From then on it is a number, and who starves is looked for among
numbers.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from loopspec.kernel.proofs import place_after_wait

S = TypeVar("S", bound=Hashable)


class Step(NamedTuple, Generic[S]):
    """``served`` is who is served by it, None for nobody; ``pays`` are the fairness conditions it meets."""

    label: str
    to: S
    served: int | None = None
    pays: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Model(Generic[S]):
    """What serves. ``ready`` names who waits to be served in a state; ``owes`` is the world's fairness."""

    name: str
    start: S
    steps: Callable[[S], Iterable[Step[S]]]
    ready: Callable[[S], Iterable[int]]
    owes: frozenset[str]


@dataclass
class Graph(Generic[S]):
    """All that can be come to: of each state its steps, and of each, by its place in ``edges``, the places of
    the states that these steps lead to; ``depth`` is how far the farthest is."""

    start: S
    edges: dict[S, tuple[Step[S], ...]] = field(default_factory=dict)
    targets: list[tuple[int, ...]] = field(default_factory=list)
    depth: int = 0
    complete: bool = True

    @property
    def transitions(self) -> int:
        """How many steps there are."""
        return sum(map(len, self.edges.values()))

    def schedules(self) -> int | None:
        """How many ways lead from the start to an end; None if some lead round and round."""
        ways: dict[S, int] = {}
        under_way: set[S] = set()
        stack = [(self.start, False)]
        while stack:
            state, done = stack.pop()
            if done:
                under_way.discard(state)
                steps = self.edges[state]
                ways[state] = sum(ways[step.to] for step in steps) if steps else 1
            elif state not in ways:
                under_way.add(state)
                stack.append((state, True))
                for step in self.edges[state]:
                    if step.to in under_way:
                        return None
                    stack.append((step.to, False))
        return ways[self.start]


def reached(start: S, steps: Callable[[S], Iterable[Step[S]]], most: int = 1_000_000) -> Graph[S]:
    """Breadth first, to the end, or to ``most`` states: then it is not complete."""
    graph, number, states = Graph(start), {start: 0}, [start]
    begin, end = 0, 1
    while begin < end:
        for state in states[begin:end]:
            graph.edges[state] = tuple(steps(state))
            targets: list[int] = []
            for step in graph.edges[state]:
                target = number.get(step.to)
                if target is None:
                    target = number[step.to] = len(states)
                    states.append(step.to)
                targets.append(target)
            graph.targets.append(tuple(targets))
        begin, end = end, len(states)
        graph.depth += begin < end
        if end > most:
            graph.complete = False
            graph.edges.update((state, ()) for state in states[begin:])
            graph.targets.extend(() for _ in states[begin:])
            break
    return graph


# --- the fair cycle -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Starvation(Generic[S]):
    """``who`` stays ready for ever: ``cycle`` are the labels of steps from ``state`` back to it."""

    who: int
    state: S
    cycle: tuple[str, ...]


@dataclass(frozen=True)
class Searched(Generic[S]):
    """What the search of a model has come to; ``longest`` is the longest wait, in services of others, None
    where somebody starves."""

    model: Model[S]
    graph: Graph[S]
    starvation: Starvation[S] | None
    longest: int | None

    def __str__(self) -> str:
        word = "exhausted" if self.graph.complete else "cut off"
        size = (
            f"{len(self.graph.edges)} states, {self.graph.transitions} transitions, depth {self.graph.depth}"
        )
        if self.starvation is not None:
            cycle = ", ".join(self.starvation.cycle)
            return f"{self.model.name}: {size}; {self.starvation.who} starves: {cycle}"
        return f"{self.model.name}: {size}, {word}; nobody starves; at most {self.longest} are served before"


_Ways: TypeAlias = list[tuple[tuple[int, int | None], ...]]
"""Of states, by number, where their steps lead to and whom each serves."""


@contextmanager
def _without_collector() -> Iterator[None]:
    """A search makes nothing that goes round, and much that stays: the collector would look through all of it
    time and again, for more than half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_without_collector()
def search(model: Model[S]) -> Searched[S]:
    """Look at everything that can be come to for a fair cycle on which somebody starves."""
    graph = reached(model.start, model.steps)
    states = list(graph.edges)
    ready = [frozenset(model.ready(state)) for state in states]
    ways = [
        tuple([(target, step.served) for target, step in zip(targets, steps, strict=True)])
        for targets, steps in zip(graph.targets, graph.edges.values(), strict=True)
    ]
    stays = {number for number, targets in enumerate(graph.targets) if number in targets}
    longest = 0
    for who in sorted(frozenset().union(*ready)):
        waits = [who in each for each in ready]
        unserved: _Ways = [
            tuple([way for way in of_state if waits[way[0]] and way[1] != who]) if waiting else ()
            for waiting, of_state in zip(waits, ways, strict=True)
        ]
        most = [0] * len(ready)  # services on one way from each state
        for component in _components(unserved, waits):
            if len(component) > 1 or component[0] in stays:
                starvation = _starvation(model, graph, states, who, component)
                if starvation is not None:
                    return Searched(model, graph, starvation, None)
            _count_services(most, unserved, component)
        longest = max(longest, *most)
    return Searched(model, graph, None, longest)


def _starvation(
    model: Model[S], graph: Graph[S], states: list[S], who: int, component: list[int]
) -> Starvation[S] | None:
    """A fair cycle within ``component``, if there is one."""
    inside = frozenset(component)
    edges = {
        states[number]: tuple(
            step
            for step, target in zip(graph.edges[states[number]], graph.targets[number], strict=True)
            if target in inside and step.served != who
        )
        for number in component
    }
    cycles = [step for steps in edges.values() for step in steps]
    if not cycles or not model.owes <= frozenset().union(*(step.pays for step in cycles)):
        return None
    state = states[min(component)]  # the same in every process
    return Starvation(who, state, _round(edges, state, model.owes))


_OUT = sys.maxsize
"""Beyond all others: the place of a state whose component is known."""


def _components(ways: _Ways, among: list[bool]) -> Iterator[list[int]]:
    """The strongly connected components of those ``among`` all (Tarjan), without recursion. Whoever leads on
    to another comes after it."""
    low = [0] * len(ways)  # 0: not come to
    stack: list[int] = []
    place = 0
    for root, wanted in enumerate(among):
        if not wanted or low[root]:
            continue
        place += 1
        low[root] = place
        stack.append(root)
        work = [(root, place, len(stack) - 1, iter(ways[root]))]
        while work:
            state, own, height, left = work[-1]
            for target, _ in left:
                if not low[target]:
                    place += 1
                    low[target] = place
                    stack.append(target)
                    work.append((target, place, len(stack) - 1, iter(ways[target])))
                    break
                if low[target] < low[state]:
                    low[state] = low[target]
            else:
                work.pop()
                if work and low[state] < low[work[-1][0]]:
                    low[work[-1][0]] = low[state]
                if low[state] == own:
                    component = stack[height:]
                    del stack[height:]
                    for member in component:
                        low[member] = _OUT
                    yield component


def _round(edges: dict[S, tuple[Step[S], ...]], start: S, owes: frozenset[str]) -> tuple[str, ...]:
    """Once round: steps, of those of a component, that pay all that is owed, and come back to ``start``."""
    labels: list[str] = []
    state, left = start, set(owes)
    while left:
        path = _way(edges, state, partial(_pays, frozenset(left)))
        labels += [step.label for step in path]
        left -= frozenset().union(*(step.pays for step in path))
        state = path[-1].to
    if state != start or not labels:
        labels += [step.label for step in _way(edges, state, lambda step: step.to == start)]
    return tuple(labels)


def _pays(owed: frozenset[str], step: Step[S]) -> bool:
    return bool(step.pays & owed)


def _way(
    edges: dict[S, tuple[Step[S], ...]],
    start: S,
    wanted: Callable[[Step[S]], bool],
) -> list[Step[S]]:
    """The shortest way from ``start`` that ends with a wanted step."""
    level: list[tuple[S, list[Step[S]]]] = [(start, [])]
    seen = {start}
    while level:
        following: list[tuple[S, list[Step[S]]]] = []
        for state, path in level:
            for step in edges[state]:
                if wanted(step):
                    return [*path, step]
                if step.to not in seen:
                    seen.add(step.to)
                    following.append((step.to, [*path, step]))
        level = following
    raise AssertionError("a component is connected")


def _count_services(most: list[int], ways: _Ways, component: list[int]) -> None:
    """Enter into ``most`` the most services on one way from ``component``, whose successors are there. Where
    no fair cycle is, what is left of cycles serves nobody; a way therefore visits each component once, and
    each counts what leads on from it."""
    if len(component) == 1:
        (number,) = component
        for target, served in ways[number]:
            count = most[target] + (served is not None)
            if count > most[number] and target != number:
                most[number] = count
        return
    inside = frozenset(component)
    count = max(
        (
            most[target] + (served is not None)
            for number in component
            for target, served in ways[number]
            if target not in inside
        ),
        default=0,
    )
    for number in component:
        most[number] = count


# --- a reactor that dispatches batches --------------------------------------------------------------------


class Reactor(NamedTuple):
    """``listed`` is the kernel's ready list; ``batch`` is what was reported and is not dispatched."""

    listed: tuple[int, ...] = ()
    batch: tuple[int, ...] = ()


def reactor(descriptors: int, most: int, *, rotates: bool = True) -> Model[Reactor]:
    """Level-triggered descriptors, batches of at most ``most``. A handler reads all there is, or leaves
    something. Without ``rotates`` the wait looks at the list from the same end each time, as a scan in the
    order of numbers does."""

    def steps(state: Reactor) -> Iterator[Step[Reactor]]:
        for fd in range(descriptors):
            if fd not in state.listed:
                listed = (*state.listed, fd) if rotates else tuple(sorted((*state.listed, fd)))
                yield Step(f"{fd} becomes ready", Reactor(listed, state.batch))
        if state.batch:
            fd, *rest = state.batch
            for drains in (False, True):
                listed = tuple(each for each in state.listed if each != fd or not drains)
                yield Step(f"dispatch {fd}", Reactor(listed, tuple(rest)), fd, _LOOP)
        elif state.listed:
            told = state.listed[:most]
            listed = (*state.listed[most:], *told) if rotates else state.listed
            yield Step(f"wait reports {' '.join(map(str, told))}", Reactor(listed, told), None, _LOOP)

    flaw = "" if rotates else ", without rotation"
    name = f"reactor, {descriptors} descriptors, batches of {most}{flaw}"
    return Model(name, Reactor(), steps, lambda state: state.listed, _LOOP)


_LOOP = frozenset({"the loop runs"})


# --- a scheduler that runs a queue between two waits --------------------------------------------------------


class Scheduler(NamedTuple):
    """``left`` are the entries of this phase that have not run; ``io`` says that a descriptor is ready, which
    only the wait between two phases finds."""

    queue: tuple[int, ...] = ()
    left: int = 0
    io: bool = False


_IO = -1


def scheduler(tasks: int, *, snapshot: bool = True, fifo: bool = True) -> Model[Scheduler]:
    """Tasks that run again, or wait until the world wakes them; the wait serves I/O, named -1. Without
    ``snapshot`` a phase lasts as long as there is anything to run; without ``fifo`` the last is first."""

    def steps(state: Scheduler) -> Iterator[Step[Scheduler]]:
        for task in range(tasks):
            if task not in state.queue:
                yield Step(f"{task} is woken", Scheduler((*state.queue, task), state.left, state.io))
        if not state.io:
            yield Step("a descriptor becomes ready", Scheduler(state.queue, state.left, io=True))
        phase_goes_on = state.left > 0 if snapshot else bool(state.queue)
        if phase_goes_on and state.queue:
            task, rest = (state.queue[0], state.queue[1:]) if fifo else (state.queue[-1], state.queue[:-1])
            left = max(state.left - 1, 0)
            yield Step(f"{task} runs and waits", Scheduler(rest, left, state.io), task, _LOOP)
            yield Step(f"{task} runs and yields", Scheduler((*rest, task), left, state.io), task, _LOOP)
        else:
            after = Scheduler(state.queue, len(state.queue) if snapshot else 0)
            yield Step("wait", after, _IO if state.io else None, _LOOP)

    def ready(state: Scheduler) -> tuple[int, ...]:
        return (*state.queue, _IO) if state.io else state.queue

    flaw = ("" if snapshot else ", without snapshot") + ("" if fifo else ", last in first out")
    return Model(f"scheduler, {tasks} tasks" + flaw, Scheduler(), steps, ready, _LOOP)


# --- a lock -------------------------------------------------------------------------------------------------


class Lock(NamedTuple):
    """``woken`` has been told that the lock is free, and has it only if it is still free when it runs."""

    holder: int | None = None
    waiting: tuple[int, ...] = ()
    woken: int | None = None


def lock(tasks: int, *, hands_over: bool = True) -> Model[Lock]:
    """Tasks that acquire and release, for ever. Without ``hands_over`` a release only wakes the first who
    waits, and whoever comes meanwhile has the lock."""

    def acquires(state: Lock) -> Iterator[Step[Lock]]:
        for task in range(tasks):
            if task == state.holder or task in state.waiting:
                continue
            if state.holder is None:
                yield Step(f"{task} acquires", Lock(task, state.waiting, state.woken), task)
            else:
                yield Step(f"{task} waits", Lock(state.holder, (*state.waiting, task), state.woken))

    def steps(state: Lock) -> Iterator[Step[Lock]]:
        yield from acquires(state)
        if state.holder is not None:
            first = state.waiting[0] if state.waiting else None
            if hands_over:
                after = Lock(first, state.waiting[1:])
                yield Step(f"{state.holder} releases", after, first, _LETS_GO)
            else:
                yield Step(f"{state.holder} releases", Lock(None, state.waiting, first), None, _LETS_GO)
        if state.woken is not None and not hands_over:
            task = state.woken
            if state.holder is None:
                rest = tuple(each for each in state.waiting if each != task)
                yield Step(f"{task} runs and acquires", Lock(task, rest), task, _WOKEN_RUNS)
            else:
                yield Step(f"{task} runs in vain", state._replace(woken=None), None, _WOKEN_RUNS)

    owes = _LETS_GO if hands_over else _LETS_GO | _WOKEN_RUNS
    name = f"lock, {tasks} tasks" + ("" if hands_over else ", with barging")
    return Model(name, Lock(), steps, lambda state: state.waiting, owes)


_LETS_GO = frozenset({"the holder lets go"})
_WOKEN_RUNS = frozenset({"who is woken runs"})


# --- a pool -------------------------------------------------------------------------------------------------


class Pool(NamedTuple):
    """``begun`` are the jobs that workers are in."""

    queue: tuple[int, ...] = ()
    begun: frozenset[int] = frozenset()


def pool(jobs: int, workers: int, *, fifo: bool = True) -> Model[Pool]:
    """Jobs that are submitted again and again, and end. Without ``fifo`` a free worker takes the last."""

    def steps(state: Pool) -> Iterator[Step[Pool]]:
        for job in range(jobs):
            if job not in state.queue and job not in state.begun:
                yield Step(f"{job} is submitted", Pool((*state.queue, job), state.begun))
        if state.queue and len(state.begun) < workers:
            job, rest = (state.queue[0], state.queue[1:]) if fifo else (state.queue[-1], state.queue[:-1])
            yield Step(f"{job} is begun", Pool(rest, state.begun | {job}), job, _FREE_TAKES)
        for job in sorted(state.begun):
            yield Step(f"{job} ends", Pool(state.queue, state.begun - {job}), None, _JOBS_END)

    name = f"pool, {jobs} jobs, {workers} workers" + ("" if fifo else ", last in first out")
    return Model(name, Pool(), steps, lambda state: state.queue, _JOBS_END | _FREE_TAKES)


_JOBS_END = frozenset({"jobs end"})
_FREE_TAKES = frozenset({"a free worker takes a job"})


# --- the ranks ----------------------------------------------------------------------------------------------


def place_after(place: int, leaves: int) -> int:
    """The place in a queue of who had ``place``, once the one in place ``leaves`` has left it, served or not.

    Nobody moves back, and whoever was in front and leaves brings all behind one nearer. Who comes goes to
    the end, and moves nobody. So after ``place`` services one is first: nobody waits for ever.

    pre: 0 <= place
    pre: 0 <= leaves
    pre: leaves != place
    post: 0 <= _ <= place and (_ == place - 1 or leaves > place)
    """
    return place - 1 if leaves < place else place


def left_after(left: int, queued: int) -> int:
    """How many entries come before the wait, of ``left`` in a phase with ``queued`` in the queue, when one
    has run. Whatever it has queued is not of this phase: so whatever the wait is for has its turn.

    pre: 0 < left <= queued
    post: 0 <= _ < left
    """
    del queued
    return left - 1


def rank_after_wait(place: int, length: int, most: int) -> int:
    """How many others are dispatched before who stands in ``place`` of a ready list of ``length``, when the
    wait has reported ``most`` of it.

    A wait serves nobody and sets nobody back: who is reported has before him those of the batch who were, who
    is not has the batch before him and in the list only who was.

    pre: 0 <= place < length <= 8
    pre: 0 < most <= length
    post: _ == place
    """
    return place if place < most else most + place_after_wait(place, length, most)


def rank_of_descriptor(state: Reactor, who: int) -> int:
    """The batch is dispatched first, then the list in its order."""
    return state.batch.index(who) if who in state.batch else len(state.batch) + state.listed.index(who)


def rank_of_task(state: Scheduler, who: int) -> int:
    """For I/O what is left of the phase; for a task its place in the queue, and the wait if that is first."""
    if who == _IO:
        return state.left
    place = state.queue.index(who)
    return place + (place >= state.left)


def rank_of_waiter(state: Lock, who: int) -> int:
    """The place in the line."""
    return state.waiting.index(who)


def rank_of_job(state: Pool, who: int) -> int:
    """The place in the queue."""
    return state.queue.index(who)


# --- all of them --------------------------------------------------------------------------------------------


def sound() -> tuple[Searched[Reactor] | Searched[Scheduler] | Searched[Lock] | Searched[Pool], ...]:
    """The searches of the models in which nobody may starve."""
    return (
        *(search(reactor(descriptors, most)) for descriptors, most in ((3, 1), (3, 2), (4, 2), (4, 4))),
        *(search(scheduler(tasks)) for tasks in (2, 3, 4)),
        *(search(lock(tasks)) for tasks in (2, 3, 4)),
        *(search(pool(jobs, workers)) for jobs, workers in ((3, 1), (4, 2), (5, 2))),
    )


def flawed() -> tuple[Searched[Reactor] | Searched[Scheduler] | Searched[Lock] | Searched[Pool], ...]:
    """The searches of their flawed sisters, in each of which somebody starves."""
    return (
        *(search(reactor(3, most, rotates=False)) for most in (1, 2)),
        search(scheduler(3, snapshot=False)),
        search(scheduler(3, fifo=False)),
        search(lock(3, hands_over=False)),
        search(pool(4, 2, fifo=False)),
    )

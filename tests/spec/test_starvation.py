"""In the finite models nobody starves; in their flawed sisters somebody does, and the search finds it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterator
from math import factorial
from typing import TypeVar

import pytest

from loopspec.starvation import (
    Graph,
    Lock,
    Model,
    Pool,
    Reactor,
    Scheduler,
    Searched,
    Starvation,
    Step,
    flawed,
    left_after,
    lock,
    place_after,
    pool,
    rank_after_wait,
    rank_of_descriptor,
    rank_of_job,
    rank_of_task,
    rank_of_waiter,
    reached,
    reactor,
    scheduler,
    search,
    sound,
)

S = TypeVar("S", bound=Hashable)
Taken = tuple[str, int | None, str]


SOUND = (
    (
        "reactor, 3 descriptors, batches of 1",
        "49 states, 114 transitions, depth 4, exhausted; nobody starves; at most 3 are served before",
    ),
    (
        "reactor, 3 descriptors, batches of 2",
        "67 states, 156 transitions, depth 5, exhausted; nobody starves; at most 4 are served before",
    ),
    (
        "reactor, 4 descriptors, batches of 2",
        "393 states, 988 transitions, depth 6, exhausted; nobody starves; at most 5 are served before",
    ),
    (
        "reactor, 4 descriptors, batches of 4",
        "489 states, 1204 transitions, depth 8, exhausted; nobody starves; at most 6 are served before",
    ),
    (
        "scheduler, 2 tasks",
        "22 states, 57 transitions, depth 4, exhausted; nobody starves; at most 2 are served before",
    ),
    (
        "scheduler, 3 tasks",
        "98 states, 279 transitions, depth 5, exhausted; nobody starves; at most 3 are served before",
    ),
    (
        "scheduler, 4 tasks",
        "522 states, 1567 transitions, depth 6, exhausted; nobody starves; at most 4 are served before",
    ),
    (
        "lock, 2 tasks",
        "5 states, 8 transitions, depth 2, exhausted; nobody starves; at most 0 are served before",
    ),
    (
        "lock, 3 tasks",
        "16 states, 30 transitions, depth 3, exhausted; nobody starves; at most 1 are served before",
    ),
    (
        "lock, 4 tasks",
        "65 states, 128 transitions, depth 4, exhausted; nobody starves; at most 2 are served before",
    ),
    (
        "pool, 3 jobs, 1 workers",
        "31 states, 57 transitions, depth 4, exhausted; nobody starves; at most 2 are served before",
    ),
    (
        "pool, 4 jobs, 2 workers",
        "159 states, 396 transitions, depth 6, exhausted; nobody starves; at most 3 are served before",
    ),
    (
        "pool, 5 jobs, 2 workers",
        "811 states, 2085 transitions, depth 7, exhausted; nobody starves; at most 4 are served before",
    ),
)
"""What the searches of the models come to in which nobody may starve."""

FLAWED = (
    (
        "reactor, 3 descriptors, batches of 1, without rotation",
        "20 states, 55 transitions, depth 4; 1 starves: 0 becomes ready, wait reports 0, dispatch 0",
    ),
    (
        "reactor, 3 descriptors, batches of 2, without rotation",
        (
            "26 states, 70 transitions, depth 4; 2 starves: "
            "0 becomes ready, 1 becomes ready, wait reports 0 1, dispatch 0, dispatch 1"
        ),
    ),
    (
        "scheduler, 3 tasks, without snapshot",
        "32 states, 108 transitions, depth 4; -1 starves: 0 is woken, 0 runs and waits",
    ),
    (
        "scheduler, 3 tasks, last in first out",
        "98 states, 279 transitions, depth 5; 0 starves: wait, 1 is woken, 1 runs and waits",
    ),
    (
        "lock, 3 tasks, with barging",
        "37 states, 81 transitions, depth 5; 0 starves: 1 releases, 1 acquires, 0 runs in vain",
    ),
    (
        "pool, 4 jobs, 2 workers, last in first out",
        "159 states, 396 transitions, depth 6; 0 starves: 1 is submitted, 1 is begun, 1 ends",
    ),
)
"""What those of their flawed sisters come to."""


def test_nobody_starves_and_that_is_all_there_is() -> None:
    found = sound()
    assert [str(each) for each in found] == [": ".join(each) for each in SOUND]
    assert all(each.graph.complete and each.starvation is None for each in found)


def test_in_a_flawed_sister_somebody_starves_on_this_cycle() -> None:
    assert [str(each) for each in flawed()] == [": ".join(each) for each in FLAWED]


def test_a_step_changes_what_it_is_named_after_and_leaves_the_rest() -> None:
    """Given a state in which nothing is as at the beginning, when a step is taken, then all that the step
    does not speak of is as it was."""
    busy = Scheduler((0, 1), 2, io=True)
    assert [each.to for each in scheduler(3).steps(busy)] == [
        Scheduler((0, 1, 2), 2, io=True),
        Scheduler((1,), 1, io=True),
        Scheduler((1, 0), 1, io=True),
    ]
    barged = Lock(0, (1,), 1)
    assert [each.to for each in lock(3, hands_over=False).steps(barged)] == [
        Lock(0, (1, 2), 1),
        Lock(None, (1,), 1),
        Lock(0, (1,), None),
    ]
    full = Pool((0,), frozenset({1, 2}))
    assert [each.to for each in pool(4, 2).steps(full)] == [
        Pool((0, 3), frozenset({1, 2})),
        Pool((0,), frozenset({2})),
        Pool((0,), frozenset({1})),
    ]


def test_a_starvation_is_a_cycle_on_which_all_that_is_owed_is_paid() -> None:
    """Given barging, when the cycle is walked, then it comes back, somebody lets go, the woken one runs, and
    the one who starves waits all along; and so in the sisters whose labels tell their steps."""
    assert paid_on_the_cycle(lock(3, hands_over=False)) == {"the holder lets go", "who is woken runs"}
    assert paid_on_the_cycle(pool(4, 2, fifo=False)) == {"a free worker takes a job", "jobs end"}
    for sister in (scheduler(3, snapshot=False), scheduler(3, fifo=False)):
        assert paid_on_the_cycle(sister) == {"the loop runs"}


def paid_on_the_cycle(model: Model[S]) -> set[str]:
    """What is paid on the cycle on which somebody starves in ``model``, and it is one."""
    found = search(model).starvation
    assert found is not None
    state, paid = found.state, set[str]()
    for label in found.cycle:
        step = next(each for each in model.steps(state) if each.label == label and each.served != found.who)
        assert found.who in model.ready(step.to)
        paid |= step.pays
        state = step.to
    assert state == found.state
    return paid


Way = tuple[str, int] | tuple[str, int, int] | tuple[str, int, None, frozenset[str]]


def drawn(ways: dict[int, tuple[Way, ...]], waits: dict[int, tuple[int, ...]], *owes: str) -> Model[int]:
    """A graph as a model, from state 0 on: of each state its ways, by label, target, who is served and
    what is paid; and in which states each waits."""

    def steps(state: int) -> Iterator[Step[int]]:
        for way in ways.get(state, ()):
            yield Step(*way)

    def ready(state: int) -> tuple[int, ...]:
        return tuple(who for who, states in waits.items() if state in states)

    return Model("drawn", 0, steps, ready, frozenset(owes))


def test_two_states_or_one_are_a_cycle_and_the_way_round_is_told() -> None:
    pair = drawn({0: (("on", 1),), 1: (("back", 0),)}, {7: (0, 1)})
    assert search(pair).starvation == Starvation(7, 0, ("on", "back"))
    alone = drawn({0: (("on", 1),), 1: (("stays", 1),)}, {7: (0, 1)})
    assert search(alone).starvation == Starvation(7, 1, ("stays",))


def test_what_is_paid_on_the_way_to_a_cycle_is_not_paid_on_it() -> None:
    pays: Way = ("pays", 1, None, frozenset({"x"}))
    waits: dict[int, tuple[int, ...]] = {7: (0, 1)}
    assert search(drawn({0: (pays,), 1: (("stays", 1),)}, waits, "x")).longest == 0
    assert search(drawn({0: (("on", 1),), 1: (pays,)}, waits, "x")).starvation == Starvation(7, 1, ("pays",))


def test_services_are_counted_on_the_way_out_of_a_cycle_that_starves_nobody() -> None:
    """Since on it nobody pays what is owed: the world alone holds up who waits."""
    out: dict[int, tuple[Way, ...]] = {
        0: (("on", 1),),
        1: (("back", 0), ("another", 2, 5)),
        2: (("a third", 3, 6),),
        3: (("its turn", 4, 0),),
    }
    assert search(drawn(out, {0: (0, 1, 2, 3)}, "never")).longest == 2
    assert search(drawn({0: (("on", 1),), 1: (("back", 0),)}, {0: (0, 1)}, "never")).longest == 0


def test_the_longest_wait_is_anybodys() -> None:
    line: dict[int, tuple[Way, ...]] = {0: (("a", 1, 5),), 1: (("b", 2, 6),), 2: (("c", 3, 0),)}
    assert search(drawn(line, {0: (0, 1, 2), 1: (2,)})).longest == 2
    assert search(drawn(line, {1: (0, 1, 2), 0: (2,)})).longest == 2


def test_an_unfair_cycle_is_no_starvation() -> None:
    """Given a lock whose holder need not let go, then the one who waits is starved by the world alone."""
    model = lock(2)
    selfish = Model(model.name, model.start, model.steps, model.ready, frozenset())
    assert search(model).starvation is None

    def idles(state: Lock) -> Iterator[Step[Lock]]:
        yield from model.steps(state)
        yield Step("nothing happens", state)

    def serves(state: Lock) -> Iterator[Step[Lock]]:
        yield from (Step("served where it stays", state, who) for who in state.waiting)
        yield from (step for step in model.steps(state) if not state.waiting)

    assert search(Model("serves", model.start, serves, model.ready, selfish.owes)).starvation is None
    assert search(Model("idle", model.start, idles, model.ready, model.owes)).starvation is None
    assert search(Model("idle", model.start, idles, model.ready, selfish.owes)).starvation is not None


def test_a_search_that_was_cut_off_is_not_told_as_exhausted() -> None:
    found = search(lock(2))
    cut = Searched(found.model, reached(found.model.start, found.model.steps, most=3), None, 0)
    size = "5 states, 6 transitions, depth 2"
    assert str(cut) == f"lock, 2 tasks: {size}, cut off; nobody starves; at most 0 are served before"


@pytest.mark.parametrize("enabled", [True, False])
def test_a_search_leaves_the_collector_as_it_was(enabled: bool) -> None:
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        collects: list[bool] = []

        def ready(state: int) -> tuple[int, ...]:
            collects.append(gc.isenabled())
            return ()

        search(Model("looks", 0, lambda _: (), ready, frozenset()))
        assert (collects, gc.isenabled()) == ([False], enabled)
    finally:
        (gc.enable if was_enabled else gc.disable)()


def graph_of(model: Model[S]) -> tuple[str, tuple[int, int], set[Taken]]:
    """What ``model`` is called, its states and transitions, and its steps: label, whom it serves, what it
    pays. It owes what they pay."""
    graph = reached(model.start, model.steps)
    steps = [step for each in graph.edges.values() for step in each]
    assert model.owes == frozenset().union(*(step.pays for step in steps))
    taken = {(step.label, step.served, " ".join(step.pays)) for step in steps}
    return model.name, (len(graph.edges), graph.transitions), taken


LOOP, LETS_GO, RUNS = "the loop runs", "the holder lets go", "who is woken runs"
BEGINS, ENDS = "a free worker takes a job", "jobs end"


def test_the_steps_of_a_reactor() -> None:
    steps = {("0 becomes ready", None, ""), ("wait reports 0", None, LOOP), ("dispatch 0", 0, LOOP)}
    assert graph_of(reactor(1, 1)) == ("reactor, 1 descriptors, batches of 1", (3, 4), steps)
    blind = "reactor, 1 descriptors, batches of 1, without rotation"
    assert graph_of(reactor(1, 1, rotates=False)) == (blind, (3, 4), steps)


def test_the_steps_of_a_scheduler() -> None:
    steps = {
        *(("0 is woken", None, ""), ("a descriptor becomes ready", None, "")),
        *(("0 runs and waits", 0, LOOP), ("0 runs and yields", 0, LOOP)),
        *(("wait", None, LOOP), ("wait", -1, LOOP)),
    }
    assert graph_of(scheduler(1)) == ("scheduler, 1 tasks", (6, 13), steps)
    endless = "scheduler, 1 tasks, without snapshot"
    assert graph_of(scheduler(1, snapshot=False)) == (endless, (4, 10), steps)
    assert graph_of(scheduler(1, fifo=False)) == ("scheduler, 1 tasks, last in first out", (6, 13), steps)


def test_the_steps_of_a_lock() -> None:
    asks = {(f"{task} {what}", task if what == "acquires" else None, "") for task in (0, 1) for what in ASKS}
    hands_over = {(f"{task} releases", to, LETS_GO) for task in (0, 1) for to in (None, 1 - task)}
    assert graph_of(lock(2)) == ("lock, 2 tasks", (5, 8), asks | hands_over)
    wakes = {
        step
        for task in (0, 1)
        for step in (
            (f"{task} releases", None, LETS_GO),
            (f"{task} runs and acquires", task, RUNS),
            (f"{task} runs in vain", None, RUNS),
        )
    }
    assert graph_of(lock(2, hands_over=False)) == ("lock, 2 tasks, with barging", (9, 16), asks | wakes)


ASKS = ("acquires", "waits")


def test_the_steps_of_a_pool() -> None:
    steps = {
        step
        for job in (0, 1)
        for step in (
            (f"{job} is submitted", None, ""),
            (f"{job} is begun", job, BEGINS),
            (f"{job} ends", None, ENDS),
        )
    }
    assert graph_of(pool(2, 1)) == ("pool, 2 jobs, 1 workers", (9, 14), steps)
    assert graph_of(pool(2, 1, fifo=False)) == ("pool, 2 jobs, 1 workers, last in first out", (9, 14), steps)


# --- the bounds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", [2, 3, 4, 5])
def test_the_longest_wait_for_a_lock_is_for_all_others_who_wait(tasks: int) -> None:
    """The holder has been served before: of the others all but oneself."""
    assert search(lock(tasks)).longest == tasks - 2


@pytest.mark.parametrize(("jobs", "workers"), [(3, 1), (4, 2), (5, 2)])
def test_the_longest_wait_in_a_pool_is_for_all_others(jobs: int, workers: int) -> None:
    assert search(pool(jobs, workers)).longest == jobs - 1


@pytest.mark.parametrize("tasks", [2, 3, 4])
def test_the_longest_wait_in_a_scheduler_is_for_one_round_and_the_wait(tasks: int) -> None:
    assert search(scheduler(tasks)).longest == tasks


@pytest.mark.parametrize(("descriptors", "most"), [(3, 1), (3, 2), (4, 2), (4, 4)])
def test_the_longest_wait_in_a_reactor_is_for_the_batch_under_way_and_one_round(
    descriptors: int, most: int
) -> None:
    longest = search(reactor(descriptors, most)).longest
    assert longest is not None
    assert descriptors - 1 <= longest <= descriptors - 1 + most


# --- the ranks --------------------------------------------------------------------------------------------

Rank = Callable[[S, int], int]


def misjudged(model: Model[S], rank: Rank[S], after: Callable[[S, Step[S], int], int]) -> list[str]:
    """The steps of ``model`` that make another rank of somebody's than ``after`` says, or that let it rise,
    or that serve another and do not let it fall."""
    return [
        f"{step.label}: {rank(state, who)} becomes {rank(step.to, who)}"
        for state, steps in reached(model.start, model.steps).edges.items()
        for step in steps
        for who in model.ready(state)
        if step.served != who
        if not rank(step.to, who) == after(state, step, who) <= rank(state, who) - (step.served is not None)
    ]


def descriptor_after(state: Reactor, step: Step[Reactor], who: int) -> int:
    rank = rank_of_descriptor(state, who)
    if step.label.startswith("wait"):
        return rank_after_wait(rank, len(state.listed), len(step.to.batch))
    if step.served is None:
        return rank
    if who in state.batch:
        return place_after(rank, 0)
    place, served = state.listed.index(who), step.served
    drained = served not in step.to.listed
    return len(state.batch) - 1 + (place_after(place, state.listed.index(served)) if drained else place)


def task_after(state: Scheduler, step: Step[Scheduler], who: int) -> int:
    if who < 0:
        return left_after(state.left, len(state.queue)) if step.served is not None else state.left
    place = state.queue.index(who)
    if step.label == "wait":
        return place
    waits = place >= state.left
    return (place if step.served is None else place_after(place, 0)) + waits


def waiter_after(state: Lock, step: Step[Lock], who: int) -> int:
    return place_after(rank_of_waiter(state, who), 0) if step.pays else rank_of_waiter(state, who)


def job_after(state: Pool, step: Step[Pool], who: int) -> int:
    return rank_of_job(state, who) if step.served is None else place_after(rank_of_job(state, who), 0)


def largest(model: Model[S], rank: Rank[S]) -> int:
    states = reached(model.start, model.steps).edges
    return max(rank(state, who) for state in states for who in model.ready(state))


def agrees(model: Model[S], rank: Rank[S], after: Callable[[S, Step[S], int], int]) -> None:
    assert misjudged(model, rank, after) == []
    assert search(model).longest == largest(model, rank)


@pytest.mark.parametrize(("descriptors", "most"), [(3, 1), (3, 2), (4, 2), (4, 4)])
def test_the_rank_of_a_descriptor_is_what_is_proved_of_it_and_as_large_as_its_wait(
    descriptors: int, most: int
) -> None:
    agrees(reactor(descriptors, most), rank_of_descriptor, descriptor_after)


@pytest.mark.parametrize("tasks", [2, 3, 4])
def test_the_rank_of_a_task_and_of_io_is_what_is_proved_of_it_and_as_large_as_its_wait(tasks: int) -> None:
    agrees(scheduler(tasks), rank_of_task, task_after)


@pytest.mark.parametrize("tasks", [2, 3, 4])
def test_the_rank_of_who_waits_for_a_lock_is_what_is_proved_of_it_and_as_large_as_his_wait(
    tasks: int,
) -> None:
    agrees(lock(tasks), rank_of_waiter, waiter_after)


@pytest.mark.parametrize(("jobs", "workers"), [(3, 1), (4, 2), (5, 2)])
def test_the_rank_of_a_job_is_what_is_proved_of_it_and_as_large_as_its_wait(jobs: int, workers: int) -> None:
    agrees(pool(jobs, workers), rank_of_job, job_after)


def test_in_a_flawed_sister_somebody_who_is_ready_has_a_rank_that_does_not_fall() -> None:
    assert misjudged(reactor(3, 1, rotates=False), rank_of_descriptor, descriptor_after)
    assert misjudged(scheduler(3, snapshot=False), rank_of_task, task_after)
    assert misjudged(scheduler(3, fifo=False), rank_of_task, task_after)
    assert misjudged(lock(3, hands_over=False), rank_of_waiter, waiter_after)
    assert misjudged(pool(4, 2, fifo=False), rank_of_job, job_after)


# --- the search itself ------------------------------------------------------------------------------------


Left = tuple[int, ...]


def clients(state: Left) -> Iterator[Step[Left]]:
    for place, left in enumerate(state):
        if left:
            yield Step(f"client {place}", (*state[:place], left - 1, *state[place + 1 :]))


@pytest.mark.parametrize("lengths", [(1,), (3, 2), (2, 2, 2), (3, 2, 1), (1, 1, 1, 1)], ids=str)
def test_independent_clients_are_a_grid_with_a_multinomial_of_ways(lengths: Left) -> None:
    graph: Graph[Left] = reached(lengths, clients)
    states = 1
    ways = factorial(sum(lengths))
    for each in lengths:
        states *= each + 1
        ways //= factorial(each)
    edges = sum(each * states // (each + 1) for each in lengths)
    counted = (len(graph.edges), graph.transitions, graph.depth, graph.schedules())
    assert counted == (states, edges, sum(lengths), ways)


def test_what_goes_round_has_no_number_of_ways() -> None:
    assert reached(lock(2).start, lock(2).steps).schedules() is None


def test_a_search_that_is_cut_off_says_so() -> None:
    start: Left = (9, 9, 9)
    assert not reached(start, clients, most=100).complete


def test_a_search_is_cut_off_after_the_level_in_which_it_comes_to_more_states_than_it_may() -> None:
    """Two and two steps to take: levels of 1, 2, 3, 2 and 1 states."""
    start: Left = (2, 2)
    assert [len(reached(start, clients, most=most).edges) for most in range(1, 10)] == [
        3,
        3,
        6,
        6,
        6,
        *[8] * 2,
        9,
        9,
    ]
    assert [reached(start, clients, most=most).complete for most in (5, 8, 9)] == [False, False, True]
    assert reached(lock(1).start, lock(1).steps).targets == [(1,), (0,)]
    cut = reached(start, clients, most=3)
    assert (cut.transitions, cut.depth, cut.targets) == (6, 2, [(1, 2), (3, 4), (4, 5), (), (), ()])

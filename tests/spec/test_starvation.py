"""In the finite models nobody starves; in their flawed sisters somebody does, and the search finds it."""

from __future__ import annotations

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


def test_nobody_starves_and_that_is_all_there_is() -> None:
    for found in sound():
        assert found.graph.complete
        assert found.starvation is None, str(found)
        assert "exhausted; nobody starves" in str(found)


@pytest.mark.parametrize("found", flawed(), ids=lambda each: each.model.name)
def test_in_a_flawed_sister_somebody_starves(found: object) -> None:
    assert getattr(found, "starvation") is not None  # noqa: B009 - of one of four types


def test_a_starvation_is_a_cycle_on_which_all_that_is_owed_is_paid() -> None:
    """Given barging, when the cycle is walked, then it comes back, somebody lets go, the woken one runs, and
    the one who starves waits all along."""
    model = lock(3, hands_over=False)
    found = search(model).starvation
    assert found is not None
    state, paid = found.state, set[str]()
    for label in found.cycle:
        step = next(each for each in model.steps(state) if each.label == label and each.served != found.who)
        assert found.who in model.ready(step.to)
        paid |= step.pays
        state = step.to
    assert state == found.state
    assert paid == set(model.owes)


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

S = TypeVar("S", bound=Hashable)
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

"""In the finite models nobody starves; in their flawed sisters somebody does, and the search finds it."""

from __future__ import annotations

from collections.abc import Iterator
from math import factorial

import pytest

from loopspec.starvation import (
    Graph,
    Lock,
    Model,
    Pool,
    Scheduler,
    Step,
    flawed,
    lock,
    place_after,
    pool,
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


def queue_of(state: Scheduler | Lock | Pool) -> tuple[int, ...]:
    return state.waiting if isinstance(state, Lock) else state.queue


def falls(states: dict[Scheduler, tuple[Step[Scheduler], ...]]) -> list[str]:
    return [
        step.label
        for state, steps in states.items()
        for step in steps
        for place, who in enumerate(state.queue)
        if step.served != who and step.served is not None and step.served >= 0
        if step.to.queue.index(who) != place_after(place, state.queue.index(step.served))
    ]


def test_whoever_is_served_brings_those_behind_nearer() -> None:
    """The rank that is proved of a queue is the one of the scheduler's."""
    assert falls(reached(scheduler(4).start, scheduler(4).steps).edges) == []
    assert falls(reached(scheduler(3).start, scheduler(3, fifo=False).steps).edges) == []


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

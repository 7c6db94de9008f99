"""The explorer: it plays all there is where it says so, counts right, stops, resumes, and is repeatable."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise, product
from math import factorial, prod
from random import Random

import pytest

from loopspec.conformance.explorer import (
    DEEPEST,
    STRATEGIES,
    Budget,
    DelayBounded,
    Exhaustive,
    Prioritised,
    Search,
    UnrepeatableError,
    named,
)
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.modelled import Case, Modelled, Taped, Untraced
from loopspec.conformance.result import UsageError
from loopspec.conformance.scopes import SMALL
from loopspec.trace import Event

# --- systems of which everything is known -----------------------------------------------------------------


def clients(*lengths: int) -> Callable[[Taped], str]:
    """Independent clients of so many steps each; a run is the order of their steps."""

    def play(schedule: Taped) -> str:
        left, order = list(lengths), ""
        while any(left):
            able = [place for place, steps in enumerate(left) if steps]
            chosen = able[schedule.pick([f"client {each}" for each in able])] if len(able) > 1 else able[0]
            left[chosen] -= 1
            order += "abcdef"[chosen]
            schedule.reached(lambda: hash(tuple(left)))
        return order

    return play


def multinomial(lengths: Sequence[int]) -> int:
    return factorial(sum(lengths)) // prod(map(factorial, lengths))


def all_runs(system: Callable[[Taped], str], strategy: str, most: int = 10_000) -> list[str]:
    runs: list[str] = []
    search = Search([lambda schedule: runs.append(system(schedule))], [strategy], 1)
    for _ in islice(search.schedules(), most):
        pass
    return runs


LENGTHS = [(1,), (1, 1), (2, 1), (2, 2), (3, 2), (1, 1, 1), (2, 2, 2), (3, 2, 1), (1, 1, 1, 1)]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_independent_clients_have_as_many_schedules_as_the_multinomial_says(lengths: tuple[int, ...]) -> None:
    runs = all_runs(clients(*lengths), "exhaustive")
    assert len(runs) == len(set(runs)) == multinomial(lengths)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_delay_bounding_comes_to_the_same_schedules_in_the_end(lengths: tuple[int, ...]) -> None:
    assert set(all_runs(clients(*lengths), "delay")) == set(all_runs(clients(*lengths), "exhaustive"))


def test_states_and_transitions_are_those_of_the_grid() -> None:
    """Given two clients of 3 and 2 steps, then what is left of them is a grid without its corner."""
    search = Search([clients(3, 2)], ["exhaustive"], 1)  # type: ignore[list-item]  # the order is not wanted
    for _ in search.schedules():
        pass
    states = 4 * 3 - 1
    edges = 3 * 3 + 4 * 2 - 2  # those that leave the corner lead from nowhere
    assert (len(search.met.states), len(search.met.transitions)) == (states, edges)
    assert search.over


@pytest.mark.parametrize("bound", range(4))
def test_delay_bounding_plays_the_cheap_schedules_first(bound: int) -> None:
    """Given a bound, when all within it have been played, then they are those whose answers sum up to it."""
    strategy, system, within = DelayBounded(), clients(2, 2, 2), list[tuple[int, ...]]()
    while (schedule := strategy.next()) is not None:
        system(schedule)
        if sum(schedule.taken) > bound:
            break
        within.append(tuple(schedule.taken))
        strategy.played(schedule)
    every = set()
    exhaustive = Exhaustive()
    while (schedule := exhaustive.next()) is not None:
        system(schedule)
        every.add(tuple(schedule.taken))
        exhaustive.played(schedule)
    assert set(within) == {taken for taken in every if sum(taken) <= bound}


def test_a_priority_is_kept_until_it_changes() -> None:
    """Given depth 1, then whoever has the highest priority goes on to its end."""
    for seed in range(50):
        order = clients(3, 3, 3)(Prioritised(seed, 0, 9))
        assert sum(one != two for one, two in pairwise(order)) == 2


@pytest.mark.parametrize("depth", range(1, DEEPEST + 1))
def test_a_priority_changes_depth_less_one_times_at_most(depth: int) -> None:
    for seed in range(50):
        order = clients(4, 4, 4)(Prioritised(seed, depth - 1, 12))
        assert sum(one != two for one, two in pairwise(order)) <= 2 + 2 * (depth - 1)


def test_a_bug_of_depth_two_is_found_with_the_probability_that_pct_has() -> None:
    """Given two clients of eight steps in all, where b's first must come between a's last two, then once in
    2 x 8 runs (to three standard deviations)."""
    runs = [clients(4, 4)(Prioritised(seed, 1, 8)) for seed in range(800)]
    hits = sum(1 for order in runs if order.index("b") == 3 and order.rindex("a") > 3)
    expected = 800 / (2 * 8)
    assert hits >= expected - 3 * expected**0.5


def test_random_schedules_reach_every_order() -> None:
    counted = Counter(all_runs(clients(2, 2), "random", 600))
    assert len(counted) == multinomial((2, 2))


# --- refloop, by brute force ------------------------------------------------------------------------------


def traces(case: Case, tapes: Iterator[tuple[int, ...]]) -> dict[tuple[int, ...], list[Event]]:
    found: dict[tuple[int, ...], list[Event]] = {}
    for tape in tapes:
        schedule, events = Taped(tape), list[Event]()
        Modelled(case.scenario, case.kernel, schedule, events.append).run(RefloopLoop)
        found[tuple(schedule.taken)] = events
    return found


@pytest.mark.parametrize("name", ["two-handlers", "posts-and-timers", "queue"])
def test_the_exhaustive_search_is_what_brute_force_comes_to(name: str) -> None:
    """Given a small scope, then every tape of the longest length leads to a run that the search has played,
    and to every one of them."""
    (case,) = SMALL[name].cases
    played: list[tuple[int, ...]] = []
    asked: list[int] = []

    def play(schedule: Taped) -> None:
        Modelled(case.scenario, case.kernel, schedule, lambda _: None).run(RefloopLoop)
        played.append(tuple(schedule.taken))
        asked.extend(schedule.asked)

    search = Search([play], ["exhaustive"], 0)
    for _ in search.schedules():
        pass
    assert search.over
    assert len(played) == len(set(played)) == search.met.schedules
    brute = traces(case, product(range(max(asked)), repeat=search.met.depth))
    assert set(brute) == set(played)


@pytest.mark.parametrize("name", SMALL)
def test_an_untraced_run_is_the_same_run(name: str) -> None:
    """It is asked the same questions."""
    for case in SMALL[name].cases:
        for seed in range(5):
            random = Random(seed)
            tape = [random.randrange(4) for _ in range(12)]
            both = Taped(tape), Taped(tape)
            Modelled(case.scenario, case.kernel, both[0], lambda _: None).run(RefloopLoop)
            Untraced(case.scenario, case.kernel, both[1], lambda _: None).run(RefloopLoop)
            assert both[0].asked == both[1].asked


# --- a search ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategies", [(), *((name,) for name in STRATEGIES)], ids=str)
def test_a_search_that_is_left_goes_on_where_it_was(strategies: tuple[str, ...]) -> None:
    """Given a search, when it is left after some schedules, saved, and gone on with, then it plays what it
    would have played, and has met the same."""

    def begun() -> tuple[Search, list[str]]:
        runs: list[str] = []
        systems = [
            lambda schedule: runs.append(clients(2, 2, 1)(schedule)),
            lambda schedule: runs.append(clients(3, 2)(schedule)),
        ]
        return Search(systems, strategies, 7), runs

    whole, expected = begun()
    for _ in islice(whole.schedules(), 45):
        pass
    first, played = begun()
    for _ in islice(first.schedules(), 20):
        pass
    saved = json.loads(json.dumps(first.save()))
    second, rest = begun()
    second.restore(saved)
    for _ in islice(second.schedules(), 45 - len(played)):
        pass
    assert played + rest == expected
    assert second.save() == whole.save()


def test_a_search_by_several_strategies_ends_when_one_has_played_all() -> None:
    search = Search([clients(1, 1)], (), 0)  # type: ignore[list-item]
    assert len(list(search.schedules())) < 20
    assert search.over


def test_a_system_that_is_not_repeatable_is_found_out() -> None:
    answers = iter([3, 2, 1, 1, 1])

    def play(schedule: Taped) -> None:
        for _ in range(next(answers)):
            schedule(2)

    with pytest.raises(UnrepeatableError):
        list(Search([play], ["exhaustive"], 0).schedules())


def test_a_damaged_file_is_one_line() -> None:
    with pytest.raises(UsageError, match="is damaged"):
        Search([clients(1)], (), 0).restore({"turn": "x"})  # type: ignore[list-item]


def test_an_unknown_strategy_is_one_line() -> None:
    with pytest.raises(
        UsageError, match="no strategy is named 'lucky': there are exhaustive, delay, pct, random"
    ):
        named(["lucky"])


def test_a_budget_is_of_schedules_or_of_time() -> None:
    assert [Budget(None, 3).is_spent(played) for played in (2, 3)] == [False, True]
    assert Budget(0, None).is_spent(0)
    assert not Budget(None, None).is_spent(10**9)

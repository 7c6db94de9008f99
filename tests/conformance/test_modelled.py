"""The scenarios on the simulated kernel: calm it is the lockstep run, and its tape decides all the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest

from loopspec import trace
from loopspec.clause import select
from loopspec.conformance import modelled
from loopspec.conformance import scenario as s
from loopspec.conformance.adapter import World
from loopspec.conformance.campaign import ModelCampaign
from loopspec.conformance.families import FAMILIES
from loopspec.conformance.lockstep import Hand, Lockstep, hand
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.modelled import (
    ELSEWHERE,
    KINDS,
    NOT_SHOWN,
    Case,
    Drawn,
    KernelKind,
    Taped,
    case_of,
    case_token,
    fitted,
    kinds_for,
    nodes,
    without_calm_end,
)
from loopspec.conformance.result import UsageError
from loopspec.conformance.scenario import At, Scenario
from loopspec.judge import Judge
from loopspec.trace import Event
from refloop.reactor import Handle
from tests.conformance.drawn import drawn


def run(case: Case) -> list[Event]:
    events: list[Event] = []
    modelled.run(RefloopLoop, case, events.append)
    return events


def tapes(scenario: Scenario, count: int, kernel: KernelKind = "calm") -> Iterator[tuple[int, ...]]:
    """Tapes of drawn runs of ``scenario``."""
    for seed in range(count):
        schedule = Drawn(seed)
        modelled.run(RefloopLoop, Case(scenario, kernel), lambda _: None, schedule)
        yield without_calm_end(schedule.taken)


# --- the two kernels --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other() -> Iterator[Hand]:
    with hand() as made:
        yield made


def fits(scenario: Scenario) -> bool:
    """Whether the kernels can agree: how much a buffer takes is each one's affair."""
    return all(getattr(node, "size", 0) < 100 for node in nodes(scenario))


def shown(events: list[Event]) -> list[Event]:
    """Without what only the real kernel has an account of."""
    return [event for event in events if type(event).__name__ not in NOT_SHOWN]


OF_ONE_MIND = sorted(set(FAMILIES) - {"echo"})
"""The model has no listening Unix socket, so its echo server listens on TCP; the rest is the same."""


@pytest.mark.parametrize("family", OF_ONE_MIND)
def test_a_calm_run_is_event_by_event_the_run_on_the_real_kernel(other: Hand, family: str) -> None:
    for scenario in drawn(FAMILIES[family].scenarios, 2, seed=11):
        here = fitted(scenario, "calm")
        if fits(here):
            real: list[Event] = []
            Lockstep(other, here, real.append).run(RefloopLoop)
            assert run(Case(here)) == shown(real), s.token_of(here)


@pytest.mark.full
@pytest.mark.parametrize("family", OF_ONE_MIND)
def test_calm_runs_are_the_runs_on_the_real_kernel(other: Hand, family: str) -> None:
    for scenario in drawn(FAMILIES[family].scenarios, 60, seed=12):
        here = fitted(scenario, "calm")
        if fits(here):
            real: list[Event] = []
            Lockstep(other, here, real.append).run(RefloopLoop)
            assert run(Case(here)) == shown(real), s.token_of(here)


# --- the tape ---------------------------------------------------------------------------------------------

CALM = 0
"""Nobody acts before the program has run: the first thing that is asked wherever there is a script."""

TWO_SENDERS = Scenario(
    2,
    False,
    False,
    (s.Watch(0, "read", 2, (s.Take(0, 9),)), s.Watch(1, "read", 2, (s.Take(1, 9),))),
    (At(0, True, s.Send(0, 3)), At(0, True, s.Send(1, 3))),
)


def test_the_tape_says_which_client_acts_first() -> None:
    orders = {
        tuple(event.stream for event in run(Case(TWO_SENDERS, "calm", tape)) if isinstance(event, trace.Send))
        for tape in ((), (CALM, 1))
    }
    assert orders == {(0, 1), (1, 0)}


def test_the_tape_says_who_else_acts_before_the_loop_has_woken() -> None:
    """Given two clients, when the second acts before the loop runs, then one wait reports both."""

    def batches(tape: tuple[int, ...]) -> list[int]:
        events = run(Case(TWO_SENDERS, "calm", tape))
        return [len(event.batch) for event in events if isinstance(event, trace.WaitReturn) and event.batch]

    assert batches(()) == [1, 1]
    assert batches((CALM, 0, 1)) == [2]


def test_the_tape_says_when_time_passes() -> None:
    """Given a timer and a client, then either may be first."""
    scenario = Scenario(
        1,
        False,
        False,
        (s.Later(1, ()), s.Watch(0, "read", 1, ())),
        (At(0, True, s.Send(0, 1)),),
    )

    def first(tape: tuple[int, ...]) -> type[Event]:
        events = run(Case(scenario, "calm", tape))
        return next(type(each) for each in events if isinstance(each, trace.TimerFire | trace.Dispatch))

    assert (first(()), first((CALM, 1))) == (trace.Dispatch, trace.TimerFire)


def test_the_tape_says_how_much_a_short_kernel_takes() -> None:
    scenario = Scenario(1, False, False, (s.Give(0, 3),), ())
    taken = {
        len(event.data)
        for tape in tapes(scenario, 20, "short")
        for event in run(Case(scenario, "short", tape))
        if isinstance(event, trace.Write)
    }
    assert taken == {1, 2, 3}


def test_the_tape_says_which_worker_is_done_first() -> None:
    body = (s.Submit((s.Block(),)), s.Submit((s.Block(),)))
    script = (At(0, True, s.Unblock(0)), At(0, True, s.Unblock(0)))
    scenario = Scenario(0, False, False, (*body, s.Later(1, ())), script, workers=2)

    def first(tape: tuple[int, ...]) -> type[Event]:
        events = run(Case(scenario, "calm", tape))
        return next(type(each) for each in events if isinstance(each, trace.JobEnd | trace.TimerFire))

    assert (first(()), first((CALM, 1))) == (trace.JobEnd, trace.TimerFire)


def test_a_faulty_kernel_interrupts_waits_and_tears_connections() -> None:
    scenario = Scenario(
        2, True, False, (s.Spawn((s.Receive(0, 1),)), s.Later(3, ())), (At(0, True, s.Send(0, 1)),)
    )
    seen = {
        type(event) for tape in tapes(scenario, 30, "faulty") for event in run(Case(scenario, "faulty", tape))
    }
    assert {trace.Interrupted, trace.Reset} <= seen


def test_a_faulty_kernel_reports_what_is_ready_no_more() -> None:
    scenario = Scenario(1, False, False, (s.Spawn((s.Receive(0, 1),)),), (At(0, True, s.Send(0, 1)),))
    seen = {
        type(event) for tape in tapes(scenario, 20, "faulty") for event in run(Case(scenario, "faulty", tape))
    }
    assert trace.Snatch in seen


def test_another_reader_leaves_nothing_also_on_a_short_kernel() -> None:
    """Found by the explorer: what it left was read, and the wait that was to go on had ended."""
    scenario = Scenario(
        1,
        False,
        False,
        (s.Spawn((s.Receive(0, 1),)),),
        (At(0, False, s.Send(0, 2)), At(0, False, s.Snatch(0)), At(0, False, s.Send(0, 1))),
    )
    events = run(Case(scenario, "short", (0, 0, 0, 0, 0, 1)))
    snatched = next(place for place, event in enumerate(events) if isinstance(event, trace.Snatch))
    assert events[snatched - 1] == trace.Read(2, 0, b"ab")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_case_gives_the_same_trace(family: str) -> None:
    """The tape that a drawn run has taken gives that run again."""
    for place, scenario in enumerate(drawn(FAMILIES[family].scenarios, 1, seed=13)):
        kernel = kinds_for(scenario)[place % len(kinds_for(scenario))]
        schedule, events = Drawn(place), list[Event]()
        modelled.run(RefloopLoop, Case(scenario, kernel), events.append, schedule)
        assert run(Case(scenario, kernel, without_calm_end(schedule.taken))) == events


def test_a_call_that_would_suspend_the_loop_is_told_as_its_suspension() -> None:
    class Blocking(RefloopLoop):
        def close_socket(self, sock: object) -> None:
            sock.setblocking(True)  # type: ignore[attr-defined]
            sock.recv(1)  # type: ignore[attr-defined]

    events: list[Event] = []
    modelled.run(Blocking, Case(Scenario(1, False, False, (s.Close(0),), ())), events.append)
    assert events[-2:] == [trace.Suspend("loop"), trace.Hang("loop")]


def test_a_loop_that_calls_for_ever_is_cut_off() -> None:
    class Spinning(RefloopLoop):
        def close_socket(self, sock: object) -> None:
            while True:
                sock.setblocking(False)  # type: ignore[attr-defined]

    run_of_it: list[Event] = []
    modelled.run(Spinning, Case(Scenario(1, False, False, (s.Close(0),), ())), run_of_it.append)
    assert run_of_it


# --- what runs here ---------------------------------------------------------------------------------------


def test_what_is_no_matter_of_the_model_is_left_out() -> None:
    left = fitted(
        Scenario(0, False, False, (s.OnSignal(()), s.Soon((s.OnSignal(()),))), (At(0, False, s.Fork()),)),
        "calm",
    )
    assert not [node for node in nodes(left) if isinstance(node, ELSEWHERE)]
    assert left == Scenario(0, False, False, (s.Soon(()),), ())


def test_the_short_kernel_transfers_little() -> None:
    scenario = Scenario(1, False, False, (s.Spawn((s.SendAll(0, 9000),)),), ())
    assert [getattr(node, "size", 0) for node in nodes(fitted(scenario, "short"))][-1] == 12


@pytest.mark.full
@pytest.mark.parametrize("family", FAMILIES)
def test_refloop_keeps_every_clause_under_drawn_schedules(family: str) -> None:
    judge = Judge(select(), RefloopLoop.shows - NOT_SHOWN)
    for place, scenario in enumerate(drawn(FAMILIES[family].scenarios, 6, seed=14)):
        for kernel in kinds_for(scenario):
            schedule = Drawn(place)
            judge.restart()
            modelled.run(RefloopLoop, Case(scenario, kernel), judge.after, schedule)
            assert judge.violations == [], case_token(Case(scenario, kernel, tuple(schedule.taken)))


def test_the_campaign_replays_what_it_has_found(other: Hand) -> None:
    """Given a clause that this loop breaks, then the token of the counterexample breaks it again."""

    class LastInFirstOut(RefloopLoop):
        def __init__(self, world: World) -> None:
            super().__init__(world)
            reactor = self._reactor

            def call_soon(callback: Callable[[], None]) -> None:
                reactor.ready.appendleft(Handle(callback, (), reactor))

            self.call_soon = call_soon  # type: ignore[assignment]  # as the adapter's protocol has it

    (entry,) = select(["LOOP.CALLBACK.FIFO"])
    campaign = ModelCampaign("x@model", LastInFirstOut, (entry,), other)
    campaign.look(60, 1, lambda _: None)
    campaign.make_small(1, lambda _: None)
    found = campaign.result().clauses[entry.id].counterexample
    assert found is not None
    again = ModelCampaign("x@model", LastInFirstOut, (entry,), other, case_of(found.token))
    again.replay(case_of(found.token).scenario)
    replayed = again.result().clauses[entry.id].counterexample
    assert replayed is not None
    assert replayed.events == found.events


# --- tokens -----------------------------------------------------------------------------------------------


def test_a_token_tells_its_case() -> None:
    random = Random(3)
    for scenario in drawn(FAMILIES["streams"].scenarios, 10, seed=15):
        tape = tuple(random.randrange(5) for _ in range(random.randrange(20)))
        case = Case(scenario, random.choice(KINDS), tape)
        assert case_of(case_token(case)) == case


def test_the_token_of_a_scenario_is_a_calm_case() -> None:
    assert case_of(s.token_of(TWO_SENDERS)) == Case(TWO_SENDERS)


@pytest.mark.parametrize(
    ("token", "wrong"),
    [
        ("case:0:x:1-x", "is of version '0' and not 2"),
        ("case:2:x:1-x", "is damaged"),
        (case_token(Case(TWO_SENDERS)).rpartition(":")[0], "not of version 1"),
    ],
)
def test_what_is_wrong_with_a_token_is_one_line(token: str, wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong) as refused:
        case_of(token)
    assert "\n" not in str(refused.value)


def test_a_tape_is_calm_at_its_end() -> None:
    assert without_calm_end([0, 2, 0, 0]) == (0, 2)
    assert without_calm_end([0, 0]) == ()
    schedule = Taped([5])
    assert [schedule(3), schedule(3)] == [2, 0]
    assert (schedule.taken, schedule.asked) == ([2, 0], [3, 3])

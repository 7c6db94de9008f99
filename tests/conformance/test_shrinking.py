"""A failure is made small until every piece of it is needed, and shown beside the run that passes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from rich.console import Console

from loopspec import trace
from loopspec.clause import select
from loopspec.conformance import scenario as s
from loopspec.conformance.adapter import World
from loopspec.conformance.exploration import Bench, Failure, Request, explore, shown_small
from loopspec.conformance.explored import show_failure
from loopspec.conformance.explorer import Budget
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.modelled import Case, Taped, case_token, nodes, without_calm_end
from loopspec.conformance.scenario import At, Scenario
from loopspec.conformance.scopes import Scope
from loopspec.conformance.shrinking import steps
from loopspec.judge import Violation
from refloop.reactor import Handle

# --- a loop whose fault shows under some schedules only -----------------------------------------------------


class Forgetful(RefloopLoop):
    """Of callbacks that are posted while a timer is armed, it runs the last first."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        reactor = self._reactor

        def call_soon(callback: Callable[[], None]) -> None:
            handle = Handle(callback, (), reactor)
            if reactor.timers:
                reactor.ready.appendleft(handle)
            else:
                reactor.ready.append(handle)

        self.call_soon = call_soon  # type: ignore[assignment]  # as the adapter's protocol has it


FIFO = "LOOP.CALLBACK.FIFO"

SCENARIO = Scenario(
    1,
    False,
    False,
    (s.Later(2, (s.Work(1),)), s.Watch(0, "read", 3, (s.Take(0, 4), s.Give(0, 1)))),
    (
        At(0, True, s.Send(0, 3)),
        At(1, True, s.Post(1, (s.Soon((s.Work(2),)), s.Soon(()), s.Soon(())))),
        At(0, False, s.Send(0, 1)),
        At(0, True, s.Elapse()),
    ),
)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(Forgetful, select([FIFO]))


@pytest.fixture(scope="module")
def failure() -> Failure:
    scope = Scope("one", "one", (Case(SCENARIO),))
    request = Request(scope, ("exhaustive", "delay"), 0, select([FIFO]))
    found = explore(Forgetful, request, Budget(None, 500))
    assert found.ended == "failed"
    (only,) = found.failures
    return only


def test_every_remaining_piece_is_needed(bench: Bench, failure: Failure) -> None:
    assert FIFO in bench.broken(failure.case, Taped(failure.case.tape))
    still = [step for step in steps(failure.case) if FIFO in bench.broken(step, Taped(step.tape))]
    assert still == []


def test_what_is_left_is_little(failure: Failure) -> None:
    """Two callbacks under a timer, and nothing of streams, clients and schedules."""
    kinds = Counter(type(node).__name__ for node in nodes(failure.case.scenario))
    assert kinds["Soon"] == 2
    assert set(kinds) <= {"Scenario", "At", "Post", "Later", "Soon"}
    assert (failure.case.scenario.streams, failure.case.tape) == (0, ())


def test_script_program_and_schedule_are_made_small_together() -> None:
    """Given a failure that needs its schedule, then what is left of it needs what is left of that."""
    scenario = Scenario(
        2,
        False,
        False,
        (s.Watch(0, "read", 2, (s.Take(0, 9),)), s.Later(3, ())),
        (At(0, True, s.Send(0, 3)), At(1, True, s.Post(1, ())), At(0, True, s.Send(1, 3))),
    )

    class Overtaking(Bench):
        """A run fails if the second client sends before the first."""

        def broken(self, case: Case, schedule: Taped) -> dict[str, Violation | None]:
            events, _ = self.play(case, schedule)
            senders = [event.stream for event in events if isinstance(event, trace.Send)]
            return {"overtaken": None} if senders[:2] == [1, 0] else {}

    bench = Overtaking(RefloopLoop, ())
    tape = next(tape for tape in product(range(4), repeat=4) if bench.broken(Case(scenario), Taped(tape)))
    found = shown_small(bench, Case(scenario, "calm", without_calm_end(tape)), "overtaken", 1)
    assert found.case.tape, "as the script has it, the first is the first"
    assert [type(at.act) for at in found.case.scenario.script] == [s.Send, s.Send]
    assert found.case.scenario.program == ()
    assert not [step for step in steps(found.case) if bench.broken(step, Taped(step.tape))]
    parting = found.parting
    assert parting is not None
    assert parting.passing.scenario == found.case.scenario
    assert parting.fails != parting.passes
    events = bench.play(found.case, Taped(found.case.tape))[0]
    others = bench.play(parting.passing, Taped(parting.passing.tape))[0]
    assert events[: parting.common] == others[: parting.common]


def test_a_failure_is_shown_with_its_run_the_nearest_that_passes_and_its_token(failure: Failure) -> None:
    out = Console(record=True, width=100, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115 - closed below
    show_failure(out, failure)
    out.file.close()
    shown = out.export_text()
    for expected in (FIFO, "allowed:", "observed:", "on the calm kernel", "the nearest run that passes"):
        assert expected in shown
    assert f"--replay {case_token(failure.case)}" in shown.replace("\n", "")


def test_a_loop_that_lets_an_exception_out_fails_by_that() -> None:
    class Raising(RefloopLoop):
        def timers_held(self) -> int:
            raise LookupError("no timers")

    scope = Scope("one", "one", (Case(Scenario(0, False, False, (), ())),))
    found = explore(Raising, Request(scope, ("random",), 0, select([FIFO])), Budget(None, 5))
    assert [each.what for each in found.failures] == ["the loop raised LookupError: no timers"]


# --- in other processes -------------------------------------------------------------------------------------

PRINTS_A_TRACE = """
import sys
from loopspec.conformance import modelled
from loopspec.conformance.loops.refloop import RefloopLoop
for token in sys.argv[1:]:
    modelled.run(RefloopLoop, modelled.case_of(token), print)
"""


def traces_in_processes(tokens: list[str], seeds: range) -> set[bytes]:
    """What fresh processes print of the cases, under different seeds of str's hash."""
    return {
        subprocess.run(
            [sys.executable, "-c", PRINTS_A_TRACE, *tokens],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            cwd=Path(__file__).parents[2],
        ).stdout
        for seed in seeds
    }


def some_tokens() -> list[str]:
    from loopspec.conformance.modelled import Drawn, run
    from loopspec.conformance.scopes import SMALL

    tokens = []
    for place, scope in enumerate(SMALL.values()):
        for case in scope.cases:
            schedule = Drawn(place, calm=2)
            run(RefloopLoop, case, lambda _: None, schedule)
            tokens.append(case_token(Case(case.scenario, case.kernel, tuple(schedule.taken))))
    return tokens


def test_a_token_gives_one_trace_whatever_the_hash_seed() -> None:
    (only,) = traces_in_processes(some_tokens(), range(3))
    assert only.count(b"\n") > 200


@pytest.mark.full
def test_a_token_gives_one_trace_in_a_hundred_processes() -> None:
    assert len(traces_in_processes(some_tokens(), range(100))) == 1

"""A worker process is taken down by its loop: what did it is said, and the next scenario is played."""

from __future__ import annotations

import pytest

from loopspec import trace
from loopspec.clause import select
from loopspec.conformance import scenario as s
from loopspec.conformance.campaign import Campaign
from loopspec.conformance.isolation import Isolated
from loopspec.conformance.lockstep import hand
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.scenario import Scenario

QUIET = Scenario(0, False, False, (s.Soon(()),), ())

SPAWNING = Scenario(0, False, False, (s.Spawn((s.Checkpoint(1),)),), ())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Aborts", "crashed: its process was ended by SIGABRT"),
        pytest.param("Exits", "ended its process, with exit code 3", marks=pytest.mark.full),
        pytest.param("Raises", "raised LookupError: nothing there at misbehaving.py", marks=pytest.mark.full),
        pytest.param("Spins", "spun: it used a second of processor time in one turn", marks=pytest.mark.full),
        pytest.param("Turns", "spun: it used up its budget of 200 turns", marks=pytest.mark.full),
        pytest.param("Sleeps", "hung: it slept in one turn without end", marks=pytest.mark.full),
    ],
)
def test_what_took_a_worker_down_is_said(name: str, words: str) -> None:
    with Isolated(f"tests.conformance.misbehaving:{name}") as isolated:
        ran = isolated(QUIET)
        assert ran.accident is not None
        assert ran.accident.startswith(words)
        assert isolated(QUIET).accident == ran.accident


@pytest.mark.full
def test_the_last_resort_is_a_limit_of_real_time() -> None:
    with Isolated("tests.conformance.misbehaving:Deaf", limit=3) as isolated:
        assert isolated(QUIET).accident == "hung: it said nothing for 3 s, the last resort, and was ended"


@pytest.mark.full
def test_a_crash_fails_its_scenario_and_nothing_else() -> None:
    with hand() as other, Isolated("tests.conformance.misbehaving:Collapses") as isolated:
        judged = Campaign("collapses", RefloopLoop, select(["CORO"]), other, isolated=isolated)
        for scenario in (SPAWNING, QUIET, SPAWNING):
            judged._look_at(scenario, "made up", 1)
        (accident,) = judged.result().accidents
        assert accident.words.startswith("raised KeyError: 'the task' at misbehaving.py")
        assert accident.count == 2
        assert accident.token == s.token_of(SPAWNING)
        ran = isolated(QUIET)
        assert ran.accident is None
        assert sum(isinstance(event, trace.Run) for event in ran.events) == 2

"""``loopspec explore``: what it shows, when it stops, and how it goes on."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loopspec import trace
from loopspec.clause import select
from loopspec.conformance.campaign import MakeLoop
from loopspec.conformance.cli import main
from loopspec.conformance.exploration import Bench, Request, explore
from loopspec.conformance.explorer import Budget
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.modelled import Case, case_token
from loopspec.conformance.scopes import SMALL, drawn, named


def asked(*args: str) -> Result:
    return CliRunner().invoke(main, ["explore", *args])


def test_what_is_exhausted_says_so_with_its_numbers() -> None:
    result = asked("--scope", "two-handlers", "--strategy", "exhaustive")
    assert result.exit_code == 0
    expected = "exhausted: 14 schedules, 20 states, 30 transitions, depth 4; 1 of 1 cases exhausted"
    assert expected in result.output
    assert "clauses exercised: " in result.output


def test_what_is_stopped_says_so() -> None:
    result = asked("--scope", "three-clients", "--schedules", "10", "--seed", "3")
    assert result.exit_code == 0
    assert "stopped: 10 schedules" in result.output
    assert "exhaustive 3, delay 3, pct 2, random 2" in result.output


def test_a_search_resumes_from_its_file_and_comes_to_the_same(tmp_path: Path) -> None:
    file = tmp_path / "search.json"
    options = ("--scope", "closed-reader", "--strategy", "exhaustive", "--seed", "1")
    for schedules in ("20", "50"):
        left = asked(*options, "--schedules", schedules, "--resume", str(file))
        assert f"stopped: {schedules} schedules" in left.output
    result, whole = asked(*options, "--resume", str(file)), asked(*options)
    assert result.exit_code == 0
    assert [line for line in result.output.splitlines() if "exhausted:" in line] == [
        line for line in whole.output.splitlines() if "exhausted:" in line
    ]


def test_ctrl_c_ends_the_search_between_two_schedules_and_saves_it(tmp_path: Path) -> None:
    played = 0

    class Interrupting(RefloopLoop):
        def run(self, main: object) -> None:
            nonlocal played
            played += 1
            if played == 7:
                signal.raise_signal(signal.SIGINT)
            super().run(main)  # type: ignore[arg-type]

    file = tmp_path / "search.json"
    request = Request(SMALL["three-clients"], ("random",), 0, select())
    found = explore(Interrupting, request, Budget(None, 100), resume=file)
    assert (found.ended, found.met.schedules, found.failures) == ("interrupted", 7, ())
    rest = explore(Interrupting, request, Budget(None, 20), resume=file)
    assert (rest.ended, rest.met.schedules, played) == ("stopped", 20, 20)


def test_a_file_of_another_search_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "search.json"
    assert asked("--scope", "queue", "--schedules", "3", "--resume", str(file)).exit_code == 0
    result = asked("--scope", "lock", "--schedules", "3", "--resume", str(file))
    assert result.exit_code == 2
    assert "is of another search, its cases differ" in result.stderr
    file.write_text(json.dumps([]))
    result = asked("--scope", "queue", "--schedules", "3", "--resume", str(file))
    assert (result.exit_code, "is damaged" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("--scope", "nowhere"), "no scope is named 'nowhere': there are three-clients"),
        (("--strategy", "luck"), "no strategy is named 'luck': there are exhaustive"),
        (("--replay", "x"), "replay token 'x' is not of version 1"),
        (("--replay", "case:7:x:1-y"), "is of version '7' and not 2"),
        (("--resume", "/no/such/place"), "cannot write /no/such/place"),
        (("--schedules", "0"), "0 is not in the range"),
    ],
)
def test_what_is_wrong_with_a_request_is_one_line(args: tuple[str, ...], line: str) -> None:
    result = asked(*args)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert line in result.stderr


def test_a_token_shows_its_run_again() -> None:
    (case,) = SMALL["two-handlers"].cases
    result = asked("--replay", case_token(Case(case.scenario, "calm", (0, 1))))
    assert result.exit_code == 0
    assert "on the calm kernel, schedule: 0 1" in result.output
    assert "every clause is kept" in result.output


def test_a_trace_that_was_judged_is_known_and_not_taken_for_another() -> None:
    """Given two traces whose events have the same fields and are of two kinds, then each is judged, once."""
    bench = Bench(RefloopLoop, select(["TIMER"]))
    armed = trace.TimerArm(turn=0, timer=0, at=0, delay=5, deadline=5)
    early = (armed, trace.TimerFire(0, 0, 1))
    other = (armed, trace.TimersHeld(0, 0, 1))
    assert list(bench.judged(early)) == ["TIMER.FIRE.NEVER_EARLY"]
    assert bench.judged(other) == {}
    assert bench.judged(early) is bench.judged(early)


class Hangs(RefloopLoop):
    """Its thread is suspended in a read of a socket that was left blocking."""

    def serve_echo(self, listener: socket.socket) -> None:
        listener.setblocking(True)
        self.call_soon(listener.accept)
        for _ in range(3):
            self.call_soon(listener.accept)


class SpinsInTurns(RefloopLoop):
    """It has itself called back again and again."""

    def serve_echo(self, listener: socket.socket) -> None:
        super().serve_echo(listener)
        self._again()

    def _again(self) -> None:
        self.call_soon(self._again)


class SpinsInATurn(RefloopLoop):
    """It asks one socket for ever for what is not there."""

    def serve_echo(self, listener: socket.socket) -> None:
        while True:
            with suppress(BlockingIOError):
                listener.accept()


class Raises(RefloopLoop):
    """It lets out what goes wrong within it."""

    def run(self, main: Callable[[], None]) -> None:
        super().run(main)
        raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("loop", "wrong"),
    [
        (Hangs, "LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT"),
        (SpinsInTurns, "LOOP.IDLE.MEANS_IDLE"),
        (SpinsInATurn, "the loop spun"),
        (Raises, "the loop raised RuntimeError: boom"),
    ],
)
def test_what_does_not_come_to_its_end_is_found_without_a_trace(loop: MakeLoop, wrong: str) -> None:
    request = Request(SMALL["three-clients"], ("random",), 0, select(), untraced=True)
    found = explore(loop, request, Budget(None, 5))
    assert found.ended == "failed"
    assert found.met.schedules == 1
    assert any(failure.what.startswith(wrong) for failure in found.failures)


def test_a_family_is_a_scope_and_the_same_under_the_same_seed() -> None:
    assert drawn("hoards", 3) == drawn("hoards", 3)
    assert drawn("hoards", 3) != drawn("hoards", 4)
    both = named(("queue", "lock"), 0)
    assert both.cases == SMALL["queue"].cases + SMALL["lock"].cases


@pytest.mark.full
@pytest.mark.parametrize("name", SMALL)
def test_refloop_keeps_every_clause_under_every_schedule_of_a_small_scope(name: str) -> None:
    request = Request(SMALL[name], ("exhaustive",), 0, select())
    found = explore(RefloopLoop, request, Budget(None, None))
    assert [failure.token for failure in found.failures] == []
    assert found.ended == "exhausted"


def test_refloop_keeps_every_clause_under_every_schedule_of_the_smallest_scopes() -> None:
    for name in ("two-handlers", "posts-and-timers", "queue", "deadline", "lock"):
        request = Request(SMALL[name], ("exhaustive",), 0, select())
        found = explore(RefloopLoop, request, Budget(None, None))
        assert (found.ended, found.failures) == ("exhausted", ()), name


def test_the_finite_models_are_a_scope_of_their_own() -> None:
    result = asked("--scope", "starvation")
    assert result.exit_code == 0
    assert "lock, 3 tasks: 16 states, 30 transitions, depth 3, exhausted; nobody starves" in result.output
    assert "lock, 3 tasks, with barging: 37 states, 81 transitions, depth 5; 0 starves" in result.output

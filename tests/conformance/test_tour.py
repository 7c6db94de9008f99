"""The tour: what it measures is the story, and it says so in a table."""

from __future__ import annotations

import io
import re

import pytest
from click.testing import CliRunner
from rich.console import Console

from loopspec.conformance import tour
from loopspec.conformance.cli import main
from loopspec.conformance.result import UsageError
from loopspec.conformance.tour import LATE, QUICK, SLOW, Toured
from loopspec.server import ARCHITECTURES


@pytest.fixture(scope="module")
def toured() -> dict[str, Toured]:
    return {name: tour.visit(name, tour.command(name)) for name in ARCHITECTURES}


@pytest.mark.full
def served(toured: Toured) -> list[tuple[int, ...]]:
    return [scene.served for scene in toured.scenes]


def test_each_architecture_serves_whom_it_can(toured: dict[str, Toured]) -> None:
    alive = [(QUICK,), (LATE,), (SLOW,), ()]
    assert {name: served(one) for name, one in toured.items()} == {
        "sequential": [(), (), (), (QUICK,)],
        "process": alive,
        "thread": alive,
        "event_loop": [(QUICK,), (), (SLOW, LATE), ()],
        "reactor": alive,
        "coroutine": alive,
    }


def test_the_kernel_says_what_the_second_client_waited_for(toured: dict[str, Toured]) -> None:
    waited = {name: (one.waited_for(QUICK), one.waited_for(LATE)) for name, one in toured.items()}
    assert waited.pop("sequential") == ("recv(silent)", "recv(silent), then recv(quick)")
    assert waited.pop("event_loop") == ("nobody", "flock")
    assert set(waited.values()) == {("nobody", "nobody")}


def test_clients_cost_processes_or_threads_or_neither(toured: dict[str, Toured]) -> None:
    def grown(one: Toured) -> tuple[int, int]:
        busiest = one.scenes[1].rest
        return busiest.processes - one.empty.processes, busiest.threads - one.empty.threads

    assert {name: grown(one) for name, one in toured.items()} == {
        "sequential": (0, 0),
        "process": (4, 4),
        "thread": (0, 4),
        "event_loop": (0, 0),
        "reactor": (0, 0),
        "coroutine": (0, 0),
    }


def test_the_table_has_a_row_for_each(toured: dict[str, Toured]) -> None:
    out = io.StringIO()
    Console(file=out, width=200).print(tour.render(list(toured.values())))
    rows = out.getvalue().splitlines()
    assert [name for name in ARCHITECTURES if not any(re.match(name, row) for row in rows)] == []
    assert any(re.match(r"sequential +– +– +– +quick +recv\(silent\)", row) for row in rows)


def test_on_a_narrow_screen_no_word_is_cut(toured: dict[str, Toured]) -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(tour.render(list(toured.values()), 80))
    rows = out.getvalue().splitlines()
    assert all(len(row) <= 80 for row in rows)
    for name in ARCHITECTURES:
        assert sum(bool(re.match(rf"{name} ", row)) for row in rows) == 2
    assert any(re.match(r"event_loop +nobody +flock +1 → 1", row) for row in rows)


def test_the_command_shows_those_that_are_named() -> None:
    run = CliRunner().invoke(main, ["tour", "thread"])
    assert run.exit_code == 0
    assert "thread" in run.output
    assert "coroutine" not in run.output


def test_an_unknown_server_is_refused_with_those_that_are_known() -> None:
    run = CliRunner().invoke(main, ["tour", "thraed"])
    assert run.exit_code == 2
    assert run.output.splitlines() == [
        f"loopspec: no server is called 'thraed': there are {', '.join(ARCHITECTURES)}"
    ]


def test_a_server_that_cannot_be_started_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tour, "command", lambda _: ("/no/such/server",))
    with pytest.raises(UsageError, match=r"^the tour ends at thread: .*No such file"):
        tour.tour(Console(file=io.StringIO()), ["thread"])

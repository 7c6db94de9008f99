"""``loopspec kernel``: what a person sees of the comparison between the model and the kernel at hand."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from click.testing import CliRunner

from loopspec.conformance import live
from loopspec.conformance.cli import main
from loopspec.conformance.live import Disagreement, Report
from loopspec.conformance.machine import MachineError

EEXIST = "EPOLL.CTL.EEXIST"


def answer(monkeypatch: pytest.MonkeyPatch, report: Report) -> None:
    monkeypatch.setattr(live, "compare", lambda *_: report)


def test_this_kernel_agrees_and_the_seed_is_told() -> None:
    """In a process of its own, as the comparison asks for."""
    asked = ("kernel", "--calls", "600", "--seed", "4")
    start = (sys.executable, "-c", "from loopspec.conformance.cli import main; main()")
    ran = subprocess.run([*start, *asked], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "seed 4" in ran.stdout
    assert "FAIL" not in ran.stdout
    (row,) = (line.split() for line in ran.stdout.splitlines() if line.startswith("FD.NUMBER.LOWEST_FREE"))
    assert row[1] == row[2]
    assert row[3:] == ["✓", "pass"]


def test_a_clause_that_was_never_asked_of_the_kernel_is_not_exercised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer(monkeypatch, Report(calls=1, sequences=1))
    shown = CliRunner().invoke(main, ["kernel", "--seed", "1"]).output
    assert f"{EEXIST:30}" in shown
    assert "pass" not in shown
    assert "not exercised" in shown


def test_a_disagreement_shows_its_script_and_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Disagreement((), "EPERM", ("EEXIST",), frozenset({EEXIST}), "import os\n")
    counted = Counter({EEXIST: 3})
    answer(monkeypatch, Report(5, 1, 1, counted, Counter({EEXIST: 2}), 1, found))
    result = CliRunner().invoke(main, ["kernel", "--seed", "1"])
    assert result.exit_code == 1
    assert ["observed", "EPERM"] in [line.split() for line in result.output.splitlines()]
    assert [EEXIST, "3", "2", "✗", "FAIL"] in [line.split() for line in result.output.splitlines()]
    assert result.output.endswith("import os\n\n")


def test_a_kernel_that_cannot_be_asked_is_one_line_and_ends_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Report:
        raise MachineError("fdinfo is hidden here: ask outside of this sandbox")

    monkeypatch.setattr(live, "compare", refuse)
    result = CliRunner().invoke(main, ["kernel"])
    assert result.exit_code == 2
    assert "loopspec: fdinfo is hidden here: ask outside of this sandbox" in result.output


def test_no_trace_is_judged_by_what_only_the_kernel_shows() -> None:
    result = CliRunner().invoke(main, ["check", "--clause", "EPOLL"])
    assert result.exit_code == 2
    assert result.output.strip().endswith("`loopspec kernel` asks the kernel")

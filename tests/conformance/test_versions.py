"""One loop under several interpreters: a difference is one scenario, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from loopspec.clause import select
from loopspec.conformance import versions
from loopspec.conformance.cli import main
from loopspec.conformance.result import UsageError
from loopspec.conformance.versions import Breach, Difference, Interpreter

OLD, NEW = Interpreter("old", "3.11.7"), Interpreter("new", "3.13.0")
LONG = Breach("TIMER.PHASE.SNAPSHOT", "long", ("a", "b"), "x")
SHORT = Breach("TIMER.PHASE.SNAPSHOT", "short", ("a",), "x")
BOTH = Breach("TIMER.FIRE.NEVER_EARLY", "both", ("a",), "x")


def test_a_difference_is_a_scenario_that_one_breaks_and_another_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given an old loop that breaks two clauses, of which the new one mends one."""

    def breaches(one: Interpreter, _loop: str, options: list[str]) -> list[Breach]:
        if "--replay" in options:
            return [BOTH] if "both" in options else [SHORT] * (one is OLD)
        return [LONG, BOTH] if one is OLD else [SHORT]

    monkeypatch.setattr(versions, "_breaches", breaches)
    told: list[str] = []
    found = versions.differences(
        "asyncio", [OLD, NEW], select(["TIMER"]), examples=1, seed=1, on_progress=told.append
    )
    assert found == (Difference(SHORT, broken=(OLD,), kept=(NEW,)),)
    assert told[:2] == ["asyncio under 3.11.7: looking", "asyncio under 3.13.0: looking"]


def test_an_interpreter_is_asked_for_its_loopspec(tmp_path: Path) -> None:
    assert versions.interpreter(sys.executable).command == sys.executable
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 0.0.1 3.11.7\n")
    other.chmod(0o755)
    with pytest.raises(UsageError, match=r"python has loopspec 0\.0\.1, not "):
        versions.interpreter(str(other))
    with pytest.raises(UsageError, match=r"^'/no/python' starts no Python that has loopspec: "):
        versions.interpreter("/no/python")


@pytest.mark.full
def test_one_interpreter_does_not_differ_from_itself() -> None:
    asked = ["versions", "asyncio", sys.executable, "--clause", "TIMER", "--examples", "20", "--seed", "1"]
    ran = CliRunner().invoke(main, asked)
    assert ran.exit_code == 0
    assert ran.output.splitlines()[-1].endswith("0 clauses differ")


def test_an_interpreter_that_is_none_is_refused_in_one_line() -> None:
    ran = CliRunner().invoke(main, ["versions", "asyncio", "/no/python"])
    assert ran.exit_code == 2
    (line,) = ran.output.splitlines()
    assert "'/no/python'" in line

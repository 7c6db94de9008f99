"""What a loop says of itself, and a loop that is not there: each is shown, and fails nothing."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from loopspec.conformance import report
from loopspec.conformance.adapter import Deviation
from loopspec.conformance.result import ClauseResult, LoopResult
from loopspec.conformance.setting import here
from loopspec.judge import Verdict
from tests.conformance.made_up import COUNTEREXAMPLE, EARLY


def shown(what: RenderableType) -> str:
    stream = io.StringIO()
    Console(file=stream, width=100).print(what)
    return stream.getvalue()


def test_a_documented_deviation_has_its_own_mark_and_its_link_and_is_no_failure() -> None:
    told = Deviation("https://example.org/why", "it may fire early by design")
    broken = ClauseResult(EARLY.id, Verdict.FAIL, 7, 2, COUNTEREXAMPLE, told)
    results = {"mine": LoopResult("mine", "mine 1", 9, {EARLY.id: broken})}
    assert "≠ documented 2/7" in shown(report.verdicts(results, [EARLY], 100))
    below = shown(report.deviations(results, [EARLY]))
    assert f"≠ mine {EARLY.id}: it may fire early by design" in below
    assert "https://example.org/why" in below
    assert "1 documented deviation; 9 runs" in shown(report.tallies(results))
    assert list(report.broken(results, [EARLY])) == []
    written = json.dumps(report.as_json(results, [EARLY], here(1, 9)))
    assert '"deviation": {"link": "https://example.org/why"' in written


def checked(directory: Path, name: str) -> str:
    """What `loopspec check` prints of refloop and of the loop whose adapter is module ``name`` there."""
    metadata = directory / f"{name}-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[loopspec.loops]\n{name} = {name}:Loop\n")
    command = [sys.executable, "-c", "from loopspec.conformance.cli import main; main()"]
    done = subprocess.run(
        [*command, "check", name, "refloop", "--examples", "5", "--seed", "1", "--clause", "TIMER.FIRE"],
        env={**os.environ, "PYTHONPATH": str(directory), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.full
def test_an_absent_loop_is_named_with_the_way_to_install_it_and_is_no_error(tmp_path: Path) -> None:
    """Given an adapter whose loop is not installed, then the others are judged, and the status is theirs."""
    (tmp_path / "absent.py").write_text("import nowhere_to_be_found\n")
    told = checked(tmp_path, "absent")
    assert "absent: not installed, and skipped; to have it: pip install nowhere_to_be_found" in told
    heading = next(line for line in told.splitlines() if line.startswith("clause"))
    assert heading.split() == ["clause", "refloop"]


@pytest.mark.full
def test_a_loop_that_cannot_run_here_is_named_with_the_reason_and_is_no_error(tmp_path: Path) -> None:
    """Given an adapter that says so, then the others are judged, and the status is theirs."""
    (tmp_path / "old.py").write_text(
        "from loopspec.conformance.adapter import IncompatibleError\n"
        "raise IncompatibleError('old 1 does not run on this Python: it is too old')\n"
    )
    told = checked(tmp_path, "old")
    assert "old: cannot run here, and skipped: old 1 does not run on this Python: it is too old" in told

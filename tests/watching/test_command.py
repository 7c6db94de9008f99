"""``loopspec watch`` runs a program as Python would, and tells what its loops did."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

PROGRAM = """\
import asyncio, sys, time

async def handler():
    time.sleep(0.02)

async def main():
    await asyncio.create_task(handler(), name="the handler")

print(__name__, sys.argv[1:], sys.path[0] != "")
asyncio.run(main())
"""


def watched(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("loopspec")
    return subprocess.run([command, "watch", *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return path


def test_a_blocked_step_is_told_with_clause_line_call_and_way_out(program: Path, tmp_path: Path) -> None:
    ran = watched("program.py", "--seven", "8", cwd=tmp_path)
    assert ran.returncode == 0
    assert ran.stdout == "__main__ ['--seven', '8'] True\n"
    for part in (
        "sensor ring",
        "LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT@9d4423d4: 1 step",
        "program.py:4",
        "time.sleep(0.02)",
        "in task the handler handler on asyncio",
        "clock_nanosleep()",
        "instead: await asyncio.sleep()",
    ):
        assert part in ran.stderr


def test_the_exit_status_is_the_program_s(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text("raise SystemExit(7)", encoding="utf-8")
    assert watched("ends.py", cwd=tmp_path).returncode == 7


def test_on_demand_a_blocked_step_is_a_failure(program: Path, tmp_path: Path) -> None:
    assert watched("--fail", "program.py", cwd=tmp_path).returncode == 1
    assert watched("--fail", "--allow", "__main__.handler", "program.py", cwd=tmp_path).returncode == 0


def test_what_the_program_raises_is_told_without_our_frames(tmp_path: Path) -> None:
    (tmp_path / "raises.py").write_text("1 // 0\n", encoding="utf-8")
    ran = watched("raises.py", cwd=tmp_path)
    assert ran.returncode == 1
    assert "ZeroDivisionError" in ran.stderr
    assert "loopspec/conformance" not in ran.stderr


def test_a_module_is_run_as_by_python(program: Path, tmp_path: Path) -> None:
    ran = watched("-m", "program", "x", cwd=tmp_path)
    assert ran.stdout.startswith("__main__ ['x']")
    assert "program.py:4" in ran.stderr


def test_every_step_is_told_as_it_ends(program: Path, tmp_path: Path) -> None:
    ran = watched("--live", "program.py", cwd=tmp_path)
    assert any(
        line.startswith("loopspec: blocked") and "program.py:4" in line for line in ran.stderr.split("\n")
    )


def test_the_page_has_a_bar_for_the_step(program: Path, tmp_path: Path) -> None:
    assert watched("--html", "report.html", "program.py", cwd=tmp_path).returncode == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<rect") >= 1
    assert "program.py:4" in page
    assert "http" not in page.replace("httpx", "")  # nothing is fetched


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nowhere.py",), "there is no file nowhere.py: give a script, or a module with -m"),
        ((), "watch wants a program"),
        (("--sensor", "sundial", "program.py"), "no sensor is named 'sundial'"),
        (("--html", "/nowhere/x.html", "program.py"), "cannot write /nowhere/x.html"),
        (("--held", "0", "program.py"), "--held"),
    ],
)
def test_bad_usage_is_one_line(program: Path, tmp_path: Path, arguments: tuple[str, ...], line: str) -> None:
    ran = watched(*arguments, cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1
    assert line in ran.stderr

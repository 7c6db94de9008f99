"""``pytest --loopspec`` on suites of pytest-asyncio, anyio and pytest-trio, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

SUITE = """\
import asyncio
import time

import pytest
import trio


@pytest.mark.asyncio
async def test_fine():
    await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_long():
    await asyncio.sleep(0)
    time.sleep(0.02)


@pytest.mark.asyncio
async def test_short():
    time.sleep(0.0002)


@pytest.mark.asyncio
async def test_in_a_callback():
    loop = asyncio.get_running_loop()
    loop.call_soon(short)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def short():
    time.sleep(0.0002)


@pytest.mark.trio
async def test_trio():
    await trio.sleep(0)
    time.sleep(0.0002)


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request):
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.mark.anyio
async def test_anyio(anyio_backend):
    time.sleep(0.0002)


@pytest.mark.asyncio
async def test_first_thread():
    await asyncio.to_thread(int)


def test_without_a_loop():
    time.sleep(0.001)


@pytest.mark.asyncio
async def test_once(seen=[]):
    if not seen:
        seen.append(1)
        time.sleep(0.0002)
"""

FAIL = {
    "test_long",
    "test_short",
    "test_in_a_callback",
    "test_trio",
    "test_anyio[asyncio]",
    "test_anyio[uvloop]",
}
PASS = {"test_fine", "test_first_thread", "test_without_a_loop", "test_once"}

PLAIN = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "test_suite.py").write_text(SUITE, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(INI, encoding="utf-8")
    return tmp_path


def run(suite: Path, *options: str) -> tuple[dict[str, str], str]:
    """How each test ended, and all that was printed."""
    command = [sys.executable, "-m", "pytest", "-rA", *PLAIN, *options]
    ran = subprocess.run(command, cwd=suite, capture_output=True, text=True)
    ends = {}
    for line in ran.stdout.splitlines():
        word, _, rest = line.partition(" test_suite.py::")
        if word in ("PASSED", "FAILED", "ERROR") and rest:
            ends[rest.split(" - ")[0]] = word
    return ends, ran.stdout + ran.stderr


@pytest.mark.clause("LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT", "9d4423d4")
def test_tests_that_block_fail_and_no_others(suite: Path) -> None:
    ends, text = run(suite, "--loopspec")
    assert {name for name, word in ends.items() if word == "FAILED"} == FAIL, text
    assert {name for name, word in ends.items() if word == "PASSED"} == PASS, text
    for part in (
        "LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT@9d4423d4",
        "loopspec: sensor ring",
        "test_suite.py:16",  # the long one, by the onlooker
        "test_suite.py:21",  # the short one, by the second run
        "test_suite.py:33",
        "time.sleep",
        "1 short ones were not seen again",
    ):
        assert part in text


def test_without_the_option_nothing_is_done(suite: Path) -> None:
    ends, text = run(suite)
    assert set(ends.values()) == {"PASSED"}
    assert "loopspec: sensor" not in text


def test_an_ini_file_asks_for_it_as_well(suite: Path) -> None:
    """It allows functions, and gives a budget of a second, which no step of the others reaches."""
    ini = INI + "loopspec = true\nloopspec_allow =\n  test_suite.test_l*\n  test_suite.short\n"
    (suite / "pytest.ini").write_text(ini, encoding="utf-8")
    ends, text = run(suite, "-k", "long or callback or short")
    assert ends == {"test_long": "PASSED", "test_in_a_callback": "PASSED", "test_short": "FAILED"}, text
    (suite / "pytest.ini").write_text(ini + "loopspec_budget = 1000\n", encoding="utf-8")
    assert run(suite, "-k", "short")[0] == {"test_short": "PASSED"}


def test_a_report_fails_nothing_and_the_next_best_sensor_finds_the_same(suite: Path) -> None:
    ends, text = run(suite, "--loopspec", "--loopspec-report", "--loopspec-sensor", "ru_nvcsw")
    assert set(ends.values()) == {"PASSED"}
    assert "loopspec: sensor ru_nvcsw" in text
    assert f"{len(FAIL)} tests with blocked steps" in text
    for line in (16, 21, 33):
        assert f"test_suite.py:{line}" in text


def test_bad_usage_is_one_line(suite: Path) -> None:
    _, text = run(suite, "--loopspec", "--loopspec-budget", "-1")
    assert "loopspec_budget = -1.0: a number of milliseconds is wanted, 0 or more" in text
    assert "Traceback" not in text

"""Sensors tell a suspension from a computation, and how many there were; what is refused is told."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from resource import RUSAGE_THREAD, getrusage

import pytest

from loopspec.watching import lock, sensors
from loopspec.watching.sensors import SENSORS, Account, Clock, Ring, SensorError, Usage, choose, trouble
from tests.watching.runs import pause


@pytest.fixture(autouse=True)
def _tried_anew() -> Iterator[None]:
    trouble.cache_clear()
    yield
    trouble.cache_clear()


@pytest.mark.parametrize("name", SENSORS)
def test_every_sensor_works_here(name: str) -> None:
    assert trouble(name) is None
    assert choose(name).name == name


def test_the_best_comes_first() -> None:
    assert choose() == ("ring", ())


@pytest.mark.parametrize("make", [Ring, Usage])
def test_an_exact_sensor_counts_every_suspension(make: Callable[[], Ring | Usage]) -> None:
    with closing(make()) as sensor:
        before, usage = sensor.read(), getrusage(RUSAGE_THREAD).ru_nvcsw
        for _ in range(5):
            pause()
        usage = getrusage(RUSAGE_THREAD).ru_nvcsw - usage
        assert sensor.since(before, sensor.read()).times == usage >= 5


@pytest.mark.parametrize("make", [Ring, Usage])
def test_computing_is_no_suspension(make: Callable[[], Ring | Usage]) -> None:
    with closing(make()) as sensor:
        before = sensor.read()
        for _ in range(20):
            hashlib.sha256(bytes(100_000)).digest()
        assert sensor.since(before, sensor.read()).times == 0


def test_the_ring_gives_the_length_of_a_suspension() -> None:
    with closing(Ring()) as ring:
        before = ring.read()
        time.sleep(0.003)
        account = ring.since(before, ring.read())
    assert account.times == 1
    assert account.suspended is not None
    assert account.suspended >= 2_900_000


def test_the_ring_counts_on_when_it_has_gone_round() -> None:
    """Given a ring that holds 2,730 records, when a thread is suspended 1,500 times, then the older half is
    overwritten, and the count still the kernel's."""
    with closing(Ring()) as ring:
        before, usage = ring.read(), getrusage(RUSAGE_THREAD).ru_nvcsw
        for _ in range(1500):
            time.sleep(1e-9)
        usage = getrusage(RUSAGE_THREAD).ru_nvcsw - usage
        counted = ring.since(before, ring.read()).times
    assert abs(counted - usage) <= usage // 20


def test_a_ring_is_about_the_thread_that_made_it() -> None:
    with closing(Ring()) as ring:
        before = ring.read()
        other = threading.Thread(target=time.sleep, args=(0.001,))
        other.start()
        while other.is_alive():
            pass
        own = ring.since(before, ring.read())
        assert own.times == 0 or own.suspended is not None  # the start of a thread may wait for it


def test_a_clock_does_not_tell_one_millisecond() -> None:
    assert Clock().since(10, 11) == Account(0, 0, None)
    assert Clock().since(10, 13) == Account(1, 3_000_000, None)


def test_where_the_ring_is_refused_the_next_best_is_used_and_the_loss_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sensors, "_OPEN", {})
    choice = choose()
    assert choice.name == "ru_nvcsw"
    assert [line.partition(" (")[0] for line in choice.lost] == ["no ring"]


def test_a_sensor_that_says_nothing_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a sandbox in which the count of switches is always zero, then there is only a guess."""
    monkeypatch.setattr(sensors, "_OPEN", {})
    monkeypatch.setattr(sensors, "_voluntary", lambda: 0)
    choice = choose()
    assert choice.name == "clock"
    assert "a thread that slept is said to have run" in choice.lost[1]


def test_a_sensor_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(SensorError, match="no sensor is named 'sundial': there are ring, ru_nvcsw, clock"):
        choose("sundial")


def test_the_interpreter_lock_is_found_and_moves_when_a_thread_runs() -> None:
    found = lock.find()
    assert found is not None
    before = found.switches()
    time.sleep(1e-6)
    assert found.switches() == before
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert found.switches() > before


def test_to_find_the_lock_leaves_the_switch_interval_as_it_was() -> None:
    before = sys.getswitchinterval()
    lock.find.cache_clear()
    assert lock.find() is not None
    assert sys.getswitchinterval() == before


@pytest.mark.full
def test_no_privilege_is_needed() -> None:
    """A process without one capability has the same sensors, and the same counter of the interpreter lock.

    Its user stays who it is: an environment that only its maker may read is to be had by him alone.
    """
    program = (
        "import asyncio, pathlib, re, time\n"
        "from loopspec.watching import watch\n"
        "async def f(): time.sleep(0.02)\n"
        "with watch() as seen: asyncio.run(f())\n"
        "held = re.findall(r'CapEff:\\t(\\w+)', pathlib.Path('/proc/self/status').read_text())\n"
        "print(int(held[0], 16), seen.seen.sensor, len(seen.blocked), seen.steps[0].handed is None)\n"
    )
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    ran = subprocess.run([*drop, sys.executable, "-c", program], capture_output=True, text=True)
    if "Operation not permitted" in ran.stderr and "setpriv" in ran.stderr:  # nobody to begin with
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "0 ring 1 False\n", ran.stderr

"""What watching does to a program: it sees all of its loops, and leaves no trace, not in a child either."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
import warnings
from asyncio import base_events, events
from pathlib import Path

import pytest
import trio
import uvloop

import loopspec
from loopspec.watching import Verdict, evidence, onlooker, session
from loopspec.watching.evidence import EvidenceError
from loopspec.watching.sensors import SensorError
from tests.watching.runs import pause


async def step() -> None:
    pause()


def test_nothing_is_left_installed() -> None:
    before = (
        events.Handle._run,
        base_events.BaseEventLoop.run_forever,
        dict(vars(uvloop.Loop)),
        trio._core._run.setup_runner,
        list(sys.meta_path),
        threading.enumerate(),
    )
    with loopspec.watch():
        assert events.Handle._run is not before[0]
        asyncio.run(step())
    assert before == (
        events.Handle._run,
        base_events.BaseEventLoop.run_forever,
        dict(vars(uvloop.Loop)),
        trio._core._run.setup_runner,
        list(sys.meta_path),
        threading.enumerate(),
    )


def test_no_descriptor_is_left_open() -> None:
    def held() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    before = held()
    for _ in range(3):
        with loopspec.watch():
            asyncio.run(step())
    assert held() == before


def test_a_loop_that_runs_already_is_watched_from_here_on() -> None:
    async def main() -> list[str]:
        pause()
        with loopspec.watch(evidence=False) as seen:
            await asyncio.create_task(step(), name="inside")
        pause()
        await asyncio.sleep(0)
        return [found.name.split()[0] for found in seen.blocked]

    assert "inside" in asyncio.run(main())


def test_a_block_without_an_await_in_it_is_a_step() -> None:
    async def main() -> int:
        with loopspec.watch(evidence=False) as seen:
            pause()
        return len(seen.blocked)

    assert asyncio.run(main()) == 1


def test_a_run_of_trio_that_is_under_way_is_watched() -> None:
    async def main() -> int:
        with loopspec.watch(evidence=False) as seen:
            await trio.lowlevel.checkpoint()
            pause()
            await trio.lowlevel.checkpoint()
        return len(seen.blocked)

    assert trio.run(main) == 1


def test_a_watcher_within_another_sees_its_own_part() -> None:
    async def named(name: str) -> None:
        await asyncio.create_task(step(), name=name)

    async def main() -> tuple[list[str], list[str]]:
        with loopspec.watch(evidence=False) as outer:
            await named("a")
            with loopspec.watch() as inner:
                await named("b")
            await named("c")
        return (
            [found.name.split()[0] for found in inner.blocked],
            [found.name.split()[0] for found in outer.blocked],
        )

    inner, outer = asyncio.run(main())
    assert inner == ["b"]
    assert outer == ["a", "b", "c"]


def test_loops_in_other_threads_are_watched_each_for_itself() -> None:
    def run(name: str) -> None:
        async def main() -> None:
            await asyncio.create_task(step(), name=name)

        asyncio.run(main())

    with loopspec.watch(evidence=False) as seen:
        threads = [threading.Thread(target=run, args=(f"thread{number}",)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # Threads contend for the interpreter lock, so that only the suspension is certain.
    names = {found.name.split()[0] for found in seen.steps if found.times}
    assert names >= {"thread0", "thread1", "thread2"}
    assert len({found.thread for found in seen.steps}) >= 1


def test_a_watcher_that_goes_while_a_loop_runs_elsewhere_leaves_it_in_peace() -> None:
    going, gone = threading.Event(), threading.Event()
    turns: list[int] = []

    async def busy() -> None:
        while not gone.is_set():
            going.set()
            turns.append(1)
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)

    with loopspec.watch(evidence=False):
        thread = threading.Thread(target=lambda: asyncio.run(busy()))
        thread.start()
        going.wait()
    before = len(turns)
    while len(turns) < before + 10:
        os.sched_yield()
    gone.set()
    thread.join()
    assert len(turns) > before


def test_a_step_that_computes_holds_and_does_not_block() -> None:
    async def hog() -> None:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            sum(range(100))

    async def main() -> None:
        await asyncio.create_task(hog(), name="hog")

    with loopspec.watch(held=0.01, evidence=False) as seen:
        asyncio.run(main())
    assert "hog" in {found.name.split()[0] for found in seen.held}
    assert "hog" not in {found.name.split()[0] for found in seen.blocked}
    assert seen.starved


def test_many_short_steps_in_a_turn_starve_who_is_ready() -> None:
    """None of the steps is long, and what is queued last waits for all of them."""

    async def brief() -> None:
        end = time.thread_time() + 0.002
        while time.thread_time() < end:
            pass

    async def main() -> None:
        await asyncio.gather(*(brief() for _ in range(10)))

    with loopspec.watch(held=0.015, evidence=False) as seen:
        asyncio.run(main())
    assert max(turn.length for turn in seen.starved) >= 20_000_000


@pytest.mark.parametrize("loop", ["uvloop", "trio"])
def test_where_the_loop_tells_it_the_wait_of_one_handler_is_exact(loop: str) -> None:
    def hog() -> None:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass

    async def on_uvloop() -> None:
        running = asyncio.get_running_loop()
        running.call_soon(hog)
        running.call_soon(pause)
        await asyncio.sleep(0)

    async def hogging() -> None:
        hog()

    async def on_trio() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hogging)
            nursery.start_soon(hogging)

    with loopspec.watch(held=0.01, evidence=False) as seen:
        if loop == "uvloop":
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(on_uvloop())
        else:
            trio.run(on_trio)
    assert any(turn.exact and turn.length >= 20_000_000 for turn in seen.starved)


def test_a_forked_child_is_not_watched_and_lives() -> None:
    """The ring of the parent is not mapped in the child: to read it there would kill it."""

    async def main() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            status = 9
            with contextlib.suppress(BaseException):
                await asyncio.sleep(0)
                untouched = "loopspec" not in getattr(events.Handle._run, "__code__").co_filename  # noqa: B009
                status = 0 if untouched and session.current() is None else 8
            os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    with loopspec.watch() as seen:
        assert asyncio.run(main()) == 0
        asyncio.run(step())
    assert seen.blocked


def test_the_program_has_no_child_that_it_did_not_start() -> None:
    def children() -> str:
        return Path(f"/proc/self/task/{threading.main_thread().native_id}/children").read_text()

    before = children()
    with loopspec.watch():
        assert children() == before


@pytest.mark.full
def test_the_onlooker_ends_with_its_program_however_that_ends() -> None:
    program = (
        "import os, time\nfrom loopspec.watching import session\n"
        "made = session.acquire()\nprint(made.evidence.onlooker, flush=True)\nos._exit(1)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    onlooker = int(ran.stdout)
    for _ in range(10_000):
        if not Path(f"/proc/{onlooker}").exists():
            return
        os.sched_yield()
        time.sleep(0.001)
    pytest.fail(f"process {onlooker} is still there")


@pytest.mark.parametrize(("state", "asleep"), [("S", True), ("D", True), ("R", False)])
def test_who_is_being_woken_on_another_processor_is_in_no_call(
    monkeypatch: pytest.MonkeyPatch, state: str, asleep: bool
) -> None:
    """Given a thread that has been woken and has not arrived, of which the kernel still names the call."""
    told = {"syscall": "9999 0x0 0x0 0x0", "stat": f"7 (a) S) {state} 1", "wchan": "0"}
    monkeypatch.setattr(onlooker, "read", lambda path: told[path.rpartition("/")[2]].encode())
    assert onlooker.sample(1, 7)[0] == ("system call 9999" if asleep else None)


def test_without_an_onlooker_the_counts_still_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise EvidenceError("/proc is hidden")

    monkeypatch.setattr(evidence.Evidence, "_start", refused)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with loopspec.watch() as seen:
        asyncio.run(step())
    assert [found.verdict for found in seen.blocked] == [Verdict.BLOCKED]
    assert any("no onlooker (/proc is hidden)" in line for line in seen.seen.lost)
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_trio_that_sets_up_its_runs_otherwise_costs_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(trio._core._run, "setup_runner")
    with loopspec.watch(evidence=False) as seen:
        asyncio.run(step())
    assert seen.blocked
    assert any(line.startswith("trio cannot be hooked") for line in seen.seen.lost)


@pytest.mark.parametrize(("threads", "verdict"), [(1, Verdict.BLOCKED), (2, Verdict.UNKNOWN)])
def test_without_the_counter_of_the_lock_a_lone_thread_alone_is_certain(
    monkeypatch: pytest.MonkeyPatch, threads: int, verdict: Verdict
) -> None:
    monkeypatch.setattr(threading, "active_count", lambda: threads)
    for module in ("loopspec.watching.session.find", "loopspec.watching.lock.find"):
        monkeypatch.setattr(module, lambda: None)
    with loopspec.watch(evidence=False) as seen:
        asyncio.run(step())
    assert [found.verdict for found in seen.steps] == [verdict]
    assert any(line.startswith("no counter of the interpreter lock") for line in seen.seen.lost)


def test_a_sensor_that_cannot_be_made_for_one_more_thread_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with loopspec.watch(evidence=False) as seen:
        monkeypatch.setattr("loopspec.watching.sensors._OPEN", {})
        asyncio.run(step())
    assert len(seen.blocked) == 1
    assert any("no ring for one more thread" in line for line in seen.seen.lost)


@pytest.mark.parametrize("sensor", ["ring", "ru_nvcsw"])
def test_each_exact_sensor_finds_a_suspension_of_no_length(sensor: str) -> None:
    with loopspec.watch(sensor=sensor, evidence=False) as seen:
        asyncio.run(step())
    assert len(seen.blocked) == 1
    assert (seen.seen.sensor, seen.blocked[0].guess) == (sensor, False)


def test_the_last_resort_says_that_it_guesses() -> None:
    async def long() -> None:
        time.sleep(0.01)

    with loopspec.watch(sensor="clock", evidence=False) as seen:
        asyncio.run(long())
    assert [found.guess for found in seen.blocked] == [True]


@pytest.mark.parametrize("held", [0, -1])
def test_a_limit_that_is_no_time_is_refused(held: float) -> None:
    with pytest.raises(SensorError, match="a number of seconds above zero"):
        loopspec.watch(held=held)


def test_exceptions_of_callbacks_pass_as_they_do_without(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        told: list[str] = []
        loop.set_exception_handler(lambda _, context: told.append(str(context["message"])))
        loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return told

    plain = asyncio.run(main())
    with loopspec.watch(evidence=False):
        assert asyncio.run(main()) == plain
    with loopspec.watch(evidence=False), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert len(runner.run(main())) == 1


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_the_loop_s_own_wait_is_no_step_s(loop: str) -> None:
    async def waiter() -> None:
        for _ in range(10):
            await (trio.sleep(0.001) if loop == "trio" else asyncio.sleep(0.001))

    with loopspec.watch(evidence=False) as seen:
        match loop:
            case "asyncio":
                asyncio.run(waiter())
            case "uvloop":
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(waiter())
            case _:
                trio.run(waiter)
    # A page that is not there may suspend one of the steps; the waits, if they were counted, were ten.
    assert len([step for step in seen.steps if step.times]) < 5

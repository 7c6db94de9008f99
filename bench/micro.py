"""What a loop costs apart from its sockets: switches, tasks, timers, posts, trips to a thread, and memory.

``python -m bench.micro NAME LOOP COUNT`` does one of them COUNT times on one loop, in this process, and
prints what one time cost as JSON: ``cpu``, the CPU time of all threads, and ``wall``, both in nanoseconds; or
``bytes`` of resident memory. A loop that lacks what is asked is not in the table below, and nothing is built
for it from what it has.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import refloop

if TYPE_CHECKING:
    import trio

Report: TypeAlias = dict[str, float]
Body: TypeAlias = Callable[[int], Coroutine[refloop.Trap, None, Report]]

SWITCHING = 1_000
"""So many tasks take turns."""

SOON = 50
"""Timers that are to fire are due within so many milliseconds."""

LATE = 3_600
"""Timers that are cancelled would be due after so many seconds."""


@contextmanager
def _timing(count: int) -> Iterator[Report]:
    report: Report = {}
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    yield report
    report["cpu"] = (time.process_time_ns() - cpu) / count
    report["wall"] = (time.perf_counter_ns() - wall) / count


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


@contextmanager
def _weighing(count: int) -> Iterator[Report]:
    report: Report = {}
    before = _resident()
    yield report
    report["bytes"] = (_resident() - before) / count


# --- how each loop spells it ----------------------------------------------------------------------------


def run_refloop(body: Body, count: int) -> Report:
    return refloop.run(body, count)


def run_asyncio(body: Body, count: int) -> Report:
    return asyncio.run(body(count))


def run_uvloop(body: Body, count: int) -> Report:
    import uvloop

    result: Report = uvloop.run(body(count))
    return result


def run_trio(body: Body, count: int) -> Report:
    import trio

    result: Report = trio.run(body, count)
    return result


def run_curio(body: Body, count: int) -> Report:
    import curio

    result: Report = curio.run(body, count)
    return result


RUN: dict[str, Callable[[Body, int], Report]] = {
    "refloop": run_refloop,
    "asyncio": run_asyncio,
    "uvloop": run_uvloop,
    "trio": run_trio,
    "curio": run_curio,
}


# --- switch: a thousand tasks that let each other run ------------------------------------------------------


async def switch_refloop(count: int) -> Report:
    async def body() -> None:
        for _ in range(count // SWITCHING):
            await refloop.checkpoint()

    with _timing(count) as report:
        async with refloop.TaskGroup() as group:
            for _ in range(SWITCHING):
                group.start_soon(body)
    return report


async def switch_asyncio(count: int) -> Report:
    async def body() -> None:
        for _ in range(count // SWITCHING):
            await asyncio.sleep(0)

    with _timing(count) as report:
        async with asyncio.TaskGroup() as group:
            for _ in range(SWITCHING):
                group.create_task(body())
    return report


async def switch_trio(count: int) -> Report:
    import trio

    async def body() -> None:
        for _ in range(count // SWITCHING):
            await trio.lowlevel.checkpoint()

    with _timing(count) as report:
        async with trio.open_nursery() as nursery:
            for _ in range(SWITCHING):
                nursery.start_soon(body)
    return report


async def switch_curio(count: int) -> Report:
    import curio

    async def body() -> None:
        for _ in range(count // SWITCHING):
            await curio.schedule()

    with _timing(count) as report:
        async with curio.TaskGroup() as group:
            for _ in range(SWITCHING):
                await group.spawn(body)
    return report


# --- spawn: tasks that end in their first step --------------------------------------------------------------


async def _nothing() -> None:
    pass


async def spawn_refloop(count: int) -> Report:
    with _timing(count) as report:
        async with refloop.TaskGroup() as group:
            for _ in range(count):
                group.start_soon(_nothing)
    return report


async def spawn_asyncio(count: int) -> Report:
    with _timing(count) as report:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(_nothing())
    return report


async def spawn_trio(count: int) -> Report:
    import trio

    with _timing(count) as report:
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(_nothing)
    return report


# --- timers -----------------------------------------------------------------------------------------------


async def timers_fired_refloop(count: int) -> Report:
    reactor, done = refloop.current_reactor(), refloop.Event()
    left = count

    def fire() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    with _timing(count) as report:
        for number in range(count):
            reactor.call_later((number * 7919 % SOON) * refloop.MILLISECOND, fire)
        await done.wait()
    return report


async def timers_fired_asyncio(count: int) -> Report:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    left = count

    def fire() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    with _timing(count) as report:
        for number in range(count):
            loop.call_later((number * 7919 % SOON) / 1_000, fire)
        await done.wait()
    return report


async def timers_fired_heapq(count: int) -> Report:
    heap: list[tuple[int, int, Callable[[], None]]] = []
    left = count

    def fire() -> None:
        nonlocal left
        left -= 1

    with _timing(count) as report:
        for number in range(count):
            heapq.heappush(heap, (time.monotonic_ns() + number * 7919 % SOON * 1_000_000, number, fire))
        while heap:
            heapq.heappop(heap)[2]()
    return report


async def timers_cancelled_refloop(count: int) -> Report:
    reactor = refloop.current_reactor()
    with _timing(count) as report:
        timers = [
            reactor.call_later((LATE + number * 7919 % SOON) * refloop.SECOND, _late)
            for number in range(count)
        ]
        for timer in timers:
            timer.cancel()
        await refloop.checkpoint()
    return report


async def timers_cancelled_asyncio(count: int) -> Report:
    loop = asyncio.get_running_loop()
    with _timing(count) as report:
        timers = [loop.call_later(LATE + number * 7919 % SOON, _late) for number in range(count)]
        for timer in timers:
            timer.cancel()
        await asyncio.sleep(0)
    return report


def _late() -> None:
    raise AssertionError("a cancelled timer has fired")


# --- posts: one thread floods the loop ----------------------------------------------------------------------


async def posts_refloop(count: int) -> Report:
    return await _flood(refloop.current_reactor().call_soon_threadsafe, refloop.Event(), count)


async def posts_asyncio(count: int) -> Report:
    return await _flood(asyncio.get_running_loop().call_soon_threadsafe, asyncio.Event(), count)


async def posts_trio(count: int) -> Report:
    import trio

    return await _flood(trio.lowlevel.current_trio_token().run_sync_soon, trio.Event(), count)


async def _flood(
    post: Callable[[Callable[[], None]], object], done: refloop.Event | asyncio.Event | trio.Event, count: int
) -> Report:
    left = count

    def come() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    def flood() -> None:
        for _ in range(count):
            post(come)

    thread = threading.Thread(target=flood)
    with _timing(count) as report:
        thread.start()
        await done.wait()
    thread.join()
    return report


# --- to_thread: one round trip after the other --------------------------------------------------------------


async def to_thread_refloop(count: int) -> Report:
    return await _trips(lambda: refloop.to_thread(int), count)


async def to_thread_asyncio(count: int) -> Report:
    return await _trips(lambda: asyncio.to_thread(int), count)


async def to_thread_trio(count: int) -> Report:
    import trio

    return await _trips(lambda: trio.to_thread.run_sync(int), count)


async def to_thread_curio(count: int) -> Report:
    import curio

    return await _trips(lambda: curio.run_in_thread(int), count)


async def _trips(trip: Callable[[], Awaitable[int]], count: int) -> Report:
    await trip()  # the first one starts the thread
    with _timing(count) as report:
        for _ in range(count):
            await trip()
    return report


# --- memory: tasks that wait for an event -------------------------------------------------------------------


async def tasks_refloop(count: int) -> Report:
    event = refloop.Event()
    async with refloop.TaskGroup() as group:
        with _weighing(count) as report:
            for _ in range(count):
                group.start_soon(event.wait)
            await refloop.checkpoint()
            await refloop.checkpoint()
        event.set()
    return report


async def tasks_asyncio(count: int) -> Report:
    event = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        with _weighing(count) as report:
            for _ in range(count):
                group.create_task(event.wait())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        event.set()
    return report


async def tasks_trio(count: int) -> Report:
    import trio
    import trio.testing

    event = trio.Event()
    async with trio.open_nursery() as nursery:
        with _weighing(count) as report:
            for _ in range(count):
                nursery.start_soon(event.wait)
            await trio.testing.wait_all_tasks_blocked()
        event.set()
    return report


MICRO: dict[str, dict[str, tuple[str, Body]]] = {
    "switch": {
        "refloop": ("refloop", switch_refloop),
        "asyncio": ("asyncio", switch_asyncio),
        "uvloop": ("uvloop", switch_asyncio),
        "trio": ("trio", switch_trio),
        "curio": ("curio", switch_curio),
    },
    "spawn": {
        "refloop": ("refloop", spawn_refloop),
        "asyncio": ("asyncio", spawn_asyncio),
        "uvloop": ("uvloop", spawn_asyncio),
        "trio": ("trio", spawn_trio),
    },
    "timers-fired": {
        "refloop": ("refloop", timers_fired_refloop),
        "asyncio": ("asyncio", timers_fired_asyncio),
        "uvloop": ("uvloop", timers_fired_asyncio),
        "bare heapq": ("asyncio", timers_fired_heapq),
    },
    "timers-cancelled": {
        "refloop": ("refloop", timers_cancelled_refloop),
        "asyncio": ("asyncio", timers_cancelled_asyncio),
        "uvloop": ("uvloop", timers_cancelled_asyncio),
    },
    "posts": {
        "refloop": ("refloop", posts_refloop),
        "asyncio": ("asyncio", posts_asyncio),
        "uvloop": ("uvloop", posts_asyncio),
        "trio": ("trio", posts_trio),
    },
    "to-thread": {
        "refloop": ("refloop", to_thread_refloop),
        "asyncio": ("asyncio", to_thread_asyncio),
        "uvloop": ("uvloop", to_thread_asyncio),
        "trio": ("trio", to_thread_trio),
        "curio": ("curio", to_thread_curio),
    },
    "task-memory": {
        "refloop": ("refloop", tasks_refloop),
        "asyncio": ("asyncio", tasks_asyncio),
        "uvloop": ("uvloop", tasks_asyncio),
        "trio": ("trio", tasks_trio),
    },
}
"""Each measure by name, and for each loop that has it, how it is run there."""

for _loops in MICRO.values():
    _loops["refloop compiled"] = _loops["refloop"]  # by another interpreter: see bench.measure

if __name__ == "__main__":
    runner, body = MICRO[sys.argv[1]][sys.argv[2]]
    sys.stdout.write(json.dumps(RUN[runner](body, int(sys.argv[3]))) + "\n")

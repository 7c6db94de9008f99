"""Locks, semaphores, conditions, queues: who is served, what meets in one turn, and contexts of their own."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from functools import partial

import pytest

import refloop
from refloop import (
    Cancelled,
    Condition,
    DeadlockError,
    Event,
    Lock,
    Queue,
    Runtime,
    Semaphore,
    Task,
    TaskGroup,
    WasCancelled,
    WouldBlockError,
    checkpoint,
    current_task,
)
from refloop.tasks import Trap
from tests.refloop.fake_kernel import FakeKernel


async def turns(count: int = 3) -> None:
    """Let everybody come to where they wait."""
    for _ in range(count):
        await checkpoint()


def run(runtime: Runtime, main: Callable[[], Awaitable[None]]) -> None:
    async def started() -> None:
        await main()

    runtime.run_until_done(runtime.spawn(started))


# --- in order -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Lock, Semaphore, Condition])
def test_it_is_handed_over_in_order_and_a_hog_waits_its_turn(
    runtime: Runtime, make: Callable[[], Lock | Semaphore | Condition]
) -> None:
    """Given tasks that take it again and again, when each releases and asks at once, then they take turns."""
    served: list[str] = []

    async def main() -> None:
        shared = make()

        async def taker(name: str) -> None:
            for _ in range(3):
                async with shared:
                    served.append(name)
                    await checkpoint()

        async with TaskGroup() as group:
            for name in "abc":
                group.start_soon(taker, name)

    run(runtime, main)
    assert served == list("abcabcabc")


def test_getters_and_putters_are_served_in_order(runtime: Runtime) -> None:
    got: list[tuple[str, int]] = []

    async def main() -> None:
        queue: Queue[int] = Queue(2)

        async def getter(name: str) -> None:
            got.append((name, await queue.get()))

        async def putter(item: int) -> None:
            await queue.put(item)

        async with TaskGroup() as group:
            for name in "abc":
                group.start_soon(getter, name)
            for item in range(8):
                group.start_soon(putter, item)
            await turns()
            assert got == [("a", 0), ("b", 1), ("c", 2)]
            for name in "defgh":
                await getter(name)

    run(runtime, main)
    assert got[3:] == [("d", 3), ("e", 4), ("f", 5), ("g", 6), ("h", 7)]


def test_a_semaphore_has_one_token_unless_somebody_says() -> None:
    assert (Semaphore().value, Semaphore(3).value) == (1, 3)


def test_a_semaphore_counts(runtime: Runtime) -> None:
    async def main() -> None:
        semaphore = Semaphore(2)
        most = [0, 0]

        async def worker() -> None:
            async with semaphore:
                most[0] += 1
                most[1] = max(most)
                await turns()
                most[0] -= 1

        async with TaskGroup() as group:
            for _ in range(5):
                group.start_soon(worker)
        assert (most, semaphore.value, semaphore.locked()) == ([0, 2], 2, False)

    run(runtime, main)


# --- what meets in one turn -----------------------------------------------------------------------------

Parts = tuple[Callable[[], object], Callable[[], Awaitable[object]], Callable[[], object]]


def lock() -> Parts:
    """What hands it over, what asks for it, and what tells how much is there. Nothing is, at first."""
    semaphore = Semaphore(0)
    return semaphore.release, semaphore.acquire, lambda: semaphore.value


def item() -> Parts:
    queue: Queue[str] = Queue(1)
    return lambda: queue.put_nowait("item"), queue.get, lambda: len(queue)


def place() -> Parts:
    queue: Queue[str] = Queue(1)
    queue.put_nowait("full")
    return queue.get_nowait, lambda: queue.put("more"), lambda: 1 - len(queue)


@pytest.mark.parametrize("parts", [lock, item, place])
@pytest.mark.parametrize("order", ["give, cancel", "cancel, give"])
def test_of_give_and_cancel_in_one_turn_the_first_wins_and_nothing_is_lost(
    runtime: Runtime, parts: Callable[[], Parts], order: str
) -> None:
    """Given two that wait, when the first is chosen and cancelled in one turn, then one of them has it."""
    give, ask, left = parts()
    had: list[str] = []

    async def asker(name: str) -> None:
        await ask()
        had.append(name)
        await checkpoint()

    async def main() -> None:
        first, second = runtime.spawn(asker, "first"), runtime.spawn(asker, "second")
        await turns()
        for act in order.split(", "):
            (give if act == "give" else first.cancel)()
        await turns()
        assert first.outcome == WasCancelled()
        assert had == (["first"] if order == "give, cancel" else ["second"])
        assert left() == 0
        give()
        await turns()
        assert had[1:] == (["second"] if order == "give, cancel" else [])
        second.cancel()

    run(runtime, main)


@pytest.mark.parametrize("order", ["notify, cancel", "cancel, notify"])
def test_of_notify_and_cancel_in_one_turn_one_of_the_two_is_woken_with_the_lock(
    runtime: Runtime, order: str
) -> None:
    woken: list[str] = []

    async def waiter(condition: Condition, name: str) -> None:
        async with condition:
            try:
                await condition.wait()
                woken.append(name)
            finally:
                assert condition.locked()
                condition.notify(0)  # refused to whoever does not hold the lock

    async def main() -> None:
        condition = Condition()
        tasks = [runtime.spawn(waiter, condition, name) for name in ("first", "second")]
        await turns()
        async with condition:
            for act in order.split(", "):
                (condition.notify if act == "notify" else tasks[0].cancel)()
            await turns()
            assert woken == []
        await turns()
        assert woken == (["first"] if order == "notify, cancel" else ["second"])
        assert not condition.locked()
        tasks[1].cancel()

    run(runtime, main)


def test_a_wait_that_is_cancelled_raises_only_when_it_has_its_lock(runtime: Runtime) -> None:
    raised: list[bool] = []

    async def main() -> None:
        condition = Condition()

        async def waiter() -> None:
            async with condition:
                try:
                    await condition.wait()
                except Cancelled:
                    raised.append(condition.locked())
                    raise

        task = runtime.spawn(waiter)
        await turns()
        async with condition:
            task.cancel()
            await turns()
            assert raised == []
        await turns()
        assert raised == [True]
        assert task.outcome == WasCancelled()

    run(runtime, main)


def test_notify_all_wakes_all_in_order_and_none_that_comes_later(runtime: Runtime) -> None:
    woken: list[int] = []

    async def main() -> None:
        condition = Condition(Lock())

        async def waiter(number: int) -> None:
            async with condition:
                await condition.wait()
                woken.append(number)

        tasks = [runtime.spawn(waiter, number) for number in range(3)]
        await turns()
        async with condition:
            condition.notify_all()
        tasks.append(runtime.spawn(waiter, 3))
        await turns(9)
        assert woken == [0, 1, 2]
        tasks[3].cancel()

    run(runtime, main)


# --- what is refused ------------------------------------------------------------------------------------


def test_who_does_not_hold_it_cannot_release_it_and_who_holds_it_cannot_get_it(runtime: Runtime) -> None:
    async def holder(lock: Lock, until: Event) -> None:
        async with lock:
            await until.wait()

    async def main() -> None:
        lock, until = Lock(), Event()
        condition = Condition(lock)
        runtime.spawn(holder, lock, until)
        await turns()
        for refused in (lock.release, condition.notify, condition.notify_all):
            with pytest.raises(RuntimeError, match="does not hold"):
                refused()
        with pytest.raises(RuntimeError, match="does not hold"):
            await condition.wait()
        assert lock.locked()
        until.set()
        async with lock:
            with pytest.raises(RuntimeError, match="wait for ever"):
                await lock.acquire()

    run(runtime, main)


def test_what_cannot_be_had_at_once_is_refused_at_once(runtime: Runtime) -> None:
    queue: Queue[int] = Queue(1)
    with pytest.raises(WouldBlockError, match="no item"):
        queue.get_nowait()
    queue.put_nowait(1)
    with pytest.raises(WouldBlockError, match="1 places"):
        queue.put_nowait(2)
    assert queue.get_nowait() == 1


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="0 places"):
        Queue[int](0)
    with pytest.raises(ValueError, match="-1 tokens"):
        Semaphore(-1)


# --- contexts -------------------------------------------------------------------------------------------

NAME: ContextVar[str] = ContextVar("NAME", default="nobody")


def test_a_task_has_a_context_of_its_own_which_begins_as_its_maker_s(runtime: Runtime) -> None:
    seen: dict[str, list[str]] = {}

    async def child(name: str) -> None:
        seen[name] = [NAME.get()]
        NAME.set(name)
        await checkpoint()
        seen[name].append(NAME.get())
        try:
            await Event().wait()
        except Cancelled:
            seen[name].append(NAME.get())
            raise

    async def main() -> None:
        NAME.set("parent")
        tasks: list[Task[None]] = [runtime.spawn(child, name) for name in "ab"]
        NAME.set("later")
        await turns()
        assert NAME.get() == "later"
        for task in tasks:
            task.cancel()
        await turns()
        assert current_task() not in tasks

    run(runtime, main)
    assert seen == {name: ["parent", name, name] for name in "ab"}
    assert NAME.get() == "nobody"


# --- who waits for ever ---------------------------------------------------------------------------------


Endless = tuple[object, Callable[[], Coroutine[Trap, None, None]]]
"""What is shared, and who waits for it for ever."""


def of_a_lock() -> Endless:
    lock = Lock()

    async def main() -> None:
        await lock.acquire()
        async with TaskGroup() as group:
            group.start_soon(lock.acquire)

    return lock, main


def of_a_semaphore() -> Endless:
    semaphore = Semaphore(0)
    return semaphore, semaphore.acquire


def of_a_condition() -> Endless:
    condition = Condition()

    async def main() -> None:
        async with condition:
            await condition.wait()

    return condition, main


def of_an_item() -> Endless:
    queue = Queue[int](1)

    async def main() -> None:
        await queue.get()

    return queue, main


def of_a_place() -> Endless:
    queue = Queue[int](1)
    queue.put_nowait(0)
    return queue, partial(queue.put, 1)


def of_an_event() -> Endless:
    event = Event()
    return event, event.wait


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (of_a_lock, "lock"),
        (of_a_semaphore, "semaphore"),
        (of_a_condition, "condition"),
        (of_an_item, "get"),
        (of_a_place, "put"),
        (of_an_event, "event"),
    ],
)
def test_who_waits_for_ever_says_for_what(
    kernel: FakeKernel, make: Callable[[], Endless], reason: str
) -> None:
    shared, main = make()
    with pytest.raises(DeadlockError, match=re.escape(f"waits for: {reason} of {shared!r}")):
        refloop.run(main, kernel=kernel)


# --- conditions that share a lock -----------------------------------------------------------------------


def test_conditions_of_one_lock_exclude_each_other(runtime: Runtime) -> None:
    """Given a lock with two conditions, when one is notified, then its waiter goes on with that lock."""
    seen: list[str] = []

    async def main() -> None:
        lock = Lock()
        full, empty = Condition(lock), Condition(lock)

        async def waiter() -> None:
            async with full:
                await full.wait()
                assert empty.locked()
                seen.append("woken")

        async with TaskGroup() as group:
            group.start_soon(waiter)
            await turns()
            async with lock:
                full.notify()
                await turns()
                seen.append("released")

    run(runtime, main)
    assert seen == ["released", "woken"]

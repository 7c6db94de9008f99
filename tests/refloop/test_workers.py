"""Workers: blocking calls off the loop's thread, their results on it, and nothing that is left behind.

Threads are real here and at nobody's pace; the tests hand over explicitly, by gates that jobs wait for and by
events that jobs set on the loop.
"""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import pytest

from refloop import (
    WORKERS,
    BusyResourceError,
    CancelScope,
    CapacityLimiter,
    ClosedResourceError,
    DeadlockError,
    Direction,
    Event,
    ForeignThreadError,
    Job,
    Reactor,
    Returned,
    TaskCancelledError,
    TaskGroup,
    Trap,
    WorkerDeadlockError,
    WorkerRegistration,
    Workers,
    checkpoint,
    current_reactor,
    current_runtime,
    current_task,
    from_thread,
    getaddrinfo,
    listen_tcp,
    open_tcp,
    read_file,
    run,
    sleep,
    to_thread,
)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.enumerate()
    yield
    assert threading.enumerate() == before


class Gate:
    """A job that says when it has begun, and ends when it may."""

    def __init__(self, value: str = "done") -> None:
        self.begun = Event()
        self._ended = False
        self._value = value
        self._open = threading.Semaphore(0)

    def __call__(self) -> str:
        from_thread(self.begun.set)
        self._open.acquire()
        self._ended = True
        return self._value

    def open(self) -> None:
        self._open.release()

    def has_ended(self) -> bool:
        return self._ended


def turn_until_idle(workers: Workers) -> None:
    while workers.busy:
        workers.reactor.turn()


# --- to a worker --------------------------------------------------------------------------------------


def test_a_job_runs_on_another_thread_and_gives_its_value() -> None:
    async def main() -> tuple[int, str]:
        return await to_thread(threading.get_ident), await to_thread("{}{}".format, 1, 2)

    ident, text = run(main)
    assert ident != threading.get_ident()
    assert text == "12"


@pytest.mark.parametrize("error", [ZeroDivisionError("0"), SystemExit(2)])
def test_what_a_job_raises_comes_with_the_frames_of_the_job(error: BaseException) -> None:
    def fails() -> None:
        raise error

    async def main() -> list[str]:
        with pytest.raises(type(error)) as seen:
            await to_thread(fails)
        return [frame.name for frame in traceback.extract_tb(seen.value.__traceback__)]

    assert run(main)[-1] == "fails"


def test_no_more_jobs_run_than_there_are_workers_and_the_rest_in_order() -> None:
    gates = [Gate() for _ in range(4)]

    async def main() -> None:
        async with TaskGroup() as group:
            for gate in gates:
                group.start_soon(to_thread, gate)
            await gates[0].begun.wait()
            await gates[1].begun.wait()
            assert current_runtime().workers.threads == 2
            for done, gate in enumerate(gates):
                assert [each.begun.is_set() for each in gates] == [place < done + 2 for place in range(4)]
                gate.open()
                if done < 2:
                    await gates[done + 2].begun.wait()

    run(main, workers=2)


def test_a_thread_is_started_only_when_there_are_more_jobs_than_threads() -> None:
    async def main() -> int:
        for _ in range(3):
            await to_thread(int)
        return current_runtime().workers.threads

    assert run(main) == 1


def test_a_thread_that_cannot_be_started_is_an_error_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    async def main() -> None:
        await to_thread(int)

    with pytest.raises(RuntimeError, match="can't start new thread"):
        run(main)


def test_a_thread_that_cannot_be_started_leaves_its_job_to_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, start, refused = Gate(), threading.Thread.start, threading.Event()

    def one_only(thread: threading.Thread) -> None:
        if thread.name != "refloop worker 1":
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", one_only)

    async def main() -> tuple[int, object]:
        workers = current_runtime().workers
        async with TaskGroup() as group:
            group.start_soon(to_thread, gate)
            await gate.begun.wait()
            second = group.start_soon(to_thread, int, "2")
            while workers.threads != 1 or not refused.is_set():
                await sleep(0)
            gate.open()
        return workers.threads, second.outcome

    assert run(main, workers=2) == (1, Returned(2))


def test_a_close_waits_for_every_thread_that_was_started_and_for_none_that_was_not(
    real: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a thread that could not be started, of which the loop has not heard yet or has, when the pool is
    closed, then the others have ended."""
    start, joined = threading.Thread.start, list[str]()

    def every_other(thread: threading.Thread) -> None:
        if thread.name == "refloop worker 2":
            raise RuntimeError("can't start new thread")
        start(thread)

    def join(thread: threading.Thread, timeout: float | None = None) -> None:
        joined.append(thread.name)
        real_join(thread, timeout)

    real_join = threading.Thread.join
    monkeypatch.setattr(threading.Thread, "start", every_other)
    monkeypatch.setattr(threading.Thread, "join", join)
    for heard in (False, True):
        workers, gate = Workers(real, 2), Gate()
        workers.submit(gate, done=lambda job: None)
        while not gate.begun.is_set():
            real.turn()
        workers.submit(int, done=lambda job: None)
        while heard and workers.threads == 2:
            real.turn()
        gate.open()
        workers.close()
        assert joined.pop() == "refloop worker 1"
        assert joined == []
        real.call_soon(int)
        real.turn()


def test_a_job_without_a_thread_is_refused_when_who_was_to_start_one_is_through(
    real: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a thread that cannot be started, when the loop hears so before its starter has come further, then
    it waits for the starter, so that no thread is left once the job has its error."""
    waited_for, refused = threading.Event(), list[bool]()

    class Queue(SimpleQueue[object]):
        def get(self, block: bool = True, timeout: float | None = None) -> object:
            waited_for.set()
            return super().get(block, timeout)

        def put(self, item: object, block: bool = True, timeout: float | None = None) -> None:
            if item is None:
                waited_for.wait()
            super().put(item, block, timeout)

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def done(_job: Job[int]) -> None:
        refused.append(waited_for.is_set())
        waited_for.set()

    monkeypatch.setattr("refloop.workers.SimpleQueue", Queue)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    workers = Workers(real, 1)
    workers.submit(int, done=done)
    while not refused:
        real.turn()
    workers.close()
    assert refused == [True]


def test_a_worker_says_whose_it_is_and_does_not_keep_the_process() -> None:
    def job() -> tuple[str, bool]:
        return threading.current_thread().name, threading.current_thread().daemon

    async def main() -> list[tuple[str, bool]]:
        gate = Gate()
        async with TaskGroup() as group:
            first = group.start_soon(to_thread, gate)
            await gate.begun.wait()
            waiting = repr(first)
            second = await to_thread(job)
            gate.open()
        assert waiting == "<task to_thread: thread>"
        return [second]

    assert run(main) == [("refloop worker 2", True)]


def test_an_idle_worker_holds_on_to_nothing_of_its_last_job() -> None:
    class Argument:
        pass

    async def main() -> None:
        argument = Argument()
        held = weakref.ref(argument)
        await to_thread(id, argument)
        del argument
        await to_thread(int)  # the worker has come back from the job before
        assert held() is None

    run(main, workers=1)


def test_an_error_of_a_job_is_held_by_nobody_but_who_caught_it() -> None:
    """Not by a frame in its own traceback, in which it would live until the collector comes."""

    class FailureError(Exception):
        pass

    def fails() -> None:
        raise FailureError

    async def fails_later() -> None:
        await checkpoint()
        raise FailureError

    def asks() -> None:
        for function in (fails, fails_later):
            seen.append(_caught(partial(from_thread, function)))

    def _caught(call: Callable[[], object]) -> weakref.ref[FailureError]:
        try:
            call()
        except FailureError as error:
            return weakref.ref(error)
        raise AssertionError("it has failed")

    async def main() -> None:
        await to_thread(asks)
        try:
            await to_thread(fails)
        except FailureError as error:
            seen.append(weakref.ref(error))

    seen: list[weakref.ref[FailureError]] = []
    gc.disable()
    try:
        run(main)
        assert [each() for each in seen] == [None] * 3
    finally:
        gc.enable()


# --- cancelled waits ----------------------------------------------------------------------------------


def test_a_cancelled_wait_leaves_the_worker_busy_and_drops_the_result() -> None:
    gate, next_one = Gate(), Gate()
    told: list[Exception] = []

    async def main() -> None:
        current_reactor().on_error = told.append
        with CancelScope() as scope:
            async with TaskGroup() as group:
                group.start_soon(to_thread, gate)
                await gate.begun.wait()
                scope.cancel()
        assert not gate.has_ended()
        async with TaskGroup() as group:
            waiting = group.start_soon(to_thread, next_one)
            for _ in range(3):
                await checkpoint()
            assert not next_one.begun.is_set()
            gate.open()
            await next_one.begun.wait()
            assert gate.has_ended()
            next_one.open()
            assert await waiting.join() == "done"

    run(main, workers=1)
    assert told == []


def test_a_job_that_nobody_has_begun_is_taken_back_by_cancellation() -> None:
    gate = Gate()
    ran: list[str] = []

    async def main() -> None:
        async with TaskGroup() as group:
            group.start_soon(to_thread, gate)
            await gate.begun.wait()
            with CancelScope() as scope:
                scope.deadline = current_reactor().clock()
                await to_thread(ran.append, "never")
            gate.open()

    run(main, workers=1)
    assert ran == []


def test_a_task_that_is_cancelled_already_submits_nothing() -> None:
    ran: list[str] = []

    async def main() -> bool:
        with CancelScope() as scope:
            scope.cancel()
            await to_thread(ran.append, "never")
        return current_runtime().workers.busy

    assert run(main) is False
    assert ran == []


# --- limits -------------------------------------------------------------------------------------------


def test_a_limiter_hands_its_tokens_over_in_the_order_of_asking() -> None:
    order: list[int] = []

    async def borrow(limiter: CapacityLimiter, number: int) -> None:
        async with limiter:
            order.append(number)
            assert 1 <= limiter.borrowed <= 2
            await checkpoint()

    async def main() -> int:
        limiter = CapacityLimiter(2)
        async with TaskGroup() as group:
            for number in range(6):
                group.start_soon(borrow, limiter, number)
        return limiter.available

    assert run(main) == 2
    assert order == [0, 1, 2, 3, 4, 5]


def test_who_is_cancelled_while_it_waits_for_a_token_gets_none() -> None:
    async def main() -> tuple[int, int]:
        limiter = CapacityLimiter(1)
        await limiter.acquire()
        async with TaskGroup() as group:
            first = group.start_soon(limiter.acquire)
            second = group.start_soon(limiter.acquire)
            await checkpoint()
            await checkpoint()
            first.cancel()
            limiter.release()
            await second.join()
            held = limiter.borrowed
        limiter.release()
        return held, limiter.borrowed

    assert run(main) == (1, 0)


def test_a_token_is_not_given_back_twice_and_a_limit_lets_somebody_in() -> None:
    with pytest.raises(RuntimeError, match="nobody has borrowed"):
        CapacityLimiter(1).release()
    with pytest.raises(ValueError, match="lets nobody in"):
        CapacityLimiter(0)


def test_a_token_is_out_until_the_job_has_ended_whoever_waits() -> None:
    gate = Gate()

    async def main() -> None:
        limiter = CapacityLimiter(1)
        async with TaskGroup() as group:
            task = group.start_soon(lambda: to_thread(gate, limiter=limiter))
            await gate.begun.wait()
            task.cancel()
        assert limiter.borrowed == 1
        gate.open()
        async with limiter:
            assert gate.has_ended()
        assert limiter.borrowed == 0

    run(main)


def test_the_token_of_a_job_that_is_taken_back_is_given_back() -> None:
    gate = Gate()

    async def main() -> int:
        limiter = CapacityLimiter(1)
        async with TaskGroup() as group:
            group.start_soon(to_thread, gate)
            await gate.begun.wait()
            queued = group.start_soon(lambda: to_thread(int, limiter=limiter))
            while not limiter.borrowed:
                await checkpoint()
            await checkpoint()
            queued.cancel()
            gate.open()
        return limiter.borrowed

    assert run(main, workers=1) == 0


def test_who_waits_for_a_token_says_of_which_limiter() -> None:
    async def main() -> None:
        limiter = CapacityLimiter(1)
        async with limiter, TaskGroup() as group:
            waiting = group.start_soon(limiter.acquire)
            for _ in range(2):
                await checkpoint()
            assert isinstance(waiting.trap, Trap)
            assert waiting.trap.describe() == f"limiter of {limiter!r}"
            group.cancel_scope.cancel()

    run(main)


def test_a_limiter_tells_how_many_tokens_there_are_and_where() -> None:
    async def main() -> None:
        limiter = CapacityLimiter(3)
        for borrowed in range(3):
            assert (limiter.total, limiter.borrowed, limiter.available) == (3, borrowed, 3 - borrowed)
            await limiter.acquire()
        assert (limiter.borrowed, limiter.available) == (3, 0)

    run(main)


def test_who_is_cancelled_as_it_gets_its_token_submits_nothing_and_gives_it_back() -> None:
    ran: list[str] = []

    async def main() -> int:
        limiter = CapacityLimiter(1)
        await limiter.acquire()
        async with TaskGroup() as group:
            group.start_soon(lambda: to_thread(ran.append, "never", limiter=limiter))
            await checkpoint()
            await checkpoint()
            limiter.release()
            assert limiter.borrowed == 1  # it has been woken with the token
            group.cancel_scope.cancel()
        return limiter.borrowed

    assert run(main) == 0
    assert ran == []


@pytest.mark.parametrize("why", ["closed", "deadlock"])
def test_the_token_of_a_job_that_is_refused_is_given_back(why: str) -> None:
    limiter = CapacityLimiter(1)

    async def ask() -> str:
        if why == "closed":
            current_runtime().workers.closed = True
        try:
            await to_thread(int, limiter=limiter)
        except (ClosedResourceError, WorkerDeadlockError) as error:
            return str(error)
        finally:
            current_runtime().workers.closed = False
        return "accepted"

    async def main() -> str:
        return await to_thread(from_thread, ask)

    told = run(main, workers=1)
    assert told.startswith({"closed": "the pool of workers is closed", "deadlock": "all 1 workers"}[why])
    assert limiter.borrowed == 0


@pytest.mark.parametrize(("size", "resolving"), [(1, 1), (2, 1), (3, 1), (4, 2), (9, 4)])
def test_half_of_the_workers_resolve_names_and_one_at_least(real: Reactor, size: int, resolving: int) -> None:
    assert Workers(real, size).resolving.total == resolving


# --- from a worker ------------------------------------------------------------------------------------


def test_a_job_has_the_loop_call_a_function_and_run_a_coroutine() -> None:
    async def double(number: int) -> tuple[int, int]:
        await checkpoint()
        return threading.get_ident(), 2 * number

    def job() -> tuple[int, tuple[int, int]]:
        return from_thread(threading.get_ident), from_thread(double, 21)

    async def main() -> tuple[int, tuple[int, int]]:
        return await to_thread(job)

    mine = threading.get_ident()
    assert run(main) == (mine, (mine, 42))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_fails_on_the_loop_fails_in_the_job_and_nowhere_else(asynchronous: bool) -> None:
    told: list[Exception] = []

    async def fails_later() -> None:
        await checkpoint()
        raise KeyError("later")

    def fails() -> None:
        raise KeyError("at once")

    def job() -> str:
        with pytest.raises(KeyError):
            from_thread(fails_later if asynchronous else fails)
        return "seen"

    async def main() -> str:
        current_reactor().on_error = told.append
        return await to_thread(job)

    assert run(main) == "seen"
    assert told == []


def test_a_job_whose_task_is_cancelled_is_told_so() -> None:
    async def cancelled() -> None:
        current_task().cancel()
        await checkpoint()

    def job() -> str:
        with pytest.raises(TaskCancelledError):
            from_thread(cancelled)
        return "told"

    async def main() -> str:
        return await to_thread(job)

    assert run(main) == "told"


def test_only_a_job_can_ask_the_loop(real: Reactor) -> None:
    with pytest.raises(RuntimeError, match="this thread is no worker"):
        from_thread(int)


def test_what_leaves_the_loop_from_a_function_that_a_job_asked_for_leaves_the_turn(real: Reactor) -> None:
    """Given a function that is interrupted, then whoever turns the loop is, and the job is told that the loop
    has ended what it waited for."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    workers, told = Workers(real, 1), list[str]()

    def job() -> None:
        try:
            from_thread(interrupted)
        except TaskCancelledError as error:
            told.append(str(error))

    workers.submit(job, done=lambda job: job.take())
    with pytest.raises(KeyboardInterrupt):
        turn_until_idle(workers)
    workers.close()
    assert told == ["the loop has ended what this job waited for"]


def test_what_a_worker_has_run_before_does_not_make_it_a_job_s_thread(real: Reactor) -> None:
    """A thread that a job has started is in no job itself."""
    workers, told = Workers(real, 1), list[str]()

    def asks() -> None:
        try:
            from_thread(int)
        except RuntimeError as error:
            told.append(str(error))

    def job() -> None:
        thread = threading.Thread(target=asks)
        thread.start()
        thread.join()

    workers.submit(job, done=lambda job: job.take())
    turn_until_idle(workers)
    workers.close()
    assert told == ["from_thread is for jobs: this thread is no worker, or is in none"]


def test_a_job_that_outlives_its_tasks_can_still_come_back() -> None:
    """Given a job that is held when the last task ends, then the end waits for it, and answers what it
    asks."""
    gate, seen = Gate(), []

    async def late() -> None:
        seen.append("begun")
        await checkpoint()

    def job() -> None:
        gate()
        try:
            from_thread(late)
        except TaskCancelledError:
            seen.append("refused")

    async def main() -> None:
        async with TaskGroup() as group:
            task = group.start_soon(to_thread, job)
            await gate.begun.wait()
            task.cancel()
        current_reactor().call_soon(current_reactor().call_soon, gate.open)

    run(main)
    assert seen == ["begun", "refused"]


# --- jobs that wait for jobs --------------------------------------------------------------------------


async def nested() -> int:
    return await to_thread(int, "7")


async def nested_in_a_group() -> int:
    async with TaskGroup() as group:
        task = group.start_soon(nested)
    assert isinstance(task.outcome, Returned)
    return task.outcome.value


@pytest.mark.parametrize(("size", "answer"), [(1, "refused"), (2, 7)])
@pytest.mark.parametrize("inner", [nested, nested_in_a_group])
def test_a_job_that_only_its_own_worker_could_do_is_refused(
    size: int, answer: object, inner: Callable[[], object]
) -> None:
    def job() -> object:
        try:
            return from_thread(inner)
        except* WorkerDeadlockError:
            pass
        return "refused"

    async def main() -> object:
        return await to_thread(job)

    assert run(main, workers=size) == answer


def test_a_worker_whose_question_is_answered_is_left_for_what_others_ask_for() -> None:
    async def main() -> int:
        for _ in range(2):
            await to_thread(from_thread, checkpoint_once)
        return await to_thread(from_thread, nested)

    async def checkpoint_once() -> None:
        await checkpoint()

    assert run(main, workers=2) == 7


def test_a_queued_job_is_refused_when_the_last_worker_begins_to_wait_for_the_loop() -> None:
    """Given a job that another waits for, queued behind one that runs, when that one asks the loop, too, then
    nobody is left for the first."""
    gate, asked, answers = Gate(), Event(), []

    async def wait_for_ever() -> None:
        asked.set()
        await Event().wait()

    async def ask_for_a_job() -> None:
        try:
            await to_thread(int)
        except WorkerDeadlockError:
            answers.append("refused")

    def asks() -> None:
        from_thread(ask_for_a_job)

    def asks_later() -> None:
        gate()
        with pytest.raises(TaskCancelledError):
            from_thread(wait_for_ever)

    async def main() -> None:
        async with TaskGroup() as group:
            group.start_soon(to_thread, asks_later)
            await gate.begun.wait()
            first = group.start_soon(to_thread, asks)
            while len(current_runtime().workers._asked_for) < 1:
                await sleep(0)
            gate.open()
            await first.join()
            group.cancel_scope.cancel()

    run(main, workers=2)
    assert answers == ["refused"]
    assert asked.is_set()


def test_a_job_that_no_other_waits_for_is_queued_though_every_worker_waits_for_the_loop() -> None:
    asked, may_answer = Event(), Event()

    async def answer() -> int:
        asked.set()
        await may_answer.wait()
        return 1

    async def main() -> tuple[object, object]:
        async with TaskGroup() as group:
            first = group.start_soon(to_thread, from_thread, answer)
            await asked.wait()
            second = group.start_soon(to_thread, int, "2")
            for _ in range(3):
                await checkpoint()
            may_answer.set()
        return first.outcome, second.outcome

    assert run(main, workers=1) == (Returned(1), Returned(2))


def test_nothing_is_held_of_a_job_that_another_has_waited_for() -> None:
    class Argument:
        pass

    held: list[weakref.ref[Argument]] = []

    async def ask() -> None:
        argument = Argument()
        held.append(weakref.ref(argument))
        await to_thread(id, argument)

    async def main() -> None:
        await to_thread(from_thread, ask)
        meet = partial(threading.Barrier(2).wait)
        async with TaskGroup() as group:
            for _ in range(2):  # each of the two workers has come back from the job before
                group.start_soon(to_thread, meet)
        assert held[0]() is None

    run(main, workers=2)


# --- the pool by itself -------------------------------------------------------------------------------


@pytest.fixture
def real() -> Iterator[Reactor]:
    reactor = Reactor()
    yield reactor
    reactor.close()


def test_a_callback_gets_the_job_once_on_the_loops_thread(real: Reactor) -> None:
    workers, seen = Workers(real, 1), []

    def done(job: Job[int]) -> None:
        seen.append((threading.get_ident(), job.take()))

    workers.submit(int, "3", done=done)
    assert seen == []
    while not seen:
        real.turn()
    workers.close()
    assert seen == [(threading.get_ident(), 3)]


def test_a_job_is_taken_back_until_it_is_begun(real: Reactor) -> None:
    workers, running = Workers(real, 1), Gate()
    done: list[str] = []

    begun = workers.submit(running, done=lambda job: done.append(job.take()))
    while not running.begun.is_set():
        real.turn()
    queued = workers.submit(str, "queued", done=lambda job: done.append(job.take()))
    foreign: list[Exception] = []

    def withdraw() -> None:
        try:
            queued.withdraw()
        except ForeignThreadError as error:
            foreign.append(error)

    thread = threading.Thread(target=withdraw)
    thread.start()
    thread.join()
    assert len(foreign) == 1
    assert [begun.withdraw(), queued.withdraw(), queued.withdraw()] == [False, True, False]
    assert workers.busy
    running.open()
    turn_until_idle(workers)
    workers.close()
    assert done == ["done"]


def test_a_pool_takes_as_many_threads_as_jobs_that_wait_want_unless_somebody_says(real: Reactor) -> None:
    with ThreadPoolExecutor() as executor:
        assert Workers(real).size == WORKERS == executor._max_workers


def test_closing_refuses_what_is_queued_and_waits_for_what_runs(real: Reactor) -> None:
    workers, running = Workers(real, 1), Gate()
    outcomes: list[str] = []

    def done(job: Job[str]) -> None:
        try:
            outcomes.append(job.take())
        except ClosedResourceError as error:
            outcomes.append(str(error))

    workers.submit(running, done=done)
    while not running.begun.is_set():
        real.turn()
    workers.submit(str, "queued", done=done)
    real.call_soon(running.open)
    workers.close()
    workers.close()
    assert outcomes == ["the pool was closed before the job was begun", "done"]
    with pytest.raises(ClosedResourceError):
        workers.submit(int, done=print)


def test_a_pool_is_closed_outside_of_turns_by_its_own_thread(real: Reactor) -> None:
    workers = Workers(real)
    errors: list[Exception] = []
    real.on_error = errors.append
    real.call_soon(workers.close)
    real.turn()
    assert [type(error) for error in errors] == [RuntimeError]
    for foreign in (workers.close, lambda: workers.submit(int, done=print)):

        def refused(call: Callable[[], object] = foreign) -> None:
            with pytest.raises(ForeignThreadError):
                call()

        thread = threading.Thread(target=refused)
        thread.start()
        thread.join()
    workers.close()


def test_a_result_for_a_reactor_that_is_closed_is_dropped_in_silence() -> None:
    code = """
import threading
from refloop import Reactor, Workers

threading.excepthook = lambda args: print("uncaught", args)
reactor = Reactor()
workers = Workers(reactor, 1)
gate, begun = threading.Semaphore(0), threading.Semaphore(0)
workers.submit(lambda: (begun.release(), gate.acquire()), done=print)
begun.acquire()
(worker,) = (each for each in threading.enumerate() if each.name.startswith("refloop"))
reactor.close()
gate.release()
workers._queue.put(None)
worker.join()
"""
    assert python(code) == ""


def test_a_job_that_never_ends_does_not_keep_the_process() -> None:
    code = """
import threading
from refloop import Reactor, Workers

begun = threading.Semaphore(0)
Workers(Reactor(), 1).submit(lambda: (begun.release(), threading.Semaphore(0).acquire()), done=print)
begun.acquire()
print("left")
"""
    assert python(code) == "left\n"


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def test_a_pool_has_at_least_one_worker(real: Reactor) -> None:
    with pytest.raises(ValueError, match="runs nothing"):
        Workers(real, 0)


def test_workers_without_a_job_do_not_hide_a_deadlock() -> None:
    async def main() -> None:
        await to_thread(int)
        await Event().wait()

    with pytest.raises(DeadlockError, match="main waits for: event"):
        run(main)


# --- a reactor with workers ---------------------------------------------------------------------------


Pair = tuple[socket.socket, socket.socket]


class Handler:
    """Takes a byte, and ends when it may."""

    def __init__(self, workers: Workers, sock: socket.socket) -> None:
        self.begun = 0
        self.may_end = threading.Semaphore(0)
        self.taken: list[bytes] = []
        self.at_work = 0
        self._sock = sock
        self.registration: WorkerRegistration = workers.register(sock, Direction.READ, self.handle)

    def _has_begun(self) -> None:
        self.begun += 1

    def handle(self, _events: int) -> None:
        self.at_work += 1
        assert self.at_work == 1
        self.taken.append(self._sock.recv(1))
        from_thread(self._has_begun)
        self.may_end.acquire()
        self.at_work -= 1
        if self.taken[-1] == b"!":
            raise ValueError("what a handler lets out")


def test_one_worker_at_a_time_handles_a_connection_in_order(real: Reactor, pair: Pair) -> None:
    ours, theirs = pair
    workers = Workers(real, 3)
    handler = Handler(workers, ours)
    errors: list[str] = []
    real.on_error = lambda error: errors.append(str(error))
    theirs.send(b"ab!d")
    for place, wanted in enumerate((b"a", b"b", b"!", b"d")):
        while handler.begun == place:
            real.turn()
        assert handler.taken[-1] == wanted
        if wanted == b"b":
            with pytest.raises(BusyResourceError, match="still in a handler"):
                workers.register(ours, Direction.WRITE, print)
        handler.may_end.release()
    handler.registration.disarm()
    assert not handler.registration.live
    theirs.send(b"e")
    workers.close()
    real.call_soon(int)
    real.turn()
    assert handler.taken == [b"a", b"b", b"!", b"d"]
    assert errors == ["what a handler lets out"]


# --- files and names ----------------------------------------------------------------------------------


def test_a_file_is_read_on_a_worker(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")

    async def main() -> bytes:
        with pytest.raises(FileNotFoundError):
            await read_file(tmp_path / "none")
        return await read_file(tmp_path / "file")

    assert run(main) == b"content"


@pytest.mark.parametrize(
    ("host", "options"),
    [
        ("127.0.0.1", {}),
        (None, {}),
        (None, {"flags": socket.AI_PASSIVE}),
        ("::1", {"family": socket.AF_INET6}),
        (None, {"family": socket.AF_INET}),
        (None, {"family": socket.AF_INET6}),
        ("127.0.0.1", {"type": socket.SOCK_DGRAM}),
        ("127.0.0.1", {"proto": socket.IPPROTO_TCP}),
    ],
)
def test_names_resolve_as_the_standard_library_has_it(host: str | None, options: dict[str, int]) -> None:
    async def main() -> object:
        return await getaddrinfo(host, 80, **options)

    assert run(main) == socket.getaddrinfo(host, 80, **options)


def test_names_that_do_not_resolve_leave_workers_for_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Given four workers and four names whose server is silent, then a file is read all the same."""
    (tmp_path / "file").write_bytes(b"content")
    gate = Gate()

    def silent(*_args: object, **_options: object) -> list[object]:
        gate()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)

    async def main() -> bytes:
        async with TaskGroup() as group:
            for _ in range(4):
                group.start_soon(lambda: getaddrinfo_of("name"))
            await gate.begun.wait()
            content = await read_file(tmp_path / "file")
            for _ in range(4):
                gate.open()
        return content

    async def getaddrinfo_of(name: str) -> object:
        return await getaddrinfo(name, 80)

    assert run(main, workers=4) == b"content"


def test_a_name_is_resolved_and_its_addresses_are_tried_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    asked: list[tuple[int, int]] = []

    async def main() -> bytes:
        with listen_tcp("127.0.0.1", 0) as listener, listen_tcp("127.0.0.1", 0) as deaf:
            assert isinstance(listener.socket, socket.socket)
            assert isinstance(deaf.socket, socket.socket)
            port, refused = listener.socket.getsockname()[1], deaf.socket.getsockname()[1]
            deaf.close()

            def fake(host: str, port: int, **options: int) -> object:
                if host != "name.invalid" or options["flags"]:
                    return resolve(host, port, **options)
                asked.append((threading.get_ident(), options["type"]))
                found = resolve("127.0.0.1", port, **options)
                return [(*found[0][:4], ("127.0.0.1", refused)), *found]

            monkeypatch.setattr(socket, "getaddrinfo", fake)
            with await open_tcp("name.invalid", port) as stream, await listener.accept() as accepted:
                await stream.send_all(b"here")
                return await accepted.receive()

    assert run(main) == b"here"
    [(thread, kind)] = asked
    assert thread != threading.get_ident()
    assert kind == socket.SOCK_STREAM  # of the others each address would come, and be tried, once more


def test_a_name_without_an_address_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_args: object, **_options: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", none)

    async def main() -> None:
        await open_tcp("name.invalid", 80)

    with pytest.raises(socket.gaierror, match="no such name"):
        run(main)


def test_a_bare_reactor_runs_no_coroutine_for_a_job(real: Reactor) -> None:
    workers = Workers(real, 1)
    seen: list[str] = []

    async def nothing() -> None:
        await checkpoint()

    def job() -> None:
        try:
            from_thread(nothing)
        except RuntimeError as error:
            seen.append(str(error))

    workers.submit(job, done=lambda job: job.take())
    while not seen:
        real.turn()
    workers.close()
    assert seen == ["no refloop runtime in this thread: call this inside refloop.run()"]

"""Tasks: their life, their outcomes, cancellation, groups, and what meets in one turn."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator

import pytest

from refloop import (
    MILLISECOND,
    SECOND,
    WORKERS,
    BusyResourceError,
    Cancelled,
    CancelScope,
    ClosedResourceError,
    DeadlockError,
    Direction,
    Event,
    ForeignThreadError,
    Instrument,
    Raised,
    Reactor,
    Returned,
    Runtime,
    State,
    Task,
    TaskCancelledError,
    TaskGroup,
    WasCancelled,
    Workers,
    checkpoint,
    current_reactor,
    current_runtime,
    current_task,
    fail_after,
    fail_at,
    move_on_after,
    move_on_at,
    notify_closing,
    run,
    sleep,
    sleep_until,
    wait_readable,
    wait_writable,
)
from refloop.tasks import CHECKPOINT, LIFE, Move, Trap
from tests.refloop.fake_kernel import FakeKernel, WouldSleepForEverError

Pair = tuple[socket.socket, socket.socket]


class Watch(Instrument):
    """Every move of every task, as the life-cycle table names it."""

    def __init__(self) -> None:
        self.state: dict[Task[object], State] = {}
        self.wrong: list[tuple[State, Move, State]] = []
        self.moves = 0

    def move(self, task: Task[object], move: Move, to: State) -> None:
        self.moves += 1
        if LIFE[self.state[task], move] is not to:
            self.wrong.append((self.state[task], move, to))
        self.state[task] = to

    def task_spawned(self, task: Task[object]) -> None:
        self.state[task] = task.state

    def before_task_step(self, task: Task[object]) -> None:
        if self.state[task] is State.RUNNING:  # woken in its own step: it has let the others run
            self.move(task, Move.YIELD, State.READY)
        self.move(task, Move.STEP, State.RUNNING)

    def task_scheduled(self, task: Task[object]) -> None:
        if self.state[task] is State.WAITING:
            self.move(task, Move.WAKE, State.READY)

    def after_task_step(self, task: Task[object]) -> None:
        if task.state is State.WAITING:
            self.move(task, Move.AWAIT, State.WAITING)

    def task_exited(self, task: Task[object]) -> None:
        self.move(task, Move.END, State.DONE)


async def value(result: object = "value") -> object:
    await checkpoint()
    return result


async def failure(error: BaseException) -> None:
    await checkpoint()
    await checkpoint()
    raise error


async def forever() -> None:
    await Event().wait()


# --- life and outcome -----------------------------------------------------------------------------------


def test_tasks_move_only_along_the_table(reactor: Reactor) -> None:
    watch = Watch()
    runtime = Runtime(reactor, [watch])

    async def main() -> None:
        async with TaskGroup() as group:
            event = Event()
            group.start_soon(event.wait)
            group.start_soon(sleep_and_cancel, group)
            group.start_soon(forever)
            await checkpoint()
            event.set()

    async def sleep_and_cancel(group: TaskGroup) -> None:
        await sleep(MILLISECOND)
        group.cancel_scope.cancel()

    runtime.run_until_done(runtime.spawn(main))
    runtime.close()
    assert watch.wrong == []
    assert watch.moves > 20
    assert set(watch.state.values()) == {State.DONE}


def test_the_table_is_total_and_only_a_waiting_task_is_woken(runtime: Runtime) -> None:
    assert LIFE.keys() == {(state, move) for state in State for move in Move}
    task = runtime.spawn(value)
    with pytest.raises(RuntimeError, match="only a waiting one"):
        task.wake()
    runtime.run_until_done(task)
    with pytest.raises(RuntimeError, match="only a waiting one"):
        task.wake()


def test_run_returns_the_value_and_raises_the_error() -> None:
    assert run(value, 7) == 7
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        run(failure, error)
    assert caught.value is error


def test_run_cancels_and_awaits_what_is_left_over() -> None:
    ended: list[str] = []

    async def left_over() -> None:
        try:
            await forever()
        finally:
            with CancelScope(shield=True):
                await sleep(MILLISECOND)
            ended.append("left over")

    async def main() -> None:
        current_task().runtime.spawn(left_over)
        await checkpoint()

    run(main)
    assert ended == ["left over"]


def test_everyone_who_joins_sees_the_one_outcome(runtime: Runtime) -> None:
    error = ValueError()
    seen: list[object] = []

    async def join(task: Task[object]) -> None:
        try:
            seen.append(await task.join())
        except (ValueError, TaskCancelledError) as raised:
            seen.append(raised)

    async def main() -> None:
        runtime.reactor.on_error = seen.append
        tasks: list[Task[object]] = [
            runtime.spawn(value, 1),
            runtime.spawn(failure, error),
            runtime.spawn(forever),
        ]
        async with TaskGroup() as group:
            for task in tasks * 2:
                group.start_soon(join, task)
            await checkpoint()
            tasks[2].cancel()
        for task in tasks:
            await join(task)

    runtime.run_until_done(runtime.spawn(main))
    assert seen.count(1) == 3
    assert seen.count(error) == 3
    assert [type(each) for each in seen].count(TaskCancelledError) == 3
    assert len(seen) == 9


def test_the_outcome_tells_value_error_and_cancellation_apart(runtime: Runtime) -> None:
    error = ValueError()
    tasks: list[Task[object]] = [runtime.spawn(value), runtime.spawn(failure, error), runtime.spawn(forever)]
    runtime.reactor.on_error = lambda error: None
    assert tasks[0].outcome is None
    tasks[2].cancel()
    for _ in range(5):
        runtime.reactor.call_soon(int)
        runtime.reactor.turn()
    assert [task.outcome for task in tasks] == [Returned("value"), Raised(error), WasCancelled()]


def test_an_error_that_nobody_joins_is_reported(runtime: Runtime) -> None:
    errors: list[Exception] = []
    runtime.reactor.on_error = errors.append
    error = ValueError()
    runtime.spawn(failure, error)
    runtime.run_until_done(runtime.spawn(sleep_well))
    assert errors == [error]


async def sleep_well() -> None:
    await sleep(MILLISECOND)


def test_a_live_task_is_strongly_held(runtime: Runtime) -> None:
    class Witness:
        pass

    async def wait(witness: Witness) -> Witness:
        await sleep(SECOND)
        return witness

    witness = Witness()
    gone = weakref.ref(witness)
    runtime.spawn(wait, witness)
    del witness
    runtime.reactor.turn()
    gc.collect()
    assert gone() is not None
    runtime.reactor.turn()
    gc.collect()
    assert gone() is None


def test_steps_of_two_ready_tasks_differ_by_at_most_one(runtime: Runtime) -> None:
    steps = [0, 0, 0]

    async def count(who: int) -> None:
        for _ in range(50):
            await checkpoint()
            steps[who] += 1
            assert max(steps) - min(steps) <= 1

    async def main() -> None:
        async with TaskGroup() as group:
            for who in range(3):
                group.start_soon(count, who)

    runtime.run_until_done(runtime.spawn(main))
    assert steps == [50, 50, 50]


def test_a_deadlock_is_reported_with_tasks_and_reasons(kernel: FakeKernel) -> None:
    group = TaskGroup()

    async def main() -> None:
        async with group:
            group.start_soon(forever, name="stuck")

    with pytest.raises(DeadlockError) as caught:
        run(main, kernel=kernel)
    assert [task.name.rpartition(".")[2] for task in caught.value.tasks] == ["main", "stuck"]
    assert f"main waits for: group of {group!r}" in str(caught.value)
    assert "stuck waits for: event of" in str(caught.value)


def test_a_task_that_will_not_end_is_reported_and_its_coroutine_closed(
    kernel: FakeKernel, reactor: Reactor
) -> None:
    """Given tasks that wait behind a shield for what never comes, when the runtime is closed, then they wait
    no more, and what their clean-up raises is told."""
    event, errors, closed = Event(), list[BaseException](), list[str]()
    reactor.on_error = errors.append
    runtime = Runtime(reactor)
    wrong = ZeroDivisionError()

    async def stubborn(name: str, error: Exception | None) -> None:
        try:
            with CancelScope(shield=True):
                await event.wait()
        finally:
            closed.append(name)
            if error is not None:
                raise error

    tasks = [runtime.spawn(stubborn, "first", wrong), runtime.spawn(stubborn, "second", None)]
    with pytest.raises(DeadlockError) as caught:
        runtime.close()
    assert list(caught.value.tasks) == tasks
    assert closed == ["second", "first"]
    assert errors == [wrong]
    assert [task.outcome for task in tasks] == [WasCancelled(), WasCancelled()]
    assert [isinstance(task.error, Cancelled) and task.error.scope for task in tasks] == [
        task.scope for task in tasks
    ]
    event.set()


def test_a_group_around_a_task_that_will_not_end_is_reported_with_it(kernel: FakeKernel) -> None:
    """The end of the child wakes the group's task, which ends without another step."""

    async def stubborn() -> None:
        with CancelScope(shield=True):
            await forever()

    async def main() -> None:
        async with TaskGroup() as group:
            group.start_soon(stubborn, name="stubborn")

    with pytest.raises(DeadlockError) as caught:
        run(main, kernel=kernel)
    assert [task.name.rpartition(".")[2] for task in caught.value.tasks] == ["main", "stubborn"]
    assert [task.outcome for task in caught.value.tasks] == [WasCancelled(), WasCancelled()]


def test_a_task_whose_step_was_lost_is_closed_with_the_others(reactor: Reactor) -> None:
    """As it is by a Ctrl-C between the ready queue and the step."""
    runtime = Runtime(reactor)
    task = runtime.spawn(forever)
    reactor.ready.popleft()
    with pytest.raises(DeadlockError):
        runtime.close()
    assert task.outcome == WasCancelled()


def test_between_steps_no_task_is_running(runtime: Runtime) -> None:
    refused: list[str] = []

    def callback() -> None:
        with pytest.raises(RuntimeError, match="no task is running"):
            current_task()
        refused.append("callback")

    async def main() -> None:
        current_reactor().call_soon(callback)
        await checkpoint()

    runtime.run_until_done(runtime.spawn(main))
    assert refused == ["callback"]


def test_a_task_that_joins_itself_is_refused(runtime: Runtime) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="joins itself"):
            await current_task().join()

    runtime.run_until_done(runtime.spawn(main))


class Nameless(Coroutine[Trap, None, None]):
    """A coroutine of somebody's own making."""

    def send(self, _value: None) -> Trap:
        raise StopIteration

    def throw(self, *_error: object) -> Trap:
        raise StopIteration

    def close(self) -> None:
        pass

    def __await__(self) -> Generator[Trap, None, None]:
        return CHECKPOINT.__await__()


def test_a_task_without_a_name_is_called_by_its_function_or_else_by_its_coroutine(runtime: Runtime) -> None:
    nameless = Nameless()
    task = runtime.spawn(lambda: nameless)
    assert (task.name, task.waits_for, task.error) == (str(nameless), "new", None)
    runtime.run_until_done(task)
    assert task.waits_for == "done"


def test_a_task_that_is_being_cancelled_has_no_error_before_its_end(runtime: Runtime) -> None:
    async def main() -> None:
        task = runtime.spawn(forever)
        await checkpoint()
        task.cancel()
        assert (task.state, task.error, task.outcome) == (State.READY, None, None)

    runtime.run_until_done(runtime.spawn(main))


def test_tasks_that_join_each_other_in_a_ring_are_reported(kernel: FakeKernel) -> None:
    """Each is what the other waits for, and so neither can be told by all that it waits for."""
    ring: list[Task[None]] = []

    async def one(other: int) -> None:
        await ring[other].join()

    async def main() -> None:
        async with TaskGroup() as group:
            ring.extend(group.start_soon(one, other, name=f"one of {other}") for other in (1, 0))

    with pytest.raises(DeadlockError, match="one of 1 waits for: join of <task one of 0: join>"):
        run(main, kernel=kernel)


def test_a_task_says_what_it_waits_for_from_before_its_first_step(runtime: Runtime) -> None:
    async def asleep() -> None:
        await sleep(SECOND)

    async def main() -> None:
        sleeper = runtime.spawn(asleep, name="sleeper")
        assert isinstance(sleeper.trap, Trap)
        assert sleeper.trap.describe() == "checkpoint"
        for _ in range(2):
            await checkpoint()
        assert repr(sleeper) == "<task sleeper: sleep>"
        sleeper.cancel()

    runtime.run_until_done(runtime.spawn(main))


def test_who_is_alone_says_so_and_has_a_deadlock_reported_in_spite_of_a_handler(kernel: FakeKernel) -> None:
    async def main() -> None:
        await Event().wait()

    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with pytest.raises(DeadlockError):
            run(main, kernel=kernel, alone=True)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_what_a_signal_handler_can_end_is_no_deadlock(kernel: FakeKernel) -> None:
    async def main() -> None:
        event, reactor = Event(), current_reactor()
        before = signal.signal(signal.SIGUSR1, lambda *_: reactor.call_soon_threadsafe(event.set))
        kernel.while_asleep.append(lambda: signal.raise_signal(signal.SIGUSR1))
        try:
            await event.wait()
        finally:
            signal.signal(signal.SIGUSR1, before)

    run(main, kernel=kernel)


@pytest.mark.parametrize("whose", ["its own", "another's"])
def test_of_idle_workers_only_another_s_can_end_a_deadlock(kernel: FakeKernel, whose: str) -> None:
    """The pool's own has nothing to do before a task gives it a job; of others nothing is known."""

    async def main() -> None:
        pool = current_task().runtime.workers if whose == "its own" else Workers(Reactor(), 1)
        pool.submit(int, done=lambda job: None)
        while pool.busy:
            await checkpoint()
            if pool.reactor is not current_reactor():
                pool.reactor.turn()
        try:
            await Event().wait()
        finally:
            if whose != "its own":
                pool.close()
                pool.reactor.close()

    with pytest.raises(DeadlockError if whose == "its own" else WouldSleepForEverError):
        run(main, kernel=kernel)


def test_a_thread_of_somebody_else_could_end_a_deadlock(kernel: FakeKernel) -> None:
    over = threading.Semaphore(0)
    other = threading.Thread(target=over.acquire)
    other.start()

    async def main() -> None:
        await Event().wait()

    try:
        with pytest.raises(WouldSleepForEverError):
            run(main, kernel=kernel)
        with pytest.raises(DeadlockError):
            run(main, kernel=kernel, alone=True)
    finally:
        over.release()
        other.join()


def test_a_run_in_another_thread_leaves_ctrl_c_alone() -> None:
    seen: list[object] = []

    async def main() -> None:
        seen.append(signal.getsignal(signal.SIGINT))
        await checkpoint()

    thread = threading.Thread(target=run, args=(main,))
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_a_run_leaves_ctrl_c_to_whoever_has_taken_it_before() -> None:
    seen: list[object] = []

    def handler(number: int, _frame: object) -> None:
        seen.append(number)

    async def main() -> None:
        seen.append(signal.getsignal(signal.SIGINT))
        signal.raise_signal(signal.SIGINT)
        await checkpoint()

    before = signal.signal(signal.SIGINT, handler)
    try:
        run(main)
        assert seen == [handler, signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_cancels_also_what_is_spawned_after_it() -> None:
    ended: list[str] = []

    async def late() -> None:
        try:
            await checkpoint()
        finally:
            ended.append("late")

    async def main() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await forever()
        finally:
            current_task().runtime.spawn(late)

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert ended == ["late"]


def test_ctrl_c_cancels_everything_and_is_raised_when_all_has_unwound() -> None:
    ended: list[str] = []

    async def child() -> None:
        try:
            await forever()
        finally:
            with CancelScope(shield=True):
                await sleep(1)
            ended.append("child")

    async def main() -> None:
        async with TaskGroup() as group:
            group.start_soon(child)
            await sleep(1)
            signal.raise_signal(signal.SIGINT)
            for _ in range(3):
                await checkpoint()
            ended.append("went on")

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert ended == ["child"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_strikes_code_that_does_not_let_go() -> None:
    reached: list[int] = []

    async def main() -> None:
        for number in range(3):
            reached.append(number)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert reached == [0, 1]


def test_keyboard_interrupt_in_a_task_unwinds_everything_and_is_raised() -> None:
    ended: list[str] = []

    async def sibling() -> None:
        try:
            await forever()
        finally:
            ended.append("sibling")

    async def main() -> None:
        async with TaskGroup() as group:
            group.start_soon(sibling)
            await checkpoint()
            group.start_soon(failure, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert ended == ["sibling"]


class Record(Instrument):
    """All that an observer is told, with what a task then says of itself."""

    def __init__(self, told: list[tuple[str, str, str]], name: str) -> None:
        self._told = told
        self._name = name

    def _tell(self, what: str, task: Task[object]) -> None:
        self._told.append((self._name, what, task.waits_for))

    def task_spawned(self, task: Task[object]) -> None:
        self._tell("spawned", task)

    def task_scheduled(self, task: Task[object]) -> None:
        self._tell("scheduled", task)

    def before_task_step(self, task: Task[object]) -> None:
        self._tell("before", task)

    def after_task_step(self, task: Task[object]) -> None:
        self._tell("after", task)

    def task_exited(self, task: Task[object]) -> None:
        self._tell("exited", task)


def test_an_observer_is_told_of_every_step_and_wake_in_its_order(kernel: FakeKernel) -> None:
    told: list[tuple[str, str, str]] = []

    async def main() -> None:
        await checkpoint()
        await sleep(1)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 -- what is raised is not what this is about
        run(main, kernel=kernel, instruments=[Record(told, "first"), Record(told, "second")])
    steps = [
        ("spawned", "new"),
        ("before", "new"),
        ("after", "ready"),
        ("before", "ready"),
        ("after", "sleep until 1 ns"),
        ("scheduled", "ready"),
        ("before", "ready"),
        ("after", "done"),
        ("exited", "done"),
    ]
    assert [(what, how) for name, what, how in told if name == "first"] == steps
    assert [(what, how) for name, what, how in told if name == "second"] == steps
    assert [name for name, _, _ in told[:4]] == ["first", "second"] * 2


def test_an_observer_may_come_with_nothing_of_its_own(kernel: FakeKernel) -> None:
    assert run(value, kernel=kernel, instruments=[Instrument()]) == "value"


def test_tasks_are_told_of_parents_before_children_and_those_that_have_ended_never(runtime: Runtime) -> None:
    async def child(name: str) -> None:
        with CancelScope(), CancelScope():
            async with TaskGroup() as group:
                for number in range(2):
                    group.start_soon(forever, name=f"{name}.{number}")
                with CancelScope():
                    await forever()

    async def main() -> None:
        with CancelScope() as scope:
            async with TaskGroup() as outer, TaskGroup() as inner:
                outer.start_soon(child, "b", name="b")
                inner.start_soon(child, "a", name="a")
                inner.start_soon(value, name="done")
                for _ in range(4):
                    await checkpoint()
                names.extend(task.name for task in runtime.tasks())
                scope.cancel()

    names: list[str] = []
    runtime.spawn(forever, name="other").cancel()
    runtime.spawn(forever, name="another")
    runtime.run_until_done(runtime.spawn(main, name="main"))
    assert names == ["another", "main", "a", "b", "a.0", "a.1", "b.0", "b.1"]


def test_a_task_is_spawned_by_the_thread_of_its_loop(runtime: Runtime) -> None:
    refused: list[Exception] = []

    def spawn() -> None:
        try:
            runtime.spawn(value)
        except ForeignThreadError as error:
            refused.append(error)

    thread = threading.Thread(target=spawn)
    thread.start()
    thread.join()
    assert len(refused) == 1
    assert runtime.tasks() == []


def test_of_an_error_the_one_who_waits_is_told_and_else_the_reactor(runtime: Runtime) -> None:
    """The error of what a run is for is raised there, but for one of its clean-up, when the run has been
    given up."""
    told: list[Exception] = []
    runtime.reactor.on_error = told.append
    joined, alone, main, cleanup = (ValueError(name) for name in ("joined", "alone", "main", "clean-up"))

    async def join() -> None:
        task = runtime.spawn(failure, joined)
        with pytest.raises(ValueError, match="joined"):
            await task.join()
        runtime.spawn(failure, alone)
        await failure(main)

    async def stuck() -> None:
        try:
            await forever()
        finally:
            raise cleanup

    with pytest.raises(ValueError, match="main"):
        runtime.run_until_done(runtime.spawn(join))
    with pytest.raises(DeadlockError):
        runtime.run_until_done(runtime.spawn(stuck))
    with pytest.raises(WouldSleepForEverError):  # who turns the reactor itself may wait for ever
        runtime.reactor.turn()
    runtime.close()
    assert told == [alone, cleanup]


def test_a_thread_has_one_runtime_at_a_time(reactor: Reactor) -> None:
    first = Runtime(reactor)
    with pytest.raises(RuntimeError, match="already"):
        Runtime(reactor)
    first.close()
    second = Runtime(reactor, workers=3, alone=True)
    assert (second.workers.size, second.alone, second.instruments, first.alone) == (3, True, (), False)
    first.close()  # for the second time, and so of no effect on the other
    assert current_runtime() is second
    second.close()
    with pytest.raises(RuntimeError, match="no refloop runtime in this thread"):
        current_runtime()


def test_a_run_has_as_many_workers_as_it_was_given() -> None:
    async def main() -> int:
        return current_runtime().workers.size

    assert (run(main), run(main, workers=3)) == (WORKERS, 3)


def test_a_stranger_s_await_is_refused(runtime: Runtime) -> None:
    loop = asyncio.new_event_loop()

    async def main() -> None:
        with pytest.raises(TypeError, match="another loop"):
            await loop.create_future()

    runtime.run_until_done(runtime.spawn(main))
    loop.close()
    with pytest.raises(TypeError, match="async function"):
        runtime.spawn(int)  # type: ignore[arg-type]


def test_a_loop_in_a_loop_is_refused(runtime: Runtime) -> None:
    with pytest.raises(RuntimeError, match="already"):
        run(value)


# --- every public operation is a checkpoint ---------------------------------------------------------------


async def set_event() -> None:
    event = Event()
    event.set()
    await event.wait()


async def empty_group() -> None:
    async with TaskGroup():
        pass


async def past() -> None:
    await sleep_until(0)


async def writable() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            await wait_writable(ours)
        finally:
            notify_closing(ours)


OPERATIONS: list[Callable[[], Awaitable[None]]] = [
    checkpoint,
    lambda: sleep(0),
    past,
    set_event,
    empty_group,
    writable,
]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_ready_operation_lets_the_others_run(
    runtime: Runtime, operation: Callable[[], Awaitable[None]]
) -> None:
    steps = [0]

    async def sibling() -> None:
        while True:
            steps[0] += 1
            await checkpoint()

    async def main() -> None:
        async with TaskGroup() as group:
            group.start_soon(sibling)
            await checkpoint()
            for _ in range(5):
                before = steps[0]
                await operation()
                assert steps[0] > before
            group.cancel_scope.cancel()

    runtime.run_until_done(runtime.spawn(main))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_cancelled_operation_raises_ready_or_not(
    runtime: Runtime, operation: Callable[[], Awaitable[None]]
) -> None:
    async def main() -> None:
        with CancelScope() as scope:
            scope.cancel()
            await operation()
        assert scope.cancelled_caught

    runtime.run_until_done(runtime.spawn(main))


def test_to_join_a_task_that_is_done_lets_the_others_run(runtime: Runtime) -> None:
    steps: list[int] = []

    async def sibling() -> None:
        steps.append(1)

    async def main() -> None:
        done = runtime.spawn(value)
        await done.join()
        runtime.spawn(sibling)
        await done.join()
        assert steps == [1]

    runtime.run_until_done(runtime.spawn(main))


# --- cancellation -----------------------------------------------------------------------------------------


def test_cancellation_is_a_level(runtime: Runtime) -> None:
    met = 0

    async def main() -> None:
        nonlocal met
        with CancelScope() as scope:
            scope.cancel()
            for _ in range(3):
                try:
                    await checkpoint()
                except Cancelled:
                    met += 1
        assert not scope.cancelled_caught

    runtime.run_until_done(runtime.spawn(main))
    assert met == 3


def test_a_scope_absorbs_only_its_own_cancellation(runtime: Runtime) -> None:
    async def main() -> None:
        with CancelScope() as outer:
            with CancelScope() as middle, CancelScope() as inner:
                middle.cancel()
                inner.cancel()
                await checkpoint()
            assert middle.cancelled_caught
            assert not inner.cancelled_caught
            with CancelScope() as inner:
                try:
                    inner.cancel()
                    await checkpoint()
                finally:
                    outer.cancel()
            assert inner.cancelled_caught
            await checkpoint()
        assert outer.cancelled_caught

    runtime.run_until_done(runtime.spawn(main))


def test_a_shield_keeps_out_what_encloses_it_and_not_itself(runtime: Runtime) -> None:
    reached: list[str] = []

    async def main() -> None:
        with CancelScope() as outer:
            outer.cancel()
            with CancelScope(shield=True) as inner:
                await checkpoint()
                reached.append("shielded")
                inner.cancel()
                await checkpoint()
            assert inner.cancelled_caught
            with CancelScope(shield=True) as inner:
                await checkpoint()
                reached.append("shielded")
                inner.shield = False
                inner.shield = True
                await checkpoint()
                reached.append("shielded again")
                inner.shield = False
                await checkpoint()
            reached.append("after the cancellation of the outer scope")
        assert outer.cancelled_caught
        assert not inner.cancelled_caught

    runtime.run_until_done(runtime.spawn(main))
    assert reached == ["shielded", "shielded", "shielded again"]


def test_a_shielded_wait_neither_ends_nor_spins(kernel: FakeKernel, runtime: Runtime) -> None:
    async def main() -> None:
        with CancelScope() as outer, CancelScope(shield=True):
            outer.cancel()
            await sleep(SECOND)

    runtime.run_until_done(runtime.spawn(main))
    assert len(kernel.timeouts) <= 3
    assert kernel.now >= SECOND


def test_deadlines_cut_short_and_only_what_is_late(kernel: FakeKernel, runtime: Runtime) -> None:
    async def main() -> None:
        with move_on_after(5 * MILLISECOND) as late:
            await sleep(SECOND)
        assert late.cancelled_caught
        assert kernel.now == 5 * MILLISECOND
        with move_on_after(5 * MILLISECOND) as early:
            await sleep(MILLISECOND)
        assert not early.cancel_called
        with pytest.raises(TimeoutError), fail_after(MILLISECOND):
            await sleep(SECOND)
        with move_on_at(0) as past:
            await checkpoint()
        assert past.cancelled_caught
        with move_on_after(MILLISECOND) as extended:
            extended.deadline = kernel.now + 10 * MILLISECOND
            await sleep(5 * MILLISECOND)
        assert not extended.cancel_called
        assert current_reactor().timers.live == 0

    runtime.run_until_done(runtime.spawn(main))


def test_fail_says_so_at_its_deadline_and_lets_through_what_its_block_raises(runtime: Runtime) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError), fail_at(current_reactor().clock() + MILLISECOND):
            await sleep(SECOND)
        with pytest.raises(ZeroDivisionError), fail_after(SECOND):
            raise ZeroDivisionError
        with fail_after(SECOND):
            await sleep(MILLISECOND)

    runtime.run_until_done(runtime.spawn(main))


def test_a_delay_may_be_nothing_and_not_less(runtime: Runtime) -> None:
    async def main() -> None:
        with move_on_after(0) as scope:
            await checkpoint()
        assert scope.cancelled_caught
        await sleep(0)
        for delayed in (move_on_after, fail_after, sleep):
            with pytest.raises(ValueError, match="-1 ns"):
                delayed(-1)

    runtime.run_until_done(runtime.spawn(main))


def test_a_sleep_is_awaited_once(runtime: Runtime) -> None:
    async def main() -> None:
        slept = sleep(1)
        await slept
        with pytest.raises(RuntimeError, match="once"):
            await slept

    runtime.run_until_done(runtime.spawn(main))


def test_a_scope_that_is_cancelled_lets_go_of_its_deadline(runtime: Runtime) -> None:
    async def main() -> None:
        with move_on_after(SECOND) as scope:
            scope.cancel()
            assert current_reactor().timers.live == 0
            scope.deadline = SECOND
            assert current_reactor().timers.live == 0
        assert scope.deadline == SECOND

    runtime.run_until_done(runtime.spawn(main))


def test_a_scope_is_neither_cancelled_before_it_begins_nor_of_any_effect_after_its_end(
    runtime: Runtime,
) -> None:
    async def main() -> None:
        scope = CancelScope()
        assert (scope.cancel_called, scope.cancelled_caught, scope.effective) == (False, False, False)
        with scope:
            await checkpoint()
        scope.cancel()
        scope.deadline = 0
        await checkpoint()
        assert (scope.cancel_called, scope.cancelled_caught) == (True, False)
        assert current_reactor().timers.live == 0

    runtime.run_until_done(runtime.spawn(main))


def test_a_cancelled_task_ends_within_scopes_of_its_own(runtime: Runtime) -> None:
    async def nested() -> None:
        with CancelScope(), move_on_after(SECOND):
            await forever()

    async def main() -> None:
        async with TaskGroup() as group:
            task = group.start_soon(nested)
            await checkpoint()
            await checkpoint()
            task.cancel()
            task.cancel()
        assert task.outcome == WasCancelled()
        assert not group.cancel_scope.cancel_called

    runtime.run_until_done(runtime.spawn(main))


@pytest.mark.parametrize("first", ["set", "cancel"])
def test_of_settle_and_cancel_in_one_turn_the_first_wins_and_no_request_is_lost(
    runtime: Runtime, first: str
) -> None:
    event = Event()
    got: list[str] = []

    async def waiter() -> None:
        await event.wait()
        got.append("value")
        await checkpoint()
        got.append("went on")

    async def main() -> None:
        task = runtime.spawn(waiter)
        await checkpoint()
        await checkpoint()
        for act in (event.set, task.cancel) if first == "set" else (task.cancel, event.set):
            act()
        await sleep(MILLISECOND)
        assert task.outcome == WasCancelled()

    runtime.run_until_done(runtime.spawn(main))
    assert got == (["value"] if first == "set" else [])


def test_scopes_that_end_out_of_order_are_refused(runtime: Runtime) -> None:
    async def main() -> None:
        first, second = CancelScope(), CancelScope()
        first.__enter__()
        second.__enter__()
        with pytest.raises(RuntimeError, match="reverse order"):
            first.__exit__(None, None, None)
        second.__exit__(None, None, None)
        first.__exit__(None, None, None)
        with pytest.raises(RuntimeError, match="once"):
            first.__enter__()

    runtime.run_until_done(runtime.spawn(main))


def test_cancelling_reaches_the_children_of_a_parent_that_is_shielded(runtime: Runtime) -> None:
    async def main() -> None:
        with CancelScope() as scope:
            async with TaskGroup() as group:
                child = group.start_soon(forever)
                await checkpoint()
                with CancelScope(shield=True):
                    scope.cancel()
                    await checkpoint()
                    assert child.outcome == WasCancelled()

    runtime.run_until_done(runtime.spawn(main))


def test_an_event_that_is_set_twice_wakes_once(runtime: Runtime) -> None:
    async def main() -> None:
        event = Event()
        async with TaskGroup() as group:
            group.start_soon(event.wait)
            await checkpoint()
            await checkpoint()
            event.set()
            event.set()

    runtime.run_until_done(runtime.spawn(main))


# --- groups -------------------------------------------------------------------------------------------------


def test_a_group_ends_after_its_children_also_after_those_they_start(runtime: Runtime) -> None:
    ended: list[str] = []

    async def child(group: TaskGroup, depth: int) -> None:
        await sleep(MILLISECOND)
        if depth:
            group.start_soon(child, group, depth - 1)
        ended.append(f"child {depth}")

    async def main() -> None:
        async with TaskGroup() as group:
            group.start_soon(child, group, 2)
        ended.append("group")
        with pytest.raises(RuntimeError, match="block"):
            group.start_soon(value)

    runtime.run_until_done(runtime.spawn(main))
    assert ended == ["child 2", "child 1", "child 0", "group"]


def test_a_failing_child_cancels_body_and_siblings_and_no_error_is_lost(runtime: Runtime) -> None:
    first, second, body = ValueError("first"), ValueError("second"), ValueError("body")

    async def stubborn() -> None:
        try:
            await forever()
        finally:
            raise second

    async def parent() -> None:
        async with TaskGroup() as group:
            group.start_soon(stubborn)
            group.start_soon(forever)
            group.start_soon(failure, first)
            try:
                await forever()
            finally:
                raise body

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await parent()
        assert set(caught.value.exceptions) == {first, second, body}

    runtime.run_until_done(runtime.spawn(main))


def test_a_group_waits_also_for_a_child_that_is_started_when_the_last_has_just_ended(
    runtime: Runtime,
) -> None:
    steps: list[str] = []

    async def child(name: str) -> None:
        await checkpoint()
        steps.append(name)

    async def late(group: TaskGroup, first: Task[None]) -> None:
        while first.state is not State.DONE:
            await checkpoint()
        group.start_soon(child, "late")

    async def main() -> None:
        async with TaskGroup() as group:
            first = group.start_soon(child, "first")
            runtime.spawn(late, group, first)
        steps.append("after")
        with pytest.raises(RuntimeError, match="while its block lasts"):
            group.start_soon(child, "too late")

    runtime.run_until_done(runtime.spawn(main))
    assert steps == ["first", "late", "after"]


def test_a_group_that_cancels_itself_is_left_as_though_it_had_ended(runtime: Runtime) -> None:
    async def main() -> None:
        group = TaskGroup()
        with pytest.raises(RuntimeError, match="while its block lasts"):
            group.start_soon(forever)
        async with group:
            child = group.start_soon(forever)
            group.cancel_scope.cancel()
            await checkpoint()
        assert group.cancel_scope.cancelled_caught
        assert child.outcome == WasCancelled()
        with pytest.raises(RuntimeError, match="entered once"):
            await group.__aenter__()
        with pytest.raises(RuntimeError, match="while its block lasts"):
            group.start_soon(forever)

    runtime.run_until_done(runtime.spawn(main))


def test_a_failing_body_cancels_the_children(runtime: Runtime) -> None:
    error = ValueError("body")

    async def parent() -> None:
        async with TaskGroup() as group:
            group.start_soon(forever)
            raise error

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await parent()
        assert caught.value.exceptions == (error,)

    runtime.run_until_done(runtime.spawn(main))


def test_a_cancellation_from_outside_reaches_the_children_and_leaves_as_itself(runtime: Runtime) -> None:
    seen: list[str] = []

    async def child() -> None:
        try:
            await forever()
        finally:
            seen.append("child")

    async def main() -> None:
        with CancelScope() as scope:
            async with TaskGroup() as group:
                group.start_soon(child)
                async with TaskGroup() as inner:
                    inner.start_soon(child)
                    inner.start_soon(cancel_later, scope)
            raise AssertionError("the group does not absorb it")
        assert scope.cancelled_caught

    async def cancel_later(scope: CancelScope) -> None:
        await sleep(MILLISECOND)
        scope.cancel()

    runtime.run_until_done(runtime.spawn(main))
    assert seen == ["child", "child"]


# --- descriptors --------------------------------------------------------------------------------------------


def test_waiting_again_and_again_costs_no_epoll_ctl(kernel: FakeKernel, runtime: Runtime, pair: Pair) -> None:
    ours, theirs = pair

    async def read() -> None:
        for _ in range(10):
            theirs.send(b"x")
            await wait_readable(ours)
            assert ours.recv(10) == b"x"
        notify_closing(ours)

    async def write() -> None:
        for _ in range(10):
            await wait_writable(ours)
        notify_closing(ours)

    before = len(kernel.controls)
    runtime.run_until_done(runtime.spawn(read))
    runtime.run_until_done(runtime.spawn(write))
    assert [what for what, _, _ in kernel.controls[before:]] == ["register", "unregister"] * 2


def test_what_nobody_waits_for_any_more_leaves_the_interest_set(
    kernel: FakeKernel, runtime: Runtime, pair: Pair
) -> None:
    ours, theirs = pair

    async def main() -> None:
        theirs.send(b"x")
        await wait_readable(ours)
        await sleep(SECOND)
        theirs.send(b"x")
        await wait_readable(ours)

    runtime.run_until_done(runtime.spawn(main))
    assert [what for what, _, _ in kernel.controls[1:]] == ["register", "unregister", "register"]
    assert len(kernel.timeouts) <= 5


def test_what_is_reported_to_nobody_and_waited_for_in_that_turn_costs_no_epoll_ctl(
    kernel: FakeKernel, runtime: Runtime, pair: Pair
) -> None:
    async def main() -> None:
        pair[1].send(b"x")
        for _ in range(3):
            await wait_readable(pair[0])
            await checkpoint()
        await wait_readable(pair[0])
        pair[0].recv(1)
        for _ in range(3):
            await checkpoint()
        pair[1].send(b"x")
        await wait_readable(pair[0])

    before = len(kernel.controls)
    runtime.run_until_done(runtime.spawn(main))
    assert [what for what, _, _ in kernel.controls[before:]] == ["register"]


def test_a_ghost_of_what_a_task_has_waited_for_costs_one_wake_up(runtime: Runtime, pair: Pair) -> None:
    """Given a number that is closed without a word, and a duplicate of it that becomes ready, then the
    interest that was kept for the next wait is gone for good after one report."""
    ours, theirs = pair

    async def main() -> None:
        theirs.send(b"x")
        await wait_readable(ours)
        ours.recv(1)

    runtime.run_until_done(runtime.spawn(main))
    with socket.socket(fileno=os.dup(ours.fileno())):
        ours.close()
        theirs.send(b"x")
        runtime.reactor.turn()
        with pytest.raises(WouldSleepForEverError):
            runtime.reactor.turn()


@pytest.mark.parametrize("name_it_by", ["object", "number"])
def test_a_number_closed_without_notice_and_reused_is_waited_for_anew(
    runtime: Runtime, name_it_by: str
) -> None:
    async def main() -> None:
        number = -1
        for _ in range(3):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                assert number in (-1, ours.fileno())
                number = ours.fileno()
                theirs.send(b"x")
                await wait_readable(ours if name_it_by == "object" else number)

    runtime.run_until_done(runtime.spawn(main))


@pytest.mark.parametrize("direction", Direction)
def test_a_second_waiter_is_refused_and_the_first_served(
    runtime: Runtime, pair: Pair, direction: Direction
) -> None:
    ours, theirs = pair
    waits = wait_readable if direction is Direction.READ else wait_writable

    async def wait() -> None:
        await waits(ours)

    async def main() -> None:
        theirs.send(b"x")
        for _ in range(2):  # the interest is new, and then it has been kept
            first, second = runtime.spawn(wait), runtime.spawn(wait)
            with pytest.raises(BusyResourceError):
                await second.join()
            await first.join()
        first = runtime.spawn(wait)
        await checkpoint()
        with pytest.raises(BusyResourceError):
            current_reactor().register(ours, direction, lambda events: None)
        await first.join()

    runtime.run_until_done(runtime.spawn(main))


async def wait(resource: socket.socket) -> None:
    await wait_readable(resource)


def test_closing_settles_who_waits(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        waiter = runtime.spawn(wait, pair[0])
        await checkpoint()
        await checkpoint()
        notify_closing(pair[0])
        with pytest.raises(ClosedResourceError):
            await waiter.join()

    runtime.run_until_done(runtime.spawn(main))


def test_closing_settles_also_who_was_woken_in_the_same_turn_and_has_not_run(
    runtime: Runtime, pair: Pair
) -> None:
    """The number may be somebody else's when the woken task runs, so it must not return as though ready."""
    ours, theirs = pair

    states: list[State] = []

    async def main() -> None:
        waiter = runtime.spawn(wait, theirs)

        def close(events: int) -> None:
            states.append(waiter.state)
            notify_closing(theirs)
            registration.disarm()

        registration = current_reactor().register(ours, Direction.READ, close)
        await checkpoint()
        ours.send(b"x")
        theirs.send(b"x")
        with pytest.raises(ClosedResourceError):
            await waiter.join()
        assert states == [State.READY]

    runtime.run_until_done(runtime.spawn(main))


@pytest.mark.parametrize("first", ["close", "cancel"])
def test_of_close_and_cancel_in_one_turn_each_is_met_once(runtime: Runtime, pair: Pair, first: str) -> None:
    ours, _ = pair

    async def main() -> None:
        task = runtime.spawn(wait, ours)
        await checkpoint()
        await checkpoint()
        if first == "close":
            notify_closing(ours)
            task.cancel()
            with pytest.raises(ClosedResourceError):
                await task.join()
        else:
            task.cancel()
            notify_closing(ours)
            with pytest.raises(TaskCancelledError):
                await task.join()

    runtime.run_until_done(runtime.spawn(main))


def test_what_an_abandoned_task_was_woken_for_is_for_the_next(reactor: Reactor, pair: Pair) -> None:
    """Given turns that are interrupted between their batch and their steps, the last of them in the close of
    the runtime, then the task that was woken in the first never runs, and does not keep its descriptor."""
    ours, theirs = pair
    runtime = Runtime(reactor)
    task = runtime.spawn(wait, ours)
    reactor.turn()
    other, other_peer = socket.socketpair()
    fired: list[int] = []

    def interrupt(_events: int) -> None:
        raise KeyboardInterrupt

    interrupting = reactor.register(other, Direction.READ, interrupt)
    theirs.send(b"x")
    other_peer.send(b"x")
    for close in (reactor.turn, runtime.close):
        with pytest.raises(KeyboardInterrupt):
            close()
    assert task.outcome == WasCancelled()
    interrupting.disarm()
    reactor.register(ours, Direction.READ, fired.append)
    reactor.turn()
    assert len(fired) == 1
    other.close()
    other_peer.close()


def test_a_cancelled_wait_leaves_the_direction_free(runtime: Runtime, pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        with move_on_after(MILLISECOND) as scope:
            await wait_readable(ours)
        assert scope.cancelled_caught
        theirs.send(b"x")
        await wait_readable(ours)

    runtime.run_until_done(runtime.spawn(main))


def test_a_task_says_what_it_waits_for(kernel: FakeKernel, runtime: Runtime, pair: Pair) -> None:
    ours, theirs = pair

    async def write() -> None:
        await wait_writable(theirs)

    async def rest() -> None:
        await sleep(5)

    async def main() -> None:
        assert current_task().state is State.RUNNING
        waiting = [runtime.spawn(wait, ours), runtime.spawn(write), runtime.spawn(rest)]
        await checkpoint()
        assert [task.waits_for for task in waiting] == [
            f"read of descriptor {ours.fileno()}",
            f"write of descriptor {theirs.fileno()}",
            f"sleep until {kernel.now + 5} ns",
        ]
        notify_closing(ours)
        with pytest.raises(ClosedResourceError):
            await waiting[0].join()
        for task in waiting[1:]:
            await task.join()

    runtime.run_until_done(runtime.spawn(main))

"""Mutants of the tasks: resumed once too often, never, or in the midst of another."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

RUNTIME = "impl/refloop/runtime.py"
STREAMS = "impl/refloop/streams.py"
TASKS = "impl/refloop/tasks.py"
WAITS = "impl/refloop/waits.py"

CORO_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="coro-cancelled-twice",
        clause="CORO.LIFE.TABLE",
        path=TASKS,
        old="                trap = self._within(self._coroutine.throw, self._take_error())\n",
        new="""                try:
                    trap = self._coroutine.throw(self._take_error())
                except Cancelled as cancelled:
                    trap = self._coroutine.throw(cancelled)
""",
        story="A task that lets its cancellation through is sent it once more, as if it were there still.",
    ),
    Mutant(
        name="coro-spawn-takes-the-first-step",
        clause="CORO.RUN.ONE_AT_A_TIME",
        path=RUNTIME,
        old="        self.ready.append(task)\n",
        new="        task.run()\n",
        story="A task takes its first step inside the one that spawns it.",
    ),
    Mutant(
        name="coro-wake-is-a-call",
        clause="CORO.SWITCH.ONLY_AT_AWAIT",
        path=TASKS,
        old="        self._error = error\n        self.runtime.ready.append(self)\n",
        new="        self._error = error\n        self.run()\n",
        story="Who wakes a task runs it, as one would call a function.",
    ),
    Mutant(
        name="coro-wakes-the-first-alone",
        clause="CORO.RESUME.ONCE_PER_WAKE",
        path=TASKS,
        old="""        parked, self.parked = self.parked, {}
        for task in parked:
            task.wake()
""",
        new="""        for task in self.parked:
            del self.parked[task]
            task.wake()
            break
""",
        story="Of all who wait for one thing, only the first is woken.",
    ),
    Mutant(
        name="coro-outcome-handed-out-once",
        clause="CORO.OUTCOME.EXACTLY_ONE",
        path=TASKS,
        old="            case Returned(value):\n                return value\n",
        new="""            case Returned(value):
                self._value = None
                return value
""",
        story="The first to join takes the value away from the others.",
    ),
    Mutant(
        name="coro-event-fast-path",
        clause="CORO.CHECKPOINT.ALWAYS_OR_NEVER",
        path=WAITS,
        old="        await suspend(CHECKPOINT if self._set else self._lot)\n",
        new="        if not self._set:\n            await suspend(self._lot)\n",
        story="To wait for an event that is set lets nobody run: a fast path that never yields.",
        report="https://github.com/dabeaz/curio/issues/106",
    ),
    Mutant(
        name="coro-drain-below-the-mark",
        clause="CORO.CHECKPOINT.ALWAYS_OR_NEVER",
        path=STREAMS,
        old="        yield CHECKPOINT\n",
        new="",
        story="A send that the kernel takes whole returns without suspending its task.",
        report="https://github.com/python/cpython/issues/75279",
    ),
    Mutant(
        name="coro-thread-for-each-task",
        clause="CORO.THREADS.INDEPENDENT_OF_TASKS",
        path=RUNTIME,
        old="        self.ready.append(task)\n",
        new="""        self.ready.append(task)
        threading.Thread(target=threading.Event().wait, name=f"watchdog of {task.name}", daemon=True).start()
""",
        story="Each task gets a thread that watches over it.",
    ),
    Mutant(
        name="coro-sleep-goes-on",
        clause="CORO.WAIT.ONE_REASON",
        path=WAITS,
        old="        assert self._timer is not None\n        self._timer.cancel()\n",
        new="        assert self._timer is not None\n",
        story="A sleep that is cancelled leaves its timer armed, which wakes the task from whatever is next.",
    ),
)

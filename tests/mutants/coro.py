"""Mutants of the tasks: resumed once too often, never, or in the midst of another."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

ERRORS = "impl/refloop/errors.py"
GROUPS = "impl/refloop/groups.py"
RUNTIME = "impl/refloop/runtime.py"
STREAMS = "impl/refloop/streams.py"
TASKS = "impl/refloop/tasks.py"
WAITS = "impl/refloop/waits.py"

CORO_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="coro-cancelled-twice",
        clause="CORO.LIFE.TABLE",
        path=TASKS,
        old="                trap = self._context.run(self._coroutine.throw, self._take_error())\n",
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
        __import__("_thread").start_new_thread(threading.Event().wait, ())
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
    Mutant(
        name="coro-event-keeps-who-has-left",
        clause="CORO.WAIT.ONE_REASON",
        path=TASKS,
        old="    def abort(self, task: Task[object], /) -> None:\n        del self.parked[task]\n",
        new="""    def abort(self, task: Task[object], /) -> None:
        if self.reason != "event":
            del self.parked[task]
""",
        story="A wait for an event that is cancelled leaves its task parked there, and the event wakes it.",
    ),
    Mutant(
        name="coro-tasks-held-weakly",
        clause="CORO.TASK.STRONGLY_HELD",
        path=TASKS,
        old="        self.members: dict[Task[object], None] = {}\n",
        new='        self.members = __import__("weakref").WeakKeyDictionary()\n',
        story="The set of all tasks holds none of them, so as not to keep any alive.",
        report="https://github.com/python/cpython/issues/91887",
    ),
    Mutant(
        name="coro-descriptor-for-each-task",
        clause="CORO.SWITCH.NOT_BY_KERNEL",
        path=RUNTIME,
        old="        self.ready.append(task)\n",
        new='        self.ready.append(task)\n        __import__("os").eventfd(0)\n',
        story="Each task gets an eventfd to be woken by.",
    ),
    Mutant(
        name="coro-sleeps-between-steps",
        clause="CORO.SWITCH.NOT_BY_KERNEL",
        path=TASKS,
        old="        runtime.current = self\n",
        new='        runtime.current = self\n        __import__("time").sleep(1e-6)\n',
        story="Before each step the thread sleeps a moment, to be nice to the others.",
    ),
    Mutant(
        name="coro-shuffled-ready-queue",
        clause="CORO.ORDER.BY_PROGRAM",
        path=TASKS,
        old="        self._error = error\n        self.runtime.ready.append(self)\n",
        new="""        self._error = error
        if __import__("random").random() < 0.5:
            self.runtime.ready.append(self)
        else:
            self.runtime.ready.appendleft(self)
""",
        story="Who is woken goes to the front or to the back by chance, so that nobody relies on an order.",
    ),
    Mutant(
        name="coro-deadlock-slept-through",
        clause="CORO.DEADLOCK.REPORTED",
        path=RUNTIME,
        old="            raise DeadlockError(tasks)\n",
        new="            return\n",
        story="When all wait for each other, the loop waits with them.",
    ),
    Mutant(
        name="coro-deadlock-names-the-first",
        clause="CORO.DEADLOCK.REPORTED",
        path=ERRORS,
        old="        self.tasks = tuple(tasks)\n",
        new="        self.tasks = tuple(tasks)[:2]\n",
        story="The report of a deadlock names the main task and one other, and not the rest of the ring.",
    ),
    Mutant(
        name="coro-group-spares-the-siblings",
        clause="CORO.GROUP.CHILD_WITHIN_PARENT",
        path=GROUPS,
        old="            if not isinstance(error, Cancelled):\n                self.scope.cancel()\n",
        new="",
        story="A child that fails leaves the others running, as asyncio.gather does.",
    ),
    Mutant(
        name="coro-group-keeps-one-error",
        clause="CORO.GROUP.CHILD_WITHIN_PARENT",
        path=GROUPS,
        old="            self._errors.append(error)\n",
        new="            self._errors[:] = self._errors or [error]\n",
        story="The first error leaves the group, and those of the other children are dropped.",
    ),
    Mutant(
        name="coro-group-leaves-children-behind",
        clause="CORO.GROUP.CHILD_WITHIN_PARENT",
        path=GROUPS,
        old="        if error is None or self.members:\n",
        new="        if error is None:\n",
        story="A block that fails leaves its group at once, and the children to themselves.",
    ),
)

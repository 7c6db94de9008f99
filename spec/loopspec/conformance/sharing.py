"""What a scenario's tasks share: the loop's own locks, semaphores, conditions and queues, and the telling of
what is asked of them.

Each exists from its first use on. A task that holds one releases it however its body ends, as ``async with``
would, so that who waits for ever does so by nobody's fault but the loop's. What cannot be done, as to notify
without the lock, is not done: a scenario has no wrong steps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from loopspec import trace
from loopspec.conformance import scenario as script
from loopspec.conformance.adapter import Condition, Holdable, Primitives, Queue
from loopspec.trace import Event, Outcome, Verb

Operate = Callable[[str, int, Callable[[], Awaitable[object]]], Awaitable[object]]
"""Calls an operation of the loop from a task: its name, the number of the primitive, and the call."""


class Teller(Protocol):
    """The run, as far as it matters here."""

    turn: int
    tell: Callable[[Event], None]


class _Holdable:
    """A lock, a semaphore or a condition, and the tasks that hold it."""

    def __init__(self, number: int, made: Holdable) -> None:
        self.number = number
        self.made = made
        self.holders: list[int] = []

    def held(self) -> int:
        return int(self.made.locked())


class _Condition(_Holdable):
    def __init__(self, number: int, made: Condition) -> None:
        super().__init__(number, made)
        self.condition = made


class _Queue:
    def __init__(self, number: int, made: Queue) -> None:
        self.number = number
        self.made = made

    def held(self) -> int:
        return self.made.qsize()


class Sharing:
    """The primitives of one run."""

    def __init__(self, run: Teller, primitives: Primitives | None) -> None:
        self._run = run
        self._primitives = primitives
        self._made: list[_Holdable | _Queue] = []
        self._holdables: dict[tuple[script.Holdable, int], _Holdable] = {}
        self._conditions: dict[int, _Condition] = {}
        self._queues: dict[int, _Queue] = {}
        self._items = 0

    def rest(self) -> None:
        """Tell what everything holds while the loop sleeps."""
        for each in self._made:
            self._run.tell(trace.Rest(self._run.turn, each.number, each.held()))

    async def share(
        self, task: int, do: script.Share, operate: Operate, perform: Callable[[], Awaitable[None]]
    ) -> None:
        """Do one step of ``task``; ``perform`` does the step's body."""
        if self._primitives is None:
            return
        match do:
            case script.Hold(kind=kind, which=which):
                await self._hold(task, self._holdable(self._primitives, kind, which), kind, operate, perform)
            case script.WaitNotified(which=which):
                condition = self._conditions.get(which)
                if condition is not None and task in condition.holders:
                    await self._wait(task, condition, operate)
            case script.Notify(which=which, count=count):
                condition = self._conditions.get(which)
                if condition is not None and task in condition.holders:
                    condition.condition.notify(count)
                    self._run.tell(trace.Notify(self._run.turn, condition.number, count))
            case script.Put(which=which):
                queue, item = self._queue(self._primitives, which), self._items
                self._items += 1
                await self._ask(task, queue, "put", lambda: queue.made.put(item), operate, item)
            case script.Get(which=which):
                queue = self._queue(self._primitives, which)
                await self._ask(task, queue, "get", queue.made.get, operate)

    # -- what there is

    def _make(self, kind: trace.Primitive, capacity: int) -> int:
        number = len(self._made)
        self._run.tell(trace.Make(self._run.turn, number, kind, capacity))
        return number

    def _holdable(self, primitives: Primitives, kind: script.Holdable, which: int) -> _Holdable:
        if (kind, which) not in self._holdables:
            made = self._new_holdable(primitives, kind, which)
            self._holdables[kind, which] = made
            self._made.append(made)
        return self._holdables[kind, which]

    def _new_holdable(self, primitives: Primitives, kind: script.Holdable, which: int) -> _Holdable:
        match kind:
            case "lock":
                return _Holdable(self._make(kind, 1), primitives.lock())
            case "semaphore":
                return _Holdable(self._make(kind, which + 1), primitives.semaphore(which + 1))
            case "condition":
                made = self._conditions[which] = _Condition(self._make(kind, 1), primitives.condition())
                return made

    def _queue(self, primitives: Primitives, which: int) -> _Queue:
        if which not in self._queues:
            self._queues[which] = _Queue(self._make("queue", which + 1), primitives.queue(which + 1))
            self._made.append(self._queues[which])
        return self._queues[which]

    # -- what is asked of it

    async def _hold(
        self,
        task: int,
        of: _Holdable,
        kind: script.Holdable,
        operate: Operate,
        perform: Callable[[], Awaitable[None]],
    ) -> None:
        if task in of.holders:
            await perform()
            return
        await self._ask(task, of, "acquire", of.made.acquire, operate, name=f"{kind.capitalize()}.acquire")
        of.holders.append(task)
        try:
            await perform()
        finally:
            of.holders.remove(task)
            # A task that wrongly is without its lock has been told of already.
            with suppress(RuntimeError):
                of.made.release()
                self._run.tell(trace.Release(self._run.turn, task, of.number))

    async def _wait(self, task: int, of: _Condition, operate: Operate) -> None:
        # Meanwhile it holds nothing; whatever happens, it does afterwards.
        of.holders.remove(task)
        try:
            await self._ask(task, of, "wait", of.condition.wait, operate)
        finally:
            of.holders.append(task)

    async def _ask(
        self,
        task: int,
        of: _Holdable | _Queue,
        verb: Verb,
        call: Callable[[], Awaitable[object]],
        operate: Operate,
        item: int | None = None,
        *,
        name: str | None = None,
    ) -> None:
        self._run.tell(trace.Ask(self._run.turn, task, of.number, verb, item))
        outcome: Outcome = "cancelled"
        try:
            result = await operate(name or _NAMES[verb], of.number, call)
            outcome = "value"
            if verb == "get":
                assert isinstance(result, int)
                item = result
        except Exception:
            outcome = "error"
            raise
        finally:
            locked = verb == "wait" and of.held() > 0
            self._run.tell(trace.Answer(self._run.turn, task, of.number, verb, outcome, item, locked))


_NAMES: dict[Verb, str] = {"wait": "Condition.wait", "put": "Queue.put", "get": "Queue.get"}

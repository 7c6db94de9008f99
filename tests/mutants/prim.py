"""Mutants of what tasks share: out of order, lost on the way, without the lock."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

PRIMITIVES = "impl/refloop/primitives.py"
TASKS = "impl/refloop/tasks.py"

PRIM_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="prim-last-come-first-served",
        clause="PRIM.WAITERS.FIFO_NO_BARGING",
        path=TASKS,
        old="            first = next(iter(self.parked))\n",
        new="            first = next(reversed(self.parked))\n",
        story="Those who wait lie on a stack.",
    ),
    Mutant(
        name="prim-lock-barging",
        clause="PRIM.WAITERS.FIFO_NO_BARGING",
        path=PRIMITIVES,
        old="        self._lot.holder = None\n        self._lot.let_in()\n",
        new="        self._lot.holder = None\n"
        "        current_task().runtime.reactor.call_soon(self._lot.let_in)\n",
        story="A lock that is released is free until its first waiter has run, and a newcomer takes it.",
        report="https://github.com/python-trio/trio/issues/54",
    ),
    Mutant(
        name="prim-queue-barging",
        clause="PRIM.WAITERS.FIFO_NO_BARGING",
        path=PRIMITIVES,
        old="        self._items.append(item)\n        self._getters.let_in()\n",
        new="        self._items.append(item)\n"
        "        current_task().runtime.reactor.call_soon(self._getters.let_in)\n",
        story="An item lies in the queue until its first getter has run, and a newcomer takes it.",
    ),
    Mutant(
        name="prim-chosen-and-cancelled",
        clause="PRIM.HANDOFF.PASSES_ON",
        path=TASKS,
        old="        elif self.state is READY and self.trap is CHECKPOINT:\n",
        new="        elif self.state is READY:\n",
        story="A task that has its token in its hands is cancelled, and the token with it.",
        report="https://github.com/python/asyncio/pull/256",
    ),
    Mutant(
        name="prim-notified-and-cancelled",
        clause="PRIM.HANDOFF.PASSES_ON",
        path=PRIMITIVES,
        old="            await suspend(self._lot)\n        except Cancelled:\n",
        new="            await suspend(self._lot)\n"
        "            await self._lock.acquire()\n"
        "            return\n"
        "        except Cancelled:\n",
        story="A task that was notified is cancelled while it waits for the lock, and nobody else is told.",
        report="https://github.com/python/cpython/issues/112202",
    ),
    Mutant(
        name="prim-cancelled-without-the-lock",
        clause="PRIM.CONDITION.HOLDS_LOCK",
        path=PRIMITIVES,
        old="        except Cancelled:\n            await self._acquire_again()\n            raise\n",
        new="        except Cancelled:\n            raise\n",
        story="A wait that is cancelled raises without the lock.",
        report="https://github.com/python/asyncio/pull/346",
    ),
    Mutant(
        name="prim-notified-without-the-lock",
        clause="PRIM.CONDITION.HOLDS_LOCK",
        path=PRIMITIVES,
        old="            raise\n        await self._acquire_again()\n",
        new="            raise\n",
        story="A wait that was notified returns at once, and whoever notified it holds the lock still.",
    ),
    Mutant(
        name="prim-item-and-cancelled",
        clause="PRIM.QUEUE.CONSERVES_ITEMS",
        path=PRIMITIVES,
        old="        await suspend(getters)\n",
        new="        await suspend(getters)\n"
        "        from refloop.generators import checkpoint\n\n        await checkpoint()\n",
        story="A get that has its item can still be cancelled, and the item is gone.",
        report="https://github.com/tornadoweb/tornado/issues/2826",
    ),
    Mutant(
        name="prim-item-handed-out-twice",
        clause="PRIM.QUEUE.CONSERVES_ITEMS",
        path=PRIMITIVES,
        old="        item = self._items.popleft()\n        self._putters.let_in()\n",
        new="        item = self._items[0]\n"
        "        self._putters.let_in()\n"
        "        if len(self._items) == 1:\n"
        "            self._items.popleft()\n",
        story="The place is filled before the item is out of it, and the same item is taken again.",
    ),
)

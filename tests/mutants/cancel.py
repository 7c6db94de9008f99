"""Mutants of cancellation: at the wrong place, dropped, too late, somebody else's, again and again."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CANCEL = "impl/refloop/cancel.py"
PRIMITIVES = "impl/refloop/primitives.py"
TASKS = "impl/refloop/tasks.py"

CANCEL_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="cancel-strikes-at-once",
        clause="CANCEL.DELIVERY.AT_CHECKPOINT",
        path=TASKS,
        old="        self._own_scope.cancel()\n",
        new="        self._own_scope.cancel()\n"
        "        if self.runtime.current is self:\n"
        "            raise Cancelled(self._own_scope)\n",
        story="A task that cancels itself is torn apart there and then, and not at its next checkpoint.",
    ),
    Mutant(
        name="cancel-erased-by-a-value",
        clause="CANCEL.REQUEST.NEVER_LOST",
        path=TASKS,
        old="        if self.state is DONE:\n            return\n        if self._own_scope is None:\n",
        new="        if self.state is DONE or self.state is READY:\n"
        "            return\n"
        "        if self._own_scope is None:\n",
        story="A request that comes in the turn in which the wait was settled is dropped.",
        report="https://github.com/python/cpython/issues/86296",
    ),
    Mutant(
        name="cancel-after-the-effect",
        clause="CANCEL.EFFECT.DONE_OR_UNDONE",
        path=PRIMITIVES,
        old='        """Wait for a token."""\n        await suspend(self._lot)\n',
        new='        """Wait for a token."""\n'
        "        from refloop.tasks import CHECKPOINT\n\n"
        "        await suspend(self._lot)\n"
        "        await suspend(CHECKPOINT)\n",
        story="A semaphore that has given its token is a checkpoint once more: cancelled there, it is lost.",
        report="https://github.com/python/cpython/issues/90155",
    ),
    Mutant(
        name="cancel-absorbed-by-the-innermost",
        clause="CANCEL.SCOPE.OWN_ONLY",
        path=CANCEL,
        old="        if isinstance(error, Cancelled) and error.scope is self:\n",
        new="        if isinstance(error, Cancelled):\n",
        story="The innermost scope absorbs whatever cancellation comes by.",
        report="https://github.com/python/cpython/issues/116720",
    ),
    Mutant(
        name="cancel-tried-again-every-turn",
        clause="CANCEL.UNDELIVERABLE.NO_SPIN",
        path=TASKS,
        old="        if not self.scope.effective:\n            return\n        if self.state is WAITING:\n",
        new="        if not self.scope.effective:\n"
        "            if self._own_scope is not None and self._own_scope.cancel_called:\n"
        "                self.runtime.reactor.call_soon(self.interrupt)\n"
        "            return\n"
        "        if self.state is WAITING:\n",
        story="A request that cannot be delivered yet is tried again in every turn.",
        report="https://github.com/agronholm/anyio/issues/695",
    ),
)

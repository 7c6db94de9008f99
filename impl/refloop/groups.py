"""Task groups: a block that ends after all the tasks that were started in it.

What a function started has ended when it returns, and an error has somewhere to go: a failing child cancels
its siblings and the body, and all errors leave together, as an exception group. A cancellation that came from
outside leaves as itself, and only if nothing failed: it is in force until its scope ends, so dropping it
beside an error loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple

from refloop.cancel import CancelScope
from refloop.here import current_task
from refloop.outcomes import Cancelled
from refloop.tasks import CHECKPOINT, Home, ParkingLot, Task, Trap, suspend

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class TaskGroup(Home):
    """``async with TaskGroup() as group: group.start_soon(function, *args)``.

    Leaving the block waits for every child, and is a checkpoint even without any. ``cancel_scope`` cancels
    body and children. Raises an exception group of what body and children raised.
    """

    __slots__ = ("_errors", "_foreign", "_lot", "_open", "_owner")

    def __init__(self) -> None:
        super().__init__()
        self._errors: list[BaseException] = []
        self._foreign: Cancelled | None = None  # a cancellation that some scope outside has issued
        self._lot = ParkingLot("group", self)
        self._owner: Task[object] | None = None
        self._open = False

    @property
    def cancel_scope(self) -> CancelScope:
        """The scope of the block and of all tasks started in it."""
        return self.scope

    def start_soon(
        self, function: Callable[[*Ts], Coroutine[Trap, None, T]], *args: *Ts, name: str | None = None
    ) -> Task[T]:
        """A new task that runs ``await function(*args)``, with its first step in the next ready phase.

        Raises RuntimeError once the group has ended.
        """
        if self._owner is None or not self._open:
            raise RuntimeError("a task group takes tasks only while its block lasts")
        return self._owner.runtime.spawn_in(self, function, args, name)

    async def __aenter__(self) -> Self:
        self._owner = current_task()
        self.scope.__enter__()
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if error is not None:
            self._note(error)
            self.scope.cancel()
        if error is None or self.members:
            await self._all_ended()
        self._open = False
        self.scope.__exit__(kind, error, traceback)
        if self._errors:
            raise BaseExceptionGroup("errors in a task group", self._errors) from None
        if self._foreign is not None and self._foreign is not error:
            raise self._foreign
        return self._foreign is None

    async def _all_ended(self) -> None:
        try:
            await suspend(self._lot if self.members else CHECKPOINT)
            while self.members:  # one that was started when the last had just ended
                await suspend(self._lot)
        except Cancelled as cancelled:
            self._note(cancelled)
            self.scope.cancel()
        with CancelScope(shield=True):
            while self.members:
                await suspend(self._lot)

    def _note(self, error: BaseException) -> None:
        if not isinstance(error, Cancelled):
            self._errors.append(error)
        elif error.scope is not self.scope:
            self._foreign = error

    def ended(self, task: Task[object]) -> None:
        error = task.error
        if error is not None and not task.cancelled_alone:
            self._note(error)
            if not isinstance(error, Cancelled):
                self.scope.cancel()
        self.left()

    def left(self) -> None:
        """A task has ended: let the block go on if it was the last."""
        if not self.members:
            self._lot.wake_all()

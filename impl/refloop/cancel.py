"""Cancel scopes: cancellation is a state of a region of code, not an event sent to a task.

Scopes nest, and a task's innermost one leads by its parents to the scope in which the task was spawned, so
that all scopes of a runtime form one tree. A scope is *effective* if it was cancelled, or if its parent is
effective and it does not shield. That is a level: as long as it lasts, every checkpoint inside raises
:class:`Cancelled`, and a request can be neither missed nor erased by a value that came at the same time.

Delivery happens where a task gives itself up to the scheduler, and nowhere else. A task that is suspended
when its scope becomes effective is taken out of its wait by the undo that its trap supplies; one that has
been woken already keeps what it was woken with, and meets the cancellation at its next checkpoint; one that
is at a plain checkpoint was woken with nothing, and raises; one that asks to wait inside an effective scope
is not let wait. So the operation has no effect.

A :class:`Cancelled` carries the scope that it was issued for, the outermost one that is cancelled and not
shielded away, and that scope alone absorbs it. If a further one is cancelled while the stack unwinds, it
delivers its own at the next checkpoint.

``effective`` is stored, and brought up to date by walking the part of the tree below the scope that changed;
the question is asked at every suspension, the change is rare. There are no lists of children: within a task
the scopes form a chain that starts at the innermost, and a scope from which tasks were spawned knows their
home.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from refloop.here import current_reactor, current_task
from refloop.outcomes import Cancelled

if TYPE_CHECKING:
    from refloop.tasks import Home, Task
    from refloop.timers import Timer


class CancelScope:
    """A region of one task's code, and of the tasks spawned from it, that can be cancelled as a whole.

    Enter it with ``with``, once. ``deadline`` is the instant, in nanoseconds of the reactor's clock, at which
    it cancels itself; None is never. A scope with ``shield`` keeps out the cancellation of what encloses it.
    Both may be changed at any time. ``cancel_called`` tells that it was cancelled, ``cancelled_caught`` that
    it cut its block short for that reason.
    """

    __slots__ = (
        "_deadline",
        "_shield",
        "_timer",
        "cancel_called",
        "cancelled_caught",
        "effective",
        "home",
        "parent",
        "task",
    )

    def __init__(self, *, deadline: int | None = None, shield: bool = False) -> None:
        self.cancel_called = False
        self.cancelled_caught = False
        self.effective = False
        self.home: Home | None = None  # the tasks that were spawned right here
        self.parent: CancelScope | None = None
        self.task: Task[object] | None = None  # who is inside; None before and after
        self._deadline = deadline
        self._shield = shield
        self._timer: Timer | None = None

    def cancel(self) -> None:
        """Cancel what runs inside now or will. Idempotent; in force as long as the block lasts."""
        if not self.cancel_called:
            self.cancel_called = True
            self._disarm()
            self.spread()

    @property
    def deadline(self) -> int | None:
        """The instant at which the scope cancels itself, None for never."""
        return self._deadline

    @deadline.setter
    def deadline(self, deadline: int | None) -> None:
        self._disarm()
        self._deadline = deadline
        if self.task is not None:
            self._arm()

    @property
    def shield(self) -> bool:
        """Whether the cancellation of enclosing scopes stays outside."""
        return self._shield

    @shield.setter
    def shield(self, shield: bool) -> None:
        self._shield = shield
        self.spread()

    def __enter__(self) -> Self:
        task = current_task()
        if self.task is not None or self.parent is not None:
            raise RuntimeError("a cancel scope is entered once")
        self.enter(task)
        if self._deadline is not None:
            self._arm()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        task = self.task
        if task is None or task.scope is not self:
            raise RuntimeError("cancel scopes end in the reverse order in which they began, in one task")
        if self._timer is not None:
            self._disarm()
        assert self.parent is not None
        task.scope = self.parent
        self.task = None
        if isinstance(error, Cancelled) and error.scope is self:
            self.cancelled_caught = True
            return True
        return False

    def enter(self, task: Task[object]) -> None:
        """Become the innermost scope of ``task``."""
        self.task = task
        self.parent = task.scope
        self.effective = self.cancel_called or (not self._shield and self.parent.effective)
        task.scope = self

    def slip_under(self, task: Task[object]) -> None:
        """Become the outermost scope of ``task``, around what it is doing already."""
        outside = task.home.scope
        self.task = task
        self.parent = outside
        self.effective = outside.effective
        if task.scope is outside:
            task.scope = self
        else:
            outermost = task.scope
            while outermost.parent is not outside:
                assert outermost.parent is not None
                outermost = outermost.parent
            outermost.parent = self

    def refresh(self) -> None:
        """Recompute ``effective`` from the parent's."""
        parent = self.parent
        self.effective = self.cancel_called or (not self._shield and parent is not None and parent.effective)

    def spread(self) -> None:
        """Bring this scope and all below it up to date, and take out of its wait whoever is cancelled now.

        Tasks are reached in the order of spawning, parents before their children, however deep the tree.
        """
        self.refresh()
        reached: list[tuple[Task[object], CancelScope]] = []
        if self.task is not None:
            reached.append((self.task, self))
        if self.home is not None:
            reached.extend((child, self) for child in self.home.members)
        for task, outer in reached:
            inside: list[CancelScope] = []
            scope = task.scope
            while scope is not outer:
                inside.append(scope)
                assert scope.parent is not None
                scope = scope.parent
            for scope in reversed(inside):
                scope.refresh()
                if scope.home is not None:
                    reached.extend((child, scope) for child in scope.home.members)
            task.interrupt()

    def source(self) -> CancelScope:
        """Of an effective scope: the outermost one that makes it so."""
        source = scope = self
        while True:
            if scope.cancel_called:
                source = scope
            if scope._shield or scope.parent is None:
                return source
            scope = scope.parent

    def _arm(self) -> None:
        if self._deadline is None or self.cancel_called:
            return
        # Also in the past: the timer phase comes before the next step of whoever is inside.
        self._timer = current_reactor().call_at(self._deadline, self.cancel)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class FailScope(CancelScope):
    """A cancel scope that tells of its deadline by TimeoutError."""

    __slots__ = ()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        if super().__exit__(kind, error, traceback):
            raise TimeoutError("the block was not done at its deadline")
        return False


def move_on_at(deadline: int) -> CancelScope:
    """A scope that is cancelled at instant ``deadline``, in nanoseconds of the reactor's clock."""
    return CancelScope(deadline=deadline)


def move_on_after(delay: int) -> CancelScope:
    """A scope that is cancelled ``delay`` nanoseconds from this call."""
    return CancelScope(deadline=_after(delay))


def fail_at(deadline: int) -> CancelScope:
    """Like :func:`move_on_at`; its block raises TimeoutError if it was cut short."""
    return FailScope(deadline=deadline)


def fail_after(delay: int) -> CancelScope:
    """Like :func:`move_on_after`; its block raises TimeoutError if it was cut short."""
    return FailScope(deadline=_after(delay))


def _after(delay: int) -> int:
    if delay < 0:
        raise ValueError(f"a delay of {delay} ns has passed already")
    return current_reactor().clock() + delay

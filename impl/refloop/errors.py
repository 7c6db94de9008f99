"""The errors that refloop raises of its own accord, in one place so that a reader sees them side by side.

What the operating system reports stays what it is, an ``OSError``. Cancellation is no error and lives with
the other ways in which a task ends, in :mod:`refloop.outcomes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refloop.tasks import Task


class BusyResourceError(RuntimeError):
    """A descriptor already has a waiter in that direction; the one who came second is refused."""


class ClosedResourceError(RuntimeError):
    """The resource was closed before the operation, or under it."""


class ClosedReactorError(RuntimeError):
    """The reactor has been closed: it takes no more callbacks, posts, timers or registrations."""


class ForeignThreadError(RuntimeError):
    """A call that only the reactor's own thread may make came from another one."""


class ForkedError(RuntimeError):
    """A forked child touched the reactor of its parent, with which it shares the interest set."""


class TaskCancelledError(Exception):
    """The joined task was cancelled, and so has neither value nor error.

    It is no :class:`~refloop.outcomes.Cancelled`: nobody has cancelled the one who joins.
    """


class WouldBlockError(Exception):
    """What was asked for without waiting is not there."""


class IncompleteReadError(EOFError):
    """The stream ended before what was asked for had come; what has come is there to be received."""


class DelimiterNotFoundError(ValueError):
    """More bytes than were allowed have come without the delimiter; they are there to be received."""


class DeadlockError(RuntimeError):
    """Nothing is ready, no timer is armed, no descriptor and no thread is waited for, and tasks are left.

    ``tasks`` are those that wait, in the order in which they were spawned.
    """

    def __init__(self, tasks: Sequence[Task[object]]) -> None:
        self.tasks = tuple(tasks)
        waits = "".join(f"\n  {task.name} waits for: {task.waits_for}" for task in self.tasks)
        super().__init__(f"{len(self.tasks)} tasks wait for each other, and for nothing else:{waits}")


class WorkerDeadlockError(RuntimeError):
    """A job waits for another that only the workers that are waiting so could run: the other is refused."""

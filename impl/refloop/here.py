"""Which runtime the calling thread has: how an operation finds its loop without being handed it.

One slot a thread, filled while a :class:`~refloop.runtime.Runtime` is open there. Operations that are bound
to their reactor when they are made, as streams are, never look here.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refloop.reactor import Reactor
    from refloop.runtime import Runtime
    from refloop.tasks import Task


class _Here(threading.local):
    runtime: Runtime | None = None


here = _Here()


def current_runtime() -> Runtime:
    """The runtime of the calling thread; RuntimeError if it has none."""
    runtime = here.runtime
    if runtime is None:
        raise RuntimeError("no refloop runtime in this thread: call this inside refloop.run()")
    return runtime


def current_reactor() -> Reactor:
    """The reactor of the calling thread's runtime; RuntimeError if it has none."""
    return current_runtime().reactor


def current_task() -> Task[object]:
    """The task that is running; RuntimeError outside a task."""
    task = current_runtime().current
    if task is None:
        raise RuntimeError("no task is running: this can be done only inside one")
    return task

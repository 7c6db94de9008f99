"""Steps of trio, which tells its instruments when a task's step begins and ends, and when it waits.

Everything that trio runs is a step of a task: functions that other threads or signals have sent run in a
task of trio's own. Runs that begin later get the instrument as they are set up; a run that is under way
gets it added. From the moment that a task was scheduled to its step, trio tells exactly how long it had
to wait.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from types import CodeType

from loopspec.watching.asyncio import Watcher
from loopspec.watching.steps import Frame
from loopspec.watching.thread import Subject, Watched, named

_KEPT = 10_000
"""So many scheduled tasks are remembered: those that were cancelled with their run are never stepped."""


def of_task(task: object) -> Subject:
    """What a step of ``task`` is told as."""
    coroutine = getattr(task, "coro", None)
    code = getattr(coroutine, "cr_code", None)
    at = (
        Frame(code.co_filename, code.co_firstlineno, code.co_qualname) if isinstance(code, CodeType) else None
    )
    return Subject("task", str(getattr(task, "name", None) or named(coroutine)), at)


class Instrument:
    """What a run of trio tells its watcher by. Its methods have the names that trio gives them."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._watched: Watched | None = None
        self._scheduled: dict[object, int] = {}

    def before_run(self) -> None:
        """The run begins, in this thread."""
        self._watched = self._watcher.enter("trio")

    def after_run(self) -> None:
        """The run is over."""
        watched, self._watched = self._watched, None
        if watched is not None:
            self._watcher.leave(watched)

    def task_scheduled(self, task: object) -> None:
        """``task`` is ready."""
        if self._watched is not None and len(self._scheduled) < _KEPT:
            self._scheduled[task] = self._watched.begun

    def before_task_step(self, task: object) -> None:
        """``task`` is resumed."""
        watched = self._watched
        if watched is not None:
            watched.skip()
            ready = self._scheduled.pop(task, 0)
            if ready:
                watched.starved(ready, task)

    def after_task_step(self, task: object) -> None:
        """``task`` has suspended itself, or has ended."""
        if self._watched is not None:
            self._watched.over(partial(of_task, task))

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002  # trio's signature
        """The run waits."""
        if self._watched is not None:
            self._watched.at[0] = 0

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002  # trio's signature
        """The wait is over."""
        if self._watched is not None:
            self._watched.wakes()


def install(watcher: Watcher) -> Callable[[], None]:
    """Watch every run of trio that begins from now on, and the one in this thread. Gives what undoes it.

    trio must have been imported. Raises AttributeError if this trio sets up its runs otherwise.
    """
    module = sys.modules["trio._core._run"]
    original: Callable[..., object] = module.setup_runner
    instruments: list[Instrument] = []

    def made() -> Instrument:
        instruments.append(Instrument(watcher))
        return instruments[-1]

    @wraps(original)
    def setup_runner(clock: object, others: Sequence[object], *rest: object, **more: object) -> object:
        return original(clock, [*others, made()], *rest, **more)

    setattr(module, "setup_runner", setup_runner)  # noqa: B010  # a module has no such attribute by type
    lowlevel = sys.modules["trio.lowlevel"]
    if lowlevel.in_trio_run():
        here = made()
        here.before_run()
        lowlevel.add_instrument(here)

    def remove() -> None:
        setattr(module, "setup_runner", original)  # noqa: B010  # as above
        for instrument in instruments:
            instrument.after_run()

    return remove

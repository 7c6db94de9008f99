"""Loops that misbehave as no exception tells: for worker processes to take down, and nothing else."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

from loopspec.conformance.adapter import Job, TaskHandle
from loopspec.conformance.loops.refloop import RefloopLoop


class Aborts(RefloopLoop):
    def run(self, main: Callable[[], None]) -> None:
        os.abort()


class Exits(RefloopLoop):
    def run(self, main: Callable[[], None]) -> None:
        os._exit(3)


class Raises(RefloopLoop):
    def run(self, main: Callable[[], None]) -> None:
        raise LookupError("nothing there")


class Collapses(RefloopLoop):
    """Behind a run in which a task was spawned."""

    _collapses = False

    def spawn(self, job: Job) -> TaskHandle:
        self._collapses = True
        return super().spawn(job)

    def run(self, main: Callable[[], None]) -> None:
        super().run(main)
        if self._collapses:
            raise KeyError("the task")


class Spins(RefloopLoop):
    """In a handler, where no turn ends."""

    def run(self, main: Callable[[], None]) -> None:
        super().run(main_and_then(main, _spin))


class Turns(RefloopLoop):
    """From turn to turn: there is always one more callback."""

    def run(self, main: Callable[[], None]) -> None:
        def again() -> None:
            self.call_soon(again)

        super().run(main_and_then(main, again))


class Sleeps(RefloopLoop):
    """In a handler, where nobody wakes it."""

    def run(self, main: Callable[[], None]) -> None:
        super().run(main_and_then(main, lambda: threading.Event().wait()))


class Deaf(RefloopLoop):
    """In a handler, and hears no signal."""

    def run(self, main: Callable[[], None]) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        super().run(main_and_then(main, lambda: threading.Event().wait()))


def main_and_then(main: Callable[[], None], then: Callable[[], object]) -> Callable[[], None]:
    def both() -> None:
        main()
        then()

    return both


def _spin() -> None:
    while True:
        pass

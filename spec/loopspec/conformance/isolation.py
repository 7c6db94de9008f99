"""Isolation: the scenarios of a loop that nobody vouches for, each in a process that it may take down.

A worker process holds the loop and plays one scenario after another; what asks for them is on the other
side of a pair of sockets, and gets the trace back. A loop that hangs, spins, raises, crashes the interpreter
or ends its process fails that one scenario: what came of it is said, and the next has a new worker.

How long a scenario may take is counted in the loop's own turns (``MAX_TURNS`` of the lockstep) and, within
a turn, in processor time. Both need Python to run. Against a loop that never comes back from
its own C code there is, last, a limit of real time; which of these it was is said.

A worker is started as a command and not by :mod:`multiprocessing`, whose daemons may have no children; it
dies with the process that asks.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from loopspec.conformance.lockstep import Lockstep, hand
from loopspec.conformance.result import UsageError
from loopspec.conformance.scenario import Scenario, scenario_of, token_of
from loopspec.trace import Event

if TYPE_CHECKING:
    from loopspec.conformance.campaign import MakeLoop

LIMIT = 30.0
"""Seconds of real time after which a worker that says nothing is ended: the last resort."""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one scenario: its trace as far as it is known, and what went wrong, in words, if
    anything did."""

    events: tuple[Event, ...]
    accident: str | None = None


def play(run: Lockstep, make: MakeLoop, events: list[Event]) -> Ran:
    """Play a scenario here. What it lets out is an accident."""
    try:
        run.run(make)
    except Exception as error:
        return Ran(tuple(events), f"raised {in_one_line(error)}")
    return Ran(tuple(events), run.cut_short)


def in_one_line(error: BaseException) -> str:
    """``error``, and where it was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" at {Path(entry.filename).name}:{entry.lineno}" for entry in frame)
    return " ".join(f"{type(error).__name__}: {error}".split()) + where


class Isolated:
    """Plays scenarios on the loop ``reference`` (``module:class``), each in a worker process that is alive.

    To be used as a context manager: the worker ends with it. ``limit`` is :data:`LIMIT`.
    """

    def __init__(self, reference: str, limit: float = LIMIT) -> None:
        self._reference = reference
        self._limit = limit
        self._worker: tuple[subprocess.Popen[bytes], Connection] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def __call__(self, scenario: Scenario) -> Ran:
        """Play ``scenario``."""
        worker, connection = self._worker or self._start()
        try:
            connection.send(token_of(scenario))
            if not connection.poll(self._limit):
                self._end()
                return Ran((), f"hung: it said nothing for {self._limit:g} s, the last resort, and was ended")
            ran = connection.recv()
        except (EOFError, ConnectionError):
            code = worker.wait()
            self._end()
            return Ran((), _ending(code))
        assert isinstance(ran, Ran)
        if ran.accident is not None:
            self._end()  # who knows what it has left behind
        return ran

    def _start(self) -> tuple[subprocess.Popen[bytes], Connection]:
        ours, its = socket.socketpair()
        with its:
            command = [sys.executable, "-m", __name__, str(its.fileno()), str(os.getpid()), self._reference]
            process = subprocess.Popen(command, pass_fds=(its.fileno(),), stderr=subprocess.DEVNULL)
        self._worker = process, Connection(ours.detach())
        return self._worker

    def _end(self) -> None:
        if self._worker is None:
            return
        (process, connection), self._worker = self._worker, None
        connection.close()
        process.kill()
        process.wait()


def _ending(code: int) -> str:
    if code < 0:
        return f"crashed: its process was ended by {signal.Signals(-code).name}"
    return f"ended its process, with exit code {code}"


def _work(descriptor: int, parent: int, reference: str) -> None:
    """What a worker does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    module, _, name = reference.partition(":")
    make: MakeLoop = getattr(import_module(module), name)
    with Connection(descriptor) as connection, hand() as other, suppress(EOFError, ConnectionError):
        while True:
            token = connection.recv()
            events: list[Event] = []
            connection.send(play(Lockstep(other, scenario_of(token), events.append), make, events))


def main() -> None:
    """The command of a worker; nobody types it."""
    if len(sys.argv) != 4:
        raise UsageError("a worker is started by loopspec itself: descriptor, parent, module:class")
    # By its name, so that what is sent is of a module that the other side has, too.
    import_module("loopspec.conformance.isolation")._work(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])


__all__ = ["LIMIT", "Isolated", "Ran", "play"]

if __name__ == "__main__":
    main()

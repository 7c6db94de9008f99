"""The calls of :mod:`~refloop.servers.blocking` that no poller can wait for, as coroutines: on workers.

A file and a lock have no readiness, so a thread has to be suspended for them, and it may not be the loop's.
:func:`refloop.to_thread` is what a program does this with. It has a run wait, at its end, for the jobs that
have been begun; a server that is told to end is to end also while somebody holds a lock, so these jobs have a
pool that nobody closes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from refloop.here import current_reactor
from refloop.reactor import Reactor
from refloop.servers import blocking
from refloop.servers.reactor import HANDLERS
from refloop.waits import Event
from refloop.workers import Workers

T = TypeVar("T")


async def read_first_line(path: Path) -> bytes:
    """The first line of a file, without its end."""
    return await _on_worker(blocking.read_first_line, path)


async def wait_unlocked(path: Path) -> None:
    """Wait until nobody locks the file (flock(2)); it must exist."""
    await _on_worker(blocking.wait_unlocked, path)


@cache
def _workers(reactor: Reactor) -> Workers:
    return Workers(reactor, HANDLERS)


async def _on_worker(call: Callable[[Path], T], path: Path) -> T:
    """What ``call(path)`` returns, or raise the OSError that it raises."""
    made = Event()
    job = _workers(current_reactor()).submit(call, path, done=lambda _: made.set())
    await made.wait()
    return job.take()

"""The calls of :mod:`~refloop.servers.blocking` that no poller can wait for, as coroutines: on workers.

A file and a lock have no readiness, so a thread has to be suspended for them, and it may not be the loop's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from refloop.errors import ClosedReactorError
from refloop.here import current_reactor
from refloop.reactor import print_error
from refloop.servers import blocking
from refloop.servers.reactor import WORKERS, Workers
from refloop.waits import Event

T = TypeVar("T")


async def read_first_line(path: Path) -> bytes:
    """The first line of a file, without its end."""
    return await _on_worker(blocking.read_first_line, path)


async def wait_unlocked(path: Path) -> None:
    """Wait until nobody locks the file (flock(2)); it must exist."""
    await _on_worker(blocking.wait_unlocked, path)


@cache
def _workers() -> Workers:
    return Workers(WORKERS, print_error)


async def _on_worker(call: Callable[[Path], T], path: Path) -> T:
    """What ``call(path)`` returns, or the OSError that it raises."""
    reactor, made = current_reactor(), Event()
    values: list[T] = []
    errors: list[OSError] = []

    def job() -> None:
        try:
            values.append(call(path))
        except OSError as error:
            errors.append(error)
        with suppress(ClosedReactorError):  # nobody waits for it any more
            reactor.call_soon_threadsafe(made.set)

    _workers().submit(job)
    await made.wait()
    if errors:
        raise errors.pop()
    return values.pop()

"""Starting: a thread that the loop starts begins when the loop's thread is asleep.

``Thread.start`` returns once the new thread says that it is up: whoever calls it waits, by construction.
Whether the kernel has him sleep is chance: if he is preempted on the way, the new thread may be up before he
has come to wait, and the same call of the same loop suspends it in one run and not in another. So a new
thread does not say that it is up before the kernel says that its starter has been switched out, by the very
count that tells of suspensions. What suspends a loop on most days so does on all; a loop that starts no
thread in its turns is not touched.
"""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch


class _Up(threading.Event):
    """What ``Thread.start`` waits for; made by the starter, just before."""

    def __init__(self) -> None:
        super().__init__()
        self._status = Path(f"/proc/self/task/{threading.get_native_id()}/status")
        self._before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw

    def set(self) -> None:
        while self._switches() == self._before:
            os.sched_yield()
        super().set()

    def _switches(self) -> int:
        return int(self._status.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])


@contextmanager
def begun_asleep() -> Iterator[None]:
    """Have every thread that the calling thread starts begin when the calling thread is asleep."""
    starter = threading.get_ident()
    start = threading.Thread.start

    def start_asleep(thread: threading.Thread) -> None:
        if threading.get_ident() == starter and thread.ident is None:
            thread._started = _Up()  # type: ignore[attr-defined] # the one seam that all versions have
        start(thread)

    with patch.object(threading.Thread, "start", start_asleep):
        yield


__all__ = ["begun_asleep"]

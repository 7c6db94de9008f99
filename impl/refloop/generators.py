"""Operations that are generators: they yield their trap, and do what is to be done when it has let go.

To await a generator costs less than to await an async function that awaits the trap. They stand apart from
the traps because mypyc, which compiles those, compiles no generator that could be awaited.
"""

from __future__ import annotations

import types
from collections.abc import Generator
from typing import TYPE_CHECKING

from refloop.errors import ClosedResourceError
from refloop.tasks import CHECKPOINT, Trap

if TYPE_CHECKING:
    from refloop.waits import Readiness


@types.coroutine
def checkpoint() -> Generator[Trap, None, None]:
    """Let the others run, and raise :class:`~refloop.outcomes.Cancelled` if the task is."""
    yield CHECKPOINT


@types.coroutine
def until_ready(trap: Readiness) -> Generator[Trap, None, None]:
    """Suspend until the descriptor is ready, or raise :class:`ClosedResourceError` if it is closed before
    this task runs again; the number may be somebody else's by then."""
    yield trap
    trap.release()
    if trap.slot.closed:
        raise ClosedResourceError(f"descriptor {trap.fd} was closed before the task that was woken ran")

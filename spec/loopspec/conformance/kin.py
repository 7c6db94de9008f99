"""Kin: the task groups of a scenario, the loop's own, and the telling of what comes of them.

A group can be given children as long as it has not ended, by anybody and not only by its block: that a child
has a child when the block is over already is where groups go wrong. What leaves a group is told, and goes no
further: the task that entered it goes on, so that each group is judged by its own children. A cancellation
does go on, as it must.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple, Protocol

from loopspec import trace
from loopspec.conformance.adapter import Group
from loopspec.trace import Event, Outcome


class Teller(Protocol):
    """The run, as far as it matters here."""

    turn: int
    tell: Callable[[Event], None]


class Open(NamedTuple):
    """A group that has not ended."""

    number: int
    made: Group


class Groups:
    """The task groups of one run."""

    def __init__(self, run: Teller) -> None:
        self._run = run
        self._open: list[Open] = []
        self._entered = 0

    def chosen(self, index: int) -> Open | None:
        """One of those that have not ended."""
        return self._open[index % len(self._open)] if self._open else None

    async def enter(
        self,
        task: int,
        made: Group,
        perform: Callable[[], Awaitable[None]],
        waits: Callable[[int], None],
    ) -> None:
        """Have ``task`` enter a group, do ``perform`` in its block, and wait for its end; ``waits`` is told
        of the last, with the number of the group."""
        group = Open(self._entered, made)
        self._entered += 1
        outcome: Outcome = "cancelled"
        errors: tuple[str, ...] = ()
        try:
            async with made:
                self._run.tell(trace.GroupEnter(self._run.turn, task, group.number))
                self._open.append(group)
                await self._block(task, group.number, perform, waits)
            outcome = "value"
        except (Exception, BaseExceptionGroup) as error:
            errors = tuple(sorted(str(leaf) for leaf in _leaves(error) if isinstance(leaf, Exception)))
            if not errors:
                raise
            outcome = "error"
        finally:
            if group in self._open:
                self._open.remove(group)
            self._run.tell(trace.GroupExit(self._run.turn, task, group.number, outcome, errors))

    async def _block(
        self, task: int, group: int, perform: Callable[[], Awaitable[None]], waits: Callable[[int], None]
    ) -> None:
        outcome: Outcome = "cancelled"
        value = ""
        try:
            await perform()
            outcome = "value"
        except Exception as error:
            outcome, value = "error", str(error)
            raise
        finally:
            self._run.tell(trace.GroupLeave(self._run.turn, task, group, outcome, value))
            waits(group)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors that ``error`` is made of."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error

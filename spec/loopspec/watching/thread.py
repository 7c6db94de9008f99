"""One loop's thread under watch: after every step one look at the sensor, and no more unless it moved.

What a hook does at the end of a step is spelled out where it matters (:mod:`loopspec.watching.asyncio`)
and is :meth:`Watched.over` everywhere else: read the clock and the sensor, compare, put the time into the
page for the onlooker. The end of one step is the beginning of the next; the loop's own wait lies between
two steps and is let pass by :meth:`Watched.rests` and :meth:`Watched.wakes`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import monotonic_ns
from types import FrameType
from typing import Final, NamedTuple

from loopspec.watching import lock
from loopspec.watching.evidence import Evidence, Late, blank, frames
from loopspec.watching.sensors import GUESSES, SENSORS, Account, Heads
from loopspec.watching.steps import Frame, Located, Step, Turn

KEPT: Final = 20_000
"""So many steps, and so many turns, are kept; further ones are counted."""


def _nothing(before: int, now: int) -> Account:  # noqa: ARG001  # as a sensor has it
    return Account(0, 0, 0)


def _done() -> None:
    return None


class Subject(NamedTuple):
    """What a step ran: its kind, its name, and where that is defined."""

    kind: str
    name: str
    defined: Frame | None


@dataclass
class Journal:
    """What all threads have told, in the order of its end."""

    steps: list[tuple[Step, int | None]] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    dropped: int = 0
    longest: int = 0
    notable: int = 0  #: a turn that is not longer is neither the longest nor longer than the limit

    def add(self, step: Step, slot: int | None) -> None:
        """Keep a step, which was in ``slot`` of the onlooker's page."""
        if len(self.steps) < KEPT:
            self.steps.append((step, slot))
        else:
            self.dropped += 1

    def turn(self, turn: Turn, limit: int) -> None:
        """Keep a turn if something starved in it for more than ``limit`` nanoseconds."""
        self.longest = max(self.longest, turn.length)
        self.notable = min(self.longest, limit)
        if turn.length > limit and len(self.turns) < KEPT:
            self.turns.append(turn)


class Watched:
    """The calling thread, while it runs a loop."""

    __slots__ = (
        *("at", "begun", "due", "guess", "head", "heads", "journal", "limit", "loop", "switches", "turn"),
        *("_account", "_close", "_evidence", "_lock", "_locating", "_located", "_slot"),
        *("_profiled", "_traced", "handed", "ident", "inside"),
    )

    def __init__(
        self, loop: str, sensor: str, limit: int, journal: Journal, evidence: Evidence | None, locating: bool
    ) -> None:
        made = SENSORS[sensor]()
        self.loop = loop
        self.ident = threading.get_ident()
        self.guess = sensor in GUESSES
        self.limit = limit
        self.journal = journal
        self.heads: Heads = made.heads
        self._account, self._close = made.since, made.close
        self._evidence = evidence
        self._slot = None if evidence is None else evidence.enter()
        place = 1 if self._slot is None else 2 * self._slot + 1
        page = blank() if self._slot is None or evidence is None else evidence.page
        self.at = page[place : place + 1]
        self._lock = lock.find()
        self.switches: Heads = [0] if self._lock is None else self._lock.number
        self._locating = locating
        self._located: list[Located] = []
        self._profiled = False
        self._traced = 0
        self.inside = False
        self.head = 0
        if locating and sys.getprofile() is None:
            self._profiled = True
            sys.setprofile(self._profile)
        self.wakes()

    # --- the loop's wait ---

    def rests(self) -> None:
        """The loop is about to wait: what was ready has been served."""
        self.at[0] = 0
        length = self.begun - self.turn
        if length > self.journal.notable:
            self.journal.turn(Turn(self.loop, self.turn, length, exact=False), self.limit)

    def wakes(self) -> None:
        """The wait is over, or whatever else was not a step: begin anew."""
        self.handed = self.switches[0]
        self.head = self.heads[0]
        self.turn = self.begun = self.at[0] = now = monotonic_ns()
        self.due = now + self.limit

    def skip(self) -> None:
        """What has passed up to now belongs to no step."""
        self.head = self.heads[0]
        self.begun = self.at[0] = now = monotonic_ns()
        self.due = now + self.limit

    # --- a step ---

    def over(self, subject: Callable[[], Subject]) -> None:
        """A step has ended. ``subject`` is asked what it was only if that is worth telling."""
        now = monotonic_ns()
        if self.heads[0] != self.head or now > self.due:
            self.look(now, subject)
            now = monotonic_ns()
        self.begun = self.at[0] = now

    def look(self, now: int, subject: Callable[[], Subject]) -> None:
        """The sensor has moved, or the step was long: find out which, and keep it if it is either."""
        if threading.get_ident() != self.ident:
            return  # a loop that another thread goes on with is watched from its next start on
        head = self.heads[0]
        account = self._account(self.head, head)
        handed = None if self._lock is None else self.switches[0] != self.handed
        self.handed = self.switches[0]
        self.due = now + self.limit
        if handed is None and threading.active_count() <= 1 + (self._evidence is not None):
            handed = False  # there is nobody to hold the lock
        if account.times or now - self.begun > self.limit:
            what = subject()
            located, self._located = tuple(self._located), []
            step = Step(
                *(self.loop, what.kind, what.name, self.ident, self.begun, now - self.begun),
                *(account.times, account.suspended, account.preempted, handed, self.guess, self.limit),
                defined=what.defined,
                located=located,
            )
            self.journal.add(step, self._slot)
        else:
            self._located.clear()
        self.head = self.heads[0]

    def starved(self, ready: int, subject: object) -> None:
        """A handler that was ready at ``ready`` is run only now."""
        length = monotonic_ns() - ready
        if length > self.journal.notable:
            self.journal.turn(Turn(self.loop, ready, length, True, named(subject)), self.limit)

    # --- locating ---

    def _profile(self, frame: FrameType, event: str, argument: object) -> None:
        head = self.heads[0]
        start = max(self._traced, self.head)
        if head == start or not self.at[0]:
            return
        self._traced = head
        if event in ("c_return", "c_exception"):
            self._locate(_name(argument), frame, start, head)
        else:
            self._locate("", frame.f_back if event == "call" else frame, start, head)

    def _locate(self, call: str, frame: FrameType | None, start: int, head: int) -> None:
        account = self._account(start, head)
        if account.times and len(self._located) < KEPT and (stack := frames(frame)):
            self._located.append(Located(call, stack, account.times, account.suspended))

    # --- its end ---

    def close(self) -> None:
        """The loop has stopped, or nobody watches it any more."""
        here = threading.get_ident() == self.ident
        self.disarm()
        if self._evidence is not None and self._slot is not None:
            self._evidence.leave(self._slot)
        if here:  # another thread may be reading its sensor now: what it has is given back when it lets go
            self._close()
        self._close, self._account = _done, _nothing

    def disarm(self) -> None:
        """Look no more: what is mapped may be gone, as it is in a forked child."""
        if self._profiled and threading.get_ident() == self.ident:
            sys.setprofile(None)
        self.heads, self.switches = [self.head], [self.handed]
        self.at = blank()[:1]
        self.limit = self.due = 1 << 62


def named(function: object) -> str:
    """How a function, a coroutine or a task is called in reports."""
    inner = getattr(function, "func", function)
    name = getattr(inner, "__qualname__", None) or getattr(inner, "name", None)
    return str(name or type(inner).__qualname__)


def _name(function: object) -> str:
    module = getattr(function, "__module__", None)
    owner = getattr(function, "__self__", None)
    name = str(getattr(function, "__qualname__", function))
    if not module and owner is not None and not isinstance(owner, type(sys)):
        module = type(owner).__module__
    return f"{module}.{name}" if module else name


def joined(step: Step, late: Late | None) -> Step:
    """``step`` with what was seen of it while it was late."""
    if late is None:
        return step
    return replace(step, samples=tuple(late.samples), looks=late.looks, stack=late.stack)

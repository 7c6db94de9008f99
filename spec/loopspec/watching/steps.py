"""What is seen of a program: the steps that were not plainly run, each with its verdict and evidence.

A step is one callback or one resume of a task: what runs between two chances that the loop has to serve
anybody else. The verdict is about one question, whether the kernel suspended the loop's thread in it, and
what for, and has four answers, because two of them are not the program's fault or not known:

``blocked``  it was suspended, and not for the interpreter lock. It breaks LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT.
``gil``      it was suspended waiting for the interpreter lock, which another thread of the process held.
``unknown``  it was suspended, the lock changed hands meanwhile, and nobody saw which of the two it was.
``ran``      it was not suspended. It may have held the loop all the same (``holds``), or have been preempted.

Time decides nothing here. A step of one microsecond in a system call that suspends is blocked, a second
of computing is not; what the second does to others is told apart, as held.
"""

from __future__ import annotations

import os
import site
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

CLAUSE: Final = "LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT"
"""What a blocked step breaks."""

MS: Final = 1_000_000
"""A millisecond in nanoseconds."""


class Verdict(Enum):
    """Was the thread suspended in the step, and what for?"""

    RAN = "ran"
    BLOCKED = "blocked"
    GIL = "gil"
    UNKNOWN = "unknown"


class Frame(NamedTuple):
    """One frame of a stack: where it stood, and in what function, by module and qualified name."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{shown(self.file)}:{self.line}"


class Sample(NamedTuple):
    """What the kernel said that the thread was doing at one moment of the step.

    ``call`` is None if it ran. ``on`` is the descriptor, resolved, where the call has one; ``channel`` the
    function of the kernel that it waited in; ``lock`` whether it waited for the interpreter lock.
    """

    call: str | None
    on: str
    channel: str
    lock: bool

    def __str__(self) -> str:
        return f"{self.call}({self.on})" if self.call else "running"


class Located(NamedTuple):
    """A call that was seen to suspend the thread, in a second run: ``stack`` ends with the caller."""

    call: str
    stack: tuple[Frame, ...]
    times: int
    suspended: int | None


@dataclass(frozen=True)
class Step:
    """One step that was suspended or held the loop. Times are nanoseconds, ``begun`` is monotonic time."""

    loop: str
    kind: str
    name: str
    thread: int
    begun: int
    held: int
    times: int
    suspended: int | None
    preempted: int | None
    handed: bool | None = None  #: whether the interpreter lock changed hands; None if that is not known
    guess: bool = False  #: whether the sensor only guesses
    limit: int = 100 * MS  #: from here on a step holds the loop
    defined: Frame | None = None
    samples: tuple[Sample, ...] = ()
    looks: int = 0  #: how often the interpreter lock was taken to look at the thread's frames
    stack: tuple[Frame, ...] = ()  #: the outermost first
    located: tuple[Located, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What the counts and the samples come to."""
        if not self.times:
            return Verdict.RAN
        waits = [sample for sample in self.samples if sample.call is not None]
        if any(not sample.lock for sample in waits) or self.handed is False:
            return Verdict.BLOCKED
        # To be looked at costs a thread that computes up to three suspensions, for the lock.
        if self.samples and self.samples[0].call is None and self.times <= 3 * self.looks:
            return Verdict.RAN
        return Verdict.GIL if waits else Verdict.UNKNOWN

    @property
    def holds(self) -> bool:
        """Whether the step held the loop for longer than the limit without being suspended for it."""
        return self.verdict in (Verdict.RAN, Verdict.GIL) and self.held > self.limit

    @property
    def cpu(self) -> int | None:
        """Nanoseconds on a processor; None where the sensor cannot tell."""
        if self.suspended is None or self.preempted is None:
            return None
        return max(0, self.held - self.suspended - self.preempted)

    @property
    def place(self) -> Frame | None:
        """The line of the program itself at which it happened, as well as is known."""
        stacks = [found.stack for found in self.located] + [self.stack]
        return next((own(stack) for stack in stacks if stack), self.defined)

    @property
    def call(self) -> str:
        """The call that suspended the thread, of Python where it was located, else of the system.

        Empty if there was none to be seen: a page fault is no call.
        """
        if any(found.call for found in self.located):
            return next(found.call for found in self.located if found.call)
        waits = [sample for sample in self.samples if sample.call is not None]
        first = next((sample for sample in waits if not sample.lock), waits[0] if waits else None)
        return "" if first is None else str(first)

    def allowed(self, patterns: Iterable[str]) -> bool:
        """Whether all that is known of where it happened lies in functions that ``patterns`` name."""
        stacks = [found.stack for found in self.located] or ([self.stack] if self.stack else [])
        names = [(*(frame.function for frame in stack), *self._calls(stack)) for stack in stacks]
        return bool(names) and all(
            any(fnmatchcase(name, pattern) for name in inner for pattern in patterns) for inner in names
        )

    def _calls(self, stack: tuple[Frame, ...]) -> tuple[str, ...]:
        return tuple(found.call for found in self.located if found.stack == stack)


_PREFIXES: Final = tuple(
    {sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {directory + os.sep for directory in site.getsitepackages()}
)


def foreign(file: str) -> bool:
    """Whether ``file`` belongs to the standard library or to an installed package."""
    return file.startswith((*_PREFIXES, "<frozen")) or file.endswith((".pyx", ".pxd"))


def own(stack: tuple[Frame, ...]) -> Frame:
    """The innermost frame of ``stack`` that is the program's own; the innermost at all if none is."""
    return next((frame for frame in reversed(stack) if not foreign(frame.file)), stack[-1])


def shown(file: str) -> str:
    """``file`` as one types it: relative if it lies below here."""
    here = os.getcwd() + os.sep  # noqa: PTH109  # a string is wanted, of a path that may be no file
    return file.removeprefix(here)


@dataclass(frozen=True)
class Turn:
    """One turn of a loop in which what was ready had to wait: at most ``length`` nanoseconds.

    ``exact`` where the wait of one handler was measured, from being ready to being run.
    """

    loop: str
    begun: int
    length: int
    exact: bool
    name: str = ""


@dataclass(frozen=True)
class Seen:
    """All that was seen: steps that were suspended or held the loop, and turns in which something starved."""

    sensor: str
    lost: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    turns: tuple[Turn, ...] = ()
    dropped: int = 0  #: steps beyond the number that is kept
    longest: int = 0  #: the longest time, in nanoseconds, that what was ready had to wait

    def _of(self, verdict: Verdict) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.verdict is verdict)

    @property
    def blocked(self) -> tuple[Step, ...]:
        """Steps that the kernel suspended."""
        return self._of(Verdict.BLOCKED)

    @property
    def gil(self) -> tuple[Step, ...]:
        """Steps that waited for the interpreter lock."""
        return self._of(Verdict.GIL)

    @property
    def unknown(self) -> tuple[Step, ...]:
        """Steps that were suspended, and it is not known what for."""
        return self._of(Verdict.UNKNOWN)

    @property
    def held(self) -> tuple[Step, ...]:
        """Steps that held the loop by computing."""
        return tuple(step for step in self.steps if step.holds)

    @property
    def starved(self) -> tuple[Turn, ...]:
        """Turns in which what was ready waited longer than the limit."""
        return self.turns

    def without(self, patterns: Iterable[str]) -> Seen:
        """The same without the steps that happened in functions that ``patterns`` allow."""
        allowed = tuple(patterns)
        return replace(self, steps=tuple(step for step in self.steps if not step.allowed(allowed)))


ALLOWED: Final = (
    "threading.Thread.start",
    "importlib._bootstrap*",
    "_frozen_importlib*",
    "linecache.*",
    "traceback.*",
)
"""Functions in which a suspension is expected, and happens once: the start of a thread, an import; and the
reading of source lines for a traceback."""


@dataclass(frozen=True)
class Group:
    """The steps of one place, as reports list them."""

    verdict: str
    place: Frame | None
    call: str
    steps: tuple[Step, ...] = field(repr=False)

    @property
    def total(self) -> int:
        """Nanoseconds that the loop stood still, in all."""
        return sum(lasted(step) for step in self.steps)

    @property
    def worst(self) -> Step:
        """The step that took longest."""
        return max(self.steps, key=lasted)


def lasted(step: Step) -> int:
    """Nanoseconds that the step stood still, or held the loop if it is not known how long it stood."""
    if step.times and step.suspended is not None and step.verdict is not Verdict.RAN:
        return step.suspended
    return step.held


def grouped(steps: Iterable[Step], verdict: str) -> list[Group]:
    """``steps`` by place and call, the costliest first."""
    found: dict[tuple[Frame | None, str], list[Step]] = {}
    for step in steps:
        found.setdefault((step.place, step.call), []).append(step)
    groups = [Group(verdict, place, call, tuple(these)) for (place, call), these in found.items()]
    return sorted(groups, key=lambda group: -group.total)

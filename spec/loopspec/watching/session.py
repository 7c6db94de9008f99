"""The session: what is installed while anybody watches, and taken away when nobody does.

There is one at a time. A second watcher, such as a test that watches a part of itself under a plugin that
watches it all, looks at the same session from its own moment on. Loops that are not loaded yet are hooked
as they are imported. Whatever cannot be had costs one line, in ``lost``, and never the program.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import weakref
from asyncio import current_task
from collections.abc import Callable
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final, Self

from loopspec.watching import asyncio, trio, uvloop
from loopspec.watching.evidence import Evidence, EvidenceError
from loopspec.watching.lock import find
from loopspec.watching.sensors import SENSORS, SensorError, choose
from loopspec.watching.steps import MS, Seen, Step, Turn
from loopspec.watching.thread import Journal, Subject, Watched, joined

Install = Callable[[asyncio.Watcher], Callable[[], None]]

LATER: Final[dict[str, Install]] = {"uvloop": uvloop.install, "trio": trio.install}
"""What is installed when a module is there, by its name."""

HELD: Final = 0.1
"""Seconds after which a step holds the loop: what asyncio's debug mode has for it."""


class _Importing:
    """Tells of the end of an import, and has no part in it."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._busy: set[str] = set()

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """The module's own specification, with a loader that tells when it has loaded it."""
        if name not in LATER or name in self._busy:
            return None
        self._busy.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._busy.discard(name)
        loader = getattr(spec, "loader", None)
        if spec is None or loader is None:
            return spec
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._told(name)

        loader.exec_module = exec_module
        return spec


def _of_here(loop: str) -> Subject:
    if loop == "trio":
        return trio.of_task(sys.modules["trio.lowlevel"].current_task())
    return asyncio.of_task(current_task())


class Session:
    """Everything that is installed: a sensor for each loop thread, the onlooker, the hooks."""

    def __init__(self, held: float, sensor: str | None, evidence: bool) -> None:
        """Raises :class:`SensorError` if ``sensor`` is none, or does not work here."""
        choice = choose(sensor)
        self.sensor = choice.name
        self.lost = list(choice.lost)
        self.limit = int(held * 1e9)
        self.journal = Journal()
        self.users = 0
        self.locating = False
        self._watched: set[Watched] = set()
        self._undo: list[Callable[[], None]] = []
        self._importing = _Importing(self._hook)
        self._process = os.getpid()
        self.evidence: Evidence | None = None
        if evidence:
            try:
                self.evidence = Evidence(max(self.limit // 2, 2 * MS))
            except EvidenceError as error:
                self.lost.append(f"no onlooker ({error}): system calls and lines of late steps are not seen")
        if find() is None:
            self.lost.append(
                "no counter of the interpreter lock: beside other threads a suspension may be a wait for it"
            )

    def install(self) -> None:
        """Hook what is loaded, and what is to be."""
        self._undo.append(asyncio.install(self))
        for name in LATER:
            if name in sys.modules:
                self._hook(name)
        sys.meta_path.insert(0, self._importing)
        _FORKING.add(self)

    def _hook(self, name: str) -> None:
        try:
            self._undo.append(LATER[name](self))
        except (AttributeError, KeyError, TypeError) as error:
            self.lost.append(f"{name} cannot be hooked ({error}): its loops are not watched")

    def remove(self) -> None:
        """Take it all away."""
        _FORKING.discard(self)
        if self._importing in sys.meta_path:
            sys.meta_path.remove(self._importing)
        while self._undo:
            self._undo.pop()()
        if self.evidence is not None:
            self.evidence.close()

    def forked(self) -> None:
        """This is a child of the process that is watched: have no part in it."""
        for watched in self._watched:
            watched.disarm()
        self._watched.clear()
        self.evidence = None
        self.remove()

    # --- threads ---

    def enter(self, loop: str) -> Watched | None:
        """The calling thread begins to run ``loop``."""
        if self.locating and sys.getprofile() is not None:
            self._lose("another profiler is set: calls that are too short to be looked at are not located")
        for name in list(SENSORS)[list(SENSORS).index(self.sensor) :]:
            try:
                made = Watched(loop, name, self.limit, self.journal, self.evidence, self.locating)
            except OSError as error:
                self._lose(f"no {name} for one more thread ({error}): it is watched by the next best")
                continue
            self._watched.add(made)
            return made
        return None

    def _lose(self, line: str) -> None:
        if line not in self.lost:
            self.lost.append(line)

    def leave(self, watched: Watched) -> None:
        """It has stopped."""
        if watched in self._watched:
            self._watched.discard(watched)
            watched.close()

    def cut(self) -> None:
        """End the step that the calling thread is in, and begin another: a watcher comes or goes in it."""
        for watched in self._watched:
            if watched.ident == threading.get_ident() and watched.at[0]:
                watched.over(partial(_of_here, watched.loop))

    # --- what was seen ---

    def mark(self) -> tuple[int, int]:
        """This moment, for :meth:`since`."""
        return len(self.journal.steps), len(self.journal.turns)

    def since(self, mark: tuple[int, int]) -> Seen:
        """All that was seen since ``mark``, with the evidence that has come."""
        steps = self.journal.steps
        # What ends while the onlooker answers may be known to it later than its answer comes.
        ended = len(steps)
        if self.evidence is not None:
            self.evidence.drain()
        for place in range(mark[0], ended):
            step, slot = steps[place]
            if self.evidence is not None and slot is not None:
                steps[place] = (joined(step, self.evidence.of(slot, step.begun)), None)
        return Seen(
            self.sensor,
            tuple(self.lost),
            tuple(step for step, _ in steps[mark[0] : ended]),
            tuple(self.journal.turns[mark[1] :]),
            self.journal.dropped,
            self.journal.longest,
        )

    def forget(self, mark: tuple[int, int]) -> None:
        """Let go of what was seen since ``mark``."""
        del self.journal.steps[mark[0] :]
        del self.journal.turns[mark[1] :]
        self.journal.longest = self.journal.notable = 0


_FORKING: weakref.WeakSet[Session] = weakref.WeakSet()


def _in_child() -> None:
    global _current
    for session in list(_FORKING):
        session.forked()
    _current = None


os.register_at_fork(after_in_child=_in_child)

_current: Session | None = None


def current() -> Session | None:
    """The session that is under way."""
    return _current


def acquire(held: float = HELD, sensor: str | None = None, evidence: bool = True) -> Session:
    """The session that is under way, or a new one. Every call wants its :func:`release`."""
    global _current
    if _current is None:
        made = Session(held, sensor, evidence)
        made.install()
        _current = made
    _current.users += 1
    return _current


def release(session: Session) -> None:
    """One watcher less; the last takes the session away."""
    global _current
    session.users -= 1
    if session.users == 0 and _current is session:
        _current = None
        session.remove()


class Watching:
    """What ``with loopspec.watch() as seen`` gives: all that has been seen since it began.

    While the block runs its attributes tell what was seen so far; afterwards, what was seen in it.
    """

    def __init__(self, held: float, sensor: str | None, evidence: bool) -> None:
        self._how = (held, sensor, evidence)
        self._session: Session | None = None
        self._mark = (0, 0)
        self._seen: Seen | None = None

    def __enter__(self) -> Self:
        self._session = acquire(*self._how)
        self._session.cut()
        self._mark = self._session.mark()
        return self

    def __exit__(self, *_: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.cut()
            self._seen = session.since(self._mark)
            release(session)

    @property
    def seen(self) -> Seen:
        """All of it, as one value."""
        if self._session is not None:
            return self._session.since(self._mark)
        return Seen("none") if self._seen is None else self._seen

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps that were suspended or held the loop."""
        return self.seen.steps

    @property
    def blocked(self) -> tuple[Step, ...]:
        """Steps that the kernel suspended."""
        return self.seen.blocked

    @property
    def gil(self) -> tuple[Step, ...]:
        """Steps that waited for the interpreter lock."""
        return self.seen.gil

    @property
    def unknown(self) -> tuple[Step, ...]:
        """Steps that were suspended, and it is not known what for."""
        return self.seen.unknown

    @property
    def held(self) -> tuple[Step, ...]:
        """Steps that held the loop by computing."""
        return self.seen.held

    @property
    def starved(self) -> tuple[Turn, ...]:
        """Turns in which what was ready waited longer than the limit."""
        return self.seen.starved


def watch(*, held: float = HELD, sensor: str | None = None, evidence: bool = True) -> Watching:
    """Watch the loops of this process: the one that runs now, and every one that runs within the block.

    ``held``: seconds after which a step that computes holds the loop. ``sensor``: a name of
    :data:`~loopspec.watching.sensors.SENSORS`, in place of the best that works. ``evidence``: whether the
    onlooker is started. Raises :class:`SensorError` for a sensor that there is not, or that does not
    work here.
    """
    if held <= 0:
        raise SensorError(f"held={held}: a number of seconds above zero is wanted")
    return Watching(held, sensor, evidence)

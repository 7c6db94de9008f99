"""The teeth: which mutant was killed by what, how soon, and how small the run is that shows it.

A green run says nothing until it is known what it would have caught. So every named mutant is hunted by the
instrument that every user has, generated scenarios, scripts of clients, the live kernel or the survey of its
calls, and what the hunt came to is written down: how much was tried up to the first kill, and how many steps
are left when it has been made small. A mutant of the loop is hunted by the explorer as well, on the simulated
kernel; where that misses it, the row says why. A row names its mutant by a digest of the change that it is,
so that a row that tells of another change is found out.

The suite is not installed with the package, but the table is: ``kills.json``, written by ``make kills`` and
read by ``loopspec mutants``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Protocol

from loopspec.clause import Clause, Kind
from loopspec.consequences import RESTATES, alone

FILE = "kills.json"
"""Inside the package :mod:`loopspec`."""


class Change(Protocol):
    """A named mutant: ``old`` in the file ``path`` is replaced by ``new``, and ``clause`` breaks."""

    @property
    def name(self) -> str: ...
    @property
    def clause(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def old(self) -> str: ...
    @property
    def new(self) -> str: ...
    @property
    def story(self) -> str: ...
    @property
    def report(self) -> str | None: ...


@dataclass(frozen=True)
class Kill:
    """What one detector came to with one mutant.

    ``tried`` of the detector's ``unit`` were run up to and with the one that kills; ``size`` is the number of
    steps in the smallest that was made of it. ``token`` replays that one, None where the detector has no
    tokens. ``breaks`` are the clauses that it breaks, the mutant's own among them.
    """

    detector: str
    unit: str
    tried: int
    size: int
    token: str | None
    breaks: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One mutant; ``digest`` is that of the change, ``report`` a link to where it happened, ``unexplored``
    why the explorer misses it, if it does."""

    name: str
    clause: str
    digest: str
    story: str
    report: str | None
    kills: tuple[Kill, ...]
    unexplored: str | None = None

    def kill(self, detector: str) -> Kill | None:
        """What ``detector`` came to, if it kills."""
        return next((kill for kill in self.kills if kill.detector == detector), None)


RUNS = frozenset({"scenarios", "scripts", "survey"})
"""The detectors that judge runs. The live kernel is no judge: it says what the model had allowed, and by
which clauses."""


def breaks_alone(row: Row, kill: Kill) -> bool:
    """Whether the run that kills breaks the mutant's clause and no other, but for its consequences."""
    return kill.detector in RUNS and alone(row.clause, kill.breaks)


def not_alone(register: Mapping[str, Clause], rows: Iterable[Row]) -> Iterator[str]:
    """A line for each clause that a run can break and that no run of ``rows`` breaks alone. What the world
    owes is none of these: what else breaks where it does not keep that is no news of a loop."""
    shown = {row.clause for row in rows for kill in row.kills if breaks_alone(row, kill)}
    for id, entry in register.items():
        if entry.watches and entry.kind is not Kind.ASSUME and id not in shown and id not in RESTATES:
            yield f"{id} is broken by no run alone: what does it add? Add a mutant that breaks nothing else"


def digest(mutant: Change) -> str:
    """The first 8 hex digits of SHA-256 over what the mutant changes."""
    text = "\0".join((mutant.path, mutant.old, mutant.new))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


EXPLORER = "explorer"
"""The detector that is the second one of every mutant of the loop."""


def row(mutant: Change, kills: Iterable[Kill], unexplored: str | None = None) -> Row:
    """The row of ``mutant``, which ``kills`` kill."""
    known = mutant.name, mutant.clause, digest(mutant), mutant.story, mutant.report
    return Row(*known, tuple(kills), unexplored)


def stale(rows: Iterable[Row], mutants: Iterable[Change]) -> Iterator[str]:
    """A line for each mutant that the table does not tell of, or tells of otherwise, and each row of none."""
    told = {row.name: row for row in rows}
    named = {mutant.name: mutant for mutant in mutants}
    for name, mutant in named.items():
        if name not in told:
            yield f"{name} is in no row: run `make kills`"
        elif (told[name].clause, told[name].digest) != (mutant.clause, digest(mutant)):
            yield f"{name} has changed since it was hunted: run `make kills`"
        elif not told[name].kills:
            yield f"{name} has been killed by nothing"
        elif (told[name].kill(EXPLORER) is None) != (told[name].unexplored is not None):
            yield f"{name} is either killed by the explorer or missed for a reason: run `make kills`"
    for name in told.keys() - named.keys():
        yield f"{name} has a row and is no mutant: run `make kills`"


# --- on file ------------------------------------------------------------------------------------------


def dump(rows: Iterable[Row]) -> str:
    """``rows`` as the text of the file, which :func:`parse` reads back exactly."""
    return json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False) + "\n"


def parse(text: str) -> tuple[Row, ...]:
    """The rows that a file's ``text`` holds."""
    return tuple(_row(**entry) for entry in json.loads(text))


def _row(
    name: str,
    clause: str,
    digest: str,
    story: str,
    report: str | None,
    kills: list[Mapping[str, object]],
    unexplored: str | None = None,
) -> Row:
    told = tuple(_kill(**kill) for kill in kills)  # type: ignore[arg-type]  # as dump wrote them
    return Row(name, clause, digest, story, report, told, unexplored)


def _kill(detector: str, unit: str, tried: int, size: int, token: str | None, breaks: list[str]) -> Kill:
    return Kill(detector, unit, tried, size, token, tuple(breaks))


def packaged() -> tuple[Row, ...]:
    """The table that this version was packaged with."""
    return parse(resources.files("loopspec").joinpath(FILE).read_text(encoding="utf-8"))

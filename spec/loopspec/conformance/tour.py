"""The tour: one table that tells why servers are built as they are, in facts measured while you wait.

Every architecture is started as a process of its own, and gets the same clients: a first who says nothing, a
second who asks at once, a third who asks for what blocks its handler, a fourth who asks after that. When the
server is at rest, which is known from the kernel and not from a clock (:mod:`loopspec.conformance.account`),
the tour looks who has been served, in what call on which descriptor the server is suspended, and how many
processes, threads and descriptors it took. What the second client waits for is not a matter of opinion: the
kernel says in which call of whose connection the one thread is suspended that should be serving him.

The servers are not imported but started, ``python -m refloop.servers ARCHITECTURE``: another implementation
of the same protocol can be shown in their place.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from loopspec.conformance.account import AccountError
from loopspec.conformance.result import UsageError
from loopspec.conformance.servers import Act, Command, Play, Server, UnrestError
from loopspec.server import ARCHITECTURES
from loopspec.trace import AtRest, Connect, Event, Free, Hold, Leave, Receive, Send

NAMES: Final = ("silent", "quick", "slow", "late")
"""Of the clients, in the order in which they come."""

SILENT, QUICK, SLOW, LATE = range(4)

VISIT: Final[Sequence[tuple[str, tuple[Act, ...]]]] = (
    ("silent and quick", (Connect(SILENT, False), Connect(QUICK, False), Send(QUICK, b"echo hello\n"))),
    (
        "slow and late",
        (
            Hold("lock"),
            Connect(SLOW, False),
            Send(SLOW, b"slow gate\n"),
            Connect(LATE, False),
            Send(LATE, b"sum 40 2\n"),
        ),
    ),
    ("the lock is free", (Free("lock"),)),
    ("silent leaves", (Leave(SILENT),)),
)
"""What happens, in four scenes: who comes, or what changes. After each act the server rests."""


@dataclass(frozen=True)
class Scene:
    """What one scene has come to: who has been served in it, and where the server rests."""

    served: tuple[int, ...]
    rest: AtRest


@dataclass(frozen=True)
class Toured:
    """One architecture: how it stood before the first client, and scene after scene."""

    architecture: str
    empty: AtRest
    scenes: tuple[Scene, ...]

    def waited_for(self, client: int) -> str:
        """Whom or what ``client`` waited for before it was served, in words."""
        come = 0 if client < SLOW else 1
        ends = [place for place, scene in enumerate(self.scenes) if client in scene.served]
        late = self.scenes[come : ends[0] if ends else None]
        return ", then ".join(dict.fromkeys(_place(scene.rest) for scene in late)) or "nobody"


def _place(rest: AtRest) -> str:
    return rest.main if rest.on is None else f"{rest.main}({NAMES[rest.on]})"


def visit(architecture: str, command: Command) -> Toured:
    """Start the server and play the four scenes. Raises :class:`UsageError` if there is no such server."""
    events: list[Event] = []
    scenes: list[Scene] = []
    with Server(architecture, command) as server:
        play = Play(server, events.append)
        with play:
            empty = play.rest()
            for _, acts in VISIT:
                for act in acts:
                    play.act(act)
                served = [event.stream for event in events if isinstance(event, Receive) and event.data]
                events.clear()
                scenes.append(Scene(tuple(served), play.rest()))
    return Toured(architecture, empty, tuple(scenes))


# --- shown ----------------------------------------------------------------------------------------------


WIDE: Final = 120
"""Columns that the whole story takes in one table; on a narrower screen it is told in two."""


def render(toured: Sequence[Toured], width: int = WIDE) -> RenderableType:
    """The story as a table, or two where it is to fit ``width`` columns, and how to read it."""
    served = [title for title, _ in VISIT]
    cost = ["quick waited for", "late waited for", "processes", "threads", "descriptors"]
    rows = {one.architecture: [*_served(one), *_cost(one)] for one in toured}
    if width >= WIDE:
        return Group(_table([*served, *cost], rows), Text(_LEGEND, "dim"))
    first = {name: cells[: len(served)] for name, cells in rows.items()}
    second = {name: cells[len(served) :] for name, cells in rows.items()}
    return Group(_table(served, first), "", _table(cost, second), "", Text(_LEGEND, "dim"))


def _table(headings: Sequence[str], rows: Mapping[str, Sequence[Text]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("server", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in _COUNTED else "left")
    for name, cells in rows.items():
        table.add_row(Text(name, "bold"), *cells)
    return table


_COUNTED: Final = frozenset({"processes", "threads", "descriptors"})


def _served(one: Toured) -> list[Text]:
    return [Text(", ".join(NAMES[client] for client in scene.served) or "–") for scene in one.scenes]


def _cost(one: Toured) -> list[Text]:
    busiest = one.scenes[1].rest
    return [
        _waited(one.waited_for(QUICK)),
        _waited(one.waited_for(LATE)),
        Text(f"{one.empty.processes} → {busiest.processes}"),
        Text(f"{one.empty.threads} → {busiest.threads}"),
        Text(f"{one.empty.descriptors} → {busiest.descriptors}"),
    ]


def _waited(whom: str) -> Text:
    return Text(whom, "green" if whom == "nobody" else "red")


_LEGEND: Final = (
    "Silent says nothing, quick asks at once, slow asks for what blocks its handler on a lock, late asks "
    "after it. In each scene: who was served then. Waited for: the call, and on whose connection, in which "
    "the kernel had suspended the server's first thread while that client was owed an answer. Counts: no "
    "clients → all."
)


def tour(console: Console, architectures: Sequence[str]) -> None:
    """Visit the servers and show what was seen. Raises :class:`UsageError` where that cannot be."""
    toured = []
    for architecture in architectures:
        if architecture not in ARCHITECTURES:
            raise UsageError(f"no server is called {architecture!r}: there are {', '.join(ARCHITECTURES)}")
    for architecture in architectures:
        try:
            toured.append(visit(architecture, command(architecture)))
        except (UnrestError, AccountError, OSError) as error:
            raise UsageError(f"the tour ends at {architecture}: {error}") from None
    console.print(render(toured, console.width))


def command(architecture: str) -> Command:
    """How the reference implementation's server of ``architecture`` is started."""
    return (sys.executable, "-m", "refloop.servers", architecture)

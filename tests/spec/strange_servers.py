"""Strange servers: runs, drawn at random, of a server that gets much wrong, and of clients that do as they
like.

What :mod:`tests.spec.strange` is for the rules of a loop, this is for those of a server. They speak of lines
and their answers, of who is connected and how many processes there are, which draws of small numbers and
letters never meet. So here is a server that answers in order, in pieces, and now and then wrongly; it is at
rest where it likes, with about as many threads as it ought to have. Only what the harness sees to is kept:
nobody acts before it is connected.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from loopspec.server import answer
from loopspec.trace import (
    AtRest,
    Connect,
    Crash,
    Event,
    Free,
    HalfClose,
    Hold,
    Leave,
    Receive,
    Reset,
    Send,
    Serves,
    StopReading,
)

_LINES = (b"echo a", b"echo", b"sum 1 2", b"file small", b"ask ab", b"nothing", b"slow gate", b"ask count")
_CLIENTS = 3


def strange_server(architectures: Sequence[str], count: int, seed: int) -> Iterator[Event]:
    """``count`` events of a server of one of ``architectures`` and its clients."""
    draw = random.Random(seed)
    faults = draw.choice((0.0, 0.1, 0.1, 0.5))
    home = draw.choice(("epoll_wait", "epoll_wait", "flock", "recv"))
    run = _Run(draw, faults, home, lines=draw.sample(_LINES, 4))
    kinds = (run.connects, run.sends, run.receives, run.rests, run.acts, run.holds)
    weights = (2, 4, 8, draw.choice((4, 8)), draw.choice((0, 1, 3)), draw.choice((0, 2)))
    yield Serves(draw.choice(architectures))
    for _ in range(count - 1):
        (event,) = draw.choices(kinds, weights)
        yield event()


@dataclass
class _Run:
    """What the clients have asked and the server has still to send.

    ``faults`` is how often it errs, ``home`` the call in which it is mostly found at rest.
    """

    draw: random.Random
    faults: float
    home: str
    lines: list[bytes]
    asked: dict[int, list[bytes]] = field(default_factory=dict)
    begun: dict[int, bytes] = field(default_factory=dict)
    answered: dict[int, bytes] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    counted: int = 0

    def connects(self) -> Event:
        if len(self.asked) == _CLIENTS:
            return self.rests()
        stream = len(self.asked)
        self.asked[stream] = []
        return Connect(stream, echo=False)

    def sends(self) -> Event:
        if (stream := self._client()) is None:
            return self.connects()
        lines = self.draw.choices(self.lines, k=self.draw.choice((1, 1, 2)))
        data = self.begun.pop(stream, b"") + b"".join(line + b"\n" for line in lines)
        if self.draw.random() < 0.2:
            data, self.begun[stream] = data[:-3], data[-3:]
        self.asked[stream] += lines
        return Send(stream, data)

    def receives(self) -> Event:
        if (stream := self._client()) is None:
            return self.connects()
        if not self.answered.get(stream):
            if not self.asked[stream] and not self._errs():
                return self.sends()
            self.answered[stream] = self._answer(stream)
        data = self.answered.pop(stream)
        if self.draw.random() < 0.2:
            data, self.answered[stream] = data[:1], data[1:]
        return Receive(stream, data)

    def _answer(self, stream: int) -> bytes:
        if self._errs():
            return self.draw.choice((b"", b"a\n", b"0\n", b"1\n", b"a\nb\n", bytes(30) + b"\n"))
        given = answer(self.asked[stream].pop(0)) if self.asked[stream] else b""
        if isinstance(given, bytes):
            return given + b"\n"
        self.counted += not self._errs()
        return b"%d\n" % self.counted

    def rests(self) -> Event:
        many = 1 + len(self.asked) - len(self.gone)
        processes, threads = (self.draw.choice((1, 1, many, many)) for _ in range(2))
        if self._errs():
            processes += self.draw.choice((-1, 1))
        if self._errs():
            threads += self.draw.choice((-1, 1))
        main = self.draw.choice((self.home, self.home, self.home, "epoll_wait", "flock", "accept"))
        return AtRest(processes, threads, 6 + self._errs(), main, self.draw.choice((None, 0, 0, 1)), ())

    def acts(self) -> Event:
        if (stream := self._client()) is None:
            return self.connects()
        kind = self.draw.choice((HalfClose, HalfClose, StopReading, Leave, Reset, Crash))
        if kind in (Leave, Reset, Crash):
            self.gone.add(stream)
        return kind(stream)

    def holds(self) -> Event:
        return self.draw.choice((Hold, Hold, Free))(self.draw.choice(("lock", "lock", "backend")))

    def _client(self) -> int | None:
        return self.draw.choice(list(self.asked)) if self.asked else None

    def _errs(self) -> bool:
        return self.draw.random() < self.faults

"""STREAM: what a byte stream carries, as its two ends see it.

The kernel keeps these clauses; a loop can still break them between the kernel and those whom it serves, by
a write whose rest goes twice or never, a buffer that is dropped, an end of file that overtakes data. Both
rules are written for one stream, and follow it in both directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TypeAlias

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import replace, value
from loopspec.judge import Broken, Kept, Progress
from loopspec.trace import Await, Connect, Event, HalfClose, Leave, Read, Receive, Reset, Send, Shut, Write

Ways: TypeAlias = frozenset[tuple[bytes, ...]]
"""How what is on its way may lie: as these pieces, between which somebody has had what was there. What is
sent then comes behind the last, which may be empty."""

MANY = 100
"""Of more ways no account is kept: bytes that are all alike may have been read in any."""


def _shown(data: bytes) -> str:
    return repr(data if len(data) <= 40 else data[:37] + b"...")


@clause(
    "STREAM.BYTES.PREFIX",
    Level.MUST,
    Kind.INV,
    Profile.KERNEL,
    source="POSIX",
    watches={Send: "stream", Receive: "stream"},
    also={Read: "stream", Write: "stream", Connect: "stream", Await: "key"},
)
@value
class BytesPrefix:
    """What a reader has received is at every moment a prefix of what its peer has sent."""

    # What is on its way, in each direction; None once nothing more is asked of a direction. Of an echo
    # server's stream only the client's end is told, and what it has sent is what it is to receive. Of two
    # tasks that read one stream at a time, which was first is not told by which returns first: each has some
    # of what is on its way, and no byte comes twice. Until all is read, every way is kept in which the rest
    # may lie.

    inbound: bytes | Ways | None = b""
    outbound: bytes | None = b""
    echo: bool = False
    reader: int | None = None

    def after(self, event: Event) -> Progress:
        match event:
            case Receive():
                data, sent = event.data, self.outbound
                if sent is None:
                    return self
                if sent.startswith(data):
                    after = self._with(self.inbound, sent[len(data) :])
                    return Kept(after) if data else after
                strayed = self._with(self.inbound, None)
                return _strayed(f"client {event.stream}", data, _shown(sent), strayed)
            case Read():
                return self._read(event.data)
            case Send() if not self.echo:
                match self.inbound:
                    case None:
                        return self
                    case bytes() as sent:
                        return self._with(sent + event.data, self.outbound)
                    case ways:
                        longer = frozenset((*way[:-1], way[-1] + event.data) for way in ways)
                        return self._with(longer, self.outbound)
            case Send() | Write():
                if self.outbound is None:
                    return self
                return self._with(self.inbound, self.outbound + event.data)
            case Connect(echo=True):
                return BytesPrefix(echo=True)
            case Await():
                return self._awaited(event.task) if event.reason == "read" else self
            case _:
                return self

    def _read(self, data: bytes) -> Progress:
        match self.inbound:
            case None:
                return self
            case bytes() as sent:
                if not sent.startswith(data):
                    return _strayed("the server", data, _shown(sent), self._with(None, self.outbound))
                rest = sent[len(data) :]
                after = self._with(rest, self.outbound) if rest else self._all_read()
            case ways if data:
                rests = [*islice((rest for way in ways for rest in _without(data, way)), MANY + 1)]
                if not rests:
                    shown = " … ".join(_shown(piece) for piece in min(ways) if piece)
                    return _strayed("the server", data, shown, self._with(None, self.outbound))
                left = frozenset(rests) if len(rests) <= MANY else None
                # In each way as many bytes are left.
                after = self._with(left, self.outbound) if any(rests[0]) else self._all_read()
            case _:
                return self
        return Kept(after) if data else after

    def _awaited(self, task: int) -> BytesPrefix:
        if self.reader is None:
            return replace(self, reader=task)
        if task == self.reader or not isinstance(self.inbound, bytes):
            return self
        return replace(self, inbound=frozenset(((self.inbound,),)))

    def _all_read(self) -> BytesPrefix:
        return BytesPrefix(b"", self.outbound, self.echo)

    def _with(self, inbound: bytes | Ways | None, outbound: bytes | None) -> BytesPrefix:
        return BytesPrefix(inbound, outbound, self.echo, self.reader)


def _without(data: bytes, way: tuple[bytes, ...]) -> Iterator[tuple[bytes, ...]]:
    """In which ways the rest may lie once ``data`` has been taken out of one of the pieces of ``way``."""
    for number, piece in enumerate(way):
        place = piece.find(data)
        while place >= 0:
            before, behind = piece[:place], piece[place + len(data) :]
            pieces = *way[:number], before, behind, *way[number + 1 :]
            yield *filter(None, pieces[:-1]), pieces[-1]
            place = piece.find(data, place + 1)


def _strayed(who: str, data: bytes, sent: str, after: BytesPrefix) -> Progress:
    return Broken(f"{who} receives what was sent next: {sent}", f"it received {_shown(data)}", after)


@clause(
    "STREAM.EOF.AFTER_DATA",
    Level.MUST,
    Kind.INV,
    Profile.KERNEL,
    source="shutdown(2)",
    watches={Send: "stream", Receive: "stream"},
    also={
        Await: "key",
        HalfClose: "stream",
        Leave: "stream",
        Read: "stream",
        Reset: "stream",
        Shut: "stream",
        Write: "stream",
    },
)
@value
class EofAfterData:
    """End of file is delivered only after every byte sent before the half-close."""

    # A client that has left altogether is LOOP.HUP.NEVER_DISCARDS's. The server's half-close is ``Shut``,
    # which is told of only when the server had given all it meant to give: without it nothing is promised.

    # What is still on its way, how many bytes there were in all, and who has ended the stream. Of two tasks
    # that read one stream, which has the last bytes is not told before they return: nor is it asked.

    inbound: int = 0
    outbound: int = 0
    carried: int = 0
    ended: frozenset[str] = frozenset()
    reader: int | None = None

    def after(self, event: Event) -> Progress:
        match event:
            case Send():
                size = len(event.data)
                return EofAfterData(
                    self.inbound + size, self.outbound, self.carried + size, self.ended, self.reader
                )
            case Write():
                size = len(event.data)
                return EofAfterData(
                    self.inbound, self.outbound + size, self.carried + size, self.ended, self.reader
                )
            case Read():
                if event.data:
                    left = self.inbound - len(event.data)
                    reader = self.reader if left else None
                    return EofAfterData(left, self.outbound, self.carried, self.ended, reader)
                judged = "half" in self.ended and "gone" not in self.ended
                return self._ends("the server", self.inbound) if judged else self
            case Receive():
                if event.data:
                    left = self.outbound - len(event.data)
                    return EofAfterData(self.inbound, left, self.carried, self.ended, self.reader)
                return self._ends(f"client {event.stream}", self.outbound) if "shut" in self.ended else self
            case HalfClose():
                return replace(self, ended=self.ended | {"half"})
            case Shut():
                return replace(self, ended=self.ended | {"shut"})
            case Leave() | Reset():
                return replace(self, ended=self.ended | {"gone"})
            case Await():
                return self._awaited(event.task) if event.reason == "read" else self
            case _:
                return self

    def _awaited(self, task: int) -> EofAfterData:
        if self.reader is None:
            return EofAfterData(self.inbound, self.outbound, self.carried, self.ended, task)
        return self if task == self.reader else replace(self, ended=self.ended | {"gone"})

    def _ends(self, who: str, missing: int) -> Progress:
        if missing > 0:
            # From here on nothing is missing: what was lost is said once.
            after = EofAfterData(0, 0, self.carried, self.ended, self.reader)
            missed = f"{missing} bytes are missing"
            return Broken(f"{who} receives every byte before the end of file", missed, after)
        return Kept(self) if self.carried else self

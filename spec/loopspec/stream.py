"""STREAM: what a byte stream carries, as its two ends see it.

The kernel keeps these clauses; a loop can still break them between the kernel and those whom it serves, by
a write whose rest goes twice or never, a buffer that is dropped, an end of file that overtakes data. Both
rules are written for one stream, and follow it in both directions.
"""

from __future__ import annotations

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import replace, value
from loopspec.judge import Broken, Kept, Progress
from loopspec.trace import Await, Connect, Event, HalfClose, Leave, Read, Receive, Reset, Send, Shut, Write


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

    # What is on its way, in each direction; None once a direction is broken. Of an echo server's stream only
    # the client's end is told, and what it has sent is what it is to receive. Of two tasks that read one
    # stream at a time, which was first is not told by which returns first: each has some of what is on its
    # way, and no byte comes twice.

    inbound: bytes | None = b""
    outbound: bytes | None = b""
    echo: bool = False
    reader: int | None = None
    rivals: bool = False  # another task reads, too, and not all has been read since

    def after(self, event: Event) -> Progress:
        match event:
            case Receive():
                data, sent = event.data, self.outbound
                if sent is None:
                    return self
                if sent.startswith(data):
                    after = self._with(self.inbound, sent[len(data) :])
                    return Kept(after) if data else after
                return self._strayed(f"client {event.stream}", data, sent, self._with(self.inbound, None))
            case Read():
                data, sent = event.data, self.inbound
                if sent is None:
                    return self
                place = sent.find(data) if self.rivals else 0
                if place >= 0 and sent.startswith(data, place):
                    left = sent[:place] + sent[place + len(data) :]
                    after = self._with(left, self.outbound) if left else self._all_read()
                    return Kept(after) if data else after
                return self._strayed("the server", data, sent, self._with(None, self.outbound))
            case Send() if not self.echo:
                return self if self.inbound is None else self._with(self.inbound + event.data, self.outbound)
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

    def _awaited(self, task: int) -> BytesPrefix:
        if self.reader is None:
            return replace(self, reader=task)
        return self if task == self.reader or self.rivals else replace(self, rivals=True)

    def _all_read(self) -> BytesPrefix:
        return BytesPrefix(b"", self.outbound, self.echo)

    def _with(self, inbound: bytes | None, outbound: bytes | None) -> BytesPrefix:
        return BytesPrefix(inbound, outbound, self.echo, self.reader, self.rivals)

    def _strayed(self, who: str, data: bytes, sent: bytes, after: BytesPrefix) -> Progress:
        return Broken(
            f"{who} receives what was sent next: {_shown(sent)}", f"it received {_shown(data)}", after
        )


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

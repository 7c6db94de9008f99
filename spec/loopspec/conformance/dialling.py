"""What a scenario's tasks connect to: over TCP on loopback, and each connect to an address of its own.

There the kernel answers a SYN within the call that sends it, so what will become of a connect is settled
before the loop waits for it: it comes about, or nobody listens. A host whose backlog is full says nothing at
all, and that connect stays under way as long as a run lasts. What is told of a host that listens is what its
own end shows; it may also, between the answer and the moment in which the loop looks, send, leave, or
tear the connection down.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - the first connect imports it, and waits for the disk in the loop's turn
import errno
import select
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from loopspec import trace
from loopspec.conformance.adapter import Connection, OffersConnects
from loopspec.conformance.scenario import Host, Welcome
from loopspec.trace import Event, Outcome

_HERE = "127.0.0.1"


class Teller(Protocol):
    """The run, as far as it matters here."""

    turn: int
    tell: Callable[[Event], None]


class _Dial:
    """One connect. ``key`` is the event that its end in the kernel is."""

    def __init__(self, number: int, key: int, host: Host) -> None:
        self.number = number
        self.key = key
        self.host = host
        self.answered = False
        self.settled = False
        self.taken: socket.socket | None = None
        self.filler: socket.socket | None = None
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.bind((_HERE, 0))
        if host != "refusing":
            self.listener.listen(0)
        if host == "silent":
            self.filler = socket.create_connection(self.listener.getsockname())
        self.listener.setblocking(False)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def close(self) -> None:
        for each in (self.listener, self.taken, self.filler):
            if each is not None:
                each.close()


class Dialling:
    """The connects of one run."""

    def __init__(self, run: Teller) -> None:
        self._run = run
        self._dials: list[_Dial] = []

    async def open(
        self,
        loop: OffersConnects,
        task: int,
        host: Host,
        key: int,
        operate: Callable[[Callable[[], Awaitable[Connection]]], Awaitable[Connection]],
    ) -> None:
        """Connect from ``task``, tell how it ended, and close what it gave."""
        dial = _Dial(len(self._dials), key, host)
        self._dials.append(dial)
        self._run.tell(trace.Dial(self._run.turn, task, dial.number))
        if host == "refusing":
            self._answered(dial, "ECONNREFUSED")
        outcome: Outcome = "cancelled"
        error: str | None = None
        try:
            connection = await operate(lambda: loop.connect(_HERE, dial.port))
            outcome = "value"
            connection.close()
        except OSError as failure:
            outcome, error = "error", errno.errorcode.get(failure.errno or 0, "an OSError without errno")
        except Exception as failure:
            outcome, error = "error", type(failure).__name__
        finally:
            self.look()
            dial.settled = True
            self._run.tell(trace.DialSettle(self._run.turn, dial.number, outcome, error))

    def look(self) -> None:
        """Tell of the connects that have come about since."""
        for dial in self._dials:
            open_ = dial.host == "listening" and not dial.answered and not dial.settled
            if open_ and select.select([dial.listener], [], [], 0)[0]:
                self._answered(dial, None)

    def _answered(self, dial: _Dial, error: str | None) -> None:
        if not dial.answered:
            self._run.tell(trace.Settle(self._run.turn, "event", dial.key))
        dial.answered = True
        self._run.tell(trace.Dialed(dial.number, error))

    def greet(self, index: int, how: Welcome) -> None:
        """Have a host do something to a connection that has come about, if there is one."""
        self.look()
        open_ = [dial for dial in self._dials if dial.host == "listening" and dial.answered]
        if not open_:
            return
        dial = open_[index % len(open_)]
        if dial.taken is None:
            with suppress(OSError):
                dial.taken, _ = dial.listener.accept()
        taken = dial.taken
        if taken is None or taken.fileno() < 0:
            return
        match how:
            case "send":
                with suppress(OSError):
                    taken.send(b"x")
            case "leave":
                taken.close()
            case "reset":
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                taken.close()
                if not dial.settled:
                    self._answered(dial, "ECONNRESET")

    def close(self) -> None:
        """Give back every descriptor."""
        for dial in self._dials:
            dial.close()

"""What a description can be when it is asked something: each kind of file, in each state that tells.

A situation is the calls that bring it about, and the number that is then asked about. Number 0 is an epoll
that watches, edge-triggered, whatever the situation names as ``watched``, and has just waited: what it tells
after one more call is the edge that the call was. Everything is opened nonblocking.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from loopspec.conformance.drawing import LONG
from loopspec.kernel.calls import (
    Abort,
    Accept,
    Advance,
    Call,
    Close,
    Connect,
    Dup,
    GetError,
    How,
    Listen,
    OpenEpoll,
    OpenEvent,
    OpenFile,
    OpenPair,
    OpenPipe,
    OpenSocket,
    OpenTimer,
    Read,
    SetNonblocking,
    SetTimer,
    Shutdown,
    Write,
)
from loopspec.kernel.state import EDGE, EXCLUSIVE, IN, OUT, RDHUP, Limits
from tests.kernel.asking import add, n, wait

WATCHER = n(0)
CLOSED = n(14)
"""A number that no situation opens."""

PORT, NOBODYS = 1, 7
"""A port that listeners listen on, and one that nobody does."""

ONE = (1).to_bytes(8, "little")
MOST = ((1 << 64) - 2).to_bytes(8, "little")
MORE = b"\xff" * 8
"""One more than the largest value of an eventfd."""


@dataclass(frozen=True)
class Situation:
    """``setup`` and then the question about number ``asked``; ``others`` are what it is connected with.
    ``opens``: it is of interest how many numbers there are, and descriptors are opened too."""

    setup: tuple[Call, ...]
    asked: int = 1
    watched: tuple[int, ...] = (1,)
    others: tuple[int, ...] = ()
    opens: bool = False

    @property
    def calls(self) -> tuple[Call, ...]:
        """All calls that come first."""
        watches = tuple(add(0, number, IN | OUT | RDHUP | EDGE) for number in self.watched)
        return (OpenEpoll(), *self.setup, *watches, wait(0, 16))

    def blocking(self) -> Situation:
        """The same, and the number is blocking."""
        return replace(self, setup=(*self.setup, SetNonblocking(n(self.asked), nonblocking=False)))


_PIPE = OpenPipe(nonblocking=True)
_PAIR = OpenPair(nonblocking=True)
_SOCKET = OpenSocket(nonblocking=True)

#: 1 listens, and 2 has connected to it; 3 is what was accepted.
_LISTENING: tuple[Call, ...] = (_SOCKET, Listen(n(1), PORT, backlog=1))
_CONNECTED: tuple[Call, ...] = (*_LISTENING, _SOCKET, Connect(n(2), PORT))
_ACCEPTED: tuple[Call, ...] = (*_CONNECTED, Accept(n(1), nonblocking=True))

#: Shutdown, and something sent back that acknowledges it: when a FIN is acknowledged, which may take the
#: kernel some 40 ms, its sender is woken once more, and the model says nothing of acknowledgements.
_CLIENT_FINISHED: tuple[Call, ...] = (Shutdown(n(2), How.WR), Write(n(3), b"a"), Read(n(2), 1))
_SERVER_FINISHED: tuple[Call, ...] = (Shutdown(n(3), How.WR), Write(n(2), b"a"), Read(n(3), 1))

#: A pipe takes two units whole or not at all, so that there is no telling how much of more it takes at once.
_THREE: tuple[Call, ...] = (Write(n(2), b"ab"), Write(n(2), b"c"))
_FOUR: tuple[Call, ...] = (Write(n(2), b"ab"), Write(n(2), b"cd"))

#: All numbers that two descriptors beside the watcher leave.
_FILLING: tuple[Call, ...] = (Dup(WATCHER),) * (Limits().numbers - 3)


def _reader(*calls: Call) -> Situation:
    return Situation((_PIPE, *calls), asked=1, watched=(1, 2), others=(2,))


def _writer(*calls: Call) -> Situation:
    return Situation((_PIPE, *calls), asked=2, watched=(1, 2), others=(1,))


def _unix(*calls: Call) -> Situation:
    return Situation((_PAIR, *calls), asked=1, watched=(1, 2), others=(2,))


def _client(*calls: Call) -> Situation:
    return Situation((*_ACCEPTED, *calls), asked=2, watched=(2, 3), others=(3,))


def _server(*calls: Call) -> Situation:
    return Situation((*_ACCEPTED, *calls), asked=3, watched=(2, 3), others=(2,))


def _gone(situation: Situation, *gone: int) -> Situation:
    return replace(situation, watched=tuple(w for w in situation.watched if w not in gone), others=())


def _kept(situation: Situation) -> Situation:
    """The same description under a second number, which comes after all others."""
    return replace(situation, setup=(*situation.setup, Dup(n(situation.asked))))


_WATCHED_EXCLUSIVELY = Situation((_PAIR, OpenEpoll(), add(3, 1, IN | EXCLUSIVE)), watched=(1, 2))

SITUATIONS: dict[str, Situation] = {
    "a closed number": Situation((), watched=(), opens=True),
    "an epoll": Situation((OpenEpoll(),)),
    "an epoll with something ready": Situation(
        (OpenEpoll(), OpenEvent(1, nonblocking=True), add(1, 2, IN)), others=(2,)
    ),
    "an epoll that watches the other": Situation((OpenEpoll(), add(1, 0, IN)), watched=()),
    # -- descriptors
    "the last number": Situation((_PIPE, *_FILLING[1:]), opens=True),
    "the last two numbers": Situation((_PIPE, *_FILLING[2:]), opens=True),
    "no number left": Situation((_PIPE, *_FILLING), opens=True),
    "a listener, and no number left": Situation((*_LISTENING, *_FILLING)),
    "a listener with somebody in its queue, and no number left": Situation(
        (*_CONNECTED, *_FILLING[1:]), watched=(1,)
    ),
    # -- pipes
    "the reading end of a pipe": _reader(),
    "the reading end of a pipe, with data": _reader(*_THREE),
    "the reading end of a full pipe": _reader(*_FOUR),
    "the reading end of a pipe, the writer gone": _gone(_reader(Close(n(2))), 2),
    "the reading end of a pipe, data left by a writer gone": _gone(_reader(*_THREE, Close(n(2))), 2),
    "the writing end of a pipe": _writer(),
    "the writing end of a pipe with little room": _writer(*_THREE),
    "the writing end of a full pipe": _writer(*_FOUR),
    "the writing end of a pipe, the reader gone": _gone(_writer(Close(n(1))), 1),
    # -- Unix streams
    "a Unix stream": _unix(),
    "a Unix stream, the other side of it": replace(_unix(), asked=2, others=(1,)),
    "a Unix stream under two numbers": _kept(_unix()),
    "a Unix stream with data": _unix(Write(n(2), b"ab")),
    "a Unix stream whose peer has not read": _unix(Write(n(1), b"ab")),
    "a Unix stream with data both ways": _unix(Write(n(1), b"a"), Write(n(2), b"a")),
    "a Unix stream, half-closed by the peer": _unix(Shutdown(n(2), How.WR)),
    "a Unix stream with data, half-closed by the peer": _unix(Write(n(2), b"ab"), Shutdown(n(2), How.WR)),
    "a Unix stream that the peer does not read": _unix(Shutdown(n(2), How.RD)),
    "a Unix stream, half-closed": _unix(Shutdown(n(1), How.WR)),
    "a Unix stream, half-closed, with data": _unix(Write(n(2), b"ab"), Shutdown(n(1), How.WR)),
    "a Unix stream, half-closed, whose peer has not read": _unix(Write(n(1), b"ab"), Shutdown(n(1), How.WR)),
    "a Unix stream shut for reading": _unix(Shutdown(n(1), How.RD)),
    "a Unix stream shut both ways": _unix(Shutdown(n(1), How.RDWR)),
    "a Unix stream, the peer gone": _gone(_unix(Close(n(2))), 2),
    "a Unix stream with data, the peer gone": _gone(_unix(Write(n(2), b"ab"), Close(n(2))), 2),
    "a Unix stream that was reset": _gone(_unix(Write(n(1), b"ab"), Close(n(2))), 2),
    "a Unix stream that was reset, the other side of it": _gone(
        replace(_unix(Write(n(2), b"ab"), Close(n(1))), asked=2), 1
    ),
    "a Unix stream with data that was reset": _gone(
        _unix(Write(n(1), b"a"), Write(n(2), b"a"), Close(n(2))), 2
    ),
    "a Unix stream that has told of its reset": _gone(
        _unix(Write(n(1), b"ab"), Close(n(2)), GetError(n(1))), 2
    ),
    "a Unix stream that is watched exclusively": replace(_WATCHED_EXCLUSIVELY, asked=1, others=(2,)),
    "a Unix stream, the other side of one watched exclusively": replace(
        _WATCHED_EXCLUSIVELY, asked=2, others=(1,)
    ),
    # -- TCP
    "a fresh socket": Situation((_SOCKET,)),
    "a listener": Situation((*_LISTENING, _SOCKET), others=(2,)),
    "a listener with somebody in its queue": Situation(_CONNECTED, asked=1, watched=(1, 2), others=(2,)),
    "a listener with two in its queue": Situation(
        (*_CONNECTED, _SOCKET, Connect(n(3), PORT)), asked=1, watched=(1, 2, 3), others=(2,)
    ),
    "a client that nobody has accepted": Situation(_CONNECTED, asked=2, watched=(1, 2)),
    "a client with nobody to listen": Situation((_SOCKET, Connect(n(1), NOBODYS))),
    "a client that has told of its refusal": Situation((_SOCKET, Connect(n(1), NOBODYS), GetError(n(1)))),
    "a client that a full listener lets wait": Situation(
        (*_CONNECTED, _SOCKET, Connect(n(3), PORT), _SOCKET, Connect(n(4), PORT)),
        asked=4,
        watched=(1, 4),
    ),
    "a client that a listener has left": Situation((*_CONNECTED, Close(n(1))), asked=2, watched=(2,)),
    "a client": _client(),
    "a client under two numbers": _kept(_client()),
    "a client with data": _client(Write(n(3), b"abc")),
    "a client whose data is not read": _client(Write(n(2), b"abc")),
    "a client that was told": _client(Connect(n(2), PORT)),
    "a client, half-closed by the server": _client(*_SERVER_FINISHED),
    "a client with data, half-closed by the server": _client(Write(n(3), b"abc"), *_SERVER_FINISHED),
    "a client, half-closed": _client(*_CLIENT_FINISHED),
    "a client, half-closed, with data": _client(*_CLIENT_FINISHED, Write(n(3), b"abc")),
    "a client shut for reading": _client(Shutdown(n(2), How.RD)),
    "a client shut both ways": replace(_client(Shutdown(n(2), How.RDWR)), watched=(3,)),
    "a client shut by both": _client(Shutdown(n(2), How.WR), Shutdown(n(3), How.WR)),
    "a client, the server gone": _gone(_client(Close(n(3))), 3),
    "a client with data, the server gone": _gone(_client(Write(n(3), b"abc"), Close(n(3))), 3),
    "a client that has written to a server gone": _gone(_client(Close(n(3)), Write(n(2), b"a")), 3),
    "a client that was reset": _gone(_client(Write(n(2), b"a"), Close(n(3))), 3),
    "a client with data that was reset": _gone(
        _client(Write(n(3), b"abc"), Write(n(2), b"a"), Close(n(3))), 3
    ),
    "a client that has told of its reset": _gone(_client(Write(n(2), b"a"), Close(n(3)), GetError(n(2))), 3),
    "a server's end": _server(),
    "a server's end with data": _server(Write(n(2), b"abc")),
    "a server's end, half-closed by the client": _server(*_CLIENT_FINISHED),
    "a server's end, half-closed": _server(*_SERVER_FINISHED),
    "a server's end, the client gone": _gone(_server(Close(n(2))), 2),
    "a server's end that was reset": _gone(_server(Abort(n(2))), 2),
    "a server's end that was reset when half-closed": _gone(_server(Shutdown(n(3), How.WR), Abort(n(2))), 2),
    # -- the others
    "an eventfd": Situation((OpenEvent(0, nonblocking=True),)),
    "an eventfd at 1": Situation((OpenEvent(1, nonblocking=True),)),
    "an eventfd at its most": Situation((OpenEvent(0, nonblocking=True), Write(n(1), MOST))),
    "a timer": Situation((OpenTimer(nonblocking=True),)),
    "a timer that runs": Situation((OpenTimer(nonblocking=True), SetTimer(n(1), LONG))),
    "a timer that has expired": Situation(
        (OpenTimer(nonblocking=True), SetTimer(n(1), 1_000), Advance(1_000))
    ),
    "a regular file": Situation((OpenFile(b"regular", nonblocking=True),), watched=()),
    "a regular file at its end": Situation(
        (OpenFile(b"regular", nonblocking=True), Read(n(1), 8)), watched=()
    ),
}

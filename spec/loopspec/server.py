"""SERVER: what a server's architecture costs its clients, and that nothing else about it can be seen.

All the servers here answer the same lines, one answer a request, in order; :func:`answer` is the definition.
A rule holds what the clients see against it, and what the kernel says of the server's threads. It looks when
the server is *at rest*: all of its threads are suspended and nothing is on its way. Whoever is owed an answer
then will not get it unless somebody else acts, and so is delayed by whoever that is; no clock is asked.

What a client has sent, what it is owed, and who is in its way is kept by one fold over the events,
:class:`World`. A rule binds the architectures that it names, and reads that fold at each rest. Four
architectures starve nobody. A sequential server serves the client that came first, until it leaves. A
single-threaded loop waits for nobody but a handler that blocks. That each of the latter two does delay its
clients is a clause, too: a witness of what the other architectures are there for.

That no architecture can be told from another by its answers has two parts. Each client gets what
:func:`answer` says, whatever the others do. And where an answer depends on the others, because the backend
counts the questions, there is an order of all requests, one at a time, that explains the numbers, and in
which no request comes after one that was made when its answer was there already.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Literal, NamedTuple, TypeAlias, TypeVar

from loopspec.clause import Kind, Level, Profile, Slice, clause
from loopspec.frozen import Map
from loopspec.judge import Broken, Kept, Progress
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

Held: TypeAlias = Literal["lock", "backend"]

SEQUENTIAL, PROCESS, THREAD = "sequential", "process", "thread"
EVENT_LOOP, REACTOR, COROUTINE = "event_loop", "reactor", "coroutine"

ARCHITECTURES: Final = (SEQUENTIAL, PROCESS, THREAD, EVENT_LOOP, REACTOR, COROUTINE)
"""In the order of the story: each has what the one before it lacks."""

STARVE_NOBODY: Final = frozenset({PROCESS, THREAD, REACTOR, COROUTINE})
"""The architectures that owe every client its answers whatever the others do, and whatever handlers do."""

WAIT: Final = "epoll_wait"
LOCK: Final = "flock"

# --- the protocol -------------------------------------------------------------------------------------

FILES: Final = {b"small": b"a small file", b"big": b"x" * 524_288, b"gate": b""}
"""The files of a server under test, by name, and the first line of each. ``gate`` is the one that can be
locked; ``big`` does not fit into what the kernel holds of a connection whose client does not read."""


class _Counted:
    """The answer is a number that depends on what the other clients have asked."""


COUNTED: Final = _Counted()


def answer(line: bytes) -> bytes | _Counted:
    """What the request ``line``, without its end, is answered, without the end of that line."""
    verb, _, rest = line.partition(b" ")
    match verb:
        case b"echo":
            return rest
        case b"sum":
            words = rest.split()
            integers = all(re.fullmatch(rb"-?[0-9]{1,18}", word) for word in words)
            return b"%d" % sum(map(int, words)) if integers else b"error: a sum is of integers"
        case b"slow" | b"file" if rest in (b"", b".", b"..") or b"/" in rest or b"\0" in rest:
            return b"error: no name of a file"
        case b"slow" | b"file" if rest not in FILES:
            return b"error: No such file or directory"
        case b"slow":
            return rest + b" is free"
        case b"file":
            return FILES[rest]
        case b"ask":
            return backend(rest)
        case _:
            return b"error: no such request"


def backend(question: bytes) -> bytes | _Counted:
    """What the backend of a server under test answers: the question backwards, or, to ``count``, how often
    it has been asked that."""
    return COUNTED if question == b"count" else question[::-1]


def waits_for(line: bytes) -> Held | None:
    """What the request ``line`` cannot get past while it is held."""
    verb, _, rest = line.partition(b" ")
    if verb == b"slow" and rest == b"gate":
        return "lock"
    return "backend" if verb == b"ask" else None


# --- who is owed what ---------------------------------------------------------------------------------


class Asked(NamedTuple):
    """A request that has no answer yet. ``floor`` is the highest number that anybody had been answered when
    it was made: an explanation one at a time gives it a higher one."""

    line: bytes
    floor: int


class Client(NamedTuple):
    """One client, as far as its own acts and receipts tell.

    ``here``: neither has it gone nor has it been told the end; ``finished``: it sends no more; ``served``: it
    has received something.
    """

    here: bool = True
    finished: bool = False
    reading: bool = True
    begun: bytes = b""
    asked: tuple[Asked, ...] = ()
    partial: bytes = b""
    served: bool = False


class World(NamedTuple):
    """All clients and what is held, in the order of arrival; ``answered`` counts all answers. ``wrong`` and
    ``unordered`` say what was wrong with the last thing a client received."""

    clients: Map[int, Client] = Map()
    held: frozenset[str] = frozenset()
    answered: int = 0
    crashed: bool = False
    counts: Map[int, None] = Map()
    highest: int = 0
    counting: int = 0
    wrong: str | None = None
    unordered: str | None = None

    def after(self, event: Event) -> World:
        """The world after ``event``."""
        world = self._replace(wrong=None, unordered=None)
        match event:
            case Connect(stream=stream):
                return world._with(stream, Client())
            case Send(stream=stream, data=data):
                return world._sent(stream, world.clients[stream], data)
            case Receive(stream=stream, data=data):
                return world._received(stream, world.clients[stream], data)
            case HalfClose(stream=stream):
                return world._with(stream, world.clients[stream]._replace(finished=True))
            case StopReading(stream=stream):
                return world._with(stream, world.clients[stream]._replace(reading=False))
            case Leave(stream=stream) | Reset(stream=stream):
                return world._with(stream, world.clients[stream]._replace(here=False))
            case Crash(stream=stream):
                gone = world.clients[stream]._replace(here=False, asked=())
                return world._with(stream, gone)._replace(crashed=True)
            case Hold(what=what):
                return world._replace(held=world.held | {what})
            case Free(what=what):
                return world._replace(held=world.held - {what})
            case _:
                return world

    def _with(self, stream: int, client: Client) -> World:
        return self._replace(clients=self.clients.put(stream, client))

    def _sent(self, stream: int, client: Client, data: bytes) -> World:
        *lines, begun = (client.begun + data).split(b"\n")
        asked = tuple(Asked(line, self.highest) for line in lines)
        counting = self.counting + sum(answer(line) is COUNTED for line in lines)
        client = client._replace(begun=begun, asked=client.asked + asked)
        return self._with(stream, client)._replace(counting=counting)

    def _received(self, stream: int, client: Client, data: bytes) -> World:
        if not data:
            return self._told_the_end(stream, client)
        *answers, partial = (client.partial + data).split(b"\n")
        world = self
        for given in answers:
            if not client.asked:
                return world._replace(
                    wrong=f"client {stream} receives {_shown(given)}, and has asked nothing"
                )
            world = world._answered(stream, client.asked[0], given)
            client = client._replace(asked=client.asked[1:])
        client = client._replace(partial=partial, served=True)
        world = world._with(stream, client)
        return world._replace(wrong=world.wrong or _misbegun(stream, client))

    def _told_the_end(self, stream: int, client: Client) -> World:
        world = self._with(stream, client._replace(here=False))
        if client.here and (client.asked or not client.finished):
            return world._replace(wrong=f"client {stream} is dismissed, and has not finished")
        return world

    def _answered(self, stream: int, asked: Asked, given: bytes) -> World:
        world = self._replace(answered=self.answered + 1)
        wanted = answer(asked.line)
        if not isinstance(wanted, _Counted):
            if given == wanted:
                return world
            told = f"to {_shown(asked.line)} client {stream} receives {_shown(given)}, not {_shown(wanted)}"
            return world._replace(wrong=told)
        if not re.fullmatch(rb"[1-9][0-9]{0,17}", given):
            return world._replace(wrong=f"client {stream} receives {_shown(given)}, which is no number")
        return world._counted(stream, int(given), asked.floor)

    def _counted(self, stream: int, number: int, floor: int) -> World:
        told = f"the number {number} of client {stream}"
        if number in self.counts:
            wrong: str | None = f"{told} had been given before"
        elif number <= floor:
            wrong = f"{told} is not above {floor}, which was there before it asked"
        elif number > self.counting:
            wrong = f"{told} counts more than the {self.counting} that were asked for"
        else:
            wrong = None
        counts, highest = self.counts.put(number, None), max(number, self.highest)
        return self._replace(counts=counts, highest=highest, unordered=self.unordered or wrong)

    # --- at rest ------------------------------------------------------------------------------------------

    def here(self) -> Iterator[tuple[int, Client]]:
        """The clients that are connected, in the order of arrival."""
        return (
            (stream, self.clients[stream]) for stream in sorted(self.clients) if self.clients[stream].here
        )

    def blocked(self, client: Client) -> str | None:
        """What the first request of ``client`` waits for, if that is held."""
        what = waits_for(client.asked[0].line) if client.asked else None
        return what if what in self.held else None

    def owed(self) -> tuple[int, ...]:
        """The clients who would have an answer, or its end, from a server that has nobody else."""
        return tuple(
            stream
            for stream, client in self.here()
            if client.reading and (bool(client.asked) or client.finished) and not self.blocked(client)
        )

    def in_the_way(self) -> tuple[int, ...]:
        """The clients who keep their own handler waiting: silent, behind what is held, or not reading."""
        return tuple(
            stream
            for stream, client in self.here()
            if self.blocked(client) or not ((client.asked and client.reading) or client.finished)
        )

    def handlers(self) -> tuple[int, int]:
        """Between which numbers is that of the handlers: who goes while his handler waits may leave it
        behind for as long, and who does not read may not be told the end."""
        here = [client for _, client in self.here()]
        unsure = sum(client.finished and not client.reading for client in here)
        left = sum(
            not client.here and any(waits_for(one.line) in self.held for one in client.asked)
            for client in self.clients.values()
        )
        return len(here) - unsure, len(here) + left

    def stops_a_loop(self) -> bool:
        """Whether a handler may be in a call that blocks its thread: somebody has asked for the lock, and it
        is held."""
        return "lock" in self.held and any(
            waits_for(one.line) == "lock" for client in self.clients.values() for one in client.asked
        )


def _misbegun(stream: int, client: Client) -> str | None:
    """What is wrong with an answer of which only the beginning has come."""
    if not client.partial:
        return None
    if not client.asked:
        return f"client {stream} receives {_shown(client.partial)}, and has asked nothing"
    wanted = answer(client.asked[0].line)
    if isinstance(wanted, _Counted) or wanted.startswith(client.partial):
        return None
    return f"client {stream} receives {_shown(client.partial)}, not {_shown(wanted)}"


def _shown(data: bytes) -> str:
    return repr(data)[1:] if len(data) <= 24 else f"{len(data)} bytes"


def _named(streams: tuple[int, ...]) -> str:
    return ", ".join(f"client {stream}" for stream in streams)


# --- the form of the rules ----------------------------------------------------------------------------

WATCHES: Final[dict[type, Slice]] = dict.fromkeys((Serves, AtRest, Connect, Send, Receive))
ALSO: Final[dict[type, Slice]] = dict.fromkeys((Hold, Free, Crash, HalfClose, StopReading, Leave, Reset))
OPENS: Final = frozenset({Serves})


@dataclass(frozen=True)
class ServerRule:
    """A rule about the servers that ``binds`` names; it speaks at each rest, with ``before`` what it
    remembered of the last."""

    binds: ClassVar[frozenset[str]]

    world: World = field(default_factory=World)
    architecture: str = ""
    answered: int = 0

    def after(self, event: Event) -> Progress:
        if isinstance(event, Serves):
            return replace(self, architecture=event.architecture)
        if self.architecture not in self.binds:
            return self
        next = replace(self, world=self.world.after(event))
        return next.at_rest(event) if isinstance(event, AtRest) else next.sees(event)

    def sees(self, _event: Event, /) -> Progress:
        """What an event that is no rest makes of this state, in which the world has taken it in already."""
        return self

    def at_rest(self, rest: AtRest, /) -> Progress:
        """What this rest makes of this state."""
        wrong = self.broken(rest)
        next = replace(self, answered=self.world.answered)
        if wrong is not None:
            return Broken(*wrong, next)
        return Kept(next) if self.exercised() else next

    def broken(self, rest: AtRest, /) -> tuple[str, str] | None:
        """What was allowed at this rest, and what was seen, if it is another thing."""
        raise NotImplementedError

    def exercised(self) -> bool:
        """Whether this rest shows anything: here, that somebody was answered while another was in the way."""
        return self.world.answered > self.answered and bool(self.world.in_the_way() or self.world.crashed)

    def may_starve(self) -> bool:
        """Whether clients may be owed answers at this rest: always of a server that takes one after another,
        and of a loop while a handler blocks its thread."""
        if self.architecture == EVENT_LOOP:
            return self.world.stops_a_loop()
        return self.architecture not in STARVE_NOBODY

    def delayed(self) -> tuple[str, str] | None:
        """The breach that somebody is owed an answer."""
        owed = self.world.owed()
        if not owed:
            return None
        others = _named(self.world.in_the_way()) or "nobody"
        return "an answer to everyone who reads", f"{_named(owed)} is owed one, and {others} is in the way"


def _counted(what: str, number: int, low: int, high: int) -> tuple[str, str] | None:
    """The breach that ``number`` is not between the other two."""
    if low <= number <= high:
        return None
    allowed = f"{low}" if low == high else f"{low} to {high}"
    return f"{allowed} {what}", f"there are {number}"


# --- the architectures --------------------------------------------------------------------------------


@clause(
    "SERVER.SEQUENTIAL.STARVES",
    Level.MUST,
    Kind.WITNESS,
    Profile.SERVER,
    source="recv(fd1), recv(fd2), …",
    watches=WATCHES,
    also=ALSO,
    opens=OPENS,
)
class SequentialStarves(ServerRule):
    """A server that calls blocking recv on one client after another starves the second while the first is
    silent."""

    # Broken by a server that calls itself sequential, and is not.

    binds = frozenset({SEQUENTIAL})

    def broken(self, rest: AtRest) -> tuple[str, str] | None:
        here = tuple(self.world.here())
        if len(here) < 2:
            return None
        first, client = here[0]
        if client.finished and not client.reading:
            return None  # it may have been served to its end, and be here only since it does not look
        served = tuple(stream for stream, one in here[1:] if one.served)
        if served:
            return f"nobody served behind client {first}, who is here", f"{_named(served)} has been served"
        if not client.asked and not client.finished and (rest.main, rest.on) != ("recv", first):
            return f"the server in recv of client {first}, who is silent", f"it is in {rest.main}"
        return None

    def exercised(self) -> bool:
        here = tuple(self.world.here())
        return bool(here) and not here[0][1].asked and bool(self.world.owed())


@clause(
    "SERVER.PROCESS.ISOLATES",
    Level.MUST,
    Kind.INV,
    Profile.SERVER,
    source="multi-process",
    watches=WATCHES,
    also=ALSO,
    opens=OPENS,
)
class ProcessIsolates(ServerRule):
    """A process per client serves each client whatever the others do, and a crash of one ends no other."""

    binds = frozenset({PROCESS})

    def broken(self, rest: AtRest) -> tuple[str, str] | None:
        low, high = self.world.handlers()
        return self.delayed() or _counted("processes", rest.processes, 1 + low, 1 + high)


@clause(
    "SERVER.THREAD.SHARES",
    Level.MUST,
    Kind.INV,
    Profile.SERVER,
    source="multi-thread",
    watches=WATCHES,
    also=ALSO,
    opens=OPENS,
)
class ThreadShares(ServerRule):
    """A thread per client serves each client whatever the others do; its thread count grows with its
    clients."""

    binds = frozenset({THREAD})

    def broken(self, rest: AtRest) -> tuple[str, str] | None:
        low, high = self.world.handlers()
        return (
            self.delayed()
            or _counted("processes", rest.processes, 1, 1)
            or _counted("threads", rest.threads, 1 + low, 1 + high)
        )


@clause(
    "SERVER.LOOP.ONE_THREAD",
    Level.MUST,
    Kind.INV,
    Profile.SERVER,
    source="event loop",
    watches=WATCHES,
    also=ALSO,
    opens=OPENS,
)
class LoopOneThread(ServerRule):
    """An event-driven server serves all clients on one thread."""

    # Whoever waits behind a handler that blocks is the business of the next clause.

    binds = frozenset({EVENT_LOOP})

    def broken(self, rest: AtRest) -> tuple[str, str] | None:
        return _counted("threads", rest.threads, 1, 1) or (None if self.may_starve() else self.delayed())


@clause(
    "SERVER.LOOP.BLOCKING_HANDLER_STOPS_ALL",
    Level.MUST,
    Kind.WITNESS,
    Profile.SERVER,
    source="event loop and I/O",
    watches=WATCHES,
    also=ALSO,
    opens=OPENS,
)
@dataclass(frozen=True)
class BlockingHandlerStopsAll(ServerRule):
    """One blocking call in one handler of a single-threaded loop delays every client."""

    # Broken by a loop that goes on serving while its handler blocks: it has more than one thread.

    binds = frozenset({EVENT_LOOP})
    stopped: bool = False

    def sees(self, event: Event) -> Progress:
        return replace(self, stopped=False) if isinstance(event, Free) else self

    def at_rest(self, rest: AtRest) -> Progress:
        stopped = rest.main == LOCK
        served = self.world.answered - self.answered
        next = replace(self, answered=self.world.answered, stopped=stopped)
        if (
            self.world.stops_a_loop()
            # Who does not read may have been answered before the lock was held.
            and any(c.reading and self.world.blocked(c) == "lock" for _, c in self.world.here())
            and not stopped
        ):
            return Broken("the loop's thread in the handler's call", f"it is in {rest.main}", next)
        if self.stopped and served:
            return Broken("nobody served while a handler blocks", f"{served} answers are given", next)
        return Kept(next) if stopped and self.world.owed() else next


@clause(
    "SERVER.REACTOR.HANDLERS_ON_WORKERS",
    Level.MUST,
    Kind.INV,
    Profile.SERVER,
    source="reactor pattern",
    watches=WATCHES,
    also=ALSO,
    opens=OPENS,
)
class HandlersOnWorkers(ServerRule):
    """In the reactor the loop thread only multiplexes and dispatches; handlers run on workers, and a slow
    handler delays only its own connection."""

    binds = frozenset({REACTOR})

    def broken(self, rest: AtRest) -> tuple[str, str] | None:
        return _in_its_wait(rest) or self.delayed()

    def exercised(self) -> bool:
        return self.world.stops_a_loop() and self.world.answered > self.answered


@clause(
    "SERVER.COROUTINE.LOOKS_SYNCHRONOUS",
    Level.MUST,
    Kind.INV,
    Profile.SERVER,
    source="coroutines",
    watches=WATCHES,
    also=ALSO,
    opens=OPENS,
)
class LooksSynchronous(ServerRule):
    """The coroutine server is the sequential server's code with `await`, and keeps every promise of the
    event-driven one."""

    # Of the two halves, the trace shows the second; :func:`unlike` is the first.

    binds = frozenset({COROUTINE})

    def broken(self, rest: AtRest) -> tuple[str, str] | None:
        return _in_its_wait(rest) or _counted("processes", rest.processes, 1, 1) or self.delayed()


def _in_its_wait(rest: AtRest) -> tuple[str, str] | None:
    if rest.main == WAIT:
        return None
    return "the loop's thread in its wait", f"it is in {rest.main}"


Plain = TypeVar("Plain", bound=ast.AST)


class _Synchronous(ast.NodeTransformer):
    """Takes ``async``, ``await`` and annotations out of a syntax tree: what is left is what is done."""

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.generic_visit(node.value)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.visit_FunctionDef(_as(ast.FunctionDef, node))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        return self.generic_visit(_as(ast.With, node))

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        return self.generic_visit(_as(ast.For, node))

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node


def _as(kind: type[Plain], node: ast.AST) -> Plain:
    """``node`` as one of another ``kind`` that has the same parts."""
    return kind(**dict(ast.iter_fields(node)))


def unlike(sequential: str, coroutine: str) -> frozenset[str]:
    """The names of the functions and classes in which the sources of two modules differ by more than
    ``async``, ``await`` and annotations, those included that only one of them has."""
    first, second = _definitions(sequential), _definitions(coroutine)
    return frozenset(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def _definitions(source: str) -> dict[str, str]:
    """Functions and classes of a module by name, each as the text of its syntax tree."""
    return {
        node.name: ast.dump(_Synchronous().visit(node))
        for node in ast.parse(source).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }


# --- all of them --------------------------------------------------------------------------------------


@clause(
    "SERVER.ALL.SAME_ANSWERS",
    Level.MUST,
    Kind.INV,
    Profile.SERVER,
    source="",
    watches=WATCHES,
    also=ALSO,
    opens=OPENS,
)
class SameAnswers(ServerRule):
    """For one script of client actions every architecture that does not starve gives every client the same
    bytes."""

    # The same, because each gives those that :func:`answer` defines, to the last one. Of those that starve it
    # is asked that they give no others.

    binds = frozenset(ARCHITECTURES)

    def sees(self, event: Event) -> Progress:
        if isinstance(event, Receive) and self.world.wrong is not None:
            return Broken("what the protocol says", self.world.wrong, self)
        return self

    def broken(self, rest: AtRest) -> tuple[str, str] | None:  # noqa: ARG002
        return None if self.may_starve() else self.delayed()

    def exercised(self) -> bool:
        return self.world.answered > self.answered


@clause(
    "SERVER.ALL.ONE_AT_A_TIME",
    Level.MUST,
    Kind.INV,
    Profile.SERVER,
    source="network refinement",
    watches=WATCHES,
    also=ALSO,
    opens=OPENS,
)
class OneAtATime(ServerRule):
    """What the clients see could have been produced by a server that serves them one at a time."""

    # The answer to all requests but one kind depends on nobody else, so any order explains it. The numbers
    # that the backend counts have to be those of an order that keeps what came before what.

    binds = frozenset(ARCHITECTURES)

    def sees(self, event: Event) -> Progress:
        if isinstance(event, Receive) and self.world.unordered is not None:
            return Broken("numbers that count the questions in some order", self.world.unordered, self)
        return self

    def broken(self, rest: AtRest) -> tuple[str, str] | None:  # noqa: ARG002
        return None

    def exercised(self) -> bool:
        return self.world.answered > self.answered and len(self.world.counts) > 1


@clause(
    "SERVER.ALL.LEAKS_NOTHING",
    Level.MUST,
    Kind.INV,
    Profile.SERVER,
    source="",
    watches=WATCHES,
    also=ALSO,
    opens=OPENS,
)
@dataclass(frozen=True)
class LeaksNothing(ServerRule):
    """After the last client has left, descriptors, threads, tasks and registrations are back where they
    were."""

    # Where they were is told by the first rest, before any client. A registration is a descriptor of the
    # loop's, and a task holds its connection, so that both show among the descriptors.

    binds = frozenset(ARCHITECTURES)
    first: AtRest | None = None

    def at_rest(self, rest: AtRest) -> Progress:
        if self.first is None:
            return self if self.world.clients else replace(self, first=rest)
        if not self.world.clients or self.world.handlers() != (0, 0):
            return self
        wanted, found = _possessions(self.first), _possessions(rest)
        return Kept(self) if found == wanted else Broken(str(wanted), str(found), self)


class _Possessions(NamedTuple):
    processes: int
    threads: int
    descriptors: int

    def __str__(self) -> str:
        return f"{self.processes} processes, {self.threads} threads, {self.descriptors} descriptors"


def _possessions(rest: AtRest) -> _Possessions:
    return _Possessions(rest.processes, rest.threads, rest.descriptors)

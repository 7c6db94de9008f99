"""Servers as black boxes: real processes, clients over loopback, and the kernel's account between two acts.

A script is a tuple of events of the trace that clients and world can bring about: connect, send in pieces,
stop reading, half-close, reset, leave, hold what a handler needs, kill what serves a client. It is played one
act at a time, and after each the server comes to rest, as :mod:`loopspec.conformance.account` defines it. The
same script therefore gives the same trace, whatever the machine is doing besides, unless threads of the
server itself race: if a lock becomes free for two of them, either may be the first.

What is asked of a server is little: a command that serves the protocol of :mod:`loopspec.server` and says in
the first line of its output on which port. It is given the directory of the files and the address of a
backend, which lives here, answers when the server rests, and can be held like the lock can. The backend is
asked by a remote call: frames of a length (four bytes, network order) and so many bytes of JSON,
``{"id": 0, "method": "answer", "params": ["…"]}`` and ``{"id": 0, "result": "…"}``.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self, TypeAlias

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from loopspec.clause import Clause
from loopspec.conformance import account
from loopspec.conformance.account import Post, Suspended
from loopspec.conformance.result import UsageError
from loopspec.judge import Judge, Violation
from loopspec.server import ARCHITECTURES, COROUTINE, EVENT_LOOP, FILES, THREAD, backend
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
    Shown,
    StopReading,
    TraceError,
    decode,
    encode,
)

Act: TypeAlias = Connect | Send | HalfClose | StopReading | Leave | Reset | Crash | Hold | Free
Script: TypeAlias = tuple[Act, ...]
Command: TypeAlias = Sequence[str]

SHOWS: Final = frozenset(
    cls.__name__
    for cls in (
        Serves,
        AtRest,
        Connect,
        Send,
        Receive,
        HalfClose,
        StopReading,
        Leave,
        Reset,
        Crash,
        Hold,
        Free,
    )
)
"""The events of a server's trace."""

SHOWN: Final = frozenset({Shown.__name__})
"""The events of the trace of :class:`Styles`."""

STYLES: Final[Mapping[str, str]] = {COROUTINE: "coroutine", EVENT_LOOP: "callbacks", THREAD: "thread"}
"""The three styles in which one handler can be written, by the architecture whose handler is written so."""

IN_ALL_STYLES: Final = "styles"
"""The name of the three together, where an architecture is asked for."""

CLIENTS: Final = 4
"""How many clients a script has at most: as many as the smallest pool of workers under test can block for."""

LOOKS: Final = 200_000
"""So often the server is looked at before it is given up as one that never rests: the last resort, and never
a verdict."""

_PATIENCE: Final = 60.0
"""Seconds after which a server that was told to end is killed."""

RECEIVE_BUFFER: Final = 65_536
"""What the kernel is asked to hold for a client, in bytes; fixed, so that it does not grow with use."""


_LENGTH: Final = struct.Struct("!I")
"""What a frame of a remote call begins with: how many bytes of JSON follow."""


class UnrestError(RuntimeError):
    """The server does not come to rest, or is no server."""


# --- the world around a server --------------------------------------------------------------------------


class _Asking:
    """A connection to the backend, and what has been asked on it and was not answered."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.asked = b""
        self.gone = False

    def listen(self) -> None:
        try:
            data = self.socket.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.asked += data
        self.gone = not data

    def next_call(self) -> tuple[int, bytes] | None:
        """The id and the question of the next call, if all of it has come. Raises :class:`UnrestError` for
        what is no call."""
        end = _LENGTH.size + int.from_bytes(self.asked[: _LENGTH.size], "big")
        if len(self.asked) < max(end, _LENGTH.size + 1):
            return None
        frame, self.asked = self.asked[_LENGTH.size : end], self.asked[end:]
        match json.loads(frame):
            case {"id": int(id), "method": "answer", "params": [str(question)]}:
                return id, question.encode("latin-1")
            case other:
                raise UnrestError(f"the backend was sent what is no call of its procedure: {other!r}")


class _Backend:
    """Who answers a server's questions: one after another, each when the server rests otherwise, and none
    while it is held."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._asking: list[_Asking] = []
        self._count = 0
        self.held = False

    @property
    def address(self) -> str:
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def restart(self) -> None:
        """Count from the beginning."""
        self._count = 0

    def answer(self) -> bool:
        """Answer the question that came first, if one has come; whether anything was done."""
        if self.held:
            return False
        with suppress(BlockingIOError):
            while True:
                self._asking.append(_Asking(self._listener.accept()[0]))
        for one in self._asking:
            one.listen()
        gone = [one for one in self._asking if one.gone]
        self._asking = [one for one in self._asking if not one.gone]
        for one in gone:
            one.socket.close()
        for one in self._asking:
            call = one.next_call()
            if call is not None:
                with suppress(OSError):  # who asked has gone meanwhile
                    one.socket.sendall(self._reply(call))
                return True
        return bool(gone)

    def _reply(self, call: tuple[int, bytes]) -> bytes:
        id, question = call
        body = json.dumps({"id": id, "result": self._answer(question).decode("latin-1")}).encode()
        return _LENGTH.pack(len(body)) + body

    def _answer(self, question: bytes) -> bytes:
        known = backend(question)
        if isinstance(known, bytes):
            return known
        self._count += 1
        return b"%d" % self._count

    def close(self) -> None:
        self._listener.close()
        for one in self._asking:
            one.socket.close()


class Server:
    """A server of ``architecture`` that ``command`` starts, as a context manager: inside, it is running.

    The command is given ``--port 0 --root DIRECTORY --backend HOST:PORT``. Raises :class:`UnrestError` if it
    does not say its port.
    """

    def __init__(
        self, architecture: str, command: Command, environment: dict[str, str] | None = None
    ) -> None:
        self.architecture = architecture
        self._command = command
        self._environment = environment
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            self.root = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="loopspec-")))
            for name, line in FILES.items():
                (self.root / os.fsdecode(name)).write_bytes(line + b"\n")
            self.backend = _Backend()
            self._stack.callback(self.backend.close)
            self.post = self._stack.enter_context(Post())
            self.errors = self._stack.enter_context(tempfile.TemporaryFile())
            self.process = self._start()
            self._stack.callback(self._stop)
            self.port = self._told_port()
            Play(self, lambda _: None).run(WARM_UP)
            self._stack = self._stack.pop_all()
        return self

    def _start(self) -> subprocess.Popen[bytes]:
        options = ("--port", "0", "--root", str(self.root), "--backend", self.backend.address)
        return subprocess.Popen(
            [*self._command, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=self._environment,
        )

    def _told_port(self) -> int:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        words = re.findall(rb"\d+", line)
        if not words:
            raise UnrestError(f"{' '.join(self._command)} did not say on which port it serves: {line!r}")
        return int(words[-1])

    def _stop(self) -> None:
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            self.status = self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.status = self.process.wait()
        self.process.stdout.close()

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def scripts(self) -> SearchStrategy[Script]:
        """What its clients may do."""
        return scripts()

    def play(self, script: Script) -> tuple[Event, ...]:
        """The trace of ``script``, played on it."""
        events: list[Event] = []
        Play(self, events.append).run(script)
        return tuple(events)

    def complaints(self) -> str:
        """What the server has written on its standard error so far."""
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")


# --- one script -------------------------------------------------------------------------------------------


class _Client:
    """One client's socket. What it is sent is taken as soon as it comes, unless it does not read."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            self.socket.connect(("127.0.0.1", port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.setblocking(False)
        except BaseException:
            self.socket.close()
            raise
        self.port = int(self.socket.getsockname()[1])
        self.reading = True
        self.ended = False
        self.taken = bytearray()
        self.told = False  # of the end

    def receive(self) -> bool:
        """Take what has come; whether there was anything."""
        before = len(self.taken), self.ended
        while not self.ended:
            try:
                data = self.socket.recv(RECEIVE_BUFFER)
            except BlockingIOError:
                break
            except OSError:
                data = b""  # reset: the server's end is gone
            self.ended = not data
            self.taken += data
        moved = (len(self.taken), self.ended) != before
        if moved and not self.ended:
            # Acknowledge at once, so that what is not acknowledged is on its way.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return moved

    def news(self) -> Iterator[bytes]:
        """What was taken and not told, in one piece, and the end as an empty one."""
        if self.taken:
            yield bytes(self.taken)
            self.taken.clear()
        if self.ended and not self.told:
            self.told = True
            yield b""

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Play:
    """Scripts, played on ``server`` one after another; every event is told to ``tell``."""

    def __init__(self, server: Server, tell: Callable[[Event], object]) -> None:
        self._server = server
        self._tell = tell
        self._clients: dict[int, _Client] = {}
        self._ends: dict[str, int] = {}
        self._lock: int | None = None

    def run(self, script: Script) -> None:
        """Play ``script``, then free what is held and have everybody leave.

        An act that is not possible, since its client or the server has gone, is left out. Raises
        :class:`UnrestError` for a server that does not come to rest.
        """
        self._server.backend.restart()
        self._tell(Serves(self._server.architecture))
        with self:
            self.rest()
            for act in script:
                self.act(act)
            for what in ("lock", "backend"):
                self.act(Free(what))
            for stream in sorted(self._clients):
                self.act(Leave(stream))

    def act(self, act: Act) -> None:
        """Do ``act`` if it is possible, tell of it, and wait until the server rests."""
        if self._server.process.poll() is None and self._done(act):
            self._tell(act)
            self.rest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Take the clients away, and let go of what is held."""
        for client in self._clients.values():
            client.socket.close()
        self._clients.clear()
        self._ends.clear()
        self._server.backend.held = False
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- acts -------------------------------------------------------------------------------------------

    def _done(self, act: Act) -> bool:
        """Do ``act``, or answer that it is not possible."""
        match act:
            case Connect(stream=stream):
                if stream in self._clients:
                    return False
                self._clients[stream] = _Client(self._server.port)
                return True
            case Hold(what="lock"):
                return self._held_lock()
            case Free(what="lock"):
                return self._freed_lock()
            case Hold() | Free():
                before, self._server.backend.held = self._server.backend.held, isinstance(act, Hold)
                return before is not self._server.backend.held
            case _:
                client = self._clients.get(act.stream)
                return client is not None and self._done_by(client, act)

    def _done_by(self, client: _Client, act: Send | HalfClose | StopReading | Leave | Reset | Crash) -> bool:
        match act:
            case Send(data=data):
                return not client.ended and _works(lambda: client.socket.sendall(data))
            case HalfClose():
                return not client.ended and _works(lambda: client.socket.shutdown(socket.SHUT_WR))
            case StopReading():
                before, client.reading = client.reading, False
                return before
            case Leave(stream=stream):
                self._clients.pop(stream).socket.close()
                return True
            case Reset(stream=stream):
                self._clients.pop(stream).reset()
                return True
            case Crash():
                return self._killed(client)

    def _held_lock(self) -> bool:
        if self._lock is not None:
            return False
        self._lock = os.open(self._server.root / "gate", os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return True

    def _freed_lock(self) -> bool:
        if self._lock is None:
            return False
        os.close(self._lock)
        self._lock = None
        return True

    def _killed(self, client: _Client) -> bool:
        """Kill the process that has the connection of ``client``, and nobody else's."""
        ends = {f"socket:[{end.inode}]" for end in account.connections() if end.remote == client.port}
        for process in account.processes(self._server.process.pid)[1:]:
            if ends & set(account.descriptors(process).values()):
                os.kill(process, signal.SIGKILL)
                return True
        return False

    # --- rest -------------------------------------------------------------------------------------------

    def rest(self) -> AtRest:
        """Receive, answer and look until nothing moves any more; tell what has been seen then.

        What a client receives between two rests is told at the second, in one piece: how it was cut, and
        what came first of what several clients receive, is the kernel's affair.
        """
        for _ in range(LOOKS):
            if self._received():
                continue
            before = account.threads(self._server.process.pid)
            if before and all(one.state in "SZ" for one in before) and self._nothing_on_its_way():
                rest = self._account(before)
                if rest is not None and account.threads(self._server.process.pid) == before:
                    if not self._server.backend.answer():
                        return self._told(rest)
                    continue
            if self._server.process.poll() is not None:
                return self._told(_GONE)
            os.sched_yield()
        raise UnrestError(f"the server does not come to rest: {self._server.complaints()}")

    def _told(self, rest: AtRest) -> AtRest:
        for stream, client in sorted(self._clients.items()):
            for data in client.news():
                self._tell(Receive(stream, data))
        self._tell(rest)
        return rest

    def _received(self) -> bool:
        """Whether a client had something to take."""
        reading = [client for client in self._clients.values() if client.reading]
        return any([client.receive() for client in reading])  # noqa: C419  # each of them

    def _nothing_on_its_way(self) -> bool:
        self._server.post.flush()
        if self._received():
            return False
        # A receive buffer that was full may have refused what is sent once more later.
        full = {client.port for client in self._clients.values() if len(client.taken) > RECEIVE_BUFFER // 2}
        port = self._server.port
        return not full or not any(
            end.local == port and end.remote in full and end.unacknowledged for end in account.connections()
        )

    def _account(self, threads: list[account.Thread]) -> AtRest | None:
        """What is told of a server whose threads are suspended; None if one of them is not after all."""
        calls = []
        for thread in threads:
            call = account.suspended(thread) if thread.state == "S" else _ENDED
            if call is None or (call.call == "futex" and call.timed):
                return None  # it waits for the interpreter's lock, and is on its way
            calls.append(call)
        processes = sorted({thread.process for thread in threads})
        held = {process: account.descriptors(process) for process in processes}
        main = calls[0]
        descriptor = held[self._server.process.pid].get(main.argument, "")
        return AtRest(
            len(processes),
            len(threads),
            sum(map(len, held.values())),
            main.call,
            self._whose(descriptor) if main.call in ("recv", "send") else None,
            tuple(sorted(call.call for call in calls[1:])),
        )

    def _whose(self, descriptor: str) -> int | None:
        """The client at the other end of what a descriptor of the server's is."""
        if descriptor not in self._ends:
            ports = {client.port: stream for stream, client in self._clients.items()}
            for end in account.connections():
                if end.remote in ports:
                    self._ends[f"socket:[{end.inode}]"] = ports[end.remote]
        return self._ends.get(descriptor)


_GONE: Final = AtRest(0, 0, 0, "ended", None, ())
"""A server that has ended rests for ever."""

_ENDED: Final = Suspended("ended", 0, timed=False)
"""In place of the call of a process that has ended, and whose parent has not asked yet."""


def _works(act: Callable[[], object]) -> bool:
    try:
        act()
    except OSError:
        return False  # the server has closed its end
    return True


# --- scripts ------------------------------------------------------------------------------------------------

_LINES: Final = st.sampled_from(
    [
        b"echo",
        b"echo a",
        b"echo a  b ",
        b"sum",
        b"sum 1 -2 40",
        b"sum 1 x",
        b"slow gate",
        b"slow gate",
        b"slow gate",
        b"file small",
        b"file none",
        b"file ../small",
        b"ask abc",
        b"ask count",
        b"ask count",
        b"ask count",
        b"ask count",
        b"",
        b"what",
    ]
)


_HELD_AT_FIRST: Final = ((), ("lock",), ("backend",), ("lock", "backend"))

_PARTINGS: Final[tuple[Callable[[int], Act], ...]] = (Leave, Reset, Crash)


_BLOCKED: Final[Script] = (
    Hold("lock"),
    Connect(0, echo=False),
    Connect(1, echo=False),
    Send(0, b"slow gate\n"),
    Send(1, b"echo a\n"),
)
"""One client's handler waits for what is held, and another client asks."""


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """What clients do to a server: at most :data:`CLIENTS` of them, with what they say cut anywhere."""
    rest: dict[int, bytes] = {}  # by client: what it has begun to say
    acts: list[Act] = []
    if draw(st.integers(0, 3)) == 3:
        # What it takes to show what a slow handler costs comes together too seldom by itself.
        acts += _BLOCKED
        rest = {0: b"", 1: b""}
    else:
        acts += [Hold(what) for what in draw(st.sampled_from(_HELD_AT_FIRST))]
    for _ in range(draw(st.integers(4, 16))):
        if len(rest) < CLIENTS and (len(rest) < 2 or draw(st.integers(0, 3)) == 0):
            rest[len(rest)] = b""
            acts.append(Connect(len(rest) - 1, echo=False))
            continue
        stream = draw(st.integers(0, len(rest) - 1))
        match draw(st.integers(0, 15)):
            case 0:
                acts.append(HalfClose(stream))
            case 1:
                acts.append(draw(st.sampled_from(_PARTINGS))(stream))
            case 2:
                acts.append(StopReading(stream))
                if draw(st.integers(0, 3)):
                    acts.append(Send(stream, rest[stream] + b"\nfile big\n"))
                    rest[stream] = b""
            case 3:
                acts.append(Hold(draw(st.sampled_from(["lock", "backend"]))))
            case 4:
                acts.append(Free(draw(st.sampled_from(["lock", "backend"]))))
            case _:
                said = rest[stream] + b"".join(
                    draw(_LINES) + b"\n" for _ in range(draw(st.sampled_from([1, 1, 1, 2, 0])))
                )
                whole = draw(st.integers(0, 2)) > 0
                cut = len(said) if whole else draw(st.integers(0, len(said)))
                if said[:cut]:
                    acts.append(Send(stream, said[:cut]))
                rest[stream] = said[cut:]
    return tuple(acts)


def unlocked(script: Script) -> Script:
    """``script`` without the lock, and without crashes: behind a lock a handler of callbacks blocks its
    thread, which is another matter, and a crash is that of a process."""
    return tuple(
        act for act in script if not isinstance(act, Crash) and act not in (Hold("lock"), Free("lock"))
    )


WARM_UP: Final[Script] = (
    Hold("lock"),
    *(Connect(stream, echo=False) for stream in range(CLIENTS)),
    *(Send(stream, b"slow gate\nask abc\nfile small\n") for stream in range(CLIENTS)),
)
"""Makes a server start whatever it starts when it is first needed, a pool of workers for one."""


# --- judgement ----------------------------------------------------------------------------------------------


class Stage(Protocol):
    """What scripts are played on, and are drawn for."""

    @property
    def architecture(self) -> str: ...

    def scripts(self) -> SearchStrategy[Script]: ...

    def play(self, script: Script, /) -> tuple[Event, ...]: ...


class Styles:
    """The servers of the three styles, as a context manager; a script is played on one after the other, and
    its trace is what each client was shown by each."""

    architecture = IN_ALL_STYLES

    def __init__(self, commands: Mapping[str, Command], environment: dict[str, str] | None = None) -> None:
        self._servers = [Server(name, commands[name], environment) for name in STYLES]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            for server in self._servers:
                self._stack.enter_context(server)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def scripts(self) -> SearchStrategy[Script]:
        """What its clients may do."""
        return scripts().map(unlocked)

    def play(self, script: Script) -> tuple[Event, ...]:
        """What each client of ``script`` is shown in each style."""
        return tuple(
            shown
            for server in self._servers
            for shown in _shown(STYLES[server.architecture], server.play(script))
        )


def _shown(style: str, events: tuple[Event, ...]) -> Iterator[Shown]:
    """All that each client has received in ``events``."""
    shown: dict[int, Shown] = {}
    for event in events:
        match event:
            case Connect(stream=stream):
                shown[stream] = Shown(style, stream, b"", ended=False)
            case Receive(stream=stream, data=data):
                shown[stream] = Shown(style, stream, shown[stream].data + data, ended=not data)
            case _:
                pass
    yield from shown.values()


@dataclass(frozen=True)
class Found:
    """A script that breaks a clause: where, in the trace of its run."""

    script: Script
    violation: Violation
    events: tuple[Event, ...]


def look(server: Stage, judge: Judge, examples: int, seed: int) -> Iterator[Found]:
    """Play ``examples`` scripts on ``server`` and have each judged; what they break, as it is found."""
    found: list[Found] = []

    def one(script: Script) -> None:
        found.extend(_judged(server, script, judge))

    for start in range(0, examples, _AT_ONCE):
        _drive(server, one, min(_AT_ONCE, examples - start), seed + start)
        yield from found
        found.clear()


_AT_ONCE: Final = 20
"""So many scripts are played before what they have broken is told."""


def breaks(server: Stage, script: Script, clause: Clause) -> Found | None:
    """What a run of ``script`` on ``server`` breaks of ``clause`` first, if anything."""
    return next(_judged(server, script, Judge([clause], SHOWS | SHOWN)), None)


def _judged(server: Stage, script: Script, judge: Judge) -> Iterator[Found]:
    events = server.play(script)
    judge.restart()
    judge.read(events)
    yield from [Found(script, violation, events) for violation in judge.violations]


def made_small(server: Stage, found: Found, clause: Clause) -> Found | None:
    """``found`` without the acts that it does not take to break ``clause``; None if it breaks it no more."""
    smallest = breaks(server, found.script, clause)
    place = 0
    while smallest is not None and place < len(smallest.script):
        shorter = smallest.script[:place] + smallest.script[place + 1 :]
        less = breaks(server, shorter, clause)
        smallest, place = (less, place) if less is not None else (smallest, place + 1)
    return smallest


def _drive(server: Stage, one: Callable[[Script], None], examples: int, seed: int) -> None:
    """Have Hypothesis draw scripts for ``server`` and give each to ``one``."""

    @hypothesis.seed(seed)
    @settings(
        max_examples=examples,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(server.scripts())
    def run(script: Script) -> None:
        one(script)

    run()


# --- replay -------------------------------------------------------------------------------------------------

TOKEN: Final = "server-"
"""What the token of a script begins with."""


def token_of(architecture: str, script: Script) -> str:
    """The short text that replays ``script`` on ``architecture``."""
    packed = zlib.compress("\n".join(map(encode, script)).encode(), 9)
    return f"{TOKEN}{architecture}-{base64.urlsafe_b64encode(packed).decode().rstrip('=')}"


def script_of(token: str) -> tuple[str, Script]:
    """The architecture and the script that ``token`` replays. Raises :class:`UsageError` for another text."""
    architecture, _, packed = token.removeprefix(TOKEN).partition("-")
    try:
        lines = zlib.decompress(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))).decode()
        events = [decode(line) for line in lines.splitlines()]
    except (ValueError, zlib.error, TraceError):
        raise UsageError(f"replay token {token[:20]!r}… is damaged: copy it whole from the report") from None
    script = tuple(event for event in events if isinstance(event, Act))
    if len(script) != len(events) or architecture not in (*ARCHITECTURES, IN_ALL_STYLES):
        raise UsageError(f"replay token {token[:20]!r}… tells no script of a server")
    return architecture, script

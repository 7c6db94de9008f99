"""Scenarios: what the world does to a loop, as data.

A scenario has two sides. *Inside* is a program: what the first callback does, and the handlers, timers,
callbacks and tasks that it brings about do in turn. *Outside* is a script of actions, by clients and by
other threads, each placed between the loop's steps by how many waits it lets pass first, or set to fall
while the loop's thread sleeps. Both are trees of small frozen values, drawn by Hypothesis, which can so
make any of them smaller; and since a program is data, every program ends.

A name in a program is an index into what exists when it runs, modulo how many there are; where nothing
exists the step does nothing. So every value is a valid scenario, and what remains when a part is cut out
still means something.

What a loop is asked for is only ever what its adapter offers; nothing here knows of any loop.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Literal, TypeAlias

from loopspec.conformance.result import UsageError
from loopspec.trace import Direction, RpcForm, RpcHow, Trigger

TICK = 1_953_125
"""The unit of every delay, in nanoseconds: 1/512 s, which is exact in integer nanoseconds and in a float of
seconds alike. A loop that keeps floats is so judged for its order of timers, not for its rounding."""

Holdable: TypeAlias = Literal["lock", "semaphore", "condition"]

Answering: TypeAlias = Literal["value", "error", "twice", "unknown", "half", "never", "break", "garbage"]
"""How a service answers a request: with a value or an error; with a value twice, or after one that nobody
asked for; with half a frame, the rest of which comes before its next; not at all; by closing its end; with
what is no frame."""

Host: TypeAlias = Literal["listening", "refusing", "silent"]
"""Who is at the address of a connect: one that listens; nobody; one whose backlog is full, and who says
nothing."""

Welcome: TypeAlias = Literal["send", "leave", "reset"]
"""What one that listens does to a connection: send a byte, close it, or tear it down."""

# --- inside: what handlers and tasks do -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Soon:
    """Queue a callback."""

    body: Program


@dataclass(frozen=True, slots=True)
class Later:
    """Arm a timer, ``delay`` ticks from now."""

    delay: int
    body: Program


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Cancel a timer."""

    timer: int


@dataclass(frozen=True, slots=True)
class Hoard:
    """Arm and cancel ``count`` timers that lie far ahead."""

    count: int


@dataclass(frozen=True, slots=True)
class Watch:
    """Register a handler for a stream; it runs ``body`` each time, and ends itself after ``times``. One that
    is not level-triggered re-arms when it has not seen EAGAIN; a one-shot writer has had its turn."""

    stream: int
    direction: Direction
    times: int
    body: Program
    trigger: Trigger | None = None


@dataclass(frozen=True, slots=True)
class WatchFile:
    """Register a handler for a regular file, which no loop can."""


@dataclass(frozen=True, slots=True)
class Unwatch:
    """End a registration."""

    registration: int


@dataclass(frozen=True, slots=True)
class UnwatchAgain:
    """End a registration that has ended already."""

    registration: int


@dataclass(frozen=True, slots=True)
class CloseBehind:
    """Close the server's end of a stream without telling the loop; a duplicate of the descriptor lives on."""

    stream: int


@dataclass(frozen=True, slots=True)
class OnSignal:
    """Set a handler for the signal."""

    body: Program


@dataclass(frozen=True, slots=True)
class Close:
    """Close the server's end of a stream."""

    stream: int


@dataclass(frozen=True, slots=True)
class Reopen:
    """Close the server's end of a stream, and open another one, which gets the same number; watch it."""

    stream: int
    body: Program


@dataclass(frozen=True, slots=True)
class Take:
    """Receive what there is, at most ``size`` bytes, without waiting."""

    stream: int
    size: int


@dataclass(frozen=True, slots=True)
class Give:
    """Send ``size`` bytes without waiting."""

    stream: int
    size: int


@dataclass(frozen=True, slots=True)
class Fail:
    """Let an exception out."""


@dataclass(frozen=True, slots=True)
class Work:
    """Compute for so many ticks."""

    duration: int


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a task."""

    body: TaskProgram


@dataclass(frozen=True, slots=True)
class CancelTask:
    """Ask for a task's cancellation."""

    task: int


@dataclass(frozen=True, slots=True)
class SetEvent:
    """Set an event."""

    event: int


@dataclass(frozen=True, slots=True)
class CancelScope:
    """Cancel one of the scopes that tasks are in."""

    scope: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Let others run, ``count`` times over."""

    count: int


@dataclass(frozen=True, slots=True)
class Sleep:
    """Sleep for so many ticks."""

    delay: int


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for at most ``size`` bytes."""

    stream: int
    size: int


@dataclass(frozen=True, slots=True)
class SendAll:
    """Send ``size`` bytes, waiting as long as it takes."""

    stream: int
    size: int


@dataclass(frozen=True, slots=True)
class WriteBuffered:
    """Write ``size`` bytes to the loop's buffer of a stream, waiting as long as that asks for."""

    stream: int
    size: int


@dataclass(frozen=True, slots=True)
class Open:
    """Connect to a host over TCP."""

    host: Host


@dataclass(frozen=True, slots=True)
class WaitEvent:
    """Wait for an event to be set."""

    event: int


@dataclass(frozen=True, slots=True)
class Join:
    """Wait for the end of a task."""

    task: int


@dataclass(frozen=True, slots=True)
class Operate:
    """Call one of the loop's other operations, which is ready, or becomes so while the task waits."""

    operation: int
    ready: bool


@dataclass(frozen=True, slots=True)
class Submit:
    """Have a worker do a job."""

    body: JobProgram


@dataclass(frozen=True, slots=True)
class HandleOnWorkers:
    """Have workers handle a stream: each time they take at most ``size`` bytes, and are held."""

    stream: int
    size: int


@dataclass(frozen=True, slots=True)
class ToThread:
    """Wait for a job that a worker does."""

    body: JobProgram


@dataclass(frozen=True, slots=True)
class Block:
    """In a job: block, until the script releases it."""


@dataclass(frozen=True, slots=True)
class AskLoop:
    """In a job: have the loop run a task, and wait for it."""

    body: TaskProgram


@dataclass(frozen=True, slots=True)
class Hold:
    """Acquire one of two locks, semaphores or conditions; do ``body``; release it whatever happens."""

    kind: Holdable
    which: int
    body: TaskProgram


@dataclass(frozen=True, slots=True)
class WaitNotified:
    """Wait to be notified, by a condition that is held."""

    which: int


@dataclass(frozen=True, slots=True)
class Notify:
    """Notify ``count`` of those that wait, if the condition is held."""

    which: int
    count: int


@dataclass(frozen=True, slots=True)
class Put:
    """Put an item into one of two queues."""

    which: int


@dataclass(frozen=True, slots=True)
class Get:
    """Get an item out of one of two queues."""

    which: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Start a task, and keep no reference to it."""

    body: TaskProgram


@dataclass(frozen=True, slots=True)
class Collect:
    """The garbage collector runs."""


@dataclass(frozen=True, slots=True)
class WaitAlone:
    """Wait for an event that nobody else knows of."""


@dataclass(frozen=True, slots=True)
class Group:
    """Do ``body`` in a task group, and go on when that has ended, whatever came of it."""

    body: TaskProgram


@dataclass(frozen=True, slots=True)
class StartChild:
    """Start a task in one of the task groups whose blocks tasks are in."""

    group: int
    body: TaskProgram


@dataclass(frozen=True, slots=True)
class Within:
    """Do ``body`` in a cancel scope, whose deadline is ``delay`` ticks ahead; None is never."""

    delay: int | None
    body: TaskProgram


@dataclass(frozen=True, slots=True)
class Ask:
    """Make a remote call with a callback, which runs ``body``; it may take ``timeout`` ticks, None is for
    ever."""

    service: int
    timeout: int | None
    body: Program


@dataclass(frozen=True, slots=True)
class CancelAsk:
    """Cancel a remote call that was made with a callback."""

    call: int


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close this end of the transport to a service, of the callback form or of the coroutine form."""

    service: int
    form: RpcForm


@dataclass(frozen=True, slots=True)
class AwaitReply:
    """Make a remote call, and wait for what comes of it."""

    service: int
    timeout: int | None


@dataclass(frozen=True, slots=True)
class Question:
    """One remote call of a :class:`Dialogue`, which takes ``timeout`` ticks and a quarter: never as long as a
    reply. What comes of it goes into the next one; if that is no reply, a patient asker asks on."""

    service: int
    timeout: int
    patient: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What the service does with a question, ``delay`` ticks after it came."""

    delay: int
    how: Answering


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A program of remote calls, one after the other, that can be written in three forms; the k-th question
    is answered by the k-th plan."""

    questions: tuple[Question, ...]
    plans: tuple[Plan, ...]


@dataclass(frozen=True, slots=True)
class ConverseByCallbacks:
    """Hold ``dialogue`` with callbacks."""

    dialogue: Dialogue


@dataclass(frozen=True, slots=True)
class ConverseByCoroutine:
    """Hold ``dialogue`` in this task."""

    dialogue: Dialogue


Do: TypeAlias = (
    Soon
    | Later
    | CancelTimer
    | Hoard
    | Watch
    | WatchFile
    | Unwatch
    | UnwatchAgain
    | CloseBehind
    | OnSignal
    | Close
    | Reopen
    | Take
    | Give
    | Fail
    | Work
    | Spawn
    | CancelTask
    | SetEvent
    | Submit
    | HandleOnWorkers
    | CancelScope
    | Ask
    | CancelAsk
    | HangUp
    | ConverseByCallbacks
    | Forget
    | Collect
    | StartChild
)
Share: TypeAlias = Hold | WaitNotified | Notify | Put | Get
Remote: TypeAlias = AwaitReply | ConverseByCoroutine
Outward: TypeAlias = WriteBuffered | Open
Kin: TypeAlias = Group | WaitAlone
AsyncDo: TypeAlias = (
    Checkpoint
    | Sleep
    | Receive
    | SendAll
    | WaitEvent
    | Join
    | Operate
    | Within
    | Share
    | ToThread
    | Remote
    | Outward
    | Kin
)
JobDo: TypeAlias = Block | AskLoop | Fail
Program: TypeAlias = tuple[Do, ...]
TaskProgram: TypeAlias = tuple[Do | AsyncDo, ...]
JobProgram: TypeAlias = tuple[JobDo, ...]

# --- outside: what clients and threads do ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connect:
    """Another client connects to the echo server."""


@dataclass(frozen=True, slots=True)
class Send:
    """A client sends ``size`` bytes."""

    client: int
    size: int


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many clients connect to the echo server at once."""

    count: int


@dataclass(frozen=True, slots=True)
class Flood:
    """A client sends ``size`` bytes at once: its socket, and the server's, have the buffers for that."""

    client: int
    size: int


@dataclass(frozen=True, slots=True)
class Exhaust:
    """The process is out of descriptors, as far as the echo server's listener is concerned."""


@dataclass(frozen=True, slots=True)
class Relieve:
    """The process has descriptors again."""


@dataclass(frozen=True, slots=True)
class Greet:
    """A host that listens does something to one of its connections."""

    connection: int
    how: Welcome


@dataclass(frozen=True, slots=True)
class StopReading:
    """A client reads no more."""

    client: int


@dataclass(frozen=True, slots=True)
class HalfClose:
    """A client shuts its sending side down."""

    client: int


@dataclass(frozen=True, slots=True)
class Finish:
    """A client sends ``size`` bytes, and that is all it will send: it shuts its sending side down."""

    client: int
    size: int


@dataclass(frozen=True, slots=True)
class Leave:
    """A client closes its socket."""

    client: int


@dataclass(frozen=True, slots=True)
class Reset:
    """A client tears its connection down."""

    client: int


@dataclass(frozen=True, slots=True)
class Post:
    """Another thread posts ``count`` callbacks."""

    count: int
    body: Program


@dataclass(frozen=True, slots=True)
class Unblock:
    """A job that is held goes on: the longest held is the first."""

    job: int


@dataclass(frozen=True, slots=True)
class Elapse:
    """Nobody acts until the loop's wait times out."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A service answers a request that it has received."""

    transport: int
    request: int
    how: Answering


@dataclass(frozen=True, slots=True)
class BreakOff:
    """A service breaks its transport."""

    transport: int
    how: RpcHow


@dataclass(frozen=True, slots=True)
class ConverseBlocking:
    """Another thread, which has no loop, holds ``dialogue`` with blocking calls."""

    dialogue: Dialogue


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The loop's wait is interrupted half-way, and has nothing to report."""


@dataclass(frozen=True, slots=True)
class Snatch:
    """Another reader takes what the wait has found on a stream, before the loop can."""

    stream: int


@dataclass(frozen=True, slots=True)
class Signal:
    """The process gets a signal, if a handler for it is set."""


@dataclass(frozen=True, slots=True)
class Trespass:
    """Another thread calls what only the loop's thread may."""


@dataclass(frozen=True, slots=True)
class Fork:
    """A forked child calls the inherited loop."""


Act: TypeAlias = (
    Connect
    | Crowd
    | Send
    | Flood
    | Exhaust
    | Relieve
    | Greet
    | StopReading
    | HalfClose
    | Finish
    | Leave
    | Reset
    | Post
    | Unblock
    | Elapse
    | Answer
    | BreakOff
    | ConverseBlocking
    | Interrupt
    | Snatch
    | Signal
    | Trespass
    | Fork
)


@dataclass(frozen=True, slots=True)
class At:
    """``act``, once ``gap`` waits have begun since the action before; ``asleep``: while the thread sleeps."""

    gap: int
    asleep: bool
    act: Act


@dataclass(frozen=True, slots=True)
class Scenario:
    """``streams`` clients are there from the start, over TCP or Unix sockets. The server's ends of their
    streams are the program's, or, with ``echo``, those of the loop's own echo server. The loop has a pool of
    ``workers`` threads, or none. ``alone``: it is told that nobody else posts, and runs until all tasks have
    ended. ``rehearsed``: the same has been run before, on another loop."""

    streams: int
    tcp: bool
    echo: bool
    program: Program
    script: tuple[At, ...]
    workers: int = 0
    alone: bool = False
    rehearsed: bool = False


# --- to a token and back ----------------------------------------------------------------------------------

_NODES: Mapping[str, type] = {
    cls.__name__: cls
    for cls in (
        *(Soon, Later, CancelTimer, Hoard, Watch, WatchFile, Unwatch, Close, Reopen, Take, Give, Fail, Work),
        *(Spawn, CancelTask, SetEvent, Checkpoint, Sleep, Receive, SendAll, WaitEvent, Join, Operate),
        *(Submit, HandleOnWorkers, ToThread, Block, AskLoop),
        *(CancelScope, Hold, WaitNotified, Notify, Put, Get, Within),
        *(Ask, CancelAsk, HangUp, AwaitReply, Question, Plan, Dialogue),
        *(ConverseByCallbacks, ConverseByCoroutine, Answer, BreakOff, ConverseBlocking),
        *(WriteBuffered, Open, Crowd, Flood, Exhaust, Relieve, Greet),
        *(Forget, Collect, WaitAlone, Group, StartChild),
        *(UnwatchAgain, CloseBehind, OnSignal, Interrupt, Snatch, Signal, Trespass, Fork),
        *(Connect, Send, StopReading, HalfClose, Finish, Leave, Reset, Post, Unblock, Elapse, At, Scenario),
    )
}
_TOKEN_VERSION = "1"


def _pack(value: object) -> object:
    if type(value).__name__ in _NODES:
        return [type(value).__name__, *(_pack(getattr(value, entry.name)) for entry in fields(value))]  # type: ignore[arg-type]
    if isinstance(value, tuple):
        return [_pack(item) for item in value]
    return value


def _unpack(value: object) -> object:
    if not isinstance(value, list):
        return value
    if value and isinstance(value[0], str) and value[0] in _NODES:
        cls = _NODES[value[0]]
        members = fields(cls)
        # What a token of an earlier edition does not have is as it was then: the default.
        required = sum(entry.default is MISSING for entry in members)
        if not required <= len(value) - 1 <= len(members):
            raise ValueError(f"{value[0]} has {len(value) - 1} fields")
        return cls(*(_unpack(item) for item in value[1:]))
    return tuple(_unpack(item) for item in value)


def plain(scenario: Scenario) -> object:
    """``scenario`` as JSON takes it: a node is a list of its name and its fields, in their order."""
    return _pack(scenario)


def token_of(scenario: Scenario) -> str:
    """The short text that replays ``scenario``: a version, then the scenario itself, packed."""
    packed = zlib.compress(json.dumps(_pack(scenario), separators=(",", ":")).encode(), 9)
    return f"{_TOKEN_VERSION}-{base64.urlsafe_b64encode(packed).decode().rstrip('=')}"


def scenario_of(token: str) -> Scenario:
    """The scenario that ``token`` replays. Raises :class:`UsageError` for a text that is no such token."""
    version, dash, packed = token.partition("-")
    if not dash or version != _TOKEN_VERSION:
        raise UsageError(
            f"replay token {token[:20]!r} is not of version {_TOKEN_VERSION}: "
            "take a token that this version of loopspec printed"
        )
    try:
        plain = zlib.decompress(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
        scenario = _unpack(json.loads(plain))
    except (ValueError, binascii.Error, zlib.error):
        scenario = None
    if not isinstance(scenario, Scenario):
        raise UsageError(f"replay token {token[:20]!r}… is damaged: copy it whole from the report")
    return scenario


# --- in words -----------------------------------------------------------------------------------------------


def _words(node: object, indent: str) -> Iterator[str]:
    names = [entry.name for entry in fields(node)]  # type: ignore[arg-type]
    body: tuple[object, ...] = node.body if "body" in names else ()  # type: ignore[attr-defined]
    told = ", ".join(f"{name}={getattr(node, name)}" for name in names if name != "body")
    yield f"{indent}{type(node).__name__}({told})" + (":" if body else "")
    for inner in body:
        yield from _words(inner, indent + "  ")


def in_words(scenario: Scenario) -> tuple[str, ...]:
    """``scenario`` as a person reads it, a line each."""
    kind = "TCP" if scenario.tcp else "Unix"
    lines = []
    if scenario.alone:
        lines.append("nobody else will make anything ready")
    if scenario.rehearsed:
        lines.append("the same once before, on another loop")
    if scenario.workers:
        lines.append(f"{scenario.workers} worker" + "s" * (scenario.workers > 1))
    if scenario.echo:
        lines.append(f"an echo server, {scenario.streams} {kind} clients")
    elif scenario.streams:
        lines.append(f"{scenario.streams} {kind} stream" + "s" * (scenario.streams > 1))
    for node in scenario.program:
        lines += _words(node, "inside:  ")
    for at in scenario.script:
        later = f"{at.gap} waits later, " if at.gap else ""
        when = later + ("while the loop sleeps" if at.asleep else "between two steps")
        first, *rest = _words(at.act, "")
        lines += [f"outside: {when}: {first}", *(f"         {line}" for line in rest)]
    return tuple(lines)

"""Traces: the language in which a run of an event loop is told.

A trace is a sequence of events, and events are the contract between everything else here: whatever can
show them can be judged, and whatever judges reads nothing else. They form a closed union of frozen
dataclasses, so that a rule which forgets one is an error of the type checker.

Two decisions shape them. First, *every event of the loop carries its turn*, the number of waits that have
returned so far, although a reader could count: a rule about one timer can then look at the events of that
timer alone. Second, *names are small integers given in order of appearance*, never descriptor numbers,
addresses or object ids of the process that ran: the same schedule tells the same trace, byte for byte. A
descriptor is the one thing that has two names: ``stream`` is the connection, never reused, and ``fd``
the number as the process sees it, which is; the difference is what the reuse clauses are about.

Instants and durations are integer nanoseconds. A file is NDJSON: a header line, then a line an event.
Bytes are written as Latin-1 text, which is exact, and ASCII stays legible.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from dataclasses import fields as fields_of
from types import UnionType
from typing import IO, Literal, NewType, TypeAlias, get_args, get_type_hints

Nanoseconds = NewType("Nanoseconds", int)

Direction: TypeAlias = Literal["read", "write"]

#: Why a task is suspended, and so what may resume it: ``checkpoint`` nothing but its turn, ``sleep`` the
#: instant ``key``, ``read`` and ``write`` readiness of stream ``key``, ``event`` event ``key`` being set,
#: ``join`` the end of task ``key``, ``primitive`` what primitive ``key`` gives, ``rpc`` the settlement of
#: remote call ``key``, ``room`` room in the buffer of stream ``key``'s writer, ``group`` the end of all
#: children of group ``key``.
Reason: TypeAlias = Literal[
    "checkpoint", "sleep", "read", "write", "event", "join", "primitive", "rpc", "room", "group"
]

#: What tasks share and wait for. A condition has a lock, which counts as the same primitive.
Primitive: TypeAlias = Literal["lock", "semaphore", "condition", "queue"]

#: What a task may want of a primitive: its lock or a token, a notification, a place for an item, an item.
Verb: TypeAlias = Literal["acquire", "wait", "put", "get"]

#: When a registration that is not level-triggered is reported: when it becomes ready, or once.
Trigger: TypeAlias = Literal["edge", "one-shot"]

#: How an operation or a task ended.
Outcome: TypeAlias = Literal["value", "error", "cancelled"]

#: How a remote call is made: its thread waits, a callback is passed along, or its task waits.
RpcForm: TypeAlias = Literal["blocking", "callback", "coroutine"]

#: What a remote call was settled by: its reply, an error from the other side, its time-out, the end of the
#: transport, or its caller, who has cancelled it.
RpcOutcome: TypeAlias = Literal["reply", "error", "timeout", "end", "cancelled"]

#: What the peer of a transport did to it: closed its socket, shut down its sending, or its receiving
#: (``deaf``), or sent what is no frame.
RpcHow: TypeAlias = Literal["close", "half-close", "deaf", "garbage"]

FORMAT = 1
"""The version of the file format. It grows when a reader of the old one would misread the new."""


# --- at the kernel's edge -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """Thread ``thread`` enters call ``call``; ``name`` says which.

    ``on`` is the kind of object that a call of the kernel acts on (``"socket"``, ``"regular file"``), None
    for a call of a library; ``nonblocking`` says that the descriptor is in nonblocking mode.
    """

    call: int
    thread: str
    name: str
    on: str | None = None
    nonblocking: bool = False


@dataclass(frozen=True, slots=True)
class Return:
    """Call ``call`` returns to its caller, with its result (``delivered``) or before it.

    ``error`` is the name of the errno that it failed with. An error is a result too, and EINPROGRESS the
    one that says it is still to come.
    """

    call: int
    thread: str
    delivered: bool
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Deliver:
    """The result of call ``call``, which has returned or not, reaches the one who asked: its callback starts,
    or it has been withdrawn. A cancellation is a result too: it is delivered when the cancelling returns."""

    call: int


@dataclass(frozen=True, slots=True)
class Suspend:
    """The kernel's account says that ``thread`` is, or since its last event was, switched out while not
    runnable. Of the loop's thread inside its wait this says: asleep, with nothing under way to wake it."""

    thread: str


@dataclass(frozen=True, slots=True)
class Resume:
    """``thread`` runs again."""

    thread: str


# --- the loop -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WaitBegin:
    """The multiplexing wait that ends turn ``turn`` is entered; ``timeout`` None is without end."""

    turn: int
    timeout: int | None


@dataclass(frozen=True, slots=True)
class WaitReturn:
    """The wait returns at instant ``at`` and opens turn ``turn``; ``batch`` holds (fd, event mask) pairs.

    ``maxevents`` is how many the wait could have reported.
    """

    turn: int
    at: int
    batch: tuple[tuple[int, int], ...]
    maxevents: int


@dataclass(frozen=True, slots=True)
class Arm:
    """Registration ``registration`` of ``fd`` in one direction has been accepted: it is live from here."""

    turn: int
    registration: int
    fd: int
    stream: int
    direction: Direction


@dataclass(frozen=True, slots=True)
class Refuse:
    """A registration, or the wait of ``task``, for ``fd`` in one direction has been refused with ``error``,
    or ended by it."""

    turn: int
    task: int | None
    fd: int
    stream: int
    direction: Direction
    error: str


@dataclass(frozen=True, slots=True)
class Disarm:
    """The call that ends ``registration`` has returned."""

    turn: int
    registration: int
    fd: int


@dataclass(frozen=True, slots=True)
class Close:
    """The server's end of ``stream`` has been closed, with the means that the loop gives for it."""

    turn: int
    fd: int
    stream: int


@dataclass(frozen=True, slots=True)
class Dispatch:
    """The handler of ``registration`` starts."""

    turn: int
    registration: int
    fd: int


@dataclass(frozen=True, slots=True)
class HandlerEnd:
    """The handler that started last (I/O, timer, callback) ends; ``error`` names an exception it let out."""

    turn: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """The loop has reported the exception named ``error`` to whoever is told of such things."""

    turn: int
    error: str


@dataclass(frozen=True, slots=True)
class TimerArm:
    """A timer is armed at instant ``at`` to fire ``delay`` later; ``deadline`` is the loop's own."""

    turn: int
    timer: int
    at: int
    delay: int
    deadline: int


@dataclass(frozen=True, slots=True)
class TimerCancel:
    """The call that cancels ``timer`` has returned; ``retained`` tells whether its argument is still held."""

    turn: int
    timer: int
    retained: bool


@dataclass(frozen=True, slots=True)
class TimerFire:
    """The callback of ``timer`` starts, at instant ``at``."""

    turn: int
    timer: int
    at: int


@dataclass(frozen=True, slots=True)
class TimersHeld:
    """The loop holds ``held`` timers, of which ``live`` are neither fired nor cancelled."""

    turn: int
    held: int
    live: int


@dataclass(frozen=True, slots=True)
class Enqueue:
    """The call that queues ``callback`` from the loop's own thread has returned."""

    turn: int
    callback: int


@dataclass(frozen=True, slots=True)
class Post:
    """The call that posts ``callback`` from another thread has returned."""

    turn: int
    callback: int
    thread: str


@dataclass(frozen=True, slots=True)
class Run:
    """The queued or posted ``callback`` starts."""

    turn: int
    callback: int


@dataclass(frozen=True, slots=True)
class Worked:
    """A handler, or a task's step, has computed: it is instant ``at`` now. Between two waits time passes in
    no other way."""

    turn: int
    at: int


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The wait that ends turn ``turn`` is broken off before its time and has nothing to report (EINTR)."""

    turn: int


@dataclass(frozen=True, slots=True)
class StaleDisarm:
    """``registration`` of ``fd``, which had ended before, has been disarmed once more; ``refused`` tells
    whether the loop said so."""

    turn: int
    registration: int
    fd: int
    refused: bool


@dataclass(frozen=True, slots=True)
class Abandon:
    """The server's end of ``stream`` has been closed and the loop not told of it; a duplicate of ``fd`` keeps
    its description open."""

    turn: int
    fd: int
    stream: int


@dataclass(frozen=True, slots=True)
class Snatch:
    """Somebody else who reads ``stream`` has taken all there was (a ``Read`` tells what), after the wait that
    ends turn ``turn`` had found it for one who waits to read, ``task`` or a handler, and before that one
    could."""

    turn: int
    stream: int
    task: int | None


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal that has a handler has been delivered to the process."""

    turn: int


@dataclass(frozen=True, slots=True)
class Caught:
    """The handler of the signal starts."""

    turn: int


@dataclass(frozen=True, slots=True)
class Trespass:
    """Another thread has called ``name``, which is for the loop's own; ``refused``: by an exception."""

    turn: int
    thread: str
    name: str
    refused: bool


@dataclass(frozen=True, slots=True)
class Fork:
    """A forked child has called the inherited loop: ``refused`` says that each call raised, ``unchanged``
    that the interest set which it shares with its parent was the same after them."""

    turn: int
    refused: bool
    unchanged: bool


@dataclass(frozen=True, slots=True)
class Closing:
    """The loop, which runs no more, begins to close."""

    turn: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The loop has been closed."""

    turn: int


@dataclass(frozen=True, slots=True)
class RefusePost:
    """The post of ``callback`` from another thread has been refused by an exception."""

    turn: int
    callback: int
    thread: str


@dataclass(frozen=True, slots=True)
class Triggered:
    """``registration``, which has just been armed for one direction of ``fd``, is not level-triggered."""

    turn: int
    registration: int
    fd: int
    stream: int
    direction: Direction
    trigger: Trigger


@dataclass(frozen=True, slots=True)
class Rearm:
    """The call that re-arms ``registration`` of ``fd`` has returned."""

    turn: int
    registration: int
    fd: int


@dataclass(frozen=True, slots=True)
class Drained:
    """The handler of ``registration`` of ``fd`` has seen EAGAIN."""

    turn: int
    registration: int
    fd: int


@dataclass(frozen=True, slots=True)
class Interest:
    """The loop sleeps, and the kernel's account of its interest in ``fd`` is ``mask``."""

    turn: int
    fd: int
    mask: int


@dataclass(frozen=True, slots=True)
class Dial:
    """``task`` asks the loop for connection ``dial``."""

    turn: int
    task: int
    dial: int


@dataclass(frozen=True, slots=True)
class Dialed:
    """The kernel has brought the connecting of ``dial`` to an end, or has since torn the connection down: its
    socket is writable, and its SO_ERROR is the errno of that name, None for 0."""

    dial: int
    error: str | None


@dataclass(frozen=True, slots=True)
class DialSettle:
    """Who asked for ``dial`` is told how it ended; ``error`` is the name of the errno."""

    turn: int
    dial: int
    outcome: Outcome
    error: str | None


@dataclass(frozen=True, slots=True)
class Accept:
    """The loop has called accept(2) on the listener of its echo server, at instant ``at``; ``error`` is the
    name of the errno, None if it got the connection that has waited longest."""

    turn: int
    at: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The process is out of descriptors from here on: accept(2) fails."""

    turn: int


@dataclass(frozen=True, slots=True)
class Relieved:
    """The process has descriptors again."""

    turn: int


@dataclass(frozen=True, slots=True)
class HighWater:
    """The loop is asked to buffer what is written to ``stream``, up to ``mark`` bytes."""

    turn: int
    stream: int
    mark: int


@dataclass(frozen=True, slots=True)
class Buffered:
    """Of what the loop has accepted for ``stream``, the kernel has all but ``held`` bytes."""

    turn: int
    stream: int
    held: int


# --- coroutines ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spawn:
    """``task`` exists, and is to run on the loop."""

    turn: int
    task: int


@dataclass(frozen=True, slots=True)
class Step:
    """``task`` is resumed, at instant ``at``."""

    turn: int
    task: int
    at: int


@dataclass(frozen=True, slots=True)
class Begin:
    """``task`` enters the asynchronous operation ``operation`` of the loop's public API."""

    turn: int
    task: int
    operation: str


@dataclass(frozen=True, slots=True)
class Await:
    """``task`` is suspended, for ``reason`` (see :data:`Reason` for what ``key`` is)."""

    turn: int
    task: int
    reason: Reason
    key: int


@dataclass(frozen=True, slots=True)
class End:
    """The operation that ``task`` was in returns or raises, within a step of that task."""

    turn: int
    task: int
    operation: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Settle:
    """Something tasks may wait for has come: event ``key`` set, task ``key`` ended."""

    turn: int
    reason: Reason
    key: int


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Somebody has asked for ``task`` to be cancelled."""

    turn: int
    task: int


@dataclass(frozen=True, slots=True)
class Done:
    """``task`` has ended with ``outcome``; ``value`` tells outcomes of one kind apart."""

    turn: int
    task: int
    outcome: Outcome
    value: str


@dataclass(frozen=True, slots=True)
class Joined:
    """``task`` has joined ``target`` and saw it end so."""

    turn: int
    task: int
    target: int
    outcome: Outcome
    value: str


@dataclass(frozen=True, slots=True)
class Threads:
    """The process has ``threads`` kernel threads while the loop has ``tasks`` live tasks."""

    turn: int
    threads: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Objects:
    """The process has ``descriptors`` open descriptors while the loop has ``tasks`` live tasks, and none of
    them is a client's."""

    turn: int
    descriptors: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Collect:
    """The garbage collector has run, and nobody outside the loop holds a task that was forgotten."""

    turn: int


@dataclass(frozen=True, slots=True)
class Vanish:
    """``task``, which had not ended, has been destroyed."""

    turn: int
    task: int


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """In a run before this one, of the same program on another loop of this kind, the tasks were resumed in
    this order, from the first step to the last."""

    steps: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Alone:
    """The loop is told that nobody else will make anything ready: no other thread posts, no signal has a
    handler."""

    turn: int


@dataclass(frozen=True, slots=True)
class Deadlock:
    """The loop reports that ``tasks``, in the order in which they were spawned, wait for each other and for
    nothing else."""

    turn: int
    tasks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GroupEnter:
    """``task`` enters task group ``group``."""

    turn: int
    task: int
    group: int


@dataclass(frozen=True, slots=True)
class GroupStart:
    """``task``, which has just been spawned, is a child of ``group``."""

    turn: int
    group: int
    task: int


@dataclass(frozen=True, slots=True)
class GroupLeave:
    """The block of ``group`` is over for the ``task`` that entered it, which waits for the children now;
    ``value`` tells an error."""

    turn: int
    task: int
    group: int
    outcome: Outcome
    value: str


@dataclass(frozen=True, slots=True)
class GroupExit:
    """``group`` has ended; ``errors`` are those that have left it, one from each that failed."""

    turn: int
    task: int
    group: int
    outcome: Outcome
    errors: tuple[str, ...]


# --- worker threads -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pool:
    """The loop has a pool of at most ``size`` worker threads."""

    size: int


@dataclass(frozen=True, slots=True)
class Submit:
    """``job`` is about to be handed to the pool: by ``task``, or None, by a callback.

    ``asker`` is the job that waits for that task, if one does.
    """

    turn: int
    job: int
    task: int | None
    asker: int | None


@dataclass(frozen=True, slots=True)
class JobRefuse:
    """The pool has refused ``job`` with ``error``: it is not begun."""

    turn: int
    job: int
    error: str


@dataclass(frozen=True, slots=True)
class JobStart:
    """``job`` begins, on ``thread``."""

    job: int
    thread: str


@dataclass(frozen=True, slots=True)
class JobAsk:
    """``job`` has the loop run a coroutine, and waits for it."""

    job: int
    thread: str


@dataclass(frozen=True, slots=True)
class JobEnd:
    """``job`` returns or raises; ``value`` tells outcomes of one kind apart."""

    job: int
    thread: str
    outcome: Outcome
    value: str


@dataclass(frozen=True, slots=True)
class JobResult:
    """The outcome of ``job`` reaches the one who waits for it, on ``thread``; ``traced`` says of an error
    that its traceback leads into the job."""

    turn: int
    job: int
    thread: str
    outcome: Outcome
    value: str
    traced: bool


@dataclass(frozen=True, slots=True)
class JobAbandon:
    """The one who waited for ``job`` has been cancelled: nobody waits for it any more."""

    turn: int
    job: int


@dataclass(frozen=True, slots=True)
class Uncaught:
    """The exception named ``error`` has left ``thread``, which ends."""

    thread: str
    error: str


@dataclass(frozen=True, slots=True)
class Handle:
    """``job``, which has begun, is a handler of ``stream``, run for an event of it."""

    stream: int
    job: int


@dataclass(frozen=True, slots=True)
class Handled:
    """``job``, a handler of ``stream``, has ended."""

    stream: int
    job: int


# --- what tasks share, and what cancels them ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Make:
    """``primitive`` exists, with ``capacity`` tokens or places; a lock has one."""

    turn: int
    primitive: int
    kind: Primitive
    capacity: int


@dataclass(frozen=True, slots=True)
class Ask:
    """``task`` wants something of ``primitive``; ``item`` is what it puts. Who waits gives its lock up."""

    turn: int
    task: int
    primitive: int
    verb: Verb
    item: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """``task`` has what it wanted, or not: ``outcome``. ``item`` is what it got or put; ``locked`` tells
    whether anybody holds the lock of a condition that was waited for."""

    turn: int
    task: int
    primitive: int
    verb: Verb
    outcome: Outcome
    item: int | None = None
    locked: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """``task`` has given back the lock or the token of ``primitive`` that it had."""

    turn: int
    task: int
    primitive: int


@dataclass(frozen=True, slots=True)
class Notify:
    """The holder of the lock has notified ``count`` of those that wait for condition ``primitive``."""

    turn: int
    primitive: int
    count: int


@dataclass(frozen=True, slots=True)
class Rest:
    """The loop sleeps, and meanwhile ``primitive`` holds so many items or, if no queue, is locked: 1 or 0."""

    turn: int
    primitive: int
    held: int


@dataclass(frozen=True, slots=True)
class ScopeEnter:
    """``task`` enters cancel scope ``scope``, inside those it is in; ``deadline`` None is without one."""

    turn: int
    task: int
    scope: int
    deadline: int | None = None


@dataclass(frozen=True, slots=True)
class ScopeCancel:
    """Scope ``scope``, which ``task`` is in, is cancelled: by somebody, or because its deadline is ``due``,
    and then from the moment on at which the loop finds that out."""

    turn: int
    task: int
    scope: int
    due: bool


@dataclass(frozen=True, slots=True)
class ScopeExit:
    """``task`` leaves ``scope``, which a cancellation has cut short (``cut``) and which has absorbed that
    (``caught``)."""

    turn: int
    task: int
    scope: int
    cut: bool
    caught: bool


# --- remote calls ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RpcCall:
    """``thread`` makes remote call ``call`` over ``transport``, at instant ``at``; ``timeout`` is how long it
    gives the reply, None is without end."""

    turn: int
    transport: int
    call: int
    form: RpcForm
    thread: str
    at: int
    timeout: int | None


@dataclass(frozen=True, slots=True)
class RpcReturn:
    """Remote call ``call``, which is not blocking, has given its thread back: it has returned, or the task is
    suspended."""

    turn: int
    call: int


@dataclass(frozen=True, slots=True)
class RpcRequest:
    """The peer of ``transport`` has received the request of ``call``, under ``id``."""

    transport: int
    call: int
    id: int


@dataclass(frozen=True, slots=True)
class RpcPart:
    """The peer has sent a part of a reply, and stopped in the midst of it."""

    transport: int


@dataclass(frozen=True, slots=True)
class RpcReply:
    """The peer has sent a whole reply that bears ``id``: the one to ``call``, None if nobody asked for it.
    ``value`` tells replies apart."""

    transport: int
    call: int | None
    id: int
    value: str


@dataclass(frozen=True, slots=True)
class RpcBreak:
    """The peer has broken ``transport``."""

    transport: int
    how: RpcHow


@dataclass(frozen=True, slots=True)
class RpcClose:
    """The client's end of ``transport`` is closed: the call that does it begins."""

    turn: int
    transport: int


@dataclass(frozen=True, slots=True)
class RpcSettle:
    """Remote call ``call`` has its outcome: its callback starts, its task goes on, it returns, or the call
    that cancels it has returned."""

    turn: int
    transport: int
    call: int
    at: int
    outcome: RpcOutcome
    value: str


@dataclass(frozen=True, slots=True)
class RpcDropped:
    """By its own count the client of ``transport`` has dropped ``dropped`` replies, and has read what
    came."""

    turn: int
    transport: int
    dropped: int


@dataclass(frozen=True, slots=True)
class RpcResult:
    """``form`` of ``program`` has ended: the calls that it made, in order, and what it computed."""

    turn: int
    program: int
    form: RpcForm
    calls: tuple[str, ...]
    result: str


# --- the clients, and the server's end of their streams ---------------------------------------------


@dataclass(frozen=True, slots=True)
class Connect:
    """Client ``stream`` connects; ``echo`` says that the server owes it every byte it sends."""

    stream: int
    echo: bool


@dataclass(frozen=True, slots=True)
class Send:
    """Client ``stream`` has sent ``data``."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Receive:
    """Client ``stream`` has received ``data``; empty is end of file."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class HalfClose:
    """Client ``stream`` has shut down its sending side."""

    stream: int


@dataclass(frozen=True, slots=True)
class StopReading:
    """Client ``stream`` stays, and reads no more: what the server sends it from here on is not received."""

    stream: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Client ``stream`` has closed its socket in an orderly way."""

    stream: int


@dataclass(frozen=True, slots=True)
class Reset:
    """Client ``stream`` has torn its connection down: what it had not read is lost, and the peer is told."""

    stream: int


@dataclass(frozen=True, slots=True)
class Read:
    """The server's end of ``stream`` has received ``data``; empty is end of file."""

    turn: int
    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Write:
    """The server's end of ``stream`` has given ``data`` to the kernel."""

    turn: int
    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Room:
    """The server's end of ``stream`` is writable, while the loop sleeps; its client has taken all that the
    kernel had for it."""

    turn: int
    stream: int


@dataclass(frozen=True, slots=True)
class Shut:
    """The server's end of ``stream`` has been closed or shut down for sending after what was written."""

    turn: int
    stream: int


@dataclass(frozen=True, slots=True)
class Polled:
    """What poll(2) says, right after the wait that ends turn ``turn``, of the level-triggered descriptors in
    its interest set: (fd, event mask) pairs of those that are ready for what the loop asks. The wait had room
    for more."""

    turn: int
    ready: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Hang:
    """``thread`` does not come out of what it does, by the kernel's account: it is suspended where nothing
    will come, or goes on and on. The run is broken off."""

    thread: str


@dataclass(frozen=True, slots=True)
class Quiescent:
    """The world has nothing left to do: no client acts again, no timer is armed, and the loop sleeps."""

    turn: int


# --- a server seen from outside -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Serves:
    """The run is of a server that claims to be of ``architecture``: see :mod:`loopspec.server`."""

    architecture: str


@dataclass(frozen=True, slots=True)
class Hold:
    """From here on nobody gets past ``what``: the lock of a file (``"lock"``), or the server's backend
    (``"backend"``)."""

    what: str


@dataclass(frozen=True, slots=True)
class Free:
    """``what`` is held no longer, and who waited for it goes on."""

    what: str


@dataclass(frozen=True, slots=True)
class Crash:
    """What serves client ``stream`` has been killed."""

    stream: int


@dataclass(frozen=True, slots=True)
class AtRest:
    """By the kernel's account all threads of the server are suspended, and nothing is on its way to it or its
    clients.

    ``descriptors`` are those of all its processes together; ``main`` is the call in which the first thread of
    the first process is suspended, ``on`` the client whose connection that call acts on, and ``others`` are
    the calls of all its other threads.
    """

    processes: int
    threads: int
    descriptors: int
    main: str
    on: int | None
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """All that client ``stream`` of a script was shown by a server whose handler is written in ``style``:
    ``data``, and then (``ended``) the end."""

    style: str
    stream: int
    data: bytes
    ended: bool


Event: TypeAlias = (
    Call
    | Return
    | Deliver
    | Suspend
    | Resume
    | WaitBegin
    | WaitReturn
    | Arm
    | Refuse
    | Disarm
    | Close
    | Dispatch
    | HandlerEnd
    | Report
    | TimerArm
    | TimerCancel
    | TimerFire
    | TimersHeld
    | Enqueue
    | Post
    | Run
    | Worked
    | Interrupted
    | StaleDisarm
    | Abandon
    | Snatch
    | Signal
    | Caught
    | Trespass
    | Fork
    | Closing
    | Closed
    | RefusePost
    | Triggered
    | Rearm
    | Drained
    | Interest
    | Dial
    | Dialed
    | DialSettle
    | Accept
    | Exhausted
    | Relieved
    | HighWater
    | Buffered
    | Spawn
    | Step
    | Begin
    | Await
    | End
    | Settle
    | CancelRequest
    | Done
    | Joined
    | Threads
    | Objects
    | Collect
    | Vanish
    | Rehearsal
    | Alone
    | Deadlock
    | GroupEnter
    | GroupStart
    | GroupLeave
    | GroupExit
    | Pool
    | Submit
    | JobRefuse
    | JobStart
    | JobAsk
    | JobEnd
    | JobAbandon
    | JobResult
    | Uncaught
    | Handle
    | Handled
    | Make
    | Ask
    | Answer
    | Release
    | Notify
    | Rest
    | ScopeEnter
    | ScopeCancel
    | ScopeExit
    | RpcCall
    | RpcReturn
    | RpcRequest
    | RpcPart
    | RpcReply
    | RpcBreak
    | RpcClose
    | RpcSettle
    | RpcDropped
    | RpcResult
    | Connect
    | Send
    | Receive
    | HalfClose
    | StopReading
    | Leave
    | Reset
    | Read
    | Write
    | Room
    | Shut
    | Polled
    | Hang
    | Quiescent
    | Serves
    | Hold
    | Free
    | Crash
    | AtRest
    | Shown
)

EVENTS: dict[str, type[Event]] = {event.__name__: event for event in get_args(Event)}
"""Every type of event, by name."""


class TraceError(ValueError):
    """A trace file that cannot be read; the message names file, line and what is wrong there."""


@dataclass(frozen=True)
class Header:
    """What a trace file says of itself: whose run it tells, and which events that loop can show at all."""

    loop: str
    shows: frozenset[str]


# --- one value to JSON and back ---------------------------------------------------------------------
#
# A field's declared type decides how it is read, so that nothing needs a tag and nothing is guessed.


_TYPES: dict[type[Event], dict[str, object]] = {cls: get_type_hints(cls) for cls in EVENTS.values()}
_NAMES: dict[type[Event], tuple[str, ...]] = {
    cls: tuple(entry.name for entry in fields_of(cls)) for cls in EVENTS.values()
}


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value


def _checked(value: object, declared: object) -> object:
    """``value`` as JSON gave it, made into the ``declared`` type; TypeError if it cannot be."""
    choices = get_args(declared)
    if isinstance(declared, UnionType):
        if value is None and type(None) in choices:
            return None
        (declared,) = (choice for choice in choices if choice is not type(None))
        return _checked(value, declared)
    if isinstance(declared, type):
        if declared is bytes and isinstance(value, str):
            return value.encode("latin-1")
        if type(value) is declared:
            return value
    elif choices and choices[0] is not tuple and all(isinstance(choice, str) for choice in choices):
        if value in choices:
            return value
    elif isinstance(value, list) and len(choices) == 2 and choices[1] is Ellipsis:
        return tuple(_checked(item, choices[0]) for item in value)
    elif isinstance(value, list) and len(choices) == len(value):
        return tuple(_checked(item, choice) for item, choice in zip(value, choices, strict=True))
    raise TypeError(f"{value!r} is no {getattr(declared, '__name__', declared)}")


def encode(event: Event) -> str:
    """``event`` as one line of JSON, without the newline."""
    cls = type(event)
    members = {"event": cls.__name__}
    members.update((name, _plain(getattr(event, name))) for name in _NAMES[cls])  # type: ignore[misc]
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"))


def decode(line: str) -> Event:
    """The event that ``line`` tells; :class:`TraceError` says what is wrong with a line that tells none."""
    try:
        members = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"no JSON: {error}") from None
    if not isinstance(members, dict):
        raise TraceError("no JSON object")
    name = members.pop("event", None)
    if not isinstance(name, str) or name not in EVENTS:
        raise TraceError(f"{name!r} is no event of format {FORMAT}")
    make: Callable[..., Event] = EVENTS[name]
    types = _TYPES[EVENTS[name]]
    if members.keys() != types.keys():
        wrong = sorted(members.keys() ^ types.keys())
        raise TraceError(f"{name} has wrong or missing fields: {', '.join(wrong)}")
    try:
        return make(**{field: _checked(value, types[field]) for field, value in members.items()})
    except (TypeError, UnicodeEncodeError) as error:
        raise TraceError(f"{name}: {error}") from None


def write(stream: IO[str], header: Header, events: Iterable[Event]) -> None:
    """Write a trace file: the header, then a line an event."""
    first = {"loopspec-trace": FORMAT, "loop": header.loop, "shows": sorted(header.shows)}
    stream.write(json.dumps(first) + "\n")
    for event in events:
        stream.write(encode(event) + "\n")


_SHOWN = tuple(EVENTS)


def read_header(line: str) -> Header:
    """The header of a trace file; :class:`TraceError` for one that is missing or of another version."""
    try:
        members = json.loads(line)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict) or "loopspec-trace" not in members:
        raise TraceError("line 1: no loopspec trace header")
    if members["loopspec-trace"] != FORMAT:
        raise TraceError(
            f"line 1: trace format {members['loopspec-trace']!r}, this version reads format {FORMAT}: "
            "record the trace again, or judge it with the version that wrote it"
        )
    loop, shows = members.get("loop"), members.get("shows")
    if not isinstance(loop, str) or not isinstance(shows, list) or not all(name in _SHOWN for name in shows):
        raise TraceError("line 1: the header wants `loop`, a name, and `shows`, a list of event names")
    return Header(loop, frozenset(shows))


def read(stream: Iterable[str]) -> tuple[Header, Iterator[Event]]:
    """The header of a trace file and its events, read as they are asked for.

    Raises :class:`TraceError`, which names the line, at once for the header and later for an event.
    """
    lines = iter(stream)
    header = read_header(next(lines, ""))

    def events() -> Iterator[Event]:
        for number, line in enumerate(lines, start=2):
            try:
                yield decode(line)
            except TraceError as error:
                raise TraceError(f"line {number}: {error}") from None

    return header, events()

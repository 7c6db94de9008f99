"""A trace for the eye: one column a client, one for the loop, one for each other thread; time goes down.

What breaks a clause is an interleaving, and an interleaving is read across: who had done what when the
loop did this. So each event keeps a row of its own, and stands in the column of whoever acted. The refused
event is the last one shown, since the clause is broken there whatever comes after.

The wording of an event is one `match` over the closed union, next to no logic: a new event without
words is an error of the type checker. Names in a trace may come from a stranger's file, so whatever would
steer a terminal is shown, not sent.
"""

from __future__ import annotations

import select
from collections.abc import Iterable, Sequence
from typing import NamedTuple, assert_never

from rich import box
from rich.table import Table
from rich.text import Text

from loopspec.trace import (
    Abandon,
    Accept,
    Alone,
    Answer,
    Arm,
    Ask,
    AtRest,
    Await,
    Begin,
    Buffered,
    Call,
    CancelRequest,
    Caught,
    Close,
    Closed,
    Closing,
    Collect,
    Connect,
    Crash,
    Deadlock,
    Deliver,
    Dial,
    Dialed,
    DialSettle,
    Disarm,
    Dispatch,
    Done,
    Drained,
    End,
    Enqueue,
    Event,
    Exhausted,
    Fork,
    Free,
    GroupEnter,
    GroupExit,
    GroupLeave,
    GroupStart,
    HalfClose,
    Handle,
    Handled,
    HandlerEnd,
    Hang,
    HighWater,
    Hold,
    Interest,
    Interrupted,
    JobAbandon,
    JobAsk,
    JobEnd,
    JobRefuse,
    JobResult,
    JobStart,
    Joined,
    Leave,
    Make,
    Notify,
    Objects,
    Polled,
    Pool,
    Post,
    Quiescent,
    Read,
    Rearm,
    Reason,
    Receive,
    Refuse,
    RefusePost,
    Rehearsal,
    Release,
    Relieved,
    Report,
    Reset,
    Rest,
    Resume,
    Return,
    Room,
    RpcBreak,
    RpcCall,
    RpcClose,
    RpcDropped,
    RpcPart,
    RpcReply,
    RpcRequest,
    RpcResult,
    RpcReturn,
    RpcSettle,
    Run,
    ScopeCancel,
    ScopeEnter,
    ScopeExit,
    Send,
    Serves,
    Settle,
    Shown,
    Shut,
    Signal,
    Snatch,
    Spawn,
    StaleDisarm,
    Step,
    StopReading,
    Submit,
    Suspend,
    Threads,
    TimerArm,
    TimerCancel,
    TimerFire,
    TimersHeld,
    Trespass,
    Triggered,
    Uncaught,
    Vanish,
    Verb,
    WaitBegin,
    WaitReturn,
    Worked,
    Write,
)

LOOP_THREAD = "loop"
"""How a trace names the thread that the loop runs on."""

HEAD, TAIL = 8, 40
"""A trace with more rows than both is shown without its middle: how it began, and what led to the refusal."""

NARROWEST = 13
"""A column with fewer characters breaks words more often than it shows them: see :func:`interleaving`."""

BYTES_SHOWN = 12
"""Of a run of bytes longer than this, so many are shown, and the length."""


class Lane(NamedTuple):
    """A column: clients first, by stream; then the loop; other threads, by name; services, by transport."""

    rank: int
    number: int
    thread: str

    @property
    def label(self) -> str:
        """The heading of the column."""
        names = (
            f"client {self.number}",
            "loop",
            f"thread {printable(self.thread)}",
            f"service {self.number}",
        )
        return names[self.rank]


LOOP = Lane(1, 0, "")


def lane(event: Event) -> Lane:
    """The column of whoever acted. All that is neither a client's, nor a service's, nor another thread's is
    the loop's."""
    match event:
        case (
            Connect(stream=stream)
            | Send(stream=stream)
            | Receive(stream=stream)
            | HalfClose(stream=stream)
            | StopReading(stream=stream)
            | Leave(stream=stream)
            | Reset(stream=stream)
            | Crash(stream=stream)
            | Shown(stream=stream)
        ):
            return Lane(0, stream, "")
        case (
            Call(thread=thread)
            | Return(thread=thread)
            | Suspend(thread=thread)
            | Resume(thread=thread)
            | Post(thread=thread)
            | RpcCall(thread=thread)
            | JobStart(thread=thread)
            | JobAsk(thread=thread)
            | JobEnd(thread=thread)
            | JobResult(thread=thread)
            | Uncaught(thread=thread)
            | RefusePost(thread=thread)
            | Trespass(thread=thread)
            | Hang(thread=thread)
        ) if thread != LOOP_THREAD:
            return Lane(2, 0, thread)
        case (
            RpcRequest(transport=transport)
            | RpcPart(transport=transport)
            | RpcReply(transport=transport)
            | RpcBreak(transport=transport)
        ):
            return Lane(3, transport, "")
        case _:
            return LOOP


def printable(text: str) -> str:
    """``text`` with everything that would steer a terminal written as an escape."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def instant(nanoseconds: int) -> str:
    """``nanoseconds`` exactly, in the largest unit that needs no more than three decimals."""
    if nanoseconds < 0:
        return "-" + instant(-nanoseconds)
    for size, unit in ((10**9, "s"), (10**6, "ms"), (10**3, "µs")):
        whole, rest = divmod(nanoseconds, size)
        if whole and rest % (size // 1000) == 0:
            return f"{whole:,}.{rest * 1000 // size:03d}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{nanoseconds} ns" if nanoseconds else "0"


_MASKS = {
    select.EPOLLIN: "IN",
    select.EPOLLPRI: "PRI",
    select.EPOLLOUT: "OUT",
    select.EPOLLERR: "ERR",
    select.EPOLLHUP: "HUP",
    select.EPOLLRDHUP: "RDHUP",
}


_REPORTED = sum(_MASKS)
"""The events of a mask, without its modes."""


def _mask(mask: int) -> str:
    names = [name for bit, name in _MASKS.items() if mask & bit]
    rest = mask & ~sum(_MASKS)
    return "|".join(names + ([hex(rest)] if rest or not names else []))


def batch_in_words(batch: Iterable[tuple[int, int]]) -> str:
    """What a wait has reported, as (fd, event mask) pairs, in words."""
    return ", ".join(f"fd {fd} {_mask(mask)}" for fd, mask in batch)


def _bytes(data: bytes) -> str:
    if len(data) <= BYTES_SHOWN:
        return repr(data)[1:]
    return f"{repr(data[:BYTES_SHOWN])[1:]}… ({len(data):,} bytes)"


_AWAITED: dict[Reason, str] = {
    "checkpoint": "its turn",
    "sleep": "instant {}",
    "read": "readability of stream {}",
    "write": "writability of stream {}",
    "event": "event {}",
    "join": "the end of task {}",
    "primitive": "primitive {}",
    "rpc": "the outcome of remote call {}",
    "room": "room for what it writes to stream {}",
    "group": "the children of group {}",
}


def _awaited(reason: Reason, key: int) -> str:
    return _AWAITED[reason].format(instant(key) if reason == "sleep" else key)


def _wanted(verb: Verb, primitive: int, item: int | None) -> str:
    return f"{verb}{'' if item is None else f' item {item}'}, primitive {primitive}"


def _tasks(tasks: tuple[int, ...]) -> str:
    return ", ".join(f"task {task}" for task in tasks)


def told(event: Event) -> str:
    """``event`` in words, as its column tells it."""
    return printable(_told(event))


def _told(event: Event) -> str:
    match event:
        case Call(call=call, name=name, on=on, nonblocking=nonblocking):
            mode = " nonblocking" if nonblocking else ""
            return f"call {call}: {name}" + (f" on a{mode} {on}" if on is not None else "")
        case Return(call=call, delivered=delivered, error=error):
            result = "its result with it" if delivered else "no result yet"
            return f"call {call} returns, {error or result}"
        case Deliver(call=call):
            return f"result of call {call}"
        case Suspend():
            return "suspended"
        case Resume():
            return "runs again"
        case WaitBegin(timeout=timeout):
            return "wait without end" if timeout is None else f"wait, timeout {instant(timeout)}"
        case WaitReturn(turn=turn, at=at, batch=batch):
            return f"turn {turn} at {instant(at)}: " + (batch_in_words(batch) or "nothing ready")
        case Arm(registration=registration, fd=fd, stream=stream, direction=direction):
            return f"arm {registration}: {direction} stream {stream}, fd {fd}"
        case Refuse(fd=fd, stream=stream, direction=direction, error=error):
            return f"refuse to {direction} stream {stream}, fd {fd}: {error}"
        case Disarm(registration=registration, fd=fd):
            return f"disarm {registration}, fd {fd}"
        case Close(fd=fd, stream=stream):
            return f"close stream {stream}, fd {fd}"
        case Dispatch(registration=registration, fd=fd):
            return f"dispatch {registration}, fd {fd}"
        case HandlerEnd(error=error):
            return "handler ends" if error is None else f"handler raises {error}"
        case Report(error=error):
            return f"report {error}"
        case TimerArm(timer=timer, at=at, delay=delay, deadline=deadline):
            return f"arm timer {timer} at {instant(at)} + {instant(delay)}: due {instant(deadline)}"
        case TimerCancel(timer=timer, retained=retained):
            return f"cancel timer {timer}" + (", its argument still held" if retained else "")
        case TimerFire(timer=timer, at=at):
            return f"fire timer {timer} at {instant(at)}"
        case TimersHeld(held=held, live=live):
            return f"timers held: {held:,}, live: {live:,}"
        case Enqueue(callback=callback):
            return f"queue callback {callback}"
        case Post(callback=callback):
            return f"post callback {callback}"
        case Run(callback=callback):
            return f"run callback {callback}"
        case Worked(at=at):
            return f"has worked: it is {instant(at)}"
        case Interrupted():
            return "the wait is interrupted"
        case StaleDisarm(registration=registration, fd=fd, refused=refused):
            return f"disarm {registration}, fd {fd}, again" + (", refused" if refused else "")
        case Abandon(fd=fd, stream=stream):
            return f"stream {stream}, fd {fd}, closed behind the loop's back"
        case Snatch(stream=stream):
            return f"taken by another reader of stream {stream}"
        case Signal():
            return "signal delivered"
        case Caught():
            return "handle the signal"
        case Trespass(name=name, refused=refused):
            return f"{name}, {'refused' if refused else 'let in'}"
        case Fork(refused=refused, unchanged=unchanged):
            calls = f"calls of a forked child {'refused' if refused else 'let in'}"
            return calls + ("" if unchanged else ", and the interest set changed")
        case Closing():
            return "begins to close"
        case Closed():
            return "closed"
        case RefusePost(callback=callback):
            return f"post callback {callback}, refused"
        case Triggered(registration=registration, trigger=trigger):
            return f"registration {registration} is {trigger}"
        case Rearm(registration=registration, fd=fd):
            return f"re-arm {registration}, fd {fd}"
        case Drained(registration=registration, fd=fd):
            return f"handler of {registration} sees EAGAIN on fd {fd}"
        case Interest(fd=fd, mask=mask):
            return f"interest in fd {fd}: {_mask(mask & _REPORTED) if mask & _REPORTED else 'none'}"
        case Dial(task=task, dial=dial):
            return f"task {task} opens connection {dial}"
        case Dialed(dial=dial, error=error):
            return f"connection {dial} is settled in the kernel: SO_ERROR {error or 0}"
        case DialSettle(dial=dial, outcome=outcome, error=error):
            return f"connection {dial} is settled: {outcome} {error or ''}".rstrip()
        case Accept(at=at, error=error):
            return f"accept at {instant(at)}: {error or 'a connection'}"
        case Exhausted():
            return "out of descriptors"
        case Relieved():
            return "descriptors again"
        case HighWater(stream=stream, mark=mark):
            return f"stream {stream} is buffered up to {mark:,} bytes"
        case Buffered(stream=stream, held=held):
            return f"of stream {stream} the loop holds {held:,} bytes"
        case Spawn(task=task):
            return f"spawn task {task}"
        case Step(task=task):
            return f"step task {task}"
        case Begin(task=task, operation=operation):
            return f"task {task} enters {operation}"
        case Await(task=task, reason=reason, key=key):
            return f"task {task} awaits {_awaited(reason, key)}"
        case End(task=task, operation=operation, outcome=outcome):
            return f"task {task} leaves {operation}: {outcome}"
        case Settle(reason=reason, key=key):
            return f"settled: {_awaited(reason, key)}"
        case CancelRequest(task=task):
            return f"cancel task {task}"
        case Done(task=task, outcome=outcome, value=value):
            return f"task {task} ends: {outcome} {value}".rstrip()
        case Joined(task=task, target=target, outcome=outcome, value=value):
            return f"task {task} joined task {target}: {outcome} {value}".rstrip()
        case Threads(threads=threads, tasks=tasks):
            return f"threads: {threads:,}, tasks: {tasks:,}"
        case Objects(descriptors=descriptors, tasks=tasks):
            return f"descriptors: {descriptors:,}, tasks: {tasks:,}"
        case Collect():
            return "the garbage collector runs"
        case Vanish(task=task):
            return f"task {task} is destroyed"
        case Rehearsal(steps=steps):
            return f"in another run: {' '.join(map(str, steps))}"
        case Alone():
            return "nobody else will make anything ready"
        case Deadlock(tasks=tasks):
            return f"report a deadlock of {_tasks(tasks)}"
        case GroupEnter(task=task, group=group):
            return f"task {task} enters group {group}"
        case GroupStart(group=group, task=task):
            return f"task {task} is a child of group {group}"
        case GroupLeave(task=task, group=group, outcome=outcome, value=value):
            return f"task {task} leaves the block of group {group}: {outcome} {value}".rstrip()
        case GroupExit(group=group, outcome=outcome, errors=errors):
            return f"group {group} has ended: {outcome} {' '.join(errors)}".rstrip()
        case Pool(size=size):
            return f"at most {size:,} workers"
        case Submit(job=job, asker=asker):
            return f"submit job {job}" + ("" if asker is None else f", for which job {asker} waits")
        case JobRefuse(job=job, error=error):
            return f"refuse job {job}: {error}"
        case JobStart(job=job):
            return f"job {job} begins"
        case JobAsk(job=job):
            return f"job {job} asks the loop"
        case JobEnd(job=job, outcome=outcome, value=value):
            return f"job {job} ends: {outcome} {value}".rstrip()
        case JobResult(job=job, outcome=outcome, value=value, traced=traced):
            trail = ", without its traceback" if outcome == "error" and not traced else ""
            return f"result of job {job}: {outcome} {value}".rstrip() + trail
        case JobAbandon(job=job):
            return f"nobody waits for job {job} any more"
        case Uncaught(error=error):
            return f"ends by {error}"
        case Handle(stream=stream, job=job):
            return f"job {job} handles stream {stream}"
        case Handled(stream=stream, job=job):
            return f"job {job} has handled stream {stream}"
        case Make(primitive=primitive, kind=kind, capacity=capacity):
            return f"make primitive {primitive}: {kind} of {capacity}"
        case Ask(task=task, primitive=primitive, verb=verb, item=item):
            return f"task {task} asks: {_wanted(verb, primitive, item)}"
        case Answer(task=task, primitive=primitive, verb=verb, outcome=outcome, item=item):
            return f"task {task} is answered: {_wanted(verb, primitive, item)}: {outcome}"
        case Release(task=task, primitive=primitive):
            return f"task {task} releases primitive {primitive}"
        case Notify(primitive=primitive, count=count):
            return f"notify {count} of primitive {primitive}"
        case Rest(primitive=primitive, held=held):
            return f"at rest primitive {primitive} holds {held}"
        case ScopeEnter(task=task, scope=scope):
            return f"task {task} enters scope {scope}"
        case ScopeCancel(scope=scope, due=due):
            return f"deadline of scope {scope}" if due else f"cancel scope {scope}"
        case ScopeExit(task=task, scope=scope, cut=cut, caught=caught):
            ways = (" cut short" if cut else "") + (" by itself" if caught else "")
            return f"task {task} leaves scope {scope}{ways}"
        case RpcCall(transport=transport, call=call, form=form, timeout=timeout):
            limit = "" if timeout is None else f", timeout {instant(timeout)}"
            return f"remote call {call}, {form}, over transport {transport}{limit}"
        case RpcReturn(call=call):
            return f"remote call {call} has returned"
        case RpcRequest(call=call, id=id):
            return f"request of call {call}, id {id}"
        case RpcPart():
            return "a part of a reply"
        case RpcReply(call=call, id=id, value=value):
            return f"reply to {'nobody' if call is None else f'call {call}'}, id {id}: {value}"
        case RpcBreak(how=how):
            return f"breaks its transport: {how}"
        case RpcClose(transport=transport):
            return f"close transport {transport}"
        case RpcSettle(call=call, at=at, outcome=outcome, value=value):
            return f"remote call {call} is settled at {instant(at)}: {outcome} {value}".rstrip()
        case RpcDropped(transport=transport, dropped=dropped):
            return f"replies dropped over transport {transport}: {dropped:,}"
        case RpcResult(program=program, form=form, calls=calls, result=result):
            return f"program {program}, {form}: {' '.join(calls)} gives {result}"
        case Connect(echo=echo):
            return "connect to be echoed" if echo else "connect"
        case Send(data=data):
            return f"send {_bytes(data)}"
        case Receive(data=data):
            return f"receive {_bytes(data)}" if data else "receive end of file"
        case HalfClose():
            return "half-close"
        case StopReading():
            return "stop reading"
        case Leave():
            return "leave"
        case Reset():
            return "reset"
        case Read(stream=stream, data=data):
            return f"read {_bytes(data) if data else 'end of file'} of stream {stream}"
        case Write(stream=stream, data=data):
            return f"write {_bytes(data)} to stream {stream}"
        case Room(stream=stream):
            return f"room in stream {stream}"
        case Shut(stream=stream):
            return f"shut stream {stream}"
        case Polled(ready=ready):
            told = ", ".join(f"fd {fd} {_mask(mask)}" for fd, mask in ready)
            return f"ready by poll(2): {told or 'nothing'}"
        case Hang(thread=thread):
            return f"{thread} does not come out of it"
        case Quiescent():
            return "nothing left to do"
        case Serves(architecture=architecture):
            return f"serve: {architecture}"
        case Hold(what=what):
            return f"the {what} is held"
        case Free(what=what):
            return f"the {what} is free"
        case Crash():
            return "what serves it is killed"
        case AtRest(processes=processes, threads=threads, descriptors=descriptors, main=main, on=on):
            where = main if on is None else f"{main} of client {on}"
            return f"at rest in {where}; {processes} processes, {threads} threads, {descriptors} descriptors"
        case Shown(style=style, stream=stream, data=data, ended=ended):
            return f"client {stream} was shown by {style}: {_bytes(data)}" + (" and the end" if ended else "")
        case _:
            assert_never(event)


_GUTTER = 3
"""What the table puts between two columns."""


class _Row(NamedTuple):
    position: int
    lane: Lane
    words: str


def _shown(rows: Sequence[_Row]) -> Iterable[_Row | int]:
    """All rows, or the first and the last with the number of those between in their place."""
    if len(rows) <= HEAD + TAIL:
        yield from rows
        return
    yield from rows[:HEAD]
    yield len(rows) - HEAD - TAIL
    yield from rows[-TAIL:]


def interleaving(events: Sequence[Event], refused: int, width: int) -> Table:
    """The trace up to ``events[refused]``, which is marked, as a table at most ``width`` characters wide.

    Where the columns would be narrower than :data:`NARROWEST`, one column names who acts instead.
    """
    rows = [_Row(place, lane(event), told(event)) for place, event in enumerate(events[: refused + 1])]
    lanes = sorted({row.lane for row in rows} | {LOOP})
    abreast = (width - len(f"{refused} ✗")) // len(lanes) >= NARROWEST + _GUTTER
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("", justify="right", style="dim", no_wrap=True)
    for heading in [entry.label for entry in lanes] if abreast else ["who", "event"]:
        table.add_column(heading, overflow="fold")
    for row in _shown(rows):
        if isinstance(row, int):
            table.add_row("⋮", Text(f"{row:,} more", "dim"))
            continue
        refusal = row.position == refused
        style = "not dim bold red" if refusal else ""
        number = Text(f"{row.position} ✗" if refusal else f"{row.position}  ", style)
        words = Text(row.words, style)
        if abreast:
            table.add_row(number, *(words if entry == row.lane else "" for entry in lanes))
        else:
            table.add_row(number, Text(row.lane.label, style), words)
    return table

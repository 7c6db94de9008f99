"""Remote calls in a lockstep run: the services at the other end, and who calls them.

The harness holds the server's end of every transport. A service reads its requests whenever the clients of
a run read, and answers in one of two ways: by the script, which says what is answered when and how, or by
the plans of a dialogue, each so many ticks of virtual time after its question came. So replies come in any
order, late, twice, unasked for, in halves or not at all, and always at the same point of the same scenario.

A *dialogue* is one program of remote calls in the three forms in which it can be written:
:func:`_by_blocking`, :meth:`Services._by_callbacks` and :func:`_by_coroutine` stand side by side below, and
are what the forms look like. The blocking one is held by the :class:`~loopspec.conformance.lockstep.Hand`,
in a thread that has no loop and is really suspended: its socket sleeps in a poll of the kernel's, and the
harness lets the services act, or the time-out pass, once the kernel says that the thread sleeps there.
"""

from __future__ import annotations

import heapq
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, Protocol, Self, TypeAlias, TypeVar

from loopspec import trace
from loopspec.conformance import scenario as script
from loopspec.conformance.adapter import CallbackRpc, CoroutineRpc, OffersRpc, RpcClient, RpcEnding
from loopspec.conformance.scenario import TICK, Answering, Dialogue, Plan, Question
from loopspec.trace import Event, RpcForm, RpcHow, RpcOutcome

QUARTER: Final = TICK // 4
"""What the time-out of a dialogue's question is longer by than some ticks: so that no reply, which comes
after whole ticks, meets it, whatever the poller's unit makes of either."""

SERVICES: Final = 2
"""How many services there are, each with a transport of its own for each form."""

_LENGTH = struct.Struct("!I")
_UNKNOWN = 999_999
_GARBAGE = _LENGTH.pack(5) + b"[1,2]"
_REST_AFTER: Final = 2
"""After how many ticks more the second half of a frame comes."""


ClientT = TypeVar("ClientT", bound=RpcClient)
Settled: TypeAlias = Callable[[RpcOutcome, str], None]


class Run(Protocol):
    """What this needs of the lockstep run it is a part of."""

    turn: int
    tell: Callable[[Event], None]

    def now(self) -> int: ...
    def pair(self) -> tuple[socket.socket, socket.socket]:
        """A connection: a service's end, and a client's."""
        ...

    def pass_to(self, instant: int) -> None:
        """Let virtual time pass."""
        ...

    def wait_unit(self, seconds: float) -> int:
        """How long the kernel makes of a wait of so many seconds, in nanoseconds."""
        ...

    def switches(self) -> int:
        """How often the calling thread has been suspended, by the kernel's account."""
        ...


@dataclass(frozen=True)
class _Asked:
    """A request that a service has received."""

    call: int
    id: int
    text: str
    plan: int | None


@dataclass
class _Service:
    """The server's end of one transport."""

    number: int
    index: int
    sock: socket.socket
    plans: tuple[Plan, ...] = ()
    asked: list[_Asked] = field(default_factory=list)
    unread: bytearray = field(default_factory=bytearray)
    rest: bytes = b""  # the second half of a frame, whose first half has been sent
    rest_told: trace.RpcReply | None = None
    gone: bool = False
    mute: bool = False


@dataclass
class _Line(Generic[ClientT]):
    """A transport with its client at the one end and its service at the other."""

    service: _Service
    client: ClientT


@dataclass
class _Call:
    """A call that was made with a callback; ``timed``: it has a time-out."""

    number: int
    service: _Service
    timed: bool
    cancel: Callable[[], object]


class Services:
    """All remote calls of one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._services: list[_Service] = []
        self._clients: list[tuple[_Service, RpcClient]] = []
        self._callback_lines: dict[int, _Line[CallbackRpc]] = {}
        self._coroutine_lines: dict[int, _Line[CoroutineRpc]] = {}
        self._pending: list[_Call] = []  # those made with callbacks
        self._inside: set[int] = set()  # calls that have not returned yet
        self._asked = 0
        self._programs: dict[Dialogue, int] = {}
        self._timed: list[tuple[int, int, Callable[[], None]]] = []
        self._planned = 0
        self._silent = False

    # -- for the run

    @property
    def live(self) -> int:
        """How many calls with callbacks wait that time alone will end."""
        return sum(call.timed for call in self._pending)

    @property
    def used(self) -> bool:
        """Whether there are services."""
        return bool(self._services)

    def silence(self) -> None:
        """The run is over: what happens from here on is not part of it."""
        self._silent = True
        self._timed.clear()

    def close(self) -> None:
        """Give back every socket; the loop has been closed."""
        for service in self._services:
            service.sock.close()

    def hang_up(self) -> None:
        """Close every client, as its owner has to before the loop is closed."""
        for _, client in self._clients:
            client.close()

    def read(self) -> None:
        """Have every service read what has come."""
        for service in self._services:
            self._read(service)

    def tell_dropped(self) -> None:
        """Tell what the clients say they have dropped: they have read all there is."""
        for service, client in self._clients:
            self._run.tell(trace.RpcDropped(self._run.turn, service.number, client.dropped()))

    def next_instant(self) -> int | None:
        """When a service acts by its plan, if one will."""
        return self._timed[0][0] if self._timed else None

    def act_by_plan(self) -> None:
        """Have done what is due by now."""
        while self._timed and self._timed[0][0] <= self._run.now():
            heapq.heappop(self._timed)[2]()

    # -- the services

    def _new(self, index: int, plans: tuple[Plan, ...] = ()) -> tuple[_Service, socket.socket]:
        ours, theirs = self._run.pair()
        ours.setblocking(False)
        service = _Service(len(self._services), index, ours, plans=plans)
        self._services.append(service)
        return service, theirs

    def _read(self, service: _Service) -> None:
        if service.gone:
            return
        with suppress(OSError):
            while data := service.sock.recv(1 << 16):
                service.unread += data
        for id, call, text, plan in _requests(service.unread):
            request = _Asked(call, id, text, plan)
            service.asked.append(request)
            self._run.tell(trace.RpcRequest(service.number, call, id))
            if plan is not None and service.plans:
                self._plan(service, request, service.plans[plan % len(service.plans)])

    def _plan(self, service: _Service, request: _Asked, plan: Plan) -> None:
        self._at(plan.delay, lambda: self._answer(service, request, plan.how, planned=True))

    def _at(self, delay: int, act: Callable[[], None]) -> None:
        self._planned += 1
        heapq.heappush(self._timed, (self._run.now() + delay * TICK, self._planned, act))

    def answer(self, transport: int, request: int, how: Answering) -> None:
        """A service answers, by the script."""
        if self._services:
            service = self._services[transport % len(self._services)]
            if service.asked:
                self._answer(service, service.asked[request % len(service.asked)], how)

    def break_off(self, transport: int, how: RpcHow) -> None:
        """A service breaks its transport, by the script."""
        if self._services:
            self._break(self._services[transport % len(self._services)], how)

    def _answer(self, service: _Service, request: _Asked, how: Answering, *, planned: bool = False) -> None:
        value = f"{'abcd'[service.index]}({request.text})"
        reply = trace.RpcReply(service.number, request.call, request.id, value)
        frame = _frame({"id": request.id, "result": value})
        match how:
            case "value":
                self._send(service, frame, reply)
            case "error":
                self._send(service, _frame({"id": request.id, "error": value}), reply)
            case "twice":
                self._send(service, frame, reply)
                self._send(service, frame, reply)
            case "unknown":
                stray = _UNKNOWN + request.id
                told = trace.RpcReply(service.number, None, stray, value)
                self._send(service, _frame({"id": stray, "result": value}), told)
                self._send(service, frame, reply)
            case "half":
                self._send(service, frame[:7], trace.RpcPart(service.number))
                service.rest, service.rest_told = frame[7:], reply
                if planned:
                    self._at(_REST_AFTER, lambda: self._send(service, b"", None))
            case "never":
                pass
            case "break":
                self._break(service, "close")
            case "garbage":
                self._break(service, "garbage")

    def _send(self, service: _Service, frame: bytes, told: trace.RpcReply | trace.RpcPart | None) -> None:
        """Send a frame, and tell so; a service whose client is gone, or that has said its last, sends
        nothing."""
        if service.gone or service.mute:
            return
        rest, rest_told = service.rest, service.rest_told
        service.rest, service.rest_told = b"", None
        try:
            for part, part_told in ((rest, rest_told), (frame, told)):
                if part:
                    service.sock.sendall(part)
                    if part_told is not None:
                        self._run.tell(part_told)
        except OSError:
            service.mute = True

    def _break(self, service: _Service, how: RpcHow) -> None:
        if service.gone or service.mute:
            return
        self._read(service)
        with suppress(OSError):
            self._broken(service, how)
        self._run.tell(trace.RpcBreak(service.number, how))

    def _broken(self, service: _Service, how: RpcHow) -> None:
        match how:
            case "close":
                service.gone = True
                service.sock.shutdown(socket.SHUT_RDWR)
            case "half-close":
                service.mute = True
                service.sock.shutdown(socket.SHUT_WR)
            case "deaf":
                service.sock.shutdown(socket.SHUT_RD)
            case "garbage":
                self._send(service, _GARBAGE, None)
                service.mute = True

    # -- making calls

    def ask(self, loop: object, do: script.Ask, then: Callable[[], None]) -> None:
        """Make a call with a callback, which does ``then``."""
        if isinstance(loop, OffersRpc):
            line = self._callback_line(loop, do.service)
            self._ask(line, "x", None, _ticks(do.timeout), lambda _outcome, _value: then())

    def cancel(self, index: int) -> None:
        """Cancel a call that was made with a callback."""
        if self._pending:
            call = self._pending[index % len(self._pending)]
            call.cancel()
            self._settle(call, "cancelled", "")

    def close_client(self, index: int, form: RpcForm) -> None:
        """Close the client's end of a transport."""
        lines = self._callback_lines if form == "callback" else self._coroutine_lines
        line = lines.get(index % SERVICES)
        if line is not None:
            self._run.tell(trace.RpcClose(self._run.turn, line.service.number))
            line.client.close()

    def awaited(self, loop: object, do: script.AwaitReply) -> Awaited | None:
        """A call that is to be made by a task; None if the loop has none."""
        if not isinstance(loop, OffersRpc):
            return None
        return Awaited(self, self._coroutine_line(loop, do.service), "x", None, _ticks(do.timeout))

    def suspended(self, call: int) -> None:
        """The task that is in ``call`` is suspended."""
        if call in self._inside:
            self._inside.discard(call)
            self._run.tell(trace.RpcReturn(self._run.turn, call))

    def begin(self, service: _Service, form: RpcForm, thread: str, timeout: int | None) -> int:
        """Tell of a call that is about to be made, and number it."""
        number, self._asked = self._asked, self._asked + 1
        run = self._run
        run.tell(trace.RpcCall(run.turn, service.number, number, form, thread, run.now(), timeout))
        self._inside.add(number)
        return number

    def end(self, service: _Service, call: int, outcome: RpcOutcome, value: str) -> None:
        """Tell of the outcome of a call."""
        run = self._run
        run.tell(trace.RpcSettle(run.turn, service.number, call, run.now(), outcome, value))

    def _ask(
        self, line: _Line[CallbackRpc], text: str, plan: int | None, timeout: int | None, then: Settled
    ) -> None:
        number = self.begin(line.service, "callback", "loop", timeout)

        def settled(outcome: RpcOutcome, value: str) -> None:
            if not self._silent:
                self._settle(call, outcome, value)
                then(outcome, value)

        call = _Call(number, line.service, timeout is not None, lambda: None)
        self._pending.append(call)
        before = self._run.switches()
        call.cancel = line.client.ask(_params(number, text, plan), timeout, settled)
        if self._run.switches() != before:
            self._run.tell(trace.Suspend("loop"))
            self._run.tell(trace.Resume("loop"))
        self.suspended(number)

    def _settle(self, call: _Call, outcome: RpcOutcome, value: str) -> None:
        if call in self._pending:
            self._pending.remove(call)
        self.end(call.service, call.number, outcome, value)

    def _callback_line(self, loop: OffersRpc, index: int) -> _Line[CallbackRpc]:
        place = index % SERVICES
        if place not in self._callback_lines:
            self._callback_lines[place] = self._new_callback_line(loop, place, ())
        return self._callback_lines[place]

    def _coroutine_line(self, loop: OffersRpc, index: int) -> _Line[CoroutineRpc]:
        place = index % SERVICES
        if place not in self._coroutine_lines:
            self._coroutine_lines[place] = self._new_coroutine_line(loop, place, ())
        return self._coroutine_lines[place]

    def _new_callback_line(self, loop: OffersRpc, index: int, plans: tuple[Plan, ...]) -> _Line[CallbackRpc]:
        service, theirs = self._new(index, plans=plans)
        line = _Line(service, loop.rpc_callback(theirs))
        self._clients.append((service, line.client))
        return line

    def _new_coroutine_line(
        self, loop: OffersRpc, index: int, plans: tuple[Plan, ...]
    ) -> _Line[CoroutineRpc]:
        service, theirs = self._new(index, plans=plans)
        line = _Line(service, loop.rpc_coroutine(theirs))
        self._clients.append((service, line.client))
        return line

    # -- dialogues

    def converse_by_callbacks(self, loop: object, dialogue: Dialogue) -> None:
        """Hold ``dialogue`` with callbacks."""
        if not isinstance(loop, OffersRpc):
            return
        lines = [self._new_callback_line(loop, index, dialogue.plans) for index in range(SERVICES)]
        calls: list[str] = []

        def ask(place: int, question: Question, text: str, then: Settled) -> None:
            calls.append(_told(question, text))
            self._ask(lines[question.service % SERVICES], text, place, _patience(question), then)

        _by_callbacks(dialogue, ask, lambda result: self._result(dialogue, "callback", calls, result))

    async def converse_by_coroutine(
        self, loop: object, dialogue: Dialogue, wait: Callable[[Awaited], Awaitable[RpcEnding]]
    ) -> None:
        """Hold ``dialogue`` in a task, which waits with ``wait``."""
        if not isinstance(loop, OffersRpc):
            return
        lines = [self._new_coroutine_line(loop, index, dialogue.plans) for index in range(SERVICES)]
        calls: list[str] = []

        async def ask(place: int, question: Question, text: str) -> RpcEnding:
            calls.append(_told(question, text))
            line = lines[question.service % SERVICES]
            return await wait(Awaited(self, line, text, place, _patience(question)))

        try:
            result = await _by_coroutine(dialogue, ask)
        except Exception as error:
            result = _raised(error)
        self._result(dialogue, "coroutine", calls, result)

    def _sleep(self) -> Sleep:
        return Sleep(self._run, self)

    def converse_blocking(self, loop: object, dialogue: Dialogue, hand: AttendedHand) -> None:
        """Hold ``dialogue`` in another thread, with blocking calls; the services act while it sleeps."""
        if not isinstance(loop, OffersRpc):
            return
        with ExitStack() as held:
            sleep = held.enter_context(self._sleep())
            ends = [self._new(index, plans=dialogue.plans) for index in range(SERVICES)]
            sockets = [held.enter_context(_SleepingSocket(theirs, sleep)) for _, theirs in ends]
            clients = [loop.rpc_blocking(one, self._run.now) for one in sockets]
            calls: list[str] = []

            def ask(place: int, question: Question, text: str) -> RpcEnding:
                calls.append(_told(question, text))
                index, timeout = question.service % SERVICES, _patience(question)
                service = ends[index][0]
                number = self.begin(service, "blocking", hand.name, timeout)
                outcome, value = clients[index].ask(_params(number, text, place), timeout)
                self.end(service, number, outcome, value)
                return outcome, value

            def job() -> None:
                with sleep.held_by(hand.name):
                    try:
                        result = _by_blocking(dialogue, ask)
                    except Exception as error:
                        result = _raised(error)
                    self._result(dialogue, "blocking", calls, result)

            hand.do_attended(job, sleep.attend)
            for client in clients:
                client.close()

    def _result(self, dialogue: Dialogue, form: RpcForm, calls: list[str], result: str) -> None:
        program = self._programs.setdefault(dialogue, len(self._programs))
        self._run.tell(trace.RpcResult(self._run.turn, program, form, tuple(calls), result))


@dataclass(frozen=True)
class Awaited:
    """A call that a task is to make: :meth:`begin` tells of it, :meth:`call` makes it, :meth:`end` tells its
    outcome."""

    services: Services
    line: _Line[CoroutineRpc]
    text: str
    plan: int | None
    timeout: int | None

    def begin(self) -> int:
        return self.services.begin(self.line.service, "coroutine", "loop", self.timeout)

    def call(self, number: int) -> Awaitable[RpcEnding]:
        return self.line.client.ask(_params(number, self.text, self.plan), self.timeout)

    def end(self, number: int, outcome: RpcOutcome, value: str) -> None:
        self.services.end(self.line.service, number, outcome, value)


# --- one program in three forms -----------------------------------------------------------------------------


def _by_blocking(dialogue: Dialogue, ask: Callable[[int, Question, str], RpcEnding]) -> str:
    text = "x"
    for place, question in enumerate(dialogue.questions):
        text, goes_on = _heard(question, text, ask(place, question, text))
        if not goes_on:
            break
    return text


def _by_callbacks(
    dialogue: Dialogue,
    ask: Callable[[int, Question, str, Settled], None],
    done: Callable[[str], None],
    place: int = 0,
    text: str = "x",
) -> None:
    if place == len(dialogue.questions):
        done(text)
        return
    question = dialogue.questions[place]

    def settled(outcome: RpcOutcome, value: str) -> None:
        after, goes_on = _heard(question, text, (outcome, value))
        if goes_on:
            _by_callbacks(dialogue, ask, done, place + 1, after)
        else:
            done(after)

    ask(place, question, text, settled)


async def _by_coroutine(dialogue: Dialogue, ask: Callable[[int, Question, str], Awaitable[RpcEnding]]) -> str:
    text = "x"
    for place, question in enumerate(dialogue.questions):
        text, goes_on = _heard(question, text, await ask(place, question, text))
        if not goes_on:
            break
    return text


def _heard(question: Question, text: str, ending: RpcEnding) -> tuple[str, bool]:
    """What the next question is about, and whether there is to be one."""
    outcome, value = ending
    return (value, True) if outcome == "reply" else (f"{text}!{outcome}", question.patient)


def _raised(error: Exception) -> str:
    """What a form computes that lets out what no call ends with."""
    return f"raised {type(error).__name__}"


def _told(question: Question, text: str) -> str:
    return f"{question.service % SERVICES}?{text}"


def _patience(question: Question) -> int:
    return question.timeout * TICK + QUARTER


def _ticks(timeout: int | None) -> int | None:
    return None if timeout is None else timeout * TICK


# --- a thread that sleeps in a call
# ---------------------------------------------------------------------------


class AttendedHand(Protocol):
    """The other thread, as far as it is needed here."""

    @property
    def name(self) -> str: ...
    def do_attended(self, job: Callable[[], None], attend: Callable[[], None]) -> None:
        """Have ``job`` done by the other thread, and do ``attend`` meanwhile."""
        ...


class Sleep:
    """The sleep of a thread in a blocking receive: real for the thread, and as long as virtual time says.

    The thread says how long it will sleep, and does, in a poll on its socket and on a descriptor of ours.
    Once the kernel says that it sleeps, whoever attends lets the services act, or kicks it when its time is
    over. It does not go on before the attendant has done acting, so that the order of events is one.
    """

    def __init__(self, run: Run, services: Services) -> None:
        self._run = run
        self._services = services
        self._begun = threading.Semaphore(0)
        self._may_go_on = threading.Semaphore(0)
        self._fd = -1
        self._until: int | None = None
        self._thread = ""
        self._wchan = Path()
        self._over = False

    def __enter__(self) -> Self:
        self._kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._kick)

    # -- on the thread that sleeps

    @contextmanager
    def held_by(self, thread: str) -> Iterator[None]:
        """For all that the calling thread, ``thread``, does with the sockets."""
        self._thread = thread
        self._wchan = Path(f"/proc/self/task/{threading.get_native_id()}/wchan")
        try:
            yield
        finally:
            self._over = True
            self._begun.release()

    def sleep(self, fd: int, seconds: float | None) -> bool:
        """Sleep until ``fd`` is readable, or so many seconds; whether it is readable."""
        self._fd = fd
        self._until = None if seconds is None else self._run.now() + self._run.wait_unit(seconds)
        bed = select.poll()
        bed.register(fd, select.POLLIN)
        bed.register(self._kick, select.POLLIN)
        before = self._run.switches()
        self._begun.release()
        woken = dict(bed.poll())
        suspended = self._run.switches() != before
        self._may_go_on.acquire()
        if suspended:
            self._run.tell(trace.Resume(self._thread))
        if self._kick in woken:
            os.eventfd_read(self._kick)
        return fd in woken

    # -- on the thread that attends

    def attend(self) -> None:
        """Be there whenever the other thread sleeps, until it has done."""
        while True:
            self._begun.acquire()
            if self._over:
                return
            while not self._asleep():
                os.sched_yield()
            self._run.tell(trace.Suspend(self._thread))
            self._let_time_pass()
            self._may_go_on.release()

    def _asleep(self) -> bool:
        """Whether the kernel says so; a wait for the interpreter's lock, a futex, is none."""
        where = self._wchan.read_text()
        return where not in ("", "0") and not where.startswith("futex")

    def _let_time_pass(self) -> None:
        self._services.read()
        while not select.select([self._fd], [], [], 0)[0]:
            instant = self._services.next_instant()
            if instant is None or (self._until is not None and instant > self._until):
                assert self._until is not None, "a question of a dialogue has a time-out"
                self._run.pass_to(self._until)
                os.eventfd_write(self._kick, 1)
                return
            self._run.pass_to(instant)
            self._services.act_by_plan()


class ReadOnError(Exception):
    """A client goes on reading after the end of the stream, which without a loop would be for ever."""


class _SleepingSocket:
    """A connected socket as a blocking client sees it."""

    def __init__(self, sock: socket.socket, sleep: Sleep) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._sleep = sleep
        self._timeout: float | None = None
        self._over = False
        self.sendall = sock.sendall
        self.close = sock.close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def settimeout(self, value: float | None, /) -> None:
        self._timeout = value

    def recv(self, size: int, /) -> bytes:
        if self._over:
            raise ReadOnError
        try:
            data = self._sock.recv(size)
        except BlockingIOError:
            if self._timeout == 0:
                raise
            if not self._sleep.sleep(self._sock.fileno(), self._timeout):
                raise TimeoutError("timed out") from None
            data = self._sock.recv(size)
        self._over = not data
        return data


# --- the wire
# -------------------------------------------------------------------------------------------------


def _frame(members: dict[str, object]) -> bytes:
    body = json.dumps(members).encode()
    return _LENGTH.pack(len(body)) + body


def _params(call: int, text: str, plan: int | None) -> tuple[int, str]:
    """What a request says: which call it is of, and, of a dialogue, by which plan it is to be answered."""
    return call, text if plan is None else f"{plan}:{text}"


def _requests(unread: bytearray) -> Iterator[tuple[int, int, str, int | None]]:
    """Take the whole requests out of ``unread``: id, call, text, and the plan of a dialogue."""
    while len(unread) >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(unread)
        if len(unread) < _LENGTH.size + length:
            return
        request = json.loads(unread[_LENGTH.size : _LENGTH.size + length])
        del unread[: _LENGTH.size + length]
        call, text = request["params"]
        plan, planned, about = text.partition(":")
        yield request["id"], call, about if planned else text, int(plan) if planned else None

"""The scenarios on the simulated kernel: one scenario, one loop, and every choice that the world has.

A run is a :class:`~loopspec.conformance.lockstep.Lockstep` whose kernel is the model. What tells of the loop
is the same code, so the trace has the same events and the same clauses judge it; what is different is who
decides. In lockstep the script decides, and the real kernel; here both are a *schedule*, which is asked
wherever more than one thing may happen, and answers with a small integer:

* **who acts**, while the loop runs and while it sleeps: any client, thread, service or job whose turn the
  script has not brought yet. Each does its own acts in the script's order; between them there is no order.
* **when time passes**: a wait that has a timeout may reach it before anybody acts.
* **what the kernel does**, within what its model allows: short reads and writes, what is an edge, which
  error.
* **which fault comes**: a wait that ends early, readiness of what is ready no more and so EAGAIN, a
  connection that is torn.

0 is always what lockstep would do, so the empty tape is the lockstep run, and the real and the simulated
kernel can be compared event by event. A tape is short where the run is calm, and any tape is a valid one.

All happens in one thread, the loop's: clients and posts act inside its waits, where the real ones would act
meanwhile. Jobs alone have their threads, since a job that blocks is a stack that has to stay somewhere; the
:class:`~loopspec.conformance.crew.Crew` lets them go one at a time. What a process and its threads are, the
model does not know: signals, forks, calls from foreign threads, a lack of descriptors and what the process
holds of the kernel stay with the real one (:data:`ELSEWHERE`), and so do connects and
buffers, whose far ends are not simulated, runs alone, and rehearsals.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import socket
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from struct import Struct
from typing import Final, Literal, NamedTuple, Protocol, Self

from loopspec import trace
from loopspec.conformance import scenario as script
from loopspec.conformance.adapter import BUFFERS, CONNECTS, Adapter, World
from loopspec.conformance.lockstep import (
    GONE,
    MAX_TURNS,
    Hand,
    Lockstep,
    Stream,
    Stuck,
    Watched,
    granted,
    letters,
)
from loopspec.conformance.result import UsageError
from loopspec.conformance.scenario import At, Scenario, scenario_of, token_of
from loopspec.conformance.services import Services, Sleep
from loopspec.conformance.simulated import (
    ROOMY,
    Answer,
    Faults,
    Node,
    SimulatedKernel,
    SimulatedPoller,
    SimulatedSocket,
    SimulatedWaker,
    tight,
)
from loopspec.kernel.calls import Call, Close, Dup, OpenEpoll, OpenFile
from loopspec.kernel.law import NotModelledError
from loopspec.kernel.state import IN, OUT, Buffer, Errno, Limits, Mask
from loopspec.trace import Event

KernelKind = Literal["calm", "short", "faulty", "chaotic"]
"""``calm`` has room and does what Linux usually does; ``short`` has buffers of a few bytes, and transfers
less than it could; ``faulty`` is calm but for a few faults, under which every clause is kept; ``chaotic`` has
more of them, and runs out of descriptors besides, which delays clients beyond what the clauses of a calm
world allow: there what counts is what happens once it has healed."""

KINDS: Final[tuple[KernelKind, ...]] = ("calm", "short", "faulty")
"""The kernels on which every clause is to be kept."""

SMALL_BUFFER = 4
"""Bytes in a buffer of the short kernel: so many that one read does not take all, and few enough to fill."""

SHORT_TRANSFER = 3 * SMALL_BUFFER
"""What the short kernel makes of any size that is larger: a transfer of so many bytes waits for room, and
more would only wait longer."""

MAX_CALLS = 20_000
"""After so many calls of the kernel a run is cut off, for a loop that calls without ever waiting. What a
scenario needs is a tenth."""

ELSEWHERE: Final = (
    *(script.OnSignal, script.Signal, script.Trespass, script.Fork),
    *(script.Open, script.Greet, script.Crowd, script.Exhaust, script.Relieve, script.WriteBuffered),
)
"""The steps and acts that are no matter of the kernel's model; they are left out of what runs on it."""

NOT_SHOWN = (
    CONNECTS
    | BUFFERS
    | {
        *("Signal", "Caught", "Trespass", "Fork"),
        *(
            "Accept",
            "Exhausted",
            "Relieved",
            "Objects",
            "Polled",
            "Interest",
            "Rehearsal",
            "Alone",
            "Deadlock",
        ),
    }
)
"""The events that therefore nothing here can show."""

_ROOM = Buffer(sure=4095, most=4096)
"""About what Linux gives a socket that asks for the least."""

_LIMITS: Mapping[KernelKind, Limits] = {
    "calm": replace(ROOMY, unix=_ROOM, tcp=_ROOM),
    "short": tight(SMALL_BUFFER),
    "faulty": replace(ROOMY, unix=_ROOM, tcp=_ROOM),
    "chaotic": tight(SMALL_BUFFER),
}
_FAULTS: Mapping[KernelKind, Faults] = {
    "calm": Faults(),
    "short": Faults(),
    "faulty": Faults(frozenset({"EARLY"})),
    "chaotic": Faults(frozenset({"EARLY", "EMFILE"}), most=12),
}
_REMOTE: Final = (
    *(script.Ask, script.AwaitReply, script.ConverseByCallbacks, script.ConverseByCoroutine),
    *(script.ConverseBlocking, script.Answer, script.BreakOff),
)


class Schedule(Protocol):
    """Who decides."""

    def __call__(self, options: int, /) -> int:
        """A number below ``options``, which is at least 2; 0 is what usually happens."""
        ...

    def pick(self, actors: Sequence[str], /) -> int:
        """Which of ``actors``, at least two, is next; the first is whom the script has next."""
        ...

    def reached(self, state: Callable[[], int], /) -> None:
        """The loop is about to wait, and ``state`` tells this instant from others, as far as the world can
        see: what a search counts."""
        ...


# --- one run, as data -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario, the kernel that it runs on, and the tape that has chosen; calm where the tape ends."""

    scenario: Scenario
    kernel: KernelKind = "calm"
    tape: tuple[int, ...] = ()


TOKEN = "case"
"""What the token of a case begins with."""

_VERSION = "2"
"""The edition of what a tape means. It changes when a choice is added, dropped, or moved."""


def case_token(case: Case) -> str:
    """The text that replays ``case``: what it is, the version, the rest packed."""
    tape = zlib.compress(json.dumps([case.kernel, *case.tape], separators=(",", ":")).encode(), 9)
    packed = base64.urlsafe_b64encode(tape).decode().rstrip("=")
    return f"{TOKEN}:{_VERSION}:{packed}:{token_of(case.scenario)}"


def case_of(token: str) -> Case:
    """The case that ``token`` tells. Raises :class:`UsageError` for a text that is no such token."""
    if not token.startswith(f"{TOKEN}:"):
        return Case(scenario_of(token))
    _, version, packed, scenario = [*token.split(":"), "", "", ""][:4]
    if version != _VERSION:
        raise UsageError(
            f"replay token {token[:20]!r} is of version {version!r} and not {_VERSION}: "
            "take a token that this version of loopspec printed"
        )
    try:
        told = json.loads(zlib.decompress(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))))
    except (ValueError, binascii.Error, zlib.error):
        told = None
    match told:
        case [("calm" | "short" | "faulty" | "chaotic") as kernel, *tape] if all(
            type(each) is int for each in tape
        ):
            return Case(scenario_of(scenario), kernel, tuple(tape))
        case _:
            raise UsageError(f"replay token {token[:20]!r}… is damaged: copy it whole from the report")


def kinds_for(scenario: Scenario) -> tuple[KernelKind, ...]:
    """The kernels that ``scenario`` can run on.

    A frame of a remote call does not go into a few bytes. And an echo server works unseen while a client does
    not read: what one send has brought, short transfers make more turns of than a trace shows a cause for.
    """
    inside = list(nodes(scenario))
    unseen = scenario.echo and any(isinstance(node, script.StopReading) for node in inside)
    return ("calm", "faulty") if unseen or any(isinstance(node, _REMOTE) for node in inside) else KINDS


def nodes(value: object) -> Iterator[object]:
    """Everything that a scenario is made of, itself first."""
    if isinstance(value, tuple):
        for each in value:
            yield from nodes(each)
    elif hasattr(value, "__dataclass_fields__"):
        yield value
        for entry in fields(value):  # type: ignore[arg-type]  # it is a dataclass
            yield from nodes(getattr(value, entry.name))


@lru_cache(4096)
def fitted(scenario: Scenario, kernel: KernelKind) -> Scenario:
    """``scenario`` without what is :data:`ELSEWHERE`, its transfers as long as ``kernel`` can have them."""
    made = _fitted(scenario, kernel in ("short", "chaotic"))
    assert isinstance(made, Scenario)
    return replace(made, rehearsed=False, alone=False)


def _fitted(value: object, short: bool) -> object:
    if isinstance(value, tuple):
        return tuple(
            _fitted(each, short)
            for each in value
            if not isinstance(each, ELSEWHERE)
            and not (isinstance(each, At) and isinstance(each.act, ELSEWHERE))
        )
    if not hasattr(value, "__dataclass_fields__"):
        return value
    names = [entry.name for entry in fields(value)]  # type: ignore[arg-type]  # it is a dataclass
    changed = {name: _fitted(getattr(value, name), short) for name in names}
    size = changed.get("size")
    if short and isinstance(size, int):
        changed["size"] = min(size, SHORT_TRANSFER)
    if all(changed[name] is getattr(value, name) for name in names):
        return value
    return type(value)(**changed)


# --- schedules ------------------------------------------------------------------------------------------


class Taped:
    """A schedule that is a tape; calm at its end. ``taken`` and ``asked`` are what it has answered, and of
    how many; ``watch``, if there is one, is told the states that are reached."""

    def __init__(self, tape: Sequence[int] = ()) -> None:
        self._tape = tape
        self.taken: list[int] = []
        self.asked: list[int] = []
        self.watch: Callable[[int], None] | None = None

    def __call__(self, options: int, /) -> int:
        place = len(self.taken)
        chosen = self._tape[place] % options if place < len(self._tape) else 0
        self.taken.append(chosen)
        self.asked.append(options)
        return chosen

    def pick(self, actors: Sequence[str], /) -> int:
        return self(len(actors))

    def reached(self, state: Callable[[], int], /) -> None:
        if self.watch is not None:
            self.watch(state())


class Drawn(Taped):
    """A schedule that is drawn, from ``seed``: ``calm`` of 8 choices are what usually happens.

    Most runs ask a dozen times. A hash of the seed is as good as a generator for that, and makes all of them
    at once in a tenth of the time that seeding one takes.
    """

    def __init__(self, seed: int, calm: int = 4) -> None:
        super().__init__()
        self._seed = seed
        self._calm = calm << 13
        self._blocks = 0
        self._numbers: Iterator[int] = iter(())

    def __call__(self, options: int, /) -> int:
        number = next(self._numbers, -1)
        if number < 0:
            number = self._drawn_anew()
        # 16 bits say whether it goes as usual, 16 more how else.
        chosen = 0 if number & 0xFFFF < self._calm else (number >> 16) * options >> 16
        self.taken.append(chosen)
        self.asked.append(options)
        return chosen

    def _drawn_anew(self) -> int:
        seed = b"%d %d" % (self._seed, self._blocks)
        self._blocks += 1
        self._numbers = iter(_NUMBERS.unpack(blake2b(seed).digest()))
        return next(self._numbers)


_NUMBERS: Final = Struct("<16I")


class Healing(Drawn):
    """A schedule that is drawn for ``length`` choices, and calm from there on: the world has healed."""

    def __init__(self, seed: int, length: int) -> None:
        super().__init__(seed, calm=1)
        self._length = length

    @property
    def healed(self) -> bool:
        """Whether the drawn part is over."""
        return len(self.taken) >= self._length

    def __call__(self, options: int, /) -> int:
        if not self.healed:
            return super().__call__(options)
        self.taken.append(0)
        self.asked.append(options)
        return 0


def without_calm_end(tape: Sequence[int]) -> tuple[int, ...]:
    """``tape`` as short as it says the same."""
    last = max((place for place, chosen in enumerate(tape) if chosen), default=-1)
    return tuple(tape[: last + 1])


# --- the surroundings -----------------------------------------------------------------------------------


class _Kernel(SimulatedKernel):
    """The simulated kernel of a run: a call that would suspend the loop's thread has stuck it for ever."""

    def __init__(self, choose: Callable[[int], int], kind: KernelKind) -> None:
        super().__init__(choose, _LIMITS[kind], _FAULTS[kind])
        self.left = MAX_CALLS
        self.usually = Usually(self)

    def answers(self, call: Call) -> tuple[Answer, ...]:
        try:
            return super().answers(call)
        except NotModelledError:
            # What a client does to an end that is not connected is refused, and nothing more is known of it.
            raise OSError(Errno.ENOTCONN, os.strerror(Errno.ENOTCONN)) from None

    def suspended(self) -> BaseException:
        return Stuck("loop")

    def cut_off(self) -> BaseException:
        return Stuck(None)

    def holds(self, number: int, condition: Mask) -> bool:
        """Whether poll(2) says ``condition`` of the descriptor."""
        return number >= 0 and bool(self.node.poll(number) & condition)


class Usually:
    """``with`` it, what is done on ``kernel`` goes as it usually does."""

    def __init__(self, kernel: SimulatedKernel) -> None:
        self._kernel = kernel
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(self._kernel.usual)
        self._kernel.usual = True

    def __exit__(self, *exception: object) -> None:
        self._kernel.usual = self._before.pop()


class _Poller(SimulatedPoller):
    """An epoll on the model whose waits go through the run."""

    def __init__(
        self, kernel: _Kernel, wait: Callable[[Watched, float | None, int], list[tuple[int, int]]]
    ) -> None:
        super().__init__(kernel, kernel.opened(OpenEpoll)[0])
        self._wait = wait
        self._model = kernel

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        return self._wait(self, timeout, maxevents)

    def ready(self, maxevents: int) -> list[tuple[int, int]]:
        return self._batch(maxevents)

    def has_something(self) -> bool:
        """Whether a wait would report anything."""
        return self._model.holds(self.number, IN)


class _Here(Hand):
    """The other thread, which here is the same one: what it does, it does inside a wait of the loop."""

    def __init__(self) -> None:
        pass

    def do(self, job: Callable[[], None]) -> None:
        job()

    def do_attended(self, job: Callable[[], None], attend: Callable[[], None]) -> None:
        del attend  # nobody sleeps who could be attended
        job()


class _Doze(Sleep):
    """The sleep of a blocking receive, in which the services act and time passes."""

    def __init__(self, run: Modelled, services: Services) -> None:
        super().__init__(run, services)
        self._model = run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    @contextmanager
    def held_by(self, thread: str) -> Iterator[None]:
        self._thread = thread
        yield

    def sleep(self, fd: int, seconds: float | None) -> bool:
        run = self._run
        until = None if seconds is None else run.now() + run.wait_unit(seconds)
        run.tell(trace.Suspend(self._thread))
        self._services.read()
        while not self._model.readable(fd):
            instant = self._services.next_instant()
            if instant is None or (until is not None and instant > until):
                assert until is not None, "a question of a dialogue has a time-out"
                run.pass_to(until)
                break
            run.pass_to(instant)
            self._services.act_by_plan()
        run.tell(trace.Resume(self._thread))
        return self._model.readable(fd)

    def attend(self) -> None:
        pass


class _Services(Services):
    """The services, whose clients sleep in the model."""

    def __init__(self, run: Modelled) -> None:
        super().__init__(run)
        self._model = run

    def _sleep(self) -> Sleep:
        return _Doze(self._model, self)


# --- the run --------------------------------------------------------------------------------------------

_TIME = "time"
_NOBODY = "nobody"


def _actor(act: script.Act) -> str:
    """Who does ``act``: what one actor does stays in the script's order."""
    match act:
        case (
            script.Send()
            | script.StopReading()
            | script.HalfClose()
            | script.Finish()
            | script.Leave()
            | script.Reset()
        ):
            return f"client {act.client}"
        case script.Post():
            return "thread"
        case script.Unblock():
            return "job"
        case script.Answer(transport=transport) | script.BreakOff(transport=transport):
            return f"service {transport}"
        case _:
            return type(act).__name__


class _Following(NamedTuple):
    """The places in the script of what each actor does next, in the script's order; ``awake`` has those of
    whoever can act while the loop runs, and ``names`` who that is, behind nobody."""

    places: list[int]
    awake: list[int]
    names: list[str]


_ENDED_EARLY: Final = suppress(Stuck)
_NOTHING: Final = nullcontext()


class Modelled(Lockstep):
    """One run of ``scenario``, which is :func:`fitted`, on the model, under ``schedule``."""

    def __init__(
        self, scenario: Scenario, kernel: KernelKind, schedule: Schedule, tell: Callable[[Event], None]
    ) -> None:
        super().__init__(_Here(), scenario, tell)
        self._kernel = _Kernel(schedule, kernel)
        self._schedule = schedule
        self._actors = [_actor(at.act) for at in self._script]
        self._following: _Following | None = None  # what :meth:`_next` says, as long as it holds
        self._emptied: Node | None = None  # the state in which no client has anything to read
        self._ports = count(1)
        self._chaotic = kernel == "chaotic"
        self._losses = int(kernel in ("faulty", "chaotic") and (scenario.tcp or scenario.echo))
        self._snatches = int(kernel == "faulty" and bool(scenario.streams) and not scenario.tcp)

    def run(self, make: Callable[[World], Adapter]) -> None:
        """Run the scenario on a new loop."""
        with _ENDED_EARLY:
            super().run(make)

    def _alarm(self) -> AbstractContextManager[None]:
        """Here nobody is suspended for ever without the model's knowing."""
        return _NOTHING

    def _among_threads(self) -> AbstractContextManager[None]:
        """Without workers there is one."""
        return super()._among_threads() if self._scenario.workers else _NOTHING

    def _served(self) -> Services:
        return _Services(self)

    # -- the world that the loop sees

    def poller(self) -> _Poller:
        return _Poller(self._kernel, self._wait)

    def waker(self) -> SimulatedWaker:
        """An eventfd, for wherever the loop would make one."""
        return self._kernel.waker()

    def switches(self) -> int:
        """The loop's thread has never been suspended outside of a wait: there it would be stuck."""
        return 0

    def readable(self, fd: int) -> bool:
        """Whether a read of ``fd`` would not suspend."""
        return self._kernel.holds(fd, IN)

    # -- a wait

    def _batch(self, epoll: Watched, timeout: int | None, maxevents: int) -> list[tuple[int, int]]:
        assert isinstance(epoll, _Poller)
        until = None if timeout is None else self._now + timeout  # whatever time an act takes meanwhile
        self._schedule.reached(self._seen)
        if self._losses:
            self._lose_one()
        if self._services.used:
            with self._kernel.usually:
                self._services.read()
        # Between two steps of the loop: if it is going to sleep, those can act then as well.
        while (place := self._who_acts(epoll, timeout)) is not None:
            self._act(self._taken(place).act)
        self._services.act_by_plan()
        batch = self._ready(epoll, maxevents)
        if not batch and timeout != 0 and self._kernel.fault("EARLY"):
            return self._interrupted(timeout)
        first = True
        while not batch and (until is None or self._now < until):
            self._asleep(sample=first)
            first = False
            match self._who_wakes(timeout):
                case int(place):
                    at = self._taken(place)
                    if isinstance(at.act, script.Elapse) and until is not None:
                        return self._elapsed(until)
                    if isinstance(at.act, script.Interrupt):
                        return self._interrupted(timeout)
                    self._act(at.act, asleep=at.asleep)
                    while epoll.has_something() and (more := self._who_else()) is not None:
                        self._act(self._taken(more).act)
                case "job":
                    self._crew.release(0)
                    batch = epoll.ready(maxevents)
                    continue
                case "time" if until is not None:
                    if not self._service_acts(until):
                        return self._elapsed(until)
                case _:
                    if not self._service_acts(until):
                        return self._nobody_acts(None if until is None else until - self._now)
            batch = self._ready(epoll, maxevents)
        return batch

    def _lose_one(self) -> None:
        """Have the network tear a client's connection down, if the schedule says so."""
        connected = [(each, each.client) for each in self._streams if each.client is not None]
        lost = self._schedule(1 + len(connected)) if connected else 0
        if lost:
            self._losses -= 1
            stream, client = connected[lost - 1]
            self._client_acts(script.Reset(stream.number), stream, client)

    def _nobody_acts(self, timeout: int | None) -> list[tuple[int, int]]:
        """Out of descriptors a server waits for a while by itself, and tries again: then that has to pass."""
        if self._chaotic and timeout is not None:
            return self._elapsed(self._now + timeout)
        return super()._nobody_acts(timeout)

    def _taken(self, place: int) -> At:
        self._passed = 0
        self._following = None
        del self._actors[place]
        return self._script.pop(place)

    def _elapsed(self, until: int) -> list[tuple[int, int]]:
        self._pass(max(0, until - self._now))
        return []

    def _interrupted(self, timeout: int | None) -> list[tuple[int, int]]:
        self.tell(trace.Interrupted(self.turn))
        half, instant = (timeout or 0) // 2, self._services.next_instant()
        self._pass(half if instant is None else min(half, instant - self._now))
        return []

    def _next(self) -> _Following:
        """What each actor does next."""
        if self._following is None:
            firsts: dict[str, int] = {}
            for place, actor in enumerate(self._actors):
                firsts.setdefault(actor, place)
            places = list(firsts.values())
            awake = [place for place in places if not isinstance(self._script[place].act, _IN_SLEEP)]
            names = [_NOBODY, *(self._actors[place] for place in awake)]
            self._following = _Following(places, awake, names)
        return self._following

    def _who_acts(self, epoll: _Poller, timeout: int | None) -> int | None:
        """Who acts while the loop runs; None if nobody does, or no more."""
        if not self._script or self._ended:
            return None
        due = self._due(self._script[0])
        if not due and timeout != 0 and not epoll.has_something():
            return None
        if due and isinstance(self._script[0].act, script.ConverseBlocking):
            return 0  # time passes in it, and would be taken from a dialogue that is under way
        if not due:
            return self._who_else()
        others = self._next().awake[1:]
        chosen = self._schedule.pick([self._actors[place] for place in (0, *others)] + [_NOBODY])
        return (0, *others, None)[chosen]

    def _who_else(self) -> int | None:
        """Who acts besides, once somebody has woken the loop and before it runs."""
        following = self._next()
        chosen = self._schedule.pick(following.names) if following.awake else 0
        return following.awake[chosen - 1] if chosen else None

    def _who_wakes(self, timeout: int | None) -> int | str:
        """What happens while the loop sleeps: an act of the script's, or a job's end, or time, or the rest of
        what there is."""
        options: list[int | str] = [*self._next().places]
        elapses = timeout is not None and self._something_is_due(timeout)
        if not options:
            options = ["rest"]
            if self._crew.holds:
                options = ["rest", "job"] if elapses else ["job"]
        elif elapses:
            options.append("time")
        if len(options) == 1:
            return options[0]
        return options[
            self._schedule.pick(
                [
                    self._actors[each] if isinstance(each, int) else _TIME if each == "rest" else each
                    for each in options
                ]
            )
        ]

    def _seen(self) -> int:
        """What the world sees of this instant: the kernel, the time, what is to come, and what is alive."""
        return hash(
            (
                *(self._kernel.node.digest, self._now, len(self._script), self._live_tasks),
                *(self._live_timers, self._callbacks, self._calls, len(self._scopes), self._passed),
                zlib.crc32("".join(self._actors).encode()),
            )
        )

    def _snatch_from(self, batch: list[tuple[int, int]]) -> None:
        if not batch or not (
            self._snatches or (self._script and self._script[0].act.__class__ is script.Snatch)
        ):
            return
        if self._snatches and self._may_sleep and not self._ended and self._schedule(2):
            # Readiness that is none when it is dispatched: it was, and another reader has been faster.
            self._snatches -= 1
            self._script.insert(0, At(0, False, _FASTER))
            self._snatch_all(batch)
            self._script = [at for at in self._script if at.act is not _FASTER]
            return
        before = len(self._script)
        self._snatch_all(batch)
        if len(self._script) < before:
            self._following = None
            del self._actors[0]

    def _snatch_all(self, batch: list[tuple[int, int]]) -> None:
        """The other reader leaves nothing, whatever a read of the loop's may leave: else there is no hint."""
        with self._kernel.usually:
            super()._snatch_from(batch)

    # -- what happens of itself

    def _clients_read(self) -> None:
        kernel = self._kernel
        before = kernel.node
        if before is self._emptied:
            return
        kernel.usual = True
        self._services.read()
        for stream in self._streams:
            client = stream.client
            if client is None or not stream.reads:
                continue
            number = client.fileno()
            if number >= 0 and kernel.node.poll(number) & IN:
                self._client_reads(stream, client)
        kernel.usual = False
        if kernel.node is before:  # else there may be more, as an end of file behind data
            self._emptied = before

    def _writable(self, server: socket.socket) -> bool:
        return self._kernel.holds(server.fileno(), OUT)

    def _threads(self) -> int:
        """The loop's and the hand's, as in lockstep."""
        return 2

    def _tell_objects(self) -> None:
        """What the process holds of the real kernel is nothing here."""

    def _tell_interest(self) -> None:
        """The model has no list to read but its own."""

    def _tell_polled(self, epoll: Watched) -> None:
        """The model is what would be asked, and keeps to itself."""

    # -- streams

    def pair(self, *, tcp: bool = False) -> tuple[socket.socket, socket.socket]:
        """A connection: a client's end, and the loop's."""
        with self._kernel.usually:
            if not tcp:
                return self._kernel.pair()
            listener = self._kernel.listener(next(self._ports))
            client = self._kernel.connected(listener)
            server, _ = listener.accept()
            listener.close()
            return client, server

    def _carry(self, client: socket.socket) -> None:
        """The model has delivered it."""

    def _duplicate(self, server: socket.socket) -> int:
        return self._kernel.opened(Dup, server.fileno())[0]

    def _close_duplicates(self) -> None:
        for duplicate in self._duplicates:
            self._kernel.make((Close, duplicate))

    def _listen(self) -> None:
        listener = self._kernel.listener(next(self._ports), 64)
        listener.setblocking(False)
        self._listener = listener

    def _connect(self) -> None:
        if isinstance(self._listener, SimulatedSocket):
            self._new_stream(self._kernel.connected(self._listener), None)

    def _watch_file(self) -> None:
        (number,) = self._kernel.opened(OpenFile, b"x")
        file = SimulatedSocket(self._kernel, number)
        with suppress(OSError):
            with self._calling("epoll_ctl(ADD) by the loop", on="regular file"):
                registered = self._loop.arm(file, "read", lambda: None)
            self._loop.disarm(registered)
        file.close()


class Untraced(Modelled):
    """A run that tells nobody of the loop's turns: what is left is whether it ends, and how. For speed."""

    def _wait(self, epoll: Watched, seconds: float | None, maxevents: int) -> list[tuple[int, int]]:
        if self._ended:
            return epoll.ready(maxevents)
        if self._scenario.workers:
            self._crew.settle()
        self._passed += 1
        timeout = granted(seconds)
        self._may_sleep = timeout != 0
        batch = self._batch(epoll, timeout, maxevents)
        self._snatch_from(batch)
        self.turn += 1
        if self.turn >= MAX_TURNS:
            self._out_of_turns()
        return batch

    def _asleep(self, *, sample: bool) -> None:
        pass

    def _client_sends(self, stream: Stream, client: socket.socket, size: int) -> None:
        with GONE:
            stream.sent += client.send(letters(stream.sent, size))

    def _client_reads(self, stream: Stream, client: socket.socket) -> None:
        with GONE:
            data = client.recv(1 << 20)
            stream.received += len(data)
            if not data:
                stream.reads = False


_FASTER: Final = script.Snatch(0)

_IN_SLEEP: Final = (script.Elapse, script.Interrupt, script.Snatch)
"""Acts that fall into a wait, or into its end."""


def run(
    make: Callable[[World], Adapter],
    case: Case,
    tell: Callable[[Event], None],
    schedule: Schedule | None = None,
) -> None:
    """Run ``case`` on a new loop, under its tape or, in its place, ``schedule``."""
    scenario = fitted(case.scenario, case.kernel)
    Modelled(scenario, case.kernel, schedule or Taped(case.tape), tell).run(make)

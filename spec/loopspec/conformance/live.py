"""The model beside the live kernel: the same calls, and the kernel is right.

After every call the result that the kernel gave must be one that the model allows; the states that allow it
go on, the others are forgotten. So are the states that disagree with what the kernel tells of itself: its own
list of interests, and which threads it has suspended. If no state is left, the model and this kernel
disagree; the sequence is then made as short as it can be, and told as a script that needs Python alone.

A clause has *fired* when a result was allowed through its rule, and *agreed* each time the kernel did so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from loopspec.conformance.drawing import DRIVER, SHORT, Drawer
from loopspec.conformance.machine import Ask, Interests, Machine
from loopspec.conformance.retelling import script
from loopspec.kernel import timerfd
from loopspec.kernel.calls import (
    DONE,
    SLEEPS,
    Accept,
    Advance,
    Call,
    Connect,
    EpollWait,
    Events,
    Handshake,
    Outcome,
    Read,
    Result,
    Resume,
    Sleeps,
    SystemCall,
    Write,
)
from loopspec.kernel.fd import names_of
from loopspec.kernel.law import NotModelledError
from loopspec.kernel.readiness import poll
from loopspec.kernel.state import (
    Connection,
    EpollSet,
    FileId,
    Number,
    ObjectId,
    PipeEnd,
    Regular,
    SocketEnd,
    State,
    ThreadId,
    initial,
)
from loopspec.kernel.step import must_go_on, step
from loopspec.kernel.stream import connection

WORKERS = (ThreadId(1), ThreadId(2))

SEQUENCE = 60
"""Calls a sequence: long enough for the numbers to be reused, short enough to be shrunk."""


@dataclass(frozen=True)
class Disagreement:
    """The first point at which no state of the model is left: the whole sequence, and what was seen there."""

    calls: tuple[Call, ...]
    observed: str
    allowed: tuple[str, ...]
    clauses: frozenset[str]
    script: str = ""


@dataclass
class Report:
    """What a comparison found: live calls made, and per clause how often it fired, and how often it agreed.

    ``disagreement`` is the first one, minimised; None if the kernel keeps to the model.
    """

    calls: int = 0
    sequences: int = 0
    seed: int = 0
    fired: Counter[str] = field(default_factory=Counter)
    agreed: Counter[str] = field(default_factory=Counter)
    most_states: int = 0
    disagreement: Disagreement | None = None


class RefusedError(Exception):
    """No state of the model allows what the kernel did."""

    def __init__(self, observed: str, allowed: Iterable[Outcome]) -> None:
        super().__init__(observed)
        self.observed = observed
        outcomes = tuple(allowed)
        self.allowed = tuple(sorted({repr(outcome.result) for outcome in outcomes}))
        self.clauses = frozenset().union(*(outcome.clauses for outcome in outcomes))


class UnaskableError(Exception):
    """The call would hang the driver, or makes no sense here: shrinking has spoilt the sequence."""


class Run:
    """One sequence on a fresh model and a cleared machine."""

    def __init__(self, machine: Machine, report: Report) -> None:
        self.machine = machine
        self.report = report
        machine.clear()
        self.states: frozenset[State] = frozenset((initial(1 + len(WORKERS), machine.sizes.limits),))
        self.made: list[Call] = []
        #: The last result of each worker.
        self.returned: dict[ThreadId, Result] = {}

    @property
    def state(self) -> State:
        """One of the possible states, to draw the next call from."""
        return next(iter(self.states))

    def make(self, call: Call) -> Result:
        """Make ``call``, and tell its result: SLEEPS if it is a worker's and suspended.

        Raises :class:`RefusedError` if the model does not allow what then happens.
        """
        self.made.append(call)
        self.report.calls += 1
        match call:
            case Handshake() | Resume():
                raise UnaskableError(call)
            case Advance():
                self._advance(call)
                result: Result = DONE
            case _:
                result = self._system_call(call)
        self._network()
        self._threads()
        self._interests()
        self.report.most_states = max(self.report.most_states, len(self.states))
        return result

    # --- one call ---

    def _system_call(self, call: SystemCall) -> Result:
        state = self.state
        if call.thread not in state.threads or state.threads[call.thread].suspended:
            raise UnaskableError(call)
        ask = Ask(call, self._scale(call))
        if call.thread in WORKERS:
            self.machine.start(int(call.thread) - 1, ask)
            return self._threads(call)
        if self._may_wait(call):
            raise UnaskableError(call)
        allowed = self._allowed(call)
        made = self.machine.make(ask)
        self._fit(call, made.result, allowed)
        # A thread that the call woke competes for the interpreter: then the count says nothing of the call.
        if made.suspensions and not any(state.threads[worker].suspended for worker in WORKERS):
            raise RefusedError(f"{call} suspended its caller", ())
        return made.result

    def _may_wait(self, call: SystemCall) -> bool:
        """Whether the driver must not make this call, whatever the model says of it."""
        if isinstance(call, EpollWait):
            return call.timeout != 0
        if not isinstance(call, Read | Write | Accept | Connect):
            return False
        file = names_of(self.state, call.thread).get(call.fd)
        if file is None:
            return False
        held = self.state.files[file]
        return not held.nonblocking and not isinstance(held.kind, Regular | EpollSet)

    def _scale(self, call: SystemCall) -> int:
        if not isinstance(call, Read | Write):
            return 1
        file = names_of(self.state, call.thread).get(call.fd)
        if file is None:
            return 1
        kind = self.state.files[file].kind
        if isinstance(kind, PipeEnd):
            return self.machine.sizes.pipe
        if isinstance(kind, SocketEnd) and connection(self.state, kind.connection).port is None:
            return self.machine.sizes.unix
        return 1

    def _narrow(self, call: Call, result: Result) -> None:
        self._fit(call, result, self._allowed(call))

    def _allowed(self, call: Call) -> list[Outcome]:
        """What the model says of ``call``. To be asked before the kernel is: it may say nothing."""
        try:
            return [outcome for state in self.states for outcome in step(state, call)]
        except NotModelledError as error:
            raise UnaskableError(call) from error

    def _fit(self, call: Call, result: Result, outcomes: list[Outcome]) -> None:
        fitting = [outcome for outcome in outcomes if outcome.result == result]
        self._count(outcomes, fitting)
        if not fitting:
            raise RefusedError(f"{call} gave {result}", outcomes)
        self.states = frozenset(outcome.state for outcome in fitting)

    def _count(self, outcomes: list[Outcome], fitting: list[Outcome]) -> None:
        chosen = fitting or outcomes
        for id in frozenset().union(*(outcome.clauses for outcome in chosen)):
            self.report.fired[id] += 1
            self.report.agreed[id] += bool(fitting)

    # --- time and network ---

    def _advance(self, call: Advance) -> None:
        if call.to < self.state.now:
            raise UnaskableError(call)
        due = [self._timer_number(id) for id in timerfd.due(self.state, call.to)]
        self._narrow(call, DONE)
        for number in due:
            self.machine.hands.fire(number)
            self.machine.until(partial(self._has_fired, number))
        for worker in WORKERS:
            suspended = self.state.threads[worker].suspended
            if suspended and suspended.deadline is not None and suspended.deadline <= call.to:
                result, lasted = self.machine.join(int(worker) - 1)
                assert isinstance(suspended.call, EpollWait)
                if result == Events(()) and lasted < (suspended.call.timeout or 0):
                    raise RefusedError(f"{suspended.call} was over after {lasted} ns", ())
                self._narrow(Resume(thread=worker), result)
                self.returned[worker] = result

    def _timer_number(self, file: FileId) -> Number:
        """A number of the driver's for a timer that is to expire."""
        names = names_of(self.state, DRIVER)
        found = next((number for number, id in names.items() if id == file), None)
        if found is None:
            raise UnaskableError(file)
        return found

    def _has_fired(self, number: Number) -> bool:
        """Whether the expiry shows: in the timer itself, or in a suspended read that has taken it."""
        waiting = [worker for worker in WORKERS if self.state.threads[worker].suspended]
        return self._as_expected(number) or any(self.machine.has_returned(int(w) - 1) for w in waiting)

    def _as_expected(self, number: Number) -> bool:
        """Whether the kernel's poll(2) and count of unread bytes are those of some possible state."""
        mask, unread = self.machine.conditions(number)
        return any(_shows(state, names_of(state, DRIVER).get(number), mask, unread) for state in self.states)

    def _network(self) -> None:
        """Let the loopback deliver what the model says has been sent."""
        pending = {id for state in self.states for id in state.objects if _is_under_way(state, id)}
        for id in sorted(pending):
            self.states = frozenset(after for state in self.states for after in _carried(state, id))
        numbers = [number for number, id in names_of(self.state, DRIVER).items() if _is_tcp(self.state, id)]
        if numbers:
            self.machine.carry(numbers)
        for number in numbers:
            self.machine.until(partial(self._as_expected, number))

    # --- what the kernel tells of itself ---

    def _threads(self, begun: SystemCall | None = None) -> Result:
        """What the kernel has done with the calls of the workers, of which ``begun`` is the newest.

        Those that have returned are completed, in whatever order; the others must be such as cannot go on.
        """
        settled = {ThreadId(worker + 1): result for worker, result in self.machine.settle().items()}
        finished = {
            worker: result
            for worker, result in settled.items()
            if result is not None and not self._is_early(worker, result, begun)
        }
        asleep = [worker for worker in settled if worker not in finished]
        if begun:
            self._begin(begun, finished.get(begun.thread, SLEEPS))
            self._network()
        if settled:
            self._complete(finished, asleep)
        self.returned |= finished
        return finished.get(begun.thread, SLEEPS) if begun else SLEEPS

    def _is_early(self, worker: ThreadId, result: Result, begun: SystemCall | None) -> bool:
        """Whether a wait was over before anybody looked: the move of the world that ends it comes next."""
        suspended = self.state.threads[worker].suspended
        call = begun if begun and begun.thread == worker else suspended and suspended.call
        return isinstance(call, EpollWait) and call.timeout == SHORT and result == Events(())

    def _begin(self, call: SystemCall, result: Result) -> None:
        """The call came to ``result`` at once, or was suspended a moment at least."""
        outcomes = [outcome for state in self.states for outcome in step(state, call)]
        fitting = [o for o in outcomes if o.result == result or isinstance(o.result, Sleeps)]
        self._count(outcomes, fitting)
        if not fitting:
            raise RefusedError(f"{call} gave {result}", outcomes)
        self.states = frozenset(outcome.state for outcome in fitting)

    def _complete(self, finished: Mapping[ThreadId, Result], asleep: Sequence[ThreadId]) -> None:
        """Every way in which the suspended calls may have gone on, to states in which the rest cannot."""
        reached, news = set(self.states), set(self.states)
        seen: list[Outcome] = []
        while news:
            outcomes = [
                outcome
                for state in news
                for worker in WORKERS
                if state.threads[worker].suspended
                for outcome in step(state, Resume(thread=worker))
                if isinstance(outcome.result, Sleeps) or finished.get(worker) == outcome.result
            ]
            seen += outcomes
            news = {outcome.state for outcome in outcomes} - reached
            reached |= news
        possible = frozenset(state for state in reached if _rests(state, finished, asleep))
        if not possible:
            ended = ", ".join(f"thread {thread} returned {result}" for thread, result in finished.items())
            slept = ", ".join(f"thread {thread} is suspended" for thread in asleep)
            raise RefusedError("; ".join(filter(None, (ended, slept))), self._could(finished, asleep))
        self.states = possible
        for id in frozenset().union(*(outcome.clauses for outcome in seen)):
            self.report.fired[id] += 1
            self.report.agreed[id] += 1

    def _could(self, finished: Iterable[ThreadId], asleep: Iterable[ThreadId]) -> list[Outcome]:
        """What the model would have let these threads come to."""
        return [
            outcome
            for state in self.states
            for worker in (*finished, *asleep)
            if state.threads[worker].suspended
            for outcome in step(state, Resume(thread=worker))
        ]

    def _interests(self) -> None:
        for number in sorted(n for n, id in names_of(self.state, DRIVER).items() if id in self.state.epolls):
            seen = self.machine.interests(number)
            fitting = frozenset(s for s in self.states if _listed(s, number) == seen)
            if not fitting:
                expected = sorted({_listed(state, number) for state in self.states})
                raise RefusedError(
                    f"epoll {number} lists {_told(seen)}, not {[_told(e) for e in expected]}", ()
                )
            self.states = fitting


def _carried(state: State, id: ObjectId) -> list[State]:
    """``state`` with the handshake ``id`` carried, if there is one, and room for it."""
    moved = [outcome.state for outcome in step(state, Handshake(id))]
    return moved or [state]


def _is_under_way(state: State, id: ObjectId) -> bool:
    found = state.objects.get(id)
    return isinstance(found, Connection) and found.under_way


def _rests(state: State, finished: Mapping[ThreadId, Result], asleep: Sequence[ThreadId]) -> bool:
    """Whether the threads of ``state`` are where the kernel has them, and nothing of it can go on."""
    return not any(state.threads[worker].suspended for worker in finished) and all(
        state.threads[worker].suspended and not must_go_on(state, worker) for worker in asleep
    )


def _told(interests: Interests) -> str:
    return ", ".join(f"{number}: {mask:#x}" for number, mask in interests) or "nothing"


def _listed(state: State, number: Number) -> Interests:
    interest = state.epolls[names_of(state, DRIVER)[number]]
    return tuple(sorted((key.number, held.mask) for key, held in interest.registrations.items()))


def _is_tcp(state: State, file: FileId) -> bool:
    kind = state.files[file].kind
    return isinstance(kind, SocketEnd) and connection(state, kind.connection).port is not None


def _shows(state: State, file: FileId | None, mask: int, unread: int) -> bool:
    if file is None:
        return False
    _, expected, _ = poll(state, file)
    kind = state.files[file].kind
    if isinstance(kind, SocketEnd):
        inbox = connection(state, kind.connection).ends[kind.side].inbox
        return mask == expected and unread == len(inbox)
    return mask == expected


# --- campaigns ------------------------------------------------------------------------------------------


def compare(calls: int, seed: int, progress: Callable[[int, int], None] | None = None) -> Report:
    """Ask this kernel at least ``calls`` calls, drawn with ``seed``; ``progress`` is told (made, wanted).

    Stops at the first disagreement, which it minimises. For a process in which nothing else runs Python or
    opens descriptors meanwhile. Raises :class:`~loopspec.conformance.machine.MachineError` if this kernel
    cannot be asked.
    """
    report = Report(seed=seed)
    random = Random(seed)
    with Machine(len(WORKERS)) as machine:
        while report.calls < calls:
            failed = _sequence(machine, report, random)
            if failed:
                report.disagreement = minimised(machine, failed)
                break
            report.sequences += 1
            if progress:
                progress(min(report.calls, calls), calls)
    return report


def _sequence(machine: Machine, report: Report, random: Random) -> Disagreement | None:
    run = Run(machine, report)
    drawer = Drawer(random, WORKERS)
    while len(run.made) < SEQUENCE:
        for call in drawer.next(run.state):
            try:
                run.make(call)
            except UnaskableError:
                run.made.pop()
                break
            except RefusedError as refused:
                return _disagreement(run, refused)
    return None


def _disagreement(run: Run, refused: RefusedError) -> Disagreement:
    return Disagreement(tuple(run.made), refused.observed, refused.allowed, refused.clauses)


def replay(machine: Machine, calls: Iterable[Call]) -> Disagreement | None:
    """Make exactly these calls, leaving out those that make no sense where they stand."""
    run = Run(machine, Report())
    for call in calls:
        try:
            run.make(call)
        except UnaskableError:
            run.made.pop()
        except RefusedError as refused:
            return _disagreement(run, refused)
    return None


def minimised(machine: Machine, found: Disagreement) -> Disagreement:
    """Leave out calls, big pieces first, as long as the same kind of call shows a disagreement."""
    size = len(found.calls) // 2
    while size:
        position = 0
        while position < len(found.calls):
            shorter = found.calls[:position] + found.calls[position + size :]
            smaller = replay(machine, shorter)
            if smaller and type(smaller.calls[-1]) is type(found.calls[-1]):
                found = smaller
            else:
                position += size
        size //= 2
    return replace(found, script=script(found.calls, found.observed, found.allowed))

"""Every call on every kind of file, in every state of it that tells: what the model says, and the kernel.

``every_call.txt`` is the answer, written out to be read: for each situation what each call may come to, by
which clauses, whom it makes ready or not ready, and what an edge-triggered epoll is told of it. The model is
held to the text; and the live kernel, asked the same, has to do one of the things that stand there. A change
of the model that is meant to change none of this changes nothing in the text; one that is meant to is looked
at, and written down by ``python -m tests.kernel.test_every_call``.

Drawn sequences come to most of this too, but no call is sure to be drawn, least of all one that makes no
sense: a listen on a pipe is refused, and the error that it is refused with is as much of a promise as any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from itertools import dropwhile
from pathlib import Path
from typing import NamedTuple

import pytest

from loopspec.conformance.drawing import LONG, SHORT
from loopspec.conformance.live import Report, Run, UnaskableError
from loopspec.conformance.machine import Machine
from loopspec.kernel.calls import (
    Abort,
    Accept,
    Advance,
    Call,
    Close,
    Connect,
    Count,
    Data,
    Done,
    Dup,
    EpollWait,
    Events,
    Failed,
    GetError,
    Handshake,
    How,
    Listen,
    Opened,
    OpenEpoll,
    OpenEvent,
    OpenFile,
    OpenPair,
    OpenPipe,
    OpenSocket,
    OpenTimer,
    Outcome,
    Read,
    Result,
    Resume,
    SetNonblocking,
    SetTimer,
    Shutdown,
    Sleeps,
    Write,
)
from loopspec.kernel.law import NotModelledError
from loopspec.kernel.readiness import poll
from loopspec.kernel.state import (
    ERR,
    HUP,
    IN,
    OUT,
    RDHUP,
    Connection,
    Mask,
    Number,
    ProcessId,
    Regular,
    State,
    ThreadId,
    initial,
)
from loopspec.kernel.step import must_go_on, step
from tests.kernel.asking import OTHER, WORKER, add, delete, mod, n, wait
from tests.kernel.situations import CLOSED, MORE, NOBODYS, ONE, PORT, SITUATIONS, WATCHER, Situation

FILE = Path(__file__).with_name("every_call.txt")

Question = Callable[[Number], tuple[Call, ...]]
"""What is asked about a number; of several calls the last one counts."""


def one(call: Callable[[Number], Call]) -> Question:
    """The question that is one call."""
    return lambda number: (call(number),)


#: Calls that may wait, with what they are given.
WAITING: dict[str, Question] = {
    "read 1": one(lambda fd: Read(fd, 1)),
    "read 8": one(lambda fd: Read(fd, 8)),
    "write 1": one(lambda fd: Write(fd, b"x")),
    "write 3": one(lambda fd: Write(fd, b"xyz")),
    "write 8": one(lambda fd: Write(fd, ONE)),
    "connect": one(lambda fd: Connect(fd, PORT)),
    "connect to nobody": one(lambda fd: Connect(fd, NOBODYS)),
    "accept": one(Accept),
    "wait": one(lambda fd: EpollWait(fd, 2, LONG)),
    "wait a little": one(lambda fd: EpollWait(fd, 2, SHORT)),
}

ASKED: dict[str, Question] = {
    **WAITING,
    "write 8 more": one(lambda fd: Write(fd, MORE)),
    "wait": one(lambda fd: EpollWait(fd, 2, 0)),
    "wait for nothing": one(lambda fd: EpollWait(fd, 0, 0)),
    "accept, nonblocking": one(lambda fd: Accept(fd, nonblocking=True)),
    "listen": one(lambda fd: Listen(fd, PORT)),
    "listen elsewhere": one(lambda fd: Listen(fd, 2)),
    **{f"shut {how.name}": one(partial(Shutdown, how=how)) for how in How},
    "error": one(GetError),
    "error twice": lambda fd: (GetError(fd), GetError(fd)),
    "make nonblocking": one(lambda fd: SetNonblocking(fd, nonblocking=True)),
    "make blocking": one(lambda fd: SetNonblocking(fd, nonblocking=False)),
    "set": one(lambda fd: SetTimer(fd, LONG)),
    "unset": one(lambda fd: SetTimer(fd, 0)),
    "dup": one(Dup),
    "close": one(Close),
    "abort": one(Abort),
    "dup and close": lambda fd: (Dup(fd), Close(fd)),
    "dup and abort": lambda fd: (Dup(fd), Abort(fd)),
    "add": one(lambda fd: add(WATCHER, fd, IN | OUT)),
    "mod": one(lambda fd: mod(WATCHER, fd, IN | OUT)),
    "del": one(lambda fd: delete(WATCHER, fd)),
    "add to it": one(lambda fd: add(fd, WATCHER, IN)),
    "del from it": one(lambda fd: delete(fd, CLOSED)),
    "add itself": one(lambda fd: add(fd, fd, IN)),
}

OPENING: dict[str, Question] = {
    "pipe": one(lambda _: OpenPipe()),
    "pair": one(lambda _: OpenPair()),
    "socket": one(lambda _: OpenSocket()),
    "event": one(lambda _: OpenEvent(2)),
    "timer": one(lambda _: OpenTimer()),
    "file": one(lambda _: OpenFile(b"regular")),
    "epoll": one(lambda _: OpenEpoll()),
}

#: What ends a wait: what is done with another number, or with the one that is waited for.
BY_OTHERS: dict[str, Question] = {
    "{} reads 8": one(lambda fd: Read(fd, 8)),
    "{} writes 1": one(lambda fd: Write(fd, b"x")),
    "{} writes 8": one(lambda fd: Write(fd, ONE)),
    "{} connects": one(lambda fd: Connect(fd, PORT)),
    "{} is half-closed": one(lambda fd: Shutdown(fd, How.WR)),
    "{} is closed": one(Close),
    "{} is aborted": one(Abort),
}
BY_ITSELF: dict[str, Question] = {
    "{} reads 8": one(lambda fd: Read(fd, 8)),
    "{} writes 8": one(lambda fd: Write(fd, ONE)),
    "{} is shut": one(lambda fd: Shutdown(fd, How.RDWR)),
    "{} is made nonblocking": one(lambda fd: SetNonblocking(fd, nonblocking=True)),
    "{} expires": lambda fd: (SetTimer(fd, 1_000), Advance(2_000)),
    "nearly a little passes": one(lambda _: Advance(SHORT - 1)),
    "a little passes": one(lambda _: Advance(SHORT)),
    "{} watches": one(lambda fd: add(fd, WATCHER, IN)),
    "{} is closed": one(Close),
}


# --- in words -------------------------------------------------------------------------------------------

_BITS = {IN: "IN", OUT: "OUT", ERR: "ERR", HUP: "HUP", RDHUP: "RDHUP"}


def bits(mask: Mask) -> str:
    return "+".join(name for bit, name in _BITS.items() if mask & bit) or "nothing"


def words(result: Result) -> str:
    match result:
        case Done():
            return "done"
        case Sleeps():
            return "sleeps"
        case Count(value):
            return str(value)
        case Data(data):
            return repr(data)
        case Failed(errno):
            return errno.name
        case Opened(numbers):
            return f"opens {' and '.join(map(str, numbers))}"
        case Events(batch):
            return f"[{', '.join(f'{data} {bits(mask)}' for data, mask in batch)}]"


def by(outcome: Outcome) -> str:
    return f" by {', '.join(sorted(outcome.clauses))}" if outcome.clauses else ""


def conditions(state: State) -> dict[Number, Mask]:
    """What poll(2) says of every number of the first process."""
    return {number: poll(state, file)[1] for number, file in state.numbers[ProcessId(0)].items()}


def told(outcome: Outcome, before: State) -> str:
    """All that can be seen of ``outcome``: the result and its clauses, whose readiness it changes, and what
    the watcher is told."""
    was, now = conditions(before), conditions(outcome.state)
    seen = [words(outcome.result) + by(outcome)]
    changed = sorted(number for number in now if number != WATCHER and was.get(number) != now[number])
    seen += [f"{number} is {bits(now[number])}" for number in changed]
    for waited in step(outcome.state, wait(WATCHER, 16)) if WATCHER in now else ():
        if waited.result != Events(()):
            seen.append(f"told {words(waited.result)}{by(waited)}")
    return "; ".join(seen)


# --- the model's answer ---------------------------------------------------------------------------------


def reached(states: Iterable[State], call: Call) -> frozenset[State]:
    """Where ``call`` may lead, and then whatever the network can carry."""
    return carried(outcome.state for state in states for outcome in step(state, call))


def carried(states: Iterable[State]) -> frozenset[State]:
    after: set[State] = set()
    for state in states:
        under_way = [id for id, o in state.objects.items() if isinstance(o, Connection) and o.under_way]
        moved = [outcome.state for id in under_way for outcome in step(state, Handshake(id))]
        after |= carried(moved) if moved else {state}
    return frozenset(after)


@cache
def brought_about(situation: Situation) -> frozenset[State]:
    """The states of ``situation``."""
    states = frozenset((initial(3),))
    for call in situation.calls:
        states = reached(states, call)
    return states


def answers(states: frozenset[State], calls: Iterable[Call]) -> frozenset[str]:
    """What the last of ``calls`` may come to."""
    *first, last = calls
    for call in first:
        states = reached(states, call)
    try:
        return frozenset(told(outcome, state) for state in states for outcome in step(state, last))
    except NotModelledError:
        return frozenset(("not modelled",))


def grouped(said: Iterable[tuple[str, frozenset[str]]]) -> Iterator[str]:
    """The questions that have equal answers, and the answers."""
    questions: dict[frozenset[str], list[str]] = defaultdict(list)
    for question, answer in said:
        questions[answer].append(question)
    for answer, asked in questions.items():
        yield f"{', '.join(asked)}:"
        yield from (f"    {line}" for line in sorted(answer))


def questions(situation: Situation) -> Iterable[tuple[str, Question]]:
    """What is asked in ``situation``."""
    return (ASKED | OPENING if situation.opens else ASKED).items()


def at_once(situation: Situation) -> Iterator[tuple[str, frozenset[str]]]:
    """What every call comes to."""
    states = brought_about(situation)
    for question, calls in questions(situation):
        yield question, answers(states, calls(n(situation.asked)))


def sleeping(situation: Situation) -> dict[str, frozenset[State]]:
    """Those calls that may suspend their caller in ``situation``, and the states in which they have."""
    found = {}
    for question, calls in WAITING.items():
        (call,) = (by_thread(WORKER, call) for call in calls(n(situation.asked)))
        outcomes = [o for state in brought_about(situation.blocking()) for o in step(state, call)]
        asleep = frozenset(o.state for o in outcomes if isinstance(o.result, Sleeps))
        if asleep:
            found[question] = asleep
    return found


def ends(situation: Situation) -> Iterator[tuple[str, tuple[Call, ...]]]:
    """What may be done while somebody sleeps."""
    for other in situation.others:
        for question, calls in BY_OTHERS.items():
            yield question.format(other), calls(n(other))
    for question, calls in BY_ITSELF.items():
        yield question.format(situation.asked), tuple(by_thread(OTHER, c) for c in calls(n(situation.asked)))


def by_thread(thread: ThreadId, call: Call) -> Call:
    """A call that may wait is made by ``thread``, any other by the driver."""
    waits = isinstance(call, Read | Write | Accept | Connect | EpollWait)
    return replace(call, thread=thread) if waits else call


def woken(states: frozenset[State], calls: Iterable[Call]) -> frozenset[str]:
    """What the sleeper comes to when ``calls`` have been made."""
    try:
        for call in calls:
            states = reached(states, call)
    except NotModelledError:
        return frozenset(("not modelled",))
    return frozenset(line for state in states for line in goes_on(state))


def goes_on(state: State) -> Iterator[str]:
    outcomes = list(step(state, Resume(thread=WORKER)))
    how = "must go on" if must_go_on(state, WORKER) else "may go on" if outcomes else "sleeps on"
    if not outcomes:
        yield how
    for outcome in outcomes:
        yield f"{how}: {words(outcome.result)}{by(outcome)}"


def at_once_in_words(situation: Situation) -> list[str]:
    """What every call comes to, in lines."""
    return list(grouped(at_once(situation)))


def asleep_in_words(situation: Situation) -> list[str]:
    """What every call that sleeps comes to, in lines."""
    lines = []
    for question, asleep in sleeping(situation).items():
        said = ((end, woken(asleep, calls)) for end, calls in ends(situation))
        lines += [f"suspended in {question}:", *(f"  {line}" for line in grouped(said))]
    return lines


class Written(NamedTuple):
    """What stands in :data:`FILE` of a situation."""

    at_once: list[str]
    asleep: list[str]


@cache
def written() -> dict[str, Written]:
    """What stands in :data:`FILE`."""
    found = {}
    for section in FILE.read_text(encoding="utf-8").split("== ")[1:]:
        name, *rest = section.splitlines()
        lines = [line for line in rest if line]
        asleep = list(dropwhile(lambda line: not line.startswith("suspended in"), lines))
        found[name] = Written(lines[: len(lines) - len(asleep)], asleep)
    return found


EVERY = pytest.mark.parametrize("name", SITUATIONS)


@EVERY
def test_what_a_call_comes_to_is_what_stands_written(name: str) -> None:
    assert at_once_in_words(SITUATIONS[name]) == written()[name].at_once, "see the docstring of this module"


@EVERY
def test_what_a_sleeper_comes_to_is_what_stands_written(name: str) -> None:
    assert asleep_in_words(SITUATIONS[name]) == written()[name].asleep, "see the docstring of this module"


# --- the kernel's answer --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine(2) as ready:
        yield ready


@EVERY
def test_the_live_kernel_does_one_of_the_things_that_the_model_says(machine: Machine, name: str) -> None:
    """Calls that change nothing follow one another, to be fast; after one that does, the situation is
    brought about anew."""
    situation = SITUATIONS[name]
    run = begun(machine, situation)
    for _, calls in questions(situation):
        before = run.states
        if not made(run, calls(n(situation.asked))):
            run = begun(machine, situation)
        elif run.states != before:
            looked_at(run)
            run = begun(machine, situation)


@pytest.mark.full
@EVERY
def test_the_live_kernel_wakes_whom_the_model_says(machine: Machine, name: str) -> None:
    situation = SITUATIONS[name].blocking()
    for question in sleeping(SITUATIONS[name]):
        (call,) = WAITING[question](n(situation.asked))
        for _, calls in ends(SITUATIONS[name]):
            run = begun(machine, situation)
            if made(run, (by_thread(WORKER, patient(call, calls)), *calls)):
                looked_at(run)


def patient(call: Call, calls: Iterable[Call]) -> Call:
    """A short wait as a long one, unless time is to end it: the clock of this machine might be first."""
    if isinstance(call, EpollWait) and call.timeout == SHORT:
        return call if any(isinstance(each, Advance) for each in calls) else replace(call, timeout=LONG)
    return call


def begun(machine: Machine, situation: Situation) -> Run:
    """A run in ``situation``."""
    run = Run(machine, Report())
    for call in situation.calls:
        run.make(call)
    return run


def made(run: Run, calls: Iterable[Call]) -> bool:
    """Make ``calls``; whether the model has anything to say of them all."""
    with suppress(UnaskableError):
        for call in calls:
            run.make(call)
        return True
    return False


def looked_at(run: Run) -> None:
    """What poll(2) says, and what the watcher is told."""
    for number in conditions(run.state):
        if number not in regular(run.state):
            allowed = {conditions(state)[number] for state in run.states}
            assert run.machine.conditions(number)[0] in allowed, f"{number} after {run.made}"
    if WATCHER in conditions(run.state):
        run.make(wait(WATCHER, 16))


def regular(state: State) -> set[Number]:
    """The numbers of which poll(2) has nothing to say."""
    names = state.numbers[ProcessId(0)]
    return {number for number, file in names.items() if isinstance(state.files[file].kind, Regular)}


def write() -> None:
    """Write down what the model says."""
    sections = (
        [f"== {name}", *at_once_in_words(situation), *asleep_in_words(situation), ""]
        for name, situation in SITUATIONS.items()
    )
    FILE.write_text("\n".join("\n".join(section) for section in sections), encoding="utf-8")


if __name__ == "__main__":
    write()

"""The steps of the rules about servers, which all look at a rest of the server.

What they look at is a :class:`~loopspec.server.World`, with two clients in it: number 0, of whom anything may
be true, and number 1, who has asked and reads, or has not come. The last contracts say of a world what an
event makes of it.
"""

from __future__ import annotations

from enum import Enum

from loopspec.env import PeerArbitrary
from loopspec.fair import SlowReaderDelaysNobody
from loopspec.frozen import Map
from loopspec.proofs import Seen, after
from loopspec.server import (
    COROUTINE,
    EVENT_LOOP,
    LOCK,
    PROCESS,
    REACTOR,
    SEQUENTIAL,
    THREAD,
    WAIT,
    Asked,
    BlockingHandlerStopsAll,
    Client,
    HandlersOnWorkers,
    LeaksNothing,
    LooksSynchronous,
    LoopOneThread,
    OneAtATime,
    ProcessIsolates,
    SameAnswers,
    SequentialStarves,
    ThreadShares,
    World,
)
from loopspec.trace import AtRest, Receive


class Who(Enum):
    """What client 0 is."""

    GONE = Client(here=False)
    SILENT = Client()
    FINISHED = Client(finished=True)
    ASKS = Client(asked=(Asked(b"echo a", 0),))
    ASKS_AND_READS_NOT = Client(reading=False, asked=(Asked(b"echo a", 0),))
    BEHIND_THE_LOCK = Client(asked=(Asked(b"slow gate", 0),))

    def is_owed(self, *, held: bool) -> bool:
        """Whether a server that has nobody else would owe it something."""
        return self in (Who.FINISHED, Who.ASKS) or (self is Who.BEHIND_THE_LOCK and not held)


class Where(Enum):
    """Where the main thread of a server is."""

    WAIT = WAIT
    LOCK = LOCK
    RECV = "recv"


_ASKS = Client(asked=(Asked(b"echo b", 0),))


def _world(who: Who, *, second: bool = False, held: bool = False, answered: int = 0) -> World:
    clients = {0: who.value, 1: _ASKS} if second else {0: who.value}
    return World(Map(clients), frozenset({"lock"} if held else ()), answered)


def _rest(main: Where = Where.WAIT, processes: int = 1, threads: int = 1, descriptors: int = 9) -> AtRest:
    return AtRest(processes, threads, descriptors, main.value, None, ())


# --- the architectures --------------------------------------------------------------------------------


def sequential_starves(who: Who, main: Where, on: int, served: bool) -> Seen[SequentialStarves]:
    """A rest is refused exactly if somebody was served behind the first who is here, or the first is silent
    and the server is not in a recv of his.

    pre: who is not Who.GONE
    post: _.breaks == (served or (who is Who.SILENT and not (main is Where.RECV and on == 0)))
    """
    second = _ASKS._replace(served=served)
    rest = AtRest(1, 1, 9, main.value, on, ())
    return after(SequentialStarves(World(Map({0: who.value, 1: second})), SEQUENTIAL), rest)


def process_isolates(who: Who, held: bool, processes: int) -> Seen[ProcessIsolates]:
    """A rest is refused exactly if somebody is owed an answer, or there is not one process for each.

    post: _.breaks == (who.is_owed(held=held) or processes != 1 + (who is not Who.GONE))
    """
    return after(ProcessIsolates(_world(who, held=held), PROCESS), _rest(processes=processes))


def thread_shares(who: Who, held: bool, processes: int, threads: int) -> Seen[ThreadShares]:
    """A rest is refused exactly if somebody is owed an answer, or there is not one thread for each in one
    process.

    post: _.breaks == (who.is_owed(held=held) or processes != 1 or threads != 1 + (who is not Who.GONE))
    """
    rest = _rest(processes=processes, threads=threads)
    return after(ThreadShares(_world(who, held=held), THREAD), rest)


def loop_one_thread(who: Who, held: bool, threads: int) -> Seen[LoopOneThread]:
    """A rest is refused exactly if there is another thread, or somebody is owed an answer and no handler can
    block.

    post: _.breaks == (threads != 1 or (who.is_owed(held=held)))
    """
    return after(LoopOneThread(_world(who, held=held), EVENT_LOOP), _rest(threads=threads))


def blocking_handler_excuses(second: bool, held: bool) -> Seen[LoopOneThread]:
    """While a handler may block, the others may be owed answers.

    post: _.breaks == (not held)
    """
    return after(LoopOneThread(_world(Who.BEHIND_THE_LOCK, second=second, held=held), EVENT_LOOP), _rest())


def blocking_handler_stops_all(
    who: Who, main: Where, held: bool, stopped: bool, answered: int, before: int
) -> Seen[BlockingHandlerStopsAll]:
    """A rest is refused exactly if the thread is not in the call that a handler is blocked in, or somebody
    was served since it was.

    pre: 0 <= before <= answered
    post: _.breaks == (_is_elsewhere(who, main, held) or (stopped and answered > before))
    """
    world = _world(who, held=held, answered=answered)
    return after(BlockingHandlerStopsAll(world, EVENT_LOOP, before, stopped), _rest(main))


def _is_elsewhere(who: Who, main: Where, held: bool) -> bool:
    return who is Who.BEHIND_THE_LOCK and held and main is not Where.LOCK


def handlers_on_workers(who: Who, main: Where, held: bool, second: bool) -> Seen[HandlersOnWorkers]:
    """A rest is refused exactly if the loop's thread is not in its wait, or somebody is owed an answer.

    post: _.breaks == (main is not Where.WAIT or second or who.is_owed(held=held))
    """
    return after(HandlersOnWorkers(_world(who, second=second, held=held), REACTOR), _rest(main))


def looks_synchronous(who: Who, main: Where, held: bool, processes: int) -> Seen[LooksSynchronous]:
    """A rest is refused exactly if the loop's thread is not in its wait, there is another process, or
    somebody is owed an answer.

    post: _.breaks == (main is not Where.WAIT or processes != 1 or who.is_owed(held=held))
    """
    return after(LooksSynchronous(_world(who, held=held), COROUTINE), _rest(main, processes))


class Architecture(Enum):
    """Those of whom most is asked, and one of whom less is."""

    PROCESS = PROCESS
    REACTOR = REACTOR
    EVENT_LOOP = EVENT_LOOP
    SEQUENTIAL = SEQUENTIAL

    def may_starve(self, who: Who, *, held: bool) -> bool:
        """Whether its clients may be owed answers."""
        stops = self is Architecture.EVENT_LOOP and held and who is Who.BEHIND_THE_LOCK
        return self is Architecture.SEQUENTIAL or stops


def slow_reader_delays_nobody(
    architecture: Architecture, who: Who, second: bool, held: bool
) -> Seen[SlowReaderDelaysNobody]:
    """A rest is refused exactly if somebody who asked does not read, and somebody else is owed an answer.

    post: _.breaks == (second and _is_slow(who) and not architecture.may_starve(who, held=held))
    """
    return after(SlowReaderDelaysNobody(_world(who, second=second, held=held), architecture.value), _rest())


def _is_slow(who: Who) -> bool:
    return who is Who.ASKS_AND_READS_NOT


# --- all of them --------------------------------------------------------------------------------------


def same_answers(architecture: Architecture, who: Who, second: bool, held: bool) -> Seen[SameAnswers]:
    """A rest is refused exactly if somebody is owed an answer by a server that may not starve him.

    post: _.breaks == (not architecture.may_starve(who, held=held) and (second or who.is_owed(held=held)))
    """
    return after(SameAnswers(_world(who, second=second, held=held), architecture.value), _rest())


class Given(Enum):
    """What may be given to one who has asked ``echo a``."""

    RIGHT = b"a\n"
    PART = b"a"
    WRONG = b"b\n"
    WRONG_PART = b"b"
    TWICE = b"a\na\n"


def wrong_answers_are_seen(given: Given, asked: bool) -> Seen[SameAnswers]:
    """What is received is refused exactly if it is not the beginning of what was asked for.

    post: _.breaks == (not asked or given not in (Given.RIGHT, Given.PART))
    """
    who = Who.ASKS if asked else Who.SILENT
    return after(SameAnswers(_world(who), PROCESS), Receive(0, given.value))


def one_at_a_time(before: bool, floor: int, counting: int) -> Seen[OneAtATime]:
    """The number 3 is refused exactly if it was given already, was there before it was asked for, or counts
    more than were asked for.

    post: _.breaks == (before or floor >= 3 or counting < 3)
    """
    asks = Client(asked=(Asked(b"ask count", floor),))
    counts = Map({3: None}) if before else Map[int, None]()
    return after(
        OneAtATime(World(Map({0: asks}), counts=counts, counting=counting), PROCESS), Receive(0, b"3\n")
    )


def leaks_nothing(who: Who, processes: int, threads: int, descriptors: int) -> Seen[LeaksNothing]:
    """A rest is refused exactly if everybody has gone, and there is something else than at first.

    pre: processes in (1, 2) and threads in (1, 2) and descriptors in (8, 9, 10)
    post: _.breaks == (who is Who.GONE and (processes, threads, descriptors) != (1, 1, 9))
    """
    rest = _rest(processes=processes, threads=threads, descriptors=descriptors)
    return after(LeaksNothing(_world(who), PROCESS, 0, _rest()), rest)


def peer_arbitrary(who: Who, held: bool, acted: bool, processes: int) -> Seen[PeerArbitrary]:
    """A rest is refused exactly if the server has ended, or somebody is owed an answer; it shows something if
    a client has acted, and that is told once.

    post: _.breaks == (processes == 0 or who.is_owed(held=held))
    post: not _.shows or (acted and not _.next.acted)
    """
    return after(PeerArbitrary(_world(who, held=held), PROCESS, 0, acted), _rest(processes=processes))

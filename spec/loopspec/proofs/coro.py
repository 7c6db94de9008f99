"""The life of a task, and the steps of the rules of CORO."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from loopspec.coro import (
    LIFE,
    AlwaysOrNever,
    ChildWithinParent,
    DeadlockReported,
    ExactlyOne,
    Happening,
    LifeTable,
    NotByKernel,
    OncePerWake,
    OneAtATime,
    OneReason,
    OnlyAtAwait,
    OrderByProgram,
    Refusal,
    SameEffect,
    State,
    StronglyHeld,
    ThreadsIndependentOfTasks,
)
from loopspec.frozen import Map
from loopspec.proofs import Seen, after, has
from loopspec.trace import (
    Alone,
    Await,
    Begin,
    CancelRequest,
    Collect,
    Deadlock,
    Done,
    End,
    GroupEnter,
    GroupExit,
    GroupStart,
    Joined,
    Objects,
    Outcome,
    Quiescent,
    Reason,
    Settle,
    Shown,
    Spawn,
    Step,
    Threads,
    TimerArm,
    Vanish,
    WaitBegin,
)

# --- the life of a task -------------------------------------------------------------------------------


class Facts(NamedTuple):
    """What has happened to a task, without any law."""

    born: bool = False
    started: bool = False
    inside: bool = False
    ended: int = 0


def told(facts: Facts, happening: Happening) -> Facts:
    """``facts``, and ``happening``, whatever it is: this records and judges nothing."""
    match happening:
        case Happening.SPAWN:
            return facts._replace(born=True)
        case Happening.STEP:
            return facts._replace(started=True, inside=True)
        case Happening.YIELD | Happening.WAIT:
            return facts._replace(inside=False)
        case Happening.END:
            return facts._replace(inside=False, ended=facts.ended + 1)
        case Happening.CANCEL:
            return facts


def stands_for(state: State, facts: Facts) -> bool:
    """What each state says of the facts: the invariant that :func:`live` keeps."""
    match state:
        case State.ABSENT:
            return facts == Facts()
        case State.NEW:
            return facts == Facts(born=True)
        case State.READY | State.WAITING:
            return facts == Facts(born=True, started=True)
        case State.RUNNING:
            return facts == Facts(born=True, started=True, inside=True)
        case State.DONE:
            return facts.born and not facts.inside and facts.ended == 1


def total(state: State, happening: Happening) -> State | Refusal:
    """The table answers every happening in every state.

    post: isinstance(_, (State, Refusal))
    """
    return LIFE[state, happening]


class Lived(NamedTuple):
    """Where the table has led, and what has happened on the way."""

    to: State | Refusal
    facts: Facts


def live(state: State, facts: Facts, happening: Happening) -> Lived:
    """A happening that the table allows leads from a state and its facts to a state and its facts.

    pre: stands_for(state, facts)
    post: isinstance(_.to, Refusal) or stands_for(_.to, _.facts)
    """
    return Lived(LIFE[state, happening], told(facts, happening))


def ends_once(state: State, facts: Facts, happening: Happening) -> Lived:
    """No task ends twice, and none runs again that has ended.

    pre: stands_for(state, facts)
    post: isinstance(_.to, Refusal) or (_.facts.ended <= 1 and not (_.facts.ended and _.facts.inside))
    """
    return Lived(LIFE[state, happening], told(facts, happening))


class Moves(Enum):
    """The events of a task's life."""

    SPAWN = Spawn(1, 0)
    STEP = Step(1, 0, 0)
    YIELD = Await(1, 0, "checkpoint", 0)
    WAIT = Await(1, 0, "event", 0)
    CANCEL = CancelRequest(1, 0)
    END = Done(1, 0, "value", "")


def life_table(state: State, event: Moves) -> Seen[LifeTable]:
    """An event is refused exactly if the table refuses it, and leads where the table leads.

    post: _.breaks == isinstance(LIFE[state, Happening[event.name]], Refusal)
    post: _.breaks or _.next.state is LIFE[state, Happening[event.name]]
    """
    return after(LifeTable(state), event.value)


# --- who runs -----------------------------------------------------------------------------------------


class Running(Enum):
    """What can happen while a task, number 0, may run."""

    GOES_ON = Step(1, 0, 0)
    ANOTHER = Step(1, 1, 0)
    AWAITS = Await(1, 0, "event", 0)
    ENDS = Done(1, 0, "value", "")
    SPAWNS = Spawn(1, 2)


def one_at_a_time(running: bool, alive: int, event: Running) -> Seen[OneAtATime]:
    """A step is refused exactly if it begins inside another task's.

    post: _.breaks == (running and event is Running.ANOTHER)
    post: event not in (Running.AWAITS, Running.ENDS) or _.next.running is None
    post: _.next.alive == alive + (event is Running.SPAWNS) - (event is Running.ENDS)
    """
    return after(OneAtATime(0 if running else None, alive), event.value)


class Block(Enum):
    """What task 0 may do after another has broken into its step."""

    ENTERS = Begin(1, 0, "op")
    LEAVES = End(1, 0, "op", "value")
    AWAITS = Await(1, 0, "event", 0)
    ENDS = Done(1, 0, "value", "")


def only_at_await(broken_into: bool, event: Block) -> Seen[OnlyAtAwait]:
    """What a task does is refused exactly if another task's step has begun inside its own.

    post: _.breaks == broken_into
    """
    another = (Step(1, 1, 0),) if broken_into else ()
    return after(OnlyAtAwait(), Step(1, 0, 0), *another, event.value)


# --- what a resumption is owed to ---------------------------------------------------------------------


def sleep_has_its_instant(instant: int, at: int, first: bool, cancelled: bool) -> Seen[OncePerWake]:
    """A resumption from a sleep is refused exactly if it is early, nobody has cancelled, and it cannot have
    been a checkpoint before the sleep.

    post: _.breaks == (at < instant and not first and not cancelled)
    """
    enters = (Begin(1, 0, "sleep"),) if first else (Begin(1, 0, "sleep"), Await(1, 0, "checkpoint", 0))
    again = () if first else (Step(1, 0, 0),)
    asked = (CancelRequest(1, 0),) if cancelled else ()
    awaits = Await(1, 0, "sleep", instant)
    return after(OncePerWake(), *enters, *again, awaits, *asked, Step(1, 0, at))


def once_per_wake(settled: bool, task: bool, suspended: bool) -> Seen[OncePerWake]:
    """A resumption is refused exactly if there was no suspension, or what it was for has not come.

    post: _.breaks == (not suspended or not settled)
    """
    reason: Reason = "join" if task else "event"
    awaits = (Begin(1, 0, "op"), Await(1, 0, "checkpoint", 0), Step(1, 0, 0))
    waits = (Await(1, 0, reason, 7),) if suspended else ()
    comes = (Settle(1, reason, 7),) if settled else ()
    return after(OncePerWake(), *awaits, *waits, *comes, Step(1, 0, 0))


def unsure_is_decided(settled: bool, fails: bool) -> Seen[OncePerWake]:
    """Who left its first suspension without a cause may return a value exactly if there is one by then.

    post: _.breaks == (not settled and not fails)
    """
    enters = (Begin(1, 0, "op"), Await(1, 0, "event", 7), Step(1, 0, 0))
    comes = (Settle(1, "event", 7),) if settled else ()
    return after(OncePerWake(), *enters, *comes, End(1, 0, "op", "error" if fails else "value"))


def nobody_is_left_settled(settled: bool, resumed: bool) -> Seen[OncePerWake]:
    """The end is refused exactly if a wait has been settled and not resumed.

    post: _.breaks == (settled and not resumed)
    """
    comes = (Settle(1, "event", 7),) if settled else ()
    steps = (Step(1, 0, 0),) if resumed else ()
    return after(OncePerWake(), Begin(1, 0, "op"), Await(1, 0, "event", 7), *comes, *steps, Quiescent(1))


def one_reason(stays: bool, comes: bool, returns: bool) -> Seen[OneReason]:
    """A value is refused exactly if the task was resumed by what it no longer waits for.

    post: _.breaks == (stays and not comes and returns)
    """
    # Taken out of its wait for event 5 by a request, which excuses two resumptions, it waits for event 6.
    five: tuple[Reason, int] = ("event", 5)
    left = Map({(0, five): None}) if stays else Map()
    state = OneReason(waits=Map({0: ("event", 6)}), left=left)
    six = (Settle(1, "event", 6),) if comes else ()
    ends = End(1, 0, "op", "value" if returns else "error")
    return after(state, Settle(1, "event", 5), *six, Step(1, 0, 0), ends)


# --- outcomes and operations --------------------------------------------------------------------------


class Told(Enum):
    """What is told of the end of task 0."""

    ENDS = Done(2, 0, "value", "a")
    SEES_IT = Joined(2, 1, 0, "value", "a")
    SEES_ANOTHER = Joined(2, 1, 0, "error", "b")
    SEES_CANCELLED = Joined(2, 1, 0, "cancelled", "")


def exactly_one(ended: bool, asked: bool, event: Told) -> Seen[ExactlyOne]:
    """An end is refused exactly if it is the second, and what a joiner sees if it is not that one; who is
    asked to end in the turn of its end may be seen cancelled.

    post: _.breaks == _contradicts(event, ended, asked)
    """
    asks = (CancelRequest(1, 0),) if asked else ()
    done = (Done(1, 0, "value", "a"),) if ended else ()
    return after(ExactlyOne(), *asks, *done, event.value)


def _contradicts(event: Told, ended: bool, asked: bool) -> bool:
    match event:
        case Told.ENDS:
            return ended
        case Told.SEES_IT:
            return not ended
        case Told.SEES_ANOTHER:
            return True
        case Told.SEES_CANCELLED:
            return not (ended and asked)


def always_or_never(habit: bool | None, known: bool, suspends: bool) -> Seen[AlwaysOrNever]:
    """A success is refused exactly if it suspends its caller and the first did not, or the other way round.

    post: _.breaks == (known and habit is not None and habit != suspends)
    post: _.shows == (known and habit is not None and habit == suspends)
    """
    habits = Map({"op": habit}) if known else Map[str, bool | None]()
    return after(AlwaysOrNever(has(suspends), habits), End(1, 0, "op", "value"))


def threads_independent_of_tasks(
    tasks: int, threads: int, more: int, then: int
) -> Seen[ThreadsIndependentOfTasks]:
    """A sample is refused exactly if it has more tasks than the one with the fewest, and more threads.

    post: _.breaks == (more > tasks and then > threads)
    post: _.breaks or _.next.fewest is not None and _.next.fewest[0] == min(tasks, more)
    """
    return after(ThreadsIndependentOfTasks((tasks, threads)), Threads(1, then, more))


# --- threads, and what decides ------------------------------------------------------------------------


def not_by_kernel(switches: int, besides: bool, suspended: bool) -> Seen[NotByKernel]:
    """The end of a turn is refused exactly if nothing but switching was done in it, and its thread was
    suspended.

    post: _.breaks == (switches >= 2 and not besides and suspended)
    """
    return after(NotByKernel(None, switches, besides, suspended), WaitBegin(1, None))


def no_kernel_object(tasks: int, descriptors: int, more: int, then: int) -> Seen[NotByKernel]:
    """A sample is refused exactly if it has more tasks than the one with the fewest, and more descriptors.

    post: _.breaks == (more > tasks and then > descriptors)
    """
    return after(NotByKernel(fewest=(tasks, descriptors)), Objects(1, then, more))


def order_by_program(place: int, task: int, ends: bool) -> Seen[OrderByProgram]:
    """A step is refused exactly if it is another than before, and the end if there were more.

    pre: 0 <= place <= 2
    post: _.breaks == (place < 2 if ends else place == 2 or task != place + 3)
    post: _.breaks or ends or _.next.place == place + 1
    """
    return after(OrderByProgram((3, 4), place), Quiescent(1) if ends else Step(1, task, 0))


# --- what holds a task, and what nothing will wake -----------------------------------------------------


class Held(Enum):
    """What can happen to a task that may wait."""

    COLLECTED = Collect(1)
    VANISHES = Vanish(1, 0)
    STEPS = Step(1, 0, 0)
    ENDS = Done(1, 0, "value", "")


def strongly_held(waits: bool, event: Held) -> Seen[StronglyHeld]:
    """That a task is destroyed is refused, always; a collector shows something while one waits.

    post: _.breaks == (event is Held.VANISHES)
    post: _.shows == (waits and event is Held.COLLECTED)
    """
    return after(StronglyHeld(has(waits)), event.value)


def deadlock_reported(alone: bool, mutual: bool, timer: bool, endless: bool) -> Seen[DeadlockReported]:
    """Sleep is refused exactly if it is without end, all tasks wait for each other, and nothing else can
    come.

    post: _.breaks == (alone and mutual and not timer and endless)
    """
    waits = (Spawn(1, 0), Await(1, 0, "event" if mutual else "read", 0))
    by = (Alone(1),) if alone else ()
    armed = (TimerArm(1, 0, 0, 0, 0),) if timer else ()
    return after(DeadlockReported(), *by, *waits, *armed, WaitBegin(1, None if endless else 1))


def deadlock_is_one(mutual: bool, timer: bool, named: bool) -> Seen[DeadlockReported]:
    """A report is refused exactly if there is no deadlock, or it names others than those who wait.

    post: _.breaks == (not (mutual and not timer and named)) and _.shows != _.breaks
    """
    waits = (Spawn(1, 0), Await(1, 0, "event" if mutual else "read", 0))
    armed = (TimerArm(1, 0, 0, 0, 0),) if timer else ()
    return after(DeadlockReported(), *waits, *armed, Deadlock(1, (0,) if named else (0, 1)))


# --- task groups --------------------------------------------------------------------------------------


def child_within_parent(ended: bool, fails: bool, told: bool) -> Seen[ChildWithinParent]:
    """The end of a group is refused exactly if a child of it lives, or an error of one is not among those
    that leave it.

    post: _.breaks == (not ended or (fails and not told))
    """
    outcome: Outcome = "error" if fails else "value"
    done = (Done(1, 1, outcome, "E"),) if ended else ()
    enters = (GroupEnter(1, 0, 0), GroupStart(1, 0, 1))
    return after(ChildWithinParent(), *enters, *done, GroupExit(1, 0, 0, outcome, ("E",) if told else ()))


def siblings_are_cancelled(failed: int, turn: int, fails: bool) -> Seen[ChildWithinParent]:
    """A success of a child is refused exactly if a sibling has failed more than two turns before.

    post: _.breaks == (fails and turn > failed + 2)
    """
    starts = (GroupEnter(1, 0, 0), GroupStart(1, 0, 1), GroupStart(1, 0, 2))
    done = Done(failed, 1, "error" if fails else "value", "E")
    return after(ChildWithinParent(), *starts, done, End(turn, 2, "op", "value"))


# --- coroutines, callbacks, threads -------------------------------------------------------------------


def same_effect(same_data: bool, same_end: bool) -> Seen[SameEffect]:
    """A style is refused exactly if it shows a client another thing, or does not end where another does.

    post: _.breaks == (not (same_data and same_end)) and _.shows != _.breaks
    """
    first = Shown("coroutine", 0, b"a", True)
    return after(SameEffect(), first, Shown("thread", 0, b"a" if same_data else b"b", same_end))

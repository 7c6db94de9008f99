"""The families of scenarios: one strategy for each part of what a loop does.

A scenario drawn from everything at once seldom makes the premise of any one clause come true. So there is
a family for timers, one for descriptors that change hands, one for tasks, and so on, each of the same
values, and each with a word for the areas of the specification that it is for. A family is small steps,
few objects and short delays: bugs of this kind show in three clients and five milliseconds, and more only
hides them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from loopspec.conformance import scenario as s
from loopspec.conformance.scenario import At, Program, Scenario
from loopspec.trace import RpcForm, Trigger

T = TypeVar("T")

_index = st.integers(0, 3)
_size = st.integers(1, 6)
_delay = st.integers(0, 3)


_gap = st.sampled_from((0, 0, 0, 1, 2))
_asleep = st.sampled_from((False, False, True))


def _one_of(*choices: SearchStrategy[T]) -> SearchStrategy[T]:
    """Any of ``choices``. What is named twice comes twice as often: ``st.one_of`` takes it for once."""
    return st.integers(0, len(choices) - 1).flatmap(choices.__getitem__)


def _body(*steps: SearchStrategy[s.Do], least: int = 0, most: int = 3) -> SearchStrategy[Program]:
    return st.lists(_one_of(*steps), min_size=least, max_size=most).map(tuple)


def _script(*acts: SearchStrategy[s.Act], least: int = 0, most: int = 8) -> SearchStrategy[tuple[At, ...]]:
    at = st.builds(At, _gap, _asleep, _one_of(*acts))
    return st.lists(at, min_size=least, max_size=most).map(tuple)


_take = st.builds(s.Take, _index, _size)
_give = st.builds(s.Give, _index, _size)
_work = st.builds(s.Work, _delay)
_fail = st.just(s.Fail())
_close = st.builds(s.Close, _index)
_unwatch = st.builds(s.Unwatch, _index)
_cancel_timer = st.builds(s.CancelTimer, _index)
_set_event = st.builds(s.SetEvent, st.integers(0, 1))
_cancel_task = st.builds(s.CancelTask, _index)
_post = st.builds(s.Post, st.just(1), _body(_take, _cancel_timer, _unwatch, _set_event, most=1))
_flood = st.builds(s.Post, st.just(300), st.just(()))
_send = st.builds(s.Send, _index, _size)
_half_close = st.builds(s.HalfClose, _index)
_finish = st.builds(s.Finish, _index, _size)
_stop_reading = st.builds(s.StopReading, _index)
_leave = st.builds(s.Leave, _index)
_reset = st.builds(s.Reset, _index)
_elapse = st.just(s.Elapse())


def _scenario(
    program: SearchStrategy[s.Program],
    script: SearchStrategy[tuple[At, ...]],
    *,
    streams: SearchStrategy[int] = st.just(0),  # noqa: B008 - a strategy is a value
    tcp: SearchStrategy[bool] = st.just(False),  # noqa: B008
    echo: bool = False,
    workers: SearchStrategy[int] = st.just(0),  # noqa: B008
    alone: bool = False,
    rehearsed: bool = False,
) -> SearchStrategy[Scenario]:
    return st.builds(
        Scenario, streams, tcp, st.just(echo), program, script, workers, st.just(alone), st.just(rehearsed)
    )


_small_timer = st.builds(s.Later, _delay, _body(_work, _cancel_timer, most=1))
_due_timer = st.builds(s.Later, st.just(0), _body(_work, most=1))
_timer = st.builds(s.Later, _delay, _body(_small_timer, _due_timer, _work, _cancel_timer, _fail, most=2))
_hoard = st.builds(s.Hoard, st.sampled_from((1, 40, 300)))
_soon_work = st.builds(s.Soon, _body(_small_timer, _work, _cancel_timer, most=2))

_timers = _scenario(
    _body(_timer, _timer, _timer, _cancel_timer, _work, _soon_work, least=2, most=7),
    _script(_elapse, _post, most=3),
)

_hoards = _scenario(_body(_hoard, _small_timer, _small_timer, most=3), _script(_elapse, most=2))

_small_soon = st.builds(s.Soon, _body(_work, _fail, most=1))
_soon = st.builds(s.Soon, _body(_small_soon, _small_timer, _fail, most=2))
_chain = st.builds(s.Soon, _body(st.builds(s.Soon, _body(_small_soon, most=1)), most=2))
_drain = st.builds(s.Watch, _index, st.just("read"), st.integers(1, 3), st.just((s.Take(0, 64),)))

_callbacks = _scenario(
    _body(_soon, _chain, _small_timer, _drain, least=1, most=5),
    _script(_post, _send, _elapse, most=5),
    streams=st.integers(0, 2),
)

_wakeups = _scenario(
    _body(_small_timer, _small_soon, most=2),
    _script(_post, _post, _post, _post, _elapse, _elapse, _flood, least=1, most=6),
)

_interrupt = st.just(s.Interrupt())

_waits = _scenario(
    _body(_small_timer, _small_timer, _timer, _soon_work, most=4),
    _script(_interrupt, _interrupt, _elapse, _post, least=1, most=5),
)

_caught = st.builds(s.OnSignal, _body(_work, _small_soon, _small_timer, most=1))
_signal = st.just(s.Signal())

_signals = _scenario(
    st.builds(lambda caught, rest: (caught, *rest), _caught, _body(_small_timer, _small_soon, most=2)),
    _script(_signal, _signal, _signal, _post, _flood, _elapse, least=1, most=6),
)

_strangers = _scenario(
    _body(_small_timer, _small_soon, most=2),
    _script(st.just(s.Trespass()), st.just(s.Fork()), st.just(s.Fork()), _post, _elapse, least=1, most=4),
)

_handler = _body(_take, _take, _give, _unwatch, _close, _fail, _small_soon, most=3)
_reopen = st.builds(s.Reopen, _index, _body(_take, _unwatch, most=2))
_eager_handler = _body(_take, _unwatch, _close, _reopen, _fail, most=3)
_direction = st.sampled_from(("read", "read", "write"))
_watch_file = st.just(s.WatchFile())
_watch = st.builds(s.Watch, _index, _direction, st.integers(1, 4), st.one_of(_handler, _eager_handler))

_descriptors = _scenario(
    _body(_watch, _watch, _watch, _watch, _unwatch, _reopen, _small_timer, _watch_file, least=2, most=6),
    _script(_send, _send, _send, _half_close, _leave, _post, _elapse, least=2, most=8),
    streams=st.integers(1, 4),
)

_rival = st.builds(
    s.Watch,
    _index,
    st.just("read"),
    st.integers(2, 4),
    _body(_take, _unwatch, _close, _reopen, _reopen, _fail, least=1, most=2),
)

_rivals = _scenario(
    _body(_rival, least=2, most=4),
    _script(_send, _send, _send, _leave, least=2, most=6),
    streams=st.integers(2, 3),
)

_unwatch_again = st.builds(s.UnwatchAgain, _index)
_close_behind = st.builds(s.CloseBehind, _index)
_patient = st.builds(s.Watch, _index, st.just("read"), st.integers(2, 4), _body(_take, _unwatch, most=2))


def _watch_of(stream: int, times: int) -> s.Watch:
    return s.Watch(stream, "read", times, (s.Take(0, 64),))


_later_change = st.builds(s.Later, _delay, _body(_unwatch, _unwatch_again, _patient, _close, least=1, most=3))

_latecomers = _scenario(
    st.builds(
        lambda stream, times, rest: (_watch_of(stream, times), s.Unwatch(0), _watch_of(stream, times), *rest),
        _index,
        st.integers(2, 4),
        _body(_unwatch_again, _unwatch_again, _patient, _unwatch, _reopen, _later_change, least=1, most=4),
    ),
    _script(_send, _send, _send, _elapse, _leave, least=1, most=6),
    streams=st.integers(1, 2),
)

_checkpoint = st.builds(s.Checkpoint, st.integers(1, 5))
_sleep = st.builds(s.Sleep, _delay)
_receive = st.builds(s.Receive, st.integers(0, 1), _size)
_send_all = st.builds(s.SendAll, st.integers(0, 1), st.sampled_from((1, 5, 9000)))
_wait_event = st.builds(s.WaitEvent, st.integers(0, 1))
_join = st.builds(s.Join, _index)
_operate = st.builds(s.Operate, st.integers(0, 7), st.booleans())


def _task_body(
    *steps: SearchStrategy[s.Do | s.AsyncDo], least: int = 0, most: int = 4
) -> SearchStrategy[s.TaskProgram]:
    return st.lists(_one_of(*steps), min_size=least, max_size=most).map(tuple)


_busy = st.builds(s.Spawn, st.builds(s.Checkpoint, st.integers(2, 6)).map(lambda step: (step,)))
_small_task = st.builds(s.Spawn, _task_body(_checkpoint, _sleep, _wait_event, _fail, most=2))
_task = st.builds(
    s.Spawn,
    _task_body(
        *(_checkpoint, _sleep, _wait_event, _set_event, _join, _cancel_task, _operate, _operate),
        *(_small_task, _small_soon, _fail),
    ),
)

_joiner = st.builds(s.Spawn, st.builds(lambda step: (step,), _join))

_late_task = st.builds(s.Later, _delay, _body(_small_task, least=1, most=2))

_tasks = _scenario(
    _body(_task, _task, _busy, _joiner, _late_task, _cancel_task, _set_event, _small_timer, least=1, most=6),
    _script(_post, _elapse, most=3),
)

_reader = st.builds(s.Spawn, _task_body(_receive, _receive, _receive, _checkpoint, most=4))
_streamer = st.builds(
    s.Spawn, _task_body(_receive, _send_all, _sleep, _close, _cancel_task, _checkpoint, most=4)
)

_streams = _scenario(
    _body(_reader, _streamer, _streamer, _cancel_task, _drain, least=1, most=4),
    _script(_send, _send, _finish, _half_close, _leave, _reset, _stop_reading, _elapse, least=1, most=7),
    streams=st.integers(1, 2),
    tcp=st.booleans(),
)

_snatch = st.builds(s.Snatch, _index)
_thirsty = st.builds(s.Spawn, _task_body(_receive, _receive, least=1, most=3))

# One that is woken for another stream, and comes before one who was woken for nothing has run.
_newcomer = st.just(s.Spawn((s.Receive(1, 6), s.Receive(0, 6))))

_snatched = _scenario(
    _body(_thirsty, _thirsty, _drain, _drain, _newcomer, least=1, most=3),
    _script(_send, _send, _snatch, _snatch, least=2, most=8),
    streams=st.integers(1, 2),
)

_fleeting = st.builds(s.Spawn, _task_body(_receive, _send_all, least=1, most=2))
_abandons = st.builds(s.Later, _delay, _body(_close_behind, least=1, most=1))

# A handler whose descriptor is closed behind the loop's back: what comes then is reported all the same.
_left_behind = st.builds(
    lambda times, delay: (_watch_of(0, times), s.Later(delay, (s.CloseBehind(0),))), st.integers(2, 4), _delay
)

_abandoned = _scenario(
    _one_of(
        _body(_fleeting, _fleeting, _patient, _watch, _abandons, least=1, most=5),
        _body(_fleeting, _fleeting, _patient, _watch, _abandons, least=1, most=5),
        _left_behind,
    ),
    _script(_send, _send, _leave, _half_close, _elapse, least=1, most=6),
    streams=st.integers(1, 3),
)

_closer = st.builds(s.Later, _delay, _body(_close, _close, _cancel_task, least=1, most=1))
_busy_reader = st.builds(s.Spawn, _task_body(_receive, _send_all, least=1, most=2))

_closing = _scenario(
    _body(_busy_reader, _busy_reader, _closer, least=2, most=4),
    _script(_send, _leave, _elapse, most=4),
    streams=st.integers(1, 2),
    tcp=st.booleans(),
)

_leaving = _scenario(
    _body(_thirsty, _thirsty, _busy_reader, least=1, most=2),
    _script(_send, _leave, _leave, _reset, least=1, most=4),
    streams=st.integers(1, 2),
    tcp=st.booleans(),
)

# What tasks share. A body within a body within a body is rarely needed and quickly all there is, so the
# nesting is written out.

_which = st.sampled_from((0, 0, 0, 1))
_brief = st.builds(s.Checkpoint, st.integers(1, 2))
_nap = st.builds(s.Sleep, st.integers(0, 2))
_put = st.builds(s.Put, _which)
_get = st.builds(s.Get, _which)
_notify = st.builds(s.Notify, _which, st.integers(1, 2))
_wait_notified = st.builds(s.WaitNotified, _which)
_holdable = st.sampled_from(("lock", "semaphore", "condition"))
_cancel_scope = st.builds(s.CancelScope, st.integers(0, 2))

_inner_hold = st.builds(
    s.Hold, _holdable, _which, _task_body(_brief, _nap, _cancel_task, _cancel_scope, most=2)
)
_hold = st.builds(s.Hold, _holdable, _which, _task_body(_brief, _nap, _cancel_task, _inner_hold, most=2))
_waiter = st.builds(
    s.Hold, st.just("condition"), _which, _task_body(_wait_notified, _wait_notified, _brief, least=1, most=2)
)
_notifier = st.builds(
    s.Hold,
    st.just("condition"),
    _which,
    _task_body(_notify, _notify, _cancel_task, _cancel_scope, _brief, _nap, least=1, most=3),
)
_moment = st.one_of(_brief, _nap)
_canceller = st.builds(s.Later, _delay, _body(_cancel_task, _cancel_task, _cancel_scope, least=1, most=2))
_limit = st.one_of(st.none(), _delay)


def _limited(*steps: SearchStrategy[s.Do | s.AsyncDo]) -> SearchStrategy[s.Within]:
    return st.builds(s.Within, _limit, _task_body(*steps, least=1, most=2))


_locker = st.builds(s.Spawn, _task_body(_hold, _hold, _moment, _cancel_task, least=1, most=3))
_confrere = st.builds(
    s.Spawn, _task_body(_waiter, _notifier, _limited(_waiter), _cancel_task, _moment, least=1, most=3)
)
_timid = st.builds(s.Spawn, _task_body(_limited(_hold, _waiter), _moment, least=1, most=2))

_locks = _scenario(
    _body(_locker, _locker, _confrere, _confrere, _timid, _canceller, least=2, most=6),
    _script(_elapse, most=1),
)

# Who waits for a notification, and who, holding the lock, notifies and cancels, in either order.

_first_waiter = st.builds(s.Spawn, st.just((s.Hold("condition", 0, (s.WaitNotified(0),)),)))
_some_waiter = st.builds(
    s.Spawn, _task_body(st.just(s.Hold("condition", 0, (s.WaitNotified(0),))), _moment, least=1, most=2)
)
_first_notify = st.builds(s.Notify, st.just(0), st.integers(1, 2))
_first_notifier = st.builds(
    lambda wait, held, after: s.Spawn((wait, s.Hold("condition", 0, held), *after)),
    _brief,
    _task_body(_first_notify, _first_notify, _cancel_task, _cancel_task, _nap, least=1, most=4),
    _task_body(_cancel_task, _moment, most=1),
)

_conditions = _scenario(
    st.builds(
        lambda first, others, rest: (first, *others, *rest),
        _first_waiter,
        _body(_first_waiter, _some_waiter, least=1, most=2),
        _body(_first_notifier, _first_notifier, _canceller, _locker, least=1, most=3),
    ),
    _script(_elapse, most=1),
)

_producer = st.builds(s.Spawn, _task_body(_put, _put, _moment, _limited(_put), _cancel_task, least=1))
_consumer = st.builds(s.Spawn, _task_body(_get, _get, _moment, _limited(_get), _cancel_task, least=1))

_queues = _scenario(
    _body(_producer, _producer, _consumer, _consumer, _canceller, least=2, most=6),
    _script(_elapse, most=1),
)

_inner_scope = _limited(_wait_event, _nap, _cancel_scope, _hold, _get, _work)
_scope = _limited(_wait_event, _nap, _brief, _cancel_scope, _cancel_task, _inner_scope, _inner_scope, _work)
_scoped = st.builds(s.Spawn, _task_body(_scope, _scope, _wait_event, _brief, _set_event, least=1, most=3))
_pair = st.builds(
    s.Later, _delay, _body(_set_event, _cancel_task, _cancel_scope, _cancel_scope, least=2, most=3)
)

# One that is asked to end, perhaps by itself, before it enters its scope.
_doomed = st.builds(
    lambda task, scope: s.Spawn((s.CancelTask(task), scope, s.Checkpoint(1))), st.integers(0, 2), _scope
)

# One that a deadline takes out of a wait, and that waits for something else when the first thing comes.
_turned_away = st.builds(
    lambda wait: s.Spawn((s.Within(1, (wait,)), s.WaitEvent(0))),
    st.sampled_from((s.Sleep(2), s.Sleep(3), s.WaitEvent(1))),
)
_late_events = st.builds(
    lambda delay, event: s.Later(delay, (s.SetEvent(event),)), st.integers(2, 4), st.sampled_from((0, 1))
)

_scopes = _scenario(
    _body(
        *(_scoped, _scoped, _doomed, _turned_away, _pair, _pair, _canceller, _late_events), least=2, most=6
    ),
    _script(_elapse, _post, most=2),
)

# One that a deadline takes out of a wait, over and over, and the waits that it has left come later: to each a
# second wait that is still to come when they do.

_left_wait = st.one_of(st.builds(s.Sleep, st.integers(2, 4)), st.builds(s.WaitEvent, st.just(1)))
_next_wait = st.one_of(st.builds(s.Sleep, st.integers(5, 7)), st.builds(s.WaitEvent, st.just(0)))


def _turned_away_by(limit: int | None) -> SearchStrategy[s.Do]:
    return st.builds(
        lambda left, next, rest: s.Spawn((s.Within(limit, (left,)), next, *rest)),
        _left_wait,
        _next_wait,
        _task_body(_next_wait, _checkpoint, most=1),
    )


_change_of_mind = _scenario(
    st.builds(
        lambda tasks, ends: (*tasks, *ends, s.Later(6, (s.SetEvent(1),)), s.Later(8, (s.SetEvent(0),))),
        _body(_turned_away_by(1), _turned_away_by(0), _turned_away_by(None), least=1, most=4),
        _body(st.builds(s.Later, st.integers(0, 1), _body(_cancel_scope, least=1, most=2)), least=1, most=2),
    ),
    _script(_elapse, most=1),
)

# Tasks that nobody holds, and that wait for what nobody else knows of, under a collector.

_collect = st.just(s.Collect())
_wait_alone = st.just(s.WaitAlone())
_forgotten = st.builds(
    s.Forget, _task_body(_checkpoint, _sleep, _wait_alone, _wait_alone, _collect, least=1, most=3)
)
_late_collect = st.builds(s.Later, _delay, _body(_collect, _forgotten, least=1, most=2))

_forgotten_ones = _scenario(
    _body(_forgotten, _forgotten, _late_collect, _late_collect, _small_task, least=2, most=5),
    _script(_elapse, most=2),
)

# Many tasks, and the thread that they are on: nothing here but coroutines.

_switcher = st.builds(s.Spawn, _task_body(_checkpoint, _sleep, _wait_event, _set_event, least=1, most=3))
_late_switcher = st.builds(s.Later, _delay, _body(_switcher, _switcher, least=1, most=2))

_switches = _scenario(
    _body(_switcher, _busy, _busy, _late_switcher, least=2, most=7), _script(_elapse, most=2)
)

_rehearsed = _scenario(
    _body(_switcher, _busy, _late_switcher, _task, _locker, _timid, _set_event, least=2, most=6),
    _script(_elapse, most=2),
    rehearsed=True,
)

# Tasks that may come to wait for each other, and for nothing else.

_mutual = st.builds(
    s.Spawn,
    _task_body(
        *(_wait_event, _wait_event, _join, _join, _wait_alone, _sleep, _checkpoint, _set_event, _hold, _get),
        *(_put, _waiter, _cancel_task),
        least=1,
        most=3,
    ),
)

_deadlocks = _scenario(
    _body(_mutual, _mutual, _mutual, _small_timer, least=1, most=5), _script(_elapse, most=1), alone=True
)

# Task groups, their children, and what becomes of them when one fails.

_parting = st.builds(
    lambda before, end: (*before, end), _task_body(_checkpoint, _sleep, most=1), st.one_of(_fail, _wait_event)
)
_grandchild = st.builds(s.StartChild, _index, _task_body(_checkpoint, _sleep, _fail, _wait_event, most=2))
_child = st.builds(
    s.StartChild,
    _index,
    st.one_of(
        _parting,
        _task_body(_checkpoint, _checkpoint, _sleep, _wait_event, _cancel_task, _fail, _grandchild, most=3),
    ),
)
_inner_group = st.builds(s.Group, _task_body(_child, _child, _fail, _checkpoint, least=1, most=3))
_group = st.builds(
    s.Group,
    _task_body(_child, _child, _child, _inner_group, _checkpoint, _sleep, _fail, _wait_event, least=1),
)
_parent = st.builds(s.Spawn, _task_body(_group, _group, _limited(_group), _checkpoint, least=1, most=2))

_groups = _scenario(
    _body(_parent, _parent, _canceller, _set_event, _late_events, least=1, most=4), _script(_elapse, most=2)
)

_connect = st.just(s.Connect())

_echo = _scenario(
    st.just(()),
    _script(
        _send, _send, _send, _finish, _finish, _half_close, _connect, _stop_reading, _leave, least=2, most=8
    ),
    streams=st.integers(2, 3),
    echo=True,
)

# Readiness that is told once.


_take_all = st.just(s.Take(0, 64))
_drained = st.just((s.Take(0, 64), s.Take(0, 64)))  # the second sees EAGAIN


def _triggered(trigger: Trigger, *steps: SearchStrategy[s.Do]) -> SearchStrategy[s.Watch]:
    body = st.one_of(_drained, _body(*steps, least=1, most=2))
    return st.builds(s.Watch, st.integers(0, 1), _direction, st.integers(3, 8), body, st.just(trigger))


_edge = _triggered("edge", _take, _take, _give, _fail)
_one_shot = _triggered("one-shot", _take, _take_all, _give)

_edges = _scenario(
    _body(_edge, _edge, _unwatch, _small_timer, least=1, most=4),
    _script(_send, _send, _send, _half_close, _leave, _elapse, least=2, most=7),
    streams=st.integers(1, 2),
)

_one_shots = _scenario(
    _body(_one_shot, _one_shot, _one_shot, _unwatch, least=2, most=4),
    _script(_send, _send, _half_close, _leave, _elapse, least=1, most=6),
    streams=st.integers(1, 2),
)

# Connects, and what the other side does before the loop looks.

_open = st.builds(s.Open, st.sampled_from(("listening", "listening", "refusing", "silent")))
_opener = st.builds(s.Spawn, _task_body(_open, _open, _checkpoint, least=1, most=2))
_greet = st.builds(s.Greet, _index, st.sampled_from(("send", "leave", "reset", "reset")))

_connects = _scenario(
    _body(_opener, _opener, _cancel_task, _canceller, least=1, most=3),
    _script(_greet, _greet, _elapse, most=4),
)

# Writers that are faster than their client, and clients that do not read.

_write_buffered = st.builds(s.WriteBuffered, st.integers(0, 1), st.sampled_from((1, 900, 3000, 9000)))
_writer = st.builds(
    s.Spawn, _task_body(_write_buffered, _write_buffered, _write_buffered, _checkpoint, least=1, most=4)
)

_buffers = _scenario(
    _body(_writer, _writer, _writer, _canceller, least=1, most=4),
    _script(_stop_reading, _stop_reading, _leave, _elapse, most=3),
    streams=st.integers(1, 2),
)

# An echo server without descriptors, one that a crowd comes to, and one whose clients send all at once.

_shortages = _scenario(
    st.just(()),
    st.builds(
        lambda before, after: (*before, At(0, False, s.Exhaust()), At(0, False, s.Connect()), *after),
        _script(_send, _connect, most=2),
        _script(
            *(_send, _send, _connect, _elapse, _elapse, _leave),
            *(st.just(s.Exhaust()), st.just(s.Relieve())),
            most=6,
        ),
    ),
    streams=st.integers(1, 2),
    echo=True,
)

_crowds = _scenario(
    st.just(()),
    _script(
        st.builds(s.Crowd, st.sampled_from((3, 3, 3, 120))),
        st.builds(s.Flood, _index, st.sampled_from((100_000, 400_000))),
        _send,
        least=1,
        most=4,
    ),
    streams=st.integers(1, 2),
    echo=True,
)

_service = st.integers(0, 1)
_patience = st.sampled_from((None, None, 0, 1, 2, 3))
_loop_form: SearchStrategy[RpcForm] = st.sampled_from(("callback", "coroutine"))
_small_ask = st.builds(s.Ask, _service, _patience, st.just(()))
_cancel_ask = st.builds(s.CancelAsk, _index)
_hang_up = st.builds(s.HangUp, _service, _loop_form)
_ask = st.builds(s.Ask, _service, _patience, _body(_small_ask, _small_ask, _cancel_ask, _hang_up, most=2))
_await_reply = st.builds(s.AwaitReply, _service, _patience)
_asker = st.builds(s.Spawn, _task_body(_await_reply, _await_reply, _checkpoint, _hang_up, least=1, most=3))
_late_ask = st.builds(
    s.Later, _delay, _body(_small_ask, _small_ask, _cancel_ask, _cancel_task, _hang_up, most=3)
)
_answering = st.sampled_from(("value", "value", "value", "error", "twice", "unknown", "half", "garbage"))
_answer = st.builds(s.Answer, _index, _index, _answering)
_break_off = st.builds(s.BreakOff, _index, st.sampled_from(("close", "half-close", "deaf", "garbage")))

_remote_calls = _scenario(
    _body(_ask, _ask, _asker, _late_ask, _cancel_task, least=1, most=6),
    _script(_answer, _answer, _answer, _answer, _break_off, _elapse, most=8),
)

_question = st.builds(s.Question, _service, st.integers(1, 3), st.booleans())
_planned = st.sampled_from(
    ("value", "value", "value", "error", "twice", "unknown", "half", "never", "break", "garbage")
)
_dialogue = st.builds(
    s.Dialogue,
    st.lists(_question, min_size=1, max_size=4).map(tuple),
    st.lists(st.builds(s.Plan, st.integers(0, 4), _planned), min_size=1, max_size=4).map(tuple),
)


def _in_three_forms(dialogue: s.Dialogue) -> Scenario:
    program = (s.ConverseByCallbacks(dialogue), s.Spawn((s.ConverseByCoroutine(dialogue),)))
    return Scenario(0, False, False, program, (At(0, False, s.ConverseBlocking(dialogue)),))


_dialogues = _dialogue.map(_in_three_forms)
_block = st.just(s.Block())
_unblock = st.builds(s.Unblock, _index)


def _job(*steps: SearchStrategy[s.JobDo], most: int = 2) -> SearchStrategy[s.JobProgram]:
    return st.lists(st.one_of(*steps), max_size=most).map(tuple)


_small_job = _job(_block, _block, _fail)
_to_thread = st.builds(s.ToThread, _small_job)
_submit = st.builds(s.Submit, _small_job)
_client = st.builds(s.Spawn, _task_body(_to_thread, _to_thread, _cancel_task, _sleep, least=1, most=3))

_workers = _scenario(
    _body(_client, _client, _submit, _submit, _cancel_task, _small_timer, least=1, most=6),
    _script(_unblock, _unblock, _elapse, _post, most=6),
    workers=st.integers(1, 2),
)

_holder = st.builds(s.Spawn, st.just((s.ToThread((s.Block(),)),)))
_impatient = st.builds(s.Later, _delay, _body(_cancel_task, least=1, most=2))

_impatience = _scenario(
    _body(_holder, _holder, _impatient, _submit, least=2, most=6),
    _script(_unblock, _elapse, _elapse, most=4),
    workers=st.integers(1, 2),
)

_asked = _task_body(_to_thread, _to_thread, _checkpoint, _sleep, _fail, least=1, most=2)
_asking_job = st.tuples(st.builds(s.AskLoop, _asked))
_job_asker = st.builds(s.Spawn, st.tuples(st.builds(s.ToThread, _asking_job)))

_asking = _scenario(
    _body(_job_asker, _job_asker, _client, _submit, least=1, most=3),
    _script(_unblock, _elapse, _post, most=4),
    workers=st.integers(1, 2),
)

_handle_on_workers = st.builds(s.HandleOnWorkers, _index, st.integers(1, 3))

_handlers = _scenario(
    _body(_handle_on_workers, _handle_on_workers, _submit, least=1, most=4),
    _script(_send, _send, _send, _unblock, _unblock, _finish, _leave, least=3, most=8),
    streams=st.integers(1, 2),
    workers=st.integers(2, 3),
)


@dataclass(frozen=True)
class Family:
    """A strategy, the areas of the clauses that its scenarios are for, and its share of a campaign."""

    scenarios: SearchStrategy[Scenario]
    exercises: tuple[str, ...]
    weight: int = 4


FAMILIES: Mapping[str, Family] = {
    "timers": Family(_timers, ("TIMER", "CALL", "LOOP", "FAIR", "ENV")),
    "hoards": Family(_hoards, ("TIMER",), weight=1),
    "callbacks": Family(_callbacks, ("LOOP", "CALL", "FAIR", "WAKE")),
    "wakeups": Family(_wakeups, ("WAKE", "CALL", "LOOP"), weight=2),
    "waits": Family(_waits, ("LOOP", "TIMER"), weight=2),
    "signals": Family(_signals, ("WAKE",), weight=1),
    "strangers": Family(_strangers, ("LOOP",), weight=1),
    "latecomers": Family(_latecomers, ("LOOP",), weight=3),
    "snatched": Family(_snatched, ("LOOP", "FAIR"), weight=3),
    "abandoned": Family(_abandoned, ("LOOP", "FLOW"), weight=2),
    "descriptors": Family(_descriptors, ("LOOP", "FAIR", "STREAM", "CALL", "ENV")),
    "rivals": Family(_rivals, ("LOOP", "FAIR"), weight=2),
    "tasks": Family(_tasks, ("CORO", "FAIR", "CALL", "LOOP", "ENV")),
    "groups": Family(_groups, ("CORO",), weight=3),
    "changes of mind": Family(_change_of_mind, ("CORO", "CANCEL"), weight=2),
    "switches": Family(_switches, ("CORO",), weight=2),
    "rehearsed": Family(_rehearsed, ("CORO",), weight=2),
    "deadlocks": Family(_deadlocks, ("CORO",), weight=2),
    "forgotten": Family(_forgotten_ones, ("CORO",), weight=1),
    "streams": Family(_streams, ("CORO", "LOOP", "STREAM", "FAIR", "CALL", "FLOW", "ENV")),
    "closing": Family(_closing, ("LOOP", "CORO", "STREAM"), weight=2),
    "leaving": Family(_leaving, ("LOOP",), weight=1),
    "workers": Family(_workers, ("WORK", "ENV", "CALL"), weight=2),
    "impatience": Family(_impatience, ("WORK",), weight=1),
    "asking": Family(_asking, ("WORK",), weight=1),
    "handlers": Family(_handlers, ("WORK",), weight=1),
    "locks": Family(_locks, ("PRIM", "CANCEL", "CORO")),
    "conditions": Family(_conditions, ("PRIM", "CANCEL")),
    "queues": Family(_queues, ("PRIM", "CANCEL")),
    "scopes": Family(_scopes, ("CANCEL", "CORO")),
    "echo": Family(_echo, ("FAIR", "STREAM", "LOOP")),
    "edges": Family(_edges, ("LOOP",), weight=2),
    "one-shots": Family(_one_shots, ("LOOP",), weight=1),
    "connects": Family(_connects, ("LOOP",), weight=1),
    "buffers": Family(_buffers, ("FLOW",), weight=2),
    "shortages": Family(_shortages, ("LOOP",), weight=1),
    "crowds": Family(_crowds, ("FAIR",), weight=1),
    "remote calls": Family(_remote_calls, ("RPC", "CORO", "LOOP"), weight=2),
    "dialogues": Family(_dialogues, ("RPC",), weight=1),
}

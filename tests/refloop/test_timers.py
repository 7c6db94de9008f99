"""Timers: order, the snapshot of a phase, cancelling, and how little a cancelled timer keeps."""

from __future__ import annotations

import gc
import random
import threading
import weakref

import pytest

from refloop import MILLISECOND, SECOND, Reactor, Timer
from refloop.kernel import poll_timeout
from refloop.timers import SLACK, STRETCH, Timers
from tests.refloop.fake_kernel import FakeKernel


def test_timers_fire_by_deadline_and_equal_ones_in_the_order_of_arming(
    kernel: FakeKernel, reactor: Reactor
) -> None:
    seed = 20_240
    draw = random.Random(seed)
    deadlines = [draw.randrange(5) * MILLISECOND for _ in range(200)]
    fired: list[tuple[int, int]] = []
    for number, deadline in enumerate(deadlines):
        reactor.call_at(deadline, fired.append, (deadline, number))
    while reactor.timers.live:
        reactor.turn()
    assert fired == sorted(fired), seed
    assert len(fired) == 200


def test_a_timer_fires_at_the_first_phase_at_its_deadline_and_not_before(
    kernel: FakeKernel, reactor: Reactor
) -> None:
    fired: list[int] = []
    kernel.now = 7
    timer = reactor.call_later(10, lambda: fired.append(kernel.now))
    assert timer.deadline == 17
    kernel.now = 16
    reactor.call_soon(int)
    reactor.turn()
    assert fired == []
    kernel.now = 17
    reactor.turn()
    reactor.call_soon(int)
    reactor.turn()
    assert fired == [17]
    assert not timer.live


def test_a_timer_armed_in_a_phase_waits_for_the_next_even_if_it_is_overdue(
    kernel: FakeKernel, reactor: Reactor
) -> None:
    kernel.now = 100
    fired: list[str] = []

    def first() -> None:
        fired.append("first")
        reactor.call_at(0, fired.append, "past")
        kernel.now += SECOND

    reactor.call_at(50, first)
    reactor.call_at(60, fired.append, "second")
    reactor.turn()
    assert fired == ["first", "second"]
    reactor.turn()
    assert fired == ["first", "second", "past"]
    assert kernel.timeouts == [0, 0]


def test_a_timer_cancelled_in_the_phase_in_which_it_is_due_does_not_fire(reactor: Reactor) -> None:
    fired: list[str] = []
    timers: list[Timer] = []
    reactor.call_at(0, lambda: timers[0].cancel())
    timers.append(reactor.call_at(0, fired.append, "second"))
    reactor.turn()
    assert fired == []
    assert (len(reactor.timers), reactor.timers.live) == (0, 0)


def test_a_cancelled_timer_lets_go_of_its_arguments_at_once(reactor: Reactor) -> None:
    class Argument:
        def method(self, _other: object) -> None:
            raise AssertionError("cancelled")

    arguments = Argument(), Argument()
    gone = [weakref.ref(argument) for argument in arguments]
    timer = reactor.call_later(SECOND, arguments[0].method, arguments[1])
    gc.disable()
    try:
        del arguments
        timer.cancel()
        assert [each() for each in gone] == [None, None]
    finally:
        gc.enable()


def test_few_cancelled_timers_are_held_whatever_the_order(reactor: Reactor) -> None:
    seed = 7
    draw = random.Random(seed)
    live: list[Timer] = []
    for _ in range(5_000):
        if live and draw.random() < 0.6:
            live.pop(draw.randrange(len(live))).cancel()
        else:
            live.append(reactor.call_later(draw.randrange(SECOND), int))
        assert reactor.timers.live == len(live), seed
        assert len(reactor.timers) <= 2 * len(live) + SLACK, seed


@pytest.mark.parametrize("unit", [1, MILLISECOND, 1 << STRETCH, SECOND])
def test_the_buckets_are_no_more_than_a_sorted_list(unit: int) -> None:
    """Whatever is armed, cancelled and asked for, and however far apart."""
    seed = 23
    draw = random.Random(seed)
    timers, model, now = Timers(), list[Timer](), -999 * unit
    for _ in range(1_500):
        match draw.randrange(7):
            case 0 | 1 | 2:
                equal = model and draw.random() < 0.3
                deadline = draw.choice(model).deadline if equal else now + draw.randrange(-9, 99) * unit
                for _ in range(draw.choice((1, 1, 20))):
                    model.append(timers.arm(deadline, int, ()))
            case 3 | 4 if model:
                model.pop(draw.randrange(len(model))).cancel()
            case 5:
                assert timers.earliest() == min((timer.deadline for timer in model), default=None), seed
            case 6:
                now += draw.randrange(9) * unit
                due = sorted((t for t in model if t.deadline <= now), key=lambda timer: timer.deadline)
                taken = timers.due(now)
                assert taken == due, seed
                undone = taken[draw.randrange(len(taken) + 1) :]
                timers.put_back(undone)
                back = set(undone)
                model = [*undone, *(t for t in model if t.deadline > now and t not in back)]
            case _:
                pass  # nothing to cancel
        assert timers.live == len(model), seed
        assert len(timers) <= 2 * len(model) + SLACK, seed


@pytest.mark.parametrize("span", [SECOND, 1 << STRETCH])
def test_timers_keep_their_order_when_the_cancelled_are_cleared_out(span: int) -> None:
    """Also those in a bucket that has been in order, and to which more have come since."""
    seed = 8
    draw = random.Random(seed)
    timers = Timers()
    armed = [timers.arm(draw.randrange(span), int, ()) for _ in range(3 * SLACK)]
    timers.earliest()
    armed += [timers.arm(draw.randrange(span), int, ()) for _ in range(3 * SLACK)]
    draw.shuffle(armed)
    for timer in armed[: 4 * SLACK]:
        timer.cancel()
    assert len(timers) < len(armed)
    left = sorted(armed[4 * SLACK :], key=lambda timer: timer.deadline)
    assert timers.due(SECOND) == left, seed


def test_a_handful_of_cancelled_timers_is_held_and_one_more_clears_them_out(reactor: Reactor) -> None:
    for timer in [reactor.call_later(SECOND, int) for _ in range(SLACK)]:
        timer.cancel()
    held = len(reactor.timers)
    reactor.call_later(SECOND, int).cancel()
    assert (held, len(reactor.timers)) == (SLACK, 0)


def test_what_is_put_back_fires_in_its_order_and_before_what_has_been_armed_since() -> None:
    timers = Timers()
    taken = [timers.arm(5, int, ()) for _ in range(3)]
    assert timers.due(5) == taken
    later = [timers.arm(5, int, ()) for _ in range(3)]
    taken[1].cancel()
    timers.put_back(taken)
    assert timers.due(5) == [taken[0], taken[2], *later]


def test_what_is_put_back_finds_its_place_whatever_was_armed_and_asked_for_since() -> None:
    timers = Timers()
    first, *others = [timers.arm(deadline, int, ()) for deadline in (5, *[9] * 40)]
    assert timers.due(5) == [first]
    past = timers.arm(0, int, ())
    assert timers.earliest() == 0
    timers.put_back([first])
    assert timers.due(9) == [past, first, *others]


def test_timers_that_were_cleared_are_as_new() -> None:
    timers = Timers()
    for deadline in (1, 2, 3):
        timers.arm(deadline, int, ())
    assert timers.earliest() == 1
    timers.clear()
    assert (len(timers), timers.live, timers.earliest(), timers.due(9)) == (0, 0, None, [])
    third, first, second = (timers.arm(deadline, int, ()) for deadline in (3, 1, 2))
    assert timers.due(3) == [first, second, third]
    for _ in range(SLACK):
        timers.arm(1, int, ()).cancel()
    held = len(timers)
    timers.arm(1, int, ()).cancel()
    assert (held, len(timers)) == (SLACK, 0)


def test_a_closed_reactor_holds_no_timer() -> None:
    reactor = Reactor(FakeKernel())
    timers = [reactor.call_later(SECOND, int) for _ in range(3)]
    timers[0].cancel()
    reactor.close()
    assert [timer.live for timer in timers] == [False] * 3
    assert (len(reactor.timers), reactor.timers.live) == (0, 0)


def test_a_delay_that_is_negative_or_no_whole_number_is_refused(reactor: Reactor) -> None:
    with pytest.raises(ValueError, match="-1"):
        reactor.call_later(-1, int)
    with pytest.raises(TypeError, match="SECOND"):
        reactor.call_later(0.5, int)  # type: ignore[arg-type]
    assert len(reactor.timers) == 0


def test_an_instant_is_any_whole_number_of_whatever_name(kernel: FakeKernel, reactor: Reactor) -> None:
    class Nanoseconds(int):
        pass

    fired: list[str] = []
    reactor.call_at(Nanoseconds(1), fired.append, "at")
    reactor.call_later(Nanoseconds(1), fired.append, "later")
    kernel.now = 1
    reactor.turn()
    assert fired == ["at", "later"]


def test_what_has_fired_is_not_put_back() -> None:
    """Given a phase that is interrupted, then all that it had taken may be given back."""
    timers, fired = Timers(), list[int]()
    for number in range(3):
        timers.arm(5, fired.append, (number,))
    taken = timers.due(5)
    taken[0].fire()
    taken[1].cancel()
    timers.put_back(taken)
    assert (len(timers), timers.live, timers.earliest()) == (1, 1, 5)
    for timer in timers.due(5):
        timer.fire()
    assert fired == [0, 2]


def test_another_thread_cancels_only_what_is_armed_no_more(reactor: Reactor) -> None:
    timer, done = reactor.call_later(1, int), list[str]()
    timer.cancel()

    def cancel() -> None:
        timer.cancel()
        done.append("cancelled")

    thread = threading.Thread(target=cancel)
    thread.start()
    thread.join()
    assert done == ["cancelled"]


def as_epoll_rounds(seconds: float) -> int:
    """What CPython's ``epoll.poll`` makes of a timeout: up to nanoseconds, and then up to milliseconds."""
    whole = int(seconds)
    nanoseconds = -int(-(seconds - whole) * 1e9 // 1)
    return whole * 1000 + -(-nanoseconds // MILLISECOND)


def test_epoll_makes_of_the_timeout_the_very_millisecond_that_was_meant() -> None:
    seed = 11
    draw = random.Random(seed)
    for milliseconds in (1, 2, 999, 1000, 1001, 2**31 - 1, *(draw.randrange(1, 2**31) for _ in range(2_000))):
        for wait in (milliseconds * MILLISECOND, (milliseconds - 1) * MILLISECOND + 1):
            assert as_epoll_rounds(poll_timeout(wait)) == milliseconds, seed
            assert round(poll_timeout(wait) * 1000) == milliseconds, seed
    assert as_epoll_rounds(poll_timeout(2**62)) == 2**31 - 1

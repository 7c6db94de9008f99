"""The reactor: its turn, its registrations, and what meets in one turn."""

from __future__ import annotations

import io
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from refloop import (
    BusyResourceError,
    ClosedReactorError,
    ClosedResourceError,
    Direction,
    ForeignThreadError,
    ForkedError,
    Mode,
    Reactor,
    Registration,
)
from refloop.kernel import ERR, ET, HUP, IN, ONESHOT, OUT, RDHUP, Resource
from tests.refloop.fake_kernel import FakeKernel, WouldSleepForEverError, open_descriptors

READ, WRITE = Direction.READ, Direction.WRITE

Pair = tuple[socket.socket, socket.socket]


def entries(reactor: Reactor) -> dict[int, int]:
    """What the kernel itself says is registered, but for the waker, and with which mask; without the error
    and the hang-up, which it adds."""
    lines = Path(f"/proc/self/fdinfo/{reactor._poller.fileno()}").read_text().splitlines()
    fields = [line.split() for line in lines if line.startswith("tfd:")]
    return {
        int(fd): int(mask, 16) & ~(ERR | HUP) for _, fd, _, mask, *_ in fields if int(fd) != reactor._waker_fd
    }


def interest_set(reactor: Reactor) -> set[int]:
    """The descriptors that the kernel itself says are registered, but for the waker's."""
    return set(entries(reactor))


def fill(writer: socket.socket) -> None:
    """Write until the kernel takes no more."""
    with suppress(BlockingIOError):
        while True:
            writer.send(bytes(65_536))


def test_a_turn_asks_the_poller_once_and_runs_its_phases_in_order(
    kernel: FakeKernel, reactor: Reactor, pair: Pair
) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    order: list[str] = []
    reactor.call_soon(order.append, "ready")
    reactor.call_at(0, order.append, "timer")
    reactor.register(ours, READ, lambda events: order.append("event"))
    reactor.turn()
    assert order == ["event", "timer", "ready"]
    assert kernel.timeouts == [0]
    assert reactor.turns == 1


def test_the_timeout_is_zero_when_ready_and_else_reaches_up_to_the_earliest_live_timer(
    kernel: FakeKernel, reactor: Reactor
) -> None:
    reactor.call_soon(int)
    reactor.turn()
    reactor.call_later(2_000_001, int)
    reactor.call_later(1, int).cancel()
    reactor.turn()
    assert kernel.timeouts == [0, 3]
    reactor.call_at(2**62, int)
    kernel.while_asleep.append(lambda: reactor.call_soon_threadsafe(int))
    reactor.turn()
    kernel.while_asleep.append(lambda: reactor.call_soon_threadsafe(int))
    reactor.turn()
    assert kernel.timeouts[2:] == [2**31 - 1, 2**31 - 1]


def test_without_a_timer_the_wait_has_no_end(kernel: FakeKernel, reactor: Reactor) -> None:
    with pytest.raises(WouldSleepForEverError):
        reactor.turn()
    assert kernel.timeouts == [None]


def test_a_wait_that_nothing_known_can_end_is_told_of_before_it_begins(
    kernel: FakeKernel, reactor: Reactor, pair: Pair
) -> None:
    """A timer, something queued, and a holder of a descriptor are known; a signal may come or not. What
    ``on_stall`` itself queues is run at once."""
    stalls: list[int] = []
    reactor.on_stall = lambda: stalls.append(reactor.turns)
    reactor.call_soon(int)
    reactor.turn()
    reactor.call_later(1, int)
    reactor.turn()
    registration = reactor.register(pair[0], WRITE, lambda events: None)
    reactor.turn()
    assert stalls == []
    registration.disarm()
    reactor.call_later(1, int).cancel()
    reactor.wake_on_signals()
    with pytest.raises(WouldSleepForEverError):
        reactor.turn()
    assert stalls == [3]
    reactor.on_stall = lambda: reactor.call_soon(stalls.append, -1)
    reactor.turn()
    assert stalls == [3, -1]
    assert kernel.timeouts == [0, 1, None, None, 0]


def test_a_wait_reports_as_many_descriptors_as_it_may_and_the_rest_comes_with_the_next() -> None:
    with pytest.raises(ValueError, match="a wait that reports 0 events reports nothing"):
        Reactor(maxevents=0)
    reactor = Reactor(FakeKernel(), maxevents=1)
    pairs = [socket.socketpair() for _ in range(3)]
    fired: list[int] = []
    for ours, theirs in pairs:
        reactor.register(ours, READ, lambda events: fired.append(reactor.turns), Mode.EDGE)
        theirs.send(b"x")
    for _ in pairs:
        reactor.turn()
    reactor.close()
    for ours, theirs in pairs:
        ours.close()
        theirs.close()
    assert fired == [1, 2, 3]


@pytest.mark.parametrize("mode", Mode)
def test_all_that_a_wait_reports_is_dispatched_in_its_turn(reactor: Reactor, mode: Mode) -> None:
    """Also what comes behind the waker's own descriptor, and behind one that has just been removed."""
    pairs = [socket.socketpair() for _ in range(4)]
    fired: list[int] = []

    def handle(number: int, _events: int) -> None:
        fired.append(number)
        if number == 0:
            registrations[1].disarm()

    registrations = [
        reactor.register(ours, READ, partial(handle, number), mode) for number, (ours, _) in enumerate(pairs)
    ]
    reactor.call_soon_threadsafe(fired.append, -1)
    for _, theirs in pairs:
        theirs.send(b"x")
    reactor.turn()
    for end in (end for ends in pairs for end in ends):
        reactor.notify_closing(end)
        end.close()
    assert fired == [0, 2, 3, -1]


def test_what_the_ready_phase_queues_runs_in_the_next_turn(reactor: Reactor) -> None:
    ran: list[int] = []

    def again() -> None:
        ran.append(reactor.turns)
        reactor.call_soon(again)

    reactor.call_soon(again)
    for _ in range(3):
        reactor.turn()
    assert ran == [1, 2, 3]


def test_a_cancelled_callback_does_not_run(reactor: Reactor) -> None:
    ran: list[str] = []
    handle = reactor.call_soon(ran.append, "cancelled")
    reactor.call_soon(handle.cancel)
    reactor.call_soon(ran.append, "kept").cancel()
    reactor.call_soon(ran.append, "last")
    handle.cancel()
    reactor.turn()
    assert ran == ["last"]


def test_an_error_is_contained_reported_once_and_the_rest_of_the_turn_runs(
    reactor: Reactor, pair: Pair
) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    errors: list[Exception] = []
    ran: list[int] = []
    reactor.on_error = errors.append
    event, timer, callback = ValueError("event"), ValueError("timer"), ValueError("callback")

    def fail(error: Exception) -> None:
        raise error

    reading = reactor.register(ours, READ, lambda events: fail(event))
    writing = reactor.register(ours, WRITE, ran.append)
    reactor.call_at(0, fail, timer)
    reactor.call_at(0, ran.append, -1)
    reactor.call_soon(fail, callback)
    reactor.call_soon(ran.append, -2)
    reactor.turn()
    assert errors == [event, timer, callback]
    assert ran == [IN | OUT, -1, -2]
    assert reading.live
    assert writing.live


def test_an_error_of_which_nobody_wants_to_be_told_is_reported_as_an_uncaught_one(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[object, ...]] = []
    monkeypatch.setattr(sys, "excepthook", lambda *about: told.append(about))
    wrong = ValueError("callback")

    def fail() -> None:
        raise wrong

    reactor.call_soon(fail)
    reactor.turn()
    assert told == [(ValueError, wrong, wrong.__traceback__)]
    assert wrong.__traceback__ is not None


@pytest.mark.parametrize("mode", [Mode.EDGE, Mode.ONE_SHOT])
def test_ctrl_c_goes_through_the_turn_and_loses_nothing(reactor: Reactor, mode: Mode) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    ran: list[str] = []
    interrupted: set[str] = set()

    def handle(name: str, *_: int) -> None:
        ran.append(name)
        phase = name.split()[0]
        if phase not in interrupted:
            interrupted.add(phase)
            raise KeyboardInterrupt

    for number, (ours, theirs) in enumerate(pairs):
        theirs.send(b"x")
        reactor.register(ours, READ, partial(handle, f"event {number}"), mode)
    for phase in ("timer", "callback"):
        for number in range(3):
            name = f"{phase} {number}"
            if phase == "timer":
                reactor.call_at(0, handle, name)
            else:
                reactor.call_soon(handle, name)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            reactor.turn()
    reactor.turn()
    for ours, theirs in pairs:
        reactor.notify_closing(ours)
        ours.close()
        theirs.close()
    assert {name for name in ran if name.startswith("event")} == {"event 0", "event 1", "event 2"}
    assert [name for name in ran if name.startswith("timer")] == ["timer 0", "timer 1", "timer 2"]
    assert [name for name in ran if name.startswith("callback")] == ["callback 0", "callback 1", "callback 2"]


def test_disarm_ends_dispatch_within_the_turn(reactor: Reactor) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    fired: list[int] = []

    def disarm_both(events: int) -> None:
        fired.append(events)
        for registration in registrations:
            registration.disarm()

    registrations = [reactor.register(ours, READ, disarm_both) for ours, _ in pairs]
    for _, theirs in pairs:
        theirs.send(b"x")
    reactor.turn()
    assert len(fired) == 1
    assert interest_set(reactor) == set()
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


def test_a_registration_born_in_a_turn_is_not_dispatched_for_its_batch(reactor: Reactor, pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    turns: list[int] = []
    old = [reactor.register(ours, WRITE, lambda events: None)]

    def replace(events: int) -> None:
        old[0].disarm()
        old[0] = reactor.register(ours, WRITE, lambda events: turns.append(reactor.turns))

    reading = reactor.register(ours, READ, replace)
    reactor.turn()
    assert turns == []
    assert old[0].born == 1
    reading.disarm()
    reactor.turn()
    assert turns == [2]


@pytest.mark.parametrize("mode", Mode)
def test_what_another_handler_has_armed_in_the_turn_waits_for_the_next(reactor: Reactor, mode: Mode) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    turns: list[int] = []

    def replace(_events: int) -> None:
        registrations[0].disarm()
        registrations[1].disarm()
        reactor.register(pairs[1][0], READ, lambda events: turns.append(reactor.turns), mode)

    registrations = [reactor.register(ours, READ, replace, mode) for ours, _ in pairs]
    for _, theirs in pairs:
        theirs.send(b"x")
    reactor.turn()
    assert turns == []
    reactor.turn()
    assert turns == [2]
    for end in (end for ends in pairs for end in ends):
        reactor.notify_closing(end)
        end.close()


def test_a_number_that_is_reused_within_the_turn_is_not_taken_for_the_old_one(reactor: Reactor) -> None:
    (first, first_peer), (second, second_peer) = socket.socketpair(), socket.socketpair()
    fired: list[str] = []
    opened: list[socket.socket] = []

    def swap(mine: socket.socket, other: socket.socket) -> None:
        fired.append("old")
        number = other.fileno()
        reactor.notify_closing(other)
        other.close()
        ours, theirs = socket.socketpair()
        opened.extend((ours, theirs))
        assert number in (ours.fileno(), theirs.fileno())
        for end in (ours, theirs):
            reactor.register(end, READ, lambda events: fired.append("new"))
        theirs.send(b"x")
        ours.send(b"x")

    reactor.register(first, READ, lambda events: swap(first, second))
    reactor.register(second, READ, lambda events: swap(second, first))
    first_peer.send(b"x")
    second_peer.send(b"x")
    reactor.turn()
    assert fired == ["old"]
    for end in (first, first_peer, second, second_peer, *opened):
        if end.fileno() >= 0:
            reactor.notify_closing(end)
        end.close()


def test_a_stale_disarm_leaves_the_successor_alone(reactor: Reactor, pair: Pair) -> None:
    ours, theirs = pair
    old = reactor.register(ours, READ, lambda events: None)
    old.disarm()
    fired: list[int] = []
    reactor.register(ours, READ, fired.append)
    old.disarm()
    theirs.send(b"x")
    reactor.turn()
    assert fired == [IN]
    with pytest.raises(ClosedResourceError):
        old.rearm()


@pytest.mark.parametrize("direction", Direction)
def test_a_second_waiter_is_refused_and_the_first_undisturbed(
    reactor: Reactor, pair: Pair, direction: Direction
) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    fired: list[int] = []
    reactor.register(ours, direction, fired.append)
    with pytest.raises(BusyResourceError):
        reactor.register(ours.fileno(), direction, fired.append)
    reactor.turn()
    assert len(fired) == 1


def test_one_descriptor_has_one_mode(reactor: Reactor, pair: Pair) -> None:
    ours, _ = pair
    reactor.register(ours, READ, lambda events: None, Mode.EDGE)
    with pytest.raises(ValueError, match="one mode"):
        reactor.register(ours, WRITE, lambda events: None)


def test_a_regular_file_is_refused_at_once_and_leaves_nothing_behind(
    reactor: Reactor, tmp_path: Path
) -> None:
    with (tmp_path / "file").open("wb") as file:
        for resource in (file, file.fileno()):
            with pytest.raises(PermissionError):
                reactor.register(resource, READ, lambda events: None)
        assert reactor._slots == {}


def test_a_hang_up_wakes_both_directions_and_discards_nothing(reactor: Reactor, pair: Pair) -> None:
    ours, theirs = pair
    fill(ours)
    seen: list[tuple[str, int]] = []
    reactor.register(ours, READ, lambda events: seen.append(("read", events)))
    reactor.register(ours, WRITE, lambda events: seen.append(("write", events)))
    theirs.send(b"last words")
    theirs.close()
    reactor.turn()
    assert [who for who, _ in seen] == ["read", "write"]
    assert all(events & HUP for _, events in seen)
    assert ours.recv(100) == b"last words"


def test_a_half_close_wakes_a_reader_and_with_it_the_writer(reactor: Reactor, pair: Pair) -> None:
    ours, theirs = pair
    fill(ours)
    seen: list[str] = []
    reactor.register(ours, READ, lambda events: seen.append("read"))
    reactor.register(ours, WRITE, lambda events: seen.append("write"))
    theirs.shutdown(socket.SHUT_WR)
    reactor.turn()
    assert seen == ["read", "write"]


def _data(ours: socket.socket, theirs: socket.socket) -> None:
    fill(ours)
    theirs.send(b"x")


def _data_and_room(_ours: socket.socket, theirs: socket.socket) -> None:
    theirs.send(b"x")


def _half_close(ours: socket.socket, theirs: socket.socket) -> None:
    fill(ours)
    theirs.shutdown(socket.SHUT_WR)


def _hang_up(ours: socket.socket, theirs: socket.socket) -> None:
    fill(ours)
    theirs.close()


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    ("happens", "told"),
    [
        (_data, "reader"),
        (lambda *_: None, "writer"),
        (_data_and_room, "reader, writer"),
        (_half_close, "reader, writer"),
        (_hang_up, "reader, writer"),
    ],
    ids=["data", "room", "data and room", "half-close", "hang-up"],
)
def test_in_every_mode_who_waits_for_it_is_told_what_the_kernel_says(
    reactor: Reactor,
    pair: Pair,
    mode: Mode,
    happens: Callable[[socket.socket, socket.socket], object],
    told: str,
) -> None:
    """And once it has been, one-shot, it is asked for no more, but what the other direction waits for is."""
    ours, theirs = pair
    seen: list[tuple[str, int]] = []
    reactor.register(ours, READ, lambda events: seen.append(("reader", events)), mode)
    reactor.register(ours, WRITE, lambda events: seen.append(("writer", events)), mode)
    happens(ours, theirs)
    with select.epoll() as epoll:
        epoll.register(ours, IN | RDHUP | OUT | mode.value)
        ((_, events),) = epoll.poll(0)
    reactor.turn()
    assert seen == [(who, events) for who in told.split(", ")]
    left = {"reader": IN | RDHUP, "writer": OUT}
    if mode is Mode.ONE_SHOT:
        left = {who: mask for who, mask in left.items() if who not in told}
    assert entries(reactor)[ours.fileno()] & ~(ET | ONESHOT) == sum(left.values())


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("alone", ["reader", "writer"])
@pytest.mark.parametrize("end", ["reading", "writing"])
def test_a_hang_up_and_an_error_that_come_alone_are_told_to_whoever_is_there(
    reactor: Reactor, mode: Mode, end: str, alone: str
) -> None:
    """The reading end of a pipe is told that it has no writer by HUP, the writing end of a full one that it
    has no reader by ERR; and of both, who waits for what cannot come there."""
    reading, writing = os.pipe2(os.O_NONBLOCK)
    ours, theirs = (reading, writing) if end == "reading" else (writing, reading)
    with suppress(BlockingIOError):
        while end == "writing":
            os.write(writing, bytes(65_536))
    seen: list[int] = []
    reactor.register(ours, READ if alone == "reader" else WRITE, seen.append, mode)
    os.close(theirs)
    reactor.turn()
    reactor.notify_closing(ours)
    os.close(ours)
    assert seen == [HUP if end == "reading" else ERR]


@pytest.mark.parametrize("mode", Mode)
def test_the_kernel_is_asked_for_what_is_wanted_just_now(reactor: Reactor, pair: Pair, mode: Mode) -> None:
    number = pair[0].fileno()
    reading = reactor.register(pair[0], READ, lambda events: None, mode)
    assert entries(reactor) == {number: IN | RDHUP | mode.value}
    writing = reactor.register(pair[0], WRITE, lambda events: None, mode)
    assert entries(reactor) == {number: IN | RDHUP | OUT | mode.value}
    assert (reading.fd, writing.fd) == (number, number)
    reading.disarm()
    assert entries(reactor) == {number: OUT | mode.value}
    reading = reactor.register(pair[0], READ, lambda events: None, mode)
    writing.disarm()
    assert entries(reactor) == {number: IN | RDHUP | mode.value}
    reading.disarm()
    assert entries(reactor) == {}


def test_to_rearm_one_direction_leaves_the_other_dormant(reactor: Reactor, pair: Pair) -> None:
    ours, theirs = pair
    fired: list[str] = []
    reading = reactor.register(ours, READ, lambda events: fired.append("read"), Mode.ONE_SHOT)
    writing = reactor.register(ours, WRITE, lambda events: fired.append("write"), Mode.ONE_SHOT)
    theirs.send(b"x")
    reactor.turn()
    assert fired == ["read", "write"]
    for registration, mask in ((reading, IN | RDHUP), (writing, IN | RDHUP | OUT)):
        registration.rearm()
        assert entries(reactor) == {ours.fileno(): mask | ONESHOT}
    reactor.turn()
    assert fired == ["read", "write"] * 2


def test_a_half_close_does_not_disturb_a_writer_who_waits_alone(reactor: Reactor, pair: Pair) -> None:
    ours, theirs = pair
    fill(ours)
    fired: list[int] = []
    reactor.register(ours, WRITE, fired.append)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(WouldSleepForEverError):
        reactor.turn()
    assert fired == []
    with suppress(BlockingIOError):
        while True:
            theirs.recv(1 << 20)
    reactor.turn()
    assert len(fired) == 1
    assert not fired[0] & RDHUP


def test_an_edge_is_reported_once_and_again_after_rearm(reactor: Reactor, pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"xy")
    fired: list[int] = []
    registration = reactor.register(ours, READ, fired.append, Mode.EDGE)
    reactor.turn()
    ours.recv(1)
    with pytest.raises(WouldSleepForEverError):
        reactor.turn()
    registration.rearm()
    reactor.turn()
    assert len(fired) == 2


def test_a_one_shot_report_leaves_the_other_direction_armed(reactor: Reactor, pair: Pair) -> None:
    ours, theirs = pair
    fill(ours)
    fired: list[str] = []
    reading = reactor.register(ours, READ, lambda events: fired.append("read"), Mode.ONE_SHOT)
    reactor.register(ours, WRITE, lambda events: fired.append("write"), Mode.ONE_SHOT)
    theirs.send(b"x")
    reactor.turn()
    assert fired == ["read"]
    with pytest.raises(WouldSleepForEverError):
        reactor.turn()
    theirs.recv(1 << 20)
    reactor.turn()
    assert fired == ["read", "write"]
    reading.rearm()
    reactor.turn()
    assert fired == ["read", "write", "read"]


def test_closing_with_notice_ends_registrations_and_forgets_the_number(reactor: Reactor, pair: Pair) -> None:
    ours, _ = pair
    registration = reactor.register(ours, READ, lambda events: None)
    reactor.notify_closing(ours)
    assert not registration.live
    assert interest_set(reactor) == set()
    registration.disarm()
    reactor.register(ours, READ, lambda events: None)
    assert interest_set(reactor) == {ours.fileno()}


@pytest.mark.parametrize("end", ["a socket, closed", "a file, closed", "a file, forgotten"])
def test_what_was_closed_without_notice_is_found_out_when_its_number_comes_back(
    reactor: Reactor, end: str
) -> None:
    first: socket.socket | io.FileIO
    first, first_peer = socket.socketpair()
    if end.startswith("a file"):
        first = io.FileIO(first.detach())
    number = first.fileno()
    old = reactor.register(first, READ, lambda events: None)
    if end.endswith("closed"):
        first.close()
    else:
        with pytest.warns(ResourceWarning, match="unclosed file"):
            del first
    second = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    assert second.fileno() == number
    fired: list[int] = []
    reactor.register(second, READ, fired.append)
    assert not old.live
    assert interest_set(reactor) == {number}
    reactor.turn()
    assert fired
    second.close()
    first_peer.close()


@pytest.mark.parametrize("first", ["number", "object"])
def test_a_number_proves_nothing_and_is_taken_for_the_descriptor_it_was(
    reactor: Reactor, pair: Pair, first: str
) -> None:
    """Its registrations last, and whoever names the same descriptor shares them."""
    ours, theirs = pair
    resources: list[Resource] = [ours.fileno(), ours] if first == "number" else [ours, ours.fileno()]
    fired: list[str] = []
    reactor.register(resources[0], READ, lambda events: fired.append("read"))
    reactor.register(resources[1], WRITE, lambda events: fired.append("write"))
    theirs.send(b"x")
    for turn in range(1, 4):
        reactor.turn()
        assert fired == ["read", "write"] * turn
    assert entries(reactor) == {ours.fileno(): IN | RDHUP | OUT}
    with pytest.raises(BusyResourceError):
        reactor.register(resources[1], READ, lambda events: None)
    reactor.notify_closing(resources[1])
    assert entries(reactor) == {}


def test_a_ghost_costs_one_wake_up(reactor: Reactor, pair: Pair) -> None:
    """A closed number of which a duplicate lives is reported, and cannot be removed: epoll(7), Q6."""
    ours, theirs = pair
    fired: list[int] = []
    registration = reactor.register(ours, READ, fired.append)
    with socket.socket(fileno=os.dup(ours.fileno())) as duplicate:
        ours.close()
        registration.disarm()
        theirs.send(b"x")
        reactor.turn()
        with pytest.raises(WouldSleepForEverError):
            reactor.turn()
        assert duplicate.recv(10) == b"x"
    assert fired == []


def test_what_was_removed_earlier_in_the_turn_is_no_ghost(reactor: Reactor) -> None:
    """Given two that are ready, of which each removes the other, then nothing is built anew."""
    pairs = [socket.socketpair() for _ in range(2)]
    registrations: list[Registration] = []

    def disarm_both(_events: int) -> None:
        for registration in registrations:
            registration.disarm()

    registrations += [reactor.register(ours, READ, disarm_both) for ours, _ in pairs]
    for _, theirs in pairs:
        theirs.send(b"x")
    poller = reactor._poller
    reactor.turn()
    assert reactor._poller is poller
    for end in (end for ends in pairs for end in ends):
        end.close()


@pytest.mark.parametrize("removed", ["before the report", "by the handler of the report", "never"])
def test_a_ghost_goes_and_all_others_stay_as_they_were(
    kernel: FakeKernel, reactor: Reactor, pair: Pair, removed: str
) -> None:
    """Given a ghost among others, one of which was closed, too, when it shows itself, then the others are as
    they were, the closed one has ended, and posts are heard."""
    ours, theirs = pair
    poller = reactor._poller
    others = [socket.socketpair() for _ in Mode]
    fired: list[str] = []

    def handle(_events: int) -> None:
        fired.append("ghost")
        if removed.startswith("by"):
            ghost.disarm()

    ghost = reactor.register(ours, READ, handle)
    for mode, (end, _) in zip(Mode, others, strict=True):
        reactor.register(end, READ, partial(lambda name, _events: fired.append(name), mode.name), mode)
    before = entries(reactor)
    del before[ours.fileno()]
    silent, silent_peer = socket.socketpair()
    closed = reactor.register(silent, READ, lambda events: None)
    with socket.socket(fileno=os.dup(ours.fileno())):
        ours.close()
        silent.close()
        if removed.startswith("before"):
            ghost.disarm()
        theirs.send(b"x")
        reactor.turn()
        assert fired == ([] if removed.startswith("before") else ["ghost"])
        assert not ghost.live
        if removed.startswith("by"):
            reactor.turn()  # it has been a ghost only since
        with pytest.raises(WouldSleepForEverError):
            reactor.turn()
    assert entries(reactor) == before
    assert not closed.live
    for _, peer in others:
        peer.send(b"x")
    reactor.turn()
    assert sorted(fired[-3:]) == sorted(mode.name for mode in Mode)
    for end in (silent_peer, *(end for ends in others for end in ends)):
        if end.fileno() in before:
            reactor.notify_closing(end)
        end.close()
    kernel.while_asleep.append(lambda: reactor.call_soon_threadsafe(fired.append, "post"))
    reactor.turn()
    assert fired[-1] == "post"
    with pytest.raises(ValueError, match="closed"):
        poller.fileno()
    assert "modify" not in {what for what, _, _ in kernel.controls}  # each is told of once


def test_a_handler_whose_number_is_another_s_when_it_returns_is_called_no_more(
    reactor: Reactor, pair: Pair
) -> None:
    ours, theirs = pair
    fired: list[int] = []
    opened: list[socket.socket] = []

    def handle(events: int) -> None:
        fired.append(events)
        number = ours.fileno()
        ours.close()
        opened.extend(socket.socketpair())
        assert number in (end.fileno() for end in opened)
        for end in opened:
            end.send(b"x")

    registration = reactor.register(ours, READ, handle)
    with socket.socket(fileno=os.dup(ours.fileno())):
        theirs.send(b"x")
        reactor.turn()
        with pytest.raises(WouldSleepForEverError):
            reactor.turn()
    for end in opened:
        end.close()
    assert fired == [IN]
    assert not registration.live


def test_a_ghost_that_gets_its_number_back_is_registered_again(reactor: Reactor, pair: Pair) -> None:
    ours, theirs = pair
    number = ours.fileno()
    duplicate = os.dup(number)
    registration = reactor.register(number, READ, lambda events: None)
    os.close(number)
    registration.disarm()
    os.dup2(duplicate, number)
    os.close(duplicate)
    fired: list[int] = []
    reactor.register(number, WRITE, fired.append)
    assert entries(reactor) == {number: OUT}
    theirs.send(b"x")
    reactor.turn()
    assert fired == [OUT]


Call = Callable[[Reactor, Registration, socket.socket], object]

CALLS: Final[dict[str, Call]] = {
    "turn": lambda reactor, *_: reactor.turn(),
    "close": lambda reactor, *_: reactor.close(),
    "call_soon": lambda reactor, *_: reactor.call_soon(int),
    "call_later": lambda reactor, *_: reactor.call_later(1, int),
    "call_at": lambda reactor, *_: reactor.call_at(1, int),
    "register": lambda reactor, _, end: reactor.register(end, WRITE, lambda events: None),
    "disarm": lambda _, registration, __: registration.disarm(),
    "rearm": lambda _, registration, __: registration.rearm(),
    "notify_closing": lambda reactor, _, end: reactor.notify_closing(end),
    "add_signal_handler": lambda reactor, *_: reactor.add_signal_handler(signal.SIGUSR1, int),
    "remove_signal_handler": lambda reactor, *_: reactor.remove_signal_handler(signal.SIGUSR1),
    "wake_on_signals": lambda reactor, *_: reactor.wake_on_signals(),
}
"""What belongs to the thread that made the reactor."""


def refusal(call: Callable[[], object]) -> type[Exception] | None:
    """The kind of error that ``call`` raises."""
    try:
        call()
    except Exception as error:
        return type(error)
    return None


@pytest.mark.parametrize("name", CALLS)
def test_a_call_from_another_thread_is_refused_and_changes_nothing(
    kernel: FakeKernel, reactor: Reactor, pair: Pair, name: str
) -> None:
    registration = reactor.register(pair[0], READ, lambda events: None)
    timer = reactor.call_later(1, int)
    controls = list(kernel.controls)
    refused: list[object] = []

    def foreign() -> None:
        refused.append(refusal(partial(CALLS[name], reactor, registration, pair[0])))
        refused.append(refusal(timer.cancel))

    thread = threading.Thread(target=foreign)
    thread.start()
    thread.join()
    assert refused == [ForeignThreadError, ForeignThreadError]
    assert (registration.live, timer.live, len(reactor.timers), len(reactor.ready)) == (True, True, 1, 0)
    assert (kernel.controls, kernel.timeouts) == (controls, [])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_refused_and_the_interest_set_unchanged(reactor: Reactor, pair: Pair) -> None:
    registration = reactor.register(pair[0], READ, lambda events: None)
    calls = CALLS | {"call_soon_threadsafe": lambda reactor, *_: reactor.call_soon_threadsafe(int)}
    child = os.fork()
    if child == 0:
        refused = [refusal(partial(call, reactor, registration, pair[0])) for call in calls.values()]
        os._exit(sum(each is ForkedError for each in refused))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == len(calls)
    assert interest_set(reactor) == {pair[0].fileno()}
    reactor.close()  # and the parent's own has not been forked, but closed
    assert refusal(reactor.turn) is ClosedReactorError


@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"close"}))
def test_a_call_after_the_close_is_refused(kernel: FakeKernel, pair: Pair, name: str) -> None:
    reactor = Reactor(kernel)
    registration = reactor.register(pair[0], READ, lambda events: None)
    reactor.close()
    assert refusal(partial(CALLS[name], reactor, registration, pair[0])) is ClosedReactorError


def test_what_runs_during_the_close_finds_the_reactor_closed(kernel: FakeKernel, pair: Pair) -> None:
    reactor = Reactor(kernel)
    registration = reactor.register(pair[0], READ, lambda events: None)
    refused: list[object] = []
    for call in CALLS.values():
        reactor.call_soon(
            lambda call=call: refused.append(refusal(lambda: call(reactor, registration, pair[0])))
        )
    reactor.close()
    assert refused == [None if name == "close" else ClosedReactorError for name in CALLS]


def test_ctrl_c_during_the_close_gives_back_all_descriptors() -> None:
    before = open_descriptors()
    reactor = Reactor()

    def interrupt() -> None:
        raise KeyboardInterrupt

    reactor.call_soon(interrupt)
    with pytest.raises(KeyboardInterrupt):
        reactor.close()
    assert open_descriptors() == before


def test_a_closed_reactor_has_run_what_was_queued_and_refuses_the_rest(
    kernel: FakeKernel, pair: Pair
) -> None:
    ours, _ = pair
    reactor = Reactor(kernel)
    registration = reactor.register(ours, READ, lambda events: None)
    timer = reactor.call_later(1, int)
    ran: list[str] = []
    reactor.call_soon(ran.append, "queued")
    reactor.close()
    reactor.close()
    assert ran == ["queued"]
    assert not registration.live
    assert not timer.live
    for call in (reactor.turn, lambda: reactor.call_soon(int), lambda: reactor.call_soon_threadsafe(int)):
        with pytest.raises(ClosedReactorError):
            call()


def test_the_real_poller_is_a_bare_epoll() -> None:
    reactor = Reactor()
    assert type(reactor._poller) is select.epoll
    reactor.close()

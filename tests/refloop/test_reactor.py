"""The reactor: its turn, its registrations, and what meets in one turn."""

from __future__ import annotations

import os
import select
import socket
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

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
)
from refloop.kernel import HUP, IN, OUT, RDHUP
from tests.refloop.fake_kernel import FakeKernel, WouldSleepForEverError

READ, WRITE = Direction.READ, Direction.WRITE

Pair = tuple[socket.socket, socket.socket]


def interest_set(reactor: Reactor) -> set[int]:
    """The descriptors that the kernel itself says are registered, but for the waker's."""
    lines = Path(f"/proc/self/fdinfo/{reactor._poller.fileno()}").read_text().splitlines()
    return {int(line.split()[1]) for line in lines if line.startswith("tfd:")} - {reactor._waker_fd}


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


def test_a_socket_closed_without_notice_is_found_out_when_its_number_comes_back(reactor: Reactor) -> None:
    first, first_peer = socket.socketpair()
    number = first.fileno()
    old = reactor.register(first, READ, lambda events: None)
    first.close()
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
    reactor.register(number, READ, fired.append)
    theirs.send(b"x")
    reactor.turn()
    assert fired == [IN]


def test_a_call_from_another_thread_is_refused(reactor: Reactor, pair: Pair) -> None:
    ours, _ = pair
    registration = reactor.register(ours, READ, lambda events: None)
    timer = reactor.call_later(1, int)
    refused: list[Exception] = []

    def foreign() -> None:
        for call in (
            reactor.turn,
            reactor.close,
            registration.disarm,
            timer.cancel,
            lambda: reactor.call_soon(int),
            lambda: reactor.call_later(1, int),
            lambda: reactor.call_at(1, int),
            lambda: reactor.notify_closing(ours),
            lambda: reactor.register(ours, WRITE, lambda events: None),
        ):
            try:
                call()
            except ForeignThreadError as error:
                refused.append(error)

    thread = threading.Thread(target=foreign)
    thread.start()
    thread.join()
    assert len(refused) == 9
    assert registration.live
    assert timer.live


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_refused_and_the_interest_set_unchanged(reactor: Reactor, pair: Pair) -> None:
    ours, _ = pair
    reactor.register(ours, READ, lambda events: None)
    child = os.fork()
    if child == 0:
        refused = 0
        for call in (
            reactor.turn,
            reactor.close,
            lambda: reactor.notify_closing(ours),
            lambda: reactor.call_soon_threadsafe(int),
        ):
            try:
                call()
            except ForkedError:
                refused += 1
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 4
    assert interest_set(reactor) == {ours.fileno()}


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

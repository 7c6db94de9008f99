"""Signals and ghosts: a handler runs in a turn, what was there before is given back, the dead stay dead."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

import refloop
from refloop import Direction, Reactor
from tests.refloop.fake_kernel import open_descriptors

USR1 = signal.SIGUSR1


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    made = Reactor()
    yield made
    made.close()


def test_a_signal_ends_the_wait_and_its_handler_runs_in_that_turn(reactor: Reactor) -> None:
    ran: list[str] = []
    reactor.add_signal_handler(USR1, ran.append, "x")
    signal.raise_signal(USR1)
    reactor.turn()
    assert ran == ["x"]


def test_the_wake_up_byte_alone_ends_a_wait(reactor: Reactor) -> None:
    """Given a signal that comes too late to be looked at before the wait, then the wait does not begin."""
    reactor.add_signal_handler(USR1, int)
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    os.write(fd, b"\0" * 5000)
    reactor.turn()
    reactor.call_later(0, int)
    reactor.turn()


def test_a_full_channel_loses_no_signal_and_is_empty_after_the_turn(
    reactor: Reactor, capfd: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    reactor.add_signal_handler(USR1, ran.append, "x")
    signals = reactor.wake_on_signals()
    reading, writing = signals.fileno(), signals._writer
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    signal.raise_signal(USR1)
    reactor.turn()
    assert ran == ["x"]
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)
    assert (os.get_inheritable(reading), os.get_inheritable(writing)) == (False, False)
    assert capfd.readouterr() == ("", "")


def test_a_later_handler_takes_the_place_of_an_earlier_one_and_each_signal_has_its_own(
    reactor: Reactor,
) -> None:
    ran: list[object] = []
    reactor.add_signal_handler(USR1, ran.append, "earlier")
    reactor.add_signal_handler(USR1, ran.append, "later")
    reactor.add_signal_handler(signal.SIGUSR2, lambda: ran.append(2))
    signal.raise_signal(USR1)
    signal.raise_signal(signal.SIGUSR2)
    reactor.turn()
    assert ran == ["later", 2]


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGKILL, OSError), (signal.SIGSTOP, OSError), (0, ValueError)]
)
def test_a_signal_that_nobody_can_handle_is_refused(
    reactor: Reactor, number: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        reactor.add_signal_handler(number, int)
    assert not reactor.remove_signal_handler(number)


def test_on_another_thread_than_the_main_one_no_signal_is_handled_and_nothing_left_open() -> None:
    refused: list[Exception] = []

    def foreign() -> None:
        reactor = Reactor()
        try:
            reactor.add_signal_handler(USR1, int)
        except ValueError as error:
            refused.append(error)
        assert not reactor.remove_signal_handler(USR1)
        reactor.close()

    before = open_descriptors()
    thread = threading.Thread(target=foreign)
    thread.start()
    thread.join()
    assert len(refused) == 1
    assert open_descriptors() == before


def test_a_handler_from_python_is_given_back_as_it_was() -> None:
    def mine(_number: int, _frame: object) -> None:
        pass

    before = signal.signal(USR1, mine)
    try:
        reactor = Reactor()
        reactor.add_signal_handler(USR1, int)
        assert reactor.remove_signal_handler(USR1)
        assert signal.getsignal(USR1) is mine
        reactor.add_signal_handler(USR1, int)
        reactor.close()
        assert signal.getsignal(USR1) is mine
    finally:
        signal.signal(USR1, before)


def test_handlers_are_given_back_one_by_one_and_at_the_close() -> None:
    before, fd = signal.getsignal(USR1), signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    reactor = Reactor()
    reactor.add_signal_handler(USR1, int)
    assert reactor.remove_signal_handler(USR1)
    assert not reactor.remove_signal_handler(USR1)
    assert signal.getsignal(USR1) == before
    reactor.add_signal_handler(USR1, int)
    reactor.add_signal_handler(USR1, str)
    reactor.close()
    assert signal.getsignal(USR1) == before
    assert signal.set_wakeup_fd(-1) == fd
    signal.set_wakeup_fd(fd)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_the_handlers_from_before_and_the_parent_keeps_its_own(reactor: Reactor) -> None:
    before = signal.getsignal(USR1)
    reactor.add_signal_handler(USR1, int)
    child = os.fork()
    if not child:
        os._exit(0 if signal.getsignal(USR1) == before and signal.set_wakeup_fd(-1) == -1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert signal.getsignal(USR1) != before


def test_a_handler_whose_descriptor_was_closed_is_called_no_more(reactor: Reactor) -> None:
    ours, theirs = socket.socketpair()
    ran: list[int] = []
    armed = reactor.register(ours, Direction.READ, ran.append)
    duplicate = os.dup(ours.fileno())
    ours.close()
    theirs.send(b"x")
    for _ in range(3):
        reactor.call_soon(int)
        reactor.turn()
    os.close(duplicate)
    theirs.close()
    assert len(ran) == 1
    assert not armed.live


def test_a_run_has_its_wait_end_at_an_interrupt_that_came_just_before_it() -> None:
    """Else the handler of Ctrl-C would wait for the next event: Python runs it between two instructions."""
    seen: list[int] = []

    async def main() -> None:
        seen.append(signal.set_wakeup_fd(-1))
        signal.set_wakeup_fd(seen[0], warn_on_full_buffer=False)
        await refloop.checkpoint()

    refloop.run(main)
    assert seen[0] >= 0
    assert signal.set_wakeup_fd(-1) == -1

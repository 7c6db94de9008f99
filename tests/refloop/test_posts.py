"""Posts from other threads: never lost, in order, and one bit wide."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable

import pytest

from refloop import ClosedReactorError, Reactor
from refloop.kernel import LINUX, EventFd, Waker
from refloop.reactor import Entry
from tests.refloop.fake_kernel import FakeKernel, WouldSleepForEverError


def nothing() -> None:
    pass


class CountingWaker:
    """An eventfd that counts, and that does something else at the worst moment."""

    def __init__(self) -> None:
        self.waker = EventFd()
        self.signals = 0
        self.around_drain: Callable[[], None] = nothing

    def fileno(self) -> int:
        return self.waker.fileno()

    def signal(self) -> None:
        self.signals += 1
        self.waker.signal()

    def drain(self) -> None:
        self.around_drain()
        self.waker.drain()
        self.around_drain()

    def close(self) -> None:
        self.waker.close()


class WakerKernel(FakeKernel):
    def __init__(self) -> None:
        super().__init__()
        self.wakers = CountingWaker()

    def waker(self) -> Waker:
        return self.wakers


def in_a_thread(function: object) -> None:
    assert callable(function)
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_a_post_ends_an_endless_wait_and_runs_in_that_turn(kernel: FakeKernel, reactor: Reactor) -> None:
    ran: list[str] = []
    kernel.while_asleep.append(lambda: in_a_thread(lambda: reactor.call_soon_threadsafe(ran.append, "x")))
    reactor.turn()
    assert ran == ["x"]
    with pytest.raises(WouldSleepForEverError):
        reactor.turn()


def test_callbacks_run_in_the_order_in_which_one_thread_queued_them(reactor: Reactor) -> None:
    ran: list[int] = []
    reactor.call_soon(ran.append, 0)
    reactor.call_soon_threadsafe(ran.append, 1)
    reactor.call_soon(ran.append, 2)
    reactor.turn()
    assert ran == [0, 1, 2]


def test_many_posts_cost_one_signal_a_turn() -> None:
    kernel = WakerKernel()
    reactor = Reactor(kernel)
    for signals in (1, 2):
        for _ in range(100):
            reactor.call_soon_threadsafe(int)
        assert kernel.wakers.signals == signals
        reactor.turn()
    reactor.close()


def test_a_post_just_before_or_after_the_drain_is_not_lost_nor_the_next() -> None:
    kernel = WakerKernel()
    reactor = Reactor(kernel)
    ran: list[str] = []
    kernel.wakers.around_drain = lambda: in_a_thread(
        lambda: reactor.call_soon_threadsafe(ran.append, "around")
    )
    kernel.while_asleep = [lambda: reactor.call_soon_threadsafe(ran.append, "asleep")] * 2
    reactor.turn()
    kernel.wakers.around_drain = nothing
    reactor.turn()
    assert ran == ["asleep", "around", "around", "asleep"]
    reactor.close()


def test_the_channel_is_readable_from_the_signal_to_the_drain_and_no_child_s() -> None:
    waker = LINUX.waker()
    with select.epoll() as epoll:
        epoll.register(waker.fileno(), select.EPOLLIN)
        assert epoll.poll(0) == []
        for _ in range(2):
            waker.signal()
            assert epoll.poll(0) == [(waker.fileno(), select.EPOLLIN)]
            waker.drain()
            assert epoll.poll(0) == []
    assert not os.get_inheritable(waker.fileno())
    waker.close()


def test_who_signals_while_the_channel_is_closed_keeps_its_number_until_then() -> None:
    waker = EventFd()
    held, number = waker._descriptor, waker.fileno()  # as signal() holds it while it writes
    waker.close()
    waker.drain()
    assert held is not None
    os.eventfd_write(number, 1)
    del held
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.eventfd_write(number, 1)


def test_a_full_channel_is_a_channel_that_is_signalled() -> None:
    waker = LINUX.waker()
    os.eventfd_write(waker.fileno(), 2**64 - 2)
    waker.signal()
    waker.drain()
    waker.drain()
    waker.close()
    waker.signal()
    assert waker.fileno() == -1


def test_a_signal_that_fails_is_seen_and_the_next_post_signals_again() -> None:
    kernel = WakerKernel()
    reactor = Reactor(kernel)
    kernel.wakers.signal = broken  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(OSError, match="broken"):
            reactor.call_soon_threadsafe(int)
    reactor.close()


def broken() -> None:
    raise OSError("broken")


def post_until_refused(
    reactor: Reactor, go: threading.Barrier, start: int, ran: list[int], accepted: list[int]
) -> None:
    go.wait()
    for number in range(start, start + 200):
        try:
            reactor.call_soon_threadsafe(ran.append, number)
        except ClosedReactorError:
            return
        accepted.append(number)


def test_a_post_that_races_with_the_close_runs_or_is_refused() -> None:
    for _ in range(50):
        reactor = Reactor()
        ran: list[int] = []
        accepted: list[int] = []
        go = threading.Barrier(3)

        threads = [
            threading.Thread(target=post_until_refused, args=(reactor, go, start, ran, accepted))
            for start in (0, 1_000)
        ]
        for thread in threads:
            thread.start()
        go.wait()
        reactor.close()
        for thread in threads:
            thread.join()
        assert sorted(ran) == sorted(accepted)


@pytest.mark.parametrize("closes", ["before the append", "after the append"])
def test_of_a_close_within_a_post_one_takes_the_callback(closes: str) -> None:
    """The close happens where another thread could make it happen: around the append."""
    reactor = Reactor()
    ran: list[str] = []

    class Racing(deque[Entry]):
        def append(self, entry: Entry, /) -> None:
            if closes.startswith("before"):
                reactor.close()
            super().append(entry)
            reactor.close()

    reactor.ready = Racing()
    if closes.startswith("before"):
        with pytest.raises(ClosedReactorError):
            reactor.call_soon_threadsafe(ran.append, "post")
        assert (ran, list(reactor.ready)) == ([], [])
    else:
        reactor.call_soon_threadsafe(ran.append, "post")
        assert ran == ["post"]


def test_a_reactor_is_not_closed_or_turned_inside_a_handler(reactor: Reactor) -> None:
    refused: list[Exception] = []
    ran: list[str] = []
    reactor.on_error = refused.append
    reactor.call_soon(reactor.close)
    reactor.call_soon(reactor.turn)
    reactor.call_soon_threadsafe(ran.append, "post")
    reactor.turn()
    assert [type(error) for error in refused] == [RuntimeError, RuntimeError]
    assert ran == ["post"]

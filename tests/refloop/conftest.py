"""A reactor, and a runtime, under a clock that the test holds; and a check that nothing stays open."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from refloop import Reactor, Runtime
from tests.refloop.fake_kernel import FakeKernel, open_descriptors


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() <= before  # what an earlier test has left to the collector may go meanwhile


@pytest.fixture
def kernel(_nothing_stays_open: None) -> FakeKernel:
    return FakeKernel()


@pytest.fixture
def reactor(kernel: FakeKernel) -> Iterator[Reactor]:
    reactor = Reactor(kernel)
    yield reactor
    reactor.close()


@pytest.fixture
def runtime(reactor: Reactor) -> Iterator[Runtime]:
    runtime = Runtime(reactor)
    yield runtime
    runtime.close()


@pytest.fixture
def pair(_nothing_stays_open: None) -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs

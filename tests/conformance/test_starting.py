"""Threads that begin when their starter is asleep: the kernel counts his suspension every time."""

from __future__ import annotations

import threading
from resource import RUSAGE_THREAD, getrusage

import pytest

from loopspec.conformance.starting import begun_asleep


def suspended() -> int:
    return getrusage(RUSAGE_THREAD).ru_nvcsw


def test_who_starts_a_thread_is_suspended_every_time() -> None:
    """Given 200 starts, of which some would find the thread up already, then each suspends its caller."""
    counts = []
    with begun_asleep():
        for _ in range(200):
            before = suspended()
            thread = threading.Thread(target=suspended)
            thread.start()
            counts.append(suspended() - before)
            thread.join()
    assert min(counts) > 0


def test_what_others_start_and_what_is_started_afterwards_begins_at_once() -> None:
    kinds: list[type] = []

    def start() -> None:
        thread = threading.Thread(target=suspended)
        thread.start()
        kinds.append(type(thread._started))  # type: ignore[attr-defined] # what start waits for
        thread.join()

    with begun_asleep():
        other = threading.Thread(target=start)
        other.start()
        other.join()
    start()
    assert kinds == [threading.Event, threading.Event]


def test_a_thread_is_still_started_once() -> None:
    with begun_asleep():
        thread = threading.Thread(target=suspended)
        thread.start()
        with pytest.raises(RuntimeError, match="threads can only be started once"):
            thread.start()
        thread.join()

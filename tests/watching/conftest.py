"""The monitor watches threads of this process, and its tests want one that has no others.

Where tests run on several processors (pytest-xdist) the runner has a thread in each process, which takes the
interpreter lock whenever it hears from the others. A step that is suspended meanwhile is told as *unknown*,
and rightly so. Each test here therefore runs in a child there: a fork leaves it one thread.
"""

from __future__ import annotations

import multiprocessing
import os
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    if "PYTEST_XDIST_WORKER" not in os.environ or HERE not in item.path.parents:
        return None  # it is asked about every item, wherever it is
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _reports_of_a_child(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _reports_of_a_child(item: pytest.Item) -> list[pytest.TestReport]:
    context = multiprocessing.get_context("fork")
    hear, tell = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(item, tell))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that a process with threads is forked
        child.start()
    tell.close()
    try:
        told = hear.recv()
    except EOFError:
        why = "it took its process with it"
        return [pytest.TestReport(item.nodeid, item.location, {}, "failed", why, "call")]
    finally:
        hear.close()
        child.join()
    return [item.config.hook.pytest_report_from_serializable(config=item.config, data=each) for each in told]


def _run(item: pytest.Item, tell: Connection) -> None:
    # What belongs to the whole session is not taken down: it is the parent's.
    other = next(each for each in (item.session.items[0], item.session.items[-1]) if each is not item)
    reports = runtestprotocol(item, log=False, nextitem=other)
    hook = item.config.hook
    tell.send([hook.pytest_report_to_serializable(config=item.config, report=each) for each in reports])

"""The suite is evidence, and is checked as such before a single test runs.

Every citation of a clause must name a clause as it now stands; every clause must have a test, a mutant
and, where it says that something exists, a witness. While that is not so there is no point in running
anything, so the run stops with a line for each thing to mend. Which test stands behind which clause is
known only once everything is collected, so a run of a part of the suite is held to its citations alone.

``--full`` adds the tests marked ``full``, which take long; ``--write-evidence`` writes what has been gathered
into the package, for ``loopspec explain``.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
import uvloop

from loopspec.clause import register
from loopspec.conformance.evidence import FILE, Citation, dump, gaps, gather, misquotes
from tests.compiled import LEFT_OUT, header, is_compiled, outlived
from tests.mutants.table import MUTANTS

EVIDENCE_FILE = Path(__file__).parent.parent / "spec" / "loopspec" / FILE

CITATIONS = pytest.StashKey[tuple[Citation, ...]]()
WHOLE = pytest.StashKey[bool]()

#: A property of a test that is shown at the end of the run, wherever the test has run.
TOLD = "told"

#: Options of pytest that leave a part of the suite out, at collection or after it.
NARROWING = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the tests marked full, too")
    parser.addoption("--write-evidence", action="store_true", help=f"write {FILE} from what is collected")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "clause(id, digest, *, witness=False): the clause that this test is evidence for"
    )
    config.addinivalue_line("markers", "full: takes long, and runs only with --full")


def pytest_report_header(config: pytest.Config) -> list[str]:
    full = "full: off; the tests marked full are deselected, and `make test` runs them"
    if config.getoption("--full"):
        full = "full: the whole gate"
    return [full, *(header(LEFT_OUT) if is_compiled() else ())]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports("passed"):
        for name, told in report.user_properties:
            if name == TOLD:
                terminalreporter.write_line(f"{report.nodeid.partition('::')[2]}: {told}")


def _held() -> tuple[set[str], set[threading.Thread]]:
    descriptors = {entry.name for entry in Path("/proc/self/fd").iterdir()}
    return descriptors, set(threading.enumerate())


@pytest.fixture(autouse=True, scope="session")
def nothing_is_left_behind() -> Iterator[None]:
    """The suite leaves no descriptor, no thread and no child process behind."""
    resource_tracker.ensure_running()  # multiprocessing's own, once for the life of the process
    uvloop.new_event_loop().close()  # and libuv's own, a pipe for signals
    held = _held()
    yield
    gc.collect()  # what hangs in a cycle is not yet lost, and not yet given back
    assert _held() == held
    assert multiprocessing.active_children() == []


@pytest.fixture(autouse=True, scope="session")
def interrupts_are_heard() -> Iterator[None]:
    """A shell has what it starts in the background ignore SIGINT, and the programs that tests interrupt would
    inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    citations = tuple(cited for item in items for cited in _citations(item))
    config.stash[CITATIONS] = citations
    config.stash[WHOLE] = _is_whole(config)
    _stop_on(misquotes(register(), citations))
    if config.stash[WHOLE] and not config.getoption("--write-evidence"):
        _stop_on(gaps(register(), citations, MUTANTS))
    if config.getoption("--write-evidence"):
        if not config.stash[WHOLE]:
            raise pytest.UsageError("--write-evidence wants the whole suite: leave the selection out")
        EVIDENCE_FILE.write_text(dump(gather(citations, MUTANTS)), encoding="utf-8")
    if is_compiled():
        if config.stash[WHOLE]:
            _stop_on(outlived(LEFT_OUT, {name for item in items for name in (_name(item), item.nodeid)}))
        _leave_out(config, items, lambda item: _name(item) in LEFT_OUT or item.nodeid in LEFT_OUT)
    if not config.getoption("--full"):
        _leave_out(config, items, lambda item: item.get_closest_marker("full") is not None)
    yield


def _citations(item: pytest.Item) -> Iterator[Citation]:
    """What ``item`` cites, under its name without parameters: evidence is a test, not a case of it."""
    test = _name(item)
    for mark in item.iter_markers("clause"):
        match mark.args, mark.kwargs:
            case (str(id), str(digest)), {**rest} if rest.keys() <= {"witness"}:
                yield Citation(test, id, digest, rest.get("witness") is True)
            case _:
                raise pytest.UsageError(f'{test}: a citation is clause("ID", "digest"), not {mark}')


def _is_whole(config: pytest.Config) -> bool:
    """Whether this run collects all there is."""
    roots = {config.rootpath, config.rootpath / "tests"}
    paths = {Path(config.invocation_params.dir, arg).resolve() for arg in config.args}
    return bool(paths & roots) and not any(config.getoption(name, None) for name in NARROWING)


def _stop_on(complaints: Iterator[str]) -> None:
    lines = list(complaints)
    if lines:
        raise pytest.UsageError("\n".join(lines))


def _name(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _leave_out(config: pytest.Config, items: list[pytest.Item], which: Callable[[pytest.Item], bool]) -> None:
    left_out = [item for item in items if which(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not which(item)]

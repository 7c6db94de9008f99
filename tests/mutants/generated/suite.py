"""The quick suite as a detector: what each of its tests runs and how long it takes, and which try a mutant.

It is measured once, by coverage with the test as context. Then all tests run as mutants run them, on the code
as it is: one that fails there detects nothing and is left out. What has been measured is kept with the digest
of each file of tests, so that a new test is measured alone.

Nothing is left to chance: Hypothesis draws the same examples each time and remembers none; and since no more
is asked than whether something fails, it makes nothing smaller.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from time import perf_counter

import coverage
import hypothesis
import pytest
from _pytest.runner import runtestprotocol

from tests.mutants.generated.trial import Told, Verdict, tried

ROOT = Path(__file__).parents[3]
TESTS = ("tests/spec", "tests/kernel", "tests/refloop", "tests/conformance", "tests/test_evidence.py")
"""Where detectors are looked for. The others run programs, or load the code anew."""

OPTIONS = (
    "-q", "--capture=no", "--assert=plain", "--tb=no", "-p", "no:cacheprovider", "-p", "no:randomly",
)  # fmt: skip

PATIENCE = 10.0
"""How many times as long as it takes on unchanged code a test may take."""

AT_LEAST = 2.0
"""Seconds that it may take in any case."""

BUDGET = 3.0
"""Seconds of tests, by what they take on unchanged code, that try a mutant at most."""


@dataclass(frozen=True)
class Test:
    """What is known of a test: seconds that it takes, and the lines that it runs, by file."""

    name: str
    seconds: float
    lines: Mapping[str, frozenset[int]]

    @property
    def file(self) -> str:
        return self.name.partition("::")[0]


@dataclass
class Suite:
    """What has been measured."""

    sources: dict[str, str]
    files: dict[str, str] = field(default_factory=dict)
    tests: dict[str, Test] = field(default_factory=dict)
    failing: list[str] = field(default_factory=list)

    def of_function(self, file: str, around: Iterable[int], lines: Iterable[int]) -> list[Test]:
        """The tests that run any line of a function, which is ``around``: as many of those that run any of
        ``lines`` as the budget allows, and as many of the others, the fastest first.

        Of a function and not of a line: what a coroutine runs after an exception that was thrown into it is
        not told of to who traces it, before Python 3.12.
        """
        wanted, best = frozenset(around), frozenset(lines)
        able = [test for test in self.tests.values() if not wanted.isdisjoint(test.lines.get(file, ()))]
        sure = [test for test in able if not best.isdisjoint(test.lines[file])]
        return [*_affordable(sure), *_affordable(test for test in able if best.isdisjoint(test.lines[file]))]

    def of_file(self, *files: str) -> list[Test]:
        """The tests that run anything of ``files``."""
        return _affordable(test for test in self.tests.values() if any(map(test.lines.get, files)))

    def importers(self, module: str) -> list[str]:
        """The sources that take names out of ``module``."""
        return [file for file, text in self.sources.items() if f"from {module} import" in text]


def _affordable(tests: Iterable[Test]) -> list[Test]:
    chosen, spent = [], 0.0
    for test in sorted(tests, key=_speed):
        spent += test.seconds
        if spent > BUDGET:
            break
        chosen.append(test)
    return chosen


def _speed(test: Test) -> tuple[float, str]:
    return test.seconds, test.name


def digest(files: Iterable[Path]) -> str:
    """What is other when any of ``files`` is."""
    whole = hashlib.sha256()
    for file in sorted(files):
        whole.update(f"{file.relative_to(ROOT)}\n".encode())
        whole.update(file.read_bytes())
    return whole.hexdigest()[:16]


def sources() -> list[Path]:
    """The files that tests run."""
    return [*(ROOT / "spec").rglob("*.py"), *(ROOT / "impl").rglob("*.py")]


def run(arguments: Sequence[str], act: Callable[[pytest.Session], None]) -> int:
    """Collect the tests that ``arguments`` name, and ``act`` in place of running them; pytest's exit code."""
    hypothesis.settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("mutants")
    return pytest.main([*OPTIONS, "--rootdir", str(ROOT), *arguments], [_InPlaceOfRunning(act)])


class _InPlaceOfRunning:
    """A plugin of pytest."""

    def __init__(self, act: Callable[[pytest.Session], None]) -> None:
        self.act = act

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.act(session)
        return True


def passes(item: pytest.Item, following: pytest.Item | None) -> bool:
    """Whether ``item`` passes, its fixtures that ``following`` does not need torn down."""
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=following))


def survives(session: pytest.Session, tests: Sequence[Test], told: Told) -> bool:
    """Whether all of ``tests`` pass, one after the other."""
    items = {item.nodeid: item for item in session.items}
    # What was set up before the fork for another test is torn down, as it would have been before the first.
    session._setupstate.teardown_exact(items[tests[0].name])
    # Nothing comes after the last one but the end of the process: only its own fixtures need to be torn down.
    other = next(item for item in session.items if item.nodeid != tests[-1].name)
    following = [*(items[test.name] for test in tests[1:]), other]
    for test, then in zip(tests, following, strict=True):
        told.begins(test.name, AT_LEAST + PATIENCE * test.seconds)
        if not passes(items[test.name], then):
            return False
    return True


# -- measuring


def measured(known: Suite, file: Path, files: Sequence[str]) -> None:
    """Measure the tests in ``files`` and write what is then known to ``file``. To be called in a process
    of its own, since it collects."""

    def act(session: pytest.Session) -> None:
        watch = coverage.Coverage(
            data_file=None, config_file=False, include=[f"{ROOT}/spec/*", f"{ROOT}/impl/*"], messages=False
        )
        watch.start()
        for place, item in enumerate(session.items):
            watch.switch_context(item.nodeid)
            following = session.items[place + 1] if place + 1 < len(session.items) else None
            begun = perf_counter()
            if passes(item, following):
                known.tests[item.nodeid] = Test(item.nodeid, perf_counter() - begun, {})
            else:
                known.failing.append(item.nodeid)
        watch.stop()
        lines = _lines(watch.get_data())
        for item in session.items:
            if (test := known.tests.get(item.nodeid)) is not None:
                known.tests[item.nodeid] = Test(test.name, test.seconds, lines.get(test.name, {}))

    run([*files], act)
    known.files |= {name: digest([ROOT / name]) for name in files}
    _write(known, file)


def _lines(data: coverage.CoverageData) -> dict[str, dict[str, frozenset[int]]]:
    found: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for name in data.measured_files():
        for line, contexts in data.contexts_by_lineno(name).items():
            for context in contexts:
                found[context][str(Path(name).relative_to(ROOT))].add(line)
    return {test: {file: frozenset(lines) for file, lines in by.items()} for test, by in found.items()}


def held_to_the_code_as_it_is(known: Suite, file: Path, files: Sequence[str]) -> None:
    """Put aside those of the tests in ``files`` that kill unchanged code, run as mutants run them, and write
    what is then known to ``file``. To be called in a process of its own, since it collects."""

    def act(session: pytest.Session) -> None:
        warm(session)
        todo = sorted((test for test in known.tests.values() if test.file in files), key=_speed)
        while todo:
            outcome = tried(lambda told: survives(session, todo, told))
            if outcome.verdict is Verdict.SURVIVED:
                break
            place = [test.name for test in todo].index(outcome.test)
            known.failing.append(known.tests.pop(outcome.test).name)
            del todo[: place + 1]

    run(files, act)
    _write(known, file)


def warm(session: pytest.Session) -> None:
    """Before anything is forked: set up what all tests share, and have the collector leave alone all that
    lives by now. What a module shares is torn down again: it may be threads, of which a fork takes none."""
    first = session.items[0]
    passes(first, next((item for item in session.items if item.path != first.path), None))
    gc.collect()
    gc.freeze()


def stale(known: Suite) -> list[str]:
    """The files of tests that have changed since they were measured."""
    return [
        name for path in detectors() if known.files.get(name := str(path.relative_to(ROOT))) != digest([path])
    ]


def detectors() -> list[Path]:
    """The files in which the detectors are."""
    return [path for name in TESTS for path in ([ROOT / name] if name.endswith(".py") else _test_files(name))]


def _test_files(directory: str) -> Iterator[Path]:
    return (ROOT / directory).rglob("test_*.py")


def read(file: Path) -> Suite:
    """What ``file`` tells, as to the sources as they are now; nothing if it is not there.

    A line that has changed since is run by the tests that ran what stood there.
    """
    now = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sources()}
    if not file.exists():
        return Suite(now)
    told = json.loads(file.read_text(encoding="utf-8"))
    moved = {
        name: _moves(then, now[name])
        for name, then in told["sources"].items()
        if name in now and then != now[name]
    }
    tests = {
        name: Test(name, seconds, {path: _moved(each, moved.get(path)) for path, each in lines.items()})
        for name, (seconds, lines) in told["tests"].items()
    }
    return Suite(now, told["files"], tests, told["failing"])


def _moves(then: str, now: str) -> dict[int, list[int]]:
    """Where each line of ``then`` is ``now``: one that was replaced is all that it was replaced by, and one
    after which something was put in is that, too."""
    moves: dict[int, list[int]] = defaultdict(list)
    matcher = SequenceMatcher(None, then.splitlines(), now.splitlines(), autojunk=False)
    for what, begin, end, new_begin, new_end in matcher.get_opcodes():
        new = range(new_begin + 1, new_end + 1)
        if what == "equal":
            for old_line, new_line in zip(range(begin + 1, end + 1), new, strict=True):
                moves[old_line].append(new_line)
        else:
            for old_line in range(begin + 1, end + 1) if what == "replace" else [begin]:
                moves[old_line].extend(new)
    return moves


def _moved(lines: Iterable[int], moves: Mapping[int, Iterable[int]] | None) -> frozenset[int]:
    if moves is None:
        return frozenset(lines)
    return frozenset(new for line in lines for new in moves.get(line, ()))


def _write(suite: Suite, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tests = {
        test.name: (test.seconds, {path: sorted(lines) for path, lines in test.lines.items()})
        for test in suite.tests.values()
    }
    told = {"sources": suite.sources, "files": suite.files, "tests": tests, "failing": suite.failing}
    file.write_text(json.dumps(told), encoding="utf-8")


def forget(known: Suite, files: Iterable[str]) -> None:
    """What was known of the tests in ``files``, which have changed."""
    gone = frozenset(files)
    known.tests = {name: test for name, test in known.tests.items() if test.file not in gone}
    known.failing = [name for name in known.failing if name.partition("::")[0] not in gone]

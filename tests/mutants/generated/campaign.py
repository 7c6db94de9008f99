"""A campaign: the mutants of some files, each on trial once; what came of it is kept for the next campaign.

A mutant that has been killed stays killed while the class or function that it changes is the same; one that
survived is tried again when the suite has changed, which may have been to kill it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from time import perf_counter
from types import CodeType, ModuleType

import pytest

from tests.mutants.generated import suite
from tests.mutants.generated.changes import Change, Name
from tests.mutants.generated.suite import ROOT, Suite, Test
from tests.mutants.generated.trial import (
    Functions,
    Outcome,
    Told,
    Verdict,
    functions_of,
    put_in,
    replacements,
    tried,
)

FEW = 5
"""How many tests may hold on to what a module was before it was executed anew, for the others to count."""

NEAREST = 3
"""How many files of tests a mutant that has to be imported is tried with, before all that there are."""


@dataclass(frozen=True)
class Mutant:
    """A change of ``source``, the text of its file."""

    change: Change
    source: str

    @property
    def key(self) -> str:
        return self.change.key(self.source)

    @property
    def path(self) -> Path:
        return ROOT / self.change.name.file

    @property
    def module(self) -> str:
        """The name that its module is imported by."""
        parts = Path(self.change.name.file).with_suffix("").parts[1:]
        return ".".join(parts).removesuffix(".__init__")

    def code(self) -> CodeType:
        return _code_of(self.change.of(self.source), self.path)

    def replacements(self) -> dict[tuple[str, int], CodeType] | None:
        return replacements(_code_as_it_is(self.source, self.path), self.code())


def _code_of(source: str, path: Path) -> CodeType:
    return compile(source, str(path), "exec", dont_inherit=True)


_code_as_it_is = cache(_code_of)
"""What all mutants of a file are compared with."""


@dataclass(frozen=True)
class Result:
    """What became of a mutant when the suite was ``suite``; ``test`` killed it, or was the last to run."""

    key: str
    name: Name
    verdict: Verdict
    test: str
    seconds: float
    suite: str


Tell = Callable[[Mutant, Outcome, float], None]
"""What is told of each trial: what it came to, and seconds that it took."""


class Results:
    """What has been found out, in a file to which a line is added for each mutant."""

    def __init__(self, file: Path, now: str) -> None:
        self._file = file
        self._now = now
        self._by_key: dict[str, Result] = {}
        self.read_again()

    def read_again(self) -> None:
        """What another process has added is known here, too."""
        if self._file.exists():
            for line in self._file.read_text(encoding="utf-8").splitlines():
                result = _result(json.loads(line))
                self._by_key[result.key] = result

    def of(self, mutant: Mutant) -> Result | None:
        """What is known of ``mutant``, if it still holds."""
        result = self._by_key.get(mutant.key)
        if result is not None and result.verdict is Verdict.SURVIVED and result.suite != self._now:
            return None
        return result

    def add(self, mutant: Mutant, outcome: Outcome, seconds: float) -> None:
        """Keep what came of ``mutant``."""
        result = Result(mutant.key, mutant.change.name, outcome.verdict, outcome.test, seconds, self._now)
        self._by_key[result.key] = result
        name = result.name
        told = {
            "key": result.key, "file": name.file, "function": name.function, "old": name.old, "new": name.new,
            "nth": name.nth, "verdict": result.verdict.value, "test": result.test,
            "seconds": round(seconds, 3), "suite": result.suite,
        }  # fmt: skip
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")


def _result(told: Mapping[str, str | float]) -> Result:
    text = {key: str(value) for key, value in told.items()}
    name = Name(text["file"], text["function"], text["old"], text["new"], int(text["nth"]))
    verdict = Verdict(text["verdict"])
    return Result(text["key"], name, verdict, text["test"], float(text["seconds"]), text["suite"])


def in_a_process(act: Callable[[], None]) -> None:
    """``act`` in a process of its own, so that what it imports is not imported here."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    _, status = os.waitpid(process, 0)
    if status != 0:
        raise ChildProcessError(f"a process of the campaign ended with status {status}")


def with_new_code(mutants: Sequence[Mutant], known: Suite, tell: Tell) -> None:
    """Try those of ``mutants`` whose functions can be given new code; the others are not told of. To be
    called in a process of its own, since it collects."""
    todo = [(mutant, mutant.replacements(), _able(mutant, known)) for mutant in mutants]
    killers: dict[tuple[str, str], set[str]] = defaultdict(set)

    def act(session: pytest.Session) -> None:
        # Before the warm-up, after which the collector knows nothing of what lives.
        living = {path: functions_of(path) for path in {mutant.path for mutant, _, _ in todo}}
        suite.warm(session)
        strangers: dict[str, set[str]] = {}
        for mutant, code, tests in todo:
            file, functions = mutant.change.name.file, living[mutant.path]
            if code is None or not tests or not all(functions.get(place) for place in code):
                if file not in strangers:
                    strangers[file] = _strangers(session, mutant, known.of_file(file))
                tests = [test for test in known.of_file(file) if test.name not in strangers[file]]
                code = None
            if not tests:
                continue
            place = (file, mutant.change.name.function)
            tests.sort(key=lambda test: _promise(test, mutant, killers[place]))
            begun = perf_counter()
            outcome = tried(partial(_lives, session, mutant, code, functions, tests))
            if outcome.verdict is not Verdict.SURVIVED:
                killers[place].add(outcome.test)
            if code is not None or outcome.verdict is not Verdict.SURVIVED:
                tell(mutant, outcome, perf_counter() - begun)

    tests = [test for _, _, own in todo for test in own]
    for file in {mutant.change.name.file for mutant in mutants}:
        tests.extend(known.of_file(file))
    files = sorted({test.file for test in tests})
    if files:
        suite.run(files, act)


def _able(mutant: Mutant, known: Suite) -> list[Test]:
    change = mutant.change
    return known.of_function(change.name.file, change.around, change.lines)


def _lives(
    session: pytest.Session,
    mutant: Mutant,
    code: Mapping[tuple[str, int], CodeType] | None,
    functions: Functions,
    tests: Sequence[Test],
    told: Told,
) -> bool:
    """Whether ``mutant`` survives ``tests``: its functions with their new ``code``, or else its module
    executed anew in its place, which whoever has taken a name out of it does not see."""
    told.begins("its import", suite.AT_LEAST)
    if code is None:
        exec(mutant.code(), vars(sys.modules[mutant.module]))
    else:
        put_in(code, functions)
    return suite.survives(session, tests, told)


def _strangers(session: pytest.Session, mutant: Mutant, tests: Sequence[Test]) -> set[str]:
    """Those of ``tests`` that fail when the module of ``mutant`` is executed anew, unchanged; all, if they
    are more than :data:`FEW`, since then others hold too much of what the module was."""
    found: set[str] = set()
    left = list(tests)
    unchanged = replace(mutant, change=replace(mutant.change, start=0, end=0, text=""))
    while left:
        outcome = tried(partial(_lives, session, unchanged, None, {}, left))
        if outcome.verdict is Verdict.SURVIVED:
            break
        names = [test.name for test in left]
        if outcome.test not in names or len(found) == FEW:
            return {test.name for test in tests}
        found.add(outcome.test)
        del left[: names.index(outcome.test) + 1]
    return found


def _promise(test: Test, mutant: Mutant, killers: set[str]) -> tuple[bool, bool, bool, float]:
    """What puts first what is likely to kill ``mutant`` soon: what runs the line, what has killed another of
    the same function, what is named after the file, what is fast."""
    file = mutant.change.name.file
    runs = not test.lines[file].isdisjoint(mutant.change.lines)
    namesake = Path(test.file).stem == f"test_{Path(file).stem}"
    return not runs, test.name not in killers, not namesake, test.seconds


def imported(mutant: Mutant, known: Suite) -> Outcome:
    """Try ``mutant`` in a process that imports it. To be called where nothing of the code is imported."""
    tests = known.of_file(mutant.change.name.file)
    if not tests:
        return Outcome(Verdict.SURVIVED, "")
    nearest = [file for file, _ in Counter(_weighed(tests, mutant)).most_common(NEAREST)]
    outcome = Outcome(Verdict.SURVIVED, "")
    for chosen in (
        [test for test in tests if test.file in nearest],
        [test for test in tests if test.file not in nearest],
    ):
        if chosen and outcome.verdict is Verdict.SURVIVED:
            outcome = tried(lambda told: _imports_and_survives(mutant, chosen, told))  # noqa: B023 -- called at once
    return outcome


def _weighed(tests: Sequence[Test], mutant: Mutant) -> Iterator[str]:
    """The files of ``tests``, each as often as lines of the mutant's file are run by a test of it."""
    for test in tests:
        for _ in test.lines[mutant.change.name.file]:
            yield test.file


def _imports_and_survives(mutant: Mutant, tests: Sequence[Test], told: Told) -> bool:
    sys.dont_write_bytecode = True
    sys.meta_path.insert(0, _Finder(mutant))
    survived: list[bool] = []
    told.begins("its import", 60.0)
    files = sorted({test.file for test in tests})
    suite.run(files, lambda session: survived.append(suite.survives(session, tests, told)))
    return survived == [True]


class _Finder(MetaPathFinder):
    """Finds the mutant in its module's place."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        loader = _Loader(fullname, str(self._mutant.path))
        loader.code = self._mutant.code()
        return importlib.util.spec_from_file_location(fullname, self._mutant.path, loader=loader)


class _Loader(SourceFileLoader):
    code: CodeType

    def get_code(self, fullname: str) -> CodeType:
        return self.code

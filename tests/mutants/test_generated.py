"""The machine that tries generated mutants: what it makes of a source, and what it takes a mutant for."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from tests.mutants.generated import suite
from tests.mutants.generated.__main__ import (
    SURVIVORS,
    TARGETS,
    Survivor,
    list_of,
    listed,
    main,
    stanza,
    told,
)
from tests.mutants.generated.campaign import Mutant, Results
from tests.mutants.generated.changes import Change, changes
from tests.mutants.generated.suite import ROOT
from tests.mutants.generated.trial import Outcome, Told, Verdict, functions_of, put_in, replacements, tried
from tests.mutants.generated.typed import type_checker

SOURCE = '''\
"""A module."""
from functools import cache

LEAST: int = 1

class Rule:
    """A rule."""
    __slots__ = ("a",)

    @property
    def size(self) -> int:
        return 2

@cache
def larger(a: int, b: int) -> int:
    if a < b:
        raise ValueError("less")
    kept = None
    match a:
        case 0:
            return 0
        case _:
            return a - b
'''


def changes_of(source: str) -> dict[tuple[str, str], Change]:
    return {(change.name.old, change.name.new): change for change in changes("spec/x.py", source)}


def test_functions_are_changed_however_they_are_decorated_and_what_no_behaviour_hangs_on_is_not() -> None:
    assert [
        (name.function, name.old, name.new) for name in (each.name for each in changes("x.py", SOURCE))
    ] == [
        ("", "LEAST: int = 1", "LEAST: int = None"),
        ("", "LEAST: int = 1", "LEAST: int = 2"),
        ("Rule.size", "return 2", "return 3"),
        ("larger", "if a < b:", "if a<= b:"),
        ("larger", 'raise ValueError("less")', "pass"),
        ("larger", "kept = None", 'kept = ""'),
        ("larger", "case 0: return 0", ""),
        ("larger", "case _: return a - b", ""),
        ("larger", "case 0:", "case 1:"),
        ("larger", "return 0", "return 1"),
        ("larger", "return a - b", "return a + b"),
    ]


def test_a_change_is_a_change_of_the_text_and_leaves_the_lines_where_they_are() -> None:
    change = changes_of(SOURCE)["case 0: return 0", ""]
    assert change.of(SOURCE) == SOURCE.replace("        case 0:\n            return 0\n", "        \n\n")
    assert list(change.lines) == [20, 21]


@pytest.fixture
def module(tmp_path: Path) -> ModuleType:
    path = tmp_path / "module.py"
    path.write_text(SOURCE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("module", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trial(module: ModuleType, old: str, new: str, test: Callable[[], bool]) -> Outcome:
    """What becomes of the mutant of ``module`` in which ``old`` is ``new``, under ``test``."""
    path = Path(str(module.__file__))
    change = changes_of(SOURCE)[old, new]
    code = replacements(
        compile(SOURCE, path, "exec", dont_inherit=True),
        compile(change.of(SOURCE), path, "exec", dont_inherit=True),
    )
    assert code is not None
    functions = functions_of(path)

    def live(told: Told) -> bool:
        put_in(code, functions)
        told.begins("the test", 0.2)
        return test()

    return tried(live)


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("return a - b", "return a + b", Verdict.KILLED),
        ("if a < b:", "if a<= b:", Verdict.SURVIVED),
        ("kept = None", 'kept = ""', Verdict.SURVIVED),
    ],
)
def test_a_mutant_is_killed_by_the_test_that_fails(
    module: ModuleType, old: str, new: str, verdict: Verdict
) -> None:
    assert trial(module, old, new, lambda: module.larger(3, 1) == 2) == Outcome(verdict, "the test")
    assert module.larger(3, 1) == 2


def test_a_test_that_raises_kills_and_so_does_a_process_that_ends(module: ModuleType) -> None:
    for end in (lambda: module.larger(0), lambda: signal.raise_signal(signal.SIGKILL)):
        outcome = trial(module, "return 0", "return 1", lambda: bool(end()))  # noqa: B023 -- called at once
        assert outcome.verdict is Verdict.KILLED


def test_a_mutant_that_sleeps_without_end_is_ended(module: ModuleType) -> None:
    def sleep() -> bool:
        signal.pause()
        return True

    outcome = trial(module, "return 0", "return 1", sleep)
    assert outcome == Outcome(Verdict.ENDLESS, "the test")


def test_what_the_import_runs_is_no_function_s_code() -> None:
    change = changes_of(SOURCE)["LEAST: int = 1", "LEAST: int = 2"]
    assert replacements(compile(SOURCE, "x", "exec"), compile(change.of(SOURCE), "x", "exec")) is None


def test_what_only_an_import_runs_has_the_tests_of_those_that_import_it() -> None:
    sources = {"spec/shop/prices.py": "ONE = 1", "spec/shop/till.py": "from shop.prices import ONE"}
    test = suite.Test("tests/test_till.py::test_a", 0.1, {"spec/shop/till.py": frozenset((3,))})
    known = suite.Suite(sources, tests={test.name: test})
    assert known.of_file("spec/shop/prices.py") == []
    assert known.importers("shop.prices") == ["spec/shop/till.py"]
    assert known.of_file(*known.importers("shop.prices")) == [test]


def test_survivors_have_to_be_those_that_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mutants = [Mutant(change, SOURCE) for change in changes("spec/x.py", SOURCE)]
    results = Results(tmp_path / "results.jsonl", "now")
    for mutant in mutants:
        results.add(mutant, Outcome(Verdict.KILLED, "the test"), 0.0)
    killed, alive = mutants[0].change.name, mutants[1].change.name
    results.add(mutants[1], Outcome(Verdict.SURVIVED, ""), 0.0)
    lists: list[list[Survivor]] = [
        [],
        [Survivor(killed, "because"), Survivor(alive, "because")],
        [Survivor(alive, "because")],
    ]
    lines = []
    for survivors in lists:
        assert told(mutants, results, survivors, drawn=False) == 1  # of eleven, one is too many
        lines.append(capsys.readouterr().out.splitlines()[1:-1])
    assert lines[0] == [*stanza(alive, "no test runs it").splitlines(), ""]
    assert lines[1] == ["listed as a survivor, and is none: : LEAST: int = 1 → LEAST: int = None"]
    assert lines[2] == []
    results.add(mutants[1], Outcome(Verdict.KILLED, "the test"), 0.0)
    assert told(mutants, results, [], drawn=False) == 0


def test_what_was_found_out_is_read_again_but_a_survivor_is_tried_by_another_suite(tmp_path: Path) -> None:
    first, second, *_ = (Mutant(change, SOURCE) for change in changes("spec/x.py", SOURCE))
    results = Results(tmp_path / "results.jsonl", "now")
    results.add(first, Outcome(Verdict.KILLED, "the test"), 0.5)
    results.add(second, Outcome(Verdict.SURVIVED, "the test"), 0.5)
    again, later = (Results(tmp_path / "results.jsonl", suite) for suite in ("now", "later"))
    assert [again.of(first), again.of(second)] == [results.of(first), results.of(second)]
    assert [later.of(first), later.of(second)] == [results.of(first), None]


def test_the_lists_of_survivors_tell_of_the_code_as_it_is_and_give_reasons() -> None:
    assert {*SURVIVORS.rglob("*.toml")} <= {list_of(file) for file in TARGETS}
    for file in TARGETS:
        survivors = listed(file)
        text = " ".join((ROOT / file).read_text(encoding="utf-8").split())
        assert [each.name for each in survivors if each.name.old not in text] == []
        assert [each.name for each in survivors if not each.reason] == []
        if survivors:
            again = "\n".join(stanza(each.name, each.reason) for each in survivors)
            assert again == list_of(file).read_text(encoding="utf-8")


@pytest.mark.full  # mypy reads all of the code once
def test_what_no_test_kills_the_type_checker_may_refuse(tmp_path: Path) -> None:
    file = "impl/refloop/here.py"
    source = (ROOT / file).read_text(encoding="utf-8")
    with type_checker(tmp_path / "copy") as types:
        assert types.refuses(file, source, source) == ""
        refusal = types.refuses(file, f"{source}\nNONE: int = None\n", source)
        assert types.refuses(file, source, source) == ""
    assert refusal.startswith(f"{file}:")
    assert refusal.endswith("[assignment]")
    assert not (tmp_path / "copy").exists()


def test_a_file_that_is_not_mutated_is_refused_in_one_line() -> None:
    ran = CliRunner().invoke(main, ["tests/conftest.py"])
    assert (ran.exit_code, ran.output.count("\n")) == (2, 1)
    assert ran.output.startswith("tests/conftest.py is not mutated")
